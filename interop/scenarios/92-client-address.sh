#!/bin/bash
# The real client's address (interop/systems/client-address): a gateway in an OpenVZ container, a server at home with everything
# in Docker. "The home end" is what a scenario's peer says.

# shellcheck source=interop/systems/client-address/system.sh
. "$library/../systems/client-address/system.sh"

same_address() { [[ $("$1" | tail -n 1) == "$2" ]]; } # function that lists visitors, address

in_log_of_web() { [[ -n $(visitor_of_web "$1") ]]; }

asked=0
# A visitor is seen by all three services with the address that is said.
seen_as() { # host, source, address of the gateway, what is to be seen
	query=page-$((++asked))
	check "$1 opens the page at $3" "$(page "$1" "$3" --interface "$2")" == "served by a container"
	quietly_await 5 "the web server logs it" in_log_of_web "$query"
	check "the web server's log has" "$(visitor_of_web "$query")" == "$4"
	check "$1 is greeted by the mail server at $3" "$(smtp "$1" "$3" --interface "$2")" == cloud.example
	quietly_await 5 "the mail server logs it" same_address visitors_of_mail "$4"
	check "the mail server's log has" "$(visitors_of_mail | tail -n 1)" == "$4"
	check "what comes back to $1's datagram" "$(echoed "$1" "$2" "$3" "word of $1")" == "word of $1"
	quietly_await 5 "it is logged where it was echoed" same_address visitors_of_echo "$4"
	check "where it was echoed, the log has" "$(visitors_of_echo | tail -n 1)" == "$4"
}

# One letter by IPv4 and one by IPv6; the mail server elsewhere says where they came from.
mail_goes_out() { # address by IPv4, by IPv6
	local before4 before6
	before4=$(letters | occurrences -F 'you@four.example ')
	before6=$(letters | occurrences -F 'you@six.example ')
	mails you@four.example
	mails you@six.example
	await 20 "a letter has arrived by IPv4" letter_came you@four.example "$before4"
	await 20 "and one by IPv6" letter_came you@six.example "$before6"
	check "the letters came from" "$(letters | grep -F you@four.example | tail -n 1) $(letters | grep -F you@six.example | tail -n 1)" == "you@four.example $1 you@six.example $2"
}

# The article's first stage: wg-quick's own rules lead everything into the tunnel; step by step until it comes back.
# machines: debian
# peers: wgsharp
# limit: 100
scenario_client_address_everything_through_the_tunnel() {
	lines_of_client_address wgsharp "$1"
	gateway_of_client_address wgsharp wg0-first
	home_of_client_address debian wg0-first
	address outside eth0 "$outside4/24"
	on outside ip address add 1.1.1.1/32 dev lo
	on outside ip route add default via 192.0.2.1
	on net ip route add 1.1.1.1/32 via "$outside4"
	boot gateway
	boot home
	note "booted, the last in $boot_time ms"
	on gateway sysctl -q net.ipv4.ip_forward=0
	await 10 "the server pings the gateway" on home ping -n -q -c 1 -W 1 192.168.160.1
	pings gateway 192.168.160.2 3
	note "and the gateway the server"
	check "ip route get 1.1.1.1" "$(on home ip route get 1.1.1.1 | head -n 1)" =~ '^1\.1\.1\.1 dev wg0 table 51820 src 192\.168\.160\.2 uid 0'
	check "ip rule" "$(on home ip rule | sed -E 's/[[:space:]]+/ /g; s/ $//')" == "0: from all lookup local
32764: from all lookup main suppress_prefixlength 0
32765: not from all fwmark 0xca6c lookup 51820
32766: from all lookup main
32767: from all lookup default"
	check "ip route show table 51820" "$(on home ip route show table 51820 | sed 's/ $//')" == "default dev wg0 scope link"

	asks_outside "without forwarding" 0 3 0 0
	on gateway sysctl -q -w net.ipv4.ip_forward=1
	on gateway iptables -P FORWARD DROP
	asks_outside "forwarding, policy DROP" 0 3 0 0
	on gateway iptables -A FORWARD -i wg0 -j ACCEPT
	on gateway iptables -A FORWARD -o wg0 -j ACCEPT
	asks_outside "forwarded, not translated" 0 3 3 0
	check "source of what left through venet0" "$(packets venet0 "src host 192.168.160.2")" == 3
	on gateway iptables -t nat -A POSTROUTING -o venet0 -j SNAT --to-source "$gateway4"
	asks_outside "SNAT" 3 6 6 3
	on gateway iptables -t nat -D POSTROUTING -o venet0 -j SNAT --to-source "$gateway4"
	on gateway conntrack -F >/dev/null 2>&1
	on gateway iptables -t nat -A POSTROUTING -o venet0 -j MASQUERADE
	asks_outside "MASQUERADE" 3 6 6 3
	check "of those on wg0, requests from the server's address" "$(packets wg0 "src host 192.168.160.2 and dst host 1.1.1.1")" == 3
	check "answers to it" "$(packets wg0 "src host 1.1.1.1 and dst host 192.168.160.2")" == 3
	on home systemctl stop wg-quick@wg0
	on gateway systemctl stop wg-quick@wg0
	check "rules left on the server" "$(on home ip rule | wc -l)" == 3
	await 5 "nothing of wg0 is left on the server" gone home wg0
	await 5 "nor on the gateway" gone gateway wg0
}

# Three pings to 1.1.1.1 from the server, and what tcpdump sees of them on the gateway.
asks_outside() { # what, how many are answered, packets on wg0, on venet0, from the public address
	local answers
	capture wg0 gateway wg0 icmp and host 1.1.1.1
	capture venet0 gateway venet0 icmp and host 1.1.1.1
	answers=$(answers_to home 1.1.1.1 3 $(($2 > 0 ? 4 : 1)))
	captured wg0 >/dev/null
	captured venet0 >/dev/null
	check "$1: answers to three pings" "$answers" == "$2"
	check "$1: packets on the gateway's wg0" "$(packets wg0)" == "$3"
	check "$1: on its venet0" "$(packets venet0)" == "$4"
	check "$1: from its public address" "$(packets venet0 "src host $gateway4")" == "$5"
}

# A container's SMTP goes out by the gateway's address, everything else by the home line, IPv4 and IPv6; for the server itself
# as the article has it before it names br-mailcow, and what that costs.
# machines: docker
# limit: 180
scenario_client_address_mail_by_the_gateway() {
	build_client_address wgsharp "$1"
	mail_by_the_gateway
}
mail_by_the_gateway() {
	mail_goes_out $gateway4 $gateway6
	check "letters that came by TLS" "$(on outside grep -c 'using TLSv1.3' /var/mail/everything)" == 2
	check "the server asks a web page, IPv4" "$(known_as home 4)" == $line4
	check "IPv6" "$(known_as home 6)" == $home6
	check "the mail server's container, IPv4" "$(container_known_as mail $outside4)" == $line4
	check "IPv6" "$(container_known_as mail $outside6)" == $home6
	check "the web server's container, IPv4" "$(container_known_as web $outside4)" == $line4
	check "IPv6" "$(container_known_as web $outside6)" == $home6
	check "with the tunnel's own address, IPv4" "$(known_as home 4 --interface 192.168.160.2)" == $gateway4
	check "IPv6" "$(known_as home 6 --interface fc00:0:0:160::2)" == $gateway6
	check "SMTP from the server itself" "$(asks_by_smtp $outside4) $(asks_by_smtp $outside6)" == "$line4 $home6"

	note "ip rule add ipproto tcp dport 25 lookup wireguard"
	on home ip rule add ipproto tcp dport 25 lookup wireguard pref 2499
	on home ip -6 rule add ipproto tcp dport 25 lookup wireguard pref 2499
	check "SMTP from the server itself" "$(asks_by_smtp $outside4) $(asks_by_smtp $outside6)" == "$gateway4 $gateway6"
	refuses greets $gateway4 --connect-timeout 1
	refuses greets $gateway6 --connect-timeout 1
	note "visitors are not greeted now: what Docker hands on to the container has port 25 too"
	on home ip rule del pref 2499
	on home ip -6 rule del pref 2499
	check "without it they are" "$(smtp outside $gateway4 --interface $visitor4) $(smtp outside $gateway6 --interface $visitor6)" == "cloud.example cloud.example"
}

# With the kernel module at home, both the way out and the way in: the mail's address, and the visitors'.
# machines: docker
# peers: kernel
# limit: 1500
scenario_client_address_both_ways() {
	build_client_address wgsharp "$1"
	mail_by_the_gateway
	addresses_of_visitors
}

# From the server, not from a container; the mail server elsewhere says who that was.
asks_by_smtp() { # address
	local before
	before=$(visitors_of_mail_outside | wc -l)
	[[ $(smtp home "$1") == mx.example ]]
	quietly_await 5 "the mail server elsewhere logs it" more_visitors_of_mail_outside "$before"
	visitors_of_mail_outside | tail -n 1
}
visitors_of_mail_outside() { on outside sed -nE 's/.* connect from [^[]+\[([^]]+)\]$/\1/p' /var/log/mail.log; }
more_visitors_of_mail_outside() { [[ $(visitors_of_mail_outside | wc -l) -gt $1 ]]; }

# A visitor's own address is in the containers' logs: web, mail, UDP, IPv4 and IPv6. What each of the article's rules is worth:
# SNAT instead, no rule for the mark, the mark without `! -d`, a service of the server itself without its rule.
# machines: docker
# limit: 300
scenario_client_address_of_visitors() {
	build_client_address wgsharp "$1"
	addresses_of_visitors
}
addresses_of_visitors() {
	local to
	for to in $gateway4 $gateway6; do seen_as outside "$(visitor_for "$to")" "$to" "$(visitor_for "$to")"; done
	for to in $gateway4 $gateway6; do
		watch_handshake "$to" gateway:wg0 gateway:venet0 home:wg0 router:lan
		visits "$to"
		check_handshake "a visitor at $to" gateway:wg0 1 1 gateway:venet0 1 1 home:wg0 1 1 router:lan 0 0
	done

	note "SNAT to wg0: it works, and hides who came"
	on gateway iptables -t nat -A POSTROUTING -o wg0 -j MASQUERADE
	query=masked visits $gateway4
	quietly_await 5 "the web server logs it" in_log_of_web masked
	check "the web server's log has" "$(visitor_of_web masked)" == 192.168.160.1
	on gateway iptables -t nat -D POSTROUTING -o wg0 -j MASQUERADE

	note "without the rule for the mark: the answer to a SYN takes the home line"
	on home ip rule del pref 2502
	on home ip -6 rule del pref 2502
	answers_go_astray
	on home ip rule add fwmark 0xa table wireguard pref 2502
	on home ip -6 rule add fwmark 0xa table wireguard pref 2502

	# The article has the tunnel's other end discard it; Docker's FORWARD policy does so before.
	note "the mark without '! -d': the visitor's ACK is led back towards the tunnel"
	on home iptables -t mangle -I PREROUTING -m conntrack --ctorigdst 192.168.160.2 --ctstate ESTABLISHED,RELATED -j MARK --set-mark 0xa
	on home ip6tables -t mangle -I PREROUTING -m conntrack --ctorigdst fc00:0:0:160::2 --ctstate ESTABLISHED,RELATED -j MARK --set-mark 0xa
	for to in $gateway4 $gateway6; do
		capture visit gateway venet0 "tcp port 443"
		refuses visits "$to" --max-time 1.5
		captured visit >/dev/null
		check "$to: answers to the visitor's SYN" "$(packets visit "src port 443 and $(flags_in "$to") & 2 != 0")" -ge 1
		check "$to: answers to what he sends then" "$(packets visit "src port 443 and $(flags_in "$to") & 2 = 0")" == 0
	done
	on home iptables -t mangle -D PREROUTING -m conntrack --ctorigdst 192.168.160.2 --ctstate ESTABLISHED,RELATED -j MARK --set-mark 0xa
	on home ip6tables -t mangle -D PREROUTING -m conntrack --ctorigdst fc00:0:0:160::2 --ctstate ESTABLISHED,RELATED -j MARK --set-mark 0xa
	for to in $gateway4 $gateway6; do visits "$to" || fail "no page at $to with everything as it was"; done
	served_by_the_host
}

# A service on the server, without a container.
served_by_the_host() {
	local to
	on home docker stop web >/dev/null
	on home systemd-run --quiet --unit=plain ncat -v --keep-open --listen 443 --exec '/bin/echo served by the host'
	for to in $gateway4 $gateway6; do
		await 30 "the host answers at $to" host_answers "$to"
		await 5 "its log has the visitor's address" host_has_seen "$(visitor_for "$to")"
	done
	note "without the rule for its own address: the answer to a SYN takes the home line"
	on home ip rule del pref 2501
	on home ip -6 rule del pref 2501
	answers_go_astray
}
host_has_seen() { [[ $(on home journalctl -q -u plain -o cat) == *"Connection from $1."* ]]; } # address
# Without an end of its own: ncat's server stops at that, whether its program has spoken or not.
host_answers() { # address
	[[ $(on outside ncat --recv-only --source "$(visitor_for "$1")" --wait 3 "$1" 443) == "served by the host" ]]
}

# SYNs arrive, what answers them leaves by the home line with the tunnel's address, and nobody gets it.
answers_go_astray() {
	local to
	for to in $gateway4 $gateway6; do
		watch_handshake "$to" gateway:wg0 router:lan
		refuses visits "$to" --max-time 1.5
		end_watch gateway:wg0 router:lan
		check "$to: SYNs on the gateway's wg0" "$(handshake gateway:wg0 syn)" -ge 1
		check "$to: answers there" "$(handshake gateway:wg0 answer)" == 0
		check "$to: answers that the home router got, from $(tunnel_address "$to")" "$(packets router:lan src port 443 and src host "$(tunnel_address "$to")")" -ge 1
	done
}

# Counts SYNs to port 443 and the answers to them, as tcpdump sees them in places (host:interface). Nobody looks into a virtual
# machine; what it sends is seen at the other end of its cable and of the tunnel.
watch_handshake() { # address, place...
	local place
	for place in "${@:2}"; do
		[[ ! -v machine[${place%:*}] ]] || continue
		capture "$place" "${place%:*}" "${place#*:}" "tcp port 443 and $(flags_in "$1") & 2 != 0"
	done
}
flags_in() { if [[ $1 == *:* ]]; then echo 'ip6[53]'; else echo 'tcp[13]'; fi; } # address
end_watch() { # place...
	local place
	for place; do [[ -v machine[${place%:*}] ]] || captured "$place" >/dev/null; done
}
handshake() { # place syn|answer
	if [[ $2 == syn ]]; then packets "$1" dst port 443; else packets "$1" src port 443; fi
}
check_handshake() { # what, then place SYNs answers...
	local what=$1
	shift
	while [[ $# -gt 0 ]]; do
		if [[ ! -v machine[${1%:*}] ]]; then
			end_watch "$1"
			check "$what, on $1, SYNs and answers" "$(handshake "$1" syn) $(handshake "$1" answer)" == "$2 $3"
		fi
		shift 3
	done
}

# To oneself by the gateway's address: NAT loopback from the server and from a container; then the DNS alternative.
# machines: docker
# peers: wgsharp
# limit: 180
scenario_client_address_loopback() {
	local to
	build_client_address wgsharp "$1"
	seen_as home 192.168.160.2 $gateway4 192.168.160.1
	seen_as home fc00:0:0:160::2 $gateway6 fc00:0:0:160::1
	for to in $gateway4 $gateway6; do
		watch_handshake "$to" gateway:wg0 gateway:venet0 home:wg0
		page home "$to" --interface "$(tunnel_address "$to")" >/dev/null
		check_handshake "by $to to oneself" gateway:wg0 2 2 home:wg0 2 2 gateway:venet0 0 0
		check "those to the public address, on the gateway's wg0" "$(packets gateway:wg0 dst host "$to") $(packets gateway:wg0 src host "$to")" == "1 1"
	done
	container_to_itself $gateway4 192.168.160.1
	container_to_itself $gateway6 fc00:0:0:160::1
	query=plain page home $gateway4 >/dev/null
	quietly_await 5 "the web server logs it" in_log_of_web plain
	check "without the tunnel's address the server comes as if from the internet" "$(visitor_of_web plain)" == $line4
	# With IPv6 nobody translates: what comes back through the tunnel is from an address of the server's own.
	refuses page home $gateway6 --max-time 1.5
	note "over IPv6 it gets no page without the tunnel's address"
	without_loopback_rules
	dns_override
}

tunnel_address() { if [[ $1 == *:* ]]; then echo fc00:0:0:160::2; else echo 192.168.160.2; fi; } # for an address of the gateway

# The mail server's container greets itself, by port 25's rule.
container_to_itself() { # address or name, what the log has
	# shellcheck disable=SC2016  # for the container's shell
	check "a container by $1 to itself" "$(on home inside mail timeout 5 bash -c 'exec 3<>/dev/tcp/$0/25; read -r code name rest <&3; echo "$code $name"' "$1")" == "220 cloud.example"
	quietly_await 5 "the mail server logs $2" same_address visitors_of_mail "$2"
	check "the mail server's log has" "$(visitors_of_mail | tail -n 1)" == "$2"
}

# What the two rules are for: refused without the first, no answer that fits without the second.
without_loopback_rules() {
	local status=0
	on gateway iptables -t nat -D POSTROUTING -o wg0 -s 192.168.160.0/24 -d 192.168.160.2 -p tcp --dport 443 -j MASQUERADE
	page home $gateway4 --interface 192.168.160.2 --max-time 1.5 || status=$?
	check "curl without the rule for the source (28: no answer)" "$status" == 28
	on gateway iptables -t nat -D PREROUTING -i wg0 -s 192.168.160.0/24 -d $gateway4 -p tcp --dport 443 -j DNAT --to-destination 192.168.160.2
	status=0
	page home $gateway4 --interface 192.168.160.2 || status=$?
	check "curl without both (7: refused)" "$status" == 7
}

# The house's name server says that the name is here: nothing goes through the tunnel.
dns_override() {
	local name=cloud.example
	check "before, the name is" "$(on home getent ahosts $name | awk '$2 == "STREAM" { print $1 }' | sort | tr '\n' ' ')" == "$gateway6 $gateway4 "
	feed home tee /etc/dnsmasq.d/override <"$client_address/server/override" >/dev/null
	on home systemctl restart dnsmasq
	quietly_await 10 "the house's name server answers again" on home getent ahosts $name
	check "and now" "$(on home getent ahosts $name | awk '$2 == "STREAM" { print $1 }' | sort | tr '\n' ' ')" == "192.168.178.20 $home6 "
	capture venet0 gateway venet0 "udp port 51820 or port 443 or port 25"
	check "a page by name" "$(query=name4 page home $name -4) $(query=name6 page home $name -6)" == "served by a container served by a container"
	quietly_await 5 "the web server logs it" in_log_of_web name6
	check "the web server's log has" "$(visitor_of_web name4) $(visitor_of_web name6)" == "192.168.178.20 $home6"
	# shellcheck disable=SC2016  # for the container's shell
	on home inside mail timeout 5 bash -c 'exec 3<>/dev/tcp/$0/25; read -r code name rest <&3; [[ $name == cloud.example ]]' $name
	note "and the container's mail server greets itself; it sees $(visitors_of_mail | tail -n 1)"
	captured venet0 >/dev/null
	check "packets to or from the gateway meanwhile" "$(packets venet0)" == 0
}

# A mail server elsewhere, whose certificate is larger than 4 KB and whose packets come with DF set, finishes its TLS handshake
# with a container: with the article's TCPMSS rule and without, MTU 1420 and 1500, and nothing of it travels in parts.
# machines: docker
# peers: wgsharp
# limit: 240
scenario_client_address_large_certificate() {
	local mtu end
	build_client_address wgsharp "$1"
	check "bytes of the certificate" "$(on outside openssl x509 -in /srv/outside/certificate.pem -outform DER | wc -c)" -ge 4096
	for mtu in 1420 1500; do
		note "MTU $mtu"
		with_mtu $mtu
		for end in gateway home; do check "MTU of wg0 on $end" "$(on $end cat /sys/class/net/wg0/mtu)" == $mtu; done
		shakes_hands $mtu mx4.example "tcp[13]" 20
		shakes_hands $mtu mx6.example "ip6[53]" 40
		without_clamping mx4.example
		without_clamping mx6.example
	done
}

starttls() { # server, seconds : a container's handshake
	on home inside mail timeout "$2" openssl s_client -connect "$1:25" -starttls smtp -brief </dev/null 2>&1
}

# What a handshake with the rule looks like on the gateway: the size of segments that the rule names, or less where the line does not take that much, DF on
# whatever the server sends, and no message in parts.
shakes_hands() { # mtu, server, where the flags of TCP stand, bytes of the IP header
	local widest=1440 segment first rest
	segment=$((($1 < widest ? $1 : widest) - 20 - $4))
	capture syn gateway wg0 "$3 & 2 != 0 and tcp dst port 25"
	capture line gateway venet0 "tcp src port 25 or (ip and udp port 51820) or ip[6:2] & 0x1fff != 0"
	check "$2, the handshake" "$(starttls "$2" 10 | grep -E '^(CONNECTION|Protocol)' | tr '\n' ' ')" == "CONNECTION ESTABLISHED Protocol version: TLSv1.3 "
	captured syn >/dev/null
	captured line >/dev/null
	check "$2, the MSS that it was told" "$(tcpdump -n -v -r "$lab/syn.pcap" 2>/dev/null | grep -o 'mss [0-9]*' | sort -u)" == "mss $segment"
	if [[ $4 == 20 ]]; then
		check "$2, packets that came without DF" "$(packets line "ip and tcp src port 25 and ip[6] & 0x40 = 0")" == 0
	fi
	first=$(packets line "src host $gateway4 and ip[6:2] & 0x3fff = 0x2000 and ip[2:2] = 1500")
	rest=$(packets line "src host $gateway4 and ip[6:2] & 0x1fff != 0 and ip[2:2] = 80")
	check "$2, messages in parts" "$((first + rest))" == 0
}

# The same without the rule.
without_clamping() { # server
	local program=iptables answer=
	[[ $1 == mx4* ]] || program=ip6tables
	on home $program -t mangle -D POSTROUTING -p tcp --tcp-flags SYN SYN -o wg0 -j TCPMSS --clamp-mss-to-pmtu
	answer=$(starttls "$1" 5 | grep -E '^(CONNECTION|Protocol)' | tr '\n' ' ') || true
	check "without TCPMSS, $1, the handshake" "${answer:-none within 5 s}" == "CONNECTION ESTABLISHED Protocol version: TLSv1.3 "
	on home $program -t mangle -A POSTROUTING -p tcp --tcp-flags SYN SYN -o wg0 -j TCPMSS --clamp-mss-to-pmtu
	on outside ip route flush cache
	on outside ip -6 route flush cache
}

# Everything comes back after a reboot of either end; and wg-quick down leaves no rule on either.
# machines: docker
# peers: wgsharp
# limit: 240
scenario_client_address_reboots() {
	local to end before
	build_client_address wgsharp "$1"
	mail_goes_out $gateway4 $gateway6

	restart gateway
	note "the gateway has rebooted in $boot_time ms"
	check "policies of FORWARD" "$(on gateway iptables -S FORWARD | head -n 1) $(on gateway ip6tables -S FORWARD | head -n 1)" == "-P FORWARD DROP -P FORWARD DROP"
	check "forwarding" "$(on gateway sysctl -n net.ipv4.ip_forward net.ipv6.conf.all.forwarding | tr '\n' ' ')" == "1 1 "
	# Somebody at home has mail to send, which the server's end notices to get no answer.
	before=$(letters | occurrences -F 'you@four.example ')
	mails you@four.example
	await 60 "a letter from home has arrived" retried you@four.example "$before"
	is_back

	shut_down home
	boot home
	note "the server has rebooted in $boot_time ms"
	is_back

	cut_power gateway
	cut_power home
	boot gateway
	boot home
	note "both without power, and back"
	is_back
	seen_as home 192.168.160.2 $gateway4 192.168.160.1
	seen_as home fc00:0:0:160::2 $gateway6 fc00:0:0:160::1

	for end in home gateway; do
		on $end systemctl stop wg-quick@wg0
		await 5 "nothing of wg0 is left on the $end" gone $end wg0
		check "rules of iptables that tell of the tunnel on the $end" "$(rules $end | occurrences 'wg0|192\.168\.160|fc00:0:0:160|0xa|venet0')" == 0
		check "routing rules on the $end" "$(on $end ip rule | wc -l) $(on $end ip -6 rule | wc -l)" == "3 2"
		check "routes that tell of it" "$({ on $end ip route show table all; on $end ip -6 route show table all; } | occurrences 'wg0|192\.168\.160|fc00:0:0:160')" == 0
	done
	check "rules of iptables on the gateway" "$(rules gateway | occurrences '^-A')" == 0
}
rules() { on "$1" iptables-save && on "$1" ip6tables-save; } # host

# Postfix tries again what could not be sent when it is told to.
retried() { # recipient, more than
	on home inside mail postqueue -f
	letter_came "$@"
}

is_back() {
	local to
	for to in $gateway4 $gateway6; do
		await 60 "the web server answers at $to" visits "$to" --max-time 1
		await 60 "the mail server answers at $to" greets "$to" --max-time 1
		seen_as outside "$(visitor_for "$to")" "$to" "$(visitor_for "$to")"
	done
	mail_goes_out $gateway4 $gateway6
	check "everything else goes by the home line" "$(container_known_as mail $outside4) $(container_known_as web $outside6)" == "$line4 $home6"
}

# The gateway reboots while the tunnel rests, and nobody at home says anything: a keepalive is sent every 60 s, and the one that finds the
# session older than 120 s begins a new one.
# machines: docker
# peers: wgsharp
# lasts: 140
# limit: 400
scenario_client_address_heals_by_itself() {
	build_client_address wgsharp "$1"
	# What is still to be acknowledged is, within KEEPALIVE_TIMEOUT.
	elapse 12
	restart gateway
	note "the gateway has rebooted in $boot_time ms"
	await 190 "a visitor has the page again" visits $gateway4 --max-time 1
	check "and by IPv6" "$(page outside $gateway6)" == "served by a container"
}
