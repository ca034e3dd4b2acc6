"""A file system that shows another directory, until it is killed: `-m tests.faults.fuse_mirror DIRECTORY PLACE`."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import warm
from tests.server.wire import eventually


def can_mount() -> bool:
    """Say whether tests may mount such a file system here."""
    try:
        importlib.import_module("mfusepy")
    except (ImportError, OSError):
        return False
    return os.access("/dev/fuse", os.R_OK | os.W_OK) and shutil.which("fusermount3") is not None


@contextmanager
def mirror(where: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """Mount one in *where*; give the place and the process, which a test may kill."""
    behind, place = where / "behind", where / "mounted"
    behind.mkdir()
    place.mkdir()
    command = [sys.executable, "-m", "tests.faults.fuse_mirror", str(behind), str(place)]
    with warm.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: os.path.ismount(place) or process.poll() is not None, "the directory is mounted")
            assert process.poll() is None
            yield place, process
        finally:
            subprocess.run(["fusermount3", "-uz", place], capture_output=True, check=False)
            process.kill()


def main(behind: str, place: str) -> None:  # noqa: C901 - each operation is a line
    mfusepy = importlib.import_module("mfusepy")  # which has no types

    class Mirror(mfusepy.Operations):  # type: ignore[misc, name-defined]  # it may be missing
        use_ns = True

        def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
            found = os.lstat(behind + path)
            names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
            times = {name: getattr(found, f"{name}_ns") for name in ("st_atime", "st_mtime", "st_ctime")}
            return {name: getattr(found, name) for name in names} | times

        def readdir(self, path: str, fh: int) -> list[str]:
            return [".", "..", *os.listdir(behind + path)]

        def open(self, path: str, flags: int) -> int:
            return os.open(behind + path, flags & ~os.O_APPEND)  # the kernel says where each write goes

        def create(self, path: str, mode: int, fi: object = None) -> int:
            return os.open(behind + path, os.O_RDWR | os.O_CREAT, mode)

        def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
            return os.pwrite(fh, data, offset)

        def truncate(self, path: str, length: int, fh: int | None = None) -> None:
            os.truncate(behind + path, length)

        def release(self, path: str, fh: int) -> None:
            os.close(fh)

        def chmod(self, path: str, mode: int) -> None:
            os.chmod(behind + path, mode)

        def unlink(self, path: str) -> None:
            os.unlink(behind + path)

        def rename(self, old: str, new: str) -> None:
            os.rename(behind + old, behind + new)

        def mkdir(self, path: str, mode: int) -> None:
            os.mkdir(behind + path, mode)

        def rmdir(self, path: str) -> None:
            os.rmdir(behind + path)

    mfusepy.FUSE(Mirror(), place, foreground=True, nothreads=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
