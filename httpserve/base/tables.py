"""What records, listings and the client look like on a page and in a terminal: tables, escaped.

Knows how to write down what it is given, by the names of its attributes. Reads nothing else, asks nobody and waits
for nothing. Does not know notebooks, nor where the records come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any, NamedTuple, SupportsIndex, TypeVar, overload

from httpserve.base.text import moment, printable, size

T_co = TypeVar("T_co", covariant=True)

MOST_ROWS = 50  # of a table: the newest; a notebook is saved with all that it shows
MOST_LINES = 20  # in a terminal
MOST_NAMES = 200  # of a listing
MOST_BOUND = 40  # the most characters of one value in a terminal
MOST_IN_CELL = 200  # and on a page

_COPY = 'style="user-select:all"'  # one click marks all of it
LEFT = ' style="text-align:left"'
# Next to each other, and in one line: a widget's tables have no style of the notebook's.
_TEXT = ' style="text-align:left;padding:.3em .6em"'
_NUMBER = ' style="text-align:right;padding:.3em .6em;white-space:nowrap"'


class Records(tuple[T_co, ...]):
    """A tuple of records that shows itself as a table."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> T_co: ...

    @overload
    def __getitem__(self, index: slice) -> Records[T_co]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> T_co | Records[T_co]:
        """Return one record, or as many as a slice says, which show themselves likewise."""
        if isinstance(index, slice):
            return Records(super().__getitem__(index))
        return super().__getitem__(index)

    def __repr__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # IPython's printer, which has no type to import
        printer.text(repr(self))


class Listing(list[str]):
    """A list of names that shows itself as one below the other."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        shown = "".join(f"<tr><td{LEFT}>{code(name)}</td></tr>" for name in self[:MOST_NAMES])
        return f"<table><tr><th{LEFT}>{_counted(self, 'name')}</th></tr>{shown}</table>{_more(self, MOST_NAMES)}"


class _Column(NamedTuple):
    """What to show of a record: which attribute, under which heading, and whether it is a number."""

    name: str
    heading: str
    is_number: bool = False


# In this order; a record has some of them.
_COLUMNS = (
    _Column("time", "time"),
    _Column("client", "client"),
    _Column("method", "method"),
    _Column("target", "target"),
    _Column("name", "file"),
    _Column("status", "status", True),
    _Column("bytes", "received", True),
    _Column("acknowledged", "received", True),
    _Column("total", "of", True),
    _Column("rate", "rate", True),
    _Column("seconds", "seconds", True),
    _Column("state", "state"),
    _Column("outcome", "state"),
    _Column("nearest", "nearest names"),
    _Column("user_agent", "user agent"),
)
_SIZES = ("bytes", "acknowledged", "total")


def as_html(records: Sequence[object], most: int = MOST_ROWS) -> str:
    """Return a table of the latest records. Everything in it is escaped.

    Args:
        records: Any with the attributes of those in `httpserve.records.model`, all of one class.
        most: How many rows there are at most; default 50.
    """
    latest = records[-most:] if most else []
    if not latest:
        return "<em>nothing yet</em>" if not records else ""
    columns = _columns(latest[-1])
    heads = "".join(f"<th{_NUMBER if column.is_number else _TEXT}>{column.heading}</th>" for column in columns)
    rows = "".join(f"<tr>{''.join(_cells(record, columns))}</tr>" for record in latest)
    return f"<table><tr>{heads}</tr>{rows}</table>{_more(records, most)}"


def as_text(records: Sequence[object], most: int = MOST_LINES) -> str:
    """Return the latest records as lines, for a terminal; the first line says how many there are."""
    if not records:
        return "(nothing yet)"
    columns = _columns(records[-1])
    rows = [[column.heading for column in columns]]
    rows += [[_shown(record, column, MOST_BOUND) for column in columns] for record in records[-most:]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_padded(row, widths, columns)).rstrip() for row in rows]
    before = len(records) - most
    return "\n".join([_counted(records, "record"), *lines, *([f"({before} before these)"] if before > 0 else [])])


def report_html(findings: Iterable[tuple[str, str, str, str]]) -> str:
    """Return a table of findings, in their order. Everything in it is escaped.

    Args:
        findings: Of each its status, what was looked at, what was found, and what to do, empty for nothing.
    """
    heads = "".join(f"<th{_TEXT}>{heading}</th>" for heading in ("status", "check", "found"))
    rows = []
    for status, check, message, step in findings:
        found = escaped_html(message) + (f"<div><strong>→ {escaped_html(step)}</strong></div>" if step else "")
        cells = escaped_html(status), escaped_html(check), found
        rows.append(f"<tr>{''.join(f'<td{_TEXT}>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><tr>{heads}</tr>{''.join(rows)}</table>"


def _columns(record: object) -> list[_Column]:
    if hasattr(record, "acknowledged"):  # a transfer is a file's
        hidden = {"method", "target", "user_agent"}
    else:
        hidden = {"name", "user_agent"} if hasattr(record, "target") else set()
    return [column for column in _COLUMNS if hasattr(record, column.name) and column.name not in hidden]


def _cells(record: object, columns: Iterable[_Column]) -> Iterator[str]:
    for column in columns:
        value = escape(_shown(record, column, MOST_IN_CELL))
        if column.name == "time":
            day, _, clock = value.partition(" ")
            value = f'<span title="{day}">{clock or day}</span>'
        yield f"<td{_NUMBER if column.is_number else _TEXT}>{value}</td>"


def _shown(record: object, column: _Column, most: int) -> str:
    value = getattr(record, column.name)
    if column.name == "time":
        return moment(value)
    if column.name == "seconds":
        return f"{value:.3f}"
    if column.name == "rate":
        return f"{size(value)}/s"
    if column.name in _SIZES:
        return size(value)
    if isinstance(value, tuple):
        value = ", ".join(map(str, value))
    return printable(str(value), most)


def _padded(row: Sequence[str], widths: Sequence[int], columns: Sequence[_Column]) -> Iterator[str]:
    for text, width, column in zip(row, widths, columns, strict=True):
        yield text.rjust(width) if column.is_number else text.ljust(width)


def escaped_html(text: str) -> str:
    return escape(printable(text))


def code(text: str) -> str:
    return f"<code {_COPY}>{escaped_html(text)}</code>"


def _counted(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}" if len(things) == 1 else f"{len(things)} {name}s"


def _more(things: Sequence[object], most: int) -> str:
    left = len(things) - most
    return f"<div>and {left} more</div>" if left > 0 else ""
