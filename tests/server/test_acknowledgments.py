"""Claims about what records say while the kernel has a whole answer and the board has not acknowledged it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from httpserve import HttpServerClient, RequestRecord
from tests.server.wire import Wire, eventually, pattern

SIZE = 100_000  # the kernel takes it whole for a board that reads nothing, and acknowledges but little
ATTEMPTS = 50  # of what another thread may be too late for


@pytest.fixture
def silent(bench: HttpServerClient) -> Iterator[Wire]:
    """A board that has asked for `f`, and reads nothing of it; all of it is in the kernel."""
    bench.storage.write_bytes("f", pattern(SIZE))
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        ask(bench, wire)
        yield wire


def ask(bench: HttpServerClient, wire: Wire) -> None:
    before = len(bench.transfers)
    wire.get("/f")
    eventually(lambda: bench.transfers[before:] and bench.transfers[-1].sent == SIZE, "the kernel has it")


ACCESSORS: dict[str, Callable[[HttpServerClient], RequestRecord]] = {
    "requests": lambda bench: bench.requests[-1],
    "requests_for": lambda bench: bench.requests_for("f")[-1],
    "requests_for, at once": lambda bench: bench.requests_for("f", wait=False)[-1],
    "wait_for_request": lambda bench: bench.wait_for_request("f", timeout=20.0),
}


@pytest.mark.parametrize("accessor", ACCESSORS)
def test_no_record_counts_as_received_what_is_not_acknowledged(
    bench: HttpServerClient, silent: Wire, accessor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpserve.records.log.ACK_DELAY_SECONDS", 0.05)

    record = ACCESSORS[accessor](bench)

    assert (record.completed, record.outcome) == (False, "under way")
    assert record.bytes < SIZE


@pytest.mark.parametrize("accessor", [name for name in ACCESSORS if name != "requests_for, at once"])
def test_who_looks_while_an_acknowledgment_is_due_waits_for_it(bench: HttpServerClient, accessor: str) -> None:
    bench.storage.write_bytes("f", pattern(SIZE))
    with Wire(bench.get_port(), receive_bytes=4096) as wire, ThreadPoolExecutor(1) as pool:
        for _ in range(ATTEMPTS):
            ask(bench, wire)
            looks = threading.Event()
            record = pool.submit(look, bench, accessor, looks)
            looks.wait(20.0)
            wire.answer()

            if record.result(20.0).completed and bench.requests_for("f", wait=False)[-1] == record.result():
                return
    pytest.fail("it never waited for the acknowledgment")


def look(bench: HttpServerClient, accessor: str, looks: threading.Event) -> RequestRecord:
    looks.set()
    return ACCESSORS[accessor](bench)


def test_requests_of_other_boards_and_names_are_not_held_up(bench: HttpServerClient, silent: Wire) -> None:
    with Wire(bench.get_port(), source="127.0.0.2") as other:
        other.ask("/g")

        assert [record.target for record in bench.requests_for("g")] == ["/g"]
        assert [record.target for record in bench.requests_for(client="127.0.0.2")] == ["/g"]


def test_what_is_not_acknowledged_when_the_server_stops_is_not_completed(bench: HttpServerClient, silent: Wire) -> None:
    bench.stop(timeout=0.0)

    (record,) = bench.requests

    assert not record.completed
    assert record.bytes < SIZE


def test_a_record_of_what_is_over_is_made_once(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.ask("/a")
        wire.ask("/b")

    assert bench.requests[0] is bench.requests[0]
