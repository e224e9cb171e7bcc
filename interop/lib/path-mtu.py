#!/usr/bin/env python3
"""Datagrams that insist on their size, and somebody who lies about sizes. Every mode ends by itself, and prints lines "name value".

  send ADDRESS PORT COUNT RATE SMALLEST LARGEST   RATE datagrams a second with DF set whatever the kernel knows of the path (as QUIC probes and
                                                  sends), numbered; their sizes, IP header included, go from SMALLEST to LARGEST over and over. Never more than
                                                  WINDOW of them wait for the receiver's word: on a busy machine what was missed would be made up for
                                                  by more at once than an interface's queue takes, and be lost by nobody's fault
  receive ADDRESS PORT COUNT SECONDS SMALLEST LARGEST
                                                  what comes of them: lost, twice, with another size or other bytes than were sent
  forge FROM FROM-PORT TO TO-PORT MTU RATE SECONDS INDEX
                                                  tells FROM by ICMP, RATE times a second, that what it sent from its port to TO was longer than MTU;
                                                  with MTU 0, that nobody has the port.
                                                  Every other message quotes the receiver index INDEX (8 hexadecimal digits as on the wire) and a
                                                  counter that was never sent, the others quote nonsense
"""

import random
import signal
import socket
import struct
import sys
import time

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PROBE = 10, 23, 3
SO_RCVBUFFORCE = 33
MOST = 2_000_000
WINDOW = 64


def family_of(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def headers(family):
    return 48 if family == socket.AF_INET6 else 28


def contents(number, size):
    return struct.pack("<Q", number) + bytes([number & 0xFF]) * (size - 8)


def sizes(smallest, largest, number, overhead):
    return smallest + number % (largest - smallest + 1) - overhead


def paced(rate, count, until, one):
    """Calls one(i), up to count times or until then, RATE times a second; what was missed is made up for. Says how many times."""
    begin = time.monotonic()
    done = 0
    while done < count:
        now = time.monotonic()
        if now >= until:
            break
        due = min(count, int((now - begin) * rate) + 1)
        while done < due:
            one(done)
            done += 1
        time.sleep(max(0.0, begin + done / rate - time.monotonic()))
    return done


def send(address, port, count, rate, smallest, largest):
    family = family_of(address)
    sender = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sender.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, PROBE)
    else:
        sender.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, PROBE)
    sender.connect((address, int(port)))
    sender.settimeout(2)
    overhead, smallest, largest = headers(family), int(smallest), int(largest)
    refused = answered = 0

    def one(number):
        nonlocal refused, answered
        while number - answered >= WINDOW:
            try:
                answered = struct.unpack("<Q", sender.recv(8))[0]
            except socket.timeout:
                answered = number
            except OSError:
                refused += 1
        try:
            sender.send(contents(number, sizes(smallest, largest, number, overhead)))
        except OSError:
            # What an earlier one is told by ICMP arrives here; this one was not sent, so it is, again.
            refused += 1
            try:
                sender.send(contents(number, sizes(smallest, largest, number, overhead)))
            except OSError:
                refused += 1

    print("sent", paced(float(rate), min(int(count), MOST), float("inf"), one))
    print("refused", refused)


def receive(address, port, count, seconds, smallest, largest):
    family = family_of(address)
    receiver = socket.socket(family, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
    receiver.bind((address, int(port)))
    overhead, smallest, largest, count = headers(family), int(smallest), int(largest), int(count)
    print("ready", 1, flush=True)
    seen, twice, other = set(), 0, 0
    longest = 0
    until = time.monotonic() + float(seconds)
    while len(seen) < count and (left := until - time.monotonic()) > 0:
        receiver.settimeout(left)
        try:
            datagram, sender = receiver.recvfrom(65536)
        except socket.timeout:
            break
        number = struct.unpack_from("<Q", datagram)[0] if len(datagram) >= 8 else MOST
        if number >= count or datagram != contents(number, sizes(smallest, largest, number, overhead)):
            other += 1
            continue
        receiver.sendto(struct.pack("<Q", number + 1), sender)
        twice += number in seen
        seen.add(number)
        longest = max(longest, len(datagram) + overhead)
    print("arrived", len(seen))
    print("lost", count - len(seen))
    print("twice", twice)
    print("other", other)
    print("longest", longest)


def checksum(message):
    total = sum(struct.unpack(f">{len(message) // 2}H", message))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def forgery(family, source, source_port, to, to_port, mtu, payload):
    udp = struct.pack(">HHHH", source_port, to_port, 1460, 0x1234) + payload
    source, to = socket.inet_pton(family, source), socket.inet_pton(family, to)
    if family == socket.AF_INET6:
        # The kernel fills the checksum in.
        kind = (2, 0) if mtu else (1, 4)
        return struct.pack(">BBHI", *kind, 0, mtu) + struct.pack(">IHBB", 6 << 28, 1460, socket.IPPROTO_UDP, 64) + source + to + udp
    quoted = struct.pack(">BBHHHBBH", 0x45, 0, 1480, 0x4321, 0x4000, 64, socket.IPPROTO_UDP, 0) + source + to
    message = struct.pack(">BBHHH", 3, 4 if mtu else 3, 0, 0, mtu) + quoted + udp
    return message[:2] + struct.pack(">H", checksum(message)) + message[4:]


def forge(source, source_port, to, to_port, mtu, rate, seconds, index):
    family = family_of(source)
    protocol = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
    sender = socket.socket(family, socket.SOCK_RAW, protocol)
    index = bytes.fromhex(index)
    chance = random.Random(1)
    lies = []
    for i in range(256):
        living = struct.pack("<I", 4) + index + struct.pack("<Q", (1 << 40) + i)
        payload = (living if i % 2 else struct.pack("<I", 4) + chance.randbytes(12)) + chance.randbytes(48)
        lies.append(forgery(family, source, int(source_port), to, int(to_port), int(mtu), payload))
    failed = 0

    def one(number):
        nonlocal failed
        try:
            sender.sendto(lies[number % len(lies)], (source, 0))
        except OSError:
            failed += 1

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    begin = time.monotonic()
    told = paced(float(rate), MOST, begin + float(seconds), one)
    print("told", told)
    print("failed", failed)
    print("per_second", int(told / (time.monotonic() - begin)))


if __name__ == "__main__":
    modes = {"send": (send, 6), "receive": (receive, 6), "forge": (forge, 8)}
    if len(sys.argv) < 2 or sys.argv[1] not in modes or len(sys.argv) - 2 != modes[sys.argv[1]][1]:
        sys.exit(__doc__)
    modes[sys.argv[1]][0](*sys.argv[2:])
