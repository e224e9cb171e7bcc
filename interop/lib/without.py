#!/usr/bin/env python3
# A kernel without something: without.py PART[+PART...] COMMAND...
# The command runs under a seccomp filter that answers as a kernel does that lacks these parts (asm/unistd_64.h, x86-64).
import ctypes
import os
import struct
import sys

EPERM, ENOPROTOOPT, EPROTONOSUPPORT = 1, 92, 93
SOCKET, SETSOCKOPT, GETSOCKOPT, IOCTL = 41, 54, 55, 16

# What is refused: system call, values of arguments by their number, and the answer.
PARTS = {
    # AF_NETLINK, NETLINK_NETFILTER
    "nf_tables": [(SOCKET, {0: 16, 2: 12}, EPROTONOSUPPORT)],
    # IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES and their like, of IPv4 and IPv6
    "ip_tables": [(call, {1: level, 2: name}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT) for level in (0, 41) for name in (64, 65)],
    # TUNSETIFF
    "tunsetiff": [(IOCTL, {1: 0x400454CA}, EPERM)],
}

LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, REFUSE = 0x7FFF0000, 0x00050000


def program(rules):
    code = []
    for call, arguments, errno in rules:
        # struct seccomp_data: number, architecture, instruction pointer, six arguments of 8 bytes; the low half of each is compared.
        tests = [(0, call)] + [(16 + 8 * number, value) for number, value in arguments.items()]
        left = 2 * len(tests)
        for offset, value in tests:
            left -= 2
            code += [(LOAD, 0, 0, offset), (EQUAL, 0, left + 1, value)]
        code.append((RETURN, 0, 0, REFUSE | errno))
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def install(code):
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer)), 16)
    set_seccomp, mode_filter = 22, 2
    if libc.prctl(set_seccomp, mode_filter, filter_program, 0, 0) != 0:
        sys.exit(f"without.py: seccomp: {os.strerror(ctypes.get_errno())}")


install(program([rule for part in sys.argv[1].split("+") for rule in PARTS[part]]))
os.execvp(sys.argv[2], sys.argv[2:])
