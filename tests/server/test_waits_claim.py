"""What a wait uses up: what the boards that it returns have fetched of the name until then, and no other board's."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import pytest

from httpserve import HttpServerClient, RequestRecord
from tests.server.waits import AT_ONCE, BIG, ONE, OTHER, PATIENT, THIRD, fetch, fetch_part, halfway, put, vain


def of_other(request: RequestRecord) -> bool:
    return request.client == OTHER


@pytest.fixture
def both(image: HttpServerClient) -> HttpServerClient:
    """A server from which two boards have fetched `Image`."""
    for board in (ONE, OTHER):
        fetch(image, board=board)
    return image


# Downloads


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {}),
        ({"client": OTHER}, {}),
        ({"client": ONE}, {"client": of_other}),
        ({"client": of_other}, {}),
        ({"since": 1.0}, {}),
        *(({"until": until, "idle": 0.01}, {"until": until, "idle": 0.01}) for until in (0.5, "started", "idle")),
    ],
)
def test_a_wait_leaves_the_other_board_to_a_wait_of_its_own(
    both: HttpServerClient, first: dict[str, Any], second: dict[str, Any]
) -> None:
    clients = [both.wait_for_download("Image", PATIENT, **wanted).client for wanted in (first, second)]

    assert set(clients) == {ONE, OTHER}
    for wanted in (first, second):
        if "since" not in wanted:
            vain(partial(both.wait_for_download, "Image", AT_ONCE, **wanted))
        else:
            assert both.wait_for_download("Image", PATIENT, **wanted).client in (ONE, OTHER)


def test_what_a_board_fetched_twice_before_a_wait_is_used_up_by_it(both: HttpServerClient) -> None:
    fetch(both, board=ONE)

    clients = {both.wait_for_download("Image", PATIENT).client for _ in range(2)}

    assert clients == {ONE, OTHER}
    vain(lambda: both.wait_for_download("Image", AT_ONCE))


def test_a_wait_for_two_boards_leaves_the_third(bench: HttpServerClient) -> None:
    put(bench)
    for board in (ONE, OTHER, THIRD):
        fetch(bench, board=board)

    two = bench.wait_for_download("Image", PATIENT, clients=2)
    last = bench.wait_for_download("Image", PATIENT)

    assert {*(record.client for record in two), last.client} == {ONE, OTHER, THIRD}
    vain(lambda: bench.wait_for_download("Image", AT_ONCE))


def test_a_wait_for_any_board_leaves_the_other_to_a_wait_for_it(both: HttpServerClient) -> None:
    first = both.wait_for_download("Image", PATIENT).client
    other = ONE if first == OTHER else OTHER

    assert both.wait_for_download("Image", PATIENT, client=other).client == other
    vain(lambda: both.wait_for_download("Image", AT_ONCE, client=first))


def test_a_wait_by_a_function_leaves_the_board_behind_the_same_address(bench: HttpServerClient) -> None:
    """What came last from an address was used up, whichever board it was."""
    put(bench)
    for number in (7, 8, 9):
        fetch(bench, target=f"/Image?board={number}", board=ONE)

    for mark in ("=7", "=8", "=9"):
        bench.wait_for_download("Image", PATIENT, client=lambda request, mark=mark: request.target.endswith(mark))

    vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=lambda request: True))
    vain(lambda: bench.wait_for_download("Image", AT_ONCE))


def test_a_part_that_was_returned_counts_for_a_wait_for_the_whole(bench: HttpServerClient) -> None:
    put(bench, size=1000)
    fetch_part(bench, 0, 600, board=ONE)
    bench.wait_for_download("Image", PATIENT, until="started")
    fetch_part(bench, 600, 1000, board=ONE)

    assert bench.wait_for_download("Image", PATIENT).bytes == 1000


def test_an_expected_download_leaves_the_other_board(bench: HttpServerClient) -> None:
    put(bench)
    fetch(bench, board=ONE)
    with bench.expect_download("Image", PATIENT) as download:
        fetch(bench, board=OTHER)

    assert download.record.client == OTHER
    assert bench.wait_for_download("Image", PATIENT).client == ONE
    vain(lambda: bench.wait_for_download("Image", AT_ONCE))


def test_the_other_board_still_counts_when_the_first_is_at_it_again(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    fetch(bench, board=ONE)
    fetch(bench, board=OTHER)
    first = bench.wait_for_download("Image", PATIENT).client
    with halfway(bench, 1 << 20, board=first):
        second = bench.wait_for_download("Image", PATIENT).client

    assert {first, second} == {ONE, OTHER}


# Requests


def test_each_of_two_boards_that_ask_is_returned_by_a_wait_of_its_own(bench: HttpServerClient) -> None:
    fetch(bench, target="/cfg", board=ONE)
    fetch(bench, target="/cfg", board=OTHER)

    clients = [bench.wait_for_request("cfg", timeout=PATIENT).client for _ in range(2)]

    assert clients == [ONE, OTHER]
    vain(lambda: bench.wait_for_request("cfg", timeout=AT_ONCE))


def test_a_later_request_of_one_board_leaves_the_earlier_one_of_another(bench: HttpServerClient) -> None:
    fetch(bench, target="/cfg", board=ONE)
    since = time.time()
    fetch(bench, target="/cfg", board=OTHER)

    assert bench.wait_for_request("cfg", timeout=PATIENT, since=since).client == OTHER
    assert bench.wait_for_request("cfg", timeout=PATIENT).client == ONE
    vain(lambda: bench.wait_for_request("cfg", timeout=AT_ONCE))


def test_a_later_request_of_a_board_uses_up_its_earlier_ones(bench: HttpServerClient) -> None:
    fetch(bench, target="/cfg", board=ONE)
    since = time.time()
    fetch(bench, target="/cfg", board=ONE)

    bench.wait_for_request("cfg", timeout=PATIENT, since=since)

    vain(lambda: bench.wait_for_request("cfg", timeout=AT_ONCE))


def test_an_expected_request_leaves_the_earlier_one_of_another_board(bench: HttpServerClient) -> None:
    fetch(bench, target="/cfg", board=ONE)
    with bench.expect_request("cfg", timeout=PATIENT) as asked:
        fetch(bench, target="/cfg", board=OTHER)

    assert asked.record.client == OTHER
    assert bench.wait_for_request("cfg", timeout=PATIENT).client == ONE


def test_a_wait_for_any_request_leaves_the_earlier_one_of_a_board_behind_the_same_address(
    bench: HttpServerClient,
) -> None:
    """A function tells boards apart that have one address, so only waits by functions use up what is left for it."""

    def is_seventh(request: RequestRecord) -> bool:
        return request.target.endswith("?board=7")

    fetch(bench, target="/cfg?board=7", board=ONE)
    since = time.time()
    fetch(bench, target="/cfg?board=8", board=ONE)

    assert bench.wait_for_request("cfg", timeout=PATIENT, since=since).target == "/cfg?board=8"
    assert bench.wait_for_request("cfg", timeout=PATIENT, client=is_seventh).target == "/cfg?board=7"
    vain(lambda: bench.wait_for_request("cfg", timeout=AT_ONCE, client=is_seventh))


def test_a_wait_for_something_else_leaves_the_request(bench: HttpServerClient) -> None:
    fetch(bench, target="/cfg", board=ONE)

    assert bench.wait_for_request(timeout=PATIENT).client == ONE
    assert bench.wait_for_request("cfg", timeout=PATIENT).client == ONE
    vain(lambda: bench.wait_for_request(timeout=AT_ONCE))
