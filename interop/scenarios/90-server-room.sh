#!/bin/bash
# A server room behind CG-NAT, as its article has it (interop/systems/server-room): HAProxy, Postfix, OpenVPN and a VPS of
# 128 MB that Ansible sets up, each on a machine that boots.

# shellcheck source=interop/systems/server-room/system.sh
. "$library/../systems/server-room/system.sh"

rules() { on vps iptables-save | grep '^-A' || true; }

# The playbook sets a VPS of 128 MB up over ssh: HAProxy comes by apt, wgsharp is where the kernel module would be, no kernel is installed. A second run
# changes nothing. `wg-quick down` takes the rules of PostUp away, `systemctl restart` brings them back.
# machines: vps ansible postfix openvpn
# limit: 400
scenario_server_room_playbook() {
	local worker unit before
	build_server_room wgsharp "$1"
	check "the playbook's first run" "$recap" =~ ' changed=1[0-9] unreachable=0 failed=0 '
	check "HAProxy is from the repository of the VPS" "$(on vps apt-cache policy haproxy)" =~ 'file:/var/local/repository'
	check "kernels installed on the VPS" "$(on vps dpkg-query -W | occurrences '^(linux-image|wireguard-dkms|wireguard	)')" == 0
	for unit in haproxy wg-quick@wg0; do
		check "$unit" "$(on vps systemctl is-active "$unit") and $(on vps systemctl is-enabled "$unit")" == "active and enabled"
	done
	worker=$(on vps ss -H -n -l -t -p 'sport = :25' | grep -o 'pid=[0-9]*' | tail -n 1)
	# shellcheck disable=SC2016  # awk's own
	check "user and group that HAProxy's worker runs as" "$(on vps awk '/^[UG]id/ { printf "%s ", $2 }' "/proc/${worker#pid=}/status")" == "80 80 "
	check "its root directory" "$(on vps readlink "/proc/${worker#pid=}/root")" == /tmp/haproxy_chroot
	playbook
	check "the playbook's second run" "$recap" =~ ' changed=0 unreachable=0 failed=0 '
	note "memory: wgsharp's peak $(daemon_peak_kib) KiB; the whole VPS with Ansible's modules and apt, files in the cache included, $(vps_peak) MiB of 128"
	check "processes of the VPS killed for want of memory" "$(vps_killed)" == 0

	before=$(rules)
	check "rules on the VPS" "$(wc -l <<<"$before")" == 5
	check "those of wg0" "$(occurrences -F 10.69.69.5 <<<"$before")" == 3
	on vps wg-quick down wg0 2>"$lab/down" || fail "$(cat "$lab/down")"
	check "after wg-quick down, those of wg0" "$(rules | occurrences -F 10.69.69.5)" == 0
	check "and the playbook's own" "$(rules | occurrences '^-A INPUT .*--dport (25|1194) ')" == 2
	check "of all" "$(rules | wc -l)" == 2
	await 1 "nothing of wg0 is left on the VPS" gone vps wg0
	on vps systemctl restart wg-quick@wg0
	check "after systemctl restart, the rules are those of before" "$(rules)" == "$before"
}

# From the internet: a mail through HAProxy and the tunnel is in the mailbox, and the mail gateway's log has the sender's own address, by the PROXY
# protocol; an OpenVPN client connects by UDP 1194 through two DNATs, and reaches a host behind.
# machines: vps ansible postfix openvpn
# peers: wgsharp kernel
# limit: 300
scenario_server_room_mail_and_openvpn() {
	local log
	build_server_room wgsharp "$1"
	send_mail "good morning" <<<"Is the new place warm?"
	await 30 "the mail is in the mailbox (postscreen lets a stranger wait 6 s)" in_mailbox "good morning"
	log=$(gateway_log)
	check "postscreen saw the sender" "$(grep -o 'CONNECT from \[[0-9.]*\]' <<<"$log" | sort -u)" == "CONNECT from [192.0.2.70]"
	check "smtpd saw the sender" "$(grep -o '^connect from [^ ]*' <<<"$log" | sort -u)" == "connect from unknown[192.0.2.70]"
	check "mentions of the tunnel's address in the gateway's log" "$(occurrences -F 10.69.69 <<<"$log")" == 0
	check "the mail's own record" "$(on mail grep -m 1 '^Received: from' /var/mail/office)" =~ 'sender.example \(unknown \[192\.0\.2\.70\]\)'
	# Whole lines of base64.
	head -c $((57 * 70000)) /dev/urandom | base64 >"$lab/photo"
	send_mail photo <"$lab/photo"
	await 30 "a mail of $(wc -c <"$lab/photo") bytes is in the mailbox" in_mailbox photo
	check "its SHA-256" "$(on mail sed '1,/^Subject: photo$/d' /var/mail/office | grep -xE '[A-Za-z0-9+/]{76}' | sha256sum)" == "$(sha256sum <"$lab/photo")"

	check "OpenVPN's server sees its client at" "$(on vpn journalctl --no-pager -u openvpn-server@office | grep -o '\[client\] Peer Connection.*')" =~ 'AF_INET\]10\.69\.69\.1:'
	pings traveller 192.168.10.50 10 -i 0.2
	note "ten pings of the traveller's come back from a host behind"
	pings traveller 192.168.10.50 3 -i 0.2 -s 8000
	note "so do three of 8000 bytes"
	iperf traveller storage 192.168.10.50 -t 2
	check "TCP in OpenVPN in the tunnel, traveller -> storage, kbit/s" "$kbits" -gt 0
	iperf traveller storage 192.168.10.50 -t 2 -R
	check "storage -> traveller, kbit/s" "$kbits" -gt 0
}

# CG-NAT: a mapping that lives longer than 25 s is kept by PersistentKeepalive; one that times out, and one that is moved to another public address and
# other ports, is replaced by the next keepalive. Nothing but keepalives is sent of itself meanwhile, and only from within can it be mended.
# machines: vps ansible postfix openvpn
# lasts: 180
# limit: 400
scenario_server_room_behind_cgnat() {
	local mapping
	build_server_room wgsharp "$1"
	on traveller systemctl stop openvpn-client@office
	on vpn systemctl stop openvpn-server@office

	mapping_lives 32
	quietly_await 30 "port 25 answers" greets
	mapping=$(home_endpoint)
	# Postfix ends what it began within 10 s; without a keepalive the mapping would be gone then.
	elapse 45
	check "after 45 s, with mappings that live 32 s, the endpoint that the VPS knows" "$(home_endpoint)" == "$mapping"
	await 2 "port 25 answers" greets

	mapping_lives 5
	await 40 "with mappings that live 5 s, there is none" unmapped
	await 35 "port 25 answers again, after a keepalive" greets
	check "by another port of CG-NAT's ($mapping before)" "$(home_endpoint)" != "$mapping"

	mapping_lives 120
	mapping=$(home_endpoint)
	on cgnat ip address add 198.51.100.77/24 dev wan
	translate 198.51.100.77 40000-49999
	note "CG-NAT has another public address and other ports"
	await 35 "port 25 answers again, after a keepalive" greets
	check "the endpoint that the VPS knows ($mapping before)" "$(home_endpoint)" =~ '^198\.51\.100\.77:4[0-9]{4}$'
	on vpn systemctl start openvpn-server@office
	on traveller systemctl start openvpn-client@office
	await 20 "the traveller is in the server room" on traveller ping -n -q -c 1 -W 1 192.168.10.50
}

mapping_lives() { # seconds without a packet, counted from the next one
	on cgnat sysctl -q net.netfilter.nf_conntrack_udp_timeout="$1" net.netfilter.nf_conntrack_udp_timeout_stream="$1"
}

unmapped() { [[ -z $(on cgnat conntrack -L -p udp --dport 51820 2>/dev/null) ]]; }

# The VPS reboots: WireGuard, its rules, HAProxy and the directory that it wants in /tmp are back. While it is down, a mail waits with its sender. With a
# gateway monitor as pfSense has one, the tunnel is back 15 s after the first unanswered probe; a silent line makes a new handshake with the first keepalive
# that is due more than 120 s after the last one (as with the kernel module: only the firewall knows the other end's address).
# machines: vps ansible postfix openvpn
# lasts: 260
# limit: 500
scenario_server_room_vps_reboots() {
	local before from
	build_server_room wgsharp "$1"
	before=$(rules | grep -F 10.69.69.5)
	watch_gateway
	from=$(now_ms)
	shut_down vps
	send_mail "sent in vain" <<<"Is anybody there?"
	await 60 "the sender's Postfix keeps the mail" deferred
	boot vps
	note "the VPS has booted in $boot_time ms"
	check "systemd on it" "$(on vps systemctl is-system-running)" == running
	check "the rules of wg0 are those of before" "$(rules | grep -F 10.69.69.5)" == "$before"
	await 40 "port 25 answers" greets
	note "since it was told to go down: $(($(now_ms) - from)) ms"
	on sender postqueue -f
	await 30 "the mail is in the mailbox" in_mailbox "sent in vain"
	await 60 "the traveller is in the server room" on traveller ping -n -q -c 1 -W 1 192.168.10.50

	on firewall systemctl stop watch
	on traveller systemctl stop openvpn-client@office
	on vpn systemctl stop openvpn-server@office
	await 60 "nothing is under way between HAProxy and Postfix" mail_is_silent
	# The VPS has answered whatever it owed an answer to (KEEPALIVE_TIMEOUT).
	elapse 12
	from=$(now_ms)
	cut_power vps
	boot vps
	check "after a power cut, systemd on the VPS" "$(on vps systemctl is-system-running)" == running
	check "the rules of wg0 are those of before" "$(rules | grep -F 10.69.69.5)" == "$before"
	await 160 "port 25 answers, over a line that is silent but for keepalives" greets
	note "since the power was cut: $(($(now_ms) - from)) ms"
	on vpn systemctl start openvpn-server@office
	on traveller systemctl start openvpn-client@office
	await 60 "the traveller is in the server room" on traveller ping -n -q -c 1 -W 1 192.168.10.50
}

deferred() { [[ $(on sender journalctl --no-pager -u 'postfix@-') == *status=deferred* ]]; }
