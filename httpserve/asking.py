"""Asks a server on this host, as a board would, and returns the bytes that come.

Knows sockets and addresses. Of HTTP it knows nothing: neither what is asked nor what the answer means.
"""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass

from httpserve.interfaces import interfaces

MOST_BYTES = 1 << 20
_CHUNK_BYTES = 65536


@dataclass(frozen=True)
class Answer:
    """What came: `first` at once, `data` until the server closed, `seconds` until the first byte."""

    first: bytes
    data: bytes
    seconds: float


def ask(host: str, port: int, request: bytes, timeout: float) -> Answer:
    """Connect to an address of this host, send *request*, and return what comes until the server closes.

    Blocks at most *timeout* seconds.

    Raises:
        OSError: It does not connect, answer or close in time.
    """
    began = time.monotonic()
    deadline = began + timeout
    with socket.create_connection((host, port), timeout) as sock:
        sock.sendall(request)
        first = data = sock.recv(_CHUNK_BYTES)
        seconds = time.monotonic() - began
        while data and len(data) < MOST_BYTES:
            sock.settimeout(max(0.001, deadline - time.monotonic()))
            more = sock.recv(_CHUNK_BYTES)
            if not more:
                break
            data += more
    return Answer(first, data, seconds)


def with_zone(host: str) -> str:
    """Return an address of this host as connecting takes it: link-local IPv6 with its zone."""
    return next((here.host for here in interfaces() if here.address == host), host)
