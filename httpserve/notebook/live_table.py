"""Shows a client's transfers in a notebook as they happen, below the cell that asks for it.

Knows IPython's display. Knows of transfers only how to show them.
"""

from __future__ import annotations

import ipaddress
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from markupsafe import Markup

from httpserve.base.ipython import shell as running_shell
from httpserve.base.tables import Column, as_html, coloured, html, html_table, text_table
from httpserve.base.text import printable, size
from httpserve.base.threads import Latch, sigint_held
from httpserve.errors import HttpServeError
from httpserve.records.model import UNDER_WAY

SECONDS = 0.5  # between two looks
KINDS = ("begun", "progress", "ended", "stopped")
MOST_SHOWN = 10
MOST_MISSING = 5
JOIN_SECONDS = 5.0

COLUMNS = [
    *(Column("state"), Column("client"), Column("file")),
    *(Column(heading, is_number=True) for heading in ("part", "received", "of", "rate")),
]
FAULT = Column("fault")  # where there is one
_ADDED = ("acknowledged", "total", "rate")

Bundle = dict[str, str]  # what to show, by media type


class Watched(Protocol):
    """What is asked of a client."""

    @property
    def is_running(self) -> bool: ...
    @property
    def transfers(self) -> Sequence[Any]: ...  # records, which `tables` knows how to show
    @property
    def missing(self) -> Sequence[Any]: ...  # records too; blocks while the disk lists names
    @property
    def faults(self) -> Sequence[object]: ...
    @property
    def holds(self) -> Sequence[object]: ...
    def events(self, since: int, timeout: float, kinds: Sequence[str]) -> Sequence[Any]: ...  # each has a number
    def get_url(self) -> str: ...


class Watch:
    """A live table of transfers in the output of one cell. It ends with the server, or at its `close`.

    Its thread reads the client's events twice a second, and shows the transfers when there were any. What it shows
    goes to the place where it began, whatever other cells run meanwhile. It does not keep the client alive.
    """

    def __init__(self, client: Watched) -> None:
        """Show the table as it is now; `start` keeps it up to date. Returns at once.

        Raises:
            HttpServeError: This is not a notebook.
        """
        shell = running_shell()
        if getattr(shell, "kernel", None) is None:
            raise HttpServeError("watch() needs a Jupyter notebook; elsewhere, read `transfers`")
        self._client = weakref.ref(client)
        self._url = client.get_url()
        self.server_end = "the server was stopped"  # what to say at its end
        self._ended = Latch()
        self._is_over = Latch()
        self._cell = shell.execution_count
        self._shell = shell
        self._since = max((one.number for one in client.events(0, 0, KINDS)), default=0)
        self._transfers = client.transfers
        self._in_force = _in_force(client)
        self._missing: Sequence[Any] | None = None  # until the thread has looked
        self._place = _place(shell, self._bundle("live"))
        with sigint_held():  # as below: an exception from a signal inside a Thread breaks it
            self._thread = threading.Thread(target=self._go_on, name="httpserve-watch", daemon=True)

    def start(self) -> None:
        """Follow the client in a thread. Returns at once."""
        with sigint_held():
            self._thread.start()

    @property
    def is_live(self) -> bool:
        """Whether what is shown still follows the client."""
        with sigint_held():
            return self._thread.is_alive()

    def close(self) -> None:
        """Show the last state and end. Blocks for a moment, at most 5 s; harmless when repeated."""
        self._ended.open()
        if threading.current_thread() is not self._thread and self.is_live and self._is_over.wait(JOIN_SECONDS):
            with sigint_held():
                self._thread.join(JOIN_SECONDS)

    def _go_on(self) -> None:
        try:
            self._follow()
        finally:
            self._is_over.open()

    def _follow(self) -> None:
        ends = ""
        while not ends:
            # Not in events(), which would keep the client alive.
            ends = self._look(is_closed=self._ended.wait(SECONDS))

    def _look(self, *, is_closed: bool) -> str:
        """Show what has happened, and return why no more will come; empty where it may."""
        client = self._client()
        happened: Sequence[Any] = ()
        is_first = self._missing is None
        if client is None:
            ends = "the server is gone"
        else:
            happened = client.events(self._since, 0, KINDS)
            ends = self.server_end if _has_stopped(client, happened) else "no longer watched" if is_closed else ""
            if happened or ends:
                self._transfers = client.transfers
            if is_first or any(one.kind == "ended" and one.request.status == 404 for one in happened):
                self._missing = client.missing
        if happened:
            self._since = happened[-1].number
        before, self._in_force = self._in_force, self._in_force if client is None else _in_force(client)
        if happened or ends or (is_first and self._missing) or before != self._in_force:
            self._place(self._bundle(ends or "live"))
        return ends

    def _bundle(self, state: str) -> Bundle:
        under_way, over = _parted(self._transfers)
        shown = sorted([*under_way[:MOST_SHOWN], *over[-MOST_SHOWN:]], key=_order)
        states = [(one.state, _bar([one]) if one.state == UNDER_WAY else coloured(one.state)) for one in shown]
        rows = [[one.client, one.name, *_amounts([one]), one.fault] for one in shown]
        if len(under_way) > 1:
            more = len(under_way) - MOST_SHOWN
            states.append((UNDER_WAY, _bar(under_way)))
            left_out = f"and {more} more under way" if more > 0 else ""
            rows.append([f"all {len(under_way)}", left_out, *_amounts(under_way), ""])
        columns = [*COLUMNS, FAULT] if any(one.fault for one in shown) else COLUMNS
        rows = [row[: len(columns) - 1] for row in rows]
        title = f"{len(under_way)} under way, {len(self._transfers)} in all, {state}"
        table = html_table(columns, [[bar, *row] for (_, bar), row in zip(states, rows, strict=True)])
        lines = text_table(columns, [[word, *map(printable, row)] for (word, _), row in zip(states, rows, strict=True)])
        page = html('<div style="margin-bottom:.4em"><code>{}</code>: {}</div>', self._url, title)
        page += table if rows else as_html(())
        before = len(over) - MOST_SHOWN
        page += html("<div>and {} that ended before</div>", before) if before > 0 else ""
        missing = as_html(self._missing, MOST_MISSING) if self._missing else ""
        page += html('<div style="margin-top:.4em">asked for, and not there:</div>{}', missing) if missing else ""
        if self._in_force:
            page += html('<div style="margin-top:.4em">wrong on purpose: {}</div>', "; ".join(self._in_force))
        return {"text/html": page, "text/plain": "\n".join([f"{self._url}: {title}", *(lines if rows else [])])}

    def __repr__(self) -> str:
        return f"<Watch of {self._url}, {'live' if self.is_live else 'ended'}>"

    def _ipython_display_(self) -> None:
        if self._shell.execution_count != self._cell:  # in the cell that made the table, it is shown already
            self._shell.display_pub.publish({"text/plain": repr(self)})


def _in_force(client: Watched) -> list[str]:
    """Return what is asked for to be wrong."""
    return [str(one) for one in (*client.faults, *client.holds)]


def _has_stopped(client: Watched, happened: Sequence[Any]) -> bool:
    """Tell whether no more will come: after a stop, only once what was under way has ended, too."""
    return any(one.kind == "stopped" for one in happened) or not (  # so much came that the event is forgotten
        client.is_running or any(one.state == UNDER_WAY for one in client.transfers)
    )


def _parted(transfers: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Return the transfers under way, in the order of the table, and the others, in the order of time."""
    under_way = sorted((one for one in transfers if one.state == UNDER_WAY), key=_order)
    return under_way, [one for one in transfers if one.state != UNDER_WAY]


def _order(transfer: Any) -> tuple[int, int, str, float]:
    """Return what the table is sorted by, so that a row stays where it is: who fetches, what, and when."""
    client = ipaddress.ip_address(transfer.client)
    return client.version, int(client), transfer.name, transfer.time


def _bar(transfers: Sequence[Any]) -> Markup:
    acknowledged, total, _ = _sums(transfers)
    return html('<progress style="width:10em" value="{}" max="{}"></progress>', acknowledged, max(total, 1))


def _amounts(transfers: Sequence[Any]) -> list[str]:
    """Return how far transfers are, and how fast."""
    acknowledged, total, rate = _sums(transfers)
    return [f"{100 * acknowledged // max(total, 1)} %", size(acknowledged), size(total), f"{size(rate)}/s"]


def _sums(transfers: Sequence[Any]) -> tuple[int, int, float]:
    acknowledged, total, rate = (sum(getattr(one, name) for one in transfers) for name in _ADDED)
    return acknowledged, total, rate


def _place(shell: Any, first: Bundle) -> Callable[[Bundle], None]:
    """Show something below the running cell, and return what changes it later, from any thread."""
    # This publisher, whatever a cell that captures its output installs meanwhile. A change goes to where its
    # display_id was shown, whichever cell runs then, and is saved with the notebook. A widget ends with the kernel.
    publisher = shell.display_pub
    transient = {"display_id": f"httpserve-{uuid.uuid4().hex}"}
    publisher.publish(first, transient=transient)
    return lambda bundle: publisher.publish(bundle, transient=transient, update=True)
