"""The exchanges of one server: what was asked for, what is under way, how it ended, and who waits for which change.

Knows all exchanges, and tells downloads and followers what has ended. Safe from any thread: nothing but looking and
assigning happens under its lock. The serving threads take it for each answer, so nobody asks the kernel under it, nor
makes a thousand records, and what they do under it does not grow with the number of waits for other names.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice, takewhile

from httpserve.base.threads import Latch, renew_in_child, sigint_held
from httpserve.plan import ASIDE, PROBE
from httpserve.records.downloads import Downloads
from httpserve.records.events import EVENTS_PER_RECORD, MISSING, UPLOADED, VERSION, Entry, EventLog
from httpserve.records.exchange import ACK_DELAY_SECONDS, ClosedLink, End, Exchange, Link, State, recorded, seen
from httpserve.records.model import UNDER_WAY, RequestRecord, Transfer, UploadRecord
from httpserve.records.selection import Selection
from httpserve.records.terms import asked_for
from httpserve.records.uploads import KeptUploads

MOST_RECORDS = 1000
MOST_ADDRESSES = 1000
MOST_TARGET_BYTES = 512  # of a target whose name the serving threads work out for waits for a request
FIRST_LOOK_SECONDS = 0.0005  # an acknowledgment makes no event; most come at once,
LAST_LOOK_SECONDS = 0.005  # a delayed one after 40 ms
_IN_KERNEL = (State.LEAVING, State.HANDED_OVER)
# Looking up a member of an Enum takes a tenth of the time under its own name (before Python 3.12).
_HANDED_OVER, _RECEIVED, _CUT = State.HANDED_OVER, State.RECEIVED, State.CUT
_OVER = (_RECEIVED, _CUT)


class Waiter(Latch):
    """Somebody who waits for something `about` a name (None: any), `among` others. Opens when it may have happened."""

    __slots__ = ("about", "among")

    def __init__(self, among: dict[str | None, set[Waiter]], about: str | None) -> None:
        super().__init__()
        self.among = among
        self.about = about


class ExchangeLog:
    """What one server did; `requests` remembers the latest `most`."""

    def __init__(self, most: int = MOST_RECORDS) -> None:
        # Guards everything below. Users' threads hold signals while they have it: an exception of a handler would leave
        # a step half done for others, and a handler that asks for records would wait for its own thread.
        self.lock = threading.Lock()
        self.most = most
        self._log: deque[Exchange] = deque(maxlen=most)
        self._missing: deque[Exchange] = deque(maxlen=most)
        self._open: set[Exchange] = set()
        self._open_on: dict[str, set[Exchange]] = {}  # those of them that have a subject, by its name
        self._connections: dict[str, int] = {}
        self.downloads = Downloads()
        self._await_downloads: dict[str | None, set[Waiter]] = {}  # those who wait for one, by name
        self._await_requests: dict[str | None, set[Waiter]] = {}
        self._await_events: dict[str | None, set[Waiter]] = {}
        self.uploads = KeptUploads(most)
        self._await_uploads: dict[str | None, set[Waiter]] = {}
        self._events = EventLog(EVENTS_PER_RECORD * most)
        # What takes in each answer that is over, by name. A forgotten wait ends its selection.
        self._followers: dict[str, weakref.WeakSet[Selection]] = {}
        self.read_again_at = 0.0  # when readers of events may look again
        self.waits: weakref.WeakSet[object] = weakref.WeakSet()  # all that are going on, those at rest included
        renew_in_child(self, ExchangeLog._begin_anew)

    # What the serving room reports, at least once for each answer. It takes the lock without `with`, which takes twice
    # as long: no Ctrl-C comes between these steps, since the serving threads are not the main one.

    def connected(self, link: Link, wall: float) -> None:
        """Count a connection, made at a time in seconds since the epoch."""
        client, connections = link.client, self._connections
        self.lock.acquire()
        try:
            count = connections.get(client)
            if count is None and len(connections) >= MOST_ADDRESSES:
                client, count = "", connections.get("")
            connections[client] = (count or 0) + 1
            self._events.add_connected(link, wall)
            if self._await_events:
                self._wake_for_event()
        finally:
            self.lock.release()

    def begin(self, exchange: Exchange) -> None:
        """Take in an exchange whose answer is about to leave."""
        if exchange.subject is ASIDE:
            return
        self.lock.acquire()
        try:
            if exchange.subject is PROBE:
                client = exchange.link.client
                self._connections[client if client in self._connections else ""] -= 1
            else:
                self._begin(exchange)
        finally:
            self.lock.release()

    def follow(self, before: Exchange, exchange: Exchange) -> None:
        """Take in an exchange whose request proves that the whole answer before it has arrived."""
        self.lock.acquire()
        try:
            if before in self._open:
                self._close(before, before.length, exchange.began)
            if exchange.subject is not ASIDE:
                self._begin(exchange)
        finally:
            self.lock.release()

    def _begin(self, exchange: Exchange) -> None:
        self._events.add_begin(exchange)
        self._log.append(exchange)
        if exchange.status == 404 and exchange.subject is None:  # else it is there, and a fault says that it is not
            self._missing.append(exchange)
            self._events.add(MISSING, exchange)
        self._open.add(exchange)
        subject = exchange.subject
        if subject is not None:
            others = self._open_on.get(subject.name)
            if others is None:
                self._open_on[subject.name] = {exchange}
            else:
                others.add(exchange)
        if self._await_downloads:
            self._wake_for(exchange)
        if self._await_requests:
            self._wake_for_request(exchange)
        if self._await_events:
            self._wake_for_event()

    def handed_over(self, exchange: Exchange, now: float) -> None:
        """Note that the kernel has taken the whole answer."""
        self.lock.acquire()
        try:
            if exchange.state not in _OVER:  # else it was written off meanwhile
                exchange.state = _HANDED_OVER
                exchange.ended = now
                if self._await_downloads:
                    self._wake_for(exchange)
                if self._await_events:
                    self._wake_for_event()  # it is time to look for the acknowledgment
        finally:
            self.lock.release()

    def settle(self, exchange: Exchange, received: int, now: float, end: End, *, has_head: bool = True) -> None:
        """Close an exchange; the client has `received` bytes of its content. `end` says why, if that is not all.

        `has_head` says whether it has the head, which is all of an answer without content. Must be called while the
        connection's descriptor is still open: until then others may ask the kernel about it.
        """
        self.lock.acquire()
        try:
            if exchange in self._open:
                exchange.end = end
                self._close(exchange, received, now, has_head)
                if self._await_downloads:
                    self._wake_for(exchange)
        finally:
            self.lock.release()

    @property
    def open_count(self) -> int:
        """How many exchanges are not over. Takes no lock."""
        return len(self._open)

    def _close(self, exchange: Exchange, received: int, now: float, has_head: bool = True) -> None:
        whole = has_head and exchange.state is _HANDED_OVER and received == exchange.length
        exchange.got = received
        exchange.ended = exchange.ended or now
        if exchange.unacked_at > exchange.ended:
            exchange.ended = max(exchange.ended, min(exchange.unacked_at, now))
        if not isinstance(exchange.link, ClosedLink):
            # The record must not keep the connection. After everything but the state, which `seen` looks at.
            exchange.link = exchange.link.ends()
        exchange.state = _RECEIVED if whole else _CUT
        self._open.discard(exchange)
        subject = exchange.subject
        if subject is None:
            self._events.add_end(exchange, None)
        else:
            self._events.add_end(exchange, self.downloads.add(exchange, subject, received, whole))
            others = self._open_on[subject.name]
            if len(others) == 1:
                del self._open_on[subject.name]
            else:
                others.discard(exchange)
            if self._followers:
                for selection in self._followers.get(subject.name, ()):
                    selection.feed(exchange)
        if self._await_events:
            self._wake_for_event()

    def uploaded(self, record: UploadRecord) -> None:
        """Take in an upload that is over, whether it has completed or not."""
        with sigint_held(), self.lock:
            number = self._events.add(UPLOADED, (record.time + record.seconds, record))
            self.uploads.add(record, number)
            _wake(self._await_uploads, None)
            self._wake_for_event()

    # Who is woken by what

    def _wake_for(self, exchange: Exchange) -> None:
        """Wake those who wait for downloads of what an exchange is about."""
        if exchange.subject is not None:
            _wake(self._await_downloads, exchange.subject.name)

    def _wake_for_request(self, exchange: Exchange) -> None:
        """Wake those who wait for requests like the one that has just come."""
        waiting = self._await_requests
        _wake(waiting, None)
        if exchange.subject is None and len(exchange.head.target) > MOST_TARGET_BYTES:
            for name in list(waiting):  # the name would take longer to work out than all of them to look
                _wake(waiting, name)
        elif waiting:
            _wake(waiting, asked_for(exchange))

    def _wake_for_event(self) -> None:
        _wake(self._await_events, None)

    def _wake_for_name(self, name: str) -> None:
        _wake(self._await_downloads, name)
        _wake(self._await_requests, name)

    # What happened. Looked at without the lock, under which the kernel would be asked of each answer under way.

    def records(self, exchanges: Iterable[Exchange]) -> tuple[RequestRecord, ...]:
        now = time.monotonic()
        return tuple(recorded(exchange, now) for exchange in exchanges)

    def record(self, exchange: Exchange) -> RequestRecord:
        """Return one exchange as it is now."""
        return recorded(exchange, time.monotonic())

    def requests(self) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges, oldest first."""
        with sigint_held(), self.lock:
            known = list(self._log)
        return self.records(known)

    def transfers(self) -> tuple[Transfer, ...]:
        """Return the latest exchanges that carry content of files, oldest first."""
        with sigint_held(), self.lock:
            forgotten = self._open.difference(self._log)  # still under way, so never left out
            known = (*sorted(forgotten, key=lambda exchange: exchange.number), *self._log)
        now = time.monotonic()
        carrying = (exchange for exchange in known if exchange.subject and exchange.subject.pieces)
        return tuple(seen(exchange, lambda one: one.transfer(now)) for exchange in carrying)

    def count_under_way(self) -> int:
        """Return how many answers with content of a file are not yet fully acknowledged."""
        with sigint_held(), self.lock:
            carrying = [exchange for exchange in self._open if exchange.subject and exchange.subject.pieces]
        now = time.monotonic()
        return sum(seen(exchange, lambda one: one.transfer(now)).state == UNDER_WAY for exchange in carrying)

    def missing(self) -> tuple[RequestRecord, ...]:
        """Return the latest requests for files that did not exist, oldest first."""
        with sigint_held(), self.lock:
            known = list(self._missing)
        return self.records(known)

    def connections(self) -> dict[str, int]:
        """Return how many connections each client has made; those of too many addresses count for the empty one."""
        return {client: count for client, count in self._connections.items() if count}

    def glance(self, most: int) -> tuple[RequestRecord, ...] | None:
        """Return the latest exchanges, at most `most`, oldest first; None when the lock is held. Waits for nothing."""
        with sigint_held():
            if not self.lock.acquire(blocking=False):
                return None
            try:
                known = list(self._log)[-most:]
            finally:
                self.lock.release()
        return self.records(known)

    # For callers that have the lock, and hold signals. They may only look and assign.

    def from_number(self, first: int) -> list[Exchange]:
        """Return the latest exchanges from a number on, oldest first. With the lock."""
        if first <= 0:
            return list(self._log)
        found = list(takewhile(lambda exchange: exchange.number >= first, reversed(self._log)))
        found.reverse()
        return found

    def on(self, name: str) -> list[Exchange]:
        """Return what is remembered of a name since its last new version, and what is under way. With the lock."""
        first = self.downloads.first(name)
        known = (*self._open_on.get(name, set()).difference(self._log), *self.from_number(first))
        return [
            exchange
            for exchange in known
            if exchange.number >= first and exchange.subject and exchange.subject.name == name
        ]

    def close_arrived(self, asked: dict[Exchange, int]) -> None:
        """Close what has arrived in full although nobody has said so yet, and leave in `asked` what is open.

        With the lock. `asked` says how much has arrived of each.
        """
        now = time.monotonic()
        names = set()
        for exchange, received in list(asked.items()):
            if exchange not in self._open:
                del asked[exchange]
            elif received == exchange.length and exchange.has_all(received):
                self._close(exchange, exchange.length, now)
                del asked[exchange]
                if exchange.subject is not None:
                    names.add(exchange.subject.name)
        for name in names:  # others may have looked just before
            self._wake_for_name(name)

    def add_follower(self, selection: Selection) -> None:
        """Give a selection what ends from now on. With the lock."""
        for name in list(islice(self._followers, 2)):  # two for each one added, so that forgotten ones do not add up
            if not self._followers[name]:
                del self._followers[name]
        self._followers.setdefault(selection.name, weakref.WeakSet()).add(selection)

    def remove_follower(self, selection: Selection) -> None:
        """Give it no more. With the lock; harmless when repeated."""
        others = self._followers.get(selection.name)
        if others is not None:
            others.discard(selection)
            if not others:
                del self._followers[selection.name]

    # What goes on

    def ask(self, name: str) -> dict[Exchange, int]:
        """Return what is open about a name, and how much is acknowledged. Not under the lock: this asks the kernel.

        For what is no longer open once the lock is held, the number may be wrong.
        """
        asked = list(self._open_on.get(name, ()))  # in one step
        return {exchange: exchange.received() for exchange in asked}

    def is_due(self, name: str) -> bool:
        """Tell whether the kernel has an answer about `name` whose acknowledgment may come at any moment."""
        return any(exchange.state in _IN_KERNEL for exchange in list(self._open_on.get(name, ())))

    def is_underway(self, name: str) -> bool:
        """Tell whether an answer about `name` is under way: the arrival of its bytes makes no event."""
        return name in self._open_on

    # Events

    @property
    def latest_event(self) -> int:
        """The number of the latest event; 0 where there was none."""
        return self._events.number

    @property
    def next_number(self) -> int:
        """The number that the next exchange will have at least."""
        return self._events.number + 1

    def new_version(self, name: str) -> None:
        """Start over with a name: answers that began before do not count for it any more."""
        with sigint_held(), self.lock:
            number = self._events.add(VERSION, (time.time(), name))
            self.downloads.start_over(name, number)
            if self._await_events:
                self._wake_for_event()
            for selection in self._followers.get(name, ()):
                selection.start_over(number)
            if self._await_downloads or self._await_requests:
                self._wake_for_name(name)

    def started(self, host: str, port: int) -> None:
        """Note that the server is about to answer requests."""
        with sigint_held(), self.lock:
            self._events.open(host, port, time.time())
            self._wake_for_event()

    def stopped(self) -> None:
        """Note that the server no longer answers, if it did. To be called while it still counts as running."""
        with sigint_held(), self.lock:
            self._events.close(time.time())
            self._wake_for_event()

    def events_after(self, since: int) -> tuple[list[Entry], bool]:
        """Return what came after an event, and whether more can come."""
        with sigint_held(), self.lock:
            return self._events.after(since, self.downloads.shares), self._events.is_open

    def await_event(self) -> Waiter:
        """Return what opens at the next event, and when an answer is handed over."""
        return self._join(self._await_events, None)

    def look_at_open(self, *, for_progress: bool) -> bool:
        """Make events of what has arrived or moved on; True: an acknowledgment may come at any moment.

        Not for the serving threads: it asks the kernel.
        """
        now = time.monotonic()
        with sigint_held(), self.lock:
            due = [exchange for exchange in self._open if exchange.state in _IN_KERNEL]
            transfers = [one for one in self._open if one.subject and one.subject.pieces] if for_progress else []
            transfers = self._events.not_looked_at(transfers, now)
        asked = {exchange: exchange.received() for exchange in due}
        moved = {exchange: seen(exchange, lambda one: one.transfer(now)) for exchange in transfers}
        with sigint_held(), self.lock:
            self.close_arrived(asked)
            before = self._events.number
            for exchange, transfer in moved.items():
                if exchange in self._open:
                    self._events.add_progress(exchange, transfer, now, time.time())
            if self._events.number > before:
                self._wake_for_event()
        return bool(asked)

    # Waiting for acknowledgments

    def await_due(self, fits: Callable[[Exchange], bool] | None = None) -> None:
        """Block while acknowledgments of answers that `fits` accepts (None: of all) are due, at most for half a second.

        One is due from the time when the kernel has taken the whole answer, for as long as TCP may put it off. For
        callers that tell users what boards have: a board may have an answer before its acknowledgment comes.
        """
        with sigint_held(), self.lock:
            found = [exchange for exchange in self._open if exchange.state in _IN_KERNEL]
        self.await_acknowledged(found if fits is None else filter(fits, found))

    def await_acknowledged(self, exchanges: Iterable[Exchange]) -> None:
        """Do for these what `await_due` does."""
        began = time.monotonic()
        poll = FIRST_LOOK_SECONDS
        while exchanges := [exchange for exchange in exchanges if self._is_awaited(exchange, began)]:
            time.sleep(poll)  # an acknowledgment makes no event that could be waited for
            poll = min(2 * poll, LAST_LOOK_SECONDS)

    def _is_awaited(self, exchange: Exchange, began: float) -> bool:
        return (
            exchange.state in _IN_KERNEL
            and time.monotonic() - min(began, exchange.ended) < ACK_DELAY_SECONDS
            and not seen(exchange, lambda one: one.has_all(one.received()))
            and exchange in self._open
        )

    # Waiting for a change: a wait joins the others, looks, waits for its waiter to open, and leaves

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with sigint_held(), self.lock:
            for among in (self._await_downloads, self._await_requests, self._await_uploads, self._await_events):
                for about in list(among):
                    _wake(among, about)

    def await_download(self, name: str) -> Waiter:
        """Return what opens when an answer about a name begins, is handed over or ends, or a new version comes."""
        return self._join(self._await_downloads, name)

    def await_request(self, name: str | None) -> Waiter:
        """Return what opens when something is asked for that may have this name (None: any)."""
        return self._join(self._await_requests, name)

    def await_upload(self) -> Waiter:
        """Return what opens when an upload is over."""
        return self._join(self._await_uploads, None)

    def _join(self, among: dict[str | None, set[Waiter]], about: str | None) -> Waiter:
        waiter = Waiter(among, about)
        with sigint_held(), self.lock:
            among.setdefault(about, set()).add(waiter)
        return waiter

    def leave(self, waiter: Waiter) -> None:
        """Wait no longer. Harmless when repeated, and when the waiter has been opened."""
        with sigint_held(), self.lock:
            others = waiter.among.get(waiter.about)
            if others is not None:
                others.discard(waiter)
                if not others:
                    del waiter.among[waiter.about]

    def _begin_anew(self) -> None:
        """In a forked child: the lock may be held by a thread that does not exist here, nor does anyone who waits.

        What is under way is the parent's, and stays for ever as it is now: soon the child has no descriptor to ask.
        """
        self.lock = threading.Lock()
        self._await_downloads = {}
        self._await_requests = {}
        self._await_uploads = {}
        self._await_events = {}
        self._events.close(time.time())
        self.waits = weakref.WeakSet()
        for exchange in list(self._open):
            if not isinstance(exchange.link, ClosedLink):
                exchange.got = exchange.received()
                exchange.link = exchange.link.ends()
                if exchange.state is _HANDED_OVER and exchange.got == exchange.length:
                    exchange.state = _RECEIVED
        self._open = set()
        self._open_on = {}


def _wake(among: dict[str | None, set[Waiter]], about: str | None) -> None:
    for waiter in among.pop(about, ()):
        waiter.open()
