"""What a request meets in turn, or by chance: the same for the same requests."""

from __future__ import annotations

from typing import Any

import pytest

from httpserve.errors import InvalidArgument, InvalidType
from httpserve.faults import Chance, Cut, Fault, Sequence, Status
from httpserve.faults.fault import Draw
from tests.cases import each

ONE, TWO = Status(500), Cut(0.5)
NO_FAULT: Any = None
NOT_A_LIST: Any = ONE
TEXT: Any = "abc"
NUMBERS: Any = [500]
TYPE: Any = Cut


def drawn(fault: Fault, count: int, seed: str = "7", key: str = "GET") -> list[Fault | None]:
    return [fault.drawn(Draw(turn, f"{key}|{turn}", seed)) for turn in range(count)]


def test_a_fault_is_met_by_each_request() -> None:
    assert drawn(ONE, 3) == [ONE] * 3


def test_a_sequence_goes_on_and_its_last_one_stays() -> None:
    assert drawn(Sequence([ONE, TWO, None]), 5) == [ONE, TWO, None, None, None]
    assert drawn(Sequence([None, ONE]), 3) == [None, ONE, ONE]
    assert drawn(Sequence([Sequence([ONE, TWO]), Sequence([ONE, TWO])]), 2) == [ONE, TWO]


def test_chance_is_the_same_for_the_same_requests_and_seed() -> None:
    half = Chance(0.5, ONE)

    assert drawn(half, 100) == drawn(half, 100) == list(reversed([half.drawn(d) for d in reversed(draws(100))]))
    assert drawn(half, 100) != drawn(half, 100, seed="8")
    assert drawn(half, 100) != drawn(half, 100, key="HEAD")
    assert 20 < drawn(half, 100).count(ONE) < 80


def draws(count: int) -> list[Draw]:
    return [Draw(turn, f"GET|{turn}", "7") for turn in range(count)]


def test_two_chances_of_one_rule_do_not_agree() -> None:
    both = [(Chance(0.5, ONE).drawn(d, "0"), Chance(0.5, ONE).drawn(d, "1")) for d in draws(100)]

    assert {(one is None, other is None) for one, other in both} == {
        (False, False),
        (False, True),
        (True, False),
        (True, True),
    }


def test_chance_knows_never_and_always() -> None:
    assert drawn(Chance(0, ONE), 50) == [None] * 50
    assert drawn(Chance(1.0, ONE), 50) == [ONE] * 50


def test_what_it_may_turn_out_to_be_is_known() -> None:
    assert Sequence([ONE, Chance(0.1, TWO), None]).leaves() == [ONE, TWO, None, None]


@each(
    "make, error",
    [
        (lambda: Sequence([]), InvalidArgument),
        (lambda: Sequence(NOT_A_LIST), InvalidArgument),
        (lambda: Sequence(TEXT), InvalidArgument),
        (lambda: Sequence(NUMBERS), InvalidType),
        (lambda: Chance(1.1, ONE), InvalidArgument),
        (lambda: Chance(True, ONE), InvalidArgument),
        (lambda: Chance(0.5, NO_FAULT), InvalidType),
        (lambda: Chance(0.5, TYPE), InvalidType),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(make: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        make()
