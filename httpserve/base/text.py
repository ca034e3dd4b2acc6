"""Texts that strangers chose, made fit to be read: on one line, nothing invisible, nothing that a terminal obeys.

Sizes and times as people read them, too. Knows characters. Does not know where a text comes from, nor where it goes;
HTML is escaped for HTML afterwards.
"""

from __future__ import annotations

import re
import time
from urllib.parse import quote

_BACKSLASHES = re.compile(r"\\+")
_REST_OF_AN_ESCAPE = re.compile(r"[nrt]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}")
_LONGEST_REST = 9


def printable(text: str, most: int | None = None) -> str:
    """Return a text with all that does not print escaped as Python writes it: `\\n`, `\\x1b`, `\\u202e`, `\\udcff`.

    Harmless when repeated, since a backslash stays one: any way out may call it again. So it may stand for itself or
    begin an escape; `escaped` is where that matters.

    Args:
        text: Anything, lone surrogates too.
        most: The most characters that are returned, from 20 on. A longer text is cut in the middle, where its length
            stands instead. None: all of it.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text)
    return text if most is None or len(text) <= most else _cut(text, most)


def escaped(text: str) -> str:
    """Return a text as `printable` does, and so that no other text is returned as the same.

    A backslash that would read as the beginning of an escape is doubled; so this is for what comes from outside, once.
    """
    return printable(_BACKSLASHES.sub(_told_from_escapes, text) if "\\" in text else text)


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def _told_from_escapes(backslashes: re.Match[str]) -> str:
    rest = backslashes.string[backslashes.end() : backslashes.end() + _LONGEST_REST]
    is_ambiguous = _REST_OF_AN_ESCAPE.match(rest) or not rest[:1].isprintable()
    return backslashes[0] * 2 if is_ambiguous else backslashes[0]


def _cut(text: str, most: int) -> str:
    """Leave out the middle: a path tells most by its beginning and its end."""
    instead = f"…[{len(text)}]…"
    room = most - len(instead)
    return text[: room - room // 2] + instead + text[len(text) - room // 2 :]


def size(count: float) -> str:
    """Return a number of bytes as people read it."""
    if count < 1024:
        return f"{count:.0f} B"
    if count < 1024**2:
        return f"{count / 1024:.1f} KiB"
    if count < 1024**3:
        return f"{count / 1024**2:.1f} MiB"
    return f"{count / 1024**3:.1f} GiB"


def moment(seconds: float) -> str:
    """Return a time since the epoch as a clock on this host shows it."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return str(seconds)


def url_path(name: str) -> str:
    """Return a checked name as a path for URLs: all but `/` and RFC 3986's unreserved characters is encoded.

    `+`, `&`, `'`, `*`, `[` and their like are legal in a path, but shells, globbing clients (curl) and form
    decoders read them differently; encoded they mean the same to everyone.
    """
    return quote(name, safe="/", errors="surrogateescape")
