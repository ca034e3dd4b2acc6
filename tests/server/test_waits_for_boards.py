"""Waiting for several boards, for certain ones, for those whose request fits, and since a time."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from httpserve import HttpServerClient, InvalidType, RequestRecord
from httpserve.records.terms import Until
from tests.server.waits import (
    AT_ONCE,
    BIG,
    ONE,
    OTHER,
    PATIENT,
    SIZE,
    THIRD,
    begin,
    fetch,
    fetch_part,
    halfway,
    put,
    vain,
)
from tests.server.wire import Wire, eventually

A, B = "X-Serial: A", "X-Serial: B"  # two boards behind one address


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


def is_a(request: RequestRecord) -> bool:
    return request.fields.get("x-serial") == "A"


def is_b(request: RequestRecord) -> bool:
    return request.fields.get("x-serial") == "B"


# Several


@pytest.mark.parametrize("until", ["all", "started", "idle", 0.5, 1000])
def test_so_many_boards_are_waited_for(bench: HttpServerClient, pool: ThreadPoolExecutor, until: Until) -> None:
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, until=until, idle=0.02, clients=2))
    for _ in range(3):
        fetch(bench, board=ONE)
    still_waits = not waiting.done()

    fetch(bench, board=OTHER)

    assert {record.client for record in waiting.result(10)} == {ONE, OTHER}
    assert still_waits


@pytest.mark.parametrize("until", ["all", "started", 0.5])
def test_each_of_a_list_is_waited_for_and_returned_in_its_order(bench: HttpServerClient, until: Until) -> None:
    for board in (ONE, THIRD):
        fetch(bench, board=board)
    vain(lambda: bench.wait_for_download("Image", AT_ONCE, clients=[OTHER, ONE], until=until))

    fetch(bench, board=OTHER)

    records = bench.wait_for_download("Image", PATIENT, clients=[OTHER, ONE, OTHER], until=until)
    assert [record.client for record in records] == [OTHER, ONE]
    assert [record.client for record in bench.wait_for_download("Image", PATIENT, clients=iter([THIRD]))] == [THIRD]


# By their requests


def test_a_board_behind_a_shared_address_is_known_by_its_request(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, client=is_b))
    fetch(bench, A, "User-Agent: a")
    still_waits = not waiting.done()

    fetch(bench, B, "User-Agent: b")

    assert waiting.result(10).user_agent == "b"
    assert still_waits


def test_ranges_of_boards_behind_a_shared_address_are_not_added_up(bench: HttpServerClient) -> None:
    fetch(bench, A, f"Range: bytes=0-{SIZE // 2 - 1}")
    fetch(bench, B, f"Range: bytes={SIZE // 2}-")

    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=is_a)).received == SIZE // 2
    fetch(bench, A, f"Range: bytes={SIZE // 2}-")
    assert bench.wait_for_download("Image", PATIENT, client=is_a).bytes == SIZE


@pytest.mark.parametrize("until", ["all", "started", "idle", 0.5, 1000])
def test_a_second_boot_of_a_board_known_by_its_request_must_fetch_again(bench: HttpServerClient, until: Until) -> None:
    for _ in range(2):
        fetch(bench, A)
        assert bench.wait_for_download("Image", PATIENT, client=is_a, until=until, idle=0.02).total == SIZE

        vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=is_a, until=until, idle=0.02))


def test_what_a_plain_wait_has_returned_counts_for_no_function_and_the_other_way_round(bench: HttpServerClient) -> None:
    for first, second in ((None, is_a), (is_a, None)):
        fetch(bench, A)
        bench.wait_for_download("Image", PATIENT, client=first)

        vain(partial(bench.wait_for_download, "Image", AT_ONCE, client=second))


def test_a_function_may_go_by_what_is_known_only_at_the_end(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=BIG)
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, client=lambda one: one.completed))
    with halfway(bench, 1 << 20) as board:
        board.read_exactly(BIG - (1 << 20))

        assert waiting.result(10).bytes == BIG


def test_a_function_sees_what_is_under_way(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=BIG)
    seen: list[RequestRecord] = []

    def is_mine(request: RequestRecord) -> bool:
        seen.append(request)
        return request.client == ONE

    with halfway(bench, 3 << 20, board=ONE), halfway(bench, 6 << 20, board=OTHER):
        assert bench.wait_for_download("Image", PATIENT, client=is_mine, until=1000).client == ONE

    assert {(request.client, request.outcome) for request in seen} == {(ONE, "under way"), (OTHER, "under way")}


def test_what_a_function_raises_reaches_who_waits_and_breaks_nothing(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    def breaks(request: RequestRecord) -> bool:
        raise LookupError(request.target)

    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, client=breaks))
    other = begin(pool, lambda: bench.wait_for_download("Image", PATIENT))

    fetch(bench)

    with pytest.raises(LookupError, match="/Image"):
        waiting.result(10)
    assert other.result(10).bytes == SIZE
    fetch(bench)
    assert bench.wait_for_download("Image", PATIENT).bytes == SIZE


def test_a_function_may_ask_the_client_itself(bench: HttpServerClient) -> None:
    def asks(request: RequestRecord) -> bool:
        with bench.expect_download("Image", PATIENT, until="started"):
            fetch(bench)
        assert bench.wait_for_request("Image", timeout=PATIENT).target == "/Image"
        bench.storage.write_bytes("of the function", b"x")
        return request in bench.requests and len(bench.transfers) >= 2 and not bench.missing

    fetch(bench)

    assert bench.wait_for_download("Image", PATIENT, client=asks).bytes == SIZE


def test_a_function_that_blocks_holds_up_nobody_else(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    called, go_on = threading.Event(), threading.Event()

    def blocks(request: RequestRecord) -> bool:
        called.set()
        return go_on.wait(PATIENT) and request.client == ONE  # whoever's answer is over first

    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, client=blocks))
    try:
        fetch(bench, board=ONE)
        assert called.wait(10)

        fetch(bench, board=OTHER)
        assert bench.wait_for_download("Image", PATIENT, client=OTHER).client == OTHER
        assert len(bench.transfers) == 2
    finally:
        go_on.set()
    assert waiting.result(10).client == ONE


# Since when


def test_since_a_time_what_came_then_counts_whatever_waits_have_returned(bench: HttpServerClient) -> None:
    began = time.time()
    fetch(bench)
    bench.wait_for_download("Image", PATIENT)

    for until in ("all", "started", "idle", 0.5):
        assert bench.wait_for_download("Image", PATIENT, since=began, until=until, idle=0.02).bytes == SIZE
    assert bench.wait_for_download("Image", PATIENT, since=0, client=lambda one: True).bytes == SIZE


def test_since_a_time_what_came_before_does_not_count(bench: HttpServerClient) -> None:
    fetch_part(bench, 0, SIZE // 2)
    began = bench.requests[-1].time + 1e-6
    fetch_part(bench, SIZE // 2, SIZE)

    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE, since=began)).received == SIZE // 2
    assert bench.wait_for_download("Image", PATIENT, since=began, until=0.5).ranges == ((SIZE // 2, SIZE),)
    vain(lambda: bench.wait_for_download("Image", AT_ONCE, since=time.time() + 60))


def test_since_a_time_older_content_does_not_count(bench: HttpServerClient) -> None:
    fetch(bench)
    put(bench, seed=2)

    vain(lambda: bench.wait_for_download("Image", AT_ONCE, since=0))


# Whose an address is


def test_an_address_to_which_two_whole_downloads_went_at_once_is_said_to_be_shared(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20, board=ONE) as one, halfway(bench, 1 << 20, board=ONE) as other:
        for board in (one, other):
            board.read_exactly(BIG - (1 << 20))
    eventually(lambda: {one.state for one in bench.transfers} == {"completed"}, "both are known to be complete")

    assert bench.wait_for_download("Image", PATIENT).shared
    with bench.expect_download("Image", PATIENT) as expected:
        fetch(bench, board=ONE)
    assert expected.record.shared


def test_an_address_of_one_board_is_not_said_to_be_shared(bench: HttpServerClient) -> None:
    for _ in range(3):
        fetch(bench, board=ONE)
        assert not bench.wait_for_download("Image", PATIENT).shared
    with halfway(bench, SIZE // 2, f"Range: bytes=0-{SIZE // 2 - 1}", board=OTHER):
        fetch_part(bench, SIZE // 2, SIZE, board=OTHER)

    assert not bench.wait_for_download("Image", PATIENT).shared  # one client, with several connections


def test_this_hosts_own_address_may_be_anybodys(bench: HttpServerClient) -> None:
    fetch(bench)

    assert bench.wait_for_download("Image", PATIENT).shared


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is acknowledged")
def test_a_record_says_how_it_is_known(bench: HttpServerClient) -> None:
    fetch(bench)

    assert bench.wait_for_download("Image", PATIENT).known == bench.requests[-1].known == "acked"


# Progress


def test_progress_is_told_of_acknowledged_bytes_and_the_total(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    told: list[tuple[int, int | None]] = []
    threads = set()
    is_halfway, go_on = threading.Event(), threading.Event()

    def report(received: int, total: int | None) -> None:
        told.append((received, total))
        threads.add(threading.current_thread())
        if received >= 1 << 20:
            is_halfway.set()

    def board() -> None:
        with Wire(bench.get_port(), receive_bytes=65536) as wire:
            wire.get("/Image")
            wire.read_head()
            wire.read_exactly(2 << 20)
            go_on.wait(10)
            wire.read_exactly(BIG - (2 << 20))

    def goes_on() -> None:
        is_halfway.wait(10)
        go_on.set()

    with ThreadPoolExecutor(2) as others:
        fetched = others.submit(board)
        others.submit(goes_on)
        bench.wait_for_download("Image", PATIENT, progress=report)
        fetched.result(10)

    assert told[-1] == (BIG, BIG)
    assert told == sorted(set(told))
    assert any(1 << 20 <= received < 3 << 20 for received, _ in told)
    assert threads == {threading.current_thread()}


def test_progress_tells_that_nothing_has_come_yet(bench: HttpServerClient) -> None:
    told: list[tuple[int, int | None]] = []

    for until in ("all", 0.5):
        vain(partial(bench.wait_for_download, "Image", 0, until=until, progress=lambda *it: told.append(it)))

    assert told == [(0, SIZE), (0, SIZE // 2)]


@pytest.mark.parametrize(("until", "wanted"), [("started", 1), (0.5, SIZE // 2), (1000, 1000), ("idle", SIZE - 1000)])
def test_progress_ends_at_what_was_wanted_in_all(bench: HttpServerClient, until: Until, wanted: int) -> None:
    told: list[tuple[int, int | None]] = []
    fetch_part(bench, 0, SIZE - 1000)

    bench.wait_for_download("Image", PATIENT, until=until, idle=0.0, progress=lambda *it: told.append(it))

    assert told[-1] == (wanted, wanted)


def test_progress_of_several_boards_is_their_sum(bench: HttpServerClient) -> None:
    told: list[tuple[int, int | None]] = []
    fetch(bench, board=ONE)
    fetch_part(bench, 0, 1000, board=OTHER)
    fetch_part(bench, 0, 10, board=THIRD)

    vain(lambda: bench.wait_for_download("Image", AT_ONCE, clients=2, progress=lambda *it: told.append(it)))

    assert told == [(SIZE + 1000, 2 * SIZE)]


def test_progress_true_draws_a_bar(bench: HttpServerClient, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm", reason="tqdm is not installed: pip install 'httpserve[progress]'")
    fetch(bench)

    bench.wait_for_download("Image", PATIENT, progress=True)

    assert "1.00M/1.00M" in capsys.readouterr().err


def test_what_progress_raises_reaches_who_waits(bench: HttpServerClient) -> None:
    def breaks(received: int, total: int | None) -> None:
        raise LookupError(received)

    for until in ("all", 0.5):
        with pytest.raises(LookupError):
            bench.wait_for_download("Image", PATIENT, until=until, progress=breaks)

    with pytest.raises(InvalidType, match="progress"):
        bench.wait_for_download("Image", PATIENT, progress="bar")  # type: ignore[call-overload]  # what is tried
