"""What somebody waits for, as data: how much of a file, and who must have it.

Knows numbers and addresses. Knows nothing of what has arrived.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address, ip_address

from httpserve.base.arguments import checked_count, checked_seconds
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.records.exchange import Exchange
from httpserve.records.model import RequestRecord, name_asked

IDLE_SECONDS = 5.0
METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2

Until = str | float | int
Clients = int | Iterable[str]
Client = str | Callable[[RequestRecord], object]


class UntilKind(Enum):
    """What ends a wait."""

    ALL = "all"
    STARTED = "started"
    IDLE = "idle"
    PART = "part"


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of a file a client must have."""

    kind: UntilKind = UntilKind.ALL  # what ends the wait
    part: float | int = 0  # for `PART`: a fraction if it is a float, else a number of bytes
    idle: float = IDLE_SECONDS  # for `IDLE`: seconds in which nothing more may come

    def bytes_of(self, total: int) -> int:
        """Return how many bytes of a file of that size a client must have."""
        if self.kind is UntilKind.ALL:
            return total
        if self.kind is UntilKind.PART:
            return min(total, math.ceil(self.part * total) if isinstance(self.part, float) else self.part)
        return min(total, 1)

    @property
    def is_end(self) -> bool:
        """Whether a client that has come this far has reached the end."""
        return self.kind in (UntilKind.ALL, UntilKind.IDLE)


def amount(until: Until, idle: float = IDLE_SECONDS) -> Amount:
    """Return what `until` and `idle` of a wait mean. Raises InvalidArgument for what means nothing."""
    checked_seconds("idle", idle, zero=True)
    if isinstance(until, str):
        if until in ("all", "started", "idle"):
            return Amount(UntilKind(until), idle=idle)
    elif isinstance(until, float):
        if 0.0 < until <= 1.0:
            return Amount(UntilKind.PART, until)
    elif isinstance(until, int) and not isinstance(until, bool) and until > 0:
        return Amount(UntilKind.PART, until)
    raise InvalidArgument(
        f"until must be 'all', 'started', 'idle', a fraction (a float above 0.0 and up to 1.0) or a number of bytes "
        f"(an int from 1 on), not {until!r}"
    )


@dataclass(frozen=True, slots=True)
class Boards:
    """Whose downloads count."""

    count: int = 1  # how many clients must have it
    addresses: tuple[str, ...] = ()  # which; empty for any
    predicate: Callable[[RequestRecord], object] | None = None  # the user's: tells of a request whether it counts

    def choose(self, has: Collection[str]) -> list[str] | None:
        """Return those of the clients who have it that are waited for; None when some are not among them."""
        if self.addresses:
            return list(self.addresses) if all(client in has for client in self.addresses) else None
        return list(has)[: self.count] if len(has) >= self.count else None

    def may_be(self, client: str) -> bool:
        """Tell whether this client is one of those waited for."""
        return not self.addresses or client in self.addresses


def boards(client: Client | None = None, clients: Clients = 1) -> Boards:
    """Return what `client` and `clients` of a wait mean. Raises InvalidArgument or InvalidType if they mean nothing."""
    if client is not None and clients != 1:
        raise InvalidArgument("client= names one board and clients= several: give one of them")
    if callable(client):
        return Boards(predicate=client)
    if client is not None:
        return Boards(addresses=(address(client),))
    if isinstance(clients, int):
        return Boards(count=checked_count("clients", clients))
    if isinstance(clients, str) or not isinstance(clients, Iterable):
        raise InvalidType(f"clients must be a number or a list of addresses, not {clients!r}")
    addresses = tuple(dict.fromkeys(address(one) for one in clients))
    if not addresses:
        raise InvalidArgument("clients must name at least one address")
    return Boards(count=len(addresses), addresses=addresses)


def address(client: object) -> str:
    """Return a board's address as records have it. Raises InvalidArgument for what is not an address."""
    try:
        if not isinstance(client, str):  # ipaddress would take a number, too
            raise ValueError
        found = ip_address(client)
    except ValueError:
        raise InvalidArgument(
            f"client must be a board's IP address or a function of its request, not {client!r}"
        ) from None
    mapped = found.ipv4_mapped if isinstance(found, IPv6Address) else None
    return str(mapped or found)


def method_named(method: object) -> str:
    """Return a method as requests have it. Raises InvalidArgument or InvalidType for what is not a method.

    Methods are case-sensitive (RFC 9110, 9.1), so only those that everybody knows may be in either case.
    """
    if not isinstance(method, str):
        raise InvalidType(f"method must be a str such as 'GET', not {method!r}")
    if not _TOKEN.fullmatch(method):
        raise InvalidArgument(f"method must be one word such as 'GET', not {method!r}; None means any")
    return method.upper() if method.upper() in METHODS else method


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which request is waited for; what is None may be anything."""

    name: str | None = None  # what it asks for, whether there is such a file or not
    method: str | None = None
    status: int | None = None  # of the answer
    client: str | None = None
    by_function: bool = False  # a function decides in the end, and other waits use up nothing that it waits for

    def __str__(self) -> str:
        what = self.method or "request"
        what += "" if self.name is None else f" for {self.name!r}"
        what += "" if self.client is None else f" by {self.client}"
        return what + ("" if self.status is None else f" with the status {self.status}")

    def fits(self, exchange: Exchange) -> bool:
        """Tell whether an exchange is such a request."""
        return (
            self.status in (None, exchange.status)
            and self.method in (None, exchange.head.method)
            and self.client in (None, exchange.link.client)
            and (self.name is None or self.name == asked_for(exchange))
        )


def asked_for(exchange: Exchange) -> str:
    """Return the name that a request asks for, whether there is such a file or not."""
    return exchange.subject.name if exchange.subject else name_asked(exchange.head.target)
