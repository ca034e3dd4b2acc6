"""Claims about waiting for a download, and about what the timeout says."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

import pytest

from httpserve.errors import NotFound, ServerNotRunning, WaitTimeout
from httpserve.plan import Piece, Subject
from httpserve.records.claims import Claims
from httpserve.records.exchange import ClosedLink, End, Exchange
from httpserve.records.log import ExchangeLog
from httpserve.records.model import DownloadRecord, Fields
from httpserve.records.terms import Boards
from httpserve.records.waits.download import SLICE_SECONDS, DownloadTerms, Version, wait_for_download

MIB = 1 << 20


class Line:
    """A connection as a record sees it: so many bytes are on their way."""

    client_port = 4711
    local = "10.0.0.1"
    known = "acked"

    def __init__(self, client: str = "10.0.0.2") -> None:
        self.client = client
        self.on_their_way = 0

    def acknowledged(self) -> int:
        return 10 - self.on_their_way if self.on_their_way else sys.maxsize

    def ends(self) -> ClosedLink:
        return ClosedLink(self.client, self.client_port, self.local)


class Asked:
    """A head as a record sees it."""

    method = "GET"
    range = ""
    user_agent = "curl"
    fields = Fields()

    def __init__(self, target: str = "/f") -> None:
        self.target = target


def begun(
    claims: Claims,
    *,
    start: int = 0,
    size: int = 10,
    client: str = "10.0.0.2",
    validator: str = "v",
    name: str = "f",
    target: str = "/f",
    status: int = 200,
) -> Exchange:
    subject = Subject(name, validator, size, (Piece(0, start, size),)) if name else None
    length = size - start
    exchange = Exchange(Line(client), Asked(target), status, length, subject, 0.0, time.monotonic())
    claims.log.begin(exchange)
    return exchange


def received(claims: Claims, exchange: Exchange, count: int | None = None) -> None:
    exchange.handed = exchange.length
    claims.log.handed_over(exchange, time.monotonic())
    claims.log.settle(exchange, exchange.length if count is None else count, time.monotonic(), End.CLOSED)


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


def said(claims: Claims, *, client: str | None = None, size: int = 10) -> str:
    with pytest.raises(WaitTimeout) as caught:
        wait(claims, 0.001, client=client, size=size)
    assert (caught.value.name, caught.value.timeout) == ("f", 0.001)
    return str(caught.value)


# Waiting


@pytest.mark.parametrize("timeout", [20.0, None])
def test_a_download_before_the_wait_is_returned_at_once(timeout: float | None) -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims))

    assert wait(claims, timeout).client == "10.0.0.2"


@pytest.mark.parametrize("timeout", [20.0, None])
def test_a_download_during_the_wait_ends_it(timeout: float | None) -> None:
    claims = Claims(ExchangeLog())
    exchange = begun(claims)
    waits = threading.Event()
    records: list[DownloadRecord] = []

    def current() -> Version:
        waits.set()
        return Version("v", 10)

    waiter = threading.Thread(
        target=lambda: records.append(waited(claims, current, timeout)),
        daemon=True,
    )
    waiter.start()
    waits.wait(20.0)
    received(claims, exchange)
    waiter.join(20.0)

    assert [record.bytes for record in records] == [10]


def test_an_acknowledgment_that_makes_no_event_is_noticed() -> None:
    claims = Claims(ExchangeLog())
    exchange = begun(claims)
    exchange.handed = 10
    line = exchange.link
    assert isinstance(line, Line)
    line.on_their_way = 10
    claims.log.handed_over(exchange, time.monotonic())
    looks = 0

    def current() -> Version:
        nonlocal looks
        looks += 1
        if looks == 8:
            line.on_their_way = 0
        return Version("v", 10)

    record = waited(claims, current, 20.0)

    assert record.bytes == 10


def test_an_answer_in_the_kernel_gets_a_moment_past_the_deadline() -> None:
    claims = Claims(ExchangeLog())
    exchange = begun(claims)
    exchange.handed = 10
    line = exchange.link
    assert isinstance(line, Line)
    line.on_their_way = 10
    claims.log.handed_over(exchange, time.monotonic())
    looks = 0

    def current() -> Version:
        nonlocal looks
        looks += 1
        if looks == 2:
            line.on_their_way = 0
        return Version("v", 10)

    record = waited(claims, current, 1e-9)

    assert record.bytes == 10


def test_what_happens_to_another_name_does_not_let_a_wait_look() -> None:
    claims = Claims(ExchangeLog())
    waits, looks, began = threading.Event(), 0, time.monotonic()

    def current() -> Version:
        nonlocal looks
        looks += 1
        waits.set()
        return Version("v", 10)

    waiter = threading.Thread(target=lambda: waited(claims, current), daemon=True)
    waiter.start()
    waits.wait(20.0)
    for number in range(300):
        received(claims, begun(claims, name="g" if number % 2 else "", target="/g"))
        time.sleep(0.001)  # long enough for a look
    looks_until_then, seconds = looks, time.monotonic() - began
    received(claims, begun(claims))
    waiter.join(20.0)

    assert looks_until_then <= 3 + seconds / SLICE_SECONDS  # since others may change a file
    assert not waiter.is_alive()


def test_a_stopped_server_ends_the_wait_with_what_to_do() -> None:
    with pytest.raises(ServerNotRunning, match=r"'f'.*start\(\) it first"):
        wait(Claims(ExchangeLog()), running=False)


def test_a_download_from_before_the_stop_still_counts() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims))

    assert wait(claims, running=False).bytes == 10


def test_a_file_that_is_gone_ends_the_wait() -> None:
    def current() -> Version:
        raise NotFound("no such file", "f")

    with pytest.raises(NotFound):
        waited(Claims(ExchangeLog()), current, 20.0)


# What the timeout says


def test_the_message_says_how_much_of_it_each_client_has() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims, size=58 * MIB, client="192.168.7.2"), 41 * MIB)
    begun(claims, size=58 * MIB, client="192.168.7.3").handed = 2 * MIB
    begun(claims, size=58 * MIB, client="192.168.7.4")

    assert said(claims, size=58 * MIB) == (
        "nobody has downloaded 'f' within 0.001 s: "
        "192.168.7.2 has 41 of 58 MiB: started, stopped at byte 42991616 of 60817408 "
        "(the client closed the connection); "
        "192.168.7.3 has 2 of 58 MiB: started, stopped at byte 2097152 of 60817408 (it is still under way)"
    )


def test_the_message_says_what_the_client_that_was_meant_has() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims, client="192.168.7.2"), 4)
    received(claims, begun(claims, client="192.168.7.3"), 5)

    assert said(claims, client="192.168.7.2") == (
        "192.168.7.2 has not downloaded 'f' within 0.001 s: 192.168.7.2 has 4 of 10 bytes: "
        "started, stopped at byte 4 of 10 (the client closed the connection)"
    )


def test_the_message_says_that_nobody_asked_at_all() -> None:
    assert said(Claims(ExchangeLog())).endswith(": nobody asked for it, nor for anything else: nobody connected")


def test_the_message_says_what_was_asked_for_instead() -> None:
    claims = Claims(ExchangeLog())
    for _ in range(2):
        received(claims, begun(claims, name="", target="/F", status=404))
    received(claims, begun(claims, name="g", target="/g", client="10.0.0.3"))

    assert said(claims).endswith(
        ": nobody asked for it; asked for instead: /F (404, by 10.0.0.2), /g (200, by 10.0.0.3)"
    )


def test_the_message_names_the_last_five_of_many_and_says_how_many_more() -> None:
    claims = Claims(ExchangeLog())
    for number in range(8):
        received(claims, begun(claims, name="", target=f"/{number}", status=404))

    message = said(claims)

    assert "/2 " not in message
    assert message.endswith(
        "/3 (404, by 10.0.0.2), /4 (404, by 10.0.0.2), /5 (404, by 10.0.0.2), "
        "/6 (404, by 10.0.0.2), /7 (404, by 10.0.0.2) and 3 more"
    )


def test_a_request_without_a_target_is_not_named() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims, name="", target="", status=400))

    assert said(claims).endswith(": nobody asked for it, nor for anything else: nobody connected")


@pytest.mark.parametrize("validator", ["v", "old"])
def test_the_message_says_that_what_was_asked_for_brought_nothing_of_this_version(validator: str) -> None:
    claims = Claims(ExchangeLog())
    exchange = begun(claims, validator=validator)
    claims.log.settle(exchange, 0 if validator == "v" else 10, time.monotonic(), End.CLOSED)

    assert said(claims).endswith(
        ": it was asked for, but nothing that counts has arrived of the current version"
        " (last by GET, answer 200: the client closed the connection)"
    )


def test_the_message_says_that_an_earlier_wait_had_the_download() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims))
    wait(claims)

    assert said(claims).endswith("; what came before, an earlier wait has returned")


def test_the_message_names_other_addresses_that_asked_as_a_board_behind_nat_has_another_one() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims, client="10.0.0.9"))
    received(claims, begun(claims, client="10.0.0.8"))

    assert said(claims, client="192.168.7.2").endswith(
        ": it did not ask for it, nor for anything else: it never connected; but 10.0.0.8, 10.0.0.9 asked for it"
    )


def test_the_message_says_what_the_client_that_was_meant_asked_for_instead() -> None:
    claims = Claims(ExchangeLog())
    received(claims, begun(claims, name="", target="/F", status=404))

    assert said(claims, client="10.0.0.2").endswith(": it did not ask for it; asked for instead: /F (404, by 10.0.0.2)")
