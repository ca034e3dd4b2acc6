"""A WSGI app in a thread of its own: its answer as it comes, until a deadline.

Knows threads and WSGI. Does not know what the app is for, nor what is answered in its place when it fails.
"""

from __future__ import annotations

import queue
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from httpserve.base.threads import Aside
from httpserve.base.wsgi import Heard, StartResponse, heard

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

AHEAD = 4  # pieces that the app may have made and nobody has taken
LOOK_SECONDS = 0.05  # how often to look whether the server gives up, and whether the pieces are still wanted


class NotRun(Exception):
    """The app was not run: the system has no thread for it."""


class ServerEnds(Exception):
    """Nobody waits for the answer any more: the server ends its connections."""


class TookTooLong(Exception):
    """The app gave nothing by its deadline."""


class OwnThread:
    """One call of an app.

    Args:
        app: The app.
        environ: Of its request.
        seconds: How long it may take until its answer begins, and then for each piece.
        is_given_up: Tells whether the server ends.
    """

    def __init__(
        self, app: WSGIApplication, environ: dict[str, Any], seconds: float, is_given_up: Callable[[], bool]
    ) -> None:
        self._app = app
        self._environ = environ
        self._seconds = seconds
        self._is_given_up = is_given_up
        self._made: queue.Queue[Heard | bytes | BaseException | None] = queue.Queue(AHEAD)  # None: the end
        self._is_wanted = True

    def answer(self) -> Heard:
        """Return the answer, whose pieces block until they come. Blocks until it begins.

        Raises:
            BaseException: What the app raises.
            NotRun, ServerEnds, TookTooLong: As they say.
        """
        if not Aside(self._run, "httpserve:answer").start():
            raise NotRun
        found = self._next()
        assert isinstance(found, Heard)
        return found if found.pieces is None else found._replace(pieces=iter(self._pieces, None))

    def close(self) -> None:
        """Want no more pieces. Harmless when repeated."""
        self._is_wanted = False

    def _pieces(self) -> bytes | None:
        piece = self._next()
        assert not isinstance(piece, Heard)
        return piece

    def _next(self) -> Heard | bytes | None:
        until = time.monotonic() + self._seconds
        while True:
            try:
                made = self._made.get(timeout=max(0.0, min(LOOK_SECONDS, until - time.monotonic())))
            except queue.Empty:
                if self._is_given_up():
                    raise ServerEnds from None
                if time.monotonic() >= until:
                    raise TookTooLong from None
                continue
            if not isinstance(made, BaseException):
                return made
            try:
                raise made
            finally:
                del made  # else it would hold its own traceback

    # In the thread

    def _run(self) -> None:
        try:
            said = StartResponse()
            body = self._app(self._environ, said)
            close = getattr(body, "close", lambda: None)
            found = heard(body, said, close, is_head=self._environ["REQUEST_METHOD"] == "HEAD")
            self._give(found)
            if found.pieces is not None:
                self._give_pieces(found.pieces, close)
        except BaseException as error:  # noqa: BLE001 - sys.exit() too: it is raised where the answer is wanted
            self._give(error)

    def _give_pieces(self, pieces: Iterator[bytes], close: Callable[[], object]) -> None:
        try:
            while self._is_wanted and (piece := next(pieces, None)) is not None:
                self._give(piece)
        finally:
            close()
        self._give(None)

    def _give(self, made: Heard | bytes | BaseException | None) -> None:
        is_given = False
        while self._is_wanted and not is_given and not sys.is_finalizing():
            try:
                self._made.put(made, timeout=LOOK_SECONDS)
                is_given = True
            except queue.Full:
                pass
