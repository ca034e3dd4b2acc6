"""A client that sends exactly the bytes that a test says, and keeps exactly the bytes that come.

Knows sockets, and of HTTP what it takes to tell where an answer ends: Content-Length.
"""

from __future__ import annotations

import array
import functools
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import warm

REPOSITORY = Path(__file__).parents[2]
PATIENCE_SECONDS = 10.0  # for what should take milliseconds
LOOK_SECONDS = 0.002
RECEIVE_BYTES = 1 << 20  # set, as the system would let it grow to tens of MiB for who reads quickly
BIG_BYTES = 8 << 20  # more than the buffers of both sides take
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Answer:
    """One response, as it came."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        return self.head.split(b"\r\n", 1)[0].decode("latin-1")

    @property
    def status(self) -> int:
        return int(self.line.split(" ", 2)[1])

    @property
    def fields(self) -> list[tuple[str, str]]:
        lines = self.head.decode("latin-1").split("\r\n")[1:-2]
        return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]

    def __getitem__(self, name: str) -> str:
        """Return a field's value; its name must be spelled just so."""
        return dict(self.fields)[name]

    def __contains__(self, name: str) -> bool:
        return name in dict(self.fields)


class Wire:
    """A connection.

    Args:
        port: Where to connect.
        host: The same.
        receive_bytes: The size of the receive buffer, where a slow board is meant.
        source: The address to connect from, where several boards are meant.
    """

    def __init__(
        self, port: int, *, host: str = "127.0.0.1", receive_bytes: int | None = None, source: str | None = None
    ) -> None:
        self.sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            self.sock.settimeout(PATIENCE_SECONDS)
            room = RECEIVE_BYTES if receive_bytes is None else receive_bytes
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
            if source is not None:
                self.sock.bind((source, 0))
            self.sock.connect((host, port))
        except BaseException:
            self.sock.close()
            raise
        self._buffer = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.sock.close()

    def has_input(self, seconds: float = 0.0) -> bool:
        """Tell whether something has come that was not read, or the end, after at most so many seconds."""
        return bool(self._buffer) or bool(select.select([self.sock], [], [], seconds)[0])

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def get(self, target: str, *fields: str, method: str = "GET", version: str = "1.1") -> None:
        """Send a request. With HTTP/1.1 it has a Host."""
        lines = [f"{method} {target} HTTP/{version}", *(["Host: bench"] if version == "1.1" else []), *fields]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def ask(self, target: str, *fields: str, method: str = "GET", version: str = "1.1") -> Answer:
        """Send a request and return the answer."""
        self.get(target, *fields, method=method, version=version)
        return self.answer(to_head=method == "HEAD")

    def read(self, most: int = 65536) -> bytes:
        """Return what comes next; empty at the end."""
        if self._buffer:
            data, self._buffer = self._buffer[:most], self._buffer[most:]
            return data
        return self.sock.recv(most)

    def read_head(self) -> bytes:
        """Return the next head, the empty line included."""
        while b"\r\n\r\n" not in self._buffer:
            received = self.sock.recv(65536)
            if not received:
                raise ConnectionError(f"the connection ended in the middle of a head: {self._buffer!r}")
            self._buffer += received
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def answer(self, *, to_head: bool = False) -> Answer:
        """Return the next answer, whose body is as long as Content-Length says, or empty without one."""
        head = self.read_head()
        assert head.startswith(b"HTTP/1.1 "), f"no answer begins here: {head[:80]!r}"
        answer = Answer(head, b"")
        if to_head or "Content-Length" not in answer:
            return answer
        return Answer(head, self.read_exactly(int(answer["Content-Length"])))

    def read_exactly(self, count: int) -> bytes:
        """Return so many bytes, fewer when the server closes before."""
        data = bytearray()
        while len(data) < count:
            received = self.read(min(1 << 20, count - len(data)))
            if not received:
                break
            data += received
        return bytes(data)

    def rest(self) -> bytes:
        """Return all that comes until the server closes. Raises ConnectionResetError where it resets."""
        data = bytearray()
        while received := self.read(1 << 20):
            data += received
        return bytes(data)

    def rest_until_any_end(self) -> bytes:
        """Return all that comes until the server closes or resets."""
        data = bytearray()
        try:
            while received := self.read(1 << 20):
                data += received
        except ConnectionResetError:
            pass
        return bytes(data)

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away as a board does whose power is cut and comes back: by RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


def eventually(fact: Callable[[], object], what: str = "it", seconds: float = PATIENCE_SECONDS) -> None:
    """Return as soon as `fact` holds; fail when it does not become true for long."""
    deadline = time.monotonic() + seconds
    nothing = threading.Event()
    while not fact():
        assert time.monotonic() < deadline, f"{what} did not come true"
        nothing.wait(LOOK_SECONDS)


@functools.lru_cache(32)  # some of them are large
def pattern(size: int, seed: int = 0) -> bytes:
    """Return bytes in which every 8 say where they stand and which file they are of."""
    numbers = array.array("Q", range(seed, seed + (size // 8 + 1 << 8), 256))
    numbers.byteswap()
    return numbers.tobytes()[:size]


def next_line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints, and read no further: `communicate` would lose what is read ahead."""
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n") and (byte := os.read(process.stdout.fileno(), 1)):
        line += byte
    return line.decode()


def sleeps(process: subprocess.Popen[str], looks: int = 1) -> bool:
    """Tell whether the main thread of a process waits for something, at each of some looks 10 ms apart."""
    for look in range(looks):
        time.sleep(0.01 * bool(look))
        fields = Path(f"/proc/{process.pid}/task/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        if fields[0] != b"S":
            return False
    return True


def unmeasured() -> dict[str, str]:
    """Return the environment for a process whose coverage is not to be measured."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COV")}


def script(code: str, *arguments: str, measured: bool = True) -> subprocess.Popen[str]:
    """Run a script of a user in a process of its own; its stdin, stdout and stderr are pipes.

    Args:
        code: The script.
        arguments: Its arguments.
        measured: Whether its coverage is measured too, which takes the right to write the data file.
    """
    return warm.start(code, *arguments, env=None if measured else unmeasured())
