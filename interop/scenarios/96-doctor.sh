#!/bin/bash
# `wgsharp doctor`: every fault is made on purpose, found under its name with the right exit status, mended by the very command that the doctor names
# (where it is one that can be run here), and then nothing is found any more.

# ---- patients --------------------------------------------------------------------------------------------------

# A machine of its own for each fault: its /etc, /usr and /dev may be changed, and its network leads to a peer at 10.0.0.2. Left in $patient.
patient=none patients=0
admit() {
	local layer name
	patients=$((patients + 1))
	patient=p$patients
	host "$patient" wgsharp
	for layer in /etc /usr /var/lib/dpkg; do
		name=$lab/$patient/${layer//\//_}
		mkdir "$name" "$name.work"
		on "$patient" mount -t overlay overlay -o "lowerdir=$layer,upperdir=$name,workdir=$name.work" "$layer"
	done
	on "$patient" mkdir -p /etc/wireguard /etc/wgsharp
	# shellcheck disable=SC2016 # for the patient's shell
	on "$patient" sh -c 'mount -t tmpfs tmpfs "$1" && mkdir "$1/net" && mknod -m 666 "$1/net/tun" c 10 200 && mknod -m 666 "$1/null" c 1 3 &&
		mknod -m 666 "$1/zero" c 1 5 && mknod -m 666 "$1/urandom" c 1 9 && mknod -m 666 "$1/random" c 1 8 && ln -s /proc/self/fd "$1/fd" &&
		mount --move "$1" /dev' - /mnt
	on "$patient" ip link add eth0 type veth peer name eth0.end
	on "$patient" ip address add 10.0.0.1/24 dev eth0
	on "$patient" ip link set eth0 up
	on "$patient" ip route add default via 10.0.0.254
	wears=(env "WG_QUICK_USERSPACE_IMPLEMENTATION=$WGSHARP") limited=()
	plain >"$lab/$patient/wg0.conf"
}

# What the doctor is started with, and what takes something away from it.
wears=() limited=()

plain() { # [more lines of the interface...]
	printf '%s\n' '[Interface]' "PrivateKey = ${key[a]:=$(wg genkey)}" 'ListenPort = 51820' 'Address = 10.7.0.1/24' "$@" \
		'[Peer]' "PublicKey = ${pub[b]:=$(wg genkey | wg pubkey)}" 'AllowedIPs = 10.7.0.2/32' 'Endpoint = 10.0.0.2:51820'
}
prescribe() { plain "$@" >"$lab/$patient/wg0.conf"; }
takes_everything() { prescribe 'Address = fd07::1/64'; sed -i 's/^AllowedIPs.*/AllowedIPs = 0.0.0.0\/0, ::\/0/' "$lab/$patient/wg0.conf"; }

# Leaves the JSON in $lab/findings, and the exit status in $status.
status=0
consult() {
	status=0
	on "$patient" "${wears[@]}" "${limited[@]}" "${doctor[@]:-$WGSHARP}" doctor "$lab/$patient/wg0.conf" --json >"$lab/findings" 2>"$lab/said" || status=$?
	python3 -c '
import json, sys
for finding in json.load(open(sys.argv[1]))["findings"]:
    print("\t".join(finding[field] or "-" for field in sys.argv[2:]))' "$lab/findings" "${fields[@]}" >"$lab/found"
}
doctor=()

# What was found: a line for each, fields by tabs, in the order of $fields.
fields=(id level about wrong command elsewhere)
of_findings() { # field : one per line
	local number
	for number in "${!fields[@]}"; do
		[[ ${fields[number]} != "$1" ]] || cut -f $((number + 1)) "$lab/found"
	done
}

healthy() { # [what was done]
	consult
	check "${1:-before}: status, findings" "$status $(cat "$lab/said")$(cut -f 1,4 "$lab/found")" == '0 '
}

# finds WHAT fault|warning ID... : exactly these, in this order
finds() {
	local level=$2 wanted=1 ids what command otherwise
	[[ $level == fault ]] || wanted=3
	consult
	ids=$(of_findings id | tr '\n' ' ')
	check "$1: status" "$status $(cat "$lab/said")" == "$wanted "
	check "found" "$ids" == "${*:3} "
	check "levels" "$(of_findings level | sort -u)" == "$level"
	while IFS=$'\t' read -r _ _ _ what command otherwise; do
		note "    $what -> ${command#-}${otherwise#-}"
	done <"$lab/found"
}

# Runs all commands that the doctor named.
mend() {
	local command
	while read -r command; do
		[[ $command != - ]] || fail "it names no command"
		on "$patient" bash -c "$command" </dev/null >"$lab/mended" 2>&1 || fail "$command: $(cat "$lab/mended")"
	done < <(of_findings command)
	healthy "after its own command"
}

elsewhere() { check "it names no command" "$(of_findings command | sort -u)" == -; }

quick_works() { # : wg-quick up and down, as the doctor was started
	on "$patient" "${wears[@]}" "${limited[@]}" wg-quick up "$lab/$patient/wg0.conf" >"$lab/quick" 2>&1 || return 1
	on "$patient" "${wears[@]}" "${limited[@]}" wg-quick down "$lab/$patient/wg0.conf" >"$lab/quick" 2>&1
}

# ---- devices and rights ----------------------------------------------------------------------------------------

# /dev/net/tun missing, not to be opened, without a driver; TUNSETIFF refused; /dev/null missing.
# limit: 300
scenario_doctor_devices() {
	admit
	healthy
	on "$patient" rm /dev/net/tun
	finds "no /dev/net/tun, but it can be made" warning tun-node
	check "nothing is left of the probe" "$(on "$patient" ls /dev/net)" == ''
	limited=(setpriv --bounding-set -mknod --inh-caps -mknod)
	finds "no /dev/net/tun, and no right to make it" fault tun-node
	elsewhere
	limited=()
	consult
	mend

	on "$patient" rm /dev/net/tun
	on "$patient" mknod /dev/net/tun c 10 201
	finds "a node without a driver" fault tun-open
	on "$patient" mount -t tmpfs -o nodev tmpfs /dev/net
	on "$patient" mknod /dev/net/tun c 10 200
	finds "a node that may not be opened" fault tun-open
	elsewhere
	on "$patient" umount /dev/net
	on "$patient" rm /dev/net/tun
	on "$patient" mknod /dev/net/tun c 10 200
	healthy "with the right node"

	limited=("$library/without.py" tunsetiff)
	finds "TUNSETIFF refused" fault tun-create
	elsewhere
	limited=()

	on "$patient" rm /dev/null
	finds "no /dev/null" fault dev-null
	mend
	on "$patient" sh -c 'rm /dev/null && echo something >/dev/null'
	on "$patient" chmod 644 /dev/null
	limited=(setpriv --bounding-set -dac_override --inh-caps -dac_override)
	healthy "a plain file in its place does"
	check "interfaces left" "$(on "$patient" ip -o link show type tun | wc -l)" == 0
}

# CAP_NET_ADMIN, CAP_NET_RAW where peers have IPv6, CAP_NET_BIND_SERVICE for a port below 1024.
# limit: 300
scenario_doctor_capabilities() {
	admit
	limited=(setpriv --bounding-set -net_admin --inh-caps -net_admin)
	finds "without CAP_NET_ADMIN" fault capability-net-admin
	elsewhere
	limited=(setpriv --bounding-set -net_raw --inh-caps -net_raw)
	healthy "without CAP_NET_RAW, over IPv4"
	sed -i 's/^Endpoint.*/Endpoint = [2001:db8::2]:51820/' "$lab/$patient/wg0.conf"
	finds "over IPv6" warning capability-net-raw
	limited=()
	healthy "with CAP_NET_RAW"
	prescribe
	sed -i 's/^ListenPort.*/ListenPort = 443/' "$lab/$patient/wg0.conf"
	limited=(setpriv --bounding-set -net_bind_service --inh-caps -net_bind_service)
	finds "port 443 without CAP_NET_BIND_SERVICE" fault capability-net-bind
	mend
}

# ---- the daemon's process --------------------------------------------------------------------------------------

# No libsodium; limits on address space, files, locked memory; a wrong setting; a clock that has gone back.
# limit: 300
scenario_doctor_process() {
	admit
	mkdir "$lab/bin"
	cp "$WGSHARP" "$lab/bin/wgsharp"
	doctor=("$lab/bin/wgsharp")
	healthy "with the system's libsodium"
	on "$patient" sh -c 'rm /usr/lib/x86_64-linux-gnu/libsodium.so*'
	finds "no libsodium" fault libsodium
	check "its command" "$(of_findings command)" == "apt-get install libsodium23"
	cp "${WGSHARP%/*}/libsodium.so.23" "$lab/bin/"
	healthy "with one beside the executable"
	touch -d '+2 days' "$lab/bin/wgsharp"
	finds "a clock two days before the executable's date" fault clock
	touch "$lab/bin/wgsharp"
	doctor=()
	touch -d '+1 hour' "$lab/$patient/wg0.conf"
	finds "a clock an hour before the configuration's" fault clock
	limited=(setpriv --bounding-set -sys_time --inh-caps -sys_time)
	finds "in a container" fault clock
	elsewhere
	touch "$lab/$patient/wg0.conf"
	limited=(bash -c 'ulimit -v 1340000; exec "$@"' -)
	finds "1.34 GB of address space" fault limits
	limited=(setpriv --bounding-set -sys_resource --inh-caps -sys_resource bash -c 'ulimit -n 150; exec "$@"' -)
	finds "150 files" fault limits
	limited=(prlimit --memlock=4096 setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock)
	finds "one page of locked memory" warning memlock
	limited=(prlimit --memlock=65536 setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock)
	healthy "64 KiB of it"
	limited=(env WGSHARP_THREADS=many)
	finds "a setting that is wrong" fault settings
	limited=()
	on "$patient" sh -c 'echo nonsense >/etc/wgsharp/wg0.conf'
	finds "in a file" fault settings
	check "it names the line" "$(of_findings wrong)" =~ '/etc/wgsharp/wg0.conf:1: '
}

# Control groups with little memory, or few tasks.
# limit: 300
scenario_doctor_control_groups() {
	admit
	small_group memory
	on "$patient" mount -t tmpfs tmpfs /sys/fs/cgroup
	show_group memory
	memory_of $((200 << 20))
	limited=("${within[@]}" "$there")
	healthy "with 200 MB"
	memory_of $((44 << 20))
	finds "with 44 MB" warning memory
	memory_of $((15 << 20))
	finds "with 15 MB" fault memory
	elsewhere
	small_group pids
	show_group pids
	on "$patient" sh -c "echo 200 >'$there/pids.max'"
	limited=("${within[@]}" "$there")
	healthy "with 200 tasks"
	on "$patient" sh -c "echo 36 >'$there/pids.max'"
	finds "with 36" fault tasks
	check "it names the limit" "$(of_findings wrong)" =~ 'pids.max is 36'
}

# shellcheck disable=SC2016 # for the patient's shell
within=(sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"')

# A group of this scenario's own, which interop/run removes: its name, and where the patient will find it in $there.
small_group() { # controller
	local base=/sys/fs/cgroup name_of_group
	name_of_group=$(basename "$(dirname "$lab")")-$(basename "$lab")-$1
	if [[ -d $base/$1 ]]; then
		mkdir "$base/$1/$name_of_group"
		there=$base/$1/$name_of_group
	else
		grep -qw "$1" "$base/cgroup.controllers" || fail "this machine has no control group '$1'"
		echo "+$1" >"$base/cgroup.subtree_control"
		mkdir "$base/$name_of_group"
		there=$base/$name_of_group
	fi
}
show_group() { # controller
	if [[ $there == /sys/fs/cgroup/$1/* ]]; then
		on "$patient" mkdir "/sys/fs/cgroup/$1"
		on "$patient" mount -t cgroup -o "$1" cgroup "/sys/fs/cgroup/$1"
	else
		on "$patient" mountpoint -q /sys/fs/cgroup/unified || on "$patient" mount -t cgroup2 cgroup2 /sys/fs/cgroup
	fi
}
# shellcheck disable=SC2016 # for the patient's shell
memory_of() { on "$patient" sh -c 'if [ -e "$1/memory.max" ]; then echo "$2" >"$1/memory.max"; else echo "$2" >"$1/memory.limit_in_bytes"; fi' - "$there" "$1"; }

# ---- wg-quick --------------------------------------------------------------------------------------------------

# /sys/module/wireguard of the host, the variable that sudo strips, a program that is not in root's PATH, programs that are missing, a wrong line.
# limit: 300
scenario_doctor_wg_quick() {
	admit
	if [[ $QUICK != "$(type -P wg-quick)" ]]; then
		note "this machine's kernel has WireGuard: wg-quick needs no implementation, and the first three faults cannot be made"
	else
		healthy
		quick_works || fail "wg-quick: $(cat "$lab/quick")"
		on "$patient" mount -t tmpfs tmpfs /sys/module
		on "$patient" mkdir /sys/module/wireguard
		finds "/sys/module/wireguard is there, and the kernel has no WireGuard" fault module-visible
		refuses quick_works
		mend
		quick_works || fail "wg-quick: $(cat "$lab/quick")"
		note "and wg-quick starts wgsharp"

		wears=(env -u WG_QUICK_USERSPACE_IMPLEMENTATION)
		finds "no variable" fault wg-quick-variable
		check "its command" "$(of_findings command)" == "sudo WG_QUICK_USERSPACE_IMPLEMENTATION=$WGSHARP wg-quick up wg0"
		wears=(env -u WG_QUICK_USERSPACE_IMPLEMENTATION SUDO_UID=1000)
		finds "stripped by sudo" fault wg-quick-variable
		check "it says so" "$(of_findings wrong)" =~ sudo
		wears=(env WG_QUICK_USERSPACE_IMPLEMENTATION=wgsharp PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/bin)
		finds "a name that is not in PATH" fault wg-quick-path
		refuses quick_works
		mend
		quick_works || fail "wg-quick: $(cat "$lab/quick")"
		wears=(env WG_QUICK_USERSPACE_IMPLEMENTATION=/opt/wgsharp)
		finds "a path that leads nowhere" fault wg-quick-path
		wears=(env "WG_QUICK_USERSPACE_IMPLEMENTATION=$WGSHARP")
	fi

	on "$patient" rm -f /usr/sbin/resolvconf /sbin/resolvconf
	prescribe 'DNS = 10.7.0.2'
	finds "DNS without resolvconf" fault programs
	check "its command" "$(of_findings command)" == "apt-get install openresolv"
	prescribe 'PostUp = ufw route allow in on %i; true'
	on "$patient" rm -f /usr/sbin/ufw
	finds "a command that is not installed" fault programs
	prescribe
	on "$patient" mv /usr/bin/wg /usr/bin/wg.off
	finds "no wg" fault programs
	on "$patient" mv /usr/bin/wg.off /usr/bin/wg

	prescribe 'Adress = 10.7.0.3/24'
	printf '%s\n' 'AllowedIPs = 10.7.0.0/33' 'Endpoint = 10.0.0.2' 'whatever' >>"$lab/$patient/wg0.conf"
	finds "four wrong lines" fault file file file file
	check "where they are" "$(of_findings about | tr '\n' ' ')" == "$lab/$patient/wg0.conf:5 $lab/$patient/wg0.conf:10 $lab/$patient/wg0.conf:11 $lab/$patient/wg0.conf:12 "
	check "the private key is not told" "$(occurrences -F "${key[a]}" "$lab/findings")" == 0
	cp "$lab/$patient/wg0.conf" "$lab/$patient/doctor.conf"
	check "a file with the name of a command" "$(on "$patient" "$WGSHARP" doctor "$lab/$patient/doctor.conf" || true)" =~ "'doctor' is a command of wgsharp"
	attempt_doctor nosuch
	check "an interface that is not there" "$status $(cat "$lab/said")" =~ '^2 wgsharp: There is neither'
	attempt_doctor --nonsense
	check "an option that is not there" "$status $(cat "$lab/said")" =~ '^2 wgsharp: '
}
attempt_doctor() {
	status=0
	on "$patient" "$WGSHARP" doctor "$@" >"$lab/said" 2>&1 || status=$?
}

# ---- the firewall ----------------------------------------------------------------------------------------------

# nft is installed and the kernel has no nf_tables; neither has it ip_tables; what the file's own rules need.
# limit: 300
scenario_doctor_firewall() {
	admit
	takes_everything
	healthy
	limited=("$library/without.py" nf_tables)
	finds "0.0.0.0/0, nft installed, no nf_tables" fault firewall
	[[ $QUICK != "$(type -P wg-quick)" ]] || refuses quick_works
	mend
	if [[ $QUICK == "$(type -P wg-quick)" ]]; then
		quick_works || fail "wg-quick: $(cat "$lab/quick")"
		note "and wg-quick makes its rules"
	fi
	limited=("$library/without.py" nf_tables+ip_tables)
	finds "neither nf_tables nor ip_tables" fault firewall
	elsewhere
	on "$patient" rm /usr/sbin/iptables-restore /usr/sbin/ip6tables-restore
	finds "and no iptables" fault programs

	admit
	on "$patient" sysctl -q net.ipv4.ip_forward=1
	prescribe 'PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE; iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu'
	healthy "PostUp with MASQUERADE and TCPMSS"
	limited=("$library/without.py" nf_tables)
	finds "without nf_tables" fault firewall-hooks
	check "what it misses" "$(of_findings wrong)" =~ 'iptables with nat, MASQUERADE, mangle, TCPMSS, which'
	mend
	limited=("$library/without.py" nf_tables+ip_tables)
	finds "without ip_tables" fault firewall-hooks
	elsewhere
	check "rules left in the patient's own namespace" "$(on "$patient" iptables-legacy-save | occurrences '^-A')" == 0
}

# ---- routes ----------------------------------------------------------------------------------------------------

# suppress_prefixlength, src_valid_mark, rp_filter, ip_forward, IPv6 switched off.
# limit: 300
scenario_doctor_routes() {
	admit
	takes_everything
	healthy
	check "rules left in the patient's own namespace" "$(on "$patient" ip rule | wc -l)" == 3
	# The kernel's answer where it has no policy rules, to the real ip.
	mkdir "$lab/old"
	# shellcheck disable=SC2016 # for its own shell
	printf '#!/bin/sh\nfor word; do [ "$word" != suppress_prefixlength ] || exec strace -o /dev/null -e inject=sendmsg:error=EOPNOTSUPP %s "$@"; done\nexec %s "$@"\n' \
		"$(type -P ip)" "$(type -P ip)" >"$lab/old/ip"
	chmod 755 "$lab/old/ip"
	limited=(env "PATH=$lab/old:$PATH")
	finds "policy rules refused" fault suppress-prefixlength
	limited=()

	on "$patient" mount --bind /proc/sys /proc/sys
	on "$patient" mount -o remount,bind,ro /proc/sys
	finds "/proc/sys not to be written to" fault src-valid-mark
	refuses quick_works
	mend

	prescribe 'Table = off'
	sed -i 's/^AllowedIPs.*/AllowedIPs = 0.0.0.0\/0/' "$lab/$patient/wg0.conf"
	healthy "Table = off"
	on "$patient" sysctl -q net.ipv4.conf.all.rp_filter=1
	finds "with the strict reverse path filter" warning rp-filter
	mend

	prescribe 'PostUp = iptables -t nat -A POSTROUTING -s 10.7.0.0/24 -o eth0 -j MASQUERADE'
	on "$patient" sysctl -q net.ipv4.ip_forward=0
	finds "MASQUERADE without forwarding" warning ip-forward
	mend
	prescribe 'PostUp = ip6tables -A FORWARD -i %i -j ACCEPT' 'PostUp = sysctl -w net.ipv6.conf.all.forwarding=1'
	healthy "a file that sets it itself"

	prescribe 'Address = fd07::1/64'
	on "$patient" sysctl -q net.ipv6.conf.default.disable_ipv6=1
	finds "an IPv6 address where IPv6 is off" fault ipv6-off
	refuses quick_works
	mend
	quick_works || fail "wg-quick: $(cat "$lab/quick")"
	prescribe
	sed -i 's/^Endpoint.*/Endpoint = [2001:db8::2]:51820/' "$lab/$patient/wg0.conf"
	on "$patient" sysctl -q net.ipv6.conf.all.disable_ipv6=1
	finds "a peer's IPv6 address where IPv6 is off" fault ipv6-off
	mend
}

# Tunnels that are up, too: strict reverse path filters stop what comes, and it comes again after the doctor's command. The endpoint is beyond the default
# route, or the way back to it would not lead through the tunnel.
# limit: 300
scenario_doctor_routes_of_a_living_tunnel() {
	local afar=198.51.100.7
	new_key a
	new_key b
	admit
	host peer wgsharp
	on "$patient" ip link set eth0.end netns "${holder[peer]}"
	on peer ip link set eth0.end up
	on peer ip address add 10.0.0.254/24 dev eth0.end
	on peer ip address add 192.0.2.2/32 dev lo
	on peer ip address add "$afar/32" dev lo
	up peer wg0 <<-END
		[Interface]
		PrivateKey = ${key[b]}
		ListenPort = 51820
		Address = 10.7.0.2/24
		[Peer]
		PublicKey = ${pub[a]}
		AllowedIPs = 10.7.0.1/32
	END

	takes_everything
	sed -i 's/^Endpoint.*/Endpoint = 192.0.2.2:51820/' "$lab/$patient/wg0.conf"
	quick "$patient" up wg0
	on "$patient" sysctl -q net.ipv4.conf.eth0.rp_filter=1
	pings "$patient" "$afar"
	healthy "a tunnel for everything, and a strict filter"
	on "$patient" sysctl -q net.ipv4.conf.all.src_valid_mark=0
	no_answer "$patient" "$afar"
	finds "somebody has taken the filter its knowledge of marks" fault src-valid-mark
	mend
	pings "$patient" "$afar"
	down "$patient" wg0
	quietly_await 5 "down" gone "$patient" wg0

	prescribe 'Table = off'
	sed -i -e 's/^AllowedIPs.*/AllowedIPs = 0.0.0.0\/0/' -e 's/^Endpoint.*/Endpoint = 192.0.2.2:51820/' "$lab/$patient/wg0.conf"
	quick "$patient" up wg0
	pings "$patient" 10.7.0.2
	pings peer 10.7.0.1 1 -I "$afar"
	healthy "Table = off, and no strict filter on this interface"
	on "$patient" sysctl -q net.ipv4.conf.wg0.rp_filter=1
	no_answer peer 10.7.0.1 1 -I "$afar"
	finds "with one" warning rp-filter
	mend
	pings peer 10.7.0.1 1 -I "$afar"
	on "$patient" sysctl -q net.ipv4.conf.all.rp_filter=1
	on "$patient" ip route add default dev wg0 table 7
	on "$patient" ip rule add from 10.7.0.1 table 7
	healthy "a strict filter, and a rule that leads back"
	pings peer 10.7.0.1 1 -I "$afar"
}

# ---- port and MTU ----------------------------------------------------------------------------------------------

# A port that another program has; MTUs.
# limit: 300
scenario_doctor_port_and_mtu() {
	local other
	admit
	launch "$patient" ncat -u -l 51820 &
	other=$!
	# shellcheck disable=SC2016 # for the patient's shell
	quietly_await 5 "the port is taken" on "$patient" sh -c 'ss -Hulnp | grep -q :51820'
	finds "another program has the port" fault port-taken
	check "who" "$(of_findings wrong)" =~ "process $other: ncat -u -l 51820"
	mend
	wait "$other" || true
	quick "$patient" up wg0
	healthy "while wgsharp itself has it"
	down "$patient" wg0
	quietly_await 5 "down" gone "$patient" wg0

	prescribe 'Address = fd07::1/64' 'MTU = 1200'
	finds "IPv6 inside an MTU of 1200" fault mtu-ipv6
	mend
	prescribe 'Address = fd07::1/64'
	on "$patient" ip route add 10.0.0.2 dev eth0 mtu 1300
	finds "a route of 1300, of which wg-quick makes 1220" fault mtu-ipv6
	mend
	prescribe 'MTU = 1420'
	healthy "an MTU of 1420 over a route of 1300"
	on "$patient" sh -c 'echo "mtu_policy = kernel" >/etc/wgsharp/wg0.conf'
	finds "with mtu_policy = kernel" warning mtu-path
	mend
	on "$patient" sh -c 'echo "mtu_policy = clamp-only" >/etc/wgsharp/wg0.conf'
	finds "with mtu_policy = clamp-only" warning mtu-path
	on "$patient" ip route delete 10.0.0.2
	healthy "over a route of 1500"
	on "$patient" sh -c 'echo "mtu_policy = kernel" >/etc/wgsharp/wg0.conf'
	on "$patient" ip link add docker0 type bridge
	on "$patient" sysctl -q net.ipv4.ip_forward=1
	finds "a bridge of 1500 that is forwarded, and mtu_policy = kernel" warning mtu-bridge
	mend
}

# ---- leftovers -------------------------------------------------------------------------------------------------

# The daemon is killed: rules, firewall and socket of wg-quick's tunnel for everything stay. Each by the command that takes it away.
# limit: 300
scenario_doctor_leftovers() {
	admit
	takes_everything
	quick "$patient" up wg0
	healthy "a tunnel for everything is up"
	check "rules of it" "$(on "$patient" ip rule | occurrences 51820)" == 1
	kill -KILL "$(daemon_pid "$patient" wg0)"
	quietly_await 5 "the interface is gone" no_link
	finds "the daemon was killed" warning leftover-rules leftover-rules leftover-nft leftover-nft leftover-socket
	mend
	check "rules that are left" "$(on "$patient" ip rule | wc -l) $(on "$patient" ip -6 rule | wc -l)" == "3 2"

	on "$patient" mv /usr/sbin/nft /usr/sbin/nft.off
	quick "$patient" up wg0
	healthy "up again, with iptables"
	kill -KILL "$(daemon_pid "$patient" wg0)"
	quietly_await 5 "the interface is gone" no_link
	finds "killed again" warning leftover-rules leftover-rules leftover-iptables leftover-iptables leftover-socket
	mend
	check "iptables rules that are left" "$(on "$patient" iptables-save | occurrences wg-quick)" == 0
}
no_link() { ! on "$patient" test -e /sys/class/net/wg0; }

# ---- a server --------------------------------------------------------------------------------------------------

# A server that boots: systemd's drop-in decides what wg-quick's unit starts. Healthy before and while the tunnel is up; without the drop-in the doctor
# says so, makes it by its own command, and the unit works. The daemon is killed: openresolv goes on to name the tunnel's resolver.
# machines: openresolv
# limit: 300
scenario_doctor_on_a_server() {
	host peer none
	host vps wgsharp
	link peer:eth0 10.0.0.2/24 vps:eth0 -
	disk vps openresolv
	network vps <<<"eth0 10.0.0.1/24 10.0.0.2"
	boot vps
	new_key vps
	new_key peer
	plain | sed "s|^PrivateKey.*|PrivateKey = ${key[vps]}|" | feed vps tee /etc/wireguard/wg0.conf >/dev/null
	says '0 Healthy.'
	if [[ $QUICK == "$(type -P wg-quick)" ]]; then
		on vps rm -r /etc/systemd/system/wg-quick@.service.d
		on vps systemctl daemon-reload
		says '^1 fault +wg-quick-variable  WG_QUICK_USERSPACE_IMPLEMENTATION is not set in wg-quick.s unit'
		on vps bash -c "$(sed -n 's/^ *-> //p' <<<"$answer")"
		says '0 Healthy.'
	fi
	on vps systemctl start wg-quick@wg0 || fail "wg-quick@wg0: $(on vps journalctl -b -u wg-quick@wg0)"
	says '0 Healthy.'
	says '0 Healthy.' wg0
	on vps systemctl stop wg-quick@wg0

	on vps sed -i '/^\[Peer\]/i DNS = 10.7.0.2' /etc/wireguard/wg0.conf
	on vps systemctl start wg-quick@wg0 || fail "wg-quick@wg0: $(on vps journalctl -b -u wg-quick@wg0)"
	check "resolver" "$(on vps cat /etc/resolv.conf)" =~ 'nameserver 10.7.0.2'
	says '0 Healthy.'
	on vps pkill -KILL -x wgsharp
	await 5 "the interface is gone" vps_lost_it
	says '^3 warning +leftover-dns +wg0 is gone, and its DNS is not'
	note "$answer"
	on vps sh -ec "$(sed -n 's/^ *-> //p' <<<"$answer")"
	check "resolvers left" "$(on vps cat /etc/resolv.conf | occurrences nameserver)" == 0
	says '0 Healthy.'

	on vps sh -c 'umount /dev/net/tun && rm -f /dev/net/tun'
	answer=$(on vps setpriv --bounding-set -mknod --inh-caps -mknod wgsharp doctor 2>&1) || status=$?
	check "without /dev/net/tun" "$status $answer" =~ '^1 fault +tun-node '
	note "$answer"
}
vps_lost_it() { ! on vps test -e /sys/class/net/wg0; }
says() { # pattern [words...]
	status=0
	answer=$(on vps wgsharp doctor "${@:2}" 2>&1) || status=$?
	check "wgsharp doctor ${*:2}" "$status $answer" =~ "$1"
}
