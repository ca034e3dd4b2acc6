"""Exchanges as the records' room sees them, without a socket: a connection, a head, and what an answer carries."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from httpserve.plan import Piece, Subject
from httpserve.records.claims import Claims
from httpserve.records.exchange import ClosedLink, End, Exchange
from httpserve.records.log import ExchangeLog
from httpserve.records.model import Fields


@dataclass
class Line:
    """A connection as a record sees it: so many bytes are on their way."""

    client: str = "10.0.0.2"
    client_port: int = 4711
    local: str = "10.0.0.1"
    on_their_way: int = 0
    handed: int = 10
    known: str = "acked"

    def acknowledged(self) -> int:
        return self.handed - self.on_their_way if self.on_their_way else sys.maxsize

    def ends(self) -> ClosedLink:
        return ClosedLink(self.client, self.client_port, self.local)


@dataclass(frozen=True)
class Asked:
    """A head as a record sees it."""

    method: str = "GET"
    target: str = "/f"
    range: str = ""
    user_agent: str = "curl"
    fields: Mapping[str, str] = field(default_factory=Fields)


def subject(*spans: tuple[int, int], name: str = "f", validator: str = '"v"', total: int = 10) -> Subject:
    """What an answer carries whose content is those spans, one behind the other."""
    pieces, offset = [], 0
    for start, stop in spans:
        pieces.append(Piece(offset, start, stop))
        offset += stop - start
    return Subject(name, validator, total, tuple(pieces))


WHOLE = subject((0, 10))


def begun(
    where: Claims | ExchangeLog,
    what: Subject | None = WHOLE,
    *,
    line: Line | None = None,
    asked: Asked | None = None,
    status: int = 200,
    began: float = 100.0,
) -> Exchange:
    """Let an answer begin."""
    length = sum(piece.stop - piece.start for piece in what.pieces) if what else 3
    exchange = Exchange(line or Line(), asked or Asked(), status, length, what, 1000.0, began)
    _log(where).begin(exchange)
    return exchange


def sent(where: Claims | ExchangeLog, exchange: Exchange, now: float = 101.0) -> None:
    """Let the kernel take the whole answer."""
    exchange.handed = exchange.length
    _log(where).handed_over(exchange, now)


def received(where: Claims | ExchangeLog, exchange: Exchange, count: int | None = None, now: float = 101.0) -> None:
    """Let the kernel take the whole answer, and the client all of it, or only `count` bytes."""
    sent(where, exchange, now)
    _log(where).settle(exchange, exchange.length if count is None else count, now, End.CLOSED)


def _log(where: Claims | ExchangeLog) -> ExchangeLog:
    return where.log if isinstance(where, Claims) else where
