"""The opening handshake as weft's server does it: RFC 6455 4.2, 4.4, 9 and 10.2."""
import base64
import os
import re

from suite import case
from wire import KEY, MASK, PING, PONG, TEXT, accept, frame, request

BEHIND = (frame(TEXT, b"behind", key=MASK) + b"GET /page HTTP/1.1\r\nHost: test\r\n\r\n"
          + request("/echo?id=0"))
PLAIN = ["Host: test", "Upgrade: websocket", "Connection: Upgrade",
         f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13"]


def lines(*fields, first="GET /echo?id=0 HTTP/1.1"):
    return "\r\n".join([first, *fields, "", ""]).encode("latin-1")


def refused(t, raw, status, what=None):
    """That answer, the end of the connection, and nothing behind is acted upon."""
    peer = t.dial()
    peer.send(raw, BEHIND)
    head = peer.read_head()
    assert head.status == status, f"{what or raw[:200]!r} got {head.first}"
    assert "close" in head.one("Connection"), head.raw
    rest = peer.drain()
    assert not re.search(rb"HTTP/1\.1 \d", rest) and b"behind" not in rest, rest
    return head


def let_in(t, raw, what=None):
    peer, head = t.ask(raw)
    assert head.status == 101, f"{what or raw!r} got {head.first}"
    t.echoes(peer, TEXT, b"in")
    peer.close()
    return head


def with_field(name, value):
    return request("/echo?id=0", {name: value})


@case("4.2.1-a")
def _(t):
    for what, raw in {
            "no colon": lines(*PLAIN, "nonsense"),
            "a space before the colon": lines(*PLAIN, "X : 1"),
            "no name": lines(*PLAIN, ": 1"),
            "a name that is no token": lines(*PLAIN, "X(Y): 1"),
            "a folded field": lines(*PLAIN, "X: 1", " 2"),
            "white space before the first field": lines(" X: 1", *PLAIN),
            "a NUL": lines(*PLAIN, "X: a\0b"),
            "a bare CR": lines(*PLAIN, "X: a\rb"),
            "a control character": lines(*PLAIN, "X: a\x01b"),
            "two spaces": lines(*PLAIN, first="GET  /echo HTTP/1.1"),
            "a space behind": lines(*PLAIN, first="GET /echo HTTP/1.1 "),
            "no version": lines(*PLAIN, first="GET /echo"),
            "no slash": lines(*PLAIN, first="GET echo HTTP/1.1"),
            "a malformed escape": lines(*PLAIN, first="GET /%zz HTTP/1.1"),
            "a body": lines(*PLAIN, "Content-Length: 5"),
            "a chunked body": lines(*PLAIN, "Transfer-Encoding: chunked"),
            "TLS": bytes.fromhex("16030102000100") + b"\xfc\x03\x03" + b"\xaa" * 100,
            "frames": frame(TEXT, b"x" * 100, key=MASK)}.items():
        refused(t, raw, 400, what)
    refused(t, request("/echo#x"), 404)  # to weft a character like others, of another path


@case("4.2.1-b")
def _(t):
    for method in ("POST", "PUT", "OPTIONS", "get", "HEAD"):
        refused(t, lines(*PLAIN, first=f"{method} /echo HTTP/1.1"), 405)
    for version in ("HTTP/1.0", "HTTP/2.0", "HTTP/0.9"):
        refused(t, lines(*PLAIN, first=f"GET /echo {version}"), 505)
    for target in ("/echo?id=0&a=b", "http://test/echo?id=0", "/%65cho?id=0"):
        let_in(t, request(target))


@case("4.2.1-c")
def _(t):
    for value in (None, "", "a b", "a/b", "a@b", "[::1", "test:port"):
        refused(t, with_field("Host", value), 400, f"Host {value!r}")
    for value in ("test:80", "[::1]:8080", "127.0.0.1", "xn--bcher-kva.example"):
        let_in(t, with_field("Host", value))


@case("4.2.1-d")
def _(t):
    for value in (None, "", "h2c", "websockets", "web socket", "websocket/14"):
        head = refused(t, with_field("Upgrade", value), 426, f"Upgrade {value!r}")
        assert head.one("Upgrade") == "websocket"
    for value in ("websocket", "WebSocket", "WEBSOCKET", "h2c, websocket", "websocket,"):
        let_in(t, with_field("Upgrade", value))


@case("4.2.1-e")
def _(t):
    for value in (None, "", "close", "keep-alive", "upgraded", "up grade"):
        refused(t, with_field("Connection", value), 426, f"Connection {value!r}")
    for value in ("upgrade", "UPGRADE", "keep-alive, Upgrade", "Upgrade,keep-alive", ", upgrade ,"):
        let_in(t, with_field("Connection", value))


@case("4.2.1-f")
def _(t):
    def encoded(n):
        return base64.b64encode(b"\x5a" * n).decode()
    for value in (None, "", "x", encoded(15), encoded(17), encoded(12), encoded(24), KEY[:-2],
                  KEY[:-1], KEY + "=", KEY[:5] + " " + KEY[6:], "A" * 21 + "B==",
                  "A" * 20 + "_A==", "A" * 22 + "= "[:2].replace(" ", "A"), "A" * 5000):
        status = 400
        refused(t, with_field("Sec-WebSocket-Key", value), status, f"key {value!r:.60}")
    for _ in range(5):
        key = base64.b64encode(os.urandom(16)).decode()
        head = let_in(t, with_field("Sec-WebSocket-Key", f"\t {key} "))
        assert head.one("Sec-WebSocket-Accept") == accept(key)


VERSIONS = (None, "", "0", "8", "7", "12", "14", "25", "255", "256", "013", "+13", "13.0", "13;",
            "13, 8", "8, 13", "13,", "1 3", "0x0d", "junk", "-13", "13" * 50)


@case("4.2.1-g")
def _(t):
    for value in VERSIONS:
        head = refused(t, with_field("Sec-WebSocket-Version", value), 426, f"version {value!r}")
        assert head.one("Sec-WebSocket-Version") == "13"
    let_in(t, with_field("Sec-WebSocket-Version", " 13\t"))


@case("4.2.1-h")
def _(t):
    let_in(t, request("/echo?id=0"))
    let_in(t, request("/origins?id=0"))


@case("4.2.1-i")
def _(t):
    for value in ("a b", "a,,b c", "a, (b)", "a;b", "a, a", "b, a, b", "\xe9", "a/b"):
        raw = request("/protocols?id=0", {"Sec-WebSocket-Protocol": value})
        refused(t, raw, 400, f"protocols {value!r}")


@case("4.2.1-k")
def _(t):
    more = ["X-Unknown: 1", "X-Unknown: 2", "Cookie: a=b", "Authorization: Basic eDp5",
            "Sec-WebSocket-Future: x", "Sec-WebSocket-Accept: nonsense", "X-Empty:", "X-Obs: \xe9"]
    let_in(t, request("/echo?id=0", more=more))


@case("4.2.1-l")
def _(t):
    for field in ("Host: test", "Host: other", f"Sec-WebSocket-Key: {KEY}",
                  "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13",
                  "Sec-WebSocket-Version: 8", "Content-Length: 0, 5"):
        refused(t, request("/echo?id=0", more=[field]), 400, f"twice: {field}")
    for fields in (["Connection: keep-alive"], ["Upgrade: h2c"], ["Connection: x", "Upgrade: y"]):
        let_in(t, request("/echo?id=0", more=fields))


@case("4.2.2-b")
def _(t):
    def ask(route, *origins, host="test"):
        return request(f"/{route}?id=0", {"Host": host}, [f"Origin: {origin}" for origin in origins])
    bad = ("http://evil.example", "null", "", "http://test.evil.example", "http://good.example",
           "https://good.example:444", "https://good.example.evil.example", "https://example.org",
           "https://eviltheexample.org", "http://a.example.org", "test", "http://", "https://[",
           "https://good.example/path", "https://good.example https://good.example")
    for origin in bad:
        refused(t, ask("origins", origin), 403, f"Origin {origin!r}")
    refused(t, ask("echo", "http://evil.example"), 403)
    refused(t, ask("echo", "http://test", "http://evil.example"), 403)
    refused(t, ask("echo", "http://test", "http://test"), 403)
    for origin in ("https://good.example", "https://a.example.org", "https://a.b.example.org",
                   "http://test"):
        let_in(t, ask("origins", origin))
    let_in(t, ask("echo", "http://test:8080", host="test:8080"))


@case("4.2.2-c")
def _(t):
    for value in ("0", "8", "14", "junk"):
        head = refused(t, with_field("Sec-WebSocket-Version", value), 426)
        assert head.all("Sec-WebSocket-Version") == ["13"] and head.status != 101


@case("4.2.2-d")
def _(t):
    for target in ("/", "/other", "/echo/", "/ECHO", "/echo/x"):
        refused(t, request(target), 404, target)


@case("4.2.2-e")
def _(t):
    for offered, chosen in ((["a"], "a"), (["b"], "b"), (["c, a"], "a"), (["x", "y, b", "a"], "b")):
        more = [f"Sec-WebSocket-Protocol: {one}" for one in offered]
        head = let_in(t, request("/protocols?id=0", more=more))
        assert head.one("Sec-WebSocket-Protocol") == chosen, (offered, head.raw)


@case("4.2.2-f")
def _(t):
    for route, value in (("protocols", None), ("protocols", "c"), ("protocols", "A, bb"),
                         ("echo", "a, b")):
        head = let_in(t, request(f"/{route}?id=0", {"Sec-WebSocket-Protocol": value}))
        assert head.all("Sec-WebSocket-Protocol") == [], head.raw


@case("4.2.2-g")
def _(t):
    for route, value in (("echo", None), ("deflate", None), ("deflate", "x-unknown; a=1, mux"),
                         ("echo", "permessage-deflate"), ("deflate", "permessage-deflate-frame")):
        head = let_in(t, request(f"/{route}?id=0", {"Sec-WebSocket-Extensions": value}))
        assert head.all("Sec-WebSocket-Extensions") == [], head.raw


@case("4.2.2-h")
def _(t):
    head = let_in(t, request("/echo?id=0"))
    assert head.first.startswith("HTTP/1.1 101 "), head.first
    assert head.one("Upgrade").lower() == "websocket"
    assert head.one("Connection").lower() == "upgrade"
    assert head.one("Sec-WebSocket-Accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert not head.all("Content-Length") and not head.all("Transfer-Encoding")


@case("4.2.2-i")
def _(t):
    """Frames glued to the request are not lost, also behind requests that came before."""
    page = b"GET /page HTTP/1.1\r\nHost: test\r\n\r\n"
    for before in (b"", page, page + page):
        peer = t.dial()
        texts = [b"glued %d" % i for i in range(20)]
        peer.send(before, request("/echo?id=0"), *(peer.pack(TEXT, text) for text in texts))
        for _ in range(before.count(b"GET")):
            assert peer.read_head().status == 200 and peer.take(4) == b"page"
        assert peer.read_head().status == 101
        for text in texts:
            peer.expect(TEXT, text)
        peer.frame(PING, b"p")
        peer.expect(PONG, b"p")


@case("4.4-a")
def _(t):
    for value in VERSIONS[1:]:
        head = refused(t, with_field("Sec-WebSocket-Version", value), 426)
        listed = ", ".join(head.all("Sec-WebSocket-Version")).split(", ")
        assert listed == ["13"], head.raw
        let_in(t, with_field("Sec-WebSocket-Version", listed[0]))


@case("9.1-b")
def _(t):
    for value in ("a b", "a;", ";a", "a; =1", "a; b=", 'a; b="', 'a; b="x y"', 'a; b=""', "a=1",
                  "a; b==1", "a; b=1 2", "(a)", "\xe9", "a; b=\"\\\""):
        for route in ("deflate", "echo"):
            raw = request(f"/{route}?id=0", {"Sec-WebSocket-Extensions": value})
            refused(t, raw, 400, f"extensions {value!r} on {route}")
    for value in ("a", "a;b", "a ; b = 1", 'a; b="1"', "a,b", ", a,", "a; b; b=2; c=\"x\""):
        let_in(t, request("/deflate?id=0", {"Sec-WebSocket-Extensions": value}))


@case("10.2-a")
def _(t):
    for origin in ("http://evil.example", "null"):
        head = refused(t, request("/echo?id=0", {"Origin": origin}), 403)
        assert head.status == 403
