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
from collections.abc import Collection
from itertools import takewhile

from httpserve.coverage import Coverage
from httpserve.downloads import Downloads, Mark
from httpserve.latch import Latch
from httpserve.plan import PROBE
from httpserve.records import ALL_USED, DownloadRecord, End, Ends, Exchange, RequestRecord, State, Transfer
from httpserve.wanted import Asked, Who
from httpserve.watching import Question, Score, Watch, add_underway

MOST_RECORDS = 1000
MOST_ADDRESSES = 1000
_IN_KERNEL = (State.LEAVING, State.HANDED_OVER)


class Ledger:
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
        self._asked: dict[Asked, int] = {}  # which exchange a wait for such a request took last
        self._asked_singly: deque[tuple[Asked, int]] = deque(maxlen=most)  # which it took by what a predicate said
        self._number = 0  # of the latest exchange or new version of a file
        self._version = 0  # grows with every event that a waiter may wait for
        self._waiters: set[Latch] = set()
        self._watches: set[weakref.ref[Watch]] = set()  # a wait that is forgotten ends its watch
        _ledgers.add(self)

    # What the serving room tells

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
        with self._lock:
            self._number += 1
            exchange.number = self._number
            self._log.append(exchange)
            if exchange.status == 404:
                self._missing.append(exchange)
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
        if self._watches:
            for watch in self._watching():
                watch.feed(exchange)

    def _watching(self) -> list[Watch]:
        return [watch for reference in self._watches if (watch := reference()) is not None]

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

    def requests_after(self, name: str, mark: Mark) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges since the last new version of a name, or since a wait on it, oldest first."""
        with self._lock:
            watch = Watch(name, 0, first=self._downloads.first(name), mark=mark)
        return self.requests_of(watch)

    def requests_of(self, watch: Watch) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges of the time that a watch is about, about whatever name, oldest first."""
        now = time.monotonic()
        with self._lock:
            return tuple(exchange.record(now, 0.0) for exchange in self._log if watch.is_since(exchange))

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

    # Waiting

    def new_version(self, name: str) -> None:
        """Start over with a name: answers that began before do not count for it any more."""
        with self._lock:
            self._number += 1
            self._downloads.start_over(name, self._number)
            for watch in self._watching():
                if watch.name == name:
                    watch.start_over(self._number)
            self._note()

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

    def mark(self, name: str) -> Mark:
        """Return what has been taken of a name so far; a wait begins with it."""
        with self._lock:
            return self._downloads.mark(name)

    def take(self, name: str, validator: str, who: Who, mark: Mark) -> list[DownloadRecord] | None:
        """Return whole downloads of this version that were not taken before the mark."""
        with self._lock:
            self._settle_arrived(name)
            taken = self._downloads.take(name, validator, who, mark, self._number)
            if taken is not None:
                clients = self._downloads.holders(name) if who.is_anybody else {record.client for record in taken}
                for exchange in self._on(name):
                    if exchange.is_over and exchange.link.client in clients:
                        exchange.used = ALL_USED
            return taken

    def _settle_arrived(self, name: str) -> None:
        """Close what has arrived whole although nobody has said so yet."""
        now = time.monotonic()
        arrived = [
            exchange
            for exchange in self._open_on(name)
            if exchange.state is State.HANDED_OVER and exchange.received() == exchange.length
        ]
        for exchange in arrived:
            self._close(exchange, exchange.length, now)
        if arrived:
            self._note()  # others may have looked just before

    def coverages(self, name: str, validator: str, mark: Mark) -> dict[str, Coverage]:
        """Return what each client has of this version since the mark, answers under way included."""
        with self._lock:
            found = self._downloads.coverages(name, validator, mark)
            first = self._downloads.first(name)
            underway = [exchange for exchange in self._open_on(name) if exchange.number >= first]
            add_underway(found, underway, validator, time.monotonic())
            return found

    def was_returned(self, name: str, who: Who) -> bool:
        """Tell whether a wait has returned anything about the name, by those whom another one is for, since its put."""
        with self._lock:
            return any(exchange.used and who.may_be(exchange.link.client) for exchange in self._on(name))

    def is_due(self, name: str) -> bool:
        """Tell whether an answer about `name` is in the kernel whose acknowledgment may come any moment."""
        with self._lock:
            return any(exchange.state in _IN_KERNEL for exchange in self._open_on(name))

    def is_underway(self, name: str) -> bool:
        """Tell whether an answer about `name` is under way: what of it arrives makes no event."""
        with self._lock:
            return bool(self._open_on(name))

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

    # Waiting for what not every answer counts for

    def watch_from_now(self, name: str, who: Who) -> Watch:
        """Begin to watch what begins from now on. To be ended by `unwatch`."""
        with self._lock:
            return self._begin_watch(Watch(name, self._most, first=self._number + 1, predicate=who.predicate))

    def watch_since(self, name: str, who: Who, since: float) -> Watch:
        """Begin to watch a name, and count what was asked for since a time. To be ended by `unwatch`."""
        with self._lock:
            watch = Watch(name, self._most, since=since, predicate=who.predicate)
            for exchange in self._log:
                if exchange.is_over:
                    watch.feed(exchange)
            return self._begin_watch(watch)

    def watch(self, name: str, who: Who, validator: str, wanted: int) -> Watch:
        """Begin to watch a name, and count what has come since its last new version. To be ended by `unwatch`.

        What counted for a wait that wanted as many bytes is left out.
        """
        with self._lock:
            known = self._on(name)
            used = [exchange for exchange in known if exchange.used >= max(1, wanted)]
            mark = self._downloads.mark(name)
            watch = Watch(
                name,
                self._most,
                first=self._downloads.first(name),
                predicate=who.predicate,
                left_out=frozenset(exchange.number for exchange in used),
                mark=mark,
            )
            over = [exchange for exchange in known if exchange.is_over]
            if who.predicate is None and not any(exchange.is_over and exchange.used < ALL_USED for exchange in used):
                watch.begin_with(self._downloads.coverages(name, validator, mark), over)
            else:
                for exchange in over:
                    watch.feed(exchange)
            return self._begin_watch(watch)

    def _begin_watch(self, watch: Watch) -> Watch:
        self._watches = {weakref.ref(other) for other in self._watching()}
        self._watches.add(weakref.ref(watch))
        return watch

    def unwatch(self, watch: Watch) -> None:
        """End a watch. Harmless when repeated."""
        with self._lock:
            self._watches.discard(weakref.ref(watch))

    def unjudged(self, watch: Watch) -> list[Question]:
        """Return the requests about which a watch's predicate must be asked."""
        with self._lock:
            self._settle_arrived(watch.name)
            return watch.unjudged(self._open_on(watch.name), time.monotonic())

    def judge(self, watch: Watch, verdicts: list[tuple[Question, bool]]) -> None:
        """Take in what a watch's predicate said."""
        with self._lock:
            watch.judge(verdicts)

    def standings(self, watch: Watch, validator: str, only: Collection[str] | None = None) -> dict[str, Coverage]:
        """Return what each client has of this version, as far as it counts for a watch; `only` of these clients."""
        with self._lock:
            found = self._standings(watch, validator)
            return {client: found[client].copy() for client in (found if only is None else only) if client in found}

    def scores(self, watch: Watch, validator: str) -> dict[str, Score]:
        """Return in figures what each client has of this version: what `standings` says is copied, and costs more."""
        with self._lock:
            found = self._standings(watch, validator)
            return {
                client: Score(one.received(), one.answers, one.arrived, one.ended) for client, one in found.items()
            }

    def _standings(self, watch: Watch, validator: str) -> dict[str, Coverage]:
        self._settle_arrived(watch.name)
        return watch.standings(validator, self._open_on(watch.name), time.monotonic())

    def shares(self, name: str, client: str) -> bool:
        """Tell whether two whole answers about a name went to this address at the same time."""
        with self._lock:
            return self._downloads.shares(name, client)

    def used(self, watch: Watch, who: Who, chosen: list[str], wanted: int, *, is_end: bool) -> None:
        """Note that a wait has succeeded by what these clients have: the next one must see more, or another download.

        Args:
            watch: What counted for it.
            who: Whom it waited for.
            chosen: Who has it.
            wanted: How many bytes it wanted.
            is_end: Whether their downloads are at their end.
        """
        wanted = ALL_USED if is_end else max(1, wanted)
        with self._lock:
            for exchange in (*watch.counted, *watch.counting(self._open_on(watch.name))):
                if exchange.link.client in chosen and (exchange.is_over or exchange.received()):
                    exchange.used = max(exchange.used, wanted)
            if is_end:
                self._downloads.took(watch.name, who, chosen, self._number)

    # Waiting for a request

    def find_requests(
        self, asked: Asked, first: int | None, since: float | None
    ) -> tuple[list[tuple[int, RequestRecord]], int]:
        """Return the requests that fit, with their numbers, and the number from which to look the next time.

        Args:
            asked: What was asked for. A predicate is left to the caller.
            first: The number of the first exchange that may fit; None: after the last one that such a wait took.
            since: When it may have come, in seconds since the epoch; where it is given, `first` is not looked at.
        """
        now = time.monotonic()
        with self._lock:
            singly: frozenset[int] = frozenset()
            if since is not None:
                first = 0
            elif first is None:
                first = self._first_asked(asked)
                singly = frozenset(number for one, number in self._asked_singly if one == asked)
            found = [
                (exchange.number, exchange.record(now))
                for exchange in self._log_from(first)
                if exchange.number not in singly
                and (since is None or exchange.wall >= since)
                and asked.fits(exchange)
            ]
            return found, self._number + 1

    def first_asked(self, asked: Asked) -> int:
        """Return the number of the first exchange that a wait for such a request may return."""
        with self._lock:
            return self._first_asked(asked)

    def _first_asked(self, asked: Asked) -> int:
        return max(self._asked.get(asked, 0) + 1, self._downloads.first(asked.name or ""))

    def took_request(self, asked: Asked, number: int, *, singly: bool) -> None:
        """Note that a wait for such a request has returned this one; `singly`: not those before it as well."""
        with self._lock:
            if singly:
                self._asked_singly.append((asked, number))
                return
            number = max(number, self._asked.pop(asked, 0))
            while len(self._asked) >= MOST_ADDRESSES:
                del self._asked[next(iter(self._asked))]
            self._asked[asked] = number

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
