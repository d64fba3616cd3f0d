"""The conformance suite's frame: the inventory of clauses, the cases, what they ask of weft,
and running them. The cases themselves are in cases_*.py."""
import json
import os
import re
import socket
import traceback

from wire import BINARY, BOUND, CLOSE, Peer, Head, answer, close_body, request

HERE = os.path.dirname(__file__)
HOSTILE = bool(os.environ.get("WEFT_HOSTILE_GC"))  # counts are smaller, sums the same
ROLES = {"server": ("server",), "client": ("client",), "both": ("server", "client"),
         "none": (), "elsewhere": (), "unmet": ()}
CASES = {}


def case(clause):
    def register(function):
        assert clause not in CASES, f"two cases for {clause}"
        CASES[clause] = function
        return function
    return register


def rounds(n, fewer):
    return fewer if HOSTILE else n


def f(op, payload=b"", **how):
    """A frame that is still to be packed by whoever sends it."""
    return op, payload, how


class Clause:
    def __init__(self, rfc, name, kind, text, reason):
        self.rfc, self.name, self.kind, self.text, self.reason = rfc, name, kind, text, reason
        self.section = "RFC %s %s" % (rfc, name.split(":")[-1].rsplit("-", 1)[0])
        self.roles = ROLES[kind]


def inventory():
    """clauses.txt, checked: every clause has a case or a reason, every case a clause."""
    clauses, rfc = [], None
    for line in open(os.path.join(HERE, "clauses.txt"), encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("RFC "):
            rfc = line[4:]
        elif line and not line.startswith("#"):
            name, kind, text, _, reason = re.fullmatch(
                r"(\S+) +(\S+) +(.*?)( \| (.*))?", line).groups()
            clauses.append(Clause(rfc, name, kind, text, reason))
    names = [clause.name for clause in clauses]
    assert len(set(names)) == len(names), "a clause is listed twice"
    assert set(CASES) <= set(names), f"not in clauses.txt: {set(CASES) - set(names)}"
    for clause in clauses:
        assert bool(clause.roles) == (clause.name in CASES), f"{clause.name}: case or reason?"
        assert bool(clause.roles) == (clause.reason is None), f"{clause.name}: reason?"
    return clauses


class Subject:
    """The weft under test: orders go to it, events come from it, as lines of JSON."""

    def __init__(self, control, port, pid):
        self.port, self.pid, self.last = port, pid, 0
        self.sock = socket.create_connection(("127.0.0.1", control))
        self.sock.settimeout(BOUND)
        self.lines, self.events = self.sock.makefile("r"), []

    def order(self, *raw, **what):
        """One line of JSON, and behind it the bytes that it announces."""
        self.sock.sendall(json.dumps(what).encode() + b"\n" + b"".join(raw))

    def next_id(self):
        self.last += 1
        return self.last

    def wait(self, number, *kinds):
        """The next event of that connection that is of one of these kinds."""
        while True:
            for event in self.events:
                if event["id"] == number and event["event"] in kinds:
                    self.events.remove(event)
                    return event
            line = self.lines.readline()
            assert line, "weft's process has ended"
            self.events.append(json.loads(line))

    def forget(self):
        self.events = []

    def memory(self):
        """Bytes in memory; nothing under a sanitizer, which keeps back what was freed."""
        if os.environ.get("WEFT_CLEAN_ENV"):
            return 0
        with open(f"/proc/{self.pid}/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Test:
    """What a case works with: weft in one role, and peers of it that are made here."""

    def __init__(self, subject, role, drip):
        self.subject, self.role, self.drip, self.peers = subject, role, drip, []
        self.server = role == "server"
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.listener.settimeout(BOUND)
        self.port = self.listener.getsockname()[1]

    def _peer(self, sock, client):
        peer = Peer(sock, client, self.drip)
        self.peers.append(peer)
        return peer

    def dial(self):
        """A connection to weft's server with nothing said."""
        sock = socket.create_connection(("127.0.0.1", self.subject.port))
        return self._peer(sock, True)

    def ask(self, raw):
        """These bytes, and the head of the answer."""
        peer = self.dial()
        peer.send(raw)
        return peer, peer.read_head()

    def target(self, route, peer):
        peer.id = self.subject.next_id()
        return f"/{route}?id={peer.id}"

    def greet(self, route="echo", changes=None, more=()):
        """A handshake with weft's server; glued: what comes behind it at once."""
        peer = self.dial()
        peer.send(request(self.target(route, peer), changes, more))
        peer.head = peer.read_head()
        return peer

    def order_client(self, route="echo", url=None, opts=None):
        number = self.subject.next_id()
        url = url if url is not None else f"ws://127.0.0.1:{self.port}/{route}?id={number}"
        self.subject.order(op="connect", id=number, url=url, route=route, opts=opts or {})
        return number

    def pick_up(self, number):
        """The connection that weft's client has made, its request unread."""
        sock, _ = self.listener.accept()
        peer = self._peer(sock, False)
        peer.id = number
        return peer

    def called(self, route="echo", **opts):
        """A connection of weft's client, which waits for the answer to its request."""
        peer = self.pick_up(self.order_client(route, opts=opts))
        peer.head = peer.read_head()
        peer.key = peer.head.one("Sec-WebSocket-Key")
        return peer

    def open(self, route="echo", extension=None):
        """A connection in either role. extension: what our side's handshake says of it."""
        changes = {"Sec-WebSocket-Extensions": extension}
        if self.server:
            peer = self.greet(route, changes)
            assert peer.head.status == 101, peer.head.raw
        else:
            peer = self.called(route)
            peer.send(answer(peer.key, changes))
        peer.opened = self.subject.wait(peer.id, "opened", "failed")
        assert peer.opened["event"] == "opened", peer.opened
        return peer

    def call(self, peer, method, *args):
        """weft's script calls a method of its connection."""
        raw = [arg for arg in args if isinstance(arg, bytes)]
        args = [{"bytes": len(arg)} if isinstance(arg, bytes) else arg for arg in args]
        self.subject.order(*raw, op="call", id=peer.id, method=method, args=args)

    def called_back(self, peer):
        return self.subject.wait(peer.id, "called")

    def outcome(self, peer):
        """How weft's script saw the end."""
        event = self.subject.wait(peer.id, "closed")
        assert "raised" not in event, event
        return event["code"], bytes.fromhex(event["reason"]), event["clean"]

    def rejects(self, peer, name="handshake", **expected):
        """weft's client takes no such answer, and says nothing more."""
        event = self.subject.wait(peer.id, "opened", "failed")
        assert event["event"] == "failed" and event["name"] == name, event
        for key, value in expected.items():
            assert event[key] == value, event
        peer.expect_end()

    def fails(self, code, *frames, route="echo", extension=None, before=()):
        """These frames fail a connection: a close frame with that code, the end, and nothing
        behind them is looked at."""
        peer = self.open(route, extension)
        behind = [f(9, b"behind"), f(1, b"behind"), f(8, close_body(1000))]
        peer.send(*(peer.pack(op, payload, **how) for op, payload, how in (*frames, *behind)))
        for op, payload in before:
            peer.expect(op, payload)
        got = peer.expect(CLOSE)
        assert got.code == code, f"instead of {code}: {got}"
        peer.expect_end()
        peer.close()
        seen, _, clean = self.outcome(peer)
        assert seen == code and not clean, f"the script saw {seen}, {clean}"

    def echoes(self, peer, op, payload, *frames):
        """These frames (by default one whole one) are that message."""
        for each in frames or (f(op, payload),):
            peer.frame(each[0], each[1], **each[2])
        peer.expect(op, payload)

    def finish(self, peer, code=1000, reason=b""):
        """A clean end that we begin."""
        peer.bye(code, reason)
        got = peer.expect(CLOSE)
        assert got.code == code, got
        self.end_cleanly(peer)
        seen = self.outcome(peer)
        assert seen == (1005 if code is None else code, reason, True), seen

    def end_cleanly(self, peer):
        """RFC 6455 5.5.1: the server closes at once, the client waits for that."""
        if not self.server:
            peer.shut()
        peer.expect_end()
        peer.close()

    def close(self):
        self.listener.close()
        for peer in self.peers:
            peer.close()


class Runner:
    def __init__(self, subject):
        self.subject, self.healthy = subject, {}
        for role in ("server", "client"):
            test = Test(subject, role, False)
            self.healthy[role] = test, test.open()

    def check_healthy(self, label):
        """Two connections live through it all, and notice nothing."""
        for test, peer in self.healthy.values():
            test.echoes(peer, BINARY, label.encode())

    def run(self, clause, role):
        """None, or what went wrong."""
        for drip in (False, True):
            test = Test(self.subject, role, drip)
            try:
                CASES[clause.name](test)
                self.check_healthy(clause.name)
            except Exception as error:  # whatever a case meets, the others go on
                where = traceback.extract_tb(error.__traceback__)
                lines = ", ".join(f"{os.path.basename(at.filename)}:{at.lineno}" for at in where[1:])
                return f"{'cut at each byte' if drip else 'whole'}: {error!r} ({lines})"
            finally:
                test.close()
                self.subject.forget()
        return None


__all__ = ["case", "rounds", "f", "inventory", "Subject", "Test", "Runner", "Head", "CASES"]
