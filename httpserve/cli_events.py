"""What the command line tells while it serves, as events: each is told once, as an object of JSON or as a line.

Knows what the client's snapshots say, and which fields each event has. Does not know where events are shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from httpserve import HttpServeError, HttpServerClient

if TYPE_CHECKING:
    from httpserve import Missing, RequestRecord, Transfer

UNDER_WAY = "under way"
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
    "transfer-progress": Kind("More of it has arrived; twice a second at most.", (*SHARED, *AMOUNTS)),
    "transfer-ended": Kind(
        "It is over: completed, closed or reset by the client, lost, or cut.", (*SHARED, *AMOUNTS, "state", "known")
    ),
    "download": Kind(
        "A client has every byte of a file, by one transfer or by several.",
        ("name", "client", "bytes", "total", "seconds", "user_agent", "ranges", "known", "shared"),
    ),
    "missing": Kind("What is not there was asked for; nearest are names that are.", ("client", "name", "nearest")),
    "skipped": Kind("So much happened at once that some events may not have been told.", ("of",)),
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
        self._requests: _Tail[RequestRecord] = _Tail("request", _key_of_answer)
        self._missing: _Tail[Missing] = _Tail("missing", lambda it: (it.time, it.client, it.name))
        self._transfers: _Tail[Transfer] = _Tail("transfer", _key_of_answer)
        self._underway: dict[Hashable, _Underway] = {}
        self._last_id = 0

    def look(self) -> list[Event]:
        """Return what has happened since the last look, in order. Works on a closed client too."""
        events: list[Event] = []
        if self._all_kinds:
            events += self._new(self._requests, self._client.requests)
            events += self._new(self._missing, self._client.missing)
        events += self._look_at_transfers(self._client.transfers)
        if self._all_kinds:
            ended = [event for event in events if event.kind == "transfer-ended"]
            events += self._downloads({(event.fields["name"], event.fields["client"]): None for event in ended})
        return events

    def _new(self, tail: _Tail[Record], records: tuple[Record, ...]) -> Iterator[Event]:
        new = tail.new(records)
        if tail.may_have_missed:
            yield Event("skipped", {"of": tail.kind})
        for record in new:
            yield Event(tail.kind, _fields(tail.kind, record), record.time)

    def _look_at_transfers(self, transfers: tuple[Transfer, ...]) -> Iterator[Event]:
        now = time.monotonic()
        for transfer in self._transfers.new(transfers):
            self._last_id += 1
            self._underway[self._transfers.key(transfer)] = _Underway(self._last_id, now)
            yield Event("transfer-started", _fields("transfer-started", transfer, id=self._last_id), transfer.time)
        if self._transfers.may_have_missed:
            yield Event("skipped", {"of": "transfer"})
        if not self._underway:
            return
        for transfer in transfers:
            key = self._transfers.key(transfer)
            known = self._underway.get(key)
            if known is None:
                continue
            if transfer.state != UNDER_WAY:
                del self._underway[key]
                yield Event("transfer-ended", _fields("transfer-ended", transfer, id=known.id))
            elif transfer.acknowledged != known.told and now - known.at >= self._progress_seconds:
                known.told, known.at = transfer.acknowledged, now
                yield Event("transfer-progress", _fields("transfer-progress", transfer, id=known.id))

    def _downloads(self, ended: Iterable[tuple[str, str]]) -> Iterator[Event]:
        for name, client in ended:
            try:
                record = self._client.wait_for_download(name, 0, client=client)
            except HttpServeError:  # not every byte, or the file is gone, or the server
                continue
            yield Event("download", _fields("download", record))


def _key_of_answer(record: RequestRecord | Transfer) -> Hashable:
    return record.time, record.client, record.client_port, record.target


class _Record(Protocol):
    @property
    def time(self) -> float: ...


Record = TypeVar("Record", bound=_Record)


class _Tail(Generic[Record]):
    """Tells which records of a snapshot are new; a snapshot holds the latest ones, oldest first."""

    def __init__(self, kind: str, key: Callable[[Record], Hashable]) -> None:
        self.kind = kind
        self.key = key
        self.may_have_missed = False
        self._seen: set[Hashable] = set()

    def new(self, records: tuple[Record, ...]) -> list[Record]:
        """Return what was not in the snapshot before."""
        keys = [self.key(record) for record in records]
        new = [record for record, key in zip(records, keys, strict=True) if key not in self._seen]
        self.may_have_missed = bool(self._seen) and len(new) == len(records)
        self._seen = set(keys)
        return new


@dataclass(slots=True)
class _Underway:
    """What was told of a transfer that is not over."""

    id: int
    at: float
    told: int = 0


def _fields(kind: str, record: object, **more: object) -> dict[str, Any]:
    return {name: more[name] if name in more else getattr(record, name) for name in KINDS[kind].fields}
