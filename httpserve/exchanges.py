"""The exchanges of one server: what was asked, what is under way, how it ended, and who waits for a change.

Knows all exchanges, and tells downloads and watches what has ended. Does not know what anybody waits for. Safe from any
thread: nothing but looking and assigning happens under its lock.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque
from itertools import takewhile

from httpserve.downloads import Downloads
from httpserve.exchange import End, Ends, Exchange, State
from httpserve.latch import Latch
from httpserve.plan import PROBE
from httpserve.records import RequestRecord, Transfer
from httpserve.watching import Watch

MOST_RECORDS = 1000
MOST_ADDRESSES = 1000
_IN_KERNEL = (State.LEAVING, State.HANDED_OVER)
# A member of an Enum is looked up in a tenth of the time under a name of its own (before Python 3.12).
_HANDED_OVER, _RECEIVED, _CUT = State.HANDED_OVER, State.RECEIVED, State.CUT


class Exchanges:
    """What one server did.

    Args:
        most: How many exchanges `requests` remembers.
    """

    def __init__(self, most: int = MOST_RECORDS) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._most = most
        self._log: deque[Exchange] = deque(maxlen=most)
        self._missing: deque[Exchange] = deque(maxlen=most)
        self._open: set[Exchange] = set()
        self._connections: dict[str, int] = {}
        self._downloads = Downloads()
        self._number = 0  # of the latest exchange or new version of a file
        self._version = 0  # grows with every event that a waiter may wait for
        self._waiters: set[Latch] = set()
        self._watches: set[weakref.ref[Watch]] = set()  # a wait that is forgotten ends its watch
        _all.add(self)

    # What the serving room tells, once for each answer or more often. It takes the lock without `with`, which takes
    # twice as long: no Ctrl-C comes between its steps, since the serving threads are not the main one.

    def connected(self, client: str) -> None:
        """Count a connection. In the leader's thread alone, so without the lock."""
        connections = self._connections
        if client not in connections and len(connections) >= MOST_ADDRESSES:
            client = ""
        connections[client] = connections.get(client, 0) + 1

    def begin(self, exchange: Exchange) -> None:
        """Take in an exchange whose answer is about to leave."""
        if exchange.subject is PROBE:
            return
        self._lock.acquire()
        try:
            self._begin(exchange)
        finally:
            self._lock.release()

    def follow(self, before: Exchange, exchange: Exchange) -> None:
        """Take in an exchange whose request proves that the whole answer before it has arrived."""
        self._lock.acquire()
        try:
            if before in self._open:
                self._close(before, before.length, exchange.began)
            self._begin(exchange)
        finally:
            self._lock.release()

    def _begin(self, exchange: Exchange) -> None:
        self._number = exchange.number = self._number + 1
        self._log.append(exchange)
        if exchange.status == 404:
            self._missing.append(exchange)
        self._open.add(exchange)
        self._version += 1
        if self._waiters:
            self._wake()

    def handed_over(self, exchange: Exchange, now: float) -> None:
        """Note that the kernel has taken the whole answer."""
        self._lock.acquire()
        try:
            if exchange in self._open:  # else it was written off meanwhile
                exchange.state = _HANDED_OVER
                exchange.ended = now
                self._note()
        finally:
            self._lock.release()

    def settle(self, exchange: Exchange, received: int, now: float, end: End) -> None:
        """Close an exchange of whose content the client has `received` bytes; `end` says why, where that is not all.

        Must be called while the connection's descriptor is still open: until then others may ask it.
        """
        self._lock.acquire()
        try:
            if exchange in self._open:
                exchange.end = end
                self._close(exchange, received, now)
                self._note()
        finally:
            self._lock.release()

    @property
    def open_count(self) -> int:
        """How many exchanges are not over. Takes no lock."""
        return len(self._open)

    def _note(self) -> None:
        self._version += 1
        if self._waiters:
            self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            waiter.open()
        self._waiters.clear()

    def _close(self, exchange: Exchange, received: int, now: float) -> None:
        self._open.discard(exchange)
        whole = exchange.state is _HANDED_OVER and received == exchange.length
        exchange.state = _RECEIVED if whole else _CUT
        exchange.got = received
        exchange.ended = exchange.ended or now
        if exchange.unacked_at > exchange.ended:
            exchange.ended = max(exchange.ended, min(exchange.unacked_at, now))
        if not isinstance(exchange.link, Ends):
            exchange.link = exchange.link.ends()  # the record must not keep the connection
        self._downloads.add(exchange, received, whole=whole)
        if self._watches:
            for watch in self._watching():
                watch.feed(exchange)

    def _watching(self) -> list[Watch]:
        return [watch for reference in self._watches if (watch := reference()) is not None]

    # What happened

    def record(self, exchange: Exchange) -> RequestRecord:
        """Return one exchange as it stands."""
        with self._lock:
            return exchange.record(time.monotonic())

    def requests(self) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges, oldest first."""
        now = time.monotonic()
        with self._lock:
            return tuple(exchange.record(now) for exchange in self._log)

    def transfers(self) -> tuple[Transfer, ...]:
        """Return the latest exchanges that carry content of files, oldest first."""
        now = time.monotonic()
        with self._lock:
            forgotten = self._open.difference(self._log)  # still under way, and never left out
            known = (*sorted(forgotten, key=lambda exchange: exchange.number), *self._log)
            return tuple(exchange.transfer(now) for exchange in known if exchange.subject and exchange.subject.pieces)

    def missing(self) -> tuple[RequestRecord, ...]:
        """Return the latest requests for what was not there, oldest first."""
        now = time.monotonic()
        with self._lock:
            return tuple(exchange.record(now) for exchange in self._missing)

    def connections(self) -> dict[str, int]:
        """Return how many connections each client has made; those of too many addresses count for the empty one."""
        return dict(self._connections)

    def silent(self) -> list[str]:
        """Return who has connected, and is not known to have asked for anything."""
        with self._lock:
            return sorted(set(self._connections).difference(exchange.link.client for exchange in self._log))

    def glance(self, most: int) -> tuple[RequestRecord, ...] | None:
        """Return the latest exchanges, at most `most`, oldest first; None when the lock is held. Waits for nothing."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            now = time.monotonic()
            return tuple(exchange.record(now) for exchange in list(self._log)[-most:])
        finally:
            self._lock.release()

    def requests_since(self, first: int, since: float | None = None) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges from a number and from a time on, oldest first."""
        now = time.monotonic()
        with self._lock:
            return tuple(
                exchange.record(now)
                for exchange in self._log_from(first)
                if since is None or exchange.wall >= since
            )

    def _log_from(self, first: int) -> list[Exchange]:
        found = list(takewhile(lambda exchange: exchange.number >= first, reversed(self._log)))
        found.reverse()
        return found

    # What goes on

    def _open_on(self, name: str) -> list[Exchange]:
        return [exchange for exchange in self._open if exchange.subject and exchange.subject.name == name]

    def _on(self, name: str) -> list[Exchange]:
        """Return what is remembered of a name since its last new version, and what is under way."""
        first = self._downloads.first(name)
        known = (*self._open.difference(self._log), *self._log_from(first))
        return [
            exchange
            for exchange in known
            if exchange.number >= first and exchange.subject and exchange.subject.name == name
        ]

    def is_due(self, name: str) -> bool:
        """Tell whether an answer about `name` is in the kernel whose acknowledgment may come any moment."""
        with self._lock:
            return any(exchange.state in _IN_KERNEL for exchange in self._open_on(name))

    def is_underway(self, name: str) -> bool:
        """Tell whether an answer about `name` is under way: what of it arrives makes no event."""
        with self._lock:
            return bool(self._open_on(name))

    # Waiting for a change

    def wake(self) -> None:
        """Let every waiter look again."""
        with self._lock:
            self._note()

    @property
    def version(self) -> int:
        """A number that is another one after each event; for `wait_for_change`."""
        return self._version

    @property
    def next_number(self) -> int:
        """The number that the next exchange will have at least."""
        return self._number + 1

    def wait_for_change(self, seen: int, seconds: float) -> None:
        """Block until something has happened since `version` was `seen`, at most `seconds`."""
        latch = Latch()
        with self._lock:
            if self._version != seen:
                return
            self._waiters.add(latch)
        try:
            latch.wait(seconds)
        finally:
            with self._lock:
                self._waiters.discard(latch)

    def _begin_anew(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self._waiters = set()


_all: weakref.WeakSet[Exchanges] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for exchanges in list(_all):
        exchanges._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
