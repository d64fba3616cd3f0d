#!/usr/bin/python3
"""What permessage-deflate costs a server: deflate_compare.py MICRO [ROUNDS [SECONDS]]

Run by `make bench-deflate`. Time is CPU time of the server per echo of a 1 KiB JSON text, with
compression shared, dedicated, and without; servers are loaded in turn, in a new random order each
round. A bare zlib loop, which MICRO times, inflates and deflates such texts in one process:

    goal = (plain + zlib) / compressed

Memory is the growth of the resident set with the connections, each of which offers compression,
whether the server agrees or not; active ones have echoed one message in each direction.
"""
import os
import random
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
import zlib

MICRO = sys.argv[1]
ROUNDS = int(sys.argv[2]) if len(sys.argv) > 2 else 5
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
LUA = os.environ.get("LUA", "lua5.4")
CONNECTIONS, IN_FLIGHT = 16, 4
MODES = ("", "shared", "dedicated")
TICK = os.sysconf("SC_CLK_TCK")
KEY = b"\0\0\0\0"
OFFER = "permessage-deflate; client_max_window_bits"
HEAD = ("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Extensions: {OFFER}\r\n\r\n").encode()


def text(i):
    items = (f'{{"id":{n},"user":"user{n * 7919 % 997}","text":"message {n * 2654435761 % 2**32:x}",'
             f'"at":{1700000000 + n * 61}}},' for n in range(i * 100, i * 100 + 20))
    return "".join(items).encode()[:1024]


def frame(data, packed):
    b0 = 0x81
    if packed:
        z = zlib.compressobj(6, zlib.DEFLATED, -12, 5)
        data, b0 = (z.compress(data) + z.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1
    return struct.pack(">BBH", b0, 0x80 | 126, len(data)) + KEY + data


class Server:
    def __init__(self, mode):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.mode = mode
        self.process = subprocess.Popen(["taskset", "-c", "0", LUA, "bench/servers/echo.lua", str(self.port)],
                                        env=dict(os.environ, COMPRESSION=mode))
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)

    def connect(self):
        s = socket.create_connection(("127.0.0.1", self.port))
        s.sendall(HEAD)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(4096)
        assert (b"permessage-deflate" in head) == bool(self.mode), head
        return s

    def cpu(self):
        fields = open(f"/proc/{self.process.pid}/stat").read().rsplit(")")[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self):
        for line in open(f"/proc/{self.process.pid}/status"):
            if line.startswith("VmRSS"):
                return int(line.split()[1]) * 1024
        raise SystemExit("no VmRSS")

    def stop(self):
        self.process.kill()
        self.process.wait()


class Client:
    """Counts whole frames in what comes, which a server does not mask."""

    def __init__(self, server, frames):
        self.socket, self.frames, self.sent, self.got, self.rest = server.connect(), frames, 0, 0, b""
        for _ in range(IN_FLIGHT):
            self.send()

    def send(self):
        self.socket.sendall(self.frames[self.sent % len(self.frames)])
        self.sent += 1

    def read(self):
        data, at, n = self.rest + self.socket.recv(65536), 0, 0
        while len(data) - at >= 4:
            length = data[at + 1]
            head = 2 if length < 126 else 4
            if length == 126:
                length = struct.unpack_from(">H", data, at + 2)[0]
            if len(data) - at < head + length:
                break
            at += head + length
            n += 1
        self.rest = data[at:]
        self.got += n
        if n:
            self.socket.sendall(b"".join(self.frames[(self.sent + i) % len(self.frames)] for i in range(n)))
            self.sent += n


def measure(server, seconds):
    """Seconds of CPU for each message."""
    frames = [frame(text(i), server.mode) for i in range(16)]
    clients = [Client(server, frames) for _ in range(CONNECTIONS)]
    poll, by_fd = select.epoll(), {c.socket.fileno(): c for c in clients}
    for fd in by_fd:
        poll.register(fd, select.EPOLLIN)
    cpu, end = None, time.monotonic() + 0.2
    began = 0
    while True:
        for fd, _ in poll.poll(1):
            by_fd[fd].read()
        if time.monotonic() >= end:
            if cpu is not None:
                break
            cpu, began, end = server.cpu(), sum(c.got for c in clients), time.monotonic() + seconds
    spent = (server.cpu() - cpu) / (sum(c.got for c in clients) - began)
    for c in clients:
        c.socket.close()
    return spent


def bare_zlib(mode):
    for line in subprocess.run([MICRO], capture_output=True, text=True, check=True).stdout.splitlines():
        if f", {mode} |" in line:
            return float(line.split("|")[-1].split()[0]) * 1e-9
    raise SystemExit("micro did not say")


def times():
    servers = [Server(mode) for mode in MODES]
    spent = {mode: [] for mode in MODES}
    for _ in range(ROUNDS):
        for server in random.sample(servers, len(servers)):
            spent[server.mode].append(measure(server, SECONDS))
    for server in servers:
        server.stop()
    plain = statistics.median(spent[""])
    print(f"plain echo {plain * 1e6:.1f} us")
    for mode in MODES[1:]:
        bare = bare_zlib(mode)
        ratios = [(p + bare) / c for p, c in zip(spent[""], spent[mode])]
        print(f"{mode} echo {statistics.median(spent[mode]) * 1e6:.1f} us, zlib {bare * 1e6:.1f} us: "
              f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


def growth(mode, first, last, active):
    """Bytes of each connection between the first and the last."""
    server, sockets, sizes = Server(mode), [], []
    data = frame(text(1), mode)
    for n in (first, last):
        while len(sockets) < n:
            sockets.append(server.connect())
            if active:
                sockets[-1].sendall(data)
                assert sockets[-1].recv(65536)
        time.sleep(0.5)
        sizes.append(server.resident())
    for s in sockets:
        s.close()
    server.stop()
    return (sizes[1] - sizes[0]) / (last - first)


def memory():
    plain = growth("", 2000, 12000, False)
    shared = growth("shared", 2000, 12000, False)
    print(f"idle: plain {plain:.0f} bytes, shared {shared:.0f}: {shared - plain:+.0f}")
    plain, dedicated = growth("", 200, 1200, True), growth("dedicated", 200, 1200, True)
    print(f"active: plain {plain:.0f} bytes, dedicated {dedicated:.0f}: {dedicated - plain:+.0f}")


times()
memory()
