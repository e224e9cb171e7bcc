#!/bin/bash
# The tunnels that most scenarios begin with. Inside, the addresses are always the same: 192.168.241.1 and fd00::1 on a,
# 192.168.241.2 and fd00::2 on b; a listens on port 1, b on port 2; both use a preshared key. Sourced.

psk=$(wg genpsk)

# Two hosts on one cable, or a and b with a router between them; b runs what the scenario names as its peer.
cable() { # peer
	host a wgsharp
	host b "$1"
	link a:eth0 10.0.0.1/24,fd00:aa::1/96 b:eth0 10.0.0.2/24,fd00:aa::2/96
	new_key a
	new_key b
}

# As cable, with a third host s, the stranger, and a hub between all of them.
with_a_stranger() {
	local port
	host a wgsharp
	host b wgsharp
	host s none
	host hub none
	on hub ip link add br0 type bridge
	on hub ip link set br0 up
	link hub:to_a "" a:eth0 10.0.0.1/24,fd00:aa::1/96
	link hub:to_b "" b:eth0 10.0.0.2/24,fd00:aa::2/96
	link hub:to_s "" s:eth0 10.0.0.3/24,fd00:aa::3/96
	for port in to_a to_b to_s; do on hub ip link set "$port" master br0; done
	new_key a
	new_key b
	quietly_await 5 "s reaches a" on s ping -n -q -c 1 -W 0.2 fd00:aa::1
}

# a 192.168.1.100 -- 192.168.1.1 r 10.0.0.1 -- 10.0.0.100 b, and the same with fd00:1:: and fd00:2::. r forwards.
routed() { # peer
	host a wgsharp
	host r none
	host b "$1"
	link r:ethc 192.168.1.1/24,fd00:1::1/64 a:eth0 192.168.1.100/24,fd00:1::100/64
	link r:eths 10.0.0.1/24,fd00:2::1/64 b:eth0 10.0.0.100/24,fd00:2::100/64
	on r sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on a ip route add default via 192.168.1.1
	on a ip route add default via fd00:1::1
	new_key a
	new_key b
}

# The underlay is the loopback of a third host z, where both interfaces are born before they move to a and b.
loopback() { # peer
	host z none
	host a wgsharp
	host b "$1"
	new_key a
	new_key b
	create a wg0 z
	create b wg0 z
}

# wg-quick's file for a or b. With an endpoint this side can initiate.
configuration() { # a|b [endpoint]
	local me=1 them=2 peer=b
	[[ $1 == a ]] || { me=2 them=1 peer=a; }
	cat <<-END
		[Interface]
		PrivateKey = ${key[$1]}
		ListenPort = $me
		Address = 192.168.241.$me/24, fd00::$me/112
		[Peer]
		PublicKey = ${pub[$peer]}
		PresharedKey = $psk
		AllowedIPs = 192.168.241.$them/32, fd00::$them/128
		${2:+Endpoint = $2}
	END
}

# Both ends by wg-quick on a cable, over IPv4 or IPv6; who initiates is who knows the endpoint (a, b or both).
tunnel() { # 4|6 a|b|both
	local to_a=10.0.0.1:1 to_b=10.0.0.2:2
	[[ $1 == 4 ]] || { to_a='[fd00:aa::1]:1' to_b='[fd00:aa::2]:2'; }
	[[ $2 != a ]] || to_a=
	[[ $2 != b ]] || to_b=
	configuration a "$to_b" | up a wg0
	configuration b "$to_a" | up b wg0
}

# Interfaces on a and b that nobody has set up yet, and the endpoints to set: over the loopback where both interfaces can
# be born in the same namespace and move, over a cable where b is a machine of its own.
interfaces() { # peer
	if [[ $1 == kernel && $KERNEL == vm ]]; then
		cable "$1"
		create a wg0
		create b wg0
		a4=10.0.0.1:1 b4=10.0.0.2:2 a6='[fd00:aa::1]:1' b6='[fd00:aa::2]:2'
	else
		loopback "$1"
		a4=127.0.0.1:1 b4=127.0.0.1:2 a6='[::1]:1' b6='[::1]:2'
	fi
}

# Sets everything on interfaces that are down, the way the kernel's own test does it, and takes them up.
configure() { # [a's endpoint for b] [b's endpoint for a]
	set_up "$@"
	set_link a wg0 up
	set_link b wg0 up
}

set_up() {
	address a wg0 192.168.241.1/24,fd00::1/112
	address b wg0 192.168.241.2/24,fd00::2/112
	on a wg set wg0 private-key "$(secret a "${key[a]}")" listen-port 1 \
		peer "${pub[b]}" preshared-key "$(secret a "$psk")" allowed-ips 192.168.241.2/32,fd00::2/128 ${1:+endpoint "$1"}
	on b wg set wg0 private-key "$(secret b "${key[b]}")" listen-port 2 \
		peer "${pub[a]}" preshared-key "$(secret b "$psk")" allowed-ips 192.168.241.1/32,fd00::1/128 ${2:+endpoint "$2"}
}

# Both ends count the same bytes and mean the same handshake: b's age of it lies between two readings of a's (a virtual
# machine has a clock of its own, and takes a moment to answer).
agrees() {
	local rx tx peer_rx peer_tx before theirs after
	quietly_await 5 "the counters of both ends agree" same_bytes
	check "a received what b sent" "$rx" -eq "$peer_tx"
	check "b received what a sent" "$tx" -eq "$peer_rx"
	before=$(handshake_age a wg0 "${pub[b]}")
	theirs=$(handshake_age b wg0 "${pub[a]}")
	after=$(handshake_age a wg0 "${pub[b]}")
	check "seconds since the handshake, b says (a: $before to $after)" "$theirs" -ge $((before - 1))
	check "and" "$theirs" -le $((after + 1))
}

# Leaves them in rx, tx, peer_rx and peer_tx: read once more, a keepalive may have come between.
same_bytes() {
	read -r rx tx <<<"$(transfer a wg0 "${pub[b]}")"
	read -r peer_rx peer_tx <<<"$(transfer b wg0 "${pub[a]}")"
	[[ $rx == "$peer_tx" && $tx == "$peer_rx" ]]
}

# After a load that the underlay may have lost a part of: nobody received more than was sent, nor much less.
nearly_agrees() {
	local rx tx peer_rx peer_tx
	read -r rx tx <<<"$(transfer a wg0 "${pub[b]}")"
	read -r peer_rx peer_tx <<<"$(transfer b wg0 "${pub[a]}")"
	check "per mille of what b sent that a counts as received" "$((rx * 1000 / peer_tx))" =~ '^([7-9][0-9][0-9]|1000)$'
	check "per mille of what a sent that b counts as received" "$((peer_rx * 1000 / tx))" =~ '^([7-9][0-9][0-9]|1000)$'
}
