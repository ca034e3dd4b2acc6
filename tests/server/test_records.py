"""What is known of each request afterwards: `requests`, and the lines of `httpserve.access`."""

from __future__ import annotations

import logging
import os
import threading
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
import requests

from httpserve import HttpServerClient, RequestRecord
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern


def only(client: HttpServerClient) -> RequestRecord:
    (record,) = client.requests
    return record


def test_nothing_is_recorded_before_a_request(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()):
        assert bench.requests == ()


def test_a_record_says_who_asked_for_what_and_what_was_answered(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("a/f", pattern(1000))
    before = time.time()
    with Wire(bench.get_port(), source="127.0.0.2") as wire:
        wire.ask("/a/f?x=1", "User-Agent: curl/8", "Range: bytes=10-19")
        port = wire.sock.getsockname()[1]

    record = only(bench)
    assert before - 1 <= record.time <= time.time()
    assert (record.client, record.client_port, record.local) == ("127.0.0.2", port, "127.0.0.1")
    assert (record.method, record.target, record.name) == ("GET", "/a/f?x=1", "a/f")
    assert (record.status, record.range, record.bytes) == (206, "bytes=10-19", 10)
    assert (record.user_agent, record.completed) == ("curl/8", True)
    assert 0 <= record.seconds < 10


def test_a_browser_that_asks_for_its_icon_by_itself_misses_nothing(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", pattern(1000))
    with Wire(bench.get_port()) as wire:
        for target in ("/f", "/favicon.ico", "/f"):
            wire.ask(target, "User-Agent: Mozilla/5.0 (X11; Linux x86_64)")
        wire.ask("/favicon.ico", "User-Agent: curl/8")

    assert [record.target for record in bench.requests] == ["/f", "/f", "/favicon.ico"]
    assert [one.client for one in bench.missing] == ["127.0.0.1"]


def test_the_address_of_ours_that_was_asked_is_known_on_a_wildcard() -> None:
    with HttpServerClient(host="0.0.0.0") as client:
        for address in ("127.0.0.1", "127.0.0.9"):
            with Wire(client.get_port(), host=address) as wire:
                wire.ask("/")

        assert [record.local for record in client.requests] == ["127.0.0.1", "127.0.0.9"]


def test_records_stand_in_the_order_of_the_requests(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        for number in range(20):
            wire.ask(f"/{number}")

    assert [record.target for record in bench.requests] == [f"/{number}" for number in range(20)]


@pytest.mark.parametrize("size", [0, 1, 128 * 1024, 128 * 1024 + 1, 3 << 20])
def test_a_download_is_complete_as_soon_as_the_client_has_it(bench: HttpServerClient, size: int) -> None:
    bench.storage.write_bytes("f", pattern(size))
    with Wire(bench.get_port()) as wire:
        for _ in range(5):
            wire.ask("/f")

            record = bench.requests[-1]
            assert (record.completed, record.bytes, record.status) == (True, size, 200)


def test_a_download_under_way_is_recorded_with_what_has_arrived(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", pattern(BIG_BYTES))
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/f")
        wire.read_head()
        wire.read_exactly(2 << 20)

        # It may say less for a moment: more leaves between the look at what was sent and that at what is outstanding.
        eventually(lambda: only(bench).bytes >= 1 << 20, "the record of what has arrived")
        record = only(bench)
        assert not record.completed
        assert record.bytes < BIG_BYTES

        wire.read_exactly(BIG_BYTES - (2 << 20))
        assert only(bench).completed


@pytest.mark.parametrize(
    ("request_", "status", "method", "target"),
    [
        (b"HEAD /f HTTP/1.1\r\nHost: a\r\n\r\n", 200, "HEAD", "/f"),
        (b"GET /missing HTTP/1.0\r\n\r\n", 404, "GET", "/missing"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 200, "GET", "/"),
        (b"DELETE /f HTTP/1.1\r\nHost: a\r\n\r\n", 405, "DELETE", "/f"),
        (b"GET /f HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\n\r\n", 304, "GET", "/f"),
        (b"GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=99-\r\n\r\n", 416, "GET", "/f"),
        (b"GET //x//../etc HTTP/1.1\r\nHost: a\r\n\r\n", 404, "GET", "//x//../etc"),
        (b"nonsense\r\n\r\n", 400, "", "nonsense"),
    ],
)
def test_every_answer_is_recorded(
    bench: HttpServerClient, request_: bytes, status: int, method: str, target: str
) -> None:
    bench.storage.write_bytes("f", b"x")
    with Wire(bench.get_port()) as wire:
        wire.send(request_)
        wire.answer(to_head=request_.startswith(b"HEAD"))

    record = only(bench)
    assert (record.status, record.method, record.target) == (status, method, target)


def test_as_many_records_are_kept_as_were_asked_for() -> None:
    with HttpServerClient(host="127.0.0.1", max_records=5) as client, Wire(client.get_port()) as wire:
        for number in range(12):
            wire.ask(f"/{number}")

        assert [record.target for record in client.requests] == [f"/{number}" for number in range(7, 12)]


def test_records_are_bounded_by_default(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        for _ in range(11):
            wire.send(b"HEAD /missing HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
            for _ in range(100):
                wire.read_head()

    assert len(bench.requests) == 1000


def test_records_are_a_tuple_of_values_that_change_no_more(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.ask("/")
        before = bench.requests
        wire.ask("/a")

    assert isinstance(before, tuple)
    assert len(before) == 1
    with pytest.raises(FrozenInstanceError):
        before[0].status = 0  # type: ignore[misc]  # what is tried
    assert hash(before[0]) is not None


def test_records_stay_over_stop_and_start(bench: HttpServerClient) -> None:
    requests.get(bench.get_url(), timeout=10)
    bench.stop()
    stopped = len(bench.requests)
    bench.start()

    assert stopped == len(bench.requests) == 1


# The log


def access_lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "httpserve.access"]


def written(caplog: pytest.LogCaptureFixture, count: int) -> list[str]:
    """Return the lines when there are so many; they come when the outcomes are known, from a thread of their own."""
    eventually(lambda: len(access_lines(caplog)) >= count, "the line")
    lines = access_lines(caplog)
    assert len(lines) == count
    return lines


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, logger="httpserve.access")
    return caplog


def test_an_access_is_one_line_of_the_logger(bench: HttpServerClient, logged: pytest.LogCaptureFixture) -> None:
    bench.storage.write_bytes("f", pattern(1000))
    with Wire(bench.get_port(), source="127.0.0.2") as wire:
        wire.ask("/f", "User-Agent: board", "Range: bytes=0-9")

    (line,) = written(logged, 1)
    for part in ("127.0.0.2", "GET /f", "206", "10 bytes", "board", "bytes=0-9"):
        assert part in line


@pytest.mark.parametrize("size", [10, 200_000])
def test_each_answer_has_one_line_which_comes_when_its_outcome_is_known(
    bench: HttpServerClient, logged: pytest.LogCaptureFixture, size: int
) -> None:
    bench.storage.write_bytes("f", pattern(size))
    with Wire(bench.get_port()) as wire:
        for number in range(1, 4):
            wire.ask("/f")
            written(logged, number)  # though the connection stays open, and nothing more is asked on it
        for _ in range(20):
            wire.ask("/f")

    assert all(f" 200 {size} bytes" in line for line in written(logged, 23))


def test_a_request_whose_file_never_rests_is_on_record_and_in_the_log(
    tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "f"
    path.write_bytes(pattern(100_000))
    is_over = threading.Event()

    def write() -> None:
        while not is_over.is_set():
            os.pwrite(fd, b"x", 0)

    fd = os.open(path, os.O_WRONLY)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        with HttpServerClient(tmp_path, host="127.0.0.1") as client:
            for _ in range(20):
                with Wire(client.get_port()) as wire:
                    wire.get("/f", "Connection: close")
                    wire.rest_until_any_end()
            records = client.requests
    finally:
        is_over.set()
        writer.join()
        os.close(fd)

    assert len(records) == 20
    written(logged, 20)


def test_a_line_of_what_has_not_arrived_does_not_say_that_it_has(
    bench: HttpServerClient, logged: pytest.LogCaptureFixture
) -> None:
    bench.storage.write_bytes("f", pattern(BIG_BYTES))
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/f")
        wire.read_head()
        bench.requests  # noqa: B018 - which waits for what is due
        assert access_lines(logged) == []
        bench.stop(0)

    (line,) = written(logged, 1)
    assert line.endswith(" cut")
    assert f" {BIG_BYTES} bytes" not in line


def test_a_broken_off_download_is_logged_too(bench: HttpServerClient, logged: pytest.LogCaptureFixture) -> None:
    bench.storage.write_bytes("f", pattern(BIG_BYTES))
    with Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/f")
        wire.read_head()
        wire.reset()

    eventually(lambda: access_lines(logged), "the line")
    assert "GET /f" in access_lines(logged)[0]


def test_nothing_is_logged_unless_the_level_asks_for_it(
    bench: HttpServerClient, caplog: pytest.LogCaptureFixture
) -> None:
    with Wire(bench.get_port()) as wire:
        wire.ask("/")

    assert access_lines(caplog) == []
