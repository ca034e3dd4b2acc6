"""A form with files (multipart/form-data, RFC 7578), read as it comes.

Knows werkzeug's parser, and bounds what it keeps. Knows no names on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import NEED_DATA, Data, Field, File, MultipartDecoder, State

MOST_BOUNDARY = 70  # RFC 2046 5.1.1
MOST_PADDING = 64  # blanks after a delimiter
MOST_PARTS = 1000
FRAMING_BYTES = 64 * 1024  # of everything in a form that is not the content of a file


class Part(NamedTuple):
    """The head of a file in a form."""

    filename: str
    content_type: str


def boundary_of(content_type: str) -> bytes | None:
    """Return what parts a form; None where the content is none. Raises ValueError where a form has no boundary."""
    kind, options = parse_options_header(content_type)
    if kind.lower() != "multipart/form-data":
        return None
    boundary = options.get("boundary") or ""  # werkzeug 2.2 has None for an empty one
    if not 0 < len(boundary) <= MOST_BOUNDARY or not boundary.isascii():
        raise ValueError("the Content-Type of a form needs a boundary of up to 70 characters")
    return boundary.encode("ascii")


class Form:
    """One form. `feed` raises ValueError where it is malformed."""

    def __init__(self, boundary: bytes) -> None:
        self._decoder = MultipartDecoder(boundary, max_parts=MOST_PARTS)
        self._delimiter = b"--" + boundary
        self._held = b""  # from a delimiter on whose line has not ended
        self._is_file = False
        self._framing = 0  # how many bytes so far were not the content of a file
        self._is_over = False

    def feed(self, data: bytes) -> Iterator[Part | bytes]:
        """Take the next bytes, and give the files in them: the head of each, followed by its content in pieces."""
        self._framing += len(data)
        data = self._held + data
        whole = self._end_of_whole_lines(data)
        self._held = data[whole:]
        for event in self._events(data[:whole]):
            if isinstance(event, bytes):
                self._framing -= len(event)
            yield event
        if self._framing > FRAMING_BYTES:
            raise ValueError("the form has too much in it that is not a file")

    def finish(self) -> None:
        """Take the end of the content. Raises ValueError where the form has not come to its own."""
        if any(self._events(self._held)) or not self._is_over:
            raise ValueError("the form ends before its last part does")

    def _events(self, data: bytes) -> Iterator[Part | bytes]:
        decoder = self._decoder
        if decoder.state is State.DATA and not decoder.buffer and self._delimiter not in data:
            if data and self._is_file:
                yield data  # the decoder would copy it several times
        elif not self._is_over:  # what comes after the last part means nothing (RFC 2046 5.1.1)
            decoder.receive_data(data)
            while (event := self._next()) is not None:
                yield event

    def _end_of_whole_lines(self, data: bytes) -> int:
        """Return how much the decoder may get.

        The rest may be a delimiter whose line has not ended, with the line break before it: from a part of these,
        werkzeug (3.1) may take the line break for content.
        """
        end = len(data) - data.endswith(b"\r")  # its LF may be next
        last = _line_break(data, end)
        if not self._may_be_delimiter(data[last.stop : end]):
            return end
        before = data[_line_break(data, last.start).stop : last.start]
        return last.stop if self._may_be_delimiter(before, is_whole=True) else last.start

    def _may_be_delimiter(self, line: bytes, *, is_whole: bool = False) -> bool:
        """Tell whether a line, or one that begins so, parts the form."""
        rest = line.removeprefix(self._delimiter)
        if len(rest) == len(line):
            return not is_whole and self._delimiter.startswith(line)
        if rest.startswith(b"--"):
            return is_whole  # the decoder waits for nothing after that
        return len(rest) <= MOST_PADDING and not rest.strip(b" \t" if is_whole else b" \t-")

    def _next(self) -> Part | bytes | None:
        decoder = self._decoder
        while True:
            event = decoder.next_event()
            if isinstance(event, Data):
                if self._is_file and event.data:
                    return event.data
            elif isinstance(event, File) and event.filename:
                self._is_file = True
                return Part(event.filename, event.headers.get("content-type", ""))
            elif isinstance(event, Field | File):  # or an input for a file in which none was chosen
                self._is_file = False
            elif event is NEED_DATA:
                self._is_over = decoder.state is State.EPILOGUE
                return None


def _line_break(data: bytes, end: int) -> range:
    """Return where the last line break before an end is; nothing at the beginning where there is none."""
    at = max(data.rfind(b"\r", 0, end), data.rfind(b"\n", 0, end))
    if at < 0:
        return range(0)
    return range(at - (data[at - 1 : at + 1] == b"\r\n"), at + 1)
