#!/bin/bash
# Pressure: one function for each row of bench/pressure, which the scenarios of 75-pressure.sh demand the same of. A row builds
# its hosts, presses, measures, and leaves figures. Host a runs the daemon under test (and so do the honest peers, unless they
# are the kernel); s is a stranger. Sourced.
#
#   host a wgsharp | wireguard-go | tested     tested: the command in $TESTED, to which the interface's name is appended

# shellcheck disable=SC2154  # library is the runner's
load=$library/pressure.py
PEERS=${library%/interop/lib}/bench/WgSharp.Peers/bin/Release/net10.0/WgSharp.Peers.dll
declare -A figures=() daemon=()

# ---- figures ---------------------------------------------------------------------------------------------------------

# figure NAME VALUE [LIMIT] : "never" within the LIMIT counts as the limit, and is shown with a ">".
figure() {
	local value=$2 over=
	[[ -n $value ]] || fail "no figure for $1"
	if [[ $value == never ]]; then
		value=$3 over='>'
	fi
	figures[$1]=$over$value
	echo "$1 $value $over" >>"$lab/figures"
}

# told NAME FILE : the value that pressure.py said under this name.
told() {
	awk -v name="$1" '$1 == name { print $2; found = 1 } END { exit !found }' "$2" || fail "no $1 in $2: $(cat "$2")"
}

# ascending VALUE... : in order, "never" last. middle and last pick from such a list.
ascending() { printf '%s\n' "$@" | sed 's/never/9e99/' | sort -g | sed 's/9e99/never/'; }
middle() { sed -n "$((($(wc -l <<<"$1") + 1) / 2))p" <<<"$1"; }
last() { tail -n 1 <<<"$1"; }

# ---- hosts that can be taken away again --------------------------------------------------------------------------------

# Everything in every host ends: another row, or another daemon, begins from nothing.
dismantle() {
	local name
	for name in $(ip netns list | awk '{ print $1 }'); do
		ip netns pids "$name" | xargs -r kill -KILL 2>/dev/null || true
		quietly_await 10 "nothing runs on $name" nothing_runs "$name"
		ip netns delete "$name"
	done
	hosts=() implementation=() holder=() machine=() daemon=()
	find "$lab" -mindepth 1 -maxdepth 1 ! -name trace ! -name figures -exec rm -rf {} +
}
nothing_runs() { [[ -z $(ip netns pids "$1") ]]; }

# serve HOST INTERFACE [PROGRAM...] : the host's daemon makes the interface; PROGRAM is what starts the daemon.
serve() {
	local -a command
	case ${implementation[$1]} in
	wgsharp) command=(env DOTNET_EnableDiagnostics=0 "$WGSHARP" --foreground) ;;
	wireguard-go) command=(wireguard-go --foreground) ;;
	tested) read -r -a command <<<"$TESTED" ;;
	kernel) on "$1" ip link add "$2" type wireguard && return ;;
	esac
	launch "$1" "${@:3}" "${command[@]}" "$2" >"$lab/$1/start.$2" 2>&1 </dev/null &
	daemon[$1.$2]=$!
	# Ending it is not worth a line.
	disown
	comes_true 10 on "$1" wg show "$2" || fail "the daemon on $1 does not start: $(cat "$lab/$1/start.$2")"
	# One that went to the background on its own is found by its last word.
	runs "${daemon[$1.$2]}" || daemon[$1.$2]=$(ip netns pids "$1" | while read -r process; do
		[[ $(tr '\0' ' ' <"/proc/$process/cmdline") != *" $2 " ]] || echo "$process"
	done | tail -n 1)
}

# A process that is still at work: neither gone nor a zombie.
runs() {
	local stat
	read -r stat 2>/dev/null <"/proc/$1/stat" && [[ ${stat##*) } != Z* ]]
}

# hub IMPLEMENTATION [PROGRAM...] : a with its interface, 192.168.241.1, listening on port 51820.
hub() {
	host a "$1"
	new_key a
	serve a wg0 "${@:2}"
	on a wg set wg0 listen-port 51820 private-key "$(secret a "${key[a]}")"
	on a ip address add 192.168.241.1/24 dev wg0
	on a ip link set wg0 mtu 1420 up
}

# cabled HOST N IMPLEMENTATION : a host at a's interface ethN, 10.0.N.1 to 10.0.N.2
cabled() {
	host "$1" "$3"
	link "a:eth$2" "10.0.$2.1/24" "$1:eth0" "10.0.$2.2/24"
}

# peer HOST N IMPLEMENTATION : such a host with a tunnel to a, 192.168.241.(N+1); both know each other's endpoint.
peer() {
	cabled "$@"
	new_key "$1"
	serve "$1" wg0
	on "$1" wg set wg0 listen-port 51820 private-key "$(secret "$1" "${key[$1]}")" \
		peer "${pub[a]}" endpoint "10.0.$2.1:51820" allowed-ips 192.168.241.1/32
	on "$1" ip address add "192.168.241.$(($2 + 1))/24" dev wg0
	on "$1" ip link set wg0 mtu 1420 up
	on a wg set wg0 peer "${pub[$1]}" endpoint "10.0.$2.2:51820" allowed-ips "192.168.241.$(($2 + 1))/32"
}

meets() { # host : a ping to a makes the session
	quietly_await 15 "a session of $1 with a" on "$1" ping -n -q -c 1 -W 1 192.168.241.1
}

# guests HOST N COUNT : COUNT interfaces wg1, wg2, ... on an honest host, each a peer of a that has no session yet. Their ways
# to a go to addresses of their own, 192.168.240.I, so that each ping knows its tunnel.
guests() {
	local i
	on a ip route add 192.168.242.0/24 dev wg0
	for ((i = 1; i <= $3; i++)); do
		new_key "guest$i"
		serve "$1" "wg$i"
		on "$1" wg set "wg$i" private-key "$(secret "$1" "${key[guest$i]}")" \
			peer "${pub[a]}" endpoint "10.0.$2.1:51820" allowed-ips "192.168.240.$i/32"
		on "$1" ip address add "192.168.242.$i/32" dev "wg$i"
		on "$1" ip link set "wg$i" mtu 1420 up
		on "$1" ip route add "192.168.240.$i/32" dev "wg$i" src "192.168.242.$i"
		on a ip address add "192.168.240.$i/32" dev wg0
		on a wg set wg0 peer "${pub[guest$i]}" allowed-ips "192.168.242.$i/32"
	done
}

# guests_come HOST COUNT LIMIT : each begins its session 450 ms after the one before; leaves in $took the milliseconds until the
# first ping came back, in ascending order ("never": not within LIMIT seconds).
guests_come() {
	local i from visits=()
	if [[ -v machine[$1] ]]; then
		# A virtual machine has a shell of its own and one channel.
		# shellcheck disable=SC2016  # for the machine's shell
		took=$(on "$1" bash -c 'for ((i = 1; i <= $1; i++)); do
				(answer=$(ping -n -c 1 -W "$2" 192.168.240.$i) && [[ $answer =~ time=([0-9.]+) ]] && echo "${BASH_REMATCH[1]}" || echo never) &
				sleep 0.45
			done
			wait' guests "$2" "$3")
	else
		from=$(($(now_ms) + 500))
		for ((i = 1; i <= $2; i++, from += 450)); do
			launch "$1" "$load" answer "192.168.240.$i" "$3" "${from:0:-3}.${from: -3}" >"$lab/guest.$i" &
			visits+=($!)
		done
		wait "${visits[@]}"
		took=$(for ((i = 1; i <= $2; i++)); do told first_answer_ms "$lab/guest.$i"; done)
	fi
	mapfile -t visits <<<"$took"
	took=$(ascending "${visits[@]}")
}

# press HOST ARGUMENT... : pressure.py at work in the background, its process in $pressing; relieve ends it, and leaves its rate in $pressed.
press() {
	launch "$1" "$load" "${@:2}" >"$lab/pressing" &
	pressing=$!
}
relieve() {
	kill -TERM "$pressing" 2>/dev/null || true
	wait "$pressing" || true
	pressed=$(told per_second "$lab/pressing")
}

shaped() { # interface of a, rate, bytes that may wait
	on a tc qdisc add dev "$1" root handle 1: tbf rate "$2" burst 15k limit "$3"
}

# ---- the rows ------------------------------------------------------------------------------------------------------------

# 1: a floods UDP into the tunnel to b as fast as it can, 40 datagrams with each send; b sends 200 packets a second back, and c,
# which had no session, makes one. What comes more than a second late counts as lost.
row_1() { # implementation
	local receiver stranger
	hub "$1"
	peer b 1 "$1"
	peer c 2 "$1"
	meets b
	launch a "$load" receive 192.168.241.1 9000 8 800 >"$lab/received" &
	receiver=$!
	quietly_await 5 "the receiver listens" grep -q ready "$lab/received"
	press a flood 192.168.241.2 9 12 1372 40
	elapse 1
	launch b "$load" stream 192.168.241.1 9000 4 200 64 >"$lab/sent" &
	stranger=$!
	elapse 1
	on c bash -c 'echo X >/dev/udp/192.168.241.1/9'
	if comes_true 6 has_session c; then
		figure handshake_ms "$waited"
	else
		figure handshake_ms never 6000
	fi
	wait "$stranger" "$receiver"
	relieve
	figure flood_per_second "$pressed"
	figure delivered_of_200 "$(awk -v got="$(told within_a_second "$lab/received")" 'BEGIN { printf "%.1f", got / 4 }')"
	figure longest_gap_ms "$(told longest_gap_ms "$lab/received")"
}
has_session() { [[ $(latest_handshake "$1" wg0 "${pub[a]}") -gt 0 ]]; }

# 2: 44 Mbit/s to c, behind a link of 5 Mbit/s with a long queue; pings to b, whose link is idle.
row_2() { # implementation
	local sender
	hub "$1"
	peer b 1 "$1"
	peer c 2 "$1"
	meets b
	meets c
	shaped eth2 5mbit 40m
	launch a "$load" stream 192.168.241.3 9 9 3930 1372 >"$lab/sent" &
	sender=$!
	elapse 3.5
	on a "$load" echo 192.168.241.2 4 50 >"$lab/pings"
	kill -TERM "$sender"
	wait "$sender" || true
	figure lost_percent "$(told lost_percent "$lab/pings")"
	figure median_ms "$(told median_ms "$lab/pings")" 5000
	figure worst_ms "$(told worst_ms "$lab/pings")" 5000
}

# 3: an uplink of 20 Mbit/s with a queue of 1000 packets, saturated by TCP and then by UDP, from a daemon whose send buffer is small;
# of 20 Mbit/s that come the other way nothing may be lost, or be late. With one packet thread and with two. BUFFERS=both makes
# the receive buffer small as well.
row_3() { # implementation [threads...]
	local one threads=("${@:2}")
	[[ ${#threads[@]} -gt 0 ]] || threads=(1 2)
	for one in "${threads[@]}"; do
		row_3_with_threads "$1" "$one"
		[[ $one == "${threads[-1]}" ]] || dismantle
	done
}

row_3_with_threads() { # implementation threads
	local upload taker
	hub "$1" env WG_THREADS="$2" "$load" small-buffers "${BUFFERS:-send}"
	peer b 1 "$1"
	meets b
	shaped eth1 20mbit 3m
	on a tc qdisc add dev eth1 parent 1:1 pfifo limit 1000
	launch b "$load" take 192.168.241.2 9001 20 >"$lab/taken" &
	taker=$!
	quietly_await 5 "b takes the upload" grep -q ready "$lab/taken"
	launch a "$load" upload 192.168.241.2 9001 8 &
	upload=$!
	steady_download "tcp_$2"
	kill -TERM "$upload" "$taker"
	wait "$upload" "$taker" || true
	launch a "$load" stream 192.168.241.2 9 8 4500 1372 >"$lab/sent" &
	upload=$!
	steady_download "udp_$2"
	kill -TERM "$upload"
	wait "$upload" || true
}

steady_download() { # figure's name
	local receiver
	rm -f "$lab/received"
	launch a "$load" receive 192.168.241.1 9000 7 5358 >"$lab/received" &
	receiver=$!
	quietly_await 5 "the receiver listens" grep -q ready "$lab/received"
	elapse 1
	on b "$load" stream 192.168.241.1 9000 3 1786 1372 >/dev/null
	wait "$receiver"
	figure "lost_percent_$1" "$(told lost_percent "$lab/received")"
	figure "longest_gap_ms_$1" "$(told longest_gap_ms "$lab/received")"
}

# 4: an uplink of 200 kbit/s, an upload that waits for it, and SIGTERM.
row_4() { # implementation [seconds to wait]
	local limit=${2:-35} upload
	hub "$1"
	peer b 1 "$1"
	meets b
	shaped eth1 200kbit 40m
	launch a "$load" stream 192.168.241.2 9 60 4500 1372 >"$lab/sent" &
	upload=$!
	elapse 3
	kill -TERM "${daemon[a.wg0]}"
	if comes_true "$limit" process_ended; then
		figure until_gone_ms "$waited"
	else
		figure until_gone_ms never $((limit * 1000))
	fi
	kill -TERM "$upload"
	wait "$upload" || true
}
process_ended() { ! runs "${daemon[a.wg0]}"; }

# 5, 6, 7: a stranger without a private key sends handshake initiations; honest peers that had no session come one after the other.
strangers() { # implementation, honest peers' implementation, guests, seconds that each may take, right|wrong (mac1), junk's last arguments
	local shows pings knows=-
	hub "$1"
	peer c 2 "$1"
	meets c
	cabled s 3 none
	if [[ $2 == kernel ]]; then
		host b kernel
		link a:eth1 10.0.1.1/24 b:eth0 10.0.1.2/24
	else
		cabled b 1 "$2"
	fi
	guests b 1 "$3"
	[[ $5 == wrong ]] || knows=${pub[a]}
	press s junk 10.0.3.1 51820 100 "$knows" "${@:6}"
	launch c "$load" echo 192.168.241.1 60 20 >"$lab/pings" &
	pings=$!
	launch a "$load" time 60 200 wg show wg0 >"$lab/shows" &
	shows=$!
	elapse 1
	guests_come b "$3" "$4"
	kill -TERM "$shows" "$pings"
	wait "$shows" "$pings"
	relieve
	figure junk_per_second "$pressed"
	figure session_median_ms "$(middle "$took")" $(($4 * 1000))
	figure session_worst_ms "$(last "$took")" $(($4 * 1000))
	figure pings_lost_percent "$(told lost_percent "$lab/pings")"
	figure pings_worst_ms "$(told worst_ms "$lab/pings")" 60000
	figure show_worst_ms "$(told worst_ms "$lab/shows")"
}

# 5: 192 of them with a wrong mac1, every 800 ms.
row_5() { strangers "$1" "${2:-$1}" "${3:-6}" "${4:-13}" wrong 192 800; }

# 6: with a wrong mac1, as fast as the link gives.
row_6() { strangers "$1" "${2:-$1}" "${3:-6}" "${4:-13}" wrong; }

# 7: with a valid mac1, which whoever knows the public key can make, as fast as the link gives.
row_7() { strangers "$1" "${2:-$1}" "${3:-10}" "${4:-13}" right; }

# 8: both ends begin at the same moment, 300 ms away from each other; six pairs, one after the other.
row_8() { # implementation
	local i limit=45 from at ends=() left right took=() cable
	host a "$1"
	host r none
	host b "$1"
	link a:eth0 10.0.1.1/24 r:left ""
	link r:right "" b:eth0 10.0.1.2/24
	on a ethtool -K eth0 tx off >/dev/null
	on b ethtool -K eth0 tx off >/dev/null
	launch r "$library/delay.py" 300 left right 100 >"$lab/delay" &
	cable=$!
	quietly_await 10 "a cable 300 ms long" on a ping -n -q -c 1 -W 2 10.0.1.2
	for i in {1..6}; do
		new_key "left$i"
		new_key "right$i"
		half a b "left$i" "right$i" "$i" 240 242
		half b a "right$i" "left$i" "$i" 242 240
	done
	from=$(($(now_ms) + 1000))
	for ((i = 1; i <= 6; i++, from += 700)); do
		at=${from:0:-3}.${from: -3}
		launch a "$load" answer "192.168.242.$i" "$limit" "$at" >"$lab/left.$i" &
		ends+=($!)
		launch b "$load" answer "192.168.240.$i" "$limit" "$at" >"$lab/right.$i" &
		ends+=($!)
	done
	wait "${ends[@]}"
	kill "$cable"
	for i in {1..6}; do
		left=$(told first_answer_ms "$lab/left.$i")
		right=$(told first_answer_ms "$lab/right.$i")
		took+=("$(last "$(ascending "$left" "$right")")")
	done
	note "    the later end of each pair, ms: ${took[*]}"
	figure both_median_ms "$(middle "$(ascending "${took[@]}")")" $((limit * 1000))
	figure both_worst_ms "$(last "$(ascending "${took[@]}")")" $((limit * 1000))
}

half() { # host, the other one, key's name, the other's, pair, net on this side, net on the other
	local there=10.0.1.2
	[[ $1 == a ]] || there=10.0.1.1
	serve "$1" "wg$5"
	on "$1" wg set "wg$5" listen-port $((51820 + $5)) private-key "$(secret "$1" "${key[$3]}")" \
		peer "${pub[$4]}" endpoint "$there:$((51820 + $5))" allowed-ips "192.168.$7.$5/32"
	on "$1" ip address add "192.168.$6.$5/32" dev "wg$5"
	on "$1" ip link set "wg$5" mtu 1420 up
	on "$1" ip route add "192.168.$7.$5/32" dev "wg$5" src "192.168.$6.$5"
}

# 9: a hub whose link comes up, with peers that all have an endpoint and a persistent keepalive, and that all answer; and a hub that is
# given 10,000 of them while its link is up.
row_9() { # implementation, seconds that each may take, what...
	local one limit=${2:-20} sizes=("${@:3}")
	[[ ${#sizes[@]} -gt 0 ]] || sizes=(400 1000 10000 addconf)
	for one in "${sizes[@]}"; do
		many_peers "$1" "$one" "$limit"
		[[ $one == "${sizes[-1]}" ]] || dismantle
	done
}

many_peers() { # implementation, how many peers or addconf, seconds
	local count=$2 peers shows from
	# shellcheck source=interop/lib/setup.sh
	type -P dotnet >/dev/null || { . "$library/setup.sh" && need_sdk; }
	[[ -r $PEERS ]] || fail "$PEERS is missing: dotnet build bench/WgSharp.Peers -c Release"
	[[ $2 != addconf ]] || count=10000
	host a "$1"
	cabled p 1 none
	serve a wg0
	# The peers' program answers for all ports by one raw socket; the kernel would say that nobody is there.
	on p iptables -A OUTPUT -p icmp --icmp-type destination-unreachable -j DROP
	launch p dotnet "$PEERS" "$count" 1 10.0.1.2 10.0.1.1:51820 "$lab/hub.conf" "$3" >"$lab/peers" &
	peers=$!
	quietly_await 30 "the peers are there" grep -q ready "$lab/peers"
	if [[ $2 == addconf ]]; then
		sed '/^\[Peer\]/,$d' "$lab/hub.conf" >"$lab/interface.conf"
		on a wg setconf wg0 "$lab/interface.conf"
		set_link a wg0 up
	else
		on a wg setconf wg0 "$lab/hub.conf"
	fi
	launch a "$load" show 60 100 wg0 >"$lab/shows" &
	shows=$!
	quietly_await 10 "wg show answers" grep -q ready "$lab/shows"
	from=$(now_ms)
	if [[ $2 == addconf ]]; then
		on a wg addconf wg0 "$lab/hub.conf"
		figure addconf_ms $(($(now_ms) - from))
	else
		on a ip link set wg0 up
	fi
	wait "$peers" || fail "the peers failed: $(cat "$lab/peers")"
	kill -TERM "$shows"
	wait "$shows"
	figure "sessions_$2" "$(of_peers sessions)"
	if [[ $(of_peers all_at) == null ]]; then
		figure "all_ms_$2" never $(($3 * 1000))
	else
		# wireguard-go does not wait for its link.
		[[ $(of_peers first_at) -ge $from ]] || from=$(of_peers first_at)
		figure "all_ms_$2" $(($(of_peers all_at) - from))
	fi
	figure "retransmissions_$2" "$(of_peers retransmissions)"
	figure "cookie_replies_$2" "$(of_peers cookie_replies)"
	figure "show_median_ms_$2" "$(told median_ms "$lab/shows")"
	figure "show_worst_ms_$2" "$(told worst_ms "$lab/shows")"
	figure "answer_worst_ms_$2" "$(told answer_worst_ms "$lab/shows")"
}
of_peers() { tail -n 1 "$lab/peers" | grep -o "\"$1\":[^,}]*" | cut -d : -f 2; }

# 10: a slow socket: each of the control thread's sends takes 5 ms more, while packets are staged for b faster than they leave.
row_10() { # implementation
	local shows slow thread
	hub "$1"
	peer b 1 "$1"
	peer c 2 "$1"
	thread=$(grep -lx wg-control /proc/"${daemon[a.wg0]}"/task/*/comm)
	thread=${thread#/proc/*/task/} thread=${thread%/comm}
	strace -p "$thread" -o /dev/null -e trace=sendmmsg,sendmsg -e inject=sendmmsg,sendmsg:delay_enter=5000 2>"$lab/slow" &
	slow=$!
	quietly_await 5 "strace is there" grep -qs attached "$lab/slow"
	press a flood 192.168.241.2 9 8 1372 40
	launch a "$load" time 6 50 wg show wg0 >"$lab/shows" &
	shows=$!
	elapse 2
	on c bash -c 'echo X >/dev/udp/192.168.241.1/9'
	if comes_true 6 has_session c; then
		figure handshake_ms "$waited"
	else
		figure handshake_ms never 6000
	fi
	wait "$shows"
	relieve
	kill -INT "$slow"
	wait "$slow" || true
	figure flood_per_second "$pressed"
	figure show_median_ms "$(told median_ms "$lab/shows")"
	figure show_worst_ms "$(told worst_ms "$lab/shows")"
}

# 11: a thousand active peers: what the daemon asks the kernel beside what carries their packets.
row_11() { # implementation
	local peers counting sent
	host a "$1"
	cabled p 1 none
	serve a wg0
	on p iptables -A OUTPUT -p icmp --icmp-type destination-unreachable -j DROP
	launch p dotnet "$PEERS" 1000 1 10.0.1.2 10.0.1.1:51820 "$lab/hub.conf" 20 >"$lab/peers" &
	peers=$!
	quietly_await 30 "the peers are there" grep -q ready "$lab/peers"
	on a wg setconf wg0 "$lab/hub.conf"
	set_link a wg0 up
	on a ip route add 10.128.0.0/16 dev wg0
	wait "$peers" || fail "the peers failed: $(cat "$lab/peers")"
	on a "$load" sweep 10.128.0.0 1000 2 2000 >/dev/null
	strace -f -c -p "${daemon[a.wg0]}" -o "$lab/calls" 2>"$lab/counting" &
	counting=$!
	quietly_await 5 "strace is there" grep -qs attached "$lab/counting"
	on a "$load" sweep 10.128.0.0 1000 4 2000 >"$lab/swept"
	kill -INT "$counting"
	wait "$counting" || true
	sent=$(told sent "$lab/swept")
	figure sent "$sent"
	figure questions "$(awk '$NF ~ /^(socket|connect|getsockopt|bind|close)$/ { n += $4 } END { print n + 0 }' "$lab/calls")"
	figure calls_per_packet "$(awk -v sent="$sent" '$NF ~ /^[a-z0-9_]+$/ && $4 ~ /^[0-9]+$/ && $NF != "total" { n += $4 } END { printf "%.2f", n / sent }' "$lab/calls")"
}
