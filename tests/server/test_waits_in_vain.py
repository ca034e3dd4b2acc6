"""What a wait says that has failed, how exactly its time is kept, and what ends it at once."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from httpserve import HttpServerClient, InvalidName, NotFound, ServerNotRunning, WaitTimeout
from httpserve.records.terms import Until
from tests.conftest import private_root
from tests.server.waits import (
    AT_ONCE,
    BIG,
    ONE,
    OTHER,
    PATIENT,
    SIZE,
    THIRD,
    begin,
    fetch,
    fetch_part,
    halfway,
    put,
    vain,
)
from tests.server.wire import Wire, eventually, pattern

EACH: list[Until] = ["all", "started", "idle", 0.5, 1000]
TIMEOUT = 0.05
IS_A_URL = "cannot be a name on the server: it is a URL, and a wait takes the name on the server"


@pytest.fixture
def bench(image: HttpServerClient) -> HttpServerClient:
    return image


def said(error: WaitTimeout) -> tuple[str, int, int, tuple[tuple[int, int], ...]]:
    return error.happened, error.received, error.total, error.missing


# What happened instead


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"until": "all"}, "nobody has downloaded 'Image'"),
        ({"until": "started"}, "nobody has started on 'Image'"),
        ({"until": "idle"}, "nobody has come to rest on 'Image'"),
        ({"until": 0.5}, f"nobody has downloaded {SIZE // 2} bytes of 'Image'"),
        ({"until": 1000}, "nobody has downloaded 1000 bytes of 'Image'"),
        ({"client": lambda request: False}, "nobody that counts has downloaded 'Image'"),
    ],
)
def test_nobody_connected(bench: HttpServerClient, wanted: dict[str, Any], told: str) -> None:
    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, **wanted))

    assert said(error) == ("nobody connected", 0, SIZE, ((0, SIZE),))
    assert str(error).startswith(told)
    assert str(error).endswith(
        f"'Image' within 0.02 s: nobody connected; the URL for boards is {bench.get_url('Image')}; "
        "the server listens on 127.0.0.1, which only this host reaches: pass peer=; "
        "http.doctor() (httpserve doctor in a shell) looks for the reason"
    )
    assert (error.name, error.timeout) == ("Image", AT_ONCE)
    vain(lambda: bench.wait_for_download("Image", 0, **wanted))


def test_somebody_connected_and_said_nothing(bench: HttpServerClient) -> None:
    with Wire(bench.get_port(), source=ONE):
        eventually(lambda: bench.connections, "it was counted")
        error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

    assert error.happened == "nothing asked"
    assert f": {ONE} connected, but sent no request; the URL for boards is " in str(error)


@pytest.mark.parametrize("until", EACH)
def test_connected_and_asked_for_other_names(bench: HttpServerClient, until: Until) -> None:
    put(bench, "boot/zImage", 10)
    for target in ("/image", "/zImage", "/boot/zImage", "/nonsense"):
        fetch(bench, target=target, board=ONE)

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until))

    assert said(error) == ("asked for other names", 0, SIZE, ((0, SIZE),))
    assert (
        f": nobody asked for it; asked for instead: /image (404, by {ONE}; there is Image, boot/zImage), "
        f"/zImage (404, by {ONE}; there is boot/zImage, Image), /boot/zImage (200, by {ONE}), /nonsense (404, by {ONE})"
        f"; the URL for boards is {error.url}; "
    ) in str(error)


@pytest.mark.parametrize(
    ("end", "told", "step"),
    [
        ("reset", "the client reset the connection", "; look on the board why it gave up: its memory, its disk, or"),
        ("close", "the client reset the connection", "; look on the board"),  # with input unread the system resets
        ("goes on", "", "; pass a longer timeout="),
        ("stop", "the server cut it", ""),
    ],
)
def test_started_and_stopped_at_a_byte(bench: HttpServerClient, end: str, told: str, step: str) -> None:
    put(bench, size=BIG)
    with halfway(bench, 1 << 20, board=ONE) as board:
        eventually(lambda: bench.transfers[0].acknowledged >= 1 << 20, "it was acknowledged")
        if end == "reset":
            board.reset()
        elif end == "close":
            board.close()
        elif end == "stop":
            bench.stop(0)
            bench.start()
        if end != "goes on":
            eventually(lambda: bench.transfers[0].state != "under way", "the end")

        error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

        received = bench.transfers[0].acknowledged
    assert said(error) == ("stopped" if told else "under way", received, BIG, ((received, BIG),))
    where = f"started, stopped at byte {received} of {BIG} ({told})" if told else "under way"
    assert f": {ONE} has {received >> 10} of 8192 KiB: {where}{step}" in str(error)


def test_what_the_kernel_took_for_a_board_that_reads_nothing_is_told_as_under_way(bench: HttpServerClient) -> None:
    put(bench, size=100_000)
    with Wire(bench.get_port(), receive_bytes=4096) as wire:
        wire.get("/Image")
        eventually(lambda: bench.transfers and bench.transfers[0].sent == 100_000, "the kernel took it")

        error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

    assert error.happened == "under way"
    assert 0 < error.received < 50_000
    assert str(error).endswith(": under way; pass a longer timeout=")


def test_a_polite_end_is_told_as_one(bench: HttpServerClient) -> None:
    fetch_part(bench, 0, 1000, board=ONE)

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

    assert said(error) == ("stopped", 1000, SIZE, ((1000, SIZE),))
    assert str(error).endswith(
        f"{ONE} has less than 1 of 1024 KiB: started, stopped at byte 1000 of {SIZE} (all of that answer arrived)"
        '; for a client that never takes all there is until="idle"'
    )


def test_only_these_ranges_are_missing(bench: HttpServerClient) -> None:
    fetch_part(bench, 0, 1000, board=ONE)
    fetch_part(bench, 1001, SIZE - 10, board=ONE)

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

    assert said(error) == ("ranges missing", SIZE - 11, SIZE, ((1000, 1001), (SIZE - 10, SIZE)))
    assert str(error).endswith(
        f"only these ranges are missing: 1000-1000, {SIZE - 10}-{SIZE - 1}; "
        'for a client that never takes all there is until="idle"'
    )
    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, until="idle", idle=60))
    assert error.happened == "ranges missing"
    assert "less than 60 s ago" in str(error)
    assert "until=" not in str(error)


def test_of_several_boards_those_who_have_it_are_named_and_the_rest_is_told(bench: HttpServerClient) -> None:
    fetch(bench, board=ONE)
    with_nothing = vain(lambda: bench.wait_for_download("Image", AT_ONCE, clients=[ONE, OTHER]))
    fetch(bench, target="/image", board=OTHER)
    with_others = vain(lambda: bench.wait_for_download("Image", AT_ONCE, clients=[ONE, OTHER]))
    fetch_part(bench, 0, 1000, board=OTHER)
    with_part = vain(lambda: bench.wait_for_download("Image", AT_ONCE, clients=[ONE, OTHER]))
    as_numbers = vain(lambda: bench.wait_for_download("Image", AT_ONCE, clients=3))

    assert said(with_nothing) == ("nothing asked", 0, SIZE, ((0, SIZE),))
    assert str(with_nothing).startswith(
        f"{ONE}, {OTHER} have not all downloaded 'Image' within 0.02 s: "
        f"{ONE} has it; {OTHER} did not ask for it, nor for anything else: it never connected; "
    )
    assert with_others.happened == "asked for other names"
    assert f"{ONE} has it; {OTHER} did not ask for it; asked for instead: /image (404" in str(with_others)
    assert said(with_part) == ("stopped", 1000, SIZE, ((1000, SIZE),))
    assert f"{ONE} has it; {OTHER} has less than 1 of 1024 KiB" in str(with_part)
    assert str(as_numbers).startswith("fewer than 3 clients have downloaded 'Image' within 0.02 s: ")


@pytest.mark.parametrize("until", EACH)
@pytest.mark.parametrize("client", [None, "127.0.0.1"])
def test_what_an_earlier_wait_has_returned_is_not_told_as_if_it_were_new(
    bench: HttpServerClient, until: Until, client: str | None
) -> None:
    fetch(bench, target="/before")
    fetch(bench)
    bench.wait_for_download("Image", PATIENT, until=until, idle=0.0, client=client)

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, idle=0.0, client=client))

    assert error.received == 0
    assert "; an earlier wait has returned what 127.0.0.1 had" in str(error)
    if until in ("all", "idle"):
        assert (error.happened, error.next_step[:18]) == ("returned before", "let the board ask ")
        fetch(bench, target="/since")
        error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, until=until, client=client))
        assert error.happened == "asked for other names"
        assert "/since" in str(error)
    assert "/before" not in str(error) or until not in ("all", "idle")


def test_a_board_with_another_address_than_was_thought_is_named(bench: HttpServerClient) -> None:
    fetch(bench, board=OTHER)

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, client=ONE))

    assert error.happened == "asked by others"
    assert f": it never connected; but {OTHER} asked for it; the URL for boards is " in str(error)


def test_each_cause_has_a_word_and_a_text_of_its_own(bench: HttpServerClient) -> None:
    def fails(*fields: str, method: str = "GET", **wanted: Any) -> tuple[str, str]:
        put(bench, seed=len(bench.requests))
        if fields or method != "GET":
            with Wire(bench.get_port(), source=ONE) as wire:
                wire.ask("/Image", *fields, method=method)
        else:
            fetch(bench, board=ONE)
        if wanted.pop("is_put_again", False):
            put(bench, seed=99)
        error = vain(lambda: bench.wait_for_download("Image", AT_ONCE, **wanted))
        return error.happened, str(error).partition(" s: ")[2]

    assert fails(method="HEAD") == ("HEAD only", f"{ONE} asked for its size only (HEAD); let the board use GET")
    assert fails("If-None-Match: *")[0] == "not modified"
    assert fails("Range: bytes=99999999-") == (
        "range beyond the end",
        f"{ONE} asked for what comes after its end (416), as a client does that has all of it; "
        "delete the board's copy, or let the board ask without a range",
    )
    rejected = fails(client=lambda request: False)
    assert rejected[0] == "rejected"
    assert rejected[1].startswith(f"the client= function rejected GET /Image by {ONE}, which brought all of it; ")
    older = fails(is_put_again=True)
    assert older == (
        "older version",
        f"{ONE} asked for an older version of it, and not for the current one; let the board ask again",
    )


def test_an_answer_that_a_change_in_place_has_cut_is_told_as_one(tmp_path: Path) -> None:
    image = tmp_path / "Image"
    image.write_bytes(pattern(BIG))
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, Wire(client.get_port(), source=ONE) as wire:
        wire.get("/Image")
        wire.read_exactly(1 << 20)
        with image.open("r+b") as file:
            file.write(b"changed")
        with contextlib.suppress(ConnectionError):
            wire.rest()
        eventually(lambda: client.requests[0].outcome == "cut", "the cut")

        error = vain(lambda: client.wait_for_download("Image", AT_ONCE))

    assert error.happened == "older version"
    assert "the server cut that answer, since the file was changed in its place; replace it by a rename" in str(error)


def test_the_error_has_the_peer_and_what_keeps_it_away() -> None:
    with HttpServerClient(host="127.0.0.1", peer="198.51.100.7") as client:
        put(client)

        error = vain(lambda: client.wait_for_download("Image", 0))
        asked = vain(lambda: client.wait_for_request(timeout=0))

        assert (error.url, error.peer) == (client.get_url("Image"), "198.51.100.7")
        assert (asked.url, asked.obstacles) == (client.get_url(), error.obstacles)
    (obstacle,) = error.obstacles
    assert "peer='198.51.100.7'" in obstacle
    assert f"; the URL for peer 198.51.100.7 is {error.url}; {obstacle}; {error.next_step}" in str(error)
    assert "peer" in [hint.option for hint in error.hints]


def test_of_the_way_through_a_proxy_nothing_is_said() -> None:
    with HttpServerClient(host="127.0.0.1", advertise="bench.example:8000") as client:
        put(client)

        error = vain(lambda: client.wait_for_download("Image", 0))

    assert (error.url, error.obstacles) == ("http://bench.example:8000/Image", ())


def test_many_boards_with_a_part_do_not_make_a_message_without_end(bench: HttpServerClient) -> None:
    for number in range(30):
        fetch_part(bench, 0, 1000 + number, board=f"127.0.3.{number + 1}")

    error = vain(lambda: bench.wait_for_download("Image", AT_ONCE))

    assert error.received == 1029
    assert len(str(error)) < 1000
    assert "; 127.0.3.29 has 1 of 1024 KiB: started, stopped at byte 1028 " in str(error)
    assert "; and 25 more have a part; " in str(error)


# In time


@pytest.mark.parametrize(
    ("scene", "call"),
    [
        *(("nobody", call) for call in ("all", "started", "idle", "function", "several", "request", "expected")),
        *(("wrong names", call) for call in ("all", "request")),
        *(("reads nothing", call) for call in ("all", "several")),
    ],
)
def test_no_wait_ends_before_its_timeout(bench: HttpServerClient, call: str, scene: str) -> None:
    waits: dict[str, Callable[[], object]] = {
        "all": lambda: bench.wait_for_download("Image", TIMEOUT),
        "started": lambda: bench.wait_for_download("Image", TIMEOUT, until="started", client=THIRD),
        "idle": lambda: bench.wait_for_download("Image", TIMEOUT, until="idle"),
        "function": lambda: bench.wait_for_download("Image", TIMEOUT, client=lambda request: False),
        "several": lambda: bench.wait_for_download("Image", TIMEOUT, clients=2),
        "request": lambda: bench.wait_for_request("another", timeout=TIMEOUT),
        "expected": lambda: bench.expect_download("Image", TIMEOUT).wait(),
    }
    if scene == "wrong names":
        for number in range(500):
            with open(private_root() / f"a-name-of-usual-length-{number:04}.img", "w"):
                pass
        for number in range(8):
            fetch(bench, target=f"/a-name-of-usual-lenght-{number:04}.img")
    with Wire(bench.get_port(), receive_bytes=4096) as board:
        if scene == "reads nothing":
            put(bench, size=100_000)
            board.get("/Image")
            eventually(lambda: bench.transfers and bench.transfers[-1].sent == 100_000, "the kernel has it")
        began = time.monotonic()
        vain(waits[call])

        assert time.monotonic() - began >= TIMEOUT


# At once


@pytest.mark.parametrize("until", EACH)
@pytest.mark.parametrize("end", ["stop", "close", "delete", "rename", "remove_all"])
def test_a_wait_that_cannot_come_true_any_more_fails_at_once(
    bench: HttpServerClient, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, end: str, until: Until
) -> None:
    monkeypatch.setattr("httpserve.records.waits.download.SLICE_SECONDS", 600.0)  # nobody looks by the clock
    put(bench, "boot/Image")
    fetch(bench, target="/boot/image")
    waiting = begin(pool, lambda: bench.wait_for_download("boot/Image", until=until))
    ends: dict[str, Callable[[], object]] = {
        "stop": bench.stop,
        "close": bench.close,
        "delete": lambda: bench.storage.delete("boot/Image"),
        "rename": lambda: bench.storage.rename("boot/Image", "boot/other"),
        "remove_all": lambda: bench.storage.remove_all("boot/"),
    }

    ends[end]()

    if end in ("stop", "close"):
        with pytest.raises(ServerNotRunning) as caught:
            waiting.result(10)
        assert str(caught.value).startswith(
            "the server was stopped or closed while a download of 'boot/Image' was waited for: "
            "nobody asked for it; asked for instead: /boot/image (404, by 127.0.0.1"
        )
    else:
        with pytest.raises(NotFound, match=r"'boot/Image' was removed"):
            waiting.result(10)


@pytest.fixture
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.records.waits.download.SLICE_SECONDS", 0.02)


@pytest.mark.parametrize("until", ["all", "started"])
@pytest.mark.usefixtures("_looks_often")
def test_a_file_that_others_remove_ends_a_wait_soon(tmp_path: Path, pool: ThreadPoolExecutor, until: Until) -> None:
    (tmp_path / "boot").mkdir()
    for name in ("built", "boot/built"):
        (tmp_path / name).write_bytes(b"x")
    with HttpServerClient(tmp_path, host="127.0.0.1") as client:
        waiting = [
            begin(pool, functools.partial(client.wait_for_download, name, 600, until=until))
            for name in ("built", "boot/built")
        ]

        os.unlink(tmp_path / "built")
        shutil.rmtree(tmp_path / "boot")

        for one in waiting:
            with pytest.raises(NotFound, match="built' was removed"):
                one.result(10)


def test_a_stop_that_lets_a_download_finish_lets_the_wait_for_it_succeed(
    bench: HttpServerClient, pool: ThreadPoolExecutor
) -> None:
    put(bench, size=BIG)
    put(bench, "other", 10)
    waiting = begin(pool, lambda: bench.wait_for_download("Image", PATIENT))
    elsewhere = begin(pool, lambda: bench.wait_for_download("other", PATIENT))
    with halfway(bench, 1 << 20) as board:
        stopping = pool.submit(bench.stop, PATIENT)
        with pytest.raises(ServerNotRunning):
            elsewhere.result(10)  # of this nothing can come any more

        board.read_exactly(BIG - (1 << 20))

        assert waiting.result(10).bytes == BIG
        stopping.result(10)


def test_waits_that_end_one_another_disturb_nothing(bench: HttpServerClient, pool: ThreadPoolExecutor) -> None:
    done = threading.Event()

    def waits(until: Until) -> None:
        while not done.is_set():
            try:
                bench.wait_for_download("Image", 0.01, until=until, idle=0.0)
            except (WaitTimeout, NotFound):
                pass

    waiting = [pool.submit(waits, until) for until in EACH]
    try:
        for number in range(5):
            fetch(bench)
            fetch_part(bench, 0, 1000)
            put(bench, seed=number)
    finally:
        done.set()
    for one in waiting:
        one.result(10)

    fetch(bench)
    assert bench.wait_for_download("Image", PATIENT).bytes == SIZE


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("http://127.0.0.1:80/boot/r%201.img?x=1", InvalidName, f"{IS_A_URL}, 'boot/r 1.img'"),
        (Path("HTTPS://bench/Image"), InvalidName, f"{IS_A_URL}, 'Image'"),
        ("http://127.0.0.1", InvalidName, IS_A_URL),
        ("image", NotFound, "no file 'image' is on the server: there is 'Image'"),
        ("Imag", NotFound, "no file 'Imag' is on the server: there is 'Image'"),
        ("nonsense", NotFound, "no file 'nonsense' is on the server: put it there first"),
        (
            "/build/Image",
            NotFound,
            "no file 'build/Image' is on the server: there is 'Image'; "
            "a wait takes the name on the server, not a path of this computer",
        ),
    ],
)
def test_a_name_that_is_none_is_refused_with_the_one_that_is(
    bench: HttpServerClient, name: str | Path, error: type[Exception], text: str
) -> None:
    for call in (bench.wait_for_download, bench.expect_download):
        with pytest.raises(error) as caught:
            call(name)
        assert str(caught.value).endswith(text)


def test_the_name_in_a_url_is_without_the_path_that_is_advertised() -> None:
    with HttpServerClient(host="127.0.0.1", advertise="https://proxy.example/bench") as client:
        put(client)

        with pytest.raises(InvalidName, match=rf"{IS_A_URL}, 'Image'$"):
            client.wait_for_request(client.get_url("Image"))


@pytest.mark.parametrize("until", EACH)
def test_a_wait_for_what_is_there_and_never_served_ends_at_once(tmp_path: Path, until: Until) -> None:
    for name in ("board.img", "zImage", ".dot"):
        (tmp_path / name).write_bytes(b"x")

    with HttpServerClient(tmp_path, "127.0.0.1", read_only=True, only="board.img") as client:
        with pytest.raises(NotFound, match=r"'zImage' is not served: 'board\.img' is the only file"):
            client.wait_for_download("zImage", until=until)
        with pytest.raises(NotFound, match="not served"):
            client.expect_download("zImage", until=until)
    with (
        HttpServerClient(tmp_path, "127.0.0.1", read_only=True) as client,
        pytest.raises(NotFound, match=r"'\.dot' is not served: .* leading dot, .* dot_files"),
    ):
        client.wait_for_download(".dot", until=until)


def test_dot_files_are_waited_for_where_they_are_served(tmp_path: Path) -> None:
    (tmp_path / ".dot").write_bytes(b"x")

    with HttpServerClient(tmp_path, "127.0.0.1", dot_files=True) as client:
        fetch(client, target="/.dot")
        assert client.wait_for_download(".dot", PATIENT).bytes == 1
    with HttpServerClient(host="127.0.0.1") as client:
        put(client, ".ours")
        fetch(client, target="/.ours")
        assert client.wait_for_download(".ours", PATIENT).bytes == SIZE
