"""What the command line tells while it serves, as events: each is told once, as an object of JSON or as a line.

Knows what the client's snapshots say, and which fields each event has. Does not know where events are shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from httpserve import HttpServeError, HttpServerClient

if TYPE_CHECKING:
    from httpserve import Missing, RequestRecord, Transfer

UNDER_WAY, UNKNOWN = "under way", "unknown"
NOT_FOUND = 404
MOST_RECORDS = 1000  # that the client keeps; what comes between two looks, a tenth of a second, should fit
MOST_UNFINISHED = 1000  # downloads of which a part is there
SHARED = ("id", "name", "client")
AMOUNTS = ("sent", "acknowledged", "total", "rate", "seconds")


class Kind(NamedTuple):
    """What an event means, and the fields that it has besides `event` and `time`."""

    meaning: str
    fields: tuple[str, ...]


KINDS = {
    "listening": Kind("From now on a request is answered.", ("url", "host", "port", "path", "pid", "version")),
    "command": Kind("What to type on the board (--command).", ("tool", "name", "text")),
    "request": Kind(
        "Something was asked for.",
        ("client", "client_port", "local", "method", "target", "status", "range", "name", "user_agent"),
    ),
    "transfer-started": Kind(
        "The content of a file is on its way, whole or in ranges.",
        (*SHARED, "client_port", "local", "method", "target", "status", "ranges", "total", "user_agent"),
    ),
    "transfer-progress": Kind(
        "More of it has arrived, or nothing does any more; twice a second at most.", (*SHARED, *AMOUNTS)
    ),
    "transfer-ended": Kind(
        "It is over: completed, closed or reset by the client, lost, cut, or unknown where too much came after it.",
        (*SHARED, *AMOUNTS, "state", "known"),
    ),
    "download": Kind(
        "A client has every byte of a file, by one transfer or by several.",
        ("name", "client", "bytes", "total", "seconds", "user_agent", "ranges", "known", "shared"),
    ),
    "missing": Kind("What is not there was asked for; nearest are names that are.", ("client", "name", "nearest")),
    "skipped": Kind("So many requests came at once that what was between these and the last one is not told.", ()),
    "stopped": Kind(
        "The last event. The reason is signal, downloaded or error, the code that of the exit.",
        ("reason", "code", "message"),
    ),
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `kind` is a key of KINDS, `fields` has what is listed there; `time` is of the epoch."""

    kind: str
    fields: Mapping[str, Any]  # Any: of JSON
    time: float = field(default_factory=time.time)

    def as_json(self) -> str:
        """Return one line of JSON, in ASCII and without a newline at its end."""
        return json.dumps({"event": self.kind, "time": round(self.time, 6), **self.fields})


class Watch:
    """Turns what a client says at each look into events.

    Args:
        client: Who is looked at.
        progress_seconds: The least time between two events about the progress of one transfer.
        all_kinds: Whether there are events besides those about transfers.
    """

    def __init__(self, client: HttpServerClient, progress_seconds: float, *, all_kinds: bool) -> None:
        self._client = client
        self._progress_seconds = progress_seconds
        self._all_kinds = all_kinds
        self._requests: _Tail[RequestRecord] = _Tail(_key_of_answer)
        self._missing: _Tail[Missing] = _Tail(lambda it: (it.time, it.client, it.name))
        self._transfers: _Tail[Transfer] = _Tail(_key_of_answer)
        self._underway: dict[Hashable, _Underway] = {}
        self._since: dict[tuple[str, str], float] = {}  # when what counts for a client's next download of a name began
        self._last_id = 0

    def look(self) -> list[Event]:
        """Return what has happened since the last look, in order. Works on a closed client too."""
        events: list[Event] = []
        if self._all_kinds:
            requests = self._requests.new(self._client.requests_for(wait=False))
            if len(requests) == MOST_RECORDS:
                events.append(Event("skipped", {}))
            events += _as_events("request", requests)
            if any(request.status == NOT_FOUND for request in requests):  # it reads the directory
                events += _as_events("missing", self._missing.new(self._client.missing))
        events += self._look_at_transfers(self._client.transfers)
        if self._all_kinds:
            events += self._downloads(events)
        return events

    def _look_at_transfers(self, transfers: tuple[Transfer, ...]) -> Iterator[Event]:
        now = time.monotonic()
        for transfer in self._transfers.new(transfers):
            self._last_id += 1
            self._underway[_key_of_answer(transfer)] = _Underway(self._last_id, now, transfer)
            yield Event("transfer-started", _fields("transfer-started", transfer, id=self._last_id), transfer.time)
        latest = {_key_of_answer(transfer): transfer for transfer in transfers} if self._underway else {}
        for key, known in list(self._underway.items()):
            # What ends after a thousand later ones is no longer among the latest.
            transfer = latest.get(key) or replace(known.latest, state=UNKNOWN)
            if transfer.state != UNDER_WAY:
                del self._underway[key]
                yield Event("transfer-ended", _fields("transfer-ended", transfer, id=known.id))
            elif _has_moved(known.latest, transfer) and now - known.at >= self._progress_seconds:
                known.latest, known.at = transfer, now
                yield Event("transfer-progress", _fields("transfer-progress", transfer, id=known.id))

    def _downloads(self, events: Iterable[Event]) -> list[Event]:
        """Ask about each file and client whose transfers have ended whether that client has all of the file now."""
        ended: dict[tuple[str, str], None] = {}
        for event in events:
            whose = event.fields.get("name", ""), event.fields.get("client", "")
            if event.kind == "transfer-started":
                self._since.setdefault(whose, event.time)
            elif event.kind == "transfer-ended":
                ended[whose] = None
        downloads = []
        for whose in ended:
            name, client = whose
            try:
                record = self._client.wait_for_download(name, 0, client=client, since=self._since.get(whose))
            except HttpServeError:  # not every byte, or the file is gone, or the server
                continue
            self._since.pop(whose, None)  # what comes from now on is another download
            downloads.append(Event("download", _fields("download", record)))
        while len(self._since) > MOST_UNFINISHED:
            del self._since[next(iter(self._since))]
        return downloads


def _has_moved(before: Transfer, after: Transfer) -> bool:
    return (before.acknowledged, before.rate) != (after.acknowledged, after.rate)


def _key_of_answer(record: RequestRecord | Transfer) -> Hashable:
    return record.time, record.client, record.client_port, record.target


class _Record(Protocol):
    @property
    def time(self) -> float: ...


Record = TypeVar("Record", bound=_Record)


class _Tail(Generic[Record]):
    """Tells which records of a snapshot are new; a snapshot holds the latest ones, oldest first."""

    def __init__(self, key: Callable[[Record], Hashable]) -> None:
        self._key = key
        self._seen: set[Hashable] = set()

    def new(self, records: tuple[Record, ...]) -> list[Record]:
        """Return what was not in the snapshot before."""
        keys = [self._key(record) for record in records]
        new = [record for record, key in zip(records, keys, strict=True) if key not in self._seen]
        self._seen = set(keys)
        return new


@dataclass(slots=True)
class _Underway:
    """What was told of a transfer that is not over."""

    id: int
    at: float
    latest: Transfer


def _as_events(kind: str, records: Iterable[_Record]) -> Iterator[Event]:
    return (Event(kind, _fields(kind, record), record.time) for record in records)


def _fields(kind: str, record: object, **more: object) -> dict[str, Any]:
    return {name: more[name] if name in more else getattr(record, name) for name in KINDS[kind].fields}
