"""Claims about what `until`, `client`, `clients` and the like mean, as data."""

from __future__ import annotations

import pytest

from httpserve.errors import InvalidArgument, InvalidType
from httpserve.records.exchange import Exchange
from httpserve.records.model import RequestRecord
from httpserve.records.terms import (
    Amount,
    Boards,
    RequestFilter,
    Until,
    UntilKind,
    address,
    amount,
    asked_for,
    boards,
    method_named,
)
from tests.cases import each
from tests.unit.exchanges import Asked as Head
from tests.unit.exchanges import Line, subject


def counts(request: RequestRecord) -> bool:
    return True


@each(
    ("until", "meant", "of_ten", "of_one", "of_none"),
    [
        ("all", Amount(UntilKind.ALL), 10, 1, 0),
        ("started", Amount(UntilKind.STARTED), 1, 1, 0),
        ("idle", Amount(UntilKind.IDLE), 1, 1, 0),
        (0.5, Amount(UntilKind.PART, 0.5), 5, 1, 0),
        (0.51, Amount(UntilKind.PART, 0.51), 6, 1, 0),
        (1e-9, Amount(UntilKind.PART, 1e-9), 1, 1, 0),
        (1.0, Amount(UntilKind.PART, 1.0), 10, 1, 0),
        (1, Amount(UntilKind.PART, 1), 1, 1, 0),
        (7, Amount(UntilKind.PART, 7), 7, 1, 0),
        (1 << 70, Amount(UntilKind.PART, 1 << 70), 10, 1, 0),
    ],
)
def test_an_amount_is_so_many_bytes(until: Until, meant: Amount, of_ten: int, of_one: int, of_none: int) -> None:
    made = amount(until)

    assert made == meant
    assert (made.bytes_of(10), made.bytes_of(1), made.bytes_of(0)) == (of_ten, of_one, of_none)
    assert made.is_end == (until in ("all", "idle"))


@each("idle", [-1, float("nan"), float("inf"), "5", True, None])
def test_a_rest_of_no_length_is_refused(idle: float) -> None:
    with pytest.raises(InvalidArgument, match="idle"):
        amount("idle", idle)


def test_a_rest_may_be_of_any_length() -> None:
    assert (amount("idle", 0).idle, amount("idle", 2).idle, amount("idle").idle) == (0.0, 2.0, 5.0)


@each(
    ("meant", "has", "chosen"),
    [
        (Boards(), [], None),
        (Boards(), ["a", "b"], ["a"]),
        (Boards(count=2), ["a"], None),
        (Boards(count=2), ["a", "b", "c"], ["a", "b"]),
        (Boards(2, ("b", "a")), ["a", "c"], None),
        (Boards(2, ("b", "a")), ["a", "c", "b"], ["b", "a"]),
    ],
)
def test_those_who_are_waited_for_are_chosen(meant: Boards, has: list[str], chosen: list[str] | None) -> None:
    assert meant.choose(has) == chosen


def test_who_is_waited_for() -> None:
    assert boards() == Boards()
    assert boards(clients=3) == Boards(count=3)
    assert boards("0:0::1") == Boards(addresses=("::1",))
    assert boards(clients=["::ffff:10.0.0.2", "10.0.0.3", "10.0.0.2"]) == Boards(2, ("10.0.0.2", "10.0.0.3"))
    assert boards(counts) == Boards(predicate=counts)


@each("clients", [object(), 1.0, "10.0.0.2"])
def test_what_is_neither_a_number_nor_addresses_is_refused(clients: int) -> None:
    with pytest.raises(InvalidType):
        boards(clients=clients)


@each("given", [b"10.0.0.2", 0, None, "10.0.0", "10.0.0.2/8", "usb0"])
def test_what_is_no_address_is_refused(given: object) -> None:
    with pytest.raises(InvalidArgument):
        address(given)


@each(
    ("given", "meant"),
    [("GET", "GET"), ("get", "GET"), ("Head", "HEAD"), ("PROPFIND", "PROPFIND"), ("propfind", "propfind"), ("*", "*")],
)
def test_a_method_that_everybody_knows_is_meant_in_any_case(given: str, meant: str) -> None:
    assert method_named(given) == meant


@each("given", ["", "G T", "GET\n", "GET ", "GÉT", "a/b", "\ud83d"])
def test_what_is_no_method_is_refused(given: str) -> None:
    with pytest.raises(InvalidArgument, match="method must be one word"):
        method_named(given)


@each("given", [1, b"GET", True])
def test_a_method_of_another_type_is_refused(given: object) -> None:
    with pytest.raises(InvalidType, match="method must be a str"):
        method_named(given)


@each(
    ("asked", "fits"),
    [
        (RequestFilter(), True),
        (RequestFilter("f", "GET", 200, "10.0.0.2"), True),
        (RequestFilter("g"), False),
        (RequestFilter(method="HEAD"), False),
        (RequestFilter(status=404), False),
        (RequestFilter(client="10.0.0.3"), False),
    ],
)
def test_a_request_fits_what_is_asked_for(asked: RequestFilter, fits: bool) -> None:
    exchange = Exchange(Line(), Head(target="/x/../f"), 200, 10, subject((0, 10)), 0.0, 0.0)

    assert asked.fits(exchange) is fits


@each(
    ("target", "name"),
    [
        ("/f", "f"),
        ("/a%20b/c?x=/d", "a b/c"),
        ("//a///b/", "a/b"),
        ("/", ""),
        ("http://bench:8000/a/b", "a/b"),
        ("/%ff%0a", "\ufffd\\n"),
        ("*", "*"),
    ],
)
def test_a_name_that_is_not_there_is_read_from_the_target(target: str, name: str) -> None:
    assert asked_for(Exchange(Line(), Head(target=target), 404, 3, None, 0.0, 0.0)) == name


@each(
    ("asked", "text"),
    [
        (RequestFilter(), "request"),
        (RequestFilter("f"), "request for 'f'"),
        (RequestFilter("f", "GET", 404, "10.0.0.2"), "GET for 'f' by 10.0.0.2 with the status 404"),
    ],
)
def test_what_is_asked_for_says_itself(asked: RequestFilter, text: str) -> None:
    assert str(asked) == text
