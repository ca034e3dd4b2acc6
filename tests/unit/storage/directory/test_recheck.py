"""A version of a file that was opened before: is it unchanged, and would a change show."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from httpserve.storage.directory.disks import Disks
from httpserve.storage.directory.recheck import Recheck
from httpserve.storage.served import SETTLED_SECONDS, Identity, Status
from tests.cases import each

CONTENT = b"content"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "f"
    path.write_bytes(CONTENT)
    return path


def recheck(path: Path, *, seconds_old: float = 0.0) -> Recheck:
    """Return the version that is there, made to look older, of a disk that has just answered."""
    identity = Identity.of(path.stat())
    disks = Disks(str(path.parent))
    with path.open("rb") as file:
        disks.note(path.name, file.fileno(), identity.device)
    older = identity._replace(ctime_ns=identity.ctime_ns - int(seconds_old * 1e9))
    return Recheck(str(path), Status(path.name, older, None, shares_second=False), disks)


def test_what_is_unchanged_is_read(path: Path) -> None:
    one = recheck(path)
    buffer = memoryview(bytearray(len(CONTENT)))

    assert (one.is_unchanged(), one.read(buffer), bytes(buffer)) == (True, True, CONTENT)


@pytest.mark.parametrize(
    "how", ["written", "written back", "replaced", "longer", "shorter", "removed", "directory", "mode"]
)
def test_what_was_changed_is_noticed(path: Path, how: str) -> None:
    one = recheck(path)
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

    assert (one.is_unchanged(), one.read(memoryview(bytearray(len(CONTENT))))) == (False, False)


def test_a_change_shows_only_when_the_last_one_is_old_enough(path: Path) -> None:
    assert not recheck(path).change_would_show(time.time())
    assert not recheck(path, seconds_old=SETTLED_SECONDS - 1).change_would_show(time.time())
    assert recheck(path, seconds_old=SETTLED_SECONDS).change_would_show(time.time())


def test_a_clock_that_was_set_back_shows_nothing(path: Path) -> None:
    assert not recheck(path, seconds_old=-3600.0).change_would_show(time.time())


@pytest.fixture
def in_memory() -> Iterator[Path]:
    if not os.path.ismount("/dev/shm"):
        pytest.skip("no file system in memory at /dev/shm")
    with TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory) / "f"


def test_a_file_system_in_memory_shows_its_changes(in_memory: Path) -> None:
    in_memory.write_bytes(CONTENT)

    assert recheck(in_memory, seconds_old=SETTLED_SECONDS).change_would_show(time.time())


@each("path", [Path("/proc/version"), Path("/sys/kernel/mm/transparent_hugepage/enabled")])
def test_a_file_whose_content_the_kernel_makes_up_shows_nothing(path: Path) -> None:
    if not path.exists():
        pytest.skip(f"no {path} here")

    assert not recheck(path, seconds_old=SETTLED_SECONDS).change_would_show(time.time())


def test_without_proc_nothing_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.storage.directory.disks.open", _fail, raising=False)
    one = recheck(path, seconds_old=SETTLED_SECONDS)

    assert not one.change_would_show(time.time())


def _fail(*_: object, **__: object) -> None:
    raise FileNotFoundError


def test_a_disk_that_has_not_answered_lately_is_not_asked(path: Path) -> None:
    identity = Identity.of(path.stat())
    one = Recheck(str(path), Status(path.name, identity, None, shares_second=False), Disks(str(path.parent)))

    assert not one.is_unchanged()
    assert not one.read(memoryview(bytearray(len(CONTENT))))
    assert not one.change_would_show(time.time())


def test_no_descriptor_stays_open(path: Path) -> None:
    one = recheck(path, seconds_old=SETTLED_SECONDS)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        one.is_unchanged()
        one.read(memoryview(bytearray(len(CONTENT))))
        one.change_would_show(time.time())

    assert len(os.listdir("/proc/self/fd")) == len(before)
