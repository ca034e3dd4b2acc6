"""Waiting until a client has a whole file, and saying what happened instead when none has.

Knows the ledger and deadlines. Knows no sockets, and of files no more than which version stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from httpserve.errors import NotFound, ServerNotRunning, WaitTimeout
from httpserve.ledger import Ledger
from httpserve.records import DownloadRecord, RequestRecord

SLICE_SECONDS = 0.5  # a file that others change makes no event, so look at it again after this
FIRST_POLL_SECONDS = 0.001  # an acknowledgment makes no event either; most come at once,
LAST_POLL_SECONDS = 0.02  # a delayed one after 40 ms
GRACE_SECONDS = 0.045  # past the deadline, for an answer that is in the kernel whole
MOST_NAMED = 5  # requests for other names, in a message


class Version(NamedTuple):
    """The version of a file that stands: its validator and its size."""

    validator: str
    size: int


def wait_for_download(
    ledger: Ledger,
    name: str,
    current: Callable[[], Version],
    is_running: Callable[[], bool],
    timeout: float | None,
    client: str | None,
) -> DownloadRecord:
    """Block until one client (or that one) has every byte of the version that stands.

    Args:
        ledger: What arrived.
        name: The file's checked name.
        current: Returns the version that stands; what it raises ends the wait.
        is_running: Tells whether downloads can still come.
        timeout: Seconds; None waits for ever.
        client: The address that must have it; None: any.

    Raises:
        WaitTimeout: It did not happen in time; the message says what did.
        ServerNotRunning: It cannot happen any more.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    mark = ledger.mark(name)
    poll = FIRST_POLL_SECONDS
    while True:
        seen = ledger.version
        try:
            version = current()
        except NotFound:
            if not is_running():  # its directory is gone with it
                raise _not_running(name) from None
            raise
        record = ledger.take(name, version.validator, client, mark)
        if record is not None:
            return record
        if not is_running():
            raise _not_running(name)
        left = SLICE_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0 and ledger.is_due(name):
            left += GRACE_SECONDS
        if left <= 0:
            assert timeout is not None
            raise WaitTimeout(_message(ledger, name, version, timeout, client), name, timeout)
        ledger.wait_for_change(name, seen, min(left, SLICE_SECONDS), poll)
        poll = FIRST_POLL_SECONDS if ledger.version != seen else min(2 * poll, LAST_POLL_SECONDS)


def _not_running(name: str) -> ServerNotRunning:
    return ServerNotRunning(f"nobody can download {name!r}: the server does not run; start() it first")


def _message(ledger: Ledger, name: str, version: Version, timeout: float, client: str | None) -> str:
    start = f"{client} has not downloaded {name!r}" if client else f"nobody has downloaded {name!r}"
    return f"{start} within {timeout:g} s: {_what_happened(ledger, name, version, client)}"


def _what_happened(ledger: Ledger, name: str, version: Version, client: str | None) -> str:
    progress = {
        address: received
        for address, received in ledger.progress(name, version.validator).items()
        if received and client in (None, address)
    }
    if progress:
        return "; ".join(f"{address} has {amounts(got, version.size)}" for address, got in progress.items())
    asked = [record for record in ledger.asked_since(name) if client in (None, record.client)]
    if client is None and ledger.has_any(name, version.validator):
        return "it was downloaded before, but an earlier wait has returned that"
    if any(record.name == name for record in asked):
        return "it was asked for, but nothing has arrived of the version that stands"
    nobody = "nobody asked" if client is None else "it did not ask"
    elsewhere = "" if client is None else _elsewhere(ledger, name, version, client)
    others = _others(asked)
    if others:
        return f"{nobody} for it; asked for instead: {others}{elsewhere}"
    return f"{nobody} for it, nor for anything else{elsewhere}"


def _elsewhere(ledger: Ledger, name: str, version: Version, client: str) -> str:
    """Name the other addresses that asked: behind NAT a board has another one than it thinks."""
    asked = {record.client for record in ledger.asked_since(name) if record.name == name} - {client}
    return f"; but {', '.join(sorted(asked))} asked for it" if asked else ""


def _others(asked: list[RequestRecord]) -> str:
    lines = (f"{record.target} ({record.status}, by {record.client})" for record in asked if record.target)
    targets = dict.fromkeys(lines)
    shown = list(targets)[-MOST_NAMED:]
    more = len(targets) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def amounts(received: int, total: int) -> str:
    """Say how much of how much, in the unit that suits the total."""
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if total >= 10 * size:
            return f"{received // size} of {-(-total // size)} {unit}"
    return f"{received} of {total} bytes"
