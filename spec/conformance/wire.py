"""WebSockets by hand for the conformance suite: frames, heads and connections as bytes.

Written from the RFCs, on Python's sockets alone: nothing of weft's is in here, so that no
mistake of weft's can be made twice.
"""
import base64
import hashlib
import os
import socket
import struct

BOUND = 120 if os.environ.get("WEFT_HOSTILE_GC") else 20  # seconds until something is late
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
MASK = b"\x37\xfa\x21\x3d"
DRIPPED = 700  # of a long input, so many bytes at each end go one by one, the rest in pieces
PIECE = 1021


class Ended(Exception):
    """The peer has ended the connection."""


def mask(payload, key):
    wide = (key * (len(payload) // 4 + 1))[:len(payload)]
    n = int.from_bytes(payload, "big") ^ int.from_bytes(wide, "big")
    return n.to_bytes(len(payload), "big")


def frame(op, payload=b"", fin=True, rsv=0, key=None, length=None, form=None):
    """length: what is announced; form: 7, 16 or 64 bits for it; key: a mask, or None."""
    length = len(payload) if length is None else length
    form = form or (7 if length < 126 else 16 if length < 65536 else 64)
    second = {7: length & 127, 16: 126, 64: 127}[form] | (0x80 if key is not None else 0)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | op, second])
    head += struct.pack(">H", length) if form == 16 else b""
    head += struct.pack(">Q", length) if form == 64 else b""
    return head + payload if key is None else head + key + mask(payload, key)


def close_body(code, reason=b""):
    return b"" if code is None else struct.pack(">H", code) + reason


def accept(key):
    """RFC 6455 4.2.2: the Sec-WebSocket-Accept of a key."""
    magic = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    return base64.b64encode(hashlib.sha1((key + magic).encode()).digest()).decode()


def head(first, fields, changes=None, more=()):
    """changes replaces fields by their names (None drops); more, lines, come behind."""
    fields = {**fields, **(changes or {})}
    lines = [first] + [f"{name}: {value}" for name, value in fields.items() if value is not None]
    return "\r\n".join([*lines, *more, "", ""]).encode("latin-1")


def request(target, changes=None, more=(), first=None):
    return head(first or f"GET {target} HTTP/1.1", {
        "Host": "test", "Upgrade": "websocket", "Connection": "Upgrade",
        "Sec-WebSocket-Key": KEY, "Sec-WebSocket-Version": "13"}, changes, more)


def answer(key, changes=None, more=(), first="HTTP/1.1 101 Switching Protocols"):
    return head(first, {"Upgrade": "websocket", "Connection": "Upgrade",
                        "Sec-WebSocket-Accept": accept(key)}, changes, more)


class Head:
    """A request or an answer as it came."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")[:-2]
        self.first = lines[0]
        self.fields = [tuple(part.strip() for part in line.split(":", 1)) for line in lines[1:]]

    def all(self, name):
        return [field[1] for field in self.fields if field[0].lower() == name.lower()]

    def one(self, name):
        values = self.all(name)
        assert len(values) == 1, f"{name}: {values} in {self.raw!r}"
        return values[0]

    @property
    def status(self):
        return int(self.first.split(" ")[1])


class Frame:
    def __init__(self, first, second, length, key, payload):
        self.fin, self.rsv, self.op = first >= 0x80, first >> 4 & 7, first & 15
        self.form = {126: 16, 127: 64}.get(second & 127, 7)
        self.key, self.payload, self.length = key, payload, length
        self.code = struct.unpack(">H", payload[:2])[0] if len(payload) > 1 else None

    def __repr__(self):
        return (f"op {self.op} fin {self.fin} rsv {self.rsv} code {self.code}"
                f" {len(self.payload)} bytes {self.payload[:60]!r}")


class Peer:
    """One end of a connection whose other end is weft. As a client it masks."""

    def __init__(self, sock, client, drip):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(BOUND)
        self.sock, self.client, self.drip = sock, client, drip
        self.got = bytearray()  # its front goes away at no cost

    def send(self, *parts):
        """All of it, or, when weft has ended the connection, as much as it takes."""
        data = b"".join(parts)
        try:
            if self.drip:
                self._drip(data)
            else:
                self.sock.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def _drip(self, data):
        """Each byte in a segment of its own; the inside of what is long in small pieces."""
        at = 0
        while at < len(data):
            single = at < DRIPPED or at >= len(data) - DRIPPED
            n = 1 if single else min(PIECE, len(data) - DRIPPED - at)
            self.sock.sendall(data[at:at + n])
            os.sched_yield()  # weft may look at it before the next comes
            at += n

    def pack(self, op, payload=b"", **how):
        """A frame as this side has to send it, unless `key` says otherwise."""
        how.setdefault("key", MASK if self.client else None)
        return frame(op, payload, **how)

    def frame(self, op, payload=b"", **how):
        self.send(self.pack(op, payload, **how))

    def text(self, payload):
        self.frame(TEXT, payload)

    def bye(self, code=None, reason=b""):
        self.frame(CLOSE, close_body(code, reason))

    def receive(self, most=1 << 16):
        """More bytes, b"" at the end; a reset is an end that is told apart."""
        return self.sock.recv(most)

    def take(self, n):
        while len(self.got) < n:
            more = self.receive()
            if not more:
                assert not self.got, f"the connection ended within {self.got!r}"
                raise Ended
            self.got += more
        data = bytes(self.got[:n])
        del self.got[:n]
        return data

    def read_head(self):
        while b"\r\n\r\n" not in self.got:
            more = self.receive()
            if not more:
                raise Ended(self.got)
            self.got += more
        return Head(self.take(self.got.index(b"\r\n\r\n") + 4))

    def read(self):
        first, second = self.take(2)
        length = second & 127
        if length == 126:
            length, = struct.unpack(">H", self.take(2))
        elif length == 127:
            length, = struct.unpack(">Q", self.take(8))
        key = self.take(4) if second & 0x80 else None
        payload = self.take(length) if length else b""
        return Frame(first, second, length, key, mask(payload, key) if key else payload)

    def expect(self, op, payload=None):
        """The next frame is whole, of that kind, and masked as its sender has to."""
        got = self.read()
        assert got.op == op and got.fin and got.rsv == 0, f"instead of op {op}: {got}"
        assert (got.key is None) == self.client, f"masked on the wrong side: {got}"
        assert payload is None or got.payload == payload, f"instead of {payload[:60]!r}: {got}"
        return got

    def expect_end(self):
        """weft says nothing more, and has ended its side."""
        try:
            got = self.got or self.receive()
        except ConnectionResetError:
            got = b""
        assert got == b"", f"after the end came {got[:80]!r}"

    def drain(self):
        """All that still comes."""
        parts = [self.take(len(self.got))]
        try:
            while more := self.receive():
                parts.append(more)
        except ConnectionResetError:
            pass
        return b"".join(parts)

    def shut(self):
        """This side has nothing more to say."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def close(self):
        self.sock.close()
