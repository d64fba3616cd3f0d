"""The opening handshake as weft's client does it: RFC 6455 4.1 and 9.1."""
import base64
import re
import select
import socket

from suite import case, rounds
from wire import BINARY, MORE, PING, PONG, TEXT, accept, answer

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
DEFLATE = "permessage-deflate"


def takes(t, reply, route="echo", **opts):
    """weft's client accepts that answer, a function of the key; its connection works."""
    peer = t.called(route, **opts)
    peer.send(reply(peer.key))
    event = t.subject.wait(peer.id, "opened", "failed")
    assert event["event"] == "opened", (event, reply("KEY"))
    t.echoes(peer, TEXT, b"works")
    return event


def rejects(t, reply, route="echo", opts=None, **expected):
    peer = t.called(route, **(opts or {}))
    peer.send(reply(peer.key))
    try:
        t.rejects(peer, **expected)
    except AssertionError as error:
        raise AssertionError(f"{error} after {reply('KEY')[:300]!r}") from error


@case("4.1-a")
def _(t):
    port = t.port
    for url in ("", "ws", "ws:", "ws://", "ws:///path", "http://127.0.0.1/", "wss//127.0.0.1",
                f"ws://127.0.0.1:{port}/#fragment", f"ws://127.0.0.1:{port}/a b",
                f"ws://127.0.0.1:{port}/a\r\nX: y", f"ws://127.0.0.1:{port}/\0",
                "ws://127.0.0.1:0/", "ws://127.0.0.1:65536/", "ws://127.0.0.1:port/",
                "ws://[::1/", f"ws://127.0.0.1:{port}/%zz"):
        number = t.order_client(url=url)
        event = t.subject.wait(number, "opened", "failed")
        assert event["event"] == "failed", url
    ready, _, _ = select.select([t.listener], [], [], 0.05)
    assert not ready, "an invalid URI was connected to"


@case("4.1-d")
def _(t):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    event = t.subject.wait(t.order_client(url=f"ws://127.0.0.1:{port}/"), "opened", "failed")
    assert event["event"] == "failed" and event["name"] == "refused", event


def client_hello(t, host):
    number = t.order_client(url=f"wss://{host}:{t.port}/secret-path")
    peer = t.pick_up(number)
    header = peer.take(5)
    return number, peer, header, peer.take(int.from_bytes(header[3:], "big"))


@case("4.1-e")
def _(t):
    number, peer, header, hello = client_hello(t, "127.0.0.1")
    assert header[0] == 22 and hello[0] == 1, "no TLS ClientHello"
    assert b"secret-path" not in hello and b"HTTP/1.1\r\n" not in hello
    peer.send(answer("x"))  # no TLS at all
    event = t.subject.wait(number, "opened", "failed")
    assert event["event"] == "failed" and event["name"] == "tls", event
    assert b"GET" not in peer.drain()


@case("4.1-f")
def _(t):
    number, peer, _, hello = client_hello(t, "localhost")
    name = b"localhost"
    assert b"\0\0" + len(name + b"12345").to_bytes(2, "big") in hello  # extension server_name
    assert b"\0" + len(name).to_bytes(2, "big") + name in hello
    peer.close()
    assert t.subject.wait(number, "failed")["name"] in ("tls", "closed")


@case("4.1-h")
def _(t):
    head = t.called("protocols").head
    assert re.fullmatch(rf"[A-Z]+ [!-~]+ HTTP/1\.1\r\n({TOKEN}:[ \t]*[!-~][ -~]*\r\n)+\r\n",
                        head.raw.decode()), head.raw
    names = [name.lower() for name, _ in head.fields]
    assert len(set(names)) == len(names), names
    assert not head.all("Content-Length") and not head.all("Transfer-Encoding")
    for value in ("a\r\nb", "a\nb", "a\0b"):
        number = t.order_client(opts={"headers": {"x-bad": value}})
        assert t.subject.wait(number, "failed")["raised"], "nothing may be sent"


@case("4.1-i")
def _(t):
    assert re.fullmatch(r"GET \S+ HTTP/1\.1", t.called().head.first)


@case("4.1-j")
def _(t):
    base = f"ws://127.0.0.1:{t.port}"
    for given, target in (("", "/"), ("/", "/"), ("/a/b", "/a/b"), ("?q", "/?q"), ("/a?b=c&d", "/a?b=c&d"),
                          ("/%C3%A9%20x", "/%C3%A9%20x"), ("//x", "//x"), ("/a?", "/a?")):
        peer = t.pick_up(t.order_client(url=base + given))
        got = peer.read_head().first.split(" ")[1]
        assert got == target or (given == "/a?" and got == "/a"), f"{given!r} asked for {got!r}"


@case("4.1-k")
def _(t):
    head = t.called().head
    assert head.one("Host") == f"127.0.0.1:{t.port}", head.raw
    peer = t.pick_up(t.order_client(url=f"ws://user:pw@LOCALHOST:{t.port}/"))
    assert peer.read_head().one("Host").lower() == f"localhost:{t.port}"


@case("4.1-l")
def _(t):
    assert t.called().head.one("Upgrade").lower() == "websocket"


@case("4.1-m")
def _(t):
    assert "upgrade" in re.split(r"[ ,]+", t.called().head.one("Connection").lower())


@case("4.1-n")
def _(t):
    assert len(base64.b64decode(t.called().key, validate=True)) == 16


@case("4.1-o")
def _(t):
    keys = [base64.b64decode(t.called().key) for _ in range(rounds(64, 16))]
    assert len(set(keys)) == len(keys), "a key came twice"
    for at in range(16):
        assert len({key[at] for key in keys}) > len(keys) // 2, f"byte {at} hardly changes"


@case("4.1-q")
def _(t):
    assert t.called().head.one("Sec-WebSocket-Version") == "13"


@case("4.1-r")
def _(t):
    assert t.called("protocols").head.one("Sec-WebSocket-Protocol") == "b, a"
    assert t.called(protocols="one").head.one("Sec-WebSocket-Protocol") == "one"
    assert t.called(protocols=["x", "y.z", "v1+v2"]).head.one("Sec-WebSocket-Protocol") \
        == "x, y.z, v1+v2"
    assert t.called().head.all("Sec-WebSocket-Protocol") == []
    for bad in ([""], ["a b"], ["a,b"], ["a/b"], ["é"], "a, b", "", ["a", "a"], ["x", "y", "x"]):
        event = t.subject.wait(t.order_client(opts={"protocols": bad}), "opened", "failed")
        assert event["event"] == "failed" and event["raised"], f"{bad!r}: {event}"


@case("4.1-s")
def _(t):
    peer = t.called()
    ready, _, _ = select.select([peer.sock], [], [], 0.05)
    assert not ready and not peer.got, "it did not wait for the answer"
    peer.send(answer(peer.key))
    t.echoes(peer, TEXT, b"now")


@case("4.1-t")
def _(t):
    for status in ("200 OK", "301 Moved", "302 x", "400 Bad", "401 x", "403 x", "404 x", "426 x",
                   "500 x", "503 x", "102 x", "199 x", "201 x", "100x"):
        name = "handshake" if status == "100x" else "refused"
        rejects(t, lambda key: answer(key, {"Content-Length": "0"}, first=f"HTTP/1.1 {status}"),
                name=name, **({} if name == "handshake" else {"status": int(status[:3])}))


@case("4.1-u")
def _(t):
    for value in (None, "", "h2c", "websockets", "web socket", "websocket, h2c", "websocket/13"):
        rejects(t, lambda key: answer(key, {"Upgrade": value}))
    for value in ("WebSocket", "WEBSOCKET", "\t websocket "):
        takes(t, lambda key: answer(key, {"Upgrade": value}))


@case("4.1-v")
def _(t):
    for value in (None, "", "close", "keep-alive", "upgraded", "Up grade"):
        rejects(t, lambda key: answer(key, {"Connection": value}))
    for value in ("upgrade", "UPGRADE", "keep-alive, Upgrade", "upgrade,x", ", upgrade"):
        takes(t, lambda key: answer(key, {"Connection": value}))


@case("4.1-w")
def _(t):
    def accepts(make):
        return lambda key: answer(key, {"Sec-WebSocket-Accept": make(key)})
    for make in (lambda key: None, lambda key: "", lambda key: key, lambda key: accept(key).lower(),
                 lambda key: accept(key)[:-1], lambda key: accept(key) + "=",
                 lambda key: accept(base64.b64decode(key).hex()), lambda key: accept(key + "x"),
                 lambda key: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", lambda key: f'"{accept(key)}"',
                 lambda key: accept(key) + ", x"):
        rejects(t, accepts(make))
    takes(t, accepts(lambda key: f" \t{accept(key)}\t "))


@case("4.1-x")
def _(t):
    for value in (DEFLATE, "x-unknown", f"x, {DEFLATE}"):
        rejects(t, lambda key: answer(key, {"Sec-WebSocket-Extensions": value}))
    for value in ("x-unknown", f"{DEFLATE}, x-unknown", "permessage-deflate-frame",
                  f"{DEFLATE}, {DEFLATE}"):
        rejects(t, lambda key: answer(key, {"Sec-WebSocket-Extensions": value}), "deflate")


@case("4.1-y")
def _(t):
    def speaks(*values):
        return lambda key: answer(key, more=[f"Sec-WebSocket-Protocol: {one}" for one in values])
    rejects(t, speaks("a"))
    for values in (["c"], ["A"], [""], ["a, b"], ["a", "b"], ["a", "a"], ["ab"], ["b;q=1"]):
        rejects(t, speaks(*values), "protocols")
    assert takes(t, speaks("a"), "protocols")["protocol"] == "a"
    assert "protocol" not in takes(t, speaks(), "protocols")


@case("4.1-z")
def _(t):
    for first in ("HTTP/1.0 101 Switching Protocols", "HTTP/2 101 x", "HTTP/1.1 101", "101 x",
                  "HTTP/1.1  101 x", "HTTP/1.1 1x1 y", "GET / HTTP/1.1", "SSH-2.0-x"):
        if first != "HTTP/1.1 101":  # without a reason is what servers do send
            rejects(t, lambda key: answer(key, first=first))
    for field in ("nonsense", ": x", "X : y", "X: a\0b", "X: 1\r\n folded", "X: a\rb",
                  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "Upgrade: h2c",
                  "X: " + "y" * 9000):
        rejects(t, lambda key: answer(key, more=[field]))
    rejects(t, lambda key: answer(key, more=[f"X-{i}: 1" for i in range(80)]))
    rejects(t, lambda key: b"\x81\x05Hello" * 50)
    rejects(t, lambda key: b"HTTP/1.1 101 " + b"x" * 20000)


@case("4.1-aa")
def _(t):
    for change in (bytes.upper, bytes.lower):
        def reply(key):
            first, _, rest = answer(key).partition(b"\r\n")
            fields = [line.partition(b":") for line in rest.split(b"\r\n")]
            return b"\r\n".join([first] + [change(a) + b + c for a, b, c in fields])
        takes(t, reply)
    takes(t, lambda key: answer(key, more=["Set-Cookie: a=b", "Set-Cookie: c=d", "Server:", "X: \xe9"]))


@case("4.1-ab")
def _(t):
    """Frames glued to the answer are not lost."""
    peer = t.called()
    peer.send(answer(peer.key), peer.pack(TEXT, b"glued"), peer.pack(BINARY, b"a", fin=False),
              peer.pack(PING, b"?"), peer.pack(MORE, b"b"))
    seen = [peer.read() for _ in range(3)]
    assert sorted((each.op, each.payload) for each in seen) == [
        (TEXT, b"glued"), (BINARY, b"ab"), (PONG, b"?")], seen
    t.finish(peer)


@case("9.1-a")
def _(t):
    for value in ("", "a b", f"{DEFLATE};", f"{DEFLATE}; =1", f"{DEFLATE}; server_max_window_bits=",
                  f'{DEFLATE}; server_max_window_bits="', f"{DEFLATE}=1", ";", ","):
        rejects(t, lambda key: answer(key, {"Sec-WebSocket-Extensions": value}), "deflate")


@case("9.1-c")
def _(t):
    """What was offered and not taken is not used."""
    event = takes(t, lambda key: answer(key), "deflate")
    assert event["extensions"] == "", event


@case("5.8-a")
def _(t):
    assert t.called().head.all("Sec-WebSocket-Extensions") == []
    offer = t.called("deflate").head.one("Sec-WebSocket-Extensions")
    assert offer.split(";")[0].strip() == DEFLATE, offer
