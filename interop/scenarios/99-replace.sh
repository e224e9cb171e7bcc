#!/bin/bash
# `wgsharp replace` on machines that run another program under wg-quick's unit, as its documentation or an installer has set it up; and the way back.
# boringtun is not in Debian: a script of its name stands for it, which starts wireguard-go in its place.
#
#   home 10.0.0.1, wgsharp ── vps 10.0.0.2, whose files do not know where home is

# The VPS with the package, and what the arguments' function puts into its /etc; up, with a session of wireguard-go's.
server_with() { # set-up [name-of-the-program]
	local root
	host home wgsharp
	host vps none
	link home:eth0 10.0.0.1/24 vps:eth0 -
	disk vps debian
	root=$lab/vps/disk/root
	network vps <<<"eth0 10.0.0.2/24 10.0.0.1"
	leave_kernel_aside "$root"
	SOURCE_DATE_EPOCH=1767225600 HASTE=1 "$library/../../packaging/pack" "$WGSHARP" "${WGSHARP%/*}/libsodium.so.23" 0.1.0 "$root/root" package
	if [[ -n ${2-} ]]; then
		# shellcheck disable=SC2016  # for the script
		printf '#!/bin/sh\nexec /usr/bin/wireguard-go "$@"\n' >"$root/usr/local/sbin/$2"
		chmod 755 "$root/usr/local/sbin/$2"
	fi
	new_key home
	new_key vps
	psk=$(wg genpsk)
	mkdir -p "$root/etc/wireguard"
	"$1" "$root/etc"
	boot vps
	on vps systemctl enable --now wg-quick@wg0 2>/dev/null || fail "wg-quick@wg0: $(on vps journalctl -b -u wg-quick@wg0)"
	up home wg0 <<-END
		[Interface]
		PrivateKey = ${key[home]}
		ListenPort = 51900
		Address = 10.7.0.2/24, fd07::2/64
		[Peer]
		PublicKey = ${pub[vps]}
		PresharedKey = $psk
		AllowedIPs = 10.7.0.1/32, fd07::1/128
		Endpoint = 10.0.0.2:51820
	END
	await 10 "wireguard-go runs under wg-quick@wg0: a ping comes back" answers_home
	served_by wireguard-go
	on vps dpkg -i /root/wgsharp_0.1.0_amd64.deb >"$lab/dpkg" 2>&1 || fail "dpkg: $(cat "$lab/dpkg")"
	served_by wireguard-go
}

# What boringtun's documentation says to set, in an environment file that an override of all wg-quick's units reads; rules and a diary by PostUp.
environment_file() { # etc
	mkdir -p "$1/systemd/system/wg-quick@.service.d"
	printf '%s\n' WG_QUICK_USERSPACE_IMPLEMENTATION=boringtun-cli WG_SUDO=1 >"$1/default/wireguard"
	printf '%s\n' '[Service]' EnvironmentFile=/etc/default/wireguard >"$1/systemd/system/wg-quick@.service.d/override.conf"
	cat >"$1/wireguard/wg0.conf" <<-END
		[Interface]
		PrivateKey = ${key[vps]}
		ListenPort = 51820
		Address = 10.7.0.1/24, fd07::1/64
		PostUp = iptables -A FORWARD -i %i -j ACCEPT
		PostUp = ip rule add to 10.99.0.0/16 lookup 99
		PostUp = echo up >>/root/diary
		PostDown = iptables -D FORWARD -i %i -j ACCEPT
		PostDown = ip rule del to 10.99.0.0/16 lookup 99
		PostDown = echo down >>/root/diary
		[Peer]
		PublicKey = ${pub[home]}
		PresharedKey = $psk
		AllowedIPs = 10.7.0.2/32, fd07::2/128, 10.20.0.0/16
	END
}

# The files that angristan's wireguard-install writes, and no word of a program: wg-quick takes wireguard-go by itself.
installers_files() { # etc
	cat >"$1/wireguard/params" <<-END
		SERVER_PUB_IP=10.0.0.2
		SERVER_PUB_NIC=eth0
		SERVER_WG_NIC=wg0
		SERVER_WG_IPV4=10.7.0.1
		SERVER_WG_IPV6=fd07::1
		SERVER_PORT=51820
		SERVER_PRIV_KEY=${key[vps]}
		SERVER_PUB_KEY=${pub[vps]}
		CLIENT_DNS_1=1.1.1.1
		CLIENT_DNS_2=1.0.0.1
		ALLOWED_IPS=0.0.0.0/0,::/0
	END
	cat >"$1/wireguard/wg0.conf" <<-END
		[Interface]
		Address = 10.7.0.1/24,fd07::1/64
		ListenPort = 51820
		PrivateKey = ${key[vps]}
		PostUp = iptables -I INPUT -p udp --dport 51820 -j ACCEPT
		PostUp = iptables -I FORWARD -i eth0 -o wg0 -j ACCEPT
		PostUp = iptables -I FORWARD -i wg0 -j ACCEPT
		PostUp = iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
		PostUp = ip6tables -I FORWARD -i wg0 -j ACCEPT
		PostUp = ip6tables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
		PostDown = iptables -D INPUT -p udp --dport 51820 -j ACCEPT
		PostDown = iptables -D FORWARD -i eth0 -o wg0 -j ACCEPT
		PostDown = iptables -D FORWARD -i wg0 -j ACCEPT
		PostDown = iptables -t nat -D POSTROUTING -o eth0 -j MASQUERADE
		PostDown = ip6tables -D FORWARD -i wg0 -j ACCEPT
		PostDown = ip6tables -t nat -D POSTROUTING -o eth0 -j MASQUERADE

		### Client home
		[Peer]
		PublicKey = ${pub[home]}
		PresharedKey = $psk
		AllowedIPs = 10.7.0.2/32,fd07::2/128
	END
	chmod 600 "$1"/wireguard/*
	printf '%s\n' 'net.ipv4.ip_forward = 1' 'net.ipv6.conf.all.forwarding = 1' >"$1/sysctl.d/wg.conf"
}

# What another installer writes in a container, a drop-in for the one interface, which takes the default route; /etc/environment, as an article has it beside that; and a second
# interface of the same program's.
installers_drop_in() { # etc
	local name
	for name in wg0 wg1; do
		mkdir -p "$1/systemd/system/wg-quick@$name.service.d"
		printf '%s\n' '[Service]' Environment=WG_QUICK_USERSPACE_IMPLEMENTATION=boringtun Environment=WG_SUDO=1 >"$1/systemd/system/wg-quick@$name.service.d/boringtun.conf"
	done
	printf '%s\n' WG_QUICK_USERSPACE_IMPLEMENTATION=boringtun WG_SUDO=1 >"$1/environment"
	printf '%s\n' '[Interface]' "PrivateKey = ${key[vps]}" 'ListenPort = 51820' 'Address = 10.7.0.1/24' '[Peer]' "PublicKey = ${pub[home]}" "PresharedKey = $psk" 'AllowedIPs = 0.0.0.0/0' >"$1/wireguard/wg0.conf"
	mkdir -p "$1/systemd/system/multi-user.target.wants"
	ln -s /lib/systemd/system/wg-quick@.service "$1/systemd/system/multi-user.target.wants/wg-quick@wg1.service"
	# No port is given.
	printf '%s\n' '[Interface]' "PrivateKey = $(wg genkey)" 'Address = 10.17.0.1/24' '[Peer]' "PublicKey = ${pub[home]}" 'AllowedIPs = 10.17.0.2/32' >"$1/wireguard/wg1.conf"
}

# A daemon that takes its time to end: from before its link goes until a second later it is stopped. (Table = off: wg-quick asks it nothing then.)
slow_ending() { # etc
	installers_drop_in "$1"
	rm "$1/systemd/system/multi-user.target.wants/wg-quick@wg1.service"
	# shellcheck disable=SC2016  # for wg-quick's shell
	sed -i '/^Address/a Table = off\nPreDown = pids=$(pgrep -fx ".*wgsharp -f %i") || exit 0; kill -STOP $pids; systemd-run --quiet sh -c "sleep 1; kill -CONT $pids"' "$1/wireguard/wg0.conf"
}

answers_home() { on home ping -n -q -c 1 -W 0.3 10.7.0.1; }

# After a reboot, home comes with a new session and to the port of the file.
comes_anew() {
	on home wg set wg0 peer "${pub[vps]}" remove
	on home wg set wg0 peer "${pub[vps]}" preshared-key <(echo "$psk") endpoint 10.0.0.2:51820 allowed-ips 10.7.0.1/32,fd07::1/128
	await 10 "$1" answers_home
}

# All that a person can see of an interface, but when and how much; in an order of its own.
picture() { # interface
	on vps wg show "$1" dump | perl -F'\t' -lane 'print @F == 4 ? "@F" : join " ", @F[0 .. 2], join(",", sort split /,/, $F[3]), $F[7]' | sort
	on vps ip -o address show dev "$1" | awk '!/inet6.*scope link/' | cut -d ' ' -f 2-
	on vps ip -4 route show table all dev "$1"
	on vps ip -6 route show table all dev "$1" | awk '!/proto kernel/'
	on vps ip -4 rule show
	on vps cat "/sys/class/net/$1/mtu"
	on vps iptables -S
	on vps iptables -t nat -S
	on vps ip6tables -S
	on vps ip6tables -t nat -S
}
same_picture() { # what, interface, picture before
	check "$1: keys, peers, endpoints, addresses, routes, MTU, rules are as before, lines that differ" "$(diff <(echo "$3") <(picture "$2") | tr '\n\t' '  ')" == ''
}

# Every file there, its owner, mode, date and contents.
files() {
	# shellcheck disable=SC2016  # for find
	on vps sh -c 'cd /etc && find systemd wireguard default environment sysctl.d \( -type d -printf "%p %m %u\n" \) -o \( -printf "%p %m %u %T@ %l\n" -type f -exec md5sum {} \; \) 2>/dev/null | sort' | md5sum
}

# shellcheck disable=SC2016 # for the machine's shell
served_by() { check "programs that serve" "$(on vps sh -c 'readlink /proc/[0-9]*/exe || true' 2>/dev/null | grep -oE 'wireguard-go|wgsharp$' | sort -u | tr '\n' ' ')" == "$1 "; }
process_of() { on vps pgrep -f "(wireguard-go|wgsharp) (-f )?$1\$"; }

# status and words of wgsharp replace
says() { # pattern arguments...
	local status=0 answer
	answer=$(on vps wgsharp replace "${@:2}" 2>&1 </dev/null) || status=$?
	[[ "$status $answer" =~ $1 ]] || note "the journal: $(on vps journalctl -q -b -o short-precise -u 'wg*' | tail -n 60)"
	check "wgsharp replace ${*:2}" "$status $answer" =~ "$1"
}

# Replaces, or back, under pings every 20 ms; $pattern is what it has to say.
gap=0
under_pings() { # pattern arguments...
	local pinger received
	quietly_await 10 "a session before" answers_home
	launch home ping -D -n -i 0.02 10.7.0.1 >"$lab/pings" &
	pinger=$!
	quietly_await 10 "pings come back" grep -q 'bytes from' "$lab/pings"
	says "$@"
	received=$(occurrences 'bytes from' "$lab/pings")
	quietly_await 40 "pings come back again" more_pings $((received + 5))
	kill -INT "$pinger"
	wait "$pinger" || true
	gap=$(sed -n 's/^\[\([0-9.]*\)\].*bytes from.*/\1/p' "$lab/pings" | awk '{ if (NR > 1 && $1 - last > most) most = $1 - last; last = $1 } END { printf "%d", most * 1000 }')
	check "the longest time without an answer, ms" "$gap" -le 5000
}
more_pings() { [[ $(occurrences 'bytes from' "$lab/pings") -gt $1 ]]; }

changes_to() { # program arguments...
	local before
	before=$(picture wg0)
	under_pings "^0 .*wg0: served by $1, [0-9]+ ms after the restart began" "${@:2}" --yes
	served_by "$1"
	same_picture "now it is $1" wg0 "$before"
}

# Whatever a restart would lose: home roams, and peers, keys, port, mark, MTU, an address and routes are changed by hand.
changes_by_hand() {
	new_key other
	on home wg set wg0 listen-port 51999
	quietly_await 10 "the machine has learnt where its peer is now" found_at 10.0.0.1:51999
	wg genpsk | feed vps tee /root/secret >/dev/null
	on vps wg set wg0 fwmark 9 listen-port 51821
	quietly_await 10 "a ping from the new port" on vps ping -n -q -c 1 -W 0.3 10.7.0.2
	on vps wg set wg0 peer "${pub[other]}" preshared-key /root/secret allowed-ips 10.8.0.0/24,fd08::/64,10.20.5.0/24 persistent-keepalive 17 endpoint 10.0.0.9:9
	on vps wg set wg0 peer "${pub[home]}" allowed-ips 10.7.0.2/32,fd07::2/128,10.21.0.0/16
	on vps ip link set wg0 mtu 1400
	on vps ip address add 10.9.0.1/32 dev wg0
	on vps ip address add fd09::1/128 dev wg0
	on vps ip route add 10.8.0.0/24 dev wg0
	on vps ip route add 10.30.0.0/16 via 10.7.0.2 dev wg0 table 77
	on vps ip route add fd08::/64 dev wg0
}
found_at() { answers_home; [[ $(on vps wg show wg0 endpoints) == *"$1" ]]; }

# Errors in one sentence, and nothing done.
refuses_in_a_sentence() {
	local answer status=0
	answer=$(on vps setpriv --reuid=65534 --regid=65534 --clear-groups wgsharp replace --yes 2>&1) || status=$?
	check "not root" "$status $answer" == '1 wgsharp: only root may do that.'
	says '^1 wgsharp: there is no interface wg9\.$' wg9 --yes
	says '^1 wgsharp: lo is no WireGuard interface that anybody serves\.$' lo --yes
	says '^2 wgsharp: There is no option --nonsense' --nonsense
	says '^2 .*There is no terminal to ask on: add --yes'
	status=0
	answer=$(on vps env SHELL=/bin/sh script -qec 'wgsharp replace' /dev/null <<<n) || status=$?
	check "on a terminal, where the answer is no" "$status $answer" =~ '^1 .*Go on\? \[y/N\]'
	says '^0 There is nothing to go back to\.$' --back --yes
	on vps mv /etc/wireguard/wg0.conf /root/
	says $'\nwgsharp: wg0 would not come up again: there is no /etc/wireguard/wg0.conf\\.$' --yes
	on vps mv /root/wg0.conf /etc/wireguard/
	on vps wireguard-go wg5 2>/dev/null
	says '^1 wgsharp: wg5 is served by wireguard-go, and wg-quick@wg5.service did not start it: .*=wgsharp wg-quick up wg5\.$' wg5 --yes
	says 'wg5 is served by wireguard-go, and ' --dry-run
	on vps ip link delete wg5
	served_by wireguard-go
}

# boringtun's name in an environment file: refusals in a sentence; all is undone when wgsharp does not start; then wgsharp takes over, with what was set by hand
# and learnt, also for the next boot; back, also for the next boot, and no file is another one; when the package goes, nothing is left.
# machines: debian
# limit: 200
scenario_replace_environment_file() {
	local etc before diary
	server_with environment_file boringtun-cli
	etc=$(files)
	says $'^0 .*zz-wgsharp.conf will name wgsharp .*in place of boringtun-cli \\(/etc/default/wireguard\\)\\.\nwg0: wireguard-go serves it; wg-quick@wg0.service will be restarted' --dry-run
	changes_by_hand
	before=$(picture wg0)
	refuses_in_a_sentence
	check "nothing of /etc was changed" "$(files)" == "$etc"
	same_picture "nor of the tunnel" wg0 "$before"

	on vps cp -p /etc/wgsharp/wgsharp.conf /root/
	on vps sh -c 'echo nonsense = 1 >>/etc/wgsharp/wgsharp.conf'
	under_pings '^1 .*nonsense.* Everything is as it was before\.$' --yes
	on vps cp -p /root/wgsharp.conf /etc/wgsharp/
	served_by wireguard-go
	same_picture "it does not start, and wireguard-go is back" wg0 "$before"
	check "in /etc" "$(files)" == "$etc"

	diary=$(on vps wc -l /root/diary)
	changes_to wgsharp
	check "commands of the file since then" "$(on vps tail -n +$((${diary%% *} + 1)) /root/diary | tr '\n' ' ')" == 'down up '
	says $'^0 wg0: wgsharp serves it already\\.\nThere is nothing to be replaced\\.$'
	check "what systemd-analyze verify has to say" "$(on vps systemd-analyze verify --man=no wg-quick@wg0.service 2>&1 | grep -F wgsharp || true)" == ''
	restart vps
	served_by wgsharp
	comes_anew "rebooted, it is still wgsharp: a ping comes back"
	check "what was set by hand is gone, as ever" "$(on vps wg show wg0 peers | wc -l) $(on vps wg show wg0 listen-port) $(on vps wg show wg0 fwmark)" == '1 51820 off'
	check "rules of PostUp" "$(on vps iptables -S FORWARD | grep -c wg0)" == 1

	changes_by_hand
	changes_to wireguard-go --back
	check "in /etc" "$(files)" == "$etc"
	says '^0 There is nothing to go back to\.$' --back
	restart vps
	served_by wireguard-go
	comes_anew "rebooted, it is still wireguard-go: a ping comes back"

	changes_to wgsharp
	on vps dpkg --purge wgsharp >"$lab/dpkg" 2>&1 || fail "dpkg: $(cat "$lab/dpkg")"
	check "the package is purged: in /etc" "$(files)" == "$etc"
	on vps systemctl restart wg-quick@wg0
	served_by wireguard-go
}

# The files of a popular installer, which name no program: the package's drop-in does, so a restart is enough, and on the way back it is passed over.
# machines: debian
# limit: 150
scenario_replace_installers_files() {
	local etc
	server_with installers_files
	etc=$(files)
	changes_to wgsharp
	check "rules of PostUp" "$(on vps iptables -S | grep -c -e wg0 -e 51820) $(on vps iptables -t nat -S POSTROUTING | grep -c MASQUERADE)" == '3 1'
	check "in /etc" "$(files)" == "$etc"
	restart vps
	served_by wgsharp
	comes_anew "rebooted: a ping comes back"
	says "^0 .*The package's wgsharp.conf will be passed over .*wg-quick's own choice" --back --dry-run
	changes_to wireguard-go --back
	restart vps
	served_by wireguard-go
	comes_anew "rebooted: a ping comes back"
	changes_to wgsharp
	check "units that systemd cannot find" "$(on vps systemctl --failed --plain --no-legend)" == ''
	on vps dpkg --purge wgsharp >"$lab/dpkg" 2>&1 || fail "dpkg: $(cat "$lab/dpkg")"
	check "the package is purged: in /etc" "$(files)" == "$etc"
}

# Another installer's drop-ins, for two interfaces, over which the package's wins: one interface now, the other later; the port that nobody has given stays, too.
# machines: debian
# limit: 150
scenario_replace_one_after_the_other() {
	local etc before first second
	server_with installers_drop_in boringtun
	etc=$(files)
	says '/etc/environment names boringtun, to shells: it is left as it is' --dry-run
	first=$(process_of wg0) second=$(process_of wg1)
	before=$(picture wg1)
	says $'^0 wg0: wireguard-go serves it, until wg-quick@wg0.service is started the next time\\.\nwg1: wireguard-go serves it; .*\nwg1: served by wgsharp' wg1 --yes
	check "wg0 has the same process as before, wg1 has another" "$(process_of wg0) $([[ $(process_of wg1) == "$second" ]] || echo another)" == "$first another"
	same_picture "wg1" wg1 "$before"
	under_pings '^0 .*wg1: wgsharp serves it already.*wg0: served by wgsharp' --yes
	served_by wgsharp
	check "in /etc" "$(files)" == "$etc"
	check "wg-quick's rules for the default route, and its mark" "$(on vps ip -4 rule show | grep -c 'lookup 51820\|suppress_prefixlength 0') $(on vps wg show wg0 fwmark)" == '2 0xca6c'
	changes_to wireguard-go --back
	same_picture "wg1" wg1 "$before"
	restart vps
	served_by wireguard-go
	comes_anew "rebooted: a ping comes back"
}

# wgsharp ends slowly: on the way back wireguard-go, which gives up when it finds another one's control socket, is not started before.
# machines: debian
# limit: 90
scenario_replace_back_from_a_slow_one() {
	server_with slow_ending boringtun
	changes_to wgsharp
	changes_to wireguard-go --back
}
