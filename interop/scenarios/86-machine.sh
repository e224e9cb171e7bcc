#!/bin/bash
# What the daemon asks of the machine that it runs on, and what it makes of one that lacks something.

# Answers of a command that may fail: leaves what it said in $answer and its status in $status.
attempt() { # command...
	status=0
	answer=$("$@" 2>&1 </dev/null) || status=$?
	note "status $status: ${answer:-(nothing)}"
}

# One sentence, status 1, no stack trace.
is_a_sentence() { # what it has to tell
	check "status" "$status" == 1
	check "lines said" "$(wc -l <<<"$answer")" == 1
	check "it tells" "$answer" =~ "$1"
}

# A host whose only peer has ::/0 and an endpoint on b; whoever speaks into the interface begins a handshake.
resting() { # host implementation subnet
	host "$1" "$2"
	link "$1:eth0" "10.0.$3.1/24" "b:eth$3" "10.0.$3.2/24"
	new_key "$1"
	create "$1" wg0
	on "$1" wg set wg0 private-key "$(secret "$1" "${key[$1]}")" peer "${pub[b]}" allowed-ips ::/0,0.0.0.0/0 endpoint "10.0.$3.2:7"
	capture "$1" b "eth$3" udp dst port 7
}

spoken() { on "$1" cat /sys/class/net/wg0/statistics/tx_packets; }

# An interface at rest is silent: with ::/0 as allowed IPs, whatever the kernel sends of itself (router solicitations, listener reports) would begin a
# handshake. The kernel module's interface has no multicast and makes no link-local address. wireguard-go's beside it, for comparison.
# lasts: 12
scenario_silent_at_rest() {
	local who flags
	host b none
	new_key b
	resting a wgsharp 1
	resting g wireguard-go 2
	set_link a wg0 up
	set_link g wg0 up
	# Three router solicitations, four seconds apart.
	elapse 9
	for who in g a; do
		note "${implementation[$who]} at rest for 9 s: $(spoken "$who") packets into the interface, $(packets "$who") handshake initiations"
	done
	check "packets that the interface sent of itself" "$(spoken a)" == 0
	check "handshakes initiated" "$(packets a)" == 0
	flags=$(on a ip -d -o link show wg0)
	check "its flags" "$(grep -o '<[^>]*>' <<<"$flags" | head -n 1)" == "<POINTOPOINT,NOARP,UP,LOWER_UP>"
	check "and" "$(grep -o 'addrgenmode [a-z0-9]*' <<<"$flags")" == "addrgenmode none"
	on a sysctl -q net.ipv6.conf.wg0.disable_ipv6=1
	on a sysctl -q net.ipv6.conf.wg0.disable_ipv6=0
	set_link a wg0 down
	set_link a wg0 up
	elapse 1.5
	check "addresses after IPv6 was off and on again, and the link down and up" "$(on a ip -o address show dev wg0 | wc -l)" == 0
	check "packets that it sent of itself" "$(spoken a)" == 0
	on a ip address add fd00::1/64 dev wg0
	on a ping -n -q -c 1 -W 0.1 fd00::2 >/dev/null || true
	quietly_await 2 "the ping begins a handshake" begun a
	note "a ping begins a handshake"
}
begun() { [[ $(packets "$1") -gt 0 ]]; }

# Moved to another namespace, the interface has the IPv6 settings of that one, until the daemon hears of it.
scenario_silent_in_another_namespace() {
	host z none
	host a wgsharp
	create a wg0 z
	await 2 "address generation is switched off where it was moved to" silenced a wg0
	set_link a wg0 up
	check "addresses" "$(on a ip -o address show dev wg0 | wc -l)" == 0
	check "flags" "$(on a ip -o link show wg0 | grep -o '<[^>]*>')" == "<POINTOPOINT,NOARP,UP,LOWER_UP>"
	elapse 1.5
	check "packets that the interface sent of itself" "$(spoken a)" == 0
	set_link a wg0 down
	on a ip link set wg0 netns "/proc/${holder[z]}/ns/net"
	await 2 "and when it came home" silenced z wg0
}
silenced() { on "$1" ip -d -o link show "$2" | grep -q 'addrgenmode none'; }

# No room for descriptors: the runtime alone takes some 80. Who may raise the limit raises it; who may not says so, before it detaches. (Under some 30
# the runtime does not start, and says that itself.)
scenario_few_open_files() {
	local limit may
	host a wgsharp
	for limit in 100 40; do
		attempt on a bash -c "ulimit -n $limit; exec '$WGSHARP' wg0"
		may=$(on a bash -c "ulimit -n $limit; ulimit -n 1024" 2>/dev/null && echo yes) || may=no
		if [[ $may == yes ]]; then
			check "with $limit files, but the right to raise the limit, status" "$status" == 0
			on a ip link del wg0
			quietly_await 2 "gone" gone a wg0
		fi
		attempt on a setpriv --bounding-set -sys_resource --inh-caps -sys_resource bash -c "ulimit -n $limit; exec '$WGSHARP' wg0"
		is_a_sentence "Only $limit files may be open"
	done
	check "interfaces left" "$(on a ip -o link show type tun | wc -l)" == 0
	attempt on a bash -c "ulimit -n 192; exec '$WGSHARP' wg0"
	check "with 192 files, status" "$status" == 0
	check "wg show interfaces" "$(on a wg show interfaces)" == wg0
}

# 1.5 GB of address space are enough for a tunnel that carries; with less, the sentence says so.
scenario_little_address_space() {
	local daemon
	cable wgsharp
	on a bash -c "ulimit -v 1500000; exec '$WGSHARP' wg0" || fail "with 1.5 GB of address space: status $?"
	daemon=$(daemon_pid a wg0)
	create b wg0
	configure 10.0.0.2:2
	pings a 192.168.241.2 5
	carries a 192.168.241.1 b 192.168.241.2
	note "in KiB: $(awk '/^Vm(Peak|Size|RSS)/ { printf "%s %s ", $1, $2 }' "/proc/$daemon/status")"
	check "address space in KiB" "$(awk '/^VmPeak/ { print $2 }' "/proc/$daemon/status")" -le 1500000
	attempt on a bash -c "ulimit -v 1340000; exec '$WGSHARP' wg1"
	is_a_sentence "of address space"
}

# A /run that cannot be written to: there is nowhere to put the socket that wg looks for.
scenario_read_only_run() {
	host a wgsharp
	attempt on a unshare --mount bash -c "mount -o remount,bind,ro /run/wireguard && exec '$WGSHARP' wg0"
	is_a_sentence "/var/run/wireguard/wg0.sock cannot be made: Read-only file system"
	attempt on a unshare --mount bash -c "mount -t tmpfs -o ro tmpfs /run && exec '$WGSHARP' wg0"
	is_a_sentence "/var/run/wireguard/wg0.sock cannot be made: Read-only file system"
	check "interfaces left" "$(on a ip -o link show type tun | wc -l)" == 0
}

# A container without /dev/null: the daemon works, its standard descriptors lead nowhere all the same.
scenario_without_dev_null() {
	local daemon
	cable wgsharp
	# shellcheck disable=SC2016 # for the host's shell
	on a unshare --mount bash -c 'mkdir "$1/dev" && mount -t tmpfs tmpfs "$1/dev" && mkdir "$1/dev/net" && mknod "$1/dev/net/tun" c 10 200 &&
		mount --bind "$1/dev" /dev && LOG_LEVEL=silent exec "$2" wg0' - "$lab/a" "$WGSHARP" || fail "without /dev/null: status $?"
	daemon=$(find_daemon wg0)
	note "standard descriptors: $(readlink "/proc/$daemon/fd/0" "/proc/$daemon/fd/1" "/proc/$daemon/fd/2" | tr '\n' ' ')"
	check "those that are pipes to nowhere" "$(readlink "/proc/$daemon/fd/0" "/proc/$daemon/fd/1" "/proc/$daemon/fd/2" | grep -c pipe)" == 3
	create b wg0
	configure 10.0.0.2:2
	pings a 192.168.241.2 3
	note "three pings come back"
}
find_daemon() { # interface : as daemon_pid, in whatever mount namespace
	local process
	for process in /proc/[0-9]*; do
		[[ $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) != "$WGSHARP $1 " ]] || { echo "${process#/proc/}"; return; }
	done
	return 1
}

# WG_TUN_FD: a descriptor that puts packet information before each packet is refused in a sentence (the kernel does not tell them apart when it is
# asked); one without is adopted, and carries.
scenario_adopted_descriptors() {
	local tun=0x0001 no_pi=0x1000 vnet=0x4000
	cable wgsharp
	for flags in $((tun)) $((tun | vnet)); do
		attempt on a "$library/with-tun.pl" wg0 "$(printf '0x%x' "$flags")" "$WGSHARP" wg0
		is_a_sentence "packet information.*IFF_NO_PI"
	done
	create b wg0
	for flags in $((tun | no_pi)) $((tun | no_pi | vnet)); do
		attempt on a "$library/with-tun.pl" wg0 "$(printf '0x%x' "$flags")" "$WGSHARP" wg0
		check "TUNSETIFF with $(printf '0x%x' "$flags"), status" "$status" == 0
		check "its multicast is its owner's business" "$(on a ip -o link show wg0)" =~ MULTICAST
		configure 10.0.0.2:2
		pings a 192.168.241.2 3
		note "three pings come back"
		on a ip link del wg0
		quietly_await 2 "gone" gone a wg0
		set_link b wg0 down
		on b ip address flush dev wg0
	done
}

# The libsodium beside the executable comes from the machine that built it, and may need a newer C library than this one has, or be cut off: then the
# system's is used. Without that too, one sentence tells why.
scenario_libsodium_that_cannot_be_used() {
	local what here=$lab/bin sodium
	host a wgsharp
	mkdir "$here"
	cp "$WGSHARP" "$here/wgsharp"
	sodium=$(readlink -f /usr/lib/x86_64-linux-gnu/libsodium.so.23)
	for what in "needs a newer C library" "was cut off" "is a text"; do
		case $what in
		needs*) perl -pe 's/GLIBC_2\.4\0/GLIBC_9.9\0/' "$sodium" >"$here/libsodium.so.23" ;;
		was*) head -c 200000 "$sodium" >"$here/libsodium.so.23" ;;
		is*) echo "no library" >"$here/libsodium.so.23" ;;
		esac
		attempt on a "$here/wgsharp" wg0
		check "beside the executable, one that $what: status" "$status" == 0
		check "in use" "$(awk '/libsodium\.so/ { print $6 }' "/proc/$(daemon_pid a wg0)/maps" | sort -u)" == "$sodium"
		on a ip link del wg0
		quietly_await 2 "gone" gone a wg0
		attempt without_system_sodium "$here/wgsharp" wg0
		is_a_sentence "libsodium.so.23 cannot be used \(.*no other libsodium: install it"
	done
	rm "$here/libsodium.so.23"
	attempt without_system_sodium "$here/wgsharp" wg0
	is_a_sentence "libsodium is missing: install it"
	cp "$sodium" "$here/libsodium.so.23"
	attempt without_system_sodium "$here/wgsharp" wg0
	check "with a good one beside the executable and none in the system: status" "$status" == 0
}
without_system_sodium() { # command... : on a
	# shellcheck disable=SC2016 # for the host's shell
	on a unshare --mount bash -c 'mount -t tmpfs tmpfs /mnt && mkdir /mnt/upper /mnt/work &&
		mount -t overlay -o "lowerdir=/usr/lib/x86_64-linux-gnu,upperdir=/mnt/upper,workdir=/mnt/work" overlay /usr/lib/x86_64-linux-gnu &&
		rm /usr/lib/x86_64-linux-gnu/libsodium.so* && exec "$@"' - "$@"
}

# Of root's, but without the right to trace others: it sees into a process of its own kind only if that may be dumped.
untracing() { on a setpriv --bounding-set -sys_ptrace --inh-caps -sys_ptrace "$@"; }
visible() { untracing readlink "/proc/$1/exe" >/dev/null; }

# Keys stay in memory: their pages are locked as far as the limit goes, and no core dump is made, unless somebody wants one.
scenario_keys_stay_in_memory() {
	local daemon
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	daemon=$(daemon_pid a wg0)
	check "locked KiB, with a session" "$(awk '/^VmLck/ { print $2 }' "/proc/$daemon/status")" =~ '^[1-9][0-9]*$'
	check "the limit of its core dumps" "$(awk '/^Max core/ { print $5, $6 }' "/proc/$daemon/limits")" == "0 0"
	down a wg0
	quietly_await 2 "gone" gone a wg0
	untracing "$WGSHARP" --core-dumps=yes wg0
	daemon=$(daemon_pid a wg0)
	visible "$daemon" || fail "with core_dumps=yes it cannot be seen into"
	note "with core_dumps=yes, a debugger of the same user gets at it"
	on a ip link del wg0
	quietly_await 2 "gone" gone a wg0
	untracing "$WGSHARP" wg0
	daemon=$(daemon_pid a wg0)
	refuses visible "$daemon"
	note "without, it does not"
	on a ip link del wg0
	quietly_await 2 "gone" gone a wg0

	# 4 KiB are one page; the daemon goes on with what cannot be locked, and says so once.
	launch a prlimit --memlock=4096 setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock "$WGSHARP" -f wg0 2>"$lab/said" &
	quietly_await 5 "the socket answers" on a wg show wg0
	configuration a 10.0.0.2:2 | sed '/^Address/d' >"$lab/a/set.conf"
	on a wg setconf wg0 "$lab/a/set.conf"
	address a wg0 192.168.241.1/24
	set_link a wg0 up
	pings a 192.168.241.2 3
	note "three pings come back where one page may be locked"
	daemon=$(daemon_pid a wg0)
	check "locked KiB" "$(awk '/^VmLck/ { print $2 }' "/proc/$daemon/status")" == 4
	check "lines that say so" "$(occurrences 'locked into memory' "$lab/said")" == 1
	note "$(grep 'locked into memory' "$lab/said")"
}
