"""Ports that nobody else takes meanwhile: the system gives none of them to who asks for any."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path

LOWEST = 20_000
pooled: set[int] = set()  # of stores: opendal keeps connections to them, which are no leak


def free_port(*addresses: str) -> int:
    """Return a port that is free on these addresses; on 127.0.0.1 where none is given."""
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError):  # not Linux
        first = 32_768
    while True:
        port = random.randrange(min(LOWEST, first - 1000), first)
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for address in addresses or ("127.0.0.1",):
                stack.enter_context(socket.create_server((address, port)))
            return port
