"""What a client gets: whole files, kept connections, and never a mixture, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import select
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.conftest import NewRoot
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern

# Whole files


def test_a_file_of_every_size_arrives_byte_for_byte(site: HttpServerClient, filled: NewRoot) -> None:
    for size in (0, 1, 1460, 128 * 1024 - 1, 128 * 1024, 128 * 1024 + 1, 16 * 1024, 3 << 20):
        filled.write(str(size), pattern(size))

        with Wire(site.get_port()) as wire:
            assert wire.ask(f"/{size}").body == pattern(size)
            assert wire.ask(f"/{size}").body == pattern(size)


def test_a_big_file_arrives_byte_for_byte_at_four_boards_at_once(
    site: HttpServerClient, filled: NewRoot, big: Path
) -> None:
    filled.write("f", big.read_bytes())

    def is_fetched_whole(_: int) -> bool:
        with Wire(site.get_port()) as wire:
            return wire.ask("/f").body == pattern(BIG_BYTES)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_fetched_whole, range(4)))


def test_slow_readers_hold_up_neither_each_other_nor_the_quick(
    site: HttpServerClient, filled: NewRoot, big: Path
) -> None:
    filled.write("f", big.read_bytes())
    filled.write("small", b"small")
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(Wire(site.get_port(), receive_bytes=4096)) for _ in range(12)]
        for wire in slow:
            wire.get("/f")
            wire.read_head()

        with Wire(site.get_port()) as quick:
            assert [quick.ask("/small").body for _ in range(50)] == [b"small"] * 50
        assert {wire.read_exactly(50_000) for wire in slow} == {pattern(BIG_BYTES)[:50_000]}


def test_stalled_readers_take_no_thread_each(bench: HttpServerClient, big: Path) -> None:
    bench.put_file("f", big)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            wire = stack.enter_context(Wire(bench.get_port(), receive_bytes=4096))
            wire.get("/f")
            wire.read_head()

        eventually(
            lambda: sum(thread.name.startswith("httpserve") for thread in threading.enumerate()) < 40, "few threads"
        )


def test_a_reader_that_stops_for_good_is_cut_after_the_timeout(tmp_path: Path, big: Path) -> None:
    os.link(big, tmp_path / "f")
    with (
        HttpServerClient(tmp_path, host="127.0.0.1", timeout=0.5) as client,
        Wire(client.get_port(), receive_bytes=4096) as wire,
    ):
        wire.get("/f")
        poll = select.poll()
        poll.register(wire.sock, select.POLLHUP | select.POLLERR)

        assert poll.poll(10_000)

        with pytest.raises(ConnectionResetError):
            wire.rest()
        assert not client.requests[-1].completed


# Methods


def test_head_is_get_without_the_content(site: HttpServerClient, filled: NewRoot) -> None:
    filled.write("f", pattern(200_000))

    with Wire(site.get_port()) as wire:
        head = wire.ask("/f", method="HEAD")
        get = wire.ask("/f")

    assert [field for field in head.fields if field[0] != "Date"] == [
        field for field in get.fields if field[0] != "Date"
    ]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "TRACE"])
def test_another_method_is_405_with_allow_and_the_connection_lives_on(bench: HttpServerClient, method: str) -> None:
    with Wire(bench.get_port()) as wire:
        answer = wire.ask("/", method=method)

        assert (answer.status, answer["Allow"]) == (405, "GET, HEAD, OPTIONS")
        assert wire.ask("/").status == 200


def test_the_content_of_a_post_is_not_taken_for_the_next_request(bench: HttpServerClient) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    with Wire(bench.get_port()) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(smuggled) + smuggled)
        assert wire.answer().status == 405
        assert wire.ask("/").status == 200

    assert [record.target for record in bench.requests] == ["/", "/"]


def test_chunked_content_is_not_taken_for_the_next_request(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a"
        for piece in (b"2", b"3;a=b\r\n" + smuggled, b"\r\n\r\n\r", b"\n0\r\n", b"X: y\r\n", b"\r\n"):
            wire.send(piece)
        assert wire.answer().status == 405
        assert wire.ask("/").status == 200


def test_a_client_that_waits_for_100_continue_gets_a_final_answer(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        answer = wire.ask("/", "Expect: 100-continue", "Content-Length: 10", method="PUT")

        assert answer.status in (405, 417)
        assert wire.rest_until_any_end() == b""


# Connections


def test_pipelined_requests_are_answered_in_order(site: HttpServerClient, filled: NewRoot) -> None:
    sizes = [10, 300_000, 0, 5, 1 << 20, 7, 128 * 1024]
    for size in sizes:
        filled.write(str(size), pattern(size))

    with Wire(site.get_port()) as wire:
        wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % size for size in sizes * 3))

        assert [wire.answer().body for _ in range(21)] == [pattern(size) for size in sizes] * 3


def test_apt_pipelines_with_heads_and_absent_files_between(bench: HttpServerClient) -> None:
    bench.put_file("f", __file__)
    with Wire(bench.get_port()) as wire:
        wire.send(
            b"GET /f HTTP/1.1\r\nHost: a\r\n\r\nHEAD /f HTTP/1.1\r\nHost: a\r\n\r\n"
            b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\nGET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
            b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        answers = [wire.answer(), wire.answer(to_head=True), wire.answer(), wire.answer()]
        end = wire.rest_until_any_end()

    assert [answer.status for answer in answers] == [200, 200, 404, 200]
    assert end == b""
    assert "/never" not in [record.target for record in bench.requests]


def test_a_head_may_come_in_any_pieces(bench: HttpServerClient) -> None:
    bench.put_file("f", __file__)
    request = b"GET /f HTTP/1.1\r\nHost: bench\r\nUser-Agent: drip\r\n\r\n"
    with Wire(bench.get_port()) as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            wire.send(bytes([byte]))

        assert wire.answer().body == Path(__file__).read_bytes()
        wire.send(request[:20])
        wire.send(request[20:] + request[:7])
        assert wire.answer().status == 200
        wire.send(request[7:])
        assert wire.answer().status == 200


def test_empty_lines_before_a_request_are_forgiven(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.send(b"\r\n")
        wire.send(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n")
        assert wire.answer().status == 200
        assert wire.ask("/").status == 200


def test_a_client_that_half_closes_gets_its_whole_answer(site: HttpServerClient, filled: NewRoot) -> None:
    filled.write("f", pattern(3 << 20))
    with Wire(site.get_port(), receive_bytes=65536) as wire:
        wire.get("/f")
        wire.half_close()

        assert wire.answer().body == pattern(3 << 20)
        assert wire.rest() == b""


def test_boards_each_get_their_own_file(site: HttpServerClient, filled: NewRoot) -> None:
    for number in range(32):
        filled.write(str(number), pattern(2000 + number, number))

    def fetch(number: int) -> bool:
        with Wire(site.get_port()) as wire:
            return all(wire.ask(f"/{number}").body == pattern(2000 + number, number) for _ in range(3))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(fetch, range(32)))


def test_the_scripts_default_timeout_for_sockets_changes_nothing(bench: HttpServerClient, big: Path) -> None:
    bench.put_file("f", big)
    socket.setdefaulttimeout(0.05)
    try:
        with Wire(bench.get_port(), receive_bytes=65536) as wire:
            wire.get("/f")
            wire.read_head()
            threading.Event().wait(0.1)
            data = wire.read_exactly(BIG_BYTES)
    finally:
        socket.setdefaulttimeout(None)

    assert data == pattern(BIG_BYTES)


# Clients that go away


STAGES = {
    "before a byte": b"",
    "within the request line": b"GET /f HT",
    "before the empty line": b"GET /f HTTP/1.1\r\nHost: a\r\n",
    "within the content": b"POST /f HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n123",
    "within a chunk": b"POST /f HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
    "after a small answer": b"GET /small HTTP/1.1\r\nHost: a\r\n\r\n",
    "within many ranges": b"GET /f HTTP/1.1\r\nHost: a\r\nRange: bytes=0-999999,2000000-\r\n\r\n",
    "within pipelined answers": b"GET /f HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
}


def test_a_client_that_goes_away_costs_nothing_and_prints_nothing(
    tmp_path: Path, big: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.link(big, tmp_path / "f")
    (tmp_path / "small").write_bytes(b"small")
    with HttpServerClient(tmp_path, host="127.0.0.1") as site, Wire(site.get_port()) as patient:
        for stage, sent in STAGES.items():
            for end in (Wire.reset, Wire.close, Wire.half_close):
                with Wire(site.get_port()) as wire:
                    wire.send(sent)
                    if "answer" in stage or "ranges" in stage:
                        wire.read_head()
                    end(wire)
            assert patient.ask("/small").body == b"small"
    assert capfd.readouterr() == ("", "")


HOSTILE = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,
    *(b"GET /" + path + b" HTTP/1.1\r\nHost: a\r\n\r\n" for path in (b"%00", b"%ff%fe", b"\xff\xfe", b"%zz", b"\x00")),
    *(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n" for path in (b"/..%5c..%5cetc", b"http://", b"*")),
    b"GET /" + b"%2e%2e/" * 200 + b"etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /" + b"a/" * 4000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    *(b"GET / HTTP/1.1\r\nHost: a\r\n" + end + b"\r\n\r\n" for end in (b"X: \x00", b" X: folded", b"Host: b")),
    b"GET / HTTP/1.1\nHost: a\n\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /f HTTP/1.1\r\nHost: a\r\nIf-Modified-Since: Mon, 99 Foo 99999999 99:99:99\r\n\r\n",
    b'GET /f HTTP/1.1\r\nHost: a\r\nIf-None-Match: "\xff\r\nIf-Match: W/W/"x\r\n\r\n',
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: ;;q=nan,application/json;q=1e999\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nAccept: " + b"a/b;" * 4000 + b"\r\n\r\n",
    *(b"G" * 100_000, b"\r\n" * 20_000, b"\n" * 1000, b"\0" * 1000),
]


def test_hostile_bytes_get_an_answer_or_an_end_and_never_a_traceback(
    bench: HttpServerClient, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    bench.storage.write_bytes("f", b"harmless")
    for request in HOSTILE:
        with Wire(bench.get_port()) as wire, contextlib.suppress(ConnectionError):
            wire.send(request)
            wire.half_close()
            answer = wire.rest_until_any_end()
            assert answer[:9] in (b"HTTP/1.1 ", b"")
            assert answer[9:12] != b"500"
            assert b"root:" not in answer

    with Wire(bench.get_port()) as wire:
        assert wire.ask("/f").status == 200
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.exc_info or record.levelno >= logging.WARNING] == []


# What other hands do


@pytest.mark.local_root("it makes a directory of a file")
def test_what_others_put_change_and_remove_is_seen_at_the_next_request(site: HttpServerClient, tmp_path: Path) -> None:
    path = tmp_path / "root" / "built"
    with Wire(site.get_port()) as wire:
        before = wire.ask("/built").status
        path.write_bytes(b"one")
        first = wire.ask("/built")
        path.write_bytes(b"two")
        second = wire.ask("/built")
        path.unlink()
        after = wire.ask("/built").status
        path.mkdir()
        (path / "in").write_bytes(b"three")
        third = wire.ask("/built/in")

    assert (before, first.body, second.body, after, third.body) == (404, b"one", b"two", 404, b"three")
    assert first["ETag"] != second["ETag"]
