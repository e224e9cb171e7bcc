#!/bin/bash
# The real client's address (interop/systems/client-address): a gateway in an OpenVZ container, a server at home with everything
# in Docker. "The home end" is what a scenario's peer says.

# shellcheck source=interop/systems/client-address/system.sh
. "$library/../systems/client-address/system.sh"

same_address() { [[ $("$1" | tail -n 1) == "$2" ]]; } # function that lists visitors, address

# A visitor is seen by all three services with the address that is said.
seen_as() { # host, source, address of the gateway, what is to be seen
	query=from-$2-to-$3
	check "$1 opens the page at $3" "$(page "$1" "$3" --interface "$2")" == "served by a container"
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

	asks_outside "without forwarding" none 3 0 0
	on gateway sysctl -q -w net.ipv4.ip_forward=1
	on gateway iptables -P FORWARD DROP
	asks_outside "forwarding, policy DROP" none 3 0 0
	on gateway iptables -A FORWARD -i wg0 -j ACCEPT
	on gateway iptables -A FORWARD -o wg0 -j ACCEPT
	asks_outside "forwarded, not translated" none 3 3 0
	check "source of what left through venet0" "$(packets venet0 "src host 192.168.160.2")" == 3
	on gateway iptables -t nat -A POSTROUTING -o venet0 -j SNAT --to-source "$gateway4"
	asks_outside "SNAT" all 6 6 3
	on gateway iptables -t nat -D POSTROUTING -o venet0 -j SNAT --to-source "$gateway4"
	on gateway conntrack -F >/dev/null 2>&1
	on gateway iptables -t nat -A POSTROUTING -o venet0 -j MASQUERADE
	asks_outside "MASQUERADE" all 6 6 3
	check "of those on wg0, requests from the server's address" "$(packets wg0 "src host 192.168.160.2 and dst host 1.1.1.1")" == 3
	check "answers to it" "$(packets wg0 "src host 1.1.1.1 and dst host 192.168.160.2")" == 3
	on home systemctl stop wg-quick@wg0
	on gateway systemctl stop wg-quick@wg0
	check "rules left on the server" "$(on home ip rule | wc -l)" == 3
	await 1 "nothing of wg0 is left on the server" gone home wg0
	await 1 "nor on the gateway" gone gateway wg0
}

# Three pings to 1.1.1.1 from the server, and what tcpdump sees of them on the gateway.
asks_outside() { # what, none|all that are answered, packets on wg0, on venet0, from the public address
	local answer
	capture wg0 gateway wg0 icmp and host 1.1.1.1
	capture venet0 gateway venet0 icmp and host 1.1.1.1
	answer=$(on home ping -n -q -c 3 -i 0.2 -W 1 1.1.1.1) || true
	captured wg0 >/dev/null
	captured venet0 >/dev/null
	answer=$(grep -o '[0-9]* received' <<<"$answer")
	[[ $2 == all ]] || check "$1: answers to three pings" "$answer" == "0 received"
	[[ $2 == none ]] || check "$1: answers to three pings" "$answer" == "3 received"
	check "$1: packets on the gateway's wg0" "$(packets wg0)" == "$3"
	check "$1: on its venet0" "$(packets venet0)" == "$4"
	check "$1: from its public address" "$(packets venet0 "src host $gateway4")" == "$5"
}

# A container's SMTP goes out by the gateway's address, everything else by the home line, IPv4 and IPv6; for the server itself
# as the article has it before it names br-mailcow, and what that costs.
# machines: docker
# peers: wgsharp
# limit: 90
scenario_client_address_mail_by_the_gateway() {
	build_client_address wgsharp "$1"
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

# From the server, not from a container; the mail server elsewhere says who that was.
asks_by_smtp() { # address
	local before
	[[ $(smtp home "$1") == mx.example ]]
	on outside sed -nE 's/.* connect from [^[]+\[([^]]+)\]$/\1/p' /var/log/mail.log | tail -n 1
}
