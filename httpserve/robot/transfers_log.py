"""What Robot's log says of transfers: a line for each that has ended, and one table for a test.

Knows records and HTML. Does not know who writes it where. Bounded: a board that asks a thousand times makes no log of a
thousand lines.
"""

from __future__ import annotations

import html
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import unquote

from httpserve import RequestRecord
from httpserve.base.text import printable

MOST_LINES = 50  # in a test
MOST_ROWS = 50  # in a table
MOST_CHARACTERS = 200  # of a name: a board may ask for anything
UNDER_WAY = "under way"
_TABLE = '<table border="1" cellpadding="4" style="border-collapse: collapse; text-align: left">'
_PLAIN = (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT)


class Line(NamedTuple):
    """One transfer that has ended: when, in seconds since the epoch, and what to say of it."""

    time: float
    text: str


class _Key(NamedTuple):
    alias: str
    time: float
    client: str
    port: int
    target: str


class _RowKey(NamedTuple):
    alias: str
    name: str
    client: str


@dataclass
class _Row:
    """The transfers of one file to one client."""

    times: int
    bytes: int
    began: float
    ended: float
    state: str

    def add(self, record: RequestRecord) -> None:
        self.times += 1
        self.bytes += record.bytes
        self.began = min(self.began, record.time)
        self.ended = max(self.ended, _end(record))
        self.state = state_of(record)


Requests = list[tuple[str, tuple[RequestRecord, ...]]]  # a server's alias, and what it was asked


class TransfersLog:
    """What was said of the transfers of all servers, and what is left to say."""

    def __init__(self) -> None:
        self._told: set[_Key] = set()
        self._rows: dict[_RowKey, _Row] = {}
        self._lines = 0
        self._lines_left_out = 0
        self._rows_left_out = 0

    def begin(self, requests: Requests) -> None:
        """Begin a test: what has ended before is not its own."""
        self._news(requests)
        self._rows = {}
        self._lines = self._lines_left_out = self._rows_left_out = 0

    def lines(self, requests: Requests) -> list[Line]:
        """Return a line for each transfer that has ended since the last call, in the order of their ends."""
        found = [Line(_end(record), _said(alias, record)) for alias, record in self._take(requests)]
        shown = found[: max(0, MOST_LINES - self._lines)]
        self._lines += len(shown)
        self._lines_left_out += len(found) - len(shown)
        return shown

    def table(self, requests: Requests) -> str:
        """Return the table of the test in HTML, those under way included; empty when there was nothing."""
        self._take(requests)
        rows = dict(self._rows)
        left_out = self._rows_left_out
        for alias, record in self._under_way(requests):
            key = _row_key(alias, record)
            if key in rows or len(rows) < MOST_ROWS:
                rows[key] = _with(rows.get(key), record)
            else:
                left_out += 1
        return _table(rows, left_out, self._lines_left_out) if rows else ""

    def _take(self, requests: Requests) -> list[tuple[str, RequestRecord]]:
        news = self._news(requests)
        for alias, record in news:
            key = _row_key(alias, record)
            if key in self._rows:
                self._rows[key].add(record)
            elif len(self._rows) < MOST_ROWS:
                self._rows[key] = _with(None, record)
            else:
                self._rows_left_out += 1
        return news

    def _news(self, requests: Requests) -> list[tuple[str, RequestRecord]]:
        """Return the ended ones that were not returned before."""
        there: set[_Key] = set()
        news = []
        for alias, records in requests:
            for record in records:
                key = _key(alias, record)
                if key in self._told:  # even when it is under way again, as its acknowledgment is late
                    there.add(key)
                elif record.outcome != UNDER_WAY:
                    there.add(key)
                    news.append((alias, record))
        self._told = there  # what a server has forgotten need not be remembered here
        return sorted(news, key=lambda pair: _end(pair[1]))

    def _under_way(self, requests: Requests) -> list[tuple[str, RequestRecord]]:
        return [
            (alias, record)
            for alias, records in requests
            for record in records
            if record.outcome == UNDER_WAY and _key(alias, record) not in self._told
        ]


def name_of(record: RequestRecord) -> str:
    """Return the name that was asked for, whether or not there is such a file."""
    return record.name or plain(unquote(record.target.partition("?")[0]))


def plain(name: str) -> str:
    """Return a name without what makes no difference: `/a//./b` is `a/b`."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _shown(text: str) -> str:
    return printable(text, MOST_CHARACTERS)


def state_of(record: RequestRecord) -> str:
    """Return how a transfer ended; for an answer without a file's content also its status."""
    if record.status in _PLAIN and record.method != "HEAD":
        return record.outcome
    try:
        return f"{record.status} {HTTPStatus(record.status).phrase}"
    except ValueError:
        return str(record.status)


def _end(record: RequestRecord) -> float:
    return record.time + record.seconds


def _key(alias: str, record: RequestRecord) -> _Key:
    return _Key(alias, record.time, record.client, record.client_port, record.target)


def _row_key(alias: str, record: RequestRecord) -> _RowKey:
    return _RowKey(printable(alias), _shown(name_of(record)) or "/", record.client)


def _with(row: _Row | None, record: RequestRecord) -> _Row:
    new = _Row(0, 0, record.time, record.time, "")
    if row is not None:
        new = _Row(row.times, row.bytes, row.began, row.ended, row.state)
    new.add(record)
    return new


def _said(alias: str, record: RequestRecord) -> str:
    end = _end(record)
    clock = time.strftime("%H:%M:%S", time.localtime(end)) + f".{int(end % 1 * 1000):03}"
    asked = " ".join(_shown(part) for part in (record.method, record.target, record.range) if part)
    amount = f"{record.bytes:,} bytes in {record.seconds:.3f} s"
    return f"{clock} {printable(alias)}: {record.client} {asked}: {amount}, {state_of(record)}"


def _table(rows: dict[_RowKey, _Row], rows_left_out: int, lines_left_out: int) -> str:
    several = len({key.alias for key in rows}) > 1
    titles = [*(["server"] if several else []), "name", "client", "bytes", "seconds", "state", "requests"]
    lines = [_line("th", titles)]
    for key, row in rows.items():
        seconds = f"{row.ended - row.began:.3f}"
        cells = [key.name, key.client, f"{row.bytes:,}", seconds, row.state, str(row.times)]
        lines.append(_line("td", [key.alias, *cells] if several else cells))
    more = [
        *([f"and {rows_left_out:,} more requests for other names or by other clients"] if rows_left_out else []),
        *([f"{lines_left_out:,} more transfers have no line of their own in this test"] if lines_left_out else []),
    ]
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in more)
    return f"{_TABLE}<caption>HTTP transfers</caption>{''.join(lines)}</table>{notes}"


def _line(tag: str, cells: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
