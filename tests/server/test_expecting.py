"""What has to begin inside a block, and waiting for any request."""

from __future__ import annotations

import gc
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pytest

from httpserve import HttpServerClient, InvalidArgument, InvalidName, InvalidType, NotFound, ServerNotRunning
from httpserve.records.terms import Until
from tests.conftest import private_root
from tests.server.waits import AT_ONCE, BIG, ONE, OTHER, PATIENT, SIZE, begin, fetch, fetch_part, halfway, put, vain
from tests.server.wire import Wire, eventually


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


class Bored(Exception):
    """What a script may raise."""


def empty_block(expected: AbstractContextManager[object]) -> None:
    with expected:
        pass


# A download


@pytest.mark.parametrize("until", ["all", "started", "idle", 0.5, 1000])
def test_what_begins_inside_the_block_is_waited_for_at_its_end(
    bench: HttpServerClient, pool: ThreadPoolExecutor, until: Until
) -> None:
    with bench.expect_download("Image", PATIENT, until=until, idle=0.02) as expected:
        board = pool.submit(fetch, bench, "User-Agent: board")

    assert (expected.record.total, expected.record.user_agent) == (SIZE, "board")
    if until == "all":
        assert expected.record.bytes == SIZE
    assert expected.records == [expected.record]
    board.result(10)


@pytest.mark.parametrize("until", ["all", "started", "idle", 0.5, 1000])
def test_what_came_before_the_block_does_not_count(bench: HttpServerClient, until: Until) -> None:
    fetch(bench)
    expected = bench.expect_download("Image", AT_ONCE, until=until, idle=0.0)
    fetch(bench)

    error = vain(lambda: empty_block(expected))

    assert (error.happened, error.received) == ("asked too early", 0)
    assert "nobody asked for it in the time that counts; 127.0.0.1 did before; let the board ask inside" in str(error)


def test_what_was_under_way_before_the_block_does_not_count(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20) as board, bench.expect_download("Image", AT_ONCE) as expected:
        board.read_exactly(BIG - (1 << 20))
        assert bench.wait_for_download("Image", PATIENT).bytes == BIG
        fetch(bench, "User-Agent: second")

    assert expected.record.user_agent == "second"


def test_a_close_ends_a_wait_of_another_thread(bench: HttpServerClient) -> None:
    expected = bench.expect_download("Image", timeout=600)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(expected.wait)
        eventually(lambda: waiting.running(), "the wait")
        expected.close()

        with pytest.raises(InvalidArgument, match="the wait for 'Image' is over; expect the download again"):
            waiting.result(PATIENT)


def test_an_exception_in_the_block_is_not_hidden_by_a_wait(bench: HttpServerClient) -> None:
    with pytest.raises(Bored), bench.expect_download("Image", 600):
        raise Bored
    with pytest.raises(Bored), bench.expect_request("Image", timeout=600):
        raise Bored


def test_nothing_is_waited_for_inside_the_block(bench: HttpServerClient) -> None:
    with bench.expect_download("Image", 600) as expected:
        with pytest.raises(InvalidArgument, match="leave the block"):
            assert expected.record
        with pytest.raises(InvalidArgument, match="leave the block"):
            assert expected.records
        fetch(bench)


def test_the_timeout_tells_only_of_the_block(bench: HttpServerClient) -> None:
    fetch_part(bench, 0, 1000, board=ONE)
    fetch(bench, target="/before")

    def block() -> None:
        with bench.expect_download("Image", AT_ONCE):
            fetch(bench, target="/inside")

    error = vain(block)

    assert (error.happened, error.received, error.missing) == ("asked for other names", 0, ((0, SIZE),))
    assert "/inside" in str(error)
    assert "/before" not in str(error)
    assert ONE not in str(error)


def test_several_boards_are_expected(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    with bench.expect_download("Image", PATIENT, clients=[OTHER, ONE]) as expected:
        boards = [pool.submit(fetch, bench, board=board) for board in (ONE, OTHER)]

    assert [record.client for record in expected.records] == [OTHER, ONE]
    assert expected.record.client == OTHER
    for board in boards:
        board.result(10)


def test_a_board_is_expected_by_its_request(bench: HttpServerClient) -> None:
    with bench.expect_download("Image", PATIENT, client=lambda one: one.fields.get("X-Serial") == "B") as expected:
        fetch(bench, "X-Serial: A", "User-Agent: a")
        fetch(bench, "X-Serial: B", "User-Agent: b")

    assert expected.record.user_agent == "b"


def test_a_put_inside_the_block_begins_anew(bench: HttpServerClient) -> None:
    with bench.expect_download("Image", PATIENT) as expected:
        fetch(bench, "User-Agent: before")
        put(bench)
        fetch_part(bench, 0, 10)
        put(bench)
        fetch(bench, "User-Agent: after")

    assert (expected.record.user_agent, expected.record.ranges) == ("after", ())


@pytest.mark.local_root("a file that is changed in its place")
def test_a_slow_answer_of_an_older_version_hides_nothing(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with bench.expect_download("Image", PATIENT) as expected, halfway(bench, 1 << 20):
        with open(private_root() / "Image", "r+b") as file:  # not through us
            file.truncate(1000)
        fetch(bench)

    assert (expected.record.bytes, expected.record.total) == (1000, 1000)


def test_an_expectation_may_be_waited_for_without_a_block(bench: HttpServerClient) -> None:
    expected = bench.expect_download("Image", PATIENT)
    several = bench.expect_download("Image", PATIENT, clients=[ONE])
    fetch(bench, board=ONE)

    assert expected.wait() == expected.wait() == expected.record
    assert several.wait() == several.records == [expected.record]


def test_an_expectation_that_is_over_says_so(bench: HttpServerClient) -> None:
    expected = bench.expect_download("Image", AT_ONCE)
    expected.close()
    expected.close()
    with pytest.raises(InvalidArgument, match="expect the download again"):
        expected.wait()
    in_vain = bench.expect_download("Image", AT_ONCE)
    vain(in_vain.wait)
    with pytest.raises(InvalidArgument, match="expect the download again"):
        in_vain.wait()


def test_an_expectation_may_be_entered_again_and_begins_anew(bench: HttpServerClient) -> None:
    expected = bench.expect_download("Image", AT_ONCE)
    with expected:
        fetch(bench, "User-Agent: first")
    with expected:
        fetch(bench, "User-Agent: second")

    assert expected.record.user_agent == "second"
    vain(lambda: empty_block(expected))


def test_an_expectation_that_is_forgotten_is_kept_by_nobody(bench: HttpServerClient) -> None:
    expected = bench.expect_download("Image", 1)
    forgotten = weakref.ref(expected)

    del expected
    gc.collect()

    assert forgotten() is None


def test_an_expectation_tells_its_progress(bench: HttpServerClient) -> None:
    told: list[tuple[int, int | None]] = []
    with bench.expect_download("Image", PATIENT, progress=lambda *what: told.append(what)):
        fetch(bench)

    assert told[-1] == (SIZE, SIZE)


def test_what_cannot_be_expected_is_refused_at_once(bench: HttpServerClient) -> None:
    with pytest.raises(NotFound, match="missing"):
        bench.expect_download("missing", 1)
    with pytest.raises(InvalidArgument, match="until"):
        bench.expect_download("Image", 1, until="whole")
    with pytest.raises(InvalidArgument, match="timeout"):
        bench.expect_download("Image", -1)
    bench.stop()
    with pytest.raises(ServerNotRunning):
        bench.expect_download("Image", 1)
    with pytest.raises(ServerNotRunning):
        bench.expect_request("Image", timeout=1)


@pytest.mark.parametrize("end", ["removed", "stopped", "closed"])
def test_an_end_inside_the_block_is_told_at_its_end(bench: HttpServerClient, end: str) -> None:
    ends = {"removed": lambda: bench.storage.delete("Image"), "stopped": bench.stop, "closed": bench.close}

    with pytest.raises(NotFound if end == "removed" else ServerNotRunning), bench.expect_download("Image", 600):
        ends[end]()


# A request


def test_a_request_is_waited_for_whether_there_is_such_a_file_or_not(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    for target, name, status in (("/Image", "Image", 200), ("/boot/a%20b?x=1", "boot/a b", 404)):
        waiting = begin(pool, partial(bench.wait_for_request, name, timeout=PATIENT))
        fetch(bench, target="/else")
        still_waits = not waiting.done()

        fetch(bench, target=target)

        request = waiting.result(10)
        assert (request.target, request.status, still_waits) == (target, status, True)


def test_any_request_may_be_waited_for(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        wire.send(b"nonsense\r\n\r\n")
        wire.answer()

    assert bench.wait_for_request(timeout=PATIENT).status == 400


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"name": "Image"}, 1),
        ({"name": "/Image"}, 1),
        ({"method": "head"}, 2),
        ({"status": 206}, 3),
        ({"client": OTHER}, 4),
        ({"name": "Image", "method": "GET", "status": 200, "client": OTHER}, 5),
        ({"client": lambda request: request.fields.get("RANGE") == "bytes=0-9"}, 3),
        ({"name": "boot"}, 6),
        ({"name": ""}, 7),
    ],
)
def test_a_request_is_the_first_that_fits(bench: HttpServerClient, wanted: dict[str, Any], index: int) -> None:
    bench.storage.write_bytes("boot/x", b"x")
    fetch(bench, target="/first")
    fetch(bench)
    with Wire(bench.get_port()) as wire:
        wire.ask("/Image", method="HEAD")
    fetch(bench, "Range: bytes=0-9")
    fetch(bench, target="/fourth", board=OTHER)
    fetch(bench, board=OTHER)
    fetch(bench, target="/boot/")
    fetch(bench, target="/")

    assert bench.wait_for_request(timeout=PATIENT, **wanted) == bench.requests[index]


def test_a_second_request_must_come_again(bench: HttpServerClient) -> None:
    for query in ("/x?1", "/x?2"):
        vain(lambda: bench.wait_for_request("x", timeout=AT_ONCE))
        fetch(bench, target=query)

        assert bench.wait_for_request("x", timeout=PATIENT).target == query


def test_requests_that_a_function_tells_apart_are_returned_once_each_in_any_order(bench: HttpServerClient) -> None:
    for number in range(4):
        fetch(bench, target=f"/x?{number}")

    def wait(*numbers: int) -> str:
        fits = tuple(f"/x?{number}" for number in numbers)
        return bench.wait_for_request("x", timeout=AT_ONCE, client=lambda one: one.target in fits).target

    assert (wait(2), wait(1), wait(1, 2, 3)) == ("/x?2", "/x?1", "/x?3")
    vain(lambda: wait(1, 2, 3))
    assert bench.wait_for_request("x", timeout=PATIENT).target == "/x?0"
    vain(lambda: bench.wait_for_request("x", timeout=AT_ONCE))


def test_a_request_since_a_time_counts_although_it_was_returned(bench: HttpServerClient) -> None:
    began = time.time()
    fetch(bench)
    for _ in range(2):
        assert bench.wait_for_request("Image", timeout=PATIENT, since=began).target == "/Image"

    vain(lambda: bench.wait_for_request("Image", timeout=AT_ONCE, since=time.time() + 60))


def test_a_request_is_expected_inside_a_block(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    fetch(bench, target="/x?before")
    expected = bench.expect_request("x", timeout=PATIENT)
    fetch(bench, target="/x?between")
    with expected:
        with pytest.raises(InvalidArgument, match="leave the block"):
            assert expected.record
        board = pool.submit(fetch, bench, target="/x?inside")

    assert expected.record.target == "/x?inside"
    board.result(10)
    again = bench.expect_request("x", client=ONE, timeout=PATIENT)
    fetch(bench, target="/x?again", board=ONE)
    assert again.wait() == again.wait() == again.record


def test_what_a_function_raises_about_a_request_reaches_who_waits(bench: HttpServerClient) -> None:
    fetch(bench)

    def breaks(request: object) -> bool:
        raise Bored

    with pytest.raises(Bored):
        bench.wait_for_request("Image", client=breaks, timeout=PATIENT)
    assert bench.wait_for_request("Image", timeout=PATIENT).status == 200


def test_a_request_in_vain_says_what_came_instead(bench: HttpServerClient) -> None:
    error = vain(lambda: bench.wait_for_request("image", method="GET", client=ONE, status=404, timeout=AT_ONCE))
    assert str(error).startswith(
        f"no GET for 'image' by {ONE} with the status 404 came within 0.02 s: nobody connected; "
        f"the URL for boards is {bench.get_url('image')}; "
    )
    fetch(bench, target="/imag")

    error = vain(lambda: bench.wait_for_request("Image", timeout=AT_ONCE))

    assert str(error).startswith(
        "no request for 'Image' came within 0.02 s: asked for instead: /imag (404, by 127.0.0.1; there is Image); "
    )
    assert (error.happened, error.name, error.timeout) == ("asked for other names", "Image", AT_ONCE)
    rejected = vain(lambda: bench.wait_for_request("imag", timeout=AT_ONCE, client=lambda request: False))
    assert rejected.happened == "rejected"
    bench.wait_for_request("imag", timeout=PATIENT)
    assert vain(lambda: bench.wait_for_request("imag", timeout=AT_ONCE)).happened == "returned before"


@pytest.mark.parametrize("end", ["stop", "close"])
def test_an_end_of_the_server_ends_a_wait_for_a_request_at_once(
    bench: HttpServerClient, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("httpserve.records.waits.request.SLICE_SECONDS", 600.0)
    waiting = begin(pool, lambda: bench.wait_for_request("x"))

    getattr(bench, end)()

    with pytest.raises(ServerNotRunning, match="stopped or closed while a request"):
        waiting.result(10)
    with pytest.raises(ServerNotRunning):
        bench.wait_for_request("x", timeout=1)


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"name": "../x"}, InvalidName),
        ({"method": 5}, InvalidType),
        ({"status": 99}, InvalidArgument),
        ({"status": "404"}, InvalidArgument),
        ({"client": "board"}, InvalidArgument),
        ({"since": -1}, InvalidArgument),
        ({"timeout": -1}, InvalidArgument),
    ],
)
def test_what_no_request_can_be_is_refused(
    bench: HttpServerClient, wanted: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        bench.wait_for_request(**{"timeout": 1, **wanted})


def test_waits_for_requests_of_several_threads_are_all_told(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = [begin(pool, lambda: bench.wait_for_request("x", timeout=PATIENT)) for _ in range(4)]

    fetch(bench, target="/x")

    assert {one.result(10).target for one in waiting} == {"/x"}
