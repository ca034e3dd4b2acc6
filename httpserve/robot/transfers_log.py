"""What Robot's log says about transfers: a line for each that has ended, and one table for each test.

Knows records. Does not know who writes it where. Bounded: a thousand requests do not make a thousand lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from httpserve import RequestRecord, UploadRecord
from httpserve.base.tables import Column, as_html, html, html_table, joined
from httpserve.base.text import clock, counted, printable

MOST_LINES = 50  # in a test
MOST_ROWS = 50  # in a table
MOST_FAULTS = 5  # in a row
MOST_CHARACTERS = 200  # of a name: a board may ask for anything
_COLUMNS = (
    *(Column("server"), Column("name"), Column("client")),
    *(Column("bytes", True), Column("began"), Column("seconds", True), Column("state"), Column("requests", True)),
)
_SENDING = ("PUT", "POST")
_ENDED_BY_STATUS = ("completed", "refused", "under way")  # outcomes of which the status says more
_OF_FILES = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)


class Answer(NamedTuple):
    """An answer of one of the servers: when it ended, or now, in seconds since the epoch."""

    time: float
    alias: str
    request: RequestRecord


@dataclass
class _Row:
    """The transfers of one file to one client."""

    times: int = 0
    bytes: int = 0
    began: float = math.inf
    ended: float = 0.0
    state: str = ""
    faults: tuple[str, ...] = ()  # that any of them met

    def add(self, record: RequestRecord) -> None:
        self.times += 1
        self.bytes += record.bytes
        self.began = min(self.began, record.time)
        self.ended = max(self.ended, record.time + record.seconds)
        self.state = end_of(record)
        if record.fault and record.fault not in self.faults and len(self.faults) < MOST_FAULTS:
            self.faults = (*self.faults, record.fault)

    def cells(self) -> list[str]:
        times = [f"{self.bytes:,}", clock(self.began), f"{self.ended - self.began:.3f}"]
        return [*times, f"{self.state}{on_purpose(self.faults)}", f"{self.times:,}"]


class TransfersLog:
    """The lines and the table of a test."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Begin a test."""
        self._rows: dict[tuple[str, str, str], _Row] = {}  # by alias, name and client
        self._total = _Row()
        self._lines = self._lines_left_out = self._rows_left_out = self._records = 0

    def lines(self, ended: Sequence[Answer]) -> list[str]:
        """Return a line for each of these answers, as many as the test may still have; the table counts all."""
        self._add(ended)
        shown = ended[: max(0, MOST_LINES - self._lines)]
        self._lines += len(shown)
        self._lines_left_out += len(ended) - len(shown)
        return [f"*INFO:{answer.time * 1000:.0f}* {line(answer)}\n" for answer in shown]

    def table(self, others: Sequence[Answer]) -> str:
        """Return the table of the test in HTML, these answers included; empty when there was nothing."""
        self._add(others)
        first = 0 if len({alias for alias, _, _ in self._rows}) > 1 else 1  # one server needs no column
        rows = [[*key, *row.cells()][first:] for key, row in self._rows.items()]
        if len(rows) > 1:
            rows.append(["total", *[""] * (2 - first), *replace(self._total, state="", faults=()).cells()])
        notes = [
            (self._rows_left_out, "more requests for other names or by other clients"),
            (self._lines_left_out, "more transfers have no line of their own in this test"),
        ]
        more = joined(html("<p>and {} {}</p>", f"{count:,}", note) for count, note in notes if count)
        table = html_table(_COLUMNS[first:], rows, caption="HTTP transfers", border=True)
        return str(table + more) if rows else ""

    def records(self, found: Sequence[object]) -> str:
        """Return a table in HTML of the latest records, as many as the test may still have, or their number."""
        most = MOST_ROWS - self._records
        self._records += min(len(found), most)
        if found and most:
            return str(as_html(found, most, border=True))
        why = f", without a table: this test has shown its {MOST_ROWS} rows already" if found else ""
        return counted(len(found), "record") + why

    def _add(self, answers: Sequence[Answer]) -> None:
        for _, alias, record in answers:
            self._total.add(record)
            key = (printable(alias), _shown(name_of(record)) or ("/" if record.status else "any"), record.client)
            if key in self._rows or len(self._rows) < MOST_ROWS:
                self._rows.setdefault(key, _Row()).add(record)
            else:
                self._rows_left_out += 1


def with_uploads(record: RequestRecord, uploads: Sequence[UploadRecord]) -> list[RequestRecord]:
    """Return a request with what came by it in place of what the board was told, once for each file; else as it is."""
    if record.method not in _SENDING:
        return [record]
    asked, end = name_of(record), record.time + record.seconds
    found = [
        replace(record, name=one.name, bytes=one.bytes, seconds=one.seconds, outcome=one.outcome)
        for one in uploads
        if one.client == record.client
        and one.status in (0, record.status)  # 0: it had no answer
        and record.time <= one.time <= end
        and (one.name == asked or not asked or one.name.startswith(f"{asked}/"))
    ]
    return found or [record]


def line(answer: Answer) -> str:
    """Return what the log says about an answer that has ended."""
    record = answer.request
    asked = " ".join(_shown(part) for part in (record.method, record.target, record.range) if part)
    if record.method in _SENDING and record.name not in ("", _asked_name(record)):  # one of a form
        asked += f" {_shown(record.name)}"
    amount = f"{record.bytes:,} bytes in {record.seconds:.3f} s"
    alias, faults = printable(answer.alias), on_purpose([record.fault] if record.fault else [])
    return f"{clock(answer.time)} {alias}: {record.client} {asked or 'connected'}: {amount}, {end_of(record)}{faults}"


def name_of(record: RequestRecord) -> str:
    """Return the name that was asked for, whether or not there is such a file."""
    return record.name or _asked_name(record)


def _asked_name(record: RequestRecord) -> str:
    return plain(unquote(record.target.partition("?")[0]))


def plain(name: str) -> str:
    """Return a name without what makes no difference: `/a//./b` is `a/b`."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def on_purpose(faults: Sequence[str]) -> str:
    """Return what follows the end of a transfer that has met faults which a suite asked for."""
    return f", on purpose: {', '.join(map(_shown, faults))}" if faults else ""


def end_of(record: RequestRecord) -> str:
    """Return how a transfer ended; for an upload that came to its end, or an answer without a file, the status."""
    if not record.status:
        return "refused"
    if record.method in _SENDING and record.outcome not in _ENDED_BY_STATUS:
        return record.outcome
    if record.status in _OF_FILES and record.method != "HEAD":
        return record.outcome
    try:
        return f"{record.status} {HTTPStatus(record.status).phrase}"
    except ValueError:
        return str(record.status)


def _shown(text: str) -> str:
    return printable(text, MOST_CHARACTERS)
