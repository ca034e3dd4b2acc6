"""How boards reach a server: the URL, and what keeps them away, as far as that is known at no cost.

Knows the client's settings, and which address faces whom. Asks no name server, and sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from httpserve.base.text import Hint, Message, url_path
from httpserve.client.lifecycle import Lifecycle
from httpserve.errors import AddressNotFound
from httpserve.network.choice import advertised, obstacle
from httpserve.network.hosts import is_numeric, numeric_address
from httpserve.records.waits.outcome import Way
from httpserve.server.server import Server

_WILDCARDS = ("0.0.0.0", "::")


class Ways:
    """The ways to one server; `peer` and `advertise` are the client's arguments."""

    def __init__(self, life: Lifecycle, peer: str | None, advertise: str | None) -> None:
        self._life = life
        self._peer = peer
        self._advertise = advertise

    def url(self, server: Server) -> str | None:
        """Return the URL of the root; None if only the resolver knows it, which may take long."""
        peer = self._peer
        if self._advertise is None and peer is not None and server.host in _WILDCARDS and not is_numeric(peer):
            return None
        try:
            return advertised(server.host, server.port, peer=peer, advertise=self._advertise)
        except AddressNotFound:  # the network is gone
            return None

    def to(self, name: str) -> Way:
        """Return the way to a checked name, which need not exist; the empty one is that of the root."""
        server = self._life.running()
        if server is None:
            return Way(peer=self._peer)
        root = self.url(server)
        url = f"{root}/{url_path(name)}" if root and name else root
        return Way(url, self._peer, tuple(self._obstacles(server)))

    def _obstacles(self, server: Server) -> Iterator[str]:
        if self._advertise is not None:
            return  # what is on that way is not known here
        if self._peer is not None and is_numeric(self._peer):
            error = obstacle(server.host, self._peer)
            if error is not None:
                yield error.args[0]
        elif numeric_address(server.host.partition("%")[0]).is_loopback:
            yield Message("the server listens on {}, which only this host reaches: pass {}", server.host, Hint("peer"))
