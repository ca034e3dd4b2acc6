"""Descriptors that have an owner from the moment they are open, so that nothing is lost, and nothing closed twice.

A signal's handler may raise after any call in the main thread, so also between an opening and the note of its number,
and in any finalizer that is written in Python, where what it raises is lost. Calls of C are not divided.

Knows descriptors. Knows no signals.
"""

from __future__ import annotations

import io
import os
from functools import partial


class Descriptor(io.FileIO):
    """A file that is closed at first, is opened by `open`, and closes itself when it is forgotten.

    However often and by whomever it is closed, its number is given back once.
    """

    # Closed at first: to open it here would lose it between two steps.
    __init__ = object.__init__
    # Takes what FileIO takes. It is C all the way, as the opener must be, so either it has not opened or all is noted.
    open = io.FileIO.__init__
    # In place of IOBase's, which warns: whoever forgets it was interrupted. Of C, for what a finalizer raises is lost.
    __del__ = io.FileIO.close


class Descriptors(list[int]):
    """Descriptors that are closed one by one, the first to open first, and all of them when they are forgotten."""

    __slots__ = ()

    def take(self, path: str, flags: int, within: int | None = None) -> None:
        """Open a path, below the directory *within* if that is given, as the last of those that are open."""
        # One call of C: no signal comes between the system's answer and the note of the number.
        self.extend(map(partial(os.open, path, dir_fd=within), (flags,)))

    def drop(self) -> None:
        """Close the first."""
        next(map(os.close, map(self.pop, (0,))))  # likewise, so that none is closed twice

    def close(self) -> None:
        """Close all. Harmless when called again."""
        while self:
            next(map(os.close, map(self.pop, (0,))))
        self.__class__ = _LeftOpen

    def leave_open(self) -> None:
        """Be closed by `close` alone."""
        self.__class__ = _LeftOpen

    def __del__(self) -> None:
        """Close what an interrupt has kept from its close."""
        self.close()


class _LeftOpen(Descriptors):
    """Such as are closed already, or by whoever has a finalizer that needs them. Its own is of C, as above."""

    __slots__ = ()

    __del__ = object.__init__
