#!/usr/bin/python3
"""weft over TLS beside the floor of TLS: tls_compare.py CERT KEY [ROUNDS [SECONDS]]

Run by `make bench-tls`. Servers are pinned to one core, the load to another; they are loaded
in turn, in short slices and a new random order each round; ratios are taken within a round.
The measure is CPU time of the server per message. What weft's own work costs is known from
the same two servers without TLS, both with a system call for each message (raw_echo, and
weft without io_uring), so that

    goal = (weft plain - raw_echo plain + tls_echo) / weft TLS
"""
import os
import random
import socket
import statistics
import subprocess
import sys
import time

BIN = os.environ["BENCH_BIN"]
LUA = os.environ.get("LUA", "lua5.4")
CERT, KEY = sys.argv[1:3]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 9
SECONDS = sys.argv[4] if len(sys.argv) > 4 else "0.5"
ECHO = "bench/servers/echo.lua"
OWN = dict(os.environ, WEFT_NO_IO_URING="1")

SERVERS = {
    "floor": ([f"{BIN}/tls_echo", CERT, KEY, "PORT"], None),
    "weft": ([LUA, ECHO, "PORT", CERT, KEY], None),
    "plain floor": ([f"{BIN}/raw_echo", "PORT"], None),
    "plain weft": ([LUA, ECHO, "PORT"], OWN),
}
running = {}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start(name):
    words, env = SERVERS[name]
    port = free_port()
    words = ["taskset", "-c", "0"] + [w.replace("PORT", str(port)) for w in words]
    running[name] = (subprocess.Popen(words, env=env), port)
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise SystemExit(f"{name} does not listen")


def stop(name):
    process, _ = running.pop(name)
    process.kill()
    process.wait()


def load(name, mode, *words):
    process, port = running[name]
    plain = ["--plain"] if name.startswith("plain") else []
    command = ["taskset", "-c", "1", f"{BIN}/tls_load", *plain, mode, *map(str, words),
               str(port), str(process.pid)]
    return [float(x) for x in subprocess.check_output(command, text=True).split()]


def show(what, values, unit=""):
    low, middle, high = statistics.quantiles(values, n=4)
    print(f"{what:42} {middle:10.2f}{unit}   [{low:.2f} {high:.2f}]", flush=True)


def rounds(names, jobs):
    """jobs: name -> load's arguments; per round a table of CPU nanoseconds per operation."""
    for _ in range(ROUNDS):
        cost = {}
        for name in random.sample(names, len(names)):
            for job in jobs:
                cost[name, job[0]] = load(name, *job[1])[1]
        yield cost


def echo(conns, size):
    goals, costs = [], {name: [] for name in SERVERS}
    job = ("echo", ("echo", conns, size, SECONDS))
    for cost in rounds(list(SERVERS), [job]):
        cost = {name: value / 1000 for (name, _), value in cost.items()}
        own = max(0, cost["plain weft"] - cost["plain floor"])
        goals.append((own + cost["floor"]) / cost["weft"])
        for name in costs:
            costs[name].append(cost[name])
    for name in costs:
        show(f"echo {conns} x {size}: {name}", costs[name], " us")
    show(f"echo {conns} x {size}: of the goal (0.9)", goals)


def handshakes(version, suffix):
    full, resumed = "full" + suffix, "resumed" + suffix
    jobs = [(mode, (mode, 32, 0, SECONDS)) for mode in (full, resumed)]
    servers = ["floor", "weft"]
    gains, costs = {name: [] for name in servers}, []
    for cost in rounds(servers, jobs):
        costs.append(cost)
        for name in servers:
            gains[name].append(cost[name, full] / cost[name, resumed])
    for name in servers:
        for mode in (full, resumed):
            show(f"TLS {version}, {mode}: {name}", [c[name, mode] / 1000 for c in costs], " us")
        show(f"TLS {version}, resumed per full (3): {name}", gains[name])


def idle():
    sizes = {}
    for name in ("floor", "weft"):
        stop(name)
        start(name)
        sizes[name] = load(name, "idle", 12000, 2000, 0)[0]
        print(f"idle: {name:36} {sizes[name]:10.0f} bytes")
    print(f"idle: per floor (1.3) {sizes['weft'] / sizes['floor']:31.2f}")


def main():
    try:
        for name in SERVERS:
            start(name)
        echo(64, 32)
        echo(16, 16384)
        handshakes("1.3", "")
        handshakes("1.2", "12")
        idle()
    finally:
        for name in list(running):
            stop(name)


main()
