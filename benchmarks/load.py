"""Load on one server: requests a second, and megabytes a second of a large file.

Knows wrk, and has a slower generator in Python for machines without it. Knows
nothing of which server it is. Every client is a process of its own:
`python -m benchmarks.load drain|rate ...` is its main program.
"""

from __future__ import annotations

import json
import re
import selectors
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from benchmarks.peers import REPOSITORY

RECEIVE_BYTES = 1024 * 1024
DRAIN_SECONDS = 120.0  # the longest that a client waits for its next bytes


class LoadFailed(Exception):
    """The load could not be put on the server, or its answers were not the file."""


@dataclass(frozen=True)
class Sample:
    """One measurement: *value* in its case's unit, and how many requests failed while it was made."""

    value: float
    errors: int = 0


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def request_rate(url: str, connections: int, seconds: int, *, keep_alive: bool) -> Sample:
    """Measure requests a second over *connections* connections, for *seconds* seconds."""
    if has_wrk():
        return wrk_rate(url, connections, seconds, keep_alive=keep_alive)
    arguments = ["rate", url, str(connections), str(seconds), "keep" if keep_alive else "close"]
    answer = json.loads(run([sys.executable, "-m", "benchmarks.load", *arguments], seconds + 30))
    return Sample(answer["rate"], answer["errors"])


def wrk_rate(url: str, connections: int, seconds: int, *, keep_alive: bool) -> Sample:
    closing = [] if keep_alive else ["-H", "Connection: close"]
    output = run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", *closing, url], seconds + 30)
    rate = re.search(r"^Requests/sec:\s+([\d.]+)", output, re.MULTILINE)
    if rate is None:
        raise LoadFailed(f"wrk printed no rate:\n{output}")
    errors = 0
    if socket_errors := re.search(r"Socket errors: (.+)", output):
        errors += sum(map(int, re.findall(r"\d+", socket_errors[1])))
    if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", output):
        errors += int(refused[1])
    return Sample(float(rate[1]), errors)


@dataclass(frozen=True)
class Fetched:
    """What clients got that fetched *size* bytes each: how much of it, and after how many seconds its first byte."""

    size: int
    seconds: float
    received: list[int]
    firsts: list[float]

    @property
    def sample(self) -> Sample:
        """MB/s (10**6) of all together."""
        return Sample(
            self.size * len(self.received) / self.seconds / 1e6, sum(count != self.size for count in self.received)
        )


def throughput(url: str, size: int, connections: int) -> Sample:
    """Measure MB/s (10**6) while *connections* clients fetch *url* (*size* bytes) once each, all at once."""
    return fetched([url] * connections, size).sample


def fetched(urls: list[str], size: int) -> Fetched:
    """Have a client for each of *urls* fetch it (*size* bytes) once, all at once."""
    clients = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load", "drain", url, str(size)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for url in urls
    ]
    try:
        for client in clients:
            tell(client)  # waits until it is connected
        started = time.perf_counter()
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        told = [tell(client).split() for client in clients]
        seconds = time.perf_counter() - started
    finally:
        for client in clients:
            client.kill()
            client.communicate()
    return Fetched(size, seconds, [int(count) for count, _ in told], [float(first) for _, first in told])


def tell(client: subprocess.Popen[str]) -> str:
    assert client.stdout is not None
    line = client.stdout.readline()
    if not line:
        raise LoadFailed("a client of the benchmark ended early; its message is above")
    return line


def run(command: list[str], timeout: float) -> str:
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise LoadFailed(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


# What runs inside the clients' processes


def request_bytes(url: str, *, keep_alive: bool) -> tuple[tuple[str, int], bytes]:
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 80)
    connection = "keep-alive" if keep_alive else "close"
    head = f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: {connection}\r\n\r\n"
    return address, head.encode("ascii")


def drain(url: str, size: int) -> None:
    """Fetch *url* once when told to and throw its bytes away. Print how many came, and when the first."""
    address, request = request_bytes(url, keep_alive=False)
    buffer = bytearray(RECEIVE_BYTES)
    with socket.create_connection(address, timeout=DRAIN_SECONDS) as connection:
        print("ready", flush=True)
        sys.stdin.readline()
        began = time.perf_counter()
        connection.sendall(request)
        head_bytes, received = read_head(connection, buffer)
        if received == head_bytes:
            received += connection.recv_into(buffer)
        first = time.perf_counter() - began
        while received - head_bytes < size and (count := connection.recv_into(buffer)):
            received += count
    print(received - head_bytes, first, flush=True)


def read_head(connection: socket.socket, buffer: bytearray) -> tuple[int, int]:
    """Receive until the head is whole. Returns its length and how many bytes have come with it."""
    received = 0
    while (end := buffer.find(b"\r\n\r\n", 0, received)) < 0:
        count = connection.recv_into(memoryview(buffer)[received:])
        if count == 0:
            raise LoadFailed("the server closed before it had sent a head")
        received += count
    return end + 4, received


@dataclass
class Conversation:
    """One connection of the Python generator, and what of the present answer has come."""

    connection: socket.socket
    received: bytearray = field(default_factory=bytearray)

    def answer_is_whole(self) -> bool:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self.received[:end])
        return length is not None and len(self.received) >= end + 4 + int(length[1])

    def answer_is_good(self) -> bool:
        return self.received.startswith((b"HTTP/1.1 200", b"HTTP/1.0 200"))

    def may_ask_again(self) -> bool:
        return self.received.startswith(b"HTTP/1.1")


class Generator:
    """Asks one server for one target over a number of connections at once, in one thread."""

    def __init__(self, url: str, *, keep_alive: bool) -> None:
        self._address, self._request = request_bytes(url, keep_alive=keep_alive)
        self._keep_alive = keep_alive
        self._selector = selectors.DefaultSelector()
        self.answers = 0
        self.errors = 0

    def run(self, connections: int, seconds: float) -> float:
        """Ask for *seconds*. Returns the rate of answers."""
        for _ in range(connections):
            self._connect()
        started = time.monotonic()
        while (now := time.monotonic()) < started + seconds:
            for key, events in self._selector.select(0.1):
                if events & selectors.EVENT_WRITE:
                    self._ask(key.data)
                else:
                    self._listen(key.data)
        for key in list(self._selector.get_map().values()):
            key.data.connection.close()
        self._selector.close()
        return self.answers / (now - started)

    def _connect(self) -> None:
        connection = socket.socket()
        connection.setblocking(False)  # a full backlog must not hold up the other connections
        connection.connect_ex(self._address)
        self._selector.register(connection, selectors.EVENT_WRITE, Conversation(connection))

    def _ask(self, talk: Conversation) -> None:
        talk.received.clear()
        self._selector.modify(talk.connection, selectors.EVENT_READ, talk)
        try:
            talk.connection.send(self._request)
        except OSError:
            self._renew(talk, failed=True)

    def _listen(self, talk: Conversation) -> None:
        try:
            piece = talk.connection.recv(RECEIVE_BYTES)
        except OSError:
            self._renew(talk, failed=True)
            return
        talk.received += piece
        if not talk.answer_is_whole():
            if not piece:
                self._renew(talk, failed=True)
            return
        self.answers += 1
        self.errors += not talk.answer_is_good()
        if self._keep_alive and talk.may_ask_again():
            self._ask(talk)
        else:
            self._renew(talk, failed=False)

    def _renew(self, talk: Conversation, *, failed: bool) -> None:
        self.errors += failed
        self._selector.unregister(talk.connection)
        talk.connection.close()
        self._connect()


def rate(url: str, connections: int, seconds: float, *, keep_alive: bool) -> None:
    """Ask for *url* over *connections* connections for *seconds*, and print the rate as JSON."""
    generator = Generator(url, keep_alive=keep_alive)
    print(json.dumps({"rate": generator.run(connections, seconds), "errors": generator.errors}))


if __name__ == "__main__":
    if sys.argv[1] == "drain":
        drain(sys.argv[2], int(sys.argv[3]))
    else:
        rate(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), keep_alive=sys.argv[5] == "keep")
