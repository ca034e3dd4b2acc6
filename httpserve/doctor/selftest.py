"""Sends our own server requests as boards do, and says which answers do not suit boards.

Knows what boot loaders and updaters need in a head. Does not know the served files: it asks for its own content,
which leaves no record.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

CONTENT = bytes(range(256))
HEAD_BYTES = 900  # U-Boot before v2025.04 looks for the end of the head in the first packet
FIRST_BYTE_SECONDS = 2.0  # EDK2 gives up at 5
RANGE = (4, 12)

_STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) \S[^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)(?=\r\n)")
_EMPTY_FIELD = re.compile(rb"\r\n([^:\r\n]+):[ \t]*(?=\r\n)")


class Question(NamedTuple):
    """A request, and the check of its answer."""

    name: str
    lines: tuple[str, ...]  # the request line, and fields; {path} and {host} are filled in
    flaws: Callable[[bytes, bytes], Iterator[str]]  # of a head and what follows it


def self_test(host: str, port: int, path: str, timeout: float) -> list[str]:
    """Ask for `CONTENT`, which is served as *path*, and return what is wrong, if anything. *timeout* is for everything.

    Raises OSError where the server does not answer there in time.
    """
    deadline = time.monotonic() + timeout
    found = []
    for question in QUESTIONS:
        request = "".join(f"{line}\r\n" for line in (*question.lines, "")).format(path=path, host="bench")
        answer = ask(host, port, request.encode("ascii"), max(0.001, deadline - time.monotonic()))
        found += [f"{question.name}: {flaw}" for flaw in flaws_of(question, answer)]
    return found


def flaws_of(question: Question, answer: Reply) -> Iterator[str]:
    """Say what is wrong with an answer to a question."""
    if not answer.data:
        yield "the server closed without an answer"
        return
    head, end, content = answer.data.partition(b"\r\n\r\n")
    head += b"\r\n"
    if answer.seconds > FIRST_BYTE_SECONDS:
        yield f"the first byte came after {answer.seconds:.1f} s"
    if not end or b"\r\n\r\n" not in answer.first:
        yield "the head does not end in the first segment"
    yield from _flaws_of_head(head)
    yield from question.flaws(head, content)


def _flaws_of_head(head: bytes) -> Iterator[str]:
    if not _STATUS_LINE.match(head):
        yield f"the status line is {head.partition(_EOL)[0]!r}, not 'HTTP/1.1 NNN Reason'"
    if len(head) > HEAD_BYTES:
        yield f"the head has {len(head)} bytes, more than {HEAD_BYTES}"
    if len(_LENGTH.findall(head)) != 1:
        yield "there is not exactly one 'Content-Length: N'"
    if b"\r\ntransfer-encoding:" in head.lower():
        yield "the content is chunked"
    empty = _EMPTY_FIELD.search(head)
    if empty:
        yield f"the field {empty[1].decode('latin-1')} is empty"


_EOL = b"\r\n"


def _flaws_of_status(head: bytes, wanted: int) -> Iterator[str]:
    match = _STATUS_LINE.match(head)
    if match and int(match[1]) != wanted:
        yield f"the status is {int(match[1])}, not {wanted}"


def _flaws_of_validators(head: bytes) -> Iterator[str]:
    if b'\r\nETag: "' not in head:
        yield "there is no strong ETag"
    if b"\r\nAccept-Ranges: bytes\r\n" not in head:
        yield "there is no 'Accept-Ranges: bytes'"


def _flaws_of_content(head: bytes, content: bytes, wanted: bytes) -> Iterator[str]:
    length = _LENGTH.search(head)
    if length and int(length[1]) != len(wanted):
        yield f"Content-Length is {int(length[1])}, not {len(wanted)}"
    if content != wanted:
        yield f"{len(content)} bytes of content came that are not the {len(wanted)} that were asked for"


def _whole(head: bytes, content: bytes) -> Iterator[str]:
    yield from _flaws_of_status(head, 200)
    yield from _flaws_of_validators(head)
    yield from _flaws_of_content(head, content, CONTENT)


def _head(head: bytes, content: bytes) -> Iterator[str]:
    yield from _whole(head, CONTENT)
    if content:
        yield f"{len(content)} bytes of content came"


def _part(head: bytes, content: bytes) -> Iterator[str]:
    start, stop = RANGE
    yield from _flaws_of_status(head, 206)
    yield from _flaws_of_validators(head)
    yield from _flaws_of_content(head, content, CONTENT[start:stop])
    yield from _flaws_of_range(head, f"{start}-{stop - 1}")


def _beyond(head: bytes, content: bytes) -> Iterator[str]:
    yield from _flaws_of_status(head, 416)
    yield from _flaws_of_range(head, "*")


def _flaws_of_range(head: bytes, wanted: str) -> Iterator[str]:
    line = f"Content-Range: bytes {wanted}/{len(CONTENT)}"
    if f"\r\n{line}\r\n".encode() not in head:
        yield f"there is no '{line}'"


_FIELDS = ("Host: {host}", "Connection: close")
QUESTIONS = (
    Question("GET", ("GET {path} HTTP/1.1", *_FIELDS), _whole),
    Question("GET of HTTP/1.0 without fields", ("GET {path} HTTP/1.0",), _whole),
    Question("HEAD", ("HEAD {path} HTTP/1.1", *_FIELDS), _head),
    Question("range", ("GET {path} HTTP/1.1", *_FIELDS, f"Range: bytes={RANGE[0]}-{RANGE[1] - 1}"), _part),
    Question("range beyond the end", ("GET {path} HTTP/1.1", *_FIELDS, f"Range: bytes={len(CONTENT)}-"), _beyond),
)

MOST_BYTES = 1 << 20
_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Reply:
    """An answer: `first` is its first segment, `data` all of it, `seconds` the time until the first byte."""

    first: bytes
    data: bytes
    seconds: float


def ask(host: str, port: int, request: bytes, timeout: float) -> Reply:
    """Connect to an address of this host, send *request*, and return what comes until the server closes.

    Blocks at most *timeout* seconds. Raises OSError where it does not connect, answer or close in time.
    """
    began = time.monotonic()
    deadline = began + timeout
    with socket.create_connection((host, port), timeout) as sock:
        sock.sendall(request)
        first = data = sock.recv(_CHUNK_BYTES)
        seconds = time.monotonic() - began
        while data and len(data) < MOST_BYTES:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            more = sock.recv(_CHUNK_BYTES)
            if not more:
                break
            data += more
    return Reply(first, data, seconds)
