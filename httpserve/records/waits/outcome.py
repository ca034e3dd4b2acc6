"""Why a wait failed: one of four words, and the figures.

Knows what was wanted, what arrived and what was asked for, as data. Waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from httpserve.base.text import amounts, printable
from httpserve.records.coverage import Coverage
from httpserve.records.model import UNDER_WAY, RequestRecord, name_asked
from httpserve.records.terms import Amount, Boards, UntilKind

NOBODY = "nobody connected"
OTHERS = "asked for other names"
STOPPED = "stopped"
RANGES = "ranges missing"

MOST_NAMED = 5  # requests for other names, clients, and ranges, in a message
MOST_CHARACTERS = 200  # of each: a board may ask for anything

_ENDS = {
    "completed": "all of that answer arrived",
    UNDER_WAY: "it is still under way",
    "closed": "the client closed the connection",
    "reset": "the client reset the connection",
    "lost": "the client did not answer any more",
    "cut": "the server cut it",
    "failed": "the server could not read the file",
}

Nearest = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]  # for names that are not there, those that are


class Outcome(NamedTuple):
    """What happened instead: a word, a text with the figures, and the figures as data."""

    word: str
    text: str
    received: int = 0
    missing: tuple[tuple[int, int], ...] = ()


class FailedWait(NamedTuple):
    """A wait that failed."""

    name: str
    size: int  # of the file's current version
    boards: Boards
    amount: Amount
    coverages: Mapping[str, Coverage]  # what of that version each client has, as far as it counts for the wait
    requests: Sequence[RequestRecord]  # this and the next two are as in `Instead`
    was_returned: bool
    silent: Sequence[str]
    connected: Collection[str]  # who has ever connected
    nearest: Nearest

    def what_was_wanted(self) -> str:
        """Say what did not happen."""
        boards = self.boards
        verb = {UntilKind.ALL: "downloaded", UntilKind.STARTED: "started on", UntilKind.IDLE: "come to rest on"}
        what = verb.get(self.amount.kind) or f"downloaded {self.amount.bytes_of(self.size)} bytes of"
        if len(boards.addresses) == 1:
            return f"{boards.addresses[0]} has not {what} {self.name!r}"
        if boards.addresses:
            return f"{_listed(boards.addresses)} have not all {what} {self.name!r}"
        if boards.count > 1:
            return f"fewer than {boards.count} clients have {what} {self.name!r}"
        return f"nobody {'that counts ' if boards.predicate else ''}has {what} {self.name!r}"

    def has_enough(self, coverage: Coverage) -> bool:
        """Tell whether a client would have ended the wait, were it alone."""
        return self.amount.kind is not UntilKind.IDLE and coverage.received() >= self.amount.bytes_of(self.size)


def happened(case: FailedWait) -> Outcome:
    """Return what happened in place of what was wanted."""
    mine = {client: coverage for client, coverage in case.coverages.items() if case.boards.may_be(client)}
    enough = [client for client, coverage in mine.items() if case.has_enough(coverage)]
    short = {client: one for client, one in mine.items() if client not in enough and one.received()}
    texts = [f"{_listed(enough)} {'has' if len(enough) == 1 else 'have'} it"] if enough else []
    if short:
        best = max(short.values(), key=Coverage.received)
        texts += [_how_far(client, coverage, case) for client, coverage in list(short.items())[:MOST_NAMED]]
        texts += [f"and {len(short) - MOST_NAMED} more have a part"] if len(short) > MOST_NAMED else []
        return Outcome(STOPPED if _is_prefix(best) else RANGES, "; ".join(texts), best.received(), best.gaps())
    rest = _nothing_came(case, enough)
    missing = ((0, case.size),) if case.size else ()
    return Outcome(rest.word, "; ".join([*texts, rest.text]), 0, missing)


def _nothing_came(case: FailedWait, enough: Collection[str]) -> Outcome:
    """Return what happened where nothing has arrived of the current version, except at those who have enough."""
    asked = [one for one in case.requests if case.boards.may_be(one.client) and one.client not in enough]
    about_it = [one for one in asked if one.name == case.name]
    if about_it:
        last = about_it[-1]
        end = f"last by {printable(last.method, MOST_CHARACTERS)}, answer {last.status}: {_ENDS[last.outcome]}"
        what = "nothing that counts has arrived of the current version" if case.size else "not received"
        return Outcome(STOPPED, f"it was asked for, but {what} ({end})")
    awaited = [address for address in case.boards.addresses if address not in enough]
    subject = "nobody else" if enough else "nobody"
    if awaited:
        subject = "it" if len(case.boards.addresses) == 1 else _listed(awaited)
    did = "did not ask" if awaited else "asked"
    elsewhere = _elsewhere(case)
    before = "; what came before, an earlier wait has returned" if case.was_returned and not enough else ""
    if any(one.target for one in asked):
        others = _others(asked, case.nearest)
        return Outcome(OTHERS, f"{subject} {did} for it; asked for instead: {others}{elsewhere}{before}")
    seen = _seen(case, awaited, enough)
    return Outcome(NOBODY, f"{subject} {did} for it, nor for anything else{seen}{elsewhere}{before}")


def _seen(case: FailedWait, awaited: Collection[str], enough: Collection[str]) -> str:
    """Say who has connected, where nobody of those waited for has asked for anything."""
    if awaited:
        never = [address for address in awaited if address not in case.connected]
        return (": it never connected" if len(awaited) == 1 else f": {_listed(never)} never connected") if never else ""
    if case.silent:
        return f": {_listed(case.silent)} connected, but sent no request"
    return "" if case.connected else ": nobody connected"


def not_asked(requests: Sequence[RequestRecord], connected: Collection[str], nearest: Nearest) -> Outcome:
    """Return what was asked for in place of the request that was waited for."""
    asked = [one for one in requests if one.target]
    if asked:
        return Outcome(OTHERS, f"asked for instead: {_others(asked, nearest)}")
    return Outcome(NOBODY, "nobody asked for anything" + ("" if connected else ": nobody connected"))


def _how_far(client: str, coverage: Coverage, case: FailedWait) -> str:
    text = f"{client} has {amounts(coverage.received(), case.size)}"
    answers = [one for one in case.requests if one.client == client and one.name == case.name and one.bytes]
    end = _ENDS[answers[-1].outcome] if answers else "how it ended is not kept"
    if case.amount.kind is UntilKind.IDLE:
        end = f"but not for {case.amount.idle:g} s without more; {end}"
    if coverage.whole:
        return f"{text}: the whole ({end})"
    if _is_prefix(coverage):
        return f"{text}: started, stopped at byte {coverage.received()} of {case.size} ({end})"
    gaps = coverage.gaps()
    shown = ", ".join(f"{start}-{stop - 1}" for start, stop in gaps[:MOST_NAMED])
    more = f" and {len(gaps) - MOST_NAMED} more" if len(gaps) > MOST_NAMED else ""
    hint = '; for a client that never takes all there is until="idle"'
    rest = f" ({end})" if case.amount.kind is UntilKind.IDLE else hint
    return f"{text}: only these ranges are missing: {shown}{more}{rest}"


def _is_prefix(coverage: Coverage) -> bool:
    spans = coverage.intervals.spans()
    return len(spans) == 1 and spans[0][0] == 0


def _elsewhere(case: FailedWait) -> str:
    """Name the other addresses that asked: behind NAT a board has another one than it thinks."""
    if not case.boards.addresses:
        return ""
    asked = {one.client for one in case.requests if one.name == case.name}
    others = sorted(asked.difference(case.boards.addresses))
    return f"; but {_listed(others)} asked for it" if others else ""


def _others(asked: Sequence[RequestRecord], nearest: Nearest) -> str:
    lines: dict[str, RequestRecord] = {}
    for one in asked:
        if one.target:
            lines[f"{printable(one.target, MOST_CHARACTERS)} ({one.status}, by {one.client}"] = one
    shown = list(lines.items())[-MOST_NAMED:]
    missing = list(dict.fromkeys(name_asked(one.target) for _, one in shown if one.status == 404))
    there_are = nearest(missing) if missing else {}
    texts = []
    for line, one in shown:
        names = there_are.get(name_asked(one.target), ()) if one.status == 404 else ()
        texts.append(line + (f"; there is {', '.join(map(printable, names))})" if names else ")"))
    more = len(lines) - len(shown)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def _listed(clients: Sequence[str]) -> str:
    more = len(clients) - MOST_NAMED
    return ", ".join(clients[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
