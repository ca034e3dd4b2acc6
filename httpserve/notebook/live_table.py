"""Shows a client's transfers in a notebook as they happen, below the cell that asks for it.

Knows IPython's display and, where they are installed, ipywidgets. Knows of transfers only how to show them.
"""

from __future__ import annotations

import importlib
import sys
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from markupsafe import Markup

from httpserve.base.tables import as_html, as_text, html, joined
from httpserve.base.text import size
from httpserve.base.threads import Latch, sigint_held
from httpserve.errors import HttpServeError

SECONDS = 0.5  # between two looks
KINDS = ("begun", "progress", "ended", "stopped")
MOST_SHOWN = 10
MOST_MISSING = 5
JOIN_SECONDS = 5.0

_ADDED = ("acknowledged", "total", "rate")

Bundle = dict[str, str]  # what to show, by media type


class Watched(Protocol):
    """What is asked of a client."""

    @property
    def is_running(self) -> bool: ...
    @property
    def transfers(self) -> Sequence[Any]: ...  # records, of which `tables` knows what to show
    @property
    def missing(self) -> Sequence[Any]: ...  # likewise; blocks while the disk lists names
    def events(self, since: int, timeout: float, kinds: Sequence[str]) -> Sequence[Any]: ...  # each has a number
    def get_url(self) -> str: ...


class Watch:
    """A live table of transfers in the output of one cell. It ends with the server, or at its `close`.

    A thread of its own reads the client's events twice a second, and shows the transfers when there were any. What it
    shows goes to the place where it began, whatever other cells run meanwhile. It does not keep the client alive.
    """

    def __init__(self, client: Watched) -> None:
        """Show the table as it is now; `start` lets it go on. Returns at once.

        Raises:
            HttpServeError: This is not a notebook.
        """
        shell = _notebook()
        if shell is None:
            raise HttpServeError("watch() needs a Jupyter notebook; elsewhere, read `transfers`")
        self._client = weakref.ref(client)
        self._url = client.get_url()
        self._ended = Latch()
        self._is_over = Latch()
        self._cell = shell.execution_count
        self._shell = shell
        self._since = max((one.number for one in client.events(0, 0, KINDS)), default=0)
        self._transfers = client.transfers
        self._missing: Sequence[Any] | None = None  # until the thread has looked
        self._place = _place(shell, self._bundle("live"))
        with sigint_held():  # as below: what a signal raises inside of a Thread breaks it
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
            ends = _end(client, happened) or ("closed" if is_closed else "")
            if happened or ends:
                self._transfers = client.transfers
            if is_first or any(one.kind == "ended" and one.request.status == 404 for one in happened):
                self._missing = client.missing
        if happened:
            self._since = happened[-1].number
        if happened or ends or (is_first and self._missing):
            self._place(self._bundle(ends or "live"))
        return ends

    def _bundle(self, state: str) -> Bundle:
        transfers, missing = self._transfers, self._missing or ()
        under_way = [transfer for transfer in transfers if transfer.state == "under way"]
        title = f"{len(under_way)} under way, {len(transfers)} in all, {state}"
        head = html("<div><code>{}</code>: {}</div>", self._url, title)
        bars = joined(map(_bar, under_way[-MOST_SHOWN:]))
        more = len(under_way) - MOST_SHOWN
        bars += html("<div>and {} more under way</div>", more) if more > 0 else ""
        bars += html("<div>{} in all</div>", _amounts(under_way)) if len(under_way) > 1 else ""
        table = as_html(transfers, MOST_SHOWN)
        table += html("<div>asked for, and not there:</div>{}", as_html(missing, MOST_MISSING)) if missing else ""
        return {  # a widget has lines twice as high as those of other outputs
            "text/html": html('<div style="line-height:normal">{}{}{}</div>', head, bars, table),
            "text/plain": f"{self._url}: {title}\n{as_text(transfers, MOST_SHOWN)}",
        }

    def __repr__(self) -> str:
        return f"<Watch of {self._url}, {'live' if self.is_live else 'ended'}>"

    def _ipython_display_(self) -> None:
        if self._shell.execution_count != self._cell:  # in the cell that made it, it is shown already
            self._shell.display_pub.publish({"text/plain": repr(self)})


def _end(client: Watched, happened: Sequence[Any]) -> str:
    """Say why no more will come, if that is so: not before what was under way at a stop has ended, too."""
    has_stopped = any(one.kind == "stopped" for one in happened) or not (  # where so much came that it is forgotten
        client.is_running or any(one.state == "under way" for one in client.transfers)
    )
    return "the server was stopped" if has_stopped else ""


def _bar(transfer: Any) -> Markup:  # a record, as in Watched
    return html(
        '<div><progress value="{}" max="{}"></progress> {} {}: {}</div>',
        transfer.acknowledged,
        max(transfer.total, 1),
        transfer.client,
        transfer.name,
        _amounts([transfer]),
    )


def _amounts(transfers: Sequence[Any]) -> str:
    """Return how far transfers are, and how fast."""
    acknowledged, total, rate = (sum(getattr(one, name) for one in transfers) for name in _ADDED)
    return f"{100 * acknowledged // max(total, 1)} %, {size(acknowledged)} of {size(total)}, {size(rate)}/s"


def _notebook() -> Any:
    """Return the shell of a Jupyter kernel if this runs in one, else None. IPython has no types."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if getattr(shell, "kernel", None) is not None else None


def _place(shell: Any, first: Bundle) -> Callable[[Bundle], None]:
    """Show something below the running cell, and return what changes it later, from any thread."""
    widgets = _widgets()
    if widgets is not None:
        widget = widgets.HTML(first["text/html"])
        shell.display_pub.publish(widget._repr_mimebundle_() | {"text/plain": first["text/plain"]})
        return lambda bundle: setattr(widget, "value", bundle["text/html"])
    # This publisher, whatever a cell that captures its output puts there meanwhile. A change goes to where its
    # display_id was shown, whichever cell runs then.
    publisher = shell.display_pub
    transient = {"display_id": f"httpserve-{uuid.uuid4().hex}"}
    publisher.publish(first, transient=transient)
    return lambda bundle: publisher.publish(bundle, transient=transient, update=True)


def _widgets() -> Any:
    """Return ipywidgets where it is installed; it has no types."""
    try:
        return importlib.import_module("ipywidgets")
    except ImportError:
        return None
