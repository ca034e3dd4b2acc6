"""What text of a suite becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from httpserve.robot.conversions import to_address, to_addresses, to_clients, to_source, to_until
from tests.cases import each


@each(
    ("text", "value"),
    [
        ("all", "all"),
        ("STARTED", "started"),
        (" idle ", "idle"),
        ("50 %", 0.5),
        ("12.5%", 0.125),
        ("0.25", 0.25),
        ("1.0", 1.0),
        ("1", 1),
        ("64 KiB", 65536),
        (0.5, 0.5),
        (7, 7),
    ],
)
def test_until_is_a_word_a_part_or_an_amount(text: str | float, value: str | float) -> None:
    found = to_until(text).value

    assert found == value
    assert type(found) is type(value)


@each("text", ["half", "0 %", "150 %", "1.5", "0", 1.5, 0])
def test_until_that_can_never_be_is_refused(text: str | float) -> None:
    with pytest.raises(ValueError, match=r"write all|a part is more than 0 % and at most 100 %|at least 1 byte"):
        to_until(text)


@each(
    ("given", "value"),
    [
        ("3", 3),
        (4, 4),
        ("10.0.0.2, 10.0.0.3", ["10.0.0.2", "10.0.0.3"]),
        (["10.0.0.2", "[fd00::2]"], ["10.0.0.2", "fd00::2"]),
    ],
)
def test_clients_are_a_number_or_addresses(given: object, value: object) -> None:
    assert to_clients(given).value == value


@each("given", ["", ",", [], 1.5])
def test_what_are_no_clients_is_refused(given: object) -> None:
    with pytest.raises(ValueError, match="their addresses with commas"):
        to_clients(given)


@each("given, value", [("10.0.0.2, [::1]", ("10.0.0.2", "::1")), (["eth0"], ("eth0",)), ("", ())])
def test_addresses_are_text_with_commas_or_a_list(given: object, value: tuple[str, ...]) -> None:
    assert to_addresses(given) == value


def test_address_loses_its_brackets() -> None:
    assert (to_address("[fd00::2]"), to_address(" board.lab ")) == ("fd00::2", "board.lab")


def test_source_keeps_the_slashes_of_a_url() -> None:
    assert to_source("http://builds//Image") == "http://builds//Image"
    assert to_source(Path("build/Image")) == str(Path("build/Image"))
