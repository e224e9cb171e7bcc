#!/bin/bash
# What holds a laboratory: the namespaces that it begins in, what has to be found and made before it begins, and what no
# namespace takes along when it ends. Sourced by interop/run and interop/system, after lib/setup.sh.

# Never readable, so that `read -t` waits without a process.
exec 7<> <(:)
KERNEL=none KERNEL_KIT='' MACHINES='' PROMTOOL=''
export KERNEL KERNEL_KIT MACHINES PROMTOOL

# The kernel module as an implementation: this machine's own, or a virtual machine's.
find_kernel() {
	if unshare --net ip link add wgprobe type wireguard 2>/dev/null; then
		KERNEL=own
		echo "The kernel as a peer: this machine's own, $(uname -r)"
	else
		KERNEL=vm
		KERNEL_KIT=$("$here/kernel/prepare")
		echo "The kernel as a peer: ${KERNEL_KIT##*/} in a virtual machine (this kernel has no WireGuard)"
	fi
}

# The disks of the machines that boot, made once.
find_machines() { # image...
	[[ $# -gt 0 ]] || return 0
	need_packages "${packages_machines[@]}"
	MACHINES=$("$here/machines/prepare" "$@")
	# systemd, logind and dbus of one machine hold eight of root's inotify instances; the kernel's default is enough for 16 machines.
	if [[ $(cat "$inotify") -lt 1024 ]]; then
		inotify_before=$(cat "$inotify")
		echo 1024 >"$inotify"
	fi
}

# Debian's promtool, unpacked and not installed: its package would start a server.
find_promtool() {
	local work cache=$here/.cache
	PROMTOOL=$(type -P promtool || echo "$cache/promtool")
	[[ ! -x $PROMTOOL ]] || return 0
	mkdir -p "$cache"
	work=$(mktemp -d "$cache/tmp.XXXXXX")
	if ! { (cd "$work" && apt-get download prometheus) && dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work" ./usr/bin/promtool; } >"$work/log" 2>&1; then
		cat "$work/log" >&2
		setup_say "cannot get promtool from the package prometheus (apt-get update?)"
		rm -rf "$work"
		return 1
	fi
	mv "$work/usr/bin/promtool" "$PROMTOOL"
	rm -rf "$work"
}

inotify=/proc/sys/fs/inotify/max_user_instances inotify_before=
leave_as_found() { [[ -z $inotify_before ]] || echo "$inotify_before" >"$inotify"; }

# Runs lib/scenario in new process, mount and network namespaces. Dies with this process, and takes everything in them along.
enclosed() { # file name peer seconds directory
	exec setpriv --pdeathsig KILL unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private "$here/lib/scenario" "$@"
}

# Control groups have no namespace that would take them along; those of a process that is ending are busy for a moment.
remove_groups() { # prefix
	local group tries
	for group in /sys/fs/cgroup/"$1"* /sys/fs/cgroup/*/"$1"*; do
		[[ -d $group ]] || continue
		for ((tries = 0; tries < 250; tries++)); do
			find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
			read -r -t 0.02 <&7 || true
		done
		[[ ! -d $group ]] || setup_say "left behind: $group"
	done
}
