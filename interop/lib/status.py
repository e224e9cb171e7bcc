#!/usr/bin/env python3
"""What `wgsharp status` and the metrics say, compared with what wg says; and clients of both that behave badly.

    status.py agrees STATUS.json DUMP     peers of `wgsharp status IF --json` against `wg show IF dump`; prints how many
    status.py value STATUS.json EXPRESSION    of the first interface (i) and its first peer (p), in Python
    status.py secrets STATUS.json SECRET...   no secret, in base64 or hexadecimal, stands in a file
    status.py slow unix|tcp ADDRESS REQUEST COUNT   COUNT clients ask and do not read; says "ready", and holds on until it is killed
    status.py rude ADDRESS                 nonsense over HTTP from a seed; prints how many answers of which status there were
"""
import base64
import collections
import json
import random
import signal
import socket
import sys


def interface(path):
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    assert document["format"] == 1, document["format"]
    return document["interfaces"][0]


def agrees(path, dump):
    shown = {peer["public_key"]: peer for peer in interface(path)["peers"]}
    with open(dump, encoding="utf-8") as file:
        rows = [line.rstrip("\n").split("\t") for line in file]
    own, peers = rows[0], rows[1:]
    assert interface(path)["public_key"] == own[1], own[1]
    assert interface(path)["listen_port"] == int(own[2]), own[2]
    assert len(shown) == len(peers), (len(shown), len(peers))
    for key, psk, endpoint, allowed, handshake, rx, tx, keepalive in peers:
        peer = shown[key]
        told = {
            "endpoint": peer["endpoint"] or "(none)",
            "allowed": ",".join(peer["allowed_ips"]) or "(none)",
            "psk": peer["has_preshared_key"],
            "handshake": int(peer["session"]["last_handshake_timestamp_seconds"] or 0),
            "rx": peer["received_bytes"],
            "tx": peer["sent_bytes"],
            "keepalive": peer["persistent_keepalive_seconds"],
        }
        wanted = {
            "endpoint": endpoint,
            "allowed": allowed,
            "psk": psk != "(none)",
            "handshake": int(handshake),
            "rx": int(rx),
            "tx": int(tx),
            "keepalive": 0 if keepalive == "off" else int(keepalive),
        }
        assert told == wanted, (key, told, wanted)
    print(len(peers))


def value(path, expression):
    i = interface(path)
    p = i["peers"][0] if i["peers"] else None
    print(eval(expression, {"i": i, "p": p}))  # pylint: disable=eval-used


def secrets(path, *values):
    with open(path, "rb") as file:
        text = file.read()
    for secret in values:
        raw = base64.b64decode(secret)
        for form in (secret.encode(), raw.hex().encode(), raw):
            assert form not in text, "a secret is shown"
    print(0)


def connect(kind, address):
    if kind == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.connect(address)
    else:
        host, port = address.rsplit(":", 1)
        client = socket.create_connection((host, int(port)))
    return client


def slow(kind, address, request, count):
    clients = []
    for _ in range(int(count)):
        client = connect(kind, address)
        try:
            client.sendall(request.encode().decode("unicode_escape").encode())
        except (BrokenPipeError, ConnectionResetError):
            pass  # it was sent away before it had asked
        clients.append(client)
    print("ready", flush=True)
    signal.pause()


def rude(address):
    chance = random.Random(1)
    answers = collections.Counter()
    for number in range(300):
        client = connect("tcp", address)
        client.settimeout(20)
        kind = number % 4
        if kind == 0:
            request = chance.randbytes(chance.randrange(1, 3000)) + b"\n\n"
        elif kind == 1:
            request = b"GET /" + b"a" * 9000
        elif kind == 2:
            request = b"POST /metrics HTTP/1.1\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100000
        else:
            request = b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * chance.randrange(1, 3000) + b"\r\n"
        text = b""
        try:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has heard enough
        try:
            while True:
                piece = client.recv(65536)
                if not piece:
                    break
                text += piece
        except ConnectionResetError:
            pass
        client.close()
        answers[text[9:12].decode() if text.startswith(b"HTTP/1.1 ") else "none"] += 1
    print(" ".join(f"{status}:{count}" for status, count in sorted(answers.items())))


if __name__ == "__main__":
    {"agrees": agrees, "value": value, "secrets": secrets, "slow": slow, "rude": rude}[sys.argv[1]](*sys.argv[2:])
