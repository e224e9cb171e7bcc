#!/bin/bash
# "Wireguard HAProxy Gateway" (2020-03-21): a VPS hands what comes to its port 443 down a tunnel to a server at home, TLS still closed. Sourced.
# machines: haproxy nginx
#
#   visitor 192.0.2.10 --- net --- 203.0.113.2 vps: HAProxy, 10.1.10.1 on my-tun
#                           |
#                           +----- 198.51.100.2 router 192.168.1.1 --- 192.168.1.10 home: 10.1.10.2 on my-tun, nginx, three services

gateway=${BASH_SOURCE[0]%/*}
services=(one two three)

# Machines, configuration, and the units that the article enables. When it returns, visitors are served.
build_haproxy_gateway() { # implementation on the VPS, and at home
	local service
	host net none
	host visitor none
	host router none
	host vps "$1"
	host home "$2"
	link net:tovps 203.0.113.1/24 vps:eth0 -
	link net:tovisitor 192.0.2.1/24 visitor:eth0 192.0.2.10/24
	link net:torouter 198.51.100.1/24 router:wan 198.51.100.2/24
	link router:lan 192.168.1.1/24 home:eth0 -
	on net sysctl -q net.ipv4.ip_forward=1
	on router sysctl -q net.ipv4.ip_forward=1
	on router ip route add default via 198.51.100.1
	on router iptables -t nat -A POSTROUTING -o wan -j MASQUERADE
	on visitor ip route add default via 192.0.2.1
	disk vps haproxy
	disk home nginx
	memory vps 128
	network vps <<<"eth0 203.0.113.2/24 203.0.113.1"
	network home <<<"eth0 192.168.1.10/24 192.168.1.1"
	boot vps
	boot home
	new_key vps
	new_key home
	set_up_vps
	set_up_services
	set_up_home
	for service in "${services[@]}"; do
		quietly_await 30 "the visitor is served by $service" serves "$service"
	done
}

set_up_vps() {
	my_tun vps.conf | feed vps install -m 600 /dev/stdin /etc/wireguard/my-tun.conf
	on vps systemctl --quiet enable --now wg-quick@my-tun.service
	# What the article gives is a section more in Debian's own file.
	feed vps tee -a /etc/haproxy/haproxy.cfg <"$gateway/haproxy.cfg" >/dev/null
	on vps systemctl restart haproxy
}

set_up_services() {
	local service port=8000
	on home systemctl --quiet disable --now lighttpd # Debian's own instance, on port 80
	feed home tee /etc/lighttpd/service.conf <"$gateway/lighttpd.conf" >/dev/null
	feed home tee /etc/systemd/system/service@.service <"$gateway/service@.service" >/dev/null
	for service in "${services[@]}"; do
		((port += 1))
		on home mkdir "/srv/$port"
		feed home tee "/srv/$port/index.html" <<<"served by $service" >/dev/null
		on home systemctl --quiet enable --now "service@$port.service"
	done
}

set_up_home() {
	my_tun home.conf | feed home install -m 600 /dev/stdin /etc/wireguard/my-tun.conf
	on home systemctl --quiet enable --now wg-quick@my-tun.service
	on home openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=example.net" \
		-addext "subjectAltName=DNS:one.example.net,DNS:two.example.net,DNS:three.example.net" \
		-keyout /etc/nginx/services.key -out /etc/nginx/services.crt 2>/dev/null
	on home cat /etc/nginx/services.crt >"$lab/services.crt"
	feed home tee /etc/nginx/sites-available/services <"$gateway/nginx.conf" >/dev/null
	on home ln -s ../sites-available/services /etc/nginx/sites-enabled/services
	# Debian's file has 768, two of which a visitor takes: too few for 4,000 who come at once. Traefik has no such number.
	on home sed -i -e 's/worker_connections 768;/worker_connections 16384;/' -e '/^pid /a worker_rlimit_nofile 16384;' /etc/nginx/nginx.conf
	on home systemctl restart nginx
}

# A file for wg-quick, with the keys and the address of the VPS filled in.
my_tun() { # file
	sed "s|<server privatekey>|${key[vps]}|; s|<client privatekey>|${key[home]}|; s|<servers publickey>|${pub[vps]}|
		s|<client publickey>|${pub[home]}|; s|<servers ip>|203.0.113.2|" "$gateway/$1"
}

# A visitor's curl, for a service under its public name.
browse() { # service path [option of curl...]
	on visitor curl --silent --show-error --fail --cacert "$lab/services.crt" --resolve "$1.example.net:443:203.0.113.2" "${@:3}" "https://$1.example.net$2"
}

serves() { [[ $(browse "$1" / --max-time 10) == "served by $1" ]]; } # service

# ---- what happens to it -----------------------------------------------------------------------------------------

# The provider gives the house another address; the router forgets whom it had translated.
change_address() { # address
	on net ip link set torouter down
	on router ip address flush dev wan
	on router ip address add "$1/24" dev wan
	on router ip route add default via 198.51.100.1
	on router conntrack -F 2>/dev/null
	on net ip link set torouter up
}

make_download() { # MiB : prints its SHA-256
	# shellcheck disable=SC2016  # for the machine's shell
	on home sh -c 'openssl enc -aes-128-ctr -pbkdf2 -pass "pass:$(openssl rand -hex 16)" -nosalt </dev/zero 2>/dev/null |
		head -c "$1M" | tee /srv/8001/download | sha256sum | cut -d " " -f 1' - "$1"
}

# Processor time of the WireGuard daemon so far, in ms, and the most memory that it had, in kB.
daemon_ms() { # host
	local -a stat
	read -r -a stat <"/proc/$(daemon_pid "$1" my-tun)/stat"
	echo $(((stat[13] + stat[14]) * 1000 / $(getconf CLK_TCK)))
}
peak_memory() { awk '/^VmHWM/ { print $2 }' "/proc/$(daemon_pid "$1" my-tun)/status"; } # host

# ---- what becomes of many visitors ------------------------------------------------------------------------------

# So many strangers a second, until visitors_leave or for so many seconds; what became of each stands in $lab/visits. Each would wait a minute.
visitors_come() { # per second [seconds]
	local service asked=()
	for service in "${services[@]}"; do
		asked+=("$service.example.net=served by $service")
	done
	: >"$lab/visits"
	launch visitor "$library/visitors.py" visit 203.0.113.2 443 "$lab/services.crt" "$1" "${2:-3600}" 60 "$lab/visits" "${asked[@]}" &
	visitors=$!
}

# Some have come and gone, so what happens from now on happens to visitors.
visitors_are_there() {
	quietly_await 30 "visitors come" test -s "$lab/visits"
	elapse 1
}

visitors_leave() { # nobody else comes; returns when the last has gone
	kill -TERM "$visitors"
	visitors_end
}

visitors_end() { wait "$visitors"; }

# Until each service has answered a visitor after that moment; leaves in $waited how many milliseconds that took.
service_returns() { comes_back "$@" || fail "service is not back $2 s later"; } # moment, seconds
comes_back() {
	waited=$(timeout "$2" "$library/visitors.py" back "$1" "${#services[@]}" < <(exec tail --pid="$visitors" --lines=+1 --follow "$lab/visits"))
}

# The outage that began at $cut and whose cause was over at $mended, as the visitors, who are gone, met it: what `judge` says, in $seen.
declare -A seen=()
judge_visits() {
	local name value
	while read -r name value; do
		seen[$name]=$value
	done < <("$library/visitors.py" judge "$lab/visits" "$cut" "$mended")
	[[ -v seen[reasons] ]] || fail "the record of the visits cannot be judged"
	note "  $((seen[met_in_flight] + seen[met_begun_in_it])) of ${seen[visits]} visitors met it, ${seen[met_and_lost]} of them were lost (${seen[reasons]})"
	check "  lost of the ${seen[others]} others" "${seen[others_lost]}" == 0
}

# ---- for interop/system -----------------------------------------------------------------------------------------

try_haproxy_gateway() {
	cat <<-END
		visitor: curl --cacert $lab/services.crt --resolve one.example.net:443:203.0.113.2 https://one.example.net/     (also two, three)
		vps:     wg show; journalctl --follow --unit haproxy; systemctl restart haproxy; reboot it
		home:    wg show; tail --follow /var/log/nginx/access.log
		net:     ip link set torouter down        the line at home drops; "up", and it is back
		router:  ip address add 198.51.100.77/24 dev wan; ip address delete 198.51.100.2/24 dev wan; ip route replace default via 198.51.100.1;
		         conntrack -F        the line has changed its address
	END
}

# Lines "name value unit".
figures_haproxy_gateway() {
	local size seconds daemon_from all_from daemon all when download
	make_download 1024 >/dev/null
	daemon_from=$(daemon_ms vps) all_from=$(machine_ms vps)
	read -r size seconds < <(browse one /download --output /dev/null --write-out '%{size_download} %{time_total}\n')
	daemon=$(($(daemon_ms vps) - daemon_from)) all=$(($(machine_ms vps) - all_from))
	awk -v bytes="$size" -v seconds="$seconds" -v daemon="$daemon" -v all="$all" 'BEGIN {
		printf "download %d Mbit/s\n", bytes * 8 / seconds / 1e6
		printf "vps_daemon_processor_time %.2f s/GB\n", daemon / 1e3 / (bytes / 1e9)
		printf "vps_processor_time %.2f s/GB\n", all / 1e3 / (bytes / 1e9) }'
	echo "vps_daemon_peak_memory $(peak_memory vps) kB"

	visitors_come 20
	visitors_are_there
	change_address 198.51.100.77
	heals address_change_while_visitors_come "$(now_ms)"
	change_address 198.51.100.2
	visitors_come 20
	heals address_change_while_nobody_comes "$(now_ms)"
	visitors_come 20
	visitors_are_there
	shut_down vps
	when=$(now_ms)
	boot vps
	heals vps_reboot "$when" # 15 s, or when the session at home is 120 to 145 s old: it depends on what was under way
	visitors_come 20
	launch visitor curl --silent --cacert "$lab/services.crt" --resolve one.example.net:443:203.0.113.2 --limit-rate 2M --output /dev/null \
		https://one.example.net/download &
	download=$!
	visitors_are_there
	cut_power vps
	when=$(now_ms)
	boot vps
	heals vps_power_cut_during_a_download "$when"
	kill "$download" 2>/dev/null || true
	wait "$download" || true
}

heals() { # what moment
	if comes_back "$2" 170; then
		echo "$1 $waited ms"
	else
		echo "$1 never s (not within 170)"
	fi
	visitors_leave
}

# Processor time of everything in a machine so far, in ms.
machine_ms() { # host
	local group
	for group in $(machine_groups "$1"); do
		if [[ -e $group/cpuacct.usage ]]; then
			echo $(($(<"$group/cpuacct.usage") / 1000000))
			return
		elif [[ -e $group/cgroup.controllers ]]; then
			echo $(($(awk '$1 == "usage_usec" { print $2 }' "$group/cpu.stat") / 1000))
			return
		fi
	done
}

# How many processes of a machine were killed because its memory was too small.
killed_for_memory() { # host
	local file
	for file in $(machine_groups "$1" | sed 's|$|/memory.oom_control|; p; s|oom_control$|events|'); do
		[[ ! -e $file ]] || awk '$1 == "oom_kill" { print $2 }' "$file"
	done
}
