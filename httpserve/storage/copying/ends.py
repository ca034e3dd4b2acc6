"""The two ends of a copy: what a source and a sink must do.

Knows what they promise each other. Knows no particular one.
"""

from __future__ import annotations

import secrets
from typing import Protocol

from httpserve.storage.copying.unchanged import Origin


class SourceChanged(Exception):
    """The source became another representation, and reads from its first byte again. Never leaves this folder."""


class Source(Protocol):
    """Bytes to copy, read once from the first to the last."""

    @property
    def label(self) -> str:
        """The name for it in messages; userinfo and query of a URL are replaced by an ellipsis."""

    @property
    def size(self) -> int | None:
        """The number of bytes that it claims to have; None if it does not say."""

    @property
    def interruptible(self) -> bool:
        """Whether Ctrl-C ends a waiting read."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill *buffer*, perhaps partly, with what comes next. Blocks until something comes; 0 is the end."""

    def finish(self) -> None:
        """Raise CopyFailed unless what was read is whole and of one version. May ask the source once more."""

    def close(self) -> None:
        """Let go of it. Does not block; calling twice is harmless."""


class TracedSource(Source, Protocol):
    """A source that may tell which version of it is read."""

    @property
    def origin(self) -> Origin | None:
        """Which version it was opened as, to compare; after `finish`, which one was read, to note.

        None: nothing tells.
        """


class Sink(Protocol):
    """Where a copy goes: nothing of it is seen before `commit`, nothing stays after `discard`."""

    def write(self, data: memoryview) -> None:
        """Append the whole of *data*. Fails once the sink was discarded."""

    def restart(self) -> None:
        """Forget what was written."""

    def commit(self, sha256: str | None) -> object:
        """Put what was written in place, in one step."""

    def discard(self) -> None:
        """Remove what was written. Harmless twice, after commit, and while another thread writes."""


class ReadableSink(Sink, Protocol):
    """A sink that can be read back while it is written."""

    @property
    def start(self) -> int:
        """Where the copy begins in it."""

    def reader(self) -> int:
        """Return a descriptor for reading it back, which the caller closes. Fails once the sink was discarded."""

    def refused(self, error: OSError) -> Exception:
        """Return the error for a sink whose bytes the disk does not take."""


def temporary_beside(path: str) -> str:
    """Return a name for a temporary file in the directory of *path*."""
    directory, slash, _ = path.rpartition("/")
    return f"{directory}{slash}.httpserve-{secrets.token_hex(8)}.part"
