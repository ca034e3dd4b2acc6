"""A server with limits that a test can wait for, and an app whose answers are plans.

Knows the serving room. Knows no site: `/N` answers with N bytes, `/wait/SECONDS` pauses in the middle.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from httpserve.plan import Data, Plan, Step, Wait
from httpserve.records.log import ExchangeLog
from httpserve.records.model import RequestRecord, Transfer
from httpserve.server.limits import Limits
from httpserve.server.server import Server
from httpserve.server.tcp import listen
from tests.conftest import connections_at
from tests.server.wire import LOOK_SECONDS, Wire

BEFORE = b"before the pause, "
AFTER = b"after it"


class Answers:
    """A WSGI app that never blocks."""

    plans = True

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> Plan:
        kind, _, value = environ["PATH_INFO"].lstrip("/").rpartition("/")
        data = BEFORE + AFTER if kind == "wait" else b"x" * int(value)
        steps: tuple[Step, ...] = (Data(BEFORE), Wait(float(value)), Data(AFTER)) if kind == "wait" else (Data(data),)
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return Plan(steps, len(data))


class Blocking:
    """A WSGI app as others write them: it may block, so each answer needs a thread."""

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
        data = b"x" * int(environ["PATH_INFO"].lstrip("/"))
        start_response("200 OK", [("Content-Length", str(len(data)))])
        return [data]


class Clock:
    """A clock that stands still until a test turns it."""

    def __init__(self) -> None:
        self._now = time.monotonic()  # as records look at the system's

    def __call__(self) -> float:
        return self._now

    def turn(self, seconds: float) -> None:
        self._now += seconds


class Limited:
    """A server of `app` until the block ends.

    Args:
        limits: Its limits.
        sock: What it listens on, bound.
        app: Its app.
        clock: What its limits are timed by; None: the time that passes.
    """

    def __init__(
        self, limits: Limits, sock: socket.socket | None = None, app: Any = None, clock: Clock | None = None
    ) -> None:
        self._ledger = ExchangeLog()
        self._clock = clock
        sock = sock or _bound()
        listen(sock, limits.lost)
        self._server = Server([sock], app or Answers(), self._ledger, limits, clock or time.monotonic)
        self.port = self._server.port

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop(0.0)

    def wire(self, receive_bytes: int | None = None) -> Wire:
        return Wire(self.port, receive_bytes=receive_bytes)

    def turn(self, seconds: float) -> None:
        """Turn the clock, after the server has taken all that was sent to it until now, and let it look."""
        self.catch_up()
        self.turn_at_once(seconds)
        for _ in range(2):  # it may close the first connection just before it looks
            self.catch_up()

    def turn_at_once(self, seconds: float) -> None:
        """Turn the clock, where the server takes no connection to catch up by."""
        assert self._clock is not None
        self._clock.turn(seconds)
        self._server.wake()

    def turn_until_input(self, wire: Wire, seconds: float) -> None:
        """Turn the clock by so much, again and again, until something comes or the connection ends."""
        while not wire.has_input(LOOK_SECONDS):
            self.turn_at_once(seconds)

    def catch_up(self) -> None:
        """Wait until the server has taken all that was sent to it before: it closes a connection made after that."""
        with self.wire() as wire:
            wire.half_close()
            assert wire.rest() == b""

    def stop(self, timeout: float) -> None:
        """Stop the server within the block."""
        self._server.stop(timeout)

    def requests(self) -> tuple[RequestRecord, ...]:
        """Return the records of all requests."""
        return self._ledger.requests()

    def transfers(self) -> tuple[Transfer, ...]:
        """Return what was sent of files."""
        return self._ledger.transfers()

    def only(self) -> RequestRecord:
        """Return the record of the only request."""
        (record,) = self._ledger.requests()
        return record

    def connections(self) -> int:
        return connections_at(self.port)


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock
