"""What waits have returned, and what is left for the next one: the book of claims.

A wait that returns a board's download uses up what that board has fetched of the name until then; what other boards
have fetched stays for the next wait. A claim records this on each answer that it is about.

Knows exchanges, and what is waited for. Safe from any thread: only looking and assigning happens under the log's lock,
and others hold up the serving threads only for a moment: the kernel is asked before the lock is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from httpserve.base.threads import sigint_held
from httpserve.records.coverage import Coverage
from httpserve.records.exchange import ALL_BYTES, Claim, Claimable, End, Exchange, State, claimed_bytes, recorded
from httpserve.records.log import ExchangeLog
from httpserve.records.model import DownloadRecord, RequestRecord
from httpserve.records.selection import MOST_TAKEN_IN, Selection, add_underway
from httpserve.records.terms import Boards, RequestFilter, asked_for


class Instead(NamedTuple):
    """What happened in place of what a wait was for."""

    requests: tuple[RequestRecord, ...] = ()  # the latest for any name, oldest first; of similar ones, first and last
    older: Sequence[str] = ()  # who asked for an older version of the name, which no wait has returned
    returned: Sequence[str] = ()  # whose downloads or requests an earlier wait has returned, since the last new version
    silent: Sequence[str] = ()  # who has connected, and is not known to have asked for anything
    early: Sequence[str] = ()  # who asked for the current version before the time that counts
    refused: Sequence[str] = ()  # whose connection was refused on purpose
    met: Sequence[tuple[str, str]] = ()  # each client with each fault on purpose that its answers about the name met
    cut: Sequence[str] = ()  # whose answer with an older version was cut, as happens if that is changed in place


class Claims:
    """What waits have claimed, and may claim, of what one server did."""

    def __init__(self, log: ExchangeLog) -> None:
        self.log = log
        self.order = 0  # of the latest claim: a wait leaves out what was claimed by its begin. The log's lock guards it

    def _new(self, what: Hashable) -> Claim:
        self.order += 1
        return Claim(self.order, self.log.latest_event, what)

    def _claim_whole(self, name: str, clients: Collection[str], only: Collection[Exchange] | None = None) -> Claim:
        claim = self._new(ALL_BYTES)
        for client in clients:
            by = self.log.downloads.take_up(name, client)
            # A function can tell apart boards that share one address: another board's answer is not used up.
            if by is not None and (only is None or not isinstance(by, Exchange) or by in only):
                _put(claim, by)
        return claim

    # Whole downloads

    def take(self, name: str, validator: str, boards: Boards, before: int) -> list[DownloadRecord] | None:
        """Return whole downloads of this version that were not claimed before that, and claim them."""
        asked = self.log.ask(name)
        if not asked and not self.log.downloads.has_any(name):  # in this order: what is no longer open is there
            return None
        with sigint_held(), self.log.lock:
            self.log.close_arrived(asked)
            found = self.log.downloads.whole(name, validator, boards, before)
            if found is not None:
                clients = {record.client for record in found}
                claim = self._claim_whole(name, clients)
                for exchange in self.log.on(name):
                    if exchange.is_over and exchange.link.client in clients:
                        _put(claim, exchange)
            return found

    def coverages(self, name: str, validator: str, before: int) -> dict[str, Coverage]:
        """Return what each client has of this version, answers under way included, if not claimed before that."""
        asked = self.log.ask(name)
        with sigint_held(), self.log.lock:
            self.log.close_arrived(asked)
            found = self.log.downloads.coverages(name, validator, before)
            first = self.log.downloads.first(name)
            underway = [exchange for exchange in asked if exchange.number >= first]
            add_underway(found, underway, validator, time.monotonic(), asked.__getitem__)
            return found

    # Selections, for which not every answer counts. `end` ends them.

    def select_from_now(self, name: str, boards: Boards) -> Selection:
        """Begin to select what begins from now on."""
        with sigint_held(), self.log.lock:
            return self._begin(Selection(name, self.log.most, first=self.log.next_number, predicate=boards.predicate))

    def select_since(self, name: str, boards: Boards, since: float) -> Selection:
        """Begin to select what was asked for since a time, claimed or not."""
        with sigint_held(), self.log.lock:
            selection = Selection(name, self.log.most, since=since, predicate=boards.predicate)
            selection.feed_all(exchange for exchange in self.log.from_number(0) if exchange.is_over)
            return self._begin(selection)

    def select(self, name: str, boards: Boards, validator: str, wanted: int) -> Selection:
        """Begin to select what came since the last new version and no wait for as many bytes has claimed."""
        with sigint_held(), self.log.lock:
            known = self.log.on(name)
            claimed = [exchange for exchange in known if claimed_bytes(exchange) >= max(1, wanted)]
            selection = Selection(
                name,
                self.log.most,
                first=self.log.downloads.first(name),
                predicate=boards.predicate,
                left_out=frozenset(exchange.number for exchange in claimed),
                order=self.order,
            )
            over = [exchange for exchange in known if exchange.is_over]
            is_simple = not any(one.is_over and claimed_bytes(one) < ALL_BYTES for one in claimed)
            if boards.predicate is None and is_simple:
                selection.begin_with(self.log.downloads.coverages(name, validator, self.order), over)
            else:
                selection.feed_all(over)
            return self._begin(selection)

    def select_whole(self, name: str, before: int) -> Selection:
        """Return what `take` and `coverages` are about as a selection, for `instead`."""
        return Selection(name, 0, first=self.log.downloads.first(name), order=before)

    def _begin(self, selection: Selection) -> Selection:
        self.log.add_follower(selection)
        return selection

    def end(self, selection: Selection) -> None:
        """End a selection. Harmless when repeated."""
        with sigint_held(), self.log.lock:
            self.log.remove_follower(selection)

    def decide(self, selection: Selection) -> None:
        """Ask a selection's function about what it has not seen. It may do anything, so do not hold the lock."""
        if selection.predicate is None:
            return
        asked = self._asked_for(selection)
        with sigint_held(), self.log.lock:
            self.log.close_arrived(asked)
            undecided = selection.undecided(asked)
        if undecided:
            now = time.monotonic()
            decisions = [(one, bool(selection.predicate(recorded(one[0], now)))) for one in undecided]
            with sigint_held(), self.log.lock:
                selection.decide(decisions)

    def selected(self, selection: Selection, validator: str) -> dict[str, Coverage]:
        """Return what each client has of this version, as far as it counts."""
        asked = self._asked_for(selection)
        with sigint_held(), self.log.lock:
            return {client: one.copy() for client, one in self._standings(selection, validator, asked).items()}

    def take_selected(
        self,
        selection: Selection,
        validator: str,
        choose: Callable[[Mapping[str, Coverage]], Collection[str] | None],
        wanted: int,
        *,
        is_end: bool,
    ) -> dict[str, Coverage] | None:
        """Claim and return what the clients that `choose` chooses have, if any: the wanted bytes, or at an end all."""
        asked = self._asked_for(selection)
        with sigint_held(), self.log.lock:
            standings = self._standings(selection, validator, asked)
            clients = choose(standings)
            if clients is None:
                return None
            found = {client: standings[client].copy() for client in clients}
            counted = [one for one in (*selection.counted, *selection.counting(asked)) if one.link.client in found]
            only = None if selection.predicate is None else counted
            claim = self._claim_whole(selection.name, found, only) if is_end else self._new(max(1, wanted))
            for exchange in counted:
                if exchange.is_over or asked[exchange]:
                    _put(claim, exchange)
            return found

    def _asked_for(self, selection: Selection) -> dict[Exchange, int]:
        """Ask how much of what is open has arrived. Let the selection take in what has ended, a few at a time."""
        while selection.is_behind:
            with sigint_held(), self.log.lock:
                selection.take_in(MOST_TAKEN_IN)
        return self.log.ask(selection.name)

    def _standings(self, selection: Selection, validator: str, asked: dict[Exchange, int]) -> dict[str, Coverage]:
        self.log.close_arrived(asked)
        return selection.standings(validator, asked, time.monotonic(), asked.__getitem__)

    def instead(self, selection: Selection, boards: Boards, validator: str) -> Instead:
        """Return what happened in the time that a selection of this version is about. It claims nothing."""
        name, order = selection.name, selection.order
        with sigint_held(), self.log.lock:
            known, about_it, first = self.log.from_number(0), self.log.on(name), self.log.downloads.first(name)
        past: dict[str, int] = {}  # by client: the latest event when a claim was made
        for exchange in known:
            for claim in exchange.claims:
                if claim.order <= order and isinstance(claim.what, int) and _is_about(exchange, name):
                    past[exchange.link.client] = max(claim.number, past.get(exchange.link.client, 0))
        older: list[Exchange] = []
        early: list[Exchange] = []
        others: list[Exchange] = []
        for exchange in known:
            is_since = selection.is_since(exchange)
            is_before_put = selection.since is None and exchange.number < first == selection.first
            has_content = exchange.subject is not None and exchange.subject.pieces and _is_about(exchange, name)
            if has_content and (is_before_put or (is_since and not _is_of(exchange, name, validator))):
                older.append(exchange)
            elif has_content and not is_since and not claimed_bytes(exchange):
                early.append(exchange)
            elif is_since and not (
                exchange.number <= past.get(exchange.link.client, 0)
                and (claimed_bytes(exchange) or not _is_about(exchange, name))
            ):
                others.append(exchange)
        returned = [one for one in about_it if order and claimed_bytes(one, order) and _is_of(one, name, validator)]
        older = [one for one in older if not (order and claimed_bytes(one))]
        cut = [one for one in older if one.state is State.CUT and one.end is End.CUT]

        def clients(exchanges: Iterable[Exchange]) -> list[str]:
            return _clients(one for one in exchanges if boards.may_be(one.link.client))

        requests, silent = self.log.records(_unlike(others)), self._silent(known)
        met = _met((one for one in [*older, *others] if selection.is_since(one)), name)
        return Instead(
            *(requests, clients(older), clients(returned), silent, clients(early), _refused(others)),
            met=[(client, fault) for client, fault in met if boards.may_be(client)],
            cut=clients(cut),
        )

    def _silent(self, known: Iterable[Exchange]) -> list[str]:
        """Return who has connected, except the clients of the known exchanges."""
        return sorted(set(self.log.connections()).difference(_clients(known)))

    # Requests

    def find_requests(self, asked: RequestFilter, first: int, since: float | None) -> tuple[list[Exchange], int]:
        """Return the latest requests that fit, from a number and a time (None: any) on, and the next number."""
        with sigint_held(), self.log.lock:
            known, next_number = self.log.from_number(first), self.log.next_number
        return [one for one in known if (since is None or one.wall >= since) and asked.fits(one)], next_number

    def find_unclaimed(self, asked: RequestFilter) -> tuple[list[Exchange], int]:
        """Return those since the last new version of the name that no wait for such a request has claimed."""
        found, next_number = self.find_requests(asked, self.first(asked), None)
        return [exchange for exchange in found if not _is_claimed(exchange, asked)], next_number

    def first(self, asked: RequestFilter) -> int:
        """Return the number of the first exchange that counts for a wait for such a request."""
        return self.log.downloads.first(asked.name or "")

    def claim_request(self, asked: RequestFilter, exchange: Exchange, *, singly: bool) -> None:
        """Note that a wait for such a request has returned this one; `singly`: not its board's requests before it."""
        earlier = [] if singly else self.find_requests(asked, 0, None)[0]
        with sigint_held(), self.log.lock:
            claim = self._new(asked)
            _put(claim, exchange)
            if asked.by_function:  # a wait for any request must not return it again, either
                _put(self._new(replace(asked, by_function=False)), exchange)
            for one in earlier:
                if one.number < exchange.number and one.link.client == exchange.link.client:
                    _put(claim, one)

    def requests_for(self, asked: RequestFilter) -> tuple[RequestRecord, ...]:
        """Return the latest exchanges that fit, oldest first."""
        return self.log.records(self.find_requests(asked, 0, None)[0])

    def instead_of_request(self, asked: RequestFilter, first: int, since: float | None) -> Instead:
        """Return what came since a number and a time, except a board's requests up to one of its that was claimed.

        Of similar requests, return only the first and the last.
        """
        with sigint_held(), self.log.lock:
            known, counting = self.log.from_number(0), self.log.from_number(first)
        past: dict[str, int] = {}
        if since is None:
            past = {one.link.client: one.number for one in counting if _is_claimed(one, asked)}
        left = [
            one
            for one in counting
            if one.number > past.get(one.link.client, 0) and (since is None or one.wall >= since)
        ]
        mine = [one for one in left if asked.client in (None, one.link.client)]
        requests, met = self.log.records(_unlike(left)), _met(mine, asked.name)
        return Instead(requests, [], list(past), self._silent(known), refused=_refused(mine), met=met)


def _put(claim: Claim, one: Claimable) -> None:
    """Write a claim down, unless there already is one that says as much."""
    what = claim.what
    if not (claimed_bytes(one) >= what if isinstance(what, int) else _is_claimed(one, what)):
        one.claims = (*one.claims, claim)


def _is_claimed(one: Claimable, what: Hashable) -> bool:
    return any(claim.what == what for claim in one.claims)


def _is_about(exchange: Exchange, name: str) -> bool:
    return exchange.subject is not None and exchange.subject.name == name


def _is_of(exchange: Exchange, name: str, validator: str) -> bool:
    return exchange.subject is not None and exchange.subject[:2] == (name, validator)


def _refused(exchanges: Iterable[Exchange]) -> list[str]:
    return _clients(one for one in exchanges if not one.status)


def _met(exchanges: Iterable[Exchange], name: str | None) -> list[tuple[str, str]]:
    """Return who met which faults, at a request for this name (None: any), or without one."""
    found = (one for one in exchanges if one.fault and (name is None or not one.status or asked_for(one) == name))
    return list(dict.fromkeys((one.link.client, one.fault) for one in found))


def _clients(exchanges: Iterable[Exchange]) -> list[str]:
    return list(dict.fromkeys(exchange.link.client for exchange in exchanges))


def _unlike(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """Leave out all but the first and the last of those about which a message would say the same."""
    first: dict[tuple[str, str, str, int, int], Exchange] = {}
    last: dict[tuple[str, str, str, int, int], Exchange] = {}
    for exchange in exchanges:
        name = exchange.subject.name if exchange.subject else ""
        has_some = min(exchange.got, 1) if exchange.is_over else -exchange.number  # under way: unlike any other
        key = (exchange.link.client, name, exchange.head.target, exchange.status, has_some)
        first.setdefault(key, exchange)
        last[key] = exchange
    return sorted({*first.values(), *last.values()}, key=lambda exchange: exchange.number)
