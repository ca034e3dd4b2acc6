"""The server: werkzeug's threaded WSGI server, with leader and followers in place of its loop.

Knows how to start, drain and stop the leader in a background thread. Knows nothing of what is served.
"""

from __future__ import annotations

import contextlib
import encodings.idna  # noqa: F401 - imported here, or by the first getaddrinfo, inside the first start()
import importlib.metadata  # noqa: F401 - likewise by werkzeug
import logging
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from httpserve.base.log import logger
from httpserve.base.text import counted
from httpserve.base.threads import renew_in_child
from httpserve.records.log import ExchangeLog
from httpserve.server.leader import Leader
from httpserve.server.limits import Limits
from httpserve.server.log_writer import LogWriter
from httpserve.server.poller import best_poller
from httpserve.server.shared import Shared
from httpserve.server.tcp import Listener

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

log = logger("httpserve.client")  # the other lines about starts and stops go there too

JOIN_SECONDS = 1.0


class _Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # set here, or werkzeug sets it on the class that everybody shares


class Server(ThreadedWSGIServer):
    """Serves a WSGI app on listening sockets.

    Args:
        sockets: The listening sockets, on one port; the server takes them over, and its address is the first one's.
        app: The WSGI app.
        ledger: Where exchanges are recorded.
        limits: How long things may take.
        clock: Returns the time by which they are timed, in seconds. After changing it, call `wake`.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        app: WSGIApplication,
        ledger: ExchangeLog,
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        host, port = sockets[0].getsockname()[:2]
        self._others: list[Listener] = []
        with contextlib.ExitStack() as taken:  # a signal's handler may raise: the port must not stay taken
            for sock in sockets:
                taken.callback(sock.close)
            # werkzeug exits the process when bind fails, so it gets a descriptor that is bound; it keeps a duplicate.
            super().__init__(host, port, app, _Handler, fd=sockets[0].fileno())
            taken.callback(self.server_close)
            self._others = [Listener(sock) for sock in sockets[1:]]
            self.socket = Listener(self.socket)
            self.host = host  # as the socket has it: names are already resolved
            self._ledger = ledger
            self._log = LogWriter(f"httpserve:{port}-log")
            local = None if host in ("0.0.0.0", "::") or self._others else host
            shared = Shared(app, ledger, self._environ(host, port), local, limits, self._log, clock)
            self._repeats = shared.repeats
            self._leader = Leader([self.socket, *self._others], shared, best_poller(), f"httpserve:{port}")
            taken.pop_all()
            sockets[0].close()
        self._thread: threading.Thread | None = None
        renew_in_child(self, Server.abandon_in_child)

    def _environ(self, host: str, port: int) -> dict[str, Any]:
        return {
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
            "SERVER_SOFTWARE": "httpserve",
            "SCRIPT_NAME": "",
            "SERVER_NAME": host,
            "SERVER_PORT": str(port),
        }

    def start(self) -> None:
        """Serve in a background thread. Requests are answered from now on: the socket already listens."""
        self._thread = threading.Thread(target=self._leader.run, name=f"httpserve:{self.port}", daemon=True)
        self._thread.start()

    @property
    def is_started(self) -> bool:
        """Whether the thread was started."""
        return self._thread is not None and self._thread.ident is not None

    def pause_repeats(self, is_paused: bool) -> None:
        """Ask the app for each answer as long as this is so. Holds for every request that is read from now on."""
        self._repeats.pause(is_paused)

    def wake(self) -> None:
        """Check at once which deadlines have come."""
        self._leader.wake()

    def owns(self, thread: threading.Thread) -> bool:
        """Tell whether a thread is one of this server's."""
        return thread is self._thread or thread in self._leader.threads()

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until `stop`. `poll_interval` is werkzeug's and is not needed: nothing polls."""
        self._leader.run()

    def shutdown(self) -> None:
        """Stop without a drain, as werkzeug's own name for it."""
        self.stop(0.0)

    def cut(self) -> None:
        """End every connection now, whatever `stop` is waiting for."""
        self._leader.cut()

    def stop(self, timeout: float) -> bool:
        """Drain for at most `timeout` seconds, then cut. Returns when the port is free and the threads have ended.

        Returns:
            Whether every answer under way got out whole.
        """
        if not self.is_started:
            self._leader.never_ran()
            self.server_close()
            return True
        self._leader.drain()
        try:
            count = self._ledger.count_under_way() if timeout else 0
            if count:
                message = "waiting up to %g s for %s to end; stop(0) does not wait"
                self._log.say(log, logging.INFO, message, timeout, counted(count, "download"))
            self._leader.over.wait(timeout)
        finally:  # also when a Ctrl-C ends the wait
            self._leader.cut()
            self._leader.over.wait(JOIN_SECONDS)
            self._join(time.monotonic() + JOIN_SECONDS)
            self.server_close()
            self._log.close()
        return not self._leader.has_cut

    def server_close(self) -> None:
        """Close the listening sockets, as werkzeug's own name for it."""
        super().server_close()
        for listener in self._others:
            listener.close()

    def _join(self, until: float) -> None:
        """Wait for all threads except those that wait for a disk: they end by themselves when it answers."""
        for thread in [self._thread, *self._leader.threads()]:
            if thread is not None and thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def abandon_in_child(self) -> None:
        """In a forked child, close the copies of the descriptors: only the parent answers."""
        self._leader.abandon_in_child()
        self.server_close()
