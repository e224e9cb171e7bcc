#!/bin/bash
# What wgsharp tells of its interfaces that wg does not: `wgsharp status`, and metrics for Prometheus.

# shellcheck disable=SC2154  # library is the runner's
# shellcheck source=interop/lib/path-mtu.sh
. "$library/path-mtu.sh"

asks=$library/status.py

status_of() { on "$1" "$WGSHARP" status "${@:2}"; } # host arguments...

# An expression over the JSON of a host's wg0, or of its one peer that is named as for --peer: i is the interface, p the first peer.
value() { # host expression [which peer]
	status_of "$1" wg0 --json ${3:+--peer "$3"} >"$lab/value" && python3 "$asks" value "$lab/value" "$2"
}
value_is() { [[ $(value "$1" "$2" "${4:-}") == "$3" ]]; } # host expression wanted [which peer]

# Two ends and traffic: the JSON says what wg says, of both, and no secret; people and programs see the same figures; rates are those of a stream.
scenario_status_agrees_with_wg() {
	local rate text
	cable wgsharp
	tunnel 4 both
	floods a 192.168.241.2 50
	status_of a wg0 --json >"$lab/json"
	on a wg show wg0 dump >"$lab/dump"
	check "peers that wg and status agree about" "$(python3 "$asks" agrees "$lab/json" "$lab/dump")" == 1
	text=$(status_of a)
	for secret in "$lab/json" <(printf '%s' "$text") <(on a "$WGSHARP" metrics); do
		cat "$secret" >"$lab/words"
		check "secrets in it" "$(python3 "$asks" secrets "$lab/words" "${key[a]}" "$psk")" == 0
	done
	check "of the session" "$(value a '(p["session"]["usable"], p["session"]["keypair_age_seconds"] < 30, p["has_preshared_key"])')" == "(True, True, True)"
	check "for people" "$text" =~ "peer ${pub[b]//+/\\+}  10.0.0.2:2"
	check "escape sequences in it" "$(occurrences -F $'\e' <<<"$text")" == 0
	check "lines for one peer" "$(wc -l <<<"$text")" -le 24
	stream b a 192.168.241.1 4
	quietly_await 5 "it flows" streamed 1
	status_of a wg0 --json --rates >"$lab/rates"
	rate=$(python3 "$asks" value "$lab/rates" 'int(p["received_bytes_per_second"] * 8 / 1e6)')
	stream_ends
	check "Mbit/s that status sees of a stream of $(per_second)" "$rate" -ge 10
	on a ip link set wg0 down
	check "with the link down" "$(value a '(i["link_up"], p["session"]["usable"])')" == "(False, False)"
	answer=$(status_of a wg7 2>&1) && fail "there is a wg7"
	check "of what is not there" "$answer" == "wgsharp: There is no interface wg7."
	answer=$(status_of a lo 2>&1) && fail "lo is served"
	check "of what is another thing" "$answer" =~ 'no WireGuard interface'
}

# Other daemons are told from ours in a sentence, and do not keep status from showing ours.
scenario_status_of_other_daemons() {
	local answer
	host a wgsharp
	new_key a
	create a wg0
	on a wireguard-go wg1 >/dev/null 2>&1
	quietly_await 5 "wireguard-go stands" on a test -e /run/wireguard/wg1.sock
	answer=$(status_of a wg1 2>&1) && fail "wireguard-go answers"
	check "of wireguard-go" "$answer" =~ 'wg1: its daemon cannot tell its status'
	status_of a >"$lab/all" 2>"$lab/refusals"
	check "of all" "$(cat "$lab/refusals")" =~ 'wg1: '
	check "ours all the same" "$(cat "$lab/all")" =~ '^interface wg0  wgsharp '
	check "wg still answers" "$(on a wg show interfaces | tr ' ' '\n' | sort | paste -sd ' ')" == "wg0 wg1"
}

# Why there is no session: another preshared key, a key that nobody knows, an endpoint that is nowhere, and one that is silent; and it goes once there is one.
# limit: 60
scenario_status_tells_what_is_wrong() {
	local stranger silent
	cable wgsharp
	tunnel 4 a
	on b wg set wg0 peer "${pub[a]}" preshared-key "$(secret b "$(wg genpsk)")"
	stranger=$(wg genkey | wg pubkey)
	silent=$(wg genkey | wg pubkey)
	on a wg set wg0 peer "$stranger" endpoint 192.0.2.1:7 allowed-ips 192.168.241.7/32
	on a wg set wg0 peer "$silent" endpoint 10.0.0.2:2 allowed-ips 192.168.241.8/32
	for address in 2 7 8; do no_answer a "192.168.241.$address"; done
	await 10 "another preshared key, seen by who began" value_is a 'p["handshake"]["trouble"]' answer_not_authentic "${pub[b]}"
	await 15 "and by who answered" value_is b 'p["handshake"]["trouble"]' answer_not_confirmed
	await 5 "an endpoint that is nowhere" value_is a '(p["handshake"]["trouble"], p["handshake"]["trouble_error"])' "('send_failed', 'ENETUNREACH')" "$stranger"
	await 10 "a key that is not the one there" value_is a 'p["handshake"]["trouble"]' no_answer "192.168.241.8"
	check "in words" "$(value a 'p["handshake"]["trouble_text"]' "$silent")" =~ '^no answer since [0-9]+ s, [2-9] attempts$'
	check "where that key was not known, messages with a wrong mac1" "$(value b 'i["dropped"]["wrong_mac"]')" -ge 1
	status_of a --sort trouble | sed 's/^/    /' >&3
	on b wg set wg0 peer "${pub[a]}" remove
	await 10 "a peer that was removed is a stranger" value_is b '(i["unknown_initiations"]["count"] > 0, i["unknown_initiations"]["last_public_key"], i["unknown_initiations"]["last_endpoint"])' "(True, '${pub[a]}', '10.0.0.1:1')"
	on b wg set wg0 peer "${pub[a]}" preshared-key "$(secret b "$psk")" allowed-ips 192.168.241.1/32
	await 10 "with the right key there is a session" value_is a '(p["session"]["usable"], p["handshake"]["trouble"], p["handshake"]["attempts"])' "(True, None, 0)" "${pub[b]}"
}

# A hop of 1400 is found by probes, and shown with its source; what is dropped is counted by reason; packets that wait are, too.
# limit: 60
scenario_status_shows_path_and_drops() {
	path wgsharp
	filter_icmp r q
	hop 1400
	begin_tunnel 4 1420
	stream a b 192.168.241.2 15
	await 15 "the hop is shown" value_is a '(p["path"]["mtu_bytes"], p["path"]["mtu_source"], p["path"]["fragments_lost"])' "(1400, 'probe', False)"
	check "confirmed within 20 s, probes sent and answered" "$(value a '(p["path"]["confirmed_seconds_ago"] < 20, p["path"]["probes_sent"] > p["path"]["probes_answered"] > 0)')" == "(True, True)"
	stream_ends
	check "for people" "$(status_of a)" =~ 'MTU 1400 by probe [0-9]+ s ago, route 1'
	on a ip route add 192.168.77.0/24 dev wg0
	no_answer a 192.168.77.1 3
	check "packets for nobody" "$(value a 'i["dropped"]["no_peer"]')" -eq 3
	on b wg set wg0 peer "${pub[a]}" allowed-ips fd00::1/128
	no_answer a 192.168.241.2 4
	check "packets from an address that is not the peer's" "$(value b 'i["dropped"]["source_not_allowed"]')" -eq 4
	check "whose they were" "$(value b 'p["dropped"]')" == "{'source_not_allowed': 4}"
	check "for people" "$(status_of b)" =~ 'dropped +source_not_allowed 4'
	on a wg set wg0 peer "${pub[b]}" remove
	on a wg set wg0 peer "${pub[b]}" endpoint 10.0.2.99:2 allowed-ips 192.168.241.2/32
	no_answer a 192.168.241.2 5
	check "packets that wait" "$(value a '(i["waiting"]["staged_packets"], p["staged_packets"])')" == "(5, 5)"
}

# 10,000 peers: all of them for programs, the first that fit for people, and one that is asked for; through a pager on a terminal.
# alone
# limit: 150
scenario_status_of_10000_peers() {
	local from one answer before daemon
	host a wgsharp
	link a:eth0 10.0.0.1/24 a:eth1 -
	new_key a
	create a wg0
	{
		printf '[Interface]\nPrivateKey = %s\nListenPort = 1\n' "${key[a]}"
		# Any 32 bytes do as a public key: 42 digits of base64, one whose last two bits are 0, and the padding.
		perl -e 'my @digits = ("A" .. "Z", "a" .. "z", 0 .. 9, "+", "/"); srand(1);
			for my $i (0 .. 9999) {
				printf "[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.0/28\nEndpoint = 10.0.0.2:%d\n",
					join("", map { $digits[rand 64] } 1 .. 42) . "A=", 1 + ($i >> 8), $i & 255, 1 + $i;
			}'
	} >"$lab/many.conf"
	on a wg setconf wg0 "$lab/many.conf"
	from=$(now_ms)
	status_of a wg0 --json >"$lab/json"
	check "ms of status --json" $(($(now_ms) - from)) -le 6000
	on a wg show wg0 dump >"$lab/dump"
	check "peers that wg and status agree about" "$(python3 "$asks" agrees "$lab/json" "$lab/dump")" == 10000
	one=$(awk 'NR == 7777 { print $1 }' "$lab/dump")
	check "found by the beginning of its key" "$(status_of a wg0 --peer "${one:0:12}" | occurrences -F "peer $one")" == 1
	check "found by an address behind it" "$(status_of a wg0 --peer "$(awk 'NR == 7777 { sub(".0/28", ".9", $4); print $4 }' "$lab/dump")" | occurrences -F "peer $one")" == 1
	check "found by its endpoint" "$(status_of a wg0 --peer "$(awk 'NR == 7777 { print $3 }' "$lab/dump")" | occurrences -F "peer $one")" == 1
	answer=$(status_of a wg0 --top 20)
	check "lines of --top 20" "$(wc -l <<<"$answer")" -le 32
	check "and the last" "$(tail -n 1 <<<"$answer")" == '9,980 more peers are not shown (--top, --peer, --sort)'
	# shellcheck disable=SC2016  # for the shell in script
	answer=$(on a env -u NO_COLOR TERM=xterm PAGER="sed 's/^/paged:/'" WGSHARP="$WGSHARP" script -qec 'stty rows 24 cols 80; "$WGSHARP" status wg0' /dev/null)
	check "on a terminal of 24 lines, lines through the pager" "$(occurrences -F paged: <<<"$answer")" -ge 10000
	check "the longest of them" "$(sed 's/\x1b\[[0-9;]*m//g; s/\r//; s/^paged://' <<<"$answer" | awk '{ if (length > most) most = length } END { print most }')" -le 80
	check "in colours" "$(occurrences -F $'\e[1m' <<<"$answer")" -ge 1
	answer=$(on a env NO_COLOR=1 TERM=xterm PAGER=cat WGSHARP="$WGSHARP" script -qec "$WGSHARP status wg0 --top 1" /dev/null)
	check "with NO_COLOR" "$(occurrences -F $'\e[' <<<"$answer")" == 0
	daemon=$(daemon_pid a wg0)
	before=$(processor_ms "$daemon")
	for _ in {1..10}; do status_of a wg0 --json >/dev/null; done
	check "processor time of the daemon for each of ten looks, ms" $((($(processor_ms "$daemon") - before) / 10)) -le 500
	note "resident KiB with 10,000 peers, shown: $(awk '/VmRSS/ { print $2 }' "/proc/$daemon/status")"
}

# --watch draws anew in place until Ctrl-C, and gives the terminal back; the interface may go and come meanwhile.
# limit: 120
scenario_status_watched() {
	local words status=0 watcher
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	mkfifo "$lab/keys"
	exec {keyboard}<>"$lab/keys"
	words=$lab/terminal
	# What a shell starts in the background ignores SIGINT, and so would everything in there.
	# shellcheck disable=SC2016  # for the shell in script
	launch a env --default-signal=INT,QUIT TERM=xterm WGSHARP="$WGSHARP" script -qefc 'stty rows 24 cols 80; "$WGSHARP" status wg0 --watch 0.2; echo "status $?"; stty -a' /dev/null <&"$keyboard" >"$words" &
	watcher=$!
	await 20 "it is drawn three times" drawn 3
	check "on the other screen" "$(occurrences -F $'\e[?1049h' <"$words")" == 1
	on a ip link del wg0
	await 20 "without the interface it says so" grep -q 'There is no interface wg0' "$words"
	configuration a 10.0.0.2:2 | up a wg0
	await 20 "with it, it goes on" drawn $(($(occurrences -F 'interface wg0' <"$words") + 2))
	printf '\003' >&"$keyboard"
	wait "$watcher" || status=$?
	check "ends on Ctrl-C" "$status" == 0
	check "status" "$(grep -o 'status [0-9]*' "$words" | tail -n 1)" == "status 0"
	check "gives the screen and the cursor back" "$(grep -oF -e $'\e[?25h' -e $'\e[?1049l' "$words" | tail -n 2 | tr -d $'\e\n')" == "[?25h[?1049l"
	check "echo is on" "$(grep -cE '(^| )echo( |;|$)' "$words")" -ge 1
	check "lines scrolled off by a look" "$(awk 'BEGIN { RS = "\033\\[H" } NR > 1 { n = gsub(/\n/, "\n"); if (NR < 4 && n > most) most = n } END { print most }' "$words")" -le 23
}
drawn() { [[ $(occurrences -F 'interface wg0' <"$lab/terminal") -ge $1 ]]; }

# Metrics: off unless asked for, on a loopback address or a unix socket; promtool has nothing to say; the command prints the same.
scenario_metrics() {
	local answer status=0
	cable wgsharp
	export WGSHARP_METRICS=127.0.0.1:9586
	tunnel 4 both
	floods a 192.168.241.2 50
	on a curl -sS -D "$lab/header" http://127.0.0.1:9586/metrics >"$lab/metrics"
	check "header" "$(tr -d '\r' <"$lab/header" | head -n 2 | paste -sd ' ')" == 'HTTP/1.1 200 OK Content-Type: text/plain; version=0.0.4; charset=utf-8'
	answer=$("$PROMTOOL" check metrics <"$lab/metrics" 2>&1) || status=$?
	check "what promtool has to say" "$status $answer" == "0 "
	read -r rx tx <<<"$(transfer a wg0 "${pub[b]}")"
	check "bytes received, wg says $rx" "$(sample "$lab/metrics" peer_received_bytes_total)" == "$rx"
	check "bytes sent, wg says $tx" "$(sample "$lab/metrics" peer_sent_bytes_total)" == "$tx"
	on a "$WGSHARP" metrics wg0 >"$lab/command"
	check "the command's metrics that are not the server's" "$(diff <(names "$lab/metrics") <(names "$lab/command"))" == ''
	check "what promtool says of those" "$("$PROMTOOL" check metrics <"$lab/command" 2>&1)" == ''
	check "where it listens" "$(on a ss -Hltn 'sport = :9586' | awk '{ print $4 }')" == 127.0.0.1:9586
	check "from elsewhere" "$(on b curl -sS -m 2 http://10.0.0.1:9586/metrics 2>&1 | grep -c wgsharp_ || true)" == 0
	check "of nonsense, answers by status" "$(on a python3 "$asks" rude 127.0.0.1:9586)" =~ '400:'
	check "another path" "$(on a curl -sS -o /dev/null -w '%{http_code}' http://127.0.0.1:9586/)" == 404
	check "threads of it" "$(metrics_threads a wg0)" == 1
	export WGSHARP_METRICS=0.0.0.0:9586
	answer=$(on a "$WGSHARP" wg7 2>&1) && fail "metrics for all the world"
	check "for all the world" "$answer" =~ '0.0.0.0 is not a loopback address'
	export WGSHARP_METRICS=127.0.0.1:9586
	on a "$WGSHARP" wg7 2>"$lab/words"
	check "an address that is taken ends no interface" "$(on a wg show interfaces | wc -w)" == 2
	export WGSHARP_METRICS=unix:/run/wireguard/wg8.metrics
	on a "$WGSHARP" wg8
	on a curl -sS --unix-socket /run/wireguard/wg8.metrics http://x/metrics >"$lab/unix"
	check "by a unix socket" "$("$PROMTOOL" check metrics <"$lab/unix" 2>&1 && grep -c 'interface="wg8"' "$lab/unix")" -ge 20
	check "whose file is" "$(on a stat -c '%a %U' /run/wireguard/wg8.metrics)" == "600 root"
	on a ip link del wg8
	quietly_await 5 "wg8 has gone" gone a wg8
	check "and it is gone with it" "$(on a ls /run/wireguard | grep -c metrics || true)" == 0
	unset WGSHARP_METRICS
	on a "$WGSHARP" wg9
	check "threads of it without the setting" "$(metrics_threads a wg9)" == 0
}
sample() { awk -v n="wgsharp_$2{" 'index($0, n) == 1 { print $NF }' "$1"; } # file name
names() { grep -o '^wgsharp_[a-z_]*' "$1" | sort | uniq -c; }
metrics_threads() { cat /proc/"$(daemon_pid "$1" "$2")"/task/*/comm | occurrences '^wg-metrics$'; } # host interface

# 100 clients of the metrics and 100 of the control socket ask for 10,000 peers and read nothing: pings and wg do not notice, nor does memory.
# Who asks for the status waits until they have been dropped.
# quiet
# limit: 150
scenario_status_and_slow_readers() {
	local before slow=() daemon resident
	cable wgsharp
	export WGSHARP_METRICS=127.0.0.1:9586 WGSHARP_METRICS_PEERS=100000
	tunnel 4 both
	pings a 192.168.241.2
	perl -e 'my @digits = ("A" .. "Z", "a" .. "z", 0 .. 9, "+", "/"); srand(1);
		for my $i (0 .. 9999) {
			printf "[Peer]\nPublicKey = %s\nAllowedIPs = 10.%d.%d.0/28\n", join("", map { $digits[rand 64] } 1 .. 42) . "A=", 1 + ($i >> 8), $i & 255;
		}' >"$lab/many.conf"
	on a wg addconf wg0 "$lab/many.conf"
	daemon=$(daemon_pid a wg0)
	longest_ping
	before=$longest
	note "the longest of 200 pings, 10 ms apart, before: $before us"
	on a curl -sS http://127.0.0.1:9586/metrics >"$lab/metrics"
	check "peers in the metrics" "$(occurrences -F 'wgsharp_peer_session{' <"$lab/metrics")" == 10001
	resident=$(awk '/VmRSS/ { print $2 }' "/proc/$daemon/status")
	note "resident KiB after the first scrape: $resident"
	launch a python3 "$asks" slow unix /run/wireguard/wg0.sock 'status=1\n\n' 100 >"$lab/slow1" &
	slow+=($!)
	launch a python3 "$asks" slow tcp 127.0.0.1:9586 'GET /metrics HTTP/1.1\r\n\r\n' 100 >"$lab/slow2" &
	slow+=($!)
	quietly_await 20 "the slow ones are there" grep -q ready "$lab/slow1"
	quietly_await 20 "those of the metrics too" grep -q ready "$lab/slow2"
	longest_ping
	check "the longest ping beside them, us" "$longest" -le $((before * 3 + 100000))
	before=$(now_ms)
	check "peers that wg shows beside them" "$(on a wg show wg0 peers | wc -l)" == 10001
	check "ms that takes" $(($(now_ms) - before)) -le 3000
	await 25 "metrics are served again" answered
	note "resident KiB with them: $(awk '/VmRSS/ { print $2 }' "/proc/$daemon/status")"
	check "and no more than 40 MiB above" $(($(awk '/VmRSS/ { print $2 }' "/proc/$daemon/status") - resident)) -le 40960
	kill "${slow[@]}"
	await 5 "without them, status answers again" value_is a 'len(i["peers"])' 10001
	# Looks in a row, as a person with --watch and three scrapers make them.
	launch a bash -c "for i in {1..5}; do '$WGSHARP' status wg0 --json >/dev/null; curl -sS http://127.0.0.1:9586/metrics >/dev/null; done" &
	slow=($!)
	longest_ping
	wait "${slow[0]}"
	note "the longest ping while everything is shown over and over, us: $longest"
}
answered() { [[ $(on a curl -sS -o "$lab/again" -w '%{http_code}' http://127.0.0.1:9586/metrics) == 200 ]] && [[ $(occurrences -F 'wgsharp_peer_session{' <"$lab/again") == 10001 ]]; }
longest_ping() { # leaves microseconds in $longest
	local answer
	# With -w it waits for the last one, too, and goes on asking meanwhile: that is not what is counted.
	answer=$(on a ping -n -w 20 -c 200 -i 0.01 192.168.241.2) || fail "pings: $answer"
	check "pings that came back of 200" "$(awk 'match($0, /icmp_seq=[0-9]+/) { came += substr($0, RSTART + 9) + 0 <= 200 } END { print came }' <<<"$answer")" == 200
	longest=$(awk -F / '/rtt/ { printf "%d", $6 * 1000 }' <<<"$answer")
}
