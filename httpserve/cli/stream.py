"""The standard streams of the command line, which break when their reader goes away.

Knows files, terminals and their size. Does not know what is written.
"""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TextIO

COLUMNS, ROWS = 80, 24  # of a terminal that does not say
MUCH = 4096  # characters that wait to be written together
ROOM_BYTES = 1 << 16  # of a buffer; much more than MUCH and the longest event


class Stream:
    """A stream of the process, which breaks when its reader goes away; None where the process has none."""

    def __init__(self, stream: TextIO | None) -> None:
        self._given = stream  # which argparse writes to
        self._stream = _with_room(stream) if stream is not None and os.name == "posix" else stream
        self._unflushed = 0
        self.error: OSError | None = None

    def write(self, text: str) -> None:
        """Write and flush. Raises nothing: after a failure `error` has the reason, and nothing more is written."""
        self.put(text)
        self.flush()

    def put(self, text: str) -> None:
        """Write into the buffer, which does not block for a short text."""
        if self._stream is not None and self.error is None:
            self._unflushed += len(text)
            try:
                self._stream.write(text)
            except OSError as error:
                self._break(self._stream, error)

    def flush(self) -> None:
        """Write what is in the buffer, from argparse too. After a signal it is still there."""
        if self._stream is not None and self._given is not None and self.error is None:
            try:
                self._given.flush()
                self._stream.flush()
                self._unflushed = 0
            except OSError as error:
                self._break(self._stream, error)

    @property
    def has_much(self) -> bool:
        """Whether the buffer is so full that `put` might block soon."""
        return self._unflushed > MUCH

    def give_up(self) -> None:
        """Write nothing more, not even what is in the buffer."""
        if self._stream is not None and self.error is None:
            self._break(self._stream, OSError(errno.EPIPE, "its reader is too slow"))

    def _break(self, stream: TextIO, error: OSError) -> None:
        """Discard what is still buffered; otherwise the interpreter complains about it at its end."""
        self.error = error
        with contextlib.suppress(OSError, ValueError):  # not a file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)

    def write_at_once(self, text: str) -> None:
        """Write past the buffer, as a signal's handler may: `write` may be what it interrupts."""
        with contextlib.suppress(OSError):
            os.write(self.number, text.encode("ascii"))

    @property
    def number(self) -> int:
        """The number of the stream's file; -1 where it has none."""
        try:
            return -1 if self._stream is None else self._stream.fileno()
        except (OSError, ValueError):
            return -1

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees it."""
        return self._stream is not None and self._stream.isatty()

    @property
    def can_redraw(self) -> bool:
        """Whether lines can be changed in their place."""
        return self.is_terminal and os.environ.get("TERM") != "dumb"

    @property
    def encoding(self) -> str:
        """The name of the stream's encoding."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def size(self) -> tuple[int, int]:
        """Return the columns and rows of the terminal."""
        try:
            columns, rows = os.get_terminal_size(self.number)
        except (OSError, ValueError):
            columns = rows = 0
        return columns or COLUMNS, rows or ROWS


def _with_room(stream: TextIO) -> TextIO:
    """Return a stream to the same file whose buffer has room for all that is put before a flush.

    A signal that interrupts a flush loses nothing that lies in the buffer. Python's own stream has a buffer of 4096
    bytes for a pipe, and what does not fit into it is lost (`_io__Buffered_write_impl` of CPython).
    """
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # not a file
        return stream
    own = open(number, "w", ROOM_BYTES, encoding=stream.encoding, errors=stream.errors, closefd=False)
    own.reconfigure(write_through=True)
    return own
