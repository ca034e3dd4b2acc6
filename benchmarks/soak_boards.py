"""The boards of the soak: they fetch, resume, dawdle, send rubbish, and go away in the middle.

Knows sockets and the contents that may come. Knows nothing of the server but its port.
"""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException

BOARDS = 8
PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.05  # where nobody listens just now
RESET = struct.pack("ii", 1, 0)
RUBBISH = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 500 + b"\r\n",
    b"A" * 40_000,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


class Boards:
    """Boards, each in a thread of its own.

    Args:
        port: Where the server listens, when it does.
        names: What they ask for.
        contents: What any answer of 200 must be one of.
    """

    def __init__(self, port: int, names: list[str], contents: set[bytes]) -> None:
        self._port = port
        self._names = names
        self._contents = contents
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(BOARDS)]
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all of them. Blocks until the last has what it was fetching."""
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        ways: list[Callable[[random.Random], None]] = [
            *[self._fetch] * 6,
            *[self._resume] * 2,
            self._dawdle,
            self._reset,
            self._rubbish,
            self._idle,
        ]
        while not self._end.is_set():
            way = chance.choice(ways)
            try:
                way(chance)
                self.done[way.__name__.strip("_")] += 1
            except (OSError, HTTPException):  # it was stopped, or cut, as the soak does all the time
                self.done["cut or refused"] += 1
                self._end.wait(PAUSE_SECONDS)

    def _fetch(self, chance: random.Random) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            for _ in range(chance.randrange(1, 20)):
                connection.request("GET", f"/{chance.choice(self._names)}")
                answer = connection.getresponse()
                self._check(answer.status, answer.read())
        finally:
            connection.close()

    def _resume(self, chance: random.Random) -> None:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        try:
            path = f"/{chance.choice(self._names)}"
            connection.request("GET", path, headers={"Range": "bytes=0-9999"})
            first = connection.getresponse()
            begin = first.read()
            if first.status != 206:
                return
            fields = {"Range": "bytes=10000-", "If-Range": first.headers["ETag"]}
            connection.request("GET", path, headers=fields)
            second = connection.getresponse()
            rest = second.read()
            if second.status == 206:
                self._check(200, begin + rest)
            elif second.status == 200:
                self._check(200, rest)
        finally:
            connection.close()

    def _dawdle(self, chance: random.Random) -> None:
        with self._asking(chance) as sock:
            while not self._end.wait(0.01) and sock.recv(chance.randrange(1, 20_000)):
                if chance.random() < 0.02:
                    return

    def _reset(self, chance: random.Random) -> None:
        with self._asking(chance) as sock:
            sock.recv(chance.randrange(1, 200_000))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    def _rubbish(self, chance: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE_SECONDS) as sock:
            sock.sendall(chance.choice(RUBBISH))
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass

    def _idle(self, chance: random.Random) -> None:
        with socket.create_connection(("127.0.0.1", self._port), PATIENCE_SECONDS) as sock:
            sock.sendall(b"GET / HT"[: chance.randrange(8)])
            self._end.wait(chance.random())

    def _asking(self, chance: random.Random) -> socket.socket:
        sock = socket.socket()
        sock.settimeout(PATIENCE_SECONDS)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        try:
            sock.connect(("127.0.0.1", self._port))
            sock.sendall(f"GET /{chance.choice(self._names)} HTTP/1.1\r\nHost: bench\r\n\r\n".encode())
        except BaseException:
            sock.close()
            raise
        return sock

    def _check(self, status: int, body: bytes) -> None:
        self.done[str(status)] += 1
        if status == 200 and body not in self._contents:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} a board got {len(body)} bytes that nobody put")
