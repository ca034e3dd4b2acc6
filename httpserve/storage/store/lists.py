"""Lists and signed URLs: what only the asynchronous operator does well.

Knows opendal. Does not know what is listed for whom.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING

from httpserve.storage.copying.listing import Listed, collect, run
from httpserve.storage.store.calls import Calls

if TYPE_CHECKING:
    import opendal
    from opendal.types import PresignedRequest


class Lists:
    """The lists of one store. Safe from any number of threads; each call blocks for the store."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @cached_property
    def _operator(self) -> opendal.AsyncOperator:
        return self._calls.trying.to_async_operator()

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
            found = run(partial(collect, self._operator, path, recursive=recursive, most=most))
        return [one for one in found if one.path.strip("/") != name][:most]

    def signed(self, operation: str, name: str, seconds: int) -> PresignedRequest:
        """Return a request for an object that whoever has it may make for *seconds*. Asks the store nothing.

        *operation* is `stat`, `read` or `write`.
        """
        self._calls.needs(f"presign_{operation}", name, f"presign_{operation}")
        with self._calls.asking(f"presign_{operation}", name):
            sign: Callable[..., Awaitable[PresignedRequest]] = getattr(self._operator, f"presign_{operation}")
            return run(partial(sign, name, seconds))
