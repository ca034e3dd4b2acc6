"""What is no plain file is never opened: fifos, devices, sockets. A file under a lease is waited for."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from httpserve import HttpServerClient, NotPermitted, StorageError
from httpserve.storage.directory.root import Root
from tests import warm
from tests.server.wire import Wire, eventually

WRITER = """
import sys
print("ready", flush=True)
with open(sys.argv[1], "wb") as fifo:
    fifo.write(b"for whoever reads")
"""
# As Samba does for what its clients have open; the signal says that somebody else wants the file.
HOLDER = """
import fcntl, signal, sys
file = open(sys.argv[1], "r+b")
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("ready", flush=True)
signal.sigwait({signal.SIGIO})
print("asked", flush=True)
sys.stdin.readline()
"""


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextlib.contextmanager
def running(code: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", code, str(path)]
    with warm.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def is_asleep(process: subprocess.Popen[str]) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[HttpServerClient]:
    root = tmp_path / "root"
    root.mkdir()
    with HttpServerClient(root, host="127.0.0.1") as client:
        yield client


@pytest.fixture
def root(client: HttpServerClient, tmp_path: Path) -> Path:
    return tmp_path / "root"


def asked(client: HttpServerClient, method: str) -> object:
    with Wire(client.get_port()) as wire:
        return wire.ask("/fifo", method=method).status


CALLS: dict[str, Callable[[HttpServerClient], object]] = {
    "GET": lambda client: asked(client, "GET"),
    "HEAD": lambda client: asked(client, "HEAD"),
    "read_bytes": lambda client: client.storage.read_bytes("fifo"),
    "hash": lambda client: client.storage.hash("fifo"),
    "stat": lambda client: client.storage.stat("fifo"),
    "exists": lambda client: client.storage.exists("fifo"),
    "list": lambda client: client.storage.list("/"),
    "scan": lambda client: client.storage.scan("/"),
    "copy": lambda client: client.storage.copy("fifo", "copied"),
    "wait": lambda client: client.wait_for_download("fifo", timeout=0.01),
    "command": lambda client: client.command("fifo", "wget"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="looks at a process by /proc")
@pytest.mark.parametrize("call", CALLS)
def test_whoever_waits_to_write_into_a_fifo_is_not_woken(client: HttpServerClient, root: Path, call: str) -> None:
    os.mkfifo(root / "fifo")
    with running(WRITER, root / "fifo") as writer:
        assert line(writer) == "ready"
        eventually(lambda: is_asleep(writer), "it waits for somebody who reads")

        with contextlib.suppress(StorageError, TimeoutError):
            CALLS[call](client)

        with open(root / "fifo", "rb") as fifo:
            assert fifo.read() == b"for whoever reads"
        assert writer.wait(20) == 0


@pytest.mark.parametrize("name", ["fifo", "socket", "null", "link"])
def test_what_is_no_plain_file_is_not_there_for_boards(client: HttpServerClient, root: Path, name: str) -> None:
    if name == "null":
        if os.geteuid() != 0:
            pytest.skip("only the superuser makes devices")
        os.mknod(root / name, 0o20666, os.makedev(1, 3))
    elif name == "socket":
        os.mknod(root / name, 0o140666)
    else:
        os.mkfifo(root / "fifo")
        if name == "link":
            os.symlink("fifo", root / name)

    with Wire(client.get_port()) as wire:
        assert wire.ask(f"/{name}").status == 404
    with pytest.raises(NotPermitted, match="not a regular file"):
        client.storage.read_bytes(name)


@pytest.fixture
def leased(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A file that another program has a lease on, until it reads a line."""
    (root / "leased").write_bytes(b"content")
    with running(HOLDER, root / "leased") as holder:
        if line(holder) != "ready":
            pytest.skip("this file system gives no leases")
        yield holder


def let_go(holder: subprocess.Popen[str]) -> None:
    assert holder.stdin is not None
    holder.stdin.write("\n")
    holder.stdin.flush()


@pytest.mark.parametrize("call", ["GET", "read_bytes", "hash"])
def test_a_leased_file_is_given_once_its_holder_gives_it_up(
    client: HttpServerClient, leased: subprocess.Popen[str], call: str
) -> None:
    given: list[object] = []

    def work() -> None:
        if call == "GET":
            with Wire(client.get_port()) as wire:
                given.append(wire.ask("/leased").body)
        else:
            given.append(getattr(client.storage, call)("leased"))

    thread = threading.Thread(target=work)
    thread.start()
    told = line(leased)
    let_go(leased)
    thread.join(30)

    assert told == "asked"
    assert given in ([b"content"], ["ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73"])


def test_a_leased_file_is_not_opened_for_a_caller_that_may_not_wait(root: Path) -> None:
    path = root / "leased"
    path.write_bytes(b"content")
    served = Root(root, read_only=True).open()
    before = served.open_to_serve("leased", may_block=True)  # so that its disk has answered about it
    assert before is not None
    before.close()

    with running(HOLDER, path) as leased:
        ready = line(leased)
        found = served.open_to_serve("leased", may_block=False)
        let_go(leased)
    served.close()

    assert (ready, found) == ("ready", None)


def test_other_boards_are_answered_while_one_waits_for_a_leased_file(
    client: HttpServerClient, root: Path, leased: subprocess.Popen[str]
) -> None:
    (root / "other").write_bytes(b"other")
    with Wire(client.get_port()) as waiting, Wire(client.get_port()) as wire:
        waiting.get("/leased")
        told = line(leased)

        other = wire.ask("/other").body
        let_go(leased)
        answer = waiting.answer()

    assert (told, other, answer.status) == ("asked", b"other", 200)
