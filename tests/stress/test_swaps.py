"""Directories that somebody swaps for symlinks out of the root, in a tight loop, while every call runs."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from httpserve import HttpServeError, HttpServerClient

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs renameat2 of Linux")

ROUNDS = 4000
EXCHANGE = 2  # RENAME_EXCHANGE of linux/fs.h
HERE = -100  # AT_FDCWD
# In a process of its own: a thread would swap only while it has the interpreter lock.
SWAPPER = f"""
import ctypes, sys
call = ctypes.CDLL(None).renameat2
a, b = (path.encode() for path in sys.argv[1:])
print("ready" if call({HERE}, a, {HERE}, b, {EXCHANGE}) == 0 else "cannot", flush=True)
while True:
    call({HERE}, a, {HERE}, b, {EXCHANGE})
"""


@contextlib.contextmanager
def swapping(one: Path, other: Path) -> Iterator[None]:
    if not hasattr(ctypes.CDLL(None), "renameat2"):
        pytest.skip("this C library has no renameat2")
    command = [sys.executable, "-c", SWAPPER, str(one), str(other)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                pytest.skip("this file system exchanges no names")
            yield
        finally:
            process.kill()


def state(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def fetched(port: int, target: str) -> bytes:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("GET", target)
        return connection.getresponse().read()
    finally:
        connection.close()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", ["a symlink out of the root", "a directory outside"])
def test_nothing_outside_the_root_is_read_listed_written_or_removed(tmp_path: Path, seed: int, what: str) -> None:
    chance = random.Random(seed)
    top, outside, spare = tmp_path / "root", tmp_path / "outside", tmp_path / "spare"
    for directory in (top / "d" / "deep", outside / "deep", spare):
        directory.mkdir(parents=True)
    (top / "d" / "f").write_bytes(b"inside")
    for name in ("f", "only-outside", "deep/only-outside"):
        (outside / name).write_bytes(b"OUTSIDE")
    before = state(outside)
    if what == "a symlink out of the root":
        other = spare / "link"
        other.symlink_to(outside)
    else:
        # What is out of the root by turns is the root's own directory, and must not be changed there.
        other = spare / "directory"
        other.mkdir()
    seen: list[object] = []

    with HttpServerClient(top, host="127.0.0.1", remove_created_on_close=False) as client:
        storage, port = client.storage, client.get_port()
        storage.write_bytes("mine", b"mine")
        calls: list[Callable[[], object]] = [
            lambda: storage.write_bytes("d/new", b"x"),
            lambda: storage.write_bytes("d/a/b/new", b"x"),
            lambda: client.put_file("d/put", top / "mine"),
            lambda: storage.create_dir("d/made/too/"),
            lambda: storage.copy("mine", "d/copied"),
            lambda: storage.copy("d/f", "copied"),
            lambda: storage.rename("d/f", "moved"),
            lambda: storage.rename("copied", "d/moved"),
            lambda: storage.delete("d/only-outside"),
            lambda: storage.delete("d/f"),
            lambda: storage.remove_all("d/deep/"),
            lambda: storage.remove_all("d/"),
            lambda: seen.append(storage.list("d/")),
            lambda: seen.append(storage.scan("/")),
            lambda: seen.append(storage.exists("d/only-outside") and "only-outside"),
            lambda: seen.append(storage.read_bytes("d/f")),
            lambda: seen.append(storage.stat("d/only-outside") and "only-outside"),
            lambda: seen.append(fetched(port, "/d/f")),
            lambda: seen.append(fetched(port, "/d/")),
            lambda: seen.append(fetched(port, "/d/deep/only-outside")),
        ]
        with swapping(top / "d", other):
            for _ in range(ROUNDS):
                with contextlib.suppress(HttpServeError):
                    chance.choice(calls)()
                for name in ("d", "d/deep"):
                    with contextlib.suppress(OSError):
                        os.mkdir(top / name)
        litter = list(spare.rglob(".httpserve-*"))

    assert state(outside) == before
    assert [one for one in map(repr, seen) if "OUTSIDE" in one or "only-outside" in one] == []
    assert litter == []


@pytest.mark.timeout(60)
def test_remove_all_follows_no_directory_that_is_swapped_while_it_runs(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    top, outside, link = tmp_path / "root", tmp_path / "outside", tmp_path / "link"
    outside.mkdir()
    (outside / "f").write_bytes(b"OUTSIDE")
    link.symlink_to(outside)

    with HttpServerClient(top, host="127.0.0.1") as client:
        for _ in range(30):
            names = [f"{number:03}" for number in range(60)]
            for name in names:
                (top / "tree" / name).mkdir(parents=True)
                (top / "tree" / name / "f").write_bytes(b"inside")
            with swapping(top / "tree" / chance.choice(names), link), contextlib.suppress(HttpServeError):
                client.storage.remove_all("tree/")
            if not link.is_symlink():  # the directory was out of the root at the end
                subprocess.run(["rm", "-r", str(link)], check=True)
            with contextlib.suppress(OSError):
                link.symlink_to(outside)
            client.storage.remove_all("tree/")

    assert state(outside) == {"f": b"OUTSIDE"}
