"""`httpserve --json`: what happens, one object a line, as a script in any language reads it."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from httpserve import HttpServerClient
from httpserve.cli.json_events import KINDS, Event, EventFeed
from tests import warm
from tests.interfaces.command import END_SECONDS, end, event, events, fetch, is_refused
from tests.interfaces.conftest import Run, Start
from tests.server.wire import PATIENCE_SECONDS, Wire, eventually, unmeasured

Told = tuple["subprocess.Popen[str]", Iterator[dict[str, Any]], str]
BIG = 12 << 20


@pytest.fixture
def told(start: Start, folder: Path) -> Told:
    """Start a server, and return its process, its further events, and its URL."""
    (folder / "board.img").write_bytes(bytes(BIG))
    process = start(folder, "-b", "127.0.0.1", "--json")
    coming = events(process)
    listening = event(coming, "listening")
    return process, coming, listening["url"]


def test_first_event_says_where_it_listens(start: Start, folder: Path) -> None:
    process = start(folder / "a file.txt", "-b", "127.0.0.1", "--json")

    listening = next(events(process))

    assert listening["url"] == f"http://127.0.0.1:{listening['port']}/a%20file.txt"
    assert (listening["host"], listening["path"], listening["pid"]) == (
        "127.0.0.1",
        str(folder / "a file.txt"),
        process.pid,
    )


def test_download_is_told_from_the_request_to_the_last_byte(told: Told) -> None:
    _, coming, url = told

    fetch(f"{url}/boot/zImage")

    asked = event(coming, "request")
    started = event(coming, "transfer-started")
    ended = event(coming, "transfer-ended")
    download = event(coming, "download")
    assert (asked["method"], asked["target"], asked["status"], asked["client"]) == (
        "GET",
        "/boot/zImage",
        200,
        "127.0.0.1",
    )
    assert (started["name"], started["total"], started["ranges"]) == ("boot/zImage", 6000, [])
    assert (ended["id"], ended["state"], ended["acknowledged"]) == (started["id"], "completed", 6000)
    assert (download["name"], download["client"], download["bytes"], download["total"]) == (
        "boot/zImage",
        "127.0.0.1",
        6000,
        6000,
    )


def test_progress_is_told_while_a_board_takes_its_time(told: Told) -> None:
    process, coming, url = told
    with Wire(int(url.rpartition(":")[2]), receive_bytes=64 << 10) as board:
        board.get("/board.img")
        board.read_head()
        started = event(coming, "transfer-started")
        board.read_exactly(1 << 20)

        progress = event(coming, "transfer-progress")
        board.reset()

    ended = event(coming, "transfer-ended")
    assert 0 < progress["acknowledged"] <= ended["acknowledged"] < ended["total"] == BIG
    assert progress["id"] == ended["id"] == started["id"]
    assert ended["state"] == "reset"
    process.terminate()
    assert "download" not in [one["event"] for one in coming]


def test_file_that_came_in_ranges_is_one_download(told: Told) -> None:
    _, coming, url = told
    port = int(url.rpartition(":")[2])

    with Wire(port) as board:
        board.ask("/boot/zImage", "Range: bytes=0-3999")
        board.ask("/boot/zImage", "Range: bytes=4000-")
        board.ask("/a%20file.txt")

    first = event(coming, "download")
    second = event(coming, "download")
    assert (first["name"], first["bytes"], first["ranges"]) == ("boot/zImage", 6000, [[0, 4000], [4000, 6000]])
    assert second["name"] == "a file.txt"


def test_each_download_of_a_client_is_told(told: Told) -> None:
    _, coming, url = told

    for _ in range(2):
        fetch(f"{url}/boot/zImage")
        assert event(coming, "download")["name"] == "boot/zImage"


def test_missing_name_is_told_with_the_nearest_ones(told: Told) -> None:
    _, coming, url = told

    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{url}/boot/zimage")
    refused.value.close()

    assert event(coming, "request")["status"] == 404
    missing = event(coming, "missing")
    assert (missing["name"], missing["client"], missing["nearest"][0]) == ("boot/zimage", "127.0.0.1", "boot/zImage")


def test_every_event_has_the_fields_that_are_documented(told: Told) -> None:
    process, coming, url = told
    fetch(f"{url}/boot/zImage")
    with pytest.raises(urllib.error.HTTPError) as refused:
        fetch(f"{url}/none")
    refused.value.close()
    kept = []
    for one in coming:
        kept.append(one)
        if one["event"] == "download":
            break

    process.terminate()
    kept += coming

    assert end(process, told=False) == (0, "", "")
    assert {"missing", "stopped"} <= {one["event"] for one in kept}
    assert kept[-1]["event"] == "stopped"
    for one in kept:
        assert set(one) == {"event", "time", *KINDS[one["event"]].fields}
        assert abs(one["time"] - kept[-1]["time"]) < END_SECONDS


def test_signal_is_the_reason_of_the_last_event(told: Told) -> None:
    process, coming, _ = told

    process.terminate()

    *_, last = coming
    assert (last["event"], last["reason"], last["code"]) == ("stopped", "signal", 0)
    assert end(process, told=False)[0] == 0


def test_second_signal_cuts_what_is_under_way(told: Told) -> None:
    process, coming, url = told
    port = int(url.rpartition(":")[2])
    with Wire(port, receive_bytes=64 << 10) as board:
        board.get("/board.img")
        board.read_head()
        event(coming, "transfer-started")

        process.terminate()
        eventually(lambda: is_refused(port), "the end of listening")
        process.terminate()

        ended = event(coming, "transfer-ended")
    assert ended["state"] in ("cut", "reset")  # reset: the very send that was under way failed
    assert event(coming, "stopped")["reason"] == "signal"


def test_error_is_told_on_both_streams(run: Run, folder: Path) -> None:
    code, output, errors = run(folder / "none", "--json")

    stopped = json.loads(output)
    assert (code, stopped["event"], stopped["reason"], stopped["code"]) == (1, "stopped", "error", 1)
    assert errors == f"httpserve: {stopped['message']}\n"


def test_reader_that_goes_away_ends_it_with_one_line(start: Start, folder: Path) -> None:
    reader, writer = os.pipe()
    process = start(folder, "-b", "127.0.0.1", "--json", stdout=writer)
    os.close(writer)
    with open(reader, encoding="ascii") as stream:
        url = json.loads(stream.readline())["url"]

    fetch(f"{url}/boot/zImage")
    code, _, errors = end(process, told=False)

    assert (code, errors.count("\n")) == (1, 1)
    assert "could not be written to stdout any more" in errors


def test_signal_that_cuts_what_is_under_way_after_an_error_makes_it_no_success(start: Start, folder: Path) -> None:
    (folder / "board.img").write_bytes(bytes(BIG))
    reader, writer = os.pipe()
    process = start(folder, "-b", "127.0.0.1", "--json", stdout=writer)
    os.close(writer)
    with open(reader, encoding="ascii") as stream:
        url = json.loads(stream.readline())["url"]
    port = int(url.rpartition(":")[2])
    with Wire(port, receive_bytes=64 << 10) as board:
        board.get("/board.img")
        board.read_head()
        eventually(lambda: is_refused(port), "the end of listening")

        code, _, errors = end(process)

    assert code == 1
    assert "could not be written to stdout any more" in errors


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_reader_that_does_not_read_is_not_waited_for(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch, unbuffered: str
) -> None:
    """With PYTHONUNBUFFERED, as containers have it, signals were held back in a write that does not end."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    reader, writer = os.pipe()
    with open(reader, "rb", buffering=0) as stream, open(writer, "wb", buffering=0) as full:
        process = start(folder, "-b", "127.0.0.1", "--json", stdout=full)
        url = json.loads(stream.read(4096))["url"]

        def is_full() -> bool:
            with Wire(int(url.rpartition(":")[2])) as board:
                for _ in range(100):
                    board.ask("/boot/zImage")
            return not select.select([], [full], [], 0)[1]

        eventually(is_full, "nothing more goes into the pipe")

        def has_ended() -> bool:
            process.terminate()
            return process.poll() is not None

        eventually(has_ended, "it has ended")


def test_name_that_is_missing_just_before_the_end_is_told(told: Told) -> None:
    process, coming, url = told
    with Wire(int(url.rpartition(":")[2])) as board:
        board.ask("/boot/zimage")

    process.terminate()

    assert event(coming, "missing")["nearest"] == ["boot/zImage"]
    assert event(coming, "stopped")["code"] == 0


def test_transfer_whose_end_is_skipped_ends_with_what_is_known_of_it(folder: Path) -> None:
    (folder / "board.img").write_bytes(bytes(BIG))
    with HttpServerClient(folder, "127.0.0.1", read_only=True, max_records=2) as client:
        feed = EventFeed(client)

        def told() -> list[Event]:
            return [event for one in feed.wait(PATIENCE_SECONDS) for event in feed.told(one)]

        with Wire(client.get_port(), receive_bytes=64 << 10) as board:
            board.get("/board.img")
            board.read_head()
            first = [event for event in told() if event.kind == "transfer-started"]
        eventually(lambda: client.transfers[0].state != "under way", "the end")
        with Wire(client.get_port()) as other:
            for _ in range(10):
                other.ask("/a%20file.txt")
        then = told()

    assert [event.fields["name"] for event in first] == ["board.img"]
    assert [event.kind for event in then[:2]] == ["skipped", "transfer-ended"]
    assert (then[1].fields["id"], then[1].fields["state"]) == (first[0].fields["id"], "unknown")
    assert "transfer-ended" not in [event.kind for event in then[2:] if event.fields.get("name") == "board.img"]


def test_crowd_of_small_requests_is_told_completely_or_said_to_be_skipped(told: Told) -> None:
    process, coming, url = told
    asked = 1500
    with Wire(int(url.rpartition(":")[2])) as board:
        for _ in range(asked):
            board.ask("/a%20file.txt")

    process.terminate()

    kinds = [one["event"] for one in coming]
    assert kinds.count("transfer-started") == kinds.count("transfer-ended")
    assert kinds.count("request") == asked or "skipped" in kinds


INTERRUPTED = """
import signal, sys
from httpserve.cli.stream import Stream

def interrupt(number, frame):
    global is_held
    if not is_held:
        is_held = True
        raise KeyboardInterrupt

out, is_held, left = Stream(sys.stdout), True, 2000
signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
while left:
    if not out.has_much:
        out.put(f"{left} {'x' * (left % 211)}\\n")
        left -= 1
        continue
    try:
        is_held = False
        out.flush()
        is_held = True
    except KeyboardInterrupt:
        pass
signal.signal(signal.SIGALRM, signal.SIG_IGN)
out.flush()
"""


def test_signals_while_a_slow_reader_blocks_a_write_cost_no_byte() -> None:
    source, sink = os.pipe()
    fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-c", INTERRUPTED]
    with warm.Popen(command, env=unmeasured(), stdout=sink) as process, open(source, "rb", buffering=0) as reader:
        os.close(sink)
        came = b"".join(iter(lambda: reader.read(7), b""))

    assert process.returncode == 0
    assert came.decode() == "".join(f"{left} {'x' * (left % 211)}\n" for left in range(2000, 0, -1))
