#!/bin/bash
# "Wireguard HAProxy Gateway" (interop/systems/haproxy-gateway), as its author has it: Debian's HAProxy on a VPS, a tunnel, nginx at home.

# shellcheck source=interop/systems/haproxy-gateway/system.sh
. "$library/../systems/haproxy-gateway/system.sh"

# TLS ends at home: the VPS has no key for it and sees nothing but who calls, which it tells nginx. HTTP/2. Who comes to nginx's one port without
# the proxy protocol is refused, and who comes to the other with it.
# machines: haproxy nginx
# peers: wgsharp kernel
# limit: 120
scenario_haproxy_gateway() {
	build_haproxy_gateway wgsharp "$1"
	on vps systemd-run --quiet --unit=watch tcpdump -n -U --immediate-mode -B 16384 -Z root -s 0 -i my-tun -w /root/tunnel.pcap tcp port 443
	quietly_await 10 "tcpdump listens" on vps test -s /root/tunnel.pcap
	on visitor ip address add 192.0.2.77/24 dev eth0
	local service answer
	for service in "${services[@]}"; do
		answer=$(browse "$service" / --http2 --write-out '%{http_version} %{remote_ip}')
		check "a visitor asks 203.0.113.2 for $service.example.net" "$answer" == $'served by '"$service"$'\n2 203.0.113.2'
	done
	answer=$(browse one / --http1.1 --interface 192.0.2.77 --write-out '%{http_version}')
	check "another, by HTTP/1.1" "$answer" == $'served by one\n1.1'
	check "visitors in nginx's log" "$(on home cut -d ' ' -f 1 /var/log/nginx/access.log | sort -u | tr '\n' ' ')" == "192.0.2.10 192.0.2.77 "

	check "the certificate that visitors see is the one at home" "$(seen_certificate)" == "$(on home openssl x509 -noout -fingerprint -sha256 -in /etc/nginx/services.crt)"
	check "files with its key at home" "$(with_a_key home)" == "/etc/nginx/services.key"
	check "and on the VPS" "$(with_a_key vps)" == ""
	on vps systemctl stop watch
	check "calls that the VPS announces to nginx" "$(on vps grep -acE 'PROXY TCP4 192\.0\.2\.(10|77) 203\.0\.113\.2 [0-9]+ 443' /root/tunnel.pcap)" -ge 4
	check "pages that the VPS could have read" "$(on vps sh -c 'grep -ao "served by" /root/tunnel.pcap | wc -l')" == 0

	check "from the VPS, port 443 with the proxy protocol" "$(directly 443 --haproxy-protocol)" == "served by one"
	check "without" "$(directly 443)" =~ '^curl: \((35|52|56)\)'
	check "why, says nginx" "$(on home grep -aoh 'broken header\|while reading PROXY protocol' /var/log/nginx/error.log | tr '\n' ' ')" =~ '^broken header.* while reading PROXY protocol'
	check "port 8443 without" "$(directly 8443)" == "served by one"
	check "with the proxy protocol" "$(directly 8443 --haproxy-protocol)" =~ '^curl: \((35|52|56)\)'
	refuses on visitor curl --silent --insecure --max-time 2 https://198.51.100.2/
	note "and the house's own address answers nobody"
	check "units enabled" "$(on vps systemctl is-enabled wg-quick@my-tun haproxy; on home systemctl is-enabled wg-quick@my-tun nginx)" == $'enabled\nenabled\nenabled\nenabled'
}

with_a_key() { on "$1" sh -c 'grep -rl "PRIVATE KEY" /etc /home /opt /root /srv /usr/local /var; true'; } # host

seen_certificate() {
	on visitor openssl s_client -connect 203.0.113.2:443 -servername one.example.net </dev/null 2>/dev/null | openssl x509 -noout -fingerprint -sha256
}

# nginx at home, asked by the VPS itself.
directly() { # port [option of curl...]
	on vps curl --silent --show-error --fail --insecure --max-time 5 --resolve "one.example.net:$1:10.1.10.2" "${@:2}" "https://one.example.net:$1/" 2>&1 || true
}

# 1 GB through TLS, HAProxy, tunnel and nginx arrives with the SHA-256 it was sent with; the speed, and what it cost the VPS of 128 MiB.
# machines: haproxy nginx
# limit: 300
scenario_haproxy_gateway_download() {
	local made sum size seconds rate from spent
	build_haproxy_gateway wgsharp "$1"
	made=$(make_download "${MEGABYTES:-1024}")
	from=$(daemon_ms vps)
	read -r sum _ < <(browse one /download --write-out '%{stderr}%{size_download} %{time_total}\n' 2>"$lab/download" | sha256sum)
	spent=$(($(daemon_ms vps) - from))
	read -r size seconds <"$lab/download"
	check "bytes" "$size" == "$(on home stat --format %s /srv/8001/download)"
	check "SHA-256" "$sum" == "$made"
	rate=$(awk -v bytes="$size" -v seconds="$seconds" 'BEGIN { printf "%d", bytes / seconds / 1e6 }')
	note "MB/s, in $seconds s: $rate"
	note "processor time of wgsharp on the VPS, ms: $spent"
	check "kB of memory that it had at most" "$(peak_memory vps)" -lt 65536
}

# The line at home drops for a minute, with twenty visitors a second: both ends retry the handshake meanwhile, so service is back within
# REKEY_TIMEOUT and its jitter. Then the line changes its address, as a dialled one does: service is back as soon as the house sends something,
# which is the keepalive after 25 s at the latest, and where nobody had called before.
# machines: haproxy nginx
# lasts: 120
scenario_haproxy_gateway_home_line() {
	build_haproxy_gateway wgsharp "$1"
	visitors_come 20
	visitors_are_there
	cut=$(now_ms)
	on net ip link set torouter down
	elapse 60
	mended=$(now_ms)
	on net ip link set torouter up
	recovers 20 "the line is back after a minute" 7000
	check "  lost" "${seen[met_and_lost]}" -gt 100

	visitors_come 20
	visitors_are_there
	cut=$(now_ms)
	change_address 198.51.100.77
	mended=$(now_ms)
	recovers 40 "the line changes its address while visitors come" 27000
	check "  the VPS knows the new one" "$(endpoint vps my-tun "${pub[home]}" | cut -d : -f 1)" == 198.51.100.77

	elapse 2
	cut=$(now_ms)
	change_address 198.51.100.2
	mended=$(now_ms)
	visitors_come 20
	recovers 40 "it changes while nobody is there" 27000
}

# Service comes back, and serves everybody who comes then; prints after how long, from $mended on.
recovers() { # seconds to wait, after what, bound in ms
	service_returns "$mended" "$1"
	check "$2: service is back after ms" "$waited" -le "$3"
	elapse 3
	visitors_leave
	judge_visits
}

# What is enabled comes back by itself: HAProxy restarts, the server at home reboots, the VPS reboots, with twenty visitors a second. The VPS comes
# back without a session and without an endpoint, so the house has to begin: 15 s after it has sent something in vain, or, where it had nothing to
# send but keepalives, with the first of those after REKEY_AFTER_TIME.
# machines: haproxy nginx
# lasts: 220
scenario_haproxy_gateway_reboots() {
	local age
	build_haproxy_gateway wgsharp "$1"
	visitors_come 20
	visitors_are_there
	cut=$(now_ms)
	on vps systemctl restart haproxy
	mended=$(now_ms)
	recovers 20 "HAProxy restarts in $((mended - cut)) ms" 10000

	visitors_come 20
	visitors_are_there
	cut=$(now_ms)
	shut_down home
	mended=$(now_ms)
	boot home
	recovers 60 "the server at home is off after $((mended - cut)) ms and boots in $boot_time ms; from power on" $((boot_time + 15000))

	visitors_come 20
	visitors_are_there
	age=$(handshake_age home my-tun "${pub[vps]}")
	cut=$(now_ms)
	shut_down vps
	mended=$(now_ms)
	boot vps
	note "the session at home was $age s old when the VPS went down"
	recovers 170 "the VPS is off after $((mended - cut)) ms and boots in $boot_time ms; from power on" $(((120 - age + 25 + 7) * 1000 + boot_time))
}

# 200 visitors a second for five minutes, each with a connection of his own; after one minute the line at home drops for another. Who had come
# before service was back may be lost, and nobody else is. HAProxy holds a visitor for 20 s: some 4,000 come at once when the line is back.
# machines: haproxy nginx
# lasts: 300
# limit: 600
scenario_haproxy_gateway_under_load() {
	local daemons
	build_haproxy_gateway wgsharp "$1"
	daemons="$(on vps pgrep -x wgsharp) $(on vps pgrep -x haproxy | tr '\n' ' ')"
	visitors_come 200 300
	visitors_are_there
	elapse 59
	cut=$(now_ms)
	on net ip link set torouter down
	elapse 60
	mended=$(now_ms)
	on net ip link set torouter up
	service_returns "$mended" 30
	check "the line is back after a minute: service is back after ms" "$waited" -le 7000
	visitors_end
	judge_visits
	check "visitors" "${seen[visits]}" == 60000
	check "lost of those that met the outage" "${seen[met_and_lost]}" -gt 4000
	note "held by HAProxy and answered afterwards: ${seen[met_and_answered]}; the last was lost $((seen[met_and_lost_until] - seen[back])) ms after service was back"
	note "answers to the others, ms: ${seen[others_median]} in the median, ${seen[others_99]} for 99 of 100, ${seen[others_longest]} at most; a visitor was late by ${seen[latest]} ms at most"
	check "processes killed on the VPS of 128 MiB" "$(killed_for_memory vps)" == 0
	check "and the same as before" "$(on vps pgrep -x wgsharp) $(on vps pgrep -x haproxy | tr '\n' ' ')" == "$daemons"
	note "wgsharp on the VPS: $(daemon_ms vps) ms of processor time, $(peak_memory vps) kB at most"
}
