"""The one border where opendal's errors become ours.

Knows the exceptions and the texts of opendal 0.47: its classes share no base, and File.read and File.write
raise a plain OSError whose text begins with the kind. Knows nothing of what was being done.
"""

from __future__ import annotations

import errno
import re

from opendal import exceptions as theirs

from httpserve.errors import CopyFailed
from httpserve.storage.copying.messages import missing, redacted, stalled, unreadable

# What a call on an Operator or a File can raise. RuntimeError is "Already borrowed": a File in two threads.
OPENDAL_ERRORS: tuple[type[Exception], ...] = (
    *(one for one in vars(theirs).values() if isinstance(one, type) and issubclass(one, Exception)),
    *(OSError, RuntimeError),
)

_KINDS = frozenset(error.__name__ for error in OPENDAL_ERRORS if error.__module__ == theirs.__name__)
_FIRST_WORD = re.compile(r"[A-Za-z]+")
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
# The kinds that the fs service reports as Unexpected; Rust prints the errno of the platform we run on.
_KIND_OF_ERRNO = {
    errno.ENOENT: "NotFound",
    errno.EISDIR: "IsADirectory",
    errno.ENOTDIR: "NotADirectory",
    errno.EEXIST: "AlreadyExists",
    errno.EACCES: "PermissionDenied",
    errno.EPERM: "PermissionDenied",
}
_ERRNO_OF_KIND = {"IsADirectory": errno.EISDIR, "PermissionDenied": errno.EACCES}
_WORDS_OF_KIND = {
    "NotFound": "not found",
    "AlreadyExists": "exists already",
    "IsADirectory": "is a directory",
    "NotADirectory": "is not a directory",
    "PermissionDenied": "permission denied",
    "Unsupported": "the service cannot do that",
    "IsSameFile": "source and target are the same",
    "RateLimited": "the service asks to slow down",
}


def kind_of(error: BaseException) -> str:
    """Return the opendal kind of *error*, such as 'NotFound'; 'Unexpected' if it has none."""
    name = type(error).__name__
    if name not in _KINDS:
        match = _FIRST_WORD.match(str(error))
        name = match[0] if match and match[0] in _KINDS else "Unexpected"
    if name == "Unexpected" and (found := _OS_ERROR.search(str(error))):
        return _KIND_OF_ERRNO.get(int(found[1]), name)
    return name


def number_of(error: BaseException) -> int | None:
    """Return the system's number for the kind of *error*, None where it has none."""
    return _ERRNO_OF_KIND.get(kind_of(error))


def is_stall(error: BaseException) -> bool:
    """Tell whether *error* is a TimeoutLayer's: no byte in the time allowed."""
    return "timeout reached" in str(error)


def reason_of(error: BaseException) -> str:
    """Return one line, without backtrace and secrets, that says why opendal failed."""
    kind = kind_of(error)
    if kind in _WORDS_OF_KIND:
        return _WORDS_OF_KIND[kind]
    text = str(error)
    head, _, rest = text.partition("\n")
    message = head.rpartition("=> ")[2].strip()
    # An exception of an Operator is a report of many lines, whose paragraph "Source:" names the cause.
    _, found, source = rest.partition("Source:\n")
    if found:
        message += ": " + source.strip().partition("\n")[0].strip()
    return redacted(message) or kind


def source_error(error: Exception, label: str, timeout: float) -> CopyFailed:
    """Return our error for one of OPENDAL_ERRORS, raised while a source was opened or read within *timeout*.

    Raise it `from None`: theirs shows a backtrace and URLs.
    """
    if isinstance(error, CopyFailed):
        return error
    if is_stall(error):
        return stalled(label, timeout)
    if kind_of(error) == "NotFound":
        return missing(label)
    return unreadable(label, reason_of(error), number_of(error))
