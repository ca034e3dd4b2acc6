"""Requests as they happen: one exchange is a request and its answer.

Knows an exchange's progress and its end. Does not know what others there are.
Does not know how an answer leaves: a connection tells it, through `Link`, how
many bytes the client's TCP has not acknowledged yet. A byte counts as received
when it was acknowledged, not when the kernel took it: a socket buffer of 4 MB
swallows a whole kernel image for a board that reads nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple, Protocol
from urllib.parse import unquote_to_bytes

from httpserve.plan import Subject

ACK_DELAY_SECONDS = 0.5  # RFC 9293 3.8.6.3: an acknowledgment is delayed by less than this
ACKED, HANDED_OVER = "acked", "handed_over"
UNDER_WAY = "under way"
SAMPLE_SECONDS = 0.5  # a rate is taken over so long at least
ALL_USED = sys.maxsize  # more bytes than any file has


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


NO_FIELDS = Fields()


class _Shown:
    """A record that a notebook shows as a table of one row."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        from httpserve.display import as_html

        return as_html([self])


@dataclass(frozen=True, slots=True)
class RequestRecord(_Shown):
    """One request and what was answered.

    Attributes:
        time: When it arrived, in seconds since the epoch.
        client: The client's address.
        client_port: The client's port.
        local: The address of ours that it asked.
        method: The method, such as `GET`.
        target: The target as it stood in the request, control characters escaped.
        status: The status code of the answer.
        range: The value of the Range field, empty without one.
        bytes: Bytes of content that the client has received.
        seconds: From the request until its last byte was handed over (until now while it is under way).
        user_agent: The value of the User-Agent field, control characters escaped.
        completed: Whether the whole answer was sent and nothing of it is known to be lost.
        name: The file that was answered with, empty when none was.
        outcome: `completed`, `under way`, or how it ended before it was complete: `closed` or `reset` by the client,
            `lost` (it did not answer any more), `cut` by the server.
        fields: The fields of the request as they came, by names of any case.
        known: How it is known what the client has received: `acked` by its TCP, or only `handed_over` to the
            system, on systems that tell no more (what is not `completed` may be less then).
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


@dataclass(frozen=True, slots=True)
class Transfer(_Shown):
    """The content of a file on its way to one client, or there: one answer.

    Attributes:
        time: When it was asked for, in seconds since the epoch.
        name: The file's name on the server.
        client: The client's address.
        client_port: The client's port.
        local: The address of ours that it asked.
        method: The method, such as `GET`.
        target: The target as it stood in the request, control characters escaped.
        status: The status code of the answer.
        ranges: The (start, stop) pairs that were asked for, stop exclusive; empty when the whole was.
        sent: Bytes of content that the system has taken from us.
        acknowledged: Bytes of content that the client has received.
        total: Bytes of content of the whole answer.
        rate: Bytes received in a second: lately while it is under way, on average once it is over.
        seconds: From the request until its last byte was handed over (until now while it is under way).
        user_agent: The value of the User-Agent field, control characters escaped.
        state: As the `outcome` of a request's record; `completed` once all is acknowledged.
        known: As in a request's record.
    """

    time: float
    name: str
    client: str
    client_port: int
    local: str
    method: str
    target: str
    status: int
    ranges: tuple[tuple[int, int], ...]
    sent: int
    acknowledged: int
    total: int
    rate: float
    seconds: float
    user_agent: str
    state: str
    known: str


@dataclass(frozen=True, slots=True)
class Missing(_Shown):
    """A request for what is not there.

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
class DownloadRecord(_Shown):
    """A file that one client has received: the whole, or as much of it as was waited for.

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


class Ends:
    """Both ends of a connection that is over, as far as records are concerned."""

    __slots__ = ("client", "client_port", "known", "local")

    def __init__(self, client: str, client_port: int, local: str, known: str = ACKED) -> None:
        self.client = client
        self.client_port = client_port
        self.local = local
        self.known = known


class Link(Protocol):
    """What a record needs of a connection."""

    @property
    def client(self) -> str: ...

    @property
    def client_port(self) -> int: ...

    @property
    def local(self) -> str: ...

    @property
    def known(self) -> str: ...

    def outstanding(self) -> int:
        """Return how many of the bytes handed to the kernel the client has not acknowledged."""

    def ends(self) -> Ends:
        """Return what is left to say of the connection once its exchanges are settled."""


class Head(Protocol):
    """What a record needs of a request's head."""

    @property
    def method(self) -> str: ...

    @property
    def target(self) -> str: ...

    @property
    def range(self) -> str: ...

    @property
    def user_agent(self) -> str: ...

    @property
    def fields(self) -> Mapping[str, str]: ...


class End(Enum):
    """How an exchange ended."""

    COMPLETED = "completed"
    CLOSED = "closed"  # by the client, in good order, before it had everything
    RESET = "reset"  # by the client
    LOST = "lost"  # the client did not answer any more: no power, no cable
    CUT = "cut"  # by us: the file changed, nothing moved for too long, the server stopped


class State(Enum):
    """Where an exchange is."""

    UNDER_WAY = auto()
    LEAVING = auto()  # the whole answer is in one send that has not returned
    HANDED_OVER = auto()
    RECEIVED = auto()
    CUT = auto()


class _Sample(NamedTuple):
    """When a transfer under way was looked at, what had been received by then, and how fast of late."""

    time: float
    received: int
    rate: float


class Exchange:
    """One request and its answer, as it goes. `handed` counts bytes of content that the kernel took."""

    __slots__ = (
        "began",
        "end",
        "ended",
        "got",
        "handed",
        "head",
        "length",
        "link",
        "number",
        "snapshot",
        "state",
        "status",
        "subject",
        "used",
        "wall",
    )

    def __init__(
        self,
        link: Link,
        head: Head,
        status: int,
        length: int,
        subject: Subject | None,
        wall: float,
        began: float,
    ) -> None:
        self.link: Link | Ends = link
        self.head = head
        self.status = status
        self.length = length
        self.subject = subject
        self.wall = wall
        self.began = began
        self.ended = 0.0
        self.end = End.COMPLETED
        self.number = 0  # its place in the order of exchanges and new versions
        self.handed = 0
        self.got = 0
        self.snapshot: Transfer | _Sample | None = None  # that somebody has asked for; a transfer once it is over
        self.state = State.UNDER_WAY
        self.used = 0  # the most bytes that a wait wanted which it has counted for; `ALL_USED` where it wanted all

    @property
    def is_over(self) -> bool:
        """Whether nothing of this exchange changes any more."""
        return self.state in (State.RECEIVED, State.CUT)

    def received(self) -> int:
        """Return how many bytes of content the client has acknowledged. Only under the ledger's lock."""
        link = self.link
        if isinstance(link, Ends):
            return self.got
        return max(0, self.handed - link.outstanding()) if self.handed else 0

    def record(self, now: float, delay: float = ACK_DELAY_SECONDS) -> RequestRecord:
        """Return this exchange as it stands. Only under the ledger's lock.

        What the kernel took counts as received for the seconds of `delay`: its acknowledgment may be on its way.
        """
        received = self.received()
        ended = self.ended or now
        on_time = received == self.length or now - ended < delay
        sent = self.state is State.RECEIVED or (self.state in (State.LEAVING, State.HANDED_OVER) and on_time)
        return RequestRecord(
            time=self.wall,
            client=self.link.client,
            client_port=self.link.client_port,
            local=self.link.local,
            method=self.head.method,
            target=printable(self.head.target),
            status=self.status,
            range=printable(self.head.range),
            bytes=self.length if sent else received,
            seconds=ended - self.began,
            user_agent=printable(self.head.user_agent),
            completed=sent,
            name=self.subject.name if self.subject else "",
            outcome=self._outcome(sent),
            fields=self.head.fields,
            known=self.link.known,
        )

    def transfer(self, now: float) -> Transfer:
        """Return this exchange, which has a subject, as a transfer. Only under the ledger's lock.

        Unlike a record it never takes for received what is not acknowledged yet.
        """
        if isinstance(self.snapshot, Transfer):
            return self.snapshot
        subject, link = self.subject, self.link
        assert subject is not None
        acknowledged = self.received()
        has_all = self.state in (State.HANDED_OVER, State.RECEIVED) and acknowledged == self.length
        state = self._outcome(has_all)
        seconds = (self.ended or now) - self.began
        made = Transfer(
            time=self.wall,
            name=subject.name,
            client=link.client,
            client_port=link.client_port,
            local=link.local,
            method=self.head.method,
            target=printable(self.head.target),
            status=self.status,
            ranges=tuple((piece.start, piece.stop) for piece in subject.pieces) if self.status == 206 else (),
            sent=self.handed,
            acknowledged=acknowledged,
            total=self.length,
            rate=self._rate(acknowledged, now) if state == UNDER_WAY else _per_second(acknowledged, seconds),
            seconds=seconds,
            user_agent=printable(self.head.user_agent),
            state=state,
            known=link.known,
        )
        if self.is_over:
            self.snapshot = made
        return made

    def _rate(self, acknowledged: int, now: float) -> float:
        sample = self.snapshot
        if isinstance(sample, _Sample) and now - sample.time < SAMPLE_SECONDS:
            return sample.rate
        at, had = (sample.time, sample.received) if isinstance(sample, _Sample) else (self.began, 0)
        rate = _per_second(acknowledged - had, now - at)
        if now - at >= SAMPLE_SECONDS:
            self.snapshot = _Sample(now, acknowledged, rate)
        return rate

    def _outcome(self, sent: bool) -> str:
        if sent:
            return End.COMPLETED.value
        return self.end.value if self.state is State.CUT else UNDER_WAY

    def spans(self, received: int) -> list[tuple[int, int]]:
        """Return which parts of the representation the first `received` bytes of the content carried."""
        if self.subject is None:
            return []
        return [
            (start, min(stop, start + received - offset))
            for offset, start, stop in self.subject.pieces
            if received > offset
        ]


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0


def printable(text: str) -> str:
    """Return `text` with control characters and undecodable bytes escaped, fit for a log or a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def name_asked(target: str) -> str:
    """Return the name that a target asks for, whether there is such a file or not; the empty one for the root."""
    path = target.partition("?")[0]
    if "://" in path:
        path = path.partition("://")[2].partition("/")[2]
    decoded = unquote_to_bytes(path.encode("latin-1", "replace")).decode("utf-8", "replace")
    return printable("/".join(part for part in decoded.split("/") if part not in ("", ".")))
