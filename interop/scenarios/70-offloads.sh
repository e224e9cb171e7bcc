#!/bin/bash
# Every offload of the TUN device and of the sockets, alone and together, switched off: nothing that goes through changes,
# and every checksum is right where packets leave the machine. MEGABYTES says how much goes each way (32; 1024 with PATIENCE=8).

# a ==tunnel== b -- c. What leaves b for c was put together to super-packets by b, and is cut by the kernel again, in
# software: c sees the packets that a real network would see.
behind_b() {
	cable "$1"
	c_behind_b
	configuration a 10.0.0.2:2 | sed 's|^AllowedIPs.*|&, 192.168.77.0/24, fd00:77::/64|' | up a wg0
	configuration b '' | up b wg0
}

c_behind_b() {
	host c none
	link b:eth1 192.168.77.1/24,fd00:77::1/64 c:eth0 192.168.77.2/24,fd00:77::2/64
	on b sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	on c ip route add default via 192.168.77.1
	on c ip route add default via fd00:77::1
	on b ethtool -K eth1 tx off tso off gso off >/dev/null
	on c ethtool -K eth0 tx off tso off gso off >/dev/null
}

# Random bytes from one host to another, compared by their SHA-256.
arrives_whole() { # from to address
	local from=$1 to=$2 at=$3 port=$((7000 + RANDOM % 20000)) sent received
	{ launch "$to" ncat --recv-only -l "$at" "$port" | sha256sum | cut -c 1-64 >"$lab/received"; } &
	received=$!
	quietly_await 10 "ncat listens on $to" listens "$to" tcp "$port"
	sent=$(head -c "${MEGABYTES:-32}M" /dev/urandom | tee >(feed "$from" ncat --send-only "$at" "$port") | sha256sum | cut -c 1-64)
	wait "$received"
	check "${MEGABYTES:-32} MB from $from to $to ($at) arrive as they were sent: SHA-256" "$(<"$lab/received")" == "$sent"
}

# Checksums in a capture, by tshark: none may be bad. Where a TCP checksum comes to 0, Linux writes its other form, 0xffff
# (skb_checksum_help), which tshark calls bad though it adds up.
checksums_hold() { # name of the capture, filter
	local file bad good
	file=$(captured "$1")
	local verify=(tshark -n -r "$file" -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE)
	local wrong="$2 && (ip.checksum.status == 0 || (tcp.checksum.status == 0 && tcp.checksum != 0xffff) || udp.checksum.status == 0)"
	bad=$("${verify[@]}" -Y "$wrong" 2>/dev/null | wc -l)
	good=$("${verify[@]}" -Y "$2 && (tcp.checksum.status == 1 || udp.checksum.status == 1)" 2>/dev/null | wc -l)
	[[ $bad -eq 0 ]] || "${verify[@]}" -Y "$wrong" -V -x 2>/dev/null | head -n 200
	check "packets with a right checksum ($1)" "$good" -gt 100
	check "packets with a wrong checksum ($1)" "$bad" -eq 0
}

intact() { # peer, what is switched off
	export WGSHARP_DISABLE=$2
	behind_b "$1"
	note "switched off: ${2:-nothing}"
	arrives_whole a b 192.168.241.2
	arrives_whole b a fd00::1
	arrives_whole a c fd00:77::2
	arrives_whole c a 192.168.241.1
	capture inner c eth0
	iperf a c 192.168.77.2 -n 4M
	iperf a c fd00:77::2 -n 4M -P 2
	iperf a c 192.168.77.2 -t 1 -u -b 20M -l 1200
	check "datagrams of 1200 bytes, Mbit/s received of 20" "$mbits" -ge 2
	iperf a c fd00:77::2 -t 1 -u -b 10M -l 200
	iperf c a 192.168.241.1 -n 4M
	checksums_hold inner '(tcp || udp)'
	nearly_agrees
}

# All offloads that this kernel has.
# limit: 240
scenario_offloads_on() { intact "$1" ''; }

# No virtio header on the TUN device, and so no super-packets there.
# limit: 240
scenario_offloads_no_vnet_hdr() { intact "$1" vnet_hdr; }

# No TCP super-packets.
# limit: 240
scenario_offloads_no_tso() { intact "$1" tso; }

# No UDP super-packets (kernels before 6.2).
# limit: 240
scenario_offloads_no_uso() { intact "$1" uso; }

# Sent message by message (kernels before 4.18).
# limit: 240
scenario_offloads_no_gso() { intact "$1" gso; }

# Received message by message (kernels before 5.0).
# limit: 240
scenario_offloads_no_gro() { intact "$1" gro; }

# One system call per message.
# limit: 240
scenario_offloads_no_mmsg() { intact "$1" gso,gro,mmsg; }

# Nothing at all, as on OpenVZ 7.
# limit: 240
scenario_offloads_off() { intact "$1" vnet_hdr,gso,gro,mmsg,pktinfo,tos,recvfragsize; }

# No wide vectors in the AEAD.
# limit: 240
scenario_offloads_no_vectors() { intact "$1" avx512,avx2; }

# What goes over the wire has right checksums too: a's network card cannot compute them.
scenario_outer_checksums() {
	cable "$1"
	on a ethtool -K eth0 tx off tso off gso off >/dev/null
	tunnel 4 both
	pings a 192.168.241.2
	capture outer b eth0 udp
	iperf a b 192.168.241.2 -n 4M
	checksums_hold outer 'ip.src == 10.0.0.1'
	down a wg0
	down b wg0
	tunnel 6 both
	pings a 192.168.241.2
	capture outer6 b eth0 udp
	iperf a b fd00::2 -n 4M
	checksums_hold outer6 'ipv6.src == fd00:aa::1'
}
