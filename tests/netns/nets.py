"""A bench and its boards, each in a network namespace of its own, with a cable from the bench to each board.

Knows `ip` of iproute2 and namespaces. Knows nothing of servers. Sockets belong to the namespace in which they were
made, and so do the lists of addresses and routes: a server is started, and asked for its URLs, by `Place.call`; it
then runs in this process, where the test sees it. Boards run real programs.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

CLONE_NEWNET = 0x40000000
COMMAND_SECONDS = 30.0  # for what takes milliseconds, or some seconds on a slow link

_NUMBERS = itertools.count()
_Result = TypeVar("_Result")


def ip(*arguments: str, batch: str = "") -> None:
    """Run `ip`. Raises what it says when it fails."""
    done = subprocess.run(
        ["ip", *arguments], input=batch, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)} {batch}: {done.stderr}")


def skip_where_not_allowed() -> None:
    """Skip the test, with the reason, where no network namespace can be made, or nothing runs in it."""
    for tool, package in (("ip", "iproute2"), ("curl", "curl"), ("busybox", "busybox")):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} of {package} is not installed")
    probe = f"hn{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
        ip("-n", probe, "link", "add", "one", "type", "veth", "peer", "name", "two")
    except OSError as error:
        pytest.skip(f"network namespaces are not allowed here: {error}")
    finally:
        _delete(probe)


def _delete(name: str) -> None:
    subprocess.run(["ip", "netns", "del", name], capture_output=True, timeout=COMMAND_SECONDS, check=False)


def _make_no_addresses() -> None:
    """Have only the addresses that are given: none made by the kernel, and so none in doubt."""
    for setting in Path("/proc/sys/net/ipv6/conf").glob("*/addr_gen_mode"):
        setting.write_text("1")


class Place:
    """A network namespace, with a thread in it, and the programs that were started in it."""

    def __init__(self, role: str) -> None:
        self.name = f"hn{os.getpid()}-{next(_NUMBERS)}-{role}"
        self._children: list[subprocess.Popen[str]] = []
        self._thread = ThreadPoolExecutor(1, initializer=self._enter)

    def __enter__(self) -> Self:
        ip("netns", "add", self.name)
        try:
            self.call(_make_no_addresses)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _enter(self) -> None:
        fd = os.open(f"/run/netns/{self.name}", os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"this thread cannot enter {self.name}")
        finally:
            os.close(fd)

    def _leave(self) -> None:
        for child in self._children:
            if child.poll() is None:
                child.kill()
            child.communicate()
        self._thread.shutdown()
        _delete(self.name)

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Call inside the namespace, and return or raise what that does."""
        return self.submit(function).result()

    def submit(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Call inside the namespace, and return at once with what will come of it."""
        return self._thread.submit(function)

    def ip(self, *lines: str) -> None:
        """Change the network, one command of `ip` a line."""
        ip("-n", self.name, "-batch", "-", batch="\n".join(lines) + "\n")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a program inside; it is killed at the end of the test if it still runs."""
        pipe = subprocess.PIPE
        child = subprocess.Popen(
            ["ip", "netns", "exec", self.name, *command], stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )
        self._children.append(child)
        return child

    def run(self, *command: str) -> str:
        """Run a program inside to its end and return its stdout. Fails where the program does."""
        child = self.start(*command)
        out, err = child.communicate(timeout=COMMAND_SECONDS)
        assert child.returncode == 0, f"{' '.join(command)}: {err or out}"
        return out


class Network:
    """A bench with `eth1` to a board that has IPv4, `eth2` to one with IPv4 link-local, `eth3` to one with IPv6 alone.

    Attributes:
        bench: Where the server is.
        board: At eth1: it is 192.168.7.2, the bench is 192.168.7.1.
        linklocal: At eth2: it is 169.254.7.2, the bench is 169.254.7.1.
        ipv6: At eth3: it is fd00:9::2 and fe80::92, the bench is fd00:9::1 and fe80::91.
    """

    def __init__(self) -> None:
        self.bench = Place("bench")
        self.board = Place("board")
        self.linklocal = Place("linklocal")
        self.ipv6 = Place("ipv6")
        self._places = [self.bench, self.board, self.linklocal, self.ipv6]

    def lay_cables(self) -> None:
        """Join the places."""
        cables = [
            f"link add eth{number} netns {self.bench.name} type veth peer name usb0 netns {place.name}\n"
            for number, place in enumerate(self._places[1:], 1)
        ]
        ip("-batch", "-", batch="".join(cables))
        self.bench.ip(
            "link set lo up",
            "addr add 192.168.7.1/24 dev eth1",
            "addr add 169.254.7.1/16 dev eth2",
            "addr add fd00:9::1/64 dev eth3 nodad",
            "addr add fe80::91/64 dev eth3 nodad",
            *(f"link set eth{number} up" for number in (1, 2, 3)),
        )
        self.board.ip("addr add 192.168.7.2/24 dev usb0", "link set usb0 up")
        self.linklocal.ip("addr add 169.254.7.2/16 dev usb0", "link set usb0 up")
        self.ipv6.ip("addr add fd00:9::2/64 dev usb0 nodad", "addr add fe80::92/64 dev usb0 nodad", "link set usb0 up")

    def pull(self, board: Place) -> None:
        """Cut a board off, as a loss of its power does: it says nothing any more."""
        board.ip("link set usb0 down")

    def places(self) -> Iterator[Place]:
        return iter(self._places)
