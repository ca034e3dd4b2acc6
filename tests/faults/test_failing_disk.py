"""A disk that fails while it is read: the answer says so, the log says which file and why, and other files are served.

The disk is a file system of our own (FUSE), which gives EIO for the names that it is told.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests import warm
from tests.server.wire import Wire, eventually

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("mfusepy") is None, reason="needs mfusepy: pip install mfusepy"),
    pytest.mark.skipif(not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs /dev/fuse"),
]

DISK = """
import errno, os, sys
import mfusepy

disk, failing, where = sys.argv[1:]


class Failing(mfusepy.Operations):
    use_ns = True

    def _checked(self, operation, path):
        if f"{operation} {path}" in open(failing).read().splitlines():
            raise mfusepy.FuseOSError(errno.EIO)
        return disk + path

    def getattr(self, path, fh=None):
        found = os.lstat(self._checked("getattr", path))
        names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
        times = {"st_mtime": found.st_mtime_ns, "st_ctime": found.st_ctime_ns, "st_atime": found.st_atime_ns}
        return {name: getattr(found, name) for name in names} | times

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self._checked("readdir", path))]

    def open(self, path, flags):
        return os.open(self._checked("open", path), flags)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def release(self, path, fh):
        os.close(fh)


mfusepy.FUSE(Failing(), where, foreground=True, attr_timeout=0, entry_timeout=0, negative_timeout=0)
"""


class Disk:
    """A mounted disk.

    Attributes:
        path: Where it is mounted.
    """

    def __init__(self, path: Path, failing: Path) -> None:
        self.path = path
        self._failing = failing

    def fail(self, *what: str) -> None:
        """Have operations on paths fail from now on, as in `open /f`."""
        self._failing.write_text("\n".join(what))


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    real, failing, mounted = tmp_path / "real", tmp_path / "failing", tmp_path / "mounted"
    (real / "d").mkdir(parents=True)
    (real / "f").write_bytes(b"content")
    (real / "good").write_bytes(b"good")
    (real / "d" / "index.html").write_bytes(b"<p>index")
    failing.touch()
    mounted.mkdir()
    command = [sys.executable, "-W", "ignore", "-c", DISK, str(real), str(failing), str(mounted)]
    process = warm.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: os.path.ismount(mounted) or process.poll() is not None, "the disk is mounted")
        if process.poll() is not None:
            pytest.skip("this system lets nobody mount by FUSE here")
        yield Disk(mounted, failing)
    finally:
        with contextlib.suppress(FileNotFoundError):
            subprocess.run(["fusermount3", "-uz", str(mounted)], check=False, capture_output=True)
        subprocess.run(["umount", "-l", str(mounted)], check=False, capture_output=True)
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    ("failing", "target", "told"),
    [
        ("open /f", "/f", "open 'f': input/output error"),
        ("readdir /", "/", "list '/': input/output error"),
        ("getattr /d", "/d/", "input/output error"),
        ("open /d/index.html", "/d/", "open 'd/index.html': input/output error"),
    ],
)
def test_what_the_disk_does_not_give_is_an_error_of_ours_and_not_missing(
    disk: Disk, caplog: pytest.LogCaptureFixture, failing: str, target: str, told: str
) -> None:
    with HttpServerClient(disk.path, host="127.0.0.1", read_only=True) as client, Wire(client.get_port()) as wire:
        well = wire.ask(target).status
        disk.fail(failing)
        failed = wire.ask(target).status
        other = wire.ask("/good").body
        disk.fail()
        again = wire.ask(target).status

    assert (well, failed, other, again) == (200, 500, b"good", 200)
    (line,) = [record for record in caplog.records if record.name.startswith("httpserve.server")]
    assert line.levelno == logging.WARNING
    assert told in line.getMessage()
