#!/bin/bash
# The kernel's own scenarios, first part: what goes through a tunnel, at which size, from whom. Numbers are those of the list in README.md.

# 1 - Keys, preshared key, port and allowed IPs are set while the link is down; the sockets open with the link.
# peers: wgsharp kernel
scenario_configured_before_link_up() {
	local underlay=a
	interfaces "$1"
	[[ -v machine[b] ]] || underlay=z
	set_up "$b4" "$a4"
	check "sockets on port 1 while the link is down" "$(on "$underlay" ss -H -n -l -u 'sport = :1' | wc -l)" == 0
	set_link a wg0 up
	set_link b wg0 up
	check "sockets on port 1 once it is up (IPv4, IPv6)" "$(on "$underlay" ss -H -n -l -u 'sport = :1' | wc -l)" == 2
	pings a 192.168.241.2
	pings b fd00::1
	note "and pings come back"
	set_link a wg0 down
	check "sockets on port 1 after link down" "$(on "$underlay" ss -H -n -l -u 'sport = :1' | wc -l)" == 0
}

all_pings() {
	floods b 192.168.241.1
	floods a 192.168.241.2
	floods b fd00::1
	floods a fd00::2
}

# 2 - Flood pings, both families inside, both ways.
# peers: wgsharp kernel
scenario_flood_pings() {
	interfaces "$1"
	configure "$b4" "$a4"
	all_pings
}

# 3 - TCP and UDP, both families inside, both ways.
# peers: wgsharp kernel
scenario_tcp_and_udp() {
	interfaces "$1"
	configure "$b4" "$a4"
	pings a 192.168.241.2
	carries a 192.168.241.1 b 192.168.241.2
	carries a fd00::1 b fd00::2
}

# 4 - Several TCP streams at once.
# peers: wgsharp kernel
scenario_parallel_streams() {
	interfaces "$1"
	configure "$b4" "$a4"
	pings a 192.168.241.2
	iperf a b 192.168.241.2 -t 2 -P 8
	check "8 TCP streams a -> b, kbit/s together" "$kbits" -gt 0
	iperf b a fd00::1 -t 2 -P 8
	check "8 TCP streams b -> a over IPv6, kbit/s together" "$kbits" -gt 0
}

# 5 - The counters count whole messages: after ten pings 1372 one way, and 1428 the other (1460 with the keepalive that
# confirms the key).
# peers: wgsharp kernel
scenario_counters() {
	local rx tx started
	interfaces "$1"
	configure "$b4" "$a4"
	started=$(date +%s)
	ten_pings b 192.168.241.1
	quietly_await 5 "both ends agree" same_bytes
	read -r rx tx <<<"$(transfer b wg0 "${pub[a]}")"
	check "the initiator received" "$rx" == 1372
	check "the initiator sent" "$tx" =~ '^(1428|1460)$'
	read -r rx tx <<<"$(transfer a wg0 "${pub[b]}")"
	check "the responder received" "$rx" =~ '^(1428|1460)$'
	check "the responder sent" "$tx" == 1372
	check "seconds from the first ping to the handshake" $(($(latest_handshake a wg0 "${pub[b]}") - started)) -le 2
}

# 5 - The same when the implementation under test is the initiator.
# peers: wgsharp kernel
scenario_counters_as_initiator() {
	local rx tx
	interfaces "$1"
	configure "$b4" "$a4"
	ten_pings a fd00::2
	quietly_await 5 "both ends agree" same_bytes
	read -r rx tx <<<"$(transfer a wg0 "${pub[b]}")"
	check "received, ten pings of 104 bytes" "$rx" == $((92 + 10 * (112 + 32)))
	check "sent" "$tx" =~ "^($((148 + 10 * (112 + 32)))|$((148 + 32 + 10 * (112 + 32))))\$"
}

# 6 - All that at an MTU of 34,736: over the loopback in one piece, to the kernel in fragments.
# peers: wgsharp kernel
scenario_mtu_34736() {
	# As in the kernel: whoever sends too long a packet is not told, outer fragments carry it.
	export WGSHARP_MTU_POLICY=kernel
	interfaces "$1"
	configure "$b4" "$a4"
	on a ip link set wg0 mtu 34736
	on b ip link set wg0 mtu 34736
	all_pings
	pings a 192.168.241.2 2 -s 34700 -M 'do'
	pings b fd00::1 2 -s 34680 -M 'do'
	note "pings of 34,728 bytes come back in one piece"
	if [[ $1 == kernel ]]; then
		iperf a b 192.168.241.2 -t 1
		check "TCP a -> b, kbit/s" "$kbits" -gt 0
		iperf b a fd00::1 -t 1
		check "TCP b -> a over IPv6, kbit/s" "$kbits" -gt 0
	else
		carries a 192.168.241.1 b 192.168.241.2
		carries a fd00::1 b fd00::2
	fi
}

# 7 - All that over IPv6, at both MTUs.
# peers: wgsharp kernel
scenario_outer_ipv6() {
	interfaces "$1"
	configure "$b6" "$a6"
	all_pings
	carries a 192.168.241.1 b 192.168.241.2
	on a ip link set wg0 mtu 34736
	on b ip link set wg0 mtu 34736
	all_pings
	check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == "$a6"
}

# The longest datagram that a sends while it pings with every length from 1 to the MTU's last 20; none is a fragment.
longest() { # outer family
	local size filter='udp and src port 1'
	capture padding a eth0 "$filter or (ip[6:2] & 0x3fff != 0) or (ip6[6] == 44)"
	for size in {1250..1271}; do
		pings a 192.168.241.2 1 -s "$size"
	done
	captured padding >/dev/null
	check "fragments sent" "$(packets padding '(ip[6:2] & 0x3fff != 0) or (ip6[6] == 44)')" == 0
	most=$(tcpdump -n -v -r "$lab/padding.pcap" 2>/dev/null | grep -oE '(, length|payload length:) [0-9]+\)' | grep -oE '[0-9]+' | sort -n | tail -n 1)
	[[ $1 == 4 ]] || most=$((most + 40))
}

# 8 - Padding never crosses the interface's MTU.
# peers: wgsharp kernel
scenario_padding_within_the_interface_mtu() {
	local most
	cable "$1"
	tunnel 4 both
	on a ip link set wg0 mtu 1299
	longest 4
	check "interface MTU 1299: longest IPv4 datagram" "$most" -le $((1299 + 60))
	check "and it was padded up to the limit" "$most" -ge $((1299 + 60 - 1))
}

# 8 - Padding never crosses the MTU of the route to the peer, IPv4 and IPv6.
# peers: wgsharp kernel
scenario_padding_within_the_path_mtu() {
	local most
	cable "$1"
	tunnel 4 both
	on a ip route add 10.0.0.2/32 dev eth0 mtu 1359
	await 5 "a's daemon, which asks once in a second at most, knows of the route" knows_route 1359
	longest 4
	check "route MTU 1359: longest IPv4 datagram" "$most" -le 1359
	on a ip -6 route add fd00:aa::2/128 dev eth0 mtu 1379
	on a wg set wg0 peer "${pub[b]}" endpoint '[fd00:aa::2]:2'
	await 5 "and of the other one" knows_route 1379
	longest 6
	check "route MTU 1379: longest IPv6 datagram" "$most" -le 1379
}
knows_route() { # mtu
	pings a 192.168.241.2
	[[ $(on a "$WGSHARP" status wg0 --json | grep -o '"route_mtu_bytes": *[0-9]*' | grep -o '[0-9]*$') == "$1" ]]
}

# 11, 12 - A peer with a whole /24 delivers. When a more specific peer takes the address, packets of the old one are
# dropped, yet its endpoint still roams.
# peers: wgsharp kernel
scenario_more_specific_peer_takes_over() {
	interfaces "$1"
	configure "$b4" "$a4"
	pings b 192.168.241.1
	on a wg set wg0 peer "${pub[b]}" allowed-ips 192.168.241.0/24,fd00::/112
	capture first a wg0 'udp port 1111'
	on b bash -c 'echo X >/dev/udp/192.168.241.1/1111; echo X >/dev/udp/fd00::1/1111'
	await 5 "allowed IPs /24 and /112: both packets arrive" test_packets first 2
	captured first >/dev/null
	new_key c
	on a wg set wg0 peer "${pub[c]}" allowed-ips 192.168.241.2/32,fd00::2/128
	on b wg set wg0 listen-port 9997
	capture second a wg0 'udp port 1111'
	on b bash -c 'echo X >/dev/udp/192.168.241.1/1111; echo X >/dev/udp/fd00::1/1111'
	await 2 "the old peer's endpoint roams to ${b4%:*}:9997" test_endpoint a wg0 b "${b4%:*}:9997"
	on b bash -c 'echo X >/dev/udp/192.168.241.1/1111'
	no_answer b 192.168.241.1
	captured second >/dev/null
	check "packets delivered from the old peer" "$(packets second)" == 0
	on a wg set wg0 peer "${pub[c]}" remove
	on a wg set wg0 peer "${pub[b]}" allowed-ips 192.168.241.2/32,fd00::2/128
	pings b 192.168.241.1
	note "and after the other peer's removal a ping comes back"
}
test_packets() { [[ $(packets "$1") -ge $2 ]]; }
test_endpoint() { [[ $(endpoint "$1" "$2" "${pub[$3]}") == "$4" ]]; }

# 13 - The private key changes on one side and the peer's key on the other: a ping within one second.
# peers: wgsharp kernel
scenario_private_key_changes() {
	interfaces "$1"
	configure "$b4"
	pings a 192.168.241.2
	new_key c
	on a wg set wg0 private-key "$(secret a "${key[c]}")"
	on b wg set wg0 peer "${pub[c]}" preshared-key "$(secret b "$psk")" allowed-ips 192.168.241.1/32,fd00::1/128 peer "${pub[a]}" remove
	pings a 192.168.241.2
	note "a's key changed: the next ping came back within 1 s"
	new_key d
	on b wg set wg0 private-key "$(secret b "${key[d]}")"
	on a wg set wg0 peer "${pub[d]}" preshared-key "$(secret a "$psk")" allowed-ips 192.168.241.2/32,fd00::2/128 endpoint "$b4" peer "${pub[b]}" remove
	pings a fd00::2
	note "b's key changed: the next ping came back within 1 s"
}

# A second tunnel inside the first: wg1 with MTU 1340 between fd00::5:1 and fd00::5:2.
inner_tunnel() { # 4|6: family between the tunnels
	local inside_a='[fd00::5:1]' inside_b='[fd00::5:2]' allowed_a=fd00::5:1/128 allowed_b=fd00::5:2/128
	new_key c
	new_key d
	if [[ $1 == 4 ]]; then
		inside_a=192.168.5.1 inside_b=192.168.5.2 allowed_a=192.168.5.1/32 allowed_b=192.168.5.2/32
	fi
	on a ip addr flush dev wg0
	on b ip addr flush dev wg0
	address a wg0 192.168.5.1/24,fd00::5:1/112
	address b wg0 192.168.5.2/24,fd00::5:2/112
	on a wg set wg0 private-key "$(secret a "${key[a]}")" listen-port 1 peer "${pub[b]}" allowed-ips "$allowed_b" endpoint "$b4"
	on b wg set wg0 private-key "$(secret b "${key[b]}")" listen-port 2 peer "${pub[a]}" allowed-ips "$allowed_a" endpoint "$a4"
	set_link a wg0 up
	set_link b wg0 up
	create a wg1
	create b wg1
	address a wg1 192.168.241.1/24,fd00::1/112
	address b wg1 192.168.241.2/24,fd00::2/112
	on a ip link set wg1 mtu 1340
	set_link a wg1 up
	on b ip link set wg1 mtu 1340
	set_link b wg1 up
	on a wg set wg1 listen-port 5 private-key "$(secret a "${key[c]}")" peer "${pub[d]}" allowed-ips 192.168.241.2/32,fd00::2/128 endpoint "$inside_b:5"
	on b wg set wg1 listen-port 5 private-key "$(secret b "${key[d]}")" peer "${pub[c]}" allowed-ips 192.168.241.1/32,fd00::1/128 endpoint "$inside_a:5"
}

# 14 - A tunnel in a tunnel.
# peers: wgsharp kernel
scenario_tunnel_in_tunnel() {
	interfaces "$1"
	inner_tunnel 6
	all_pings
	carries a 192.168.241.1 b 192.168.241.2
	carries a fd00::1 b fd00::2
}

# 14 - A tunnel in a tunnel, IPv4 between them.
# peers: wgsharp
scenario_tunnel_in_tunnel_over_ipv4() {
	interfaces "$1"
	inner_tunnel 4
	all_pings
	carries a 192.168.241.1 b 192.168.241.2
}

# 15 - Two tunnels, each of which is the other's way: what is sent in circles stays bounded, and ends.
scenario_routing_loop_stays_bounded() {
	local before after later
	interfaces wgsharp
	inner_tunnel 6
	on a ip link set wg1 netns z
	address z wg1 192.168.241.1/24
	on z ip link set wg1 up
	pings z 192.168.241.2
	on a wg set wg0 peer "${pub[b]}" endpoint 192.168.241.2:7
	on b ip link del wg0
	on b ip link del wg1
	read -r _ before <<<"$(transfer a wg1 "${pub[d]}")"
	on z ping -W 1 -c 10 -f -q 192.168.241.2 >"$lab/ping" && fail "a ping in a loop has come back"
	elapse 1
	read -r _ after <<<"$(transfer a wg1 "${pub[d]}")"
	# Each goes around eight times, and so do the probes that such large messages begin.
	check "bytes that ten pings put into the loop" $((after - before)) -lt 150000
	# Probes are tried three times, a second apart, for each of some sizes; then nothing is left but a handshake.
	quietly_await 40 "the loop is silent again" loop_is_silent
	note "the loop is silent again after $waited ms"
	read -r _ later <<<"$(transfer a wg1 "${pub[d]}")"
	on z ping -W 1 -c 10 -f -q -s 1300 192.168.241.2 >"$lab/ping" && fail "a ping in a loop has come back"
	elapse 1
	read -r _ after <<<"$(transfer a wg1 "${pub[d]}")"
	check "bytes that ten large ones did, in fragments" $((after - later)) -lt 1000000
	quietly_await 40 "the loop is silent again" loop_is_silent
	note "the loop is silent again after $waited ms"
}

# No more than a handshake in a second.
loop_is_silent() {
	local before after
	read -r _ before <<<"$(transfer a wg1 "${pub[d]}")"
	elapse 1
	read -r _ after <<<"$(transfer a wg1 "${pub[d]}")"
	[[ $((after - before)) -le 1000 ]]
}

# 15 - What bounds that loop: a WireGuard message within hands its hop limit on, less 8. Everything else leaves with the default.
scenario_hop_limit_of_nested_messages() {
	interfaces wgsharp
	inner_tunnel 4
	capture outer z lo 'udp port 1'
	pings a 192.168.5.2
	pings a 192.168.241.2
	on a wg set wg0 peer "${pub[b]}" endpoint "$b6"
	pings a 192.168.5.2
	pings a 192.168.241.2
	captured outer >/dev/null
	check "over IPv4: messages with 56 hops left" "$(packets outer 'ip[8] == 56')" -ge 2
	check "over IPv4: messages with 64" "$(packets outer 'ip[8] == 64')" -ge 2
	check "over IPv6: messages with 56 hops left" "$(packets outer 'ip6[7] == 56')" -ge 2
	check "over IPv6: messages with 64" "$(packets outer 'ip6[7] == 64')" -ge 2
	check "messages with any other" "$(packets outer 'not (ip[8] == 56 or ip[8] == 64 or ip6[7] == 56 or ip6[7] == 64)')" -eq 0
}

# 18 - Traffic bound to the interface (ping -I), also when a mark makes it be routed again.
# peers: wgsharp kernel
scenario_bound_to_the_interface() {
	interfaces "$1"
	configure "$b4" "$a4"
	pings a 192.168.241.2 1 -I wg0
	pings a fd00::2 1 -I wg0
	on a iptables -t mangle -I OUTPUT -j MARK --set-xmark 1
	pings a 192.168.241.2
	pings a 192.168.241.2 1 -I wg0
	note "ping -I wg0 came back, with and without a mark, over IPv4 and IPv6"
}
