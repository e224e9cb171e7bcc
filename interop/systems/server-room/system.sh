#!/bin/bash
# A server room behind CG-NAT: "Successfully Migrating a Server Room Behind CG-NAT Using WireGuard and HAProxy". Sourced.
# machines: vps ansible postfix openvpn
#
#   admin 192.0.2.10 ──────┐
#   sender 192.0.2.70 ─────┤
#   traveller 192.0.2.140 ─┼─ net ─ cgnat 198.51.100.2 ═ 100.64.0.1 ─ firewall 100.64.0.2, 192.168.10.1 ─ lan ┬─ mail    .25
#   vps 203.0.113.2 ───────┘                                                                                  ├─ vpn     .94
#       10.69.69.1 ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ wg0 10.69.69.5                             └─ storage .50
#
# vps: 128 MB, set up by admin with the article's playbook. Port 25 goes through its HAProxy, UDP 1194 through wg0's DNAT.
# mail: Postfix with postscreen; vpn: OpenVPN; sender: another company's Postfix; traveller: an OpenVPN client.

room=$library/../systems/server-room

build_server_room() { # implementation of the VPS, of the firewall
	lay_cables "$1" "$2"
	set_up_firewall
	set_up_mail
	set_up_vpn
	set_up_admin
	boot vps
	playbook
	quietly_await 30 "the server room calls the VPS" on vps ping -n -q -c 1 -W 1 10.69.69.5
	# Not before: who has asked in vain asks ever more seldom.
	on traveller systemctl start openvpn-client@office
	quietly_await 30 "the traveller is in the server room" on traveller ping -n -q -c 1 -W 1 192.168.10.50
}

lay_cables() {
	host net none
	host vps "$1"
	host admin none
	host sender none
	host traveller none
	host cgnat none
	host firewall "$2"
	host lan none
	host mail none
	host vpn none
	host storage none
	on net sysctl -q net.ipv4.ip_forward=1
	on cgnat sysctl -q net.ipv4.ip_forward=1
	on lan ip link add switch up type bridge
	link net:tovps 203.0.113.1/24 vps:eth0 -
	link net:toadmin 192.0.2.1/26 admin:eth0 -
	link net:tosender 192.0.2.65/26 sender:eth0 -
	link net:totraveller 192.0.2.129/26 traveller:eth0 -
	link net:tocgnat 198.51.100.1/24 cgnat:wan 198.51.100.2/24
	link cgnat:customers 100.64.0.1/24 firewall:wan -
	on cgnat ip route add default via 198.51.100.1
	plug firewall:lan -
	plug mail:eth0 -
	plug vpn:eth0 -
	plug storage:eth0 192.168.10.50/24
	on storage ip route add default via 192.168.10.1
	# What the carrier does with its customers' packets, and with those that nobody asked for.
	on cgnat iptables -A INPUT -i wan -j DROP
	translate 198.51.100.2 20000-29999
}

plug() { # host:interface addresses : into the switch of the server room
	link "lan:${1%:*}" - "$1" "$2"
	on lan ip link set "${1%:*}" master switch
}

# The carrier's public address and its range of ports, for every customer's mapping from now on; those that stand end.
translate() { # address ports
	on cgnat iptables -t nat -F POSTROUTING
	on cgnat iptables -t nat -A POSTROUTING -o wan -p udp -j SNAT --to-source "$1:$2" --random
	on cgnat iptables -t nat -A POSTROUTING -o wan -j SNAT --to-source "$1"
	on cgnat conntrack -F 2>/dev/null
}

give() { # host path [mode] <content : before the machine boots
	install -D -m "${3:-644}" /dev/stdin "$lab/$1/disk/root$2"
}

set_up_firewall() {
	disk firewall debian
	network firewall <<-'END'
		wan 100.64.0.2/24 100.64.0.1
		lan 192.168.10.1/24
	END
	# The way to OpenVPN's clients.
	echo '	up ip route add 10.8.0.0/24 via 192.168.10.94' >>"$lab/firewall/disk/root/etc/network/interfaces"
	new_key vps
	new_key firewall
	give firewall /etc/sysctl.d/50-forward.conf <<<'net.ipv4.ip_forward = 1'
	give firewall /etc/nftables.conf <"$room/firewall.nft"
	sed "s|^PrivateKey = .*|PrivateKey = ${key[firewall]}|; s|^PublicKey = .*|PublicKey = ${pub[vps]}|" "$room/firewall.conf" |
		give firewall /etc/wireguard/wg0.conf 600
	boot firewall
	on firewall systemctl -q enable --now nftables wg-quick@wg0
}

# Proxmox Mail Gateway's place: Debian's Postfix, with the article's lines below its own configuration.
set_up_mail() {
	local root=$lab/mail/disk/root
	disk mail postfix
	network mail <<<'eth0 192.168.10.25/24 192.168.10.1'
	give mail /etc/postfix/original_main.cf.in <"$root/etc/postfix/main.cf"
	sed -e "/^\[% INCLUDE original_main.cf.in %\]/ { r $root/etc/postfix/original_main.cf.in" -e 'd }' "$room/main.cf.in" >"$root/etc/postfix/main.cf"
	# postscreen in front, as Proxmox has it; Debian's file holds the lines as comments.
	sed -i -E 's/^smtp +inet/#&/; s/^#(smtp +inet.*postscreen|smtpd +pass|dnsblog|tlsproxy)/\1/' "$root/etc/postfix/master.cf"
	sed -i -E 's/^(mydestination =).*/\1 server-room.example\nmyhostname = mail.server-room.example/' "$root/etc/postfix/main.cf"
	useradd --root "$root" --create-home office
	boot mail

	disk sender postfix
	network sender <<<'eth0 192.0.2.70/26 192.0.2.65'
	# There is no DNS in the laboratory that would name the VPS as the domain's mail exchanger.
	sed -i -E 's/^(relayhost =).*/\1 [203.0.113.2]\nmyhostname = sender.example/' "$lab/sender/disk/root/etc/postfix/main.cf"
	boot sender
}

set_up_vpn() {
	local name
	make_certificates
	disk vpn openvpn
	network vpn <<<'eth0 192.168.10.94/24 192.168.10.1'
	give vpn /etc/sysctl.d/50-forward.conf <<<'net.ipv4.ip_forward = 1'
	give vpn /etc/openvpn/server/office.conf <"$room/openvpn-server.conf"
	disk traveller openvpn
	network traveller <<<'eth0 192.0.2.140/26 192.0.2.129'
	give traveller /etc/openvpn/client/office.conf <"$room/openvpn-client.conf"
	for name in ca.crt server.crt server.key; do give vpn "/etc/openvpn/server/$name" 600 <"$lab/certificates/$name"; done
	for name in ca.crt client.crt client.key; do give traveller "/etc/openvpn/client/$name" 600 <"$lab/certificates/$name"; done
	boot vpn
	boot traveller
	on vpn systemctl -q enable --now openvpn-server@office
	on traveller systemctl -q enable openvpn-client@office
}

make_certificates() {
	local name curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -batch)
	mkdir -m 700 "$lab/certificates"
	(
		cd "$lab/certificates"
		openssl req -x509 "${curve[@]}" -keyout ca.key -out ca.crt -subj '/CN=server room' -days 30
		for name in server client; do
			openssl req "${curve[@]}" -keyout "$name.key" -out "$name.csr" -subj "/CN=$name"
			openssl x509 -req -in "$name.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -out "$name.crt" -days 30 \
				-extfile <(printf 'keyUsage=digitalSignature\nextendedKeyUsage=%sAuth\n' "$name")
		done
	) >"$lab/certificates/log" 2>&1 || fail "$(cat "$lab/certificates/log")"
}

# The VPS as it is rented (ssh with the administrator's key), and the administrator's directory with the playbook in it.
set_up_admin() {
	local root=$lab/vps/disk/root program=${implementation[vps]} file
	disk vps vps
	memory vps 128
	network vps <<<'eth0 203.0.113.2/24 203.0.113.1'
	# The playbook puts them there.
	rm -rf "$root/usr/local/bin/$program" "$root/etc/systemd/system/wg-quick@.service.d"
	disk admin ansible
	network admin <<<'eth0 192.0.2.10/26 192.0.2.1'
	ssh-keygen -q -t ed25519 -N '' -C admin -f "$lab/id"
	give vps /root/.ssh/authorized_keys 600 <"$lab/id.pub"
	give admin /root/.ssh/id_ed25519 600 <"$lab/id"
	sed 's/^/203.0.113.2 /' "$root/etc/ssh/ssh_host_ed25519_key.pub" | give admin /root/.ssh/known_hosts
	for file in ansible.cfg inventory playbook.yml wireguard.conf.j2 haproxy.cfg; do
		give admin "/root/room/$file" <"$room/$file"
	done
	give admin "/root/room/$program" 755 <"$(executable vps)"
	printf '%s: "%s"\n' wg_program "$program" wg_private_key "${key[vps]}" new_dc_public_key "${pub[firewall]}" | give admin /root/room/keys.yml 600
	boot admin
}

# What ansible counted stands in $recap.
recap=
playbook() {
	local answer
	answer=$(on admin sh -c 'cd /root/room && LC_ALL=C.UTF-8 ansible-playbook -e @keys.yml playbook.yml' 2>&1) ||
		fail "the playbook: $answer"$'\n'"$(on vps journalctl -b --no-pager --output=cat | tail -n 40)"
	printf '%s\n' "$answer" >"$lab/playbook"
	recap=$(grep -o 'ok=.*' <<<"$answer" | tr -s ' ')
}

# ---- what comes from the internet -------------------------------------------------------------------------------

# A mail from an account of the sender's to the office; its body is standard input.
send_mail() { # subject
	{ printf 'Subject: %s\nFrom: boss@sender.example\nTo: office@server-room.example\n\n' "$1" && cat; } |
		feed sender sendmail -f boss@sender.example office@server-room.example
}

# In the mailbox, and to its end: the queue is empty.
in_mailbox() { on mail grep -qxF "Subject: $1" /var/mail/office && [[ $(on mail postqueue -p) == "Mail queue is empty" ]]; }

gateway_log() { on mail journalctl --no-pager --output=cat -u 'postfix@-'; }

# The mail gateway's greeting comes through port 25 of the VPS. (HAProxy alone accepts a connection, and then says nothing.)
greets() {
	# shellcheck disable=SC2016  # for the sender's shell
	[[ $(on sender timeout 4 bash -c 'exec 3<>/dev/tcp/203.0.113.2/25 && read -r line <&3 && echo "$line"') == 220[-\ ]mail.server-room.example* ]]
}

# No connection is left that would send anything of itself.
mail_is_silent() { [[ -z $(on mail ss -H -n -t state connected exclude time-wait) ]]; }

# pfSense watches its gateways with two probes a second; a line of a firewall without that is silent but for keepalives.
watch_gateway() { on firewall systemd-run --quiet --unit=watch ping -q -n -i 0.5 10.69.69.1; }

home_endpoint() { endpoint vps wg0 "${pub[firewall]}"; }

# ---- what the VPS has used --------------------------------------------------------------------------------------

group_file() { # file of version 1, file of version 2 : of the VPS's control group
	local group
	for group in $(machine_groups vps); do
		if [[ -e $group/$1 ]]; then cat "$group/$1"; elif [[ -e $group/$2 ]]; then cat "$group/$2"; fi
	done
}

vps_peak() { echo $(($(group_file memory.max_usage_in_bytes memory.peak) >> 20)); } # MiB, files in the page cache included

vps_killed() { group_file memory.oom_control memory.events | awk '$1 == "oom_kill" { print $2 }'; } # for want of memory

vps_cpu_ms() {
	if [[ -n $(group_file cpuacct.usage none) ]]; then
		echo $(($(group_file cpuacct.usage none) / 1000000))
	else
		group_file none cpu.stat | awk '$1 == "usage_usec" { print int($2 / 1000) }'
	fi
}

daemon_cpu_ms() { awk -v tick="$(getconf CLK_TCK)" '{ print int(($14 + $15) * 1000 / tick) }' "/proc/$(daemon_pid vps wg0)/stat"; }

daemon_peak_kib() { awk '/^VmHWM/ { print $2 }' "/proc/$(daemon_pid vps wg0)/status"; }

# ---- for people, and for comparisons ----------------------------------------------------------------------------

try_server_room() {
	cat <<-'TEXT'
		sender     echo hello | sendmail office@server-room.example     (postscreen lets a stranger wait 6 s)
		mail       cat /var/mail/office; journalctl -u postfix@-        (the sender's own address, 192.0.2.70)
		traveller  ping 192.168.10.50                                   (OpenVPN, through the tunnel)
		vps        wg show; iptables-save; systemctl status haproxy wg-quick@wg0; wg-quick down wg0
		admin      cd room; LC_ALL=C.UTF-8 ansible-playbook -e @keys.yml playbook.yml
		firewall   wg show; systemctl restart wg-quick@wg0
		cgnat      conntrack -L -p udp; conntrack -F                    (the mapping; the next keepalive makes another)
	TEXT
}

# Lines "name value unit". What cannot be measured is "-", and the reason goes to standard error.
figures_server_room() {
	local bytes=1000000000 from daemon whole direction rate options
	on mail systemctl stop postfix postfix@-
	on mail systemd-run --quiet --unit=sink sh -c 'ncat -l -p 25 --recv-only | wc -c >/run/sink'
	quietly_await 10 "the sink listens" listens mail tcp 25
	daemon=$(daemon_cpu_ms) whole=$(vps_cpu_ms) from=$(now_ms)
	on sender sh -c "head -c $bytes /dev/zero | ncat --send-only 203.0.113.2 25"
	if comes_true 120 on mail grep -q . /run/sink && [[ $(on mail cat /run/sink) -gt $bytes ]]; then
		echo "through_haproxy $((bytes * 8 / 1000 / ($(now_ms) - from))) Mbit/s"
		per_gigabyte through_haproxy "$bytes" "$daemon" "$whole"
	else
		unmeasured through_haproxy Mbit/s "of $bytes bytes $(on mail cat /run/sink) arrived"
	fi
	on mail systemctl start postfix
	for direction in in out; do
		daemon=$(daemon_cpu_ms) whole=$(vps_cpu_ms)
		options=(-t 10)
		[[ $direction == in ]] || options+=(-R)
		if rate=$(iperf traveller storage 192.168.10.50 "${options[@]}" && echo "$mbits"); then
			echo "openvpn_$direction $rate Mbit/s"
			per_gigabyte "openvpn_$direction" $((rate * 10 * 1000000 / 8)) "$daemon" "$whole"
		else
			unmeasured "openvpn_$direction" Mbit/s "iperf3 through OpenVPN"
		fi
	done
	echo "daemon_peak $(daemon_peak_kib) KiB"
	echo "vps_peak $(vps_peak) MiB"
	watch_gateway
	from=$(now_ms)
	restart vps
	heals after_vps_reboots "$from"
	from=$(now_ms)
	on cgnat ip address add 198.51.100.77/24 dev wan
	translate 198.51.100.77 40000-49999
	heals after_new_home_address "$from"
	on firewall systemctl stop watch
}

unmeasured() { # name unit reason
	echo "$1 - $2"
	echo "$1: $3" >&2
}

per_gigabyte() { # name bytes CPU that the daemon and the whole VPS had used before, ms
	awk -v bytes="$2" -v daemon=$(($(daemon_cpu_ms) - $3)) -v whole=$(($(vps_cpu_ms) - $4)) -v name="$1" 'BEGIN {
		printf "%s_daemon_cpu %.2f s/GB\n%s_vps_cpu %.2f s/GB\n", name, daemon * 1e6 / bytes, name, whole * 1e6 / bytes }'
}

heals() { # name, milliseconds when it was broken
	if comes_true 180 on traveller ping -n -q -c 1 -W 0.2 192.168.10.50; then
		echo "heals_$1 $(($(now_ms) - $2)) ms"
	else
		unmeasured "heals_$1" ms "the traveller does not reach the server room within 180 s"
	fi
}
