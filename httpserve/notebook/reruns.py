"""Lets a cell that runs again have its port: a start in IPython closes this process's server that holds it.

A script's old object ends when its variable gets a new one. In IPython it often lives on, since the history of
outputs keeps what a cell has shown, and a traceback keeps its frames. Its server would keep the port, and the cell
would work only once.

Knows whether this is IPython. Of a server it knows only that it runs, has an address and can be closed.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Protocol

from httpserve.base.ipython import shell
from httpserve.base.log import logger
from httpserve.errors import PortInUse

log = logger("httpserve.client")

_WILDCARDS = ("0.0.0.0", "::")


class Server(Protocol):
    """What is asked of a client."""

    @property
    def is_running(self) -> bool: ...
    def get_host(self) -> str: ...
    def get_port(self) -> int: ...
    def close(self) -> None: ...


def make_room(servers: Iterable[Server], error: PortInUse) -> bool:
    """Close the one of these servers that holds the port of a cell's start. False if there is none to close.

    Does nothing outside IPython, nor in any thread but the one that runs the cells. Blocks as `close` does.
    """
    if shell() is None or threading.current_thread() is not threading.main_thread():
        return False
    for server in servers:
        if server.is_running and server.get_port() == error.port:
            hosts = {server.get_host(), error.host}
            if len(hosts) == 1 or hosts.intersection(_WILDCARDS):
                log.info("closing the server at port %d of %s: this start takes its port", error.port, error.host)
                server.close()
                return True
    return False
