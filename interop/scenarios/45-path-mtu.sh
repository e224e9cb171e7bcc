#!/bin/bash
# Paths that are narrower than the tunnel believes: what is sent shrinks until it fits, whoever tells of it, and whoever does not. The
# letters are those of the list that these scenarios were written for. Where speeds are compared, the base is a second tunnel at MTU 1420 over a path of 1500, by
# turns. Figures that do not hold are gathered, so that one run shows all.

# shellcheck disable=SC2154  # library is the runner's
# shellcheck source=interop/lib/path-mtu.sh
. "$library/path-mtu.sh"

# ---- a: MTU 1500 on both ends of links of 1500 -----------------------------------------------------------------------------

# Bulk one way, and the fragments of any host since the first second of it: what TCP sends has to have shrunk by then. Then the speed.
shrinks_within_a_second() { # 'what' from to address per-cent of the base
	stream "$2" "$3" "$4" 3
	quietly_await 10 "the first second is over" streamed 1
	fragments_begin a b
	quietly_await 13 "the transfer is over" has_ended
	note "    $1, Mbit/s in each second: $(per_second)"
	stream_ends
	against_base "$1 at MTU 1500" "$5" "$2" "$3" "$4"
	fragments_so_far "from the first second on"
	demand "$1: fragments from the first second on" "$fragments" -eq 0
}
has_ended() { grep -q receiver "$lab/stream"; }

wide_tunnel() { # 4|6
	short_path wgsharp
	begin_base "$1"
	begin_tunnel "$1" 1500
	shrinks_within_a_second "a -> b" a b 192.168.241.2 85
	shrinks_within_a_second "b -> a" b a 192.168.241.1 85
	shrinks_within_a_second "IPv6, a -> b" a b fd00::2 80
	all_held
}

# a - MTU 1500 on both ends, links of 1500: TCP is as fast as at MTU 1420, and after its first second nothing is fragmented.
# alone
# limit: 200
scenario_wide_tunnel() { wide_tunnel 4; }

# a - The same over IPv6.
# alone
# limit: 200
scenario_wide_tunnel_over_ipv6() { wide_tunnel 6; }

# With the policy "kernel" nothing but fragmentation makes things fit, as with the kernel module: no size is announced, asked or told.
scenario_wide_tunnel_left_to_the_kernel() {
	export WGSHARP_MTU_POLICY=kernel
	short_path wgsharp
	begin_tunnel 4 1500
	fragments_begin a b
	capture segments b wg0 'tcp[13] & 2 != 0'
	capture outer b eth0 'udp and ip[6] & 0x40 != 0'
	iperf a b 192.168.241.2 -t 2
	note "a -> b at MTU 1500: $mbits Mbit/s"
	iperf b a 192.168.241.1 -t 2
	note "b -> a at MTU 1500: $mbits Mbit/s"
	fragments_so_far "of both transfers"
	captured segments >/dev/null
	captured outer >/dev/null
	demand "fragments" "$fragments" -gt 10000
	demand "sizes of segments that were announced" "$(tcpdump -n -v -r "$lab/segments.pcap" 2>/dev/null | grep -o 'mss [0-9]*' | sort -u | paste -sd ' ')" == "mss 1460"
	demand "datagrams with DF set" "$(packets outer)" -eq 0
	demand "pings of 1500 bytes with DF set that come back, of 2" "$(answers_to a 192.168.241.2 2 4 -M "do" -s 1472)" == 2
	demand "what the sender was told of the path" "$(told_mtu a 192.168.241.2)" == 1500
	demand "what the daemons said of it" "$(found_path_mtu a) $(found_path_mtu b)" == "0 0"
	all_held
}

# With the policy "clamp-only" TCP is told a size that fits, and nothing else is done.
scenario_wide_tunnel_clamped_only() {
	export WGSHARP_MTU_POLICY=clamp-only
	short_path wgsharp
	begin_tunnel 4 1500
	capture outer b eth0 'udp and ip[6] & 0x40 != 0'
	# What b is told; what b says itself is clamped behind its interface.
	capture segments b wg0 'src 192.168.241.1 and tcp[13] & 2 != 0'
	fragments_begin a b
	iperf a b 192.168.241.2 -t 2
	note "a -> b at MTU 1500: $mbits Mbit/s"
	iperf b a fd00::1 -t 2
	note "b -> a at MTU 1500, IPv6 within: $mbits Mbit/s"
	fragments_so_far "of both transfers"
	captured segments >/dev/null
	captured outer >/dev/null
	demand "fragments" "$fragments" -eq 0
	demand "sizes of segments that were announced" "$(tcpdump -n -v -r "$lab/segments.pcap" 2>/dev/null | grep -o 'mss [0-9]*' | sort -u | paste -sd ' ')" == "mss 1400"
	demand "datagrams with DF set" "$(packets outer)" -eq 0
	demand "pings of 1500 bytes with DF set that come back, of 2" "$(answers_to a 192.168.241.2 2 4 -M "do" -s 1472)" == 2
	demand "what the sender was told of the path" "$(told_mtu a 192.168.241.2)" == 1500
	all_held
}

# What a host's kernel believes that it may send to an address: what ICMP told it, or the interface's MTU.
told_mtu() { # host address
	local route
	route=$(on "$1" ip route get "$2" | grep -o ' mtu [0-9]*' | grep -o '[0-9]*') || route=$(on "$1" cat /sys/class/net/wg0/mtu)
	echo "$route"
}

# ---- b: a peer that knows nothing of this ----------------------------------------------------------------------------------

# One transfer from b to a, and what a had to put together of it.
from_b() { # 'what' dialled by (a|b) inner address
	local before
	before=$(reassembled a)
	if [[ $2 == a ]]; then
		iperf a b "$3" -t 3 -R
	else
		iperf b a "$3" -t 3
	fi
	joined=$(($(reassembled a) - before))
	note "$1: $mbits Mbit/s, fragments that a put together: $joined"
}

# b - The kernel module at the other end, MTU 1500: it is told by the segment size that we announce, whoever dials, and its fragments stop.
# Then our own link is wider than its: only its fragments tell us, and what is dialled afterwards has none.
# peers: wgsharp kernel
# limit: 90
scenario_peer_that_fragments() {
	local family joined
	short_path "$1"
	for family in 4 6; do
		note "over IPv$family"
		begin_tunnel $family 1500
		from_b "b -> a, dialled by a" a 192.168.241.2
		demand "fragments" "$joined" -eq 0
		from_b "b -> a, dialled by b" b 192.168.241.1
		demand "fragments" "$joined" -eq 0
		from_b "b -> a within IPv6, dialled by b" b fd00::1
		demand "fragments" "$joined" -eq 0
	done
	note "a's link takes 9000 bytes, b's 1500"
	on a ip link set eth0 mtu 9000
	# The other end shall not know by itself.
	[[ $1 == kernel ]] || policy_b=kernel
	begin_tunnel 4 1500
	from_b "b -> a, the first" b 192.168.241.1
	from_b "b -> a, the second" b 192.168.241.1
	demand "fragments of the second" "$joined" -eq 0
	from_b "b -> a, dialled by a" a 192.168.241.2
	demand "fragments" "$joined" -eq 0
	says a
	all_held
}

# ---- c: a container behind a bridge ------------------------------------------------------------------------------------------

# k (a container, behind a bridge of a's with MTU 1500) -- a ==tunnel== b -- s (somebody's server, and visitor). Nobody clamps, and neither host
# lets ICMP through that would tell of sizes. b sends visitors of its port 443 to the container.
behind_a_bridge() {
	log_is_a_file
	host k none
	short_path wgsharp
	host s none
	on a ip link add br0 type bridge
	on a ip link set br0 mtu 1500 up
	link a:veth0 "" k:eth0 172.17.0.2/24,fd00:17::2/64
	on a ip link set veth0 master br0
	address a br0 172.17.0.1/24,fd00:17::1/64
	link b:eth1 192.168.77.1/24,fd00:77::1/64 s:eth0 192.168.77.2/24,fd00:77::2/64
	for name in a b; do on $name sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
	on k ip route add default via 172.17.0.1
	on k ip route add default via fd00:17::1
	on s ip route add default via 192.168.77.1
	on s ip route add default via fd00:77::1
	quietly_await 10 "the container reaches its host" on k ping -n -q -c 1 -W 0.2 fd00:17::1
	filter_icmp a b
	on b iptables -t nat -A PREROUTING -i eth1 -p tcp --dport 443 -j DNAT --to 172.17.0.2
	on b ip6tables -t nat -A PREROUTING -i eth1 -p tcp --dport 443 -j DNAT --to fd00:17::2
	edit_a='s|^AllowedIPs.*|&, 192.168.77.0/24, fd00:77::/64|'
	edit_b='s|^AllowedIPs.*|&, 172.17.0.0/24, fd00:17::/64|'
	certificate
	serves_tls k
	serves_tls s
}

# A self-signed certificate of more than 4 KB: it has many names.
certificate() {
	local i names=DNS:large.example
	for ((i = 0; i < 90; i++)); do names+=",DNS:one-of-many-names-$i.of-a-large-certificate.example"; done
	openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=large.example -addext "subjectAltName=$names" \
		-keyout "$lab/key.pem" -out "$lab/certificate.pem" 2>/dev/null
	check "bytes of the certificate" "$(openssl x509 -in "$lab/certificate.pem" -outform DER | wc -c)" -ge 4096
}
serves_tls() { # host
	local family
	for family in 4 6; do
		launch "$1" openssl s_server -$family -accept 443 -cert "$lab/certificate.pem" -key "$lab/key.pem" -quiet >"$lab/tls.$1.$family" 2>&1 </dev/null &
		disown
	done
	quietly_await 10 "$1 serves TLS" listens_twice "$1"
}

listens_twice() { [[ $(on "$1" ss -H -n -l -t "sport = :443" | wc -l) == 2 ]]; }

shakes_hands() { # 'what' host address
	local answer
	answer=$(on "$2" timeout 6 openssl s_client -connect "$3:443" -brief </dev/null 2>&1 | grep -E '^(CONNECTION|Protocol)' | paste -sd ' ') || true
	demand "$1" "${answer:-no handshake within 6 s}" == "CONNECTION ESTABLISHED Protocol version: TLSv1.3"
	# What a stalled one taught the kernels must not help the next.
	on k ip route flush cache
	on s ip route flush cache
}

everybody_shakes_hands() {
	shakes_hands "TLS, the container dials out" k 192.168.77.2
	shakes_hands "TLS, the container dials out, IPv6" k '[fd00:77::2]'
	shakes_hands "TLS, a visitor dials the container (DNAT)" s 192.168.77.1
	shakes_hands "TLS, a visitor dials the container (DNAT), IPv6" s '[fd00:77::1]'
}

# c - A container behind a bridge of 1500, forwarded into the tunnel without any rule of TCPMSS, ICMP filtered at both hosts: TLS with a
# certificate of 4 KB comes about, whoever dials; at MTU 1420 and at 1500. (First with the rule: then it always does.)
# limit: 150
scenario_container_without_tcpmss() {
	local mtu rule='POSTROUTING -o wg0 -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu' end
	behind_a_bridge
	for mtu in 1420 1500; do
		begin_tunnel 4 $mtu
		note "MTU $mtu${CONTROL_MTU:+ ($CONTROL_MTU)}"
		if [[ $mtu == 1420 ]]; then
			for end in a b; do
				# shellcheck disable=SC2086  # words
				{ on $end iptables -t mangle -A $rule; on $end ip6tables -t mangle -A $rule; }
			done
			shakes_hands "with the rule: TLS, the container dials out" k 192.168.77.2
			shakes_hands "with the rule: TLS, a visitor dials the container, IPv6" s '[fd00:77::1]'
			for end in a b; do
				# shellcheck disable=SC2086  # words
				{ on $end iptables -t mangle -D $rule; on $end ip6tables -t mangle -D $rule; }
			done
		fi
		everybody_shakes_hands
		flows "the container -> a server" k s 192.168.77.2
		flows "a server -> the container" s k 172.17.0.2
		flows "the container -> a server, IPv6" k s fd00:77::2
		flows "a server -> the container, IPv6" s k fd00:17::2
	done
	all_held
}

# In the second of its two seconds, too. iperf3 would wait for ever for a connection that stalls.
flows() { # 'what' from to address
	stream "$2" "$3" "$4" 2
	comes_true 6 streamed 2 || true
	demand "iperf3, $1: Mbit/s in the second second" "$(seconds_streamed | sed -n 2p | grep . || echo 0)" -ge 10
	stream_ends
}

# ---- d, e: a hop in the path -------------------------------------------------------------------------------------------------

# Bulk from $1 to b's side and back until both ends have found the hop.
finds_the_hop() { # mtu, within seconds, inner address of a, of b
	stream a b "$4" $(($2 + 5))
	expect "$2" "a finds $1" finds a "$1"
	note "    a -> b meanwhile, Mbit/s in each second: $(per_second)"
	stream_ends
	stream b a "$3" $(($2 + 5))
	expect "$2" "b finds $1" finds b "$1"
	note "    b -> a meanwhile, Mbit/s in each second: $(per_second)"
	stream_ends
	says a
	says b
}

narrow_hop() { # 4|6 silent|tells [a's allowed IPs]
	path wgsharp
	begin_base "$1"
	[[ $2 == tells ]] || filter_icmp r q
	hop 1400
	if [[ $# -gt 2 ]]; then
		# b forwards: a does not know which address in there is b's own.
		on b sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
		edit_a="s|^AllowedIPs.*|AllowedIPs = $3|"
	fi
	begin_tunnel "$1" 1420
	iperf_or_nothing a b 192.168.241.2 1
	if [[ $1 == 4 || $2 == tells ]]; then
		demand "at once, a -> b, Mbit/s" "$mbits" -ge $((at_first / 20))
		iperf_or_nothing b a 192.168.241.1 1
		demand "at once, b -> a, Mbit/s" "$mbits" -ge $((at_first / 20))
	else
		# Nobody but the sender can fragment IPv6, and nobody tells it.
		note "(at once, a -> b: $mbits Mbit/s)"
	fi
	finds_the_hop 1400 10 192.168.241.1 192.168.241.2
	fragments_begin a r q b
	both_against_base 80
	fragments_so_far "once it is found"
	# Over IPv6 the probe that asks whether fragments pass is one: two of them, sent and put together.
	demand "fragments once it is found" "$fragments" -le $(($1 == 4 ? 0 : 16))
	all_held
}

# A transfer that may come to nothing, where iperf3 itself would wait for ever; leaves what arrived in $mbits.
iperf_or_nothing() { # from to address seconds
	stream "$1" "$2" "$3" "$4"
	comes_true $(($4 + 3)) streamed "$4" || true
	mbits=$(seconds_streamed | awk '{ sum += $1 } END { printf "%d", sum / (NR ? NR : 1) }')
	stream_ends
}
# d - A hop of 1400 bytes, and nobody tells: transfers work at once, the hop is found within 10 s, then nothing is fragmented.
# alone
# limit: 180
scenario_narrow_hop() { narrow_hop 4 silent; }

# d - The same over IPv6, where no router fragments.
# alone
# limit: 180
scenario_narrow_hop_over_ipv6() { narrow_hop 6 silent; }

# d - The same over IPv6, where the routers tell: believed, because what they quote is ours; transfers work at once.
# alone
# limit: 180
scenario_narrow_hop_that_tells_over_ipv6() { narrow_hop 6 tells; }

# d - The same to a peer that everything goes to, and whose own address is not known.
# alone
# limit: 180
scenario_narrow_hop_to_a_gateway() { narrow_hop 4 silent 0.0.0.0/0,::/0; }

# d - And over IPv6.
# alone
# limit: 180
scenario_narrow_hop_to_a_gateway_over_ipv6() { narrow_hop 6 silent 0.0.0.0/0,::/0; }

black_hole() { # 4|6
	path wgsharp
	begin_base "$1"
	filter_icmp r q
	filter_fragments r q
	hop 1400
	begin_tunnel "$1" 1420
	stream a b 192.168.241.2 40
	expect 15 "a knows that nothing above 1400 passes" finds a 1400
	comes_true 5 streamed 1 || true
	# Whoever was stalled has to wait for its own retransmission, which may be some seconds away.
	expect 15 "the connection that was open flows again" flows_again
	note "    a -> b, Mbit/s in each second: $(per_second)"
	stream_ends
	stream b a fd00::1 40
	expect 15 "b knows it, too" finds b 1400
	expect 15 "the connection that was open flows again, b -> a within IPv6" flows_again
	note "    b -> a, Mbit/s in each second: $(per_second)"
	stream_ends
	says a
	says b
	fragments_begin a r q b
	both_against_base 50 ", new connections"
	fragments_so_far "once it is known"
	against_base "a -> b, new connections within IPv6" 50 a b fd00::2
	all_held
}
# Two seconds in a row with more than a trickle.
flows_again() { seconds_streamed | tail -n 2 | awk '$1 >= 20 { n++ } END { exit n != 2 }'; }

# e - The same hop where fragments are dropped as well: within 15 s it is known for what it is, and nothing stalls for good.
# alone
# limit: 240
scenario_black_hole() { black_hole 4; }

# e - The same over IPv6.
# alone
# limit: 240
scenario_black_hole_over_ipv6() { black_hole 6; }

# ---- f: a hop that changes -----------------------------------------------------------------------------------------------------

# The hop shrinks during a transfer, nobody tells. Leaves the stream running.
shrinks_during_a_transfer() { # 4|6 seconds of the transfer
	local second
	path wgsharp
	filter_icmp r q
	begin_base "$1"
	begin_tunnel "$1" 1420
	stream a b 192.168.241.2 "$2"
	quietly_await 10 "it flows" streamed 4
	hop 1400
	second=$(seconds_streamed | wc -l)
	note "the hop shrinks to 1400 in second $second"
	expect 20 "a finds 1400" finds a 1400
	expect 20 "it flows again" flows_again
	fragments_begin a r q b
	elapse 3
	fragments_so_far "in the 3 s after"
	# Whether fragments pass is asked by one that is fragmented, once or a few times.
	demand "fragments in the 3 s after" "$fragments" -le 16
	note "    a -> b, Mbit/s in each second: $(per_second)"
	if [[ $1 == 4 ]]; then
		demand "seconds in which nothing came, in a row" "$(longest_stall "$second")" -le 2
	else
		demand "seconds in which nothing came, in a row" "$(longest_stall "$second")" -le 15
	fi
}

hop_that_changes() { # 4|6
	shrinks_during_a_transfer "$1" 60
	hop 1500
	note "the hop grows to 1500; then both ports change, one after the other, which makes both look again"
	on b wg set wg0 listen-port 8
	quietly_await 5 "a hears of b's new port" on b ping -n -q -c 1 -W 1 192.168.241.1
	expect 10 "a finds $(whole "$1")" finds a "$(whole "$1")"
	on a wg set wg0 listen-port 9
	quietly_await 5 "b hears of a's new port" on a ping -n -q -c 1 -W 1 192.168.241.2
	expect 5 "it still flows" flows_again
	note "    a -> b, Mbit/s in each second: $(per_second)"
	stream_ends
	says a
	both_against_base 80
	all_held
}

# f - The hop shrinks and grows during a transfer: it continues, and the speed is back after the next look, here because of new ports.
# alone
# limit: 240
scenario_hop_that_changes() { hop_that_changes 4; }

# f - The same over IPv6.
# alone
# limit: 240
scenario_hop_that_changes_over_ipv6() { hop_that_changes 6; }

# f - A hop that has grown is found by the look that comes every ten minutes, with traffic all the time.
# lasts: 700
scenario_hop_that_grows_unnoticed() {
	path wgsharp
	filter_icmp r q
	hop 1400
	begin_tunnel 4 1420
	stream a b 192.168.241.2 15
	expect 10 "a finds 1400" finds a 1400
	stream_ends
	hop 1500
	# Little, but large packets among it, and something that comes back.
	launch a ping -n -q -i 1 -s 1300 -M dont 192.168.241.2 >"$lab/ping" &
	streaming=$!
	disown
	expect 640 "a finds $(whole 4)" finds a "$(whole 4)"
	stream_ends
	says a
	all_held
}

# ---- g: a stranger who lies ------------------------------------------------------------------------------------------------------

# a, b and a stranger s on one cable, a hub.
with_a_liar() {
	log_is_a_file
	with_a_stranger
	on_a_cable
}

# The receiver index of what a sends to b now, as on the wire: of a ping's message.
living_index() {
	capture living hub to_b 'udp src port 1'
	pings a 192.168.241.2
	captured living >/dev/null
	payloads living $((96 + 32)) | tail -n 1 | cut -c 9-16
}

# The stranger tells a of MTU $3 (0: that b has no such port) for $4 s, RATE times a second, quoting port $5.
lies() { # 4|6 rate mtu seconds port
	local from=10.0.0.1 to=10.0.0.2
	[[ $1 == 4 ]] || { from=fd00:aa::1 to=fd00:aa::2; }
	launch s "$sizes" forge $from "$5" $to 2 "$3" "$2" "$4" "$index" >"$lab/lies" &
	lying=$!
}

while_told() { # 4|6 mtu port
	lies "$1" 10000 "$2" 1.7 "$3"
	iperf a b 192.168.241.2 -t 1
	wait "$lying"
}

# What lies alone cost a's daemon while it has nothing else to do: speeds hide it where another processor is idle, and its processor time grows fivefold while
# neighbours of this machine have it. How often it wakes does not; that is left in $woken.
cost_of_lies() { # 4|6 mtu 'what they are'
	local daemon needed
	daemon=$(daemon_pid a wg0)
	woken=$(wakes "$daemon") needed=$(processor_ms "$daemon")
	lies "$1" 10000 "$2" 3 1
	wait "$lying"
	woken=$(($(wakes "$daemon") - woken)) needed=$(($(processor_ms "$daemon") - needed))
	note "    $(paste -sd ' ' "$lab/lies"); ms of processor time that a's idle daemon needed: $needed"
	demand "times a thread of a's woke, for 3 s of 10,000 forgeries ($3)" "$woken" -le 6000
}
wakes() { cat "/proc/$1/task/"*/status | awk '$1 == "voluntary_ctxt_switches:" { sum += $2 } END { print sum }'; } # process

forgeries() { # 4|6
	# What a liar costs is a tenth of what neighbours of this machine may cost in a second.
	local index lying woken mtu=600 persists=150
	[[ $1 == 4 ]] || mtu=1280
	with_a_liar
	begin_base "$1"
	begin_tunnel "$1" 1420
	index=$(living_index)
	check "the living receiver index" "$index" =~ '^[0-9a-f]{8}$'
	# A hundred, and nothing else: what they change, if anything, shows in the next transfers.
	lies "$1" 1000 $mtu 0.1 1
	wait "$lying"
	note "a is told $(awk '$1 == "told" { print $2 }' "$lab/lies") times that $mtu is too long"
	fragments_begin a b
	against_base "a -> b, afterwards" 80 a b 192.168.241.2
	fragments_so_far "afterwards"
	demand "fragments afterwards" "$fragments" -eq 0
	says a
	demand "what a's daemon believes" "$(found_path_mtu a)" =~ "^(0|$(whole "$1"))\$"
	# Now all the time; for comparison as many about a port that nobody has, which cost the machine as much.
	by_turns "a -> b, with 10,000 forgeries per second (the base: as many that concern nobody)" 90 "while_told $1 $mtu 2222" "while_told $1 $mtu 1"
	note "    $(paste -sd ' ' "$lab/lies")"
	cost_of_lies "$1" $mtu "too long"
	demand "they are heard all the same" "$woken" -ge 100
	cost_of_lies "$1" 0 "nobody has the port"
	fragments_so_far "since the first lie"
	demand "fragments since the first lie" "$fragments" -eq 0
	demand "what a's daemon believes" "$(found_path_mtu a)" =~ "^(0|$(whole "$1"))\$"
	all_held
}

# g - A stranger tells us that what we sent was too long (right ports, wrong quote): nothing changes, not with 10,000 a second either.
# alone
# limit: 300
scenario_forged_too_big() { forgeries 4; }

# g - The same over IPv6.
# alone
# limit: 300
scenario_forged_too_big_over_ipv6() { forgeries 6; }

# ---- h: packets that insist on their size ------------------------------------------------------------------------------------------

# The first ping gets through, for nothing is lost; after it the sender knows what fits. (An answer of the same size is the other end's.)
told_what_fits() { # host address bytes of headers, what fits
	on "$1" ping -n -q -c 3 -i 0.3 -W 1 -M "do" -s $((1500 - $3)) "$2" >"$lab/ping" 2>&1 || true
	demand "$1 pings $2 with 1500 bytes and DF; what it is told" "$(told_path "$1" "$2")" == "$4"
	demand "$1 pings $2 with $4 bytes and DF; answers to 2" "$(answers_to "$1" "$2" 2 4 -M "do" -s $(($4 - $3)))" == 2
}
told_path() { on "$1" ip route get "$2" | grep -o ' mtu [0-9]*' | grep -o '[0-9]*' || echo nothing; }

# In IPv6 every sender is told, and ping counts what it is told as an answer: that is over with the first one.
arrives_without_df() { # host address bytes of headers
	[[ $2 != *:* ]] || on "$1" ping -n -q -c 1 -W 1 -M dont -s $((1500 - $3)) "$2" >"$lab/ping" 2>&1 || true
	demand "$1 pings $2 with 1500 bytes without DF; answers to 3" "$(answers_to "$1" "$2" 3 4 -M dont -s $((1500 - $3)))" == 3
}

loses_nothing() { # from to address
	local receiver count=2000 port=$((7000 + RANDOM % 20000))
	launch "$2" "$sizes" receive "$3" $port $count 20 1200 1500 >"$lab/arrived" &
	receiver=$!
	quietly_await 5 "$2 receives" listens "$2" udp $port
	on "$1" "$sizes" send "$3" $port $count 1000 1200 1500 >"$lab/sent"
	wait $receiver
	note "$1 -> $2 ($3), datagrams of 1200 to 1500 bytes with DF: $(grep -hv ready "$lab/sent" "$lab/arrived" | paste -sd ' ')"
	demand "lost, of $count" "$(awk '$1 == "lost" { print $2 }' "$lab/arrived")" == 0
	demand "other than they were sent" "$(awk '$1 == "other" { print $2 }' "$lab/arrived")" == 0
	demand "the longest that arrived" "$(awk '$1 == "longest" { print $2 }' "$lab/arrived")" == 1500
}

insists() { # 4|6
	local fits=1440
	[[ $1 == 4 ]] || fits=1420
	short_path wgsharp
	# Behind a, and forwarded by it: who gets to know it has to be the sender, not the forwarder.
	host k none
	link a:eth1 172.17.0.1/24,fd00:17::1/64 k:eth0 172.17.0.2/24,fd00:17::2/64
	on a sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on k ip route add default via 172.17.0.1
	on k ip route add default via fd00:17::1
	edit_b='s|^AllowedIPs.*|&, 172.17.0.0/24, fd00:17::/64|'
	begin_tunnel "$1" 1500
	loses_nothing a b 192.168.241.2
	loses_nothing b a fd00::1
	loses_nothing k b fd00::2
	loses_nothing b k 172.17.0.2
	arrives_without_df a 192.168.241.2 28
	arrives_without_df a fd00::2 48
	arrives_without_df k 192.168.241.2 28
	# DF or not, and nothing is lost: so far nobody had to be told. But who was, shall be again.
	for name in a b k; do on $name ip route flush cache; on $name ip -6 route flush cache; done
	elapse 1
	told_what_fits a 192.168.241.2 28 $fits
	told_what_fits a fd00::2 48 $fits
	told_what_fits b 192.168.241.1 28 $fits
	told_what_fits k 192.168.241.2 28 $fits
	told_what_fits k fd00::2 48 $fits
	all_held
}

# h - Packets with DF: who sends too long ones is told what fits, forwarded ones too, and nothing is lost, QUIC's sizes neither. Without DF they arrive.
# limit: 90
scenario_packets_that_insist() { insists 4; }

# h - The same over IPv6.
# limit: 90
scenario_packets_that_insist_over_ipv6() { insists 6; }

# ---- i: IPv6 within over a path under 1280 + 80 -------------------------------------------------------------------------------------

ipv6_over_a_narrow_path() { # 4|6 silent|tells
	path wgsharp
	hop 1300
	[[ $2 == tells ]] || filter_icmp r q
	begin_tunnel "$1" 1420
	note "a path of 1300 over IPv$1"
	on a ping -n -q -c 5 -i 0.5 -W 1 -s 1232 fd00::2 >"$lab/ping" 2>&1 || true
	note "of 5 pings of 1280 bytes at the beginning: $(grep -o '[0-9]* received' "$lab/ping")"
	stream a b fd00::2 20
	expect 15 "TCP flows, a -> b" flows_again
	note "    Mbit/s in each second: $(per_second)"
	stream_ends
	stream b a fd00::1 20
	expect 15 "TCP flows, b -> a" flows_again
	note "    Mbit/s in each second: $(per_second)"
	stream_ends
	demand "answers to 5 pings of 1280 bytes from b in the end" "$(answers_to b fd00::1 5 1 -s 1232)" -ge 4
	says a
	all_held
}

# i - IPv6 within, over a path of 1300 that nobody tells of: 1280 + 60 do not fit, and it works.
# limit: 90
scenario_ipv6_over_a_narrow_path() { ipv6_over_a_narrow_path 4 silent; }

# i - The same over IPv6, whose routers tell.
# limit: 90
scenario_ipv6_over_a_narrow_path_over_ipv6() { ipv6_over_a_narrow_path 6 tells; }

# i - And over IPv6 whose routers do not: only the sender can make fragments, and has to find out that it must.
# limit: 120
scenario_ipv6_over_a_silent_path_over_ipv6() { ipv6_over_a_narrow_path 6 silent; }

# ---- j: PPPoE and tunnels below us ----------------------------------------------------------------------------------------------------

# Bytes per packet that a's and b's links are handed during a transfer: a train of messages (UDP_SEGMENT) is one. Leaves $train.
trains() { # 'what' from to address
	local packets bytes packets_after bytes_after
	read -r packets bytes <<<"$(handed_over "$2" eth0)"
	iperf "$2" "$3" "$4" -t 1
	read -r packets_after bytes_after <<<"$(handed_over "$2" eth0)"
	train=$(((bytes_after - bytes) / (packets_after - packets)))
	note "$1: $mbits Mbit/s, $((bytes_after - bytes)) bytes handed to the link in $((packets_after - packets)) packets of $train on average"
}

full_trains() { # 4|6
	local mtu train base_out base_in
	short_path wgsharp
	begin_tunnel "$1" 1420
	trains "a link of 1500, a -> b" a b 192.168.241.2
	base_out=$train
	trains "a link of 1500, b -> a" b a 192.168.241.1
	base_in=$train
	check "there, UDP_SEGMENT is in use: bytes per packet" "$base_out" -ge 10000
	for mtu in 1492 1480 1460 1412; do
		on a ip link set eth0 mtu $mtu
		on b ip link set eth0 mtu $mtu
		begin_tunnel "$1" 1420
		fragments_begin a b
		trains "a link of $mtu, a -> b" a b 192.168.241.2
		demand "per cent of those at 1500" $((train * 100 / base_out)) -ge 75
		trains "a link of $mtu, b -> a" b a 192.168.241.1
		demand "per cent of those at 1500" $((train * 100 / base_in)) -ge 75
		fragments_so_far "of both"
		demand "fragments" "$fragments" -eq 0
	done
	all_held
}

# j - Links of 1492, 1480, 1460 and 1412 bytes (PPPoE, tunnels) under a tunnel of MTU 1420: messages still leave in full trains.
# alone
# limit: 120
scenario_full_trains() { full_trains 4; }

# j - The same over IPv6.
# alone
# limit: 120
scenario_full_trains_over_ipv6() { full_trains 6; }
