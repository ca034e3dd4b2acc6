"""What all tests share: a bench to put files on, operators to copy from, and the check that nothing is left.

After each test no thread of ours runs, no TCP socket is open that was not before, and no private directory stays.
"""

from __future__ import annotations

import gc
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import opendal
import pytest

from httpserve import HttpServerClient

JOIN_SECONDS = 5.0


def our_threads() -> list[threading.Thread]:
    """Return the threads of httpserve that run."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("httpserve")]


def tcp_sockets() -> set[str]:
    """Return the TCP sockets that this process has open, by inode."""
    mine = _own_sockets()
    inodes: set[str] = set()
    for table in ("/proc/self/net/tcp", "/proc/self/net/tcp6"):
        try:
            inodes |= {line.split()[9] for line in Path(table).read_text().splitlines()[1:]}
        except OSError:  # not Linux, or no IPv6
            continue
    return inodes & mine


def _own_sockets() -> set[str]:
    inodes: set[str] = set()
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:  # not Linux
        return inodes
    for number in numbers:
        try:
            link = os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the one that listed them
            continue
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    return inodes


def private_directories() -> set[str]:
    """Return the private directories that there are in this test's directory for temporary files."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("httpserve")}


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A directory of its own, as other runs on this machine have private directories too.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("tmp")))
    before = tcp_sockets()
    threads = our_threads()  # those of a test that has failed are held against that one alone
    yield
    for thread in our_threads():
        if thread not in threads:
            thread.join(JOIN_SECONDS)
    if tcp_sockets() - before:
        gc.collect()  # a client of the test that was left to the collector is no leak of ours
    assert [thread for thread in our_threads() if thread not in threads] == []
    assert tcp_sockets() - before == set()
    assert private_directories() == set()


@pytest.fixture
def bench() -> Iterator[HttpServerClient]:
    """A started server on 127.0.0.1 with a private root."""
    with HttpServerClient(host="127.0.0.1") as client:
        yield client


@pytest.fixture(params=["memory", "fs"])
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> opendal.Operator:
    """An operator of each kind that needs no network."""
    if request.param == "memory":
        return opendal.Operator("memory")
    root = tmp_path / "operator"
    root.mkdir()
    return opendal.Operator("fs", root=str(root))
