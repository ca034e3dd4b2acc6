"""A server in a process of its own, what it has of memory, and other boards that want their files meanwhile.

Knows processes and /proc. The server has its default settings, and as many descriptors as this system gives.
"""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.server.wire import REPOSITORY, Wire, pattern, unmeasured

MIB = 1 << 20
WARM_UP = 200  # requests, until threads, caches and modules are there
PAUSE_SECONDS = 0.02
END_SECONDS = 20.0
SMALL = pattern(1000, 1)
SERVER = """
import resource, sys
from httpserve import HttpServerClient, WaitTimeout
from tests.server.wire import pattern
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
host, room = sys.argv[1], int(sys.argv[2])
with HttpServerClient(host=host) as client:
    client.storage.write_bytes("small", pattern(1000, 1))
    client.storage.write_bytes("first", pattern(1000, 2))
    client.storage.write_bytes("middle", pattern(65536, 3))
    client.storage.write_bytes("big", pattern(20 << 20, 4))
    if room:
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + room, used + room))
    print(client.get_port(), flush=True)
    for line in sys.stdin:
        name, timeout = line.split()
        try:
            print(client.wait_for_download(name, timeout=float(timeout)).bytes, flush=True)
        except WaitTimeout as error:
            print(error, flush=True)
"""


class Server:
    """One that is flooded; its files are `small`, `first`, `middle` and `big`."""

    def __init__(self, process: subprocess.Popen[str], host: str) -> None:
        assert process.stdout is not None
        self.host = host
        self._process = process
        self.port = int(process.stdout.readline())

    @property
    def rss(self) -> float:
        """MiB of memory that it has."""
        return self._status("VmRSS")

    @property
    def peak(self) -> float:
        """The most MiB that it had since `begin`."""
        return self._status("VmHWM")

    def begin(self) -> float:
        """Forget the peak so far; returns `rss`."""
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")
        return self.rss

    def wait_for(self, name: str, timeout: float) -> None:
        """Have it begin to wait for a download."""
        assert self._process.stdin is not None
        print(name, timeout, file=self._process.stdin, flush=True)

    def waited(self) -> str:
        """Return what came of that wait: how many bytes, or why not."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip()

    def _status(self, name: str) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition(f"{name}:")[2].split()[0]) / 1024


@contextlib.contextmanager
def serving(host: str = "127.0.0.1", room: int = 0, under: Sequence[str] = ()) -> Iterator[Server]:
    """Run a server for as long as the block lasts. It must end well, and have nothing to say.

    Args:
        host: Where it listens.
        room: Bytes that it may take beyond what it has at first; 0 for any.
        under: The command that runs it, such as one that enters a namespace.
    """
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [*under, sys.executable, "-c", SERVER, host, str(room)],
        cwd=REPOSITORY, env=unmeasured(), stdin=pipe, stdout=pipe, stderr=pipe, text=True,
    )  # fmt: skip
    try:
        yield Server(process, host)
        _, said = process.communicate(timeout=END_SECONDS)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, said) == (0, "")


class Others:
    """Boards that want a small file: one on a new connection each time, one on a connection that stays."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(stays,)) for stays in (True, False)]
        self.answered = 0
        self.wrong: list[str] = []

    def __enter__(self) -> Others:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stays: bool) -> None:
        wire = Wire(self._server.port)
        try:
            while not self._end.wait(PAUSE_SECONDS):
                if not stays:
                    wire.close()
                    wire = Wire(self._server.port)
                answer = wire.ask("/small")
                if (answer.status, answer.body) == (200, SMALL):
                    self.answered += 1
                else:
                    self.wrong.append(answer.line)
        except OSError as error:
            self.wrong.append(repr(error))
        finally:
            wire.close()


def warm_up(server: Server) -> None:
    """Have the server do once what it needs its threads and caches for."""
    with Wire(server.port) as wire:
        for _ in range(WARM_UP):
            assert wire.ask("/small").body == SMALL
            assert wire.ask("/missing").status == 404
        assert len(wire.ask("/big").body) == 20 * MIB


@contextlib.contextmanager
def flooding(
    server: Server, kind: str, count: int, seed: int, under: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run a flood, and let it go on until the block ends; then it must have ended well."""
    command = [sys.executable, "-m", "tests.stress.flood", kind, server.host, str(server.port), str(count), str(seed)]
    pipe = subprocess.PIPE
    process = subprocess.Popen([*under, *command], cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def descriptors() -> int:
    """Return how many descriptors a process may have here."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most if most != resource.RLIM_INFINITY else os.sysconf("SC_OPEN_MAX")
