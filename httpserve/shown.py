"""How a client shows itself in a terminal and in a notebook: a snapshot, which waits for nothing and starts nothing.

Knows where to read without a lock. Does not know what a table looks like.
"""

from __future__ import annotations

from ipaddress import ip_address

from httpserve.base.tables import server_html
from httpserve.errors import AddressNotFound, StorageError
from httpserve.lifecycle import Life
from httpserve.network.choice import advertised, url_host
from httpserve.records.claims import Claims
from httpserve.server.server import Server
from httpserve.storage.directory.root import Root

MOST_REQUESTS = 5  # that a notebook shows with a client
_WILDCARDS = ("0.0.0.0", "::")


class Shown:
    """What there is to see of one client.

    Args:
        life: Whether it runs, and where.
        root: The directory, whose files are not looked at.
        ledger: What was asked.
        peer: As the client's argument.
        advertise: As the client's argument.
    """

    def __init__(self, life: Life, root: Root, ledger: Claims, peer: str | None, advertise: str | None) -> None:
        self._life = life
        self._root = root
        self._ledger = ledger
        self._peer = peer
        self._advertise = advertise

    def line(self) -> str:
        """Return the client in a line."""
        server = self._life.running()
        if server is None:
            where = ""
        else:
            where = f" {self._url(server) or f'http://{url_host(server.host)}:{server.port}'}"
        return f"<HttpServerClient {self._life.state.name.lower()}{where}>"

    def page(self) -> str:
        """Return the client as HTML, everything in it escaped."""
        server = self._life.running()
        url, port = (None, 0) if server is None else (self._url(server), server.port)
        state = self._life.state.name.lower()
        return server_html(state, url, port, self._directory(), self._ledger.glance(MOST_REQUESTS))

    def _url(self, server: Server) -> str | None:
        """Return the URL of the root; None where the resolver would have to be asked for it, which may take long."""
        peer = self._peer
        if self._advertise is None and peer is not None and server.host in _WILDCARDS and not _is_address(peer):
            return None
        try:
            return advertised(server.host, server.port, peer=peer, advertise=self._advertise)
        except AddressNotFound:  # the network is gone
            return None

    def _directory(self) -> str | None:
        try:
            return self._root.path
        except StorageError:  # a private one, which is not there yet
            return None


def _is_address(peer: str) -> bool:
    try:
        ip_address(peer)
    except ValueError:
        return False
    return True
