"""Each call to the store, bounded in time, and with our errors; lists and signed requests as a whole.

Knows opendal, threads and forks. Does not know what versions, caches or servers are.

The timeout lies inside of the repetition: one for all tries together would leave none for the second. A read is never
repeated by opendal itself: what it repeats after a break is not held to one version unless each request is.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial, wraps
from typing import TYPE_CHECKING, NamedTuple, NoReturn, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit

import opendal
from opendal.layers import RetryLayer, TimeoutLayer

from httpserve.base.threads import Aside
from httpserve.errors import (
    AlreadyExists,
    InvalidArgument,
    IsADirectory,
    NotADirectory,
    NotFound,
    StorageError,
    StoreUnavailable,
    Unsupported,
)
from httpserve.storage.copying.listing import Listed, collect, run
from httpserve.storage.copying.messages import redacted
from httpserve.storage.copying.opendal_errors import OPENDAL_ERRORS, is_stall, kind_of, reason_of
from httpserve.storage.served import VersionGone

if TYPE_CHECKING:
    from opendal.capability import Capability
    from opendal.types import PresignedRequest

P = ParamSpec("P")
T = TypeVar("T")

PROBE_SECONDS = 5.0  # for what takes microseconds
RETRY_SECONDS = 0.1  # before a second try
_FORKED = (
    "opendal does not work in a process that was forked after its first operator; start it by multiprocessing's "
    "'spawn' or 'forkserver', and make the operator and the client there"
)
_SECRET = re.compile(r"secret|password|token|credential|sas|key$")
_GONE = ("ConditionNotMatch", "NotFound", "RangeNotSatisfied")
_OURS: dict[str, tuple[type[StorageError], str]] = {  # by opendal's kind; `{}` is the store
    "NotFound": (NotFound, "no such object on {}"),
    "ConditionNotMatch": (VersionGone, "{} has another version by now"),
    "Unsupported": (Unsupported, "{} cannot do that"),
    "IsADirectory": (IsADirectory, "it is a directory"),
    "NotADirectory": (NotADirectory, "it is not a directory"),
    "AlreadyExists": (AlreadyExists, "it exists already"),
}
_WAYS = {"PermissionDenied": "check the key of the operator, and what it may do", "RateLimited": "ask less often"}


class Patience(NamedTuple):
    """How long the store may take.

    Attributes:
        look: Seconds for one look at an object. EDK2 gives up after 5 without an answer.
        looks: How often a look is tried.
        read: Seconds without a byte, after which a read is begun anew where it stopped.
        reads: For how many times `read` this is tried. lwIP of U-Boot gives up after 15 seconds.
        write: Seconds in which the store has to take a part of an object, or to copy one.
    """

    look: float = 2.0
    looks: int = 2
    read: float = 5.0
    reads: int = 3
    write: float = 30.0


class Calls:
    """The operators for one store. Safe from any number of threads.

    Attributes:
        operator: The one that was given.
        label: What the store is called in messages.
        identity: What tells it from all other stores: two labels may be the same.
        capability: What its service can do.
        looking: The operator for looks at objects, and for removals that nobody waits for.
        reading: The one for bytes, which tries nothing again.
        trying: The one for lists, which tries again.
        writing: The one for all that changes something.
    """

    def __init__(self, operator: opendal.Operator, patience: Patience) -> None:
        self.operator = operator
        self.label = redacted(repr(operator))
        self.identity = f"{self.label} {_told_apart(operator)}"
        self.patience = patience
        self.capability: Capability = operator.capability()
        self.looking = _bounded(operator, patience.look, patience.looks)
        self.reading = operator.layer(TimeoutLayer(timeout=patience.read, io_timeout=patience.read))
        self.trying = _bounded(operator, patience.read, patience.reads)
        self.writing = _bounded(operator, patience.write, patience.reads)
        self._pid = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked child of the process that made it: then each call would hang for ever."""
        return os.getpid() != self._pid

    def needs(self, operation: str, name: str, *capabilities: str) -> None:
        """Raise Unsupported unless the service has all of these capabilities, in opendal's words."""
        missing = [one for one in capabilities if not getattr(self.capability, one)]
        if missing:
            raise Unsupported(f"{operation} {name or '/'!r}: {self.label} has no {' or '.join(missing)}", name)

    @contextmanager
    def asking(self, operation: str, name: str) -> Iterator[None]:
        """Let only our own errors out of a call. Raises VersionGone for another version than the one that is meant."""
        if self.is_inherited:
            raise StorageError(f"{operation} {name or '/'!r}: {_FORKED}", name)
        try:
            yield
        except StorageError:
            raise
        except OPENDAL_ERRORS as error:
            self._raise(error, operation, name)

    # What only the asynchronous operator does well

    def below(self, name: str, *, recursive: bool = False, most: int | None = None) -> list[Listed]:
        """Return what is below a directory, without its own marker; an empty list if there is none.

        Args:
            name: The directory; empty for the root.
            recursive: Whether what is in directories below is in the list, too.
            most: How many entries are enough.
        """
        self.needs("list", name, "list")
        path = f"{name}/" if name else ""
        with self.asking("list", name):
            found = run(partial(collect, self._asynchronous, path, recursive=recursive, most=most))
        return [one for one in found if one.path.strip("/") != name][:most]

    def signed(self, operation: str, name: str, seconds: int) -> PresignedRequest:
        """Return a request for an object that whoever has it may make for *seconds*. Asks the store nothing.

        *operation* is `stat`, `read` or `write`.
        """
        self.needs(f"presign_{operation}", name, f"presign_{operation}")
        with self.asking(f"presign_{operation}", name):
            sign: Callable[..., Awaitable[PresignedRequest]] = getattr(self._asynchronous, f"presign_{operation}")
            return run(partial(sign, name, seconds))

    @cached_property
    def _asynchronous(self) -> opendal.AsyncOperator:
        return self.trying.to_async_operator()

    def _raise(self, error: Exception, operation: str, name: str) -> NoReturn:
        """Raise our error `from None`: theirs shows a backtrace, and URLs."""
        kind, what = kind_of(error), f"{operation} {name or '/'!r}"
        if kind in _OURS and "NoSuchBucket" not in str(error):
            ours, words = _OURS[kind]
            raise ours(f"{what}: {words.format(self.label)}", name) from None
        reason = "it did not answer in time" if is_stall(error) else reason_of(error)
        way = _WAYS.get(kind, "see whether it runs, and whether this host reaches it")
        raise StoreUnavailable(f"{what}: {self.label}: {reason}; {way}", name) from None


def is_gone(error: Exception) -> bool:
    """Tell whether an error of opendal says that an object is not what it was when its ETag was noted."""
    return kind_of(error) in _GONE


def is_final(error: Exception) -> bool:
    """Tell whether it makes no sense to try again what has raised this."""
    return kind_of(error) in ("PermissionDenied", "Unsupported", "ConfigInvalid") or isinstance(error, RuntimeError)


def check_operator(operator: opendal.Operator) -> None:
    """Raise InvalidArgument for the service whose files are better served from their path, and without reads."""
    if repr(operator).startswith('Operator("fs"'):
        raise InvalidArgument(
            f"root is {redacted(repr(operator))}: files of this computer are served without opendal; "
            "pass the path as root_dir"
        )
    capability = operator.capability()
    if not _works():
        raise StorageError(f"root is {redacted(repr(operator))}: {_FORKED}")
    missing = [one for one in ("stat", "read") if not getattr(capability, one)]
    if missing:
        raise Unsupported(f"root is {redacted(repr(operator))}, which has no {' and no '.join(missing)}")


def _works() -> bool:
    """Tell whether opendal does anything here: in a forked child its threads are missing, and all calls hang."""
    probe = Aside(partial(opendal.Operator("memory").exists, "a"), "httpserve:probe")
    return not probe.start() or probe.wait(PROBE_SECONDS)


def interruptibly(job: Callable[[], T]) -> T:
    """Return or raise what *job* does. In the main thread a signal ends the wait for it, which it does not in opendal.

    The job is then left to itself, until the store answers, or does not in time.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return job()
    work = Aside(job, "httpserve:store")
    if not work.start():
        return job()
    work.wait()
    return work.result()


def interruptible(method: Callable[P, T]) -> Callable[P, T]:
    """Have a method do what it does by `interruptibly`."""

    @wraps(method)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return interruptibly(partial(method, *args, **kwargs))

    return run


def _told_apart(operator: opendal.Operator) -> str:
    """Return a text that differs for stores with other options, such as another endpoint. No secret is in it."""
    service, options = operator.__reduce__()[1]  # what it is pickled as: nothing else tells them
    parts = urlsplit(service)
    options = dict(parse_qsl(parts.query)) | options
    told = sorted((name, value) for name, value in options.items() if not _SECRET.search(name))
    where = (parts.scheme, parts.username, parts.netloc.rpartition("@")[2], parts.path)
    return hashlib.sha256(repr((where, told)).encode("utf-8", "surrogateescape")).hexdigest()[:12]


def _bounded(operator: opendal.Operator, seconds: float, tries: int) -> opendal.Operator:
    once = operator.layer(TimeoutLayer(timeout=seconds, io_timeout=seconds))
    return once.layer(RetryLayer(max_times=tries - 1, min_delay=RETRY_SECONDS, max_delay=1.0))
