"""Claims about durations that users give."""

from __future__ import annotations

import math
import sys
import threading

import pytest

from httpserve.base.arguments import checked_count, checked_seconds
from httpserve.errors import InvalidArgument
from tests.cases import each


@each("value", [1, 0.001, 600.0, threading.TIMEOUT_MAX])
def test_a_positive_number_is_a_duration(value: float) -> None:
    seconds = checked_seconds("timeout", value)

    assert seconds == value
    assert type(seconds) is float


@each("value", [0, 0.0, -0.0])
def test_zero_is_a_duration_only_where_it_says_so(value: float) -> None:
    assert checked_seconds("timeout", value, zero=True) == 0.0
    with pytest.raises(InvalidArgument, match=r"timeout must be a positive number of seconds, not -?0"):
        checked_seconds("timeout", value)


@each("zero", [False, True])
@each(
    "value",
    [
        pytest.param(-1, id="negative"),
        pytest.param(math.nan, id="no number"),
        pytest.param(math.inf, id="for ever"),
        pytest.param(threading.TIMEOUT_MAX * 2, id="more than a lock can wait"),
        pytest.param(10**400, id="more than a float can hold"),
        pytest.param(True, id="a truth value"),
        pytest.param("5", id="text"),
        pytest.param(None, id="nothing"),
    ],
)
def test_what_one_cannot_wait_for_is_refused(value: object, zero: bool) -> None:
    with pytest.raises(InvalidArgument, match=r"^idle must be .* seconds, not "):
        checked_seconds("idle", value, zero=zero)


@each("value", [1, 2, sys.maxsize])
def test_a_number_of_things_is_whole_and_from_one_on(value: int) -> None:
    assert checked_count("most", value) == value


@each("value", [0, -1, True, 1.0, "1", None])
def test_any_other_number_of_things_is_refused(value: object) -> None:
    with pytest.raises(InvalidArgument, match=r"^most must be a whole number from 1 on, not "):
        checked_count("most", value)


@each(
    "value",
    [
        sys.maxsize + 1,
        pytest.param(10**400, id="of many digits"),
        pytest.param(10**5000, id="of more digits than a text"),
    ],
)
def test_a_number_of_things_that_nothing_can_hold_is_refused(value: int) -> None:
    with pytest.raises(InvalidArgument, match=rf"^most must be .* at most {sys.maxsize}, not ") as caught:
        checked_count("most", value)
    assert len(str(caught.value)) < 200


def test_a_number_of_more_digits_than_a_text_is_no_duration() -> None:
    with pytest.raises(InvalidArgument, match="not a number of 16610 bits"):
        checked_seconds("timeout", 10**5000)
