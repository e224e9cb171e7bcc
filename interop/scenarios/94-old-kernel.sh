#!/bin/bash
# Old kernels: an OpenVZ container with little memory, under a filter that answers as a kernel 3.10 does; every feature that a kernel may lack switched off; and
# Debian 11's own kernel 5.10 in a virtual machine, with the daemon in it.

# shellcheck source=interop/lib/small-vps.sh
. "$library/small-vps.sh"
# shellcheck source=interop/scenarios/70-offloads.sh
. "$library/../scenarios/70-offloads.sh"

# A VPS of 96 MiB with one processor and OpenVZ 7's kernel, as far as a seccomp filter is one: the package, wg-quick@wg0, what the log says is missing, visitors, iperf3 while a
# peer asks for new sessions, kill -9, and the memory of all of it. (All of Debian 12 lives under the filter; uname says what it says.) LOAD: seconds of iperf3, REKEYS: new
# sessions; bench/old-kernel sets them.
# machines: debian
# limit: 150
scenario_old_kernel_in_96_mb() {
	local load=${LOAD:-8} rekeys=${REKEYS:-40} turns turn daemon index most=0 now
	build_small_vps debian
	doctor_says "before anything is mended" '^1 fault +firewall-hooks  wg0: PostUp in line 6 uses iptables with nat, DNAT, MASQUERADE, .*[^0-9]1 fault, 0 warnings\.$'
	refuses there systemctl start wg-quick@wg0
	there bash -c "$(sed -n 's/^ *-> //p' <<<"$answer")" >/dev/null 2>&1
	doctor_says "after its own command" '^0 Healthy\.$'
	there systemctl start wg-quick@wg0 || fail "wg-quick@wg0: $(on vps journalctl -q -b -o cat | tail -n 40)"
	says_what_is_missing
	on vps systemd-run --quiet --unit=measure iperf3 -s
	pings home 10.8.0.1 5 -i 0.1
	daemon=$(on vps pidof wgsharp) index=$(on vps cat /sys/class/net/wg0/ifindex)
	visitors_of_port_80

	capture answers net tophone "udp[4:2] = 100 and src host 203.0.113.2"
	turns=$(((load + 59) / 60))
	for ((turn = 1; turn <= turns; turn++)); do
		loads $((load / turns)) $((rekeys * turn / turns - rekeys * (turn - 1) / turns))
		now=$(memory_of_processes)
		most=$((now > most ? now : most))
		note "iperf3 for $((load / turns)) s: $up_mbits and $down_mbits Mbit/s to the VPS and from it; sessions so far $((rekeys * turn / turns)), the slowest after $slowest ms; KiB of all its processes $now, of the daemon $(daemon_holds VmRSS)"
	done
	captured answers >/dev/null
	check "handshakes that the VPS answered the phone" "$(packets answers)" -ge "$rekeys"
	check "processes killed for memory" "$(killed_for_memory)" == 0
	check "KiB of memory that the VPS had at most, files included" "$(memory_peak)" -le $((96 * 1024))
	check "KiB of all its processes" "$most" -le $((64 * 1024))
	check "KiB of the daemon at most" "$(daemon_holds VmHWM)" -le $((48 * 1024))
	check "the daemon is the same process" "$(on vps pidof wgsharp)" == "$daemon"

	on vps kill -KILL "$daemon"
	await 5 "killed: a ping comes back" on home ping -n -q -c 1 -W 0.3 10.8.0.1
	check "through the same interface" "$(on vps cat /sys/class/net/wg0/ifindex) $(on vps ip -o -4 address show dev wg0 | awk '{ print $4 }')" == "$index 10.8.0.1/24"
	doctor_says "at the end" '^0 Healthy\.$'
	there systemctl stop wg-quick@wg0
	await 5 "stopped: the daemon is gone" no_daemon vps
	check "rules that are left" "$(there iptables-save | occurrences '^-A')" == 0
}

no_daemon() { ! on "$1" pidof wgsharp >/dev/null; } # host

doctor_says() { # when, status and words
	local status=0
	answer=$(there wgsharp doctor 2>&1) || status=$?
	check "wgsharp doctor, $1" "$status $answer" =~ "$2"
}

# The first line of the log, and a sentence for each feature that the kernel refused.
says_what_is_missing() {
	local name log
	quietly_await 5 "it has told everything" has_told 12
	log=$(told)
	check "the log" "$(grep -o 'tun .*' <<<"$log")" =~ '^tun vnet_hdr\+ tso4- tso6- uso- \| udp gso- gro- mmsg\+ pktinfo\+ \| ipv6- \| aead [a-z0-9]+ \| threads 1$'
	for name in tso4 tso6 uso gso gro ipv6 boottimer devnetns lanes recvfragsize recverr tos; do
		check "and" "$(grep -o "$name is not available: .*" <<<"$log")" =~ '\((EINVAL|ENOPROTOOPT|EAFNOSUPPORT)\)$'
	done
	check "sentences that something is not available" "$(occurrences 'is not available' <<<"$log")" == 12
	check "that nothing would outlive the daemon" "$(occurrences 'made anew' <<<"$log")" == 0
}

# By the daemon that was started last.
told() { on vps journalctl -q -b -o cat -u wgsharp@wg0 | awk '/ tun vnet_hdr/ { text = "" } { text = text $0 "\n" } END { printf "%s", text }'; }
has_told() { [[ $(told | occurrences 'is not available') -ge $1 ]]; }

# A visitor of the VPS's port 80 sends a file home, and gets one from there.
visitors_of_port_80() {
	local sent received
	head -c 16M /dev/urandom >"$lab/file"
	sent=$(sha256sum <"$lab/file")
	{ launch home ncat --recv-only -l 10.8.0.2 80 | sha256sum >"$lab/received"; } &
	received=$!
	quietly_await 10 "ncat listens at home" listens home tcp 80
	on visitor ncat --send-only 203.0.113.2 80 <"$lab/file"
	wait "$received"
	check "16 MB of a visitor arrive at home: SHA-256" "$(<"$lab/received")" == "$sent"
	launch home ncat --send-only -l 10.8.0.2 80 <"$lab/file" &
	received=$!
	quietly_await 10 "ncat listens at home" listens home tcp 80
	check "16 MB from home arrive at a visitor's" "$(on visitor ncat --recv-only 203.0.113.2 80 | sha256sum)" == "$sent"
	wait "$received"
}

# ---- one by one ------------------------------------------------------------------------------------------------

# Every feature that has a name in WGSHARP_DISABLE and no scenario of its own in 70-offloads.sh, switched off at both ends; and all together. Pings, files both ways, checksums
# behind the tunnel, over IPv4 outside or over IPv6.
# limit: 240
scenario_features_off_one_by_one() {
	local name names
	names=$(sed -n 's/^ *("\([a-z0-9_]*\)", KernelFeature\..*/\1/p' "$library/../../src/WgSharp.Linux/KernelFeatures.cs" | grep -vxE 'vnet_hdr|tso|uso|gso|gro')
	check "features" "$(wc -w <<<"$names")" -ge 16
	behind_b "$1"
	for name in $names avx512; do
		works_without "$name"
	done
	# Without both families there would be nobody to talk to.
	works_without "$(tr '\n' , <<<"$names" | sed 's/ipv4,//')vnet_hdr,tso,uso,gso,gro,avx512,avx2"
}

works_without() { # features
	local outside=4
	# What has to do with IPv6 outside shows only there.
	[[ $1 != @(ipv4|raw6|recverr|recvfragsize|tos) ]] || outside=6
	down a wg0
	down b wg0
	export WGSHARP_DISABLE=$1
	note "switched off: $1 (IPv$outside outside)"
	if [[ $outside == 4 ]]; then configuration a 10.0.0.2:2; else configuration a '[fd00:aa::2]:2'; fi |
		sed 's|^AllowedIPs.*|&, 192.168.77.0/24, fd00:77::/64|' | up a wg0
	configuration b '' | up b wg0
	shows_switched_off "$1"
	pings a 192.168.241.2 3 -i 0.1
	pings a fd00:77::2 3 -i 0.1
	capture "inner-${1::16}" c eth0
	MEGABYTES=2 arrives_whole a c 192.168.77.2
	MEGABYTES=2 arrives_whole c a fd00::1
	checksums_hold "inner-${1::16}" tcp
}

# Where a feature leaves a trace that can be seen from outside, it is not there.
shows_switched_off() { # feature
	local daemon
	daemon=$(daemon_pid a wg0)
	on a "$WGSHARP" status wg0 --json >"$lab/status"
	case $1 in
	tso4 | tso6 | mmsg | pktinfo | ipv4 | ipv6) check "what it says of itself" "$(python3 "$library/status.py" value "$lab/status" 'i["daemon"]["features"]')" =~ " $1-" ;;
	avx512) check "what it seals with" "$(python3 "$library/status.py" value "$lab/status" 'i["daemon"]["aead"]')" != avx512 ;;
	timerfd) check "what its threads sleep with, timers among it" "$(on a ls -l "/proc/$daemon/fd" | grep -o 'eventpoll\|timerfd' | sort -u)" == eventpoll ;;
	boottimer) check "the clocks of its timers, CLOCK_BOOTTIME is 7" "$(on a cat "/proc/$daemon"/fdinfo/* | sed -n 's/^clockid: //p' | sort -nu | tail -n 1)" == 1 ;;
	silence) check "its interface" "$(on a ip -o link show wg0)" =~ MULTICAST ;;
	raw6) check "raw sockets" "$(on a ss -H -w -a | wc -l)" == 0 ;;
	tos) check "raw sockets, of which another feature is to have none" "$(on a ss -H -w -a | wc -l)" -ge 1 ;;
	esac
}

# ---- a kernel of 2020 ------------------------------------------------------------------------------------------

# Debian 11 with its own kernel 5.10 in a virtual machine, which is emulated and slow; wgsharp in it serves wg-quick@wg0, the other end is outside. Nothing but USO is
# missing; pings, files both ways, checksums behind the tunnel, over IPv4 and over IPv6 outside.
# machines: debian11
# kernels: bullseye
# limit: 300
scenario_old_kernel_5_10() {
	local log
	host a wgsharp bullseye
	host b wgsharp
	link b:eth0 10.0.0.2/24,fd00:aa::2/96 a:eth0 -
	c_behind_b
	new_key a
	new_key b
	disk a debian11
	# That kernel has WireGuard, and is to be one that has none.
	echo 'install wireguard /bin/false' >"$lab/a/disk/root/etc/modprobe.d/no-wireguard.conf"
	network a <<<'eth0 10.0.0.1/24,fd00:aa::1/96 -'
	configuration a 10.0.0.2:2 | sed 's|^AllowedIPs.*|&, 192.168.77.0/24, fd00:77::/64|' | install -m 600 /dev/stdin "$lab/a/disk/root/etc/wireguard/wg0.conf"
	boot a
	check "booted after $boot_time ms: its kernel, its C library" "$(on a uname -r), $(on a getconf GNU_LIBC_VERSION)" =~ '^5\.10\..*, glibc 2\.31$'
	configuration b '' | up b wg0
	on a systemctl start wg-quick@wg0 || fail "wg-quick@wg0: $(on a journalctl -q -b -o cat -u wg-quick@wg0)"
	quietly_await 20 "it tells what it found" tells_of_itself
	log=$(on a journalctl -q -b -o cat -u wg-quick@wg0)
	check "the log" "$(grep -o 'tun vnet.*' <<<"$log")" =~ '^tun vnet_hdr\+ tso4\+ tso6\+ uso- \| udp gso\+ gro\+ mmsg\+ pktinfo\+ \| ipv6\+ \| '
	check "what is not available" "$(grep -o '[a-z0-9]* is not available: .*' <<<"$log")" == 'uso is not available: TUNSETOFFLOAD: Invalid argument (EINVAL)'
	from_inside_and_back 4
	on a sed -i 's/^Endpoint.*/Endpoint = [fd00:aa::2]:2/' /etc/wireguard/wg0.conf
	down b wg0
	configuration b '' | up b wg0
	on a systemctl restart wg-quick@wg0
	from_inside_and_back 6
}
tells_of_itself() { [[ $(on a journalctl -q -b -o cat -u wg-quick@wg0) == *threads* ]]; }

from_inside_and_back() { # which IP outside
	local sent received
	pings a 192.168.77.2 3 -i 0.1
	pings a fd00:77::2 3 -i 0.1
	check "IPv$1 outside: the other end has" "$(endpoint b wg0 "${pub[a]}")" =~ "$([[ $1 == 4 ]] && echo '^10\.0\.0\.1:1$' || echo '^\[fd00:aa::1\]:1$')"
	capture "inner$1" c eth0 tcp
	sent=$(on a sh -c 'head -c 4M /dev/urandom >/root/file; sha256sum </root/file')
	{ launch c ncat --recv-only -l 192.168.77.2 7001 | tee "$lab/file" | sha256sum >"$lab/received"; } &
	received=$!
	quietly_await 10 "ncat listens on c" listens c tcp 7001
	on a sh -c 'ncat --send-only 192.168.77.2 7001 </root/file'
	wait "$received"
	check "4 MB from a to c arrive as they were sent: SHA-256" "$(<"$lab/received")" == "$sent"
	on a systemd-run --quiet --unit="sink$1" sh -c "exec ncat --recv-only -l fd00::1 7001 >/root/got"
	quietly_await 20 "ncat listens on a" listens a tcp 7001
	on c ncat --send-only fd00::1 7001 <"$lab/file"
	quietly_await 20 "ncat on a has everything" has_ended_there "sink$1"
	check "4 MB from c to a" "$(on a sh -c 'sha256sum </root/got')" == "$sent"
	checksums_hold "inner$1" tcp
	iperf a c fd00:77::2 -t 2
	note "TCP from a, Mbit/s (emulated): $mbits"
	iperf c a 192.168.241.1 -t 2
	note "TCP to a, Mbit/s: $mbits"
	nearly_agrees
}
has_ended_there() { [[ $(on a systemctl is-active "$1") != active ]]; }
