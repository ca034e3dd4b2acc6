"""Checks of arguments that several rooms take. Knows numbers and paths, and nothing of what they are for."""

from __future__ import annotations

import os
import sys
import threading
import time

from httpserve.base.paths import scheme_of, shown_url
from httpserve.errors import InvalidArgument, InvalidType, NotFound

StrPath = str | os.PathLike[str]

MOST_BITS = 256  # of the largest number that a message shows
AHEAD_SECONDS = 86400.0  # of `since`: a clock may be set back after it was read; milliseconds are thousands of years
_SINCE = "in seconds since the epoch, as time.time() gives"


def checked_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a duration to wait for as float seconds, else raise InvalidArgument; `zero`: 0 is allowed."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_long_enough = value > 0 or (zero and value == 0)
        if is_long_enough and value <= threading.TIMEOUT_MAX:  # an int may be too large for a float
            return float(value)
    least = "0 or more" if zero else "a positive number of"
    raise InvalidArgument(f"{name} must be {least} seconds, not {quoted_value(value)}")


def checked_count(name: str, value: object) -> int:
    """Return a number of things, from 1 to what fits in memory, else raise InvalidArgument."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= sys.maxsize:
        return value
    limit = f", at most {sys.maxsize}" if isinstance(value, int) and value > sys.maxsize else ""
    raise InvalidArgument(f"{name} must be a whole number from 1 on{limit}, not {quoted_value(value)}")


def checked_since(since: object) -> float | None:
    """Return a time in the past, in seconds since the epoch, or None. Raises InvalidArgument for anything else."""
    if since is None:
        return None
    if isinstance(since, bool) or not isinstance(since, int | float) or not since >= 0:
        raise InvalidArgument(f"since must be a time {_SINCE}, not {quoted_value(since)}")
    if since > time.time() + AHEAD_SECONDS:  # before float(), for which an int may be too large
        raise InvalidArgument(f"since must be a time that has come, {_SINCE}, not {quoted_value(since)}: milliseconds?")
    return float(since)


def checked_local_path(name: str, value: object, way: str) -> str:
    """Return a local path as a str; *way* says what to do with a URL. Raises InvalidType, InvalidArgument."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str):
        raise InvalidType(f"{name} must be a str or a path, not {value!r}")
    if not text or "\0" in text:
        raise InvalidArgument(f"{name} {text!r} is not a path")
    if scheme_of(text):
        raise InvalidArgument(f"{name} {shown_url(text)!r} is a URL; {way}")
    return text


def checked_directory(name: str, value: object) -> str:
    """Return the absolute path of a directory that need not be there.

    Raises InvalidType, InvalidArgument for what is no path; NotFound where the current directory is gone.
    """
    text = checked_local_path(name, value, f"a store is root=, a directory {name}=")
    if text == "~" or text.startswith("~/"):
        raise InvalidArgument(f"{name} {text!r}: a ~ is not replaced; pass os.path.expanduser({name})")
    try:
        return os.path.abspath(text)
    except FileNotFoundError:
        reason = "the current directory is gone; change to one that is there, or give an absolute path"
        raise NotFound(f"{text!r} leads nowhere: {reason}", text) from None


def quoted_value(value: object) -> str:
    """Return a value as a message shows it, in one line that is not too long."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:  # Python makes no text of very many digits
        return f"a number of {value.bit_length()} bits"
    return repr(value)
