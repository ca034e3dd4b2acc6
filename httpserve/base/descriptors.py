"""Descriptors that have an owner as soon as they are open, so that none is lost, and none closed twice.

A signal's handler may raise after any Python call in the main thread: between opening a file and noting its number, or
in a finalizer, where the exception is lost. It cannot interrupt a call into C, so these classes use single C calls.

Knows descriptors. Knows no signals.
"""

from __future__ import annotations

import io
import os
from functools import partial


class Descriptor(io.FileIO):
    """A file that is closed at first, and that closes itself when nobody holds it. Closing twice is harmless."""

    # Closed at first: opened here, it could be lost between two steps.
    __init__ = object.__init__
    # Takes the arguments of FileIO. All of it is C, as the opener must be: a file is either not open, or noted.
    open = io.FileIO.__init__
    # In place of IOBase's, which warns. It is in C, because exceptions in a finalizer are lost.
    __del__ = io.FileIO.close


class Descriptors(list[int]):
    """Descriptors that close one by one, the oldest first, and all of them when nobody holds the list."""

    __slots__ = ()

    def take(self, path: str, flags: int, within: int | None = None) -> None:
        """Open a path, below the directory *within* if that is given, and append it."""
        # One C call: no signal comes between opening the file and noting its number.
        self.extend(map(partial(os.open, path, dir_fd=within), (flags,)))

    def drop(self) -> None:
        """Close the first."""
        next(map(os.close, map(self.pop, (0,))))  # one C call: none is closed twice

    def close(self) -> None:
        """Close all. Harmless when called again."""
        while self:
            next(map(os.close, map(self.pop, (0,))))
        self.__class__ = _LeftOpen

    def leave_open(self) -> None:
        """Close only at `close`, not when nobody holds the list."""
        self.__class__ = _LeftOpen

    def __del__(self) -> None:
        """Close what an interrupt has kept open."""
        self.close()


class _LeftOpen(Descriptors):
    """Closed already, or closed by an owner with a finalizer. Its own finalizer is in C."""

    __slots__ = ()

    __del__ = object.__init__
