"""A disk that is slow, hangs, fails, or goes away, as a test says: a file system in a process of its own (FUSE).

Knows FUSE, by mfusepy, and passes all else through to a directory beside it. Knows nothing of servers. What a test
sets holds from the moment that the call returns. The disk is gone at the end, also when the test dies. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import itertools
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests import warm

if TYPE_CHECKING:
    import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 20.0  # for what should take milliseconds
LONGEST_HOLD_SECONDS = 45.0  # whoever waits for a disk cannot be killed, so nothing is held for ever
LOOK_SECONDS = 1.0  # how often the disk looks whether its test is alive
MNT_DETACH = 2
HIDDEN = ".fuse_hidden"  # what libfuse calls a file that is removed while it is open


@dataclass(frozen=True)
class Rule:
    """What happens to an operation, from the moment that it is set until it is cleared.

    Attributes:
        op: Its name in FUSE: open, create, getattr, read, write, readdir, unlink, rename, flush (each close of a
            descriptor), release (the last one), fsync, truncate, mkdir, rmdir, statfs, chmod, utimens; `*` is any.
        path: A pattern of names below the mount point, where `*` is any text; of a rename, either name.
        errno: What it fails with; 0 to let it work.
        delay: Seconds that it takes first.
        block: Hold it until the rule is cleared.
        at: For a read and a write: only those that reach this byte or lie behind it.
        after: How often it goes well before.
        times: How often the rule holds; None for ever.
        chance: How likely it holds each time, 0 to 1.
    """

    op: str
    path: str = "*"
    errno: int = 0
    delay: float = 0.0
    block: bool = False
    at: int = 0
    after: int = 0
    times: int | None = None
    chance: float = 1.0


class Fault:
    """A rule that is set on a disk; a rule that does nothing counts."""

    def __init__(self, disk: FaultyDisk, number: int) -> None:
        self._disk = disk
        self._number = number

    @property
    def met(self) -> int:
        """How many operations it has held for."""
        return int(self._disk.tell("met", number=self._number))

    def wait_until_met(self, times: int = 1) -> None:
        """Block until so many operations have met it; one that is held or delayed counts as it begins."""
        told = self._disk.tell("wait", number=self._number, times=times)
        assert told, f"no operation met rule {self._number} {times} times within {PATIENCE_SECONDS:g} s"

    def clear(self) -> None:
        """Take the rule back, and let go what it holds. Twice is harmless."""
        self._disk.tell("clear", number=self._number)


class FaultyDisk:
    """A mounted file system; `mounted` makes it.

    Attributes:
        path: Where it is mounted.
        beneath: The directory that it shows: what is really there, without faults.
    """

    def __init__(self, path: Path, beneath: Path, process: subprocess.Popen[str]) -> None:
        self.path = path
        self.beneath = beneath
        self._process = process
        self._lock = threading.Lock()  # one question at a time

    def fault(self, op: str, path: str = "*", **settings: Any) -> Fault:
        """Set a rule; the settings are those of `Rule`. Of several that hold each delays, and the first fails."""
        rule = Rule(op, path, **settings)
        return Fault(self, int(self.tell("set", **{each.name: getattr(rule, each.name) for each in fields(rule)})))

    @property
    def is_alive(self) -> bool:
        """Whether it is there: it was not killed."""
        return self._process.poll() is None

    def clear(self) -> None:
        """Take all rules back, and let go what they hold."""
        self.tell("clear", number=None)

    def kill(self) -> None:
        """Have the disk go away: all operations fail with ENOTCONN from now on. Twice is harmless."""
        self._process.kill()
        self._process.wait(PATIENCE_SECONDS)

    def tell(self, what: str, **arguments: Any) -> Any:
        """Send a command to the process, and return what it answers."""
        with self._lock:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(json.dumps([what, arguments]), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline() or '"the disk has ended"')


@contextlib.contextmanager
def mounted(where: Path) -> Iterator[FaultyDisk]:
    """Mount an empty disk at `disk` in the directory *where*, for as long as the block lasts.

    Raises:
        OSError: FUSE does not work here; `why_not` says so beforehand.
    """
    path, beneath = where / "disk", where / "beneath"
    path.mkdir()
    beneath.mkdir()
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile("w+") as said:
        process = warm.Popen(
            # Of a session of its own: a Ctrl-C at the terminal is the test's.
            [sys.executable, "-m", "tests.fuse", str(beneath), str(path)],
            cwd=REPOSITORY, stdin=pipe, stdout=pipe, stderr=said, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "mounted\n":
                process.wait(PATIENCE_SECONDS)
                said.seek(0)
                raise OSError(errno.ENODEV, (said.read().strip().splitlines() or ["it ended"])[-1])
            yield FaultyDisk(path, beneath, process)
        finally:
            _end(process, path)


class FaultyDisks:
    """Disks for one test after another: mounting takes longer than most of them.

    Args:
        where: Makes the directories for them.
    """

    def __init__(self, where: pytest.TempPathFactory) -> None:
        self._where = where
        self._mounts = contextlib.ExitStack()
        self._disk: FaultyDisk | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._mounts.close()

    @contextlib.contextmanager
    def one(self) -> Iterator[FaultyDisk]:
        """Give an empty disk without faults. One that was killed is not given again."""
        disk = self._disk or self._mounts.enter_context(mounted(self._where.mktemp("fuse")))
        self._disk = None
        yield disk
        if disk.is_alive:
            disk.clear()
            _empty(disk.beneath)
            _empty(disk.path.parent, but=(disk.path.name, disk.beneath.name))
            os.chmod(disk.beneath, 0o755)
            self._disk = disk


def _empty(directory: Path, but: Sequence[str] = ()) -> None:
    for entry in os.scandir(directory):
        if entry.name not in but:
            shutil.rmtree(entry.path) if entry.is_dir(follow_symlinks=False) else os.unlink(entry.path)


def _end(process: subprocess.Popen[str], path: Path) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    process.stdout.close()
    unmount(path)  # it was killed, perhaps


def unmount(path: Path) -> None:
    """Take a disk away from its place, at once, whoever uses it. Nothing mounted there is harmless."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).umount2(os.fsencode(path), MNT_DETACH)
        return
    for tool in ("fusermount3", "fusermount"):
        with contextlib.suppress(FileNotFoundError):
            subprocess.run([tool, "-uzq", str(path)], capture_output=True, check=False, timeout=PATIENCE_SECONDS)
            return


@functools.cache
def why_not() -> str | None:
    """Say why no disk can be mounted here, found by a trial; None where it can."""
    if not os.path.exists("/dev/fuse"):
        return "this system has no /dev/fuse"
    with tempfile.TemporaryDirectory(prefix="fuse-") as where:
        try:
            with mounted(Path(where)) as disk:
                (disk.path / "trial").touch()
        except OSError as error:
            return f"FUSE does not work here: {error.strerror}"
    return None


# The process


class Rules:
    """The rules that are set, and what is held by them."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._random = random.Random()
        self._changed = threading.Condition()  # guards what follows
        self._rules: dict[int, Rule] = {}
        self._passed: dict[int, int] = {}  # of those that let some operations go well before
        self._met: dict[int, int] = {}

    def set(self, **settings: Any) -> int:
        rule = Rule(**settings)
        with self._changed:
            number = next(self._numbers)
            self._rules[number] = rule
            self._passed[number] = self._met[number] = 0
        return number

    def clear(self, number: int | None) -> None:
        with self._changed:
            for each in list(self._rules) if number is None else [number]:
                self._rules.pop(each, None)
            self._changed.notify_all()

    def met(self, number: int) -> int:
        with self._changed:
            return self._met[number]

    def wait(self, number: int, times: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._met[number] >= times, PATIENCE_SECONDS)

    def meet(self, op: str, paths: Sequence[str], end: int | None) -> None:
        """Do to an operation what the rules say. Raises what it fails with."""
        failure = 0
        for number, rule in self._holding(op, paths, end):
            if rule.delay:
                time.sleep(rule.delay)
            if rule.block:
                with self._changed:
                    self._changed.wait_for(functools.partial(self._is_cleared, number), LONGEST_HOLD_SECONDS)
            failure = failure or rule.errno
        if failure:
            raise OSError(failure, os.strerror(failure))

    def _is_cleared(self, number: int) -> bool:
        return number not in self._rules

    def _holding(self, op: str, paths: Sequence[str], end: int | None) -> list[tuple[int, Rule]]:
        holding = []
        with self._changed:
            for number, rule in self._rules.items():
                if rule.op not in (op, "*") or not any(fnmatchcase(path, rule.path) for path in paths):
                    continue
                if end is not None and end <= rule.at:
                    continue
                if rule.times is not None and self._met[number] >= rule.times:
                    continue
                if self._passed[number] < rule.after:
                    self._passed[number] += 1
                    continue
                if self._random.random() < rule.chance:
                    self._met[number] += 1
                    holding.append((number, rule))
            self._changed.notify_all()
        return holding


STAT = ("st_atime_ns", "st_ctime_ns", "st_mtime_ns", "st_gid", "st_ino", "st_mode", "st_nlink", "st_size", "st_uid",
        "st_blocks")  # fmt: skip
STATVFS = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize",
           "f_namemax")  # fmt: skip


def operation(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have an operation meet the rules first."""
    name = method.__name__

    @functools.wraps(method)
    def met(self: Through, path: str, *arguments: Any) -> Any:
        paths, end, op = [path[1:]], None, name
        if HIDDEN in path:
            return method(self, path, *arguments)  # libfuse's own doings
        if name == "rename" and HIDDEN in arguments[0]:
            op = "unlink"  # or a rename over it: of a file that is open
        elif name in ("rename", "link", "symlink"):
            paths.append(arguments[0].removeprefix("/"))
        elif name == "read":
            end = arguments[0] + arguments[1]
        elif name == "write":
            end = len(arguments[0]) + arguments[1]
        try:
            self.rules.meet(op, paths, end)
        except OSError:
            if name == "release":  # nobody is told of that
                method(self, path, *arguments)
            raise
        return method(self, path, *arguments)

    return met


class Through:
    """What mfusepy calls: the directory beneath, and the rules."""

    use_ns = True

    def __init__(self, beneath: str, mount_point: str) -> None:
        self.rules = Rules()
        self._beneath = beneath
        self._mount_point = mount_point

    def init(self, path: str) -> None:
        print("mounted", flush=True)
        threading.Thread(target=obey, args=(self.rules, self._mount_point), daemon=True).start()

    @operation
    def getattr(self, path: str, fh: int | None = None) -> dict[str, int]:
        found = os.lstat(self._beneath + path) if fh is None else os.fstat(fh)
        return {name.removesuffix("_ns"): getattr(found, name) for name in STAT}

    @operation
    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._beneath + path)
        return {name: getattr(found, name) for name in STATVFS}

    @operation
    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        with os.scandir(self._beneath + path) as entries:
            found = [(entry.name, entry.stat(follow_symlinks=False)) for entry in entries]
        names = [(".", os.lstat(self._beneath + path)), ("..", os.lstat(self._beneath)), *found]
        # Who sees a name without a number takes it for a removed one.
        return [
            (name, {"st_mode": stat.st_mode, "st_ino": stat.st_ino}, 0)
            for name, stat in names
            if not name.startswith(HIDDEN)
        ]

    @operation
    def readlink(self, path: str) -> str:
        return os.readlink(self._beneath + path)

    @operation
    def open(self, path: str, flags: int) -> int:
        return os.open(self._beneath + path, flags)

    @operation
    def create(self, path: str, mode: int, flags: int | None = None) -> int:
        return os.open(self._beneath + path, os.O_RDWR | os.O_CREAT, mode)

    @operation
    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return os.pread(fh, size, offset)

    @operation
    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        return os.pwrite(fh, data, offset)

    @operation
    def truncate(self, path: str, length: int, fh: int | None = None) -> None:
        os.truncate(self._beneath + path if fh is None else fh, length)

    @operation
    def flush(self, path: str, fh: int) -> None:
        pass

    @operation
    def fsync(self, path: str, datasync: int, fh: int) -> None:
        os.fsync(fh)

    @operation
    def release(self, path: str, fh: int) -> None:
        os.close(fh)

    @operation
    def unlink(self, path: str) -> None:
        os.unlink(self._beneath + path)

    @operation
    def rename(self, old: str, new: str) -> None:
        os.rename(self._beneath + old, self._beneath + new)

    @operation
    def link(self, path: str, source: str) -> None:
        os.link(self._beneath + source, self._beneath + path)

    @operation
    def symlink(self, path: str, source: str) -> None:
        os.symlink(source, self._beneath + path)

    @operation
    def mkdir(self, path: str, mode: int) -> None:
        os.mkdir(self._beneath + path, mode)

    @operation
    def rmdir(self, path: str) -> None:
        os.rmdir(self._beneath + path)

    @operation
    def chmod(self, path: str, mode: int) -> None:
        os.chmod(self._beneath + path, mode)

    @operation
    def chown(self, path: str, uid: int, gid: int) -> None:
        os.lchown(self._beneath + path, uid, gid)

    @operation
    def utimens(self, path: str, times: tuple[int, int]) -> None:
        os.utime(self._beneath + path, ns=times, follow_symlinks=False)


def serve(beneath: str, path: str) -> None:
    """Mount the disk, and pass its operations through until stdin ends, or whoever started this does."""
    # Here alone: it looks for libfuse as it is imported.
    import mfusepy

    os.umask(0)
    # Nothing is remembered: each call of a test is an operation here.
    options: dict[str, Any] = {"use_ino": True, "attr_timeout": 0, "entry_timeout": 0, "negative_timeout": 0}
    if mfusepy.fuse_version_major == 2:
        options["big_writes"] = True  # as version 3 has them anyway
    # Else a file that is removed gets another name for as long as it is open, and the kernel tells of its close later.
    options["hard_remove"] = True
    mfusepy.FUSE(Through(beneath, path), path, foreground=True, fsname="faulty", **options)


def obey(rules: Rules, path: str) -> None:
    """Do what stdin says, line by line; at its end, or its reader's, take the disk away and end."""
    parent = os.getppid()
    try:
        while os.getppid() == parent:
            # A forked child of the test may keep the other end open.
            if select.select([0], [], [], LOOK_SECONDS)[0]:
                line = sys.stdin.readline()
                if not line:
                    break
                what, arguments = json.loads(line)
                print(json.dumps(getattr(rules, what)(**arguments)), flush=True)
    finally:
        unmount(Path(path))
        os._exit(0)


if __name__ == "__main__":
    serve(*sys.argv[1:])
