#!/bin/bash
# What only shows on the wire, with the kernel module as the other end: cookies under load, ECN and DSCP, keepalives, and
# a whole session read by a third party.

# One end is flooded with a real initiation of the other end, replayed by a third host, until it is under load. Then the
# other end's own initiation earns a cookie reply, and only the next one, with mac2, a response.
cookies() { # peer, who is under load, initiations in each of the flood's ten bursts per second
	local loaded=$2 burst=$3 step=$3 patience=15 other=b at=192.168.1.100 port=1 from=192.168.241.2 target=192.168.241.1 flood
	[[ $loaded == a ]] || { patience=12 other=a at=10.0.0.100 port=2 from=192.168.241.1 target=192.168.241.2; }
	routed "$1"
	host c none
	link r:ethx 172.16.0.1/24 c:eth0 172.16.0.2/24
	on c ip route add default via 172.16.0.1
	on b ip route add default via 10.0.0.1
	if [[ $loaded == a ]]; then
		configuration a | up a wg0
		configuration b 192.168.1.100:1 | up b wg0
	else
		configuration b | up b wg0
		configuration a 10.0.0.100:2 | up a wg0
	fi
	# An initiation that does not arrive is what the flood repeats.
	on r iptables -A FORWARD '!' -i ethx -p udp --dport "$port" -j DROP
	# We ask only those for a cookie who share an address with the flood: it comes from behind b's, as through a NAT.
	[[ $loaded != a ]] || on r iptables -t nat -A POSTROUTING -s 172.16.0.2 -p udp -j SNAT --to-source 10.0.0.100:4711
	capture seen r any 'udp and not net 172.16.0.0/24 and not port 4711'
	no_answer "$other" "$target"
	await 10 "an initiation of $other was caught" caught_initiation
	perl -e 'print pack "H*", $ARGV[0]' "$(payloads seen 148 | head -n 1)" >"$lab/initiation"
	for ((flood = 0; flood < 10; flood++)); do cat "$lab/initiation" "$lab/initiation" "$lab/initiation" "$lab/initiation" "$lab/initiation"; done >"$lab/50"
	for ((flood = 0; flood < step * 5 / 50; flood++)); do cat "$lab/50"; done >"$lab/flood"
	capture answers c eth0 'udp[4:2] = 72'
	flood_in_bursts_of "$burst"
	# shellcheck disable=SC2016  # the inner shell's variables
	launch c bash -c 'exec 3>"/dev/udp/$1/$2" 7<> <(:)
		while read -r burst <"$4"; do
			dd if="$3" bs=148 status=none count="$burst" >&3 2>/dev/null
			read -r -t 0.1 <&7
		done' flood "$at" "$port" "$lab/flood" "$lab/burst" &
	flood=$!
	# How much is load depends on how fast the other end computes, and that changes: what is under load answers the flood with cookies too.
	until comes_true 6 packets_of answers; do
		[[ $burst -lt $((5 * step)) ]] || fail "$loaded is not under load with $burst initiations in a burst"
		flood_in_bursts_of $((burst += step))
	done
	on r iptables -F FORWARD
	until comes_true "$patience" packets_like 'udp[4:2] = 72 and udp[8:4] = 0x03000000'; do
		[[ $burst -lt $((5 * step)) ]] || fail "a cookie reply from $loaded: not within $patience s, with $burst initiations in a burst"
		flood_in_bursts_of $((burst += step))
		# It was not under load any more, and there is a session: begin anew.
		on "$other" ip link set wg0 down
		on "$other" ip link set wg0 up
		on "$other" ping -n -q -c 1 -W 1 "$target" || true
	done
	note "a cookie reply from $loaded: with bursts of $burst initiations"
	await 30 "then an initiation with mac2 from $other" packets_like 'udp[4:2] = 156 and udp[8:4] = 0x01000000 and udp[140:4] != 0'
	await 30 "and a response" packets_like 'udp[4:2] = 100 and udp[8:4] = 0x02000000'
	kill "$flood"
	await 20 "once the flood is over, a ping from $other" on "$other" ping -n -q -c 1 -W 1 "$target"
	captured seen >/dev/null
	note "initiations $(packets seen 'udp[4:2] = 156'), cookie replies $(packets seen 'udp[4:2] = 72'), responses $(packets seen 'udp[4:2] = 100')"
}
flood_in_bursts_of() { echo "$1" >"$lab/burst.new" && mv "$lab/burst.new" "$lab/burst"; }
packets_like() { [[ $(packets seen "$1") -ge 1 ]]; }
caught_initiation() { [[ $(payloads seen 148 | wc -l) -ge 1 ]]; }

# The implementation under test is under load: it asks for a cookie, and the kernel brings it.
# peers: kernel wgsharp
# limit: 120
scenario_cookies_when_we_are_under_load() { cookies "$1" a 1000; }

# The kernel is under load: the implementation under test brings the cookie that it is asked for.
# peers: kernel
# limit: 120
scenario_cookies_when_the_peer_is_under_load() { cookies "$1" b 300; }

# Marks what leaves a for b, or arrives at a from b, as "congestion experienced".
congest() { # ip|ip6, output|prerouting
	on a nft add table inet congestion
	on a nft add chain inet congestion path "{ type filter hook $2 priority -300; }"
	if [[ $2 == output ]]; then
		on a nft add rule inet congestion path udp dport 2 "$1" ecn set ce
	else
		on a nft add rule inet congestion path udp sport 2 "$1" ecn set ce
	fi
}

# ECN is copied out (RFC 6040), and a mark that the path made is brought in; DSCP is not copied; handshakes carry 0x88.
ecn() { # peer, outer family
	local ip=ip tos='ip[1]' ecn='ip[1] & 3' shift=1
	[[ $2 == 4 ]] || ip=ip6 tos='(ip6[0:2] & 0x0ff0)' ecn='ip6[1] & 0x30' shift=16
	cable "$1"
	capture outer a eth0 udp
	tunnel "$2" both
	pings a 192.168.241.2 1 -Q 2
	pings a 192.168.241.2 1 -Q 2
	pings a fd00::2 1 -Q 2
	pings a 192.168.241.2 1 -Q 0xb8
	captured outer >/dev/null
	check "handshake messages whose traffic class is not 0x88" "$(field outer "$ip" 'payload type 1 or 2' "$tos" != $((0x88 * shift)))" == 0
	check "data from a with ECT(0), of the three that had it inside" "$(field outer "$ip" 'data from a' "$ecn" = $((2 * shift)))" == 3
	check "data from a with a DSCP" "$(packets outer "udp src port 1 and $(first_word "$ip" 4) and $tos > $((3 * shift))")" == 0

	capture marked a wg0
	congest "$ip" output
	pings a 192.168.241.2 1 -Q 2
	pings a fd00::2 1 -Q 2
	check "marked on the way to b: echo replies that carry CE back" "$(packets marked 'icmp[0] = 0 and ip[1] & 3 = 3'), $(packets marked 'ip6[40] = 129 and ip6[1] & 0x30 = 0x30')" == "1, 1"
	on a nft delete table inet congestion
	congest "$ip" prerouting
	pings b 192.168.241.1 1 -Q 2
	pings b fd00::1 1 -Q 2
	quietly_await 5 "captured" packets_of marked 'icmp[0] = 8 and src 192.168.241.2'
	captured marked >/dev/null
	check "marked on the way to a: echo requests that arrive with CE" "$(packets marked 'icmp[0] = 8 and src 192.168.241.2 and ip[1] & 3 = 3'), $(packets marked 'src fd00::2 and ip6[40] = 128 and ip6[1] & 0x30 = 0x30')" == "1, 1"
}
packets_of() { [[ $(packets "$@") -ge 1 ]]; }

# The first word of a WireGuard message; tcpdump's udp[] knows no IPv6.
first_word() { # ip|ip6 value
	if [[ $1 == ip ]]; then echo "udp[8] = $2"; else echo "ip6[48] = $2"; fi
}

field() { # capture ip|ip6 which field operator value
	case $3 in
	'payload type 1 or 2') packets "$1" "($(first_word "$2" 1) or $(first_word "$2" 2)) and $4 $5 $6" ;;
	'data from a') packets "$1" "udp src port 1 and $(first_word "$2" 4) and $4 $5 $6" ;;
	esac
}

# ECN and DSCP over IPv4.
# peers: kernel wgsharp
scenario_ecn() { ecn "$1" 4; }

# ECN and DSCP over IPv6.
# peers: kernel wgsharp
scenario_ecn_over_ipv6() { ecn "$1" 6; }

# Who has received data and has nothing to say sends one keepalive after 10 s (KEEPALIVE_TIMEOUT).
passive_keepalive() { # peer, who is silent
	local sender=a at=192.168.241.2 port=2 sent
	[[ $2 == b ]] || sender=b at=192.168.241.1 port=1
	cable "$1"
	tunnel 4 both
	pings "$sender" "$at"
	on "$2" iptables -A INPUT -i wg0 -j DROP
	# The session's own confirming keepalive, if any, is over; what counts comes after this packet.
	elapse 1
	capture kept a eth0 "udp src port $port and udp[4:2] = 40"
	sent=$(now_ms)
	on "$sender" bash -c "echo X >/dev/udp/$at/1111"
	await 14 "a keepalive from $2" packets_of kept udp
	check "ms from the data to it" $(($(now_ms) - sent)) -ge 9500
	elapse 0.5
	captured kept >/dev/null
	check "keepalives" "$(packets kept)" == 1
}

# The implementation under test answers data with a keepalive after 10 s.
# peers: kernel
# lasts: 15
scenario_passive_keepalive_from_us() { passive_keepalive "$1" a; }

# So does the kernel, and the implementation under test is content with it.
# peers: kernel
# lasts: 15
scenario_passive_keepalive_from_the_peer() { passive_keepalive "$1" b; }

# Data that nobody answers for 15 s (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT) makes the sender begin a new handshake.
# peers: kernel wgsharp
# lasts: 20
scenario_silence_begins_a_new_handshake() {
	local sent took
	cable "$1"
	tunnel 4 both
	pings a 192.168.241.2
	elapse 1
	on a iptables -A INPUT -p udp --sport 2 -j DROP
	capture again a eth0 'udp src port 1 and udp[4:2] = 156'
	sent=$(now_ms)
	on a bash -c 'echo X >/dev/udp/192.168.241.2/1111'
	await 19 "an initiation from a" packets_of again udp
	took=$(($(now_ms) - sent))
	check "ms from the unanswered data to it" "$took" -ge 14500
	on a iptables -D INPUT -p udp --sport 2 -j DROP
	await 8 "the way is open again: a ping" on a ping -n -q -c 1 -W 1 192.168.241.2
	captured again >/dev/null
}

# The kernel machine writes down its own ephemeral keys (a probe where it enters a handshake into its index table), so
# that tshark can read the session. Offsets are those of struct noise_handshake in drivers/net/wireguard/noise.h, whose
# first member the function is given.
probe_ephemeral_keys() {
	# shellcheck disable=SC2016  # the inner shell's variables
	on b bash -c '
		mount -t tracefs tracefs /sys/kernel/tracing || exit 1
		cd /sys/kernel/tracing
		echo "p:wg/index wg_index_hashtable_insert +56(%si):x64 +64(%si):x64 +72(%si):x64 +80(%si):x64" >kprobe_events
		echo 1 >events/wg/index/enable'
}

# Prints each key in base64: four 64-bit words, least significant byte first.
ephemeral_keys() {
	on b cat /sys/kernel/tracing/trace | grep -o 'arg1=.*' | while read -r line; do
		perl -e 'print map { pack "Q<", hex } $ARGV[0] =~ /=0x([0-9a-f]+)/g' "$line" | base64
	done
}

third_party() { # peer, outer family, who initiates
	local from=a at=192.168.241.2 name log=$lab/keys
	# Nobody's echo requests but ours.
	export WGSHARP_MTU_POLICY=kernel
	[[ $3 == a ]] || from=b at=192.168.241.1
	cable "$1"
	probe_ephemeral_keys || fail "the kernel machine has no kprobes"
	capture session a eth0 udp
	tunnel "$2" "$3"
	for name in 1 2 3 4 5; do pings "$from" "$at" 1 -s 200 -p c0ffee; done
	for name in 1 2 3; do pings "$from" "$([[ $from == a ]] && echo fd00::2 || echo fd00::1)" 1 -s 1300; done
	captured session >/dev/null
	{
		echo "LOCAL_STATIC_PRIVATE_KEY = ${key[b]}"
		echo "REMOTE_STATIC_PUBLIC_KEY = ${pub[a]}"
		ephemeral_keys | sed 's/^/LOCAL_EPHEMERAL_PRIVATE_KEY = /'
		echo "PRESHARED_KEY = $psk"
	} >"$log"
	# The preshared key belongs to the ephemeral key before it.
	awk -v psk="$psk" '/^PRESHARED/ { next } { print } /^LOCAL_EPHEMERAL/ { print "PRESHARED_KEY = " psk }' "$log" >"$log.sorted"
	name=$lab/session.txt
	tshark -n -r "$lab/session.pcap" -o "wg.keylog_file:$log.sorted" -d udp.port==1,wg -d udp.port==2,wg -T fields -e wg.type \
		-e wg.receiver_pubkey.known_privkey -e wg.handshake_ok -e _ws.expert.message -e icmp.type -e icmpv6.type -e data.data >"$name" 2>"$lab/tshark" ||
		fail "tshark: $(tail -n 3 "$lab/tshark")"
	check "messages captured" "$(wc -l <"$name")" -ge 18
	check "types that tshark saw" "$(cut -f 1 "$name" | sort -u | tr '\n' ' ')" == "1 2 4 "
	check "handshakes that it could follow to the end" "$(awk -F '\t' '$1 == 2 && ($3 == "1" || $3 == "True")' "$name" | wc -l)" -ge 1
	check "echo requests and replies of 5 over IPv4" "$(awk -F '\t' '$5 != ""' "$name" | wc -l)" == 10
	check "that hold the bytes that were sent" "$(grep -c 'c0ffeec0ffeec0ffee' "$name")" == 10
	check "echo requests and replies of 3 over IPv6" "$(awk -F '\t' '$6 == 128 || $6 == 129' "$name" | wc -l)" == 6
	check "malformed messages" "$(tshark -n -r "$lab/session.pcap" -o "wg.keylog_file:$log.sorted" -d udp.port==1,wg -d udp.port==2,wg -Y '_ws.malformed' 2>/dev/null | wc -l)" == 0
}

# A session that the implementation under test began, read by tshark with the keys.
# peers: kernel
scenario_tshark_reads_our_initiation() { third_party "$1" 4 a; }

# A session that the kernel began, read by tshark with the keys, over IPv6.
# peers: kernel
scenario_tshark_reads_our_response() { third_party "$1" 6 b; }
