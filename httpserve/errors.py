"""Every exception that a user of httpserve can catch.

Each class is also the builtin error that it is like, so a plain `except FileNotFoundError` works. The message says what
was tried, with which value, and what to do; the attributes have the same as data. Knows texts, and nothing else of the
package.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import ClassVar

from httpserve.base.outcome import TreeReport
from httpserve.base.text import Hint, Message, printable

MOST_SHOWN = 300  # characters of a name in a message: what a client asks for may be of any length
MOST_RANGES = 5  # in a table
_OTHER_NOTEBOOK = (
    "If another notebook has it: shut down the kernel of that notebook. A kernel runs on when its tab is closed."
)


class HttpServeError(Exception):
    """The root of all errors of httpserve. Its text is one line, in which unprintable characters are escaped."""

    def __str__(self) -> str:
        return printable(super().__str__())  # it may quote a board, a source or the name of a file

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows: the one sentence, and the user's lines that led here."""
        from httpserve.base.ipython import shown  # only where something is wrong

        return shown(self, str(self))

    @property
    def hints(self) -> tuple[Hint, ...]:
        """The arguments that the text names, with the values that would help."""
        message = self.args[0] if self.args else ""
        return tuple(part for part in message.parts if isinstance(part, Hint)) if isinstance(message, Message) else ()


class SystemFailure(HttpServeError, OSError):
    """An error with an `errno`, for code that knows only the errors of the system."""

    number: ClassVar[int | None] = None

    def __init_subclass__(cls, number: int | None = None) -> None:
        super().__init_subclass__()
        cls.number = number or cls.number

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = self.number


class InvalidArgument(HttpServeError, ValueError):
    """An invalid argument."""

    def __init__(self, message: str = "", *values: object) -> None:
        super().__init__(Message(message, *values) if values else message)


class InvalidType(HttpServeError, TypeError):
    """An argument of an invalid type."""


class MissingExtra(HttpServeError, ImportError):
    """A feature that needs an optional package which is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'httpserve[{extra}]'")
        self.feature = feature
        self.extra = extra


# The life of the server


class ServerNotRunning(HttpServeError, RuntimeError):
    """The call needs a server that listens, and this one does not."""


class AddressError(SystemFailure):
    """The server cannot listen on an address. `host` and `port` say which."""

    def __init__(self, message: str, host: str | None = None, port: int | None = None) -> None:
        super().__init__(message)
        self.host = host
        self.port = port


class PortInUse(AddressError, number=errno.EADDRINUSE):
    """Another socket listens on that port."""

    def _render_traceback_(self) -> list[str]:
        return [*super()._render_traceback_(), "", _OTHER_NOTEBOOK]


class PortNotPermitted(AddressError, PermissionError, number=errno.EACCES):
    """A port that this user may not listen on (those below 1024, as a rule)."""


class AddressNotFound(AddressError, number=errno.EADDRNOTAVAIL):
    """No interface has that address, or no route leads to that peer."""


class RootUnusable(SystemFailure):
    """The directory to serve cannot be created or written, or is not a directory. `root` is its path."""

    def __init__(self, message: str, root: str) -> None:
        super().__init__(message)
        self.root = root


# Names and storage


class InvalidName(HttpServeError, ValueError):
    """A name that leads out of the root, or that a client would change. `name` is the argument."""

    def __init__(self, name: str, reason: str) -> None:
        shown = name if len(name) <= MOST_SHOWN else f"{name[:MOST_SHOWN]}..."
        super().__init__(f"{shown!r} cannot be a name on the server: {reason}")
        self.name = name
        self.reason = reason


class StorageError(SystemFailure):
    """A call on the storage failed. `name` is its path."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class NotFound(StorageError, FileNotFoundError, number=errno.ENOENT):
    """Nothing has that name."""


class AlreadyExists(StorageError, FileExistsError, number=errno.EEXIST):
    """Something has that name already."""


class IsADirectory(StorageError, IsADirectoryError, number=errno.EISDIR):
    """The call is for files, but the name is that of a directory."""


class NotADirectory(StorageError, NotADirectoryError, number=errno.ENOTDIR):
    """The call is for directories, but the name (or a part of it) is that of a file."""


class NotPermitted(StorageError, PermissionError, number=errno.EACCES):
    """The system does not let this user do that."""


class Unsupported(StorageError, NotImplementedError, number=errno.ENOTSUP):
    """The storage cannot do that at all."""


class StoreUnavailable(StorageError, number=errno.EAGAIN):
    """The store does not answer, does not let this user in, or broke off. Nothing is known of what it holds."""


# Copies into the root and out of it


class CopyFailed(SystemFailure):
    """A file could not be copied; an older one is untouched. `source` and `name` say from where to where."""

    def __init__(self, message: str, source: str = "", name: str = "") -> None:
        super().__init__(message)
        self.source = source
        self.name = name


class SourceNotFound(CopyFailed, FileNotFoundError, number=errno.ENOENT):
    """The source does not exist."""


class CopyIsADirectory(CopyFailed, IsADirectoryError, number=errno.EISDIR):
    """The source or the target of a copy is a directory."""


class CopyNotPermitted(CopyFailed, PermissionError, number=errno.EACCES):
    """The system, or the service, does not let this user read the source or write the target."""


class SourceStalled(CopyFailed, TimeoutError, number=errno.ETIMEDOUT):
    """The source sent no byte in the time allowed."""


class DigestMismatch(CopyFailed, ValueError):
    """The bytes do not have the digest that the caller gave. `expected` and `actual` are hexadecimal."""

    def __init__(self, message: str, source: str, name: str, expected: str, actual: str) -> None:
        super().__init__(message, source, name)
        self.expected = expected
        self.actual = actual


class TreeFailed(CopyFailed):
    """Some of many files could not be put. All others were tried; what was there before of those that failed stays.

    Attributes:
        report: What became of each file.
        errors: The error of each file that failed, by its name on the server.
    """

    def __init__(self, message: str, report: TreeReport, errors: Mapping[str, HttpServeError]) -> None:
        super().__init__(message)
        self.report = report
        self.errors = errors


# Waiting


class WaitTimeout(SystemFailure, TimeoutError):
    """What was waited for did not happen in time. In a notebook the error shows itself as a table.

    Attributes:
        name: The name of the file or the request.
        timeout: How many seconds the wait was given.
        happened: What did happen: `nobody connected`, `nothing asked`, `asked by others`, `asked for other names`,
            `HEAD only`, `not modified`, `range beyond the end`, `rejected`, `returned before`, `older version`,
            `asked too early`, `refused`, `redirected`, `under way`, `stopped` (it was started, and stopped at byte
            `received` of `total`), or `ranges missing`. docs/waiting.md explains each.
        received: How many different bytes the client with the most has.
        total: The size of the file.
        missing: The (start, stop) pairs that this client lacks, stop exclusive.
        url: The URL that boards were to use; None if only a name server knows it, or nothing listens any more.
        peer: The `peer` of the server.
        obstacles: What keeps boards away, as far as that is known at no cost: the server listens on loopback, or `peer`
            is on no network of this host.
        next_step: What to do; empty where that depends on the board.
        faults: What you asked for to go wrong, such as `Cut(0.5)`, as far as it met answers that the wait was about.
    """

    number = errno.ETIMEDOUT

    def __init__(
        self,
        message: str,
        name: str,
        timeout: float,
        *,
        happened: str,
        received: int = 0,
        total: int = 0,
        missing: tuple[tuple[int, int], ...] = (),
        url: str | None = None,
        peer: str | None = None,
        obstacles: tuple[str, ...] = (),
        next_step: str = "",
        faults: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.name = name
        self.timeout = timeout
        self.happened = happened
        self.received = received
        self.total = total
        self.missing = missing
        self.url = url
        self.peer = peer
        self.obstacles = obstacles
        self.next_step = next_step
        self.faults = faults

    def _repr_html_(self) -> str:
        from httpserve.base.tables import code, facts_html, html

        facts = ((what, code(value) if what == "URL" else value) for what, value in self._facts())
        return html("<div>{}: {}</div>{}", type(self).__name__, self, facts_html(facts))

    def _render_traceback_(self) -> list[str]:
        """Return what IPython shows, with the table as lines of text.

        IPython asks for them more than once, so this cannot display the HTML table.
        """
        from httpserve.base.tables import facts_text

        return [*super()._render_traceback_(), "", *facts_text(self._facts())]

    def _facts(self) -> list[tuple[str, str]]:
        """Return what is known, as rows of a table."""
        from httpserve.base.text import amounts

        missing = [f"{start} to {stop - 1}" for start, stop in self.missing]
        more = f", and {len(missing) - MOST_RANGES} more" if len(missing) > MOST_RANGES else ""
        facts = [
            ("waited for", self.name or "a request"),
            ("timeout", f"{self.timeout:g} s"),
            ("what happened", self.happened),
            ("received", amounts(self.received, self.total) if self.total else ""),
            ("wrong on purpose", ", ".join(self.faults)),
            ("missing bytes", ", ".join(missing[:MOST_RANGES]) + more),
            ("URL", self.url or ""),
            ("peer", self.peer or ""),
            *(("obstacle", one) for one in self.obstacles),
            ("next step", self.next_step),
        ]
        return [(what, value) for what, value in facts if value]
