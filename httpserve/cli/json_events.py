"""What the command line tells while it serves: the client's events, in the words of a shell.

Knows which fields each event has, for scripts. Does not know where events are shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from httpserve import (
    DownloadEvent,
    ForgottenEvent,
    HttpServeError,
    HttpServerClient,
    MissingEvent,
    ProgressEvent,
    RequestEvent,
    Transfer,
    UploadEvent,
)
from httpserve import Event as ClientEvent

UNDER_WAY, UNKNOWN = "under way", "unknown"
SHARED = ("id", "name", "client")
AMOUNTS = ("sent", "acknowledged", "total", "rate", "seconds")
SHOWN = ("begun", "progress", "ended", "downloaded", "uploaded", "missing", "forgotten")


class Kind(NamedTuple):
    """What an event means, and the fields that it has besides `event` and `time`."""

    meaning: str
    fields: tuple[str, ...]


KINDS = {
    "listening": Kind("From now on a request is answered.", ("url", "host", "port", "path", "pid", "version")),
    "command": Kind("What to type on the board (--command).", ("tool", "name", "text")),
    "request": Kind(
        "Something was asked for, or, with the status 0, a connection was refused on purpose.",
        ("client", "client_port", "local", "method", "target", "status", "range", "name", "user_agent", "fault"),
    ),
    "transfer-started": Kind(
        "The content of a file is on its way, whole or in ranges.",
        (*SHARED, "client_port", "local", "method", "target", "status", "ranges", "total", "user_agent", "fault"),
    ),
    "transfer-progress": Kind(
        "More of it has arrived, or nothing does any more; twice a second at most.", (*SHARED, *AMOUNTS, "fault")
    ),
    "transfer-ended": Kind(
        "It is over: completed, closed or reset by the client, lost, cut, or unknown where too much came after it.",
        (*SHARED, *AMOUNTS, "state", "known", "fault"),
    ),
    "download": Kind(
        "A client has every byte of a file, by one transfer or by several.",
        ("name", "client", "bytes", "total", "seconds", "user_agent", "ranges", "known", "shared"),
    ),
    "upload": Kind(
        "A board has sent a file (--upload), or has begun to: the outcome is completed, refused by the server, "
        "closed or reset by the client, lost or cut.",
        ("name", "client", "bytes", "sha256", "seconds", "content_type", "filename", "user_agent", "outcome", "status"),
    ),
    "missing": Kind(
        "What is not there was asked for, or is hidden by its leading dot; nearest are names that are there.",
        ("client", "name", "nearest", "hidden"),
    ),
    "skipped": Kind("So many requests came at once that some events before the next one are left out.", ()),
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


class EventFeed:
    """Reads a client's events that are told, each once, also when it is closed."""

    def __init__(self, client: HttpServerClient) -> None:
        self._client = client
        self._since = 0
        self._under_way: dict[int, Transfer] = {}  # as told last, by the number of their answer

    def wait(self, timeout: float | None) -> tuple[ClientEvent, ...]:
        """Block until the client has events after the last one that `told` was given; None: for ever."""
        return self._client.events(self._since, timeout, SHOWN)

    def told(self, event: ClientEvent) -> list[Event]:
        """Return what to tell of a client's event. `wait` goes on behind it."""
        told = list(self._told(event))
        self._since = event.number
        return told

    def _told(self, event: ClientEvent) -> Iterator[Event]:
        match event:
            case RequestEvent(kind="begun"):
                yield _event("request", event.request, event.time)
                if event.transfer is not None:
                    self._under_way[event.exchange] = event.transfer
                    yield _event("transfer-started", event.transfer, event.time, event.exchange)
            case ProgressEvent() if event.exchange in self._under_way:
                self._under_way[event.exchange] = event.transfer
                yield _event("transfer-progress", event.transfer, event.time, event.exchange)
            case RequestEvent() if self._under_way.pop(event.exchange, None):
                yield _event("transfer-ended", event.transfer, event.time, event.exchange)
            case DownloadEvent():
                yield _event("download", event.download, event.time)
            case UploadEvent():
                yield _event("upload", event.upload, event.time)
            case MissingEvent(missing=missing):
                fields = {"client": missing.client, "name": missing.name, "nearest": missing.nearest}
                yield Event("missing", {**fields, "hidden": self._is_hidden(missing.name)}, event.time)
            case ForgottenEvent():
                yield Event("skipped", {}, event.time)
                yield from self._ends(event.time)

    def _is_hidden(self, name: str) -> bool:
        """Tell whether a name that was not found is there; without a leading dot it is left out for another reason."""
        try:
            return "/." in f"/{name}" and self._client.storage.exists(name)
        except HttpServeError:  # no name of a file
            return False

    def _ends(self, time: float) -> Iterator[Event]:
        """Give the ends of transfers whose own events may be among the forgotten ones."""
        latest = {_key(transfer): transfer for transfer in self._client.transfers} if self._under_way else {}
        for number, known in list(self._under_way.items()):
            transfer = latest.get(_key(known)) or replace(known, state=UNKNOWN)
            if transfer.state != UNDER_WAY:
                del self._under_way[number]
                yield _event("transfer-ended", transfer, time, number)


def _key(transfer: Transfer) -> Hashable:
    return transfer.time, transfer.client, transfer.client_port, transfer.target


def _event(kind: str, record: object, time: float, number: int = 0) -> Event:
    return Event(kind, {name: number if name == "id" else getattr(record, name) for name in KINDS[kind].fields}, time)
