"""Debian's python3-websockets as a client of spec/peers/weft_echo.lua: client.py ws://HOST:PORT/echo

Prints one JSON line per case: {"name", "ok", "why"}. The cases are those of client.mjs.
"""
import asyncio
import json
import sys

import websockets

URL = sys.argv[1]
PATIENCE = 20
OP_TEXT, OP_CONT = 1, 0
CLOSES = [(1000, ""), (1000, "bye"), (1001, "going away"), (3000, "r" * 123), (4999, "bis später ✓")]
CASES = []


def case(name):
    def register(function):
        CASES.append((name, function))
        return function
    return register


def connect(query="", **options):
    options.setdefault("compression", None)
    return websockets.connect(URL + "?" + query, max_size=None, ping_interval=None, **options)


async def echoes(ws, message):
    await ws.send(message)
    answer = await ws.recv()
    assert type(answer) is type(message), f"{type(message)} came back as {type(answer)}"
    assert answer == message, f"{len(message)} came back as {len(answer)}, or changed"


@case("text")
async def text():
    async with connect() as ws:
        await echoes(ws, "hello")
        await echoes(ws, "Grüße, 世界 🧵 \0 and a NUL")


@case("binary")
async def binary():
    async with connect() as ws:
        await echoes(ws, bytes(range(256)))


@case("empty")
async def empty():
    async with connect() as ws:
        await echoes(ws, "")
        await echoes(ws, b"")


@case("lengths around each form of the header, to 1 MiB")
async def lengths():
    async with connect() as ws:
        for size in (124, 125, 126, 127, 65535, 65536, 2**20):
            await echoes(ws, "x" * size)
            await echoes(ws, bytes(i * 7 % 256 for i in range(size)))


@case("more than 1 MiB is refused with 1009")
async def too_big():
    async with connect("too_big") as ws:
        try:
            await ws.send(b"x" * (2**20 + 1))
            await ws.recv()
        except websockets.ConnectionClosed:
            pass
        assert ws.close_code == 1009, f"closed with {ws.close_code}"


@case("fragments, split inside a character")
async def fragments():
    async with connect() as ws:
        data = "zwölf Fäden 🧵".encode()
        for i in range(len(data)):
            await ws.write_frame(i == len(data) - 1, OP_TEXT if i == 0 else OP_CONT, data[i:i + 1])
        assert await ws.recv() == data.decode()
        await ws.send([b"warp", b"", b" and ", b"weft"])
        assert await ws.recv() == b"warp and weft"


@case("ping between fragments")
async def ping_between():
    async with connect() as ws:
        await ws.write_frame(False, OP_TEXT, b"one ")
        for payload in (b"", b"in between", b"p" * 125):
            pong = await ws.ping(payload)
            await ws.write_frame(False, OP_CONT, b"more ")
            await pong
        await ws.write_frame(True, OP_CONT, b"last")
        assert await ws.recv() == "one more more more last"


@case("answers the server's ping")
async def pinged():
    async with connect() as ws:
        await ws.send("!ping")
        assert await ws.recv() == "pong"


@case("the first subprotocol of the server's that is offered")
async def subprotocol():
    async with connect(subprotocols=["weft.v1", "other", "weft.v2"]) as ws:
        assert ws.subprotocol == "weft.v2", ws.subprotocol
        await echoes(ws, "hello")


@case("no subprotocol in common")
async def no_subprotocol():
    async with connect(subprotocols=["other"]) as ws:
        assert ws.subprotocol is None, ws.subprotocol
        await echoes(ws, "hello")


@case("headers, path and query")
async def headers():
    async with connect("a=%20b", extra_headers={"X-Thread": "indigo"}) as ws:
        await ws.send("!header x-thread")
        assert await ws.recv() == "indigo"
        await ws.send("!path")
        assert await ws.recv() == "/echo?a=%20b"


@case("many messages in flight, in order")
async def in_flight():
    async with connect() as ws:
        sent = [f"{i} " + "y" * (i * 37 % 2000) for i in range(500)]
        sending = asyncio.ensure_future(send_all(ws, sent))
        for expected in sent:
            assert await ws.recv() == expected
        await sending


async def send_all(ws, messages):
    for message in messages:
        await ws.send(message)


@case("permessage-deflate is declined")
async def declined():
    async with connect(compression="deflate") as ws:
        assert ws.extensions == [], ws.extensions
        await echoes(ws, "hello " * 1000)


@case("closes with codes and reasons")
async def closes():
    for number, (code, reason) in enumerate(CLOSES):
        ws = await connect(f"closes{number}")
        await echoes(ws, "hello")
        await ws.close(code, reason)
        assert ws.close_code == code, f"{code} was answered with {ws.close_code}"


@case("is closed with codes and reasons")
async def closed():
    for number, (code, reason) in enumerate(CLOSES):
        ws = await connect(f"closed{number}")
        await ws.send(f"!close {code} {reason}")
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (code, reason), (ws.close_code, ws.close_reason)


@case("vanishes without a close frame")
async def vanishes():
    ws = await connect("vanishes")
    await echoes(ws, "hello")
    ws.transport.abort()
    await ws.wait_closed()


async def main():
    for name, function in CASES:
        result = {"name": name, "ok": True}
        try:
            await asyncio.wait_for(function(), PATIENCE)
        except BaseException as error:  # whatever it is, it is this case's result
            result = {"name": name, "ok": False, "why": repr(error)[:500]}
        print(json.dumps(result), flush=True)


asyncio.run(main())
