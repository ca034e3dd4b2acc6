"""Answers that are wrong on purpose, on real sockets: what a client gets, what records say, and what waits count."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from httpserve import FaultHandle, HttpServerClient, InvalidArgument, InvalidName, InvalidType
from httpserve.faults import (
    Chance,
    Corrupt,
    Cut,
    Fault,
    Headers,
    IgnoreRange,
    NoLength,
    Redirect,
    Refuse,
    Sequence,
    Slow,
    Stale,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
)
from tests.cases import each
from tests.server.waits import AT_ONCE, ONE, OTHER, PATIENT, SIZE, begin, fetch, put, vain
from tests.server.wire import PATIENCE_SECONDS, Answer, Wire, eventually, pattern

DATA = pattern(SIZE, 1)


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


def get(bench: HttpServerClient, *fields: str, method: str = "GET", target: str = "/Image") -> tuple[Answer, bytes]:
    """Return the head of an answer, and all that comes until the end of it or of the connection."""
    with Wire(bench.get_port()) as wire:
        wire.get(target, "Connection: close", *fields, method=method)
        return Answer(wire.read_head(), b""), wire.rest_until_any_end()


def status(bench: HttpServerClient, *fields: str, board: str | None = None, target: str = "/Image") -> int:
    with Wire(bench.get_port(), source=board) as wire:
        return wire.ask(target, *fields).status


# What a client gets


@each("how, raises", [("fin", False), ("reset", True)])
def test_a_cut_comes_at_exactly_its_byte_and_arrives(bench: HttpServerClient, how: Any, raises: bool) -> None:
    with bench.fault("Image", Cut(0.5, how)) as cut, Wire(bench.get_port(), receive_bytes=65536) as wire:
        wire.get("/Image")
        wire.read_head()
        assert wire.read_exactly(SIZE // 2) == DATA[: SIZE // 2]
        if raises:
            with pytest.raises(ConnectionResetError):
                wire.read()
        else:
            assert wire.read() == b""

        (hit,) = cut.hits

    assert (hit.outcome, hit.bytes, hit.completed, hit.fault) == ("cut", SIZE // 2, False, repr(Cut(0.5, how)))


def test_a_board_that_resumes_passes_the_byte_or_is_cut_again(bench: HttpServerClient) -> None:
    with bench.fault("Image", Cut(1000), times=2) as cut:
        assert get(bench)[1] == DATA[:1000]
        assert get(bench, "Range: bytes=1001-")[1] == DATA[1001:]
        assert cut.remaining == 1
        assert get(bench, "Range: bytes=1000-")[1] == b""
        assert cut.remaining == 0
        assert get(bench, "Range: bytes=1000-")[1] == DATA[1000:]

    assert bench.wait_for_download("Image", PATIENT).bytes == SIZE


def test_a_stall_is_a_pause_in_the_answer_or_before_its_head(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire, bench.fault("Image", Stall(0, None), Stall(1000, None)):
        wire.get("/Image")
        eventually(lambda: any(one.outcome == "under way" for one in bench.requests), "the answer waits")
        assert not wire.has_input(0.05)
    with Wire(bench.get_port()) as wire, bench.fault("Image", Stall(1000, None)) as stall:
        wire.get("/Image")
        wire.read_head()
        assert wire.read_exactly(1000) == DATA[:1000]
        assert not wire.has_input(0.05)
        wire.close()
        eventually(lambda: stall.hits[0].outcome != "under way", "the server sees that the board has left")
    assert (stall.hits[0].outcome, stall.hits[0].bytes) == ("closed", 1000)


@pytest.mark.parametrize("fault", [Stall(0, 0.01), Stall(0.5, 0.01), Slow(20_000_000)], ids=repr)
def test_an_answer_that_takes_its_time_is_whole_in_the_end(bench: HttpServerClient, fault: Fault) -> None:
    with bench.fault("Image", fault) as handle:
        assert fetch(bench) == DATA

        assert bench.wait_for_download("Image", PATIENT).bytes == SIZE
    assert [hit.fault for hit in handle.hits] == [repr(fault)]


def test_slow_answers_and_stalls_take_no_threads(bench: HttpServerClient) -> None:
    before = threading.active_count()
    wires = [Wire(bench.get_port()) for _ in range(100)]
    with bench.fault("Image", Chance(0.5, Slow(10)), Chance(0.5, Stall(1, None))), bench.hold("Image", 2):
        for wire in wires:
            wire.get("/Image")
        for wire in wires:
            assert wire.read_head()
        eventually(lambda: len(bench.transfers) == len(wires), "all are under way")
        # Of a store each has asked in a thread of its own, and those that are spare end after 10 s.
        eventually(lambda: threading.active_count() - before < 20, "the end of the threads", 3 * PATIENCE_SECONDS)
    for wire in wires:
        wire.reset()


def test_corrupt_bytes_come_with_a_true_head_and_are_no_download(bench: HttpServerClient) -> None:
    true, _ = get(bench, method="HEAD")
    with bench.fault("Image", Corrupt(0.5, count=3)) as fault:
        head, body = get(bench)
        _, part = get(bench, f"Range: bytes={SIZE // 2 - 1}-{SIZE // 2}")

        assert [at for at in range(SIZE) if body[at] != DATA[at]] == [SIZE // 2, SIZE // 2 + 1, SIZE // 2 + 2]
        assert part == body[SIZE // 2 - 1 : SIZE // 2 + 1]
        names = ("ETag", "Content-Length", "Last-Modified", "Repr-Digest")
        assert [head[name] for name in names] == [true[name] for name in names]
        assert [hit.outcome for hit in fault.hits] == ["completed", "completed"]
    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))
    assert error.missing == ((SIZE // 2, SIZE // 2 + 3),)


@each(
    "to, size",
    [(1000, 1000), (0.5, SIZE // 2), (-1, SIZE - 1), (0, 0)],
)
def test_a_truncated_file_has_a_head_that_agrees(bench: HttpServerClient, to: float, size: int) -> None:
    with bench.fault("Image", Truncate(to)):
        whole, body = get(bench)
        none, _ = get(bench, f"Range: bytes={size}-")
        part, last = get(bench, "Range: bytes=-10")

        assert (body, whole["Content-Length"], "Repr-Digest" in whole) == (DATA[:size], str(size), False)
        assert get(bench, method="HEAD")[0]["Content-Length"] == str(size)
        assert (none.status, none["Content-Range"]) == (416, f"bytes */{size}")
        if size:
            assert (last, part["Content-Range"]) == (DATA[:size][-10:], f"bytes {size - 10}-{size - 1}/{size}")
    vain(lambda: bench.wait_for_download("Image", AT_ONCE))


def test_a_file_that_is_shorter_than_that_is_as_it_is(bench: HttpServerClient) -> None:
    with bench.fault("Image", Truncate(SIZE)) as fault:
        assert get(bench)[1] == DATA

        assert fault.hits == ()


@pytest.mark.parametrize("by", [5, -5])
def test_a_wrong_length_ends_the_connection(bench: HttpServerClient, by: int) -> None:
    with bench.fault("Image", WrongLength(by)), Wire(bench.get_port()) as wire:
        wire.get("/Image")
        head = Answer(wire.read_head(), b"")

        assert (head["Content-Length"], head["Connection"]) == (str(SIZE + by), "close")
        assert wire.rest() == DATA
        vain(lambda: bench.wait_for_download("Image", AT_ONCE))


def test_ranges_are_ignored_or_wrong(bench: HttpServerClient) -> None:
    with bench.fault("Image", IgnoreRange()) as ignored:
        head, body = get(bench, "Range: bytes=10-19")
        assert (head.status, body == DATA, "Content-Range" in head) == (200, True, False)
        assert get(bench)[0].status == 200
        assert len(ignored.hits) == 1
    bench.wait_for_download("Image", PATIENT)
    with bench.fault("Image", WrongRange(7)):
        head, body = get(bench, "Range: bytes=10-19")
        assert (head.status, body, head["Content-Range"]) == (206, DATA[17:27], f"bytes 17-26/{SIZE}")
    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE)).received == 0


def test_a_length_may_be_missing(bench: HttpServerClient) -> None:
    with bench.fault("Image", NoLength()):
        head, body = get(bench)
        assert (body == DATA, "Content-Length" in head, "Transfer-Encoding" in head) == (True, False, False)
    assert bench.wait_for_download("Image", PATIENT).bytes == SIZE
    with bench.fault("Image", NoLength(chunked=True)), requests.Session() as session:
        for _ in range(2):
            answer = session.get(bench.get_url("Image"), timeout=PATIENT)
            assert (answer.content == DATA, answer.headers["Transfer-Encoding"]) == (True, "chunked")
            assert bench.wait_for_download("Image", PATIENT).bytes == SIZE
    assert len({one.client_port for one in bench.requests[-2:]}) == 1
    with bench.fault("Image", NoLength(chunked=True)), Wire(bench.get_port()) as wire:
        wire.get("/Image", version="1.0")
        assert "Transfer-Encoding" not in Answer(wire.read_head(), b"")
        assert wire.rest() == DATA


def test_another_answer_may_come_in_its_place(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("other", b"other")
    with bench.fault("Image", Status(503, retry_after=2, body="no")):
        head, body = get(bench)
        assert (head.line, head["Retry-After"], body) == ("HTTP/1.1 503 Service Unavailable", "2", b"no")
        assert get(bench, method="HEAD")[1] == b""
    with bench.fault("Image", Status(599)):
        assert get(bench)[0].line == "HTTP/1.1 599 "
    with bench.fault("Image", Redirect("/other", 307)):
        assert requests.get(bench.get_url("Image"), timeout=PATIENT).content == b"other"
    with bench.fault("missing", Status(500)):
        assert get(bench, target="/missing")[0].status == 500
    assert bench.requests[-1].fault == "Status(500)"
    vain(lambda: bench.wait_for_download("Image", AT_ONCE))


@pytest.mark.parametrize("is_file", [True, False])
def test_a_stale_version_has_its_own_validators_and_is_no_download(bench: HttpServerClient, is_file: bool) -> None:
    put(bench, "old.bin", 5000, seed=9)
    old = pattern(5000, 9)
    now, _ = get(bench)
    bench.wait_for_download("Image", PATIENT)
    with bench.fault("Image", Stale("old.bin" if is_file else old)) as stale:
        head, body = get(bench)
        part, last = get(bench, "Range: bytes=-10")

        assert (body, last, part["Content-Range"]) == (old, old[-10:], "bytes 4990-4999/5000")
        assert head["ETag"] == part["ETag"] != now["ETag"]
        assert get(bench, f"If-None-Match: {head['ETag']}")[0].status == 304
        assert {hit.name for hit in stale.hits} == {"Image"}
    assert vain(lambda: bench.wait_for_download("Image", AT_ONCE)).received == 0


def test_fields_are_sent_as_they_are_given(bench: HttpServerClient) -> None:
    with bench.fault("Image", Headers({"etag": "", "X-Bench": "ü"}, drop=["Accept-Ranges", "Last-Modified"])):
        head, _ = get(bench)

    names = [name for name, _ in head.fields]
    assert (head["etag"], head["X-Bench"], "ETag" in names) == ("", "ü", False)
    assert not {"Accept-Ranges", "Last-Modified"}.intersection(names)


def test_connections_are_refused_before_a_byte_is_read(bench: HttpServerClient) -> None:
    with bench.fault(None, Refuse(), times=2) as refuse:
        for _ in range(2):
            with pytest.raises(requests.ConnectionError):
                requests.get(bench.get_url("Image"), timeout=PATIENT)
        assert get(bench)[0].status == 200

        assert [(hit.status, hit.outcome, hit.fault, hit.method) for hit in refuse.hits] == [
            (0, "cut", "Refuse()", "")
        ] * 2
    with bench.fault(None, Sequence([None, Refuse(), None]), client=ONE):
        assert status(bench, board=ONE) == 200
        with pytest.raises(ConnectionError):
            status(bench, board=ONE)
        assert status(bench, board=OTHER) == 200
        assert status(bench, board=ONE) == 200


# Which requests, and how often


def test_a_fault_is_for_names_boards_and_methods(bench: HttpServerClient) -> None:
    put(bench, "boot/dtb", 100)
    with bench.fault("boot/*", Status(500), client=ONE, method="get"):
        assert status(bench, board=ONE, target="/boot/dtb") == 500
        assert status(bench, board=ONE, target="/boot/../boot/dtb") != 500
        assert status(bench, board=OTHER, target="/boot/dtb") == 200
        assert status(bench, board=ONE) == 200
        assert get(bench, method="HEAD", target="/boot/dtb")[0].status == 200
    with bench.fault(None, Status(500)):
        assert [status(bench, target=target) for target in ("/", "/Image", "/missing", "/%00")] == [500] * 4


def test_a_fault_holds_for_its_times_after_some(bench: HttpServerClient) -> None:
    fault = bench.fault("Image", Status(500), times=2, after=1)

    assert [status(bench) for _ in range(5)] == [200, 500, 500, 200, 200]
    assert (fault.remaining, len(fault.hits), bench.faults) == (0, 2, ())


def test_each_board_has_its_own_turns_of_a_sequence(bench: HttpServerClient) -> None:
    bench.fault("Image", Sequence([Status(500), Status(502), None]))

    assert [status(bench, board=board) for board in (ONE, OTHER, ONE, OTHER, ONE, OTHER)] == [
        *(500, 500, 502, 502, 200, 200)
    ]


def test_faults_apply_in_order_and_the_latest_of_several_holds(bench: HttpServerClient) -> None:
    first = bench.fault("Image", Status(500))
    with bench.fault("Im*", Status(404, body="0123456789"), Truncate(10), Corrupt(0), Cut(5)) as both:
        head, body = get(bench)
        assert (head.status, len(body), body[1:]) == (404, 5, b"1234")
        assert both.hits[0].fault == "Truncate(10), Status(404, body='0123456789'), Corrupt(0), Cut(5)"
    assert status(bench) == 500
    assert [one == first for one in bench.faults] == [True]
    bench.clear_faults()
    assert (status(bench), first.remaining, len(first.hits)) == (200, 0, 1)


def seen_with(seed: Any, count: int = 30) -> list[int]:
    with HttpServerClient(host="127.0.0.1") as bench:
        put(bench, size=10)
        bench.fault("Image", Chance(0.5, Status(500)), seed=seed)
        with ThreadPoolExecutor(4) as pool:
            one = list(pool.map(lambda n: status(bench, f"Range: bytes=0-{n % 10}"), range(count)))
        return sorted(one) + [status(bench) for _ in range(10)]


def test_with_a_seed_the_same_requests_meet_the_same_faults() -> None:
    assert seen_with(7) == seen_with("7")
    assert seen_with(7) != seen_with(8)


def test_the_seed_of_a_fault_is_told(bench: HttpServerClient) -> None:
    one, other = (bench.fault("Image", Corrupt(0.5)) for _ in range(2))

    assert one.seed != other.seed
    body = get(bench)[1]
    bench.clear_faults()
    bench.fault("Image", Corrupt(0.5), seed=other.seed)
    assert get(bench)[1] == body


# As long as it is in force


def test_answers_given_before_are_not_given_again_while_there_is_a_fault(bench: HttpServerClient) -> None:
    with requests.Session() as session:

        def ask() -> int:
            return session.get(bench.get_url("small"), timeout=PATIENT).status_code

        put(bench, "small", 100)
        assert [ask() for _ in range(5)] == [200] * 5
        for _ in range(3):
            with bench.fault("small", Status(500)):
                assert ask() == 500
            assert [ask(), ask()] == [200, 200]


def test_stop_keeps_faults_and_close_ends_them(bench: HttpServerClient) -> None:
    fault = bench.fault("Image", Status(500))
    bench.stop()
    assert bench.faults == (fault,)
    bench.start()
    assert status(bench) == 500
    bench.close()
    assert fault.remaining == 0
    assert fault not in bench.faults


def test_a_fault_may_be_asked_for_before_the_server_starts(tmp_path: Path) -> None:
    (tmp_path / "Image").write_bytes(DATA)
    client = HttpServerClient(tmp_path, host="127.0.0.1")
    client.fault("Image", Status(500))
    with client:
        assert status(client) == 500


def test_what_the_server_asks_itself_meets_no_fault(bench: HttpServerClient) -> None:
    bench.fault(None, Status(500), times=1)

    assert bench.doctor().ok
    assert status(bench) == 500


@each(
    "call, error",
    [
        (lambda one: one.fault("Image"), InvalidArgument),
        (lambda one: one.fault("Image", Cut), InvalidType),
        (lambda one: one.fault("Image", "cut"), InvalidType),
        (lambda one: one.fault("../x", Cut(1)), InvalidName),
        (lambda one: one.fault("Image", Cut(1), times=0), InvalidArgument),
        (lambda one: one.fault("Image", Cut(1), after=-1), InvalidArgument),
        (lambda one: one.fault("Image", Cut(1), client="board"), InvalidArgument),
        (lambda one: one.fault("Image", Cut(1), method=""), InvalidArgument),
        (lambda one: one.fault("Image", Refuse()), InvalidArgument),
        (lambda one: one.fault(None, Refuse(), Cut(1)), InvalidArgument),
        (lambda one: one.fault(None, Sequence([Refuse(), Cut(1)])), InvalidArgument),
        (lambda one: one.hold("Image", "half"), InvalidArgument),
        (lambda one: one.hold("../x"), InvalidName),
    ],
    ids=str,
)
def test_what_means_nothing_is_refused(call: Callable[[HttpServerClient], object], error: type[Exception]) -> None:
    client = HttpServerClient()

    with pytest.raises(error):
        call(client)
    assert client.faults == ()


def test_a_handle_says_what_it_is_for(bench: HttpServerClient) -> None:
    fault: FaultHandle = bench.fault("*.bin", Cut(0.5), times=3)

    assert repr(fault) == "<Cut(0.5) for *.bin, 3 times left>"
    assert (fault.name, fault.faults, fault.remaining) == ("*.bin", (Cut(0.5),), 3)
    assert repr(bench.fault(None, Refuse())) == "<Refuse() for everything>"


def test_a_fault_while_boards_fetch_reaches_the_next_answer_of_each(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    put(bench, "small", 100)
    stop = threading.Event()

    def ask() -> list[int]:
        found = []
        with requests.Session() as session:
            while not stop.is_set():
                found.append(session.get(bench.get_url("small"), timeout=PATIENT).status_code)
        return found

    boards = [pool.submit(ask) for _ in range(4)]
    for _ in range(20):
        fault = bench.fault("small", Status(500))
        assert requests.get(bench.get_url("small"), timeout=PATIENT).status_code == 500
        fault.clear()
        assert requests.get(bench.get_url("small"), timeout=PATIENT).status_code == 200
    stop.set()

    assert all(set(board.result(10)) <= {200, 500} for board in boards)


def test_a_wait_begun_before_the_fault_gets_the_download_after_it(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT))
    with bench.fault("Image", Cut(0.5, "reset"), times=1):
        get(bench)
        assert not waiting.done()
        get(bench)

        assert waiting.result(10).bytes == SIZE


def test_two_downloads_that_are_wrong_are_not_put_together_to_a_right_one(bench: HttpServerClient) -> None:
    with bench.fault("Image", Sequence([Corrupt(0), Corrupt(-1), None])):
        get(bench)
        get(bench)
        vain(lambda: bench.wait_for_download("Image", AT_ONCE))
        vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=SIZE))
        get(bench)

        assert bench.wait_for_download("Image", PATIENT).bytes == SIZE


# Uploads


def send(bench: HttpServerClient, data: bytes) -> int:
    return requests.put(bench.get_url("log"), data=data, timeout=PATIENT).status_code


def test_an_upload_that_meets_another_answer_is_not_kept_and_may_be_sent_again(bench: HttpServerClient) -> None:
    bench.accept_uploads("log")
    with bench.fault("log", Sequence([Status(503), Redirect("/other"), None]), method="PUT") as fault:
        found = [
            requests.put(bench.get_url("log"), data=DATA, timeout=PATIENT, allow_redirects=False) for _ in range(3)
        ]

        assert [one.status_code for one in found] == [503, 302, 201]
        assert [hit.fault for hit in fault.hits] == ["Status(503)", "Redirect('/other')"]
    assert [(one.completed, one.bytes) for one in bench.uploads if one.completed] == [(True, SIZE)]
    assert bench.storage.read_bytes("log") == DATA


def test_the_answer_to_an_upload_meets_faults_and_holds(bench: HttpServerClient) -> None:
    bench.accept_uploads("log", overwrite=True)
    with bench.fault("log", Cut(0, "reset"), times=1), pytest.raises(requests.RequestException):
        send(bench, b"1")
    assert bench.storage.read_bytes("log") == b"1"
    with bench.fault("log", Status(503), after=1, times=1):
        assert [send(bench, data) for data in (b"2", b"3", b"4")] == [204, 503, 204]
    assert bench.storage.read_bytes("log") == b"4"


def test_a_request_that_brings_content_is_answered_once_and_with_no_other_file(bench: HttpServerClient) -> None:
    put(bench, "old", 100)
    for fault in (Stale(b"old"), Stale("old"), Truncate(1)):
        with bench.fault("log", fault) as handle:
            assert send(bench, b"1") == 405
            with bench.accept_uploads("log"):
                assert [send(bench, data) for data in (b"1", b"2")] == [201, 409]
            assert handle.hits == ()
        bench.storage.delete("log")
    assert [(one.bytes, one.status) for one in bench.uploads] == [(1, 201)] * 3
