"""Content that an app wants without a thread that waits for it: how it comes, how it ends, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from httpserve.plan import MAY_NOT_BLOCK, NEEDS_THREAD, Data, HandOver, Plan, Receive
from httpserve.server.limits import Limits
from tests.cases import each
from tests.conftest import our_threads
from tests.server.limited import Clock, Limited
from tests.server.wire import PATIENCE_SECONDS, Wire, eventually, pattern

HEAD = b"PUT /f HTTP/1.1\r\nHost: bench\r\n"
GO_AHEAD = b"HTTP/1.1 100 Continue\r\n\r\n"


class Taking:
    """An app whose intakes keep what they are given, and refuse more than `most` bytes."""

    plans = True

    def __init__(self, most: int = 1 << 30) -> None:
        self.most = most
        self.taken = bytearray()
        self.cuts: list[tuple[str, int]] = []
        self.threads: set[int] = set()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., object]) -> HandOver | Plan:
        if environ["REQUEST_METHOD"] == "GET":
            return said(start_response, "200 OK", b"got")
        return NEEDS_THREAD if environ[MAY_NOT_BLOCK] else Receive(self)

    def write(self, data: bytes) -> bool:
        self.threads.add(threading.get_ident())
        self.taken += data
        return len(self.taken) <= self.most

    def answer(self, start_response: Callable[..., object]) -> Plan:
        status = "201 Created" if len(self.taken) <= self.most else "413 Content Too Large"
        return said(start_response, status, b"%d bytes" % len(self.taken))

    def cut(self, how: str, status: int = 0) -> None:
        self.cuts.append((how, status))


def said(start_response: Callable[..., object], status: str, text: bytes) -> Plan:
    start_response(status, [("Content-Length", str(len(text)))])
    return Plan((Data(text),), len(text))


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def refuses(port: int) -> bool:
    try:
        Wire(port).close()
    except ConnectionError:
        return True
    return False


CONTENT = pattern(300_000)
WAYS = {
    "with a length": (b"Content-Length: %d\r\n\r\n" % len(CONTENT), CONTENT),
    "in chunks": (b"Transfer-Encoding: chunked\r\n\r\n", chunked(CONTENT[:5], CONTENT[5:200_000], CONTENT[200_000:])),
}


@each("way", WAYS)
def test_content_comes_whole_and_the_connection_goes_on(way: str) -> None:
    fields, sent = WAYS[way]
    app = Taking()
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        for part in (HEAD[:9], HEAD[9:] + fields[:3], fields[3:] + sent[:1], sent[1:7], sent[7:]):
            wire.send(part)
            server.catch_up()
        first = wire.answer()
        wire.send(HEAD + fields + sent + b"GET /g HTTP/1.1\r\nHost: bench\r\n\r\n")
        second, third = wire.answer(), wire.answer()

    assert bytes(app.taken) == CONTENT * 2
    assert (first.status, first.body) == (201, b"300000 bytes")
    assert (second.status, third.body) == (201, b"got")
    assert app.cuts == []


def test_content_without_a_byte_is_content() -> None:
    app = Taking()
    with Limited(Limits(), app=app) as server:
        for fields in (b"Content-Length: 0\r\n\r\n", b"\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            with server.wire() as wire:
                wire.send(HEAD + fields)
                assert wire.answer().body == b"0 bytes"
        with server.wire() as wire:
            wire.send(b"POST /f HTTP/1.0\r\n\r\n")
            assert wire.rest().endswith(b"0 bytes")


def test_client_that_waits_for_a_go_ahead_gets_it_at_once_and_only_once() -> None:
    with Limited(Limits(), app=Taking()) as server, server.wire() as wire:
        wire.send(HEAD + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n")
        assert wire.read_exactly(len(GO_AHEAD)) == GO_AHEAD
        wire.send(b"ab")
        server.catch_up()
        wire.send(b"cd")
        answer = wire.answer()

    assert (answer.status, answer.body) == (201, b"4 bytes")
    assert "Connection" not in answer


def test_silent_client_has_no_thread() -> None:
    app = Taking()
    with Limited(Limits(), app=app) as server:
        wires = [server.wire() for _ in range(40)]
        for wire in wires:
            wire.send(HEAD + b"Content-Length: 9\r\n\r\nabc")
        eventually(lambda: len(app.taken) == 3 * len(wires), "all have come")
        server.catch_up()
        # As many as came at once have a thread; those that are spare end after 10 s.
        eventually(lambda: len(our_threads()) < 12, "the end of the threads", 3 * PATIENCE_SECONDS)
        for wire in wires:
            wire.send(b"defghi")
        answers = [wire.answer().status for wire in wires]
        for wire in wires:
            wire.close()

    assert answers == [201] * len(wires)


@each("seconds", [1, 4])
def test_silent_client_is_answered_when_the_time_is_over(seconds: float) -> None:
    app = Taking()
    with Limited(Limits(timeout=10.0), app=app, clock=Clock()) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: 100000\r\n\r\nabc")
        eventually(lambda: app.taken, "some came")
        for _ in range(int(8 / seconds)):
            server.turn(seconds)
        is_early = wire.has_input()
        server.turn_until_input(wire, seconds)
        answer = wire.answer()
        rest = wire.rest()

    assert not is_early
    assert (answer.status, rest, app.cuts) == (408, b"", [("cut", 408)])


MALFORMED = {
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n": 400,
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n": 400,
}


@each("sent", MALFORMED)
def test_malformed_content_is_cut_and_answered(sent: bytes) -> None:
    app = Taking()
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.send(HEAD + sent)
        answer = wire.answer()
        wire.rest()

    assert (answer.status, answer["Connection"]) == (400, "close")
    assert app.cuts == [("cut", 400)]


def test_client_that_closes_or_resets_in_the_middle_is_cut() -> None:
    app = Taking()
    with Limited(Limits(), app=app) as server:
        with server.wire() as wire:
            wire.send(HEAD + b"Content-Length: 9\r\n\r\nabc")
            wire.half_close()
            status = wire.answer().status
        with server.wire() as wire:
            wire.send(HEAD + b"Content-Length: 9\r\n\r\nabc")
            eventually(lambda: len(app.taken) == 6, "it came")
            wire.reset()
        eventually(lambda: len(app.cuts) == 2, "both were cut")

    assert status == 400
    assert app.cuts == [("closed", 400), ("reset", 0)]


def test_intake_that_wants_no_more_is_answered_in_the_middle_and_the_client_sees_that() -> None:
    piece = bytes(1 << 16)
    app = Taking(most=100_000)
    with Limited(Limits(), app=app) as server:
        for fields, pieces in (
            (b"Content-Length: %d\r\n\r\n" % (64 << 20), [piece] * 1024),
            (b"Transfer-Encoding: chunked\r\n\r\n", [chunked(piece)[:-5]] * 1023 + [chunked(piece)]),
        ):
            app.taken.clear()
            with server.wire() as wire:  # as requests does: it sends all, and then looks for the answer
                wire.send(HEAD + fields)
                for one in pieces:
                    wire.send(one)
                answer = wire.answer()
                assert (answer.status, answer["Connection"], wire.rest()) == (413, "close", b"")

    assert len(app.taken) < 1 << 20
    assert app.cuts == []


class Stuck(Taking):
    """An app whose intakes wait, as for a disk that hangs, until a test lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def write(self, data: bytes) -> bool:
        self.taken += data
        assert self.goes_on.wait(PATIENCE_SECONDS)
        return True


def test_app_that_is_stuck_takes_few_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.server.shared.MOST_RECEIVING", 2)
    app = Stuck()
    with Limited(Limits(), app=app) as server:
        wires = [server.wire() for _ in range(5)]
        for wire in wires:
            wire.send(HEAD + b"Content-Length: 3\r\n\r\nabc")
        eventually(lambda: len(app.taken) == 6, "two of them wait")
        with server.wire() as other:
            got = other.ask("/g").body
        still = len(app.taken)
        app.goes_on.set()
        answers = [wire.answer().status for wire in wires]
        for wire in wires:
            wire.close()

    assert (got, still, answers) == (b"got", 6, [201] * 5)


def test_client_that_goes_on_sending_after_its_answer_is_ended_some_time() -> None:
    app = Taking(most=10)
    limits = Limits(head=5.0, linger=2.0)
    with Limited(limits, app=app, clock=Clock()) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: %d\r\n\r\n" % (1 << 40))
        wire.send(bytes(1 << 20))
        status = wire.answer().status
        for _ in range(3):
            wire.send(bytes(1 << 16))
            server.turn(1.9)

        def is_ended_later() -> bool:
            server.turn_at_once(1.9)  # it may have begun to count after the turns before
            return is_ended(wire)

        eventually(is_ended_later, "it was ended")

    assert status == 413


def is_ended(wire: Wire) -> bool:
    try:
        wire.send(bytes(1 << 16))
    except ConnectionError:
        return True
    return False


def test_server_that_stops_lets_content_come_to_its_end() -> None:
    app = Taking()
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
        eventually(lambda: app.taken, "it came")
        stopping = threading.Thread(target=server.stop, args=(20.0,))
        stopping.start()
        eventually(lambda: refuses(server.port), "it takes no connection any more")
        wire.send(b"def")
        answer = wire.answer()
        stopping.join()

    assert (answer.status, answer["Connection"], app.cuts) == (201, "close", [])


def test_server_that_stops_at_once_cuts_content() -> None:
    app = Taking()
    with Limited(Limits(), app=app) as server, server.wire() as wire:
        wire.send(HEAD + b"Content-Length: 6\r\n\r\nabc")
        eventually(lambda: app.taken, "it came")
        server.stop(0.0)
        rest = wire.rest_until_any_end()

    assert (rest, app.cuts) == (b"", [("cut", 0)])
