"""The WSGI app that answers for what is served: names, representations, conditions, listings.

Knows the protocol of what is served, and WSGI as PEP 3333 has it. Knows no disk, no sockets and no threads:
it runs under any WSGI server. Its bodies are plans.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NamedTuple

from httpserve.base.log import logger, say
from httpserve.base.names import checked_name
from httpserve.errors import InvalidName, IsADirectory, NotADirectory, NotFound, NotPermitted, StorageError
from httpserve.plan import (
    MAY_NOT_BLOCK,
    NEEDS_THREAD,
    PROBE,
    Data,
    HandOver,
    Piece,
    Pieces,
    Plan,
    Region,
    Step,
    Subject,
)
from httpserve.site import conditional
from httpserve.site.conditional import Answer, ByteRange
from httpserve.site.digest_file import SUFFIX, MemoryFile, digest_file
from httpserve.site.listing import as_html, as_json, in_order, wants_json
from httpserve.site.representation import Representation, represent
from httpserve.storage.served import DiskBusy, FileVersion, Identity, Served, ServedFile

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

log = logger("httpserve.server")

ALLOW = "GET, HEAD, OPTIONS"
MOST_NAMES = 4096  # names and representations kept in memory; both are made anew when needed
MOST_KEPT_NAME = 256  # the length of a path that is kept: what nobody serves may be of any length
INDEX = "index.html"
_KNOWN_METHODS = {"POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"}
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}
# RFC 9110 15.5.17; Python before 3.13 has the phrase of an older one.
_STATUS_LINES[416] = "416 Range Not Satisfiable"

Environ = dict[str, Any]
Fields = Sequence[tuple[str, str]]
File = ServedFile | MemoryFile


class Response(NamedTuple):
    """One answer: its status, its header fields, and its content as a plan."""

    status: int
    fields: Fields
    plan: Plan


class Site:
    """Answers for what is served.

    Args:
        served: Where the files live.
        listing: Whether a directory without an index.html answers with what is in it.
        dot_files: Whether names with a component that begins with a dot are served though others put them there.
        only: The one file to serve, None for all.
        digests: Whether `NAME.sha256` answers with the digest of a file that came in through us.
    """

    plans = True  # answers NEEDS_THREAD rather than block

    def __init__(
        self,
        served: Served,
        *,
        listing: bool = True,
        dot_files: bool = False,
        only: str | None = None,
        digests: bool = True,
    ) -> None:
        self._served = served
        self._listing = listing
        self._dot_files = dot_files
        self.only = only
        self._digests = digests and only is None
        self._has_warned = False  # that the descriptors ran out
        # Caches of pure results; the interpreter makes each touch one step.
        self._names: dict[str, str] = {}
        self._representations: dict[str, Representation] = {}
        self._probes: dict[str, MemoryFile] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        response = self._respond(environ)
        if isinstance(response, HandOver):
            # Only a server that sets MAY_NOT_BLOCK gets this, and knows it.
            return response  # type: ignore[return-value]
        # A copy: a server may change what it is given.
        start_response(_STATUS_LINES[response.status], list(response.fields))
        return response.plan

    def _respond(self, environ: Environ) -> Response | HandOver:
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return _other_method(method)
        path = environ.get("PATH_INFO", "")
        name = self._names.get(path)
        try:
            if name is None:
                name = _decoded(path)
                if not self._is_shown(name):
                    return self._missing(name, environ)
                if not name or path.endswith("/"):
                    return self._directory(name, environ)
                self._keep(path, name)
            file = self._served.open_to_serve(name, may_block=not environ.get(MAY_NOT_BLOCK))
        except NotFound as error:
            return self._missing(error.name, environ)
        except IsADirectory as error:
            return self._directory(error.name, environ)
        except (InvalidName, StorageError) as error:
            return self._failed(error, environ)
        return NEEDS_THREAD if file is None else self._file(file, environ)

    def _failed(self, error: InvalidName | StorageError, environ: Environ) -> Response | HandOver:
        """Answer where there is nothing to send: 404 for what is not there, 5xx for what the system refuses."""
        method = environ["REQUEST_METHOD"]
        if isinstance(error, InvalidName | NotPermitted):
            if _may_block(environ, logging.INFO):
                return NEEDS_THREAD
            say(log, logging.INFO, "%s", error)
            return _not_found(method)
        wait = [("Retry-After", "1")]
        if isinstance(error, DiskBusy):
            return _text(503, "the disk does not answer", method, wait)
        if isinstance(error, NotFound | NotADirectory) or error.errno is None:  # None: the root was closed meanwhile
            return _not_found(method)
        is_out_of_descriptors = error.errno in (errno.EMFILE, errno.ENFILE)
        is_known = is_out_of_descriptors and self._has_warned
        if not is_known and _may_block(environ, logging.WARNING):
            return NEEDS_THREAD
        if not is_out_of_descriptors:
            say(log, logging.WARNING, "%s", error)
            return _text(500, "the file cannot be read", method)
        if not is_known:
            self._has_warned = True
            say(log, logging.WARNING, "out of descriptors: files cannot be opened until others are closed")
        return _text(503, "the server is busy", method, wait)

    # Names

    def _keep(self, path: str, name: str) -> None:
        """Remember which name a path is, unless it is long, or has a dot that may hide it later."""
        if len(path) <= MOST_KEPT_NAME and not name.startswith(".") and "/." not in name:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            self._names[path] = name

    def _is_shown(self, name: str) -> bool:
        """Tell whether a name may be seen: dot files only where they came in through us or were asked for."""
        if self.only is not None:
            return name in ("", self.only)
        if self._dot_files or not (name.startswith(".") or "/." in name):
            return True
        return self._served.came_in(name)

    def _hidden(self, name: str) -> str:
        if self.only is not None:
            return f"{name!r} is not served: {self.only!r} is the only file that is"
        return f"{name!r} is not served: its name has a leading dot, others put it here, and dot_files is not set"

    # Files

    def representation(self, name: str) -> Representation:
        """Return what is known of a file as it is now. Costs one look at it, unless its version is new.

        Raises what `Served.status` raises, and NotFound for a file that is there and that no request is answered with.
        """
        try:
            found: FileVersion = self._served.status(name)
            if not self._is_shown(name):
                raise NotFound(self._hidden(name), name)
        except NotFound:
            digest = self._digest_file(name)
            if digest is None:
                raise
            found = digest
        return self._represent(found, is_given=False)

    def _missing(self, name: str, environ: Environ) -> Response | HandOver:
        """Answer for a name that no file has, or none that is shown."""
        probe = self._probes.get(name)
        if probe is not None:
            response = self._file(probe, environ)
            if isinstance(response, Response):
                response.plan.subject = PROBE
            return response
        if environ.get(MAY_NOT_BLOCK):
            return NEEDS_THREAD
        try:
            digest = self._digest_file(name)
        except StorageError as error:
            return self._failed(error, environ)
        return _not_found(environ["REQUEST_METHOD"]) if digest is None else self._file(digest, environ)

    def _digest_file(self, name: str) -> MemoryFile | None:
        """Return the digest that is asked for where no file of that name is; None where there is none either."""
        is_shown = self._digests and self._is_shown(name.removesuffix(SUFFIX))
        return digest_file(self._served, name) if is_shown else None

    def _represent(self, file: FileVersion, *, is_given: bool) -> Representation:
        """Return what is known of one version of a file.

        A version whose validators were given to a client while other hands may have been writing is never again one
        to resume from; until then it may come to rest.
        """
        known = self._representations.get(file.name)
        if (
            known is not None
            and known.identity == file.identity
            and known.sha256 == file.sha256
            and known.validators.modified <= time.time()  # else the clock was set back meanwhile
        ):
            return known
        made = represent(file)
        if not is_given and not made.validators.may_resume:
            return made
        if len(self._representations) >= MOST_NAMES:
            self._representations.clear()
        self._representations[file.name] = made
        return made

    def _file(self, file: File, environ: Environ) -> Response | HandOver:
        representation = self._represent(file, is_given=True)
        is_get = environ["REQUEST_METHOD"] == "GET"
        for field in conditional.FIELDS:
            if field in environ:
                if environ.get(MAY_NOT_BLOCK) and conditional.takes_long(environ):
                    file.close()
                    return NEEDS_THREAD
                decision = conditional.decide(environ, representation.validators, is_get=is_get)
                break
        else:
            decision = conditional.WHOLE
        if decision.kind is Answer.WHOLE:
            return self._whole(file, representation, is_get=is_get)
        if decision.kind is Answer.PARTS:
            if len(decision.ranges) == 1:
                return _one_range(file, representation, decision.ranges[0])
            return _many_ranges(file, representation, decision.ranges)
        file.close()
        method = environ["REQUEST_METHOD"]
        if decision.kind is Answer.NOT_MODIFIED:
            return Response(304, representation.common, Plan((), 0, _subject(representation, ())))
        if decision.kind is Answer.FAILED:
            return _text(412, "the file is not the version meant", method)
        size = representation.validators.size
        fields = [("Content-Range", f"bytes */{size}"), ("Accept-Ranges", "bytes")]
        return _text(416, f"the file has {size} bytes", method, fields)

    def _whole(self, file: File, representation: Representation, *, is_get: bool) -> Response:
        if not is_get:
            file.close()
            plan = Plan((), 0, _subject(representation, ()), representation.raw)
        elif isinstance(file, MemoryFile):
            plan = Plan((Data(file.data),), len(file.data), representation.subject, representation.raw)
        else:
            size = representation.validators.size
            # Nothing here depends on who asks, so a server may give the very same answer to all who ask with these
            # bytes.
            again = self._served.again(file)
            plan = Plan((Region(file, 0, size),), size, representation.subject, representation.raw, again)
        return Response(200, representation.whole, plan)

    # Looking at ourselves

    @contextmanager
    def probe(self, data: bytes) -> Iterator[str]:
        """Answer with *data* under a name that nobody guesses, as with a file, until the block ends.

        No record is made of such answers, so no wait takes them for a board's.
        """
        name = f"httpserve-{secrets.token_hex(16)}"
        now = time.time_ns()
        self._probes[name] = MemoryFile(name, data, Identity(0, 0, 0, now, now), shares_second=False)
        try:
            yield name
        finally:
            del self._probes[name]
            self._names.pop(f"/{name}", None)
            self._representations.pop(name, None)

    # Directories

    def _directory(self, name: str, environ: Environ) -> Response | HandOver:
        index = f"{name}/{INDEX}" if name else INDEX
        may_block = not environ.get(MAY_NOT_BLOCK)
        if self._is_shown(index):
            try:
                file = self._served.open_to_serve(index, may_block=may_block)
            except (NotFound, IsADirectory, NotPermitted, InvalidName):
                pass  # the listing answers
            except StorageError as error:
                return self._failed(error, environ)
            else:
                return NEEDS_THREAD if file is None else self._file(file, environ)
        if not self._listing:
            return _text(404, "directories are not listed", environ["REQUEST_METHOD"])
        return self._list(name, environ) if may_block else NEEDS_THREAD

    def _list(self, name: str, environ: Environ) -> Response | HandOver:
        prefix = f"{name}/" if name else ""
        try:
            entries = in_order(self._served.entries(name, lambda last: self._is_shown(prefix + last)))
        except (InvalidName, StorageError) as error:
            return self._failed(error, environ)
        if wants_json(environ.get("HTTP_ACCEPT", "")):
            body, kind = as_json(entries), "application/json"
        else:
            last = name.rpartition("/")[2]
            link = "" if environ.get("PATH_INFO", "").endswith("/") or not name else f"{last}/"
            body, kind = as_html(name, entries, link), "text/html; charset=utf-8"
        fields = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        plan = _content(body, environ["REQUEST_METHOD"])
        return Response(200, [*fields, ("Cache-Control", "no-cache"), ("Vary", "Accept")], plan)


# Answers


def _decoded(path: str) -> str:
    """Return the name that a path of WSGI means; empty: the root's. Raises InvalidName."""
    try:
        text = path.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidName(path, "it is not UTF-8") from None
    return checked_name(text, directory=True)


def _subject(representation: Representation, pieces: Sequence[Piece]) -> Subject:
    return representation.subject._replace(pieces=pieces)


def _part(file: File, start: int, stop: int) -> Step:
    if isinstance(file, MemoryFile):
        return Data(file.data[start:stop])
    return Region(file, start, stop - start)


def _one_range(file: File, representation: Representation, wanted: ByteRange) -> Response:
    start, stop = wanted
    fields = [
        ("Content-Type", representation.media_type),
        ("Content-Length", str(stop - start)),
        ("Content-Range", f"bytes {start}-{stop - 1}/{representation.validators.size}"),
        *representation.common,
    ]
    subject = _subject(representation, (Piece(0, start, stop),))
    return Response(206, fields, Plan((_part(file, start, stop),), stop - start, subject))


def _many_ranges(file: File, representation: Representation, ranges: tuple[ByteRange, ...]) -> Response:
    # Hexadecimal digits alone: zchunk pastes it into a regular expression, SWUpdate splits at '='.
    boundary = secrets.token_hex(12)
    before = f"\r\n--{boundary}\r\nContent-Type: {representation.media_type}\r\nContent-Range: bytes ".encode("ascii")
    total = representation.validators.size
    steps: list[Step] = []
    pieces = Pieces()
    length = 0
    for start, stop in ranges:
        head = b"%b%d-%d/%d\r\n\r\n" % (before, start, stop - 1, total)
        steps += [Data(head), _part(file, start, stop)]
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


def _other_method(method: str) -> Response:
    if method == "OPTIONS":
        return Response(204, [("Allow", ALLOW)], Plan((), 0))
    if method in _KNOWN_METHODS:
        return _text(405, f"files are read with {ALLOW}", method, [("Allow", ALLOW)])
    return _text(501, "that method is not known here", method)


def _may_block(environ: Environ, level: int) -> bool:
    """Tell whether this request must not wait, and a handler of what is logged at a level might."""
    return bool(environ.get(MAY_NOT_BLOCK)) and log.isEnabledFor(level)


def _not_found(method: str) -> Response:
    return _text(404, "there is no such file", method)


def _text(status: int, reason: str, method: str, fields: Fields = ()) -> Response:
    body = f"{_STATUS_LINES[status]}: {reason}\n".encode()
    kind = ("Content-Type", "text/plain; charset=utf-8")
    return Response(status, [kind, ("Content-Length", str(len(body))), *fields], _content(body, method))


def _content(body: bytes, method: str) -> Plan:
    return Plan((), 0) if method == "HEAD" else Plan((Data(body),), len(body))
