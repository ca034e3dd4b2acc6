"""Requests as they happen, and which client has received which bytes.

Knows exchanges (one request and its answer), their progress and their end.
Does not know how an answer leaves: a connection tells it, through `Link`, how
many bytes the client's TCP has not acknowledged yet. A byte counts as received
when it was acknowledged, not when the kernel took it: a socket buffer of 4 MB
swallows a whole kernel image for a board that reads nothing.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from httpserve.coverage import Coverage, Intervals
from httpserve.plan import Subject

MOST_RECORDS = 1000
MOST_NAMES = 10_000  # names whose progress is kept; the oldest goes first
ACK_DELAY_SECONDS = 0.5  # RFC 9293 3.8.6.3: an acknowledgment is delayed by less than this


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request and what was answered.

    Attributes:
        time: When it arrived, in seconds since the epoch.
        client: The client's address.
        client_port: The client's port.
        local: The address of ours that it asked.
        method: The method, such as `GET`.
        target: The target as it stood in the request, control characters escaped.
        status: The status code of the answer.
        range: The value of the Range field, empty without one.
        bytes: Bytes of content that the client has received.
        seconds: From the request until its last byte was handed over (until now while it is under way).
        user_agent: The value of the User-Agent field, control characters escaped.
        completed: Whether the whole answer was sent and nothing of it is known to be lost.
        name: The file that was answered with, empty when none was.
    """

    time: float
    client: str
    client_port: int
    local: str
    method: str
    target: str
    status: int
    range: str
    bytes: int
    seconds: float
    user_agent: str
    completed: bool
    name: str


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """A whole file that one client has received.

    Attributes:
        name: The file's name on the server.
        client: The client's address.
        bytes: The size of the file.
        seconds: From the first request that contributed to the last byte that was missing.
        user_agent: The value of the last request's User-Agent field.
        ranges: The (start, stop) pairs that the client asked for, stop exclusive; empty when it asked for the whole.
    """

    name: str
    client: str
    bytes: int
    seconds: float
    user_agent: str
    ranges: tuple[tuple[int, int], ...]


class Link(Protocol):
    """What a record needs of a connection."""

    client: str
    client_port: int
    local: str

    def outstanding(self) -> int:
        """Return how many of the bytes handed to the kernel the client has not acknowledged."""


class Head(Protocol):
    """What a record needs of a request's head."""

    @property
    def method(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def range(self) -> str: ...

    @property
    def user_agent(self) -> str: ...


class State(Enum):
    """Where an exchange is."""

    UNDER_WAY = auto()
    HANDED_OVER = auto()
    RECEIVED = auto()
    CUT = auto()


class Exchange:
    """One request and its answer, as it goes. `handed` counts bytes of content that the kernel took."""

    __slots__ = ("began", "ended", "epoch", "got", "handed", "head", "length", "link", "state", "status", "subject", "wall")

    def __init__(
        self, link: Link, head: Head, status: int, length: int, subject: Subject | None, wall: float, began: float
    ) -> None:
        self.link = link
        self.head = head
        self.status = status
        self.length = length
        self.subject = subject
        self.wall = wall
        self.began = began
        self.ended = 0.0
        self.epoch = 0
        self.handed = 0
        self.got = 0
        self.state = State.UNDER_WAY

    def received(self) -> int:
        """Return how many bytes of content the client has acknowledged. Only under the ledger's lock."""
        if self.state is State.RECEIVED or self.state is State.CUT:
            return self.got
        return max(0, self.handed - self.link.outstanding()) if self.handed else 0

    def record(self, now: float) -> RequestRecord:
        """Return this exchange as it stands. Only under the ledger's lock."""
        received = self.received()
        ended = self.ended or now
        sent = self.state is State.RECEIVED or (
            self.state is State.HANDED_OVER and (received == self.length or now - ended < ACK_DELAY_SECONDS)
        )
        return RequestRecord(
            time=self.wall,
            client=self.link.client,
            client_port=self.link.client_port,
            local=self.link.local,
            method=self.head.method,
            target=printable(self.head.target),
            status=self.status,
            range=printable(self.head.range),
            bytes=self.length if sent else received,
            seconds=ended - self.began,
            user_agent=printable(self.head.user_agent),
            completed=sent,
            name=self.subject.name if self.subject else "",
        )

    def spans(self, received: int) -> list[tuple[int, int]]:
        """Return which parts of the representation the first `received` bytes of the content carried."""
        if self.subject is None:
            return []
        return [
            (start, min(stop, start + received - offset))
            for offset, start, stop in self.subject.pieces
            if received > offset
        ]


class Ledger:
    """The record of one server: what was asked, what arrived.

    Safe from any thread. Nothing but looking and assigning happens under its lock.
    """

    def __init__(self, most: int = MOST_RECORDS) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._changed = threading.Condition(self._lock)
        self._log: deque[Exchange] = deque(maxlen=most)
        self._open: set[Exchange] = set()
        self._progress: dict[str, dict[str, Coverage]] = {}
        self._since: dict[str, int] = {}
        self._epoch = 0
        self._version = 0  # grows with every event that a waiter may wait for
        self._waiters = 0

    # What the serving room tells

    def begin(self, exchange: Exchange) -> None:
        """Take in an exchange whose answer is about to leave."""
        with self._lock:
            exchange.epoch = self._epoch
            self._log.append(exchange)
            self._open.add(exchange)

    def handed_over(self, exchange: Exchange, now: float) -> None:
        """Note that the kernel has taken the whole answer."""
        with self._lock:
            exchange.state = State.HANDED_OVER
            exchange.ended = now
            self._note()

    def settle(self, exchange: Exchange, received: int, now: float) -> None:
        """Close an exchange of whose content the client has `received` bytes.

        Must be called while the connection's descriptor is still open: until then others may ask it.
        """
        with self._lock:
            if exchange in self._open:
                self._open.discard(exchange)
                self._close(exchange, received, now)
                self._note()

    def _note(self) -> None:
        self._version += 1
        if self._waiters:
            self._changed.notify_all()

    def _close(self, exchange: Exchange, received: int, now: float) -> None:
        whole = exchange.state is State.HANDED_OVER and received == exchange.length
        exchange.state = State.RECEIVED if whole else State.CUT
        exchange.got = received
        exchange.ended = exchange.ended or now
        subject = exchange.subject
        if subject is None or not subject.pieces:
            return
        if subject.name in self._since and exchange.epoch < self._since[subject.name]:
            return
        clients = self._progress.get(subject.name)
        coverage = None if clients is None else clients.get(exchange.link.client)
        if coverage is None or coverage.validator != subject.validator:
            coverage = self._new_coverage(subject, exchange.link.client)
        if coverage.whole:
            return
        spans = exchange.spans(received)
        if spans or whole:
            asked = exchange.status == 206
            coverage.add(spans, exchange.began, exchange.ended, exchange.head.user_agent, asked=asked)

    def _new_coverage(self, subject: Subject, client: str) -> Coverage:
        clients = self._progress.get(subject.name)
        if clients is None:
            while len(self._progress) >= MOST_NAMES:
                del self._progress[next(iter(self._progress))]
            clients = self._progress[subject.name] = {}
        coverage = clients[client] = Coverage(subject.validator, subject.total)
        return coverage

    # What the client of the library asks

    def record(self, exchange: Exchange) -> RequestRecord:
        """Return one exchange as it stands."""
        with self._lock:
            return exchange.record(time.monotonic())

    def requests(self) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges, oldest first."""
        now = time.monotonic()
        with self._lock:
            return tuple(exchange.record(now) for exchange in self._log)

    def asked_since(self, name: str) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges that began after what counts for `name` started over, oldest first."""
        now = time.monotonic()
        with self._lock:
            since = self._since.get(name, 0)
            return tuple(exchange.record(now) for exchange in self._log if exchange.epoch >= since)

    def forget(self, name: str) -> None:
        """Start over with what counts for `name`: what began before does not count any more."""
        with self._lock:
            self._start_over(name)

    def _start_over(self, name: str) -> None:
        self._epoch += 1
        self._since[name] = self._epoch
        self._progress.pop(name, None)

    def wake(self) -> None:
        """Let every waiter look again."""
        with self._lock:
            self._note()

    def take_download(self, name: str, validator: str, client: str | None) -> DownloadRecord | None:
        """Return the record of a client that has the whole of this version, and start over with the name."""
        with self._lock:
            self._settle_acknowledged(name)
            for address, coverage in self._progress.get(name, {}).items():
                if coverage.validator == validator and coverage.whole and client in (None, address):
                    self._start_over(name)
                    return DownloadRecord(
                        name=name,
                        client=address,
                        bytes=coverage.total,
                        seconds=coverage.ended - coverage.began,
                        user_agent=printable(coverage.user_agent),
                        ranges=tuple(coverage.ranges),
                    )
        return None

    def _settle_acknowledged(self, name: str) -> None:
        now = time.monotonic()
        for exchange in self._open_on(name):
            if exchange.state is State.HANDED_OVER and exchange.received() == exchange.length:
                self._open.discard(exchange)
                self._close(exchange, exchange.length, now)

    def _open_on(self, name: str) -> list[Exchange]:
        return [exchange for exchange in self._open if exchange.subject and exchange.subject.name == name]

    @property
    def version(self) -> int:
        """A number that is another one after each event; for `wait_for_change`."""
        return self._version

    def wait_for_change(self, name: str, seen: int, seconds: float, poll: float) -> None:
        """Block until something has happened since `version` was `seen`, at most `seconds`.

        At most `poll` seconds when an acknowledgment of `name` is due: it makes no event.
        """
        with self._lock:
            if self._version != seen:
                return
            due = any(exchange.state is State.HANDED_OVER for exchange in self._open_on(name))
            self._waiters += 1
            try:
                self._changed.wait(min(seconds, poll) if due else seconds)
            finally:
                self._waiters -= 1

    def progress(self, name: str, validator: str) -> dict[str, int]:
        """Return how many bytes of this version each client has, answers under way included."""
        with self._lock:
            sets = {
                client: coverage.intervals.copy()
                for client, coverage in self._progress.get(name, {}).items()
                if coverage.validator == validator
            }
            since = self._since.get(name, 0)
            for exchange in self._open_on(name):
                if exchange.subject and exchange.subject.validator == validator and exchange.epoch >= since:
                    intervals = sets.setdefault(exchange.link.client, Intervals())
                    for start, stop in exchange.spans(exchange.received()):
                        intervals.add(start, stop)
            return {client: intervals.size() for client, intervals in sets.items()}


def printable(text: str) -> str:
    """Return `text` with control characters and undecodable bytes escaped, fit for a log or a terminal."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "backslashreplace").decode("ascii") for char in text
    )

