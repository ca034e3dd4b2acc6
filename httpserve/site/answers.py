"""Answers: a file whole or in ranges, what does not exist, what is refused.

Knows representations and plans. Does not know which answer a request gets, and opens nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from html import escape
from http import HTTPStatus

from httpserve.base.text import url_path
from httpserve.plan import Data, Piece, Pieces, Plan, Region, Repeatable, Response, Step, Subject
from httpserve.site.conditional import ByteRange
from httpserve.site.page import page
from httpserve.site.representation import Representation
from httpserve.storage.served import MemoryFile, RemoteFile, ServedFile

ALLOW = "GET, HEAD, OPTIONS"
_KNOWN_METHODS = {"POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"}
STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
# RFC 9110 15.5; Python before 3.13 has the phrases of an older one.
STATUS_LINES |= {
    413: "413 Content Too Large",
    416: "416 Range Not Satisfiable",
    422: "422 Unprocessable Content",
}


def status_line(status: int) -> str:
    """Return a status with its phrase. One that nobody knows has none."""
    return STATUS_LINES.get(status) or f"{status} "


File = ServedFile | RemoteFile | MemoryFile


def whole(file: File, representation: Representation, again: Repeatable | None) -> Response:
    """Answer with all of a file; `again` says how to get it again."""
    size = representation.validators.size
    plan = Plan((_part(file, 0, size),), size, representation.subject, representation.raw, again)
    return Response(200, representation.whole, plan)


def head_of_whole(representation: Representation) -> Response:
    """Answer a HEAD as `whole` answers a GET."""
    return Response(200, representation.whole, Plan((), 0, _subject(representation, ()), representation.raw))


def not_modified(representation: Representation) -> Response:
    """Answer a client that already has this version."""
    return Response(304, representation.common, Plan((), 0, _subject(representation, ())))


def unsatisfiable(representation: Representation, method: str) -> Response:
    """Answer a request whose ranges all lie beyond the end."""
    size = representation.validators.size
    fields = [("Content-Range", f"bytes */{size}"), ("Accept-Ranges", "bytes")]
    response = text(416, f"the file has {size} bytes", method, fields)
    response.plan.subject = _subject(representation, ())  # on record it is a request for this file
    return response


def _subject(representation: Representation, pieces: Sequence[Piece]) -> Subject:
    return representation.subject._replace(pieces=pieces)


def _part(file: File, start: int, stop: int, *, is_first: bool = True) -> Step:
    if isinstance(file, MemoryFile):
        return Data(file.data[start:stop])
    if isinstance(file, RemoteFile):
        return file.part(start, stop, wait=is_first)
    return Region(file, start, stop - start)


def one_range(file: File, representation: Representation, wanted: ByteRange) -> Response:
    """Answer with a part of a file."""
    start, stop = wanted
    fields = [
        ("Content-Type", representation.media_type),
        ("Content-Length", str(stop - start)),
        ("Content-Range", f"bytes {start}-{stop - 1}/{representation.validators.size}"),
        *representation.common,
    ]
    subject = _subject(representation, (Piece(0, start, stop),))
    return Response(206, fields, Plan((_part(file, start, stop),), stop - start, subject))


def many_ranges(file: File, representation: Representation, ranges: tuple[ByteRange, ...]) -> Response:
    """Answer with several parts of a file, each with its own head (RFC 9110 14.6)."""
    # Only hexadecimal digits: zchunk pastes it into a regular expression, SWUpdate splits at '='.
    boundary = secrets.token_hex(12)
    before = f"\r\n--{boundary}\r\nContent-Type: {representation.media_type}\r\nContent-Range: bytes ".encode("ascii")
    total = representation.validators.size
    steps: list[Step] = []
    pieces = Pieces()
    length = 0
    for start, stop in ranges:
        head = b"%b%d-%d/%d\r\n\r\n" % (before, start, stop - 1, total)
        steps += [Data(head), _part(file, start, stop, is_first=not steps)]
        pieces.add(length + len(head), start, stop)
        length += len(head) + stop - start
    end = f"\r\n--{boundary}--\r\n".encode("ascii")
    steps.append(Data(end))
    length += len(end)
    fields = [
        ("Content-Type", f"multipart/byteranges; boundary={boundary}"),
        ("Content-Length", str(length)),
        *representation.common,
    ]
    return Response(206, fields, Plan(tuple(steps), length, _subject(representation, pieces)))


def moved(path: str, query: str, method: str) -> Response:
    """Send a client to another path, relative to the one that it asked for."""
    target = f"{url_path(path)}?{query}" if query else url_path(path)
    return text(301, f"the directory is {target}", method, [("Location", target), ("Cache-Control", "no-cache")])


def other_method(method: str) -> Response:
    """Answer a request that reads nothing."""
    if method == "OPTIONS":
        return Response(204, [("Allow", ALLOW)], Plan((), 0))
    if method in _KNOWN_METHODS:
        return text(405, f"files are read with {ALLOW}", method, [("Allow", ALLOW)])
    return text(501, "that method is not known here", method)


def not_found(method: str) -> Response:
    """Answer for a name that no file has, or only one that is not shown."""
    return text(404, "there is no such file", method)


def not_found_page(name: str, near: Sequence[str], root: str, method: str) -> Response:
    """Answer a person's browser as `not_found` does, with links to names that exist; *root* begins them."""
    links = "".join(
        f'<li><a href="{escape(root + url_path(f"/{other}"))}">/{escape(other)}</a></li>' for other in (*near, "")
    )
    body = page(
        "404 Not Found",
        f"<h1>404 Not Found</h1>\n<p>There is no file <code>{escape(name)}</code>. There is:</p>\n<ul>{links}</ul>",
    )
    fields = [("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(body)))]
    return Response(404, fields, content(body, method))


def text(status: int, reason: str, method: str, fields: Sequence[tuple[str, str]] = ()) -> Response:
    """Answer with a status and a line that says why."""
    body = f"{STATUS_LINES[status]}: {reason}\n".encode()
    kind = ("Content-Type", "text/plain; charset=utf-8")
    return Response(status, [kind, ("Content-Length", str(len(body))), *fields], content(body, method))


def content(body: bytes, method: str) -> Plan:
    """Return a plan for what is in memory."""
    return Plan((), 0) if method == "HEAD" else Plan((Data(body),), len(body))
