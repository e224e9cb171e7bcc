#!/bin/bash
# A VPS as OpenVZ 7 sells it: a container with 96 MiB for everything in it, one processor, venet0, a kernel 3.10 without IPv6 and nf_tables, TUN switched on in
# the panel. Sourced, by scenarios/94-old-kernel.sh.
#
#   home  198.51.100.2 ---- net ---- vps 203.0.113.2 (venet0)      wg0: vps 10.8.0.1, home 10.8.0.2, phone 10.8.0.3
#   phone 198.51.100.6 ----/   \---- visitor 192.0.2.2             port 80 of the VPS is home's

openvz7=3.10+tso+ipv6+nf_tables

build_small_vps() { # image
	local name
	for name in net vps visitor; do host "$name" none; done
	for name in home phone; do host "$name" wgsharp; done
	link net:tovps - vps:venet0 -
	venet net:tovps vps:venet0
	link net:tohome 198.51.100.1/30 home:eth0 198.51.100.2/30
	link net:tophone 198.51.100.5/30 phone:eth0 198.51.100.6/30
	link net:tovisitor 192.0.2.1/24 visitor:eth0 192.0.2.2/24
	on net sysctl -q net.ipv4.ip_forward=1
	on net ip route add 203.0.113.2/32 dev tovps
	on home ip route add default via 198.51.100.1
	on phone ip route add default via 198.51.100.5
	on visitor ip route add default via 192.0.2.1
	for name in vps home phone; do new_key "$name"; done
	memory vps 96
	processors vps 1
	without vps $openvz7
	# systemd-nspawn forbids to lock memory where it does not give CAP_IPC_LOCK; OpenVZ does not: 64 KiB are everybody's.
	disk vps "$1" --system-call-filter=@memlock
	leave_kernel_aside "$lab/vps/disk/root"
	SOURCE_DATE_EPOCH=1767225600 HASTE=1 "$library/../../packaging/pack" "$WGSHARP" "${WGSHARP%/*}/libsodium.so.23" 0.1.0 "$lab/vps/disk/root/root" package
	network vps <<<"venet0 127.0.0.1/32,203.0.113.2/32 dev"
	configuration_of_small_vps | install -m 600 /dev/stdin "$lab/vps/disk/root/etc/wireguard/wg0.conf"
	boot vps
	note "the VPS has booted after $boot_time ms: $(on vps sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release)"
	check "its processors" "$(there nproc)" == 1
	there apt-get -q -y install /root/wgsharp_0.1.0_amd64.deb >"$lab/apt" 2>&1 || fail "apt-get install: $(cat "$lab/apt")"
	end_of_tunnel home 10.8.0.2
	end_of_tunnel phone 10.8.0.3
}

# Within the container's limits and under its filter; a command of `on` comes from outside.
there() { on vps systemd-run --quiet --pipe --wait --collect --setenv=LC_ALL=C -- "$@"; }

configuration_of_small_vps() {
	cat <<-END
		[Interface]
		Address = 10.8.0.1/24
		ListenPort = 51820
		PrivateKey = ${key[vps]}
		PostUp = sysctl -q -w net.ipv4.ip_forward=1
		PostUp = iptables -t nat -A PREROUTING ! -i %i -p tcp --dport 80 -j DNAT --to-destination 10.8.0.2
		PostUp = iptables -t nat -A POSTROUTING -o %i -p tcp --dport 80 -j MASQUERADE
		PostDown = iptables -t nat -D PREROUTING ! -i %i -p tcp --dport 80 -j DNAT --to-destination 10.8.0.2
		PostDown = iptables -t nat -D POSTROUTING -o %i -p tcp --dport 80 -j MASQUERADE
		[Peer]
		PublicKey = ${pub[home]}
		AllowedIPs = 10.8.0.2/32
		[Peer]
		PublicKey = ${pub[phone]}
		AllowedIPs = 10.8.0.3/32
	END
}

end_of_tunnel() { # host, its address within
	up "$1" wg0 <<-END
		[Interface]
		PrivateKey = ${key[$1]}
		Address = $2/24
		[Peer]
		PublicKey = ${pub[vps]}
		AllowedIPs = 10.8.0.0/24
		Endpoint = 203.0.113.2:51820
	END
}

# ---- load ------------------------------------------------------------------------------------------------------

# iperf3 both ways for so long, once more where the sessions take longer, and while it runs the phone asks for so many new sessions, one after the other. Leaves
# $up_mbits and $down_mbits, as they arrived in the last of them, and in $slowest how many milliseconds the slowest session took.
loads() { # seconds, new sessions
	local load one
	slowest=0
	load_begins "$1"
	for ((one = 0; one < $2; one++)); do
		if ! kill -0 "$load" 2>/dev/null; then
			load_ends
			load_begins "$1"
		fi
		asks_for_a_session
	done
	load_ends
	read -r up_mbits down_mbits < <(python3 -c '
import json, sys
end = json.load(open(sys.argv[1]))["end"]
print(*(int(end[name]["bits_per_second"] / 1e6) for name in ("sum_received", "sum_received_bidir_reverse")))' "$lab/load")
}

load_begins() { # seconds
	quietly_await 10 "iperf3 on the VPS is done with the test before" has_no_test
	on home iperf3 -J -c 10.8.0.1 --bidir -t "$1" >"$lab/load" 2>&1 &
	load=$!
}
has_no_test() { [[ -z $(on vps ss -H -n -t state established state close-wait sport = :5201) ]]; }
load_ends() { wait "$load" || fail "iperf3: $(grep '"error"' "$lab/load")"; }

# The phone forgets the VPS and begins anew: nothing of the old session could answer its ping. INITIATIONS_PER_SECOND: of one peer's initiations within 20 ms the second is dropped.
asks_for_a_session() {
	elapse 0.03
	on phone wg set wg0 peer "${pub[vps]}" remove
	on phone wg set wg0 peer "${pub[vps]}" endpoint 203.0.113.2:51820 allowed-ips 10.8.0.0/24
	quietly_await 15 "a new session of the phone" on phone ping -n -q -c 1 -W 0.5 10.8.0.1
	slowest=$((waited > slowest ? waited : slowest))
}

# ---- what it takes ---------------------------------------------------------------------------------------------

memory_says() { # file of version 1, file of version 2
	local group
	for group in $(machine_groups vps); do
		if [[ -e $group/$1 ]]; then cat "$group/$1"; elif [[ -e $group/$2 ]]; then cat "$group/$2"; fi
	done
}

memory_peak() { echo $(($(memory_says memory.max_usage_in_bytes memory.peak) >> 10)); } # KiB, files in the page cache included
memory_of_processes() { memory_says memory.stat memory.stat | awk '$1 == "total_rss" || $1 == "anon" { print int($2 / 1024) }'; } # KiB
killed_for_memory() { memory_says memory.oom_control memory.events | awk '$1 == "oom_kill" { print $2 }'; }
daemon_holds() { on vps sed -n "s/^$1:[^0-9]*\([0-9]*\) kB/\1/p" "/proc/$(on vps pidof wgsharp)/status"; } # VmRSS|VmHWM : KiB
