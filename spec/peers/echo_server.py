"""Debian's python3-websockets as a server for weft's client: prints {"port", "deflate_port"}, and a
JSON line for every connection that ends. It echoes; a text that begins with "!" is an order.
The orders are those of echo_server.mjs.
"""
import asyncio
import json
import os
import ssl

import websockets

OP_TEXT, OP_CONT = 1, 0


async def close(ws, rest):
    code, _, reason = rest.partition(" ")
    await ws.close(int(code), reason)


async def header(ws, name):
    await ws.send(ws.request_headers.get(name, "(none)"))


async def path(ws, _):
    await ws.send(ws.path)


async def ping(ws, payload):
    await (await ws.ping(payload.encode()))
    await ws.send("pong")


async def fragment(ws, text):
    """One byte in each fragment, and a ping after each."""
    data = text.encode()
    for i in range(len(data)):
        await ws.write_frame(i == len(data) - 1, OP_CONT if i else OP_TEXT, data[i:i + 1])
        if i < len(data) - 1:
            await ws.ping(str(i))


async def burst(ws, count):
    for i in range(int(count)):
        await ws.send(f"{i} " + "y" * (i * 37 % 2000))


async def drop(ws, _):
    ws.transport.abort()


ORDERS = {f.__name__: f for f in (close, header, path, ping, fragment, burst, drop)}


async def handle(ws):
    tasks = []
    try:
        async for message in ws:
            if isinstance(message, str) and message.startswith("!"):
                order, _, rest = message[1:].partition(" ")
                tasks.append(asyncio.ensure_future(ORDERS[order](ws, rest)))
            else:
                await ws.send(message)
    except websockets.ConnectionClosed:
        pass
    await ws.wait_closed()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"path": ws.path, "code": ws.close_code, "reason": ws.close_reason}), flush=True)


def context():
    """TLS when the environment has a certificate."""
    if "TLS_CERT" not in os.environ:
        return None
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(os.environ["TLS_CERT"], os.environ["TLS_KEY"])
    return made


def serve(compression):
    return websockets.serve(handle, "127.0.0.1", 0, compression=compression, max_size=None, ssl=context(),
                            ping_interval=None, subprotocols=["peer.v2", "peer.v1"])


async def main():
    async with serve(None) as plain, serve("deflate") as deflate:
        ports = [server.sockets[0].getsockname()[1] for server in (plain, deflate)]
        print(json.dumps({"port": ports[0], "deflate_port": ports[1]}), flush=True)
        await asyncio.Future()  # until it is killed


asyncio.run(main())
