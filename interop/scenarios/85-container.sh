#!/bin/bash
# A small container: few tasks, little memory, nobody who reads the log, system calls that are refused. The daemon lives on,
# and whoever asked for what cannot be is told.

# ---- control groups --------------------------------------------------------------------------------------------

# A control group of this scenario's own, in whichever version this machine has; left in $group. interop/run removes it.
control_group() { # name controller
	local base=/sys/fs/cgroup
	if [[ -d $base/$2 ]]; then
		base+=/$2
	else
		grep -qw "$2" "$base/cgroup.controllers" || fail "this machine has no control group '$2'"
		echo "+$2" >"$base/cgroup.subtree_control"
	fi
	group=$base/$(basename "$(dirname "$lab")")-$(basename "$lab")-$1
	mkdir "$group"
}

# `ip netns exec` has put a /sys of its own over the machine's: a host that is to see its limits, as a container does, gets them back.
shows_limits() { # host
	local version_1=(/sys/fs/cgroup/*/tasks) one
	if [[ ! -e ${version_1[0]} ]]; then
		on "$1" mount -t cgroup2 cgroup2 /sys/fs/cgroup
		return
	fi
	on "$1" mount -t tmpfs tmpfs /sys/fs/cgroup
	for one in memory pids; do
		on "$1" mkdir "/sys/fs/cgroup/$one"
		on "$1" mount -t cgroup -o "$one" cgroup "/sys/fs/cgroup/$one"
	done
}

join() { # process... : into $group, with all their threads
	local process
	for process; do echo "$process" >"$group/cgroup.procs"; done
}

# For commands that live in $group from their first moment: confined on a wg show
confined() { (echo "$BASHPID" >"$group/cgroup.procs" && exec "$@"); }
confined_on() { confined nsenter --target "${holder[$1]}" --mount --net -- "${@:2}"; }

memory_limit() { # bytes
	if [[ -e $group/memory.max ]]; then echo "$1" >"$group/memory.max"; else echo "$1" >"$group/memory.limit_in_bytes"; fi
}

memory_peak() { # MiB
	local file=$group/memory.peak
	[[ -e $file ]] || file=$group/memory.max_usage_in_bytes
	echo $(($(cat "$file") >> 20))
}

killed_for_memory() {
	local file=$group/memory.events
	[[ -e $file ]] || file=$group/memory.oom_control
	awk '$1 == "oom_kill" { print $2 }' "$file"
}

refused_tasks() { awk '$1 == "max" { print $2 }' "$group/pids.events"; }

tasks() {
	local all=("/proc/$1/task/"*)
	echo "${#all[@]}"
}

alive() { [[ -e /proc/$1 && $(awk '/^State/ { print $2 }' "/proc/$1/status") != Z ]]; }

answers() { on a timeout 1 wg show wg0 >/dev/null; }

# Lets the tunnel carry, both ways, and does with a what an administrator does. Every command has to succeed.
everything_at_once() {
	local i
	for i in {1..8}; do on a timeout 5 wg show wg0 dump >"$lab/show.$i" & done
	iperf a b 192.168.241.2 -t 3
	note "Mbit/s a -> b: $mbits"
	iperf b a 192.168.241.1 -t 3
	note "Mbit/s b -> a: $mbits"
	check "of eight wg show at once, answered" "$(cat "$lab"/show.* | grep -c "${pub[b]}")" == 8
	on a wg showconf wg0 >"$lab/saved"
	on a timeout 5 wg setconf wg0 "$lab/saved"
	on a timeout 5 wg syncconf wg0 "$lab/saved"
	set_link a wg0 down
	set_link a wg0 up
	on a ip address replace 192.168.241.1/24 dev wg0
	await 6 "a ping after setconf, and the link down and up" on a ping -n -q -c 1 -W 1 192.168.241.2
}

# ---- tasks -----------------------------------------------------------------------------------------------------

# After a minute's rest no further task may be made (pids.max = those it has): then load, `wg show`, setconf, the link down and up, and SIGTERM
# ends it within a second. wireguard-go at the other end goes through the same; its fate is printed.
# peers: wireguard-go
# lasts: 100
scenario_no_further_tasks() {
	local daemon other had status=lives
	cable wireguard-go
	tunnel 4 both
	pings a 192.168.241.2
	daemon=$(daemon_pid a wg0)
	elapse 60
	had=$(tasks "$daemon")
	control_group tasks pids
	join "$daemon"
	echo "$had" >"$group/pids.max"
	note "tasks after a minute's rest, and pids.max: $had ($(sort "/proc/$daemon"/task/*/comm | uniq -c | awk '{ n = $1; $1 = ""; printf "%s%s%s", s, (n > 1 ? n " x" : ""), $0; s = "," }'))"
	everything_at_once
	check "the daemon is the same process" "$(daemon_pid a wg0)" == "$daemon"
	check "tasks" "$(tasks "$daemon")" -le "$had"
	check "tasks that it wanted and did not get" "$(refused_tasks)" == 0

	other=$(daemon_pid b wg0)
	control_group other pids
	join "$other"
	tasks "$other" >"$group/pids.max"
	for _ in {1..5}; do on b timeout 2 wg show wg0 dump >/dev/null 2>&1 & done
	on a timeout 5 ping -q -f -c 2000 -s 1300 192.168.241.2 >/dev/null 2>&1 || true
	alive "$other" || status=died
	note "wireguard-go with the $(cat "$group/pids.max") tasks it had: $status, was refused $(refused_tasks)"

	kill -TERM "$daemon"
	await 1 "kill -TERM: link, socket and process are gone" gone a wg0
}

# Started with too few tasks it says one sentence and fails; what the runtime says before it can run anything is printed.
scenario_too_few_tasks_at_the_start() {
	local tasks answer status least=''
	host a wgsharp
	shows_limits a
	control_group tasks pids
	for tasks in 2 4 6 8 9 10 11 12 13 14 16 18 20; do
		echo "$tasks" >"$group/pids.max"
		status=0
		answer=$(confined_on a timeout 10 "$WGSHARP" wg0 2>&1 </dev/null) || status=$?
		if [[ $status -eq 0 ]]; then
			least=$tasks
			break
		fi
		if [[ $answer == wgsharp:* ]]; then
			check "pids.max $tasks: it says" "${answer/"$group"/...}" == "wgsharp: there are too few processes and threads to be had for it: .../pids.max is $tasks."
		else
			check "pids.max $tasks: the runtime says" "${answer%%$'\n'*}" =~ ^'Failed to create CoreCLR'
			check "which cannot be helped below 8" "$tasks" -lt 8
		fi
		quietly_await 2 "nothing is left" test ! -e /proc/"$(daemon_pid a wg0 || echo none)"
	done
	echo 64 >"$group/pids.max"
	[[ -n $least ]] || confined_on a "$WGSHARP" wg0
	check "with enough of them it starts${least:+, already with $least}" "$(on a wg show interfaces)" == wg0
	for tasks in 8 10 12; do
		control_group "foreground$tasks" pids
		echo "$tasks" >"$group/pids.max"
		status=0
		answer=$(confined_on a timeout 10 "$WGSHARP" -f wg1 2>&1 </dev/null) || status=$?
		check "pids.max $tasks, in the foreground: status and words" "$status ${answer/"$group"/...}" == "1 wgsharp: there are too few processes and threads to be had for it: .../pids.max is $tasks."
	done
}

# ---- a port that is taken --------------------------------------------------------------------------------------

no_system_log() { # for all hosts that are made afterwards: neither the journal nor syslog
	unset JOURNAL_STREAM
	[[ ! -e /dev/log ]] || mount --bind /dev/null /dev/log
}

takes_port() { # host port
	# shellcheck disable=SC2016  # perl's variables
	launch "$1" perl -MIO::Socket::INET -e 'my $s = IO::Socket::INET->new(Proto => "udp", LocalPort => $ARGV[0]) or die; sleep 100' "$2" &
	quietly_await 5 "port $2 is taken" listens "$1" udp "$2"
}

# The listen port is taken: `wg set`, `wg setconf` and wg-quick say so, although the link is down; nothing of it is changed.
scenario_taken_port_is_told() {
	local answer
	cable wgsharp
	takes_port a 1
	configuration a 10.0.0.2:2 >"$lab/a/wg0.conf"
	if quick a up wg0 3>/dev/null; then
		fail "wg-quick up succeeds"
	fi
	check "wg-quick up says" "$(grep -v '^\[#\]' "$lab/a/wg-quick.wg0" | grep 'Unable')" == 'Unable to modify interface: Address already in use'
	await 1 "and nothing is left" gone a wg0

	create a wg0
	on a wg set wg0 listen-port 7 private-key "$(secret a "${key[a]}")" peer "${pub[b]}" allowed-ips 10.7.0.0/16
	answer=$(on a wg set wg0 listen-port 1 peer "${pub[b]}" remove 2>&1) && fail "wg set listen-port 1 succeeds"
	check "wg set says" "$answer" == 'Unable to modify interface: Address already in use'
	check "port and peers afterwards" "$(on a wg show wg0 listen-port), $(on a wg show wg0 allowed-ips | awk '{ print $2 }')" == "7, 10.7.0.0/16"
	check "open sockets of ours while the link is down" "$(on a ss -H -n -l --udp "sport = :7" | wc -l)" == 0
	set_link a wg0 up
	check "and when it is up" "$(on a ss -H -n -l --udp "sport = :7" | wc -l)" == 2
}

# Where there is neither the journal nor /dev/log, the daemon in the background logs to the caller's standard error, if that is a file, or the
# container's own log (the first process's standard error). A pipe that a caller waits on is left alone.
scenario_standard_error_is_the_log() {
	no_system_log
	host a wgsharp
	on a bash -c "'$WGSHARP' wg0 2>'$lab/file'"
	takes_port a 9
	on a bash -c "answer=\$('$WGSHARP' wg1 2>&1); exit 0" &
	await 5 "\$(wgsharp wg1 2>&1) comes back" wait $!
	# In its place wg0 had a free port when it was set.
	on a wg set wg0 listen-port 8
	takes_port a 8
	on a ip link set wg0 up
	await 5 "the file tells that the port is taken" grep -q 'UDP port 8 .*in use' "$lab/file"
	note "$(grep 'UDP port 8' "$lab/file")"

	check "descriptors of the daemon that lead to the file" "$(holds wg0 file)" -ge 1
	on a bash -c "'$WGSHARP' --log-level=silent wg3 2>'$lab/silence'"
	check "and where it is told to be silent" "$(holds wg3 silence)" == 0

	# A container: what its first process calls standard error is a pipe to who keeps the logs.
	launch a unshare --pid --fork --mount-proc --kill-child bash -c "
		'$WGSHARP' wg2 && wg set wg2 listen-port 11
		perl -MIO::Socket::INET -e 'our \$s = IO::Socket::INET->new(Proto => \"udp\", LocalPort => 11) or die; system(\"ip link set wg2 up\"); sleep 100'" \
		2> >(exec cat >"$lab/container.log") &
	await 10 "the container's log tells it, too" grep -q 'UDP port 11 .*in use' "$lab/container.log"
}

holds() { find "/proc/$(daemon_pid a "$1")/fd" -lname "*/$2" | wc -l; }

# ---- a log that nobody reads -----------------------------------------------------------------------------------

# Standard error is a pipe that is full and that nobody reads: the tunnel, `wg` and SIGTERM do not notice; when somebody reads again, it is all there.
scenario_log_that_nobody_reads() {
	local daemon pipe i
	cable wgsharp
	mkfifo "$lab/pipe"
	exec {pipe}<>"$lab/pipe"
	# shellcheck disable=SC2016  # perl's variables
	perl -MFcntl -e 'open(my $p, "+<", $ARGV[0]) or die; fcntl($p, F_SETFL, O_RDWR | O_NONBLOCK); 1 while syswrite($p, "full\n" x 100); 1 while syswrite($p, "\n")' "$lab/pipe"
	launch a "$WGSHARP" -f --log-level=trace wg0 2>"$lab/pipe" {pipe}<&- &
	quietly_await 5 "wg0 answers" answers
	daemon=$(daemon_pid a wg0)
	configuration b 10.0.0.1:1 | up b wg0
	address a wg0 192.168.241.1/24
	on a wg set wg0 private-key "$(secret a "${key[a]}")" listen-port 1 \
		peer "${pub[b]}" preshared-key "$(secret a "$psk")" allowed-ips 192.168.241.2/32 endpoint 10.0.0.2:2
	for i in {1..30}; do
		set_link a wg0 up
		set_link a wg0 down
	done
	set_link a wg0 up
	await 2 "after 30 times up and down a ping comes back" on a ping -n -q -c 1 -W 1 192.168.241.2
	await 1 "wg show answers" answers
	check "the daemon sleeps, but for the thread that writes" "$(grep -l pipe_write "/proc/$daemon"/task/*/wchan 2>/dev/null | wc -l)" -le 1
	timeout 5 cat <&"$pipe" >"$lab/log" {pipe}<&- &
	await 3 "once somebody reads, it tells from the beginning" grep -q "wg0: wgsharp .* threads" "$lab/log"
	await 3 "and to the end" grep -q 'Handshake with' "$lab/log"
	wait $! || true
	check "of 31 times the link came up, told (20 at once, then one a second)" "$(grep -c 'listening on UDP port 1' "$lab/log")" -ge 20
	# shellcheck disable=SC2016  # perl's variables
	perl -MFcntl -e 'open(my $p, "+<", $ARGV[0]) or die; fcntl($p, F_SETFL, O_RDWR | O_NONBLOCK); 1 while syswrite($p, "\n" x 500); 1 while syswrite($p, "\n")' "$lab/pipe"
	kill -TERM "$daemon"
	await 1 "kill -TERM, with the pipe full again: link, socket and process are gone" gone a wg0
}

# ---- memory ----------------------------------------------------------------------------------------------------

# A configuration of that many peers with two allowed IPs each, beginning with number FIRST.
many_peers() { # first count
	# Any 32 bytes do as a public key: 42 digits of base64, one whose last two bits are 0, and the padding.
	perl -e 'my @digits = ("A" .. "Z", "a" .. "z", 0 .. 9, "+", "/"); srand($ARGV[0]);
		for my $i ($ARGV[0] .. $ARGV[0] + $ARGV[1] - 1) {
			printf "[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.%d/32, fd00:%x:%x::/64\nEndpoint = 10.0.0.2:%d\n",
				join("", map { $digits[rand 64] } 1 .. 42) . "A=", $i >> 16, ($i >> 8) & 255, $i & 255, $i >> 16, $i & 65535, 1 + $i % 60000;
		}' "$1" "$2"
}

# 128 MB for the daemon and for wg: 100,000 peers are refused with ENOMEM and the tunnel lives; more and more peers are taken until one more
# portion does not fit; none of it brings the kernel's killer. wireguard-go's fate under the same is printed.
# limit: 180
scenario_memory_of_a_container() {
	local daemon answer peers=0 status
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	daemon=$(daemon_pid a wg0)
	shows_limits a
	control_group memory memory
	memory_limit $((128 << 20))
	down a wg0
	confined_on a env WG_QUICK_USERSPACE_IMPLEMENTATION="$WGSHARP" "$QUICK" up "$lab/a/wg0.conf" >"$lab/a/quick" 2>&1
	daemon=$(daemon_pid a wg0)
	pings a 192.168.241.2
	{ on a wg showconf wg0; many_peers 0 100000; } >"$lab/many.conf"
	answer=$(confined_on a timeout 60 wg setconf wg0 "$lab/many.conf" 2>&1) && fail "wg setconf with 100,000 peers succeeds"
	check "100,000 peers: wg setconf says" "$answer" =~ 'Cannot allocate memory'
	check "peers afterwards" "$(on a wg show wg0 peers | wc -l)" == 1
	check "processes killed for memory" "$(killed_for_memory)" == 0
	pings a 192.168.241.2
	note "a ping comes back; peak MiB so far: $(memory_peak)"

	while many_peers $((1000000 + peers)) 10000 >"$lab/portion.conf" &&
		confined_on a timeout 60 wg addconf wg0 "$lab/portion.conf" 2>"$lab/refusal"; do
		((peers += 10000))
	done
	check "in portions of 10,000 it takes so many peers" "$peers" -ge 30000
	check "and to the next it says" "$(cat "$lab/refusal")" =~ 'Cannot allocate memory'
	status=0
	answer=$(confined_on a timeout 60 wg show wg0 peers 2>&1 | wc -l) || status=$?
	check "peers that wg show lists" "$answer" -eq $((peers + 1))
	on a wg set wg0 peer "${pub[b]}" persistent-keepalive 25
	note "a peer that exists can still be changed"
	check "processes killed for memory" "$(killed_for_memory)" == 0
	check "the daemon is the same process" "$(daemon_pid a wg0)" == "$daemon"
	check "peak MiB" "$(memory_peak)" -le 128
	pings a 192.168.241.2
	note "and a ping comes back"
	go_with_little_memory
}

go_with_little_memory() {
	local daemon status=0
	host g wireguard-go
	control_group go memory
	memory_limit $((128 << 20))
	create g wg0
	daemon=$(daemon_pid g wg0)
	join "$daemon"
	on g timeout 60 wg setconf wg0 "$lab/many.conf" >"$lab/go" 2>&1 || status=$?
	note "wireguard-go: wg setconf with 100,000 peers returns $status, killed for memory: $(killed_for_memory)"
}

# ---- accept ----------------------------------------------------------------------------------------------------

# What accept4 may answer is no end: the daemon pauses, tries again, and does not spin meanwhile.
scenario_accept_is_refused() {
	local daemon tracer error before
	cable wgsharp
	tunnel 4 both
	daemon=$(daemon_pid a wg0)
	for error in ENOMEM EPERM EPROTO ENOBUFS ENFILE EMFILE ECONNABORTED; do
		strace -f -p "$daemon" -o "$lab/trace.$error" -e trace=accept4 -e "inject=accept4:error=$error:when=1..3" 2>"$lab/strace.$error" &
		tracer=$!
		quietly_await 5 "strace is there" grep -qs attached "$lab/strace.$error"
		await 2 "$error three times, then wg show answers" on a timeout 2 wg show wg0
		kill -INT "$tracer"
		wait "$tracer" || true
		check "it was refused" "$(grep -c INJECTED "$lab/trace.$error")" == 3
	done
	strace -f -p "$daemon" -o "$lab/trace.always" -e trace=accept4 -e inject=accept4:error=ENOMEM 2>"$lab/strace.always" &
	tracer=$!
	quietly_await 5 "strace is there" grep -qs attached "$lab/strace.always"
	before=$(processor_ms "$daemon")
	on a timeout 2 wg show wg0 >/dev/null 2>&1 && fail "wg show is answered although accept4 always fails"
	check "accept4 in two seconds of ENOMEM" "$(grep -c INJECTED "$lab/trace.always")" -le 25
	check "ms of processor time meanwhile" $(($(processor_ms "$daemon") - before)) -le 200
	kill -INT "$tracer"
	wait "$tracer" || true
	await 1 "then wg show answers" answers
	pings a 192.168.241.2
	note "and a ping comes back"
}
