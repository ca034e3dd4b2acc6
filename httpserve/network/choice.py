"""Decides which address a board can reach: what to bind, and what URLs say.

Knows the addresses of this host and the routes from it. Knows nothing of the server.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from httpserve.base.log import logger, warn
from httpserve.base.text import Hint, Message
from httpserve.errors import AddressNotFound, InvalidArgument
from httpserve.network.hosts import (
    Endpoint,
    checked_host,
    checked_peer,
    checked_port,
    numeric_address,
    resolve,
    url_host,
)
from httpserve.network.interfaces import InterfaceAddress, addresses_here, default_source, interfaces, source_address
from httpserve.network.routes import route_to
from httpserve.network.urls import url_from_advertise

log = logger("httpserve.network")

_DISCARD_PORT = 9  # RFC 863; any port but 0 will do, as nothing is sent
_V4, _V6 = socket.AF_INET, socket.AF_INET6
_WILDCARDS = ("0.0.0.0", "::")
_MORE = "more_hosts"  # the name of an argument
Families = Sequence[socket.AddressFamily]


def validate(
    host: str | None, peer: str | None, advertise: str | None, port: int, more_hosts: Iterable[str] = ()
) -> None:
    """Check the form of what a caller gave; raise InvalidArgument. Does not block, as it resolves nothing."""
    checked_port(port)
    if host is not None:
        checked_host(host)
    for other in more_hosts:
        if _is_wildcard(checked_host(other, _MORE)):
            text = "{} includes the addresses that it stands beside; pass {} alone"
            raise InvalidArgument(text, Hint(_MORE, other), Hint("host", other))
    if peer is not None:
        checked_peer(peer)
    if advertise is not None:
        url_from_advertise(advertise, port)


def _is_wildcard(bare: str) -> bool:
    try:
        return numeric_address(bare).is_unspecified
    except ValueError:
        pass
    try:
        return socket.inet_aton(bare) == bytes(4)  # takes the short forms too: 0
    except OSError:
        return False


def listen_hosts(
    host: str | None, more_hosts: Iterable[str], peer: str | None, *, is_awaited: bool = False
) -> list[str]:
    """Choose the addresses to bind: that of `listen_host`, and those of *more_hosts* that it does not include.

    Blocks and raises as `listen_host` does.
    """
    chosen = [listen_host(host, peer, is_awaited=is_awaited)]
    families = _answering(chosen[0]) if chosen[0] in _WILDCARDS else ()
    for other in more_hosts:
        found = resolve(other, what=_MORE)[0]
        if found.family not in families and found.host not in chosen:
            chosen.append(found.host)
    return chosen


def listen_host(host: str | None, peer: str | None, *, is_awaited: bool = False) -> str:
    """Choose the address to bind. Does not block for addresses; names take as long as the resolver.

    It is *host*; else the address that faces *peer* (for a link-local IPv6 peer an IPv4 or global address of that
    interface if it has one, as a URL then needs no zone); else the source of the default route; else an address of an
    interface that is up, a real card before a virtual one, link-local last; else 127.0.0.1. One line of the log reports
    a choice among several. *is_awaited* says that the caller waits for the network of *peer* to come up: until then
    packets to it go to the default router, whose address would be the wrong one.

    Raises:
        InvalidArgument: A value is malformed.
        AddressNotFound: A name does not resolve, or no route leads to *peer*.
    """
    if host is not None:
        found = resolve(host)[0].host
        if peer is None and found in _WILDCARDS:
            _log_choice(_candidates(_answering(found)))
        return found
    if peer is not None:
        target, found = _route(peer, (_V4, _V6))
        if is_awaited and _takes_default_route(target):
            raise AddressNotFound(
                Message(
                    "no interface is on the network of {} yet, packets to it would go to the default router; see "
                    "whether its interface is up, or {} to listen there; {}",
                    Hint("peer", peer),
                    Hint("wait_for_address", None),
                    addresses_here(),
                ),
                peer,
            )
        return found
    candidates = _candidates((_V4, _V6))
    _log_choice(candidates)
    return candidates[0].host if candidates else "127.0.0.1"


def check_peer(bound_host: str, peer: str, *, is_strict: bool) -> None:
    """Warn if a board at *peer* is unlikely to reach what listens on *bound_host*: in the log, else on stderr.

    Does not block for addresses; a name takes as long as the resolver.

    Raises:
        AddressNotFound: *is_strict* is set, and there is something to warn about.
    """
    error = obstacle(bound_host, peer)
    if error is None:
        if any(peer in (here.address, here.host) and not here.is_loopback for here in interfaces()):
            warn(log, "%s is this host's own address; a board has one of its own", Hint("peer", peer))
        return
    if is_strict:
        raise error
    warn(log, "%s", error)


def obstacle(bound_host: str, peer: str) -> AddressNotFound | None:
    """Return why a board at *peer* is unlikely to reach what listens on *bound_host*; None if it may reach it.

    Does not block for addresses; a name takes as long as the resolver.
    """
    try:
        return _detour(bound_host, *_route(peer, (_V4, _V6)))
    except AddressNotFound as error:
        return error


def _detour(bound_host: str, target: Endpoint, source: str) -> AddressNotFound | None:
    """Say what keeps packets from *target* from coming here."""
    try:
        route = route_to(target)
    except OSError:  # the interface went away meanwhile
        return None
    if route.is_here:
        return None
    peer = Hint("peer", target.host)
    if ipaddress.ip_address(bound_host.partition("%")[0]).is_loopback:
        text = "{} cannot reach {}, which only this host does: leave {} out, or pass {}; {}"
        return _unreachable(text, peer, bound_host, Hint("host"), Hint("host", source), addresses_here())
    if route.is_default:  # a USB network that is not there yet looks like this
        text = "{} is on no network of this host; {} faces the router to it: is the interface to the board up? {}"
        return _unreachable(text, peer, source, addresses_here())
    return None


def _unreachable(text: str, peer: Hint, *values: object) -> AddressNotFound:
    return AddressNotFound(Message(text, peer, *values), str(peer.value))


def advertised(bound_host: str, port: int, *, peer: str | None = None, advertise: str | None = None) -> str:
    """Return the base URL of what listens on *bound_host*, as a board uses it, without a slash at the end.

    *advertise* overrides everything. A wildcard becomes the address that faces *peer*, or without a peer the one that
    other hosts reach. Does not block for addresses; the name of a peer takes as long as the resolver.

    Raises:
        InvalidArgument: *peer* or *advertise* is malformed.
        AddressNotFound: *peer* does not resolve, or what listens cannot be reached from there.
    """
    if peer is not None:  # also where it makes no difference: an empty variable is a mistake in any case
        checked_peer(peer)
    if advertise is not None:
        return url_from_advertise(advertise, port)
    return f"http://{url_host(_facing_host(bound_host, peer))}:{port}"


def _facing_host(bound_host: str, peer: str | None) -> str:
    if bound_host not in _WILDCARDS:
        return bound_host
    families = _answering(bound_host)
    if peer is not None:
        return _route(peer, families)[1]
    candidates = _candidates(families)
    return candidates[0].host if candidates else "127.0.0.1" if _V4 in families else "::1"


def answering(bound_host: str) -> list[InterfaceAddress]:
    """Return the addresses of this host on which a socket bound to *bound_host* answers other hosts, best first.

    Empty for a wildcard if there is only loopback, and for an address that no interface has (any more).
    """
    if bound_host in _WILDCARDS:
        return _candidates(_answering(bound_host))
    return [here for here in interfaces() if bound_host in (here.address, here.host)]


def _answering(wildcard: str) -> Families:
    """Return the families that a socket bound to *wildcard* answers."""
    if wildcard == "0.0.0.0":
        return (_V4,)
    return (_V4, _V6) if socket.has_dualstack_ipv6() else (_V6,)


def _route(peer: str, families: Families) -> tuple[Endpoint, str]:
    """Return where *peer* is, and the address of one of *families* on the interface that faces it."""
    reason = "it is of another family than what listens"
    endpoints = resolve(checked_peer(peer), _DISCARD_PORT, what="peer")
    for target in sorted(endpoints, key=lambda endpoint: endpoint.family not in families):
        try:
            source = source_address(target.family, target.sockaddr)
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        if target.family in families and "%" not in source:
            return target, source
        there = {here.interface for here in interfaces() if here.host == source}
        for other in _candidates(families):
            if other.interface in there:
                return target, other.host
        if target.family in families:
            return target, source
    raise AddressNotFound(
        Message(
            "no address of this host faces {} ({}): see whether the interface to it is up, and listen on {} for both "
            "families; {}",
            Hint("peer", peer),
            reason,
            Hint("host", "::"),
            addresses_here(),
        ),
        peer,
    )


def _candidates(families: Families) -> list[InterfaceAddress]:
    """Return the addresses that other hosts may reach, best first. Never fe80::, which needs a zone."""
    default_v4, default_v6 = default_source(_V4), default_source(_V6)
    usable = [
        here
        for here in interfaces()
        if here.family in families and here.is_up and here.is_ready and not here.is_loopback
        if here.family == _V4 or not here.is_link_local
    ]

    def preference(here: InterfaceAddress) -> tuple[bool, ...]:
        return (
            here.address != default_v4,
            here.is_link_local,
            here.is_virtual,
            not here.has_carrier,
            here.family != _V4,
            here.address != default_v6,
            not here.is_unique_local,
        )

    return sorted(usable, key=preference)


def _log_choice(candidates: list[InterfaceAddress]) -> None:
    if not candidates:
        return
    chosen, *rest = candidates
    # Another family on the same interface leads to the same boards, so it is not a choice to report.
    others = [str(o) for o in rest if o.interface != chosen.interface or o.family == chosen.family]
    if others:
        log.info("chose %s; others are %s; %s or %s chooses", chosen, ", ".join(others), Hint("peer"), Hint("host"))


def _takes_default_route(target: Endpoint) -> bool:
    try:
        return route_to(target).is_default
    except OSError:  # the interface went away meanwhile
        return False
