"""Texts for people: what strangers chose made printable, sizes and times, and messages that name arguments.

Knows characters, and nothing of the rest of the package. Does not know where a text comes from, nor who shows it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

_BACKSLASHES = re.compile(r"\\+")
_REST_OF_AN_ESCAPE = re.compile(r"[nrt]|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}")
_LONGEST_REST = 9


def printable(text: str, most: int | None = None) -> str:
    """Return a text with what is unprintable escaped as Python writes it: `\\n`, `\\x1b`, `\\u202e`, `\\udcff`.

    The result has one line, nothing invisible, and nothing that a terminal obeys. Harmless when repeated, as it leaves
    backslashes alone. So a backslash may begin an escape or belong to the text; use `escaped` where that matters.

    Args:
        text: Anything, lone surrogates too.
        most: The most characters to return, from 20 on. A longer text has its length in place of its middle. None: all.
    """
    if not text.isprintable():
        text = "".join(char if char.isprintable() else _escape(char) for char in text)
    return text if most is None or len(text) <= most else _cut(text, most)


def escaped(text: str) -> str:
    """Return a text as `printable` does, but so that no two texts look the same. Must not be repeated.

    It doubles a backslash that would read as the beginning of an escape.
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


# Sizes and times

UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))


def size(count: float, least: str = "B") -> str:
    """Return a number of bytes in the unit that suits it; `least` is the name of the smallest unit."""
    for unit, bytes_of_unit in UNITS:
        if count >= bytes_of_unit:
            return f"{count / bytes_of_unit:.1f} {unit}"
    return f"{count:.0f} {least}"


_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *(?:([KMGT])(I?)(B?)|B)?", re.IGNORECASE)


def bytes_of(text: str) -> int:
    """Return a size in bytes: a number, or a number with a unit such as `10 MiB`, `10 MB` or `10M` (MiB).

    Raises ValueError, which says what to write.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[4]):
        raise ValueError(f"{text!r} is not a size: write a number of bytes, or one with a unit such as 10 MiB")
    number, prefix, is_binary, has_name = found.groups()
    power = " KMGT".index(prefix.upper()) if prefix else 0
    unit = (1024 if is_binary or not has_name else 1000) ** power
    return int(float(number) * unit) if "." in number else int(number) * unit


def amounts(received: int, total: int) -> str:
    """Return `received` of `total` bytes, in the unit that suits the total."""
    for unit, bytes_of_unit in UNITS:
        if total >= 10 * bytes_of_unit:
            return f"{received // bytes_of_unit} of {-(-total // bytes_of_unit)} {unit}"
    return f"{received} of {total} bytes"


def counted(count: int, name: str) -> str:
    """Return a number of things, such as `1 record` or `2 records`."""
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def moment(seconds: float) -> str:
    """Return the local date and time of a time since the epoch."""
    return _local(seconds, "%Y-%m-%d %H:%M:%S")


def clock(seconds: float) -> str:
    """Return the local time of day of a time since the epoch, with milliseconds."""
    return f"{_local(seconds, '%H:%M:%S')}.{int(seconds % 1 * 1000):03}"


def _local(seconds: float, form: str) -> str:
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # a year that the calendar does not have
        return str(seconds)


# Messages that name arguments


@dataclass(frozen=True, slots=True)
class Hint:
    """An argument of `HttpServerClient` or `start`, or the doctor, in a message. Each interface words it itself.

    Attributes:
        option: The argument's name: `host`, `port`, `peer`, `advertise`, `wait_for_address` or `dot_files`; or
            `doctor`, `faults`, or `uploads`.
        value: The value to pass; None: pass nothing; `...`: the message names the argument only.
    """

    option: str
    value: object = ...

    def __str__(self) -> str:
        if self.option == "doctor":
            return "http.doctor() (httpserve doctor in a shell)"
        if self.option == "faults":
            return "http.clear_faults()"
        if self.option == "uploads":
            return f"http.accept_uploads({self.value!r})"
        if self.option == "wait_for_address":
            return "start() without waiting" if self.value is None else f"start(wait_for_address={self.value})"
        return f"{self.option}=" if self.value is ... else f"{self.option}={self.value!r}"


class InPython(str):
    """A part of a message that helps in Python only; other interfaces leave it out."""

    __slots__ = ()


class Message(str):
    """A printable text with a value for each `{}`, which remembers its hints. As a `str` it is worded for Python."""

    parts: tuple[str | Hint, ...]

    def __new__(cls, template: str, *values: object) -> Message:
        parts: list[str | Hint] = []
        for text, value in zip(template.split("{}") if values else [template], (*values, ""), strict=True):
            parts.append(text)
            if isinstance(value, Message):
                parts += value.parts
            else:
                parts.append(value if isinstance(value, Hint | InPython) else str(value))
        whole = "".join(map(str, parts))
        if not whole.isprintable():  # which is rare, so one look tells of all parts
            parts = [part if isinstance(part, Hint | InPython) else printable(part) for part in parts]
            whole = printable(whole)
        message = super().__new__(cls, whole)
        message.parts = tuple(parts)
        return message


def in_python(text: str) -> Message:
    """Return a message about Python calls, for which every other interface has its own words."""
    return Message("{}", InPython(text))


def worded(message: str, word: Callable[[Hint], str]) -> str:
    """Return a message, if it is a `Message`, in the words of another interface: `word` writes a hint."""
    if not isinstance(message, Message):
        return message
    parts = (part for part in message.parts if not isinstance(part, InPython))
    return "".join(word(part) if isinstance(part, Hint) else part for part in parts)


def url_path(name: str) -> str:
    """Return a checked name as a path for URLs: everything but `/` and RFC 3986's unreserved characters is encoded.

    Some of these are legal in a path, but shells, globbing clients (curl) and form decoders read them differently.
    """
    return quote(name, safe="/", errors="surrogateescape")
