"""A form with files (multipart/form-data, RFC 7578), read as it comes.

Knows werkzeug's parser, and bounds what it keeps. Knows no names on the server.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, File, MultipartDecoder, NeedData, Preamble

MOST_BOUNDARY = 70  # RFC 2046 5.1.1
MOST_HEAD_BYTES = 16 * 1024  # of one part, or before the first
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
    boundary = options.get("boundary", "")
    if not 0 < len(boundary) <= MOST_BOUNDARY or not boundary.isascii():
        raise ValueError("the Content-Type of a form needs a boundary of up to 70 characters")
    return boundary.encode("ascii")


class Form:
    """One form. `feed` raises ValueError where it is malformed."""

    def __init__(self, boundary: bytes) -> None:
        self._decoder = MultipartDecoder(boundary, max_parts=MOST_PARTS)
        self._is_file = False
        self._has_begun = False
        self._parts = 0
        self.is_over = False
        self.framing = 0  # how many bytes so far were not the content of a file

    def feed(self, data: bytes) -> Iterator[Part | bytes]:
        """Take the next bytes, and give the files in them: the head of each, followed by its content in pieces."""
        if self.is_over:  # what comes after the last part means nothing (RFC 2046 5.1.1)
            self._add_framing(len(data))
            return
        decoder = self._decoder
        before = len(decoder.buffer)
        decoder.receive_data(data)
        content = 0
        while not self.is_over:
            event = self._next()
            if event is None:
                break
            if isinstance(event, bytes):
                content += len(event)
            yield event
        self._add_framing(before + len(data) - content - len(decoder.buffer))

    def _next(self) -> Part | bytes | None:
        decoder = self._decoder
        while True:
            event = decoder.next_event()
            if isinstance(event, NeedData):
                if decoder.state.name in ("PREAMBLE", "PART") and len(decoder.buffer) > MOST_HEAD_BYTES:
                    raise ValueError("a part of the form has too long a head")
                self.is_over = decoder.state.name == "EPILOGUE"
                return None
            if isinstance(event, Data):
                if self._is_file and event.data:
                    return event.data
            elif isinstance(event, File) and event.filename:
                self._is_file = True
                return Part(event.filename, event.headers.get("content-type", ""))
            elif not isinstance(event, Preamble | Epilogue):
                self._is_file = False  # a field, or an input for a file in which none was chosen

    def _add_framing(self, count: int) -> None:
        self.framing += count
        if self.framing > FRAMING_BYTES:
            raise ValueError("the form has too much in it that is not a file")
