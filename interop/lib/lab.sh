#!/bin/bash
# The laboratory: hosts (network namespaces, or a virtual machine with the kernel module), links between them, and the
# WireGuard implementation that each host runs. Sourced by lib/scenario.
#
# Everything lives in the namespaces of the scenario's own first process: its process, mount and network namespaces.
# When that process ends, for whatever reason, the kernel takes away every process, interface, mount and socket of it;
# nothing on the machine has to be found and cleaned up, and any number of scenarios run side by side.
#
#   host a wgsharp               a namespace whose wg-quick uses the implementation under test
#   host b kernel                the kernel module: here, or in a virtual machine where this kernel has none
#   host c wgsharp bullseye      a virtual machine with the kernel of that release of Debian ("# kernels: bullseye"); it boots a disk (lib/machines.sh)
#   link a:eth0 10.0.0.1/24 b:eth0 10.0.0.2/24,fd00::2/64
#   on a ip route ...            runs a command on a host; feed a ... hands it standard input as well
#   up a wg0 <<<"$configuration" wg-quick up, as users do; down a wg0
#   create a wg0 [born]          only the interface (born in another host and moved from there)

declare -A implementation=() holder=() machine=() kit=() booted=() machine_patience=() key=() pub=()
hosts=()

# ---- hosts and links -------------------------------------------------------------------------------------------

host() { # name [implementation] [release of Debian whose kernel it has]
	local name=$1 what=${2:-wgsharp}
	hosts+=("$name")
	implementation[$name]=$what
	mkdir -m 700 "$lab/$name"
	[[ -z ${3:-} ]] || kit[$name]=$(readlink -f "$library/../.cache/kernel/$3")
	if [[ -v kit[$name] || ($what == kernel && $KERNEL == vm) ]]; then
		machine[$name]=off
		return
	fi
	stand "$name" "$name"
}

# A network namespace for a host, and the process that keeps its mount namespace: each host has its own UAPI sockets, so
# that two hosts can have an interface of the same name. It answers on a pipe when it stands.
stand() { # host namespace
	local name=$1 ready
	ip netns add "$2"
	exec {ready}< <(exec ip netns exec "$2" bash -c '
		mount -t tmpfs tmpfs /run/wireguard && echo $$ && exec sleep infinity >/dev/null')
	read -r -u "$ready" "holder[$name]"
	exec {ready}<&-
	echo "${holder[$name]}" >"$lab/$name/holder"
	on "$name" sysctl -q net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
		net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	on "$name" ip link set lo up
}

on() { # host command...
	local name=$1
	shift
	if [[ -v machine[$name] ]]; then
		machine_run "$name" "$(printf '%q ' "$@")"
	elif [[ -v booted[$name] ]]; then
		nsenter --target "${holder[$name]}" --all -- env -i "${as_there[@]}" "$@"
	else
		nsenter --target "${holder[$name]}" --mount --net -- "$@"
	fi
}

# What somebody has in the environment who has logged in on a machine that booted.
as_there=(HOME=/root LC_ALL=C WG_HIDE_KEYS=never PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)

# For commands in the background (launch a ... &): $! is then the command itself, not a shell around it.
launch() { # host command...
	exec nsenter --target "${holder[$1]}" --mount --net -- "${@:2}"
}

feed() { # host command... : with standard input
	local name=$1 input
	shift
	if [[ -v machine[$name] ]]; then
		input=$(base64 -w 0)
		machine_run "$name" "base64 -d <<<$input | $(printf '%q ' "$@")"
	else
		on "$name" "$@"
	fi
}

address() { # host interface address,address...
	local one
	[[ $3 != - ]] || return 0
	for one in ${3//,/ }; do
		if [[ $one == *:* ]]; then
			on "$1" ip address add "$one" dev "$2" nodad
		else
			on "$1" ip address add "$one" dev "$2"
		fi
	done
}

link() { # host:interface addresses host:interface addresses ("-": the host has its own set-up)
	local left=${1%:*} left_if=${1#*:} right=${3%:*} right_if=${3#*:} across
	if [[ -v machine[$left] ]]; then
		link "$3" "$4" "$1" "$2"
		return
	fi
	if [[ -v machine[$right] && $4 == - ]]; then
		card_of_disk "$right" "$right_if" "$left" "$left_if"
	elif [[ -v machine[$right] ]]; then
		on "$left" ip tuntap add "$left_if" mode tap vnet_hdr
		on "$left" ip link set "$left_if" up
		machine_start "$right" "$left" "$left_if" "$right_if"
	else
		ip link add "l$BASHPID" netns "$left" type veth peer name "r$BASHPID" netns "$right"
		on "$left" ip link set "l$BASHPID" name "$left_if"
		on "$right" ip link set "r$BASHPID" name "$right_if"
	fi
	address "$left" "$left_if" "$2"
	on "$left" ip link set "$left_if" up
	if [[ ! -v machine[$right] || $4 != - ]]; then
		address "$right" "$right_if" "$4"
		on "$right" ip link set "$right_if" up
	fi
	# IPv6 takes a moment after link up, and a lost neighbour solicitation costs a second.
	if [[ $2 == *:* && $4 == *:* ]]; then
		across=${4##*,}
		quietly_await 10 "$left reaches $across" on "$left" ping -n -q -c 1 -W 0.1 "${across%/*}"
	fi
}

# ---- the kernel in a virtual machine ---------------------------------------------------------------------------

machine_start() { # host, host and interface of the tap at the other end of its cable, name of its interface
	local name=$1 at=$2 tap=$3 card=$4 fifo=$lab/$1/channel in out hardware
	mkfifo "$fifo.in" "$fifo.out"
	virtual_hardware "$KERNEL_KIT" "$tap" "$fifo" "$lab/$name/console"
	launch "$at" "${hardware[@]}" -incoming "exec:cat $KERNEL_KIT/state" >"$lab/$name/qemu" 2>&1 </dev/null &
	holder[$name]=$!
	exec {in}<>"$fifo.in" {out}<>"$fifo.out"
	machine[$name]="$in $out"
	# Its clock stood still since it was booted.
	machine_run "$name" "date -s @$EPOCHSECONDS && mkdir -p -m 700 $lab/$name && ip link set eth0 name tmp0 && ip link set tmp0 name $card" >/dev/null ||
		fail "the kernel's machine does not start: $(tail -n 3 "$lab/$name/qemu" "$lab/$name/console")"
}

# A machine that has not answered once is asked nothing more: what it says next would be the answer to something else.
machine_run() { # host script : prints what the script prints, returns its status
	local in out status length lock patience
	[[ ${machine[$1]} != off ]] || fail "the machine $1 is off: $2"
	[[ ! -e $lab/$1/silent ]] || return 1
	read -r in out <<<"${machine[$1]}"
	exec {lock}>"$lab/$1/lock"
	flock "$lock"
	printf '%q\n' "$2" >&"$in"
	patience=$((${machine_patience[$1]:-60} * ${PATIENCE:-1}))
	if ! { read -r -t "$patience" -u "$out" status length && timeout "$patience" head -c "$length" <&"$out"; }; then
		: >"$lab/$1/silent"
		fail "the kernel's machine does not answer: $2"
	fi
	exec {lock}>&-
	return "$status"
}

# ---- WireGuard on a host ---------------------------------------------------------------------------------------

new_key() { # name : key[name] and pub[name]
	key[$1]=$(wg genkey)
	pub[$1]=$(wg pubkey <<<"${key[$1]}")
}

# A file with a secret on a host, for `wg set ... private-key FILE`. Prints its path.
secret() { # host value
	local path
	path=$lab/$1/secret.$(printf '%s' "$2" | md5sum | head -c 12)
	feed "$1" tee "$path" <<<"$2" >/dev/null
	echo "$path"
}

executable() { # host : what wg-quick starts there in place of the kernel module
	case ${implementation[$1]} in
	wgsharp) echo "$WGSHARP" ;;
	wireguard-go) type -P wireguard-go ;;
	kernel) echo /nonexistent/the-kernel-has-wireguard ;;
	esac
}

up() { # host interface <configuration : wg-quick up
	feed "$1" tee "$lab/$1/$2.conf" >/dev/null
	quick "$1" up "$2"
}

down() { quick "$1" down "$2"; }

quick() { # host up|down|save|strip interface
	local program=wg-quick
	[[ ${implementation[$1]} == kernel ]] || program=$QUICK
	on "$1" env WG_QUICK_USERSPACE_IMPLEMENTATION="$(executable "$1")" LOG_LEVEL="${LOG_LEVEL:-}" \
		"$program" "$2" "$lab/$1/$3.conf" >"$lab/$1/wg-quick.$3" 2>&1 || {
		local status=$?
		note "wg-quick $2 $3 on $1: $(cat "$lab/$1/wg-quick.$3")"
		return "$status"
	}
}

create() { # host interface [host whose namespace keeps the sockets]
	local born=${3:-$1}
	if [[ ${implementation[$1]} == kernel ]]; then
		on "$born" ip link add "$2" type wireguard
	else
		# The UAPI socket belongs to the host, the UDP sockets to the namespace in which the daemon was started.
		nsenter --target "${holder[$1]}" --mount -- nsenter --target "${holder[$born]}" --net -- \
			"$(executable "$1")" "$2" >"$lab/$1/start.$2" 2>&1 || fail "$(cat "$lab/$1/start.$2")"
	fi
	if [[ $born != "$1" ]]; then
		on "$born" ip link set "$2" netns "$1"
	fi
}

# ---- what a host shows -----------------------------------------------------------------------------------------

endpoint() { # host interface public-key
	on "$1" wg show "$2" endpoints | awk -v k="$3" '$1 == k { print $2 }'
}

transfer() { # host interface public-key : "rx tx"
	on "$1" wg show "$2" transfer | awk -v k="$3" '$1 == k { print $2, $3 }'
}

latest_handshake() { # host interface public-key : seconds since 1970
	on "$1" wg show "$2" latest-handshakes | awk -v k="$3" '$1 == k { print $2 }'
}

# A daemon hears of its link by rtnetlink, after `ip` has returned; whoever asks it something finds that done.
set_link() { # host interface up|down
	on "$1" ip link set "$2" "$3"
	on "$1" wg show "$2" listen-port >/dev/null
}

handshake_age() { # host interface public-key : seconds, by the host's own clock
	# shellcheck disable=SC2016 # for the host's shell
	on "$1" sh -c 'wg show "$1" latest-handshakes | while read -r key at; do [ "$key" != "$2" ] || echo $(($(date +%s) - at)); done' - "$2" "$3"
}

daemon_pid() { # host interface : of the daemon that serves it (userspace only)
	local process words
	for process in /proc/[0-9]*; do
		words=()
		{ mapfile -d '' words <"$process/cmdline"; } 2>/dev/null || continue # it has just ended
		[[ ${words[*]} =~ (^|/)(wgsharp|wireguard-go)\ .*$2 ]] || continue
		[[ $process/ns/mnt -ef /proc/${holder[$1]}/ns/mnt ]] && echo "${process#/proc/}" && return
	done
	return 1
}

# True when nothing of the interface is left: no link, no socket, no daemon.
gone() { # host interface
	! on "$1" test -e "/sys/class/net/$2" && ! on "$1" test -e "/var/run/wireguard/$2.sock" && ! daemon_pid "$1" "$2" >/dev/null
}

# How many processes the scenario has, counted by the shell itself: of two programs in a pipe, the one that looks may or may not see the one that counts.
processes() {
	local all=(/proc/[0-9]*)
	echo "${#all[@]}"
}
no_more_processes_than() { [[ $(processes) -le $1 ]]; }

# The descriptors that a process has open. Some are there for a moment only.
descriptors() { # process
	local all=("/proc/$1/fd/"*)
	echo "${#all[@]}"
}
no_more_descriptors_than() { [[ $(descriptors "$1") -le $2 ]]; } # process, number

# The processor time that a process has had so far, all its threads together and the kernel's share with it (USER_HZ is 100 wherever Linux runs).
processor_ms() { awk '{ sub(/.*\) /, ""); print ($12 + $13) * 10 }' "/proc/$1/stat"; } # process

dump() { # everything that helps after a failure
	local name
	for name in "${hosts[@]}"; do
		echo "--- $name (${implementation[$name]})"
		[[ -e /proc/${holder[$name]:-none} && ${machine[$name]:-} != off ]] || { echo "(not running)"; continue; }
		on "$name" timeout 3 wg show | head -n 40 || true
		on "$name" ip -brief address || true
		on "$name" ip route || true
		on "$name" ss -unap || true
		if [[ -v machine[$name] ]]; then
			tail -n 5 "$lab/$name/console" || true
		fi
	done
	ps -eo pid,ppid,stat,rss,args || true
}
