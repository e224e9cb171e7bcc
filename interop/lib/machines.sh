#!/bin/bash
# Machines that boot: a host of lib/lab.sh gets a disk with Debian on it and systemd as its first process. In a container
# (systemd-nspawn) in the host's network namespace; with the kernel module as its implementation, where this kernel has
# none, or with a kernel of its own ("host vps wgsharp bullseye"), in a virtual machine. Sourced by lib/scenario. The scenario's comment names the disks: "# machines: haproxy".
#
#   host vps wgsharp; link net:tovps 203.0.113.1/24 vps:eth0 -    cables first; "-": the machine has its own set-up
#   disk vps haproxy                                              what it boots from (interop/machines)
#   memory vps 128                                                MiB for everything in it (optional)
#   processors vps 1                                              how many it has (optional), the last of this machine's
#   without vps 3.10+nf_tables                                    what its kernel lacks (lib/without.py; a container only)
#   boot vps; on vps systemctl status                             what `on` runs is what somebody types there
#   feed vps tee /etc/wireguard/wg0.conf <<<"$configuration"
#   restart vps; shut_down vps; cut_power vps                      (the last two: then boot again)
#
# A reboot takes away what it takes away on a real machine: processes, interfaces, addresses, rules, /run and /tmp.

boot_time=0 # milliseconds that the last machine took from power on to the last unit
declare -A machine machine_patience booted holder # of lib/lab.sh
declare -A disk=() cards=() limit_of_memory=() processors_of=() lacks=() wired=() keeper=() switches=()

disk() { # host image [option of systemd-nspawn...]
	local name=$1 image=$2
	disk[$name]=$image
	if [[ ! -v machine[$name] ]]; then
		wired[$name]=$name.0 keeper[$name]=${holder[$name]}
		ip netns attach "$name.0" "${holder[$name]}"
	fi
	switches[$name]="${*:3}"
	[[ -e $MACHINES/$image ]] || fail "the disk '$image' is not prepared: the scenario's comment has to say '# machines: $image'"
	mkdir -p "$lab/$name/disk"/{upper,work,root}
	local lower=$MACHINES/$image
	grep -q '^# release: ' "$library/../machines/$image" || lower+=:$MACHINES/debian
	[[ ! -v machine[$name] ]] || lower=${kit[$name]:-$KERNEL_KIT}/disk:$lower
	mount -t overlay overlay -o "lowerdir=$lower,upperdir=$lab/$name/disk/upper,workdir=$lab/$name/disk/work" "$lab/$name/disk/root" ||
		fail "$lab is on a file system that cannot keep a machine's disk (overlay)"
	echo "$name" >"$lab/$name/disk/root/etc/hostname"
	printf '127.0.0.1 localhost\n127.0.1.1 %s\n::1 localhost\n' "$name" >"$lab/$name/disk/root/etc/hosts"
	[[ ! -v machine[$name] ]] || spare_generators "$lab/$name/disk/root"
	install_implementation "$name" "$lab/$name/disk/root"
}

# Nothing on these disks is encrypted, hibernates or is asked for on the kernel's command line. Under emulation it takes two seconds to find that out,
# at each start and each `systemctl enable`.
spare_generators() { # root
	local kind
	mkdir -p "$1/etc/systemd/system-generators"
	for kind in cryptsetup debug gpt-auto hibernate-resume integritysetup run system-update veritysetup; do
		ln -s /dev/null "$1/etc/systemd/system-generators/systemd-$kind-generator"
	done
}

# What the administrator of the machine did about WireGuard: the daemon, and the drop-in for wg-quick's unit.
install_implementation() { # host root
	local root=$2 program=
	case ${implementation[$1]} in
	wgsharp)
		install -D -m 755 "$WGSHARP" "$root/usr/local/bin/wgsharp"
		program=/usr/local/bin/wgsharp
		;;
	wireguard-go) program=/usr/bin/wireguard-go ;;
	*) return 0 ;;
	esac
	mkdir -p "$root/etc/systemd/system/wg-quick@.service.d"
	printf '[Service]\nEnvironment=WG_QUICK_USERSPACE_IMPLEMENTATION=%s\n' "$program" \
		>"$root/etc/systemd/system/wg-quick@.service.d/implementation.conf"
	leave_kernel_aside "$root"
}

# Where this kernel has WireGuard, wg-quick is the copy that leaves it aside.
leave_kernel_aside() { # root
	if [[ $QUICK != "$(type -P wg-quick)" ]]; then
		mkdir -p "$1/usr/local/lib/quick"
		cp "${QUICK%/*}"/* "$1/usr/local/lib/quick/"
		ln -sf /usr/local/lib/quick/wg-quick "$1/usr/bin/wg-quick"
	fi
}

memory() { limit_of_memory[$1]=$2; } # host MiB

# The last ones: a container's processors need not begin with number 0.
processors() { processors_of[$1]=$(last_processors "$2"); } # host count
last_processors() { python3 -c 'import os, sys; print(",".join(map(str, sorted(os.sched_getaffinity(0))[-int(sys.argv[1]):])))' "$1"; }

without() { lacks[$1]=$2; } # host part+part...

# OpenVZ's network card (venet0): nobody is asked for an address of the link. An Ethernet card without ARP sends to its own address, so that both ends of
# the cable have the same. The machine's own set-up gives it 127.0.0.1/32, the public addresses as /32 and /128, and "dev,dev6" as its gateways.
venet() { # host:interface host:interface, after link
	local end
	for end; do
		on "${end%:*}" ip link set "${end#*:}" arp off address 02:00:00:00:00:01
	done
}

# The machine's own /etc/network/interfaces, before it boots: "IF ADDRESS/LENGTH[,...] [GATEWAY[,...]|-] [MTU]" per line. Where there is nobody whose
# address could be given, the gateway is "dev" (IPv4) or "dev6".
network() { # host <lines
	local interface addresses gateways mtu one text=$'auto lo\niface lo inet loopback\n'
	while read -r interface addresses gateways mtu; do
		text+="auto $interface"$'\n'"iface $interface inet manual"$'\n'"	up ip link set $interface up${mtu:+ mtu $mtu}"$'\n'
		for one in ${addresses//,/ }; do
			[[ $one != *:* ]] || one+=" nodad"
			text+="	up ip address add $one dev $interface"$'\n'
		done
		for one in ${gateways//,/ }; do
			case $one in
			-) ;;
			dev) text+="	up ip route add default dev $interface"$'\n' ;;
			dev6) text+="	up ip -6 route add default dev $interface"$'\n' ;;
			*) text+="	up ip route add default via $one dev $interface"$'\n' ;;
			esac
		done
	done
	printf '%s' "$text" >"$lab/$1/disk/root/etc/network/interfaces"
}

# The kernel's control group of a machine, one directory in each hierarchy.
machine_groups() { # host
	local base=/sys/fs/cgroup hierarchy prefix
	prefix=${lab%/*} prefix=${prefix##*/}
	if [[ -e $base/cgroup.controllers ]]; then
		echo "$base/$prefix-${lab##*/}-$1"
		return
	fi
	for hierarchy in "$base"/*/; do
		[[ ! -e $hierarchy/cgroup.procs || -L ${hierarchy%/} ]] || echo "$hierarchy$prefix-${lab##*/}-$1"
	done
}

boot() { # host
	local name=$1
	[[ -v disk[$name] ]] || fail "$name has no disk to boot from"
	if [[ -v machine[$name] ]]; then
		boot_virtual "$name"
	else
		boot_container "$name"
	fi
}

boot_container() { # host
	local name=$1 group ceiling console=$lab/$1/console from outside=() inside=()
	# What answers for the filter is none of the container's processes.
	[[ ! -v lacks[$name] ]] || outside=("$library/without.py" "${lacks[$name]}")
	[[ ! -v processors_of[$name] ]] || inside=(taskset --cpu-list "${processors_of[$name]}")
	from=$(now_ms)
	on "$name" sysctl -q net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
	(
		for group in $(machine_groups "$name"); do
			mkdir -p "$group"
			if [[ -e $group/cpuset.cpus ]]; then
				echo "${processors_of[$name]:-$(cat "${group%/*}/cpuset.cpus")}" >"$group/cpuset.cpus"
				cat "${group%/*}/cpuset.mems" >"$group/cpuset.mems"
			fi
			# A group weighs as much as one process outside it, whatever runs in it; a machine is more than that.
			[[ ! -e $group/cpu.shares ]] || echo 8192 >"$group/cpu.shares"
			[[ ! -e $group/cpu.weight ]] || echo 800 >"$group/cpu.weight"
			if [[ -v limit_of_memory[$name] ]]; then
				for ceiling in "$group"/memory.{limit_in_bytes,max}; do
					[[ ! -e $ceiling ]] || echo $((limit_of_memory[$name] << 20)) >"$ceiling"
				done
			fi
		done
		# A machine's administrator sets its network's own parameters, ip_forward first of all.
		# shellcheck disable=SC2086,SC2016  # switches are words; for its own shell
		SYSTEMD_NSPAWN_API_VFS_WRITABLE=network exec "${outside[@]}" bash -c 'for group in $1; do echo "$$" >"$group/cgroup.procs"; done; shift; exec "$@"' - "$(machine_groups "$name")" \
			"${inside[@]}" systemd-nspawn --quiet --register=no --keep-unit --directory="$lab/$name/disk/root" --boot --machine="$name" --hostname="$name" \
			--network-namespace-path="/run/netns/${wired[$name]}" --capability=CAP_NET_ADMIN --bind=/dev/net/tun --link-journal=no \
			--resolv-conf=off --timezone=off --console=pipe ${switches[$name]} </dev/null >>"$console" 2>&1
	) &
	booted[$name]=$!
	quietly_await 20 "the container of $name starts (its console: $console)" has_leader "$name"
	echo "${holder[$name]}" >"$lab/$name/holder"
	quietly_await 60 "systemd on $name starts" is_up "$name"
	boot_time=$(($(now_ms) - from))
}

# The container's first process, which is the only child of systemd-nspawn.
has_leader() { # host
	local leader
	leader=$(cat "/proc/${booted[$1]}/task/${booted[$1]}/children") leader=${leader%% *}
	[[ -n $leader && $(cat "/proc/$leader/comm") == systemd ]] && holder[$1]=$leader
}

# Everything that is started with the machine is started, or has failed.
is_up() { [[ $(on "$1" systemctl is-system-running --wait) == @(running|degraded) ]]; }

# ---- in a virtual machine --------------------------------------------------------------------------------------

# A cable to a machine that is going to boot. It ends in a namespace of the machine's own, in a bridge with the tap that is the
# card: whoever is at the other end keeps his when the machine is off.
card_of_disk() { # host, its interface, host and interface at the other end
	local name=$1 card=$2
	[[ -e /run/netns/$name ]] || ip netns add "$name"
	ip link add "l$BASHPID" netns "$3" type veth peer name "v.$card" netns "$name"
	on "$3" ip link set "l$BASHPID" name "$4"
	ip -netns "$name" tuntap add "t.$card" mode tap vnet_hdr
	ip -netns "$name" link add "b.$card" type bridge mcast_snooping 0
	for card in "v.$card" "t.$card" "b.$card"; do
		[[ $card == b.* ]] || ip -netns "$name" link set "$card" master "b.$2"
		ip -netns "$name" link set "$card" up
	done
	cards[$name]+="${cards[$name]:+ }$2"
}

boot_virtual() { # host
	local name=$1 from image=$lab/$1/disk/image fifo=$lab/$1/channel in out card number=0 names='' answer turn processor options=()
	from=$(now_ms)
	if [[ ! -e $image ]]; then
		truncate -s $(($(du -sm "$lab/$name/disk/root" | cut -f 1) + 1024))M "$image"
		mke2fs -q -t ext4 -F -d "$lab/$name/disk/root" "$image"
		mkfifo "$fifo.in" "$fifo.out"
	fi
	for card in ${cards[$name]}; do
		names+=${names:+,}$card
		options+=(-netdev "tap,id=n$number,ifname=t.$card,script=no,downscript=no"
			-device "virtio-net-pci,netdev=n$number,mac=52:54:00:$(printf '%s' "$name$card" | md5sum | sed -E 's/^(..)(..)(..).*/\1:\2:\3/')")
		number=$((number + 1))
	done
	# .NET asks for SSE4.2. Whoever does not is spared what takes longest to emulate: each string is searched by it where the processor has it.
	processor=qemu64,+rdrand
	[[ ${implementation[$name]} != wgsharp ]] || processor=max
	exec {turn}>"$lab/../boot.$((RANDOM % 2))"
	flock "$turn"
	nsenter --net="/run/netns/$name" qemu-system-x86_64 -accel tcg -cpu "$processor" -m "${limit_of_memory[$name]:-512}" -nodefaults -no-user-config -display none -no-reboot \
		-kernel "${kit[$name]:-$KERNEL_KIT}/vmlinuz" -initrd "${kit[$name]:-$KERNEL_KIT}/disk-initramfs" \
		-append "console=ttyS0 panic=-1 no_timer_check random.trust_cpu=on quiet mitigations=off apparmor=0 interop.cards=$names" -serial "file:$lab/$name/console" \
		-drive "file=$image,format=raw,if=none,id=d0,cache=unsafe" -device virtio-blk-pci,drive=d0 "${options[@]}" \
		-device virtio-serial-pci -chardev "pipe,id=c0,path=$fifo" -device virtserialport,chardev=c0 \
		>"$lab/$name/qemu" 2>&1 </dev/null {turn}>&- &
	booted[$name]=$! holder[$name]=$!
	exec {in}<>"$fifo.in" {out}<>"$fifo.out"
	read -r -t 600 -u "$out" answer || fail "the kernel's machine does not boot: $(tail -n 3 "$lab/$name/qemu" "$lab/$name/console")"
	exec {turn}>&-
	[[ $answer == ready* ]] || fail "the kernel's machine says $answer"
	# What somebody starts on a whole machine takes its time under emulation: Docker, for one.
	machine[$name]="$in $out" machine_patience[$name]=600
	machine_run "$name" "mkdir -p -m 700 $lab/$name"
	boot_time=$(($(now_ms) - from))
}

has_ended() { ! kill -0 "${booted[$1]}" 2>/dev/null; }

shut_down() { # host : an orderly end
	on "$1" systemctl poweroff --no-block >/dev/null 2>&1 || true
	quietly_await 90 "$1 is off" has_ended "$1"
	unplug "$1"
}

cut_power() { # host
	kill -KILL "${holder[$1]}"
	[[ ! -v machine[$1] ]] || wait "${booted[$1]}" 2>/dev/null || true
	quietly_await 20 "$1 is off" has_ended "$1"
	unplug "$1"
}

restart() { # host : prints nothing; $boot_time as after boot
	shut_down "$1"
	boot "$1"
}

# A namespace outlives the container; a machine's state does not outlive a reboot. So its cards move to a new one.
unplug() { # host
	local name=$1 old=${wired[$1]:-} new card
	unset "booted[$name]"
	if [[ -v machine[$name] ]]; then
		machine[$name]=off
		return 0
	fi
	new=$name.$((${old#"$name."} + 1))
	stand "$name" "$new"
	for card in $(ip -netns "$old" -o link show type veth | cut -d : -f 2 | cut -d @ -f 1); do
		# Docker's are state as well; those whose container is gone already go by themselves, at any moment.
		[[ $card == veth* ]] || ip -netns "$old" link set "$card" netns "$new"
	done
	kill -KILL "${keeper[$name]}"
	keeper[$name]=${holder[$name]}
	ip netns delete "$old"
	wired[$name]=$new
}
