"""A server and what is known about it, for all checks of the doctor.

Knows the client's settings and records, and which addresses are this host's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property

from httpserve.base.outcome import StoreSeen
from httpserve.doctor.port_owner import PortOwner
from httpserve.network.choice import answering
from httpserve.network.interfaces import InterfaceAddress, interfaces
from httpserve.records.model import Missing, RequestRecord


@dataclass(frozen=True)
class Situation:
    """A server, and what is known about it. `host`, `peer` and `advertise` are the client's arguments."""

    host: str | None
    peer: str | None
    advertise: str | None
    port: int  # that it listens on, or would listen on
    bound: str | None  # the address that it listens on; None if it does not run
    since: float  # when it was started, in seconds since the epoch
    requests: tuple[RequestRecord, ...]  # the latest
    missing: tuple[Missing, ...]
    connections: Mapping[str, int]  # how many each address has made
    probe: Callable[[bytes], AbstractContextManager[str]]  # serves content during a block, and gives its name
    faults: tuple[str, ...] = ()  # what was asked for to be wrong, as texts
    store: StoreSeen | None = None  # where files come from, if not from a directory
    lost: tuple[tuple[str, str], ...] = ()  # names that are served in place, and their paths, where nothing is now
    other: PortOwner | None = None  # listens there while ours does not run; `bound` is then its address

    @cached_property
    def own(self) -> frozenset[str]:
        """The addresses of this host."""
        return frozenset(here.address for here in interfaces())

    @cached_property
    def urls(self) -> list[InterfaceAddress]:
        """The addresses at which other hosts may reach the server, best first."""
        return [] if self.bound is None else answering(self.bound)

    @cached_property
    def boards(self) -> dict[str, int]:
        """The number of connections from each other host."""
        return {client: count for client, count in self.connections.items() if not self.is_own(client)}

    def is_own(self, client: str) -> bool:
        """Tell whether an address is one of this host."""
        bare = client.partition("%")[0]
        return bare in self.own or bare == "::1" or bare.startswith("127.")


def times(count: int) -> str:
    """Return `once`, or for example `3 times`."""
    return "once" if count == 1 else f"{count} times"


def ago(moment: float) -> str:
    """Return how long ago a time was, given in seconds since the epoch."""
    return f"{max(0.0, time.time() - moment):.0f} s ago"
