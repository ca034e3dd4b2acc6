"""Copies a source into a sink whole or not at all, and a source out to a path.

Knows what a copy promises: digest, progress, no litter. Knows nothing of chunks, nor of names on the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import opendal

from httpserve.base.arguments import checked_seconds
from httpserve.base.progress import Report, reporter
from httpserve.errors import DigestMismatch, InvalidArgument
from httpserve.storage.copying.ends import ReadableSink, Source
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.messages import is_url, redacted_url
from httpserve.storage.copying.opening import check_operator, checked_path, local_path
from httpserve.storage.copying.operator import OperatorSink
from httpserve.storage.copying.pipeline import interruptibly, pump, pump_unhashed

__all__ = ["copy_in", "copy_out"]

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")


def copy_in(
    source: Source,
    sink: ReadableSink,
    *,
    sha256: str | None = None,
    progress: Callable[[int, int | None], object] | bool | None = None,
) -> str:
    """Copy all of *source* into *sink*, and commit it. Blocks until done; a Ctrl-C ends it at once.

    Whatever goes wrong, the sink is discarded. The source stays open, and is the caller's to close.

    Args:
        source: Where the bytes come from.
        sink: Where they go.
        sha256: The digest that they must have, as 64 hexadecimal digits of either case.
        progress: Called in the calling thread with the bytes so far and the total (None where the source does
            not say) at each chunk and at the end; what it raises ends the copy. True shows a bar.

    Returns:
        The SHA-256 of the bytes, in lower-case hexadecimal.

    Raises:
        InvalidArgument: *sha256* is no digest.
        InvalidType: *progress* is no function.
        MissingExtra: *progress* is True, and tqdm is not installed.
        DigestMismatch: The bytes are not those that *sha256* promised.
        CopyFailed: The source failed; SourceStalled and SourceNotFound say how. What the sink raises, too.
    """
    try:
        expected = _checked_digest(sha256)
        with reporter(progress) as report:
            digest = _pumped(source, sink, report)
        if expected is not None and digest != expected:
            raise _mismatch(source.label, expected, digest)
        sink.commit(digest)
    except BaseException:
        sink.discard()
        raise
    return digest


def copy_out(
    read: Source, dst: str | os.PathLike[str], operator: opendal.Operator | None = None, *, timeout: float
) -> None:
    """Copy all of *read* to *dst*. Blocks until done; a Ctrl-C ends it at once.

    What was there before stays whole until the new is complete, on an operator as far as its service can do
    that. Directories that are missing are made. The source stays open, and is the caller's to close.

    Args:
        read: Where the bytes come from.
        dst: A path on *operator*; else a local path. Never a URL: nothing is uploaded to one.
        operator: The opendal operator of any service, with any layers.
        timeout: Seconds that a remote service may take no byte.

    Raises:
        InvalidType: *dst* or *operator* is of a type that nothing can be written to.
        InvalidArgument: *dst* is a URL, or *dst* or *timeout* is of another value that cannot be.
        CopyFailed: *read* cannot be read, or *dst* cannot be written.
    """
    path = checked_path(dst, "dst")
    check_operator(operator)
    checked_seconds("timeout", timeout)
    _check_no_url(path, operator)
    if operator is None:
        sink: FileSink | OperatorSink = FileSink(local_path(path, "dst"))
    else:
        sink = OperatorSink(path, operator, timeout=timeout)

    def job(report: Report) -> None:
        try:
            pump_unhashed(read, sink, report)
            sink.commit(None)
        except BaseException:
            sink.discard()
            raise

    if read.interruptible and isinstance(sink, FileSink):
        job(_unreported)
    else:
        # A discard on an operator may wait as any other call there, so it is left to the job.
        interruptibly(job, _unreported, sink.discard if isinstance(sink, FileSink) else lambda: None)


def _check_no_url(path: str, operator: opendal.Operator | None) -> None:
    # A local file may be called so; who means that can say ./ before it. A key on an operator may, too.
    if is_url(path) and (operator is None or path.lower().startswith(("http://", "https://"))):
        raise InvalidArgument(
            f"dst {redacted_url(path)!r} is a URL, and nothing is uploaded to one; pass an opendal operator for its "
            "service, and the path on it"
        )


def _pumped(source: Source, sink: ReadableSink, report: Report) -> str:
    if source.interruptible:
        return pump(source, sink, report)
    return interruptibly(lambda relay: pump(source, sink, relay), report, sink.discard)


def _unreported(copied: int, total: int | None) -> None:
    """Nobody asked how far a copy out is."""


def _checked_digest(sha256: str | None) -> str | None:
    if sha256 is None:
        return None
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise InvalidArgument(f"sha256 must be 64 hexadecimal digits, not {sha256!r}")
    return sha256.lower()


def _mismatch(label: str, expected: str, actual: str) -> DigestMismatch:
    message = f"{label} has the SHA-256 {actual}, not {expected} as promised; nothing was published"
    return DigestMismatch(message, label, "", expected, actual)
