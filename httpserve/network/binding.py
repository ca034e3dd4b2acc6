"""Binds sockets and makes them listen, or raises one of our errors that says why that is impossible.

Knows sockets and the system's errors. Does not know what a listening socket is set up with.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from httpserve.base.text import Hint, Message
from httpserve.errors import AddressError, AddressNotFound, PortInUse, PortNotPermitted
from httpserve.network.hosts import Endpoint, checked_port, resolve
from httpserve.network.interfaces import addresses_here, interfaces

# Windows lets SO_REUSEADDR take over a port in use; elsewhere it only forgives connections in TIME_WAIT.
_REUSE = socket.SO_REUSEADDR if os.name == "posix" else getattr(socket, "SO_EXCLUSIVEADDRUSE", 0)
TRIES = 20  # of ports that the system chooses, until one is free on every address
FIRST_FREE_PORT = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def bind(host: str, port: int) -> socket.socket:
    """Return a TCP socket that is bound, is not inherited by child processes, and does not listen yet.

    `::` takes IPv4 as well, and port 0 lets the system choose. Does not block for an address; for a name as long as the
    resolver.

    Raises:
        PortInUse: Another socket listens there.
        PortNotPermitted: This user may not listen there.
        AddressNotFound: No interface has that address.
        InvalidArgument: A value is malformed.
    """
    endpoint = resolve(host, checked_port(port))[0]
    try:
        return _bound(endpoint)
    except OSError as error:
        raise bind_error(error, endpoint.host, port) from error


def listening(hosts: Sequence[str], port: int, listen: Callable[[socket.socket], None]) -> list[socket.socket]:
    """Return sockets that listen on these hosts, all on one port; *listen* makes one of them listen.

    Blocks and raises as `bind` does; then no socket is left. For port 0 several ports are tried until one is free on
    every host.
    """
    for left in reversed(range(TRIES)):
        try:
            return _listening(hosts, port, listen)
        except PortInUse as error:
            if port or not left or error.host == hosts[0]:
                raise
    raise AssertionError("there is always a last try")


def _listening(hosts: Sequence[str], port: int, listen: Callable[[socket.socket], None]) -> list[socket.socket]:
    with contextlib.ExitStack() as taken:  # a Ctrl-C leaves no port taken, either
        sockets = []
        for host in hosts:
            sock = taken.enter_context(bind(host, port))
            port = sock.getsockname()[1]
            try:
                listen(sock)
            except OSError as error:
                raise bind_error(error, host, port) from error
            sockets.append(sock)
        taken.pop_all()
        return sockets


def _bound(endpoint: Endpoint) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _REUSE, 1)
        if endpoint.family == socket.AF_INET6:
            only_v6 = endpoint.host != "::" or not socket.has_dualstack_ipv6()
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        sock.bind(endpoint.sockaddr)
    except BaseException:  # a Ctrl-C too: the port would stay taken
        sock.close()
        raise
    return sock


def bind_error(error: OSError, host: str, port: int) -> AddressError:
    """Return our error for an error that `bind` or `listen` raised. Does not block.

    With SO_REUSEADDR two sockets can be bound to one port; the second one fails when it listens.
    """
    match error.errno:
        case errno.EADDRINUSE:
            return PortInUse(_in_use(host, port), host, port)
        case errno.EACCES | errno.EPERM:
            return PortNotPermitted(_not_permitted(host, port), host, port)
        case errno.EADDRNOTAVAIL | errno.ENODEV:
            return AddressNotFound(_not_available(host), host, port)
        case errno.EAFNOSUPPORT:
            message = f"this system has not the protocol of {host}; {addresses_here()}"
            return AddressNotFound(message, host, port)
        case _:
            message = f"cannot listen on {host} port {port}: {error.strerror or error}"
            return AddressError(message, host, port)


def _in_use(host: str, port: int) -> str:
    if port == 0:
        return f"no port is free on {host}; close some of the sockets that use them"
    return Message(
        "port {} on {} is taken; pass {} to let the system choose, or stop the program that uses it, which may be a "
        "server that was not closed (ss -ltnp 'sport = :{}' names it)",
        *(port, host, Hint("port", 0), port),
    )


def first_free_port(told: Path = FIRST_FREE_PORT) -> int:
    """Return the lowest port that every user may listen on, as the system tells it in a file."""
    try:
        return int(told.read_text())
    except (OSError, ValueError):  # not Linux, or a sandbox
        return 1024


def _not_permitted(host: str, port: int) -> str:
    first_free = first_free_port()
    if port >= first_free:
        denied = "the system's security policy does not let this user listen on {} port {}; try {}"
        return Message(denied, host, port, Hint("port", 0))
    return Message(
        "port {} on {} needs root or CAP_NET_BIND_SERVICE, like every port below {}; pass {} or a port from {} on, or "
        "have root run 'sysctl net.ipv4.ip_unprivileged_port_start={}' or 'setcap cap_net_bind_service=+ep {}'",
        *(port, host, first_free, Hint("port", 0), first_free, port, os.path.realpath(sys.executable)),
    )


def _not_available(host: str) -> str:
    if any(here.host == host for here in interfaces()):
        return f"{host} is not ready, as IPv6 still looks for duplicates of it; start again in some seconds"
    wildcard = "::" if ":" in host else "0.0.0.0"
    text = "no interface has {} yet; {} waits for it, and {} takes addresses as they come; {}"
    return Message(text, host, Hint("wait_for_address", 30), Hint("host", wildcard), addresses_here())
