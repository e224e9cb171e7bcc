#!/bin/bash
# Traffic through the tunnels, and captures of it. Sourced.

# Pings and demands answers. One ping has one second. Of several, ping would only wait for twice the longest time seen,
# which on a busy machine is too short; with -w it waits for the number of answers.
pings() { # from address [count [more options of ping]]
	# One that is answered after 5 s was staged, and its first handshake message was lost.
	local from=$1 to=$2 count=${3:-1} answer patience=(-W 3)
	shift 2
	[[ $# -eq 0 ]] || shift
	[[ $count -eq 1 ]] || patience=(-w 10)
	answer=$(on "$from" ping -n -q "${patience[@]}" -c "$count" "$@" "$to") || fail "ping from $from to $to: $answer"
	[[ $answer =~ ([0-9]+)" received" && ${BASH_REMATCH[1]} -ge $count ]] || fail "ping from $from to $to: $answer"
}

# So many pings one after the other: prints how many were answered, each within its SECONDS. (Of several in one go, ping waits for the last one for as long as the
# others took twice, at least for the interval: 0.2 s, which somebody on a busy machine may need for nothing.)
answers_to() { # from address count seconds [more options of ping]
	local number answers=0
	for ((number = 0; number < $3; number++)); do
		! on "$1" ping -n -q -c 1 -W "$4" "${@:5}" "$2" >/dev/null 2>&1 || answers=$((answers + 1))
	done
	echo "$answers"
}

floods() { # from address [count]
	pings "$1" "$2" "${3:-10}" -f
	note "flood ping $1 -> $2: ${3:-10} came back"
}

# Exactly ten, whatever becomes of them: the counters tell.
ten_pings() { # from address
	on "$1" ping -n -q -W 1 -c 10 -i 0.01 "$2" >/dev/null || fail "ping from $1 to $2: no answer at all"
}

no_answer() { # from address [count [more options of ping]]
	local answer
	answer=$(on "$1" ping -n -q -i 0.2 -W 1 -c "${3:-1}" "${@:4}" "$2") || true
	[[ $answer == *" 0 received"* ]] || fail "ping from $1 to $2 has to stay without an answer: $answer"
}

# Runs iperf3 and leaves the receiver's rate in $mbits and $kbits, its loss in per cent in $lost (UDP;
# all of it where nothing arrived), and how many segments were sent again in $resent (TCP).
iperf() { # from to address [options of iperf3 -c]
	local from=$1 to=$2 at=$3 port=$((5201 + RANDOM % 20000)) answer
	shift 3
	on "$to" iperf3 -s -1 -D -B "$at" -p "$port"
	quietly_await 10 "iperf3 listens on $to" listens "$to" tcp "$port"
	answer=$(on "$from" iperf3 -f k -c "$at" -p "$port" --connect-timeout 5000 "$@" 2>&1) || fail "iperf3 $from -> $to $*: $answer"
	# The receiver's line; with several streams the sum of them.
	kbits=$(awk '/receiver/ { for (i = 1; i < NF; i++) if ($(i + 1) == "Kbits/sec") rate = $i } END { printf "%d", rate }' <<<"$answer")
	mbits=$((kbits / 1000))
	resent=$(awk '/sender/ { for (i = 1; i < NF; i++) if ($(i + 1) == "Kbits/sec") again = $(i + 2) } END { print again }' <<<"$answer")
	lost=$(awk '/receiver/ && match($0, /[0-9]+\/[0-9]+ \(/) { split(substr($0, RSTART, RLENGTH), of, "/"); lost = of[2] + 0 ? 100 * of[1] / of[2] : 100 } END { printf "%d", lost }' <<<"$answer")
}

listens() { # host tcp|udp port
	[[ -n $(on "$1" ss -H -n -l "--$2" "sport = :$3") ]]
}

# TCP and UDP in both directions have to arrive. It is little, and TCP takes no more than it is given: this is about arriving, not about speed, and others
# have the processors, too. iperf3's receiver stops where its sender has written everything, and tells what it has read until then: the sockets hold half
# of it at most, so that is never nothing.
carries() { # left address right address
	local tcp=(-n 1M -w 128K -b 200M) udp=(-u -n 256K -b 5M)
	iperf "$1" "$3" "$4" "${tcp[@]}"
	check "TCP $1 -> $3 ($4), kbit/s" "$kbits" -gt 0
	iperf "$3" "$1" "$2" "${tcp[@]}"
	check "TCP $3 -> $1 ($2), kbit/s" "$kbits" -gt 0
	iperf "$1" "$3" "$4" "${udp[@]}"
	check "UDP $1 -> $3 ($4), per cent lost ($mbits Mbit/s arrived)" "$lost" -le 50
	iperf "$3" "$1" "$2" "${udp[@]}"
	check "UDP $3 -> $1 ($2), per cent lost ($mbits Mbit/s arrived)" "$lost" -le 50
}

# capture NAME HOST INTERFACE FILTER... : tcpdump until captured NAME, which prints the file's name. Without --immediate-mode: that gives each packet a
# place for the longest one, 8 in the whole buffer, and of 20,000 in a row 2,400 arrive in the file.
declare -A capture_pid=() captured_twice=() capture_astray=()
capture() {
	local name=$1 at=$2 interface=$3
	shift 3
	rm -f "$lab/$name."{tcpdump,ended} # of a capture before it with this name
	# A machine that has booted has files of its own; only its network is looked into.
	nsenter --target "${holder[$at]}" --net -- tcpdump -n -U -B 16384 -s 0 -i "$interface" -w "$lab/$name.pcap" "$@" 2>"$lab/$name.tcpdump" &
	capture_pid[$name]=$!
	captured_twice[$name]=1
	# On the loopback the kernel shows each packet twice, and tcpdump keeps one.
	[[ $interface != lo ]] || captured_twice[$name]=2
	quietly_await 10 "tcpdump listens on $at" grep -q 'listening on' "$lab/$name.tcpdump"
	# What comes after tcpdump has opened the interface and before it has set its filter is counted by the kernel, and tcpdump throws it away.
	counts "$name"
	capture_astray[$name]=$((received - taken * captured_twice[$name]))
	comes_true 2 none_astray "$name" || true
}
none_astray() { # name : all that was counted has been read; leaves the fewest there were in $capture_astray
	local left
	counts "$1"
	left=$((received - taken * captured_twice[$1]))
	[[ $left -ge ${capture_astray[$1]} ]] || capture_astray[$1]=$left
	[[ ${capture_astray[$1]} -eq 0 ]]
}

captured() {
	reads_all "$1"
	kill -TERM "${capture_pid[$1]}"
	wait "${capture_pid[$1]}" || true
	: >"$lab/$1.ended"
	echo "$lab/$1.pcap"
}

# What the kernel has caught so far and tcpdump has not read yet: it comes within a second.
reads_all() { # name
	counts "$1"
	quietly_await 10 "tcpdump has read everything" has_read "$1" "$received"
}

has_read() { # name, packets received by then
	counts "$1"
	[[ $((taken * captured_twice[$1] + capture_astray[$1])) -ge $2 ]]
}

# Asked by a signal, tcpdump says how many it has read and the kernel has caught; leaves them in $taken and $received. A capture with holes proves nothing.
counts() { # name
	local file=$lab/$1.tcpdump times dropped before
	said_by_tcpdump "$file"
	before=$times
	kill -USR1 "${capture_pid[$1]}"
	quietly_await 5 "tcpdump counts" counted "$file" "$before"
	[[ $dropped -eq 0 ]] || fail "the capture $1 has holes and proves nothing: of $received packets the kernel dropped $dropped"
}
counted() { # file, how many times it had by then
	said_by_tcpdump "$1"
	[[ $times -gt $2 ]]
}
# How many times it has counted, in $times, and what it said last, in $taken, $received and $dropped. Asked often: without another program.
said_by_tcpdump() { # file
	local line lines number='([0-9]+) packets?'
	times=0
	mapfile -t lines <"$1"
	for line in "${lines[@]}"; do
		[[ $line =~ $number' captured, '$number' received by filter, '$number' dropped by kernel' ]] || continue
		times=$((times + 1)) taken=${BASH_REMATCH[1]} received=${BASH_REMATCH[2]} dropped=${BASH_REMATCH[3]}
	done
}

packets() { # name [tcpdump filter] : how many packets of a running or ended capture match
	[[ -e $lab/$1.ended ]] || reads_all "$1"
	tcpdump -n -r "$lab/$1.pcap" "${@:2}" 2>/dev/null | wc -l
}

# The payloads of the datagrams of one length in a capture, in hexadecimal, one per line.
payloads() { # capture, UDP payload length
	tcpdump -n -x -r "$lab/$1.pcap" "udp[4:2] = $(($2 + 8)) or (ip6[6] = 17 and ip6[44:2] = $(($2 + 8)))" 2>/dev/null | awk -v digits=$(($2 * 2)) '
		function put() { if (hex) print substr(hex, length(hex) - digits + 1); hex = "" }
		/^[0-9]/ { put() }
		/^\t0x/ { sub(/^\t0x[0-9a-f]*: */, ""); gsub(/ /, ""); hex = hex $0 }
		END { put() }'
}
