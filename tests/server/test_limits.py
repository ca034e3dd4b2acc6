"""How long things may take and how many there may be: deadlines, waiting without threads, room for new connections."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest

from httpserve.server.limits import Limits
from tests.conftest import our_threads
from tests.server.limited import AFTER, BEFORE, Limited
from tests.server.wire import Wire, eventually

DRIP_SECONDS = 0.02
BIG_BYTES = 20_000_000  # more than the buffers of both ends take
HANDFUL = 12  # of threads: the machine's cores and a few that are about to end
HEAD = b"GET /10 HTTP/1.1\r\nHost: bench\r\n"


def drip(wire: Wire, pieces: Iterator[bytes]) -> bytes:
    """Send piece after piece, slowly, until an answer comes; return all of what comes."""
    poll = select.poll()
    poll.register(wire.sock, select.POLLIN)
    for piece in pieces:
        wire.send(piece)
        if poll.poll(DRIP_SECONDS * 1000):
            return wire.rest_until_any_end()
    raise AssertionError("the pieces ran out before the server's patience did")


def stays_silent(wire: Wire, seconds: float) -> bool:
    """Tell whether nothing comes for so long, not even an end."""
    poll = select.poll()
    poll.register(wire.sock, select.POLLIN)
    return poll.poll(seconds * 1000) == []


def read_slowly(wire: Wire, count: int, piece: int, pause: float) -> int:
    """Read so many bytes as a slow board does; return how many came."""
    left = count
    while left and (data := wire.read(min(piece, left))):
        left -= len(data)
        time.sleep(pause)
    return count - left


# Heads


def _bytes_of_a_field() -> Iterator[bytes]:
    yield HEAD
    yield b"X-Long: "
    for _ in range(500):
        yield b"x"


def _whole_fields() -> Iterator[bytes]:
    yield HEAD
    for number in range(190):
        yield b"X-%d: x\r\n" % number


def _nothing_more() -> Iterator[bytes]:
    yield HEAD
    for _ in range(500):
        yield b""


def _empty_lines_first() -> Iterator[bytes]:
    yield b"\r\n\r\n"
    yield from _bytes_of_a_field()


def _behind_a_request_body() -> Iterator[bytes]:
    yield b"POST /10 HTTP/1.1\r\nHost: bench\r\nContent-Length: 5\r\n"
    yield from _bytes_of_a_field()


@pytest.mark.parametrize(
    "pieces", [_bytes_of_a_field, _whole_fields, _nothing_more, _empty_lines_first, _behind_a_request_body]
)
def test_a_head_that_drips_is_refused_at_its_deadline(pieces: Callable[[], Iterator[bytes]]) -> None:
    with Limited(Limits(head=0.4)) as server, server.wire() as wire:
        began = time.monotonic()

        answer = drip(wire, pieces())

        assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
        assert time.monotonic() - began >= 0.4


def test_a_head_that_begins_behind_a_request_has_a_deadline_of_its_own() -> None:
    with Limited(Limits(head=0.4)) as server, server.wire() as wire:
        wire.send(HEAD + b"\r\n" + HEAD)
        wire.answer()

        assert wire.answer().status == 408


def test_a_head_that_is_complete_in_time_is_answered() -> None:
    with Limited(Limits(head=5.0)) as server, server.wire() as wire:
        for byte in HEAD + b"\r\n":
            wire.send(bytes([byte]))

        assert wire.answer().status == 200


def test_empty_lines_alone_do_not_keep_a_connection() -> None:
    with Limited(Limits(head=0.3, idle=0.4)) as server, server.wire() as wire:
        assert drip(wire, iter([b"\r\n"] * 500)) == b""


def test_heads_that_drip_hold_up_nobody() -> None:
    with Limited(Limits()) as server:
        wires = [server.wire() for _ in range(50)]
        for wire in wires:
            wire.send(HEAD)

        with server.wire() as quick:
            assert [quick.ask("/10").status for _ in range(50)] == [200] * 50
        assert len(our_threads()) == 1
        for wire in wires:
            wire.close()


# Idle connections


def test_a_connection_without_a_request_is_closed_at_its_limit_and_not_before() -> None:
    began = time.monotonic()
    with Limited(Limits(idle=0.4)) as server, server.wire() as wire:
        assert wire.rest() == b""

        assert time.monotonic() - began >= 0.4


def test_each_request_begins_the_idle_time_anew() -> None:
    with Limited(Limits(idle=0.6)) as server, server.wire() as wire:
        for _ in range(4):
            assert stays_silent(wire, 0.2)
            assert wire.ask("/10").status == 200
        answered = time.monotonic()

        assert wire.rest() == b""

        assert time.monotonic() - answered >= 0.5


def test_the_idle_time_begins_when_a_long_transfer_has_ended() -> None:
    with Limited(Limits(idle=0.5)) as server, server.wire() as wire:
        wire.get(f"/{BIG_BYTES}")
        wire.read_head()
        assert read_slowly(wire, BIG_BYTES, BIG_BYTES // 20, 0.04) == BIG_BYTES

        assert stays_silent(wire, 0.1)
        assert wire.ask("/10").status == 200


# Room for new connections


def test_the_longest_idle_connection_makes_room() -> None:
    with (
        Limited(Limits(connections=3, short_idle=0.3)) as server,
        server.wire() as first,
        server.wire() as second,
        server.wire() as third,
    ):
        assert [wire.ask("/10").status for wire in (first, second, third, first)] == [200] * 4

        with server.wire() as fourth:
            assert fourth.ask("/10").status == 200

            assert second.rest() == b""
            assert [wire.ask("/10").status for wire in (first, third, fourth)] == [200] * 3


def test_an_idle_connection_is_kept_for_a_while_also_when_room_is_needed() -> None:
    with Limited(Limits(connections=1, short_idle=0.5)) as server, server.wire() as first:
        assert first.ask("/10").status == 200
        idle_since = time.monotonic()

        with server.wire() as second:
            second.get("/10")
            assert first.rest() == b""
            assert time.monotonic() - idle_since >= 0.4
            assert second.answer().status == 200


def test_a_connection_at_work_makes_no_room_and_the_next_waits_until_it_ends() -> None:
    limits = Limits(connections=1, short_idle=0.1, linger=0.2)
    with Limited(limits) as server, server.wire(receive_bytes=524288) as first:
        first.get(f"/{BIG_BYTES}", "Connection: close")
        first.read_head()

        with server.wire() as second:
            second.get("/10")
            assert stays_silent(second, 0.5)
            assert len(first.read_exactly(BIG_BYTES)) == BIG_BYTES
            assert second.answer().status == 200


def test_there_are_never_more_connections_than_the_most() -> None:
    with Limited(Limits(connections=4, short_idle=0.05)) as server:
        wires = [server.wire() for _ in range(16)]
        for wire in wires:
            wire.get("/10")
        counts = []
        for wire in wires:
            assert wire.answer().status == 200
            counts.append(server.connections())
            wire.close()

        assert 0 < max(counts) <= 4


# Transfers


def test_a_transfer_without_progress_is_given_up_after_the_timeout() -> None:
    with Limited(Limits(timeout=0.5)) as server, server.wire(receive_bytes=4096) as wire:
        wire.get(f"/{BIG_BYTES}")
        wire.read_head()

        eventually(lambda: server.only().outcome == "cut", "the end")
        assert server.only().seconds >= 0.5
        with pytest.raises(ConnectionResetError):
            wire.read_exactly(BIG_BYTES)


def test_a_slow_transfer_that_moves_is_never_cut() -> None:
    with Limited(Limits(timeout=0.4)) as server, server.wire(receive_bytes=65536) as wire:
        wire.get(f"/{BIG_BYTES}")
        wire.read_head()
        began = time.monotonic()

        while time.monotonic() - began < 1.5:
            assert read_slowly(wire, 50_000, 5000, 0.005) == 50_000

        assert server.only().outcome == "under way"


def test_a_transfer_of_which_only_acknowledgments_move_is_never_cut() -> None:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # or the loopback acknowledges 64 KiB at a time
    sock.bind(("127.0.0.1", 0))
    with Limited(Limits(timeout=0.4), sock) as server, server.wire(receive_bytes=4096) as wire:
        wire.get(f"/{BIG_BYTES}")
        wire.read_head()
        assert read_slowly(wire, 10_000, 1000, 0.01) == 10_000
        began = time.monotonic()
        handed = _handed(server)

        while time.monotonic() - began < 1.5:
            assert read_slowly(wire, 1000, 1000, 0.05) == 1000

        assert _handed(server) - handed < 100_000  # room for one piece at most, so for a second nothing was sent
        assert server.only().outcome == "under way"


def _handed(server: Limited) -> int:
    (exchange,) = server._ledger._log
    return exchange.handed


# What waits holds no thread


def test_a_pause_takes_its_time() -> None:
    with Limited(Limits()) as server, server.wire() as wire:
        wire.get("/wait/0.3")
        wire.read_head()
        assert wire.read_exactly(len(BEFORE)) == BEFORE
        began = time.monotonic()

        assert wire.read_exactly(len(AFTER)) == AFTER

        assert time.monotonic() - began >= 0.2


def test_pauses_hold_no_thread() -> None:
    with Limited(Limits()) as server:
        wires = [server.wire() for _ in range(100)]
        for wire in wires:
            wire.get("/wait/1.5")
        for wire in wires:
            wire.read_head()
            assert wire.read_exactly(len(BEFORE)) == BEFORE

        assert len(our_threads()) <= HANDFUL
        for wire in wires:
            assert wire.read_exactly(len(AFTER)) == AFTER
            wire.close()


def test_a_pause_is_not_shortened_by_what_the_client_sends_meanwhile() -> None:
    with Limited(Limits()) as server, server.wire() as wire:
        wire.get("/wait/0.5")
        wire.read_head()
        wire.read_exactly(len(BEFORE))
        wire.get("/10")

        assert stays_silent(wire, 0.3)
        assert wire.read_exactly(len(AFTER)) == AFTER
        assert wire.answer().status == 200
