#!/usr/bin/env python3
# A kernel without something: without.py PART[+PART...] COMMAND...
# The command runs under a seccomp filter that answers as a kernel does that lacks these parts (asm/unistd_64.h, x86-64). A filter sees numbers, not what a
# pointer leads to (the value of an option, a control message): where it depends on that, a process of ours is asked (seccomp_unotify(2), Linux 5.5), which
# stays as long as anybody lives under the filter.
import ctypes
import errno
import fcntl
import os
import select
import socket
import struct
import sys

EPERM, EINVAL, ENOSYS, ENOPROTOOPT, EPROTONOSUPPORT, EAFNOSUPPORT = 1, 22, 38, 92, 93, 97
IOCTL, MADVISE, SOCKET, SENDMSG, SETSOCKOPT, GETSOCKOPT, FCNTL, PRCTL, TIMERFD_CREATE = 16, 28, 41, 46, 54, 55, 72, 157, 283
ANY = 0xFFFFFFFF


# IP_PMTUDISC_INTERFACE (3.15), IP_PMTUDISC_OMIT (3.15)
def is_new_discovery(process, arguments):
    return struct.unpack("i", memory(process, arguments[3], 4))[0] >= 4


# struct msghdr ends with control messages: each its length with the header, level, type, and data up to the next multiple of 8. Of IPPROTO_IP, IP_TOS and IP_TTL came in 3.13.
def has_new_control_message(process, arguments):
    start, length = struct.unpack_from("QQ", memory(process, arguments[1], 56), 32)
    control = memory(process, start, min(length, 4096))
    while len(control) >= 16:
        size, level, kind = struct.unpack_from("Qii", control)
        if level == 0 and kind in (1, 2):
            return True
        control = control[max(size + 7 & -8, 16):]
    return False


def memory(process, start, length):
    with open(f"/proc/{process}/mem", "rb", 0) as file:
        return os.pread(file.fileno(), length, start) if length else b""


# What is refused: system calls, values of arguments by their number, and the answer; and what has to be so in memory, where it depends on that. A pair stands
# for all numbers from one to the other.
PARTS = {
    # AF_NETLINK, NETLINK_NETFILTER
    "nf_tables": [(SOCKET, {0: 16, 2: 12}, EPROTONOSUPPORT)],
    # IPT_SO_GET_INFO, IPT_SO_GET_ENTRIES and their like, of IPv4 and IPv6
    "ip_tables": [(call, {1: level, 2: name}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT) for level in (0, 41) for name in (64, 65)],
    # TUNSETIFF
    "tunsetiff": [(IOCTL, {1: 0x400454CA}, EPERM)],
    # AF_INET6
    "ipv6": [(SOCKET, {0: 10}, EAFNOSUPPORT)],
    # TUNSETOFFLOAD with more than TUN_F_CSUM
    "tso": [(IOCTL, {1: 0x400454D0, 2: (2, ANY)}, EINVAL)],
    # A kernel 3.10, as OpenVZ 7's is one: everything in it has the number that it had when it came, and what has a larger number came later.
    "3.10": [
        # From sched_setattr on: renameat2, seccomp, getrandom, memfd_create, bpf, execveat, userfaultfd, membarrier, copy_file_range, statx, rseq, pidfd_open,
        # clone3, close_range, openat2, the new mount, io_uring. Beginning with bit 30 they are those of the x32 ABI.
        ((314, (1 << 30) - 1), {}, ENOSYS),
        # CLOCK_BOOTTIME (3.15) and the alarm clocks (3.11)
        (TIMERFD_CREATE, {0: (7, ANY)}, EINVAL),
        # SOL_SOCKET beyond SO_SELECT_ERR_QUEUE: SO_ATTACH_REUSEPORT_CBPF and its like
        *((call, {1: 1, 2: (46, ANY)}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT)),
        # IPPROTO_IP from IP_CHECKSUM to below those of multicast: IP_BIND_ADDRESS_NO_PORT, IP_RECVFRAGSIZE
        *((call, {1: 0, 2: (23, 31)}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT)),
        # IP_MTU_DISCOVER
        (SETSOCKOPT, {1: 0, 2: 10}, EINVAL, is_new_discovery),
        # As far as it is MSG_DONTWAIT | MSG_NOSIGNAL that it is called with: that is us, and hardly anybody else.
        (SENDMSG, {2: 0x4040}, EINVAL, has_new_control_message),
        # IPPROTO_IPV6: IPV6_AUTOFLOWLABEL; IPV6_RECVFRAGSIZE, IPV6_FREEBIND
        *((call, {1: 41, 2: names}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT) for names in (70, (77, ANY))),
        # IPPROTO_UDP beyond UDP_ENCAP: UDP_SEGMENT, UDP_GRO
        *((call, {1: 17, 2: (101, ANY)}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT)),
        # IPPROTO_TCP beyond TCP_TIMESTAMP
        *((call, {1: 6, 2: (25, ANY)}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT)),
        # SOL_NETLINK beyond NETLINK_TX_RING: NETLINK_LISTEN_ALL_NSID, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK
        *((call, {1: 270, 2: (8, ANY)}, ENOPROTOOPT) for call in (SETSOCKOPT, GETSOCKOPT)),
        # TUNSETOFFLOAD with TUN_F_USO4, TUN_F_USO6
        (IOCTL, {1: 0x400454D0, 2: (32, ANY)}, EINVAL),
        # TUNGETDEVNETNS
        (IOCTL, {1: 0x54E3}, EINVAL),
        # PR_SET_THP_DISABLE to PR_CAP_AMBIENT and later; PR_SET_VMA
        (PRCTL, {0: (41, 0x1000)}, EINVAL),
        (PRCTL, {0: 0x53564D41}, EINVAL),
        # F_OFD_GETLK to F_OFD_SETLKW; F_ADD_SEALS, F_GET_SEALS
        (FCNTL, {1: (36, 38)}, EINVAL),
        (FCNTL, {1: (1033, 1040)}, EINVAL),
        # MADV_FREE; MADV_WIPEONFORK and later
        (MADVISE, {2: 8}, EINVAL),
        (MADVISE, {2: (18, 99)}, EINVAL),
    ],
}

LOAD, EQUAL, AT_LEAST, ABOVE, RETURN = 0x20, 0x15, 0x35, 0x25, 0x06
ALLOW, ASK, REFUSE = 0x7FFF0000, 0x7FC00000, 0x00050000


def program(rules):
    code = []
    for call, arguments, refusal, *look in rules:
        # struct seccomp_data: number, architecture, instruction pointer, six arguments of 8 bytes; the low half of each is compared.
        tests = [(0, call)] + [(16 + 8 * number, value) for number, value in arguments.items()]
        left = sum(3 if isinstance(value, tuple) else 2 for _, value in tests)
        for offset, value in tests:
            code.append((LOAD, 0, 0, offset))
            if isinstance(value, tuple):
                left -= 3
                code += [(AT_LEAST, 0, left + 2, value[0]), (ABOVE, left + 1, 0, value[1])]
            else:
                left -= 2
                code.append((EQUAL, 0, left + 1, value))
        code.append((RETURN, 0, 0, ASK if look else REFUSE | refusal))
    code.append((RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


# Returns the descriptor by which the filter asks, if it is to ask; or 0.
def install(code, asks):
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(code, len(code))
    filter_program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer)), 16)
    seccomp, set_mode_filter, new_listener = 317, 1, 8
    listener = libc.syscall(seccomp, set_mode_filter, new_listener if asks else 0, filter_program)
    if listener < 0:
        sys.exit(f"without.py: seccomp: {os.strerror(ctypes.get_errno())}")
    return listener


# struct seccomp_notif: an identifier of 8 bytes, process, flags, struct seccomp_data. struct seccomp_notif_resp: the identifier, result, error, flags.
def answer(listener, rules):
    receive, send, go_on = 0xC0502100, 0xC0182101, 1
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not poll.poll()[0][1] & select.POLLHUP:
        question = bytearray(80)
        try:
            fcntl.ioctl(listener, receive, question)
            identifier, process, call, *arguments = struct.unpack("QI4xi4x8x6Q", question)
            looks = [(refusal, look) for number, values, refusal, look in rules if number == call and all(arguments[i] & ANY == value for i, value in values.items())]
            refused = [refusal for refusal, look in looks if look(process, arguments)]
            fcntl.ioctl(listener, send, struct.pack("QqiI", identifier, 0, -refused[0] if refused else 0, 0 if refused else go_on))
        except OSError as gone:
            # Who asked was killed, or interrupted and asks again.
            if gone.errno not in (errno.ENOENT, errno.EINTR, errno.EINPROGRESS, errno.ESRCH, errno.EIO):
                raise


def main():
    rules = [rule for part in sys.argv[1].split("+") for rule in PARTS[part]]
    looks = [rule for rule in rules if len(rule) == 4]
    if not looks:
        install(program(rules), asks=False)
        os.execvp(sys.argv[2], sys.argv[2:])
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    child = os.fork()
    if child == 0:
        # Nobody's child: the command does not expect any.
        if os.fork() == 0:
            theirs.close()
            received = socket.recv_fds(ours, 1, 1)[1]
            if received:
                answer(received[0], looks)
        os._exit(0)
    os.waitpid(child, 0)
    ours.close()
    listener = install(program(rules), asks=True)
    socket.send_fds(theirs, [b"x"], [listener])
    os.close(listener)
    theirs.close()
    os.execvp(sys.argv[2], sys.argv[2:])


main()
