"""permessage-deflate: RFC 7692 5, 6 and 7."""
import random
import zlib

from suite import case, f
from wire import BINARY, CLOSE, MORE, PING, PONG, TEXT, answer, close_body

NAME = "permessage-deflate"
OFFER = NAME + "; client_max_window_bits"
TAIL = b"\0\0\xff\xff"
HELLO = bytes.fromhex("f248cdc9c90700")
SENTENCE = b"It was the best of times, it was the worst of times, it was the age of wisdom. "


class Deflater:
    """One side's compression: what is sent, with the tail taken off (7.2.1)."""

    def __init__(self, bits=15, takeover=True):
        self.bits, self.takeover, self.stream = bits, takeover, None

    def __call__(self, data, flush=zlib.Z_SYNC_FLUSH):
        if not self.stream or not self.takeover:
            self.stream = zlib.compressobj(9, zlib.DEFLATED, -self.bits)
        out = self.stream.compress(data) + self.stream.flush(flush)
        return out[:-4] if out.endswith(TAIL) else out


class Inflater:
    def __init__(self, bits=15, takeover=True):
        self.bits, self.takeover, self.stream = bits, takeover, None

    def __call__(self, data):
        if not self.stream or not self.takeover:
            self.stream = zlib.decompressobj(-self.bits)
        return self.stream.decompress(data + TAIL)


def far(distance, n=400, seed=1):
    """Data whose end repeats its beginning from that far back, and nothing else."""
    chance = random.Random(seed)
    head = chance.randbytes(n)
    return head + chance.randbytes(distance - n) + head


def opened(t, route="deflate", extension=None):
    """A connection that compresses, with both directions' state as RFC 7692 has it."""
    peer = t.open(route, extension or (OFFER if t.server else NAME))
    assert peer.opened["extensions"].startswith(NAME), peer.opened
    peer.deflate, peer.inflate = Deflater(), Inflater()
    return peer


def sent(peer, op, payload):
    """Sent compressed, in one frame."""
    peer.frame(op, peer.deflate(payload), rsv=4)


def comes(peer, op, payload):
    """The next message, compressed or not, is that one. Tells whether it was compressed."""
    got = peer.read()
    assert got.op == op and got.fin and got.rsv in (0, 4), got
    assert (got.key is None) == peer.client, got
    data = peer.inflate(got.payload) if got.rsv else got.payload
    assert data == payload, f"{data[:80]!r} instead of {payload[:80]!r}"
    return got.rsv == 4


def echoes(peer, op, payload):
    sent(peer, op, payload)
    return comes(peer, op, payload)


def agreed(t, offer, route="deflate"):
    """What weft's server answers to an offer: a dict of parameters, or None. It works."""
    peer = t.greet(route, {"Sec-WebSocket-Extensions": offer})
    assert peer.head.status == 101, (offer, peer.head.raw)
    values = peer.head.all("Sec-WebSocket-Extensions")
    assert len(values) < 2, values
    if not values:
        t.echoes(peer, TEXT, b"plain")
        peer.close()
        return None
    name, *params = [part.strip() for part in values[0].split(";")]
    assert name == NAME, values
    params = dict((param.split("=") + [None])[:2] for param in params)
    peer.deflate, peer.inflate = Deflater(9), Inflater()
    for _ in range(2):
        peer.deflate.stream = None
        echoes(peer, TEXT, SENTENCE)
    peer.close()
    return params


def answered(t, extension, route="deflate"):
    """Whether weft's client takes that answer to its offer."""
    peer = t.called(route)
    peer.send(answer(peer.key, {"Sec-WebSocket-Extensions": extension}))
    event = t.subject.wait(peer.id, "opened", "failed")
    if event["event"] == "failed":
        assert event["name"] == "handshake", event
        peer.expect_end()
        return False
    peer.close()
    return True


INVALID = ("server_max_window_bits=7", "server_max_window_bits=16", "server_max_window_bits=0",
           "server_max_window_bits=08", "server_max_window_bits=+9", "server_max_window_bits=abc",
           "server_max_window_bits=100", "server_max_window_bits", "client_max_window_bits=7",
           "client_max_window_bits=16", "client_max_window_bits=010", "client_max_window_bits=x",
           "server_no_context_takeover=1", "client_no_context_takeover=true",
           "server_no_context_takeover=0")
UNKNOWN = ("unknown", "window=9", "server_max_window_bit=9", "Server_No_Context_Takeover",
           "client_max_window_bits=9; x=1")
TWICE = ("server_no_context_takeover; server_no_context_takeover",
         "client_no_context_takeover; client_no_context_takeover",
         "server_max_window_bits=9; server_max_window_bits=9",
         "server_max_window_bits=9; server_max_window_bits=10",
         "client_max_window_bits=9; client_max_window_bits=9")


# -- 5 and 6: per-message compression in general -------------------------------------------------

@case("7692:5-a")
def _(t):
    bad = f"{NAME}; unknown"
    for offer, expected in (
            (f"{NAME}; server_max_window_bits=10, {NAME}", {"server_max_window_bits": "10"}),
            (f"{bad}, {NAME}; server_no_context_takeover", {"server_no_context_takeover": None}),
            (f"x-other, {bad}, {NAME}; server_max_window_bits=9", {"server_max_window_bits": "9"})):
        got = agreed(t, offer)
        assert got is not None and expected.items() <= got.items(), (offer, got)
    assert agreed(t, f"{bad}, {bad}") is None


@case("7692:5-b")
def _(t):
    assert agreed(t, None) is None
    assert agreed(t, NAME, route="echo") is None
    assert agreed(t, "x-webkit-deflate-frame") is None


@case("7692:5-c")
def _(t):
    assert not answered(t, NAME, route="echo")
    assert not answered(t, "x-webkit-deflate-frame")
    assert answered(t, NAME)


@case("7692:6-a")
def _(t):
    for op in (TEXT, BINARY):
        t.fails(1002, f(op, HELLO, rsv=4))  # not negotiated
    t.fails(1002, f(TEXT, HELLO, rsv=4), route="deflate")  # offered only
    for rsv in (1, 2, 5, 6):
        t.fails(1002, f(TEXT, HELLO, rsv=rsv), route="deflate",
                extension=OFFER if t.server else NAME)


@case("7692:6.1-a")
def _(t):
    peer = opened(t)
    for op, payload in ((TEXT, SENTENCE * 5), (BINARY, SENTENCE), (TEXT, SENTENCE * 500)):
        assert echoes(peer, op, payload), "it was not compressed"
    peer.frame(PING, SENTENCE)
    peer.expect(PONG, SENTENCE)
    peer.bye(1000, SENTENCE)
    peer.expect(CLOSE)
    t.end_cleanly(peer)


@case("7692:6.1-b")
def _(t):
    ours = OFFER if t.server else NAME
    for op, payload in ((PING, b""), (PONG, HELLO), (CLOSE, close_body(1000))):
        t.fails(1002, f(op, payload, rsv=4), route="deflate", extension=ours)
        t.fails(1002, f(TEXT, HELLO[:3], rsv=4, fin=False), f(op, payload, rsv=4),
                route="deflate", extension=ours)


@case("7692:6.1-c")
def _(t):
    ours = OFFER if t.server else NAME
    for begin in (f(TEXT, b"Hel", fin=False), f(TEXT, HELLO[:3], rsv=4, fin=False)):
        t.fails(1002, begin, f(MORE, HELLO[3:], rsv=4), route="deflate", extension=ours)


@case("7692:6.2-a")
def _(t):
    peer = opened(t)
    for payload in (b"plain", b"", SENTENCE * 100):
        peer.text(payload)
        comes(peer, TEXT, payload)
        echoes(peer, TEXT, payload)  # mixed
    peer.frame(TEXT, b"in ", fin=False)
    peer.frame(MORE, b"two")
    comes(peer, TEXT, b"in two")


# -- 7.1: parameters --------------------------------------------------------------------------------

@case("7692:7.1-a")
def _(t):
    for bad in UNKNOWN:
        assert agreed(t, f"{NAME}; {bad}") is None, bad


@case("7692:7.1-b")
def _(t):
    for bad in INVALID:
        assert agreed(t, f"{NAME}; {bad}") is None, bad


@case("7692:7.1-c")
def _(t):
    for bad in TWICE:
        assert agreed(t, f"{NAME}; {bad}") is None, bad


@case("7692:7.1-d")
def _(t):
    for bad in UNKNOWN:
        assert not answered(t, f"{NAME}; {bad}"), bad


@case("7692:7.1-e")
def _(t):
    for bad in INVALID:
        assert not answered(t, f"{NAME}; {bad}"), bad


@case("7692:7.1-f")
def _(t):
    for bad in TWICE:
        assert not answered(t, f"{NAME}; {bad}"), bad


@case("7692:7.1-g")
def _(t):
    bad = ("", "; server_max_window_bits=10", "; client_max_window_bits=10",
           "; server_max_window_bits=15; client_max_window_bits=9")
    for params in bad:  # it asked for 9
        assert not answered(t, NAME + params, route="window9"), params
    assert answered(t, f"{NAME}; server_max_window_bits=9; client_max_window_bits=9", "window9")
    assert not answered(t, NAME, route="stateless")  # it asked for no takeover
    assert answered(t, f"{NAME}; server_no_context_takeover", "stateless")


@case("7692:7.1-h")
def _(t):
    """Values in quotes are the same values; names in any order."""
    got = agreed(t, f'{NAME};client_max_window_bits="10" ; server_max_window_bits = "11"')
    assert got["server_max_window_bits"] == "11" and int(got["client_max_window_bits"]) <= 10, got


@case("7692:7.1.1.1-a")
def _(t):
    got = agreed(t, f"{NAME}; server_no_context_takeover")
    assert got is None or "server_no_context_takeover" in got, got
    got = agreed(t, NAME, route="stateless")  # unasked, too
    assert "server_no_context_takeover" in got, got


@case("7692:7.1.1.1-b")
def _(t):
    peer = opened(t, extension=f"{OFFER}; server_no_context_takeover")
    for _ in range(4):
        peer.inflate = Inflater()
        assert echoes(peer, TEXT, SENTENCE)
    peer = opened(t, "stateless", OFFER)
    for _ in range(4):
        peer.inflate, peer.deflate = Inflater(), Deflater()
        assert echoes(peer, TEXT, SENTENCE)


@case("7692:7.1.1.1-c")
def _(t):
    peer = opened(t, extension=f"{NAME}; server_no_context_takeover")  # it did not ask
    for _ in range(3):
        peer.deflate = Deflater()
        assert echoes(peer, TEXT, SENTENCE)


@case("7692:7.1.1.2-a")
def _(t):
    peer = opened(t, extension=f"{NAME}; client_no_context_takeover")
    for _ in range(4):
        peer.inflate = Inflater()
        assert echoes(peer, TEXT, SENTENCE)


@case("7692:7.1.1.2-b")
def _(t):
    for offer in (f"{NAME}; client_no_context_takeover", NAME, OFFER):
        assert agreed(t, offer) is not None, offer
    got = agreed(t, OFFER, route="stateless")
    assert got is not None and "client_no_context_takeover" in got, got


@case("7692:7.1.2.1-a")
def _(t):
    for bits in range(8, 16):
        got = agreed(t, f"{NAME}; server_max_window_bits={bits}")
        assert got is None or 8 <= int(got["server_max_window_bits"]) <= bits, (bits, got)
        assert got is None or not got["server_max_window_bits"].startswith("0")
        assert got is not None or bits == 8, f"{bits} was declined"


def limited(t, peer, bits):
    """What weft compresses can be inflated with a window of so many bits."""
    for distance in (1 << bits, 2 << bits, (1 << bits) - 300, 300):
        peer.inflate = Inflater(bits)
        peer.deflate = Deflater(takeover=False)
        data = far(max(distance, 500), n=200 if bits > 8 else 60) * 2
        peer.frame(BINARY, data)
        comes(peer, BINARY, data)
        peer.frame(BINARY, SENTENCE * 50)
        assert comes(peer, BINARY, SENTENCE * 50), "it was not compressed"


@case("7692:7.1.2.1-b")
def _(t):
    for bits in range(9, 16):
        peer = t.open("deflate", f"{NAME}; server_max_window_bits={bits}; "
                                 "server_no_context_takeover")
        limited(t, peer, bits)
        peer.close()


@case("7692:7.1.2.1-c")
def _(t):
    for bits in range(8, 16):
        assert answered(t, f"{NAME}; server_max_window_bits={bits}"), bits  # unasked: a promise
    peer = opened(t, extension=f"{NAME}; server_max_window_bits=9")
    peer.deflate = Deflater(9)
    for distance in (300, 511):
        data = far(distance, 40)
        echoes(peer, BINARY, data)


@case("7692:7.1.2.2-a")
def _(t):
    for route in ("deflate", "window9", "stateless"):
        got = agreed(t, NAME, route)
        assert got is None or "client_max_window_bits" not in got, (route, got)


@case("7692:7.1.2.2-b")
def _(t):
    for bits in range(8, 16):
        got = agreed(t, f"{NAME}; client_max_window_bits={bits}")
        assert got is not None, f"{bits} was declined"
        value = got.get("client_max_window_bits")
        assert "client_max_window_bits" not in got or 8 <= int(value) <= bits, (bits, got)


@case("7692:7.1.2.2-c")
def _(t):
    for bits in range(9, 16):
        peer = opened(t, extension=f"{NAME}; client_max_window_bits={bits}; "
                                   "client_no_context_takeover")
        limited(t, peer, bits)
        peer.close()


@case("7692:7.1.2.2-d")
def _(t):
    assert not answered(t, f"{NAME}; client_max_window_bits")
    assert answered(t, f"{NAME}; client_max_window_bits=9")
    assert answered(t, f"{NAME}; client_max_window_bits=15")


@case("7692:7.1.2.2-e")
def _(t):
    offer = t.called("deflate").head.one("Sec-WebSocket-Extensions").split("; ")
    assert any(part.startswith("client_max_window_bits") for part in offer), offer
    assert offer[0] == NAME and len(set(offer)) == len(offer)


# -- 7.2: messages --------------------------------------------------------------------------------------

@case("7692:7.2.1-a")
def _(t):
    peer = opened(t)
    for payload in (SENTENCE, SENTENCE * 100, b"x"):
        peer.text(payload)
        got = peer.read()
        if got.rsv:
            assert not got.payload.endswith(TAIL), "the tail was not taken off"
            assert peer.inflate(got.payload) == payload


@case("7692:7.2.1-b")
def _(t):
    peer = opened(t)
    for _ in range(3):
        peer.text(b"")
        comes(peer, TEXT, b"")
        echoes(peer, TEXT, b"between")


@case("7692:7.2.1-c")
def _(t):
    """Whatever is compressed inflates to what was sent, in one stream."""
    peer = opened(t)
    chance = random.Random(7)
    for n in (1, 10, 125, 126, 1000, 65535, 65536, 200000):
        for data in (chance.randbytes(n), (SENTENCE * (n // len(SENTENCE) + 1))[:n], b"\0" * n):
            peer.frame(BINARY, data)
            comes(peer, BINARY, data)


@case("7692:7.2.2-a")
def _(t):
    peer = opened(t)
    peer.frame(TEXT, HELLO, rsv=4)  # 7.2.3.1
    comes(peer, TEXT, b"Hello")
    peer.frame(TEXT, bytes.fromhex("f200110000"), rsv=4)  # 7.2.3.2: takes the window over
    comes(peer, TEXT, b"Hello")
    peer.frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=4)  # 7.2.3.3: stored
    comes(peer, TEXT, b"Hello")
    peer.frame(TEXT, bytes.fromhex("f348cdc9c9070000"), rsv=4)  # 7.2.3.4: BFINAL
    comes(peer, TEXT, b"Hello")
    peer.frame(TEXT, bytes.fromhex("f24805000000ffffcac9c90700"), rsv=4)  # 7.2.3.5
    comes(peer, TEXT, b"Hello")


@case("7692:7.2.2-b")
def _(t):
    peer = opened(t)
    peer.frame(TEXT, HELLO[:3], rsv=4, fin=False)
    peer.frame(PING, b"between")
    peer.expect(PONG, b"between")
    peer.frame(MORE, HELLO[3:])
    comes(peer, TEXT, b"Hello")
    data = peer.deflate(SENTENCE * 3)
    for i in range(len(data)):
        peer.frame(MORE if i else TEXT, data[i:i + 1], rsv=0 if i else 4, fin=False)
        if i % 9 == 0:
            peer.frame(MORE, b"", fin=False)
    peer.frame(MORE, b"")
    comes(peer, TEXT, SENTENCE * 3)


@case("7692:7.2.2-c")
def _(t):
    peer = opened(t)
    for _ in range(3):
        peer.frame(TEXT, b"\0", rsv=4)  # 7.2.3.6: an empty message
        comes(peer, TEXT, b"")
        peer.frame(TEXT, b"\2\0", rsv=4)  # the same by a block with fixed codes
        comes(peer, TEXT, b"")
    echoes(peer, TEXT, b"on")


@case("7692:7.2.2-d")
def _(t):
    """Takeover: every message refers to those before, as far as the window reaches."""
    peer = opened(t)
    if t.server:  # it says how big a window it keeps
        bits = int(dict(part.split("=") for part in peer.opened["extensions"].split("; ")
                        if "client_max" in part).get("client_max_window_bits", 15))
    else:
        bits = 15
    peer.deflate = Deflater(bits)
    data = random.Random(3).randbytes((1 << bits) - 600)
    sizes = []
    for _ in range(3):
        out = peer.deflate(data)
        sizes.append(len(out))
        peer.frame(BINARY, out, rsv=4)
        comes(peer, BINARY, data)
    assert sizes[1] < sizes[0] // 4, sizes  # it did refer


@case("7692:7.2.2-e")
def _(t):
    ours = OFFER if t.server else NAME
    bad = ("ff", "07", "f248cdc9c9070000ff", "000500faf048656c6c6f00", "f200110000", "0600", "05e0")
    for raw in bad[:2] + bad[3:]:
        t.fails(1007, f(BINARY, bytes.fromhex(raw), rsv=4), route="deflate", extension=ours)
    t.fails(1007, f(BINARY, HELLO[:3], rsv=4, fin=False), f(MORE, b"\xff" * 50),
            route="deflate", extension=ours)


@case("7692:7.2.2-f")
def _(t):
    ours = OFFER if t.server else NAME
    for text in (b"\xff", b"ok \xc3", b"\xed\xa0\x80", b"x" * 5000 + b"\xc0\x80"):
        data = Deflater()(text)
        t.fails(1007, f(TEXT, data, rsv=4), route="deflate", extension=ours)
        t.fails(1007, f(TEXT, data[:1], rsv=4, fin=False), f(MORE, data[1:]),
                route="deflate", extension=ours)
    peer = opened(t)
    echoes(peer, TEXT, "κόσμε 🧵".encode())
    echoes(peer, BINARY, b"\xff\xfe")


@case("7692:7.2.2-g")
def _(t):
    """Agreed without takeover, each message of that side stands by itself."""
    params = "; client_no_context_takeover" if t.server else "; server_no_context_takeover"
    peer = opened(t, "stateless" if t.server else "deflate", (OFFER if t.server else NAME) + params)
    peer.inflate = Inflater(takeover=not t.server)  # weft's own side, as agreed
    for _ in range(3):
        peer.frame(TEXT, HELLO, rsv=4)
        comes(peer, TEXT, b"Hello")


@case("7692:7.2.2-h")
def _(t):
    """Bombs: by the message's limit, by the ratio, and in fragments; memory stays."""
    ours = OFFER if t.server else NAME
    before = t.subject.memory()
    bomb = Deflater()(b"\0" * (64 << 20))
    t.fails(1009, f(BINARY, bomb, rsv=4), route="deflate", extension=ours)
    t.fails(1009, f(BINARY, bomb[:20], rsv=4, fin=False), f(MORE, bomb[20:], fin=False),
            route="deflate", extension=ours)
    t.fails(1009, f(BINARY, Deflater()(b"\0" * 99000), rsv=4), route="inflate", extension=ours)
    t.fails(1009, f(BINARY, Deflater()(random.Random(1).randbytes(100001)), rsv=4),
            route="inflate", extension=ours)
    more = t.subject.memory() - before
    assert more < 8 << 20, f"memory grew by {more >> 20} MiB"
    peer = opened(t, "inflate")
    data = random.Random(2).randbytes(99000)
    echoes(peer, BINARY, data)
    echoes(peer, BINARY, b"\0" * 60000)  # any ratio is fine below 64 KiB


assert Inflater()(HELLO) == b"Hello"  # RFC 7692 7.2.3.1
