"""What happens on a server, as numbered events: the data that a user gets, and the bounded log of them.

Knows exchanges and records. Does not know who reads, nor how long a reader waits. The log keeps only a number and what
an event is about, and makes the event when it is read, because the serving threads write for each answer.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from itertools import takewhile
from typing import Any, NamedTuple

from httpserve.base.arguments import quoted_value
from httpserve.errors import InvalidArgument
from httpserve.records.coverage import Coverage
from httpserve.records.downloads import as_coverage, record
from httpserve.records.exchange import Exchange, Link, recorded, seen
from httpserve.records.model import (
    UNDER_WAY,
    DownloadRecord,
    Missing,
    RequestRecord,
    Transfer,
    UploadRecord,
    name_asked,
)

STARTED, STOPPED = "started", "stopped"
CONNECTED = "connected"
BEGUN, PROGRESS, ENDED = "begun", "progress", "ended"
DOWNLOADED, UPLOADED, MISSING, VERSION = "downloaded", "uploaded", "missing", "version"
FORGOTTEN = "forgotten"
KINDS = (STARTED, STOPPED, CONNECTED, BEGUN, PROGRESS, ENDED, DOWNLOADED, UPLOADED, MISSING, VERSION, FORGOTTEN)

PROGRESS_SECONDS = 0.5  # the least time between two events of the progress of one transfer
EVENTS_PER_RECORD = 3  # remembered at least: a request with its connection makes that many

Nearest = Callable[[Sequence[str]], Mapping[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on a server.

    Attributes:
        number: Its place in the order in which the server noticed: a later event has a larger number. Numbers are left
            out where a newer event of the progress of a transfer has replaced an older one.
        time: When it happened, in seconds since the epoch.
        kind: What happened, one of `started`, `stopped`, `connected`, `begun`, `progress`, `ended`, `downloaded`,
            `uploaded`, `missing`, `version` and `forgotten`.
    """

    number: int
    time: float
    kind: str

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as what JSON knows: str, int, float, bool, None, and lists and dicts of these.

        The content of a request is read as UTF-8; what is none is escaped as Python writes it.
        """
        found: dict[str, Any] = _plain(self)
        return found


@dataclass(frozen=True, slots=True)
class ServerEvent(Event):
    """The server has `started` to answer requests, or has `stopped`: nothing comes after it until the next start.

    Attributes:
        host: The address that it listens on.
        port: The port that it listens on.
    """

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class ConnectionEvent(Event):
    """Somebody has `connected`, and has not asked for anything yet.

    Attributes:
        client: The client's address.
        client_port: The client's port.
        local: Our address that it connected to.
    """

    client: str
    client_port: int
    local: str


@dataclass(frozen=True, slots=True)
class RequestEvent(Event):
    """The answer to a request has `begun` to leave, or has `ended`.

    Attributes:
        exchange: The number of the event with which this answer has begun.
        request: The request, and what was answered; where it has begun, nothing has arrived yet.
        transfer: The same as a transfer, where the answer carries content of a file; else None.
    """

    exchange: int
    request: RequestRecord
    transfer: Transfer | None


@dataclass(frozen=True, slots=True)
class ProgressEvent(Event):
    """A transfer makes `progress`, or no longer makes any (its `rate` is 0). At most two per second for each transfer.

    Attributes:
        exchange: The number of the event with which this answer has begun.
        transfer: How far it is.
    """

    exchange: int
    transfer: Transfer


@dataclass(frozen=True, slots=True)
class DownloadEvent(Event):
    """A client has `downloaded` a file: it has every byte, by one transfer or by several.

    Attributes:
        download: What it has received. If it came by very many ranges and the client has repeated it since,
            `ranges` are merged.
    """

    download: DownloadRecord


@dataclass(frozen=True, slots=True)
class UploadEvent(Event):
    """A client has `uploaded` a file, or has begun to and not come to the end: `upload.completed` tells.

    Attributes:
        upload: What has come.
    """

    upload: UploadRecord


@dataclass(frozen=True, slots=True)
class MissingEvent(Event):
    """What was asked for is `missing`.

    Attributes:
        exchange: The number of the event with which the answer has begun.
        missing: What was asked for, by whom, and the nearest names that exist when the event is read.
    """

    exchange: int
    missing: Missing


@dataclass(frozen=True, slots=True)
class VersionEvent(Event):
    """A new `version` of a file is put in place, through this client.

    Attributes:
        name: The file's name on the server.
    """

    name: str


@dataclass(frozen=True, slots=True)
class ForgottenEvent(Event):
    """Events before the next one are `forgotten`: more have come since than are remembered.

    Attributes:
        count: How many there were, those of replaced progress included.
    """

    count: int


class Entry(NamedTuple):
    """An event as the log keeps it."""

    number: int
    kind: str
    about: Any  # by kind: an Exchange; one with how a whole file came, and if the address is shared; attributes


# An event as it is written down, in the form that costs the serving threads least: an answer that has begun; one that
# has ended, with the number of that event, and how a whole file came to its client; the number and the attributes of a
# connection; or any other event.
_Ended = tuple[int, Exchange, Exchange | Coverage | None]
_Connected = tuple[int, tuple[float, str, int, str]]
_Written = Exchange | _Ended | _Connected | Entry


class _Progress(NamedTuple):
    """When a transfer under way was last looked at, how far it was, and the event of that, if it had moved at all."""

    at: float
    figures: tuple[int, float]
    entry: Entry | None


class EventLog:
    """The latest events of one server, up to a limit. The exchange log's lock guards it."""

    def __init__(self, most: int) -> None:
        self.number = 0  # of the latest event
        self.is_open = False  # whether more can come: the server runs
        # When it is full, the first entry only marks the end of what is forgotten.
        self._written: deque[_Written] = deque(maxlen=most + 1)
        self._progress: dict[Exchange, _Progress] = {}  # of transfers under way
        self._where = ("", 0)  # where the server listens

    def add(self, kind: str, about: object) -> int:
        """Write down that something has happened, and return its number."""
        self.number = number = self.number + 1
        self._written.append(Entry(number, kind, about))
        return number

    def add_connected(self, link: Link, wall: float) -> None:
        """Write down that somebody has connected, at a time in seconds since the epoch."""
        self.number = number = self.number + 1
        self._written.append((number, (wall, link.client, link.client_port, link.local)))

    def add_begin(self, exchange: Exchange) -> None:
        """Write down that an answer has begun, and give it the number of this event."""
        self.number = exchange.number = self.number + 1
        self._written.append(exchange)

    def add_end(self, exchange: Exchange, by: Exchange | Coverage | None) -> None:
        """Write down that an answer has ended, and how a whole file came to its client, if so; forget its progress."""
        self._written.append((self.number + 1, exchange, by))
        self.number += 1 if by is None else 2
        if self._progress:
            self._progress.pop(exchange, None)

    def after(self, since: int, shares: Callable[[str, str], bool]) -> list[Entry]:
        """Return what came after an event, oldest first, preceded by how much of it is forgotten, if any.

        `shares` tells, for a name and a client, whether that address is known to stand for several boards.
        """
        written = self._written
        gone = _entries(written[0], shares)[-1].number if len(written) == written.maxlen else 0
        first = max(since, gone) + 1
        latest = takewhile(
            lambda entries: entries[-1].number >= first, (_entries(one, shares) for one in reversed(written))
        )
        found = [entry for entries in reversed(list(latest)) for entry in entries if entry.number >= first]
        moving = [one.entry for one in self._progress.values() if one.entry is not None and one.entry.number >= first]
        if moving:
            found = sorted([*found, *moving], key=lambda entry: entry.number)
        if since < gone:
            found.insert(0, Entry(gone, FORGOTTEN, (_time(found[0]), gone - since)))
        return found

    def not_looked_at(self, transfers: Iterable[Exchange], now: float) -> list[Exchange]:
        """Return those transfers under way that nobody has looked at lately."""
        known = self._progress
        return [
            exchange
            for exchange in transfers
            if now - (known[exchange].at if exchange in known else exchange.began) >= PROGRESS_SECONDS
        ]

    def add_progress(self, exchange: Exchange, transfer: Transfer, now: float, time: float) -> None:
        """Write down how far a transfer under way is, if it has moved, in place of what was written before."""
        before = self._progress.get(exchange, _NOTHING_YET)
        if now - before.at < PROGRESS_SECONDS:
            return  # somebody else has just looked
        figures = (transfer.acknowledged, transfer.rate)
        entry = before.entry
        if figures != before.figures:
            self.number += 1
            entry = Entry(self.number, PROGRESS, (time, exchange.number, transfer))
        self._progress[exchange] = _Progress(now, figures, entry)

    def open(self, host: str, port: int, time: float) -> None:
        """Write down that the server has started."""
        self.is_open = True
        self._where = (host, port)
        self.add(STARTED, (time, host, port))

    def close(self, time: float) -> None:
        """Write down that the server has stopped, if it ran."""
        if self.is_open:
            self.is_open = False
            self.add(STOPPED, (time, *self._where))


_NOTHING_YET = _Progress(-math.inf, (0, 0.0), None)


def checked_kinds(kinds: str | Collection[str] | None) -> frozenset[str]:
    """Return the kinds that are asked for; None is all. Raises InvalidArgument where there is no such kind."""
    if kinds is None:
        return frozenset(KINDS)
    found = [kinds] if isinstance(kinds, str) else list(kinds) if isinstance(kinds, Collection) else None
    if not found or not all(isinstance(kind, str) and kind in KINDS for kind in found):
        raise InvalidArgument(f"kinds must be one or several of {', '.join(KINDS)}, not {quoted_value(kinds)}")
    return frozenset(found)


def events_of(entries: Sequence[Entry], now: float, nearest: Nearest) -> tuple[Event, ...]:
    """Make the events of entries. Not to be called under the lock: this may ask the kernel, and `nearest` the disk."""
    names = [name_asked(entry.about.head.target) for entry in reversed(entries) if entry.kind == MISSING]
    there_are = nearest(names) if names else {}
    return tuple(_event(entry, now, there_are) for entry in entries)


def _event(entry: Entry, now: float, nearest: Mapping[str, Sequence[str]]) -> Event:
    number, kind, about = entry
    time = _time(entry)
    if kind in (BEGUN, ENDED):
        request = recorded(about, now)
        carries = about.subject is not None and about.subject.pieces
        transfer = seen(about, lambda one: one.transfer(now)) if carries else None
        if kind == BEGUN:
            request = replace(request, bytes=0, seconds=0.0, completed=False, outcome=UNDER_WAY)
            if transfer is not None:
                transfer = replace(transfer, sent=0, acknowledged=0, rate=0.0, seconds=0.0, state=UNDER_WAY)
        return RequestEvent(number, time, kind, about.number, request, transfer)
    if kind == MISSING:
        name = name_asked(about.head.target)
        missing = Missing(about.wall, about.link.client, name, tuple(nearest[name]))
        return MissingEvent(number, time, kind, about.number, missing)
    if kind == DOWNLOADED:
        last, by, shared = about
        download = record(last.subject.name, last.link.client, as_coverage(by), shared=shared)
        return DownloadEvent(number, time, kind, download)
    return _MADE_OF_ATTRIBUTES[kind](number, time, kind, *about[1:])


_MADE_OF_ATTRIBUTES: dict[str, Callable[..., Event]] = {
    STARTED: ServerEvent,
    STOPPED: ServerEvent,
    CONNECTED: ConnectionEvent,
    PROGRESS: ProgressEvent,
    UPLOADED: UploadEvent,
    VERSION: VersionEvent,
    FORGOTTEN: ForgottenEvent,
}


def _entries(written: _Written, shares: Callable[[str, str], bool]) -> list[Entry]:
    if isinstance(written, Entry):
        return [written]
    if isinstance(written, Exchange):
        return [Entry(written.number, BEGUN, written)]
    if len(written) == 2:
        return [Entry(written[0], CONNECTED, written[1])]
    number, exchange, by = written
    ended = Entry(number, ENDED, exchange)
    if by is None or exchange.subject is None:
        return [ended]
    shared = shares(exchange.subject.name, exchange.link.client)
    return [ended, Entry(number + 1, DOWNLOADED, (exchange, by, shared))]


def _time(entry: Entry) -> float:
    about = entry.about
    if entry.kind in (BEGUN, MISSING):
        return float(about.wall)
    if entry.kind in (ENDED, DOWNLOADED):
        exchange = about if entry.kind == ENDED else about[0]
        return float(exchange.wall + (exchange.ended - exchange.began))
    return float(about[0])


def _plain(value: object) -> Any:
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value
