"""Which source a copy reads: what *src* and *operator* mean.

Knows the three kinds: a local file, a path on an opendal operator, an http(s) URL. Knows nothing of how one is read.
"""

from __future__ import annotations

import os
import re

import opendal

from httpserve.base.arguments import checked_seconds
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.storage.copying.ends import TracedSource
from httpserve.storage.copying.local import FileSource
from httpserve.storage.copying.messages import redacted_url
from httpserve.storage.copying.operator import OperatorSource
from httpserve.storage.copying.unchanged import Origin

_HTTP_URL = re.compile(r"https?://", re.IGNORECASE)


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
    path = checked_path(src, "src")
    check_operator(operator)
    checked_seconds("timeout", timeout)
    if _HTTP_URL.match(path):
        # Imported here, because requests takes 100 ms to import and most scripts never need it.
        from httpserve.storage.copying.url import HttpSource

        return HttpSource(path, timeout=timeout, known=known)
    if operator is not None:
        return OperatorSource(path, operator, timeout=timeout)
    return FileSource(path)


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
