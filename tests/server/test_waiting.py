"""Waiting until a board has a file: what counts, what does not, and which client's."""

from __future__ import annotations

import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

from httpserve import (
    DownloadRecord,
    HttpServeError,
    HttpServerClient,
    InvalidArgument,
    InvalidName,
    InvalidType,
    NotFound,
)
from tests.cases import each
from tests.server.waits import AT_ONCE, BIG, ONE, OTHER, PATIENT, SIZE, begin, fetch, halfway, put, vain
from tests.server.wire import Wire, eventually, pattern

IN_KERNEL = 100_000  # bytes that the kernel takes whole for a board that reads nothing


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


def misses(client: HttpServerClient, *, name: str = "Image") -> str:
    """Wait in vain, and return what is said."""
    return str(vain(lambda: client.wait_for_download(name, AT_ONCE)))


def begin_wait(pool: ThreadPoolExecutor, client: HttpServerClient, board: str | None = None) -> Future[DownloadRecord]:
    """Begin to wait in another thread, and return when it waits."""
    return begin(pool, lambda: client.wait_for_download("Image", PATIENT, client=board))


# What counts


def test_a_whole_download_after_the_call_ends_the_wait(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench)

    fetch(bench, "User-Agent: board/1")

    record = waiting.result(10)
    assert (record.name, record.client, record.bytes) == ("Image", "127.0.0.1", SIZE)
    assert (record.user_agent, record.ranges) == ("board/1", ())
    assert 0 <= record.seconds < 60


@pytest.mark.parametrize("end", ["goes on", "close", "reset"])  # GRUB ends by a reset
def test_a_download_before_the_call_counts_with_any_size_and_no_time(bench: HttpServerClient, end: str) -> None:
    for size in (0, 1, 100, 128 * 1024, 128 * 1024 + 1, 3 << 20):
        put(bench, "f", size)
        with Wire(bench.get_port()) as wire:
            assert wire.ask("/f", "Connection: close" if end == "close" else "Accept: */*").body == pattern(size, 1)
            if end == "reset":
                wire.reset()

            assert bench.wait_for_download("f", 0 if end == "goes on" else PATIENT).bytes == size


def test_a_name_is_the_same_however_it_is_written(bench: HttpServerClient) -> None:
    put(bench, "boot/Image")

    fetch(bench, target="//boot/./Im%61ge?query")

    assert bench.wait_for_download("/boot//Image", PATIENT).name == "boot/Image"
    assert fetch(bench, target="/boot/Image") == pattern(SIZE, 1)
    assert bench.wait_for_download(Path("boot") / "Image", PATIENT).name == "boot/Image"


def test_a_file_of_others_counts_until_they_change_it(tmp_path: Path) -> None:
    (tmp_path / "built").write_bytes(b"x")
    with HttpServerClient(tmp_path, host="127.0.0.1") as client:
        fetch(client, target="/built")
        assert client.wait_for_download("built", PATIENT).bytes == 1
        fetch(client, target="/built")
        (tmp_path / "built").write_bytes(b"two")

        misses(client, name="built")


def test_a_slow_half_closed_client_counts(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=BIG)
    waiting = begin_wait(pool, bench)
    with halfway(bench, 0) as wire:
        wire.half_close()
        eventually(lambda: bench.transfers[0].sent > IN_KERNEL, "the server has read the end")

        assert wire.rest() == pattern(BIG, 1)

        assert waiting.result(10).bytes == BIG


# By ranges


def test_ranges_over_many_connections_count_in_any_order(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench)

    def part(number: int) -> None:
        with Wire(bench.get_port()) as wire:
            wire.ask("/Image", f"Range: bytes={number * 10_000}-{number * 10_000 + 10_099}")

    numbers = list(range(SIZE // 10_000 + 1))
    for one in [pool.submit(part, number) for number in reversed(numbers)]:
        one.result(20)

    record = waiting.result(10)
    assert len(record.ranges) == len(numbers)
    assert max(stop for _, stop in record.ranges) == SIZE


def test_a_multipart_answer_counts_by_its_parts(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=500-,0-99")
    misses(bench)
    fetch(bench, "Range: bytes=100-499,0-0")

    assert sorted(bench.wait_for_download("Image", PATIENT).ranges) == [(0, 1), (0, 100), (100, 500), (500, SIZE)]


def test_a_part_and_a_resume_count_together(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 3 << 20) as wire:
        wire.reset()
    fetch(bench, f"Range: bytes={1 << 20}-")

    record = bench.wait_for_download("Image", PATIENT)

    assert record.bytes == BIG
    assert record.ranges == ((1 << 20, BIG),)


def test_ranges_of_two_boards_are_not_added_up(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=0-524287", board=ONE)
    fetch(bench, "Range: bytes=524288-", board=OTHER)

    said = misses(bench)

    assert f"{ONE} has 512 of 1024 KiB" in said
    assert f"{OTHER} has 512 of 1024 KiB" in said


# What does not count


@pytest.mark.parametrize(
    ("method", "target", "field"),
    [
        ("HEAD", "/Image", "Accept: */*"),
        ("GET", "/image", "Accept: */*"),
        ("GET", "/Image", "If-None-Match: *"),
        ("GET", "/Image", 'If-Match: "x"'),
        ("GET", "/Image", f"Range: bytes={SIZE}-"),
        ("HEAD", "/Image", "Range: bytes=0-"),
        ("POST", "/Image", "Content-Length: 0"),
    ],
)
def test_what_carries_no_byte_of_the_file_does_not_count(
    bench: HttpServerClient, method: str, target: str, field: str
) -> None:
    with Wire(bench.get_port()) as wire:
        wire.ask(target, field, method=method)

    for until in ("all", "started", "idle", 1):
        vain(partial(bench.wait_for_download, "Image", 0, until=until, idle=0.0))


def test_an_old_download_that_ends_after_the_put_does_not_count(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 0) as wire:
        put(bench, size=BIG, seed=2)

        assert wire.read_exactly(BIG) == pattern(BIG, 1)

        misses(bench)


def test_a_board_that_polls_while_the_file_is_put_is_not_missed(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    for seed in range(2, 12):
        begun = threading.Event()

        def poll(new: bytes = pattern(5000, seed), begun: threading.Event = begun) -> None:
            with Wire(bench.get_port()) as wire:
                while wire.ask("/Image").body != new:
                    begun.set()

        polling = pool.submit(poll)
        begun.wait(10)
        put(bench, size=5000, seed=seed)
        polling.result(10)

        assert bench.wait_for_download("Image", PATIENT).bytes == 5000


@pytest.mark.parametrize("size", [IN_KERNEL, BIG])
def test_a_client_that_reads_nothing_has_not_downloaded(bench: HttpServerClient, size: int) -> None:
    """Nor does a pipelined request prove the answer before it."""
    put(bench, size=size)
    put(bench, "small", 10)
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        wire.get("/Image")
        eventually(lambda: bench.transfers and bench.transfers[0].sent >= IN_KERNEL, "the kernel has it or a part")
        assert "127.0.0.1 has " in misses(bench)
        wire.get("/small")
        misses(bench)

        assert wire.answer().body == pattern(size, 1)
        assert wire.answer().body == pattern(10, 1)
        assert bench.wait_for_download("Image", PATIENT).bytes == size
        assert bench.wait_for_download("small", PATIENT).bytes == 10


# Which client


def test_a_wait_for_one_board_is_not_ended_by_another(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench, ONE)

    fetch(bench, board=OTHER)
    still_waits = not waiting.done()
    fetch(bench, board=ONE)

    assert waiting.result(10).client == ONE
    assert still_waits


def test_a_board_that_downloads_during_another_ones_wait_is_not_missed(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 0, board=OTHER) as slow:
        fetch(bench, board=ONE)
        assert bench.wait_for_download("Image", PATIENT).client == ONE

        slow.read_exactly(BIG)

        assert bench.wait_for_download("Image", PATIENT).client == OTHER


def test_many_boards_and_many_waits_lose_nothing(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    boards = [f"127.0.2.{number}" for number in range(1, 4)]
    waiting = [begin_wait(pool, bench, board) for board in boards]

    for board in boards:
        pool.submit(fetch, bench, board=board)

    assert [one.result(20).client for one in waiting] == boards


def test_an_ipv6_client_may_be_written_in_any_form() -> None:
    with HttpServerClient(host="::1") as client:
        client.storage.write_bytes("f", b"x")
        with Wire(client.get_port(), host="::1") as wire:
            wire.ask("/f")

        assert client.wait_for_download("f", PATIENT, client="0:0:0:0:0:0:0:1").client == "::1"


def test_an_ipv4_client_of_a_dual_socket_is_called_by_its_ipv4_address() -> None:
    with HttpServerClient(host="::") as client:
        client.storage.write_bytes("f", b"x")
        with Wire(client.get_port(), source=ONE) as wire:
            wire.ask("/f")

        assert client.wait_for_download("f", PATIENT, client=ONE).client == ONE
        assert client.requests[-1].client == ONE


# Ends


def test_a_stop_waits_for_what_the_kernel_still_holds(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, size=IN_KERNEL)
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        wire.get("/Image")
        eventually(lambda: bench.transfers and bench.transfers[0].sent == IN_KERNEL, "the kernel has it")
        stopping = pool.submit(bench.stop, PATIENT)
        eventually(lambda: not bench.is_running)

        assert wire.answer().body == pattern(IN_KERNEL, 1)

        stopping.result(10)
    assert (bench.requests[-1].completed, bench.requests[-1].bytes) == (True, IN_KERNEL)


IN_MILLISECONDS = 1_795_692_317_000  # of the year 2026
NO_TIMES = ["1", -1, True, float("nan"), b"0", float("inf"), 10**400, IN_MILLISECONDS]
NO_PARTS = ["whole", "", 0, -1, 0.0, 1.1, -0.5, float("nan"), True, None, b"all"]


@each(
    ("wanted", "error", "said"),
    [
        *(({"client": client}, InvalidArgument, "client") for client in ("board", "", f"{ONE}:80", "256.0.0.1", 5)),
        *(({"clients": clients}, InvalidArgument, "client") for clients in (0, -1, True, [], ["board"])),
        *(({"clients": clients}, InvalidType, "client") for clients in (ONE, 1.5, None)),
        ({"client": ONE, "clients": [OTHER]}, InvalidArgument, "give one of them"),
        *(({"timeout": timeout}, InvalidArgument, "timeout") for timeout in (-1, "1", float("nan"), True)),
        *(({"since": since}, InvalidArgument, "since must be") for since in NO_TIMES),
        *(({"until": until}, InvalidArgument, "until must be") for until in NO_PARTS),
        *(({"name": name}, InvalidName, None) for name in ("../x", "", "a\\b", " a")),
        *(({"name": name}, InvalidName, "temporary") for name in (".httpserve-x", "d/.httpserve-0123.part")),
        ({"name": "missing"}, NotFound, "missing"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_at_once(
    bench: HttpServerClient, wanted: dict[str, Any], error: type[HttpServeError], said: str | None
) -> None:
    with pytest.raises(error, match=said):
        bench.wait_for_download(**{"name": "Image", "timeout": 1, **wanted})


def test_the_jobs_script_works(bench: HttpServerClient, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    (tmp_path / "image").write_bytes(os.urandom(300_000))
    url = bench.put_file("image", tmp_path / "image")
    board = pool.submit(lambda: requests.get(url, timeout=10).content)

    record = bench.wait_for_download("image", 10)

    assert board.result(10) == (tmp_path / "image").read_bytes()
    assert record.user_agent.startswith("python-requests")
