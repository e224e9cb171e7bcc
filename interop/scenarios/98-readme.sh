#!/bin/bash
# What the README at the top tells its reader to do, taken from it word by word, on machines that boot.

readme=$library/../../README.md

# The commands or the file of a numbered step of the tutorial.
step() { # number
	# shellcheck disable=SC2016  # the marks around code
	sed -n "/^\*\*$1\. /,/^\`\`\`\$/p" "$readme" | sed -n '/^```[a-z]/,/^```$/p' | grep -v '^```'
}

# A machine as it is rented, or stands at home: with the package in /root and an administrator who is root already.
reader() { # host
	disk "$1" debian
	leave_kernel_aside "$lab/$1/disk/root"
	SOURCE_DATE_EPOCH=1767225600 HASTE=1 "$library/../../packaging/pack" "$WGSHARP" "${WGSHARP%/*}/libsodium.so.23" 0.1.0 "$lab/$1/disk/root/root" package
	printf '#!/bin/sh\nexec "$@"\n' >"$lab/$1/disk/root/usr/local/bin/sudo"
	chmod 755 "$lab/$1/disk/root/usr/local/bin/sudo"
}

# The five-minute tutorial: keys, the two files and the commands are the README's; home is behind a NAT, and a visitor sees its web server at the address of the VPS.
# machines: debian
# limit: 150
scenario_readme_tutorial() {
	local name
	local -A file=([vps]=2 [home]=3) private=() public=()
	host net none
	host vps none
	host nat none
	host home none
	host visitor none
	on net sysctl -q net.ipv4.ip_forward=1
	on nat sysctl -q net.ipv4.ip_forward=1
	link net:tovps 203.0.113.1/24 vps:eth0 -
	link net:tonat 198.51.100.1/24 nat:wan 198.51.100.2/24
	link net:tovisitor 192.0.2.1/24 visitor:eth0 192.0.2.70/24
	link nat:lan 192.168.1.1/24 home:eth0 -
	on nat ip route add default via 198.51.100.1
	on visitor ip route add default via 192.0.2.1
	on nat iptables -A INPUT -i wan -j DROP
	on nat iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
	reader vps
	reader home
	network vps <<<'eth0 203.0.113.2/24 203.0.113.1'
	network home <<<'eth0 192.168.1.2/24 192.168.1.1'
	for name in vps home; do
		boot "$name"
		on "$name" sh -ec "cd /root; $(step 1)" 2>&1 | cat >"$lab/$name/keys" || fail "step 1: $(cat "$lab/$name/keys")"
		private[$name]=$(tail -n 2 "$lab/$name/keys" | head -n 1) public[$name]=$(tail -n 1 "$lab/$name/keys")
		check "step 1 ($name): the keys printed belong together" "$(wg pubkey <<<"${private[$name]}")" == "${public[$name]}"
	done
	for name in vps home; do
		step "${file[$name]}" | sed -E "s#HOME'S-PUBLIC-KEY#${public[home]}#; s#THE-VPS'S-PUBLIC-KEY#${public[vps]}#; s#(HOME|THE-VPS)'S-PRIVATE-KEY#${private[$name]}#" |
			feed "$name" sh -c 'cat >/etc/wireguard/wg0.conf'
		check "the file with the key is root's only ($name)" "$(on "$name" stat -c %a /etc/wireguard/wg0.conf)" == 600
		on "$name" sh -ec "$(step 4)" 2>"$lab/$name/step4" || fail "step 4 ($name): $(cat "$lab/$name/step4")"
	done
	serve_page
	await 10 "step 5: a ping from home to the VPS" on home ping -n -q -c 1 -W 1 10.8.0.1
	await 10 "the visitor sees the page at the address of the VPS" sees_page
	restart home
	serve_page
	await 15 "home has rebooted, and the visitor sees the page" sees_page
	on vps systemctl stop wg-quick@wg0
	check "stopped: rules that are left on the VPS" "$(on vps iptables-save | occurrences '^-A')" == 0
}

serve_page() { # one line is read of what the visitor asks, and every visitor gets the page
	on home systemd-run --quiet --unit=web ncat -l -k 80 --sh-exec 'read request; printf "HTTP/1.0 200 OK\r\n\r\nWelcome home.\n"'
}

sees_page() { [[ $(on visitor curl -s -m 2 http://203.0.113.2/) == "Welcome home." ]]; }
