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

    def __init__(self) -> None:
        """Be closed: to open it here would lose it between two steps."""

    # Takes what FileIO takes. It is C all the way, as the opener must be, so either it has not opened or all is noted.
    open = io.FileIO.__init__
    # In place of IOBase's, which warns: whoever forgets it was interrupted. Of C, for what a finalizer raises is lost.
    __del__ = io.FileIO.close


def take(fds: list[int], path: str, flags: int, within: int | None = None) -> None:
    """Open a path, below the directory *within* if that is given, and append the descriptor to those that are open.

    One call of C: no signal comes between the system's answer and the note of the number.
    """
    fds.extend(map(partial(os.open, path, dir_fd=within), (flags,)))


def drop(fds: list[int]) -> None:
    """Close the first of some descriptors, and forget it. One call of C, so that none is closed twice."""
    next(map(os.close, map(fds.pop, (0,))))
