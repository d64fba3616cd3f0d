"""Limits and floods, RFC 6455 10.4, and what else a hostile peer does, 10.7."""
import random
import select

from suite import case, f, rounds
from wire import BINARY, BOUND, CLOSE, MORE, PING, PONG, TEXT, request

MIB = 1 << 20
SPARE = 6 * MIB  # what memory may grow by when nothing is kept


def grows_less(t, bound, before):
    more = t.subject.memory() - before
    assert more < bound, f"memory grew by {more / MIB:.1f} MiB"


def push(peer, data):
    """As much of it as weft takes while we read nothing: until it is all sent, or nothing has
    gone for a while because weft has stopped reading, too. Returns how much went."""
    peer.sock.setblocking(False)
    at, view = 0, memoryview(data)
    while at < len(data):
        _, ready, _ = select.select([], [peer.sock], [], 0.5)
        if not ready:
            break
        at += peer.sock.send(view[at:at + 65536])
    peer.sock.settimeout(BOUND)
    return at


def both_ways(peer, rest, done):
    """Sends the rest while it reads, until done(received)."""
    peer.sock.setblocking(False)
    received, view, at = bytearray(), memoryview(rest), 0
    while at < len(rest) or not done(received):
        want = [peer.sock] if at < len(rest) else []
        readable, writable, _ = select.select([peer.sock], want, [], BOUND)
        assert readable or writable, "nothing moves any more"
        if writable:
            at += peer.sock.send(view[at:at + 65536])
        if readable:
            got = peer.sock.recv(1 << 18)
            assert got, "weft has ended the connection"
            received += got
    peer.sock.settimeout(BOUND)
    return bytes(received)


@case("10.4-a")
def _(t):
    before = t.subject.memory()
    for length in (MIB + 1, 1 << 32, 1 << 40, 1 << 60, (1 << 63) - 1):
        t.fails(1009, f(BINARY, b"", length=length, form=64))
        t.fails(1009, f(TEXT, b"a", fin=False), f(MORE, b"", length=length, form=64))
    grows_less(t, SPARE, before)
    t.fails(1009, f(BINARY, b"x" * 1001), route="small")
    peer = t.open("small")
    t.echoes(peer, BINARY, b"x" * 1000)
    idle = [t.open() for _ in range(rounds(40, 5))]
    for each in idle:  # announced, and never sent
        each.send(each.pack(BINARY, b"x", length=MIB, form=64))
    t.echoes(peer, TEXT, b"on")
    grows_less(t, len(idle) * MIB // 4 + SPARE, before)


@case("10.4-b")
def _(t):
    t.fails(1009, f(TEXT, b"x" * 600, fin=False), f(MORE, b"x" * 401), route="small")
    t.fails(1009, f(TEXT, b"x" * 1000, fin=False), f(MORE, b"", fin=False), f(MORE, b"x"),
            route="small")
    t.fails(1009, f(TEXT, b"x", fin=False), *[f(MORE, b"x", fin=False)] * 63, f(MORE, b"x"),
            route="small")
    peer = t.open("small")
    t.echoes(peer, TEXT, b"x" * 64, f(TEXT, b"x", fin=False), *[f(MORE, b"x", fin=False)] * 62,
             f(MORE, b"x"))
    t.echoes(peer, BINARY, b"x" * 1000, f(BINARY, b"x" * 999, fin=False), f(MORE, b"x"))


@case("10.4-c")
def _(t):
    before = t.subject.memory()
    peer = t.open()
    empty = peer.pack(MORE, b"", fin=False)
    peer.send(peer.pack(TEXT, b"", fin=False), empty * 5000)
    assert peer.expect(CLOSE).code == 1009
    peer.expect_end()
    assert t.outcome(peer)[0] == 1009
    peer.close()
    peer = t.open()  # up to the limit they are let through
    peer.send(peer.pack(TEXT, b"", fin=False), empty * 1000, peer.pack(MORE, b"end"))
    peer.expect(TEXT, b"end")
    t.finish(peer)
    grows_less(t, SPARE, before)


@case("10.4-d")
def _(t):
    n = rounds(100000, 2000)
    peer = t.open()
    before = t.subject.memory()
    piece = peer.pack(MORE, b"x", fin=False)
    peer.send(peer.pack(BINARY, b"x", fin=False), piece * (n - 2), peer.pack(MORE, b"x"))
    peer.expect(BINARY, b"x" * n)
    grows_less(t, SPARE, before)
    t.finish(peer)


def too_big(t, raw, status):
    peer = t.dial()
    peer.send(raw)
    head = peer.read_head()
    assert head.status == status, f"{head.first} instead of {status}"
    peer.drain()


@case("10.4-e")
def _(t):
    too_big(t, request("/echo?" + "x" * 4096), 414)
    too_big(t, b"GET /" + b"x" * 20000, 414)  # judged before it ends
    too_big(t, request("/echo?id=0", more=["X: " + "y" * 8192]), 431)
    too_big(t, request("/echo?id=0")[:-2] + b"X: " + b"y" * 20000, 431)
    too_big(t, request("/echo?id=0", more=[f"X{i}: y" for i in range(60)]), 400)
    peer, head = t.ask(request("/echo?id=0&" + "x" * 3000))
    assert head.status == 101
    peer, head = t.ask(request("/echo?id=0", more=["X: " + "y" * 7000]))
    assert head.status == 101
    peer, head = t.ask(request("/echo?id=0", more=[f"X{i}: y" for i in range(59)]))
    assert head.status == 101
    t.echoes(peer, TEXT, b"in")


@case("10.4-f")
def _(t):
    """Pings without end, and nobody reads the pongs."""
    n = rounds(150000, 2000)
    peer = t.open()
    t.echoes(peer, TEXT, b"before")
    before = t.subject.memory()
    pings = peer.pack(PING, b"p" * 125) * n
    sent = push(peer, pings)
    grows_less(t, SPARE, before)
    rest = pings[sent:] + peer.pack(TEXT, b"after")
    received = both_ways(peer, rest, lambda got: ends_in_text(got, masked=not peer.client))
    pong = 127 if peer.client else 131  # weft's client masks them
    assert len(received) <= n * pong + 1000, "more pongs than pings"
    t.echoes(peer, TEXT, b"on")


def ends_in_text(got, masked):
    """Is the last frame a text of five bytes? Pongs of 125 bytes have no such end."""
    return got[-11:-9] == b"\x81\x85" if masked else got[-7:-5] == b"\x81\x05"


@case("10.4-g")
def _(t):
    """A peer that sends and never reads: weft stops reading, keeps little, loses nothing."""
    n = rounds(40000, 300)
    peer = t.open()
    t.echoes(peer, TEXT, b"before")
    before = t.subject.memory()
    data = b"".join(peer.pack(BINARY, b"%06d" % i + b"x" * 994) for i in range(n))
    sent = push(peer, data)
    grows_less(t, SPARE, before)
    size = n * (1000 + 4 + (0 if peer.client else 4))
    received = both_ways(peer, data[sent:], lambda got: len(got) >= size)
    peer.got = bytearray(received)
    for i in range(n):
        got = peer.expect(BINARY)
        assert got.payload[:6] == b"%06d" % i, f"message {i} is {got}"
    t.finish(peer)


@case("10.4-h")
def _(t):
    """Unasked pongs without end cost nothing."""
    n = rounds(100000, 2000)
    peer = t.open()
    before = t.subject.memory()
    peer.send(peer.pack(PONG, b"x" * 20) * n)
    t.echoes(peer, TEXT, b"after")
    grows_less(t, SPARE, before)


@case("10.7-a")
def _(t):
    """Anything at all after the handshake: an end by the book, or a lawful silence."""
    for seed in range(rounds(60, 6)):
        chance = random.Random(seed)
        peer = t.open()
        peer.send(chance.randbytes(chance.choice((2, 10, 100, 3000))))
        peer.shut()
        data = peer.drain()
        code, _, clean = t.outcome(peer)
        assert code in (1000, 1002, 1005, 1006, 1007, 1009) or clean, f"seed {seed}: {code}"
        assert len(data) < 70000, f"seed {seed}"
        peer.close()
