#!/bin/bash
# What wg(8), wg-quick(8) and the system do to a daemon: configuration of a live interface, its resources, its end.

resident() { awk '/^VmRSS/ { print $2 }' "/proc/$1/status"; }
threads() { awk '/^Threads/ { print $2 }' "/proc/$1/status"; }

# One interface without a peer, on a host of its own.
lonely() {
	host a wgsharp
	new_key a
	new_key b
}

# `wg set`, `addconf`, `syncconf`, `setconf`, `show` and `showconf` on a tunnel that carries pings: none is lost, and the
# session survives whatever does not concern it.
scenario_configured_while_it_carries() {
	local before line pinging status=0
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	before=$(latest_handshake a wg0 "${pub[b]}")
	# ping ends 50 ms after its last request: the last twenty are there so that the others have a second.
	launch a ping -n -i 0.05 -c 60 192.168.241.2 >"$lab/pings" &
	pinging=$!
	new_key c
	new_key d
	on a wg set wg0 peer "${pub[c]}" allowed-ips 10.77.0.0/16,fd77::/32 endpoint '[fd00:aa::9]:99' persistent-keepalive 25
	check "peers after wg set" "$(on a wg show wg0 peers | wc -l)" == 2
	check "keepalive of the new one" "$(on a wg show wg0 persistent-keepalive | awk -v k="${pub[c]}" '$1 == k { print $2 }')" == 25
	feed a wg addconf wg0 /dev/stdin <<<"[Peer]
PublicKey = ${pub[d]}
AllowedIPs = 10.78.0.0/16"
	check "peers after wg addconf" "$(on a wg show wg0 peers | wc -l)" == 3
	on a wg showconf wg0 >"$lab/saved"
	for line in "PublicKey = ${pub[c]}" "PublicKey = ${pub[d]}" "PersistentKeepalive = 25" "AllowedIPs = 10.78.0.0/16"; do
		check "wg showconf, lines '${line%% *}...${line: -14}'" "$(grep -cxF "$line" "$lab/saved")" == 1
	done
	on a wg syncconf wg0 "$lab/saved"
	check "peers after wg syncconf with the same" "$(on a wg show wg0 peers | wc -l)" == 3
	on a wg set wg0 peer "${pub[d]}" remove
	on a wg showconf wg0 >"$lab/without"
	on a wg syncconf wg0 "$lab/without"
	check "peers after one was removed" "$(on a wg show wg0 peers | wc -l)" == 2
	check "lines of wg show all dump" "$(on a wg show all dump | wc -l)" == 3
	check "an unchanged session's handshake" "$(latest_handshake a wg0 "${pub[b]}")" == "$before"
	wait "$pinging" || status=$?
	check "of 40 pings meanwhile, answered" "$(grep -cE 'icmp_seq=([1-9]|[1-3][0-9]|40) ' "$lab/pings")" == 40
	on a wg setconf wg0 "$lab/saved"
	check "peers after wg setconf" "$(on a wg show wg0 peers | wc -l)" == 3
	pings a 192.168.241.2
	note "a ping after setconf comes back"
}

# The key comes by PostUp, when the link is up already, as wg-quick(8) has it: with a keepalive, the handshake begins by itself all the same.
scenario_private_key_by_post_up() {
	cable wgsharp
	new_key a
	new_key b
	configuration b '' | up b wg0
	configuration a 10.0.0.2:2 | sed "s|^PrivateKey.*|PostUp = wg set %i private-key $(secret a "${key[a]}")|" >"$lab/post-up.conf"
	echo 'PersistentKeepalive = 25' >>"$lab/post-up.conf"
	up a wg0 <"$lab/post-up.conf"
	await 4 "there is a session though nobody has anything to say" in_session a
}
in_session() { [[ $(on "$1" wg show wg0 latest-handshakes | cut -f 2) -gt 0 ]]; } # host

# wg-quick save, strip and SaveConfig.
scenario_wg_quick_save_and_strip() {
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	new_key c
	on a wg set wg0 peer "${pub[c]}" allowed-ips 10.77.0.0/16
	quick a save wg0
	check "the saved file names the new peer" "$(occurrences -F "${pub[c]}" "$lab/a/wg0.conf")" == 1
	check "and keeps the addresses" "$(occurrences '^Address = ' "$lab/a/wg0.conf")" -ge 2
	quick a strip wg0
	check "strip leaves no Address" "$(occurrences '^Address' "$lab/a/wg-quick.wg0")" == 0
	check "strip keeps the peers" "$(occurrences '^PublicKey' "$lab/a/wg-quick.wg0")" == 2
	sed -i 's/^\[Interface\]/[Interface]\nSaveConfig = true/' "$lab/a/wg0.conf"
	on a wg set wg0 peer "${pub[c]}" remove
	down a wg0
	check "with SaveConfig, down wrote the removal" "$(occurrences -F "${pub[c]}" "$lab/a/wg0.conf")" == 0
	quick a up wg0
	pings a 192.168.241.2
	note "up again with the saved file, and a ping comes back"
}

# The command returns when the interface can be configured, and holds nothing of its caller: no descriptor, no session,
# no directory.
scenario_detaches_completely() {
	local daemon before
	lonely
	exec {before}>"$lab/descriptor-of-the-caller"
	on a timeout 5 bash -c "answer=\$('$WGSHARP' wg0 2>&1); exit 0" || fail "\$(wgsharp wg0) does not come back"
	daemon=$(daemon_pid a wg0)
	note "\$(wgsharp wg0) comes back"
	exec {before}>&-
	# It opens and closes others meanwhile.
	check "the caller's descriptors in the daemon" "$(find "/proc/$daemon/fd" -ignore_readdir_race -lname '*/descriptor-of-the-caller' | wc -l)" == 0
	check "its directory" "$(readlink "/proc/$daemon/cwd")" == /
	check "its session is not the caller's" "$(ps -o sid= "$daemon" | tr -d ' ')" != "$(ps -o sid= $$ | tr -d ' ')"
	check "the socket's mode" "$(on a stat -c %a /var/run/wireguard/wg0.sock)" == 600
	check "the interface, before anybody set anything" "$(on a ip -o link show wg0 | grep -o 'mtu [0-9]*'), $(on a ip -o link show up dev wg0 | wc -l) up" == "mtu 1420, 0 up"
	check "wg show of it" "$(on a wg show wg0 | head -n 1)" == "interface: wg0"
}

# What cannot work says so, in a sentence, before the command returns, with a status that is not 0.
scenario_errors_are_sentences() {
	local answer
	lonely
	create a wg0
	for arguments in "wg0" "this-name-is-too-long-for-an-interface" "" "--no-such-option wg1"; do
		# shellcheck disable=SC2086  # the words are arguments
		if answer=$(on a "$WGSHARP" $arguments 2>&1 </dev/null); then
			fail "wgsharp $arguments succeeds"
		fi
		[[ -n $answer ]] || fail "wgsharp $arguments says nothing"
		note "wgsharp $arguments: ${answer%%$'\n'*}"
	done
	check "the first wg0 is still there" "$(on a wg show interfaces)" == wg0
	answer=$(on a setpriv --bounding-set -net_admin --inh-caps -net_admin "$WGSHARP" wg1 2>&1) && fail "succeeds without CAP_NET_ADMIN"
	note "without CAP_NET_ADMIN: ${answer%%$'\n'*}"
	check "lines of a stack trace in it" "$(occurrences '^   at ' <<<"$answer")" == 0
}

ended() { # what was done to it
	await 1 "$1: link, socket and process are gone" gone a wg0
	create a wg0
	check "and wg0 can be started again at once" "$(on a wg show interfaces)" == wg0
}

# kill -TERM ends the daemon within a second, and nothing is left of it.
scenario_ends_on_sigterm() {
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	kill -TERM "$(daemon_pid a wg0)"
	ended "kill -TERM"
}

# kill -INT ends the daemon within a second, and nothing is left of it.
scenario_ends_on_sigint() {
	lonely
	create a wg0
	kill -INT "$(daemon_pid a wg0)"
	ended "kill -INT"
}

# Deleting the link ends the daemon within a second, and nothing is left of it.
scenario_ends_when_its_link_is_deleted() {
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	on a ip link del wg0
	ended "ip link del"
}

# Deleting the UAPI socket ends the daemon within a second, and nothing is left of it.
scenario_ends_when_its_socket_is_deleted() {
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	on a rm /var/run/wireguard/wg0.sock
	ended "rm of the socket"
}

# A socket file that a killed daemon left behind is in nobody's way.
scenario_replaces_a_stale_socket() {
	lonely
	create a wg0
	kill -KILL "$(daemon_pid a wg0)"
	quietly_await 2 "the link is gone" refuses_link a wg0
	check "the stale socket is there" "$(on a ls /var/run/wireguard)" == wg0.sock
	create a wg0
	check "wg show interfaces" "$(on a wg show interfaces)" == wg0
}
refuses_link() { ! on "$1" test -e "/sys/class/net/$2"; }

# 100 times wg-quick up and down: no process, interface, socket or file is left.
# limit: 150
scenario_up_and_down_100_times() {
	local i from before
	cable wgsharp
	configuration b 10.0.0.1:1 | up b wg0
	configuration a 10.0.0.2:2 >"$lab/a/wg0.conf"
	before=$(processes)
	from=$(now_ms)
	for i in {1..100}; do
		quick a up wg0
		if [[ $((i % 10)) -eq 0 ]]; then
			pings a 192.168.241.2
		fi
		down a wg0
	done
	note "100 x up and down, a ping in every tenth: $((($(now_ms) - from) / 100)) ms each"
	await 1 "nothing of wg0 is left" gone a wg0
	await 5 "no more processes than the $before before" no_more_processes_than "$before"
	check "files left in /var/run/wireguard" "$(on a find /var/run/wireguard -mindepth 1 | wc -l)" == 0
}

# 100 times link down and up under one daemon: its descriptors, threads and memory do not grow.
scenario_link_down_and_up_100_times() {
	local i daemon was_open was_threads was_resident
	cable wgsharp
	tunnel 4 both
	daemon=$(daemon_pid a wg0)
	for i in {1..120}; do
		on a ip link set wg0 down
		on a ip link set wg0 up
		if [[ $((i % 20)) -eq 0 ]]; then
			on a ip address replace 192.168.241.1/24 dev wg0
			await 6 "a ping after $i times" on a ping -n -q -c 1 -W 1 192.168.241.2
		fi
		if [[ $i -eq 20 ]]; then
			was_open=$(descriptors "$daemon") was_threads=$(threads "$daemon") was_resident=$(resident "$daemon")
		fi
	done
	check "the daemon is the same" "$(daemon_pid a wg0)" == "$daemon"
	await 5 "no more descriptors than the $was_open before" no_more_descriptors_than "$daemon" "$was_open"
	check "threads, $was_threads before" "$(threads "$daemon")" -le $((was_threads + 1))
	# Garbage is collected after 4 MiB.
	check "resident KiB, $was_resident before" "$(resident "$daemon")" -le $((was_resident + 4096))
}

# `wgsharp wg0` is back within 250 ms (median of nine).
# alone
scenario_starts_within_250_ms() {
	local i from times=()
	lonely
	for i in {1..9}; do
		from=$(now_ms)
		on a "$WGSHARP" wg0 2>/dev/null
		times+=($(($(now_ms) - from)))
		on a ip link del wg0
		quietly_await 2 "gone" gone a wg0
	done
	note "ms each: ${times[*]}"
	mapfile -t times < <(printf '%s\n' "${times[@]}" | sort -n)
	check "median ms until wgsharp wg0 is back" "${times[4]}" -le 250

	# The same on any machine, and the first to show that the core library was not compiled ahead (WgSharp.csproj).
	on a env DOTNET_JitStdOutFile="$lab/jit" DOTNET_JitDisasmSummary=1 "$WGSHARP" --version >/dev/null
	check "methods that the JIT compiles for wgsharp --version" "$(grep -c "JIT compiled" "$lab/jit")" -le 20
}

# A daemon that has had a handshake and is idle is at most 30 MB.
scenario_idle_within_30_mb() {
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2 5
	check "resident KiB, idle after a handshake and five pings" "$(resident "$(daemon_pid a wg0)")" -le 30720
}

# 25,000 peers: every command of wg takes about a second.
# alone
scenario_25000_peers() {
	local what from took
	lonely
	create a wg0
	on a ip link set wg0 up
	# Any 32 bytes do as a public key: 42 digits of base64, one whose last two bits are 0, and the padding.
	perl -e 'my @digits = ("A" .. "Z", "a" .. "z", 0 .. 9, "+", "/"); print "[Interface]\nPrivateKey = $ARGV[0]\nListenPort = 1\n";
		for my $i (0 .. 24999) {
			printf "[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.0/28, fd00:%x::/64\nEndpoint = 10.0.0.2:%d\n",
				join("", map { $digits[rand 64] } 1 .. 42) . "A=", $i >> 8, $i & 255, $i, 1 + $i;
		}' "${key[a]}" >"$lab/many.conf"
	for what in "setconf wg0 $lab/many.conf" "show wg0" "show all dump" "showconf wg0" "syncconf wg0 $lab/many.conf" \
		"addconf wg0 $lab/many.conf" "show wg0 allowed-ips"; do
		from=$(now_ms)
		# shellcheck disable=SC2086  # the words are arguments
		on a wg $what >"$lab/answer" 2>&1 || fail "wg $what: $(tail -n 1 "$lab/answer")"
		took=$(($(now_ms) - from))
		check "ms of wg ${what%% /*}" "$took" -le 2000
	done
	check "peers with their two allowed IPs" "$(awk 'NF == 3' "$lab/answer" | wc -l)" == 25000
	note "resident KiB with 25,000 peers: $(resident "$(daemon_pid a wg0)")"
}

# One TCP flow is at least as fast as through Debian's wireguard-go, measured in turns in the same run.
# alone
# limit: 90
scenario_as_fast_as_wireguard_go() {
	local i what mine=() theirs=()
	for what in wgsharp wireguard-go; do
		host "a_$what" "$what"
		host "b_$what" "$what"
		link "a_$what:eth0" 10.0.0.1/24 "b_$what:eth0" 10.0.0.2/24
		new_key a
		new_key b
		configuration a 10.0.0.2:2 | up "a_$what" wg0
		configuration b 10.0.0.1:1 | up "b_$what" wg0
		pings "a_$what" 192.168.241.2
		iperf "a_$what" "b_$what" 192.168.241.2 -t 1
	done
	for i in {1..5}; do
		iperf a_wgsharp b_wgsharp 192.168.241.2 -t 1
		mine+=("$mbits")
		iperf a_wireguard-go b_wireguard-go 192.168.241.2 -t 1
		theirs+=("$mbits")
	done
	note "Mbit/s, wgsharp: ${mine[*]}; wireguard-go: ${theirs[*]}"
	mapfile -t mine < <(printf '%s\n' "${mine[@]}" | sort -n)
	mapfile -t theirs < <(printf '%s\n' "${theirs[@]}" | sort -n)
	check "median Mbit/s of one TCP flow, wireguard-go ${theirs[2]}" "${mine[2]}" -ge "${theirs[2]}"
}
