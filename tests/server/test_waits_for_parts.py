"""Waiting for as much of a file as is wanted: the first byte, a part, or until no more comes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from httpserve import HttpServerClient
from httpserve.records.terms import Until
from tests.server.waits import AT_ONCE, BIG, PATIENT, SIZE, begin, fetch, fetch_part, halfway, put, vain
from tests.server.wire import Wire, eventually

REST = 0.02
EACH: list[Until] = ["all", "started", "idle", 0.5, 1000, 1.0, 10 * SIZE]
PARTS: list[Until] = ["started", 0.1, 1000]


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


# How much


def test_started_ends_with_the_first_byte_while_the_rest_is_on_its_way(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1000):
        record = bench.wait_for_download("Image", PATIENT, until="started")

    assert 0 < record.bytes < record.total == BIG
    assert 0 < record.seconds < PATIENT


@pytest.mark.parametrize(("until", "wanted"), [(0.5, SIZE // 2), (0.500001, SIZE // 2 + 2), (1000, 1000), (1.0, SIZE)])
def test_a_part_is_there_with_its_last_byte_and_not_before(bench: HttpServerClient, until: Until, wanted: int) -> None:
    fetch_part(bench, 0, wanted - 1)
    vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until))

    fetch_part(bench, wanted - 1, wanted)

    record = bench.wait_for_download("Image", PATIENT, until=until)
    assert (record.bytes, record.total) == (wanted, SIZE)
    assert sorted(record.ranges) == [(0, wanted - 1), (wanted - 1, wanted)]


def test_a_part_is_noticed_while_it_comes(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=BIG)
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, until=0.5))
    with halfway(bench, 1 << 20) as board:
        still_waits = not waiting.done()

        board.read_exactly(4 << 20)

        assert BIG // 2 <= waiting.result(10).bytes < BIG
    assert still_waits


def test_bytes_in_the_kernel_are_no_part(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        wire.get("/Image")
        eventually(lambda: bench.transfers and bench.transfers[0].sent > 100_000, "the kernel has a part")

        vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=100_000))


@pytest.mark.parametrize("until", EACH)
def test_an_empty_file_is_there_with_one_whole_answer(bench: HttpServerClient, until: Until) -> None:
    put(bench, "empty", 0)
    with Wire(bench.get_port()) as wire:
        wire.ask("/empty", method="HEAD")
    vain(lambda: bench.wait_for_download("empty", AT_ONCE, until=until, idle=0.0))

    fetch(bench, target="/empty")

    record = bench.wait_for_download("empty", PATIENT, until=until, idle=REST)
    assert (record.bytes, record.total) == (0, 0)
    vain(lambda: bench.wait_for_download("empty", AT_ONCE, until=until, idle=0.0))


# What an earlier wait has returned


@pytest.mark.parametrize("until", EACH)
def test_a_second_boot_must_fetch_again(bench: HttpServerClient, until: Until) -> None:
    for _ in range(2):
        vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, idle=REST))
        fetch(bench)

        assert bench.wait_for_download("Image", PATIENT, until=until, idle=REST).bytes >= 1000


@pytest.mark.parametrize("until", ["started", "idle", 0.2, 1000])
def test_a_second_boot_must_fetch_parts_again(bench: HttpServerClient, until: Until) -> None:
    for _ in range(2):
        vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, idle=REST))
        fetch_part(bench, 0, SIZE // 2)
        fetch_part(bench, SIZE // 3, SIZE // 2)

        assert 1000 <= bench.wait_for_download("Image", PATIENT, until=until, idle=REST).bytes <= SIZE // 2


@pytest.mark.parametrize("until", ["started", "idle", 0.05, 1000])
def test_a_download_that_a_wait_has_counted_while_it_came_is_not_counted_again(
    bench: HttpServerClient, until: Until
) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20) as board:
        bench.wait_for_download("Image", PATIENT, until=until, idle=REST)

        vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, idle=0.0))
        board.reset()
    eventually(lambda: bench.transfers[0].state == "reset", "the end")

    vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, idle=0.0))
    with halfway(bench, 1 << 20):
        assert bench.wait_for_download("Image", PATIENT, until=until, idle=REST).bytes > 0


def test_a_download_that_goes_on_after_its_rest_was_waited_for_is_no_second_one(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20) as board:
        bench.wait_for_download("Image", PATIENT, until="idle", idle=REST)
        board.read_exactly(BIG - (1 << 20))
    eventually(lambda: bench.transfers[0].state == "completed", "the end")

    for until in EACH:
        vain(partial(bench.wait_for_download, "Image", AT_ONCE, until=until, idle=0.0))


def test_a_wait_for_a_part_leaves_what_came_to_waits_for_more(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 5 << 20) as board:
        for until in ("started", 1 << 20, 0.5):
            assert bench.wait_for_download("Image", PATIENT, until=until).bytes < BIG
            vain(partial(bench.wait_for_download, "Image", AT_ONCE, until=until))

        board.read_exactly(3 << 20)

    assert bench.wait_for_download("Image", PATIENT).bytes == BIG
    for until in ("all", "started", "idle", 0.5):
        vain(partial(bench.wait_for_download, "Image", AT_ONCE, until=until, idle=0.0))


@pytest.mark.parametrize("until", EACH)
def test_what_came_before_the_put_does_not_count(bench: HttpServerClient, until: Until) -> None:
    fetch(bench)
    put(bench)

    vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, idle=0.0))


def test_what_came_before_a_put_during_the_wait_does_not_count(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    fetch_part(bench, 0, SIZE // 2)
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, until=0.6))
    put(bench)
    fetch_part(bench, SIZE // 4, SIZE - SIZE // 4)
    still_waits = not waiting.done()

    fetch_part(bench, 0, SIZE // 4)

    (start, stop), middle = sorted(waiting.result(10).ranges)
    assert middle == (SIZE // 4, SIZE - SIZE // 4)
    assert start == 0
    assert SIZE // 10 <= stop <= SIZE // 4  # it may return before all of that has come
    assert still_waits


def test_waits_of_several_threads_that_began_before_all_see_a_start(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    put(bench, "other")
    waiting = [
        begin(pool, partial(bench.wait_for_download, "Image", PATIENT, until=until))
        for until in ("started", "started", 0.5, "all")
    ]
    elsewhere = begin(pool, lambda: bench.wait_for_download("other", PATIENT, until="started"))

    fetch(bench)

    assert [one.result(10).name for one in waiting] == ["Image"] * 4
    assert not elsewhere.done()
    fetch(bench, target="/other")
    assert elsewhere.result(10).name == "other"


# Until no more comes


def test_a_streaming_updater_that_never_takes_the_whole_has_come_to_rest(bench: HttpServerClient) -> None:
    taken = 0
    with Wire(bench.get_port()) as wire:
        wire.ask("/Image", "Range: bytes=0-3")
        for number in range(136):  # as RAUC does, most of them once, some of them twice
            start = number * 7000 % 600_000
            wire.ask("/Image", f"Range: bytes={start}-{start + 7999}")
            taken = max(taken, start + 8000)

    record = bench.wait_for_download("Image", PATIENT, until="idle", idle=REST)

    assert (record.bytes, len(record.ranges)) == (taken, 137)
    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE)).happened == "returned before"


def test_a_rest_since_long_ends_a_wait_at_once(bench: HttpServerClient) -> None:
    fetch_part(bench, 0, 1000)
    threading.Event().wait(0.05)

    assert bench.wait_for_download("Image", 0, until="idle", idle=0.05).bytes == 1000


# Cost


def test_a_thousand_ranges_in_a_wait_are_counted(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=6000)
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT, until=0.5))
    one = b"GET /Image HTTP/1.1\r\nHost: a\r\nRange: bytes=%d-%d\r\n\r\n"
    fifty = b"".join(one % (at, at) for at in range(0, 100, 2))
    with Wire(bench.get_port()) as wire:
        for _ in range(20):
            wire.send(fifty)
            for _ in range(50):
                assert len(wire.answer().body) == 1
        assert not waiting.done()

        wire.ask("/Image", "Range: bytes=0-2999")

    record = waiting.result(10)
    assert record.bytes == 3000
    assert len(record.ranges) == 1001
