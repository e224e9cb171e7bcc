#!/bin/bash
# What packaging/ makes, installed as users do it on machines that boot: Debian 11, 12 and 13.

packaging=$library/../../packaging

# Packages of the executable under test as version 1, and as version 2 a build whose file is laid out differently;
# in /root of the machine. Compressed in haste: here it is not the size that counts.
packages_for() { # host
	local version build=$WGSHARP
	for version in 0.0.1 0.0.2; do
		SOURCE_DATE_EPOCH=1767225600 HASTE=1 "$packaging/pack" "$build" "${WGSHARP%/*}/libsodium.so.23" "$version" "$lab/$1/disk/root/root" package
		build=$lab/moved
		[[ -e $build ]] || { python3 "$library/moved.py" "$WGSHARP" "$build" && chmod 755 "$build"; }
	done
}

# A server vps that boots and calls home, so that a session that a reboot has ended is made anew at once.
server() { # image
	host home wgsharp
	host vps none
	link home:eth0 10.0.0.1/24 vps:eth0 -
	disk vps "$1"
	network vps <<<"eth0 10.0.0.2/24 10.0.0.1"
	leave_kernel_aside "$lab/vps/disk/root"
	packages_for vps
	boot vps
	new_key home
	new_key vps
	feed vps tee /etc/wireguard/wg0.conf >/dev/null <<-END
		[Interface]
		PrivateKey = ${key[vps]}
		ListenPort = 51820
		Address = 10.7.0.1/24
		[Peer]
		PublicKey = ${pub[home]}
		AllowedIPs = 10.7.0.2/32
		Endpoint = 10.0.0.1:51821
		PersistentKeepalive = 25
	END
	up home wg0 <<-END
		[Interface]
		PrivateKey = ${key[home]}
		ListenPort = 51821
		Address = 10.7.0.2/24
		[Peer]
		PublicKey = ${pub[vps]}
		AllowedIPs = 10.7.0.1/32
		Endpoint = 10.0.0.2:51820
	END
}

answers_home() { on home ping -n -q -c 1 -W 0.3 10.7.0.1; }

new_session() { # home comes with a new key session, as after a restart
	on home wg set wg0 peer "${pub[vps]}" remove
	on home wg set wg0 peer "${pub[vps]}" endpoint 10.0.0.2:51820 allowed-ips 10.7.0.1/32
	quietly_await 10 "a new session" answers_home
}

program_of() { on vps readlink "/proc/$1/exe"; }
served_by() { on vps pidof wgsharp; }
apt() { on vps apt-get -q -y --allow-downgrades "$@" >"$lab/apt" 2>&1 || fail "apt-get $*: $(cat "$lab/apt")"; }
install_version() { apt install "/root/wgsharp_$1_amd64.deb"; }
# shellcheck disable=SC2016  # dpkg's own placeholder
has_version() { on vps dpkg-query -W -f '${Version}' wgsharp; }

# Changes the version with pings every 10 ms, from before until after, and a new session afterwards; nothing may be lost.
changes_version() { # from to
	local daemon before pinger
	daemon=$(served_by)
	before=$(program_of "$daemon")
	launch home ping -n -i 0.01 10.7.0.1 >"$lab/pings" &
	pinger=$!
	install_version "$2"
	check "installed" "$(has_version)" == "$2"
	elapse 0.3
	kill -INT "$pinger"
	wait "$pinger" || true
	# The last one may be on its way still.
	check "pings every 10 ms while $1 becomes $2: lost of $(grep -c 'bytes from' "$lab/pings")" \
		"$(sed -n 's/.*icmp_seq=\([0-9]*\).*/\1/p' "$lab/pings" | awk '{ if ($1 > last) last = $1; count++ } END { print last - count }')" == 0
	check "the daemon is the same process" "$(served_by)" == "$daemon"
	check "and its program" "$(program_of "$daemon")" == "$before (deleted)"
	new_session
	on vps wg set wg0 fwmark 7
	check "it has a new session, and takes configuration" "$(on vps wg show wg0 fwmark)" == 0x7
	on vps systemctl restart wg-quick@wg0
	await 10 "restarted by its administrator, the tunnel is back" answers_home
	check "its program now" "$(program_of "$(served_by)")" == /usr/bin/wgsharp
}

# wgsharp@.service in place of wg-quick: keys by the unit, the address by systemd-networkd.
without_wg_quick() {
	local exposure daemon
	on vps systemctl disable --now wg-quick@wg0 2>/dev/null
	feed vps tee /etc/systemd/network/wg0.network >/dev/null <<<$'[Match]\nName=wg0\n[Network]\nAddress=10.7.0.1/24'
	on vps systemctl start systemd-networkd
	on vps systemctl enable --now wgsharp@wg0 2>"$lab/enable" || fail "systemctl enable --now wgsharp@wg0: $(cat "$lab/enable"; on vps journalctl -b -u wgsharp@wg0)"
	check "wgsharp@wg0" "$(on vps systemctl show -p Type -p ActiveState --value wgsharp@wg0 | tr '\n' ' ')" == 'notify active '
	await 10 "and with it a ping comes back" answers_home
	check "what systemd-analyze verify has to say" "$(on vps systemd-analyze verify --man=no wgsharp@wg0.service wg-quick@wg0.service 2>&1 | grep -F wgsharp || true)" == ''
	exposure=$(on vps systemd-analyze security --no-pager wgsharp@wg0.service | sed -n 's/.*Overall exposure level.*: \([0-9]\)\.\([0-9]\).*/\1\2/p')
	check "exposure by systemd-analyze security, in tenths" "$exposure" -le 30
	on vps systemctl reload wgsharp@wg0
	quietly_await 10 "a ping after systemctl reload" answers_home
	check "capabilities of the daemon" "$(on vps sed -n 's/^CapBnd:\t0*//p' "/proc/$(served_by)/status")" == 3400
	daemon=$(served_by)
	on vps kill -KILL "$daemon"
	await 15 "killed, it is started again, and a ping comes back" answers_home
	check "another process" "$(served_by)" != "$daemon"
}

# /dev/net/tun is not there: made, if that is allowed, or missed in a sentence. (An old libc has fewer functions.)
without_tun() {
	local answer status=0 well=$'^(0 |1 wgsharp: [^\n]*)$'
	answer=$(on vps unshare --mount sh -c 'mount -t tmpfs tmpfs /dev/net && wgsharp --service=never wg5' 2>&1) || status=$?
	check "without /dev/net/tun, status and words" "$status $answer" =~ "$well"
	[[ $status -ne 0 ]] || on vps ip link delete wg5
}

left_behind() {
	on vps find / -xdev -name '*wgsharp*' -not -path '/root/*' -not -path '/var/log/*' -not -path '/proc/*' -not -path '/sys/*' | sort | tr '\n' ' '
}

package_life() { # image
	local daemon
	server "$1"
	check "it is" "$(on vps sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release), $(on vps getconf GNU_LIBC_VERSION), $(on vps systemctl --version | head -n 1 | cut -d ' ' -f 1-2)" =~ Debian
	old_glibc dpkg -i /root/wgsharp_0.0.1_amd64.deb
	install_version 0.0.1
	check "nothing was started" "$(served_by || true)" == ''
	on vps systemctl enable --now wg-quick@wg0 2>/dev/null || fail "wg-quick@wg0: $(on vps journalctl -b -u wg-quick@wg0)"
	await 10 "installed, wg-quick@wg0 enabled: a ping comes back" answers_home
	check "the program behind it" "$(program_of "$(served_by)")" == /usr/bin/wgsharp
	check "wgsharp has libsodium from" "$(on vps grep -o '/[^ ]*libsodium[^ ]*' "/proc/$(served_by)/maps" | sort -u)" =~ ^/usr/lib/x86_64
	restart vps
	await 10 "rebooted: the tunnel is back" answers_home
	changes_version 0.0.1 0.0.2
	changes_version 0.0.2 0.0.1
	without_wg_quick
	without_tun
	apt remove wgsharp
	check "removed: daemons, interfaces" "$(served_by || true) $(on vps wg show interfaces)" == ' '
	check "what is left is settings, and that it was enabled" "$(left_behind)" \
		== '/etc/systemd/system/multi-user.target.wants/wgsharp@wg0.service /etc/wgsharp /etc/wgsharp/wgsharp.conf /var/lib/dpkg/info/wgsharp.list /var/lib/dpkg/info/wgsharp.postrm '
	apt purge wgsharp
	check "purged: what is left" "$(left_behind)" == ''
	check "units that systemd cannot find" "$(on vps systemctl --failed --plain --no-legend)" == ''
}

# The package on Debian 11: installed, enabled, rebooted; upgraded and downgraded with pings running, none lost; its own unit; removed, purged.
# machines: debian11
# limit: 120
scenario_package_on_debian_11() { package_life debian11; }

# The same on Debian 12.
# machines: debian
# limit: 120
scenario_package_on_debian_12() { package_life debian; }

# The same on Debian 13.
# machines: debian13
# limit: 120
scenario_package_on_debian_13() { package_life debian13; }

# A file that is replaced while a daemon runs from it is never opened again, not even to tell of a failure with its stack.
scenario_executable_replaced() {
	local daemon tracer
	host a wgsharp
	mkdir "$lab/bin"
	cp "$WGSHARP" "$lab/bin/wgsharp"
	cp "${WGSHARP%/*}/libsodium.so.23" "$lab/bin/"
	python3 "$library/moved.py" "$WGSHARP" "$lab/bin/next"
	chmod 755 "$lab/bin/next"
	launch a "$lab/bin/wgsharp" -f wg0 2>"$lab/log" &
	daemon=$!
	quietly_await 20 "it tells what it found" grep -q 'threads' "$lab/log"
	mv -f "$lab/bin/next" "$lab/bin/wgsharp"
	strace -f -p "$daemon" -o "$lab/opened" -e trace=openat,poll -e inject=poll:error=ENOMEM 2>"$lab/strace" &
	tracer=$!
	quietly_await 5 "strace is there" grep -qs attached "$lab/strace"
	on a timeout 2 wg show wg0 >/dev/null 2>&1 || true
	wait "$daemon" || true
	wait "$tracer" || true
	check "poll was refused" "$(occurrences INJECTED "$lab/opened")" -gt 0
	check "the daemon tells where it failed" "$(occurrences 'at WgSharp.UapiServer.Run' "$lab/log")" == 1
	check "times that it opened the file that has its name now" "$(occurrences -F "$lab/bin/wgsharp" "$lab/opened")" == 0
	await 5 "the next one runs" on a "$lab/bin/wgsharp" wg1
}

# The tarball on Debian 12, on a server without libsodium: installed, enabled, rebooted, installed once more with pings running, removed.
# machines: debian
# limit: 120
scenario_tarball() {
	local daemon answer status=0
	server debian
	on vps sh -c 'rm -f /usr/lib/x86_64-linux-gnu/libsodium*'
	SOURCE_DATE_EPOCH=1767225600 HASTE=1 "$packaging/pack" "$WGSHARP" "${WGSHARP%/*}/libsodium.so.23" 0.0.1 "$lab" tarball
	feed vps tar -C /root -xz <"$lab/wgsharp-0.0.1-linux-x64.tar.gz"
	on vps rm /root/wgsharp_0.0.1_amd64.deb /root/wgsharp_0.0.2_amd64.deb
	old_glibc /root/wgsharp-0.0.1-linux-x64/install
	check "before it is installed" "$(left_behind)" == ''
	note "$(on vps /root/wgsharp-0.0.1-linux-x64/install)"
	on vps systemctl enable --now wg-quick@wg0 2>/dev/null || fail "wg-quick@wg0: $(on vps journalctl -b -u wg-quick@wg0)"
	await 10 "a ping comes back" answers_home
	restart vps
	await 10 "rebooted: the tunnel is back" answers_home
	daemon=$(served_by)
	check "libsodium from" "$(on vps grep -o '/[^ ]*libsodium[^ ]*' "/proc/$daemon/maps" | sort -u)" == /usr/local/lib/wgsharp/libsodium.so.23
	on vps /root/wgsharp-0.0.1-linux-x64/install >/dev/null
	check "installed again, the daemon is the same process with the old program" "$(served_by) $(program_of "$daemon")" == "$daemon /usr/local/lib/wgsharp/wgsharp (deleted)"
	new_session
	check "wgsharp@wg0 is there, too" "$(on vps systemd-analyze verify --man=no wgsharp@wg0.service 2>&1 | grep -F wgsharp || true)" == ''
	answer=$(on vps /root/wgsharp-0.0.1-linux-x64/install --purge 2>&1) || status=$?
	check "while tunnels are up it is not removed" "$status $answer" =~ '^1 wgsharp: tunnels are up'
	on vps systemctl disable --now wg-quick@wg0 2>/dev/null
	on vps /root/wgsharp-0.0.1-linux-x64/install --purge
	check "removed: what is left" "$(left_behind)" == ''
}

# What an installer says where getconf tells of another glibc: there is no machine as old as that here.
old_glibc() { # command...
	local version answer status wanted
	on vps mkdir -p /root/old
	for version in 'glibc 2.26' 'glibc 2.9' ''; do
		feed vps tee /root/old/getconf >/dev/null <<<$'#!/bin/sh\n'"echo '$version'"
		on vps chmod 755 /root/old/getconf
		status=0
		answer=$(on vps env PATH=/root/old:/usr/sbin:/usr/bin:/sbin:/bin "$@" 2>&1) || status=$?
		wanted="this system's ${version/glibc/glibc is}, and wgsharp needs 2.27 or later"
		[[ -n $version ]] || wanted='this system has no glibc'
		check "with '$version' $1 fails and says" "$status $(grep '^wgsharp: ' <<<"$answer")" =~ ^[12]' wgsharp: '"$wanted"
	done
	on vps rm -r /root/old
}
