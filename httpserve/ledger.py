"""The record of one server: what was asked, what is under way, what has arrived.

Knows all exchanges, and who waits for a change. Safe from any thread: nothing
but looking and assigning happens under its lock.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import deque

from httpserve.coverage import Intervals
from httpserve.downloads import Downloads, Mark
from httpserve.latch import Latch
from httpserve.records import DownloadRecord, End, Ends, Exchange, RequestRecord, State

MOST_RECORDS = 1000
_IN_KERNEL = (State.LEAVING, State.HANDED_OVER)


class Ledger:
    """What one server did.

    Args:
        most: How many exchanges `requests` remembers.
    """

    def __init__(self, most: int = MOST_RECORDS) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._log: deque[Exchange] = deque(maxlen=most)
        self._open: set[Exchange] = set()
        self._downloads = Downloads()
        self._epoch = 0  # grows with each new version of a file
        self._version = 0  # grows with every event that a waiter may wait for
        self._waiters: set[Latch] = set()
        _ledgers.add(self)

    # What the serving room tells

    def begin(self, exchange: Exchange) -> None:
        """Take in an exchange whose answer is about to leave."""
        with self._lock:
            exchange.epoch = self._epoch
            self._log.append(exchange)
            self._open.add(exchange)
            self._note()

    def handed_over(self, exchange: Exchange, now: float) -> None:
        """Note that the kernel has taken the whole answer."""
        with self._lock:
            exchange.state = State.HANDED_OVER
            exchange.ended = now
            self._note()

    def settle(self, exchange: Exchange, received: int, now: float, end: End) -> None:
        """Close an exchange of whose content the client has `received` bytes; `end` says why, where that is not all.

        Must be called while the connection's descriptor is still open: until then others may ask it.
        """
        with self._lock:
            if exchange in self._open:
                exchange.end = end
                self._close(exchange, received, now)
                self._note()

    def _note(self) -> None:
        self._version += 1
        if self._waiters:
            for waiter in self._waiters:
                waiter.open()
            self._waiters.clear()

    def _close(self, exchange: Exchange, received: int, now: float) -> None:
        self._open.discard(exchange)
        whole = exchange.state is State.HANDED_OVER and received == exchange.length
        exchange.state = State.RECEIVED if whole else State.CUT
        exchange.got = received
        exchange.ended = exchange.ended or now
        if not isinstance(exchange.link, Ends):
            exchange.link = exchange.link.ends()  # the record must not keep the connection
        self._downloads.add(exchange, received, whole=whole)

    # What the library's user asks

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
        """Return the latest exchanges that began after the last new version of `name`, oldest first."""
        now = time.monotonic()
        with self._lock:
            since = self._downloads.epoch(name)
            return tuple(exchange.record(now) for exchange in self._log if exchange.epoch >= since)

    # Waiting

    def new_version(self, name: str) -> None:
        """Start over with a name: answers that began before do not count for it any more."""
        with self._lock:
            self._epoch += 1
            self._downloads.start_over(name, self._epoch)
            self._note()

    def wake(self) -> None:
        """Let every waiter look again."""
        with self._lock:
            self._note()

    @property
    def version(self) -> int:
        """A number that is another one after each event; for `wait_for_change`."""
        return self._version

    def mark(self, name: str) -> Mark:
        """Return what has been taken of a name so far; a wait begins with it."""
        with self._lock:
            return self._downloads.mark(name)

    def take(self, name: str, validator: str, client: str | None, mark: Mark) -> DownloadRecord | None:
        """Return a whole download of this version that was not taken before the mark."""
        now = time.monotonic()
        with self._lock:
            for exchange in self._open_on(name):
                if exchange.state is State.HANDED_OVER and exchange.received() == exchange.length:
                    self._close(exchange, exchange.length, now)
            return self._downloads.take(name, validator, client, mark)

    def has_any(self, name: str, validator: str) -> bool:
        """Tell whether anybody has the whole of this version, taken or not."""
        with self._lock:
            return self._downloads.has_any(name, validator)

    def is_due(self, name: str) -> bool:
        """Tell whether an answer about `name` is in the kernel whose acknowledgment may come any moment."""
        with self._lock:
            return self._is_due(name)

    def _is_due(self, name: str) -> bool:
        return any(exchange.state in _IN_KERNEL for exchange in self._open_on(name))

    def _open_on(self, name: str) -> list[Exchange]:
        return [exchange for exchange in self._open if exchange.subject and exchange.subject.name == name]

    def wait_for_change(self, name: str, seen: int, seconds: float, poll: float) -> None:
        """Block until something has happened since `version` was `seen`, at most `seconds`.

        At most `poll` seconds when an acknowledgment of `name` is due: it makes no event.
        """
        latch = Latch()
        with self._lock:
            if self._version != seen:
                return
            self._waiters.add(latch)
            is_due = self._is_due(name)
        try:
            latch.wait(min(seconds, poll) if is_due else seconds)
        finally:
            with self._lock:
                self._waiters.discard(latch)

    def progress(self, name: str, validator: str) -> dict[str, int]:
        """Return how many bytes of this version each client has that has not all, answers under way included."""
        with self._lock:
            partial = self._downloads.partial(name, validator)
            sets = {client: coverage.intervals.copy() for client, coverage in partial.items()}
            since = self._downloads.epoch(name)
            for exchange in self._open_on(name):
                if exchange.subject and exchange.subject.validator == validator and exchange.epoch >= since:
                    intervals = sets.setdefault(exchange.link.client, Intervals())
                    for start, stop in exchange.spans(exchange.received()):
                        intervals.add(start, stop)
            return {client: intervals.size() for client, intervals in sets.items()}

    def _begin_anew(self) -> None:
        """In a forked child: the lock may be held by a thread that is not here."""
        self._lock = threading.Lock()
        self._waiters = set()


_ledgers: weakref.WeakSet[Ledger] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for ledger in list(_ledgers):
        ledger._begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
