"""Frames and messages: RFC 6455 5, 6 and 8."""
import itertools
import select

from suite import case, f, rounds
from wire import BINARY, CLOSE, MORE, PING, PONG, TEXT, close_body, frame

SIZES = (0, 1, 2, 3, 4, 7, 124, 125, 126, 127, 255, 256, 65535, 65536, 65537)
RESERVED = (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
ALL = bytes(range(256))


def body(n):
    return (ALL * (n // 256 + 1))[:n]


# -- 5.1, 5.3: masking ----------------------------------------------------------------------

@case("5.1-a")
def _(t):
    for op, payload in ((TEXT, b"x"), (BINARY, b""), (PING, b"p"), (PONG, b""),
                        (CLOSE, close_body(1000)), (TEXT, b"x" * 200)):
        t.fails(1002, f(op, payload, key=None))
    t.fails(1002, f(TEXT, b"a", fin=False), f(MORE, b"b", key=None))


@case("5.1-b")
def _(t):
    peer = t.open()
    for n in (0, 5, 200, 70000):
        t.echoes(peer, BINARY, body(n))  # expect() looks at the bit
    peer.frame(PING, b"p")
    peer.expect(PONG, b"p")
    t.finish(peer)


@case("5.1-c")
def _(t):
    peer = t.open()
    for n in (0, 5, 200, 70000):
        t.echoes(peer, BINARY, body(n))
    peer.frame(PING, b"")
    peer.expect(PONG, b"")
    t.call(peer, "close", 1000, b"bye")
    got = peer.expect(CLOSE)
    assert got.key is not None and got.code == 1000
    peer.bye(1000)
    t.end_cleanly(peer)


@case("5.1-d")
def _(t):
    for op, payload in ((TEXT, b"x"), (BINARY, b""), (PING, b"p"), (PONG, b""),
                        (CLOSE, close_body(1000))):
        for key in (b"\x37\xfa\x21\x3d", b"\0\0\0\0"):
            t.fails(1002, f(op, payload, key=key))
    t.fails(1002, f(TEXT, b"a", fin=False), f(MORE, b"b", key=b"abcd"))


def keys_of(t, n):
    """The masking keys of n frames, as numbers."""
    peer = t.open()
    keys = []
    for start in range(0, n, 50):
        peer.send(*(peer.pack(TEXT, b"same") for _ in range(min(50, n - start))))
        keys += [peer.expect(TEXT, b"same").key for _ in range(min(50, n - start))]
    return [int.from_bytes(key, "big") for key in keys]


@case("5.3-a")
def _(t):
    peer = t.open()
    t.echoes(peer, TEXT, b"masked")
    t.call(peer, "send", b"of its own", b"binary")
    assert peer.expect(BINARY, b"of its own").key is not None


@case("5.3-b")
def _(t):
    keys = keys_of(t, rounds(1000, 60))
    repeated = len(keys) - len(set(keys))
    assert repeated <= 1, f"{repeated} of {len(keys)} keys came twice"  # 1 in 8,000 runs has one
    others = keys_of(t, 20)
    assert len(set(others) & set(keys)) <= 1, "another connection has the same keys"


def linear_complexity(bits):
    """Berlekamp-Massey: the shortest feedback register that makes this sequence."""
    c, b, length, m, seen = 1, 1, 0, 1, 0
    for n, bit in enumerate(bits):
        seen = seen << 1 | bit
        if bin(c & seen).count("1") % 2 == 0:
            m += 1
        elif 2 * length <= n:
            c, b, length, m = c ^ b << m, c, n + 1 - length, 1
        else:
            c, m = c ^ b << m, m + 1
    return length


@case("5.3-c")
def _(t):
    n = rounds(1000, 60)
    keys = keys_of(t, n)
    slack = 0.15 if n >= 1000 else 0.45  # nine and seven times the deviation
    for bit in range(32):
        share = sum(key >> bit & 1 for key in keys) / n
        assert abs(share - 0.5) < slack, f"bit {bit} is set in {share:.0%} of the keys"
    for at in range(4):
        values = {key >> 8 * at & 255 for key in keys}
        assert len(values) > (200 if n >= 1000 else 25), f"byte {at} has {len(values)} values"


@case("5.3-d")
def _(t):
    n = rounds(1000, 60)
    keys = keys_of(t, n)
    steps = [(b - a) % 2**32 for a, b in itertools.pairwise(keys)]
    assert len(set(steps)) > n - 5, "keys follow by a few steps"
    assert len({a ^ b for a, b in itertools.pairwise(keys)}) > n - 5, "keys differ by a few bits"
    congruent = sum((a * c - b * b) % 2**32 == 0 for a, b, c in zip(steps, steps[1:], steps[2:]))
    assert congruent < n // 20, "keys come from a linear congruence"
    for bit in (0, 13, 31):
        found = linear_complexity([key >> bit & 1 for key in keys])
        assert abs(found - n / 2) < 25, f"bit {bit} comes from a register of {found} bits"


@case("5.3-e")
def _(t):
    peer = t.open()
    for key in (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\1\2\3\4", b"\x80\0\0\x7f"):
        for n in (*range(20), 33, 64, 125, 126, 200, 1000):
            t.echoes(peer, BINARY, body(n), f(BINARY, body(n), key=key))
    t.echoes(peer, BINARY, body(7) + body(9), f(BINARY, body(7), fin=False, key=b"abcd"),
             f(MORE, body(9), key=b"wxyz"))  # each frame from the key's beginning


# -- 5.2: the header --------------------------------------------------------------------------

@case("5.2-a")
def _(t):
    for rsv in range(1, 8):
        t.fails(1002, f(TEXT, b"x", rsv=rsv))
    for rsv in (1, 2, 4):
        t.fails(1002, f(PING, b"", rsv=rsv))
        t.fails(1002, f(CLOSE, close_body(1000), rsv=rsv))
        t.fails(1002, f(BINARY, b"", fin=False), f(MORE, b"", rsv=rsv))


@case("5.2-b")
def _(t):
    peer = t.open()
    t.echoes(peer, TEXT, b"x")
    t.echoes(peer, BINARY, body(70000))
    peer.frame(PING, b"")
    peer.expect(PONG, b"")
    t.finish(peer)


@case("5.2-c")
def _(t):
    for op in RESERVED:
        t.fails(1002, f(op, b""))
        t.fails(1002, f(op, b"payload"))
    t.fails(1002, f(3, b"", fin=False))
    t.fails(1002, f(TEXT, b"", fin=False), f(7, b""))


@case("5.2-d")
def _(t):
    for length in (1 << 63, (1 << 63) + 5, (1 << 64) - 1):
        t.fails(1002, f(BINARY, b"", length=length, form=64))


@case("5.2-e")
def _(t):
    for n in (0, 1, 125):
        t.fails(1002, f(BINARY, body(n), form=16))
    for n in (0, 1, 125, 126, 65535):
        t.fails(1002, f(BINARY, body(n), form=64))
    t.fails(1002, f(PING, b"x", form=16))
    t.fails(1002, f(CLOSE, close_body(1000), form=64))


@case("5.2-f")
def _(t):
    peer = t.open()
    for n in SIZES:
        peer.frame(BINARY, body(n))
        got = peer.expect(BINARY, body(n))
        assert got.form == (7 if n < 126 else 16 if n < 65536 else 64), f"{n} bytes: {got.form}"


@case("5.2-g")
def _(t):
    peer = t.open()
    for n in SIZES:
        t.echoes(peer, BINARY, body(n))
        t.echoes(peer, TEXT, b"t" * n)
    t.echoes(peer, BINARY, body(300000))


# -- 5.4: fragments ----------------------------------------------------------------------------

@case("5.4-a")
def _(t):
    for op, payload in ((PING, b""), (PONG, b"x"), (CLOSE, close_body(1000))):
        t.fails(1002, f(op, payload, fin=False))
        t.fails(1002, f(TEXT, b"a", fin=False), f(op, payload, fin=False))


@case("5.4-b")
def _(t):
    peer = t.open()
    pieces = [b"%d," % i for i in range(40)]
    frames = [f(MORE if i else TEXT, piece, fin=False) for i, piece in enumerate(pieces)]
    t.echoes(peer, TEXT, b"".join(pieces) + b"end", *frames, f(MORE, b"end"))


@case("5.4-c")
def _(t):
    for op, fin in itertools.product((TEXT, BINARY), (True, False)):
        t.fails(1002, f(TEXT, b"a", fin=False), f(op, b"b", fin=fin))
        t.fails(1002, f(BINARY, b"a", fin=False), f(MORE, b"b", fin=False), f(op, b"c", fin=fin))


@case("5.4-d")
def _(t):
    peer = t.open()
    peer.frame(TEXT, b"one ", fin=False)
    peer.frame(PING, b"now")
    peer.expect(PONG, b"now")  # before the message is complete
    peer.frame(PONG, b"unasked")
    peer.frame(MORE, b"", fin=False)
    peer.frame(PING, b"x" * 125)
    peer.expect(PONG, b"x" * 125)
    peer.frame(MORE, b"two")
    peer.expect(TEXT, b"one two")
    peer.frame(TEXT, b"never ends", fin=False)
    t.finish(peer, 4000, b"within a message")


@case("5.4-e")
def _(t):
    peer = t.open()
    t.echoes(peer, TEXT, b"whole")
    t.echoes(peer, TEXT, b"in two", f(TEXT, b"in ", fin=False), f(MORE, b"two"))
    t.echoes(peer, BINARY, b"", f(BINARY, b"", fin=False), f(MORE, b""))
    t.echoes(peer, BINARY, body(140000), f(BINARY, body(70000 // 256 * 256), fin=False),
             f(MORE, body(140000)[70000 // 256 * 256:]))
    t.echoes(peer, TEXT, b"bytes", *(f(MORE if i else TEXT, b"bytes"[i:i + 1], fin=i == 4)
                                     for i in range(5)))
    t.echoes(peer, BINARY, b"whole again")


@case("5.4-g")
def _(t):
    t.fails(1002, f(MORE, b"x"))
    t.fails(1002, f(MORE, b"", fin=False))
    t.fails(1002, f(TEXT, b"whole"), f(MORE, b"x"), before=[(TEXT, b"whole")])
    t.fails(1002, f(TEXT, b"a", fin=False), f(MORE, b"b"), f(MORE, b"c"), before=[(TEXT, b"ab")])
    peer = t.open()
    t.echoes(peer, BINARY, b"\xff\xfe", f(BINARY, b"\xff", fin=False), f(MORE, b"\xfe"))


# -- 5.5: control frames; closing is in cases_closing ------------------------------------------

@case("5.5-a")
def _(t):
    for op in (PING, PONG):
        t.fails(1002, f(op, b"x" * 126))
        t.fails(1002, f(op, b"x" * 70000))
        t.fails(1002, f(op, b"", length=(1 << 63) - 1, form=64))
    t.fails(1002, f(CLOSE, close_body(1000, b"x" * 124)))
    peer = t.open()
    peer.frame(PING, body(125))
    peer.expect(PONG, body(125))
    peer.frame(PONG, body(125))
    t.finish(peer, 1000, b"r" * 123)


@case("5.5.2-a")
def _(t):
    peer = t.open()
    for payload in (b"", b"p", body(125)):
        peer.frame(PING, payload)
        peer.expect(PONG, payload)
    peer.bye(1000)
    peer.expect(CLOSE)
    peer.frame(PING, b"after the close")
    t.end_cleanly(peer)


@case("5.5.3-a")
def _(t):
    peer = t.open()
    pings = [b"%d" % i for i in range(30)]
    peer.send(*(peer.pack(PING, ping) for ping in pings), peer.pack(TEXT, b"end"))
    pongs = []
    while (got := peer.read()).op == PONG:
        assert got.fin and got.rsv == 0 and (got.key is None) == peer.client, got
        pongs.append(got.payload)
    if got.op == TEXT and pongs[-1:] != pings[-1:]:  # the message may overtake the last
        pongs.append(peer.expect(PONG).payload)
    assert pongs == [ping for ping in pings if ping in set(pongs)], pongs
    assert pongs[-1] == pings[-1], "the most recent ping has no answer"


@case("5.5.3-b")
def _(t):
    peer = t.open()
    for payload in (b"", b"unasked", body(125)):
        peer.frame(PONG, payload)
    t.echoes(peer, TEXT, b"no answer before this")
    t.call(peer, "ping", 10)
    ping = peer.expect(PING)
    peer.frame(PONG, ping.payload + b"?" if len(ping.payload) < 125 else b"another")
    peer.frame(PONG, ping.payload)
    assert t.called_back(peer)["result"]


@case("5.6-a")
def _(t):
    peer = t.open()
    text = "aé€😀\0z".encode()
    for cut in range(len(text) + 1):
        t.echoes(peer, TEXT, text, f(TEXT, text[:cut], fin=False), f(MORE, text[cut:]))
    t.fails(1007, f(TEXT, text[:-3], fin=False), f(MORE, b""))
    t.fails(1007, f(TEXT, text[:2], fin=False), f(MORE, b"z"))


@case("5.7-a")
def _(t):
    peer = t.open()
    if t.server:
        peer.send(bytes.fromhex("818537fa213d7f9f4d5158"))
        peer.expect(TEXT, b"Hello")
        peer.send(bytes.fromhex("898537fa213d7f9f4d5158"))
        peer.expect(PONG, b"Hello")
        return
    for raw, payload in (("810548656c6c6f", b"Hello"), ("010348656c80026c6f", b"Hello")):
        peer.send(bytes.fromhex(raw))
        peer.expect(TEXT, payload)
    peer.send(bytes.fromhex("890548656c6c6f"))
    peer.expect(PONG, b"Hello")
    for head, n in (("827e0100", 256), ("827f0000000000010000", 65536)):
        peer.send(bytes.fromhex(head), body(n))
        peer.expect(BINARY, body(n))


# -- 6: messages ---------------------------------------------------------------------------------

@case("6.1-a")
def _(t):
    peer = t.open()
    t.call(peer, "close", 1000)
    peer.expect(CLOSE)
    t.call(peer, "send", b"too late")
    event = t.called_back(peer)  # of the close, or of the send
    event = event if event["result"] is False else None
    peer.bye(1000)
    event = event or t.called_back(peer)
    assert not event["result"] and event["name"] == "closed", event
    t.end_cleanly(peer)


@case("6.1-b")
def _(t):
    peer = t.open()
    for n in SIZES:
        t.call(peer, "send", body(n), b"binary")
        got = peer.expect(BINARY, body(n))
        assert got.length == n
        assert t.called_back(peer)["result"]
    t.call(peer, "send", b"\xff\xfe")  # as text it is none: refused, not sent
    assert t.called_back(peer)["name"] == "utf8"
    t.echoes(peer, TEXT, b"on")


@case("6.1-c")
def _(t):
    peer = t.open()
    for kind, op in ((b"text", TEXT), (b"binary", BINARY)):
        t.call(peer, "send", b"data", kind)
        peer.expect(op, b"data")


@case("6.1-d")
def _(t):
    peer = t.open()
    for n in (0, 10, 100000):
        t.call(peer, "send", b"x" * n)
        got = peer.read()
        while not got.fin:
            assert got.op in (TEXT, MORE)
            got = peer.read()


@case("6.1-f")
def _(t):
    peer = t.open()
    data = body(1 << 20)
    t.call(peer, "send", data, b"binary")
    if t.drip:  # a reader that is slow
        got = b""
        while len(got) < 3000:
            got += peer.receive(7)
        peer.got = bytearray(got)
    peer.expect(BINARY, data)
    t.echoes(peer, TEXT, b"in order")


@case("6.2-a")
def _(t):
    peer = t.open()
    frames = [(TEXT, b""), (BINARY, body(300)), (TEXT, b"t" * 126), (BINARY, b"")]
    peer.send(*(peer.pack(op, payload) for op, payload in frames))
    for op, payload in frames:
        peer.expect(op, payload)


@case("6.2-b")
def _(t):
    peer = t.open()
    peer.send(peer.pack(TEXT, b"a"), peer.pack(PING, b"p"), peer.pack(PONG, b""),
              peer.pack(TEXT, b"b"), peer.pack(CLOSE, close_body(4001, b"done")))
    seen = [peer.read() for _ in range(3)]
    got = [(each.op, each.payload) for each in seen if each.op != CLOSE]
    assert (PONG, b"p") in got, seen
    texts = [payload for op, payload in got if op == TEXT]
    assert texts == [b"a", b"b"][:len(texts)], seen  # a close may overtake an echo
    peer.drain() if t.server else peer.shut()
    assert t.outcome(peer) == (4001, b"done", True)


@case("6.2-c")
def _(t):
    peer = t.open()
    for op in (TEXT, BINARY, TEXT):
        t.echoes(peer, op, b"typed", f(op, b"ty", fin=False), f(MORE, b"p", fin=False),
                 f(MORE, b"ed"))
        t.echoes(peer, op, b"typed")


@case("6.2-d")
def _(t):
    peer = t.open()
    peer.send(peer.pack(TEXT, b"1", fin=False), peer.pack(MORE, b"2"), peer.pack(BINARY, b"3"),
              peer.pack(TEXT, b"4", fin=False), peer.pack(MORE, b"5"))
    for op, payload in ((TEXT, b"12"), (BINARY, b"3"), (TEXT, b"45")):
        peer.expect(op, payload)


@case("6.2-e")
def _(t):
    peer = t.open()
    for key in (b"\0\0\0\0", b"\xaa\x55\xaa\x55", b"text"):
        t.echoes(peer, TEXT, b"text", f(TEXT, b"text", key=key))
        peer.frame(PING, b"ping", key=key)
        peer.expect(PONG, b"ping")


@case("6.2-f")
def _(t):
    """Nothing is said that was not asked for, and an idle connection stays open."""
    peer = t.open()
    t.echoes(peer, TEXT, b"x")
    ready, _, _ = select.select([peer.sock], [], [], 0.05)
    assert not ready and not peer.got
    t.finish(peer)


# -- 8.1: UTF-8 -------------------------------------------------------------------------------------

GOOD = ["", "\0", "\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\ufeff", "\ufffe",
        "\uffff", "\U00010000", "\U0010ffff", "κόσμε", "𝄞 & 🧵", "e\u0301\u0302"]
BAD = ["80", "bf", "c0", "c1", "f5", "ff", "fe", "c080", "c1bf", "e08080", "e09fbf", "f0808080",
       "f08fbfbf", "eda080", "edbfbf", "edafbf", "f4908080", "f7bfbfbf", "f888808080",
       "fc8480808080", "c320", "e28220", "e2c3a9", "f09f9820", "cebae1bdb9cf83cebcceb5eda080656469"]
CUT = ["c3", "e2", "e282", "f0", "f09f", "f09f98", "61c3", "cebae1bd"]


@case("8.1-a")
def _(t):
    for bad in BAD + CUT:
        t.fails(1007, f(TEXT, b"ok " + bytes.fromhex(bad)))
    for bad in BAD[::6]:
        t.fails(1007, f(TEXT, b"x" * 300 + bytes.fromhex(bad) + b"x" * 300))
    peer = t.open()
    for good in GOOD:
        t.echoes(peer, TEXT, good.encode("utf-8", "surrogatepass"))


@case("8.1-b")
def _(t):
    for bad in BAD[7:] + CUT[1:]:
        raw = bytes.fromhex(bad)
        for cut in range(1, len(raw)):
            t.fails(1007, f(TEXT, b"a" + raw[:cut], fin=False), f(MORE, raw[cut:]))
    t.fails(1007, f(TEXT, b"\xe2", fin=False), f(MORE, b"", fin=False), f(MORE, b"\x28"))
    peer = t.open()
    for good in GOOD:
        raw = good.encode("utf-8", "surrogatepass")
        t.echoes(peer, TEXT, raw + b".", *(f(MORE if i else TEXT, raw[i:i + 1], fin=False)
                                           for i in range(max(1, len(raw)))), f(MORE, b"."))


@case("8.1-c")
def _(t):
    """What cannot become UTF-8 any more fails at once, with the rest still to come."""
    for bad in ("ff", "c080", "eda0", "f490", "e280ff"):
        peer = t.open()
        raw = peer.pack(TEXT, b"x" + bytes.fromhex(bad), length=5000)
        peer.send(raw)
        assert peer.expect(CLOSE).code == 1007, bad
        peer.expect_end()
    t.fails(1007, f(TEXT, b"fine", fin=False), f(MORE, b"\xf8", fin=False))


@case("8.1-d")
def _(t):
    peer = t.open()
    t.echoes(peer, BINARY, b"\xff\xfe\x80")
    t.echoes(peer, BINARY, b"\xc3\x28", f(BINARY, b"\xc3", fin=False), f(MORE, b"\x28"))


assert frame(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")  # RFC 6455 5.7
