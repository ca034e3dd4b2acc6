"""Answers that are held at one byte: what has arrived, who may release them, and how it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from httpserve import HttpServerClient, InvalidArgument, ServerNotRunning
from httpserve.faults import Cut, Status
from tests.cases import each
from tests.server.waits import AT_ONCE, ONE, OTHER, PATIENT, SIZE, begin, vain
from tests.server.wire import Wire, eventually, pattern

DATA = pattern(SIZE, 1)


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


@each("at, byte", [(0.5, SIZE // 2), (1, 1), (-1, SIZE - 1), (1.0, SIZE)])
def test_a_hold_stops_at_its_byte_until_it_is_released(bench: HttpServerClient, at: float, byte: int) -> None:
    with bench.hold("Image", at) as hold, Wire(bench.get_port()) as wire:
        wire.get("/Image")
        wire.read_head()
        assert wire.read_exactly(byte) == DATA[:byte]

        transfer = hold.wait(PATIENT)

        assert (transfer.acknowledged, transfer.sent, transfer.state) == (byte, byte, "under way")
        assert hold.held == (transfer,) or hold.held[0].acknowledged == byte
        assert not wire.has_input(0.05)
        hold.release()
        assert wire.read_exactly(SIZE - byte) == DATA[byte:]
    assert bench.wait_for_download("Image", PATIENT).bytes == SIZE
    assert len(hold.hits) == 1


def test_a_hold_at_the_very_first_byte_is_before_the_head(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        with bench.hold("Image", 0) as hold:
            wire.get("/Image")

            assert hold.wait(PATIENT).acknowledged == 0
            assert not wire.has_input(0.05)
        assert wire.answer().body == DATA


def test_the_wait_is_over_once_the_board_has_acknowledged_all_before(bench: HttpServerClient) -> None:
    with bench.hold("Image", 0.9) as hold, Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        vain(lambda: hold.wait(AT_ONCE))
        wire.read_head()
        wire.read_exactly(int(0.9 * SIZE))

        assert hold.wait(PATIENT).acknowledged == int(0.9 * SIZE)


def test_leaving_the_block_releases(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        with bench.hold("Image") as hold:
            wire.get("/Image")
            hold.wait(PATIENT)
        assert wire.answer().body == DATA
    with pytest.raises(InvalidArgument, match="released"):
        hold.wait(PATIENT)


def test_a_hold_is_for_one_board_and_its_ranges(bench: HttpServerClient) -> None:
    with bench.hold("Im*", 1000, client=ONE) as hold:
        with Wire(bench.get_port(), source=OTHER) as wire:
            assert wire.ask("/Image").body == DATA
        with Wire(bench.get_port(), source=ONE) as wire:
            assert wire.ask("/Image", "Range: bytes=0-999").body == DATA[:1000]
            assert wire.ask("/Image", "Range: bytes=1001-1999").body == DATA[1001:2000]
            wire.get("/Image", "Range: bytes=900-1099")
            assert hold.wait(PATIENT).acknowledged == 100
            assert len(hold.hits) == 1


def test_holds_and_a_fault_come_together(bench: HttpServerClient) -> None:
    with (
        bench.hold("Image", 1000) as first,
        bench.hold("Image", 2000) as second,
        bench.fault("Image", Cut(3000)) as cut,
        Wire(bench.get_port()) as wire,
    ):
        wire.get("/Image")
        assert first.wait(PATIENT).acknowledged == 1000
        assert second.held == ()
        first.release()
        assert second.wait(PATIENT).acknowledged == 2000
        second.release()
        wire.read_head()
        assert wire.rest() == DATA[:3000]
        assert (cut.hits, first.hits) == (second.hits, second.hits)
    with (
        bench.fault("Image", Status(500, body=b"12345")),
        bench.hold("Image", 3) as hold,
        Wire(bench.get_port()) as wire,
    ):
        wire.get("/Image")
        assert hold.wait(PATIENT).total == 5


@each("leave, outcome", [(Wire.close, "closed"), (Wire.reset, "reset")])
def test_a_board_that_leaves_ends_its_answer(
    bench: HttpServerClient, leave: Callable[[Wire], None], outcome: str
) -> None:
    with bench.hold("Image") as hold, Wire(bench.get_port()) as wire:
        wire.get("/Image")
        wire.read_head()
        wire.read_exactly(SIZE // 2)
        hold.wait(PATIENT)

        leave(wire)

        eventually(lambda: hold.hits[0].outcome != "under way", "the server sees it")
        assert (hold.hits[0].outcome, hold.hits[0].bytes) == (outcome, SIZE // 2)
        assert hold.held == ()


def test_a_board_comes_back_and_has_all(bench: HttpServerClient) -> None:
    """The board loses its power at 50 %, boots, and resumes."""
    with bench.hold("Image", 0.5) as hold, Wire(bench.get_port()) as wire:
        wire.get("/Image")
        wire.read_head()
        kept = wire.read_exactly(hold.wait(PATIENT).acknowledged)
        wire.reset()
    with Wire(bench.get_port()) as wire:
        kept += wire.ask("/Image", f"Range: bytes={len(kept)}-").body

    assert kept == DATA
    assert bench.wait_for_download("Image", PATIENT).ranges == ((SIZE // 2, SIZE),)


def test_a_hold_that_nobody_comes_to_says_what_happened(bench: HttpServerClient) -> None:
    with bench.hold("Image") as hold:
        error = vain(lambda: hold.wait(AT_ONCE))
        assert (error.happened, "nobody asked for it" in str(error)) == ("nobody connected", True)
        with Wire(bench.get_port()) as wire:
            wire.ask("/Image", "Range: bytes=0-99")
            error = vain(lambda: hold.wait(AT_ONCE))
        assert "GET by 127.0.0.1, has 100 of 100 bytes" in str(error)
        for seconds in (0, -1, "1"):
            with pytest.raises(InvalidArgument):
                hold.wait(seconds)  # type: ignore[arg-type]  # one is no number


def test_the_end_of_the_server_ends_the_wait(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    hold = bench.hold("Image")
    waiting = begin(pool, lambda: hold.wait(PATIENT))

    bench.stop(0)

    with pytest.raises(ServerNotRunning):
        waiting.result(10)


def test_another_thread_may_release_while_one_waits(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    hold = bench.hold("Image")
    waiting = begin(pool, lambda: hold.wait(PATIENT))

    hold.release()

    with pytest.raises(InvalidArgument, match="released"):
        waiting.result(10)


def test_stop_cuts_what_is_held(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        hold = bench.hold("Image")
        wire.get("/Image")
        wire.read_head()
        wire.read_exactly(SIZE // 2)
        hold.wait(PATIENT)
        threads = threading.active_count()

        bench.stop(0)

        assert wire.rest_until_any_end() == b""
        assert threading.active_count() < threads
    assert hold.hits[0].outcome == "cut"
