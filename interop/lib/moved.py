#!/usr/bin/env python3
"""moved.py EXECUTABLE TARGET: another build of the daemon, as an upgrade would bring it.

A copy that works just as well, but in which every assembly lies elsewhere: 64 KiB of nothing are put before the bundle that
.NET appends to its host, and the bundle's table and what points to it are corrected. A daemon that goes on
reading its file by name after this one has taken its place reads in the wrong places.
"""
import struct
import sys

GAP = 64 * 1024

# What marks the place where the host keeps the offset of its bundle: the SHA-256 of ".net core bundle\n".
SIGNATURE = bytes.fromhex("8b1202b96a612038727b930214d7a03213f5b9e6efae3318ee3b2dce24b36aae")


def text(data, at):
    length = shift = 0
    while True:
        byte = data[at]
        at += 1
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return at + length


def main(source, target):
    data = bytearray(open(source, "rb").read())
    pointer = data.index(SIGNATURE) - 8
    (table,) = struct.unpack_from("<q", data, pointer)
    major, _, files = struct.unpack_from("<III", data, table)
    if major != 6:
        sys.exit(f"{source}: a bundle of version {major}, not 6")
    at = text(data, table + 12)
    places = [at, at + 16]  # deps.json, runtimeconfig.json
    at += 40
    for _ in range(files):
        places.append(at)
        at = text(data, at + 25)
    offsets = [struct.unpack_from("<q", data, place)[0] for place in places]
    first = min(offset for offset in offsets if offset)
    first -= first % 4096
    for place, offset in zip(places, offsets):
        if offset:
            struct.pack_into("<q", data, place, offset + GAP)
    struct.pack_into("<q", data, pointer, table + GAP)
    data[first:first] = bytes(GAP)
    open(target, "wb").write(data)


main(*sys.argv[1:])
