#!/usr/bin/env python3
"""What puts a tunnel under pressure, and what is measured meanwhile. Every mode ends by itself, and prints lines "name value".

  flood ADDRESS PORT SECONDS SIZE SEGMENTS       datagrams of SIZE bytes, SEGMENTS of them with each send (UDP_SEGMENT), no pause
  junk ADDRESS PORT SECONDS PUBLIC-KEY|- [BURST EVERY-MS]
                                                 handshake initiations for the holder of the key, with a valid mac1 (or "-": a wrong
                                                 one), without a pause or BURST of them every EVERY-MS
  stream ADDRESS PORT SECONDS RATE SIZE          RATE datagrams a second, numbered
  sweep ADDRESS COUNT SECONDS RATE               RATE datagrams a second, to COUNT addresses from this one on in turn
  receive ADDRESS PORT SECONDS EXPECTED          what comes of a stream, and the longest time in which nothing of it came
  upload ADDRESS PORT SECONDS                    bulk by TCP; where nobody takes it, it waits
  take ADDRESS PORT SECONDS                      takes such an upload
  echo ADDRESS SECONDS EVERY-MS                  pings: lost, median and worst time
  answer ADDRESS SECONDS [AT]                    pings every 50 ms, from the moment AT on (seconds since 1970), until the first comes back
  time SECONDS EVERY-MS COMMAND...               how long a command takes, over and over: median and worst
  show SECONDS EVERY-MS INTERFACE                the same of `wg show`, and in turns with it of what its daemon alone takes: asked by its socket,
                                                 until the whole answer is here
  small-buffers send|both COMMAND...             runs a command that may not enlarge the send buffers of its sockets, or those for receiving
                                                 neither (a seccomp filter says EPERM)
"""

import base64
import ctypes
import hashlib
import os
import select
import signal
import socket
import statistics
import struct
import subprocess
import sys
import time

SOL_UDP, UDP_SEGMENT = 17, 103
SO_SNDBUFFORCE, SO_RCVBUFFORCE, SO_TIMESTAMPNS = 32, 33, 35
NANO = 1_000_000_000

# Nothing here floods for longer or with more, whatever it is asked for.
MOST_SECONDS, MOST_DATAGRAMS = 120, 500_000_000


class Enough(Exception):
    """SIGTERM: what was done until then is said as at the end."""


def enough(*_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Enough


def say(**figures):
    for name, value in figures.items():
        print(name, f"{value:.3f}" if isinstance(value, float) else value)
    sys.stdout.flush()


# ---- senders -------------------------------------------------------------------------------------------------------


def segmented(size):
    sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sender.setsockopt(SOL_UDP, UDP_SEGMENT, size)
    return sender


def send_all_the_time(sender, trains, to, seconds, per_train):
    """The trains over and over. An error of one (a full queue, an ICMP message for an earlier one) is no reason to stop."""
    sent = refused = 0
    begin = time.monotonic()
    end = begin + min(seconds, MOST_SECONDS)
    try:
        while time.monotonic() < end and sent < MOST_DATAGRAMS:
            for train in trains:
                try:
                    sender.sendto(train, to)
                    sent += per_train
                except OSError:
                    refused += 1
    except Enough:
        pass
    say(sent=sent, refused_sends=refused, per_second=int(sent / (time.monotonic() - begin)))


def flood(address, port, seconds, size, segments):
    size, segments = int(size), int(segments)
    send_all_the_time(segmented(size), [bytes(size * segments)] * 16, (address, int(port)), float(seconds), segments)


def initiation(sender_index, public_key):
    """A handshake initiation that nobody could have made who has a private key, but for its mac1 (whitepaper, section 5.4.4)."""
    message = struct.pack("<II", 1, sender_index) + os.urandom(108)
    mac1 = os.urandom(16)
    if public_key is not None:
        key = hashlib.blake2s(b"mac1----" + public_key).digest()
        mac1 = hashlib.blake2s(message, key=key, digest_size=16).digest()
    return message + mac1 + bytes(16)


def junk(address, port, seconds, public_key, burst=None, every_ms=None):
    key = None if public_key == "-" else base64.b64decode(public_key)
    trains = [b"".join(initiation(64 * train + i + 1, key) for i in range(64)) for train in range(64)]
    sender, to, seconds = segmented(148), (address, int(port)), float(seconds)
    if burst is None:
        send_all_the_time(sender, trains, to, seconds, 64)
        return
    sent, begin, next_burst = 0, time.monotonic(), time.monotonic()
    try:
        while time.monotonic() < begin + min(seconds, MOST_SECONDS):
            for at in range(0, int(burst), 64):
                count = min(64, int(burst) - at)
                sender.sendto(trains[at // 64 % 64][: 148 * count], to)
                sent += count
            next_burst += int(every_ms) / 1000
            time.sleep(max(0.0, next_burst - time.monotonic()))
    except Enough:
        pass
    say(sent=sent, per_second=int(sent / (time.monotonic() - begin)))


STREAM = struct.Struct("<QQQQ")  # number, how many there will be, nanoseconds between two, time of sending


def stream(address, port, seconds, rate, size):
    sender, to = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), (address, int(port))
    count, interval = int(float(seconds) * float(rate)), int(NANO / float(rate))
    rest, refused = bytes(int(size) - STREAM.size), 0
    begin = time.time_ns()
    for number in range(count):
        wait = begin + number * interval - time.time_ns()
        if wait > 0:
            time.sleep(wait / NANO)
        try:
            sender.sendto(STREAM.pack(number, count, interval, time.time_ns()) + rest, to)
        except OSError:
            refused += 1
    say(sent=count, refused_sends=refused)


def sweep(address, count, seconds, rate):
    sender, first = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), struct.unpack("!I", socket.inet_aton(address))[0]
    total, interval = int(min(float(seconds), MOST_SECONDS) * float(rate)), int(NANO / float(rate))
    sent, begin = 0, time.time_ns()
    for number in range(total):
        wait = begin + number * interval - time.time_ns()
        if wait > 0:
            time.sleep(wait / NANO)
        sender.sendto(bytes(64), (socket.inet_ntoa(struct.pack("!I", first + number % int(count))), 9))
        sent += 1
    say(sent=sent)


def upload(address, port, seconds):
    end = time.monotonic() + min(float(seconds), MOST_SECONDS)
    with socket.create_connection((address, int(port)), timeout=10) as connection:
        # What fills queues; bbr, which is the default of some machines, keeps them short by itself.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"cubic")
        connection.settimeout(0.2)
        while time.monotonic() < end:
            try:
                connection.send(bytes(65536))
            except TimeoutError:
                pass


# ---- receivers -----------------------------------------------------------------------------------------------------


def when(ancillary):
    """The kernel's own time of arrival: how long this program slept after it does not count."""
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack("qq", data[:16])
            return seconds * NANO + nanoseconds
    return time.time_ns()


def receive(address, port, seconds, expected):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 32 << 20)
    receiver.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    receiver.bind((address, int(port)))
    expected, end = int(expected), time.monotonic() + float(seconds)
    arrived = {}
    last = -1
    print("ready", flush=True)
    while last + 1 < expected and (left := end - time.monotonic()) > 0:
        receiver.settimeout(left)
        try:
            data, ancillary, _, _ = receiver.recvmsg(2048, 128)
        except TimeoutError:
            break
        last, _, interval, sent = STREAM.unpack_from(data)
        arrived[last] = (when(ancillary), sent)
    in_time = sum(at - sent <= NANO for at, sent in arrived.values())
    say(received=len(arrived), of=expected, within_a_second=in_time, lost_percent=100 * (1 - len(arrived) / expected),
        longest_gap_ms=longest_gap(arrived, expected, interval) / 1e6 if arrived else float(seconds) * 1000)


def longest_gap(arrived, expected, interval):
    """Nanoseconds between two arrivals, less what the sender itself was late with the second; the ends of the stream count too."""
    numbers = sorted(arrived)
    first, last = numbers[0], numbers[-1]
    begin = (arrived[first][1] - first * interval, arrived[first][1] - first * interval)
    end = arrived[last][1] + (expected - 1 - last) * interval
    marks = [(-1, *begin)] + [(number, *arrived[number]) for number in numbers] + ([(expected - 1, end, end)] if last + 1 < expected else [])
    longest = 0
    for (number, at, sent), (next_number, next_at, next_sent) in zip(marks, marks[1:]):
        late = next_sent - sent - (next_number - number) * interval
        longest = max(longest, next_at - at - max(0, late))
    return longest


def take(address, port, seconds):
    listener = socket.create_server((address, int(port)))
    end, taken = time.monotonic() + min(float(seconds), MOST_SECONDS), 0
    print("ready", flush=True)
    listener.settimeout(float(seconds))
    try:
        connection, _ = listener.accept()
        while (left := end - time.monotonic()) > 0:
            connection.settimeout(left)
            data = connection.recv(1 << 20)
            if not data:
                break
            taken += len(data)
    except (TimeoutError, ConnectionError, Enough):
        pass
    say(taken_bytes=taken)


# ---- pings ---------------------------------------------------------------------------------------------------------


class Pinger:
    """ICMP echo; when an answer came is the kernel's word."""

    def __init__(self, address):
        self.to = (address, 0)
        self.id = os.getpid() & 0xFFFF
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sent = 0
        self.times_ms = {}
        self.first_came = None

    def send(self):
        body = struct.pack("!BBHHHQ", 8, 0, 0, self.id, self.sent & 0xFFFF, time.time_ns()) + bytes(40)
        total = sum(struct.unpack(f"!{len(body) // 2}H", body))
        total = (total & 0xFFFF) + (total >> 16)
        checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        try:
            self.socket.sendto(body[:2] + struct.pack("!H", checksum) + body[4:], self.to)
        except OSError:
            pass  # counts as sent, and so as lost
        self.sent += 1

    def receive_until(self, moment, stop=lambda: False):
        while not stop() and (left := moment - time.monotonic()) > 0:
            if not select.select([self.socket], [], [], left)[0]:
                return
            data, ancillary, _, _ = self.socket.recvmsg(2048, 128)
            icmp = data[(data[0] & 15) * 4 :]
            kind, _, _, identifier, number, sent = struct.unpack_from("!BBHHHQ", icmp)
            if kind == 0 and identifier == self.id and data[12:16] == socket.inet_aton(self.to[0]):
                came = when(ancillary)
                self.times_ms[number] = (came - sent) / 1e6
                self.first_came = self.first_came or came


def echo(address, seconds, every_ms):
    pinger = Pinger(address)
    begin, count = time.monotonic(), int(float(seconds) * 1000 / float(every_ms))
    try:
        while pinger.sent < count:
            pinger.send()
            pinger.receive_until(begin + pinger.sent * float(every_ms) / 1000)
    except Enough:
        count = pinger.sent
    pinger.receive_until(time.monotonic() + 1, lambda: len(pinger.times_ms) == count)
    times = pinger.times_ms.values()
    say(sent=count, received=len(times), lost_percent=100 * (1 - len(times) / count),
        median_ms=statistics.median(times) if times else "never", worst_ms=max(times, default="never"))


def answer(address, seconds, at=None):
    pinger = Pinger(address)
    time.sleep(max(0.0, float(at) - time.time()) if at else 0)
    begin = time.time_ns()
    first, end = time.monotonic(), time.monotonic() + float(seconds)
    while not pinger.times_ms and time.monotonic() < end:
        pinger.send()
        pinger.receive_until(first + pinger.sent * 0.05, lambda: bool(pinger.times_ms))
    if pinger.times_ms:
        say(first_answer_ms=(pinger.first_came - begin) / 1e6)
    else:
        say(first_answer_ms="never")


def over_and_over(seconds, every_ms, what, took):
    """Its times in ms; what is not done yet when somebody has enough counts as long as it has lasted."""
    begin = time.monotonic()
    try:
        while time.monotonic() < begin + float(seconds):
            start = time.monotonic()
            took.append(float("inf"))  # until it has ended
            what()
            took[-1] = (time.monotonic() - start) * 1000
            if len(took) == 1:
                print("ready", flush=True)
            time.sleep(max(0.0, start + float(every_ms) / 1000 - time.monotonic()))
    except Enough:
        if took[-1] == float("inf"):
            took[-1] = (time.monotonic() - start) * 1000


def time_command(seconds, every_ms, *command):
    took = []
    over_and_over(seconds, every_ms, lambda: run(command), took)
    say(runs=len(took), median_ms=statistics.median(took), worst_ms=max(took))


def run(command):
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)  # with a time limit it would look for the end every 50 ms only


def show(seconds, every_ms, interface):
    asked, took = [], []

    def both():
        begin = time.monotonic()
        asked.append(float("inf"))
        try:
            ask(interface)
        finally:
            asked[-1] = (time.monotonic() - begin) * 1000
        run(["wg", "show", interface])

    over_and_over(seconds, every_ms, both, took)
    shown = [both - alone for both, alone in zip(took, asked)]
    say(runs=len(took), median_ms=statistics.median(shown), worst_ms=max(shown), answer_median_ms=statistics.median(asked), answer_worst_ms=max(asked))


def ask(interface):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.connect(f"/var/run/wireguard/{interface}.sock")
        daemon.sendall(b"get=1\n\n")
        end = b""
        while not end.endswith(b"\n\n"):
            part = daemon.recv(1 << 20)
            if not part:
                sys.exit(f"{interface}: the answer ends in the middle")
            end = end[-1:] + part
        if b"errno=0\n\n" not in end:
            sys.exit(f"{interface}: {end[-40:]!r}")


# ---- a process that gets no larger buffers -------------------------------------------------------------------------


class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32)]


class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.POINTER(Instruction))]


def small_buffers(which, *command):
    """setsockopt(SOL_SOCKET, SO_SNDBUF or SO_SNDBUFFORCE, ...) fails with EPERM, so that sockets keep net.core.wmem_default."""
    load, equal, result = 0x20, 0x15, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1
    options = [socket.SO_SNDBUF, SO_SNDBUFFORCE] + ([socket.SO_RCVBUF, SO_RCVBUFFORCE] if which == "both" else [])
    count = len(options)
    steps = [
        (load, 0, 0, 0),  # the number of the system call: setsockopt is 54 on x86-64
        (equal, 0, count + 3, 54),
        (load, 0, 0, 24),  # level
        (equal, 0, count + 1, socket.SOL_SOCKET),
        (load, 0, 0, 32),  # option
        *[(equal, count - at, 0, option) for at, option in enumerate(options)],
        (result, 0, 0, allow),
        (result, 0, 0, refuse),
    ]
    program = Program(len(steps), (Instruction * len(steps))(*[Instruction(*step) for step in steps]))
    libc = ctypes.CDLL(None, use_errno=True)
    pr_set_no_new_privs, pr_set_seccomp, seccomp_mode_filter = 38, 22, 2
    if libc.prctl(pr_set_no_new_privs, 1, 0, 0, 0) or libc.prctl(pr_set_seccomp, seccomp_mode_filter, ctypes.byref(program), 0, 0):
        sys.exit(f"seccomp: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)


MODES = {"flood": flood, "junk": junk, "stream": stream, "sweep": sweep, "receive": receive, "upload": upload, "take": take, "echo": echo,
         "answer": answer, "time": time_command, "show": show, "small-buffers": small_buffers}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in MODES:
        sys.exit(__doc__)
    signal.signal(signal.SIGTERM, enough)
    try:
        MODES[sys.argv[1]](*sys.argv[2:])
    except Enough:
        pass
