"""The log of events, without a server: numbers, what is forgotten, and progress, by a clock that the test turns."""

from __future__ import annotations

import pytest

from httpserve.errors import InvalidArgument
from httpserve.records.events import (
    FORGOTTEN,
    KINDS,
    PROGRESS,
    VERSION,
    EventLog,
    ForgottenEvent,
    VersionEvent,
    checked_kinds,
    events_of,
)
from httpserve.records.exchange import Exchange
from tests.cases import each
from tests.unit.exchanges import Asked, Line, subject


def transfer_of(line: Line, began: float = 0.0) -> Exchange:
    exchange = Exchange(line, Asked(), 200, 10, subject((0, 10)), 1_000.0, began)
    exchange.handed = 10
    return exchange


def unshared(name: str, client: str) -> bool:
    return False


def numbers(log: EventLog, since: int = 0) -> list[int]:
    return [entry.number for entry in log.after(since, unshared)]


def full(most: int, count: int) -> EventLog:
    """A log of `most` events in which `count` were written."""
    log = EventLog(most)
    for number in range(1, count + 1):
        log.add(VERSION, (float(number), f"v{number}"))
    return log


def test_events_have_numbers_from_one_on() -> None:
    log = full(3, 3)

    assert (numbers(log), log.number) == ([1, 2, 3], 3)
    assert numbers(log, 2) == [3]
    assert numbers(log, 3) == []


def test_what_no_longer_fits_is_forgotten_and_counted() -> None:
    first, second, *rest = events_of(full(3, 8).after(2, unshared), 0.0, lambda names: {})

    assert first == ForgottenEvent(5, 6.0, FORGOTTEN, 3)
    assert second == VersionEvent(6, 6.0, VERSION, "v6")
    assert len(rest) == 2


@each("since", [5, 6])
def test_nothing_is_forgotten_that_was_seen(since: int) -> None:
    assert numbers(full(3, 8), since) == [6, 7, 8][since - 5 :]


def test_a_transfer_is_looked_at_half_a_second_after_it_began_and_after_each_look() -> None:
    log = EventLog(10)
    line = Line(on_their_way=10)
    exchange = transfer_of(line, began=100.0)

    assert log.not_looked_at([exchange], 100.4) == []
    assert log.not_looked_at([exchange], 100.5) == [exchange]
    log.add_progress(exchange, exchange.transfer(100.5), 100.5, 1_000.5)
    assert log.not_looked_at([exchange], 100.9) == []
    assert log.not_looked_at([exchange], 101.0) == [exchange]


def test_progress_that_is_none_is_no_event() -> None:
    log = EventLog(10)
    line = Line(on_their_way=10)
    exchange = transfer_of(line, began=100.0)

    log.add_progress(exchange, exchange.transfer(101.0), 101.0, 1_001.0)

    assert log.after(0, unshared) == []


def test_progress_replaces_what_was_before_and_ends_with_the_answer() -> None:
    log = EventLog(10)
    line = Line(on_their_way=6)
    exchange = transfer_of(line, began=100.0)
    log.add_begin(exchange)
    log.add_progress(exchange, exchange.transfer(101.0), 101.0, 1_001.0)
    line.on_their_way = 2
    log.add_progress(exchange, exchange.transfer(102.0), 102.0, 1_002.0)

    assert [(entry.number, entry.kind) for entry in log.after(1, unshared)] == [(3, PROGRESS)]

    log.add_end(exchange, None)

    assert numbers(log, 1) == [4]


def test_of_two_who_look_at_once_one_writes() -> None:
    log = EventLog(10)
    line = Line(on_their_way=6)
    exchange = transfer_of(line, began=100.0)
    log.add_progress(exchange, exchange.transfer(101.0), 101.0, 1_001.0)
    line.on_their_way = 2
    log.add_progress(exchange, exchange.transfer(101.1), 101.1, 1_001.1)

    assert numbers(log) == [1]


def test_a_log_is_open_from_a_start_to_a_stop() -> None:
    log = EventLog(10)
    before = log.is_open
    log.open("127.0.0.1", 8080, 1.0)
    during = log.is_open
    log.close(2.0)
    log.close(3.0)

    assert (before, during, log.is_open, log.number) == (False, True, False, 2)


def test_kinds_are_one_several_or_all() -> None:
    assert checked_kinds(None) == set(KINDS)
    assert checked_kinds("ended") == {"ended"}
    assert checked_kinds(["ended", "begun"]) == {"ended", "begun"}


@each("kinds", ["end", [], ["none"], 1])
def test_no_kind_is_refused(kinds: object) -> None:
    with pytest.raises(InvalidArgument):
        checked_kinds(kinds)  # type: ignore[arg-type]  # what is refused
