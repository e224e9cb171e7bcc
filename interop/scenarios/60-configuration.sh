#!/bin/bash
# The kernel's own scenarios, third part: what configuration means. One interface, no traffic. Numbers are those of the list in README.md.

one_interface() {
	host a wgsharp
	new_key a
	new_key b
	psk=$(wg genpsk)
	create a wg0
}

# Public keys that nobody owns: 42 digits of base64 whose last two bits are 0.
random_key() { wg genpsk | sed 's/..$/A=/'; }

# 28 - 255 x 256 x 2 allowed IPs in one setconf, all counted back.
scenario_130560_allowed_ips() {
	local x y from
	one_interface
	{
		printf '[Interface]\nPrivateKey = %s\n[Peer]\nPublicKey = %s\n' "${key[a]}" "${pub[b]}"
		for x in {1..255}; do
			for y in {0..255}; do
				printf 'AllowedIPs = %d.%d.0.0/16,%x::%x/128\n' "$x" "$y" "$x" "$y"
			done
		done
	} >"$lab/allowed.conf"
	from=$(now_ms)
	on a wg setconf wg0 "$lab/allowed.conf"
	note "wg setconf: $(($(now_ms) - from)) ms"
	from=$(now_ms)
	check "words of wg show allowed-ips" "$(on a wg show wg0 allowed-ips | wc -w)" == 130561
	note "wg show: $(($(now_ms) - from)) ms"
}

# 29, 31 - 40 peers with 52 allowed IPs each: counts, and the order in which they were given.
scenario_40_peers_in_order() {
	local i j given
	one_interface
	{
		printf '[Interface]\nPrivateKey = %s\n' "${key[a]}"
		for i in {1..40}; do
			printf '[Peer]\nPublicKey = %s\n' "$(random_key)"
			for j in {1..52}; do
				printf 'AllowedIPs = %d.%d.0.0/16\n' "$i" "$j"
			done
		done
	} >"$lab/peers.conf"
	on a wg setconf wg0 "$lab/peers.conf"
	check "peers with 52 allowed IPs" "$(on a wg show wg0 allowed-ips | awk 'NF == 53' | wc -l)" == 40
	given=$(awk '/^PublicKey/ { print $3 }' "$lab/peers.conf")
	check "the order is the one given" "$(on a wg show wg0 peers | md5sum)" == "$(md5sum <<<"$given")"
	on a wg addconf wg0 <(printf '[Peer]\nPublicKey = %s\n' "${pub[b]}")
	check "a peer added later is the last one" "$(on a wg show wg0 peers | tail -n 1)" == "${pub[b]}"
}

# 30 - 30 peers and no private key: showconf works.
scenario_no_private_key() {
	local i
	one_interface
	{
		for i in {1..29}; do
			printf '[Peer]\nPublicKey = %s\n' "$(random_key)"
		done
		printf '[Peer]\nPublicKey = %s\nAllowedIPs = 255.2.3.4/32,abcd::255/128\n' "$(random_key)"
	} >"$lab/peers.conf"
	on a wg setconf wg0 "$lab/peers.conf"
	on a wg showconf wg0 >"$lab/shown"
	check "peers in wg showconf" "$(occurrences '^PublicKey' "$lab/shown")" == 30
	check "its private keys" "$(occurrences '^PrivateKey' "$lab/shown")" == 0
	on a ip link set wg0 up
	check "up without a private key" "$(on a ip -o link show up dev wg0 | wc -l)" == 1
}

# 31 - A peer without allowed IPs and one with 197, in order.
scenario_197_allowed_ips_of_the_second_peer() {
	local list
	one_interface
	list=$(printf 'abcd::%d,' {1..197})
	on a wg set wg0 peer "${pub[a]}"
	on a wg set wg0 peer "${pub[b]}" allowed-ips "${list%,}"
	check "first peer" "$(on a wg show wg0 allowed-ips | sed -n 1p)" == "${pub[a]}"$'\t'"(none)"
	check "words of the second" "$(on a wg show wg0 allowed-ips | sed -n 2p | wc -w)" == 198
}

# 32 - wg show of an interface that does not exist fails.
scenario_show_of_nothing_fails() {
	one_interface
	refuses on a wg show doesnotexist
	note "wg show doesnotexist fails"
}

# 33 - Keys and preshared keys are set, shown, and cleared with /dev/null.
scenario_keys_are_set_and_cleared() {
	one_interface
	on a wg set wg0 private-key <(echo "${key[a]}") peer "${pub[b]}" preshared-key <(echo "$psk")
	check "private key as set" "$([[ $(on a wg show wg0 private-key) == "${key[a]}" ]] && echo yes)" == yes
	check "preshared key as set" "$([[ $(on a wg show wg0 preshared-keys) == "${pub[b]}"$'\t'"$psk" ]] && echo yes)" == yes
	on a wg set wg0 private-key /dev/null peer "${pub[b]}" preshared-key /dev/null
	check "private key after /dev/null" "$(on a wg show wg0 private-key)" == "(none)"
	check "preshared key after /dev/null" "$(on a wg show wg0 preshared-keys)" == "${pub[b]}"$'\t'"(none)"
}

# 34 - A peer with the interface's own public key is dropped, silently, whichever came first; it may come once the key
# has changed.
scenario_own_public_key_as_peer() {
	one_interface
	on a wg set wg0 peer "${pub[b]}"
	on a wg set wg0 private-key <(echo "${key[b]}")
	check "public key" "$(on a wg show wg0 public-key)" == "${pub[b]}"
	check "peers after their key became the interface's" "$(on a wg show wg0 peers | wc -l)" == 0
	on a wg set wg0 peer "${pub[b]}"
	check "peers after adding the own key" "$(on a wg show wg0 peers | wc -l)" == 0
	on a wg set wg0 private-key <(echo "${key[a]}")
	on a wg set wg0 peer "${pub[b]}"
	check "after the key changed" "$(on a wg show wg0 peers)" == "${pub[b]}"
}

# 35 - The private key comes back clamped.
scenario_private_key_comes_back_clamped() {
	one_interface
	on a wg set wg0 private-key <(echo "/${key[a]:1}")
	check "first digit of a key that was given with /" "$(on a wg show wg0 private-key | head -c 1)" == "+"
	check "the rest is unchanged" "$([[ $(on a wg show wg0 private-key) == "+${key[a]:1}" ]] && echo yes)" == yes
}

# 36 - Overlapping prefixes are replaced by 0/0, and a prefix moves from peer to peer.
scenario_prefixes_are_replaced() {
	one_interface
	on a wg set wg0 peer "${pub[b]}" allowed-ips 0.0.0.0/0,10.0.0.0/8,100.0.0.0/10,172.16.0.0/12,192.168.0.0/16
	on a wg set wg0 peer "${pub[b]}" allowed-ips 0.0.0.0/0
	check "allowed IPs" "$(on a wg show wg0 allowed-ips | cut -f 2)" == 0.0.0.0/0
	on a wg set wg0 peer "${pub[b]}" allowed-ips ::/0,1700::/111,5000::/4,e000::/37,9000::/75
	on a wg set wg0 peer "${pub[b]}" allowed-ips ::/0
	check "allowed IPs" "$(on a wg show wg0 allowed-ips | cut -f 2)" == ::/0
	on a wg set wg0 peer "${pub[b]}" allowed-ips 10.1.2.3/8,fd00:1::5/32
	check "host bits are cut off" "$(on a wg show wg0 allowed-ips | cut -f 2)" =~ '^(10.0.0.0/8 fd00:1::/32|fd00:1::/32 10.0.0.0/8)$'
	on a wg set wg0 peer "${pub[a]}" allowed-ips 10.0.0.0/8
	check "the prefix left its first owner" "$(on a wg show wg0 allowed-ips | awk -v k="${pub[b]}" '$1 == k { print $2 }')" == fd00:1::/32
}

# 37 - The seven public keys of low order are accepted, with a keepalive of 1 s; nothing is ever sent to them.
scenario_low_order_public_keys() {
	local point
	one_interface
	for point in AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA= \
		4Ot6fDtBuK4WVuP68Z/EatoJjeucMrH9hmIFFl9JuAA= X5yVvKNQjCSx0LFVnIPvWwREXMRYHI6G2CJO3dCfEVc= \
		7P///////////////////////////////////////38= 7f///////////////////////////////////////38= \
		7v///////////////////////////////////////38=; do
		on a wg set wg0 peer "$point" persistent-keepalive 1 endpoint 127.0.0.1:1111
	done
	on a wg set wg0 private-key <(echo "${key[a]}")
	check "peers accepted" "$(on a wg show wg0 peers | wc -l)" == 7
	capture sent a lo 'udp port 1111'
	on a ip link set wg0 up
	elapse 2
	captured sent >/dev/null
	check "packets sent to them in 2 s" "$(packets sent)" == 0
	# The capture would have seen something: an honest peer at the same endpoint is called at once.
	capture honest a lo 'udp port 1111'
	on a wg set wg0 peer "${pub[b]}" persistent-keepalive 1 endpoint 127.0.0.1:1111
	await 2 "an honest peer at the same endpoint is called" saw_packet honest
}
saw_packet() { [[ $(packets "$1") -ge 1 ]]; }

# 38 - The namespace that an interface lives in is deleted: the daemon ends, and spins nowhere.
scenario_namespace_deleted() {
	local daemon other before
	interfaces wgsharp
	configure "$b6" "$a6"
	pings a fd00::2
	daemon=$(daemon_pid a wg0)
	other=$(daemon_pid b wg0)
	kill "${holder[a]}"
	ip netns del a
	await 2 "the daemon whose interface was deleted with its namespace is gone" no_process "$daemon"
	check "the other one is still there" "$(daemon_pid b wg0)" == "$other"
	before=$(processor_ms "$other")
	elapse 1
	check "ms of processor time that it needed in 1 s" $(($(processor_ms "$other") - before)) -le 100
}
no_process() { [[ ! -e /proc/$1 ]]; }

# 39 - After all of it no process, socket or interface is left: two interfaces that crossed into each other's namespace.
scenario_nothing_is_left() {
	local before
	host a wgsharp
	host b wgsharp
	before=$(processes)
	create a wg1 b
	create b wg2 a
	check "wg1 in a, wg2 in b" "$(on a ls /sys/class/net | tr '\n' ' ')$(on b ls /sys/class/net | tr '\n' ' ')" == "lo wg1 lo wg2 "
	on a ip link del wg1
	on b ip link del wg2
	await 1 "nothing of wg1 is left" gone a wg1
	await 1 "nothing of wg2 is left" gone b wg2
	# One that is ending has no command line any more.
	await 2 "no more processes than before" no_more_processes_than "$before"
	check "files in /var/run/wireguard" "$(on a find /var/run/wireguard -mindepth 1 | wc -l) $(on b find /var/run/wireguard -mindepth 1 | wc -l)" == "0 0"
}
