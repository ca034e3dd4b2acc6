"""What a WSGI app answers, checked as PEP 3333 has it: what is in memory as it is, the rest as it comes.

Knows WSGI. Does not know how an answer leaves, nor in which thread the app runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

Fields = list[tuple[str, str]]

_OURS = ("connection", "date", "keep-alive", "transfer-encoding")  # fields that an app must not set (PEP 3333)


class StartResponse:
    """The callable of PEP 3333 by which an app says how its answer begins."""

    fields: Fields = []  # noqa: RUF012 - a tuple is none, and nobody adds to it
    has_begun = False  # content has come, so it is too late to begin again
    status = ""

    # Any: what sys.exc_info() returns.
    def __call__(self, status: str, fields: Fields, exc_info: Any = None, /) -> Callable[[bytes], object]:
        if exc_info is not None and self.has_begun:
            raise exc_info[1]
        self.status = status
        self.fields = fields
        return _no_write


def _no_write(data: bytes) -> object:
    raise NotImplementedError("the write callable of PEP 3333 is not offered; return the body")


class Heard(NamedTuple):
    """What an app has answered.

    Attributes:
        status: The status line without the version.
        fields: The fields, without those that only a server may set.
        whole: The content, where all of it is in memory.
        pieces: Otherwise the content as it comes; None where `whole` is all.
        length: How many bytes there are in all; None: until the pieces end.
    """

    status: str
    fields: Fields
    whole: Sequence[bytes]
    pieces: Iterator[bytes] | None
    length: int | None


def heard(body: Iterable[bytes], said: StartResponse, close: Callable[[], object], *, is_head: bool) -> Heard:
    """Return what an app has answered; `close` is called at once unless there are `pieces`, after which it is due.

    Raises what the app does, or what is wrong with its answer.
    """
    try:
        found = _heard(body, said, is_head)
    except BaseException:  # whatever the app raises: WSGI demands that its body is closed
        close()
        raise
    if found.pieces is None:
        close()
    return found


def _heard(body: Iterable[bytes], said: StartResponse, is_head: bool) -> Heard:
    is_whole = isinstance(body, list | tuple)
    pieces = filter(None, body)
    first = next(pieces, b"")  # a generator does not call `start_response` earlier
    if not all(isinstance(piece, bytes) for piece in (body if is_whole else (first,))):
        raise TypeError("the app's answer is made of something else than bytes")
    said.has_begun = True
    status, fields, promised = _beginning(said)
    if is_head or status in (204, 304):
        return Heard(said.status, fields, (), None, 0)
    length = sum(map(len, body)) if is_whole else None if first else 0
    if promised is None and length is not None:
        fields.append(("Content-Length", str(length)))
    elif promised != length:
        is_whole, length = False, promised
    if is_whole or not (first or length):
        return Heard(said.status, fields, [piece for piece in body if piece] if is_whole else (), None, length)
    return Heard(said.status, fields, (), chain((first,), pieces), length)


def _beginning(said: StartResponse) -> tuple[int, Fields, int | None]:
    """Return the status, the fields to send, and the length of the content, or raise what is wrong with them."""
    if not said.status:
        raise ValueError("the app has not called start_response")
    fields = [(name, value) for name, value in said.fields if name.lower() not in _OURS]
    if any("\n" in text or "\r" in text for text in (said.status, *chain.from_iterable(fields))):
        raise ValueError("the status or a field has more than one line")
    status = int(said.status[:3])
    if status < 200:
        raise ValueError(f"{status} is no status of a whole answer")
    lengths = [value for name, value in fields if name.lower() == "content-length"]
    if len(lengths) > 1 or not all(value.isascii() and value.isdigit() for value in lengths):
        raise ValueError(f"Content-Length is {', '.join(lengths)!r}")
    if status == 204:  # has no Content-Length (RFC 9110 8.6)
        fields = [field for field in fields if field[0].lower() != "content-length"]
    return status, fields, int(lengths[0]) if lengths else None
