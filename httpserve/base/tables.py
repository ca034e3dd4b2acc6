"""Tables of records, listings and findings: as HTML for pages, and as lines for terminals.

Knows how to show what it is given, by the names of its attributes. Does not know where records come from, nor who shows
the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, SupportsIndex, TypeVar, overload

from markupsafe import Markup

from httpserve.base.text import counted, moment, printable, size

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST_ROWS = 50  # of a table: the newest; a notebook is saved with everything that it shows
MOST_LINES = 20  # in a terminal
MOST_NAMES = 200  # of a listing
MOST_BOUND = 40  # the most characters of one value in a terminal
MOST_IN_CELL = 200  # and on a page

# Each cell has its style, because a widget's tables do not get the notebook's, and Robot's log has none at all.
_TEXT = Markup(' style="text-align:left;padding:.3em .6em"')
_NUMBER = Markup(' style="text-align:right;padding:.3em .6em;white-space:nowrap"')


def html(template: str, *values: object) -> Markup:
    """Return a template in which each `{}` is replaced by a value, printable and escaped; markup stays as it is."""
    shown = (value if isinstance(value, Markup) else printable(str(value)) for value in values)
    return Markup(template).format(*shown)


def joined(pieces: Iterable[Markup]) -> Markup:
    """Return pieces of HTML, one after the other."""
    return Markup("").join(pieces)


def code(text: str) -> Markup:
    """Return a text to copy: one click selects all of it."""
    return html('<code style="user-select:all">{}</code>', text)


class Column(NamedTuple):
    """The heading of a column, and whether its values are numbers."""

    heading: str
    is_number: bool = False


def html_table(
    columns: Sequence[Column], rows: Iterable[Sequence[object]], *, caption: str = "", border: bool = False
) -> Markup:
    """Return a table as escaped HTML; with lines between cells for pages that have no style for tables."""
    styles = [_NUMBER if column.is_number else _TEXT for column in columns]
    lines = [[html("<th{}>{}</th>", style, column.heading) for style, column in zip(styles, columns, strict=True)]]
    lines += [[html("<td{}>{}</td>", style, cell) for style, cell in zip(styles, row, strict=True)] for row in rows]
    return html(
        "<table{}>{}{}</table>",
        Markup(' border="1" style="border-collapse:collapse"') if border else "",
        html("<caption>{}</caption>", caption) if caption else "",
        joined(html("<tr>{}</tr>", joined(line)) for line in lines),
    )


def text_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a table as lines of text, the headings first."""
    cells = [[column.heading for column in columns], *rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = [
        (str.rjust if column.is_number else str.ljust, width) for column, width in zip(columns, widths, strict=True)
    ]
    return [
        "  ".join(align(text, width) for text, (align, width) in zip(row, aligned, strict=True)).rstrip()
        for row in cells
    ]


def facts_html(facts: Iterable[tuple[str, object]]) -> Markup:
    """Return what is known about one thing as a table of two columns, escaped: a label, and its value."""
    row = html("<tr><th{0}>{{}}</th><td{0}>{{}}</td></tr>", _TEXT)
    return html("<table>{}</table>", joined(html(row, *fact) for fact in facts))


def facts_text(facts: Iterable[tuple[str, str]]) -> list[str]:
    """Return the same as lines of text."""
    (what, value), *rows = ((what, printable(value)) for what, value in facts)
    return text_table([Column(what), Column(value)], rows)


# Records


class Record:
    """A record that a notebook shows as a table of one row, and `print` as one line."""

    __slots__ = ()

    def __str__(self) -> str:
        shown = _shown_of([self]).items()
        return ", ".join(f"{column.heading} {_value(self, name, MOST_IN_CELL)}" for name, column in shown)

    def _repr_html_(self) -> str:
        return as_html([self])


class _Shown:
    """A sequence of records that shows itself as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        return as_text(self)  # type: ignore[arg-type]  # what a base says of itself would replace the list's

    def _repr_html_(self) -> str:
        return as_html(self)  # type: ignore[arg-type]  # likewise

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # IPython's printer, which has no type to import
        printer.text(repr(self))


class RecordList(_Shown, list[T]):
    """A list of records that shows itself as a table."""

    __slots__ = ()


class Records(_Shown, tuple[T_co, ...]):
    """A tuple of records that shows itself as a table."""

    __slots__ = ()

    @overload
    def __getitem__(self, index: SupportsIndex) -> T_co: ...
    @overload
    def __getitem__(self, index: slice) -> Records[T_co]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T_co | Records[T_co]:
        """Return one record, or for a slice a tuple that shows itself as a table too."""
        if isinstance(index, slice):
            return Records(super().__getitem__(index))
        return super().__getitem__(index)


# For a finding's status and an answer's outcome: each can be read on white and on black.
_OK, _WARN, _FAIL = "#30a46c", "#c77c02", "#e5484d"
_COLOURS = {"ok": _OK, "warn": _WARN, "fail": _FAIL, "completed": _OK, "lost": _FAIL, "failed": _FAIL}
_COLOURS |= dict.fromkeys(("closed", "reset", "cut"), _WARN)

# The columns of attributes that records may have, in this order; a record has some of them.
_COLUMNS = {
    "number": Column("number", True),
    "time": Column("time"),
    "kind": Column("event"),
    "client": Column("client"),
    "method": Column("method"),
    "target": Column("target"),
    "name": Column("file"),
    "status": Column("status", True),
    "bytes": Column("received", True),
    "acknowledged": Column("received", True),
    "total": Column("of", True),
    "rate": Column("rate", True),
    "seconds": Column("seconds", True),
    "state": Column("state"),
    "outcome": Column("state"),
    "fault": Column("fault"),
    "nearest": Column("nearest names"),
    "mode": Column("kind"),
    "content_length": Column("size", True),
    "last_modified": Column("changed"),
    "etag": Column("ETag"),
}
_OF_EVENTS = {"number", "time", "kind", "client", "name", "status", "acknowledged", "total", "state", "fault"}
_RARE = {"fault"}  # what has a column only where there is one
_PARTS = ("transfer", "request", "download", "missing")  # of events
FIRST_ERROR = 400  # among status codes


def as_html(records: Sequence[object], most: int = MOST_ROWS, *, border: bool = False) -> Markup:
    """Return a table of the latest records or events, all of it escaped; `border` is that of `html_table`."""
    latest = records[-most:] if most else []
    if not latest:
        return Markup("" if records else "<em>nothing yet</em>")
    shown = _shown_of(latest)
    rows = ([_cell(record, name) for name in shown] for record in latest)
    return html_table(list(shown.values()), rows, border=border) + _more(records, most)


def as_text(records: Sequence[object], most: int = MOST_LINES) -> str:
    """Return the latest records as lines, for a terminal; the first line says how many there are."""
    if not records:
        return "(nothing yet)"
    latest = records[-most:]
    shown = _shown_of(latest)
    rows = ([_value(record, name, MOST_BOUND) for name in shown] for record in latest)
    before = len(records) - most
    left_out = [f"({before} before these)"] if before > 0 else []
    lines = text_table(list(shown.values()), rows)
    what = "event" if hasattr(latest[0], "kind") else "record"
    return "\n".join([counted(len(records), what), *lines, *left_out])


def _shown_of(records: Sequence[object]) -> dict[str, Column]:
    hidden = {"name"} if hasattr(records[-1], "target") else set()
    if hasattr(records[-1], "acknowledged"):  # a transfer is always of a file
        hidden = {"method", "target"}
    if hasattr(records[-1], "kind"):  # an event may be about anything
        hidden = _COLUMNS.keys() - _OF_EVENTS
    values = {name: [_of(one, name) for one in records] for name in _COLUMNS if name not in hidden}
    return {
        name: _COLUMNS[name]
        for name, found in values.items()
        if (any(found) if name in _RARE else any(value is not None for value in found))
    }


def _of(record: object, name: str) -> Any:  # of any attribute
    """Return an attribute of a record, or of the record in an event; None if neither has it."""
    parts = [record, *(getattr(record, part, None) for part in _PARTS)]
    values = (getattr(part, name, None) for part in parts)
    return next((value for value in values if value is not None), None)


def _cell(record: object, name: str) -> str:
    value = _value(record, name, MOST_IN_CELL)
    if name in ("state", "outcome") and (_of(record, "status") or 0) < FIRST_ERROR:
        return coloured(value)
    if name != "time":
        return value
    day, _, of_day = value.partition(" ")
    return html('<span title="{}">{}</span>', day, of_day or day)


def _value(record: object, name: str, most: int) -> str:
    value = _of(record, name)
    if value is None:
        return ""
    match name:
        case "time":
            return moment(value)
        case "seconds":
            return f"{value:.3f}"
        case "rate":
            return f"{size(value)}/s"
        case "status" | "method" | "target" if not value:  # a connection that was refused on purpose
            return "none"
        case "bytes" | "acknowledged" | "total" | "content_length":
            return size(value)
        case "mode":  # of opendal's
            return "directory" if value.is_dir() else "file" if value.is_file() else "other"
        case "last_modified":
            return moment(value.timestamp())
    return printable(", ".join(map(str, value)) if isinstance(value, tuple) else str(value), most)


# Names and findings


class Listing(list[str]):
    """A list of names that shows itself as a column, and gives them to `next` as Jumpstarter's generators do."""

    __slots__ = ("_rest",)
    _rest: Iterator[str]

    def __next__(self) -> str:
        if not hasattr(self, "_rest"):
            self._rest = iter(self)
        return next(self._rest)

    def _repr_html_(self) -> str:
        rows: Iterator[Sequence[object]] = ([code(name)] for name in self[:MOST_NAMES])
        return html_table([Column(counted(len(self), "name"))], rows) + _more(self, MOST_NAMES)


def report_html(findings: Iterable[tuple[str, str, str, str]]) -> Markup:
    """Return a table of findings, escaped: for each its status, what was looked at, what was found, and what to do."""
    columns = [Column("status"), Column("check"), Column("found")]
    return html_table(columns, ([coloured(status), check, _found(*found)] for status, check, *found in findings))


def coloured(status: str) -> Markup:
    """Return the status of a finding, or how an answer ended, in its colour."""
    if status not in _COLOURS:
        return html("{}", status)
    return html('<strong style="color:{}">{}</strong>', _COLOURS[status], status)


def _found(message: str, step: str) -> Markup:
    return html("{}{}", message, html("<div><strong>→ {}</strong></div>", step) if step else "")


def _more(things: Sequence[object], most: int) -> Markup:
    left = len(things) - most
    return html("<div>and {} more</div>", left) if left > 0 else Markup("")
