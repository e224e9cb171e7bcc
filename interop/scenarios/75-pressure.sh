#!/bin/bash
# Alive under pressure: what others do with the processors, the queues and the port of a daemon does not take the tunnel away from
# those who use it honestly. The rows are those of bench/pressure (lib/pressure.sh); beside each figure stands
# that of Debian's wireguard-go, for whoever wants to know: nothing is demanded of it.
# A time that does not hold is measured again, twice at most: the worst of some hundred of them is somebody else's doing where the machine's processors
# are not ours alone, and what we are late with we are late with again. What is lost is lost, without a second look; but for what is lost in a stranger's flood.

# shellcheck disable=SC2154  # library is the runner's
# shellcheck source=interop/lib/pressure.sh
. "$library/pressure.sh"

declare -A theirs=()
not_held=0 late=0 turn=1

# beside ROW [ARGUMENT...] [-- ARGUMENT...] : the row with the implementation under test, then with wireguard-go.
beside() {
	local row=$1 mine=() others name value over
	shift
	while [[ $# -gt 0 && $1 != -- ]]; do
		mine+=("$1")
		shift
	done
	others=("${@:2}")
	"row_$row" wgsharp "${mine[@]}"
	[[ $turn -eq 1 ]] || return 0
	dismantle
	rm -f "$lab/figures"
	("row_$row" wireguard-go "${others[@]}") 3>/dev/null || theirs[failed]=yes
	dismantle
	[[ -e $lab/figures ]] || return 0
	while read -r name value over; do
		theirs[$name]=$over$value
	done <"$lab/figures"
}

# shows FIGURE 'what' [<=|>=|== BOUND] : prints the figure, and wireguard-go's; what does not hold is held against it at the end.
shows() {
	local value=${figures[$1]} other=${theirs[$1]:+, wireguard-go ${theirs[$1]}}
	if [[ $# -eq 4 ]] && ! awk -v value="$value" -v operator="$3" -v bound="$4" 'BEGIN {
		# What begins with ">" is no number: it was given up.
		exit !(value ~ /^-?[0-9]/ && (operator == "<=" && value + 0 <= bound || operator == ">=" && value + 0 >= bound || operator == "==" && value + 0 == bound))
	}'; then
		not_held=$((not_held + 1))
		[[ $2 != ms* && ! -v once_more ]] || late=$((late + 1))
		note "NOT HELD: $2: $value, wanted $3 $4$other"
	else
		note "$2: $value${3:+ ($3 $4)}$other"
	fi
}

# The last word of a scenario.
all_held() {
	[[ ! -v theirs[failed] ]] || note "(wireguard-go came to no end of it)"
	[[ $not_held -gt 0 ]] || return 0
	[[ $not_held -eq $late && $turn -lt 3 ]] || fail "$not_held of these figures"
	not_held=0 late=0
	((turn += 1))
	note "turn $turn"
	dismantle
	"scenario_$name" "$peer"
}

# A local program floods UDP into the tunnel: the peer's packets still come in, and a third peer makes its session.
# alone
# limit: 120
scenario_flood_from_within() {
	beside 1
	shows flood_per_second "datagrams that flood the interface, per second"
	shows delivered_of_200 "of 200 packets a second from the peer, arrived within a second" '>=' 180
	shows longest_gap_ms "ms, the longest gap between two of them"
	shows handshake_ms "ms until a third peer had a session" '<=' 1000
	all_held
}

# One peer's link is narrow and its queue is full: another peer's pings go by.
# quiet
# limit: 120
scenario_narrow_link_of_another_peer() {
	beside 2
	shows lost_percent "% of the pings over an idle link lost" '==' 0
	shows median_ms "ms, median" '<=' 5
	shows worst_ms "ms, worst"
	all_held
}

# An uplink is saturated by uploads, and the send buffer is small: what comes in is neither lost nor late, with one thread and two.
# alone
# limit: 240
scenario_full_uplink() {
	local by threads
	beside 3 1 2 -- 1
	for by in tcp udp; do
		for threads in 1 2; do
			shows "lost_percent_${by}_$threads" "% of a 20 Mbit/s download lost while $by fills the uplink, $threads thread(s)" '==' 0
			shows "longest_gap_ms_${by}_$threads" "ms, the longest gap in it" '<=' 50
		done
	done
	all_held
}

# SIGTERM while a send waits for a link of 200 kbit/s: gone within a second.
# quiet
# limit: 200
scenario_ends_while_a_send_waits() {
	beside 4 10 -- 10
	shows until_gone_ms "ms from SIGTERM until the process was gone" '<=' 1000
	all_held
}

# A stranger's junk: how long honest peers' new sessions take, and what others notice of it.
junk() { # ms that a session may take
	shows junk_per_second "initiations of a stranger, per second"
	shows session_median_ms "ms until an honest new session, median"
	shows session_worst_ms "ms, the worst" '<=' "$1"
	# None on a machine of its own (bench/pressure). Six millions a second fill the socket's buffer, which is the stranger's too, in every 10 ms in which this machine gives
	# us no processor: two or three of some two hundred pings, where its neighbours are busy.
	once_more=yes shows pings_lost_percent "% of the pings in another session lost" '<=' 2
	shows pings_worst_ms "ms, the worst of them"
	shows show_worst_ms "ms that wg show took at worst" '<=' 100
	all_held
}

# Bursts of 192 initiations with a wrong mac1 every 800 ms do not put honest peers off: they cost next to nothing, and are no load.
# alone
# limit: 120
scenario_junk_in_bursts() {
	beside 5 wgsharp 8
	junk 200
}

# The same without a pause, millions a second: they are thrown away before they stand in anybody's way.
# peers: wgsharp kernel
# alone
# limit: 200
scenario_junk_without_a_pause() {
	if [[ $1 == kernel ]]; then
		row_6 wgsharp kernel 4
	else
		beside 6 wgsharp 6 -- wireguard-go 4 8
	fi
	junk 1000
}

# Initiations with a valid mac1, which whoever knows the public key can make: cookies keep the way open for honest peers.
# peers: wgsharp kernel
# alone
# limit: 200
scenario_junk_with_a_valid_mac1() {
	if [[ $1 == kernel ]]; then
		row_7 wgsharp kernel 4
	else
		beside 7 wgsharp 10 -- wireguard-go 4 8
	fi
	junk 6000
}

# A hub comes up with hundreds and thousands of peers that all answer: their own answers are no attack, and wg show answers meanwhile.
# alone
# limit: 240
scenario_hub_of_thousands() {
	local peers
	declare -A allowed=([400]=500 [1000]=1000)
	beside 9 20 400 1000 10000 addconf -- 10 400 1000
	shows addconf_ms "ms that addconf of 10,000 took on the live interface"
	for peers in 400 1000 10000 addconf; do
		if [[ -v allowed[$peers] ]]; then
			shows "all_ms_$peers" "ms until all of $peers had a session" '<=' "${allowed[$peers]}"
		else
			shows "all_ms_$peers" "ms until all of 10,000 had a session ($peers)"
		fi
		shows "retransmissions_$peers" "initiations that were sent again"
		shows "cookie_replies_$peers" "cookie replies to their answers" '==' 0
		# Of what it takes for 10,000 most is wg's own work, on processors that are shared with all the peers: there the daemon's answer is what counts.
		shows "show_worst_ms_$peers" "ms that wg show took at worst" ${allowed[$peers]:+'<=' 100}
		shows "answer_worst_ms_$peers" "ms of a whole answer of the daemon alone, the worst" '<=' 100
	done
	all_held
}

# Packets are staged for one peer faster than a slow socket takes them: wg show and another peer's handshake do not wait for that.
# alone
# limit: 120
scenario_staging_outruns_a_slow_socket() {
	row_10 wgsharp
	shows flood_per_second "datagrams staged for b, per second"
	shows handshake_ms "ms until c had a session, each send of the control thread 5 ms late" '<=' 200
	shows show_median_ms "ms that wg show took, median" '<=' 50
	shows show_worst_ms "ms, the worst"
	all_held
}

# A thousand active peers: nothing is asked of the kernel per packet.
# quiet
# limit: 90
scenario_thousand_active_peers() {
	beside 11
	shows sent "packets to 1,000 peers in turn"
	shows questions "system calls that ask or open something" '<=' 10
	shows calls_per_packet "system calls per packet, all of them"
	all_held
}
