"""Waiting until a board has a file: what counts, what does not, and what is said instead."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import requests

from httpserve import (
    DownloadRecord,
    HttpServerClient,
    InvalidArgument,
    InvalidName,
    NotFound,
    ServerNotRunning,
    WaitTimeout,
)
from tests.server.waits import begin
from tests.server.wire import Wire, eventually, pattern

SIZE = 1 << 20
ONE, OTHER = "127.0.0.2", "127.0.0.3"  # two boards


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[HttpServerClient]:
    """A server with `Image` on it."""
    with HttpServerClient(host="127.0.0.1") as client:
        put(client, 1)
        yield client


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as executor:
        yield executor


def put(client: HttpServerClient, seed: int, name: str = "Image", size: int = SIZE) -> None:
    with client.storage.open(name, "wb") as file:
        file.write(pattern(size, seed))


def fetch(client: HttpServerClient, *fields: str, target: str = "/Image", board: str | None = None) -> bytes:
    with Wire(client.get_port(), source=board) as wire:
        return wire.ask(target, *fields).body


def misses(client: HttpServerClient, *, name: str = "Image", board: str | None = None, timeout: float = 0.05) -> str:
    """Wait in vain, and return what is said."""
    with pytest.raises(WaitTimeout) as caught:
        client.wait_for_download(name, timeout, client=board)
    return str(caught.value)


def begin_wait(
    pool: ThreadPoolExecutor, client: HttpServerClient, name: str = "Image", board: str | None = None
) -> Future[DownloadRecord]:
    """Begin to wait in another thread, and return when it waits."""
    return begin(pool, lambda: client.wait_for_download(name, 20, client=board))


# What counts


def test_a_whole_download_after_the_call_ends_the_wait(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench)

    fetch(bench, "User-Agent: board/1")

    record = waiting.result(10)
    assert (record.name, record.client, record.bytes) == ("Image", "127.0.0.1", SIZE)
    assert (record.user_agent, record.ranges) == ("board/1", ())
    assert 0 <= record.seconds < 60


def test_a_download_before_the_call_counts(bench: HttpServerClient) -> None:
    fetch(bench)

    assert bench.wait_for_download("Image", 5).bytes == SIZE


def test_a_download_before_the_call_counts_with_a_timeout_of_zero(bench: HttpServerClient) -> None:
    put(bench, 1, "small", 100)
    for _ in range(100):
        assert fetch(bench, target="/small") == pattern(100, 1)

        assert bench.wait_for_download("small", 0).bytes == 100


def test_a_download_before_the_call_counts_with_any_size_and_no_time(bench: HttpServerClient) -> None:
    for size in (0, 1, 128 * 1024, 128 * 1024 + 1, 3 << 20):
        put(bench, 1, "f", size)
        assert fetch(bench, target="/f") == pattern(size, 1)

        assert bench.wait_for_download("f", 0).bytes == size


def test_a_download_counts_once(bench: HttpServerClient) -> None:
    fetch(bench)
    bench.wait_for_download("Image", 5)

    assert "earlier wait" in misses(bench)


def test_a_second_download_counts_again(bench: HttpServerClient) -> None:
    for _ in range(3):
        fetch(bench)

        assert bench.wait_for_download("Image", 5).bytes == SIZE


def test_a_name_is_the_same_however_it_is_written(bench: HttpServerClient) -> None:
    put(bench, 1, "boot/Image")

    fetch(bench, target="//boot/./Im%61ge?query")

    assert bench.wait_for_download("/boot//Image", 5).name == "boot/Image"
    assert fetch(bench, target="/boot/Image") == pattern(SIZE, 1)
    assert bench.wait_for_download(Path("boot") / "Image", 5).name == "boot/Image"


def test_a_file_that_others_put_there_can_be_waited_for(tmp_path: Path) -> None:
    (tmp_path / "built").write_bytes(b"x")
    with HttpServerClient(tmp_path, host="127.0.0.1") as client:
        fetch(client, target="/built")

        assert client.wait_for_download("built", 5).bytes == 1


def test_an_empty_file_is_downloaded_by_one_get(bench: HttpServerClient) -> None:
    put(bench, 1, "empty", 0)
    with Wire(bench.get_port()) as wire:
        wire.ask("/empty", method="HEAD")
    said = misses(bench, name="empty")

    fetch(bench, target="/empty")

    assert bench.wait_for_download("empty", 5).bytes == 0
    assert "empty" in said


def test_a_client_that_closes_right_after_the_last_byte_counts(bench: HttpServerClient) -> None:
    for _ in range(30):
        fetch(bench, "Connection: close")

        assert bench.wait_for_download("Image", 5).bytes == SIZE


def test_a_grub_that_ends_by_reset_after_the_last_byte_counts(bench: HttpServerClient) -> None:
    for _ in range(30):
        with Wire(bench.get_port()) as wire:
            wire.ask("/Image")
            wire.reset()

        assert bench.wait_for_download("Image", 5).bytes == SIZE


def test_a_slow_half_closed_client_counts(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, 1, size=2 << 20)
    waiting = begin_wait(pool, bench)
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        wire.half_close()
        wire.read_head()
        threading.Event().wait(0.2)  # long enough for the server to have read the end

        assert wire.rest() == pattern(2 << 20, 1)

        assert waiting.result(10).bytes == 2 << 20


# By ranges


def test_ranges_over_one_connection_count_when_they_cover_the_file(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        for start in range(0, SIZE, 1 << 18):
            wire.ask("/Image", f"Range: bytes={start}-{start + (1 << 18) - 1}")

    record = bench.wait_for_download("Image", 5)
    assert record.ranges == tuple((start, start + (1 << 18)) for start in range(0, SIZE, 1 << 18))


def test_ranges_over_many_connections_count_in_any_order(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench)

    def part(number: int) -> None:
        fetch(bench, f"Range: bytes={number * 1000}-{number * 1000 + 1099}")

    numbers = list(range(SIZE // 1000 + 1))
    for one in [pool.submit(part, number) for number in reversed(numbers)]:
        one.result(20)

    record = waiting.result(10)
    assert len(record.ranges) == len(numbers)
    assert max(stop for _, stop in record.ranges) == SIZE


def test_one_missing_byte_does_not_make_a_download(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=0-99")
    fetch(bench, "Range: bytes=101-")
    assert "of 1024 KiB" in misses(bench)

    fetch(bench, "Range: bytes=100-100")

    assert bench.wait_for_download("Image", 5).bytes == SIZE


def test_a_multipart_answer_counts_by_its_parts(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=500-,0-99")
    misses(bench)
    fetch(bench, "Range: bytes=100-499,0-0")

    assert sorted(bench.wait_for_download("Image", 5).ranges) == [(0, 1), (0, 100), (100, 500), (500, SIZE)]


def test_a_part_and_a_resume_count_together(bench: HttpServerClient) -> None:
    put(bench, 1, size=8 << 20)
    with Wire(bench.get_port()) as wire:
        wire.get("/Image")
        wire.read_head()
        wire.read_exactly(3 << 20)
        wire.reset()
    fetch(bench, f"Range: bytes={1 << 20}-")

    record = bench.wait_for_download("Image", 5)

    assert record.bytes == 8 << 20
    assert record.ranges == ((1 << 20, 8 << 20),)


def test_ranges_of_two_boards_are_not_added_up(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=0-524287", board=ONE)
    fetch(bench, "Range: bytes=524288-", board=OTHER)

    said = misses(bench)

    assert f"{ONE} has 512 of 1024 KiB" in said
    assert f"{OTHER} has 512 of 1024 KiB" in said


def test_parts_of_the_old_and_of_the_new_version_are_not_added_up(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=0-524287")
    put(bench, 2)
    fetch(bench, "Range: bytes=524288-")

    assert "512 of 1024 KiB" in misses(bench)


# What does not count


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("HEAD", ()),
        ("GET", ("If-None-Match: *",)),
        ("GET", ('If-Match: "x"',)),
        ("GET", (f"Range: bytes={SIZE}-",)),
        ("GET", ("Range: bytes=0-0",)),
        ("HEAD", ("Range: bytes=0-",)),
        ("POST", ()),
    ],
)
def test_what_carries_no_file_does_not_count(bench: HttpServerClient, method: str, fields: tuple[str, ...]) -> None:
    with Wire(bench.get_port()) as wire:
        wire.ask("/Image", *fields, method=method)

    misses(bench)


def test_a_download_of_the_old_content_does_not_count(bench: HttpServerClient) -> None:
    fetch(bench)
    put(bench, 2)

    misses(bench)
    fetch(bench)
    assert bench.wait_for_download("Image", 5).bytes == SIZE


def test_a_download_of_the_same_content_before_the_put_does_not_count(bench: HttpServerClient) -> None:
    fetch(bench)
    put(bench, 1)

    misses(bench)


def test_a_download_before_other_hands_changed_the_file_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "built"
    path.write_bytes(b"one")
    with HttpServerClient(tmp_path, host="127.0.0.1") as client:
        fetch(client, target="/built")
        path.write_bytes(b"two")

        misses(client, name="built")


def test_an_old_download_that_ends_after_the_put_does_not_count(bench: HttpServerClient) -> None:
    put(bench, 1, size=8 << 20)
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        wire.read_head()
        put(bench, 2, size=8 << 20)

        assert wire.read_exactly(8 << 20) == pattern(8 << 20, 1)

        misses(bench, timeout=0.3)


def test_a_board_that_polls_while_the_file_is_put_is_not_missed(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    for round_ in range(60):
        new = pattern(5000, 2 + round_ % 2)
        begun = threading.Event()

        def poll(new: bytes = new, begun: threading.Event = begun) -> None:
            with Wire(bench.get_port()) as wire:
                while wire.ask("/Image").body != new:
                    begun.set()

        polling = pool.submit(poll)
        begun.wait(10)
        bench.storage.write_bytes("Image", new)
        polling.result(10)

        assert bench.wait_for_download("Image", 5).bytes == 5000


@pytest.mark.parametrize("size", [200_000, 2 << 20, 16 << 20])
def test_a_client_that_reads_nothing_has_not_downloaded(bench: HttpServerClient, size: int) -> None:
    put(bench, 1, size=size)
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        eventually(lambda: bench.requests[-1:], "the request was seen")

        said = misses(bench, timeout=0.3)

        assert "127.0.0.1 has " in said
        assert wire.answer().body == pattern(size, 1)
        assert bench.wait_for_download("Image", 5).bytes == size


def test_a_pipelined_request_does_not_prove_the_answer_before_it(bench: HttpServerClient) -> None:
    put(bench, 1, size=2 << 20)
    put(bench, 1, "small", 10)
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        eventually(lambda: bench.requests[-1:], "the request was seen")
        threading.Event().wait(0.1)  # until the kernel has it all
        wire.get("/small")

        misses(bench, timeout=0.2)

        assert wire.answer().body == pattern(2 << 20, 1)
        assert wire.answer().body == pattern(10, 1)
        assert bench.wait_for_download("Image", 5).bytes == 2 << 20
        assert bench.wait_for_download("small", 5).bytes == 10


def test_a_client_that_goes_away_before_the_end_has_not_downloaded(bench: HttpServerClient) -> None:
    put(bench, 1, size=8 << 20)
    for end in ("reset", "close"):
        with Wire(bench.get_port(), receive_bytes=65536) as wire:
            wire.get("/Image")
            wire.read_head()
            wire.read_exactly(1 << 20)
            wire.reset() if end == "reset" else wire.close()

    misses(bench, timeout=0.3)


# Which client


def test_a_wait_for_one_board_is_not_ended_by_another(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench, board=ONE)

    fetch(bench, board=OTHER)
    still_waits = not waiting.done()
    fetch(bench, board=ONE)

    assert waiting.result(10).client == ONE
    assert still_waits


def test_each_board_can_be_waited_for_in_turn(bench: HttpServerClient) -> None:
    boards = [f"127.0.1.{number}" for number in range(1, 9)]
    for board in reversed(boards):
        fetch(bench, board=board)

    assert [bench.wait_for_download("Image", 5, client=board).client for board in boards] == boards


def test_a_board_that_downloads_during_another_ones_wait_is_not_missed(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    put(bench, 1, size=8 << 20)
    with Wire(bench.get_port(), receive_bytes=65536, source=OTHER) as slow:
        slow.get("/Image")
        slow.read_head()
        fetch(bench, board=ONE)
        assert bench.wait_for_download("Image", 5).client == ONE

        slow.read_exactly(8 << 20)

        assert bench.wait_for_download("Image", 5).client == OTHER


def test_ranges_of_one_board_survive_the_wait_for_another(bench: HttpServerClient) -> None:
    fetch(bench, "Range: bytes=0-524287", board=OTHER)
    fetch(bench, board=ONE)
    bench.wait_for_download("Image", 5)
    fetch(bench, "Range: bytes=524288-", board=OTHER)

    assert bench.wait_for_download("Image", 5, client=OTHER).bytes == SIZE


@pytest.mark.parametrize("client", ["board", "", "127.0.0.1:80", "256.0.0.1", 5])
def test_a_client_that_is_no_address_is_refused(bench: HttpServerClient, client: object) -> None:
    with pytest.raises(InvalidArgument, match="client"):
        bench.wait_for_download("Image", 1, client=client)  # type: ignore[call-overload]


def test_an_ipv6_client_may_be_written_in_any_form() -> None:
    with HttpServerClient(host="::1") as client:
        client.storage.write_bytes("f", b"x")
        with Wire(client.get_port(), host="::1") as wire:
            wire.ask("/f")

        assert client.wait_for_download("f", 5, client="0:0:0:0:0:0:0:1").client == "::1"


def test_an_ipv4_client_of_a_dual_socket_is_called_by_its_ipv4_address() -> None:
    with HttpServerClient(host="::") as client:
        client.storage.write_bytes("f", b"x")
        with Wire(client.get_port(), source=ONE) as wire:
            wire.ask("/f")

        assert client.wait_for_download("f", 5, client=ONE).client == ONE
        assert client.requests[-1].client == ONE


# Many waiters


def test_every_wait_that_began_before_a_download_sees_it(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = [begin_wait(pool, bench) for _ in range(5)]

    fetch(bench)

    assert {one.result(10).bytes for one in waiting} == {SIZE}


def test_waits_for_different_names_each_get_their_own(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    for number in range(8):
        put(bench, number, f"f{number}", 1000 + number)
    waiting = [begin_wait(pool, bench, f"f{number}") for number in range(8)]

    for number in reversed(range(8)):
        fetch(bench, target=f"/f{number}")

    assert [one.result(10).name for one in waiting] == [f"f{number}" for number in range(8)]


def test_many_boards_and_many_waits_lose_nothing(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    boards = [f"127.0.2.{number}" for number in range(1, 7)]
    waiting = [begin_wait(pool, bench, board=board) for board in boards]

    for board in boards:
        pool.submit(fetch, bench, board=board)

    assert [one.result(20).client for one in waiting] == boards


# Ends


def test_a_stop_ends_the_wait(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench)

    bench.stop()

    with pytest.raises(ServerNotRunning, match="Image"):
        waiting.result(5)


def test_a_download_that_drains_during_a_stop_ends_the_wait_well(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    put(bench, 1, size=8 << 20)
    waiting = begin_wait(pool, bench)
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        wire.read_head()
        stopping = pool.submit(bench.stop, 20.0)
        eventually(lambda: not bench.is_running)

        wire.read_exactly(8 << 20)

        stopping.result(10)
    with contextlib.suppress(ServerNotRunning):  # the wait may have looked while it drained
        assert waiting.result(10).bytes == 8 << 20
    assert bench.requests[-1].completed


def test_a_stop_waits_for_what_the_kernel_still_holds(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench, 1, size=2 << 20)
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        wire.read_head()
        threading.Event().wait(0.1)  # until the kernel has it all
        stopping = pool.submit(bench.stop, 20.0)
        eventually(lambda: not bench.is_running)

        assert wire.read_exactly(2 << 20) == pattern(2 << 20, 1)

        stopping.result(10)
    assert (bench.requests[-1].completed, bench.requests[-1].bytes) == (True, 2 << 20)


def test_a_wait_on_a_stopped_server_says_so(bench: HttpServerClient) -> None:
    bench.stop()

    with pytest.raises(ServerNotRunning):
        bench.wait_for_download("Image", 1)


def test_a_name_without_a_file_is_not_waited_for(bench: HttpServerClient) -> None:
    with pytest.raises(NotFound, match="missing"):
        bench.wait_for_download("missing", 1)


def test_a_file_that_is_deleted_ends_the_wait(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin_wait(pool, bench)

    bench.storage.delete("Image")

    with pytest.raises(NotFound):
        waiting.result(10)


@pytest.mark.parametrize("name", ["../x", "", "a\\b", " a"])
def test_a_name_that_no_file_can_have_is_refused(bench: HttpServerClient, name: str) -> None:
    with pytest.raises(InvalidName):
        bench.wait_for_download(name, 1)


@pytest.mark.parametrize("timeout", [-1, "1", float("nan"), True])
def test_a_timeout_that_is_none_is_refused(bench: HttpServerClient, timeout: object) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        bench.wait_for_download("Image", timeout)  # type: ignore[call-overload]


# What is said


def test_the_timeout_says_how_much_has_arrived(bench: HttpServerClient) -> None:
    put(bench, 1, size=58 << 20)
    fetch(bench, f"Range: bytes=0-{(41 << 20) - 1}", board=ONE)

    with pytest.raises(WaitTimeout) as caught:
        bench.wait_for_download("Image", 0.05)

    assert f"{ONE} has 41 of 58 MiB" in str(caught.value)
    assert (caught.value.name, caught.value.timeout) == ("Image", 0.05)
    assert isinstance(caught.value, TimeoutError)


def test_the_timeout_counts_what_is_under_way(bench: HttpServerClient) -> None:
    put(bench, 1, size=58 << 20)
    with Wire(bench.get_port(), receive_bytes=65536, source=ONE) as wire:
        wire.get("/Image")
        wire.read_head()
        wire.read_exactly(30 << 20)

        said = misses(bench)

    amount = int(said.split(f"{ONE} has ")[1].split(" ")[0])
    assert 29 <= amount <= 34


def test_the_timeout_says_that_nobody_asked(bench: HttpServerClient) -> None:
    assert "nobody asked for it, nor for anything else" in misses(bench)


def test_the_timeout_says_what_was_asked_for_instead(bench: HttpServerClient) -> None:
    fetch(bench, target="/image")
    fetch(bench, target="/boot/%0aImage")

    said = misses(bench)

    assert "/image (404" in said
    assert "\n" not in said


def test_the_timeout_for_one_board_names_the_other_that_asked(bench: HttpServerClient) -> None:
    fetch(bench, board=OTHER)

    said = misses(bench, board=ONE)

    assert ONE in said
    assert OTHER in said


def test_a_timeout_is_kept(bench: HttpServerClient) -> None:
    began = time.monotonic()

    misses(bench, timeout=0.2)

    assert 0.2 <= time.monotonic() - began < 30


# The record


def test_a_record_is_a_value(bench: HttpServerClient) -> None:
    fetch(bench)
    record = bench.wait_for_download("Image", 5)

    with pytest.raises(FrozenInstanceError):
        record.bytes = 0  # type: ignore[misc]
    assert record == record
    assert hash(record) is not None


def test_control_characters_of_a_user_agent_are_escaped(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.send(b"GET /Image HTTP/1.1\r\nHost: a\r\nUser-Agent: a\tb\x9b31mc\r\n\r\n")
        wire.answer()

    agent = bench.wait_for_download("Image", 5).user_agent
    assert agent.isprintable()
    assert agent.startswith("a\\tb")


def test_the_jobs_script_works(bench: HttpServerClient, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    (tmp_path / "image").write_bytes(os.urandom(300_000))
    url = bench.put_file("image", tmp_path / "image")
    board = pool.submit(lambda: requests.get(url, timeout=10).content)

    record = bench.wait_for_download("image", 10)

    assert board.result(10) == (tmp_path / "image").read_bytes()
    assert record.user_agent.startswith("python-requests")
