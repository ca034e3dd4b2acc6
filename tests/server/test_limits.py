"""How long things may take and how many there may be: deadlines, waiting without threads, room for new connections.

Time stands still here, until a test turns the server's clock.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import pytest

from httpserve.plan import Data, Piece, Plan, Subject
from httpserve.records.model import Transfer
from httpserve.server.limits import Limits
from tests.conftest import our_threads
from tests.server.limited import AFTER, BEFORE, Clock, Limited
from tests.server.wire import eventually

BIG_BYTES = 12_000_000  # more than the buffers of both ends take
HEAD = b"GET /10 HTTP/1.1\r\nHost: bench\r\n"


# Heads


LONG_FIELD = [HEAD, b"X-Long: ", *[b"x"] * 100]
DRIPPING = {
    "bytes of a field": LONG_FIELD,
    "whole fields": [HEAD, *(b"X-%d: x\r\n" % number for number in range(100))],
    "nothing more": [HEAD, *[b""] * 100],
    "empty lines first": [b"\r\n\r\n", *LONG_FIELD],
    "with a length of content": [b"POST /10 HTTP/1.1\r\nHost: bench\r\nContent-Length: 5\r\n", *LONG_FIELD],
}


@pytest.mark.parametrize("pieces", DRIPPING.values(), ids=DRIPPING)
def test_a_head_that_drips_is_refused_at_its_deadline(pieces: list[bytes]) -> None:
    with Limited(Limits(head=20.0), clock=Clock()) as server, server.wire() as wire:
        wire.send(pieces[0] + pieces[1])
        for piece in pieces[2:21]:
            server.turn(1.0)
            wire.send(piece)
        assert not wire.has_input()

        server.turn_until_input(wire, 1.0)  # the head may have begun after the first turns

        assert wire.answer().status == 408
        assert wire.rest_until_any_end() == b""


def test_a_head_that_begins_behind_a_request_has_a_deadline_of_its_own() -> None:
    with Limited(Limits(head=20.0), clock=Clock()) as server, server.wire() as wire:
        wire.send(HEAD + b"\r\n" + HEAD)
        wire.answer()

        server.turn_until_input(wire, 20.0)

        assert wire.answer().status == 408


def test_a_head_that_is_complete_in_time_is_answered() -> None:
    with Limited(Limits(head=20.0), clock=Clock()) as server, server.wire() as wire:
        for byte in HEAD:
            wire.send(bytes([byte]))
        server.turn(19.0)
        wire.send(b"\r\n")

        assert wire.answer().status == 200


def test_content_that_takes_too_long_ends_the_connection() -> None:
    with Limited(Limits(head=20.0), clock=Clock()) as server, server.wire() as wire:
        wire.send(b"POST /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12")
        assert wire.answer().body == b"xxx"
        server.turn(19.0)
        wire.send(b"3")
        assert not wire.has_input()

        server.turn_until_input(wire, 1.0)

        assert wire.rest_until_any_end() == b""


def test_empty_lines_alone_do_not_keep_a_connection() -> None:
    with Limited(Limits(head=20.0, idle=75.0), clock=Clock()) as server, server.wire() as wire:
        for _ in range(7):
            wire.send(b"\r\n")
            server.turn(10.0)
        assert not wire.has_input()
        wire.send(b"\r\n")

        server.turn_until_input(wire, 5.0)

        assert wire.rest_until_any_end() == b""  # a reset, where the last line was not read


def test_heads_that_drip_hold_up_nobody() -> None:
    with Limited(Limits()) as server:
        wires = [server.wire() for _ in range(50)]
        for wire in wires:
            wire.send(HEAD)

        with server.wire() as quick:
            assert [quick.ask("/10").status for _ in range(50)] == [200] * 50
        assert len(our_threads()) < 10  # the leader, and who has led before; how many depends on the machine
        for wire in wires:
            wire.close()


# Idle connections


def test_a_connection_without_a_request_is_closed_at_its_limit_and_not_before() -> None:
    with Limited(Limits(idle=75.0), clock=Clock()) as server, server.wire() as wire:
        server.turn(74.0)
        assert not wire.has_input()

        server.turn_until_input(wire, 1.0)

        assert wire.rest() == b""


def test_each_request_begins_the_idle_time_anew() -> None:
    with Limited(Limits(idle=75.0), clock=Clock()) as server, server.wire() as wire:
        for _ in range(4):
            server.turn(74.0)
            assert wire.ask("/10").status == 200
        server.turn(74.0)
        assert not wire.has_input()

        server.turn_until_input(wire, 1.0)

        assert wire.rest() == b""


def test_the_idle_time_begins_when_a_long_transfer_has_ended() -> None:
    with Limited(Limits(idle=75.0), clock=Clock()) as server, server.wire() as wire:
        wire.get(f"/{BIG_BYTES}")
        wire.read_head()
        server.turn(74.0)
        assert len(wire.read_exactly(BIG_BYTES)) == BIG_BYTES
        server.turn(74.0)

        assert wire.ask("/10").status == 200


# Room for new connections


def test_the_longest_idle_connection_makes_room() -> None:
    with (
        Limited(Limits(connections=3, short_idle=15.0), clock=Clock()) as server,
        server.wire() as first,
        server.wire() as second,
        server.wire() as third,
    ):
        for wire in (first, second, third, first):
            assert wire.ask("/10").status == 200
            server.turn_at_once(1.0)
        server.turn_at_once(15.0)

        with server.wire() as fourth:
            assert fourth.ask("/10").status == 200

            assert second.rest() == b""
            assert [wire.ask("/10").status for wire in (first, third, fourth)] == [200] * 3


def test_an_idle_connection_is_kept_for_a_while_also_when_room_is_needed() -> None:
    with Limited(Limits(connections=1, short_idle=15.0), clock=Clock()) as server, server.wire() as first:
        assert first.ask("/10").status == 200

        with server.wire() as second:
            second.get("/10")
            server.turn_at_once(14.0)
            assert first.ask("/10").status == 200
            server.turn_until_input(first, 15.0)
            assert first.rest() == b""
            assert second.answer().status == 200


def test_a_connection_at_work_makes_no_room_and_the_next_waits_until_it_ends() -> None:
    limits = Limits(connections=1, short_idle=15.0)
    with Limited(limits, clock=Clock()) as server, server.wire(receive_bytes=524288) as first:
        first.get(f"/{BIG_BYTES}", "Connection: close")
        first.read_head()

        with server.wire() as second:
            second.get("/10")
            server.turn_at_once(60.0)
            assert len(first.read_exactly(BIG_BYTES)) == BIG_BYTES
            server.turn_until_input(second, 1.0)
            assert second.answer().status == 200


def test_there_are_never_more_connections_than_the_most() -> None:
    with Limited(Limits(connections=4, short_idle=0.02)) as server:
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
    with Limited(Limits(timeout=600.0), clock=Clock()) as server, server.wire(receive_bytes=4096) as wire:
        wire.get(f"/{BIG_BYTES}")
        wire.read_head()
        server.turn(599.0)
        assert server.only().outcome == "under way"

        def is_cut() -> bool:
            server.turn(600.0)
            return server.only().outcome == "cut"

        eventually(is_cut, "the end")
        assert server.only().seconds >= 600.0
        with pytest.raises(ConnectionResetError):
            wire.read_exactly(BIG_BYTES)


def test_a_slow_transfer_that_moves_is_never_cut() -> None:
    limits = Limits(timeout=600.0)
    with Limited(limits, app=_big_file, clock=Clock()) as server, server.wire(receive_bytes=65536) as wire:
        wire.get("/")
        wire.read_head()

        taken = 0

        def is_acknowledged() -> bool:
            return server.transfers()[0].acknowledged > taken - 65536

        for _ in range(20):
            assert len(wire.read_exactly(400_000)) == 400_000  # more than both queues may hold beside what is left
            taken += 400_000
            eventually(is_acknowledged, "what was read")
            server.turn(250.0)

        assert server.only().outcome == "under way"


def _big_file(environ: dict[str, Any], start_response: Callable[..., object]) -> Plan:
    start_response("200 OK", [("Content-Length", str(BIG_BYTES))])
    subject = Subject("big", '"v"', BIG_BYTES, (Piece(0, 0, BIG_BYTES),))
    return Plan((Data(bytes(BIG_BYTES)),), BIG_BYTES, subject)


def test_a_transfer_of_which_only_acknowledgments_move_is_never_cut() -> None:
    sock = socket.socket()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # or the loopback acknowledges 64 KiB at a time
    sock.bind(("127.0.0.1", 0))
    limits = Limits(timeout=600.0)
    with Limited(limits, sock, app=_big_file, clock=Clock()) as server, server.wire(receive_bytes=4096) as wire:

        def transfer() -> Transfer:
            (found,) = server.transfers()
            return found

        wire.get("/")
        wire.read_head()
        still = sent = 0
        while still < 4:  # rounds, of 500 s each, in which something was acknowledged and nothing was sent
            before = transfer()
            while transfer().acknowledged == before.acknowledged:
                assert len(wire.read_exactly(500)) == 500
            server.turn(500.0)
            still = still + 1 if transfer().sent == sent else 0
            sent = transfer().sent

        assert transfer().state == "under way"


# What waits holds no thread


def test_a_pause_takes_its_time() -> None:
    with Limited(Limits(), clock=Clock()) as server, server.wire() as wire:
        wire.get("/wait/300")
        wire.read_head()
        assert wire.read_exactly(len(BEFORE)) == BEFORE
        server.turn(299.0)
        assert not wire.has_input()

        server.turn_until_input(wire, 100.0)

        assert wire.read_exactly(len(AFTER)) == AFTER


def test_pauses_hold_no_thread() -> None:
    with Limited(Limits(), clock=Clock()) as server:
        wires = [server.wire() for _ in range(100)]
        for wire in wires:
            wire.get("/wait/300")
            wire.read_head()
            assert wire.read_exactly(len(BEFORE)) == BEFORE

        assert len(our_threads()) < 50
        for wire in wires:
            server.turn_until_input(wire, 300.0)
            assert wire.read_exactly(len(AFTER)) == AFTER
            wire.close()


def test_a_pause_is_not_shortened_by_what_the_client_sends_meanwhile() -> None:
    with Limited(Limits(), clock=Clock()) as server, server.wire() as wire:
        wire.get("/wait/300")
        wire.read_head()
        wire.read_exactly(len(BEFORE))
        wire.get("/10")
        server.turn(299.0)
        assert not wire.has_input()

        server.turn_until_input(wire, 100.0)

        assert wire.read_exactly(len(AFTER)) == AFTER
        assert wire.answer().status == 200
