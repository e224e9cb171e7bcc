#!/bin/bash
# What interop/system does in its laboratory, with the system that $SYSTEM names. Run by lib/scenario.

# shellcheck source=/dev/null
. "$library/../systems/$SYSTEM/system.sh"

scenario_stand() { # implementation of every WireGuard end
	local name
	note "bringing up '$SYSTEM' with $1 ..."
	"build_${SYSTEM//-/_}" "$1" "$1"
	note "It stands. In another terminal, as root:"
	for name in "${hosts[@]}"; do
		note "    $ENTER $name"
	done
	note ""
	"try_${SYSTEM//-/_}" >&3
	note ""
	note "Ctrl-C takes everything down. A machine that somebody reboots or powers off is switched on again."
	# To be ended is no failure.
	trap 'exit 0' INT TERM HUP
	while wait -n "${booted[@]}" || true; do
		for name in "${!booted[@]}"; do
			has_ended "$name" || continue
			unplug "$name"
			boot "$name"
			note "$name has booted after $boot_time ms"
		done
	done
}

scenario_measure() { # implementation of every WireGuard end
	"build_${SYSTEM//-/_}" "$1" "$1"
	"figures_${SYSTEM//-/_}" | sed 's/^/figure /' >&3
}
