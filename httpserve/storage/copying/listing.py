"""What lies below a path on an opendal operator, with size, time and ETag.

Knows that iterating a list of a blocking operator holds the interpreter lock for the whole request: so lists are
asynchronous, on a loop that ends with the list. Knows nothing of what is done with them.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeVar

import opendal
from opendal.layers import TimeoutLayer

from httpserve.base.threads import Aside
from httpserve.errors import StorageError
from httpserve.storage.copying.messages import missing, redacted, unreadable
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS, source_error

T = TypeVar("T")

GRACE = 0.2  # seconds that an interrupted list waits for its thread


class Listed(NamedTuple):
    """One entry of a list.

    Attributes:
        path: Of a directory, it ends in `/`.
        size: In bytes.
        modified: In seconds since the epoch; 0.0 where the service does not say.
        etag: With its quotes, as far as the service says.
    """

    path: str
    size: int
    modified: float
    etag: str | None

    @property
    def is_dir(self) -> bool:
        return self.path.endswith("/")


def run(call: Callable[[], Awaitable[T]]) -> T:
    """Return what an asynchronous call gives, on a loop of its own. Blocks until then."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run_here(call)
    beside = Aside(partial(_run_here, call), "httpserve:list")  # the loop of this thread is a script's
    if not beside.start():
        raise StorageError("list: there is no thread left")
    beside.wait()
    return beside.result()


def _run_here(call: Callable[[], Awaitable[T]]) -> T:
    async def awaited() -> T:
        return await call()  # opendal wants a loop when it is called already

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:  # with a factory, the thread's own loop stays
        return runner.run(awaited())


async def collect(
    operator: opendal.AsyncOperator,
    path: str,
    *,
    recursive: bool,
    most: int | None = None,
    is_wanted: Callable[[], bool] = lambda: True,
) -> list[Listed]:
    """Return what is below a directory, its own marker included where the service has one.

    Args:
        operator: Says it.
        path: The directory, with a `/` at its end; empty for the root.
        recursive: Whether what is in directories below is in the list, too.
        most: How many entries besides the marker are enough.
        is_wanted: The list ends early when this says no.
    """
    found: list[Listed] = []
    async for entry in await operator.list(path, recursive=recursive):
        said = entry.metadata
        modified = 0.0 if said.last_modified is None else said.last_modified.timestamp()
        found.append(Listed(entry.path, said.content_length, modified, said.etag))
        if not is_wanted() or (most is not None and len(found) > most):
            break
    return found


def files_below(operator: opendal.Operator, directory: str, *, timeout: float) -> list[Listed]:
    """Return all files below *directory*, which ends in `/`, or is empty for the root.

    Blocks until they are known; a Ctrl-C ends that at once, and the list soon after.

    Raises:
        SourceNotFound: There is nothing of that name.
        CopyFailed: It is a file, or the service cannot list, refuses it, or sends nothing for *timeout* seconds.
    """
    label = redacted(f"{directory or '/'!r} on {operator!r}")
    if not operator.capability().list:
        raise unreadable(label, "its service cannot list what is in a directory; put its files one by one")
    timed = operator.layer(TimeoutLayer(timeout=timeout, io_timeout=timeout)).to_async_operator()
    is_given_up = False
    entries = partial(collect, timed, directory, recursive=True, is_wanted=lambda: not is_given_up)
    work = Aside(partial(run, entries), "httpserve:list")
    try:
        if not work.start():
            work.run_here()
        work.wait()
    except BaseException:  # from a signal
        is_given_up = True
        work.wait(GRACE)
        raise
    try:
        found = work.result()
    except OPENDAL_ERRORS as error:
        raise source_error(error, label, timeout) from None
    if directory and not found:
        raise missing(label, "no file lies below it")
    if any(one.path == directory.rstrip("/") for one in found):  # WebDAV lists a file as if it were in itself
        raise unreadable(label, "it is not a directory; put_file() puts one file", errno.ENOTDIR)
    return [one for one in found if not one.is_dir]
