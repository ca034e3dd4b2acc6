"""What is said of transfers, by records alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from httpserve import HttpServerClient, RequestRecord
from httpserve.robot.transfers_log import MOST_CHARACTERS, MOST_LINES, MOST_ROWS, TransfersLog
from tests.server.wire import Wire


@pytest.fixture
def record(bench: HttpServerClient) -> RequestRecord:
    """A real record, to make others of."""
    bench.storage.write_bytes("Image", b"kernel")
    with Wire(bench.get_port()) as board:
        board.ask("/Image", "Connection: close")
        board.rest()
    return replace(bench.wait_for_request("Image", timeout=20), outcome="completed", bytes=6)


def test_transfer_is_told_once_even_when_it_is_under_way_again(record: RequestRecord) -> None:
    log = TransfersLog()

    lines = [len(log.lines([("a", (replace(record, outcome=outcome),))])) for outcome in ("completed", "under way") * 2]

    assert lines == [1, 0, 0, 0]
    assert log.table([("a", (replace(record, outcome="under way"),))]).count("<tr>") == 2


def test_lines_of_several_servers_stand_in_the_order_of_their_ends(record: RequestRecord) -> None:
    log = TransfersLog()
    first, second = replace(record, time=1e9, seconds=5.0), replace(record, time=1e9 + 1, seconds=1.0)

    lines = log.lines([("a", (first,)), ("b", (second,))])

    assert [line.time for line in lines] == [1e9 + 2, 1e9 + 5]
    assert " b: 127.0.0.1 GET /Image: 6 bytes in 1.000 s, completed" in lines[0].text


def test_what_was_before_a_test_is_not_its_own(record: RequestRecord) -> None:
    log = TransfersLog()

    log.begin([("a", (record,))])

    assert log.lines([("a", (record,))]) == []
    assert log.table([("a", (record,))]) == ""


def test_each_test_has_its_own_bounds(record: RequestRecord) -> None:
    log = TransfersLog()
    many = tuple(replace(record, client_port=port, name=f"n{port}") for port in range(200))

    lines = log.lines([("a", many)])
    table = log.table([("a", many)])
    log.begin([("a", many)])

    assert len(lines) == MOST_LINES
    assert table.count("<tr>") == MOST_ROWS + 1
    assert f"and {200 - MOST_ROWS} more" in table
    assert len(log.lines([("a", (replace(record, time=0.0),))])) == 1


def test_long_names_are_clipped_and_all_is_escaped(record: RequestRecord) -> None:
    log = TransfersLog()
    odd = replace(record, name="", target="/" + "<&>" * 1000, status=404)

    (line,) = log.lines([("a", (odd,))])
    table = log.table([("a", (odd,))])

    assert len(line.text) < MOST_CHARACTERS + 100
    assert "<&" not in table
    assert len(table) < 6 * MOST_CHARACTERS
    assert "404 Not Found" in table


@pytest.mark.parametrize(
    ("status", "method", "state"), [(206, "GET", "reset"), (299, "GET", "299"), (200, "HEAD", "200 OK")]
)
def test_state_is_how_it_ended_or_the_status(record: RequestRecord, status: int, method: str, state: str) -> None:
    (line,) = TransfersLog().lines([("a", (replace(record, status=status, method=method, outcome="reset"),))])

    assert line.text.endswith(f" s, {state}")
