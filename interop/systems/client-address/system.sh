#!/bin/bash
# The real client's address: a gateway in an OpenVZ container, and a server at home with everything in Docker. Sourced, by
# scenarios/92-client-address.sh and by `interop/system`.
# machines: docker
#
#   outside ---- net ---- router ---- home        home: Docker (docker0: web; br-mailcow: mail, echo), wg0 192.168.160.2
#                 |                               outside: visitor, mail server, name server, says who asks
#              gateway (venet0)                   gateway: wg0 192.168.160.1

client_address=$(readlink -f "${BASH_SOURCE[0]%/*}")
gateway4=203.0.113.2 gateway6=2001:db8:2::2
line4=198.51.100.20            # the home line: the router's address
home6=2001:db8:40::20          # with IPv6 nobody translates
visitor4=192.0.2.9 visitor6=2001:db8:25::9
outside4=192.0.2.130 outside6=2001:db8:25::130
udp_port=27015

# ---- building ----------------------------------------------------------------------------------------------------

build_client_address() { # implementation on the gateway, implementation at home
	lines_of_client_address "$1" "$2"
	gateway_of_client_address "$1" wg0
	home_of_client_address docker wg0
	outside_of_client_address
	boot outside
	boot gateway
	note "the gateway has booted after $boot_time ms"
	boot home
	note "the server at home has booted after $boot_time ms"
	on home /root/services || fail "Docker's containers do not start"
	serves_client_address
}

# Everything that is served is served, and the tunnel stands.
serves_client_address() {
	local to
	for to in $gateway4 $gateway6; do
		quietly_await 60 "the web server answers at $to" visits "$to"
		quietly_await 60 "the mail server answers at $to" greets "$to"
	done
}

lines_of_client_address() { # implementation on the gateway, implementation at home
	local name
	host net none
	host gateway "$1"
	host router none
	host outside none
	host home "$2"
	link net:togateway - gateway:venet0 -
	venet net:togateway gateway:venet0
	link net:torouter 198.51.100.1/24,2001:db8:fe::1/64 router:wan $line4/24,2001:db8:fe::20/64
	link net:tooutside 192.0.2.1/24,2001:db8:25::1/64 outside:eth0 -
	link router:lan 192.168.178.1/24,2001:db8:40::1/64 home:eth0 -
	for name in net router; do on "$name" sysctl -q net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1; done
	on net ip route add $gateway4/32 dev togateway
	on net ip route add $gateway6/128 dev togateway
	on net ip route add 2001:db8:40::/64 via 2001:db8:fe::20
	on router ip route add default via 198.51.100.1
	on router ip route add default via 2001:db8:fe::1
	on router iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
	new_key gateway
	new_key home
}

# A published file with what it leaves open filled in.
filled_client_address() { # file
	sed "s|<Gateway private key>|${key[gateway]}|; s|<Server private key>|${key[home]}|; s|<Gateway public key>|${pub[gateway]}|; s|<Server public key>|${pub[home]}|
		s|<PSK>|$psk|; s|<Gateway public IP>|$gateway4|; s|<Gateway public IPv4>|$gateway4|; s|<Gateway public IPv6>|$gateway6|; s|<implementation>|${program_there:-}|" "$client_address/$1"
}

gateway_of_client_address() { # implementation, configuration
	local root=$lab/gateway/disk/root program_there=$1
	memory gateway 128
	disk gateway debian
	network gateway <<<"venet0 127.0.0.1/32,$gateway4/32,$gateway6/128 dev,dev6"
	# The article's override is for wg-quick@wg0, as `systemctl edit` makes it.
	rm -rf "$root/etc/systemd/system/wg-quick@.service.d"
	mkdir -p "$root/etc/systemd/system/wg-quick@wg0.service.d"
	filled_client_address gateway/override.conf >"$root/etc/systemd/system/wg-quick@wg0.service.d/override.conf"
	filled_client_address gateway/environment >"$root/etc/environment"
	filled_client_address "gateway/$2.conf" | install -m 600 /dev/stdin "$root/etc/wireguard/wg0.conf"
	if [[ $2 == wg0 ]]; then
		cp "$client_address/gateway/10-forwarding.conf" "$root/etc/sysctl.d/"
		cp "$client_address/gateway/rc.local" "$root/etc/rc.local"
	fi
	begins_with "$root" wg-quick@wg0
}

home_of_client_address() { # image configuration
	local root=$lab/home/disk/root
	mkdir "$lab/home/docker"
	# Docker in a container wants more than a daemon that only makes tunnels; in a virtual machine it has all of it.
	disk home "$1" --capability=all --system-call-filter=add_key --system-call-filter=keyctl --system-call-filter=bpf "--bind=$lab/home/docker:/var/lib/docker"
	network home <<<"eth0 192.168.178.20/24,$home6/64 192.168.178.1,2001:db8:40::1"
	filled_client_address "server/$2.conf" | install -m 600 /dev/stdin "$root/etc/wireguard/wg0.conf"
	begins_with "$root" wg-quick@wg0
	[[ $1 == docker ]] || return 0
	cat "$client_address/server/rt_tables" >>"$root/etc/iproute2/rt_tables"
	begins_without "$root" nginx postfix
	cp "$client_address"/server/{image,services} "$root/root/"
	cp "$client_address/server/inside" "$root/usr/local/bin/"
	# Made before the server is switched on: in a virtual machine the same takes forty times as long.
	systemd-nspawn --quiet --register=no --keep-unit --pipe --directory="$root" /root/image </dev/null >"$root/root/image.tar" 2>"$lab/home/image" ||
		fail "the containers' image: $(cat "$lab/home/image")"
	install -D -m 644 "$client_address/server/daemon.json" "$root/etc/docker/daemon.json"
	mkdir -p "$root/srv/cloud/www" "$root/etc/dnsmasq.d"
	cp "$client_address"/server/{nginx.conf,main.cf,postfix} "$root/srv/cloud/"
	certificate "$root/srv/cloud" cloud.example 1
	echo "served by a container" >"$root/srv/cloud/www/index.html"
	cp "$client_address/server/dnsmasq.conf" "$root/etc/"
	echo "nameserver 192.168.178.20" >"$root/etc/resolv.conf"
	cp "$client_address/server/dnsmasq.service" "$root/etc/systemd/system/"
	begins_with "$root" dnsmasq
	control_groups_of_client_address "$root"
}

# systemd-nspawn shows a container its control groups read-only; Docker makes some of its own.
control_groups_of_client_address() { # root
	cat >"$1/etc/systemd/system/control-groups.service" <<-'END'
		[Unit]
		ConditionVirtualization=container
		DefaultDependencies=no
		Before=containerd.service docker.service
		[Service]
		Type=oneshot
		ExecStart=/bin/sh -c 'for one in /sys/fs/cgroup /sys/fs/cgroup/*/cgroup.procs; do mount -o remount,bind,rw "$${one%/cgroup.procs}"; done'
		[Install]
		WantedBy=multi-user.target
	END
	begins_with "$1" control-groups
}

outside_of_client_address() {
	local root=$lab/outside/disk/root
	disk outside docker
	network outside <<<"eth0 $outside4/24,$visitor4/24,$outside6/64,$visitor6/64 192.0.2.1,2001:db8:25::1"
	begins_without "$root" containerd docker docker.socket
	mkdir -p "$root/srv/outside"
	certificate "$root/srv/outside" mx.example 120
	install -o 8 -g 8 -m 600 /dev/null "$root/var/mail/everything"
	cp "$client_address/outside/main.cf" "$root/etc/postfix/main.cf"
	cp --remove-destination "$client_address/outside/nginx.conf" "$root/etc/nginx/sites-enabled/default"
	filled_client_address outside/dnsmasq.conf >"$root/etc/dnsmasq.conf"
	echo "nameserver 127.0.0.1" >"$root/etc/resolv.conf"
	cp "$client_address/server/dnsmasq.service" "$root/etc/systemd/system/"
	begins_with "$root" dnsmasq
}

# What `systemctl enable` and `mask` do on a machine that does not run yet.
begins_with() { # root unit...
	local root=$1 unit
	for unit in "${@:2}"; do
		[[ $unit != *@* ]] || { ln -sf /lib/systemd/system/wg-quick@.service "$root/etc/systemd/system/multi-user.target.wants/$unit.service"; continue; }
		ln -sf "../$unit.service" "$root/etc/systemd/system/multi-user.target.wants/$unit.service"
	done
}
begins_without() { # root unit...
	local root=$1 unit
	for unit in "${@:2}"; do
		[[ $unit == *.* ]] || unit+=.service
		ln -sf /dev/null "$root/etc/systemd/system/$unit"
	done
}

# A key and a certificate that grows with the number of its names.
certificate() { # directory name names
	local names
	names=$(seq --format=",DNS:name-%03g.of-a-long-certificate.$2" "$3" | tr -d '\n')
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$2" -addext "subjectAltName=DNS:$2$names" \
		-keyout "$1/key.pem" -out "$1/certificate.pem" 2>/dev/null
}

# ---- what people do with it --------------------------------------------------------------------------------------

bracketed() { if [[ $1 == *:* ]]; then echo "[$1]"; else echo "$1"; fi; }
visitor_for() { if [[ $1 == *:* ]]; then echo $visitor6; else echo $visitor4; fi; } # address

# A page by the gateway's public address; nobody checks this certificate.
page() { # host address [option of curl...]
	on "$1" curl --silent --insecure --noproxy '*' --max-time 5 "${@:3}" "https://$(bracketed "$2")/${query:+?$query}"
}
visits() { # address [option of curl...] : a visitor opens the page
	[[ $(page outside "$1" --interface "$(visitor_for "$1")" "${@:2}") == "served by a container" ]]
}
# The first word of what the mail server says to somebody.
smtp() { # host address [option of curl...]
	on "$1" curl --silent --verbose --max-time 5 "${@:3}" --request NOOP "smtp://$(bracketed "$2")" 2>&1 | tr -d '\r' | awk '/^< 220 / { print $3; exit }'
}
greets() { # address [option of curl...] : the mail server at home greets a visitor
	[[ $(smtp outside "$1" --interface "$(visitor_for "$1")" "${@:2}") == cloud.example ]]
}
# What comes back to a datagram.
echoed() { # host source address word
	on "$1" timeout 5 python3 -c '
import socket, sys
source, to, port, word = sys.argv[1:]
asks = socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
asks.bind((source, 0))
asks.connect((to, int(port)))
asks.send(word.encode())
print(asks.recv(1500).decode())' "$2" "$3" "$udp_port" "$4"
}
# By which address one is known on the internet: says a web server.
known_as() { # host 4|6 [option of curl...]
	on "$1" curl --silent --max-time 5 "-$2" "${@:3}" http://address.example/
}
container_known_as() { # container address
	# shellcheck disable=SC2016  # for the container's shell
	on home inside "$1" timeout 5 bash -c 'exec 3<>/dev/tcp/$0/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; tail -n 1 <&3' "$2"
}
mails() { # recipient : from the mail server's container
	feed home inside mail sendmail -f me@cloud.example "$1" <<<$'Subject: hello\n\nFrom the house.'
}
# Every letter that the mail server elsewhere has got, as "recipient address".
letters() {
	on outside sed -nE 's/^Delivered-To: (.*)/\1/p; s/^Received: from .*\[(IPv6:)?([^]]+)\]\)$/\2/p' /var/mail/everything | paste -d ' ' - -
}
letter_came() { [[ $(letters | occurrences -F "$1 ") -gt ${2:-0} ]]; } # recipient [more than]

# Who came, by the logs in the containers.
visitor_of_web() { on home inside web | awk -v query="?$1 " 'index($0, query) { print $1 }'; } # query of the page
visitors_of_mail() { on home inside mail | sed -nE 's/.* connect from [^[]+\[([^]]+)\]$/\1/p'; }
visitors_of_echo() { on home inside echo | sed -nE 's/^Ncat: Connection from (.*)\.$/\1/p'; }

# The article's files have MTU 1500; its text finds 1420 better.
with_mtu() { # mtu
	local end to
	for end in gateway home; do
		on $end sed -i "s/^MTU = .*/MTU = $1/" /etc/wireguard/wg0.conf
		on $end systemctl restart wg-quick@wg0
	done
	for to in $gateway4 $gateway6; do quietly_await 20 "the tunnel stands again" visits "$to"; done
}

try_client_address() {
	cat <<-END
		outside  curl -sk --interface $visitor4 https://$gateway4/      a visitor (also https://[$gateway6]/)
		home     docker logs web; docker logs mail; docker logs echo   who came: the visitor's own address
		home     docker exec mail sh -c 'echo hello | sendmail -f me@cloud.example you@four.example'   (six.example: by IPv6)
		outside  grep Received: -A 1 /var/mail/everything              which address the mail came from: the gateway's
		home     docker exec mail openssl s_client -connect mx4.example:25 -starttls smtp -brief
		home     curl http://address.example/                          by which address everything else goes out: the home line's
		home     curl -sk --interface 192.168.160.2 https://$gateway4/  by the gateway to oneself
		gateway  tcpdump -ni wg0; iptables-save; systemctl status wg-quick@wg0; reboot
	END
}

# ---- figures -----------------------------------------------------------------------------------------------------

# Lines of "name value unit". What does not work says "failed" in the value's place, and the rest goes on.
figures_client_address() {
	local end
	measured_in_a_container
	rate visitor_to_container_4 on outside iperf3 -B $visitor4 -c $gateway4 -p 443
	rate container_to_visitor_4 on outside iperf3 -B $visitor4 -c $gateway4 -p 443 -R
	rate visitor_to_container_6 on outside iperf3 -B $visitor6 -c $gateway6 -p 443
	rate container_to_visitor_6 on outside iperf3 -B $visitor6 -c $gateway6 -p 443 -R
	web_again
	# And by the way of outgoing mail.
	on outside systemctl stop postfix
	quietly_await 10 "port 25 is free" refuses_connections
	on outside systemd-run --quiet --unit=measure iperf3 -s -p 25
	quietly_await 10 "iperf3 listens" listens outside tcp 25
	rate container_to_mail_server_4 on home inside mail iperf3 -c $outside4 -p 25
	rate mail_server_to_container_4 on home inside mail iperf3 -c $outside4 -p 25 -R
	on outside systemctl stop measure
	on outside systemctl start postfix
	for end in gateway home; do
		[[ ${implementation[$end]} == kernel ]] ||
			echo "peak_memory_of_the_daemon_$end $(awk '/^VmHWM/ { print $2 }' "/proc/$(daemon_pid $end wg0)/status") KiB"
	done
	with_mtu 1420
	measured_in_a_container
	rate visitor_to_container_4_mtu_1420 on outside iperf3 -B $visitor4 -c $gateway4 -p 443
	rate container_to_visitor_4_mtu_1420 on outside iperf3 -B $visitor4 -c $gateway4 -p 443 -R
	web_again
	with_mtu 1500
	heal after_reboot_of_the_gateway_home_sends sends_mail restart gateway
	heal after_reboot_of_the_gateway_home_is_silent true restart gateway
	heal after_change_of_the_home_address_home_sends sends_mail change_line 198.51.100.21
	heal after_change_of_the_home_address_home_is_silent true change_line 198.51.100.22
}

# A server for iperf3 in a container, by the port that the web has otherwise.
measured_in_a_container() {
	on home docker stop web >/dev/null
	on home docker run --detach --rm --name measure -p 443:5201 cloud iperf3 -s >/dev/null
}
web_again() {
	on home docker stop --time 0 measure >/dev/null
	on home docker start web >/dev/null
	quietly_await 20 "the web server answers" visits $gateway4
}
refuses_connections() { ! listens outside tcp 25; }

# Ten seconds of iperf3, and what they cost the gateway.
rate() { # name command...
	local name=$1 answer daemon before machine_before megabits
	shift
	daemon=$(daemon_pid gateway wg0)
	before=$(seconds_of "$daemon") machine_before=$(seconds_of_machine gateway)
	answer=$("$@" -t 10 -f m --connect-timeout 5000 2>&1) || { echo "$name failed $(tail -n 1 <<<"$answer")"; return 0; }
	megabits=$(awk '/receiver/ { for (i = 1; i < NF; i++) if ($(i + 1) == "Mbits/sec") rate = $i } END { print rate }' <<<"$answer")
	echo "$name $megabits Mbit/s"
	awk -v name="$name" -v rate="$megabits" -v daemon="$(seconds_of "$daemon") $before" \
		-v machine="$(seconds_of_machine gateway) $machine_before" 'BEGIN {
			split(daemon, d, " "); split(machine, m, " "); gigabytes = rate * 10 / 8000
			printf "%s_daemon_of_the_gateway %.2f s/GB\n", name, (d[1] - d[2]) / gigabytes
			printf "%s_whole_gateway %.2f s/GB\n", name, (m[1] - m[2]) / gigabytes }'
}
seconds_of() { awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hertz }' "/proc/$1/stat"; } # process
seconds_of_machine() { # host
	local group
	for group in $(machine_groups "$1"); do
		if [[ -e $group/cpuacct.usage ]]; then
			awk '{ print $1 / 1e9 }' "$group/cpuacct.usage"
			return
		elif grep -qs usage_usec "$group/cpu.stat"; then
			awk '$1 == "usage_usec" { print $2 / 1e6 }' "$group/cpu.stat"
			return
		fi
	done
}

# From the end of what happened until a visitor has a page, after a while in which the tunnel rested.
heal() { # name, what somebody at home does meanwhile, what happens...
	local name=$1 meanwhile=$2 from
	shift 2
	elapse 12
	"$@"
	from=$(now_ms)
	if comes_true 200 visits_while "$meanwhile"; then
		echo "$name $(($(now_ms) - from)) ms"
	else
		echo "$name failed within 200 s"
	fi
}
visits_while() { # command
	"$1" >/dev/null
	visits $gateway4 --max-time 1
}
# A connection that is begun is data, which the tunnel misses an answer to.
sends_mail() { on home inside mail timeout 0.5 bash -c ": 3<>/dev/tcp/$outside4/25" || true; }

change_line() { # address : of the home line
	on router ip address flush dev wan scope global
	address router wan "$1/24,2001:db8:fe::20/64"
	on router ip route add default via 198.51.100.1
	on router ip -6 route replace default via 2001:db8:fe::1
	line4=$1
}
