#!/bin/bash
# Set-up shared by the demo, the interop suite and tests/run: installs the Debian packages that are missing and finds
# the .NET SDK. Sourced; offers need_packages, need_sdk and build_daemon. Says nothing where nothing is to be done.

top=$(readlink -f "${BASH_SOURCE[0]%/*}/../..")
export DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 DOTNET_CLI_HOME=${DOTNET_CLI_HOME:-${HOME:-/root}}

# What a demonstration needs, and what the whole suite needs beyond it.
packages_demo=(wireguard-tools iproute2 iputils-ping iperf3 libsodium23 procps)
packages_suite=("${packages_demo[@]}" strace wireguard-go iptables nftables tcpdump tshark conntrack ncat ethtool kmod cpio
	busybox-static qemu-system-x86 shellcheck ansible-lint util-linux python3 curl openssl)

# What machines that boot need (interop/machines).
packages_machines=(debootstrap systemd-container apt-utils e2fsprogs openssl openssh-client)

setup_say() { printf '%s\n' "$*" >&2; }

need_root() {
	[[ $EUID -eq 0 ]] || { setup_say "${0##*/}: must run as root (sudo $0)"; exit 1; }
	# sudo may leave the administrator's directories out.
	export PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
}

need_packages() {
	local missing=() package log
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
	done
	[[ ${#missing[@]} -gt 0 ]] || return 0
	setup_say "installing: ${missing[*]}"
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get update && apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
		cat "$log" >&2
		setup_say "cannot install: ${missing[*]}"
		return 1
	fi
	rm -f "$log"
}

# sudo drops the caller's PATH, so the usual places are looked at too.
need_sdk() {
	local place
	for place in "${DOTNET_ROOT:-}" /usr/share/dotnet /usr/lib/dotnet /usr/local/share/dotnet /opt/dotnet "${HOME:-/root}/.dotnet" \
		"/home/${SUDO_USER:-nobody}/.dotnet" /snap/dotnet-sdk/current; do
		if ! type -P dotnet >/dev/null && [[ -x $place/dotnet ]]; then
			PATH=$place:$PATH
		fi
	done
	if ! dotnet --list-sdks 2>/dev/null | grep -q '^10\.'; then
		setup_say "the .NET 10 SDK is needed (dotnet --list-sdks shows none): https://dotnet.microsoft.com/download/dotnet/10.0"
		return 1
	fi
}

# The executable as users install it: one self-contained file in artifacts/linux-x64. $1 = file for the build's output.
build_daemon() {
	local log=$1
	if ! (cd "$top" && dotnet publish src/WgSharp -c Release -r linux-x64 -o artifacts/linux-x64) >"$log" 2>&1; then
		tail -n 40 "$log" >&2
		setup_say "the build failed"
		return 1
	fi
}

# The wg-quick that starts the userspace implementation. Where the kernel has WireGuard, wg-quick prefers it, so it is
# copied to directory $1, beside an `ip` that starts the implementation instead. Prints the path.
userspace_quick() {
	if [[ -e /sys/module/wireguard ]] || unshare --net ip link add wgprobe type wireguard 2>/dev/null; then
		mkdir -p "$1"
		cp "$(type -P wg-quick)" "$1/wg-quick"
		cp "$top/interop/lib/quick-ip" "$1/ip"
		echo "$1/wg-quick"
	else
		type -P wg-quick
	fi
}
