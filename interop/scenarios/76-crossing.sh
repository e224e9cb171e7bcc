#!/bin/bash
# Two ends far from each other that begin in the same moment: their initiations cross.

# One ping with nothing to push it: how long until its answer is here.
first_answer() { # from address
	local began
	began=$(now_ms)
	on "$1" ping -n -q -c 1 -W 50 "$2" >/dev/null || echo failed >"$lab/$1/took"
	[[ -e $lab/$1/took ]] || echo $(($(now_ms) - began)) >"$lab/$1/took"
}

# Both forget each other, get to know each other again, and ping. Leaves in $took when the later answer was there. (Taking the links down and up would
# do as well, but wireguard-go hears of that some time later.)
try_at_once() {
	local from_a from_b pings=()
	on a wg set wg0 peer "${pub[b]}" remove
	on b wg set wg0 peer "${pub[a]}" remove
	on a wg set wg0 peer "${pub[b]}" preshared-key "$(secret a "$psk")" endpoint 192.168.1.1:2 allowed-ips 192.168.241.2/32
	on b wg set wg0 peer "${pub[a]}" preshared-key "$(secret b "$psk")" endpoint 10.0.0.1:1 allowed-ips 192.168.241.1/32
	rm -f "$lab/a/took" "$lab/b/took"
	first_answer a 192.168.241.2 &
	pings+=($!)
	first_answer b 192.168.241.1 &
	pings+=($!)
	wait "${pings[@]}"
	read -r from_a <"$lab/a/took"
	read -r from_b <"$lab/b/took"
	[[ $from_a != failed && $from_b != failed ]] || fail "a single ping from both ends at once: $from_a from a, $from_b from b"
	took=$((from_a > from_b ? from_a : from_b))
}

begin_at_once() { # peer, median and worst in ms
	local try took times=() delay
	routed "$1"
	launch r "$library/delay.pl" 300 192.168.1.1:2 192.168.1.100:1 10.0.0.1:1 10.0.0.100:2 &
	delay=$!
	quietly_await 5 "the long way is there" listens r udp 2
	configuration a 192.168.1.1:2 | up a wg0
	configuration b 10.0.0.1:1 | up b wg0
	for ((try = 0; try < 9; try++)); do
		try_at_once
		times+=("$took")
	done
	kill "$delay"
	mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
	note "300 ms each way, both begin at once; the later of two single pings was answered after (ms): ${times[*]}"
	check "median" "${times[4]}" -le "$2"
	check "worst" "${times[8]}" -le "$3"
}

# With 300 ms each way, both ends begin in the same moment: both handshakes are completed, and both pings are answered in four trips or so.
# quiet
# limit: 120
scenario_both_begin_at_once() { begin_at_once "$1" 1500 3000; }

# The same against those who throw their own handshake away when they answer: two round trips more at most.
# peers: wireguard-go kernel
# quiet
# limit: 180
scenario_both_begin_at_once_with_a_stock_peer() { begin_at_once "$1" 2700 4200; }
