"""Claims about the claims: whose download is whole, of which version, since when, and how one waits for it."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count, pairwise
from types import FrameType
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.plan import Subject
from httpserve.records import downloads
from httpserve.records.claims import Claims, Instead
from httpserve.records.exchange import End, Exchange
from httpserve.records.log import ExchangeLog
from httpserve.records.model import DownloadRecord
from httpserve.records.terms import Boards
from httpserve.records.terms import RequestFilter as Wanted
from tests.unit.exchanges import WHOLE, Asked, Line, begun, received, sent, subject

if TYPE_CHECKING:
    from _typeshed import TraceFunction


def took(claims: Claims, client: str | None = None, validator: str = '"v"', name: str = "f") -> DownloadRecord | None:
    """Return what a wait that begins now would return at once."""
    whom = Boards() if client is None else Boards(addresses=(client,))
    records = claims.take(name, validator, whom, claims.order)
    return records[0] if records else None


def instead(claims: Claims, whom: Boards | None = None) -> Instead:
    """Return what the message of a wait that began now would be made of."""
    return claims.instead(claims.select_whole("f", claims.order), whom or Boards(), '"v"')


def progress(claims: Claims, validator: str, name: str = "f") -> dict[str, int]:
    """Return how many bytes of a version each client has."""
    coverages = claims.coverages(name, validator, claims.order)
    return {client: coverage.received() for client, coverage in coverages.items()}


@dataclass(frozen=True)
class Part:
    """An answer of which some has arrived: all of it, `got` bytes, or with -1 not even its head."""

    span: tuple[int, int] = (0, 10)
    client: str = "10.0.0.2"
    validator: str = '"v"'
    got: int | None = None

    def arrives(self, claims: Claims) -> None:
        what = subject(self.span, validator=self.validator, total=self.span[1] and 10)
        status = 200 if self.span in ((0, 10), (0, 0)) else 206
        exchange = begun(claims, what, line=Line(self.client), status=status)
        if self.got == -1:
            claims.log.settle(exchange, 0, 101.0, End.CLOSED)
        else:
            received(claims, exchange, self.got)


# A whole download


def test_a_client_that_received_every_byte_has_the_download(claims: Claims) -> None:
    received(claims, begun(claims))

    assert took(claims) == DownloadRecord(
        name="f", client="10.0.0.2", bytes=10, seconds=1.0, user_agent="curl", ranges=(), total=10
    )


def test_ranges_over_several_connections_make_a_download_together(claims: Claims) -> None:
    first = begun(claims, subject((5, 10)), status=206, line=Line(client_port=1), began=100.0)
    second = begun(claims, subject((0, 3), (3, 6)), status=206, line=Line(client_port=2), began=102.0)

    received(claims, second, now=103.0)
    before = took(claims)
    received(claims, first, now=104.0)
    record = took(claims)

    assert not before
    assert record is not None
    assert (record.ranges, record.seconds) == (((0, 3), (3, 6), (5, 10)), 4.0)


@pytest.mark.parametrize(
    ("parts", "is_whole"),
    [
        ([Part(got=4), Part((4, 10))], True),  # the first was cut
        ([Part((0, 5)), Part((5, 10), client="10.0.0.3")], False),
        ([Part((0, 5), validator='"old"'), Part((5, 10))], False),
        ([Part(validator='"old"')], False),
        ([Part()], True),
        ([Part((0, 0))], True),  # of an empty file
        ([Part((0, 0), got=-1)], False),
    ],
)
def test_all_bytes_of_one_version_at_one_client_make_a_download(
    claims: Claims, parts: list[Part], is_whole: bool
) -> None:
    for part in parts:
        part.arrives(claims)

    assert bool(took(claims)) is is_whole
    assert not took(claims)  # it is returned once


def test_a_head_or_304_is_no_download(claims: Claims) -> None:
    received(claims, begun(claims, subject()))

    assert not took(claims)


def test_what_began_before_a_new_version_does_not_count(claims: Claims) -> None:
    exchange = begun(claims)

    claims.log.new_version("f")
    received(claims, exchange)

    assert not took(claims)
    assert instead(claims).requests == ()


def test_what_begins_after_a_new_version_counts(claims: Claims) -> None:
    claims.log.new_version("f")
    claims.log.new_version("other")

    received(claims, begun(claims))

    assert len(instead(claims).requests) == 1
    assert took(claims)


def test_of_two_whole_downloads_of_a_client_the_last_is_told(claims: Claims) -> None:
    received(claims, begun(claims, began=100.0), now=101.0)

    received(claims, begun(claims, began=200.0), now=209.0)
    record = took(claims)

    assert record is not None
    assert record.seconds == 9.0


def test_waits_that_were_under_way_at_once_all_get_the_download(claims: Claims) -> None:
    marks = [claims.order, claims.order]

    received(claims, begun(claims))

    assert all(claims.take("f", '"v"', Boards(), mark) for mark in marks)
    assert not took(claims)


def test_a_wait_on_one_client_takes_nothing_from_a_wait_on_another(claims: Claims) -> None:
    received(claims, begun(claims, line=Line("10.0.0.2")))
    received(claims, begun(claims, line=Line("10.0.0.3")))

    assert took(claims, "10.0.0.2")
    assert not took(claims, "10.0.0.2")
    assert took(claims, "10.0.0.3")
    assert not took(claims)


def test_what_was_taken_of_whom_is_still_known_until_a_new_version_comes(claims: Claims) -> None:
    received(claims, begun(claims))
    received(claims, begun(claims, subject((0, 5)), status=206, line=Line("10.0.0.3")))
    one, other = (Boards(addresses=(client,)) for client in ("10.0.0.2", "10.0.0.3"))
    before = instead(claims).returned

    took(claims)
    since = [instead(claims, whom).returned for whom in (Boards(), one, other)]
    claims.log.new_version("f")

    assert (before, since, instead(claims).returned) == ([], [["10.0.0.2"], ["10.0.0.2"], []], [])
    assert instead(claims).older == ["10.0.0.3"]  # of the other that wait has told


@pytest.mark.parametrize("status", [200, 206])
@pytest.mark.parametrize("new", [[(0, 10)], [(0, 5), (5, 10)]], ids=["whole before", "whole later"])
def test_an_old_version_that_is_done_last_hides_nothing_of_the_new_one(
    claims: Claims, status: int, new: list[tuple[int, int]]
) -> None:
    slow = begun(claims, subject((0, 10), validator='"old"'), status=status, began=100.0)
    received(claims, begun(claims, subject(new[0]), status=206, began=105.0))

    received(claims, slow, 7)
    for span in new[1:]:
        received(claims, begun(claims, subject(span), status=206, began=106.0))

    assert took(claims)


def test_a_new_version_replaces_what_arrived_of_the_old_one(claims: Claims) -> None:
    received(claims, begun(claims, subject((0, 5), validator='"old"'), status=206, began=100.0))

    received(claims, begun(claims, subject((0, 7)), status=206, began=105.0))

    assert (progress(claims, '"old"'), progress(claims, '"v"')) == ({}, {"10.0.0.2": 7})


def test_so_many_clients_are_kept_for_a_name_and_the_oldest_goes_first(
    claims: Claims, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "MOST_CLIENTS", 2)
    for number in range(3):
        received(claims, begun(claims, line=Line(f"10.0.0.{number}")))
        received(claims, begun(claims, subject((0, 5)), status=206, line=Line(f"10.0.1.{number}")))

    assert progress(claims, '"v"') == {"10.0.0.1": 10, "10.0.0.2": 10, "10.0.1.1": 5, "10.0.1.2": 5}


def test_an_answer_that_was_acknowledged_counts_while_its_connection_is_still_idle(claims: Claims) -> None:
    line = Line(on_their_way=10)
    exchange = begun(claims, line=line)
    sent(claims, exchange)

    before = took(claims)
    line.on_their_way = 0

    assert not before
    assert took(claims)


def test_progress_of_so_many_names_is_kept_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch, claims: Claims
) -> None:
    monkeypatch.setattr(downloads, "MOST_NAMES", 2)

    for name in ("f", "g", "h"):
        received(claims, begun(claims, subject((0, 10), name=name)))

    taken = [name for name in ("f", "g", "h") if took(claims, name=name)]
    assert taken == ["g", "h"]


def test_pieces_of_all_downloads_together_are_bounded_and_those_that_rested_longest_go_first(
    monkeypatch: pytest.MonkeyPatch, claims: Claims
) -> None:
    monkeypatch.setattr(downloads, "MOST_PIECES", 40)
    halves = [(at, at + 1) for at in range(0, 20, 2)]

    for number, name in enumerate("abcde"):
        received(claims, begun(claims, subject(*halves, name=name, total=20), status=206), now=101.0 + number)

    left = {name: progress(claims, '"v"', name=name) for name in "abcde"}
    assert left["a"] == {}
    assert left["e"] == {"10.0.0.2": 10}


def test_a_download_stays_whole_when_the_ranges_that_it_came_by_are_too_many(
    monkeypatch: pytest.MonkeyPatch, claims: Claims
) -> None:
    monkeypatch.setattr(downloads, "MOST_PIECES", 8)
    parts = [(at, at + 1) for at in range(20)]

    received(claims, begun(claims, subject(*parts, total=20), status=206))
    record = took(claims)

    assert record is not None
    assert (record.bytes, record.ranges) == (20, ((0, 20),))


@given(st.lists(st.integers(1, 39), max_size=6), st.permutations(range(7)))
def test_any_cut_into_ranges_in_any_order_is_whole_with_the_last_one_and_not_before(
    cuts: list[int], order: list[int]
) -> None:
    marks = sorted({0, *cuts, 40})
    spans = list(pairwise(marks))
    claims = Claims(ExchangeLog())

    taken = []
    for index in (index for index in order if index < len(spans)):
        received(claims, begun(claims, subject(spans[index], total=40), status=206))
        taken.append(took(claims) is not None)

    assert taken == [False] * (len(spans) - 1) + [True]


# Progress


def test_progress_counts_what_arrived_and_what_is_under_way_once(claims: Claims) -> None:
    received(claims, begun(claims, subject((0, 4)), status=206))
    exchange = begun(claims, subject((2, 10)), status=206, line=Line(on_their_way=1, handed=5))
    exchange.handed = 5

    assert progress(claims, '"v"') == {"10.0.0.2": 6}


def test_progress_is_of_each_client_that_version_and_that_name(claims: Claims) -> None:
    received(claims, begun(claims, subject((0, 4)), status=206))
    received(claims, begun(claims, subject((0, 3), validator='"old"'), status=206, line=Line("10.0.0.3")))
    begun(claims, subject((0, 3), name="g"), line=Line("10.0.0.4")).handed = 3
    begun(claims, subject((0, 3), validator='"old"'), line=Line("10.0.0.5")).handed = 3
    begun(claims, line=Line("10.0.0.6")).handed = 2
    begun(claims, None).handed = 3

    assert progress(claims, '"v"') == {"10.0.0.2": 4, "10.0.0.6": 2}


def test_progress_leaves_out_what_began_before_a_new_version(claims: Claims) -> None:
    begun(claims).handed = 10

    claims.log.new_version("f")

    assert progress(claims, '"v"') == {}


def test_asking_for_progress_does_not_change_what_has_arrived(claims: Claims) -> None:
    received(claims, begun(claims, subject((0, 4)), status=206))
    begun(claims, subject((4, 10)), status=206).handed = 6

    progress(claims, '"v"')

    assert not took(claims)


# Waiting for a change


@pytest.mark.parametrize("event", ["begun", "handed over", "settled", "new version", "woken"])
def test_who_waits_for_downloads_of_a_name_misses_nothing_that_happens_to_it_once_they_have_joined(
    event: str, claims: Claims
) -> None:
    exchange = begun(claims)
    waiter = claims.log.await_download("f")

    happen(claims, exchange, event)

    assert waiter.is_open


def happen(claims: Claims, exchange: Exchange, event: str) -> None:
    if event == "begun":
        begun(claims, exchange.subject)
    elif event == "handed over":
        claims.log.handed_over(exchange, 101.0)
    elif event == "settled":
        claims.log.settle(exchange, 10, 101.0, End.CLOSED)
    elif event == "new version":
        assert exchange.subject is not None
        claims.log.new_version(exchange.subject.name)
    else:
        claims.log.wake()


@pytest.mark.parametrize("event", ["begun", "handed over", "settled", "new version"])
def test_what_happens_to_another_name_wakes_no_wait_for_downloads(event: str, claims: Claims) -> None:
    exchange = begun(claims, subject((0, 10), name="g"))
    waiter = claims.log.await_download("f")

    happen(claims, exchange, event)
    begun(claims, None, status=404, asked=Asked(target="/f"))

    assert not waiter.is_open


@pytest.mark.parametrize(
    ("name", "target", "what", "is_woken"),
    [
        (None, "/g", None, True),
        (None, "/f", WHOLE, True),
        ("f", "/f", WHOLE, True),
        ("f", "/f?x", None, True),
        ("f", "/./%66", None, True),
        ("f", "/g", None, False),
        ("f", "/f", subject((0, 10), name="g"), False),
        ("f", "/" * 10_000 + "f", None, True),
    ],
)
def test_who_waits_for_requests_is_woken_by_those_that_may_fit(
    name: str | None, target: str, what: Subject | None, is_woken: bool, claims: Claims
) -> None:
    waiter = claims.log.await_request(name)

    exchange = begun(claims, what, asked=Asked(target=target), status=200 if what else 404)
    is_open = waiter.is_open
    later = claims.log.await_request(name)
    received(claims, exchange)

    assert (is_open, later.is_open) == (is_woken, False)  # a request is one as soon as it has come


def test_who_waits_no_longer_is_forgotten(claims: Claims) -> None:
    waiters = [claims.log.await_download("f"), claims.log.await_download("f"), claims.log.await_request(None)]
    claims.log.leave(waiters[0])
    claims.log.leave(waiters[0])
    claims.log.leave(waiters[2])

    begun(claims)
    claims.log.leave(waiters[1])

    assert [waiter.is_open for waiter in waiters] == [False, True, False]


def test_an_acknowledgment_is_due_while_an_answer_is_in_the_kernel(claims: Claims) -> None:
    exchange = begun(claims, line=Line(on_their_way=10))
    before = claims.log.is_due("f")
    sent(claims, exchange)
    during = claims.log.is_due("f")
    claims.log.settle(exchange, 10, 101.0, End.COMPLETED)

    assert (before, during, claims.log.is_due("f")) == (False, True, False)


def test_who_looked_just_before_is_told_what_another_look_has_settled(claims: Claims) -> None:
    line = Line(on_their_way=10)
    exchange = begun(claims, line=line)
    sent(claims, exchange)
    waiter = claims.log.await_download("f")
    line.on_their_way = 0

    took(claims)

    assert waiter.is_open


def test_who_wants_acknowledgments_waits_for_those_that_are_due_and_no_longer(claims: Claims) -> None:
    due, overdue, other = AskedForOften(), AskedForOften(), AskedForOften()
    now = time.monotonic()
    for line, ended in ((due, now), (overdue, now - 1.0), (other, now)):
        exchange = begun(claims, line=line)
        exchange.handed = 10
        claims.log.handed_over(exchange, ended)
    begun(claims, line=overdue).handed = 5  # it is not all in the kernel

    claims.log.await_due(lambda exchange: exchange.link is not other)

    assert [record.completed for record in claims.log.requests()] == [True, False, False, False]


class AskedForOften(Line):
    """A connection that acknowledges everything when it is looked at for the third time."""

    times = 0

    def acknowledged(self) -> int:
        self.times += 1
        return 10 if self.times >= 3 else 0


def test_of_requests_that_are_alike_a_verdict_is_told_the_first_and_the_last(claims: Claims) -> None:
    for number in range(5):
        received(claims, begun(claims, began=100.0 + number))
        received(claims, begun(claims, began=100.0 + number), 3)
    begun(claims, None, status=404, asked=Asked(target="/other"))

    records = instead(claims).requests

    assert [(record.target, record.bytes) for record in records] == [("/f", 10), ("/f", 3), ("/other", 0)]
    assert [record.target for record in claims.instead_of_request(Wanted(), 1, None).requests] == [
        record.target for record in records
    ]


def test_of_a_board_that_was_returned_what_it_asked_before_is_not_told(claims: Claims) -> None:
    for client in ("10.0.0.2", "10.0.0.3"):
        received(claims, begun(claims, line=Line(client)))
        received(claims, begun(claims, subject((0, 10), name="g"), line=Line(client), asked=Asked(target="/g")))
    assert took(claims, "10.0.0.2")
    begun(claims, None, status=404, asked=Asked(target="/other"))

    records = instead(claims).requests

    assert [(record.client, record.target) for record in records] == [
        ("10.0.0.3", "/f"),
        ("10.0.0.3", "/g"),
        ("10.0.0.2", "/other"),
    ]


# Waits that count certain answers only


def test_a_selection_begins_with_what_came_since_the_last_version(claims: Claims) -> None:
    received(claims, begun(claims, subject((0, 2)), status=206))
    claims.log.new_version("f")
    received(claims, begun(claims, subject((4, 6)), status=206))
    selection = claims.select("f", Boards(), '"v"', 5)

    received(claims, begun(claims, subject((7, 8)), status=206))

    assert claims.selected(selection, '"v"')["10.0.0.2"].ranges == [(4, 6), (7, 8)]


def test_a_selection_begins_with_ranges_that_are_remembered_no_more_one_by_one() -> None:
    claims = Claims(ExchangeLog(most=2))
    for start in range(8):
        received(claims, begun(claims, subject((start, start + 1)), status=206))

    selection = claims.select("f", Boards(), '"v"', 5)

    assert claims.selected(selection, '"v"')["10.0.0.2"].received() == 8


def test_a_selection_leaves_out_what_counted_for_a_wait_that_wanted_as_much(claims: Claims) -> None:
    first = begun(claims, subject((0, 5)), status=206)
    received(claims, first)
    selection = claims.select("f", Boards(), '"v"', 5)
    claims.take_selected(selection, '"v"', list, 5, is_end=False)
    underway = begun(claims, subject((5, 7)), status=206)
    underway.handed = 2

    has = {
        wanted: claims.selected(claims.select("f", Boards(), '"v"', wanted), '"v"')["10.0.0.2"].received()
        for wanted in (4, 5, 6)
    }

    assert has == {4: 2, 5: 2, 6: 7}


def test_what_an_end_was_seen_by_counts_for_nothing_more(claims: Claims) -> None:
    received(claims, begun(claims, subject((0, 5)), status=206))
    goes_on = begun(claims)
    goes_on.handed = 6
    selection = claims.select("f", Boards(), '"v"', 1)
    claims.take_selected(selection, '"v"', list, 1, is_end=True)

    received(claims, goes_on)

    assert progress(claims, '"v"') == {}
    assert not took(claims)
    assert claims.selected(claims.select("f", Boards(), '"v"', 1), '"v"') == {}


# Waits for requests


def unclaimed(claims: Claims, asked: Wanted) -> list[int]:
    """Return the numbers of what a wait for such a request may return."""
    return [exchange.number for exchange in claims.find_unclaimed(asked)[0]]


def test_a_claimed_request_uses_up_what_its_board_asked_before(claims: Claims) -> None:
    boards = ("10.0.0.2", "10.0.0.3", "10.0.0.2", "10.0.0.2")
    asked = [begun(claims, line=Line(client)) for client in boards]

    claims.claim_request(Wanted("f"), asked[2], singly=False)

    assert unclaimed(claims, Wanted("f")) == [asked[1].number, asked[3].number]
    assert len(unclaimed(claims, Wanted("f", "GET"))) == 4


def test_a_request_that_a_function_chose_uses_up_nothing_else(claims: Claims) -> None:
    first, second = (begun(claims) for _ in range(2))

    claims.claim_request(Wanted("f"), second, singly=True)

    assert unclaimed(claims, Wanted("f")) == [first.number]


def test_a_request_before_a_new_version_is_not_returned(claims: Claims) -> None:
    begun(claims)
    claims.log.new_version("f")

    assert unclaimed(claims, Wanted("f")) == []


# What signals raise


class Raised(Exception):
    """What a handler raises."""


@contextmanager
def signal_at(step: int, then: Callable[[], object]) -> Iterator[list[int]]:
    """Send a signal before so many lines of httpserve have run in the block; the list has a number once it was sent.

    Its handler does `then`.
    """
    sent: list[int] = []
    lines = 0

    def trace(frame: FrameType, event: str, arg: object) -> TraceFunction | None:
        nonlocal lines
        if "httpserve" not in frame.f_code.co_filename or frame.f_code.co_filename.endswith("base/threads.py"):
            return None
        if event == "line":
            lines += 1
            if lines == step:
                sent.append(step)
                signal.raise_signal(signal.SIGUSR1)
        return trace

    tracing = sys.gettrace()
    handler = signal.signal(signal.SIGUSR1, lambda number, frame: then())
    sys.settrace(trace)
    try:
        yield sent
    finally:
        sys.settrace(tracing)
        signal.signal(signal.SIGUSR1, handler)


def throw() -> None:
    raise Raised


def at_every_step(call: Callable[[int], list[int]]) -> None:
    """Do something with a signal at the first step, at the second, and so on, until none comes any more."""
    assert next(step for step in count(1) if not call(step)) > 1


def test_an_answer_counts_whole_wherever_a_signal_raises_in_a_look_at_it() -> None:
    def look(step: int) -> list[int]:
        claims = Claims(ExchangeLog())
        exchange = begun(claims)
        exchange.handed = exchange.length
        claims.log.handed_over(exchange, 101.0)
        with suppress(Raised), signal_at(step, throw) as sent:
            progress(claims, '"v"')

        claims.log.settle(exchange, exchange.length, 102.0, End.CLOSED)

        assert claims.log.requests()[0].completed
        assert not claims.log.is_underway("f")
        assert took(claims)
        return sent

    at_every_step(look)


def test_a_selection_goes_on_wherever_a_signal_raises_in_the_begin_of_another_one() -> None:
    def select(step: int) -> list[int]:
        claims = Claims(ExchangeLog())
        first = claims.select_from_now("f", Boards())
        with suppress(Raised), signal_at(step, throw) as sent:
            claims.select_from_now("g", Boards())

        received(claims, begun(claims))

        assert claims.selected(first, '"v"')["10.0.0.2"].received() == 10
        return sent

    at_every_step(select)


def test_a_request_is_returned_once_wherever_a_signal_raises_when_another_one_was() -> None:
    asked = Wanted("f")

    def take(step: int) -> list[int]:
        claims = Claims(ExchangeLog())
        first, second = (begun(claims) for _ in range(2))
        claims.claim_request(asked, first, singly=False)
        with suppress(Raised), signal_at(step, throw) as sent:
            claims.claim_request(asked, second, singly=False)

        assert unclaimed(claims, asked) in ([], [second.number])
        return sent

    at_every_step(take)


def test_a_handler_may_ask_for_records_wherever_its_signal_comes() -> None:
    def ask(step: int) -> list[int]:
        claims = Claims(ExchangeLog())
        received(claims, begun(claims))
        found: list[int] = []
        with signal_at(step, lambda: found.append(len(claims.log.requests()))) as sent:
            claims.log.requests()
            took(claims)

        assert found == [1] * len(sent)
        return sent

    at_every_step(ask)
