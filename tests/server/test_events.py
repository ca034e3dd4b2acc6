"""The stream of events: what a server tells of what happens on it, to whoever reads on by a number."""

from __future__ import annotations

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import (
    ConnectionEvent,
    DownloadEvent,
    Event,
    ForgottenEvent,
    HttpServerClient,
    InvalidArgument,
    MissingEvent,
    ProgressEvent,
    RequestEvent,
    ServerEvent,
    VersionEvent,
)
from tests.cases import each
from tests.server.waits import BIG, ONE, OTHER, PATIENT, SIZE, begin, fetch, fetch_part, halfway, put
from tests.server.wire import Wire, eventually

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is acknowledged")
OF_AN_ANSWER = ("connected", "begun", "ended", "downloaded", "missing")


def until(client: HttpServerClient, kind: str, since: int = 0) -> list[Event]:
    """Read on until an event of a kind has come, and return all."""
    found: list[Event] = []
    while not any(event.kind == kind for event in found):
        events = client.events(since, timeout=PATIENT)
        assert events, f"no {kind}; {found}"
        since = events[-1].number
        found += events
    return found


# What happens, and what is said of it


def test_a_start_and_a_stop_are_the_first_and_the_last_event(tmp_path: Path) -> None:
    client = HttpServerClient(tmp_path, host="127.0.0.1")
    with client:
        port = client.get_port()

    first, last = client.events(0)

    assert isinstance(first, ServerEvent)
    assert (first.kind, first.host, first.port, first.number) == ("started", "127.0.0.1", port, 1)
    assert (last.kind, last.number) == ("stopped", 2)
    assert first.time <= last.time


def test_a_download_connects_begins_ends_and_is_one(bench: HttpServerClient) -> None:
    put(bench, "boot/Image")
    with Wire(bench.get_port(), source=ONE) as wire:
        wire.ask("/boot/Image?x=1", "User-Agent: board/1")
        port = wire.sock.getsockname()[1]

    started, version, connected, begun, ended, downloaded = until(bench, "downloaded")

    assert started.kind == "started"
    assert isinstance(version, VersionEvent)
    assert (version.kind, version.name) == ("version", "boot/Image")
    assert isinstance(connected, ConnectionEvent)
    assert (connected.client, connected.client_port, connected.local) == (ONE, port, "127.0.0.1")
    assert isinstance(begun, RequestEvent)
    assert (begun.kind, begun.request.target, begun.request.status) == ("begun", "/boot/Image?x=1", 200)
    assert (begun.request.bytes, begun.request.seconds, begun.request.outcome) == (0, 0.0, "under way")
    assert begun.transfer is not None
    assert (begun.transfer.total, begun.transfer.acknowledged, begun.transfer.state) == (SIZE, 0, "under way")
    assert isinstance(ended, RequestEvent)
    assert (ended.kind, ended.exchange, begun.exchange) == ("ended", begun.number, begun.number)
    assert (ended.request.bytes, ended.request.outcome, ended.request.user_agent) == (SIZE, "completed", "board/1")
    assert ended.transfer is not None
    assert (ended.transfer.acknowledged, ended.transfer.state) == (SIZE, "completed")
    assert ended.time == pytest.approx(ended.request.time + ended.request.seconds)
    assert isinstance(downloaded, DownloadEvent)
    assert (downloaded.download.client, downloaded.download.bytes, downloaded.download.ranges) == (ONE, SIZE, ())


def test_an_end_is_told_while_the_connection_stays_open(bench: HttpServerClient) -> None:
    put(bench, size=1000)
    with Wire(bench.get_port(), source=ONE) as wire:
        wire.ask("/Image")
        events = until(bench, "ended")

    assert [event.kind for event in events] == ["started", "version", "connected", "begun", "ended", "downloaded"]


def test_the_end_is_the_same_as_the_records_say(bench: HttpServerClient) -> None:
    put(bench)
    fetch_part(bench, 10, 20, board=ONE)

    (event,) = bench.events(0, timeout=PATIENT, kinds="ended")

    assert isinstance(event, RequestEvent)
    assert (event.request,) == bench.requests
    assert (event.transfer,) == bench.transfers


def test_a_download_by_ranges_is_told_with_its_last(bench: HttpServerClient) -> None:
    put(bench, size=100)
    fetch_part(bench, 0, 60, board=ONE)
    eventually(lambda: bench.events(0, timeout=0, kinds="ended"), "the end of the first one")
    fetch_part(bench, 60, 100, board=ONE)
    eventually(lambda: bench.events(0, timeout=0, kinds="downloaded"), "the end of the last one")
    fetch_part(bench, 0, 10, board=ONE)

    kinds = [event.kind for event in bench.events(0, timeout=0, kinds=("begun", "downloaded"))]
    (downloaded,) = bench.events(0, timeout=0, kinds="downloaded")

    assert kinds == ["begun", "begun", "downloaded", "begun"]
    assert isinstance(downloaded, DownloadEvent)
    assert downloaded.download.ranges == ((0, 60), (60, 100))


def test_an_answer_without_content_is_no_transfer(bench: HttpServerClient) -> None:
    put(bench)
    with Wire(bench.get_port(), source=ONE) as wire:
        wire.send(b"HEAD /Image HTTP/1.1\r\nHost: x\r\n\r\n")
        wire.read_head()

    begun, ended = [event for event in until(bench, "ended") if isinstance(event, RequestEvent)]

    assert (begun.transfer, ended.transfer) == (None, None)
    assert ended.request.method == "HEAD"


def test_what_is_missing_is_told_with_what_is_like_it(bench: HttpServerClient) -> None:
    put(bench)
    fetch(bench, target="/image?x", board=ONE)

    (event,) = bench.events(0, kinds="missing")

    assert isinstance(event, MissingEvent)
    assert (event.missing,) == bench.missing
    assert (event.missing.name, event.missing.nearest) == ("image", ("Image",))


@pytest.fixture
def _told_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("events", "waits.stream"):
        monkeypatch.setattr(f"httpserve.records.{module}.PROGRESS_SECONDS", 0.05)


@linux
@pytest.mark.usefixtures("_told_often")
def test_progress_is_told_of_who_has_read_a_part(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20, board=ONE):
        eventually(lambda: bench.transfers[0].acknowledged >= 1 << 20, "it was acknowledged")
        (event,) = bench.events(0, timeout=PATIENT, kinds="progress")

        assert isinstance(event, ProgressEvent)
        assert (event.transfer.client, event.transfer.state, event.transfer.total) == (ONE, "under way", BIG)
        assert 1 << 20 <= event.transfer.acknowledged < BIG


@linux
@pytest.mark.usefixtures("_told_often")
def test_newer_progress_replaces_older_and_an_end_all_of_it(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20, board=ONE) as wire:
        (first,) = bench.events(0, timeout=PATIENT, kinds="progress")
        wire.read_exactly(1 << 20)
        (second,) = bench.events(first.number, timeout=PATIENT, kinds="progress")
        remembered = bench.events(0, timeout=0, kinds="progress")
        wire.read_exactly(BIG - (2 << 20))
        until(bench, "ended")

    assert isinstance(first, ProgressEvent)
    assert isinstance(second, ProgressEvent)
    assert second.exchange == first.exchange
    assert second.number > first.number
    assert second.transfer.acknowledged >= first.transfer.acknowledged
    assert [event.number for event in remembered] >= [second.number]
    assert bench.events(0, timeout=0, kinds="progress") == ()


# Reading on


def test_who_reads_on_by_the_last_number_sees_each_event_once(bench: HttpServerClient) -> None:
    put(bench)
    numbers = []
    since = 0
    for _ in range(3):
        fetch(bench, board=ONE)
        events = bench.events(since, timeout=PATIENT)
        numbers += [event.number for event in events]
        since = events[-1].number

    assert numbers == list(range(1, since + 1))


def test_an_event_is_the_same_whenever_it_is_read(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20, board=ONE) as wire:
        (early,) = bench.events(0, timeout=PATIENT, kinds="begun")
        wire.read_exactly(BIG - (1 << 20))
        until(bench, "ended")

    (late,) = bench.events(0, kinds="begun")

    assert late == early


def test_without_a_number_a_call_waits_for_what_comes(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    put(bench)
    fetch(bench, board=ONE)
    future = begin(pool, lambda: bench.events(timeout=PATIENT, kinds="connected"))
    fetch(bench, board=OTHER)

    (event,) = future.result(PATIENT)

    assert isinstance(event, ConnectionEvent)
    assert event.client == OTHER


def test_nothing_came_in_time(bench: HttpServerClient) -> None:
    assert bench.events(timeout=0) == ()
    assert bench.events(timeout=0.01) == ()
    assert bench.events(0, timeout=0, kinds=["ended", "missing"]) == ()


def test_a_stop_ends_a_call_with_the_last_event_or_none(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    every = begin(pool, bench.events)
    others = begin(pool, lambda: bench.events(kinds="missing"))
    bench.stop()

    (event,) = every.result(PATIENT)

    assert event.kind == "stopped"
    assert bench.events(event.number) == ()
    assert others.result(PATIENT) == ()


def test_what_a_stop_cuts_is_told_before_it(bench: HttpServerClient) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20, board=ONE):
        until(bench, "begun")
        bench.stop(0.1)

    *_, ended, stopped = bench.events(0)

    assert isinstance(ended, RequestEvent)
    assert (ended.kind, ended.request.outcome) == ("ended", "cut")
    assert stopped.kind == "stopped"


def test_a_client_that_was_never_started_has_no_events(tmp_path: Path) -> None:
    client = HttpServerClient(tmp_path)

    assert client.events() == ()
    assert client.events(0) == ()


def test_a_loop_over_all_events_ends_with_the_server(bench: HttpServerClient) -> None:
    kinds: list[str] = []

    def read() -> None:
        since = 0
        while events := bench.events(since):
            kinds.extend(event.kind for event in events)
            since = events[-1].number

    reader = threading.Thread(target=read)
    reader.start()
    put(bench)
    fetch(bench, board=ONE)
    bench.stop()
    reader.join(PATIENT)

    assert kinds == ["started", "version", "connected", "begun", "ended", "downloaded", "stopped"]


def test_a_second_start_goes_on_with_the_numbers(bench: HttpServerClient) -> None:
    bench.stop()
    bench.start()

    assert [(event.number, event.kind) for event in bench.events(0)] == [(1, "started"), (2, "stopped"), (3, "started")]


def test_what_is_too_long_ago_is_forgotten_and_counted(tmp_path: Path) -> None:
    with HttpServerClient(tmp_path, host="127.0.0.1", max_records=1) as client:
        put(client)
        for _ in range(3):
            fetch(client, board=ONE)
        last = client.events(0)[-1].number

        gone, *rest = client.events(0)

        assert isinstance(gone, ForgottenEvent)
        assert gone.count == gone.number
        assert last - gone.number >= 3
        assert [event.number for event in rest] == list(range(gone.number + 1, last + 1))
        assert client.events(gone.number) == tuple(rest)
        assert client.events(2, kinds="forgotten")[0].as_dict()["count"] == gone.number - 2


def test_ctrl_c_ends_a_call_at_once(bench: HttpServerClient) -> None:
    main = threading.get_ident()
    timer = threading.Timer(0.05, lambda: signal.pthread_kill(main, signal.SIGINT))
    timer.start()

    with pytest.raises(KeyboardInterrupt):
        bench.events()
    timer.join()


def test_an_event_is_json(bench: HttpServerClient) -> None:
    put(bench)
    fetch_part(bench, 10, 20, board=ONE)
    fetch(bench, target="/none", board=ONE)
    fetch(bench, board=ONE)
    bench.stop()

    events = bench.events(0)
    dicts = [event.as_dict() for event in events]

    assert json.loads(json.dumps(dicts)) == dicts
    assert {one["kind"] for one in dicts} == {"started", "version", *OF_AN_ANSWER, "stopped"}
    assert list(dicts[0]) == ["number", "time", "kind", "host", "port"]
    ended = next(one for one in dicts if one["kind"] == "ended")
    assert ended["request"]["fields"]["range"] == "bytes=10-19"
    assert ended["transfer"]["ranges"] == [[10, 20]]


# Arguments


@each(
    ("since", "timeout", "kinds", "said"),
    [
        *((0, 0, kinds, "kinds must be one or several of started") for kinds in ("end", "", (), ["none"], 5, [1])),
        *((since, 0, None, "since must be the number of an event") for since in (-1, 1.0, "1", True, 1000)),
        *((0, timeout, None, "timeout") for timeout in (-1, float("nan"), "1")),
    ],
)
def test_what_means_nothing_is_refused(
    bench: HttpServerClient, since: int, timeout: float, kinds: str | None, said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        bench.events(since, timeout, kinds)
