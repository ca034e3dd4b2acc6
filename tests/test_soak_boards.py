"""The boards of the soak know what they have to the byte, and what is claimed of them beyond that is found."""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import soak_uploads
from benchmarks.soak_boards import UNKNOWN, Boards, Connection, Cut, Note, Odd, chunks, right_parts
from benchmarks.soak_claims import Claim, Waited, false_claims, false_waits, unexplained
from benchmarks.soak_uploads import Sending, Sent, Upload, content_of, false_uploads, sent_as
from httpserve import HttpServerClient
from tests.cases import each
from tests.server.wire import Wire

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="addresses of 127.0.0.0/8, and socket filters")

BYTES_ACKED = 120  # where it is in struct tcp_info
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
BODY = bytes(range(250)) * 4000
WHOLE = Note("t-0", "127.1.0.1", "image", 10.0, status=200, total=1000, length=1000, got=1000, right=((0, 1000),))
PART = Note("t-1", "127.1.0.1", "image", 10.0, status=200, total=1000, length=1000, got=400, right=((0, 400),))
REST = Note(
    "t-2", "127.1.0.1", "image", 10.0, status=206, start=400, total=1000, length=600, got=600, right=((400, 1000),)
)
CORRUPT = replace(WHOLE, right=((0, 400), (401, 1000)))


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


@each(
    ("status", "body", "got", "length", "right", "kind"),
    [
        (200, b"A" * 100, 100, 100, ((0, 100),), None),
        (200, b"A" * 40, 40, 100, ((0, 40),), None),
        (200, b"A" * 40, 40, UNKNOWN, ((0, 40),), None),
        (200, b"A" * 40 + b"B" + b"A" * 59, 100, 100, ((0, 40), (41, 100)), "bytes"),
        (200, b"A" * 99, 99, 99, ((0, 99),), "short"),
        (200, b"B" * 12, 12, 12, (), "bytes"),
        (404, b"B" * 12, 12, 12, (), None),
    ],
)
def test_bytes_that_nobody_put_are_told_and_do_not_count(
    status: int, body: bytes, got: int, length: int, right: tuple[tuple[int, int], ...], kind: str | None
) -> None:
    boards = Boards(0, ["image"], [b"A" * 100], "127.1.0", 0, 0)
    note = Note("", "127.1.0.1", "image", 10.0, status=status, total=100, length=length, got=got)

    boards.check("127.1.0.1:5", note, body)

    assert note.right == right
    assert [(odd.kind, odd.keys) for odd in boards.stop()[1]] == ([(kind, ("127.1.0.1:5",))] if kind else [])


def test_the_beginning_of_what_a_board_has_sent_is_too_short_and_not_wrong() -> None:
    boards = Boards(0, ["image"], [], "127.1.0", 0, 0)
    content = content_of("t-1", 5000)
    for size in (0, 1, 4000, 5000):
        boards.check("", Note("t", "", "up/0", 10.0, status=200, total=size, length=size, got=size), content[:size])

    assert [odd.kind for odd in boards.stop()[1]] == ["short"] * 3


def test_what_came_right_is_what_lies_before_and_behind_what_is_wrong() -> None:
    assert right_parts(b"0123456789", 2, b"2345") == ((2, 6),)
    assert right_parts(b"0123456789", 2, b"2x45") == ((2, 3), (4, 6))
    assert right_parts(b"0123456789", 8, b"89x") == ((8, 10),)
    assert right_parts(b"0123456789", 0, b"") == ()


def test_chunks_are_read_as_they_come() -> None:
    assert chunks(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\nnext", 0) == ([b"abc", b"de"], 20)
    assert chunks(b"3\r\nab", 0) == ([b"ab"], None)
    with pytest.raises(ValueError, match="does not end"):
        chunks(b"3\r\nabcde\r\n", 0)


@each(
    ("kind", "fault", "is_told"),
    [
        ("bytes", "", True),
        ("bytes", "Corrupt(0.5)", False),
        ("bytes", "Slow(1000.0), Corrupt(0.5)", False),
        ("bytes", "Cut(0.5)", True),
        ("early", "Cut(0.5)", False),
        ("early", "Corrupt(0.5)", True),
        ("short", "Truncate(0.5)", False),
    ],
)
def test_what_is_odd_is_wrong_unless_a_fault_explains_it(kind: str, fault: str, is_told: bool) -> None:
    said = unexplained([Odd(kind, ("t-1",), "odd")], {"t-1": [fault], "t-2": ["Corrupt(1)"]})

    assert bool(said) is is_told


@each(
    ("claim", "is_true"),
    [
        (Claim("t-0", 1000, completed=True), True),
        (Claim("t-1", 400, completed=False), True),
        (Claim("t-1", 399, completed=False), True),
        (Claim("t-1", 401, completed=False), False),
        (Claim("t-1", 400, completed=True), False),
        (Claim("t-9", 0, completed=False), False),
        (Claim("t-1", 400, completed=True, fault="WrongLength(600)"), True),
        (Claim("t-1", 400, completed=True, fault="Corrupt(5)"), False),
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
        ([CORRUPT], "t-0", True, 11.0, False),
    ],
)
def test_a_wait_that_returns_before_the_board_has_it_is_false(
    notes: list[Note], token: str, is_single: bool, at: float, is_true: bool
) -> None:
    waited = Waited(token, "127.1.0.1", "image", 1000, 1000, is_single, at)

    assert (false_waits([waited], notes) == []) is is_true


# What boards send


def test_what_a_board_has_sent_tells_whether_it_is_whole() -> None:
    content = content_of("t-1", 5000)

    assert (len(content), sent_as(content), sent_as(content[:4000])) == (5000, content, content)
    assert sent_as(b"anything") is None


UPLOADED = Sent("t-0", "127.1.0.1", "up/0", 1000, "d1", is_whole=True, status=201)


@each(
    ("upload", "sent", "is_true"),
    [
        (Upload("t-0", "127.1.0.1", "up/0", 1000, "d1", completed=True), UPLOADED, True),
        (Upload("t-0", "127.1.0.1", "up/0", 1000, "d2", completed=True), UPLOADED, False),
        (Upload("t-0", "127.1.0.1", "up/0", 999, "d1", completed=True), UPLOADED, False),
        (Upload("t-0", "127.1.0.1", "up/1", 1000, "d1", completed=True), UPLOADED, False),
        (Upload("t-0", "127.1.0.1", "up/0", 1000, "d1", completed=True), replace(UPLOADED, is_whole=False), False),
        (Upload("t-0", "127.1.0.1", "up/0", 400, "", completed=False), UPLOADED, False),
        (Upload("t-0", "127.1.0.1", "up/0", 400, "", completed=False), replace(UPLOADED, status=0), True),
        (Upload("t-9", "127.1.0.1", "up/0", 400, "", completed=False), replace(UPLOADED, status=0), False),
    ],
)
def test_an_upload_that_is_not_what_the_board_sent_is_false(upload: Upload, sent: Sent, is_true: bool) -> None:
    assert (false_uploads([upload], [sent], {}) == []) is is_true


def test_what_boards_send_is_stored_where_all_of_it_was_sent_and_is_right(tmp_path: Path) -> None:
    chance = random.Random(1)
    sent = [Sending(chance, f"t-{number}", "127.0.0.1") for number in range(30)]
    with HttpServerClient(tmp_path, host="127.0.0.1") as client, client.accept_uploads("up/", overwrite=True):
        for one in sent:
            with Wire(client.get_port()) as wire:
                wire.send(one.head)
                if one.waits:
                    assert wire.read_head().startswith(b"HTTP/1.1 100 ")
                for piece in one.pieces():
                    wire.send(piece)
                if one.is_all:
                    one.sent.status = int(wire.read_head().split()[1])

        uploads = [
            Upload(one.user_agent, one.client, one.name, one.bytes, one.sha256, one.completed) for one in client.uploads
        ]

    assert false_uploads(uploads, [one.sent for one in sent], {}) == []
    assert {one.token for one in uploads if one.completed} == {one.sent.token for one in sent if one.sent.is_whole}
    assert {one.sent.status for one in sent} == {0, 201, 204, 422}
    assert {one.name for one in uploads} == set(soak_uploads.NAMES)
