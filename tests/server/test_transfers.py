"""Transfers as they happen: what was sent, what was received, and how each has ended."""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from httpserve import HttpServerClient
from httpserve.records.model import Transfer
from tests.conftest import private_root
from tests.server.waits import BIG, ONE, OTHER, PATIENT, SIZE, fetch, fetch_part, halfway, put, vain
from tests.server.wire import Wire, eventually

RECEIVE_BYTES = 65536
QUEUED_BYTES = 4 * RECEIVE_BYTES  # that a board's small receive buffer may hold, as the kernel sizes it

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is acknowledged")


def only(client: HttpServerClient) -> Transfer:
    (transfer,) = client.transfers
    return transfer


def ended(client: HttpServerClient) -> Transfer:
    eventually(lambda: only(client).state != "under way", "the end")
    return only(client)


# What is told


def test_a_transfer_says_what_went_to_whom(bench: HttpServerClient) -> None:
    put(bench, "boot/Image")
    began = time.time()
    with Wire(bench.get_port(), source=ONE) as wire:
        wire.ask("/boot/Image?x=1", "User-Agent: board/1")
        port = wire.sock.getsockname()[1]

    transfer = ended(bench)
    assert (transfer.name, transfer.method, transfer.target, transfer.status) == (
        "boot/Image", "GET", "/boot/Image?x=1", 200
    )  # fmt: skip
    assert (transfer.client, transfer.client_port, transfer.local) == (ONE, port, "127.0.0.1")
    assert (transfer.sent, transfer.acknowledged, transfer.total, transfer.ranges) == (SIZE, SIZE, SIZE, ())
    assert (transfer.state, transfer.user_agent) == ("completed", "board/1")
    assert began - 1 <= transfer.time <= time.time() + 1
    assert 0 <= transfer.seconds < PATIENT
    assert transfer.rate > 0
    if sys.platform == "linux":
        assert transfer.known == "acked"


def test_a_transfer_of_ranges_says_which(bench: HttpServerClient) -> None:
    put(bench)
    fetch_part(bench, 10, 20)
    fetch(bench, "Range: bytes=0-9,100-199")

    one, many = bench.transfers
    assert (one.status, one.ranges, one.total) == (206, ((10, 20),), 10)
    assert many.ranges == ((0, 10), (100, 200))
    assert many.total > 110  # with the heads of its parts


def test_what_carries_no_content_of_a_file_is_no_transfer(bench: HttpServerClient) -> None:
    put(bench)
    with Wire(bench.get_port()) as wire:
        wire.ask("/Image", method="HEAD")
        wire.ask("/missing")
        wire.ask("/Image", "If-None-Match: *")
        wire.ask("/Image", f"Range: bytes={SIZE}-")
        wire.ask("/")

    assert len(bench.requests) == 5
    assert bench.transfers == ()


def test_transfers_stand_in_the_order_of_their_requests(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1000, board=ONE):
        for number in range(3):
            fetch_part(bench, number, number + 1)

        assert [transfer.client for transfer in bench.transfers] == [ONE, *["127.0.0.1"] * 3]
        assert [transfer.ranges for transfer in bench.transfers[1:]] == [((0, 1),), ((1, 2),), ((2, 3),)]


# Received, not sent


@linux
def test_a_whole_answer_in_the_kernel_was_sent_and_is_not_complete_for_a_moment_even(bench: HttpServerClient) -> None:
    put(bench, size=100_000)
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        wire.get("/Image")
        eventually(lambda: bench.transfers and only(bench).sent == 100_000, "the kernel took it")

        assert only(bench).acknowledged < 50_000
        assert only(bench).state == "under way"
        vain(lambda: bench.wait_for_download("Image", 0))

        wire.answer()

        eventually(lambda: only(bench).acknowledged == 100_000, "it was acknowledged")
        assert only(bench).state == "completed"


def has_received(client: HttpServerClient, count: int) -> bool:
    return only(client).acknowledged >= count


@linux
def test_what_a_board_reads_is_received_as_it_reads(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 0) as board:
        for read in range(1 << 20, 6 << 20, 1 << 20):
            board.read_exactly(1 << 20)

            eventually(partial(has_received, bench, read), "it was acknowledged")
            assert only(bench).acknowledged <= read + QUEUED_BYTES
            assert only(bench).sent >= only(bench).acknowledged


@linux
@pytest.mark.parametrize("end", ["reset", "closed"])
def test_an_answer_that_is_broken_off_counts_to_its_acknowledged_byte(bench: HttpServerClient, end: str) -> None:
    put(bench, size=BIG)
    with halfway(bench, 3 << 20) as board:
        eventually(lambda: only(bench).acknowledged >= 3 << 20, "it was acknowledged")
        if end == "reset":
            board.reset()
        else:
            board.half_close()  # a close with unread input would reset, too
            board.close()

    transfer = ended(bench)
    assert transfer.state in (end, "reset")
    assert 3 << 20 <= transfer.acknowledged <= (3 << 20) + QUEUED_BYTES
    assert transfer.acknowledged <= transfer.sent < BIG
    error = vain(lambda: bench.wait_for_download("Image", 0.05))
    assert error.received == transfer.acknowledged


def test_grubs_seeks_count_for_what_they_took(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    for start in (0, 5 << 20, 1 << 20):  # GRUB asks to the end, and hangs up by a reset
        with halfway(bench, 1000, f"Range: bytes={start}-") as board:
            eventually(lambda: bench.transfers[-1].acknowledged >= 1000, "it was acknowledged")
            board.reset()
    eventually(lambda: all(one.state == "reset" for one in bench.transfers), "the ends")

    error = vain(lambda: bench.wait_for_download("Image", 0.05))

    assert 3000 <= error.received <= 3 * (1000 + QUEUED_BYTES)
    assert error.happened == "ranges missing"


@pytest.mark.local_root("a file that is changed in its place")
def test_an_answer_that_the_server_cuts_says_so(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1000) as board:
        with open(private_root() / "Image", "r+b") as file:  # it changes while it is sent
            file.truncate(2 << 20)
        board.rest_until_any_end()

        assert ended(bench).state == "cut"
    assert only(bench).acknowledged < BIG


def test_a_small_answer_is_complete_once_the_client_asks_on(bench: HttpServerClient) -> None:
    put(bench, size=10)
    with Wire(bench.get_port()) as wire:
        wire.ask("/Image")
        wire.ask("/Image")

        assert bench.transfers[0].state == "completed"
        eventually(lambda: bench.transfers[1].state == "completed", "it was acknowledged")


def has_sent(client: HttpServerClient, counts: list[int]) -> bool:
    return [one.sent for one in client.transfers] == counts


def test_a_reset_after_a_half_close_ends_the_download_and_frees_the_connection() -> None:
    with HttpServerClient(host="127.0.0.1", max_connections=2) as client:
        client.storage.write_bytes("image", bytes(32_000))
        for count in (1, 2):
            wire = Wire(client.get_port(), receive_bytes=4096)
            wire.get("/image")
            assert wire.read_head()
            wire.half_close()
            eventually(partial(has_sent, client, [32_000] * count), "all is sent")
            wire.reset()
        eventually(lambda: [record.outcome for record in client.requests] == ["reset", "reset"], "the ends")
        with Wire(client.get_port()) as other:
            assert other.ask("/missing").status == 404


# On systems that do not tell what is acknowledged


@pytest.fixture
def silent(bench: HttpServerClient, monkeypatch: pytest.MonkeyPatch) -> HttpServerClient:
    """A server on a system that tells no more than what it took."""
    monkeypatch.setattr("httpserve.server.tcp.TELLS_OUTSTANDING", False)
    return bench


@pytest.mark.parametrize("size", [100, 100_000, SIZE])
@pytest.mark.parametrize("field", ["Connection: close", "Connection: keep-alive"])
def test_an_orderly_close_proves_an_answer(silent: HttpServerClient, size: int, field: str) -> None:
    put(silent, size=size)

    fetch(silent, field)

    record = silent.wait_for_download("Image", PATIENT)
    assert (record.bytes, record.known) == (size, "handed_over")
    assert (only(silent).state, only(silent).known, silent.requests[0].known) == (
        "completed", "handed_over", "handed_over"
    )  # fmt: skip


def test_the_next_request_proves_an_answer(silent: HttpServerClient) -> None:
    put(silent)
    with Wire(silent.get_port()) as wire:
        wire.ask("/Image")
        assert only(silent).state == "under way"
        wire.ask("/else")

        assert silent.wait_for_download("Image", PATIENT).bytes == SIZE


def test_a_pipelined_request_and_a_reset_prove_nothing(silent: HttpServerClient) -> None:
    put(silent)
    with Wire(silent.get_port()) as wire:
        wire.send(b"GET /Image HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
        wire.answer()
        wire.reset()

    eventually(lambda: {one.state for one in silent.transfers} == {"reset"}, "the end")
    assert {one.acknowledged for one in silent.transfers} == {0}
    vain(lambda: silent.wait_for_download("Image", 0.05))


# How many


def test_no_more_are_kept_than_records_and_the_oldest_goes_first() -> None:
    with HttpServerClient(host="127.0.0.1", max_records=5) as client:
        put(client)
        for number in range(12):
            fetch_part(client, number, number + 1)

        latest = [((number, number + 1),) for number in range(7, 12)]
        eventually(lambda: [transfer.ranges for transfer in client.transfers] == latest, "those before have ended")


def test_one_under_way_is_kept_however_many_have_ended_since() -> None:
    with HttpServerClient(host="127.0.0.1", max_records=5) as client:
        put(client, size=BIG)
        with halfway(client, 1000, board=OTHER) as board:
            for number in range(12):
                fetch_part(client, number, number + 1)
            kept = [OTHER, *["127.0.0.1"] * 5]
            eventually(lambda: [transfer.client for transfer in client.transfers] == kept, "the others have ended")

            board.reset()
            eventually(lambda: len(client.transfers) == 5, "it is forgotten with its end")


def test_transfers_may_be_looked_at_while_boards_fetch(bench: HttpServerClient) -> None:
    put(bench)
    done = threading.Event()

    def board(address: str) -> None:
        while not done.is_set():
            fetch(bench, board=address)

    seen: set[Transfer] = set()

    def look() -> bool:
        seen.update(bench.transfers)
        return sum(transfer.state == "completed" for transfer in seen) >= 20

    with ThreadPoolExecutor() as pool:
        boards = [pool.submit(board, f"127.0.1.{number}") for number in range(1, 4)]
        try:
            eventually(look, "twenty downloads")
        finally:
            done.set()
        for one in boards:
            one.result(10)

    assert all(0 <= transfer.acknowledged <= transfer.total == SIZE for transfer in seen)
    assert {transfer.acknowledged for transfer in seen if transfer.state == "completed"} == {SIZE}


# What is not there


def test_each_404_is_told_with_client_time_name_and_the_nearest_names(bench: HttpServerClient) -> None:
    for name in ("boot/zImage", "boot/board.dtb", "rootfs.img"):
        put(bench, name, 10)
    began = time.time()
    fetch(bench, target="/boot/zimage", board=ONE)
    fetch(bench, target="/zImage?retry=1", board=OTHER)
    with Wire(bench.get_port()) as wire:
        wire.ask("/boot/bo%61rd.dbt", method="HEAD")
    fetch(bench, target="/grubx64.efi")
    fetch(bench, target="/rootfs.img")

    assert [(one.client, one.name, one.nearest) for one in bench.missing] == [
        (ONE, "boot/zimage", ("boot/zImage",)),
        (OTHER, "zImage", ("boot/zImage",)),
        ("127.0.0.1", "boot/board.dbt", ("boot/board.dtb",)),
        ("127.0.0.1", "grubx64.efi", ()),
    ]
    assert all(began - 1 <= one.time <= time.time() + 1 for one in bench.missing)


def test_the_nearest_names_are_those_that_exist_by_now(bench: HttpServerClient) -> None:
    fetch(bench, target="/image")
    before = bench.missing
    put(bench, size=10)

    assert [one.nearest for one in (*before, *bench.missing)] == [(), ("Image",)]
    bench.storage.delete("Image")
    assert bench.missing[0].nearest == ()


def test_missing_names_are_bounded_and_outlive_other_records() -> None:
    with HttpServerClient(host="127.0.0.1", max_records=3) as client:
        put(client, size=10)
        for number in range(5):
            fetch(client, target=f"/{number}")
        for _ in range(5):
            fetch(client)

        assert [one.name for one in client.missing] == ["2", "3", "4"]


def test_connections_are_counted_by_address(bench: HttpServerClient) -> None:
    with Wire(bench.get_port(), source=ONE):
        fetch(bench, board=OTHER)
        fetch(bench, board=OTHER)

        eventually(lambda: bench.connections == {ONE: 1, OTHER: 2}, "they were counted")
