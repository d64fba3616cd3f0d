"""Debian's python3-websockets as a client of an echo by pieces: stream_client.py URL

Sends fragmented messages, plain and compressed, and checks what comes back. Ends with "done".
"""
import asyncio
import sys

import websockets

MIB = 1 << 20


def pieces(text, size):
    return [text[at:at + size] for at in range(0, len(text), size)]


async def exchange(ws, parts):
    whole = parts[0][:0].join(parts)
    sending = asyncio.ensure_future(ws.send(parts))  # it goes on while the answer comes
    got = await ws.recv()
    await sending
    assert got == whole, (len(got), len(whole))


async def main():
    text = "".join(f"{i} \u20ac\U0001d11e\u00e9," for i in range(200000))
    data = bytes(range(256)) * (3 * MIB // 256)
    for compression in (None, "deflate"):
        async with websockets.connect(sys.argv[1], compression=compression, max_size=None) as ws:
            for parts in (["a"], ["h\u00e9", "", "\u20ac"], pieces(text, 7001), pieces(data, 65537), [b"", b"x"],
                          pieces("xyz" * 1000, 1)):
                await exchange(ws, parts)
            print(ws.extensions, flush=True)
    print("done", flush=True)


asyncio.run(main())
