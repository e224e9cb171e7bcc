#!/usr/bin/env python3
"""Visitors of a web server: so many a second, each a stranger who comes once, and what became of each.

    visitors.py visit ADDRESS PORT CERTIFICATE RATE SECONDS PATIENCE RECORD NAME=ANSWER...
    visitors.py back MENDED COUNT <RECORD
    visitors.py judge RECORD CUT MENDED

visit: every 1/RATE s, whatever became of those before, a visitor makes a TCP connection of its own to ADDRESS, a whole TLS handshake (the
certificate has to be the one in the file, and be good for NAME), one request, and reads to the end; the names by turns. The answer has to be
200 with the line ANSWER. Who has none after PATIENCE s gives up. Each leaves a line in RECORD: when it began and ended (ms since 1970), by how
many ms it was late, the name, and "answered" or what went wrong. Ends when SECONDS are over, or on SIGTERM, and the last visitor has gone.

back: reads a growing record (tail --follow) until each of COUNT names has answered somebody after MENDED, and prints how many ms later that was.

judge: an outage began at CUT, and what caused it was over at MENDED. Service is back when each name has answered somebody after MENDED. Whoever
had begun before that and had not ended at CUT met the outage; nobody else may be lost. Prints "name value", one a line.
"""
import collections
import itertools
import os
import resource
import select
import signal
import socket
import ssl
import sys
import time

READ, WRITE = select.EPOLLIN, select.EPOLLOUT


class Visitor:
    """A connection, and the program that it follows: a generator that yields what it waits for."""

    def __init__(self, place, context, name, answer, late):
        self.place, self.context, self.name, self.answer, self.late = place, context, name, answer, late
        self.began = time.time()
        self.outcome = None
        self.wish = 0
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.number = self.socket.fileno()
        self.story = self.visit()

    def visit(self):
        try:
            self.socket.connect(self.place)
        except BlockingIOError:
            yield WRITE
        error = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, "connect")
        self.socket = self.context.wrap_socket(self.socket, server_hostname=self.name, do_handshake_on_connect=False)
        yield from self.patiently(self.socket.do_handshake)
        request = f"GET / HTTP/1.1\r\nHost: {self.name}\r\nConnection: close\r\n\r\n"
        yield from self.patiently(self.socket.send, request.encode())
        answer = b""
        while part := (yield from self.patiently(self.socket.recv, 65536)):
            answer += part
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head[9:12].decode()
        if status == "200":
            self.outcome = "answered" if body == self.answer else "wrong-answer"
        else:
            self.outcome = f"status-{status}" if head else "closed"

    @staticmethod
    def patiently(operation, *arguments):
        while True:
            try:
                return operation(*arguments)
            except ssl.SSLWantReadError:
                yield READ
            except ssl.SSLWantWriteError:
                yield WRITE

    def proceed(self):
        """What it waits for next, or None when it has ended, with an outcome."""
        try:
            return next(self.story)
        except StopIteration:
            pass
        except ssl.SSLCertVerificationError:
            self.outcome = "wrong-certificate"
        except ssl.SSLError as error:
            self.outcome = "tls-" + (error.reason or "error").lower()
        except ConnectionError as error:
            self.outcome = type(error).__name__
        except OSError as error:
            self.outcome = f"errno-{error.errno}"
        return None


class Crowd:
    """Everybody who is there at the moment."""

    def __init__(self, place, certificate, patience, record, names):
        self.place, self.patience, self.record = place, patience, record
        self.context = ssl.create_default_context(cafile=certificate)
        self.names = itertools.cycle(names)
        self.poll = select.epoll()
        self.present = {}
        self.queue = collections.deque()  # as they came, which is as they lose patience
        self.wanted = True

    def arrive(self, late):
        visitor = Visitor(self.place, self.context, *next(self.names), late)
        self.present[visitor.number] = visitor
        self.queue.append(visitor)
        self.poll.register(visitor.number, 0)
        self.go_on(visitor)

    def go_on(self, visitor):
        wish = visitor.proceed()
        if wish is None:
            self.leave(visitor)
        elif wish != visitor.wish:
            visitor.wish = wish
            self.poll.modify(visitor.number, wish)

    def leave(self, visitor):
        del self.present[visitor.number]
        visitor.socket.close()
        self.record.write(f"{visitor.began * 1000:.0f} {time.time() * 1000:.0f} {visitor.late * 1000:.0f} {visitor.name} {visitor.outcome}\n")

    def lose_patience(self):
        now = time.time()
        while self.queue and (self.queue[0].outcome or self.queue[0].began + self.patience <= now):
            visitor = self.queue.popleft()
            if not visitor.outcome:
                visitor.outcome = "out-of-patience"
                self.leave(visitor)

    def wait(self, until):
        """Serves those who are there until that moment (monotonic), a few even if it is over; ends before when nobody else comes and nobody is left."""
        while self.wanted or self.present:
            left = until - time.monotonic()
            for number, _ in self.poll.poll(max(min(left, 0.5), 0), 4):
                self.go_on(self.present[number])
            self.lose_patience()
            if left <= 0:
                break

    def close(self, *_):
        self.wanted = False


def come_first():
    """On a busy machine as well, who measures has to be on time: by its own priority, and by that of its session where those take turns."""
    os.setsid()
    os.nice(-15)
    if os.path.exists("/proc/self/autogroup"):
        with open("/proc/self/autogroup", "w", encoding="ascii") as group:
            group.write("-15")


def visit(address, port, certificate, rate, seconds, patience, record, *answers):
    come_first()
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    rate, patience = float(rate), float(patience)
    names = [(name, answer.encode() + b"\n") for name, _, answer in (one.partition("=") for one in answers)]
    with open(record, "w", buffering=1, encoding="ascii") as file:
        crowd = Crowd((address, int(port)), certificate, patience, file, names)
        signal.signal(signal.SIGTERM, crowd.close)
        start = time.monotonic()
        for number in range(round(rate * float(seconds))):
            due = start + number / rate
            crowd.wait(due)
            if not crowd.wanted:
                break
            crowd.arrive(time.monotonic() - due)
        crowd.close()
        crowd.wait(time.monotonic() + patience + 1)


def back(mended, count):
    answered = set()
    for line in sys.stdin:
        _, ended, _, name, outcome = line.split()
        if outcome == "answered" and int(ended) >= int(mended):
            answered.add(name)
            if len(answered) == int(count):
                print(int(ended) - int(mended))
                return
    sys.exit("service did not come back")


def judge(record, cut, mended):
    cut, mended = int(cut), int(mended)
    with open(record, encoding="ascii") as file:
        lines = map(str.split, file)
        visits = sorted((int(began), int(ended), int(late), name, outcome) for began, ended, late, name, outcome in lines)
    first_answers = {}
    for _, ended, _, name, outcome in visits:
        if outcome == "answered" and ended >= mended:
            first_answers[name] = min(ended, first_answers.get(name, ended))
    if len(first_answers) < len({visit[3] for visit in visits}):
        sys.exit("service did not come back")
    returned = max(first_answers.values())

    met = [visit for visit in visits if visit[0] < returned and visit[1] >= cut]
    others = [visit for visit in visits if visit[0] >= returned or visit[1] < cut]
    took = sorted(ended - began for began, ended, _, _, outcome in others if outcome == "answered")
    print("visits", len(visits))
    print("latest", max(visit[2] for visit in visits))
    print("back", returned)
    print("met_in_flight", sum(began < cut for began, *_ in met))
    print("met_begun_in_it", sum(began >= cut for began, *_ in met))
    print("met_and_answered", sum(visit[4] == "answered" for visit in met))
    print("met_and_lost", sum(visit[4] != "answered" for visit in met))
    print("met_and_lost_until", max((ended for _, ended, _, _, outcome in met if outcome != "answered"), default=cut))
    print("others", len(others))
    print("others_lost", sum(visit[4] != "answered" for visit in others))
    for name, share in ("median", 0.5), ("99", 0.99), ("longest", 1):
        print(f"others_{name}", took[min(int(len(took) * share), len(took) - 1)] if took else -1)
    reasons = collections.Counter(visit[4] for visit in visits if visit[4] != "answered")
    print("reasons", ",".join(f"{reason}:{count}" for reason, count in reasons.most_common()) or "none")


{"visit": visit, "back": back, "judge": judge}[sys.argv[1]](*sys.argv[2:])
