"""A server and what is known of it: what every look of the doctor starts from.

Knows the client's settings and records, and which addresses are this host's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from httpserve.doctor.port_owner import PortOwner
from httpserve.network.choice import answering
from httpserve.network.interfaces import InterfaceAddress, interfaces
from httpserve.records.model import Missing, RequestRecord


@dataclass(frozen=True)
class Situation:
    """A server, and what is known of it.

    Attributes:
        host: The `host` that was given.
        peer: The `peer` that was given.
        advertise: The `advertise` that was given.
        port: The port that it listens on, or would.
        bound: The address that it listens on; None: it does not run.
        since: When it was started, in seconds since the epoch.
        requests: What was asked.
        missing: Requests for what does not exist.
        connections: How many connections each address has made.
        probe: Serves content for a while, and gives its name.
        other: Who listens there while our server does not run; then `bound` is the other's address.
    """

    host: str | None
    peer: str | None
    advertise: str | None
    port: int
    bound: str | None
    since: float
    requests: tuple[RequestRecord, ...]
    missing: tuple[Missing, ...]
    connections: Mapping[str, int]
    probe: Callable[[bytes], AbstractContextManager[str]]
    other: PortOwner | None = None

    @cached_property
    def own(self) -> frozenset[str]:
        """The addresses of this host."""
        return frozenset(here.address for here in interfaces())

    @cached_property
    def urls(self) -> list[InterfaceAddress]:
        """The addresses on which other hosts may be answered, best first."""
        return [] if self.bound is None else answering(self.bound)

    @cached_property
    def boards(self) -> dict[str, int]:
        """How many connections came from each other host."""
        return {client: count for client, count in self.connections.items() if not self.is_own(client)}

    def is_own(self, client: str) -> bool:
        """Tell whether an address is one of this host."""
        bare = client.partition("%")[0]
        return bare in self.own or bare == "::1" or bare.startswith("127.")


def times(count: int) -> str:
    """Say how often."""
    return "once" if count == 1 else f"{count} times"


def ago(moment: float) -> str:
    """Say how long ago something was, given in seconds since the epoch."""
    return f"{max(0.0, time.time() - moment):.0f} s ago"
