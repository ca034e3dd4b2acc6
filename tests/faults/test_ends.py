"""How a download ends that is not whole: with a reset, whoever ends it and however quick the board is."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests import warm
from tests.faults.scripts import go_on
from tests.server.wire import Wire, eventually, pattern, unmeasured

HUGE_BYTES = 64 << 30  # more than anybody takes while a test lasts; on the disk it has no bytes
SERVER = """
import os, signal, sys
from httpserve import HttpServerClient

root, end, timeout = sys.argv[1:]
with HttpServerClient(root, host="127.0.0.1", timeout=float(timeout)) as client:
    print(client.get_port(), flush=True)
    sys.stdin.readline()
    exec(end)
    sys.stdin.readline()
"""
ENDS = {
    "stop": "client.stop(0)",
    "stop after a while": "client.stop(0.2)",
    "close": "client.stop(0.1); client.close()",
    "exit": "client.stop(0); sys.exit()",
    "exception": "client.stop(0); raise SystemExit(3)",
    "os._exit": "os._exit(0)",
    "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM)",
    "SIGKILL": "os.kill(os.getpid(), signal.SIGKILL)",
    "a child lives on": "client.stop(0) if os.fork() else (sys.stdin.read(), os._exit(0))",
}


@contextmanager
def serving(root: Path, end: str, timeout: float = 600.0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with warm.start(SERVER, str(root), end, str(timeout), env=unmeasured()) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()  # until a child of it has ended, too


class Board(threading.Thread):
    """Fetches a file, quickly or hardly at all, and notes how that ends."""

    def __init__(self, port: int, *, quick: bool, fields: str = "", version: str = "1.1") -> None:
        super().__init__(daemon=True)
        self.end = ""
        self.got = 0
        self.is_to_go_on = threading.Event()
        if quick:
            self.is_to_go_on.set()
        self._sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._sock.sendall(f"GET /huge HTTP/{version}\r\nHost: bench\r\n{fields}\r\n".encode())
        self.start()

    def run(self) -> None:
        with self._sock:
            try:
                self.got = len(self._sock.recv(65536))
                self.is_to_go_on.wait(30)
                while data := self._sock.recv(1 << 20):
                    self.got += len(data)
                self.end = "FIN"
            except ConnectionResetError:
                self.end = "RST"
            except OSError as error:
                self.end = repr(error)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "huge").touch()
    os.truncate(tmp_path / "huge", HUGE_BYTES)
    return tmp_path


@pytest.mark.parametrize("end", ENDS)
def test_a_download_that_is_not_whole_ends_with_a_reset(root: Path, end: str) -> None:
    with serving(root, ENDS[end]) as (process, port):
        boards = [Board(port, quick=quick) for quick in (True, False) for _ in range(3)]
        boards.append(Board(port, quick=True, fields="Range: bytes=5-,7-\r\n"))
        boards.append(Board(port, quick=True, version="1.0"))
        eventually(lambda: all(board.got for board in boards), "the downloads")
        go_on(process)

        for board in boards[:3] + boards[6:]:
            board.join(30)
        for board in boards[3:6]:
            board.is_to_go_on.set()
            board.join(30)

    assert [board.end for board in boards] == ["RST"] * len(boards)


def test_a_whole_download_ends_in_good_order_also_when_the_server_dies_behind_it(tmp_path: Path) -> None:
    content = pattern(10_000)
    (tmp_path / "f").write_bytes(content)
    with serving(tmp_path, ENDS["SIGKILL"]) as (process, port), Wire(port) as wire, Wire(port) as kept:
        wire.get("/f", "Connection: close")
        kept.get("/f")
        assert kept.answer().body == content
        # Before all of it has left the server, a reset would be right.
        eventually(lambda: wire.sock.recv(1 << 16, socket.MSG_PEEK).endswith(content), "the whole answer")
        go_on(process)
        process.wait(30)

        assert wire.rest().endswith(content)
        assert kept.read() == b""


def test_a_stopped_process_that_goes_on_answers_at_once(root: Path) -> None:
    (root / "f").write_bytes(b"content")
    with serving(root, "", timeout=4.0) as (process, port):
        slow = Board(port, quick=False)
        eventually(lambda: slow.got, "the download")
        with Wire(port) as half:
            half.send(b"GET /f HTTP/1.1\r\n")
            process.send_signal(signal.SIGSTOP)
            time.sleep(1.1)  # longer than the time between two looks at a slow download, a quarter of the timeout
            half.send(b"Host: bench\r\n\r\n")
            process.send_signal(signal.SIGCONT)

            assert half.answer().body == b"content"
        for _ in range(3):
            with Wire(port) as wire:
                assert wire.ask("/f").body == b"content"
        before = _cpu_seconds(process.pid)
        time.sleep(0.4)
        assert _cpu_seconds(process.pid) - before < 0.2
        process.kill()
        slow.is_to_go_on.set()
        slow.join(30)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_boards_that_reset_end_no_process_that_has_sigpipe_at_its_default(root: Path) -> None:
    code = "signal.signal(signal.SIGPIPE, signal.SIG_DFL)"
    with serving(root, code) as (process, port):
        go_on(process)
        for number in range(40):
            with Wire(port) as wire:
                wire.get("/huge")
                wire.read_head()
                wire.close() if number % 2 else wire.reset()
        with Wire(port) as wire:
            assert wire.ask("/", method="HEAD").status == 200
        assert process.poll() is None


# Requests with content, and what is no request


def test_broken_content_behind_an_answer_gets_no_second_one(tmp_path: Path) -> None:
    with HttpServerClient(host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        wire.send(b"PUT /f HTTP/1.1\r\nHost: bench\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert wire.answer().status == 405
        wire.send(b"no number\r\n")

        assert wire.rest() == b""
        assert [record.status for record in client.requests] == [405]


@pytest.mark.parametrize("line", [b"GET /\r\n", b"GET /f\r\n", b"GET /\n", b"\r\nGET /\r\n"])
def test_a_request_of_http_09_is_refused_at_once(line: bytes) -> None:
    with HttpServerClient(host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        wire.send(line)

        assert wire.answer().status == 400
        assert wire.rest() == b""
