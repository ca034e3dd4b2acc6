"""What clients may send: which names were asked for, and what takes the content of one request.

Knows names, the protocol of what is served, and the fields of a request. Knows no sockets and no disk: an intake is
given the bytes as they come (`plan.Intake`), in any thread.
"""

from __future__ import annotations

import errno
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakValueDictionary

from httpserve.base.log import logger, say
from httpserve.base.names import checked_name
from httpserve.base.text import url_path
from httpserve.base.threads import renew_in_child, sigint_held
from httpserve.errors import (
    AlreadyExists,
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    StorageError,
    StoreUnavailable,
)
from httpserve.plan import (
    MAY_NOT_BLOCK,
    NEEDS_THREAD,
    NOTED_CONTENT_BYTES,
    HandOver,
    Intake,
    Met,
    Own,
    Plan,
    Receive,
    Response,
)
from httpserve.site import answers
from httpserve.site.content_digest import ContentDigest, Mismatch, field_value
from httpserve.site.form import FRAMING_BYTES, Form, Part, boundary_of
from httpserve.storage.served import DiskBusy, Served

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

log = logger("httpserve.server")

Environ = dict[str, Any]

READ_BYTES = 64 * 1024
COMPLETED, REFUSED, CUT = "completed", "refused", "cut"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SCARCE = (errno.EMFILE, errno.ENFILE)


class Upload(NamedTuple):
    """What one client has sent for one name, as far as it came."""

    time: float  # when it was begun, in seconds since the epoch
    name: str
    client: str
    bytes: int
    sha256: str  # in hexadecimal; empty where nothing was published
    seconds: float
    content_type: str
    filename: str  # as the client's form has it
    user_agent: str
    outcome: str
    status: int  # of the answer; 0: there was none


class Accepted:
    """What may be sent, until it is closed.

    Args:
        name: A checked name.
        is_directory: Whether it is a directory, below which any name may be sent.
        max_bytes: The most that one request may bring.
        overwrite: Whether it may replace a file.
        count: How many uploads are taken; None: any number.
    """

    def __init__(self, name: str, *, is_directory: bool, max_bytes: int, overwrite: bool, count: int | None) -> None:
        self.name = name
        self.is_directory = is_directory
        self.max_bytes = max_bytes
        self.overwrite = overwrite
        self.left = count
        self.since = time.monotonic()

    def takes(self, name: str) -> bool:
        """Tell whether a file of this name may be sent."""
        if self.is_directory:
            return bool(name) and (not self.name or name.startswith(f"{self.name}/"))
        return name == self.name

    def takes_below(self, directory: str) -> bool:
        """Tell whether some file below a directory may be sent."""
        prefix = f"{directory}/" if directory else ""
        return f"{self.name}/".startswith(prefix) or (self.is_directory and self.takes(f"{prefix}any"))


class Uploads:
    """The uploads of one site.

    Args:
        served: Where they go.
        ended: Called with each upload that is over, before its client has the answer.

    Attributes:
        accepted: What may be sent, the latest first.
    """

    def __init__(self, served: Served, ended: Callable[[Upload], object] = lambda upload: None) -> None:
        self.served = served
        self.ended = ended
        self.accepted: tuple[Accepted, ...] = ()  # replaced in one step
        self._begin_anew()
        renew_in_child(self, Uploads._begin_anew)

    def _begin_anew(self) -> None:
        self._lock = threading.Lock()  # guards accepted and the counts in it
        # By name: held from a look whether there is a file until one is in its place, which takes a store a while.
        self._publishing: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()
        self._underway: set[_Taken] = set()  # each touch is one step of the interpreter

    @property
    def is_open(self) -> bool:
        """Whether anything may be sent."""
        return bool(self.accepted)

    def accept(self, accepted: Accepted) -> None:
        """Take what is sent for a name from now on. Of several that fit, the latest counts."""
        with sigint_held(), self._lock:
            self.accepted = (accepted, *self.accepted)

    def close(self, accepted: Accepted) -> None:
        """Begin no more of them. Harmless when repeated."""
        with sigint_held(), self._lock:
            self.accepted = tuple(one for one in self.accepted if one is not accepted)

    def close_all(self) -> None:
        """Begin nothing any more."""
        if self.accepted:
            with sigint_held(), self._lock:
                self.accepted = ()

    def is_accepted(self, accepted: Accepted) -> bool:
        """Tell whether this still takes anything."""
        return accepted in self.accepted

    def for_name(self, name: str) -> Accepted | None:
        """Return what a file of this name may be sent for; None if nobody asked for it."""
        return next((one for one in self.accepted if one.takes(name)), None)

    def below(self, directory: str) -> list[Accepted]:
        """Return what files below a directory may be sent for."""
        return [one for one in self.accepted if one.takes_below(directory)]

    def underway(self) -> list[Upload]:
        """Return what is on its way in."""
        return [taken.upload("", 0) for taken in list(self._underway)]

    def respond(self, environ: Environ) -> Response | HandOver:
        """Answer a PUT or POST: with an intake for its content, or with why it is not taken."""
        method = environ["REQUEST_METHOD"]
        try:
            wanted = _wanted(self, environ)
            if wanted is None:
                return answers.other_method(method)
            if environ.get(MAY_NOT_BLOCK):
                return NEEDS_THREAD
            return Receive(_Request(self, environ, wanted))
        except Rejected as rejected:
            return rejected.response(method)
        except (StorageError, InvalidName) as error:
            return _rejection(error).response(method)

    # For requests

    def begin(self, taken: _Taken) -> None:
        """Note that something comes."""
        self._underway.add(taken)

    def end(self, taken: _Taken, outcome: str, status: int) -> None:
        """Note how it has ended. Harmless when repeated."""
        if taken in self._underway:
            self._underway.discard(taken)
            self.ended(taken.upload(outcome, status))

    def publish(self, taken: _Taken, check_free: Callable[[str, Accepted], bool]) -> None:
        """Put what has come in its place. Raises Rejected or StorageError."""
        taken.sha256 = taken.version.sha256()
        with self._lock:
            publishing = self._publishing.setdefault(taken.name, threading.Lock())
        with publishing:
            taken.is_new = check_free(taken.name, taken.accepted)  # another one may have come first
            self._take_one(taken.accepted)
            taken.version.may_replace = taken.accepted.overwrite
            try:
                taken.version.commit()
            except BaseException:
                self._give_one_back(taken.accepted)
                raise

    def _take_one(self, accepted: Accepted) -> None:
        with self._lock:
            if accepted.left is not None:
                if not accepted.left:
                    raise Rejected(409, "as many uploads as were asked for have come")
                accepted.left -= 1
                if not accepted.left:
                    self.accepted = tuple(one for one in self.accepted if one is not accepted)

    def _give_one_back(self, accepted: Accepted) -> None:
        with self._lock:
            if accepted.left is not None:
                accepted.left += 1
                if accepted not in self.accepted and accepted.left == 1:
                    self.accepted = (accepted, *self.accepted)


class _Wanted(NamedTuple):
    """What a request is for."""

    name: str  # of a file; of a directory, where the form names the files in it
    is_directory: bool
    boundary: bytes | None  # of the form; None: the content is the file
    max_bytes: int


def _wanted(uploads: Uploads, environ: Environ) -> _Wanted | None:
    """Return what a request is for; None if nobody asked for that. Raises Rejected. Touches no disk."""
    path = environ.get("PATH_INFO", "")
    try:
        name = checked_name(path.encode("latin-1").decode("utf-8"), directory=True)
    except (UnicodeDecodeError, InvalidName):
        return None
    fits = None if path.endswith("/") else uploads.for_name(name)
    below = [] if fits is not None else uploads.below(name)
    if fits is None and not below:
        return None
    try:
        boundary = boundary_of(environ.get("CONTENT_TYPE", ""))
    except ValueError as error:
        raise Rejected(400, str(error)) from None
    if fits is not None:
        return _Wanted(name, False, boundary, fits.max_bytes)
    if boundary is None:
        raise Rejected(400, "the upload needs the name of a file after that of the directory")
    return _Wanted(name, True, boundary, max(one.max_bytes for one in below))


class Rejected(Exception):
    """An upload that is not taken: the status of the answer, and why."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status

    def response(self, method: str) -> Response:
        """Return the answer."""
        if self.status == 405:
            return answers.other_method(method)
        return answers.text(self.status, str(self), method, [("Retry-After", "1")] if self.status == 503 else ())


def _rejection(error: StorageError | InvalidName) -> Rejected:
    """Return the answer to an upload that cannot be stored, and log what a person must mend."""
    if isinstance(error, InvalidName):
        return Rejected(400, "no file can have that name")
    if isinstance(error, IsADirectory | NotADirectory | AlreadyExists):
        return Rejected(409, "a directory, or a file in its place, is in the way")
    if isinstance(error, StoreUnavailable):
        say(log, logging.WARNING, "an upload was refused: %s", error)
        return Rejected(503, "the store does not answer")
    if isinstance(error, DiskBusy) or error.errno is None:  # None: the root was closed meanwhile
        return Rejected(503, "the disk does not answer")
    say(log, logging.WARNING, "an upload was refused: %s", error)
    if error.errno in _SCARCE:
        return Rejected(503, "the server is busy")
    if error.errno in _FULL:
        return Rejected(507, "the disk of the server is full")
    return Rejected(500, "the file cannot be written")


class _Taken:
    """One file on its way in."""

    def __init__(self, request: _Request, name: str, accepted: Accepted, part: Part) -> None:
        self.name = name
        self.accepted = accepted
        self.is_new = request.check_free(name, accepted)
        self.version = request.uploads.served.receive(name)
        self.bytes = 0
        self.sha256 = ""
        self._request = request
        self._part = part

    def upload(self, outcome: str, status: int) -> Upload:
        """Return what there is to say of it."""
        environ = self._request.environ
        return Upload(
            time=self._request.wall,
            name=self.name,
            client=environ.get("REMOTE_ADDR", ""),
            bytes=self.bytes,
            sha256=self.sha256 if outcome == COMPLETED else "",
            seconds=time.monotonic() - self._request.began,
            content_type=self._part.content_type,
            filename=self._part.filename,
            user_agent=environ.get("HTTP_USER_AGENT", ""),
            outcome=outcome,
            status=status,
        )


class _Request:
    """The intake of one request. Raises Rejected where it is not taken at all, StorageError where the disk fails."""

    def __init__(self, uploads: Uploads, environ: Environ, wanted: _Wanted) -> None:
        self.uploads = uploads
        self.environ = environ
        self.wall, self.began = time.time(), time.monotonic()
        self._wanted = wanted
        self._left = wanted.max_bytes
        self._form = None if wanted.boundary is None else Form(wanted.boundary)
        self._files: list[_Taken] = []
        self._rejected: Rejected | None = None
        self._noted = bytearray()  # what a record keeps of the content
        if "HTTP_CONTENT_RANGE" in environ:  # RFC 9110 14.5
            raise Rejected(400, "parts of a file are not taken; send the whole")
        most = wanted.max_bytes + (FRAMING_BYTES if self._form else 0)
        if int(environ.get("CONTENT_LENGTH") or 0) > most:
            raise self._too_much()
        try:
            self._digest = ContentDigest(environ)
        except ValueError as error:
            raise Rejected(400, str(error)) from None
        if self._form is None:
            self._begin(Part("", environ.get("CONTENT_TYPE", "")))
        elif not wanted.is_directory:
            self._accepted_for(wanted.name)

    def _too_much(self) -> Rejected:
        return Rejected(413, f"{self._wanted.max_bytes} bytes are the most that is taken here")

    # What the server calls

    def write(self, data: bytes) -> bool:
        """Take the next bytes of the content; False: no more are wanted."""
        if len(self._noted) < NOTED_CONTENT_BYTES:
            self._noted += data[:NOTED_CONTENT_BYTES]
        try:
            self._digest.update(data)
            if self._form is None:
                self._append(data)
            else:
                self._take_form(self._form, data)
        except (Rejected, StorageError, InvalidName) as error:
            self._reject(error)
        return self._rejected is None

    def answer(self, start_response: StartResponse) -> Plan:
        """Publish what has come, and say so; or say why not."""
        response = None
        if self._rejected is None:
            try:
                response = self._publish()
            except (Rejected, StorageError, InvalidName) as error:
                self._reject(error)
        if self._rejected is not None:
            self._end(REFUSED, self._rejected.status)
            response = self._rejected.response(self.environ["REQUEST_METHOD"])
        assert response is not None
        response.plan.met = Met("", (), Own(bytes(self._noted)))
        start_response(answers.status_line(response.status), list(response.fields))
        return response.plan

    def cut(self, how: str, status: int = 0) -> None:
        """Publish nothing, and note what has come."""
        self._end(REFUSED if how == CUT and status else how, status)

    def _reject(self, error: Rejected | StorageError | InvalidName) -> None:
        self._rejected = error if isinstance(error, Rejected) else _rejection(error)

    def _end(self, outcome: str, status: int) -> None:
        for taken in self._files:
            with suppress(OSError):  # the file system is gone: nothing can be removed there
                taken.version.discard()
            self.uploads.end(taken, outcome, status)

    # Files

    def check_free(self, name: str, accepted: Accepted) -> bool:
        """Tell whether there is no file of a name yet. Raises Rejected where there is one that must stay."""
        try:
            self.uploads.served.status(name)
        except NotFound:
            return True
        except NotPermitted:
            pass  # it is there, whatever it is
        if not accepted.overwrite:
            raise Rejected(409, "there is a file of that name already")
        return False

    def _accepted_for(self, name: str) -> Accepted:
        accepted = self.uploads.for_name(name)
        if accepted is None:
            raise Rejected(405, "nobody asked for it")
        return accepted

    def _begin(self, part: Part) -> None:
        wanted = self._wanted
        if wanted.is_directory:
            last = part.filename.replace("\\", "/").rpartition("/")[2]  # some browsers sent whole paths
            name = checked_name(f"{wanted.name}/{last}")
        elif self._files:
            raise Rejected(400, "the form has more than one file, and its target is the name of one")
        else:
            name = wanted.name
        taken = _Taken(self, name, self._accepted_for(name), part)
        self._files.append(taken)
        self.uploads.begin(taken)

    def _append(self, data: bytes) -> None:
        taken = self._files[-1]
        taken.bytes += len(data)
        if len(data) > self._left or taken.bytes > taken.accepted.max_bytes:
            raise self._too_much()
        self._left -= len(data)
        taken.version.write(data)

    def _take_form(self, form: Form, data: bytes) -> None:
        try:
            for piece in form.feed(data):
                if isinstance(piece, Part):
                    self._begin(piece)
                else:
                    self._append(piece)
        except (InvalidName, StorageError):
            raise
        except ValueError as error:
            raise Rejected(400, str(error)) from None

    def _publish(self) -> Response:
        if self._form is not None:
            try:
                self._form.finish()
            except ValueError as error:
                raise Rejected(400, str(error)) from None
        if not self._files:
            raise Rejected(400, "the form has no file in it")
        try:
            self._digest.check()
        except Mismatch as error:
            raise Rejected(422, str(error)) from None
        done = []
        for taken in self._files:
            self.uploads.publish(taken, self.check_free)
            done.append(taken)
            self.uploads.end(taken, COMPLETED, 201 if taken.is_new else 204)
        return _stored(done, self.environ)


def _stored(files: list[_Taken], environ: Environ) -> Response:
    """Answer an upload that is in its place, with its digest."""
    fields = []
    if len(files) == 1:
        fields.append(("ETag", f'"{files[0].sha256}"'))
    if not any(taken.is_new for taken in files):
        if len(files) == 1:
            fields.append(("Repr-Digest", field_value(files[0].sha256)))
        return Response(204, fields, Plan((), 0))
    if len(files) == 1:
        fields.append(("Location", f"{environ.get('SCRIPT_NAME', '')}/{url_path(files[0].name)}"))
    body = "".join(f"{taken.sha256}  {taken.name}\n" for taken in files).encode()
    kind = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    return Response(201, [*kind, *fields], answers.content(body, environ["REQUEST_METHOD"]))


def take_all(intake: Intake, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Give an intake the content, where the server knows no intakes, and return its answer. Blocks for the client."""
    length = environ.get("CONTENT_LENGTH")
    left = int(length) if length else sys.maxsize if environ.get("wsgi.input_terminated") else 0
    while left > 0:
        data = environ["wsgi.input"].read(min(READ_BYTES, left))
        if not data and length:
            intake.cut("closed", 400)
            response = Rejected(400, "the content ended before its end").response(environ["REQUEST_METHOD"])
            start_response(answers.status_line(400), list(response.fields))
            return response.plan
        if not data or not intake.write(data):
            break
        left -= len(data)
    return intake.answer(start_response)
