"""Says where packets to a board go, and whether the kernel has ever heard of the board.

Reads the routing table and the list of neighbours; sends nothing. Does not know which address suits a board.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from httpserve.base.log import logger
from httpserve.network.hosts import Endpoint
from httpserve.network.interfaces import default_source, interfaces, source_address
from httpserve.network.netlink import netlink, netlink_attributes

log = logger("httpserve.network")


@dataclass(frozen=True)
class Route:
    """How packets to a board leave."""

    peer: str
    source: str
    interface: str
    is_near: bool  # no router is in between
    is_default: bool  # they go to the default router, as there is no other route
    is_here: bool  # the board is this host itself


def route_to(target: Endpoint) -> Route:
    """Return how packets to *target* leave. Sends nothing. Raises OSError where no route leads there."""
    source = source_address(target.family, target.sockaddr)
    here = [address for address in interfaces() if address.family == target.family]
    own = next((address for address in here if address.host == source), None)
    near = is_near(target)
    return Route(
        target.host,
        source,
        own.interface if own else "",
        near,
        not near and source == default_source(target.family),
        any(address.host == target.host for address in here)
        or ipaddress.ip_address(target.host.partition("%")[0]).is_loopback,
    )


def is_near(target: Endpoint) -> bool:
    """Tell whether *target* is on a network of this host that is up, with no router in between. Does not block."""
    zone = target.host.partition("%")[2]
    return any(
        here.family == target.family and here.is_up and here.reaches(target.host)
        for here in interfaces()
        if zone in ("", here.interface)
    )


@dataclass(frozen=True)
class Neighbour:
    """What the kernel knows of a host on the same network: `mac` is empty while it has not answered."""

    interface: str
    address: str
    mac: str
    has_answered: bool


# linux/neighbour.h
_NDMSG = struct.Struct("=BBHiHBB")
_RTM_NEWNEIGH, _RTM_GETNEIGH = 28, 30
_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_ANSWERED = 0x02 | 0x04 | 0x08 | 0x10 | 0x80  # reachable, stale, delay, probe, permanent


def neighbours() -> list[Neighbour]:
    """List the hosts that the kernel has talked to, or tried to. Empty if it does not say, as outside Linux.

    Blocks for microseconds. An entry goes away some minutes after the last packet.
    """
    if sys.platform != "linux":
        return []
    try:
        return parse_neighbours(netlink(_RTM_GETNEIGH, _RTM_NEWNEIGH, _NDMSG.size))
    except OSError as error:  # a sandbox without netlink
        log.debug("netlink does not list neighbours: %s", error)
        return []


def parse_neighbours(payloads: Iterable[bytes]) -> list[Neighbour]:
    found = []
    for payload in payloads:
        family, _, _, index, state, _, _ = _NDMSG.unpack_from(payload)
        attributes = dict(netlink_attributes(payload[_NDMSG.size :]))
        if family not in (socket.AF_INET, socket.AF_INET6) or _NDA_DST not in attributes:
            continue
        try:
            interface = socket.if_indextoname(index)
        except OSError:  # the interface went away since the list was made
            continue
        has_answered = bool(state & _NUD_ANSWERED)
        mac = attributes.get(_NDA_LLADDR, b"").hex(":") if has_answered else ""
        found.append(Neighbour(interface, str(ipaddress.ip_address(attributes[_NDA_DST])), mac, has_answered))
    return found
