"""Lists and signed URLs: what only the asynchronous operator does well, on one loop in one thread of ours.

The iteration of a list by the plain operator holds the interpreter's lock while the store is asked, and only the
asynchronous one signs. Knows opendal and threads. Does not know what is listed for whom.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from httpserve.base.threads import JOIN_SECONDS, block_signals
from httpserve.errors import StorageError
from httpserve.storage.store.calls import Calls

if TYPE_CHECKING:
    import opendal
    from opendal.types import PresignedRequest

T = TypeVar("T")


class Listed(NamedTuple):
    """One entry of a list. The path of a directory ends in `/`; `modified` in seconds since the epoch."""

    path: str
    size: int
    modified: float
    etag: str | None

    @property
    def is_dir(self) -> bool:
        return self.path.endswith("/")


class Lists:
    """The lists of one store. Safe from any number of threads; each call blocks for the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self.renew_locks()
        self._operator: opendal.AsyncOperator | None = None

    def renew_locks(self) -> None:
        """Go on in a forked child, which does not have the thread."""
        self._lock = threading.Lock()  # guards _loop, _thread
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def below(self, name: str, *, recursive: bool = False, most: int | None = None) -> list[Listed]:
        """Return what is below a directory, without its own marker; an empty list if there is none.

        Args:
            name: The directory; empty for the root.
            recursive: Whether what is in directories below is in the list, too.
            most: How many entries are enough.
        """
        self._calls.needs("list", name, "list")
        path = f"{name}/" if name else ""
        with self._calls.asking("list", name):
            return self._run(self._below(path, recursive=recursive, most=most))

    async def _below(self, path: str, *, recursive: bool, most: int | None) -> list[Listed]:
        found: list[Listed] = []
        async for entry in await self._asynchronous().list(path, recursive=recursive):
            if entry.path.strip("/") == path.strip("/"):
                continue
            said = entry.metadata
            modified = 0.0 if said.last_modified is None else said.last_modified.timestamp()
            found.append(Listed(entry.path, said.content_length, modified, said.etag))
            if most is not None and len(found) >= most:
                break
        return found

    def signed(self, operation: str, name: str, seconds: int) -> PresignedRequest:
        """Return a request for an object that whoever has it may make for *seconds*. Asks the store nothing.

        *operation* is `stat`, `read` or `write`.
        """
        self._calls.needs(f"presign_{operation}", name, f"presign_{operation}")
        with self._calls.asking(f"presign_{operation}", name):
            sign: Callable[..., Coroutine[None, None, PresignedRequest]]
            sign = getattr(self._asynchronous(), f"presign_{operation}")
            return self._run(_awaited(sign, name, seconds))

    def _asynchronous(self) -> opendal.AsyncOperator:
        if self._operator is None:
            self._operator = self._calls.trying.to_async_operator()
        return self._operator

    def close(self) -> None:
        """End the thread once nothing is under way; the next call starts another. Blocks for a moment.

        Harmless when repeated.
        """
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is not None and thread is not None and not self._calls.is_inherited:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(JOIN_SECONDS)

    def _run(self, work: Coroutine[None, None, T]) -> T:
        with self._lock:
            loop = self._loop
            if loop is None:
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_turn, args=(loop,), name="httpserve:lists", daemon=True)
                try:
                    thread.start()
                except RuntimeError as error:
                    work.close()
                    loop.close()
                    raise StorageError(f"{self._calls.label} cannot be listed: there is no thread left") from error
                self._loop, self._thread = loop, thread
            future = asyncio.run_coroutine_threadsafe(work, loop)
        return future.result()


async def _awaited(sign: Callable[..., Coroutine[None, None, T]], name: str, seconds: int) -> T:
    return await sign(name, seconds)


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped and what is under way has ended: in bounded time, like all calls."""
    block_signals()
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(asyncio.gather(*asyncio.all_tasks(loop), return_exceptions=True))
    finally:
        loop.close()
