"""Claims about which answers count for one wait."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.plan import Subject
from httpserve.records import downloads
from httpserve.records.claims import Claims
from httpserve.records.exchange import End, Exchange
from httpserve.records.log import ExchangeLog
from httpserve.records.model import RequestRecord
from httpserve.records.selection import Selection
from httpserve.records.terms import Boards, amount
from httpserve.records.waits.download import Counting, DownloadTerms, Version
from tests.cases import each
from tests.unit.exchanges import Asked, Line, subject

V = '"v"'


def exchange(
    number: int,
    *spans: tuple[int, int],
    client: str = "10.0.0.2",
    validator: str = V,
    name: str = "f",
    wall: float = 1000.0,
    began: float = 100.0,
    status: int = 206,
) -> Exchange:
    """An answer of which everything is in the kernel and has arrived, and which is not settled."""
    what: Subject = subject(*spans, validator=validator, name=name)
    length = sum(stop - start for start, stop in spans)
    made = Exchange(Line(client), Asked(), status, length, what, wall, began)
    made.number = number
    made.handed = length
    return made


def over(made: Exchange, got: int | None = None) -> Exchange:
    log, number = ExchangeLog(), made.number
    log.begin(made)
    made.number = number
    log.handed_over(made, 101.0)
    log.settle(made, made.length if got is None else got, 101.0, End.CLOSED)
    return made


def received(selection: Selection, *underway: Exchange, validator: str = V) -> dict[str, int]:
    standings = selection.standings(validator, underway, 200.0)
    return {client: coverage.received() for client, coverage in standings.items()}


def test_what_counts_is_added_up_for_each_client() -> None:
    selection = Selection("f", 10)

    selection.feed(over(exchange(1, (0, 3))))
    selection.feed(over(exchange(2, (5, 9)), got=2))
    selection.feed(over(exchange(3, (0, 1), client="10.0.0.3")))

    assert received(selection, exchange(4, (8, 10))) == {"10.0.0.2": 7, "10.0.0.3": 1}
    assert received(selection) == {"10.0.0.2": 5, "10.0.0.3": 1}  # what was under way was counted for the moment only


@each(
    "other",
    [
        exchange(1, (0, 9), name="g"),
        exchange(0, (0, 9)),
        exchange(7, (0, 9)),
        exchange(1, (0, 9), wall=999.0),
        exchange(1),
    ],
    ids=["another name", "before the first", "left out", "too early", "nothing of the file"],
)
def test_what_does_not_count_is_left_out(other: Exchange) -> None:
    selection = Selection("f", 10, first=1, since=1000.0, left_out=frozenset({7}))

    underway = received(selection, other)
    selection.feed(over(other))

    assert (underway, received(selection)) == ({}, {})


def test_of_versions_only_the_one_that_stands_counts_and_the_later_is_kept() -> None:
    selection = Selection("f", 10)
    slow = exchange(1, (0, 9), validator='"old"', began=100.0)
    selection.feed(over(exchange(2, (0, 5), began=105.0)))

    selection.feed(over(slow, got=3))

    assert (received(selection), received(selection, validator='"old"')) == ({"10.0.0.2": 5}, {})
    selection.feed(over(exchange(3, (0, 2), validator='"new"', began=110.0)))
    assert (received(selection), received(selection, validator='"new"')) == ({}, {"10.0.0.2": 2})


def test_a_new_version_begins_anew() -> None:
    selection = Selection("f", 10, predicate=lambda request: True)
    selection.feed(over(exchange(1, (0, 5))))
    selection.decide([(question, True) for question in selection.undecided([])])
    selection.feed(over(exchange(2, (5, 6))))

    selection.start_over(3)

    assert (received(selection), selection.undecided([]), list(selection.counted)) == ({}, [], [])
    selection.feed(over(exchange(2, (0, 9))))
    assert selection.undecided([]) == []


def test_a_new_version_does_not_change_since_when_the_user_counts() -> None:
    selection = Selection("f", 10, since=999.0)
    selection.feed(over(exchange(1, (0, 5))))

    selection.start_over(3)

    assert received(selection) == {"10.0.0.2": 5}


def test_a_function_is_asked_once_about_what_is_under_way_and_once_when_it_is_over() -> None:
    selection = Selection("f", 10, predicate=lambda request: True)
    one = exchange(1, (0, 5))

    first = selection.undecided([one])
    nothing_yet = received(selection, one)
    selection.decide([(question, True) for question in first])
    underway = received(selection, one)
    again = selection.undecided([one])
    selection.feed(over(one))
    last = selection.undecided([])
    selection.decide([(question, False) for question in last])

    assert first + again + last == [(one, False), (one, True)]
    assert (nothing_yet, underway, received(selection)) == ({}, {"10.0.0.2": 5}, {})


def test_what_is_over_meanwhile_is_asked_about_again() -> None:
    selection = Selection("f", 10, predicate=lambda request: True)
    one = exchange(1, (0, 5))
    questions = selection.undecided([one])
    selection.feed(over(one))  # while the function was asked

    selection.decide([(question, False) for question in questions])

    assert selection.undecided([]) == [(one, True)]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.records.selection.MOST_UNDECIDED", 3)
    monkeypatch.setattr(downloads, "MOST_CLIENTS", 3)
    counting, asking = Selection("f", 4), Selection("f", 4, predicate=lambda request: True)

    for number in range(10):
        one = over(exchange(number, (0, 5), client=f"10.0.1.{number}"))
        counting.feed(one)
        asking.feed(one)

    assert [made.number for made in counting.counted] == [6, 7, 8, 9]
    assert list(received(counting)) == ["10.0.1.7", "10.0.1.8", "10.0.1.9"]
    assert [made.number for made, _ in asking.undecided([])] == [7, 8, 9]


def test_times_of_what_is_under_way_run_to_now_and_of_what_has_arrived_to_its_end() -> None:
    selection = Selection("f", 10)
    goes_on, arrived = exchange(1, (0, 5)), exchange(2, (5, 6), client="10.0.0.3")
    arrived.ended = 150.0

    standings = selection.standings(V, [goes_on, arrived], 200.0)

    assert [standings[client].ended for client in ("10.0.0.2", "10.0.0.3")] == [200.0, 150.0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from([200, 206]),
            st.sampled_from([((0, 10),), ((0, 4),), ((4, 10),), ()]),
            st.sampled_from(["10.0.0.2", "10.0.0.3"]),
            st.sampled_from([V, '"new"']),
            st.sampled_from([None, 0, 3]),
        ),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_what_is_looked_at_together_counts_as_what_is_looked_at_one_by_one(
    answers: list[tuple[int, tuple[tuple[int, int], ...], str, str, int | None]], repeats: int
) -> None:
    subjects = {(spans, version): subject(*spans, validator=version) for _, spans, _, version, _ in answers}
    together, one_by_one = Selection("f", 1000), Selection("f", 1000)
    for number, (status, spans, client, version, got) in enumerate(answers * repeats, 1):
        made = exchange(number, *spans, client=client, status=status, began=100.0 + number)
        made.subject = subjects[spans, version]
        over(made, got)
        one_by_one.feed(made)
        one_by_one.take_in()
        together.feed(made)

    assert [figures(selection) for selection in (together,)] == [figures(one_by_one)]
    assert list(together.counted) == list(one_by_one.counted)


def figures(selection: Selection) -> list[tuple[object, ...]]:
    standings = [selection.standings(version, (), 200.0) for version in (V, '"new"')]
    return [
        (client, one.received(), one.answers, one.arrived, one.began, one.ended, one.ranges, one.whole)
        for found in standings
        for client, one in found.items()
    ]


def test_what_nobody_looks_at_for_long_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.records.selection.MOST_FED", 2)
    selection = Selection("f", 2)

    for number in range(10):
        selection.feed(over(exchange(number, (number, number + 1))))

    assert received(selection) == {"10.0.0.2": 10}


# Rest


def resting(claims: Claims, seconds: float) -> tuple[Counting, Selection]:
    terms = DownloadTerms("f", lambda: Version(V, 10), lambda: True, lambda names: {}, amount=amount("idle", seconds))
    selection = claims.select_from_now("f", Boards())
    return Counting(claims, terms, selection), selection


def test_a_range_that_came_again_is_no_rest(claims: Claims, monkeypatch: pytest.MonkeyPatch) -> None:
    count, selection = resting(claims, 50.0)
    now = time.monotonic()
    early = exchange(1, (0, 5))
    early.ended = now - 60
    selection.feed(_settled(early))
    long_since = count.look(Version(V, 10))
    again, selection = resting(claims, 50.0)
    selection.feed(early)
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "monotonic", lambda: now - 50)
        assert again.look(Version(V, 10)) is None
    same = exchange(2, (0, 5))
    same.ended = now
    selection.feed(_settled(same))

    assert long_since is not None
    assert again.look(Version(V, 10)) is None
    assert 40 < (again.rests_for() or 0) <= 50


def _settled(one: Exchange) -> Exchange:
    ended = one.ended
    over(one)
    one.ended = ended
    return one


def test_a_function_is_asked_about_what_has_arrived_as_it_is_when_it_is_over(claims: Claims) -> None:
    asked = []

    def counts(record: RequestRecord) -> bool:
        asked.append(record.completed)
        return True

    made = exchange(1, (0, 10), status=200)
    claims.log.begin(made)
    claims.log.handed_over(made, 101.0)
    selection = claims.select("f", Boards(predicate=counts), V, 10)

    claims.decide(selection)

    assert asked == [True]  # the look has settled it
    assert claims.selected(selection, V)["10.0.0.2"].whole
