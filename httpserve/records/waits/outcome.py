"""Why a wait failed: one of a few words, the figures, and the next step.

Knows what was wanted, what arrived and what was asked for, as data. Waits for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import NamedTuple

from httpserve.base.text import Hint, Message, amounts, printable
from httpserve.errors import WaitTimeout
from httpserve.records.claims import Instead
from httpserve.records.coverage import Coverage
from httpserve.records.model import UNDER_WAY, RequestRecord, name_asked
from httpserve.records.terms import Amount, Boards, UntilKind

# The values of `WaitTimeout.happened`
NOBODY = "nobody connected"
NOTHING = "nothing asked"
ELSEWHERE = "asked by others"
OTHERS = "asked for other names"
HEAD_ONLY = "HEAD only"
NOT_MODIFIED = "not modified"
REJECTED = "rejected"
RETURNED = "returned before"
OLDER = "older version"
EARLY = "asked too early"
BEYOND = "range beyond the end"
REDIRECTED = "redirected"
STOPPED = "stopped"
RANGES = "ranges missing"
REFUSED = "refused"

_DOCTOR = Message("{} looks for the reason", Hint("doctor"))
NEXT_STEPS = {
    NOBODY: _DOCTOR,
    NOTHING: _DOCTOR,
    ELSEWHERE: "pass the address that the board has here as client=: NAT or a second network card changes it",
    OTHERS: "check the URL on the board",
    HEAD_ONLY: "let the board use GET",
    NOT_MODIFIED: "delete the board's copy, or let the board ask without a condition",
    REJECTED: "try the function on the records of http.requests",
    RETURNED: "let the board ask again, or pass since= to count again what it asked before",
    OLDER: "let the board ask again",
    EARLY: "let the board ask inside the block, or later than since=",
    BEYOND: "delete the board's copy, or let the board ask without a range",
    REDIRECTED: Message("pass {} to have it fetched, and seen, here", Hint("redirect", False)),
    RANGES: 'for a client that never takes all there is until="idle"',
    REFUSED: "",
}
_FAULTS_END = Message("faults on purpose end with {}", Hint("faults"))
_HOLD = "Hold("  # how the faults of an answer name a hold
# For a download that has stopped, by how its last answer ended
STEPS_BY_END = {
    "closed": "look on the board why it gave up: its memory, its disk, or its own timeout",
    "reset": "look on the board why it gave up: its memory, its disk, or its own timeout",
    "lost": "look whether the board has power, and its cable",
    "failed": "the log has the error of the disk",
    "completed": NEXT_STEPS[RANGES],
    UNDER_WAY: "pass a longer timeout=",
}
_TELL_URL = (NOBODY, NOTHING, ELSEWHERE, OTHERS)

MOST_NAMED = 5  # requests for other names, clients, and ranges, in a message
MOST_CHARACTERS = 200  # of each: a board may ask for anything

_ENDS = {
    "completed": "all of that answer arrived",
    UNDER_WAY: UNDER_WAY,
    "closed": "the client closed the connection",
    "reset": "the client reset the connection",
    "lost": "the client did not answer any more",
    "cut": "the server cut it",
    "failed": "the server could not read the file",
}

Nearest = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]  # for names that do not exist, those that do


class Way(NamedTuple):
    """How boards are to reach this server, as far as that is known at no cost."""

    url: str | None = None  # that they are to use
    peer: str | None = None  # whom the server is for
    obstacles: tuple[str, ...] = ()  # what keeps them away


class Outcome(NamedTuple):
    """What happened instead: a word, a text with the figures, the figures as data, and what to do."""

    word: str
    text: str
    received: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    next_step: str = ""
    faults: tuple[str, ...] = ()

    def on_purpose(self, met: Sequence[tuple[str, str]]) -> Outcome:
        """Return the same with the faults that were asked for, and who met them."""
        if not met or self.faults:
            return self
        faults = tuple(dict.fromkeys(fault for _, fault in met))
        clients: dict[str, list[str]] = {}
        for client, fault in met:
            clients.setdefault(client, []).append(printable(fault, MOST_CHARACTERS))
        told = _listed([f"{client} met {_listed(ones)}" for client, ones in clients.items()])
        is_held = all(fault.startswith(_HOLD) for fault in faults)
        step = "release the hold" if is_held else _FAULTS_END
        return self._replace(text=f"{self.text}; on purpose: {told}", next_step=step, faults=faults)

    def error(self, wanted: str, name: str, timeout: float, way: Way, total: int = 0) -> WaitTimeout:
        """Return the error of a wait during which that happened."""
        texts = [f"{wanted}{f' within {timeout:g} s' if timeout else ''}: {self.text}"]
        if way.url is not None and self.word in _TELL_URL:
            texts.append(f"the URL for {'boards' if way.peer is None else f'peer {way.peer}'} is {way.url}")
        # Once somebody has connected, the address that a server without a peer listens on keeps nobody away.
        texts += way.obstacles if self.word == NOBODY or (self.word == NOTHING and way.peer is not None) else ()
        texts += [self.next_step] if self.next_step else []
        return WaitTimeout(
            Message("; ".join(["{}"] * len(texts)), *texts),  # in which an obstacle keeps its hints as data
            name,
            timeout,
            happened=self.word,
            received=self.received,
            total=total,
            missing=self.missing,
            url=way.url,
            peer=way.peer,
            obstacles=way.obstacles,
            next_step=self.next_step,
            faults=self.faults,
        )


class FailedWait(NamedTuple):
    """A wait that failed."""

    name: str
    size: int  # of the file's current version
    boards: Boards
    amount: Amount
    coverages: Mapping[str, Coverage]  # what of that version each client has, as far as it counts for the wait
    instead: Instead
    connected: Set[str]  # who has ever connected
    nearest: Nearest

    def what_was_wanted(self) -> str:
        """Say what did not happen."""
        boards = self.boards
        verb = {UntilKind.ALL: "downloaded", UntilKind.STARTED: "started on", UntilKind.IDLE: "come to rest on"}
        what = verb.get(self.amount.kind)
        if what is None:
            wanted = self.amount.bytes_of(self.size)
            what = f"downloaded {f'{wanted} bytes of' if wanted < self.size else 'all of'}"
        if len(boards.addresses) == 1:
            return f"{boards.addresses[0]} has not {what} {self.name!r}"
        if boards.addresses:
            return f"{_listed(boards.addresses)} have not all {what} {self.name!r}"
        if boards.count > 1:
            return f"fewer than {boards.count} clients have {what} {self.name!r}"
        return f"nobody {'that counts ' if boards.predicate else ''}has {what} {self.name!r}"

    def error(self, timeout: float, way: Way) -> WaitTimeout:
        """Return the error that says what happened."""
        return happened(self).error(self.what_was_wanted(), self.name, timeout, way, self.size)

    def has_enough(self, coverage: Coverage) -> bool:
        """Tell whether a client would have ended the wait, were it alone."""
        return self.amount.kind is not UntilKind.IDLE and coverage.received() >= self.amount.bytes_of(self.size)


def happened(case: FailedWait) -> Outcome:
    """Return what happened in place of what was wanted, and what was asked for to happen."""
    return _happened(case).on_purpose(case.instead.met)


def _happened(case: FailedWait) -> Outcome:
    missing = ((0, case.size),) if case.size else ()
    if not case.connected:
        return Outcome(NOBODY, NOBODY, 0, missing, NEXT_STEPS[NOBODY])
    mine = {client: coverage for client, coverage in case.coverages.items() if case.boards.may_be(client)}
    enough = [client for client, coverage in mine.items() if case.has_enough(coverage)]
    short = {client: one for client, one in mine.items() if client not in enough and one.received()}
    texts = [f"{_listed(enough)} {'has' if len(enough) == 1 else 'have'} it"] if enough else []
    if short:
        by_amount = sorted(short, key=lambda client: -short[client].received())
        best, ends = short[by_amount[0]], [_end_of(client, case) for client in by_amount]
        several = max(case.boards.count, len(case.boards.addresses))
        texts += [f"none of {several} has it"] if several > len(short) >= MOST_NAMED and not enough else []
        texts += [_how_far(client, short[client], case) for client in by_amount[:MOST_NAMED]]
        texts += [f"and {len(short) - MOST_NAMED} more have a part"] if len(short) > MOST_NAMED else []
        word = UNDER_WAY if ends[0] == UNDER_WAY else STOPPED if _is_prefix(best) else RANGES
        step = NEXT_STEPS.get(word) or (STEPS_BY_END.get(ends[0], "") if len({*ends}) == 1 else "")
        is_idle = case.amount.kind is UntilKind.IDLE
        return Outcome(word, "; ".join(texts), best.received(), best.gaps(), "" if is_idle else step)
    word, text = _nothing_came(case, enough)
    return Outcome(word, "; ".join([*texts, text]), 0, missing, NEXT_STEPS.get(word, ""))


def _nothing_came(case: FailedWait, enough: Collection[str]) -> tuple[str, str]:
    """Return what happened if nothing of the current version counts, except for those who have enough."""
    asked = [one for one in case.instead.requests if case.boards.may_be(one.client) and one.client not in enough]
    about_it = [one for one in asked if one.name == case.name]
    if about_it:
        return _without_content(case, about_it)
    awaited = [address for address in case.boards.addresses if address not in enough]
    subject = "nobody else" if enough else "nobody"
    if awaited:
        subject = "it" if len(case.boards.addresses) == 1 else _listed(awaited)
    nothing = f"{subject} {'did not ask' if awaited else 'asked'} for it"
    returned = [client for client in case.instead.returned if client not in enough]
    before = [f"an earlier wait has returned what {_listed(returned)} had"] if returned else []
    elsewhere = _elsewhere(case)
    if any(one.target for one in asked):
        return OTHERS, "; ".join([f"{nothing}; asked for instead: {_others(asked, case.nearest)}", *before])
    older = [client for client in case.instead.older if client not in enough]
    if returned:
        return RETURNED, "; ".join([f"{nothing} since", *elsewhere, *before])
    if older:
        text = f"{_listed(older)} asked for an older version of it, and not for the current one"
        cut = "the server cut that answer, since the file was changed in its place; replace it by a rename"
        return OLDER, "; ".join([text, *([cut] if case.instead.cut else []), *elsewhere])
    early = [client for client in case.instead.early if client not in enough]
    if early:
        text = f"{nothing} in the time that counts; {_listed(early)} did before"
        return EARLY, "; ".join([text, *elsewhere])
    refused = [client for client in case.instead.refused if case.boards.may_be(client) and client not in enough]
    if refused:
        return REFUSED, "; ".join([f"{nothing}; {_were_refused(refused)}", *elsewhere])
    text = f"{nothing}, nor for anything else{_seen(case, awaited, enough)}"
    is_elsewhere = elsewhere and not case.connected & set(awaited)
    return ELSEWHERE if is_elsewhere else NOTHING, "; ".join([text, *elsewhere])


def _without_content(case: FailedWait, about_it: Sequence[RequestRecord]) -> tuple[str, str]:
    """Return what happened if the current version was asked for, but nothing that counts came of it."""
    fetched = [one for one in about_it if one.method != "HEAD" and one.status in (200, 206)]
    if case.boards.predicate is not None and any(one.bytes or one.completed for one in fetched):
        most = max(fetched, key=lambda one: one.bytes)
        brought = "all of it" if most.bytes >= case.size else amounts(most.bytes, case.size)
        return REJECTED, f"the client= function rejected {_request(most)}, which brought {brought}"
    unmodified = [one.client for one in about_it if one.status == 304]
    if unmodified and not fetched:
        who = _listed(list(dict.fromkeys(unmodified)))
        return NOT_MODIFIED, f"it was asked for only if it has changed, and it has not (304, by {who})"
    beyond = [one.client for one in about_it if one.status == 416]
    if beyond and not fetched:
        who = _listed(list(dict.fromkeys(beyond)))
        return BEYOND, f"{who} asked for what comes after its end (416), as a client does that has all of it"
    redirected = [one.client for one in about_it if one.status in (301, 302, 303, 307, 308)]
    if redirected and not fetched:
        who = _listed(list(dict.fromkeys(redirected)))
        return REDIRECTED, f"{who} was sent elsewhere for it (redirect), and what it fetches there is not on record"
    if not fetched and all(one.method == "HEAD" and one.status == 200 for one in about_it):
        who = _listed(list(dict.fromkeys(one.client for one in about_it)))
        return HEAD_ONLY, f"{who} asked for its size only (HEAD)"
    last = about_it[-1]
    end = f"last by {printable(last.method, MOST_CHARACTERS)}, answer {last.status}: {_ENDS[last.outcome]}"
    return STOPPED, f"it was asked for, but {'nothing of it has arrived' if case.size else 'not received'} ({end})"


def _seen(case: FailedWait, awaited: Collection[str], enough: Collection[str]) -> str:
    """Say who has connected, if none of those waited for has asked for anything."""
    never = [address for address in awaited if address not in case.connected]
    if never:
        return f": {'it' if len(awaited) == 1 else _listed(never)} never connected"
    silent = [client for client in case.instead.silent if client in awaited or not awaited]
    if silent:
        return f": {_listed(silent)} connected, but sent no request"
    there = sorted(client for client in awaited or case.connected if client and client not in enough)
    return f", in the time that counts: {_listed(there)} asked only before it" if there else ""


def not_asked(
    instead: Instead, connected: Collection[str], nearest: Nearest, rejected: RequestRecord | None = None
) -> Outcome:
    """Return what was asked for in place of the request that was waited for, which the user's function `rejected`."""
    word, text = _not_asked(instead, connected, nearest, rejected)
    return Outcome(word, text, next_step=NEXT_STEPS[word]).on_purpose(instead.met)


def _not_asked(
    instead: Instead, connected: Collection[str], nearest: Nearest, rejected: RequestRecord | None
) -> tuple[str, str]:
    if rejected is not None:
        return REJECTED, f"the client= function rejected {_request(rejected)}"
    asked = [one for one in instead.requests if one.target]
    if asked:
        return OTHERS, f"asked for instead: {_others(asked, nearest)}"
    if instead.returned:
        return (
            RETURNED,
            f"nobody asked for anything since; an earlier wait has returned what {_listed(instead.returned)} asked",
        )
    if instead.refused:
        return REFUSED, f"nobody asked for anything; {_were_refused(instead.refused)}"
    if not connected:
        return NOBODY, NOBODY
    silent = f": {_listed(instead.silent)} connected, but sent no request" if instead.silent else ""
    return NOTHING, f"nobody asked for anything{silent}"


def _were_refused(clients: Sequence[str]) -> str:
    return f"{_listed(clients)} connected, and {'was' if len(clients) == 1 else 'were'} refused"


def _request(one: RequestRecord) -> str:
    return f"{printable(one.method, MOST_CHARACTERS)} {printable(one.target, MOST_CHARACTERS)} by {one.client}"


def _how_far(client: str, coverage: Coverage, case: FailedWait) -> str:
    figures = amounts(coverage.received(), case.size)
    text = f"{client} has {'less than 1' + figures[1:] if figures.startswith('0 of') else figures}"
    end = _ENDS.get(_end_of(client, case), "how it ended is not kept")
    if case.amount.kind is UntilKind.IDLE:
        end = f"{end}, less than {case.amount.idle:g} s ago"
    if coverage.whole:
        return f"{text}: the whole ({end})"
    if end == UNDER_WAY:
        return f"{text}: {end}"
    if _is_prefix(coverage):
        return f"{text}: started, stopped at byte {coverage.received()} of {case.size} ({end})"
    gaps = coverage.gaps()
    shown = ", ".join(f"{start}-{stop - 1}" for start, stop in gaps[:MOST_NAMED])
    more = f" and {len(gaps) - MOST_NAMED} more" if len(gaps) > MOST_NAMED else ""
    rest = f" ({end})" if case.amount.kind is UntilKind.IDLE else ""
    return f"{text}: only these ranges are missing: {shown}{more}{rest}"


def _end_of(client: str, case: FailedWait) -> str:
    """Return how the last answer that brought a client a part ended; of several, one that was not complete."""
    about_it = [one for one in case.instead.requests if one.client == client and one.name == case.name and one.bytes]
    ends = [one.outcome for one in about_it if one.outcome != "completed"] or [one.outcome for one in about_it]
    return ends[-1] if ends else ""


def _is_prefix(coverage: Coverage) -> bool:
    spans = coverage.intervals.spans()
    return len(spans) == 1 and spans[0][0] == 0


def _elsewhere(case: FailedWait) -> list[str]:
    """Name the other addresses that asked, if any: behind NAT a board does not have the address that it thinks."""
    if not case.boards.addresses:
        return []
    asked = {one.client for one in case.instead.requests if one.name == case.name}
    others = sorted(asked.difference(case.boards.addresses))
    return [f"but {_listed(others)} asked for it"] if others else []


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
