"""`python -m benchmarks.limits`: what idle connections cost, and how a small request fares beside large downloads.

Each measurement is taken with and without the load, one after the other, in several rounds; medians of these count.
Server, requests and downloads are processes of their own: `python -m benchmarks.limits ask|hold|drain ...` is the main
program of the latter.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peers
from benchmarks.cases import GIB, KIB

IDLE_CONNECTIONS = 10_000
DESCRIPTORS_KEPT = 100
DOWNLOADS = 4
RECEIVE_BYTES = 1024 * KIB
BLOCK_BYTES = 1024 * KIB
SETTLE_SECONDS = 0.5  # for downloads to get going
MICROSECONDS = 1e6

MOST_BYTES_EACH = 8 * KIB
MOST_SLOWER = 2.0
MOST_TAIL = 10.0


@dataclass(frozen=True)
class Latency:
    """How long requests took, in seconds."""

    median: float
    tail: float  # the 99th percentile


@dataclass
class Samples:
    """One kind of request, without the load and beside it."""

    without: list[Latency]
    beside: list[Latency]

    def median(self, name: str) -> tuple[float, float]:
        """Return the medians over all rounds of one number, without the load and beside it."""
        alone = statistics.median(getattr(one, name) for one in self.without)
        beside = statistics.median(getattr(one, name) for one in self.beside)
        return alone, beside


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="interleaved rounds (default 5)")
    add("--seconds", type=float, default=2.0, help="length of one measurement (default 2)")
    add("--connections", type=int, default=IDLE_CONNECTIONS, help=f"idle ones (default {IDLE_CONNECTIONS})")
    add("--size", type=int, default=GIB, help="bytes of a large file (default 1 GiB)")
    add("--peer", choices=list(peers.SERVE), default=peers.OURS, help=f"the server (default {peers.OURS})")
    options = parser.parse_args()
    if options.rounds < 1 or options.connections < 1 or options.seconds <= 0 or options.size < 1:
        parser.error("every number is more than 0")
    return options


def main() -> int:
    options = arguments()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # Both ends of a connection need a descriptor each, in different processes; by default the server keeps some for
    # files, so that two thirds are for connections.
    most = min(options.connections, (hard - DESCRIPTORS_KEPT) * 2 // 3)
    with tempfile.TemporaryDirectory(prefix="bench-limits-") as root:
        make_files(Path(root), options.size)
        with peers.running(options.peer, Path(root)) as server:
            report_idle(server, most, options.rounds, options.seconds)
            report_downloads(server, options.rounds, options.seconds)
    return 0


def make_files(root: Path, size: int) -> None:
    (root / "small").write_bytes(os.urandom(KIB))
    with open(root / "large", "wb", buffering=0) as file:
        for start in range(0, size, BLOCK_BYTES):
            file.write(os.urandom(min(BLOCK_BYTES, size - start)))
        os.fsync(file.fileno())


# Idle connections


def report_idle(server: peers.Running, count: int, rounds: int, seconds: float) -> None:
    samples = {kind: Samples([], []) for kind in ("new", "kept")}
    growth = 0
    for turn in range(rounds):
        for kind, one in samples.items():
            one.without.append(latency(server.port, kind, seconds))
        before = resident_bytes(server.pid)
        with load("hold", str(server.port), str(count)):
            if turn == 0:
                growth = resident_bytes(server.pid) - before
            for kind, one in samples.items():
                one.beside.append(latency(server.port, kind, seconds))
    print(f"{count} idle connections:")
    tell("memory of the server for each", growth / count, "bytes", growth / count < MOST_BYTES_EACH, MOST_BYTES_EACH)
    for kind, one in samples.items():
        tell_ratio(f"median of 1 KiB, {kind} connection", *one.median("median"), MOST_SLOWER)


def resident_bytes(pid: int) -> int:
    """Return how much memory a process has in use (Linux)."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


# Downloads


def report_downloads(server: peers.Running, rounds: int, seconds: float) -> None:
    samples = {kind: Samples([], []) for kind in ("kept", "new")}
    rates = []
    for _ in range(rounds):
        for kind, one in samples.items():
            one.without.append(latency(server.port, kind, seconds))
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(load("drain", str(server.port))) for _ in range(DOWNLOADS)]
            time.sleep(SETTLE_SECONDS)
            for kind, one in samples.items():
                one.beside.append(latency(server.port, kind, seconds))
            rates.append(sum(map(received_rate, clients)))
    print(f"{DOWNLOADS} large downloads at {statistics.median(rates) / 1e6:,.0f} MB/s in all:")
    for kind, one in samples.items():
        tell_ratio(f"99th percentile of 1 KiB, {kind} connection", *one.median("tail"), MOST_TAIL)
        tell_ratio(f"median of 1 KiB, {kind} connection", *one.median("median"))


def received_rate(client: subprocess.Popen[str]) -> float:
    """Stop a client that drains, and return the bytes a second that it got."""
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write("stop\n")
    client.stdin.flush()
    return float(client.stdout.readline())


# Reports


def tell(what: str, value: float, unit: str, reached: bool, most: float) -> None:
    print(f"  {what}: {value:,.0f} {unit} (to reach: less than {most:g}) {'yes' if reached else 'NO'}")


def tell_ratio(what: str, alone: float, beside: float, most: float | None = None) -> None:
    verdict = "" if most is None else f" (to reach: less than {most:g}x) {'yes' if beside < most * alone else 'NO'}"
    micro = f"{alone * MICROSECONDS:,.0f} us without, {beside * MICROSECONDS:,.0f} us beside it"
    print(f"  {what}: {micro}: {beside / alone:.2f}x{verdict}")


# The processes


def latency(port: int, kind: str, seconds: float) -> Latency:
    """Measure requests of 1 KiB one after the other, from a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.limits", "ask", str(port), kind, str(seconds)],
        cwd=peers.REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
        timeout=seconds + 60,
        check=True,
    )
    return Latency(*json.loads(done.stdout))


@contextlib.contextmanager
def load(*what: str) -> Iterator[subprocess.Popen[str]]:
    """Put a load on the server until the block ends."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.limits", *what],
        cwd=peers.REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        if process.stdout.readline() != "ready\n":
            raise peers.PeerFailed("the load could not be put on the server; see above")
        yield process
    finally:
        process.kill()
        process.communicate()


# What runs inside the clients' processes


def ask(port: int, kind: str, seconds: float) -> None:
    """Print the median and the 99th percentile of one request after the other."""
    closing = "Connection: close\r\n" if kind == "new" else ""
    request = f"GET /small HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{closing}\r\n".encode("ascii")
    sock = connected(port)
    taken = []
    end = time.perf_counter() + seconds
    while (began := time.perf_counter()) < end:
        if kind == "new":
            sock.close()
            sock = connected(port)
        sock.sendall(request)
        read_small(sock)
        taken.append(time.perf_counter() - began)
    sock.close()
    cuts = statistics.quantiles(taken, n=100)
    print(json.dumps([statistics.median(taken), cuts[98]]))


def read_small(sock: socket.socket) -> None:
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + KIB:
        data = sock.recv(65536)
        if not data:
            raise SystemExit(f"the server closed in the middle of an answer: {received[:200]!r}")
        received += data


def connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def hold(port: int, count: int) -> None:
    """Open so many connections, ask once over each, and keep them."""
    request = f"GET /small HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode("ascii")
    held = []
    for _ in range(count):
        sock = connected(port)
        sock.sendall(request)
        read_small(sock)
        held.append(sock)
    print("ready", flush=True)
    sys.stdin.read()


def drain(port: int) -> None:
    """Fetch the large file again and again until told to stop; print the bytes a second."""
    request = f"GET /large HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode("ascii")
    buffer = bytearray(RECEIVE_BYTES)
    print("ready", flush=True)
    os.set_blocking(sys.stdin.fileno(), False)
    received, began = 0, time.perf_counter()
    while True:
        with connected(port) as sock:
            sock.sendall(request)
            while count := sock.recv_into(buffer):
                received += count
                if is_told_to_stop():
                    print(received / (time.perf_counter() - began), flush=True)
                    return


def is_told_to_stop() -> bool:
    """Tell whether there is something on the standard input, which does not block, or its end."""
    try:
        os.read(sys.stdin.fileno(), 16)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ask", port, kind, seconds]:
            ask(int(port), kind, float(seconds))
        case ["hold", port, count]:
            hold(int(port), int(count))
        case ["drain", port]:
            drain(int(port))
        case _:
            try:
                sys.exit(main())
            except peers.PeerFailed as error:
                sys.exit(f"benchmarks: {error}")
            except KeyboardInterrupt:
                sys.exit(130)
