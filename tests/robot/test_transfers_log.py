"""What is said of transfers, by records alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from httpserve import HttpServerClient, RequestRecord, UploadRecord
from httpserve.robot.transfers_log import (
    MOST_CHARACTERS,
    MOST_LINES,
    MOST_ROWS,
    Answer,
    TransfersLog,
    line,
    with_uploads,
)
from tests.server.wire import Wire


@pytest.fixture
def record(bench: HttpServerClient) -> RequestRecord:
    """A real record, to make others of."""
    bench.storage.write_bytes("Image", b"kernel")
    with Wire(bench.get_port()) as board:
        board.ask("/Image", "Connection: close")
        board.rest()
    return replace(bench.wait_for_request("Image", timeout=20), outcome="completed", bytes=6, seconds=1.0)


def test_line_has_the_time_of_the_end_for_robot_and_for_people(record: RequestRecord) -> None:
    (written,) = TransfersLog().lines([Answer(1e9, "b", record)])

    assert written.startswith("*INFO:1000000000000* ")
    assert written.endswith(" b: 127.0.0.1 GET /Image: 6 bytes in 1.000 s, completed\n")


def test_each_test_has_its_own_bounds(record: RequestRecord) -> None:
    log = TransfersLog()
    many = [Answer(1e9, "a", replace(record, name=f"n{number}")) for number in range(200)]

    lines = log.lines(many)
    table = log.table([])
    log.begin()

    assert len(lines) == MOST_LINES
    assert table.count("<tr>") == MOST_ROWS + 2  # with the headings and the total
    assert f"and {200 - MOST_ROWS} more requests" in table
    assert f"and {200 - MOST_LINES} more transfers" in table
    assert log.table([]) == ""
    assert len(log.lines(many[:1])) == 1


def test_long_names_are_clipped_and_all_is_escaped(record: RequestRecord) -> None:
    odd = Answer(1e9, "a", replace(record, name="", target="/" + "<&>" * 1000, status=404))

    table = TransfersLog().table([odd])

    assert len(line(odd)) < MOST_CHARACTERS + 100
    assert "<&" not in table
    assert len(table) < 10 * MOST_CHARACTERS
    assert "404 Not Found" in table


@pytest.mark.parametrize(
    ("status", "method", "state"), [(206, "GET", "reset"), (299, "GET", "299"), (200, "HEAD", "200 OK")]
)
def test_state_is_how_it_ended_or_the_status(record: RequestRecord, status: int, method: str, state: str) -> None:
    answer = Answer(1e9, "a", replace(record, status=status, method=method, outcome="reset"))

    assert line(answer).endswith(f" s, {state}")


@pytest.mark.parametrize(
    ("target", "name", "outcome", "status", "said"),
    [
        ("/logs/a?x=1", "logs/a", "completed", 201, "PUT /logs/a?x=1: 3 bytes in 2.000 s, 201 Created"),
        ("/logs/", "logs/a", "completed", 201, "PUT /logs/ logs/a: 3 bytes in 2.000 s, 201 Created"),
        ("/", "logs/a", "completed", 201, "PUT / logs/a: 3 bytes in 2.000 s, 201 Created"),
        ("/logs/a", "logs/a", "lost", 0, "PUT /logs/a: 3 bytes in 2.000 s, lost"),
        ("/logs/a", "logs/a", "completed", 204, "PUT /logs/a: 6 bytes in 9.000 s, 201 Created"),
        ("/logs/b", "logs/a", "completed", 201, "PUT /logs/b: 6 bytes in 9.000 s, 201 Created"),
    ],
)
def test_request_that_has_brought_a_file_is_shown_with_what_came(
    record: RequestRecord, target: str, name: str, outcome: str, status: int, said: str
) -> None:
    asked = replace(record, method="PUT", target=target, name="", status=201, time=1e9, seconds=9.0)
    upload = UploadRecord(name, asked.client, 3, "", 2.0, "", "", "", True, outcome, status, 1e9 + 1)

    (shown,) = with_uploads(asked, [upload, replace(upload, client="10.0.0.9"), replace(upload, time=1e9 - 1)])

    assert line(Answer(1e9, "a", shown)).endswith(f" a: 127.0.0.1 {said}")
