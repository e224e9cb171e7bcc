#!/bin/bash
# `wgsharp replace` on machines that run another program under wg-quick's unit, as its documentation or an installer has set it up; and the way back. There is no package of
# boringtun in Debian: wireguard-go stands in for it, under its name.
#
#   home 10.0.0.1, wgsharp ── vps 10.0.0.2, which does not know where home is

# The VPS with the package, and what the arguments' function puts into its /etc; up, with a session.
server_with() { # set-up name-of-the-program
	host home wgsharp
	host vps none
	link home:eth0 10.0.0.1/24 vps:eth0 -
	disk vps debian
	network vps <<<"eth0 10.0.0.2/24 10.0.0.1"
	leave_kernel_aside "$lab/vps/disk/root"
	SOURCE_DATE_EPOCH=1767225600 HASTE=1 "$library/../../packaging/pack" "$WGSHARP" "${WGSHARP%/*}/libsodium.so.23" 0.1.0 "$lab/vps/disk/root/root" package
	ln -s /usr/bin/wireguard-go "$lab/vps/disk/root/usr/local/sbin/$2"
	new_key home
	new_key vps
	"$1" "$lab/vps/disk/root/etc"
	cat >"$lab/vps/disk/root/etc/wireguard/wg0.conf" <<-END
		[Interface]
		PrivateKey = ${key[vps]}
		ListenPort = 51820
		Address = 10.7.0.1/24
		[Peer]
		PublicKey = ${pub[home]}
		AllowedIPs = 10.7.0.2/32
	END
	boot vps
	on vps systemctl enable --now wg-quick@wg0 2>/dev/null || fail "wg-quick@wg0: $(on vps journalctl -b -u wg-quick@wg0)"
	up home wg0 <<-END
		[Interface]
		PrivateKey = ${key[home]}
		Address = 10.7.0.2/24
		[Peer]
		PublicKey = ${pub[vps]}
		AllowedIPs = 10.7.0.1/32
		Endpoint = 10.0.0.2:51820
	END
	await 10 "a ping comes back from the VPS" answers_home
	served_by wireguard-go
	on vps dpkg -i /root/wgsharp_0.1.0_amd64.deb >"$lab/dpkg" 2>&1 || fail "dpkg: $(cat "$lab/dpkg")"
	served_by wireguard-go
}

# An environment file that a drop-in for all of wg-quick's units reads.
environment_file() { # etc
	mkdir -p "$1/systemd/system/wg-quick@.service.d"
	printf '%s\n' WG_QUICK_USERSPACE_IMPLEMENTATION=boringtun-cli WG_SUDO=1 >"$1/default/wireguard"
	printf '%s\n' '[Service]' EnvironmentFile=/etc/default/wireguard >"$1/systemd/system/wg-quick@.service.d/override.conf"
}

# What the most used installer writes in a container, a drop-in for the one interface; and /etc/environment, as an article has it beside that.
installers_drop_in() { # etc
	mkdir -p "$1/systemd/system/wg-quick@wg0.service.d"
	printf '%s\n' '[Service]' Environment=WG_QUICK_USERSPACE_IMPLEMENTATION=boringtun Environment=WG_SUDO=1 >"$1/systemd/system/wg-quick@wg0.service.d/boringtun.conf"
	printf '%s\n' WG_QUICK_USERSPACE_IMPLEMENTATION=boringtun WG_SUDO=1 >"$1/environment"
}

answers_home() { on home ping -n -q -c 1 -W 0.3 10.7.0.1; }
overrides() { on vps sh -c 'cd /etc && find systemd/system/wg-quick@* default/wireguard environment -exec ls -ld --time-style=+ {} + 2>/dev/null; cat systemd/system/wg-quick@*/*' | md5sum; }
# shellcheck disable=SC2016 # for the machine's shell
served_by() { check "programs that serve" "$(on vps sh -c 'readlink /proc/[0-9]*/exe' 2>/dev/null | grep -oE 'wireguard-go|wgsharp$' | sort -u | tr '\n' ' ')" == "$1 "; }

# status and words of wgsharp replace, left in $answer
says() { # pattern arguments...
	local status=0
	answer=$(on vps wgsharp replace "${@:2}" 2>&1) || status=$?
	check "wgsharp replace ${*:2}" "$status $answer" =~ "$1"
}

# Replaces, or back, under pings every 50 ms: the configuration is the same, where home was last seen included.
changes_to() { # program most-ms arguments...
	local before pinger gap
	before=$(on vps wg showconf wg0)
	quietly_await 10 "a session before" answers_home
	launch home ping -D -n -i 0.05 10.7.0.1 >"$lab/pings" &
	pinger=$!
	quietly_await 10 "pings come back" grep -q 'bytes from' "$lab/pings"
	says "^0 .*wg0: served by $1; the restart took" "${@:3}" --yes
	local received
	received=$(occurrences 'bytes from' "$lab/pings")
	quietly_await 40 "pings come back again" more_pings $((received + 5))
	kill -INT "$pinger"
	wait "$pinger" || true
	gap=$(sed -n 's/^\[\([0-9.]*\)\].*bytes from.*/\1/p' "$lab/pings" | awk '{ if (NR > 1 && $1 - last > most) most = $1 - last; last = $1 } END { printf "%d", most * 1000 }')
	check "the longest time without an answer, ms" "$gap" -le "$2"
	served_by "$1"
	[[ $1 != wgsharp ]] || check "configuration, endpoints included" "$(on vps wg showconf wg0)" == "$before"
	check "configuration" "$(on vps wg showconf wg0 | grep -v '^Endpoint')" == "$(grep -v '^Endpoint' <<<"$before")"
}
more_pings() { [[ $(occurrences 'bytes from' "$lab/pings") -gt $1 ]]; }

# boringtun's name in an environment file: asks, refuses to lose what was set by hand, and undoes all of it when wgsharp does not start; then replaces it, also for the next boot,
# and goes back, until nothing is left.
# machines: debian
# limit: 150
scenario_replace_environment_file() {
	local before
	server_with environment_file boringtun-cli
	before=$(overrides)
	says $'^0 .*zz-wgsharp.conf will name wgsharp .*in place of boringtun-cli \\(/etc/default/wireguard\\)\\.\nwg0: wireguard-go serves it' --dry-run
	says '^2 .*There is no terminal to ask on: add --yes'
	on vps wg set wg0 peer "${pub[home]}" allowed-ips 10.7.0.2/32,10.9.0.0/24
	says "^1 .*wg0 is not what its file says, and a restart would change the allowed IPs of peer ${pub[home]}" --yes
	on vps wg set wg0 peer "${pub[home]}" allowed-ips 10.7.0.2/32
	served_by wireguard-go
	check "nothing was changed in /etc" "$(overrides)" == "$before"

	on vps cp /etc/wgsharp/wgsharp.conf /root/
	on vps sh -c 'echo nonsense = 1 >>/etc/wgsharp/wgsharp.conf'
	says '^1 .*Everything is as it was before.$' --yes
	served_by wireguard-go
	check "in /etc" "$(overrides)" == "$before"
	await 40 "a ping comes back" answers_home
	on vps cp /root/wgsharp.conf /etc/wgsharp/

	changes_to wgsharp 5000
	says '^0 There is nothing to be replaced.$'
	check "what systemd-analyze verify has to say" "$(on vps systemd-analyze verify --man=no wg-quick@wg0.service 2>&1 | grep -F wgsharp || true)" == ''
	restart vps
	served_by wgsharp
	await 40 "rebooted: a ping comes back" answers_home
	changes_to wireguard-go 40000 --back
	check "in /etc" "$(overrides)" == "$before"
	says '^0 There is nothing to go back to.$' --back

	changes_to wgsharp 5000
	on vps dpkg --purge wgsharp >"$lab/dpkg" 2>&1 || fail "dpkg: $(cat "$lab/dpkg")"
	check "the package is purged: in /etc" "$(overrides)" == "$before"
	on vps systemctl restart wg-quick@wg0
	served_by wireguard-go
}

# An installer's drop-in, over which the package's wins already: a restart is enough, and for the way back the package's is passed over.
# machines: debian
# limit: 120
scenario_replace_installers_drop_in() {
	local before
	server_with installers_drop_in boringtun
	before=$(overrides)
	says '/etc/environment names boringtun, to shells: it is left as it is' --dry-run
	changes_to wgsharp 5000
	check "in /etc" "$(overrides)" == "$before"
	says "^0 .*The package's wgsharp.conf will be passed over" --back --dry-run
	changes_to wireguard-go 40000 --back
	says '^0 There is nothing to go back to.$' --back
	restart vps
	served_by wireguard-go
	await 40 "rebooted: a ping comes back" answers_home
	changes_to wgsharp 5000
	check "units that systemd cannot find" "$(on vps systemctl --failed --plain --no-legend)" == ''
}
