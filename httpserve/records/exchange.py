"""One exchange: a request and its answer, as they happen.

Knows an exchange's progress and its end. Does not know what others there are.
Does not know how an answer leaves: a connection tells it, through `Link`, how
many bytes the client's TCP has not acknowledged yet. A byte counts as received
when it was acknowledged, not when the kernel took it: a socket buffer of 4 MB
swallows a whole kernel image for a board that reads nothing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple, Protocol, TypeVar

from httpserve.base.text import escaped
from httpserve.plan import Met, Own, Piece, Subject
from httpserve.records.model import ACKED, HANDED_OVER, UNDER_WAY, RequestRecord, Transfer, name_asked

ACK_DELAY_SECONDS = 0.5  # RFC 9293 3.8.6.3: an acknowledgment is delayed by less than this
SAMPLE_SECONDS = 0.5  # between two looks at how fast a transfer is
SMOOTH_SECONDS = 3.0  # over which its rate is averaged: boards take a burst, and write it to flash
STILL_SECONDS = 2.0  # without a byte, after which the rate is 0
ALL_BYTES = sys.maxsize  # more than any file has
MOST_KEPT_RANGES = 16  # in a finished transfer, where one takes seven times as much as in `Pieces`
MOST_UNFOLDED_RANGES = 255  # zchunk asks for that many at once; beyond, a transfer shows the kept form
_Seen = TypeVar("_Seen")


@dataclass(slots=True)
class ClosedLink:
    """Both ends of a connection that is over, as far as records are concerned."""

    client: str
    client_port: int
    local: str
    known: str = ACKED


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
    def acknowledged(self) -> int:
        """Return how many bytes of all that was handed to the kernel the client has acknowledged, heads included."""

    def ends(self) -> ClosedLink:
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
    LOST = "lost"  # the client no longer answered: no power, no cable
    CUT = "cut"  # by us: the file changed, nothing moved for too long, the server stopped
    FAILED = "failed"  # by us: the file could not be read


class State(Enum):
    """Where an exchange is."""

    UNDER_WAY = auto()
    LEAVING = auto()  # what is left of the answer is in one send that has not returned
    HANDED_OVER = auto()
    RECEIVED = auto()
    CUT = auto()


class _Sample(NamedTuple):
    """When a transfer under way was looked at, what had been received by then, how fast, and when it moved last."""

    time: float
    received: int
    rate: float
    moved: float


class Claim(NamedTuple):
    """A note that a wait has returned what somebody has: the next one must see more of it, or something else."""

    order: int  # its place among claims; a wait leaves out what was claimed before it began
    number: int  # of the latest event when it was made
    what: Hashable  # the bytes that were wanted, `ALL_BYTES` for all there is, or the request that was waited for


class Claimable(Protocol):
    """What a wait may return: an answer, or what several answers have brought."""

    claims: tuple[Claim, ...]


def claimed_bytes(one: Claimable, before: int = sys.maxsize) -> int:
    """Return how many bytes of something were claimed before a place in the order of claims; 0 if none were."""
    if not one.claims:
        return 0
    return max((claim.what for claim in one.claims if claim.order <= before and isinstance(claim.what, int)), default=0)


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """One request and its answer, as they happen. `handed` counts bytes of content that the kernel took."""

    link: Link | ClosedLink
    head: Head
    status: int
    length: int
    subject: Subject | None
    wall: float
    began: float
    ended: float = 0.0
    end: End = End.COMPLETED
    at: int = 0  # how many bytes of the connection come before its content
    number: int = 0  # of the event with which it began
    handed: int = 0
    got: int = 0
    least: int = 0  # the most that somebody has seen acknowledged while it was under way
    snapshot: Transfer | _Sample | None = None  # the latest that somebody asked for; a transfer once it is over
    settled_record: RequestRecord | None = None  # once somebody has asked for it and it is over
    state: State = State.UNDER_WAY
    unacked_at: float = 0.0  # when somebody last saw that not all that was handed over was acknowledged
    claims: tuple[Claim, ...] = ()
    met: Met | None = None  # what was asked for to happen to the answer

    @property
    def fault(self) -> str:
        """The faults that the answer met, as text; empty if none."""
        return self.met.fault if self.met is not None else ""

    def note_error(self, error: str) -> None:
        """Put on record what went wrong, while the answer is sent."""
        met = self.met or Met("", ())
        if met.own is None:
            self.met = met._replace(own=Own(b"", error))
        else:
            met.own.error = error

    @property
    def is_over(self) -> bool:
        """Whether nothing of this exchange changes any more."""
        return self.state in (State.RECEIVED, State.CUT)

    def received(self) -> int:
        """Return how many bytes of content the client has acknowledged. For `seen`, or under the log's lock."""
        link = self.link
        if isinstance(link, ClosedLink):
            return self.got
        handed = self.handed
        if not handed:
            return 0
        # More may leave between the two looks from which this is computed: at least that much is acknowledged.
        received = self.least = max(self.least, min(handed, max(0, link.acknowledged() - self.at)))
        if received < handed and self.state is State.HANDED_OVER and link.known == ACKED:
            self.unacked_at = time.monotonic()
        return received

    def record(self, now: float) -> RequestRecord:
        """Return this exchange as it is now. For `seen`, or under the log's lock."""
        received = self.received()
        ended = self.ended or now
        sent = self.has_all(received)
        target = escaped(self.head.target)
        own = self.met.own if self.met is not None else None
        return RequestRecord(
            time=self.wall,
            client=self.link.client,
            client_port=self.link.client_port,
            local=self.link.local,
            method=escaped(self.head.method),
            target=target,
            status=self.status,
            range=escaped(self.head.range),
            bytes=self.length if sent else received,
            seconds=(ended if sent or self.is_over else now) - self.began,
            user_agent=escaped(self.head.user_agent),
            completed=sent,
            name=self.subject.name if self.subject else "",
            outcome=self._outcome(sent),
            fields=self.head.fields,
            known=self.link.known,
            fault=self.fault,
            query=target.partition("?")[2],
            content=own.content if own is not None else b"",
            error=own.error if own is not None else "",
        )

    def transfer(self, now: float) -> Transfer:
        """Return this exchange as a transfer. For `seen`, or under the log's lock."""
        if isinstance(self.snapshot, Transfer):
            return self.snapshot
        was_over = self.is_over
        subject, link = self.subject, self.link
        acknowledged = self.received()
        has_all = acknowledged == self.length and self.has_all(acknowledged)
        state = self._outcome(has_all)
        ended = self.ended if self.is_over or has_all else 0.0
        seconds = (ended or now) - self.began
        made = Transfer(
            time=self.wall,
            name=subject.name if subject is not None else name_asked(self.head.target),
            client=link.client,
            client_port=link.client_port,
            local=link.local,
            method=escaped(self.head.method),
            target=escaped(self.head.target),
            status=self.status,
            ranges=_ranges(subject.pieces) if subject is not None and self.status == 206 else (),
            sent=self.handed,
            acknowledged=acknowledged,
            total=self.length,
            rate=self._rate(acknowledged, now) if state == UNDER_WAY else _per_second(acknowledged, seconds),
            seconds=seconds,
            user_agent=escaped(self.head.user_agent),
            state=state,
            known=link.known,
            fault=self.fault,
        )
        if was_over and len(made.ranges) <= MOST_KEPT_RANGES:  # asked first: it may have ended meanwhile
            self.snapshot = made
        return made

    def has_all(self, received: int) -> bool:
        """Tell whether the client has the whole answer, of whose content it has `received` bytes. For `seen`.

        For an answer without content, that is its head. A system that tells no more counts what was handed over.
        """
        link = self.link
        if isinstance(link, ClosedLink):
            return self.state is State.RECEIVED
        if self.state is not State.HANDED_OVER:
            return False
        if link.known == HANDED_OVER:
            return True
        return received == self.length and (received > 0 or link.acknowledged() >= self.at)

    def _rate(self, acknowledged: int, now: float) -> float:
        """Return how fast it has been in the last seconds."""
        known = self.snapshot
        sample = known if isinstance(known, _Sample) else _Sample(self.began, 0, 0.0, self.began)
        seconds = now - sample.time
        if seconds < SAMPLE_SECONDS and sample is known:
            return sample.rate
        lately = _per_second(acknowledged - sample.received, seconds)
        moved = now if lately else sample.moved
        rate = 0.0
        if now - moved < STILL_SECONDS:
            share = min(1.0, seconds / SMOOTH_SECONDS) if sample.rate else 1.0
            rate = sample.rate + (lately - sample.rate) * share
        if seconds >= SAMPLE_SECONDS:
            self.snapshot = _Sample(now, acknowledged, rate, moved)
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


class Ranges(Sequence[tuple[int, int]]):
    """The (start, stop) pairs of very many pieces, made when they are looked at. Equals a tuple of them."""

    __slots__ = ("_pieces",)

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = pieces

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: int | slice) -> Any:  # Any: a pair, or a tuple of pairs
        return tuple(self)[index] if isinstance(index, slice) else self._pieces[index][1:]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return (piece[1:] for piece in self._pieces)

    def __eq__(self, other: object) -> bool:
        return tuple(self) == (tuple(other) if isinstance(other, Ranges) else other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return repr(tuple(self))


def _ranges(pieces: Sequence[Piece]) -> Sequence[tuple[int, int]]:
    return tuple(piece[1:] for piece in pieces) if len(pieces) <= MOST_UNFOLDED_RANGES else Ranges(pieces)


def seen(exchange: Exchange, look: Callable[[Exchange], _Seen]) -> _Seen:
    """Return what `look` finds out about an exchange, without the log's lock, under which nobody may ask the kernel.

    It looks again if the exchange has moved on meanwhile. One that has kept its connection had the descriptor all the
    time; one that is over no longer changes.
    """
    while True:
        link, state = exchange.link, exchange.state
        found = look(exchange)
        if exchange.link is link and exchange.state is state:
            return found


def recorded(exchange: Exchange, now: float) -> RequestRecord:
    """Return an exchange as it is now, without the log's lock; always the same record once it is over."""
    if exchange.settled_record is not None:
        return exchange.settled_record
    was_over = exchange.is_over
    made = seen(exchange, lambda one: one.record(now))
    if was_over:
        exchange.settled_record = made
    return made


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
