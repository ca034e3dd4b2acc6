"""What lies below a path on an opendal operator, with size and ETag.

Knows opendal's lists: iterating a blocking one holds the interpreter lock for the whole request, so they run on a loop
in a thread of its own. Knows nothing of what is done with them.
"""

from __future__ import annotations

import asyncio
import errno
from typing import NamedTuple

import opendal
from opendal.layers import TimeoutLayer

from httpserve.base.threads import Aside
from httpserve.storage.copying.messages import missing, redacted, unreadable
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS, source_error

GRACE = 0.2  # seconds that an interrupted list waits for its thread


class Listed(NamedTuple):
    """A file in a list; `size` in bytes, and `etag` with its quotes, as far as the service says."""

    path: str
    size: int | None
    etag: str | None


class _Walk:
    """One list, in a thread. It ends soon after nobody wants it any more."""

    def __init__(self, operator: opendal.Operator, path: str, *, recursive: bool) -> None:
        self._operator = operator
        self._path = path
        self._recursive = recursive
        self._is_given_up = False
        self._file = path.rstrip("/")  # WebDAV lists a file as if it were a directory with itself in it
        self.is_there = False  # whether the service knows anything of that name
        self.is_file = False

    def files(self) -> list[Listed]:
        """Return the files. Blocks until the service has told all; a Ctrl-C ends it at once. Raises OPENDAL_ERRORS."""
        work = Aside(lambda: asyncio.run(self._collected()), "httpserve:list")
        try:
            if not work.start():
                work.run_here()
            work.wait()
        except BaseException:  # from a signal
            self._is_given_up = True
            work.wait(GRACE)
            raise
        return work.result()

    async def _collected(self) -> list[Listed]:
        found = []
        entries = await self._operator.to_async_operator().list(self._path, recursive=self._recursive)
        async for entry in entries:
            self.is_there = True
            if self._is_given_up:
                break
            if entry.path == self._file:
                self.is_file = True
            elif not entry.path.endswith("/"):
                known = entry.metadata
                found.append(Listed(entry.path, known.content_length, known.etag))
        return found


def files_below(operator: opendal.Operator, directory: str, *, timeout: float) -> list[Listed]:
    """Return all files below *directory*, which ends in `/`, or is empty for the root. Blocks until they are known.

    Raises:
        SourceNotFound: There is nothing of that name.
        CopyFailed: It is a file, or the service cannot list, refuses it, or sends nothing for *timeout* seconds.
    """
    label = redacted(f"{directory or '/'!r} on {operator!r}")
    if not operator.capability().list:
        raise unreadable(label, "its service cannot list what is in a directory; put its files one by one")
    walk = _Walk(operator.layer(TimeoutLayer(timeout=timeout, io_timeout=timeout)), directory, recursive=True)
    try:
        found = walk.files()
    except OPENDAL_ERRORS as error:
        raise source_error(error, label, timeout) from None
    if directory and not walk.is_there:
        raise missing(label, "no file lies below it")
    if walk.is_file:
        raise unreadable(label, "it is not a directory; put_file() puts one file", errno.ENOTDIR)
    return found
