"""When there are too many clients, too few descriptors or no more threads: the server goes on with what it has.

Those that have a limit put on them are processes of their own; this process counts, and is the clients.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.server.wire import Wire, eventually, script

FILE_BYTES = 10_000_000

# A server that does what it reads on stdin, line by line.
SERVER = """
import json, logging, os, resource, sys, threading
sys.path.insert(0, os.getcwd())
from httpserve.server.limits import Limits, most_connections
from tests.server.limited import Blocking, Limited
lines = []
class Keep(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.getLogger("httpserve").addHandler(Keep())
def state():
    times = os.times()
    ours = [t for t in threading.enumerate() if t.name.startswith("httpserve")]
    return {"cpu": times.user + times.system, "log": lines, "threads": len(ours)}
def limit(kind, most):
    resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))
def tell(value):
    print(json.dumps(value), flush=True)
"""
LOOP = """
    tell(server.port)
    for line in sys.stdin:
        tell(eval(line))
"""
FEW_DESCRIPTORS = (
    SERVER
    + """
limit(resource.RLIMIT_NOFILE, 256)
with Limited(Limits(connections=int(sys.argv[1]) or most_connections(), short_idle=60.0)) as server:
"""
    + LOOP
)
NO_THREADS = (
    SERVER
    + """
with Limited(Limits(), app=Blocking()) as server:
    if os.geteuid() == 0:
        os.setuid(65534)  # the limit is not for root
    limit(resource.RLIMIT_NPROC, 0)
"""
    + LOOP
)


class Process:
    """A server in a process of its own."""

    def __init__(self, code: str, *arguments: str) -> None:
        self._process = script(code, *arguments, measured=os.geteuid() != 0)
        self.port = self._told()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exception: object) -> None:
        out, err = self._process.communicate(timeout=20)
        assert (out, err) == ("", "")

    def _told(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._process.communicate(timeout=20)[1]
        return json.loads(line)

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the server's process."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()
        return self._told()

    def descriptors(self) -> int:
        """Return how many descriptors it has open, which it could not count itself without another one."""
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))

    def state(self) -> Any:
        return self.ask("state()")


@contextlib.contextmanager
def wires(port: int, count: int) -> Iterator[list[Wire]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Wire(port, receive_bytes=4096)) for _ in range(count)]


# Threads


def test_without_more_threads_everybody_is_served_by_those_that_are_there() -> None:
    with Process(NO_THREADS) as server, wires(server.port, 10) as slow, Wire(server.port) as quick:
        for wire in slow:
            wire.get(f"/{FILE_BYTES}")
            wire.read_head()

        assert [quick.ask("/10").status for _ in range(20)] == [200] * 20
        assert len(slow[0].read_exactly(1_000_000)) == 1_000_000
        assert server.state()["threads"] == 1


def test_a_shortage_of_threads_is_said_once_and_ends() -> None:
    with Process(NO_THREADS) as server, Wire(server.port) as wire:
        assert [wire.ask("/10").status for _ in range(5)] == [200] * 5
        assert server.state()["log"] == ["no more threads can be started; going on with those there are"]

        server.ask("limit(resource.RLIMIT_NPROC, resource.getrlimit(resource.RLIMIT_NPROC)[1])")

        assert wire.ask("/10").status == 200
        assert server.state()["threads"] > 1


# Descriptors


def test_the_default_leaves_descriptors_for_a_file_each() -> None:
    with Process(FEW_DESCRIPTORS, "0") as server:
        most = server.ask("most_connections()")

        assert most >= 16
        assert 2 * most < 256


@pytest.mark.parametrize("most", ["0", "1000"], ids=["by default", "more than there are descriptors"])
def test_hundreds_of_clients_wait_and_are_served_as_others_end(most: str) -> None:
    with Process(FEW_DESCRIPTORS, most) as server, wires(server.port, 400) as clients:
        for wire in clients:
            wire.get("/10")

        for wire in clients:
            assert wire.answer().status == 200
            wire.close()


def test_a_shortage_of_descriptors_is_said_once() -> None:
    with Process(FEW_DESCRIPTORS, "1000") as server:
        with wires(server.port, 400):
            eventually(lambda: bool(server.state()["log"]), "the shortage")

            assert server.state()["log"] == ["out of descriptors; new connections wait until others end"]

        with Wire(server.port) as wire:
            assert wire.ask("/10").status == 200


def test_those_that_are_connected_are_served_while_descriptors_are_short() -> None:
    with Process(FEW_DESCRIPTORS, "1000") as server, wires(server.port, 400) as clients:
        eventually(lambda: server.descriptors() > 250, "the shortage")

        assert [clients[0].ask("/10").status for _ in range(20)] == [200] * 20
