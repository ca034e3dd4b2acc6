"""Sources that go, end short, or dawdle, through the whole client: boards get the old file until the new is whole."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import opendal
import pytest

from httpserve import CopyFailed, HttpServerClient, SourceNotFound, SourceStalled
from tests.copying.raw_server import Answer, End, RawServer, answer
from tests.faults.scripts import ran
from tests.server.wire import Wire, eventually, pattern

OLD, NEW = pattern(300_000, 1), pattern(3_000_000, 2)


@pytest.fixture
def served(bench: HttpServerClient) -> HttpServerClient:
    """A bench with the old image."""
    bench.storage.write_bytes("image", OLD)
    return bench


def still_old(client: HttpServerClient) -> bool:
    """Tell whether a board gets the old image, and nothing else is there."""
    with Wire(client.get_port()) as wire:
        body = wire.ask("/image").body
    return body == OLD and client.storage.scan("/") == ["/", "image"]


@pytest.mark.parametrize(
    "change",
    [lambda path: os.truncate(path, 500_000), lambda path: path.write_bytes(NEW[::-1])],
    ids=["cut", "rewritten"],
)
def test_a_local_source_that_changes_while_it_is_copied_changes_nothing(
    served: HttpServerClient, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    source = tmp_path / "source"
    source.write_bytes(NEW)

    with pytest.raises(CopyFailed):
        served.put_file("image", source, progress=lambda copied, total: change(source))

    assert still_old(served)


def test_a_local_source_that_is_removed_while_it_is_copied_is_copied_whole(
    served: HttpServerClient, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(NEW)

    served.put_file("image", source, progress=lambda copied, total: source.unlink(missing_ok=True))

    with Wire(served.get_port()) as wire:
        assert wire.ask("/image").body == NEW


def test_an_operators_source_that_is_removed_or_changes_while_it_is_copied_is_never_a_mixture(
    served: HttpServerClient, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(NEW)
    operator = opendal.Operator("fs", root=str(tmp_path))
    other = NEW[::-1]

    try:
        served.put_file(
            "image", "source", operator, progress=lambda copied, total: operator.write("source", other + b"x")
        )
    except CopyFailed:
        assert still_old(served)
    else:  # the thread that reads may be done before the first report is made here
        assert served.storage.read_bytes("image") == NEW


def test_a_source_that_was_never_there_changes_nothing(served: HttpServerClient, tmp_path: Path) -> None:
    with RawServer(answer(status="404 Not Found")) as server:
        for source, operator in (
            (str(tmp_path / "missing"), None),
            ("missing", opendal.Operator("memory")),
            (server.url(), None),
        ):
            with pytest.raises(SourceNotFound):
                served.put_file("image", source, operator)

    assert still_old(served)


def test_a_url_whose_server_goes_away_half_way_changes_nothing(
    served: HttpServerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpserve.storage.copying.url.FIRST_PAUSE", 0.001)
    half = answer(NEW[:1_000_000], length=len(NEW), end=End.RESET)
    with RawServer(half, Answer(b"", End.RESET)) as server, pytest.raises(CopyFailed):
        served.put_file("image", server.url())

    assert still_old(served)


@pytest.mark.parametrize("begun", [0, 1_000_000])
def test_a_url_that_stalls_ends_after_the_timeout_and_changes_nothing(served: HttpServerClient, begun: int) -> None:
    with RawServer(answer(NEW[:begun], length=len(NEW), end=End.STALL)) as server, pytest.raises(SourceStalled):
        served.put_file("image", server.url(), timeout=0.1)

    assert still_old(served)


def test_a_url_whose_answer_is_cut_at_any_byte_of_its_head_changes_nothing(served: HttpServerClient) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 3000000\r\n\r\n"
    for count in range(len(head)):
        with RawServer(Answer(head[:count])) as server, pytest.raises(CopyFailed):
            served.put_file("image", server.url())

    assert still_old(served)


@pytest.mark.parametrize("line", [b"broken line", b"Content-Length: 5", b"Transfer-Encoding: gzip, chunked"])
def test_a_url_whose_answer_is_malformed_changes_nothing(served: HttpServerClient, line: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nContent-Length: 3000000\r\n\r\n"
    with RawServer(Answer(head + b"first bytes")) as server, pytest.raises(CopyFailed, match="malformed"):
        served.put_file("image", server.url())

    assert still_old(served)


def test_a_source_that_resets_ends_no_process_that_has_sigpipe_at_its_default(tmp_path: Path) -> None:
    code = """
import socket, struct
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
listener = socket.create_server(("127.0.0.1", 0))

def reset_first(event, arguments):
    # Raised by http.client before it sends: the FIN and then the RST are here by then.
    if event == "http.client.send":
        connection, _ = listener.accept()
        connection.shutdown(socket.SHUT_WR)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        while arguments[0].sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) != b"\\x07":  # TCP_CLOSE
            time.sleep(0.001)

client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"old")
sys.addaudithook(reset_first)
tell(outcome(lambda: client.put_file("image", f"http://127.0.0.1:{listener.getsockname()[1]}/image")))
tell(client.storage.read_bytes("image"))
client.close()
listener.close()
"""
    assert ran(code, tmp_path) == ["CopyFailed None", "b'old'"]


def test_a_slow_source_holds_up_no_board(served: HttpServerClient) -> None:
    """A source that has not sent its next byte is waited for, and meanwhile every board is answered."""
    reader, writer = os.pipe()
    copying = threading.Thread(target=served.put_file, args=("image", f"/proc/self/fd/{reader}"))
    copying.start()
    try:
        for at in range(0, len(NEW), 1_000_000):
            os.write(writer, NEW[at : at + 50_000])
            assert still_old(served)
            with open(writer, "wb", closefd=False) as file:
                file.write(NEW[at + 50_000 : at + 1_000_000])
            with Wire(served.get_port()) as wire:
                assert wire.ask("/image").body == OLD
    finally:
        os.close(writer)
        copying.join(20)
        os.close(reader)

    with Wire(served.get_port()) as wire:
        assert wire.ask("/image").body == NEW


def test_many_sources_that_stall_at_once_hold_up_neither_boards_nor_other_puts(
    served: HttpServerClient, tmp_path: Path
) -> None:
    (tmp_path / "new").write_bytes(NEW)
    pipes = [os.pipe() for _ in range(20)]
    copying = [
        threading.Thread(target=served.put_file, args=(f"stalled/{reader}", f"/proc/self/fd/{reader}"))
        for reader, _ in pipes
    ]
    for thread in copying:
        thread.start()

    served.put_file("image", tmp_path / "new")
    with Wire(served.get_port()) as wire:
        answered = wire.ask("/image").body

    for _, writer in pipes:
        os.close(writer)
    for thread in copying:
        thread.join(20)
    for reader, _ in pipes:
        os.close(reader)
    assert answered == NEW
    eventually(lambda: len(served.storage.list("stalled/")) == 21, "that the others end")
