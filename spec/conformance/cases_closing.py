"""Closing: RFC 6455 5.5.1 and 7."""
from suite import case, f, rounds
from wire import BINARY, CLOSE, PING, TEXT, Ended, close_body

VALID = (1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
         3000, 3999, 4000, 4999)
UNUSED = (0, 1, 999, 1004, 1016, 1100, 2000, 2999, 5000, 65535)


def weft_closes(t, peer, *args):
    t.call(peer, "close", *args)
    return peer.expect(CLOSE)


@case("5.5.1-a")
def _(t):
    t.fails(1002, f(CLOSE, b"\3"))
    peer = t.open()
    t.finish(peer, None)
    peer = t.open()
    got = weft_closes(t, peer, 1001, "grüß".encode())
    assert got.payload == b"\x03\xe9" + "grüß".encode()  # in network byte order


@case("5.5.1-c")
def _(t):
    for code in (1000, None):
        peer = t.open()
        peer.bye(code)
        assert peer.expect(CLOSE).key is not None
        t.end_cleanly(peer)
    peer = t.open()
    assert weft_closes(t, peer, 1000).key is not None


@case("5.5.1-d")
def _(t):
    peer = t.open()
    weft_closes(t, peer, 1000)
    t.call(peer, "send", b"after the close")
    peer.frame(PING, b"neither a pong")
    peer.text(b"nor an echo")
    peer.bye(1000)
    t.end_cleanly(peer)


@case("5.5.1-e")
def _(t):
    for code in VALID:
        t.finish(t.open(), code, b"reason")
    t.finish(t.open(), None)
    peer = t.open()
    peer.send(peer.pack(TEXT, b"within a message", fin=False), peer.pack(CLOSE, b""))
    assert peer.expect(CLOSE).payload == b""
    t.end_cleanly(peer)


@case("5.5.1-f")
def _(t):
    peer = t.open()  # whoever begins
    weft_closes(t, peer, 1000)
    peer.bye(1000)
    t.end_cleanly(peer)
    t.outcome(peer)
    peer = t.open("hasty")
    peer.bye(1000)
    peer.expect(CLOSE)
    if not t.server:  # "e.g. if it has not received a TCP close in a reasonable time"
        peer.expect_end()
    t.end_cleanly(peer)


@case("5.5.1-g")
def _(t):
    for begins in (True, False):
        peer = t.open()
        if begins:
            weft_closes(t, peer, 1000)
        peer.bye(1000)
        if not begins:
            peer.expect(CLOSE)
        peer.expect_end()  # our side is still open
        t.outcome(peer)


@case("5.5.1-h")
def _(t):
    """Both at once: each has sent and received a close."""
    peer = t.open()
    t.call(peer, "close", 1001)
    peer.bye(4000, b"mine")
    assert peer.expect(CLOSE).code in (1001, 4000)
    t.end_cleanly(peer)
    assert t.outcome(peer) == (4000, b"mine", True)


@case("7.1.1-a")
def _(t):
    """What follows a close is discarded, without a reset that overtakes the answer."""
    peer = t.open()
    junk = [peer.pack(BINARY, b"x" * 5000) for _ in range(20)]
    peer.send(peer.pack(CLOSE, close_body(1000)), peer.pack(TEXT, b"after"), b"\xff" * 100, *junk)
    peer.expect(CLOSE)
    t.end_cleanly(peer)
    assert t.outcome(peer) == (1000, b"", True)


@case("7.1.2-a")
def _(t):
    for code, reason in ((1000, b""), (1001, b"going"), (3000, b"r" * 123), (4999, "é".encode())):
        peer = t.open()
        got = weft_closes(t, peer, code, reason)
        assert got.payload == close_body(code, reason), got
        peer.bye(code)
        t.end_cleanly(peer)
        assert t.outcome(peer)[2]


@case("7.1.5-a")
def _(t):
    t.finish(t.open(), 4321)
    t.finish(t.open(), None)  # 1005
    for how in ("shut", "close"):  # 1006
        peer = t.open()
        t.echoes(peer, TEXT, b"x")
        getattr(peer, how)()
        code, _, clean = t.outcome(peer)
        assert code == 1006 and not clean, (code, clean)
    peer = t.open()  # the first one counts
    peer.send(peer.pack(CLOSE, close_body(4001, b"first")), peer.pack(CLOSE, close_body(4002)))
    peer.expect(CLOSE)
    t.end_cleanly(peer)
    assert t.outcome(peer) == (4001, b"first", True)


@case("7.1.6-a")
def _(t):
    for reason in (b"", b"r", "Gründe €😀".encode(), b"\0", b"x" * 123):
        t.finish(t.open(), 1000, reason)
    for bad in (b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80"):
        t.fails(1007, f(CLOSE, close_body(1000, bad)))
    peer = t.open()
    t.call(peer, "close", 1000, b"\xff")
    event = t.called_back(peer)
    assert event["raised"], event
    t.echoes(peer, TEXT, b"nothing was sent")


@case("7.1.7-a")
def _(t):
    peer = t.open()
    peer.frame(3)
    assert peer.expect(CLOSE).code == 1002
    peer.expect_end()  # before we say or end anything
    code, reason, clean = t.outcome(peer)
    assert code == 1002 and reason and not clean


@case("7.1.7-b")
def _(t):
    """Also what an orderly peer answers: the close we get back is not looked at."""
    peer = t.open()
    peer.send(peer.pack(7), peer.pack(CLOSE, close_body(4000, b"later")), peer.pack(TEXT, b"x"),
              peer.pack(PING, b"x"), b"\xff" * 1000)
    assert peer.expect(CLOSE).code == 1002
    peer.expect_end()
    assert t.outcome(peer)[0] == 1002


@case("7.2.1-a")
def _(t):
    peer = t.called()
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    t.rejects(peer)


@case("7.2.1-b")
def _(t):
    """Lost at every byte of a message: never clean, and nothing of it is delivered."""
    peer = t.open()
    raw = peer.pack(TEXT, b"message") + peer.pack(CLOSE, close_body(1000))
    for cut in range(1, len(raw) - 1, rounds(1, 6)):
        peer = t.open()
        peer.send(raw[:cut])
        peer.shut()
        code, _, clean = t.outcome(peer)
        assert code == 1006 and not clean, f"cut at {cut}: {code}"
        peer.close()


@case("7.2.1-c")
def _(t):
    """Half-closed: what came before is delivered, a close handshake is still clean."""
    peer = t.open()
    peer.send(peer.pack(TEXT, b"last words"), peer.pack(CLOSE, close_body(1000)))
    peer.shut()
    seen = []
    try:
        while True:
            seen.append(peer.read())
    except Ended:
        pass
    assert seen and seen[-1].op == CLOSE and seen[-1].code == 1000, seen
    assert t.outcome(peer) == (1000, b"", True)


@case("7.2.2-a")
def _(t):
    peer, head = t.ask(b"GET /echo HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
                       b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n")
    assert head.status == 400 and "close" in head.one("Connection")
    rest = peer.drain()
    assert len(rest) == int(head.one("Content-Length")), rest


def never(t, code):
    t.fails(1002, f(CLOSE, close_body(code)))
    t.fails(1002, f(CLOSE, close_body(code, b"why")))
    peer = t.open()
    t.call(peer, "close", code)
    assert t.called_back(peer)["raised"]
    t.echoes(peer, TEXT, b"nothing was sent")


@case("7.4.1-a")
def _(t):
    never(t, 1005)


@case("7.4.1-b")
def _(t):
    never(t, 1006)


@case("7.4.1-c")
def _(t):
    never(t, 1015)


@case("7.4.2-a")
def _(t):
    for code in UNUSED:
        t.fails(1002, f(CLOSE, close_body(code)))
        t.fails(1002, f(TEXT, b"a", fin=False), f(CLOSE, close_body(code, b"why")))
    peer = t.open()
    for code in UNUSED:
        t.call(peer, "close", code)
        assert t.called_back(peer)["raised"], code
    t.echoes(peer, TEXT, b"nothing was sent")


@case("7.4.2-b")
def _(t):
    for code in VALID:
        t.finish(t.open(), code)
        peer = t.open()
        assert weft_closes(t, peer, code).code == code
        peer.bye(code)
        t.end_cleanly(peer)
        assert t.outcome(peer)[2]
