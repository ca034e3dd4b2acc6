"""What of one server's exchanges counts for whom: downloads as waits take them, and what waits have taken.

Knows exchanges, and what is waited for. Safe from any thread: nothing but looking and assigning happens under its lock,
of which others may hold up the serving threads no longer than for a moment: the kernel is asked before it is taken.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Collection, Iterable
from itertools import islice

from httpserve.base.threads import sigint_held
from httpserve.records.coverage import Coverage
from httpserve.records.downloads import Claimed
from httpserve.records.events import VERSION
from httpserve.records.exchange import ALL_USED, Exchange
from httpserve.records.log import MOST_RECORDS, ExchangeLog
from httpserve.records.model import DownloadRecord, RequestRecord
from httpserve.records.selection import MOST_TAKEN_IN, Score, Selection, Undecided, add_underway
from httpserve.records.terms import Boards, RequestFilter

MOST_ASKED = 1000  # kinds of requests of which is remembered what a wait has returned; the oldest goes first


class Claims(ExchangeLog):
    """What one server did, and what waits make of it.

    Args:
        most: How many exchanges are remembered one by one.
    """

    def __init__(self, most: int = MOST_RECORDS) -> None:
        super().__init__(most)
        # The lock guards these too.
        self._asked: dict[RequestFilter, int] = {}  # which exchange a wait for such a request took last
        self._asked_singly: deque[tuple[RequestFilter, int]] = deque(
            maxlen=most
        )  # which it took by what a predicate said

    # Whole downloads

    def new_version(self, name: str) -> None:
        """Start over with a name: answers that began before do not count for it any more."""
        with sigint_held(), self._lock:
            number = self._events.add(VERSION, (time.time(), name))
            self._downloads.start_over(name, number)
            if self._await_events:
                self._wake_for_event()
            for watch in self._watching(name):
                watch.start_over(number)
            self._wake_for_name(name)

    def mark(self, name: str) -> Claimed:
        """Return what has been taken of a name so far; a wait begins with it."""
        with sigint_held(), self._lock:
            return self._downloads.mark(name)

    def take(self, name: str, validator: str, who: Boards, mark: Claimed) -> list[DownloadRecord] | None:
        """Return whole downloads of this version that were not taken before the mark."""
        asked = self._ask(name)
        with sigint_held(), self._lock:
            self._settle_arrived(name, asked)
            taken = self._downloads.take(name, validator, who, mark, self._events.number)
            if taken is not None:
                clients = self._downloads.holders(name) if who.is_anybody else {record.client for record in taken}
                for exchange in self._on(name):
                    if exchange.is_over and exchange.link.client in clients:
                        exchange.used = ALL_USED
            return taken

    def _settle_arrived(self, name: str, asked: dict[Exchange, int]) -> None:
        """Close what has arrived whole although nobody has said so yet; leave in `asked` what is open then."""
        if self._close_arrived(asked):
            self._wake_for_name(name)  # others may have looked just before

    def coverages(self, name: str, validator: str, mark: Claimed) -> dict[str, Coverage]:
        """Return what each client has of this version since the mark, answers under way included."""
        asked = self._ask(name)
        with sigint_held(), self._lock:
            self._settle_arrived(name, asked)
            found = self._downloads.coverages(name, validator, mark)
            first = self._downloads.first(name)
            underway = [exchange for exchange in asked if exchange.number >= first]
            add_underway(found, underway, validator, time.monotonic(), asked.__getitem__)
            return found

    def was_returned(self, name: str, who: Boards) -> bool:
        """Tell whether a wait has returned anything about the name, by those whom another one is for, since its put."""
        with sigint_held(), self._lock:
            known = self._on(name)
        return any(exchange.used and who.may_be(exchange.link.client) for exchange in known)

    def requests_after(self, name: str, mark: Claimed) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges since the last new version of a name, or since a wait on it, oldest first.

        Of those that are alike only the first and the last, as in `requests_of`.
        """
        with sigint_held(), self._lock:
            watch = Selection(name, 0, first=self._downloads.first(name), mark=mark)
        return self.requests_of(watch)

    def shares(self, name: str, client: str) -> bool:
        """Tell whether two whole answers about a name went to this address at the same time."""
        with sigint_held(), self._lock:
            return self._downloads.shares(name, client)

    # What not every answer counts for

    def watch_from_now(self, name: str, who: Boards) -> Selection:
        """Begin to watch what begins from now on. To be ended by `unwatch`."""
        with sigint_held(), self._lock:
            first = self._events.number + 1
            return self._begin_watch(Selection(name, self._most, first=first, predicate=who.predicate))

    def watch_since(self, name: str, who: Boards, since: float) -> Selection:
        """Begin to watch a name, and count what was asked for since a time. To be ended by `unwatch`."""
        with sigint_held(), self._lock:
            watch = Selection(name, self._most, since=since, predicate=who.predicate)
            watch.feed_all(exchange for exchange in self._log if exchange.is_over)
            return self._begin_watch(watch)

    def watch(self, name: str, who: Boards, validator: str, wanted: int) -> Selection:
        """Begin to watch a name, and count what has come since its last new version. To be ended by `unwatch`.

        What counted for a wait that wanted as many bytes is left out.
        """
        with sigint_held(), self._lock:
            known = self._on(name)
            used = [exchange for exchange in known if exchange.used >= max(1, wanted)]
            mark = self._downloads.mark(name)
            watch = Selection(
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
                watch.feed_all(over)
            return self._begin_watch(watch)

    def _begin_watch(self, watch: Selection) -> Selection:
        for name in list(islice(self._watches_on, 2)):  # two more than one: those that were forgotten do not add up
            watches = self._watches_on.pop(name)
            gone = {reference for reference in watches if reference() is None}
            self._watches -= gone
            if watches != gone:
                self._watches_on[name] = watches - gone
        reference = weakref.ref(watch)
        self._watches.add(reference)
        self._watches_on.setdefault(watch.name, set()).add(reference)
        return watch

    def unwatch(self, watch: Selection) -> None:
        """End a watch. Harmless when repeated."""
        reference = weakref.ref(watch)
        with sigint_held(), self._lock:
            self._watches.discard(reference)
            others = self._watches_on.get(watch.name)
            if others is not None:
                others.discard(reference)
                if not others:
                    del self._watches_on[watch.name]

    def unjudged(self, watch: Selection) -> list[Undecided]:
        """Return the requests about which a watch's predicate must be asked."""
        asked = self._asked_for(watch)
        with sigint_held(), self._lock:
            self._settle_arrived(watch.name, asked)
            return watch.unjudged(asked, time.monotonic())

    def judge(self, watch: Selection, verdicts: list[tuple[Undecided, bool]]) -> None:
        """Take in what a watch's predicate said."""
        with sigint_held(), self._lock:
            watch.judge(verdicts)

    def scores(self, watch: Selection, validator: str) -> dict[str, Score]:
        """Return in figures what each client has of this version: what `standings` says is copied, and costs more."""
        asked = self._asked_for(watch)
        with sigint_held(), self._lock:
            found = self._standings(watch, validator, asked)
            return {client: Score(one.received(), one.answers, one.arrived, one.ended) for client, one in found.items()}

    def standings(self, watch: Selection, validator: str, only: Collection[str] | None = None) -> dict[str, Coverage]:
        """Return what each client has of this version, as far as it counts for a watch; `only` of these clients."""
        asked = self._asked_for(watch)
        with sigint_held(), self._lock:
            found = self._standings(watch, validator, asked)
            return {client: found[client].copy() for client in (found if only is None else only) if client in found}

    def _asked_for(self, watch: Selection) -> dict[Exchange, int]:
        """Do what `_ask` does, and let the watch take in what has ended, a few at a time."""
        more = True
        while more:
            with sigint_held(), self._lock:
                more = watch.take_in(MOST_TAKEN_IN)
        return self._ask(watch.name)

    def _standings(self, watch: Selection, validator: str, asked: dict[Exchange, int]) -> dict[str, Coverage]:
        self._settle_arrived(watch.name, asked)
        return watch.standings(validator, asked, time.monotonic(), asked.__getitem__)

    def requests_of(self, watch: Selection) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges of the time that a watch is about, about whatever name, oldest first.

        Of those that are alike only the first and the last: a verdict takes nothing from what is between.
        """
        with sigint_held(), self._lock:
            known = list(self._log)
        return self._records(_unlike(exchange for exchange in known if watch.is_since(exchange)))

    def used(self, watch: Selection, who: Boards, chosen: list[str], wanted: int, *, is_end: bool) -> None:
        """Note that a wait has succeeded by what these clients have: the next one must see more, or another download.

        Args:
            watch: What counted for it.
            who: Whom it waited for.
            chosen: Boards has it.
            wanted: How many bytes it wanted.
            is_end: Whether their downloads are at their end.
        """
        wanted = ALL_USED if is_end else max(1, wanted)
        asked = self._asked_for(watch)
        with sigint_held(), self._lock:
            for exchange in (*watch.counted, *watch.counting(asked)):
                if exchange.link.client in chosen and (exchange.is_over or asked[exchange]):
                    exchange.used = max(exchange.used, wanted)
            if is_end:
                self._downloads.took(watch.name, who, chosen, self._events.number)

    # Requests

    def find_requests(self, asked: RequestFilter, first: int | None, since: float | None) -> tuple[list[Exchange], int]:
        """Return the requests that fit, oldest first, and the number from which to look the next time.

        Args:
            asked: What was asked for. A predicate is left to the caller.
            first: The number of the first exchange that may fit; None: after the last one that such a wait took.
            since: When it may have come, in seconds since the epoch; where it is given, `first` is not looked at.
        """
        with sigint_held(), self._lock:
            singly: frozenset[int] = frozenset()
            if since is not None:
                first = 0
            elif first is None:
                first = self._first_asked(asked)
                singly = frozenset(number for one, number in self._asked_singly if one == asked)
            known, next_first = self._log_from(first), self._events.number + 1
        found = [
            exchange
            for exchange in known
            if exchange.number not in singly and (since is None or exchange.wall >= since) and asked.fits(exchange)
        ]
        return found, next_first

    def requests_for(self, asked: RequestFilter) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges that fit, oldest first."""
        found, _ = self.find_requests(asked, 0, None)
        return self._records(found)

    def requests_since(self, first: int, since: float | None = None) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges from a number and from a time on, as `requests_of` does."""
        with sigint_held(), self._lock:
            known = self._log_from(first)
        return self._records(_unlike(exchange for exchange in known if since is None or exchange.wall >= since))

    def first_asked(self, asked: RequestFilter) -> int:
        """Return the number of the first exchange that a wait for such a request may return."""
        with sigint_held(), self._lock:
            return self._first_asked(asked)

    def _first_asked(self, asked: RequestFilter) -> int:
        return max(self._asked.get(asked, 0) + 1, self._downloads.first(asked.name or ""))

    def took_request(self, asked: RequestFilter, number: int, *, singly: bool) -> None:
        """Note that a wait for such a request has returned this one; `singly`: not those before it as well."""
        with sigint_held(), self._lock:
            if singly:
                self._asked_singly.append((asked, number))
                return
            number = max(number, self._asked.pop(asked, 0))
            while len(self._asked) >= MOST_ASKED:
                del self._asked[next(iter(self._asked))]
            self._asked[asked] = number


def _unlike(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Leave out all but the first and the last of those about which the same is to be said."""
    first: dict[tuple[str, str, str, int, int], Exchange] = {}
    last: dict[tuple[str, str, str, int, int], Exchange] = {}
    for exchange in exchanges:
        name = exchange.subject.name if exchange.subject else ""
        has_some = min(exchange.got, 1) if exchange.is_over else -exchange.number  # what is under way is like no other
        key = (exchange.link.client, name, exchange.head.target, exchange.status, has_some)
        first.setdefault(key, exchange)
        last[key] = exchange
    return sorted({*first.values(), *last.values()}, key=lambda exchange: exchange.number)
