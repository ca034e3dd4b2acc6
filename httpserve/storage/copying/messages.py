"""What people read about a source: its errors, with no secret in them.

Knows our errors and what a URL looks like. Knows nothing of how a source is read.
"""

from __future__ import annotations

import errno
import re

from httpserve.base.text import Message, printable
from httpserve.errors import CopyFailed, CopyIsADirectory, CopyNotPermitted, SourceNotFound, SourceStalled

MOST_SAID = 500  # characters of what a server, or opendal, says about a failure

# The authority runs to the first '/', '?' or '#'; userinfo is all of it up to the last '@' (RFC 3986, 3.2).
_URL_LIKE = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*://|[A-Za-z][A-Za-z0-9+.-]+:/)/*")
_USERINFO = re.compile(r"(?<=://)[^\s/?#]*@")
_QUERY = re.compile(r"(://[^\s?#]*)\?[^\s#]*")


def redacted(text: str) -> str:
    """Return *text* with the userinfo and the query of every URL in it replaced by an ellipsis.

    'https://user:word@host/a?sig=1' becomes 'https://…@host/a?…'.
    """
    if "://" not in text:
        return text
    return _QUERY.sub(r"\1?…", _USERINFO.sub("…@", text))


def redacted_url(url: str) -> str:
    """Return one URL, even one with blanks in it, with an ellipsis for its userinfo, query and fragment."""
    match = _URL_LIKE.match(url)
    if match is None:
        return url
    scheme, rest = match[0], url[match.end() :]
    place = re.split(r"[?#]", rest, maxsplit=1)
    authority, slash, path = place[0].partition("/")
    if "@" in authority:
        authority = "…@" + authority.rpartition("@")[2]
    shown = f"{scheme}{authority}{slash}{path}" + (f"{rest[len(place[0])]}…" if len(place) > 1 else "")
    return printable(shown)


def is_url(text: str) -> bool:
    """Tell whether *text* begins like a URL, or like one that a path object has changed: 's3:/bucket'."""
    return _URL_LIKE.match(text) is not None


def missing(label: str, why: str = "") -> SourceNotFound:
    """Return the error for a source that does not exist, for the reason *why* where one was given."""
    said = why if isinstance(why, Message) else printable(why, MOST_SAID)
    return SourceNotFound(Message("the source {} does not exist{}{}", label, why and ": ", said), label)


def unreadable(label: str, why: str, number: int | None = None) -> CopyFailed:
    """Return the error for a source that cannot be read, for the reason *why*; *number* is the system's for it."""
    way = "; its files can be copied one by one" if number == errno.EISDIR and "one by one" not in why else ""
    return _class_for(number)(f"cannot read {label}: {printable(why, MOST_SAID)}{way}", label)


def unwritable(label: str, why: str, name: str, number: int | None = None) -> CopyFailed:
    """Return the error for a target that cannot be written, for the reason *why*; *number* is the system's for it."""
    return _class_for(number)(f"cannot write {label}: {printable(why, MOST_SAID)}", name=name)


def _class_for(number: int | None) -> type[CopyFailed]:
    if number == errno.EISDIR:
        return CopyIsADirectory
    return CopyNotPermitted if number in (errno.EACCES, errno.EPERM, errno.EROFS) else CopyFailed


def stalled(label: str, timeout: float, part: str = "") -> SourceStalled:
    """Return the error for a source that sent nothing, or all but a *part* of its answer, for *timeout* seconds."""
    what = (
        f"was not done with {part} within {timeout:g} s of its first byte"
        if part
        else f"sent no byte for {timeout:g} s"
    )
    return SourceStalled(f"{label} {what}; pass a longer timeout if the source is that slow", label)


def changed(label: str) -> CopyFailed:
    """Return the error for a source that changed while it was read."""
    return CopyFailed(f"{label} changed while it was copied; copy it once it is complete", label)


def check_whole(label: str, count: int, size: int | None) -> None:
    """Raise CopyFailed unless the *count* of bytes that came is the *size* that the source claimed, if any."""
    if size is not None and count != size:
        which = "less" if count < size else "more"
        raise CopyFailed(f"{label} gave {count} bytes, {which} than the {size} that it said it has", label)
