"""What a user learns about boards: records of requests, transfers, downloads and missing names, as frozen data.

Does not know where the figures come from.
"""

from __future__ import annotations

import builtins
import hashlib
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from httpserve.base.tables import Record
from httpserve.base.text import printable
from httpserve.errors import NotFound, Unsupported

_Bytes = bytes  # records have a field of that name
ACKED, HANDED_OVER = "acked", "handed_over"
UNDER_WAY = "under way"


class Fields(Mapping[str, str]):
    """The fields of a request, by names of any case."""

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._items: dict[str, tuple[str, str]] = {}
        for name, value in items:
            before = self._items.get(name.lower())
            self._items[name.lower()] = (name, f"{before[1]}, {value}" if before else value)

    def __getitem__(self, name: str) -> str:
        return self._items[name.lower()][1]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._items

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items.values())

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return repr(dict(self._items.values()))


@dataclass(frozen=True, slots=True)
class RequestRecord(Record):
    """One request and what was answered.

    In its texts unprintable characters are escaped, and a backslash that would read as an escape is doubled; only
    `fields` has what came.

    Attributes:
        time: When it arrived, in seconds since the epoch.
        client: The client's address.
        client_port: The client's port.
        local: Our address that it connected to.
        method: The method, such as `GET`; empty if the request began with none.
        target: The target as written in the request; without a method, its whole first line.
        status: The status code of the answer.
        range: The value of the Range field, empty without one.
        bytes: Bytes of content that the client has received.
        seconds: From the request until its last byte was handed over (until now while it is under way).
        user_agent: The value of the User-Agent field.
        completed: Whether the whole answer was sent and nothing of it is known to be lost.
        name: The file that the answer was about; empty if there was none.
        outcome: `completed`, `under way`, or how it ended before it was complete: `closed` or `reset` by the client,
            `lost` (it no longer answered), `cut` by the server, `failed` (the server could not read the file).
        fields: The fields of the request as they came, by names of any case. Bytes from 0x80 on, which may mean
            anything, are read as ISO 8859-1: escape these characters before showing them. What lets somebody in
            (Authorization, Cookie, X-Api-Key and the like) has `…` for its value.
        known: How it is known what the client has received: `acked` by its TCP, or only `handed_over` to the
            system, on systems that tell no more (what is not `completed` may then be less).
        fault: The faults and holds that you asked for and the answer met, such as `Cut(0.5)` or `Hold(0.5)`; empty if
            none.
        query: What follows the `?` in the target, as it came.
        content: What came with a request that an answer of your own is for (`respond`, `mount`), or with an upload that
            was asked for: the first 16 KiB, and for a form with all that is around its parts.
        error: What went wrong in an answer of your own: a traceback, or that it took too long; or on the disk or
            in the store that the file comes from. Empty if nothing did.
    """

    time: float
    client: str
    client_port: int
    local: str
    method: str
    target: str
    status: int
    range: str
    bytes: int
    seconds: float
    user_agent: str
    completed: bool
    name: str
    outcome: str
    fields: Mapping[str, str] = field(default_factory=Fields, repr=False, compare=False)
    known: str = ACKED
    fault: str = ""
    query: str = ""
    content: _Bytes = field(default=b"", repr=False)
    error: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Transfer(Record):
    """The content of a file on its way to one client, or already there: one answer.

    What a board sent is escaped as in a request's record.

    Attributes:
        time: When it was asked for, in seconds since the epoch.
        name: The file's name on the server.
        client: The client's address.
        client_port: The client's port.
        local: Our address that it connected to.
        method: The method, such as `GET`.
        target: The target as written in the request.
        status: The status code of the answer.
        ranges: The (start, stop) pairs that were asked for, stop exclusive; empty when the whole file was.
        sent: Bytes of content that the system has taken from us.
        acknowledged: Bytes of content that the client has received.
        total: Bytes of content of the whole answer.
        rate: Bytes received per second: the average of the last seconds while it is under way, and of all of it
            afterwards; 0 if nothing has come for two seconds.
        seconds: From the request until its last byte was handed over (until now while it is under way).
        user_agent: The value of the User-Agent field.
        state: As the `outcome` of a request's record; `completed` once all is acknowledged.
        known: As in a request's record.
        fault: As in a request's record.
    """

    time: float
    name: str
    client: str
    client_port: int
    local: str
    method: str
    target: str
    status: int
    ranges: Sequence[tuple[int, int]]
    sent: int
    acknowledged: int
    total: int
    rate: float
    seconds: float
    user_agent: str
    state: str
    known: str
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Missing(Record):
    """A request for a file that does not exist.

    Attributes:
        time: When it arrived, in seconds since the epoch.
        client: The client's address.
        name: The name that was asked for.
        nearest: Names that exist and are like it, the nearest first.
    """

    time: float
    client: str
    name: str
    nearest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DownloadRecord(Record):
    """A file that one client has received: all of it, or as much as was waited for.

    Attributes:
        name: The file's name on the server.
        client: The client's address.
        bytes: How many bytes of the file it has received, each counted once.
        seconds: From the first request that contributed to the last byte that did.
        user_agent: The value of the last request's User-Agent field.
        ranges: The (start, stop) pairs that arrived by ranges, stop exclusive; empty when the whole was asked for.
        total: The size of the file.
        known: `acked` by the client's TCP, or only `handed_over` to the system, on systems that tell no more.
        shared: Whether this address is known to stand for more than one board: it is this host's own (QEMU's user
            network, a tunnel), or two whole downloads went to it at the same time (NAT, containers).
    """

    name: str
    client: str
    bytes: int
    seconds: float
    user_agent: str
    ranges: tuple[tuple[int, int], ...]
    total: int
    known: str = ACKED
    shared: bool = False


@dataclass(frozen=True, slots=True)
class UploadRecord(Record):
    """A file that a client has sent, or as much of it as has come.

    What the client chose is escaped as in a request's record, except `name`.

    Attributes:
        name: The name on the server.
        client: The client's address.
        bytes: How many bytes of the file have come.
        sha256: Their SHA-256 in hexadecimal; empty unless `completed`.
        seconds: From the request until the file was in its place, or until the end.
        content_type: The value of the Content-Type field, for a file in a form that of its part.
        filename: The name that a form gives the file; empty without a form.
        user_agent: The value of the User-Agent field.
        completed: Whether the file is in its place. Otherwise nothing was put there.
        outcome: `completed`, or how it ended: `refused` by the server (`status` says why), `closed` or `reset` by the
            client, `lost` (it no longer answered), `cut` by the server, which stopped.
        status: The status code of the answer; 0 if there was none.
        time: When it was begun, in seconds since the epoch.
        file: The path of the file on this host; empty unless `completed`, and if it went to a store.
        content: What gets the content of a file that went to a store; None for one on this host.
    """

    name: str
    client: str
    bytes: int
    sha256: str
    seconds: float
    content_type: str
    filename: str
    user_agent: str
    completed: bool
    outcome: str = "completed"
    status: int = 201
    time: float = 0.0
    file: str = field(default="", repr=False)
    content: Callable[[], builtins.bytes] | None = field(default=None, repr=False, compare=False)

    def path(self) -> pathlib.Path:
        """Return the path of the file on this host. It is that of the name, so a later upload may replace the file.

        Raises:
            NotFound: The upload did not complete.
            Unsupported: The file went to a store.
        """
        self._check_completed()
        if not self.file:
            raise Unsupported(f"the upload {self.name!r} is in a store, not on this host; read() returns it", self.name)
        return pathlib.Path(self.file)

    def _check_completed(self) -> None:
        if not self.completed:
            raise NotFound(f"the upload of {self.name!r} by {self.client} did not complete ({self.outcome})", self.name)

    def read(self) -> builtins.bytes:
        """Return the content, as it came. Blocks while the disk, or the store, does.

        Raises:
            NotFound: The upload did not complete, or the file is gone, or is another one by now.
            StoreUnavailable: The store does not give it.
        """
        self._check_completed()
        try:
            data = self.path().read_bytes() if self.content is None else self.content()
        except FileNotFoundError:
            raise NotFound(f"the upload {self.name!r} was removed since", self.name) from None
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise NotFound(f"the upload {self.name!r} was replaced since: the file has another SHA-256", self.name)
        return data


def name_asked(target: str) -> str:
    """Return the name that a target asks for, whether there is such a file or not; empty for the root."""
    path = target.partition("?")[0]
    if "://" in path:
        path = path.partition("://")[2].partition("/")[2]
    decoded = unquote_to_bytes(path.encode("latin-1", "replace")).decode("utf-8", "replace")
    return printable("/".join(part for part in decoded.split("/") if part not in ("", ".")))
