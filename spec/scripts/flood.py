"""Connects to a port many times and resets each connection: flood.py PORT COUNT"""
import socket
import struct
import sys

PORT, COUNT = int(sys.argv[1]), int(sys.argv[2])
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST
AT_ONCE = 50

UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MESSAGE = b"\x81\x85\0\0\0\0hello"
# What the peers have said by the time they are gone.
WORDS = [
    b"",
    b"GET / HT",
    b"GET /accepted HTTP/1.1\r\nHost: x\r\n\r\n",
    UPGRADE,
    UPGRADE + MESSAGE,
    UPGRADE + MESSAGE * 100 + b"\x81\xfe\xff",
    b"\0\1\2",
]


def batch(start, n):
    open_now = []
    for i in range(start, start + n):
        s = socket.create_connection(("127.0.0.1", PORT))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        words = WORDS[i % len(WORDS)]
        if words:
            s.send(words)
        open_now.append(s)
    for i, s in enumerate(open_now):
        if i % 5 == 0:  # some leave in good order
            s.shutdown(socket.SHUT_WR)
        s.close()


for begin in range(0, COUNT, AT_ONCE):
    batch(begin, min(AT_ONCE, COUNT - begin))
print("done")
