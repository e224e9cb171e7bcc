#!/bin/bash
# The Ansible role of packaging/ansible, on machines that boot: an administrator's and a VPS of 128 MB.
#
#   admin 192.0.2.10 ── net ── vps 203.0.113.2, wg0 10.69.69.1
#                        └──── home 198.51.100.2, wg0 10.69.69.5

# shellcheck source=interop/systems/server-room/system.sh
. "$library/../systems/server-room/system.sh"
packaging=$library/../../packaging

lay_role_cables() {
	host net none
	host home wgsharp
	host vps none
	host admin none
	on net sysctl -q net.ipv4.ip_forward=1
	link net:toadmin 192.0.2.1/24 admin:eth0 -
	link net:tovps 203.0.113.1/24 vps:eth0 -
	link net:tohome 198.51.100.1/24 home:eth0 198.51.100.2/24
	on home ip route add default via 198.51.100.1
}

# The VPS as it is rented, and the administrator's directory: the playbook, the role, the package as it was built, the keys.
set_up_role() {
	local root=$lab/vps/disk/root
	disk vps vps
	memory vps 128
	network vps <<<'eth0 203.0.113.2/24 203.0.113.1'
	leave_kernel_aside "$root"
	disk admin ansible
	network admin <<<'eth0 192.0.2.10/24 192.0.2.1'
	ssh-keygen -q -t ed25519 -N '' -C admin -f "$lab/id"
	give vps /root/.ssh/authorized_keys 600 <"$lab/id.pub"
	give admin /root/.ssh/id_ed25519 600 <"$lab/id"
	sed 's/^/203.0.113.2 /' "$root/etc/ssh/ssh_host_ed25519_key.pub" | give admin /root/.ssh/known_hosts
	mkdir -p "$lab/admin/disk/root/root/room"
	cp -rL "$packaging/ansible/." "$room/ansible.cfg" "$room/inventory" "$lab/admin/disk/root/root/room/"
	SOURCE_DATE_EPOCH=1767225600 "$packaging/pack" "$WGSHARP" "${WGSHARP%/*}/libsodium.so.23" 0.1.0 "$lab/admin/disk/root/root/room" package
	new_key vps
	new_key home
	printf '%s: "%s"\n' wgsharp_private_key "${key[vps]}" new_dc_public_key "${pub[home]}" | give admin /root/room/keys.yml 600
	boot admin
	boot vps
	up home wg0 <<-END
		[Interface]
		PrivateKey = ${key[home]}
		Address = 10.69.69.5/24
		[Peer]
		PublicKey = ${pub[vps]}
		Endpoint = 203.0.113.2:51820
		AllowedIPs = 10.69.69.1/32
		PersistentKeepalive = 25
	END
	cat >"$lab/answers.py" <<-'END'
		# What stands for OpenVPN gives back what it gets; what stands for the mail gateway says what HAProxy told it.
		import socket
		import threading

		def echo():
		    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
		    udp.bind(("10.69.69.5", 1194))
		    while True:
		        udp.sendto(*udp.recvfrom(2048))

		threading.Thread(target=echo, daemon=True).start()
		tcp = socket.create_server(("10.69.69.5", 25))
		while True:
		    connection = tcp.accept()[0]
		    with connection, connection.makefile("rb") as lines:
		        connection.sendall(lines.readline())
	END
	launch home python3 "$lab/answers.py" >"$lab/answers" 2>&1 &
	quietly_await 10 "the services behind the tunnel listen" listens home tcp 25
	# A gateway monitor, as pfSense has one: who gets no answer for 15 s makes a new handshake. (Only home knows the other's address.)
	launch home ping -q -n -i 0.5 10.69.69.1 >"$lab/monitor" &
}

role() { # [more of ansible-playbook's arguments...] : what ansible counted stands in $recap
	local answer
	answer=$(on admin sh -c 'cd /root/room && LC_ALL=C.UTF-8 ansible-playbook -e @keys.yml "$@" server-room.yml' - "$@" 2>&1) ||
		fail "the playbook: $answer"$'\n'"$(on vps journalctl -b --no-pager --output=cat | tail -n 40)"
	recap=$(grep -o 'ok=.*' <<<"$answer" | tr -s ' ')
}

# A VPS of 128 MB is set up over ssh by the role with the package: the tunnel, UDP forwarded to who is behind it, TCP through HAProxy with the visitor's address. A second
# run changes nothing; a changed configuration leaves no rule of the one before; everything is back after a reboot.
# machines: vps ansible
# limit: 400
scenario_ansible_role() {
	local before
	lay_role_cables
	set_up_role
	role
	check "the first run" "$recap" =~ ' changed=1[0-9] unreachable=0 failed=0 '
	serves
	role
	check "the second run" "$recap" =~ ' changed=0 unreachable=0 failed=0 '
	before=$(role_rules)
	check "rules on the VPS" "$(wc -l <<<"$before")" == 6
	note "the whole VPS with Ansible's modules and apt, files in the cache included: $(vps_peak) MiB of 128"
	check "processes of the VPS killed for want of memory" "$(vps_killed)" == 0

	role -e '{"wgsharp_forwards": [{"protocol": "udp", "port": 4000, "to": "10.69.69.5", "to_port": 1194}]}'
	check "another port: the run" "$recap" =~ ' changed=[34] unreachable=0 failed=0 '
	check "rules on the VPS with the old port" "$(role_rules | occurrences 'dport 1194 -j DNAT')" == 0
	check "with the new one" "$(role_rules | occurrences 'dport 4000 -j DNAT --to-destination 10.69.69.5:1194')" == 1
	check "of all" "$(role_rules | wc -l)" == 6
	await 40 "UDP 4000 goes on to UDP 1194 behind the tunnel" echoes 4000

	role
	restart vps
	check "rebooted: systemd on the VPS" "$(on vps systemctl is-system-running)" == running
	check "the rules are those of before" "$(role_rules)" == "$before"
	serves
}

role_rules() { on vps iptables-save | grep '^-A' || true; }

serves() {
	local unit
	for unit in haproxy wg-quick@wg0; do
		check "$unit" "$(on vps systemctl is-active "$unit") and $(on vps systemctl is-enabled "$unit")" == "active and enabled"
	done
	check "the tunnel is made by" "$(on vps readlink "/proc/$(on vps pidof wgsharp)/exe")" == /usr/bin/wgsharp
	await 40 "a ping comes back from behind the tunnel" on vps ping -n -q -c 1 -W 1 10.69.69.5
	await 10 "UDP 1194 goes on behind the tunnel, and back" echoes 1194
	await 10 "TCP 25 goes through HAProxy, and the machine behind sees the visitor" sees_visitor
	note "$(visitor_seen)"
}

visitor_seen() {
	# shellcheck disable=SC2016  # for the administrator's shell
	on admin timeout 4 bash -c 'exec 3<>/dev/tcp/203.0.113.2/25 && read -r line <&3 && echo "$line"' || true
}

sees_visitor() { [[ $(visitor_seen) == "PROXY TCP4 192.0.2.10 203.0.113.2 "*" 25"* ]]; }

echoes() { # port
	[[ $(on admin sh -c "echo hello | timeout 2 ncat -u -w 1 203.0.113.2 $1" || true) == hello ]]
}
