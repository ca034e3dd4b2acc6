"""An HTTP server over raw sockets: answers exactly as a test says, and keeps what it was asked."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from types import TracebackType


class End(Enum):
    """How the server ends an answer."""

    CLOSE = "in order"
    RESET = "as a cable that is pulled"
    STALL = "not at all, until the client goes away"


@dataclass(frozen=True)
class Answer:
    """What is sent to one request, and how it ends."""

    data: bytes
    end: End = End.CLOSE


Script = Answer | Callable[[bytes], Answer]


def answer(
    body: bytes = b"", status: str = "200 OK", *, length: int | None = None, end: End = End.CLOSE, **fields: str | None
) -> Answer:
    """Make an answer with a Content-Length of *length*, by default that of *body*; negative: without one."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    if length is None or length >= 0:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items() if value is not None]
    return Answer("\r\n".join([*lines, "", ""]).encode("latin-1") + body, end)


def moved(location: str, status: str = "302 Found", *, cookie: str | None = None) -> Answer:
    """Make a redirect."""
    return answer(status=status, Location=location, Set_Cookie=cookie)


def resumed(content: bytes, *, etag: str | None = '"v1"') -> Callable[[bytes], Answer]:
    """Answer a request with Range as a correct server does that still has *content*."""

    def script(head: bytes) -> Answer:
        start = int(field(head, "Range").removeprefix("bytes=").removesuffix("-"))
        content_range = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return answer(content[start:], "206 Partial Content", Content_Range=content_range, ETag=etag)

    return script


def field(head: bytes, name: str) -> str:
    """Return the value of a field of a request's head, or an empty string."""
    for line in head.decode("latin-1").split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name.lower():
            return value.strip()
    return ""


def target(head: bytes) -> str:
    """Return the request target, as it came."""
    return head.decode("latin-1").split(" ", 2)[1]


class RawServer:
    """Answers the first request with the first script, and so on; further ones with the last."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = list(scripts)
        self.heads: list[bytes] = []
        self.stalling = threading.Event()  # set while an answer with End.STALL holds a client
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="raw server")

    def url(self, target: str = "/file", userinfo: str = "") -> str:
        return f"http://{userinfo}127.0.0.1:{self.port}{target}"

    def __enter__(self) -> RawServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Closing a socket does not end accept() or recv() of another thread; a shutdown does.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self._connection = connection
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            received = connection.recv(65536)
            if not received:
                return
            head += received
        self.heads.append(head)
        script = self.scripts[min(len(self.heads), len(self.scripts)) - 1]
        reply = script if isinstance(script, Answer) else script(head)
        connection.sendall(reply.data)
        if reply.end is End.STALL:
            self.stalling.set()
            connection.recv(1)
        elif reply.end is End.RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
