"""The two files of one entry: the data of an object, as far as it came, and a map that says which blocks are there.

A block is marked in the map once it is written, with its CRC. Whoever reads a block that another process has written,
or an earlier one, compares that first. So neither a kill nor a power cut nor a disk that errs makes a false byte of it,
and nothing has to be synced. Knows files, locks and blocks. Does not know who wants them.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
import struct
import time
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from httpserve.storage.cache import locks
from httpserve.storage.cache.source import Key

BLOCK_BYTES = 256 * 1024  # 1 MiB was no quicker, and moved twice as much for ranges
DATA, MAP = ".data", ".map"
HEAD_BYTES = 8192  # of the map, before the marks
_HEAD = struct.Struct(">8sII")  # what it is, the length of the text that follows, its CRC
_MAGIC = b"hs-map-1"
_MARK = struct.Struct(">II")  # the CRC of a block, and a check of that
_CHECK = 0x5AFEB10C
# Locks lie on bytes of the map that it never has, but those of blocks: byte N is the lock of block N.
_IN_USE, _MAKING = 1 << 61, (1 << 61) + 1
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
MOST_TRIES = 50  # to open an entry that others make or remove at the same time
RETRY_SECONDS = 0.001


class Unusable(Exception):
    """The files do not take or give what they should: no room, or the disk fails. `cause` is the system's error."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause

    @property
    def is_full(self) -> bool:
        return self.cause.errno in (errno.ENOSPC, errno.EDQUOT)


@contextlib.contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unusable(error) from error


class Left(NamedTuple):
    """A data file as it was left: while it is so, nobody has written to it since."""

    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> Left:
        return cls(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class Files:
    """Those of one entry, open, and locked so that nobody evicts them. All may raise Unusable, and block for the disk.

    Attributes:
        data: The descriptor of the data.
        map: That of the map.
        size: How many bytes the object has.
        blocks: How many blocks.
        is_shared: Whether other processes use them too: else nothing is marked, nor taken from marks.
    """

    def __init__(self, data: int, map_fd: int, size: int, *, is_shared: bool) -> None:
        self.data = data
        self.map = map_fd
        self.size = size
        self.blocks = blocks_of(size)
        self.is_shared = is_shared

    def close(self) -> None:
        """Close both. Harmless when repeated."""
        fds, self.data, self.map = (self.data, self.map), -1, -1
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):  # of a file system that is gone
                    os.close(fd)

    def note_use(self) -> None:
        """Note that the entry is used now. Never raises."""
        now = time.time_ns()  # the kernel's own stamps are of the last tick of its clock
        with contextlib.suppress(OSError):
            os.utime(self.map, ns=(now, now))

    def left(self) -> Left:
        """Return how the data file is now."""
        with _disk():
            return Left.of(os.fstat(self.data))

    def write(self, data: memoryview, offset: int) -> None:
        """Write some of the object."""
        with _disk():
            while data:
                count = os.pwrite(self.data, data, offset)
                data, offset = data[count:], offset + count

    def mark(self, block: int, crc: int) -> None:
        """Note that a block is written."""
        with _disk():
            if self.is_shared:
                os.pwrite(self.map, _MARK.pack(crc, crc ^ _CHECK ^ block), HEAD_BYTES + block * _MARK.size)

    def unmark(self, block: int) -> None:
        """Note that a block is not what its mark says."""
        with _disk():
            os.pwrite(self.map, bytes(_MARK.size), HEAD_BYTES + block * _MARK.size)

    def marks(self, block: int, stop: int) -> list[int | None]:
        """Return the CRC of each of these blocks that is marked, None for others."""
        if not self.is_shared:
            return [None] * (stop - block)
        with _disk():
            found = os.pread(self.map, (stop - block) * _MARK.size, HEAD_BYTES + block * _MARK.size)
        if not found.strip(b"\0"):  # of many blocks, as a rule
            return [None] * (stop - block)
        pairs = _MARK.iter_unpack(found.ljust((stop - block) * _MARK.size, b"\0"))
        return [crc if crc ^ check == _CHECK ^ at else None for at, (crc, check) in enumerate(pairs, block)]

    def crc(self, block: int, buffer: memoryview) -> int | None:
        """Return the CRC of a block as it is on the disk; None where it is not there."""
        length, count = self.length_of(block), 0
        with _disk():
            while count < length:
                more = os.preadv(self.data, [buffer[count:length]], block * BLOCK_BYTES + count)
                if not more:
                    return None
                count += more
        return zlib.crc32(buffer[:length])

    def length_of(self, block: int) -> int:
        """Return how many bytes a block has: the last may be shorter."""
        return min(BLOCK_BYTES, self.size - block * BLOCK_BYTES)

    def claim(self, block: int, stop: int) -> int:
        """Lock blocks against others that would read them too; return where the locked ones end: *block*, if none."""
        with _disk():
            for end in (stop, block + 1):
                if locks.take(self.map, block, end - block):
                    return end
        return block

    def give_back(self, block: int, stop: int) -> None:
        """Unlock blocks. Harmless for those that are not locked. Never raises."""
        if stop > block:
            with contextlib.suppress(OSError):  # they stay locked until the entry is closed
                locks.give_back(self.map, block, stop - block)


def blocks_of(size: int) -> int:
    """Return in how many blocks an object lies."""
    return -(-size // BLOCK_BYTES)


def opened(where: int, key: Key, *, is_shared: bool) -> Files:
    """Open the entry of a version in a folder, or make it. Blocks for the disk. Raises Unusable."""
    name = key.file_name
    with _disk():
        for number in range(MOST_TRIES):
            if number:
                time.sleep(RETRY_SECONDS)  # for who is making it, or removing it
            fd = os.open(name + MAP, _FLAGS | os.O_CREAT, 0o600, dir_fd=where)
            keep = None
            try:
                if locks.take(fd, _IN_USE, is_shared=True) and _is_at(fd, name + MAP, where):
                    keep = _data_of(where, name, key, fd)
                    if keep is not None:
                        return Files(keep, fd, key.size, is_shared=is_shared)
            finally:
                if keep is None:
                    os.close(fd)
        raise OSError(errno.EBUSY, "others remove it again and again")


def _data_of(where: int, name: str, key: Key, fd: int) -> int | None:
    """Return the data file that goes with a map, which is in use by now; None if both had to go."""
    if not locks.take(fd, _MAKING):
        return None
    try:
        head = read_head(fd)
        if head is None and os.fstat(fd).st_size == 0:
            return _made(where, name, key, fd)
        with contextlib.suppress(FileNotFoundError):
            data = os.open(name + DATA, _FLAGS, dir_fd=where)
            found = os.fstat(data)
            is_right = stat.S_ISREG(found.st_mode) and (found.st_ino, found.st_size) == (head and head.inode, key.size)
            if is_right:
                return data
            os.close(data)
        remove(where, name)  # damaged, or its maker was killed
        return None
    finally:
        locks.give_back(fd, _MAKING)


def _made(where: int, name: str, key: Key, fd: int) -> int:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name + DATA, dir_fd=where)
    data = os.open(name + DATA, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=where)
    try:
        os.ftruncate(data, key.size)
        write_head(fd, key, os.fstat(data).st_ino)
    except BaseException:  # a Ctrl-C too: the descriptor would stay
        os.close(data)
        raise
    return data


def adopted(where: int, key: Key, path: str, *, is_shared: bool) -> Left | None:
    """Make a file the data of a version that has no entry: it is moved, or copied from another file system.

    Blocks for the disk. Returns how the data is left; None where there is an entry. Raises Unusable, or OSError.
    """
    name = key.file_name
    fd = os.open(name + MAP, _FLAGS | os.O_CREAT, 0o600, dir_fd=where)
    try:
        if not locks.take(fd, _IN_USE) or not _is_at(fd, name + MAP, where) or os.fstat(fd).st_size:
            return None
        try:
            with _moved(path, name + DATA, where) as data:
                return _marked(Files(data, fd, key.size, is_shared=is_shared), key)
        except BaseException:  # a Ctrl-C too: half an entry would stay
            remove(where, name)
            raise
    finally:
        os.close(fd)


@contextlib.contextmanager
def _moved(path: str, name: str, where: int) -> Iterator[int]:
    has_no_name = path.startswith("/proc/self/fd/")  # then it gets this one, where it is on the same file system
    try:
        if has_no_name:
            os.link(path, name, dst_dir_fd=where, follow_symlinks=True)
        else:
            os.rename(path, name, dst_dir_fd=where)
        fd = os.open(name, _FLAGS, dir_fd=where)
    except OSError as error:
        if error.errno != errno.EXDEV and not has_no_name:
            raise
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=where)
        fd = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=where)
        with open(path, "rb") as source, open(fd, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target, BLOCK_BYTES)
    try:
        yield fd
    finally:
        os.close(fd)


def _marked(found: Files, key: Key) -> Left:
    """Mark all blocks of an entry whose data is whole, and return how it is left."""
    left = found.left()
    if left.size != key.size:
        raise OSError(errno.EIO, f"it has {left.size} bytes in place of {key.size}")
    buffer = memoryview(bytearray(BLOCK_BYTES))
    for block in range(found.blocks if found.is_shared else 0):
        found.mark(block, found.crc(block, buffer) or 0)
    write_head(found.map, key, left.inode)
    return left


class Head(NamedTuple):
    """What a map says of its entry."""

    store: str
    name: str
    etag: str
    size: int
    inode: int


def write_head(fd: int, key: Key, inode: int) -> None:
    """Write the beginning of a map. Raises OSError."""
    most = HEAD_BYTES // 16  # a character takes up to 6 bytes, and this is only shown
    parts = [part[:most].encode("utf-8", "replace").decode() for part in (key.store, key.name, key.etag[:64])]
    text = json.dumps([*parts, key.size, inode], ensure_ascii=False).encode()
    os.pwrite(fd, _HEAD.pack(_MAGIC, len(text), zlib.crc32(text)) + text, 0)


def read_head(fd: int) -> Head | None:
    """Return what a map says, None if it is damaged or not written yet. Raises OSError."""
    found = os.pread(fd, HEAD_BYTES, 0)
    if len(found) < _HEAD.size:
        return None
    magic, length, crc = _HEAD.unpack_from(found)
    text = found[_HEAD.size : _HEAD.size + length]
    if magic != _MAGIC or len(text) != length or zlib.crc32(text) != crc:
        return None
    return Head(*json.loads(text))


def is_in_use(fd: int) -> bool:
    """Tell whether somebody else uses the entry of a map. Raises OSError."""
    return locks.is_taken(fd, _IN_USE)


def evicted(where: int, name: str) -> bool:
    """Remove an entry unless somebody uses it. Return whether it is gone. Raises OSError."""
    try:
        fd = os.open(name + MAP, _FLAGS, dir_fd=where)
    except FileNotFoundError:
        remove(where, name)
        return True
    try:
        if not locks.take(fd, _IN_USE):
            return False
        if _is_at(fd, name + MAP, where):
            remove(where, name)
        return True
    finally:
        os.close(fd)


def remove(where: int, name: str) -> None:
    """Remove the files of an entry; who has them open keeps them. Raises OSError."""
    for suffix in (DATA, MAP):  # a map without data is made anew, data without a map would never go
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name + suffix, dir_fd=where)


def _is_at(fd: int, name: str, where: int) -> bool:
    try:
        found = os.stat(name, dir_fd=where, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(fd)) and stat.S_ISREG(found.st_mode)
