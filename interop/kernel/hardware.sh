#!/bin/bash
# The virtual machine that plays a kernel with WireGuard: sourced by prepare, which boots it once and keeps its state, and by
# lib/lab.sh, which goes on from that state. So both have to describe the same hardware.

# Leaves the command in the array `hardware`. Never KVM: nested in another hypervisor it may be offered and then hang. With RDRAND, because the
# module drops handshakes until the random number generator is seeded. One machine has one card.
virtual_hardware() { # kit, its tap, its command channel (a pair of named pipes), file for its console
	# shellcheck disable=SC2034,SC2054  # for whoever sources this; the commas are QEMU's
	hardware=(qemu-system-x86_64 -accel tcg -cpu qemu64,+rdrand -m 320 -nodefaults -no-user-config -display none -no-reboot
		-kernel "$1/vmlinuz" -initrd "$1/initramfs"
		-append "console=ttyS0 panic=-1 no_timer_check random.trust_cpu=on quiet mitigations=off" -serial "file:$4"
		-netdev "tap,id=n0,ifname=$2,script=no,downscript=no" -device "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56"
		-device virtio-serial-pci -chardev "pipe,id=c0,path=$3" -device virtserialport,chardev=c0)
}
