#!/bin/bash
# The kernel's own scenarios, second part: roaming, NAT, routes and source addresses. Numbers are those of the list in README.md.

# 9, 10 - The peer learns a new address and port of the implementation under test, over IPv4 and over IPv6.
# peers: wgsharp kernel
scenario_roaming_is_learnt_from_us() {
	cable "$1"
	tunnel 4 a
	pings a 192.168.241.2
	on a ip address add 10.0.0.77/24 dev eth0
	on a ip address del 10.0.0.1/24 dev eth0
	on a ip address replace 10.0.0.77/24 dev eth0
	on a wg set wg0 listen-port 9999
	pings a fd00::2
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == 10.0.0.77:9999
	on a wg set wg0 listen-port 9998 peer "${pub[b]}" endpoint '[fd00:aa::2]:2'
	pings a 192.168.241.2
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == '[fd00:aa::1]:9998'
	pings b 192.168.241.1
	note "and b's own ping comes back"
}

# 9, 10 - The implementation under test learns a new address and port of its peer, over IPv4 and over IPv6.
# peers: wgsharp kernel wireguard-go
scenario_roaming_is_learnt_by_us() {
	cable "$1"
	tunnel 4 b
	pings b 192.168.241.1
	on b ip address add 10.0.0.78/24 dev eth0
	on b ip address del 10.0.0.2/24 dev eth0
	on b ip address replace 10.0.0.78/24 dev eth0
	on b wg set wg0 listen-port 9999
	pings b fd00::1
	check "a's endpoint of b" "$(endpoint a wg0 "${pub[b]}")" == 10.0.0.78:9999
	on b wg set wg0 listen-port 9998 peer "${pub[a]}" endpoint '[fd00:aa::1]:1'
	pings b 192.168.241.1
	check "a's endpoint of b" "$(endpoint a wg0 "${pub[b]}")" == '[fd00:aa::2]:9998'
	pings a 192.168.241.2
	note "and a's own ping comes back"
}

# a behind NAT: r translates a's addresses, and forgets a flow of UDP after two seconds.
behind_nat() { # peer
	routed "$1"
	on r iptables -t nat -A POSTROUTING -s 192.168.1.0/24 -d 10.0.0.0/24 -j SNAT --to 10.0.0.1
	on r ip6tables -t nat -A POSTROUTING -s fd00:1::/64 -d fd00:2::/64 -j SNAT --to fd00:2::1
	on r sysctl -q net.netfilter.nf_conntrack_udp_timeout=2 net.netfilter.nf_conntrack_udp_timeout_stream=2
	configuration b | up b wg0
}

flows() { on r conntrack -L -p udp -f "ipv$1" 2>/dev/null | grep -c 'dport=2 ' || true; }
no_flow() { [[ $(flows "$1") == 0 ]]; }

# 16, 17 - The responder learns the translated endpoint. A keepalive of 1 s keeps a flow of 2 s alive; 0 turns it off.
nat() { # peer, family, endpoint of b, translated address
	behind_nat "$1"
	configuration a "$3" | up a wg0
	on a wg set wg0 peer "${pub[b]}" persistent-keepalive 1
	pings a 192.168.241.2
	pings b 192.168.241.1
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == "$4:1"
	elapse 3
	check "flows after 3 s without a packet of ours" "$(flows "$2")" == 1
	pings b 192.168.241.1
	note "and b's ping still comes back"
	on a wg set wg0 peer "${pub[b]}" persistent-keepalive 0
	await 4 "keepalive 0: the flow is forgotten" no_flow "$2"
	no_answer b 192.168.241.1
	note "and b does not reach a any more"
}

# 16, 17 - NAT with persistent keepalive over IPv4.
# peers: wgsharp kernel
scenario_nat_and_persistent_keepalive() { nat "$1" 4 10.0.0.100:2 10.0.0.1; }

# 16, 17 - NAT with persistent keepalive over IPv6.
# peers: wgsharp
scenario_nat_and_persistent_keepalive_over_ipv6() { nat "$1" 6 '[fd00:2::100]:2' '[fd00:2::1]'; }

# 20 - A peer whose endpoint lies inside a tunnel of the same interface.
onion() { # peer, 4|6
	local at=192.168.241.2 inside=192.168.242 suffix=/32
	cable "$1"
	tunnel 4 both
	new_key c
	[[ $2 == 4 ]] || at='[fd00::2]' inside=fd00:242: suffix=/128
	create b wg1
	if [[ $2 == 4 ]]; then
		address a wg0 192.168.242.1/24
		address b wg1 192.168.242.2/24
		inner1=192.168.242.1 inner2=192.168.242.2
	else
		address a wg0 fd00:242::1/112
		address b wg1 fd00:242::2/112
		inner1=fd00:242::1 inner2=fd00:242::2
	fi
	on a wg set wg0 peer "${pub[c]}" allowed-ips "$inner2$suffix" endpoint "$at:5"
	on b wg set wg1 private-key "$(secret b "${key[c]}")" listen-port 5 peer "${pub[a]}" allowed-ips "$inner1$suffix"
	set_link b wg1 up
}

# 20, 21 - An endpoint inside another tunnel works; an endpoint inside its own tunnel neither crashes nor spins.
endpoint_inside() { # peer, 4|6
	local daemon before own at
	onion "$1" "$2"
	pings a "$inner2"
	note "endpoint inside another tunnel: the ping comes back"
	on b ip link del wg1
	at=$inner2
	[[ $2 == 4 ]] || at="[$inner2]"
	on a wg set wg0 peer "${pub[c]}" endpoint "$at:5"
	daemon=$(daemon_pid a wg0)
	no_answer a "$inner2"
	before=$(processor_ms "$daemon")
	own=$(transfer a wg0 "${pub[c]}")
	elapse 2
	check "ms of processor time in two seconds of an endpoint inside its own tunnel" $(($(processor_ms "$daemon") - before)) -le 200
	note "rx and tx of that peer: $own, two seconds later: $(transfer a wg0 "${pub[c]}")"
	pings a 192.168.241.2
	note "and the other peer's ping comes back"
}

# 20, 21 - Endpoints inside tunnels, IPv4.
# peers: wgsharp kernel
scenario_endpoint_inside_a_tunnel() { endpoint_inside "$1" 4; }

# 20, 21 - Endpoints inside tunnels, IPv6.
# peers: wgsharp
scenario_endpoint_inside_a_tunnel_over_ipv6() { endpoint_inside "$1" 6; }

# 22 - wg-quick sends everything through the tunnel by policy routing with a mark, and takes it back.
# peers: wgsharp kernel
scenario_default_route_by_wg_quick() {
	behind_nat "$1"
	address b wg0 192.168.99.7/32,abab::1111/128
	configuration a 10.0.0.100:2 | sed 's|^AllowedIPs = .*|AllowedIPs = 0.0.0.0/0, ::/0|' | up a wg0
	check "the mark that wg-quick set" "$(on a wg show wg0 fwmark)" == 0xca6c
	floods a 192.168.99.7 100
	floods a abab::1111 100
	check "way to an unknown address" "$(on a ip route get 203.0.113.1 | grep -o 'dev [^ ]*')" == "dev wg0"
	on a wg set wg0 listen-port 4321
	pings a 192.168.99.7
	note "the mark survives a change of the port"
	down a wg0
	check "rules left" "$(on a ip rule | wc -l) $(on a ip -6 rule | wc -l)" == "3 2"
	await 1 "nothing of wg0 is left" gone a wg0
}

# 23 - A host that is forwarded and NATed into the tunnel hears "Destination Host Unreachable" once the peer is gone.
scenario_unreachable_reaches_a_forwarded_host() {
	local answer
	routed wgsharp
	configuration a | up a wg0
	configuration b 192.168.1.100:1 | up b wg0
	on b ip route add default via 10.0.0.1
	on b iptables -t nat -A POSTROUTING -s 10.0.0.0/24 -d 192.168.241.0/24 -j SNAT --to 192.168.241.2
	on b sysctl -q net.ipv4.ip_forward=1
	on r ip route add 192.168.241.1 via 10.0.0.100
	pings r 192.168.241.1
	note "with the peer, the forwarded ping comes back"
	on b wg set wg0 peer "${pub[a]}" remove
	answer=$(on r ping -n -W 1 -c 1 192.168.241.1) || true
	check "without it" "$(sed -n 2p <<<"$answer")" =~ "icmp_seq=1 Destination Host Unreachable"
}

# 23 - The same over IPv6: ICMPv6 "Address unreachable"; and on the host itself, in both families, also for a peer
# without an endpoint.
scenario_unreachable_over_ipv6_and_locally() {
	local answer
	routed wgsharp
	configuration a | up a wg0
	configuration b '[fd00:1::100]:1' | sed 's|^AllowedIPs.*|&, 192.168.50.0/24, fd00:50::/64|' | up b wg0
	on b ip route add default via fd00:2::1
	on a wg set wg0 peer "${pub[b]}" allowed-ips fd00:2::/64,fd00::2/128,192.168.241.2/32
	on a ip -6 route add fd00:2::1/128 dev wg0
	on b sysctl -q net.ipv6.conf.all.forwarding=1
	on r ip -6 route add fd00::1/128 via fd00:2::100
	pings r fd00::1
	note "with the peer, the forwarded ping comes back"
	on b wg set wg0 peer "${pub[a]}" remove
	answer=$(on r ping -n -W 1 -c 1 fd00::1) || true
	check "without it" "$(sed -n 2p <<<"$answer")" =~ "Destination unreachable: Address unreachable"
	answer=$(on b ping -n -W 1 -c 1 192.168.241.1) || true
	check "on the host itself, IPv4" "$(sed -n 2p <<<"$answer")" =~ "Destination Host Unreachable"
	answer=$(on b ping -n -W 1 -c 1 fd00::1) || true
	check "on the host itself, IPv6" "$(sed -n 2p <<<"$answer")" =~ "Destination unreachable: Address unreachable"
	on b wg set wg0 peer "${pub[a]}" allowed-ips 192.168.241.1/32,fd00::1/128
	answer=$(on b ping -n -W 1 -c 1 192.168.241.1) || true
	check "a peer without an endpoint" "$(sed -n 2p <<<"$answer")" =~ "Destination Host Unreachable"
}

# 24 - The source address is deleted: the next ping works.
# peers: wgsharp kernel
scenario_source_address_deleted() {
	cable "$1"
	on a sysctl -q net.ipv4.conf.eth0.promote_secondaries=1
	tunnel 4 a
	pings a 192.168.241.2
	address a eth0 10.0.0.10/24
	on a ip address del 10.0.0.1/24 dev eth0
	pings a 192.168.241.2
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == 10.0.0.10:1
	on a wg set wg0 peer "${pub[b]}" endpoint '[fd00:aa::2]:2'
	pings a 192.168.241.2
	address a eth0 fd00:aa::10/96
	# A lost solicitation of the answerer for its new neighbour would cost a second.
	quietly_await 10 "b reaches fd00:aa::10" on b ping -n -q -c 1 -W 1 fd00:aa::10
	on a ip address del fd00:aa::1/96 dev eth0
	pings a 192.168.241.2
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == '[fd00:aa::10]:1'
}

# 25 - Answers come from the address that was addressed, secondary addresses included.
# peers: wgsharp kernel
scenario_answers_from_the_address_addressed() {
	local at
	cable "$1"
	address a eth0 10.0.0.12/24,fd00:aa::12/96
	tunnel 4 b
	for at in 10.0.0.1 '[fd00:aa::1]' 10.0.0.12 '[fd00:aa::12]'; do
		on b wg set wg0 peer "${pub[a]}" endpoint "$at:1"
		pings b 192.168.241.1
		check "b asked at $at and was answered from" "$(endpoint b wg0 "${pub[a]}")" == "$at:1"
	done
}

# 26 - The addressed address may belong to another interface.
# peers: wgsharp kernel
scenario_answers_from_another_interface() {
	local at
	cable "$1"
	on a ip link add dummy0 type dummy 2>/dev/null || on a ip link add dummy0 type veth peer name dummy1
	on a ip link set dummy0 up
	address a dummy0 10.50.0.1/24,fd50::1/64
	on b ip route add 10.50.0.0/24 dev eth0
	on b ip route add fd50::/64 via fd00:aa::1
	tunnel 4 b
	for at in 10.50.0.1 '[fd50::1]'; do
		on b wg set wg0 peer "${pub[a]}" endpoint "$at:1"
		pings b 192.168.241.1
		check "b asked at $at and was answered from" "$(endpoint b wg0 "${pub[a]}")" == "$at:1"
	done
}

# 27 - A better route appears in the middle of a session: the source address moves.
scenario_better_route_moves_the_source() {
	local name
	host a wgsharp
	host b wgsharp
	link a:veth1 10.0.0.1/24,fd00:aa::1/96 b:veth2 10.0.0.2/24,fd00:aa::2/96
	link a:veth3 10.0.0.3/24,fd00:aa::3/96 b:veth4 ""
	new_key a
	new_key b
	for name in all veth1 veth3; do on a sysctl -q "net.ipv4.conf.$name.rp_filter=0"; done
	for name in all veth2 veth4; do on b sysctl -q "net.ipv4.conf.$name.rp_filter=0"; done
	on a ip route flush dev veth1
	on a ip route flush dev veth3
	on a ip -6 route flush fd00:aa::/96
	on a ip route add 10.0.0.0/24 dev veth1 src 10.0.0.1 metric 2
	on a ip -6 route add fd00:aa::/96 dev veth1 src fd00:aa::1 metric 20
	tunnel 4 a
	pings a 192.168.241.2
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == 10.0.0.1:1
	on a ip route add 10.0.0.0/24 dev veth3 src 10.0.0.3 metric 1
	pings a 192.168.241.2
	check "after a better route, IPv4" "$(endpoint b wg0 "${pub[a]}")" == 10.0.0.3:1
}
