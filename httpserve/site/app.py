"""The WSGI app that answers for a root: names, representations, conditions, listings.

Knows the root, and WSGI as PEP 3333 has it. Knows no sockets and no threads:
it runs under any WSGI server. Its bodies are plans.
"""

from __future__ import annotations

import errno
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from httpserve.base.log import logger, say
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
    Repeatable,
    Step,
    Subject,
)
from httpserve.site import conditional
from httpserve.site.conditional import Answer, ByteRange
from httpserve.site.listing import as_html, as_json, read_entries, wants_json
from httpserve.site.memory_file import SUFFIX, MemoryFile, digest_file
from httpserve.site.representation import Representation, represent
from httpserve.storage.directory.disks import DiskBusy
from httpserve.storage.directory.names import checked_name, is_reserved
from httpserve.storage.directory.open_file import OpenFile, WouldBlock
from httpserve.storage.directory.os_errors import translated
from httpserve.storage.directory.root import Root
from httpserve.storage.directory.version import Identity

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

log = logger("httpserve.server")

ALLOW = "GET, HEAD, OPTIONS"
MOST_NAMES = 4096  # names and representations kept in memory; both are made anew when needed
MOST_KEPT_NAME = 256  # the length of a path that is kept: what nobody serves may be of any length
INDEX = "index.html"
_KNOWN_METHODS = {"POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"}

Environ = dict[str, Any]
Body = Plan | HandOver


class Site:
    """Answers for what is in a root.

    Args:
        root: The directory.
        listing: Whether a directory without an index.html answers with what is in it.
        dot_files: Whether names with a component that begins with a dot are served though others put them there.
        only: The one file to serve, None for all.
        digests: Whether `NAME.sha256` answers with the digest of a file that came in through us.
    """

    plans = True  # answers NEEDS_THREAD rather than block

    def __init__(
        self,
        root: Root,
        *,
        listing: bool = True,
        dot_files: bool = False,
        only: str | None = None,
        digests: bool = True,
    ) -> None:
        self._root = root
        self._listing = listing
        self._dot_files = dot_files
        self.only = only
        self._digests = digests and only is None
        self._told_out_of_descriptors = False
        # Caches of pure results; the interpreter makes each touch one step.
        self._names: dict[str, str] = {}
        self._representations: dict[str, Representation] = {}
        self._probes: dict[str, MemoryFile] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        # A server that sets MAY_NOT_BLOCK knows NEEDS_THREAD, any other gets a Plan.
        return self._respond(environ, start_response)  # type: ignore[return-value]  # NEEDS_THREAD, for our server alone

    def _respond(self, environ: Environ, start_response: StartResponse) -> Body:
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            return _other_method(method, start_response)
        path = environ.get("PATH_INFO", "")
        name = self._names.get(path)
        file: OpenFile | MemoryFile
        try:
            try:
                if name is None:
                    name = self._name(path)
                file = self._root.open_to_serve(name, may_block=not environ.get(MAY_NOT_BLOCK))
            except NotFound as error:
                probe = self._probes.get(error.name)
                if probe is not None:
                    return self._probe(probe, environ, start_response)
                if environ.get(MAY_NOT_BLOCK):
                    return NEEDS_THREAD
                file = self._digest_file(error)
        except WouldBlock:
            return NEEDS_THREAD
        except IsADirectory as error:
            return self._directory(error.name, environ, start_response)
        except (InvalidName, StorageError) as error:
            return self._failed(error, environ, start_response)
        return self._file(file, environ, start_response)

    def _failed(self, error: InvalidName | StorageError, environ: Environ, start_response: StartResponse) -> Body:
        """Answer where there is nothing to send: 404 for what is not there, 5xx for what the system refuses."""
        method = environ["REQUEST_METHOD"]
        if isinstance(error, InvalidName | NotPermitted):
            if _may_block(environ, logging.INFO):
                return NEEDS_THREAD
            say(log, logging.INFO, "%s", error)
            return _not_found(start_response, method)
        wait = [("Retry-After", "1")]
        if isinstance(error, DiskBusy):
            return _text("503 Service Unavailable", "the disk does not answer", start_response, method, wait)
        if isinstance(error, NotFound | NotADirectory) or error.errno is None:  # None: the root was closed meanwhile
            return _not_found(start_response, method)
        is_out_of_descriptors = error.errno in (errno.EMFILE, errno.ENFILE)
        is_told = is_out_of_descriptors and self._told_out_of_descriptors
        if not is_told and _may_block(environ, logging.WARNING):
            return NEEDS_THREAD
        if not is_out_of_descriptors:
            say(log, logging.WARNING, "%s", error)
            return _text("500 Internal Server Error", "the file cannot be read", start_response, method)
        if not is_told:
            self._told_out_of_descriptors = True
            say(log, logging.WARNING, "out of descriptors: files cannot be opened until others are closed")
        return _text("503 Service Unavailable", "the server is busy", start_response, method, wait)

    # Names

    def _name(self, path: str) -> str:
        try:
            text = path.encode("latin-1").decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidName(path, "it is not UTF-8") from None
        name = checked_name(text, directory=True)
        if not name:
            raise IsADirectory("the root", name)
        if not self._is_shown(name):
            raise NotFound(f"{name!r} is hidden", name)
        if text.endswith("/"):
            raise IsADirectory(f"{name!r} is asked for as a directory", name)
        if len(path) <= MOST_KEPT_NAME and not name.startswith(".") and "/." not in name:  # may be shown, or not, later
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            self._names[path] = name
        return name

    def _is_shown(self, name: str) -> bool:
        """Tell whether a name may be seen: dot files only where they came in through us or were asked for."""
        if self.only is not None:
            return name == self.only
        if self._dot_files or not (name.startswith(".") or "/." in name):
            return True
        return self._root.came_in(name)

    def _hidden(self, name: str) -> str:
        if self.only is not None:
            return f"{name!r} is not served: {self.only!r} is the only file that is"
        return f"{name!r} is not served: its name has a leading dot, others put it here, and dot_files is not set"

    # Files

    def representation(self, name: str) -> Representation:
        """Return what is known of a file as it stands.

        Raises what `Root.open_file` raises, and NotFound for a file that is there and that no request is answered with.
        """
        file: OpenFile | MemoryFile
        try:
            file = self._root.open_file(name)
            if not self._is_shown(name):
                file.close()
                raise NotFound(self._hidden(name), name)
        except NotFound as error:
            file = self._digest_file(error)
        try:
            return self._represent(file, is_given=False)
        finally:
            file.close()

    def _digest_file(self, error: NotFound) -> MemoryFile:
        """Return the digest that is asked for where no file of that name is, or raise the error again."""
        is_shown = self._digests and self._is_shown(error.name.removesuffix(SUFFIX))
        found = digest_file(self._root, error.name) if is_shown else None
        if found is None:
            raise error
        return found

    def _represent(self, file: OpenFile | MemoryFile, *, is_given: bool) -> Representation:
        """Return what is known of a file that is open.

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

    def _file(self, file: OpenFile | MemoryFile, environ: Environ, start_response: StartResponse) -> Body:
        representation = self._represent(file, is_given=True)
        method = environ["REQUEST_METHOD"]
        is_get = method == "GET"
        for field in conditional.FIELDS:
            if field in environ:
                if environ.get(MAY_NOT_BLOCK) and conditional.takes_long(environ):
                    file.close()
                    return NEEDS_THREAD
                verdict = conditional.decide(environ, representation.validators, is_get=is_get)
                break
        else:
            verdict = conditional.WHOLE
        if verdict.kind is Answer.WHOLE:
            start_response("200 OK", list(representation.whole))  # a server may change what it is given
            if is_get:
                again = self._root.again(file) if isinstance(file, OpenFile) else None
                return _whole(file, representation, again)
            file.close()
            return Plan((), 0, _subject(representation, ()), representation.raw)
        if verdict.kind is Answer.PARTS:
            if len(verdict.ranges) == 1:
                return _one_range(file, representation, verdict.ranges[0], start_response)
            return _many_ranges(file, representation, verdict.ranges, start_response)
        file.close()
        if verdict.kind is Answer.NOT_MODIFIED:
            start_response("304 Not Modified", list(representation.common))
            return Plan((), 0, _subject(representation, ()))
        if verdict.kind is Answer.FAILED:
            return _text("412 Precondition Failed", "the file is not the version meant", start_response, method)
        size = representation.validators.size
        fields = [("Content-Range", f"bytes */{size}"), ("Accept-Ranges", "bytes")]
        return _text("416 Range Not Satisfiable", f"the file has {size} bytes", start_response, method, fields)

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

    def _probe(self, file: MemoryFile, environ: Environ, start_response: StartResponse) -> Body:
        plan = self._file(file, environ, start_response)
        if isinstance(plan, Plan):
            plan.subject = PROBE
        return plan

    # Directories

    def _directory(self, name: str, environ: Environ, start_response: StartResponse) -> Body:
        index = f"{name}/{INDEX}" if name else INDEX
        try:
            if not self._is_shown(index):
                raise NotFound(f"{index!r} is hidden", index)
            file = self._root.open_to_serve(index, may_block=not environ.get(MAY_NOT_BLOCK))
        except WouldBlock:
            return NEEDS_THREAD
        except (NotFound, IsADirectory, NotPermitted, InvalidName):
            pass  # the listing answers
        except StorageError as error:
            return self._failed(error, environ, start_response)
        else:
            return self._file(file, environ, start_response)
        method = environ["REQUEST_METHOD"]
        if not self._listing:
            return _text("404 Not Found", "directories are not listed", start_response, method)
        if environ.get(MAY_NOT_BLOCK):
            return NEEDS_THREAD
        try:
            with self._root.directory_to_serve(name) as directory:
                entries = read_entries(directory, self._shown_in(name), directory.status)
        except (InvalidName, StorageError) as error:
            return self._failed(error, environ, start_response)
        except OSError as error:
            return self._failed(translated(error, "list", name or "/"), environ, start_response)
        if wants_json(environ.get("HTTP_ACCEPT", "")):
            body, kind = as_json(entries), "application/json"
        else:
            last = name.rpartition("/")[2]
            prefix = "" if environ.get("PATH_INFO", "").endswith("/") or not name else f"{last}/"
            body, kind = as_html(name, entries, prefix), "text/html; charset=utf-8"
        fields = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        start_response("200 OK", [*fields, ("Cache-Control", "no-cache"), ("Vary", "Accept")])
        return _data(body, method)

    def _shown_in(self, directory: str) -> Callable[[os.DirEntry[str]], bool]:
        def is_shown(entry: os.DirEntry[str]) -> bool:
            if is_reserved(entry.name) or entry.name != entry.name.strip() or "\\" in entry.name:
                return False
            return self._is_shown(f"{directory}/{entry.name}" if directory else entry.name)

        return is_shown


# Answers


def _subject(representation: Representation, pieces: Sequence[Piece]) -> Subject:
    return representation.subject._replace(pieces=pieces)


def _whole(file: OpenFile | MemoryFile, representation: Representation, again: Repeatable | None) -> Plan:
    size = representation.validators.size
    return Plan((_part(file, 0, size),), size, representation.subject, representation.raw, again)


def _part(file: OpenFile | MemoryFile, start: int, stop: int) -> Step:
    if isinstance(file, MemoryFile):
        return Data(file.data[start:stop])
    return Region(file, start, stop - start)


def _one_range(
    file: OpenFile | MemoryFile, representation: Representation, wanted: ByteRange, start_response: StartResponse
) -> Plan:
    start, stop = wanted
    fields = [
        ("Content-Type", representation.media_type),
        ("Content-Length", str(stop - start)),
        ("Content-Range", f"bytes {start}-{stop - 1}/{representation.validators.size}"),
        *representation.common,
    ]
    start_response("206 Partial Content", fields)
    subject = _subject(representation, (Piece(0, start, stop),))
    return Plan((_part(file, start, stop),), stop - start, subject)


def _many_ranges(
    file: OpenFile | MemoryFile,
    representation: Representation,
    ranges: tuple[ByteRange, ...],
    start_response: StartResponse,
) -> Plan:
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
    start_response("206 Partial Content", fields)
    return Plan(tuple(steps), length, _subject(representation, pieces))


def _other_method(method: str, start_response: StartResponse) -> Plan:
    if method == "OPTIONS":
        start_response("204 No Content", [("Allow", ALLOW)])
        return Plan((), 0)
    if method in _KNOWN_METHODS:
        reason = f"files are read with {ALLOW}"
        return _text("405 Method Not Allowed", reason, start_response, method, [("Allow", ALLOW)])
    return _text("501 Not Implemented", "that method is not known here", start_response, method)


def _may_block(environ: Environ, level: int) -> bool:
    """Tell whether this request must not wait, and a handler of what is logged at a level might."""
    return bool(environ.get(MAY_NOT_BLOCK)) and log.isEnabledFor(level)


def _not_found(start_response: StartResponse, method: str) -> Plan:
    return _text("404 Not Found", "there is no such file", start_response, method)


def _text(
    status: str, reason: str, start_response: StartResponse, method: str, fields: list[tuple[str, str]] | None = None
) -> Plan:
    body = f"{status}: {reason}\n".encode()
    kind = ("Content-Type", "text/plain; charset=utf-8")
    start_response(status, [kind, ("Content-Length", str(len(body))), *(fields or [])])
    return _data(body, method)


def _data(body: bytes, method: str) -> Plan:
    return Plan((), 0) if method == "HEAD" else Plan((Data(body),), len(body))
