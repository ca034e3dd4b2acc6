"""Checks where a server listens, who can reach it there, and whether it answers as boards need it.

Knows the addresses of this host. Does not know what boards did.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from httpserve.base.text import Hint, InPython, Message
from httpserve.doctor.report import Finding
from httpserve.doctor.selftest import CONTENT, self_test
from httpserve.doctor.situation import Situation
from httpserve.network.binding import first_free_port
from httpserve.network.choice import advertised, answering
from httpserve.network.hosts import is_numeric, resolve, url_host
from httpserve.network.interfaces import InterfaceAddress, addresses_here, default_source, interfaces

SELF_TEST_SECONDS = 1.5  # for all addresses together; each takes some milliseconds
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where a wildcard answers when there is nothing else
MOST_ADDRESSES = 8  # asked, and given as URLs, at most; hosts of containers have hundreds


def look_at_server(situation: Situation) -> Iterator[Finding]:
    """Say whether it runs."""
    if situation.bound is None or situation.other is not None:
        yield Finding("fail", "server", "the server does not run, so nothing can arrive", "call start()")


def look_at_start(situation: Situation) -> Iterator[Finding]:
    """Say whether another server has the port. If so, the other findings are about that server."""
    other = situation.other
    if other is None:
        return
    data = {"host": other.host, "port": other.port, "pid": other.pid, "program": other.program}
    who = f"process {other.pid} ({other.program})" if other.pid else "a process that this user may not look at"
    message = f"port {other.port} of {other.host} is in use by {who}: what is said here is about that server"
    step = "if it is not the one that boards should ask, stop it, or take another port"
    yield Finding("ok", "start", message, step, data)


def look_at_faults(situation: Situation) -> Iterator[Finding]:
    """Say what was asked for to be wrong. The self-test meets none of it but refused connections."""
    if situation.faults:
        message = f"wrong on purpose: {'; '.join(situation.faults)}"
        step = Message("{} ends faults; a hold ends when it is released", Hint("faults"))
        yield Finding("warn", "faults", message, step, {"faults": list(situation.faults)})


def look_at_paths(situation: Situation) -> Iterator[Finding]:
    """Say what is served in place from a path where nothing is."""
    for name, path in situation.lost:
        message = f"{name!r} is served in place from {path}, and nothing is there"
        step = Message("put it there{}", InPython(f", or end this by unserve({name!r})"))
        yield Finding("warn", "paths", message, step, {"name": name, "path": path})


def look_at_bind(situation: Situation) -> Iterator[Finding]:
    """Say where it listens, and whether that address is still there."""
    bound, port = situation.bound, situation.port
    if bound is None:
        yield from _would_bind(situation.host)
        return
    data = {"host": bound, "port": port}
    where = f"port {port} of {bound}"
    if bound in ("0.0.0.0", "::"):
        yield Finding("ok", "bind", f"listens on {where}, which is every address of this host", data=data)
        return
    own = situation.urls[0] if situation.urls else None
    if own is None:
        # If the system does not tell the names of interfaces, its list is not complete.
        status = "fail" if all(here.interface for here in interfaces()) else "warn"
        step = "see whether the board's network is up: the server goes on by itself when the address is back"
        yield Finding(status, "bind", f"listens on {where}, which no interface has any more", step, data)
    elif own.is_loopback and situation.advertise is None and not situation.is_own(situation.peer or ""):
        what = "pass {} with the board's address, or {} with an address of this host that the board reaches"
        step = Message(what, Hint("peer"), Hint("host"))
        yield Finding("warn", "bind", f"listens on {where}, which only this host reaches", step, data)
    elif not own.is_up or not own.has_carrier:
        what = "has no carrier" if own.is_up else "is down"
        step = "see whether the cable is plugged in, and the board is on"
        yield Finding("warn", "bind", f"listens on {where}, but {own.interface} {what}", step, data)
    else:
        yield Finding("ok", "bind", f"listens on {where}", data=data)


def _would_bind(host: str | None) -> Iterator[Finding]:
    if host is None or not is_numeric(host) or answering(resolve(host)[0].host) or host.strip("[]") in _LOOPBACK:
        return
    step = Message("bring the board's network up, or use {}", Hint("wait_for_address", 30))
    yield Finding("warn", "bind", f"no interface has {host} yet; {addresses_here()}", step, {"host": host})


def look_at_port(situation: Situation) -> Iterator[Finding]:
    """Say whether the port needs root or a capability."""
    port, limit = situation.port, first_free_port()
    data = {"port": port, "first_free": limit}
    if not 0 < port < limit:
        return
    if situation.bound is None:
        step = Message("pass {}, or a port from {} on", Hint("port", 0), limit)
        yield Finding("warn", "port", f"port {port} is below {limit}: not every user may listen there", step, data)
    else:
        yield Finding("ok", "port", f"port {port} is below {limit}, and listening there was allowed", data=data)


def look_at_urls(situation: Situation) -> Iterator[Finding]:
    """Give each URL, with who can reach it."""
    bound = situation.bound
    if bound is None:
        return
    if situation.advertise is not None:
        url = advertised(bound, situation.port, advertise=situation.advertise)
        what = "{} is what URLs say, since {} was given; whether it leads here shows on the board alone"
        message = Message(what, url, Hint("advertise"))
        yield Finding("ok", "url", message, data={"url": url, "address": "", "interface": "", "reached_by": ""})
    shown = situation.urls[:MOST_ADDRESSES]
    for here in shown:
        yield _url(here, situation.port)
    if len(situation.urls) > len(shown):
        yield Finding("ok", "url", f"{len(situation.urls) - len(shown)} more addresses answer")
    if not shown and bound in ("0.0.0.0", "::"):
        step = "plug in the board's cable, or bring its interface up"
        yield Finding("warn", "url", "no interface but loopback has an address: only this host is answered", step)


def _url(here: InterfaceAddress, port: int) -> Finding:
    url = f"http://{url_host(here.host)}:{port}"
    status, reached_by, step = _reached_by(here)
    data = {"url": url, "address": here.address, "interface": here.interface, "reached_by": reached_by}
    return Finding(status, "url", f"{url} ({here.interface or 'unknown interface'}) is for {reached_by}", step, data)


def _reached_by(here: InterfaceAddress) -> tuple[str, str, str]:
    """Return a status, who can reach an address, and what to do."""
    network = here.network or "its network"
    if here.is_loopback:
        return "ok", "this host alone, and what is forwarded to it", ""
    if here.is_virtual:
        return "ok", f"containers, virtual machines or a VPN behind {here.interface}: no board on a cable", ""
    if here.is_link_local and ":" in here.address:
        step = "give this URL the board's own name of its interface, as in http://[fe80::1%25eth0]:8000"
        return "warn", f"boards on the cable of {here.interface} that name their interface in the URL", step
    if here.is_link_local:
        return "ok", f"boards on the cable of {here.interface} with an address of {network}", ""
    if here.is_point_to_point:
        return "ok", f"the board at the other end of {here.interface}, {here.network_of}", ""
    if here.address == default_source(here.family):
        return "ok", f"hosts of {network}, and those from which routers lead here", ""
    return "ok", f"hosts of {network}", ""


def look_at_self_test(situation: Situation) -> Iterator[Finding]:
    """Ask the server at each address, as boards do, without a record."""
    bound = situation.bound
    if bound is None or situation.other is not None:
        return
    deadline = time.monotonic() + SELF_TEST_SECONDS
    hosts = [here.host for here in situation.urls[:MOST_ADDRESSES]] or [_LOOPBACK.get(bound, bound)]
    with situation.probe(CONTENT) as name:
        for host in hosts:
            found = _asked(host, situation.port, f"/{name}", deadline - time.monotonic())
            is_in_doubt = situation.faults and found.status == "fail"
            yield replace(found, next_step="end what is wrong on purpose, and ask again") if is_in_doubt else found


def _asked(host: str, port: int, path: str, timeout: float) -> Finding:
    data: dict[str, object] = {"host": host, "port": port, "flaws": []}
    try:
        flaws = self_test(host, port, path, max(timeout, 0.05))
    except OSError as error:
        busy = InPython("see in client.transfers whether max_connections are busy; if none is, ")
        step = Message("{}the server or the system hangs", busy)
        reason = error.strerror or str(error)
        return Finding("fail", "self-test", f"no answer from {host} port {port} ({reason})", step, data)
    if flaws:
        data["flaws"] = flaws
        message = f"answers from {host} are not what boards need: {'; '.join(flaws)}"
        advice = "if there is no proxy or filter in between, report this as a fault of httpserve"
        return Finding("fail", "self-test", message, advice, data)
    return Finding("ok", "self-test", f"{host} answers GET, HEAD and ranges as boards need it", data=data)
