"""What a script asks boards to send: checks what it says, hands out what ends it, and keeps what came.

Knows the site's uploads, and records. Does not know how content comes.
"""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Self

from httpserve.base.arguments import StrPath, checked_count, checked_seconds
from httpserve.base.names import checked_name
from httpserve.base.text import counted, escaped, in_python, size
from httpserve.base.threads import sigint_held
from httpserve.client.lifecycle import Lifecycle, State
from httpserve.client.ways import Ways
from httpserve.errors import InvalidArgument, NotPermitted, ServerNotRunning
from httpserve.records.claims import Claims
from httpserve.records.model import UNDER_WAY, UploadRecord
from httpserve.records.terms import address
from httpserve.records.uploads import UploadFilter
from httpserve.records.waits.outcome import Nearest
from httpserve.records.waits.upload import UploadTerms, wait_for_upload
from httpserve.site.app import Site
from httpserve.site.uploads import COMPLETED, Accepted, Upload
from httpserve.storage.accessor import Accessor
from httpserve.storage.joined import Joined

MAX_BYTES = 64 * 1024 * 1024

UploadClient = str | Callable[[UploadRecord], object]


class AcceptedUploads:
    """What may be sent, until it is closed. As a context manager it is closed at the end of the block."""

    def __init__(self, site: Site, accepted: Accepted) -> None:
        self._site = site
        self._accepted = accepted

    def __repr__(self) -> str:
        left = "" if self.remaining is None else f", {counted(self.remaining, 'upload')} left"
        return f"<accepts {self.name} up to {size(self.max_bytes)}{left}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AcceptedUploads) and other._accepted is self._accepted

    def __hash__(self) -> int:
        return hash(self._accepted)

    @property
    def name(self) -> str:
        """Which name may be sent; a directory, below which any name may be sent, ends in `/`."""
        accepted = self._accepted
        return f"{accepted.name}/" if accepted.is_directory else accepted.name

    @property
    def max_bytes(self) -> int:
        """The most bytes that one request may bring."""
        return self._accepted.max_bytes

    @property
    def remaining(self) -> int | None:
        """How many more uploads it takes; None: any number, 0 once it is over."""
        return self._accepted.left if self._site.uploads.is_accepted(self._accepted) else 0

    def close(self) -> None:
        """Begin no more of them. What is on its way in may come to its end. Harmless when repeated."""
        self._site.uploads.close(self._accepted)

    clear = close  # as faults and holds have it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class ExpectedUpload:
    """A file that is to be sent inside a `with` block. `record` has it afterwards."""

    def __init__(self, claims: Claims, terms: UploadTerms, accepted: AcceptedUploads) -> None:
        self._claims = claims
        self._terms = terms
        self._accepted = accepted
        self._first = claims.log.next_number
        self._record: UploadRecord | None = None

    def __repr__(self) -> str:
        return f"<expected upload of {self._accepted.name}>"

    @property
    def record(self) -> UploadRecord:
        """The upload. Raises InvalidArgument before it has been waited for."""
        if self._record is None:
            raise InvalidArgument(f"the upload of {self._accepted.name!r} has not been waited for; leave the block")
        return self._record

    def path(self) -> pathlib.Path:
        """Return the path of the file on this host. Raises what `record` and its `path` raise."""
        return self.record.path()

    def read(self) -> bytes:
        """Return the content. Raises what `record` and its `read` raise."""
        return self.record.read()

    def wait(self) -> UploadRecord:
        """Block until the file is there, and return its record. Nothing is accepted afterwards. For use without `with`.

        Raises:
            WaitTimeout: It did not come in time; the message says what did.
            ServerNotRunning: The server was stopped meanwhile.
        """
        if self._record is None:
            try:
                self._record = wait_for_upload(self._claims, self._terms, self._first)
            finally:
                self.close()
        return self._record

    def close(self) -> None:
        """Accept it no longer. Harmless when repeated; done at the end of the block."""
        self._accepted.close()

    def __enter__(self) -> Self:
        self._first = self._claims.log.next_number
        return self

    def __exit__(self, kind: object, *raised: object) -> None:
        if kind is None:
            self.wait()
        else:
            self.close()


class Uploads:
    """The uploads of one server."""

    def __init__(
        self,
        site: Site,
        claims: Claims,
        life: Lifecycle,
        ways: Ways,
        nearest: Nearest,
        root: Joined,
        accessor: Accessor,
        *,
        read_only: bool,
    ) -> None:
        self._site = site
        self._claims = claims
        self._life = life
        self._ways = ways
        self._nearest = nearest
        self._root = root
        self._read_only = read_only
        site.uploads.ended = partial(_note, claims, root, accessor)

    def accept(self, name: StrPath, max_bytes: int, *, overwrite: bool, count: int | None) -> AcceptedUploads:
        """Do what `HttpServerClient.accept_uploads` does."""
        checked, is_directory = _name_of(name)
        if self._read_only:
            raise NotPermitted(f"uploads of {checked!r} cannot be stored: the directory is served read-only")
        self._root.check_writable("accept uploads of", checked)
        if not self._site.may_serve(checked):
            only = ", ".join(map(repr, self._site.only))
            raise InvalidArgument(f"uploads of {checked!r} would not be served: only= names {only}")
        accepted = Accepted(
            checked,
            is_directory=is_directory,
            max_bytes=checked_count("max_bytes", max_bytes),
            overwrite=overwrite,
            count=None if count is None else checked_count("count", count),
        )
        self._site.uploads.accept(accepted)
        return AcceptedUploads(self._site, accepted)

    def expect(
        self, name: StrPath, timeout: float | None, max_bytes: int, *, overwrite: bool, client: UploadClient | None
    ) -> ExpectedUpload:
        """Do what `HttpServerClient.expect_upload` does."""
        terms = self._terms(name, timeout, client)
        return ExpectedUpload(self._claims, terms, self.accept(name, max_bytes, overwrite=overwrite, count=None))

    def wait(
        self, name: StrPath, timeout: float | None, client: UploadClient | None, since: float | None
    ) -> UploadRecord:
        """Do what `HttpServerClient.wait_for_upload` does."""
        return wait_for_upload(self._claims, self._terms(name, timeout, client), since=since)

    def records(self) -> list[UploadRecord]:
        """Return the latest uploads, oldest first."""
        with sigint_held(), self._claims.log.lock:
            return self._claims.log.uploads.records()

    def in_force(self) -> tuple[AcceptedUploads, ...]:
        """Return what may be sent now, the oldest first."""
        return tuple(AcceptedUploads(self._site, one) for one in reversed(self._site.uploads.accepted))

    def end(self) -> None:
        """Accept nothing any more."""
        self._site.uploads.close_all()

    def _terms(self, name: StrPath, timeout: float | None, client: UploadClient | None) -> UploadTerms:
        if self._life.state is not State.RUNNING:
            raise ServerNotRunning(in_python("a wait needs a running server; call start() first"))
        if timeout is not None:
            checked_seconds("timeout", timeout, zero=True)
        checked, is_directory = _name_of(name)
        predicate, where = (client, None) if callable(client) else (None, None if client is None else address(client))
        uploads = self._site.uploads
        return UploadTerms(
            wanted=UploadFilter(checked, is_directory, where),
            is_running=lambda: self._life.state is State.RUNNING,
            underway=lambda: [_record(one) for one in uploads.underway()],
            is_accepted=lambda: bool(uploads.below(checked) if is_directory else uploads.for_name(checked)),
            nearest=self._nearest,
            predicate=predicate,
            timeout=timeout,
            way=partial(self._ways.to, checked),
        )


def _name_of(name: StrPath) -> tuple[str, bool]:
    """Return a checked name, and whether it is that of a directory. Raises InvalidName."""
    checked = checked_name(name, directory=True)
    return checked, not checked or (isinstance(name, str) and name.endswith("/"))


def _note(claims: Claims, root: Joined, accessor: Accessor, upload: Upload) -> None:
    if upload.outcome != COMPLETED:
        claims.log.uploaded(_record(upload))
        return
    file = root.path_of(upload.name)
    claims.log.uploaded(_record(upload, file, None if file else partial(_content, accessor, upload.name)))


def _content(accessor: Accessor, name: str) -> bytes:
    with closing(accessor.read(name)) as file:
        return file.raw().readall()


def _record(upload: Upload, file: str = "", content: Callable[[], bytes] | None = None) -> UploadRecord:
    return UploadRecord(
        name=upload.name,
        client=upload.client,
        bytes=upload.bytes,
        sha256=upload.sha256,
        seconds=upload.seconds,
        content_type=escaped(upload.content_type),
        filename=escaped(upload.filename),
        user_agent=escaped(upload.user_agent),
        completed=upload.outcome == COMPLETED,
        outcome=upload.outcome or UNDER_WAY,
        status=upload.status,
        time=upload.time,
        file=file,
        content=content,
    )
