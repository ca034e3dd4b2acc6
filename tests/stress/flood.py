"""What hostile or broken clients send, in great numbers: `python -m tests.stress.flood KIND HOST PORT COUNT SEED`.

A process of its own, as it takes thousands of descriptors. Knows sockets and HTTP as it should not be. Each kind is
bounded in count, never in time, and prints at the end how many answers of each status came. With `held` it says so
first, and lets go when stdin ends.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

PATIENCE_SECONDS = 30.0
BATCH = 40
UNDER_WAY = 2000  # requests of a pipeline: more than a round trip takes
LATE_SECONDS = 0.001  # between a connection and its request, as over a real network
HEAD = b"GET /small HTTP/1.1\r\nHost: x\r\n"
SMALL_BUFFER_BYTES = 4096


@dataclass
class Flood:
    """Where it goes, how much, and what came of it."""

    host: str
    port: int
    count: int
    chance: random.Random
    answers: Counter[str] = field(default_factory=Counter)

    def connect(self, source: str = "", receive_bytes: int = 0) -> socket.socket:
        sock = socket.socket(socket.AF_INET)
        sock.settimeout(PATIENCE_SECONDS)
        if receive_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        if source:
            # So the port is chosen with the other end known: one of 28,000 for each address, not for all together.
            sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        sock.connect((self.host, self.port))
        return sock

    def address(self) -> str:
        """Return one of sixteen million addresses of this machine."""
        return f"127.{self.chance.randrange(256)}.{self.chance.randrange(256)}.{self.chance.randrange(1, 255)}"

    def fields(self, size: int, each: int = 9000) -> bytes:
        """Return fields of about so many bytes, other ones each time."""
        line = b"X-%d: " + b"v" * each + b"\r\n"
        first = b"X-Number: %d\r\n" % self.chance.getrandbits(60)
        return first + b"".join(line % number for number in range(size // (each + 10)))

    def read(self, sock: socket.socket, rest: bytes = b"") -> bytes:
        """Read one answer, and note its status; returns what came behind it."""
        while b"\r\n\r\n" not in rest:
            rest += self.received(sock)
        head, _, rest = rest.partition(b"\r\n\r\n")
        self.answers[head[9:12].decode()] += 1
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        while len(rest) < length:
            rest += self.received(sock)
        return rest[length:]

    def received(self, sock: socket.socket) -> bytes:
        data = sock.recv(1 << 20)
        if not data:
            raise ConnectionResetError("the server closed")
        return data

    def each_asks(self, make: Callable[[], bytes]) -> None:
        """Send so many requests, one after the other; a new connection where the server ends one."""
        sock = self.connect()
        for _ in range(self.count):
            try:
                sock.sendall(make())
                self.read(sock)
            except ConnectionError:
                self.answers["cut"] += 1
                sock.close()
                sock = self.connect()
        sock.close()

    def each_connects(self, make: Callable[[], bytes]) -> None:
        """Send so many requests, each on a connection of its own."""
        for _ in range(self.count):
            with self.connect(self.address()) as sock, self.cut():
                sock.sendall(make())
                self.read(sock)

    @contextlib.contextmanager
    def cut(self) -> Iterator[None]:
        """Go on where the server has had enough."""
        try:
            yield
        except ConnectionError:
            self.answers["cut"] += 1

    def hold(self, sockets: list[socket.socket]) -> None:
        """Keep connections open until the test says."""
        print("held", flush=True)
        sys.stdin.read()
        for sock in sockets:
            sock.close()

    def drip(self, sockets: list[socket.socket], data: bytes, rounds: int) -> None:
        """Send a little on each connection, so often."""
        for _ in range(rounds):
            for sock in sockets:
                with self.cut():
                    sock.sendall(data)


IP_BIND_ADDRESS_NO_PORT = 24
KINDS: dict[str, Callable[[Flood], None]] = {}


def kind(flood: Callable[[Flood], None]) -> Callable[[Flood], None]:
    KINDS[flood.__name__] = flood
    return flood


# Heads


@kind
def unfinished_heads(flood: Flood) -> None:
    """Heads of 60 KiB that never end, of clients that go away."""
    for _ in range(flood.count):
        with flood.connect(flood.address()) as sock, flood.cut():
            sock.sendall(HEAD + flood.fields(60_000))


@kind
def finished_heads(flood: Flood) -> None:
    """Heads of 60 KiB, each on a connection of its own, which the client ends."""
    flood.each_connects(lambda: HEAD + flood.fields(60_000) + b"\r\n")


@kind
def heads_on_one_connection(flood: Flood) -> None:
    """Heads of 60 KiB, each another one, on a connection that stays."""
    flood.each_asks(lambda: HEAD + flood.fields(60_000) + b"\r\n")


@kind
def many_fields(flood: Flood) -> None:
    """Heads with as many fields as 60 KiB hold."""
    flood.each_asks(lambda: HEAD + flood.fields(60_000, 1) + b"\r\n")


@kind
def open_heads(flood: Flood) -> None:
    """Connections that stay, each with the beginning of a head, which drips."""
    sockets = [flood.connect(flood.address()) for _ in range(flood.count)]
    flood.drip(sockets, HEAD, 1)
    flood.drip(sockets, b"X", 3)
    flood.hold(sockets)


@kind
def open_big_heads(flood: Flood) -> None:
    """Connections that stay, each with 60 KiB of a head that never ends."""
    sockets = []
    for _ in range(flood.count):
        sockets.append(flood.connect(flood.address()))
        with flood.cut():
            sockets[-1].sendall(HEAD + flood.fields(60_000))
    flood.hold(sockets)


@kind
def long_targets(flood: Flood) -> None:
    """Targets of 16 KiB, of one name, a few, and very many."""

    def make() -> bytes:
        path = flood.chance.choice((b"a" * 16_000, b"ab c" * 4000, b"deeper/" * 2200, b"a/" * 8000))
        return b"GET /%d/%s HTTP/1.1\r\nHost: x\r\n\r\n" % (flood.chance.getrandbits(60), path.replace(b" ", b"%20"))

    flood.each_asks(make)


@kind
def long_conditions(flood: Flood) -> None:
    """Lists of 60 KiB to be compared and preferred, of a file and of a directory."""

    def make() -> bytes:
        tags = b",".join(b'"%d"' % flood.chance.getrandbits(30) for _ in range(4000))
        types = b",".join(b"a/b%d" % flood.chance.getrandbits(20) for _ in range(4000))
        return flood.chance.choice((HEAD + b"If-None-Match: " + tags, b"GET / HTTP/1.1\r\nHost: x\r\nAccept: " + types))

    flood.each_asks(lambda: make() + b"\r\n\r\n")


@kind
def missing_names(flood: Flood) -> None:
    """Names that are not there, each another one."""
    flood.each_asks(lambda: b"GET /missing/%d HTTP/1.1\r\nHost: x\r\n\r\n" % flood.chance.getrandbits(60))


# Ranges


def ranges(flood: Flood, most: int) -> bytes:
    first = flood.chance.randrange(1000)
    pieces = b",".join(b"%d-%d" % (first + at * 3, first + at * 3) for at in range(most))
    return b"GET /middle HTTP/1.1\r\nHost: x\r\nRange: bytes=" + pieces + b"\r\n\r\n"


@kind
def ranges_255(flood: Flood) -> None:
    """Requests for 255 ranges."""
    flood.each_asks(lambda: ranges(flood, 255))


@kind
def ranges_4096(flood: Flood) -> None:
    """Requests for 4096 ranges."""
    flood.each_asks(lambda: ranges(flood, 4096))


# Connections


@kind
def small_gets(flood: Flood) -> None:
    """Small files, each on a connection of its own, with the request a moment after it."""
    for _ in range(flood.count // BATCH):
        source = flood.address()
        sockets = [flood.connect(source) for _ in range(BATCH)]
        time.sleep(LATE_SECONDS)
        for sock in sockets:
            sock.sendall(HEAD + b"Connection: close\r\n\r\n")
        for sock in sockets:
            flood.read(sock)
            sock.close()


@kind
def addresses(flood: Flood) -> None:
    """As many clients as there are requests."""
    flood.each_connects(lambda: HEAD + b"User-Agent: board %d\r\n\r\n" % flood.chance.getrandbits(60))


@kind
def half_closed(flood: Flood) -> None:
    """Clients that ask, half-close, and read nothing."""
    sockets = []
    for number in range(flood.count):
        sockets.append(flood.connect(flood.address(), SMALL_BUFFER_BYTES))
        with flood.cut():
            target = (b"big", b"small", b"missing")[number % 3]
            sockets[-1].sendall(b"GET /" + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            sockets[-1].shutdown(socket.SHUT_WR)
    flood.hold(sockets)


@kind
def readers_of_nothing(flood: Flood) -> None:
    """Clients that ask for a big file, and read nothing."""
    sockets = []
    for _ in range(flood.count):
        sockets.append(flood.connect(flood.address(), SMALL_BUFFER_BYTES))
        with flood.cut():
            sockets[-1].sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
    flood.hold(sockets)


# Pipelines


@kind
def pipelines_unread(flood: Flood) -> None:
    """Connections full of requests, of which no answer is read."""
    requests = (HEAD + b"\r\n") * 100 + b"GET /middle HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    sockets = []
    for _ in range(flood.count):
        sock = flood.connect(flood.address(), SMALL_BUFFER_BYTES)
        sockets.append(sock)
        sock.setblocking(False)
        with flood.cut():
            for _ in range(50):
                try:
                    sock.send(requests)
                except BlockingIOError:
                    break
    flood.hold(sockets)


@kind
def pipeline(flood: Flood) -> None:
    """One connection with requests always under way, whose answers are read: so many, then until stdin ends."""
    with flood.connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # In one segment with the next: that the client asks on says nothing of what it has.
        sock.sendall(b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n" + (HEAD + b"\r\n") * BATCH)
        asked, rest, told = 1 + BATCH, b"", False
        while not told or not select.select([sys.stdin], [], [], 0)[0]:
            if asked - flood.answers.total() < UNDER_WAY:
                sock.sendall((HEAD + b"\r\n") * BATCH)
                asked += BATCH
            else:
                rest = answered(flood, rest + flood.received(sock))
            if not told and flood.answers.total() >= flood.count:
                print("held", flush=True)
                told = True


def answered(flood: Flood, data: bytes) -> bytes:
    """Note all whole answers in what came; returns the rest."""
    while True:
        head, found, rest = data.partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
        if not found or len(rest) < length:
            return data
        flood.answers[head[9:12].decode()] += 1
        data = rest[length:]


# Content


@kind
def slow_bodies(flood: Flood) -> None:
    """Content that drips and does not end."""
    sockets = [flood.connect(flood.address()) for _ in range(flood.count)]
    flood.drip(sockets, b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", 1)
    flood.drip(sockets, b"x", 3)
    flood.hold(sockets)


@kind
def chunks(flood: Flood) -> None:
    """Content in chunks of a byte, in chunks with extensions, and trailers."""
    forms = (b"1\r\nA\r\n" * 50_000 + b"0\r\n\r\n", (b"1;" + b"e" * 4000 + b"\r\nA\r\n") * 80 + b"0\r\n\r\n",
             b"0\r\n" + b"X: y\r\n" * 8000 + b"\r\n")  # fmt: skip
    head = b"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(flood.count):
        with flood.connect(flood.address()) as sock, flood.cut():
            sock.sendall(head + flood.chance.choice(forms))
            flood.read(sock)


def main() -> None:
    name, host, port, count, seed = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    flood = Flood(host, int(port), int(count), random.Random(seed))
    KINDS[name](flood)
    print(json.dumps(flood.answers), flush=True)


if __name__ == "__main__":
    main()
