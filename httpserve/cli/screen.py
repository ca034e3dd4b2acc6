"""Where the command line shows what happens: a live line for each transfer on a terminal, plain lines elsewhere.

Knows streams, the width of a terminal, and what an event looks like to a person. Does not know where events come from.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import logging
import os
import threading
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from httpserve import HttpServeError
from httpserve.base.text import Hint, printable, size
from httpserve.cli.arguments import explained, option

if TYPE_CHECKING:
    from httpserve.cli.events import Event

COLUMNS, ROWS = 80, 24  # of a terminal that does not say
WORN_ROWS = 2  # that the prompt and what the user types take
STALLED_SECONDS = 0.5  # after the request, a rate of nothing is not just the beginning
MUCH = 4096  # characters that wait to be written together
ROOM_BYTES = 1 << 16  # of a buffer; much more than MUCH and the longest event
LINES_SECONDS = 5.0  # between two plain lines about the progress of one transfer
UP, CLEAR_BELOW = "\x1b[{}A", "\x1b[J"  # ECMA-48, which any terminal but a "dumb" one knows


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

    @property
    def is_terminal(self) -> bool:
        """Whether lines can be changed in their place."""
        return self._stream is not None and self._stream.isatty() and os.environ.get("TERM") != "dumb"

    @property
    def encoding(self) -> str:
        """The name of the stream's encoding."""
        return getattr(self._stream, "encoding", None) or "ascii"

    def size(self) -> tuple[int, int]:
        """Return the columns and rows of the terminal."""
        try:
            assert self._stream is not None
            columns, rows = os.get_terminal_size(self._stream.fileno())
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


class Lines:
    """Plain lines for people. Safe from any thread."""

    def __init__(self, stream: Stream) -> None:
        # Guards the stream, and in Screen what is on it. A finalizer may log in the middle of a line.
        self._lock = threading.RLock()
        self._stream = stream
        self._over: list[str] = []  # lines that are to stay, not written yet
        self._due: dict[int, float] = {}  # when the next line about a transfer may come

    def say(self, text: str) -> None:
        """Write a text, of one line or several, and a newline."""
        with self._lock:
            self._over.append(text)
            self._draw()

    def tell(self, event: Event) -> None:
        """Remember what a person wants to know of an event, if anything; `refresh` writes it."""
        if event.kind not in TEXTS:
            return
        now, number = time.monotonic(), event.fields["id"]
        if event.kind == "transfer-progress" and now < self._due.get(number, now):
            return
        self._due[number] = now + LINES_SECONDS
        if event.kind == "transfer-ended":
            del self._due[number]
        with self._lock:
            self._over.append(TEXTS[event.kind](event.fields))

    def busy(self, text: str) -> None:
        """Show what is being done before anything is served; only on a terminal."""

    def refresh(self) -> None:
        """Write what `tell` has remembered."""
        with self._lock:
            self._draw()

    def close(self) -> None:
        """Leave the stream to others."""
        self.refresh()

    def _draw(self) -> None:
        if self._over:
            self._stream.write("".join(f"{line}\n" for line in self._over))
            self._over.clear()


class Screen(Lines):
    """A terminal: lines for what is over, and below them a live one for each transfer under way."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._live: dict[int, str] = {}  # by transfer
        self._drawn = 0  # how many live lines are on the screen

    def tell(self, event: Event) -> None:
        """Remember the live line of a transfer, or what stays of it when it is over; `refresh` writes them."""
        fields = event.fields
        with self._lock:
            if event.kind in ("transfer-started", "transfer-progress"):
                self._live[fields["id"]] = _progress(fields)
            elif event.kind == "transfer-ended":
                self._live.pop(fields["id"], None)
                self._over.append(_ended(fields))

    def busy(self, text: str) -> None:
        """Show one live line, or none for an empty text."""
        with self._lock:
            self._live = {0: text} if text else {}
            self._draw()

    def close(self) -> None:
        """Remove the live lines."""
        with self._lock:
            self._live.clear()
        self.refresh()

    def _draw(self) -> None:
        """Write what stays, and below it the live lines. The cursor is at the start of the line after them then."""
        if not (self._live or self._drawn or self._over):
            return
        columns, rows = self._stream.size()
        lines = list(self._live.values())
        room = max(1, rows - WORN_ROWS)
        if len(lines) > room:
            lines[room - 1 :] = [f"... and {len(lines) - room + 1} more"]
        back = f"\r{UP.format(self._drawn)}{CLEAR_BELOW}" if self._drawn else ""
        stay = "".join(f"{line}\n" for line in self._over)
        live = "".join(f"{cut(line, columns - 1)}\n" for line in lines)
        self._drawn = len(lines)
        self._over.clear()
        self._stream.write(back + stay + live)


class PrintableFormatter(logging.Formatter):
    """Formats each record as one line, and its traceback as indented ones. Other packages' records quote servers."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; only records of httpserve may have several."""
        text = super().formatMessage(record)
        return "\n".join(map(printable, text.split("\n"))) if record.name.startswith("httpserve") else printable(text)

    def formatException(self, ei: Any) -> str:  # Any: what sys.exc_info returns
        """Return the lines of a traceback."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


class LogTo(logging.Handler):
    """Writes the log above the live lines."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self.setFormatter(PrintableFormatter("%(asctime)s %(name)s: %(message)s"))
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with options in place of arguments."""
        args = record.args
        if isinstance(args, tuple):
            record = copy.copy(record)  # other handlers get it too
            record.args = tuple(map(_in_words_of_the_shell, args))
        self._lines.say(self.format(record))


def _in_words_of_the_shell(value: object) -> object:
    if isinstance(value, Hint):
        return option(value)
    return explained(value) if isinstance(value, HttpServeError) else value


# What a person reads


def _progress(fields: Mapping[str, Any]) -> str:
    got, total = fields.get("acknowledged", 0), fields["total"]
    percent = f"{100 * got // total if total else 100} %"  # 100 only when it is all
    parts = [f"{_who(fields)}: {percent:>4}", f"{amount(got)} of {amount(total)}"]
    rate = fields.get("rate", 0)
    if rate:
        parts += [f"{amount(rate)}/s", f"{duration((total - got) / rate)} left"]
    elif fields.get("seconds", 0) >= STALLED_SECONDS:
        parts.append("stalled")
    return ", ".join(parts)


def _ended(fields: Mapping[str, Any]) -> str:
    got, total = fields["acknowledged"], fields["total"]
    if fields["state"] == "completed":
        return f"{_who(fields)}: completed, {amount(total)} in {fields['seconds']:.1f} s, {amount(fields['rate'])}/s"
    return f"{_who(fields)}: {fields['state']} at {amount(got)} of {amount(total)}"


def _who(fields: Mapping[str, Any]) -> str:
    return f"{printable(fields['name'])} to {fields['client']}"


TEXTS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "transfer-started": lambda fields: f"{_who(fields)}: started, {amount(fields['total'])}",
    "transfer-progress": _progress,
    "transfer-ended": _ended,
}


def amount(count: float) -> str:
    """Say how many bytes, in the unit that suits."""
    return size(count, "bytes")


def duration(seconds: float) -> str:
    """Say how long, as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def cut(text: str, columns: int) -> str:
    """Return as much of a text as fits into so many columns; the characters of East Asia take two."""
    used = 0
    for place, char in enumerate(text):
        used += 0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used > columns:
            return text[:place]
    return text
