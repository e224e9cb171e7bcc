#!/bin/bash
# Paths that are narrower than their ends know, what goes through a tunnel over them, and what is measured of it. Sourced.
#
# Inside the tunnels the addresses are those of lib/tunnels.sh. On the outside a is 10.0.1.1 and fd00:1::1, b 10.0.2.2 and
# fd00:2::2, wherever there are routers between them. What daemons say goes to the file that wg-quick's words go to.
#
#   CONTROL_MTU=1340 ./interop/run NAME   gives every interface of the tunnel that MTU: a scenario that is right sees traffic that fits pass,
#                                         whatever the daemon knows of paths
#   CONTROL='on a iptables ...'           is done whenever a tunnel has begun, for the same purpose

sizes=$library/path-mtu.py
not_held=0

# ---- what is demanded --------------------------------------------------------------------------------------------------

# As check, but what does not hold is held against the scenario at its end: one run shows all figures.
demand() { # 'what was measured' VALUE OPERATOR BOUND
	(check "$@" 3>"$lab/demanded") && { cat "$lab/demanded" >&3; return; }
	not_held=$((not_held + 1))
	note "NOT HELD: $(sed 's/^FAILED: //' "$lab/demanded")"
}

all_held() { [[ $not_held -eq 0 ]] || fail "$not_held of these"; }

# To be awaited, and to be held against the scenario only at its end; leaves in $waited how long it took, of SECONDS at most.
expect() { # seconds 'what' command...
	if comes_true "$1" "${@:3}"; then
		note "$2: after $waited ms"
	else
		not_held=$((not_held + 1))
		note "NOT HELD: $2: not within $1 s"
	fi
}

# Speeds by turns, one as the base of the other: a machine with two processors and neighbours is now a fifth faster, now slower, but not from one second to the
# next. The median of three turns decides where it holds; where it does not, that of nine and of all that there are in 40 (or $persists) seconds: while neighbours
# are at work, one second is now a third of the next one. Both commands leave $mbits and $resent.
by_turns() { # 'what' per-cent 'command of the base' 'command'
	local base bases=() speeds=() ratios=() again=() bases_again=() ends=$((SECONDS + ${persists:-40}))
	while [[ ${#ratios[@]} -lt 3 || ((${#ratios[@]} -lt 9 || $SECONDS -lt $ends) && $(median "${ratios[@]}") -lt $2) ]]; do
		$3
		base=$mbits bases_again+=("$resent")
		$4
		again+=("$resent") bases+=("$base") speeds+=("$mbits") ratios+=($((mbits * 100 / (base > 0 ? base : 1))))
	done
	note "    $1, Mbit/s: ${speeds[*]}; by turns with the base: ${bases[*]}; segments sent again: ${again[*]}; of the base: ${bases_again[*]}"
	demand "$1, per cent of the base" "$(median "${ratios[@]}")" -ge "$2"
}
median() { printf '%s\n' "$@" | sort -n | sed -n "$((($# + 1) / 2))p"; }

# The base is the tunnel of begin_base. Each turn takes what the base carried in the beginning in four tenths of a second: iperf3's own clock has whole seconds.
against_base() { # 'what' per-cent from to inner address
	local base=192.168.242.2 most=$((at_first * 50000 + 1))
	[[ $4 == b ]] || base=192.168.242.1
	by_turns "$1" "$2" "iperf $3 $4 $base -n $most" "iperf $3 $4 $5 -n $most"
}
both_against_base() { # per-cent ['when']
	against_base "a -> b${2:-}" "$1" a b 192.168.241.2
	against_base "b -> a${2:-}" "$1" b a 192.168.241.1
}

# ---- what the daemons say ------------------------------------------------------------------------------------------------

# The daemon's own words need a file: neither the journal nor syslog may take them. For all hosts that are made afterwards.
log_is_a_file() {
	unset JOURNAL_STREAM
	[[ ! -e /dev/log ]] || mount --bind /dev/null /dev/log
}

# What the daemon of a host says of its (only) peer's path: "Peer X: path MTU 1400 (probe)". The one place that knows how. Prints the
# last number, or 0.
found_path_mtu() { # host
	local said
	said=$(path_mtu_words "$1" | tail -n 1 | grep -oE 'path MTU [0-9]+')
	echo "${said##* }"
} 2>/dev/null
path_mtu_words() { grep -oE 'path MTU [0-9]+.*' "$lab/$1/wg-quick.wg0" || echo 'path MTU 0 (nothing said)'; }
finds() { [[ $(found_path_mtu "$1") == "$2" ]]; } # host mtu

says() { # host : all that it said of it
	note "    $1 said: $(path_mtu_words "$1" | paste -sd ';' | sed 's/;/; /g')"
}

# ---- paths -----------------------------------------------------------------------------------------------------------------

# a -- r -- q -- b: the link between the routers r and q is the hop, whose MTU neither end can see. There is another one beside it that is always wide: between the
# second addresses of a and b, .3 and ::3.
path() { # peer
	log_is_a_file
	host a wgsharp
	host r none
	host q none
	host b "$1"
	link r:to_a 10.0.1.254/24,fd00:1::254/64 a:eth0 10.0.1.1/24,fd00:1::1/64
	link r:to_q 10.0.9.1/24,fd00:9::1/64 q:to_r 10.0.9.2/24,fd00:9::2/64
	link q:to_b 10.0.2.254/24,fd00:2::254/64 b:eth0 10.0.2.2/24,fd00:2::2/64
	link r:wide_to_q 10.0.8.1/24,fd00:8::1/64 q:wide_to_r 10.0.8.2/24,fd00:8::2/64
	address a eth0 10.0.1.3/24
	address b eth0 10.0.2.3/24
	# Not what anybody sends from unasked.
	on a ip address add fd00:1::3/64 dev eth0 nodad preferred_lft 0
	on b ip address add fd00:2::3/64 dev eth0 nodad preferred_lft 0
	on r sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on q sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on a ip route add default via 10.0.1.254
	on a ip route add default via fd00:1::254
	on b ip route add default via 10.0.2.254
	on b ip route add default via fd00:2::254
	on r ip route add 10.0.2.0/24 via 10.0.9.2
	on r ip route add fd00:2::/64 via fd00:9::2
	on q ip route add 10.0.1.0/24 via 10.0.9.1
	on q ip route add fd00:1::/64 via fd00:9::1
	on r ip route add 10.0.2.3 via 10.0.8.2
	on r ip route add fd00:2::3 via fd00:8::2
	on q ip route add 10.0.1.3 via 10.0.8.1
	on q ip route add fd00:1::3 via fd00:8::1
	quietly_await 10 "a reaches b" on a ping -n -q -c 1 -W 0.2 fd00:2::2
	quietly_await 10 "a reaches b's second address" on a ping -n -q -c 1 -W 0.2 fd00:2::3
	on a ip route add 10.0.2.3 via 10.0.1.254 src 10.0.1.3
	on a ip route add fd00:2::3 via fd00:1::254 src fd00:1::3
	on b ip route add 10.0.1.3 via 10.0.2.254 src 10.0.2.3
	on b ip route add fd00:1::3 via fd00:2::254 src fd00:2::3
	wide_to_a4=10.0.1.3:11 wide_to_b4=10.0.2.3:12 wide_to_a6='[fd00:1::3]:11' wide_to_b6='[fd00:2::3]:12'
	to_a4=10.0.1.1:1 to_b4=10.0.2.2:2 to_a6='[fd00:1::1]:1' to_b6='[fd00:2::2]:2'
}

# a and b on one cable, as `cable` makes it.
short_path() { # peer
	log_is_a_file
	cable "$1"
	on_a_cable
}
on_a_cable() {
	wide_to_a4=10.0.0.1:11 wide_to_b4=10.0.0.2:12 wide_to_a6='[fd00:aa::1]:11' wide_to_b6='[fd00:aa::2]:12'
	to_a4=10.0.0.1:1 to_b4=10.0.0.2:2 to_a6='[fd00:aa::1]:1' to_b6='[fd00:aa::2]:2'
}

hop() { # mtu
	on r ip link set to_q mtu "$1"
	on q ip link set to_r mtu "$1"
}

# Nobody on these hosts says, hands on or hears that something was too big.
filter_icmp() { # host...
	local name chain
	for name; do
		for chain in INPUT OUTPUT FORWARD; do
			on "$name" iptables -A $chain -p icmp --icmp-type fragmentation-needed -j DROP
			on "$name" ip6tables -A $chain -p icmpv6 --icmpv6-type packet-too-big -j DROP
		done
	done
}

# Before the kernel could put them together again for somebody who tracks connections.
filter_fragments() { # host...
	local name
	for name; do
		feed "$name" nft -f - <<-NFT
			table inet fragments {
				chain before {
					type filter hook prerouting priority -450;
					meta nfproto ipv4 ip frag-off & 0x3fff != 0 counter drop
					meta nfproto ipv6 exthdr frag exists counter drop
				}
			}
		NFT
	done
}

# ---- tunnels -----------------------------------------------------------------------------------------------------------------

# A tunnel with an MTU, both ends by wg-quick and new, over IPv4 or IPv6: nothing is remembered. Both know the other's endpoint. $edit_a and
# $edit_b are for sed, and change what is in the files; $policy_b, if any, is the mtu_policy of b alone.
edit_a='' edit_b='' policy_b=''
begin_tunnel() { # 4|6 mtu
	local to_a=$to_a4 to_b=$to_b4 mtu=${CONTROL_MTU:-$2}
	[[ $1 == 4 ]] || { to_a=$to_a6 to_b=$to_b6; }
	[[ -v key[a] ]] || { new_key a; new_key b; }
	end_tunnel
	configuration a "$to_b" | sed "s|^Address.*|&\nMTU = $mtu|;$edit_a" | up a wg0
	configuration b "$to_a" | sed "s|^Address.*|&\nMTU = $mtu|;$edit_b" | up_with_policy b "$policy_b"
	eval "${CONTROL:-}"
	is_open
}

# A second tunnel between them, wg1, of MTU 1420 on a path that is nowhere narrower than 1500. Inside it a is 192.168.242.1, b is .2.
begin_base() { # 4|6
	local to_a=$wide_to_a4 to_b=$wide_to_b4 second='s|192.168.241|192.168.242|g;s|fd00::|fd01::|g;s|^ListenPort = |&1|;s|^Address.*|&\nMTU = 1420|'
	[[ $1 == 4 ]] || { to_a=$wide_to_a6 to_b=$wide_to_b6; }
	[[ -v key[a] ]] || { new_key a; new_key b; }
	configuration a "" | sed "$second" | sed "s|^PresharedKey.*|&\nEndpoint = $to_b|" | up a wg1
	configuration b "" | sed "$second" | sed "s|^PresharedKey.*|&\nEndpoint = $to_a|" | up b wg1
	quietly_await 15 "the base's tunnel is open" on a ping -n -q -c 1 -W 1 192.168.242.2
	iperf a b 192.168.242.2 -t 1
	at_first=$mbits
	note "the base, a second tunnel of MTU 1420 on a path of 1500 over IPv$1: at first $at_first Mbit/s"
}

up_with_policy() { # host mtu_policy
	[[ -z $2 ]] || local -x WGSHARP_MTU_POLICY=$2
	up "$1" wg0
}

end_tunnel() {
	local end
	for end in a b; do
		if on $end test -e /sys/class/net/wg0; then
			down $end wg0
			quietly_await 5 "the tunnel's end on $end is gone" gone $end wg0
		fi
		# What the kernels learnt of a path stays where the interface does, too.
		on $end ip route flush cache
		on $end ip -6 route flush cache
	done
}

# Somebody may have had something to send while the other end was not there yet: the next handshake begins 5 s after.
is_open() {
	quietly_await 15 "the tunnel is open" on a ping -n -q -c 1 -W 1 192.168.241.2
	pings a fd00::2
}

# What a path of 1500 comes to for a tunnel of MTU 1420: no more is looked for than its longest packet needs.
whole() { [[ $1 == 4 ]] && echo 1480 || echo 1500; } # 4|6

# ---- streams that others are watched beside -----------------------------------------------------------------------------------

# TCP in the background; what arrives each second stands in the receiver's words. $streaming has the processes.
streaming=''
stream() { # from to address seconds
	local port=$((5201 + RANDOM % 20000))
	launch "$2" iperf3 -s -1 -B "$3" -p "$port" -i 1 --forceflush -f m >"$lab/stream" 2>&1 &
	streaming=$!
	quietly_await 10 "iperf3 listens on $2" listens "$2" tcp "$port"
	launch "$1" iperf3 -c "$3" -p "$port" -i 0 --connect-timeout 10000 -t "$4" >"$lab/stream.sender" 2>&1 &
	streaming+=" $!"
	# Ending them is not worth a line.
	# shellcheck disable=SC2086  # words
	disown $streaming
}
stream_ends() {
	local process
	for process in $streaming; do
		kill -KILL "$process" 2>/dev/null || true
		quietly_await 5 "iperf3 has ended" stream_is_over "$process"
	done
	streaming=''
}
stream_is_over() { [[ ! -e /proc/$1 ]]; }
streamed() { [[ $(seconds_streamed | wc -l) -ge $1 ]]; } # seconds
# What arrived in each of its seconds, Mbit/s; the last may be a part of one, which does not count.
seconds_streamed() {
	sed '/^- - -/,$d' "$lab/stream" | awk '/ sec / { for (i = 1; i < NF; i++) {
		if ($(i + 1) == "sec") { split($i, span, "-"); whole = span[2] - span[1] > 0.9 }
		if ($(i + 1) == "Mbits/sec" && whole) printf "%d\n", $i
	} }'
}
per_second() { seconds_streamed | paste -sd ' '; }
# The longest run of seconds in which nothing came, from second N on (from 0).
longest_stall() { seconds_streamed | tail -n +$(($1 + 1)) | awk '$1 == 0 { run++; if (run > most) most = run } $1 > 0 { run = 0 } END { print most + 0 }'; }

# ---- counters ------------------------------------------------------------------------------------------------------------------

# Of the kernel of a host: IpFragCreates, Ip6ReasmReqds, ...; the sum of what is named.
counter() { # host name...
	local at=$1
	shift
	on "$at" cat /proc/net/snmp /proc/net/snmp6 | awk -v wanted=" $* " '
		/^[A-Za-z]+: [A-Z]/ { split($0, names); next }
		/^[A-Za-z]+: / { for (i = 2; i <= NF; i++) if (index(wanted, " " substr($1, 1, length($1) - 1) names[i] " ")) sum += $i; next }
		index(wanted, " " $1 " ") { sum += $2 }
		END { print sum + 0 }'
}
created() { counter "$1" IpFragCreates Ip6FragCreates; }     # fragments that a host made
reassembled() { counter "$1" IpReasmReqds Ip6ReasmReqds; }   # fragments that a host had to put together

# fragments_begin HOST...; then fragments_so_far prints what each of them made and put together since, and leaves the sum in $fragments.
declare -A made_before=() joined_before=()
fragments_begin() {
	local name
	made_before=() joined_before=()
	for name; do
		made_before[$name]=$(created "$name")
		joined_before[$name]=$(reassembled "$name")
	done
}
fragments_so_far() { # 'when'
	local name made joined text=
	fragments=0
	for name in "${!made_before[@]}"; do
		made=$(($(created "$name") - ${made_before[$name]})) joined=$(($(reassembled "$name") - ${joined_before[$name]}))
		fragments=$((fragments + made + joined))
		text+="${text:+; }$name made $made, put together $joined"
	done
	note "    fragments $1: $text"
}

# What the link's driver was handed, packets and bytes: a train of messages sent with one UDP_SEGMENT is one packet.
handed_over() { on "$1" cat "/sys/class/net/$2/statistics/tx_packets" "/sys/class/net/$2/statistics/tx_bytes" | paste -sd ' '; } # host interface
