"""Checks the board: the route to it, whether it was ever seen, and what boards asked for.

Knows routes, neighbours and records. Asks no name server.
"""

from __future__ import annotations

from collections.abc import Iterator

from httpserve.base.text import Hint, InPython, Message
from httpserve.doctor.report import Finding
from httpserve.doctor.situation import Situation, ago, times
from httpserve.errors import HttpServeError
from httpserve.network.hosts import is_numeric, resolve
from httpserve.network.interfaces import addresses_here, interfaces
from httpserve.network.routes import Route, neighbours, route_to

MOST_NAMED = 5  # of the names that were missing
_ANY_PORT = 9  # nothing is sent there


def look_at_route(situation: Situation) -> Iterator[Finding]:
    """Say which address faces the peer, and whether the peer was ever seen."""
    if situation.peer is None:
        yield from _no_peer(situation)
        return
    if not is_numeric(situation.peer):
        named = Message("{} is a name, and no name server is asked here", Hint("peer", situation.peer))
        address = Message("give {} the board's address, and the route to it is examined", Hint("peer"))
        yield Finding("warn", "route", named, address)
        return
    try:
        route = route_to(resolve(situation.peer, _ANY_PORT, what="peer")[0])
    except (HttpServeError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        step = f"bring the board's network up, and give this host an address on it; {addresses_here()}"
        yield Finding("fail", "route", f"no route leads to peer {situation.peer} ({reason})", step)
        return
    yield _routed(situation, route)
    yield from _seen(situation, route)


def _no_peer(situation: Situation) -> Iterator[Finding]:
    sides = {here.interface for here in situation.urls}
    if len(sides) > 1 and situation.advertise is None:
        step = Message("pass {} with the board's address{}", Hint("peer"), InPython(", or get_url(peer=)"))
        message = Message("no {} was given, and the board may be on any of {}", Hint("peer"), ", ".join(sorted(sides)))
        yield Finding("warn", "route", message, step, {"interfaces": sorted(sides)})


def _routed(situation: Situation, route: Route) -> Finding:
    data = {"peer": route.peer, "source": route.source, "interface": route.interface, "near": route.is_near}
    facing = f"peer {route.peer} is faced by {route.source} ({route.interface or 'unknown interface'})"
    if route.is_here:
        return Finding("ok", "route", f"peer {route.peer} is this host itself", data=data)
    if route.is_default:
        step = f"see whether the interface to the board is up and has an address on its network; {addresses_here()}"
        message = f"peer {route.peer} is on no network of this host: packets to it go to the default router"
        return Finding("warn", "route", message, step, data)
    if situation.bound is not None and not _answers_on(situation, route.source):
        every = Hint("host", "0.0.0.0"), Hint("host", "::")
        step = Message("listen on {}, or on every address by {} or {}", Hint("host", route.source), *every)
        return Finding("fail", "route", f"{facing}, but the server listens on {situation.bound}", step, data)
    between = "on the same network" if route.is_near else "with a router between"
    return Finding("ok", "route", f"{facing}, {between}", data=data)


def _answers_on(situation: Situation, source: str) -> bool:
    if situation.bound in ("0.0.0.0", "::"):
        return True  # perhaps of another family, but then on the same interface: see get_url(peer=)
    interface = {here.interface for here in interfaces() if here.host == source}
    return any(here.interface in interface for here in situation.urls)


def _seen(situation: Situation, route: Route) -> Iterator[Finding]:
    if route.is_here:
        return
    bare = route.peer.partition("%")[0]
    asked = [record for record in situation.requests if record.client.partition("%")[0] == bare]
    entry = next((one for one in neighbours() if one.address == bare), None)
    answered = entry is not None and entry.has_answered
    data = {"peer": route.peer, "requests": len(asked), "neighbour": answered, "mac": entry.mac if entry else ""}
    if situation.other is not None and (answered or not route.is_near):
        seen = f"has answered on the network (its hardware address is {entry.mac})" if answered and entry else "is far"
        message = f"peer {route.peer} {seen}; whether it has asked, the log of the server that runs says"
        yield Finding("ok", "peer", message, data=data)
    elif asked:
        message = f"peer {route.peer} has asked {times(len(asked))}, the last time {ago(asked[-1].time)}"
        yield Finding("ok", "peer", message, data=data)
    elif any(client.partition("%")[0] == bare for client in situation.boards):
        message = f"peer {route.peer} has connected, but asked for nothing"
        yield Finding("warn", "peer", message, "see what the board says: perhaps it speaks another protocol", data)
    elif answered and entry is not None:
        message = f"peer {route.peer} has answered on the network (its hardware address is {entry.mac}), but not asked"
        step = "type the URL on the board; if that does not help, see the firewall"
        yield Finding("warn", "peer", message, step, data)
    elif not route.is_near:
        message = f"peer {route.peer} has asked for nothing yet; behind a router nothing more can be seen of it"
        yield Finding("warn", "peer", message, "try from the board whether it reaches this host at all", data)
    else:
        reason = "it does not answer on the network" if entry else "no ARP or NDP entry"
        message = f"peer {route.peer} has not been seen: {reason}"
        step = f"see whether the board is on, its cable is plugged in, and it has the address {route.peer}"
        yield Finding("warn", "peer", message, step, data)


def look_at_missing(situation: Situation) -> Iterator[Finding]:
    """Say which names that do not exist were asked for last."""
    if not situation.missing:
        return
    # Once each, in the order in which they were last asked for.
    names = {miss.name: miss.nearest[:1] for miss in reversed(situation.missing)}
    last = list(names.items())[:MOST_NAMED]
    shown = ", ".join(f"{name!r}" + (f" (there is {near[0]!r})" if near else "") for name, near in reversed(last))
    data = {
        "missing": [
            {"name": miss.name, "client": miss.client, "time": miss.time, "nearest": list(miss.nearest)}
            for miss in situation.missing[-MOST_NAMED:]
        ]
    }
    many = f"{len(names)} names were asked for that do not exist, the last"
    message = f"{many if len(names) > len(last) else 'asked for, and missing'}: {shown}"
    step = "compare with what was typed on the board; some clients ask for names that need not exist"
    yield Finding("warn", "missing", message, step, data)


def look_at_connections(situation: Situation) -> Iterator[Finding]:
    """Say which other hosts have connected."""
    if situation.other is not None or (situation.bound is None and not situation.connections):
        return
    last = {record.client: record.time for record in situation.requests}
    each = {client: {"connections": n, "last_request": last.get(client)} for client, n in situation.boards.items()}
    data = {"clients": each}
    if situation.boards:
        said = (
            f"{client or 'others'} {times(count)}" + (f" (asked {ago(last[client])})" if client in last else "")
            for client, count in situation.boards.items()
        )
        yield Finding("ok", "connections", f"other hosts have connected: {', '.join(said)}", data=data)
        return
    step = "type the URL on the board; if it does not connect, something between keeps it away"
    message = f"no other host has connected yet, {ago(situation.since).removesuffix(' ago')} after the start"
    yield Finding("warn", "connections", f"{message}; that this host reaches itself proves nothing", step, data)
