#!/bin/bash
# Whole sessions with other implementations, started and ended by wg-quick.

session() { # peer, outer family, who initiates
	local from=a target=192.168.241.2 target6=fd00::2
	cable "$1"
	tunnel "$2" "$3"
	if [[ $3 == b ]]; then
		from=b target=192.168.241.1 target6=fd00::1
	fi
	pings "$from" "$target"
	note "handshake: $3 initiated over IPv$2, with a preshared key"
	pings "$from" "$target6"
	if [[ $2 == 4 ]]; then
		check "a's endpoint of b" "$(endpoint a wg0 "${pub[b]}")" == 10.0.0.2:2
		check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == 10.0.0.1:1
	else
		check "a's endpoint of b" "$(endpoint a wg0 "${pub[b]}")" == "[fd00:aa::2]:2"
		check "b's endpoint of a" "$(endpoint b wg0 "${pub[a]}")" == "[fd00:aa::1]:1"
	fi
	agrees
	carries a 192.168.241.1 b 192.168.241.2
	iperf a b fd00::2 -t 1
	check "TCP a -> b (fd00::2), kbit/s" "$kbits" -gt 0
	nearly_agrees
	down a wg0
	await 1 "after wg-quick down nothing of wg0 is left on a" gone a wg0
	check "rules left on a" "$(on a ip rule | wc -l) $(on a ip -6 rule | wc -l)" == "3 2"
	down b wg0
}

# A session that the implementation under test initiates, over IPv4.
# peers: kernel wireguard-go wgsharp
scenario_initiator_over_ipv4() { session "$1" 4 a; }

# A session that the other end initiates, over IPv4.
# peers: kernel wireguard-go
scenario_responder_over_ipv4() { session "$1" 4 b; }

# A session that the implementation under test initiates, over IPv6.
# peers: kernel wireguard-go wgsharp
scenario_initiator_over_ipv6() { session "$1" 6 a; }

# A session that the other end initiates, over IPv6.
# peers: kernel wireguard-go
scenario_responder_over_ipv6() { session "$1" 6 b; }

# Pings once a second until both ends have a newer handshake. None may be lost, and the initiator may only begin
# after REKEY_AFTER_TIME (120 s).
rekey() { # peer, who initiates
	local from=a target=192.168.241.2 first second=0 asked=0 peer_first
	cable "$1"
	tunnel 4 "$2"
	[[ $2 == a ]] || from=b target=192.168.241.1
	pings "$from" "$target"
	first=$(latest_handshake a wg0 "${pub[b]}")
	peer_first=$(latest_handshake b wg0 "${pub[a]}")
	while second=$(latest_handshake a wg0 "${pub[b]}"); [[ $second -eq $first && $asked -lt 140 ]]; do
		elapse 1
		pings "$from" "$target"
		((asked += 1))
	done
	check "seconds between two handshakes that $2 initiated" "$((second - first))" -ge 119
	check "the same, not much later" "$((second - first))" -le 124
	second=$(latest_handshake b wg0 "${pub[a]}")
	check "the same at the other end" "$((second - peer_first))" -ge 119
	note "pings in that time: $asked, none lost"
	agrees
}

# The keys are renewed after 120 s by the implementation under test, and nothing is lost.
# peers: kernel wireguard-go wgsharp
# lasts: 130
scenario_rekey_as_initiator() { rekey "$1" a; }

# The keys are renewed after 120 s by the other end, and nothing is lost.
# peers: kernel wireguard-go
# lasts: 130
scenario_rekey_as_responder() { rekey "$1" b; }
