"""Claims about intervals and about what one client has of one version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.records import coverage
from httpserve.records.coverage import MOST_RANGES, Coverage, Intervals
from tests.cases import each

SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30)


def intervals(*spans: tuple[int, int]) -> Intervals:
    made = Intervals()
    for start, stop in spans:
        made.add(start, stop)
    return made


@each(
    ("spans", "expected"),
    [
        pytest.param([], (), id="none"),
        pytest.param([(0, 5)], ((0, 5),), id="one"),
        pytest.param([(5, 5)], (), id="empty"),
        pytest.param([(6, 5)], (), id="reversed"),
        pytest.param([(0, 5), (5, 9)], ((0, 9),), id="adjacent"),
        pytest.param([(5, 9), (0, 5)], ((0, 9),), id="adjacent before"),
        pytest.param([(0, 5), (6, 9)], ((0, 5), (6, 9)), id="a gap of one"),
        pytest.param([(6, 9), (0, 5)], ((0, 5), (6, 9)), id="unordered"),
        pytest.param([(0, 5), (6, 9), (5, 6)], ((0, 9),), id="the gap filled"),
        pytest.param([(0, 9), (3, 4)], ((0, 9),), id="inside"),
        pytest.param([(3, 4), (0, 9)], ((0, 9),), id="around"),
        pytest.param([(0, 2), (4, 6), (8, 10), (1, 9)], ((0, 10),), id="over three"),
        pytest.param([(0, 5), (0, 5)], ((0, 5),), id="twice"),
    ],
)
def test_intervals_merge_what_touches(spans: list[tuple[int, int]], expected: tuple[tuple[int, int], ...]) -> None:
    assert intervals(*spans).spans() == expected


@given(SPANS)
def test_intervals_hold_what_a_set_of_positions_would(spans: list[tuple[int, int]]) -> None:
    positions = {position for start, stop in spans for position in range(start, stop)}

    made = intervals(*spans)

    assert {position for start, stop in made.spans() for position in range(start, stop)} == positions
    assert made.size() == len(positions)


@given(SPANS)
def test_intervals_stay_sorted_and_apart(spans: list[tuple[int, int]]) -> None:
    flat = [bound for span in intervals(*spans).spans() for bound in span]

    assert flat == sorted(set(flat))


def test_a_copy_goes_its_own_way() -> None:
    first = intervals((0, 5))

    second = first.copy()
    second.add(5, 8)

    assert (first.size(), second.size()) == (5, 8)


def test_gaps_without_end_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "MOST_INTERVALS", 2)
    made = intervals((0, 1), (2, 3), (4, 5))

    made.add(3, 6)  # what touches is still taken

    assert made.spans() == ((0, 1), (2, 6))


def test_a_client_has_the_whole_once_every_byte_has_arrived() -> None:
    client = Coverage('"v"', 10)

    client.add([(0, 6)], 1.0, 2.0, "curl", asked=True)
    before = client.whole
    client.add([(5, 10)], 3.0, 4.0, "wget", asked=True)

    assert (before, client.whole) == (False, True)
    assert client.ranges == [(0, 6), (5, 10)]


def test_what_comes_once_more_to_who_has_the_whole_is_counted() -> None:
    client = Coverage('"v"', 10)
    for began in (1.0, 5.0):
        client.add([(0, 10)], began, began + 1, "curl", asked=False)

    assert (client.answers, client.arrived, client.received(), client.whole) == (2, 20, 10, True)
    assert (client.began, client.ended) == (1.0, 6.0)


def test_ranges_that_are_simplified_are_those_that_they_come_to() -> None:
    client = Coverage('"v"', 10)
    client.add([(0, 2), (2, 6), (8, 9)], 1.0, 2.0, "curl", asked=True)
    before = client.pieces()

    client.simplify()

    assert (before, client.pieces()) == (5, 4)
    assert client.ranges == [(0, 6), (8, 9)]


def test_times_run_from_the_first_request_to_the_last_byte_in_whatever_order_they_are_told() -> None:
    client = Coverage('"v"', 10)

    client.add([(5, 10)], 3.0, 9.0, "wget", asked=True)
    client.add([(0, 5)], 1.0, 4.0, "curl", asked=True)

    assert (client.began, client.ended, client.user_agent) == (1.0, 9.0, "curl")


def test_an_answer_at_time_zero_counts_as_the_first() -> None:
    client = Coverage('"v"', 10)

    client.add([(0, 5)], 0.0, 1.0, "", asked=True)
    client.add([(5, 9)], 2.0, 3.0, "", asked=True)

    assert client.began == 0.0


def test_of_an_empty_file_one_answer_is_the_whole() -> None:
    client = Coverage('"v"', 0)

    client.add([], 1.0, 2.0, "curl", asked=False)

    assert client.whole
    assert client.ranges == []


def test_no_more_than_so_many_ranges_are_remembered_one_by_one() -> None:
    client = Coverage('"v"', MOST_RANGES + 1)

    client.add([(at, at + 1) for at in range(MOST_RANGES + 1)], 1.0, 2.0, "curl", asked=True)

    assert len(client.ranges) == MOST_RANGES
    assert client.whole
