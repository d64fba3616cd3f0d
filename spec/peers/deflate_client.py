"""Debian's python3-websockets as a client that compresses: deflate_client.py URL SETTINGS

SETTINGS is a JSON list of arguments of its permessage-deflate. Ends with the line "done".
"""
import asyncio, json, random, sys, websockets
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory as Factory
async def main():
    for kw in json.loads(sys.argv[2]):
        ext = [Factory(**kw)]
        async with websockets.connect(sys.argv[1], compression=None, extensions=ext, max_size=None) as ws:
            for m in ["hello", "", "hello " * 1000, "{\"a\":1}," * 9, "".join(map(str, range(150000))),
                      random.Random(1).randbytes(70000), b""] * 2:
                await ws.send(m)
                got = await ws.recv()
                assert got == m, (len(got), len(m))
            await ws.send([str(i) * 50 for i in range(300)])
            assert await ws.recv() == "".join(str(i) * 50 for i in range(300))
            print(ws.extensions, flush=True)
    print("done", flush=True)
asyncio.run(main())
