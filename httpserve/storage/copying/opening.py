"""Which source a copy reads: what *src* and *operator* mean.

Knows the three kinds: a local file, a path on an opendal operator, an http(s) URL. Knows nothing of how one is read.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import opendal

from httpserve.base.arguments import checked_seconds
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.storage.copying.ends import TracedSource
from httpserve.storage.copying.local import FileSource
from httpserve.storage.copying.messages import redacted_url
from httpserve.storage.copying.operator import OperatorSource
from httpserve.storage.copying.unchanged import Origin

_HTTP_URL = re.compile(r"https?://", re.IGNORECASE)


class Item(NamedTuple):
    """One file to put.

    Attributes:
        name: Its path in the tree that it belongs to, or its name on the server.
        path: The path or the URL to open.
        size: In bytes, as far as that is known.
        origin: Which version it is, where that is known before it is opened.
        opened: Opens the path, told which version is meant, or known.
    """

    name: str
    path: str
    size: int | None
    origin: Origin | None
    opened: Callable[[str, Origin | None], TracedSource]

    def open(self, known: Origin | None) -> TracedSource:
        """Open it. Told which version is *known*, it may come without bytes."""
        return self.opened(self.path, self.origin or known)


def item_of(name: str, src: str | os.PathLike[str], operator: opendal.Operator | None, *, timeout: float) -> Item:
    """Return one file to put as *name*; nothing is asked before it is opened. Raises InvalidType, InvalidArgument."""
    path = checked_source(src, operator, timeout)
    return Item(name, path, None, None, partial(opened, operator, timeout))


def open_source(
    src: str | os.PathLike[str],
    operator: opendal.Operator | None = None,
    *,
    timeout: float,
    known: Origin | None = None,
) -> TracedSource:
    """Open an http(s) URL, a path on *operator*, or a local path, for the caller to close.

    If it is the *known* version, its `origin` says so, and it may have no bytes to read.

    Blocks until it answers, at most about *timeout* seconds, which is also how long it may later send no byte.

    Raises:
        InvalidType, InvalidArgument: No source can be made from that, such as an AsyncOperator.
        CopyFailed: It cannot be read; SourceNotFound and SourceStalled say how.
    """
    return opened(operator, timeout, checked_source(src, operator, timeout), known)


def opened(operator: opendal.Operator | None, timeout: float, path: str, known: Origin | None) -> TracedSource:
    """Do what `open_source` does, with checked arguments."""
    if _HTTP_URL.match(path):
        # Imported here, because requests takes 100 ms to import and most scripts never need it.
        from httpserve.storage.copying.url import HttpSource

        return HttpSource(path, timeout=timeout, known=known)
    if operator is not None:
        return OperatorSource(path, operator, timeout=timeout)
    return FileSource(path)


def is_remote(path: str) -> bool:
    """Tell whether a source is a URL."""
    return _HTTP_URL.match(path) is not None


def checked_source(src: object, operator: object, timeout: object) -> str:
    """Return *src* as a str. Raises InvalidType or InvalidArgument if no source can be made of the arguments."""
    path = checked_path(src, "src")
    check_operator(operator)
    checked_seconds("timeout", timeout)
    return path


def checked_path(path: object, argument: str) -> str:
    """Return *path* as a str. Raises InvalidType if it is not a path, InvalidArgument for a NUL in it."""
    if isinstance(path, os.PathLike):
        path = os.fspath(path)
    if not isinstance(path, str):
        raise InvalidType(f"{argument} must be a str or a path, not {type(path).__name__}")
    if "\0" in path:
        raise InvalidArgument(f"{argument} {redacted_url(path)!r} contains a NUL character; no path can")
    return path


def check_operator(operator: object) -> None:
    """Raise InvalidType unless *operator* is None or a blocking opendal operator."""
    if isinstance(operator, opendal.AsyncOperator):
        raise InvalidType("operator is an AsyncOperator, but this call blocks; pass operator.to_operator()")
    if operator is not None and not isinstance(operator, opendal.Operator):
        raise InvalidType(f"operator must be an opendal.Operator or None, not {type(operator).__name__}")
