"""Finds the process that already listens on a port, usually the server in question.

Knows that a taken port cannot be bound, and what Linux says about sockets and processes. Sends nothing to the other
server, which would count it as a board.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from httpserve.base.text import printable
from httpserve.errors import HttpServeError, PortInUse, PortNotPermitted
from httpserve.network.binding import bind
from httpserve.network.choice import listen_host
from httpserve.network.hosts import is_numeric
from httpserve.network.interfaces import with_zone

_TABLES = {"tcp": socket.AF_INET, "tcp6": socket.AF_INET6}  # of the network that this thread is in
_LISTENS = "0A"  # TCP_LISTEN of linux/tcp_states.h
_WILDCARDS = ("0.0.0.0", "::")
_FIRST_WORDS = 3  # of a command line: python -m httpserve
_WORD_BYTES = 4


@dataclass(frozen=True, slots=True)
class PortOwner:
    """Another process that listens. `host` is its address; `pid` is 0 and `program` empty if unknown."""

    host: str
    port: int
    pid: int = 0
    program: str = ""


class _Socket(NamedTuple):
    host: str
    inode: str


def listener(host: str | None, peer: str | None, port: int) -> PortOwner | None:
    """Return the process that listens where a server with these settings would; None: none, or unknown.

    Blocks for some milliseconds. Binds the port for a moment, and asks no name server.
    """
    if port == 0 or not all(is_numeric(given) for given in (host, peer) if given is not None):
        return None
    try:
        wanted = listen_host(host, peer)
        bind(wanted, port).close()
    except (PortInUse, PortNotPermitted) as error:  # not permitted to us; the other process may have been root
        unseen = _Socket(wanted, "") if isinstance(error, PortInUse) else None
        found = next(_sockets(wanted, port), unseen)
    except HttpServeError:
        return None
    else:
        return None
    if found is None:
        return None
    pid, program = _process(found.inode)
    return PortOwner(with_zone(found.host), port, pid, program)


def _sockets(wanted: str, port: int) -> Iterator[_Socket]:
    """Give the sockets that listen on a port and block an address, the one with that address first."""
    bare = wanted.partition("%")[0]
    there = [one for table, family in _TABLES.items() for one in _listening(table, family, port)]
    near = [one for one in there if bare in _WILDCARDS or one.host in (bare, *_WILDCARDS)]
    yield from sorted(near, key=lambda one: one.host != bare)


def _listening(table: str, family: socket.AddressFamily, port: int) -> Iterator[_Socket]:
    try:
        lines = Path("/proc/thread-self/net", table).read_text().splitlines()[1:]
    except OSError:  # not Linux, or a sandbox
        return
    for line in lines:
        _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
        address, _, number = local.partition(":")
        if state == _LISTENS and int(number, 16) == port:
            yield _Socket(socket.inet_ntop(family, _in_network_order(bytes.fromhex(address))), inode)


def _in_network_order(address: bytes) -> bytes:
    """Reverse the bytes of 32-bit words if the processor is little-endian."""
    if sys.byteorder == "big":
        return address
    return b"".join(address[at : at + _WORD_BYTES][::-1] for at in range(0, len(address), _WORD_BYTES))


def _process(inode: str) -> tuple[int, str]:
    """Return the process that has a socket, and its name, as far as this user may know."""
    link = f"socket:[{inode}]"
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # another user's, or gone
            if inode and any(_leads_to(fd, link) for fd in (folder / "fd").iterdir()):
                return int(folder.name), _program(folder)
    return 0, ""


def _leads_to(fd: Path, link: str) -> bool:
    with contextlib.suppress(OSError):  # closed meanwhile
        return os.readlink(fd) == link
    return False


def _program(folder: Path) -> str:
    words = (folder / "cmdline").read_bytes().split(b"\0")[:_FIRST_WORDS]  # later ones may be secret
    if any(os.path.basename(word) == b"httpserve" for word in words):
        return "httpserve"
    return printable((folder / "comm").read_text(errors="replace").removesuffix("\n"))
