"""Shows a client in a terminal and in a notebook, as it is now. Waits for nothing and starts nothing.

Knows what can be read without a lock. Does not know what a table looks like.
"""

from __future__ import annotations

import os

from markupsafe import Markup

from httpserve.base.tables import as_html, code, coloured, html, joined
from httpserve.client.lifecycle import Lifecycle
from httpserve.client.ways import Ways
from httpserve.errors import StorageError
from httpserve.network.hosts import url_host
from httpserve.records.log import ExchangeLog
from httpserve.storage.joined import Joined

MOST_REQUESTS = 5  # that a notebook shows with a client
MOST_IN_PLACE = 5  # of the names that are served in place


class Summary:
    """What one client shows of itself."""

    def __init__(self, life: Lifecycle, root: Joined, exchanges: ExchangeLog, ways: Ways) -> None:
        self._life = life
        self._root = root
        self._exchanges = exchanges
        self._ways = ways

    def line(self) -> str:
        """Return the client in a line."""
        server = self._life.running()
        where = f" {self._ways.url(server) or f'http://{url_host(server.host)}:{server.port}'}" if server else ""
        return f"<HttpServerClient {self._life.state.name.lower()}{where}>"

    def page(self) -> Markup:
        """Return the client as HTML, everything in it escaped."""
        server = self._life.running()
        requests = self._exchanges.glance(MOST_REQUESTS)
        rows: list[tuple[object, object]] = [("state", self._life.state.name.lower())]
        url = None if server is None else self._ways.url(server)
        if server is not None and url is not None:
            rows += [("URL for the board", code(url)), ("in this browser", _anchor(browser_link(url, server.port)))]
        elif server is not None:
            rows.append(("port", f"{server.port}; get_url() says where a board finds it"))
        rows += [(coloured("warn"), obstacle) for obstacle in self._ways.to("").obstacles]
        root = self._directory()
        if root is not None:
            rows.append(("serves", code(root)))
        in_place = list(self._root.in_place.values())
        rows += [("in place", html("{}: {}", code(one.name), code(one.path))) for one in in_place[:MOST_IN_PLACE]]
        if len(in_place) > MOST_IN_PLACE:
            rows.append(("in place", f"{len(in_place) - MOST_IN_PLACE} more"))
        row = '<tr><th style="text-align:left">{}</th><td style="text-align:left">{}</td></tr>'
        return html(
            "<div><strong>HttpServerClient</strong><table>{}</table>{}</div>",
            joined(html(row, *cells) for cells in rows),
            html("<div>last requests</div>{}", as_html(requests)) if requests else "",
        )

    def _directory(self) -> str | None:
        try:
            return self._root.label
        except StorageError:  # a private directory that does not exist yet
            return None


LINK_VARIABLE = "HTTPSERVE_LINK"


def browser_link(url: str, port: int) -> str | None:
    """Return the URL at which the notebook's browser finds the server.

    It is the template in the environment variable `HTTPSERVE_LINK`, such as `/proxy/{port}/`; without one the board's
    URL. None for a template that is no link.
    """
    template = os.environ.get(LINK_VARIABLE, "")
    if not template:
        return f"{url}/"
    try:
        link = template.format(port=port)
    except (ValueError, LookupError, AttributeError):
        return None
    return link if link.startswith(("/", "http://", "https://")) else None


def _anchor(link: str | None) -> Markup:
    if link is None:
        return html("<em>{} is not the template of a link, such as /proxy/{{port}}/</em>", LINK_VARIABLE)
    return html('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>', link)
