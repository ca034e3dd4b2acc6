"""The boards of the soak know what they have to the byte, and what is claimed of them beyond that is found."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from collections.abc import Iterator

import pytest

from benchmarks.soak_boards import Boards, Connection, Cut, Note
from benchmarks.soak_claims import Claim, Waited, false_claims, false_waits
from tests.cases import each

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="addresses of 127.0.0.0/8, and socket filters")

BYTES_ACKED = 120  # where it is in struct tcp_info
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
BODY = bytes(range(250)) * 4000
WHOLE = Note("t-0", "127.1.0.1", "image", 10.0, status=200, total=1000, length=1000, got=1000)
PART = Note("t-1", "127.1.0.1", "image", 10.0, status=200, total=1000, length=1000, got=400)
REST = Note("t-2", "127.1.0.1", "image", 10.0, status=206, start=400, total=1000, length=600, got=600)


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_a_board_that_dies_has_noted_what_its_system_has_acknowledged(listening: socket.socket) -> None:
    board = Connection(listening.getsockname()[1], "127.1.0.1", "t", receive_bytes=16_384)
    server, _ = listening.accept()
    board.ask("image")
    with server:
        server.setblocking(False)
        handed_over = server.send(HEAD + BODY)
        board.receive(2000)

        board.die()

        (note,) = board.notes
        acknowledged = struct.unpack_from(
            "Q", server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256), BYTES_ACKED
        )[0]
        assert note.got == acknowledged - len(HEAD)
        assert 2000 - len(HEAD) <= note.got < handed_over - len(HEAD)
        assert not note.is_whole


def test_a_whole_answer_comes_with_its_bytes_and_those_behind_it_too(listening: socket.socket) -> None:
    board = Connection(listening.getsockname()[1], "127.1.0.1", "t")
    server, _ = listening.accept()
    board.ask("one", "two")
    with server:
        sender = threading.Thread(target=lambda: server.sendall((HEAD + BODY) * 2))
        sender.start()

        answers = [board.answer(), board.answer()]
        sender.join()
        board.die()

    assert [(note.name, note.got, body == BODY) for note, body in answers] == [
        ("one", 1_000_000, True),
        ("two", 1_000_000, True),
    ]


@pytest.mark.parametrize("sent", [HEAD + BODY[:5000], HEAD[:20]])
def test_an_orderly_end_inside_an_answer_is_told(listening: socket.socket, sent: bytes) -> None:
    board = Connection(listening.getsockname()[1], "127.1.0.1", "t")
    server, _ = listening.accept()
    board.ask("image")
    with server:
        server.recv(1000)
        server.sendall(sent)

    with pytest.raises(Cut):
        board.answer()
    board.die()

    assert board.early


def test_a_reset_inside_an_answer_is_no_orderly_end(listening: socket.socket) -> None:
    board = Connection(listening.getsockname()[1], "127.1.0.1", "t")
    server, _ = listening.accept()
    board.ask("image")
    with server:
        server.recv(1000)
        server.sendall(HEAD + BODY[:5000])
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with pytest.raises(Cut):
        board.answer()
    board.die()

    assert not board.early


def test_bytes_that_nobody_put_are_told() -> None:
    boards = Boards(0, ["image"], [b"A" * 100], "127.1.0", 0, 0)
    note = Note("", "127.1.0.1", "image", 10.0, status=200, total=100, length=100, got=100)

    boards.check(note, b"A" * 100)
    assert boards.wrong == []
    boards.check(note, b"A" * 99 + b"B")

    assert len(boards.wrong) == 1


@each(
    ("claim", "is_true"),
    [
        (Claim("t-0", 1000, completed=True), True),
        (Claim("t-1", 400, completed=False), True),
        (Claim("t-1", 399, completed=False), True),
        (Claim("t-1", 401, completed=False), False),
        (Claim("t-1", 400, completed=True), False),
        (Claim("t-9", 0, completed=False), False),
    ],
)
def test_a_record_that_says_more_than_the_board_has_is_false(claim: Claim, is_true: bool) -> None:
    assert (false_claims([claim], [WHOLE, PART]) == []) is is_true


@each(
    ("notes", "token", "is_single", "at", "is_true"),
    [
        ([WHOLE], "t-0", True, 11.0, True),
        ([WHOLE], "", True, 11.0, True),
        ([PART], "t-1", True, 11.0, False),
        ([PART, REST], "t-2", False, 11.0, True),
        ([REST], "t-2", False, 11.0, False),
        ([WHOLE, PART], "t-1", True, 11.0, False),
        ([WHOLE], "t-0", True, 9.0, False),
        ([WHOLE], "t-9", True, 11.0, False),
    ],
)
def test_a_wait_that_returns_before_the_board_has_it_is_false(
    notes: list[Note], token: str, is_single: bool, at: float, is_true: bool
) -> None:
    waited = Waited(token, "127.1.0.1", "image", 1000, 1000, is_single, at)

    assert (false_waits([waited], notes) == []) is is_true
