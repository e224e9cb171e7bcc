#!/bin/bash
# Systems that people have published, with their configurations as they stand (interop/systems), on every WireGuard end the
# implementation under test; then again with the kernel on one of them.

systems=$library/../systems

# A published wg-quick file with keys and the gateway's address filled in.
filled() { # file, own name, peer's name, address of the gateway
	sed -E "s|^PrivateKey = \.+\$|PrivateKey = ${key[$2]}|; s|^PublicKey = \.+\$|PublicKey = ${pub[$3]}|; s|<[a-z ]*public ip>|${4:-}|" "$systems/$1"
}

firewall() { # host file
	local rule
	while read -r rule; do
		# shellcheck disable=SC2086  # the words are arguments
		on "$1" iptables $rule
	done <"$systems/$2"
}

# A web server that says its name, with one larger file; it logs who asked.
web_server() { # host address port
	on "$1" mkdir -p "$lab/$1/www"
	on "$1" bash -c "echo 'served by $1' >$lab/$1/www/index.html; head -c 3000000 /dev/urandom >$lab/$1/www/large"
	on "$1" bash -c "busybox httpd -v -f -p $2:$3 -h $lab/$1/www >$lab/$1/log 2>&1 </dev/null 8>&- & exit 0"
	quietly_await 5 "the web server listens" listens "$1" tcp "$3"
}

get() { on "$1" timeout 10 busybox wget -q -O - "$2"; }

# The internet: host net, to which everybody with a public address is connected.
internet() {
	host net none
	on net sysctl -q net.ipv4.ip_forward=1
}

# Port forwarding into the VPN: both ends with policy DROP, DNAT and SNAT on the gateway, a web server behind it that is
# reached from the internet. With the kernel as a peer, the home server runs it.
# peers: wgsharp kernel
scenario_port_forwarding_into_the_vpn() {
	internet
	host gateway wgsharp
	host nat none
	host client none
	host home "$1"
	link net:togateway 93.184.216.1/24 gateway:eth0 93.184.216.34/24
	link net:tonat 54.147.66.1/24 nat:wan 54.147.66.132/24
	link net:toclient 203.0.113.1/24 client:eth0 203.0.113.9/24
	link nat:lan 192.168.178.1/24 home:enp3s0 192.168.178.20/24
	on gateway ip route add default via 93.184.216.1
	on nat ip route add default via 54.147.66.1
	on client ip route add default via 203.0.113.1
	on home ip route add default via 192.168.178.1
	on nat sysctl -q net.ipv4.ip_forward=1
	on gateway sysctl -q net.ipv4.ip_forward=1
	on nat iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
	new_key gateway
	new_key home
	filled port-forwarding/gateway.conf gateway home | up gateway wg0
	firewall gateway port-forwarding/gateway-before.firewall
	firewall home port-forwarding/home.firewall
	filled port-forwarding/home.conf home gateway | up home wg0
	web_server home 10.172.16.2 8000
	await 10 "the home server has called the gateway" on gateway ping -n -q -c 1 -W 1 10.172.16.2
	check "the gateway's endpoint of the home server" "$(endpoint gateway wg0 "${pub[home]}" | cut -d : -f 1)" == 54.147.66.132
	check "from the gateway" "$(get gateway http://10.172.16.2:8000/)" == "served by home"
	refuses on client timeout 1 busybox wget -q -O - http://93.184.216.34:8000/
	note "from the internet, before the rules are added: no answer"
	firewall gateway port-forwarding/gateway-added.firewall
	check "from the internet, after" "$(get client http://93.184.216.34:8000/)" == "served by home"
	check "bytes of a larger file" "$(get client http://93.184.216.34:8000/large | wc -c)" == 3000000
	check "the web server saw it come from" "$(on home grep -o '10\.172\.16\.[0-9]*' "$lab/home/log" | sort -u | tr '\n' ' ')" == "10.172.16.1 "
	down home wg0
	down gateway wg0
	await 1 "nothing of wg0 is left on the gateway" gone gateway wg0
}

# Recursive WireGuard: a phone's private tunnel inside the tunnel that gives a house behind CG-NAT a public address. DNAT of
# everything, connection marks, policy routing by Table=100. With the kernel as a peer, the gateway runs it.
# peers: wgsharp kernel
scenario_recursive_wireguard() {
	local end
	internet
	host gateway "$1"
	host cgnat none
	host router wgsharp
	host phone wgsharp
	host client none
	host server none
	host laptop none
	link net:togateway 198.51.100.1/24 gateway:enp0s6 198.51.100.2/24
	link net:tocgnat 192.0.2.1/24 cgnat:wan 192.0.2.2/24
	link net:tophone 203.0.113.1/25 phone:eth0 203.0.113.17/25
	link net:toclient 203.0.113.129/25 client:eth0 203.0.113.200/25
	link cgnat:lan 100.64.0.1/24 router:ether1 100.64.0.2/24
	link router:ether2 192.168.16.1/25 server:eth0 192.168.16.10/25
	link router:ether3 192.168.16.129/25 laptop:eth0 192.168.16.200/25
	on gateway ip route add default via 198.51.100.1
	on cgnat ip route add default via 192.0.2.1
	on phone ip route add default via 203.0.113.1
	on client ip route add default via 203.0.113.129
	on router ip route add default via 100.64.0.1
	on server ip route add default via 192.168.16.1
	on laptop ip route add default via 192.168.16.129
	on cgnat sysctl -q net.ipv4.ip_forward=1
	on router sysctl -q net.ipv4.ip_forward=1
	on cgnat iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
	on router iptables -t nat -A POSTROUTING -o ether1 -j MASQUERADE
	on router iptables -t nat -A PREROUTING -i wg0 -p tcp --dport 25565 -j DNAT --to-destination 192.168.16.200
	for end in gateway wan private phone; do new_key "$end"; done

	filled recursive/gateway.conf gateway wan | up gateway wg0
	filled recursive/router-wan.conf wan gateway 198.51.100.2 | up router wg0
	filled recursive/router-private.conf private phone | up router wg1
	await 10 "the WAN tunnel stands: the router answers on the gateway's address" on client ping -n -q -c 1 -W 1 198.51.100.2
	filled recursive/phone.conf phone private 198.51.100.2 | up phone wg0
	web_server server 192.168.16.10 80
	web_server laptop 192.168.16.200 25565

	pings phone 192.168.16.10 3 -i 0.2
	note "the phone pings the house's server through both tunnels"
	check "the phone's peer is the gateway, says its endpoint" "$(endpoint phone wg0 "${pub[private]}")" == 198.51.100.2:13131
	check "the router's endpoint of the phone" "$(endpoint router wg1 "${pub[phone]}" | cut -d : -f 1)" == 203.0.113.17
	check "the phone opens the server's page" "$(get phone http://192.168.16.10/)" == "served by server"
	check "bytes of a larger file" "$(get phone http://192.168.16.10/large | wc -c)" == 3000000
	check "a stranger opens the laptop's game" "$(get client http://198.51.100.2:25565/)" == "served by laptop"
	check "bytes of a larger file" "$(get client http://198.51.100.2:25565/large | wc -c)" == 3000000
	check "and the laptop saw the stranger's own address" "$(on laptop grep -o '203\.0\.113\.[0-9]*' "$lab/laptop/log" | sort -u | tr '\n' ' ')" == "203.0.113.200 "
	down phone wg0
	down router wg1
	down router wg0
	check "rules left on the router" "$(on router ip rule | wc -l)" == 3
	await 1 "nothing of wg0 is left on the router" gone router wg0
}
