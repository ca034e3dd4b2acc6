"""Boards that lose their power or their cable, and boards that only take their time: on a real link that is cut.

The server listens in a network namespace of a bench, the board is in another, and a cable joins them. Sockets belong to
the namespace in which they were made, so server and board are threads of this process all the same.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import select
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self, TypeVar

import pytest

from httpserve.server.limits import Limits
from tests.server.limited import Limited
from tests.server.wire import Wire, eventually

CLONE_NEWNET = 0x40000000
BENCH_ADDRESS = "192.168.7.1"
LOST_SECONDS = 1.0
BUSY_SECONDS = 2.0  # that a busy machine may add
LONG_BYTES = 50_000_000
SHORT_BYTES = 1_000_000  # more than both ends take with small buffers
IN_KERNEL_BYTES = 100_000  # the send buffer takes it whole
NETWORK = """
link add eth1 netns {bench} type veth peer name usb0 netns {board}
"""
BENCH = """
addr add 192.168.7.1/24 dev eth1
link set eth1 up
"""
BOARD = """
addr add 192.168.7.2/24 dev usb0
link set usb0 up
"""

_NUMBERS = itertools.count()
_Result = TypeVar("_Result")


def ip(*arguments: str, batch: str = "") -> None:
    subprocess.run(["ip", *arguments], input=batch, capture_output=True, text=True, timeout=30, check=True)


class Cable:
    """Two namespaces and the cable between them."""

    def __init__(self) -> None:
        number = next(_NUMBERS)
        self._bench = f"hl{os.getpid()}-{number}-bench"
        self._board = f"hl{os.getpid()}-{number}-board"

    def __enter__(self) -> Self:
        try:
            ip("netns", "add", self._bench)
            ip("netns", "add", self._board)
            ip("-batch", "-", batch=NETWORK.format(bench=self._bench, board=self._board))
            ip("-n", self._bench, "-batch", "-", batch=BENCH)
            ip("-n", self._board, "-batch", "-", batch=BOARD)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in (self._bench, self._board):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=30, check=False)

    def pull(self) -> None:
        """Cut the board off, as a loss of its power does: it says nothing any more."""
        ip("-n", self._board, "link", "set", "usb0", "down")

    def plug(self) -> None:
        """Put the cable back."""
        ip("-n", self._board, "link", "set", "usb0", "up")

    def on_bench(self, call: Callable[[], _Result]) -> _Result:
        return _inside(self._bench, call)

    def on_board(self, call: Callable[[], _Result]) -> _Result:
        return _inside(self._board, call)


def _inside(namespace: str, call: Callable[[], _Result]) -> _Result:
    """Call in a thread of its own: a thread that has entered a namespace does not get out again."""
    results: list[_Result] = []

    def run() -> None:
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            entered = ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET)
        finally:
            os.close(fd)
        if entered == 0:
            results.append(call())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    (result,) = results
    return result


class Far(Limited):
    """A server on the bench, and its board."""

    def __init__(self, cable: Cable) -> None:
        self.cable = cable
        super().__init__(Limits(lost=LOST_SECONDS), cable.on_bench(self._bound))

    @staticmethod
    def _bound() -> socket.socket:
        sock = socket.socket()
        sock.bind((BENCH_ADDRESS, 0))
        return sock

    def board(self, receive_bytes: int | None = None) -> Wire:
        return self.cable.on_board(lambda: Wire(self.port, host=BENCH_ADDRESS, receive_bytes=receive_bytes))


@pytest.fixture
def far() -> Iterator[Far]:
    if shutil.which("ip") is None:
        pytest.skip("ip of iproute2 is not installed")
    probe = f"hl{os.getpid()}-probe"
    allowed = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, timeout=30, check=False)
    if allowed.returncode:
        pytest.skip(f"network namespaces are not allowed here: {allowed.stderr.strip()}")
    ip("netns", "del", probe)
    with Cable() as cable, Far(cable) as server:
        yield server


def stays_open(wire: Wire, seconds: float) -> bool:
    """Tell whether the server leaves the connection alone for so long."""
    poll = select.poll()
    poll.register(wire.sock, select.POLLHUP | select.POLLERR | select.POLLRDHUP)
    return poll.poll(seconds * 1000) == []


# Lost


def test_a_board_that_loses_power_during_a_download_is_recorded_as_lost_in_time(far: Far) -> None:
    with far.board() as wire:
        wire.get(f"/{LONG_BYTES}")
        wire.read_exactly(1_000_000)

        far.cable.pull()
        pulled = time.monotonic()

        eventually(lambda: far.only().outcome == "lost", "the loss")
        assert time.monotonic() - pulled < LOST_SECONDS + BUSY_SECONDS
        assert 0 < far.only().bytes < LONG_BYTES


def test_a_board_that_loses_power_with_the_whole_answer_in_the_kernel_is_recorded_as_lost(far: Far) -> None:
    with far.board(receive_bytes=4096) as wire:
        wire.get(f"/{IN_KERNEL_BYTES}")
        wire.read_head()

        far.cable.pull()

        eventually(lambda: far.only().outcome == "lost", "the loss")
        assert far.only().bytes < IN_KERNEL_BYTES


def test_a_board_that_loses_power_with_its_window_closed_is_recorded_as_lost(far: Far) -> None:
    with far.board(receive_bytes=4096) as wire:
        wire.get(f"/{LONG_BYTES}")
        wire.read_head()
        assert stays_open(wire, 4 * LOST_SECONDS)  # by now its probes would be seldom by default

        far.cable.pull()

        eventually(lambda: far.only().outcome == "lost", "the loss")


def test_an_idle_connection_of_a_board_without_power_ends(far: Far) -> None:
    with far.board() as wire:
        assert wire.ask("/10").status == 200

        far.cable.pull()

        eventually(lambda: far.connections() == 0, "the end")
        assert far.only().outcome == "completed"


# Not lost


def test_a_board_that_takes_nothing_for_longer_than_lost_after_gets_the_rest(far: Far) -> None:
    with far.board(receive_bytes=4096) as wire:
        wire.get(f"/{SHORT_BYTES}")
        wire.read_head()

        assert stays_open(wire, 2 * LOST_SECONDS)  # it erases its flash

        assert len(wire.read_exactly(SHORT_BYTES)) == SHORT_BYTES


def test_a_cable_that_is_out_for_less_than_lost_after_costs_nothing(far: Far) -> None:
    with far.board() as wire:
        wire.get(f"/{SHORT_BYTES}")
        wire.read_head()
        far.cable.pull()
        assert stays_open(wire, LOST_SECONDS / 4)

        far.cable.plug()

        assert len(wire.read_exactly(SHORT_BYTES)) == SHORT_BYTES


def test_an_idle_board_that_answers_probes_is_kept(far: Far) -> None:
    with far.board() as wire:
        assert wire.ask("/10").status == 200

        assert stays_open(wire, 2.5 * LOST_SECONDS)  # a lost one is gone after two

        assert wire.ask("/10").status == 200
