"""Claims about waiting for a download, and about what the timeout says."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import count

import pytest

from httpserve.errors import NotFound, ServerNotRunning, WaitTimeout
from httpserve.records.claims import Claims
from httpserve.records.exchange import End, Exchange
from httpserve.records.log import ExchangeLog
from httpserve.records.model import DownloadRecord
from httpserve.records.terms import Boards
from httpserve.records.waits.download import DownloadTerms, Version, wait_for_download
from tests.unit.exchanges import Asked, Line, begun, received, sent, subject

MIB = 1 << 20


def asked(
    claims: Claims,
    name: str = "f",
    *,
    size: int = 10,
    client: str = "10.0.0.2",
    validator: str = "v",
    target: str = "/f",
    status: int = 200,
) -> Exchange:
    what = subject((0, size), name=name, validator=validator, total=size) if name else None
    line = Line(client)
    claims.log.connected(line, 0.0)
    return begun(claims, what, line=line, asked=Asked(target=target), status=status)


ANYBODY = Boards()


def waited(
    claims: Claims,
    current: Callable[[], Version],
    timeout: float | None = 20.0,
    *,
    boards: Boards = ANYBODY,
    running: bool = True,
    nearest: tuple[str, ...] = (),
) -> DownloadRecord:
    terms = DownloadTerms(
        "f", current, lambda: running, lambda names: dict.fromkeys(names, nearest), boards, timeout=timeout
    )
    return wait_for_download(claims, terms)[0]


def wait(
    claims: Claims,
    timeout: float | None = 20.0,
    *,
    client: str | None = None,
    size: int = 10,
    validator: str = "v",
    running: bool = True,
) -> DownloadRecord:
    whom = Boards() if client is None else Boards(addresses=(client,))
    return waited(claims, lambda: Version(validator, size), timeout, boards=whom, running=running)


def said(claims: Claims, *, size: int = 10, validator: str = "v") -> str:
    with pytest.raises(WaitTimeout) as caught:
        wait(claims, 0.001, size=size, validator=validator)
    assert (caught.value.name, caught.value.timeout) == ("f", 0.001)
    return str(caught.value)


# Waiting


def test_what_has_arrived_is_returned_though_the_file_went_with_the_server(claims: Claims) -> None:
    exchange = asked(claims)
    looks = count()

    def current() -> Version:
        if next(looks) == 0:
            return Version("v", 10)
        received(claims, exchange)
        raise NotFound("its directory is gone", "f")

    terms = DownloadTerms("f", current, lambda: not exchange.is_over, lambda names: {}, timeout=20.0)

    assert wait_for_download(claims, terms)[0].bytes == 10


@pytest.mark.parametrize("timeout", [20.0, None])
def test_a_download_before_the_wait_is_returned_at_once(timeout: float | None, claims: Claims) -> None:
    received(claims, asked(claims))

    assert wait(claims, timeout).client == "10.0.0.2"


@pytest.mark.parametrize("timeout", [20.0, None])
def test_a_download_during_the_wait_ends_it(timeout: float | None, claims: Claims) -> None:
    exchange = asked(claims)
    waits = threading.Event()
    records: list[DownloadRecord] = []

    def current() -> Version:
        waits.set()
        return Version("v", 10)

    waiter = threading.Thread(target=lambda: records.append(waited(claims, current, timeout)), daemon=True)
    waiter.start()
    waits.wait(20.0)
    received(claims, exchange)
    waiter.join(20.0)

    assert [record.bytes for record in records] == [10]


@pytest.mark.parametrize(("timeout", "at"), [(20.0, 8), (1e-9, 2)], ids=["in time", "a moment past the deadline"])
def test_an_acknowledgment_that_makes_no_event_is_noticed(timeout: float, at: int, claims: Claims) -> None:
    line = Line(on_their_way=10)
    sent(claims, begun(claims, subject((0, 10), validator="v"), line=line), time.monotonic())
    looks = count(1)

    def current() -> Version:
        if next(looks) == at:
            line.on_their_way = 0
        return Version("v", 10)

    assert waited(claims, current, timeout).bytes == 10


def test_a_stopped_server_ends_the_wait_with_the_figures(claims: Claims) -> None:
    received(claims, asked(claims, size=58 * MIB), 41 * MIB)

    with pytest.raises(ServerNotRunning) as caught:
        wait(claims, size=58 * MIB, running=False)

    assert str(caught.value).startswith(
        "the server was stopped or closed while a download of 'f' was waited for: 10.0.0.2 has 41 of 58 MiB: "
    )


def test_a_download_from_before_the_stop_still_counts(claims: Claims) -> None:
    received(claims, asked(claims))

    assert wait(claims, running=False).bytes == 10


def test_a_file_that_is_gone_ends_the_wait() -> None:
    def current() -> Version:
        raise NotFound("no such file", "f")

    with pytest.raises(NotFound):
        waited(Claims(ExchangeLog()), current, 20.0)


# What the timeout says


def test_the_message_says_how_much_of_it_each_client_has(claims: Claims) -> None:
    received(claims, asked(claims, size=58 * MIB, client="192.168.7.2"), 41 * MIB)
    asked(claims, size=58 * MIB, client="192.168.7.3").handed = 2 * MIB
    asked(claims, size=58 * MIB, client="192.168.7.4")

    assert said(claims, size=58 * MIB) == (
        "nobody has downloaded 'f' within 0.001 s: "
        "192.168.7.2 has 41 of 58 MiB: started, stopped at byte 42991616 of 60817408 "
        "(the client closed the connection); "
        "192.168.7.3 has 2 of 58 MiB: under way"
    )


@pytest.mark.parametrize(
    ("validator", "text"),
    [
        ("v", "it was asked for, but nothing of it has arrived (last by GET, answer 200: the client closed the conn"),
        ("old", "10.0.0.2 asked for an older version of it, and not for the current one"),
    ],
)
@pytest.mark.parametrize("is_put", [False, True])
def test_the_message_says_that_what_was_asked_for_brought_nothing_of_this_version(
    validator: str, text: str, is_put: bool, claims: Claims
) -> None:
    exchange = asked(claims, validator=validator)
    claims.log.settle(exchange, 0 if validator == "v" else 10, time.monotonic(), End.CLOSED)
    if is_put:
        claims.log.new_version("f")
        text = "10.0.0.2 asked for an older version of it"

    assert f": {text}" in said(claims)


def test_the_message_says_that_an_earlier_wait_had_the_download(claims: Claims) -> None:
    received(claims, asked(claims))
    wait(claims)

    assert "nobody asked for it since; an earlier wait has returned what 10.0.0.2 had" in said(claims)
    # Of an older version that wait has told.
    nothing = "nobody has downloaded 'f' within 0.001 s: nobody asked for it, nor for anything else, in "
    assert said(claims, validator="written by others").startswith(nothing)
    claims.log.new_version("f")
    assert said(claims).startswith(nothing)
