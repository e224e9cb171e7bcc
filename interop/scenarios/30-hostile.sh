#!/bin/bash
# Strangers and mistakes: nothing crashes, hangs or grows; silence towards the network, an error towards whoever configures.

# The daemon's state that must not change under attack.
still_well() { # daemon, descriptors before, resident KiB before
	check "the daemon is the same process" "$(daemon_pid a wg0)" == "$1"
	quietly_await 3 "descriptors as before" no_more_descriptors_than "$1" "$2"
	check "resident KiB, $3 before" "$(awk '/^VmRSS/ { print $2 }' "/proc/$1/status")" -le $(($3 + 4096))
	await 6 "and a ping comes back" on a ping -n -q -c 1 -W 1 192.168.241.2
}

# Datagrams of every length and type, random and mutated from real ones: no answer, no crash, no growth.
# limit: 90
scenario_hostile_datagrams() {
	local daemon was_open was_resident to
	with_a_stranger
	capture real hub br0 udp
	capture answers s eth0 'udp src port 1'
	tunnel 4 both
	pings a 192.168.241.2 5
	captured real >/dev/null
	tcpdump -n -x -r "$lab/real.pcap" udp 2>/dev/null | awk '
		/^[0-9]/ { if (hex) print substr(hex, 57); hex = "" }
		/^\t0x/ { sub(/^\t0x[0-9a-f]*: */, ""); gsub(/ /, ""); hex = hex $0 }
		END { if (hex) print substr(hex, 57) }' >"$lab/messages"
	check "real messages to mutate" "$(wc -l <"$lab/messages")" -ge 10
	daemon=$(daemon_pid a wg0)
	# The first round may warm buffers up; the second may not cost anything.
	for to in 10.0.0.1 fd00:aa::1; do
		on s "$library/hostile.pl" datagrams 1 20000 "$to" 1 "$lab/messages"
	done
	was_open=$(descriptors "$daemon")
	was_resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status")
	for to in 10.0.0.1 fd00:aa::1; do
		on s "$library/hostile.pl" datagrams 2 50000 "$to" 1 "$lab/messages"
	done
	note "140,000 hostile datagrams over IPv4 and IPv6"
	still_well "$daemon" "$was_open" "$was_resident"
	captured answers >/dev/null
	check "answers to the stranger" "$(packets answers)" == 0
	check "a's endpoint of b" "$(endpoint a wg0 "${pub[b]}")" == 10.0.0.2:2
}

# Sends datagrams from port 4711: the messages of a file, one in hexadecimal per line, changed by an expression of perl.
resend() { # host file [what to do to $_]
	# shellcheck disable=SC2016  # perl's variables
	on "$1" perl -MSocket -ne '
		BEGIN {
			$change = eval "sub { $ARGV[0] }" or die $@;
			shift;
			socket(S, AF_INET, SOCK_DGRAM, 0) && bind(S, pack_sockaddr_in(4711, INADDR_ANY)) or die $!;
		}
		chomp;
		$_ = pack "H*", $_;
		$change->();
		send(S, $_, 0, pack_sockaddr_in(1, inet_aton("10.0.0.1"))) or die $!' "${3:-1}" "$2"
}

takes_the_stranger_for_b() { [[ $(endpoint a wg0 "${pub[b]}") == 10.0.0.3:4711 ]]; }
has_read_its_socket() { [[ $(on "$1" ss -H -n -u -a "sport = :$2" | awk '{ waits += $2 } END { print waits + 0 }') -eq 0 ]]; }

# What names a living session and is not of it, or came before, moves no endpoint. What is of it and new does, whoever brings it.
scenario_junk_behind_a_living_index_moves_no_endpoint() {
	local change
	with_a_stranger
	tunnel 4 both
	pings b 192.168.241.1
	capture real hub br0 'udp src port 2 and udp[8] = 4'
	pings b 192.168.241.1 5
	captured real >/dev/null
	payloads real $((32 + 96)) >"$lab/messages"
	check "messages of the living session" "$(wc -l <"$lab/messages")" -ge 5
	# As they were; with another tag; with another counter; the header and junk; the header and a tag of zeros: a forged keepalive.
	# shellcheck disable=SC2016  # perl's variables
	for change in 1 'substr($_, -1) ^= "\1"' 'substr($_, 9, 1) = "\1"' 'substr($_, 9) = "\1" . "\xa5" x 1000' 'substr($_, 9) = "\1" . "\0" x 22'; do
		resend s "$lab/messages" "$change"
		quietly_await 5 "a has read them" has_read_its_socket a 1
		check "a's endpoint of b after: $change" "$(endpoint a wg0 "${pub[b]}")" == 10.0.0.2:2
	done

	on a iptables -A INPUT -p udp -s 10.0.0.2 -j DROP
	capture withheld hub br0 'udp src port 2 and udp[8] = 4'
	no_answer b 192.168.241.1
	captured withheld >/dev/null
	on a iptables -D INPUT -p udp -s 10.0.0.2 -j DROP
	payloads withheld $((32 + 96)) >"$lab/messages"
	resend s "$lab/messages"
	await 2 "a message that did not arrive, from the stranger: it is b for a" takes_the_stranger_for_b
	pings b 192.168.241.1
	check "and b again, where b speaks" "$(endpoint a wg0 "${pub[b]}")" == 10.0.0.2:2
}

# Every length from 0 to 1500 and around 64 KiB, for each message type.
scenario_hostile_datagrams_of_every_length() {
	local daemon
	with_a_stranger
	tunnel 4 both
	pings a 192.168.241.2
	daemon=$(daemon_pid a wg0)
	# shellcheck disable=SC2016  # perl's variables
	on s perl -MSocket -e '
		socket(my $s, AF_INET, SOCK_DGRAM, 0) or die;
		my $to = pack_sockaddr_in(1, inet_aton("10.0.0.1"));
		for my $type (0 .. 5) {
			for my $length (0 .. 1500, 65400 .. 65507) {
				send($s, substr(pack("V", $type) . "\xa5" x $length, 0, $length), 0, $to);
			}
		}'
	note "six types in 1609 lengths each"
	check "the daemon is the same process" "$(daemon_pid a wg0)" == "$daemon"
	pings a 192.168.241.2
	note "and a ping comes back"
}

# Packets of every kind of nonsense into the tunnel interface: truncated, of no version, with lengths that lie.
scenario_hostile_packets_into_the_tunnel() {
	local daemon was_open was_resident
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	daemon=$(daemon_pid a wg0)
	on a "$library/hostile.pl" packets 1 20000 wg0
	was_open=$(descriptors "$daemon")
	was_resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status")
	on a "$library/hostile.pl" packets 2 100000 wg0
	note "120,000 hostile packets"
	still_well "$daemon" "$was_open" "$was_resident"
}

# Configuration requests of every kind of nonsense: each gets an error, none is applied in part, and wg works on.
scenario_hostile_configuration() {
	local daemon was_open was_resident
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	daemon=$(daemon_pid a wg0)
	on a wg showconf wg0 >"$lab/before"
	on a "$library/hostile.pl" uapi 1 0 /var/run/wireguard/wg0.sock >"$lab/answers"
	check "kinds of wrong lines answered with EINVAL or EPROTO" "$(occurrences ': -(22|71)$' "$lab/answers") of $(occurrences ': -?[0-9n].*' "$lab/answers")" == "23 of 23"
	check "a line without '=' is EPROTO" "$(grep '^no equals sign' "$lab/answers")" == "no equals sign: -71"
	on a wg showconf wg0 >"$lab/after"
	cmp "$lab/before" "$lab/after" || fail "a wrong request was applied in part: $(diff "$lab/before" "$lab/after")"
	note "the configuration is what it was"
	on a "$library/hostile.pl" uapi 1 200 /var/run/wireguard/wg0.sock >"$lab/answers"
	was_open=$(descriptors "$daemon")
	was_resident=$(awk '/^VmRSS/ { print $2 }' "/proc/$daemon/status")
	on a "$library/hostile.pl" uapi 2 2000 /var/run/wireguard/wg0.sock >"$lab/answers"
	note "$(tail -n 1 "$lab/answers")"
	# What was mutated may have been right by chance.
	on a wg setconf wg0 "$lab/before"
	still_well "$daemon" "$was_open" "$was_resident"
	refuses on a wg set wg0 listen-port nonsense
	refuses on a wg set wg0 peer nonsense
	note "wg set with a wrong value fails"
}

# 64 connections to the UAPI socket that say half a sentence and wait: wg and the tunnel do not notice.
scenario_half_written_requests() {
	cable wgsharp
	tunnel 4 both
	pings a 192.168.241.2
	# shellcheck disable=SC2016  # perl's variables
	launch a perl -MIO::Socket::UNIX -e '
		$| = 1;
		for (1 .. 64) { my $s = IO::Socket::UNIX->new(Peer => "/var/run/wireguard/wg0.sock") or die "$_: $!\n"; print $s "set=1\nlisten_po"; $s->flush; push @s, $s }
		print "open\n"; sleep 60' >"$lab/half" &
	quietly_await 5 "64 connections" grep -q open "$lab/half"
	await 1 "wg show answers" on a timeout 1 wg show wg0
	await 1 "wg set answers" on a timeout 1 wg set wg0 peer "${pub[b]}" persistent-keepalive 0
	pings a 192.168.241.2 3 -i 0.1
	note "three pings come back"
}
