"""Waits for what boards send: which upload counts, and what the error says when none does."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from httpserve import HttpServerClient, InvalidArgument, ServerNotRunning, WaitTimeout
from tests.server.waits import AT_ONCE, ONE, OTHER, PATIENT, begin, vain
from tests.server.wire import Wire, eventually


@pytest.fixture
def bench(bench: HttpServerClient) -> HttpServerClient:
    bench.accept_uploads("logs/", max_bytes=100, overwrite=True)
    return bench


def send(bench: HttpServerClient, name: str = "logs/a", content: bytes = b"12345", board: str = ONE) -> int:
    with Wire(bench.get_port(), source=board) as wire:
        wire.get(f"/{name}", f"Content-Length: {len(content)}", method="PUT")
        wire.send(content)
        return wire.answer().status


def test_wait_returns_what_came_before_it_once_and_the_oldest_first(bench: HttpServerClient) -> None:
    for content in (b"1", b"22", b"333"):
        send(bench, content=content)

    found = [bench.wait_for_upload(name, AT_ONCE).bytes for name in ("logs/a", "logs/", "/")]
    error = vain(lambda: bench.wait_for_upload("logs/a", AT_ONCE))

    assert found == [1, 2, 3]
    assert error.happened == "returned before"


def test_wait_returns_as_soon_as_it_has_come(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = begin(pool, lambda: bench.wait_for_upload("logs/a", PATIENT))
    send(bench, "logs/b")
    send(bench)

    assert waiting.result(PATIENT).name == "logs/a"
    assert bench.wait_for_upload("logs/", AT_ONCE).name == "logs/b"


def test_waits_at_the_same_time_return_different_uploads(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    waiting = [begin(pool, lambda: bench.wait_for_upload("logs/", PATIENT)) for _ in range(3)]
    for name in "abc":
        send(bench, f"logs/{name}")

    assert sorted(one.result(PATIENT).name for one in waiting) == ["logs/a", "logs/b", "logs/c"]


def test_client_says_whose_upload_counts(bench: HttpServerClient) -> None:
    send(bench, content=b"1")
    send(bench, content=b"22", board=OTHER)
    send(bench, content=b"333")

    by_address = bench.wait_for_upload("logs/a", AT_ONCE, client=OTHER)
    by_function = bench.wait_for_upload("logs/a", AT_ONCE, client=lambda record: record.bytes == 3)
    rejected = vain(lambda: bench.wait_for_upload("logs/a", AT_ONCE, client=lambda record: False))
    absent = vain(lambda: bench.wait_for_upload("logs/a", AT_ONCE, client="192.0.2.9"))

    assert (by_address.bytes, by_function.bytes) == (2, 3)
    assert (rejected.happened, absent.happened) == ("rejected", "asked for other names")
    assert bench.wait_for_upload("logs/a", AT_ONCE).bytes == 1


def test_since_counts_again_what_a_wait_has_returned(bench: HttpServerClient) -> None:
    began = time.time() - 1
    send(bench)
    first = bench.wait_for_upload("logs/a", AT_ONCE)

    assert bench.wait_for_upload("logs/a", AT_ONCE, since=began) == first
    assert vain(lambda: bench.wait_for_upload("logs/a", AT_ONCE, since=time.time() + 1)).happened != "returned before"


def test_block_counts_only_what_comes_inside_it(bench: HttpServerClient) -> None:
    send(bench)
    with bench.expect_upload("logs/a", PATIENT, overwrite=True) as up:
        with pytest.raises(InvalidArgument, match="leave the block"):
            _ = up.record
        send(bench, content=b"inside")

    assert (up.record.bytes, up.read()) == (6, b"inside")
    assert bench.wait_for_upload("logs/a", AT_ONCE).bytes == 5
    assert repr(up) == "<expected upload of logs/a>"


@pytest.mark.local_root("what went to a store has no path on this host")
def test_path_of_an_upload_is_that_of_its_file(bench: HttpServerClient) -> None:
    with bench.expect_upload("logs/a", PATIENT) as up:
        send(bench, content=b"inside")

    assert up.path() == up.record.path()
    assert (up.path().name, up.path().read_bytes()) == ("a", b"inside")


def test_block_accepts_its_file_and_nothing_afterwards(bench: HttpServerClient) -> None:
    with bench.expect_upload("results.xml", PATIENT, max_bytes=7) as up:
        statuses = [send(bench, "results.xml", content) for content in (b"too long", b"fits", b"again")]
    after = send(bench, "results.xml")
    with pytest.raises(ZeroDivisionError), bench.expect_upload("other", PATIENT):
        _ = 1 / 0
    late = vain(bench.expect_upload("late", AT_ONCE).wait)

    assert (statuses, after, send(bench, "other"), send(bench, "late")) == ([413, 201, 409], 405, 405, 405)
    assert up.record.read() == b"fits"
    assert up.wait() is up.record
    assert late.happened == "nothing asked"


def test_wait_in_vain_says_what_happened(bench: HttpServerClient) -> None:
    nobody = vain(lambda: bench.wait_for_upload("logs/a", AT_ONCE))
    send(bench, "logs/b", bytes(101))
    too_long = vain(lambda: bench.wait_for_upload("logs/b", AT_ONCE))
    send(bench, "nowhere")
    refused = vain(lambda: bench.wait_for_upload("nowhere", AT_ONCE))
    other = vain(lambda: bench.wait_for_upload("logs/x", AT_ONCE))
    with Wire(bench.get_port(), source=ONE) as wire:
        wire.get("/logs/c", "Content-Length: 9", method="PUT")
        wire.send(b"12345")
        eventually(lambda: "has sent 5 bytes" in str(vain(lambda: bench.wait_for_upload("logs/c", AT_ONCE))), "it came")
        underway = vain(lambda: bench.wait_for_upload("logs/c", AT_ONCE))
        wire.reset()
        eventually(lambda: bench.uploads, "it was cut")
    cut = vain(lambda: bench.wait_for_upload("logs/c", AT_ONCE))

    assert [one.happened for one in (nobody, too_long, refused, other)] == [
        "nobody connected",
        "refused",
        "refused",
        "asked for other names",
    ]
    assert (underway.happened, underway.received, cut.happened, cut.received) == ("under way", 5, "stopped", 5)
    assert f"{ONE} tried to (PUT), and was refused (413)" in str(too_long)
    assert "accept_uploads('nowhere')" in str(refused)
    assert "/nowhere (405" in str(other)
    assert f"{ONE} has sent 5 bytes of logs/c: the client reset the connection" in str(cut)
    assert "nobody has uploaded 'logs/c'" in str(cut)


def test_wait_for_what_nothing_accepts_says_so(bench: HttpServerClient) -> None:
    told = str(vain(lambda: bench.wait_for_upload("other", AT_ONCE)))

    assert told.endswith("; nothing accepts it: use http.accept_uploads('other') first")


def test_wait_ends_with_the_server(pool: ThreadPoolExecutor) -> None:
    with HttpServerClient(host="127.0.0.1") as bench:
        waiting = begin(pool, lambda: bench.wait_for_upload("a"))
        bench.stop()

        with pytest.raises(ServerNotRunning, match="an upload of 'a' was waited for"):
            waiting.result(PATIENT)
        for call in (bench.wait_for_upload, bench.expect_upload):
            with pytest.raises(ServerNotRunning, match="start"):
                call("a")


def test_arguments_that_mean_nothing_are_refused(bench: HttpServerClient) -> None:
    for arguments in ({"client": "board"}, {"timeout": -1}, {"since": -1}):
        with pytest.raises(InvalidArgument):
            bench.wait_for_upload("logs/a", **arguments)
    assert isinstance(vain(lambda: bench.wait_for_upload("logs/a", 0)), WaitTimeout)
