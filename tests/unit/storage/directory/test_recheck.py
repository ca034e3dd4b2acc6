"""A version of a file that was opened before: does it stand, and would a change show."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from httpserve.storage.directory.recheck import SETTLED_SECONDS, Recheck
from httpserve.storage.directory.version import Identity

CONTENT = b"content"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    return path


def standing(path: Path, *, seconds_old: float = 0.0) -> Recheck:
    """Return the version that stands, made to look older."""
    identity = Identity.of(path.stat())
    return Recheck(str(path), identity._replace(ctime_ns=identity.ctime_ns - int(seconds_old * 1e9)))


def test_what_stands_is_read(path: Path) -> None:
    one = standing(path)
    buffer = memoryview(bytearray(len(CONTENT)))

    assert (one.stands(), one.read(buffer), bytes(buffer)) == (True, True, CONTENT)


@pytest.mark.parametrize(
    "how", ["written", "written back", "replaced", "longer", "shorter", "removed", "directory", "mode"]
)
def test_what_was_changed_stands_no_more(path: Path, how: str) -> None:
    one = standing(path)
    found = path.stat()
    while True:  # until the clock of the file system has ticked
        other = path.with_name("tick")
        other.write_bytes(b"")
        if other.stat().st_ctime_ns > found.st_ctime_ns:
            break
    match how:
        case "written" | "written back":
            path.write_bytes(CONTENT[::-1])
            if how == "written back":
                os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
        case "replaced":
            other.write_bytes(CONTENT)
            os.replace(other, path)
        case "longer":
            path.write_bytes(CONTENT + b"!")
        case "shorter":
            path.write_bytes(CONTENT[1:])
        case "mode":
            path.chmod(0o600)
        case _:
            path.unlink()
    if how == "directory":
        path.mkdir()

    assert (one.stands(), one.read(memoryview(bytearray(len(CONTENT))))) == (False, False)


def test_a_change_shows_only_when_the_last_one_is_old_enough(path: Path) -> None:
    assert not standing(path).shows_changes(time.time())
    assert not standing(path, seconds_old=SETTLED_SECONDS - 1).shows_changes(time.time())
    assert standing(path, seconds_old=SETTLED_SECONDS).shows_changes(time.time())


def test_a_clock_that_was_set_back_shows_nothing(path: Path) -> None:
    assert not standing(path, seconds_old=-3600.0).shows_changes(time.time())


@pytest.fixture
def in_memory() -> Iterator[Path]:
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no file system in memory at /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory) / "f"


def test_a_file_system_in_memory_shows_changes(in_memory: Path) -> None:
    in_memory.write_bytes(CONTENT)

    assert standing(in_memory, seconds_old=SETTLED_SECONDS).shows_changes(time.time())


@pytest.mark.parametrize("path", [Path("/proc/version"), Path("/sys/kernel/mm/transparent_hugepage/enabled")])
def test_a_file_whose_content_the_kernel_makes_up_shows_nothing(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"no {path} here")

    assert not standing(path, seconds_old=SETTLED_SECONDS).shows_changes(time.time())


def test_what_is_gone_shows_nothing(path: Path) -> None:
    one = standing(path, seconds_old=SETTLED_SECONDS)
    path.unlink()

    assert not one.shows_changes(time.time())


def test_without_proc_nothing_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = standing(path, seconds_old=SETTLED_SECONDS)
    monkeypatch.setattr("builtins.open", _fail)

    assert not one.shows_changes(time.time())


def _fail(*_: object, **__: object) -> None:
    raise FileNotFoundError


def test_no_descriptor_stays_open(path: Path) -> None:
    one = standing(path, seconds_old=SETTLED_SECONDS)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        one.stands()
        one.read(memoryview(bytearray(len(CONTENT))))
        one.shows_changes(time.time())

    assert len(os.listdir("/proc/self/fd")) == len(before)
