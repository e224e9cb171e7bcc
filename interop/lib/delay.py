#!/usr/bin/env python3
"""A cable with a delay: every Ethernet frame that comes in at one interface leaves at the other MILLISECONDS later, both ways.

  delay.py MILLISECONDS INTERFACE INTERFACE SECONDS

Ends after SECONDS. The hosts at the ends have to compute their checksums themselves (ethtool -K eth0 tx off): a frame that was
left half done for a network card cannot be finished here.
"""

import collections
import select
import socket
import sys
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1


def end_of_cable(interface):
    end = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    end.bind((interface, ETH_P_ALL))
    index = socket.if_nametoindex(interface)
    end.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, index.to_bytes(4, "little") + PACKET_MR_PROMISC.to_bytes(2, "little") + bytes(10))
    end.setblocking(False)
    return end


def take_in(end, other, line, delay):
    while True:
        try:
            frame, (_, _, kind, *_) = end.recvfrom(65600)
        except BlockingIOError:
            return
        if kind != PACKET_OUTGOING:
            line.append((time.monotonic() + delay, other, frame))


def main(milliseconds, left, right, seconds):
    delay, over = float(milliseconds) / 1000, time.monotonic() + float(seconds)
    left, right = end_of_cable(left), end_of_cable(right)
    line = collections.deque()  # every frame waits equally long: the first in is the first out
    print("ready", flush=True)
    while (now := time.monotonic()) < over:
        due = line[0][0] if line else over
        for end in select.select([left, right], [], [], max(0.0, min(due, over) - now))[0]:
            take_in(end, right if end is left else left, line, delay)
        while line and line[0][0] <= time.monotonic():
            _, out, frame = line.popleft()
            try:
                out.send(frame)
            except OSError:
                pass  # a cable loses what does not fit


if __name__ == "__main__":
    if len(sys.argv) != 5:
        sys.exit(__doc__)
    main(*sys.argv[1:])
