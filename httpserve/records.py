"""Requests as they happen: one exchange is a request and its answer.

Knows an exchange's progress and its end. Does not know what others there are.
Does not know how an answer leaves: a connection tells it, through `Link`, how
many bytes the client's TCP has not acknowledged yet. A byte counts as received
when it was acknowledged, not when the kernel took it: a socket buffer of 4 MB
swallows a whole kernel image for a board that reads nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

from httpserve.plan import Subject

ACK_DELAY_SECONDS = 0.5  # RFC 9293 3.8.6.3: an acknowledgment is delayed by less than this


@dataclass(frozen=True, slots=True)
class RequestRecord:
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


@dataclass(frozen=True, slots=True)
class DownloadRecord:
    """A whole file that one client has received.

    Attributes:
        name: The file's name on the server.
        client: The client's address.
        bytes: The size of the file.
        seconds: From the first request that contributed to the last byte that was missing.
        user_agent: The value of the last request's User-Agent field.
        ranges: The (start, stop) pairs that arrived by ranges, stop exclusive; empty when the whole was asked for.
    """

    name: str
    client: str
    bytes: int
    seconds: float
    user_agent: str
    ranges: tuple[tuple[int, int], ...]


class Ends:
    """Both ends of a connection that is over, as far as records are concerned."""

    __slots__ = ("client", "client_port", "local")

    def __init__(self, client: str, client_port: int, local: str) -> None:
        self.client = client
        self.client_port = client_port
        self.local = local


class Link(Protocol):
    """What a record needs of a connection."""

    @property
    def client(self) -> str: ...

    @property
    def client_port(self) -> int: ...

    @property
    def local(self) -> str: ...

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


class Exchange:
    """One request and its answer, as it goes. `handed` counts bytes of content that the kernel took."""

    __slots__ = (
        "began",
        "end",
        "ended",
        "epoch",
        "got",
        "handed",
        "head",
        "length",
        "link",
        "state",
        "status",
        "subject",
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
        self.epoch = 0
        self.handed = 0
        self.got = 0
        self.state = State.UNDER_WAY

    def received(self) -> int:
        """Return how many bytes of content the client has acknowledged. Only under the ledger's lock."""
        link = self.link
        if isinstance(link, Ends):
            return self.got
        return max(0, self.handed - link.outstanding()) if self.handed else 0

    def record(self, now: float) -> RequestRecord:
        """Return this exchange as it stands. Only under the ledger's lock."""
        received = self.received()
        ended = self.ended or now
        on_time = received == self.length or now - ended < ACK_DELAY_SECONDS
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
        )

    def _outcome(self, sent: bool) -> str:
        if sent:
            return End.COMPLETED.value
        return self.end.value if self.state is State.CUT else "under way"

    def spans(self, received: int) -> list[tuple[int, int]]:
        """Return which parts of the representation the first `received` bytes of the content carried."""
        if self.subject is None:
            return []
        return [
            (start, min(stop, start + received - offset))
            for offset, start, stop in self.subject.pieces
            if received > offset
        ]


def printable(text: str) -> str:
    """Return `text` with control characters and undecodable bytes escaped, fit for a log or a terminal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")
