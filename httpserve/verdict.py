"""Why a wait was in vain: one of four words, and the figures.

Knows what was wanted, what arrived and what was asked for. Waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from httpserve.coverage import Coverage
from httpserve.ledger import Ledger
from httpserve.records import UNDER_WAY, RequestRecord, name_asked
from httpserve.wanted import Amount, Asked, Kind, Who

NOBODY = "nobody connected"
OTHERS = "asked for other names"
STOPPED = "stopped"
RANGES = "ranges missing"

MOST_NAMED = 5  # requests for other names, and ranges, in a message

_ENDS = {
    "completed": "that answer was complete",
    UNDER_WAY: "it is still under way",
    "closed": "the client closed the connection",
    "reset": "the client reset the connection",
    "lost": "the client did not answer any more",
    "cut": "the server cut it",
}


class Verdict(NamedTuple):
    """What happened instead: a word, a text with the figures, and the figures as data."""

    word: str
    text: str
    received: int = 0
    missing: tuple[tuple[int, int], ...] = ()


class Case(NamedTuple):
    """A wait that was in vain."""

    name: str
    validator: str
    size: int
    who: Who
    amount: Amount
    coverages: dict[str, Coverage]
    nearest: Callable[[str], tuple[str, ...]]

    def what_was_wanted(self) -> str:
        """Say what did not happen."""
        who = self.who
        verb = {Kind.ALL: "downloaded", Kind.STARTED: "started on", Kind.IDLE: "come to rest on"}
        what = verb.get(self.amount.kind) or f"downloaded {self.amount.bytes_of(self.size)} bytes of"
        if len(who.addresses) == 1:
            return f"{who.addresses[0]} has not {what} {self.name!r}"
        if who.addresses:
            return f"{', '.join(who.addresses)} have not all {what} {self.name!r}"
        if who.count > 1:
            return f"fewer than {who.count} clients have {what} {self.name!r}"
        return f"nobody {'that counts ' if who.predicate else ''}has {what} {self.name!r}"


def happened(ledger: Ledger, case: Case) -> Verdict:
    """Return what happened in place of what was wanted."""
    mine = {
        client: coverage
        for client, coverage in case.coverages.items()
        if coverage.received() and case.who.may_be(client)
    }
    if mine:
        return _came_short(ledger, case, mine)
    asked = [one for one in ledger.asked_since(case.name) if case.who.may_be(one.client)]
    if not case.who.addresses and ledger.has_any(case.name, case.validator):
        return Verdict(NOBODY, "it was downloaded before, but an earlier wait has returned that")
    if any(one.name == case.name for one in asked):
        last = [one for one in asked if one.name == case.name][-1]
        text = f"it was asked for, but nothing has arrived of the version that stands ({_ENDS[last.outcome]})"
        return Verdict(STOPPED, text, 0, ((0, case.size),))
    elsewhere = _elsewhere(ledger, case)
    nobody = "it did not ask" if len(case.who.addresses) == 1 else "nobody asked"
    if any(one.target for one in asked):
        return Verdict(OTHERS, f"{nobody} for it; asked for instead: {_others(asked, case.nearest)}{elsewhere}")
    connected = any(case.who.may_be(client) for client in ledger.connections())
    seen = "" if connected else ": nobody connected" if not case.who.addresses else ": it never connected"
    return Verdict(NOBODY, f"{nobody} for it, nor for anything else{seen}{elsewhere}")


def not_asked(ledger: Ledger, asked: Asked, first: int | None) -> Verdict:
    """Return what was asked for in place of what was waited for, since the exchange of that number."""
    requests = [one for one in ledger.asked_since(asked.name or "", first) if one.target]
    if requests:
        return Verdict(OTHERS, f"asked for instead: {_others(requests, lambda name: ())}")
    return Verdict(NOBODY, "nobody asked for anything" + ("" if ledger.connections() else ": nobody connected"))


def _came_short(ledger: Ledger, case: Case, coverages: dict[str, Coverage]) -> Verdict:
    requests = [one for one in ledger.asked_since(case.name) if one.name == case.name]
    texts = [_how_far(client, coverage, case, requests) for client, coverage in coverages.items()]
    best = max(coverages.values(), key=Coverage.received)
    word = STOPPED if _is_prefix(best) else RANGES
    return Verdict(word, "; ".join(texts), best.received(), best.gaps())


def _how_far(client: str, coverage: Coverage, case: Case, requests: list[RequestRecord]) -> str:
    text = f"{client} has {amounts(coverage.received(), case.size)}"
    last = [one for one in requests if one.client == client][-1:]
    end = _ENDS[last[0].outcome] if last else "how it ended is not kept"
    if coverage.whole:
        return f"{text}: the whole"
    if _is_prefix(coverage):
        return f"{text}: started, stopped at byte {coverage.received()} of {case.size} ({end})"
    gaps = coverage.gaps()
    shown = ", ".join(f"{start}-{stop - 1}" for start, stop in gaps[:MOST_NAMED])
    more = f" and {len(gaps) - MOST_NAMED} more" if len(gaps) > MOST_NAMED else ""
    idle = "" if case.amount.kind is Kind.IDLE else "; for a client that never takes all there is until=\"idle\""
    return f"{text}: only these ranges are missing: {shown}{more}{idle}"


def _is_prefix(coverage: Coverage) -> bool:
    spans = coverage.intervals.spans()
    return len(spans) == 1 and spans[0][0] == 0


def _elsewhere(ledger: Ledger, case: Case) -> str:
    """Name the other addresses that asked: behind NAT a board has another one than it thinks."""
    if not case.who.addresses:
        return ""
    asked = {one.client for one in ledger.asked_since(case.name) if one.name == case.name}
    others = sorted(asked.difference(case.who.addresses))
    return f"; but {', '.join(others)} asked for it" if others else ""


def _others(asked: Iterable[RequestRecord], nearest: Callable[[str], tuple[str, ...]]) -> str:
    lines: dict[str, RequestRecord] = {}
    for one in asked:
        if one.target:
            lines[f"{one.target} ({one.status}, by {one.client}"] = one
    shown = list(lines.items())[-MOST_NAMED:]
    texts = [line + _there_is(one, nearest) + ")" for line, one in shown]
    more = len(lines) - len(shown)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _there_is(one: RequestRecord, nearest: Callable[[str], tuple[str, ...]]) -> str:
    names = nearest(name_asked(one.target)) if one.status == 404 else ()
    return f"; there is {', '.join(names)}" if names else ""


def amounts(received: int, total: int) -> str:
    """Say how much of how much, in the unit that suits the total."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if total >= 10 * size:
            return f"{received // size} of {-(-total // size)} {unit}"
    return f"{received} of {total} bytes"
