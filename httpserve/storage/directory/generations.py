"""What tells a file or directory from an earlier one with the same number, as file systems reuse numbers.

Knows what Linux says about generations. Does not know who made what.
"""

from __future__ import annotations

import fcntl
import functools
import os
import stat
import struct
import sys
import weakref
from collections.abc import Callable

Generation = int | bytes | None

MOST_HELD = 128  # descriptors that only keep numbers from being reused

_GET_GENERATION = 0x80087601  # FS_IOC_GETVERSION of linux/fs.h
_EMPTY_PATH, _HANDLE_FID = 0x1000, 0x200  # AT_EMPTY_PATH, AT_HANDLE_FID of linux/fcntl.h
_MOST_HANDLE_BYTES = 128  # MAX_HANDLE_SZ
_HANDLE_HEAD = struct.Struct("Ii")  # struct file_handle: the size of what follows, and its type
_BLANK = _HANDLE_HEAD.pack(_MOST_HANDLE_BYTES, 0) + bytes(_MOST_HANDLE_BYTES)
_OVERLAY = 0xF8  # OVL_FILEID_V1: contains the handle of the file in the upper directory
_TMPFS = (1, 12)  # a generation, and a number of 64 bits
_LOOK = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC


def generation_of(fd: int) -> Generation:
    """Return what tells an open file or directory from an earlier one with its number; None if nothing does."""
    if sys.platform != "linux":  # pragma: no cover - only Linux tells generations
        return None
    try:
        answer = fcntl.ioctl(fd, _GET_GENERATION, bytes(8))
    except OSError:
        return _handle_of(fd)
    (generation,) = struct.unpack("i", answer[:4])
    return int(generation)


def generation_at(name: str, fd: int, found: os.stat_result) -> Generation:
    """Return the generation of *found*, which is under *name* in an open directory; None where it is unknown.

    Opens nothing but files and directories, and waits for nobody.
    """
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        return None
    try:
        own = os.open(name or ".", _LOOK, dir_fd=fd)
    except OSError:  # unreadable for this user, leased to another program, or gone
        return None
    try:
        same = os.path.samestat(os.fstat(own), found)
        return generation_of(own) if same else None
    except OSError:
        return None
    finally:
        os.close(own)


def _handle_of(fd: int) -> bytes | None:
    """Return the kernel's handle of an open file, if it contains a generation that lasts.

    Those of other file systems may hold only the number, or a generation that is forgotten with the page cache.
    """
    handle = bytearray(_BLANK)
    if not _name_to_handle()(fd, handle):
        return None
    size, kind = _HANDLE_HEAD.unpack_from(handle)
    lasts = kind == _OVERLAY or (kind, size) == _TMPFS
    return bytes(handle[_HANDLE_HEAD.size : _HANDLE_HEAD.size + size]) if lasts else None


@functools.cache
def _name_to_handle() -> Callable[[int, bytearray], bool]:
    """Return what fills in the handle of an open file, or says that there is none."""
    import ctypes  # on first use: most file systems do not need it

    try:
        call = ctypes.CDLL(None).name_to_handle_at
    except (OSError, AttributeError):  # pragma: no cover - a C library without it
        return lambda fd, handle: False

    struct_handle = ctypes.c_char * (_HANDLE_HEAD.size + _MOST_HANDLE_BYTES)
    mount = ctypes.byref(ctypes.c_int())  # which nobody needs

    def fill(fd: int, handle: bytearray) -> bool:
        buffer = struct_handle.from_buffer(handle)
        # Linux before 6.5 knows no handles that only tell files apart; a container may forbid the call.
        failed = call(fd, b"", buffer, mount, _EMPTY_PATH | _HANDLE_FID) and call(fd, b"", buffer, mount, _EMPTY_PATH)
        return not failed

    return fill


class Held:
    """A descriptor that only keeps the number of a directory from being reused."""

    __slots__ = ("__weakref__", "_fd")

    def __init__(self, fd: int) -> None:
        self._fd = os.dup(fd)
        _held.add(self)

    def __del__(self) -> None:
        if hasattr(self, "_fd"):
            os.close(self._fd)


_held: weakref.WeakSet[Held] = weakref.WeakSet()


def held(fd: int) -> Held | None:
    """Keep the number of an open directory for as long as the result is kept; None when too many are."""
    if len(_held) >= MOST_HELD:
        return None
    try:
        return Held(fd)
    except OSError:  # out of descriptors
        return None
