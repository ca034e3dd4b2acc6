"""What a person sees: live lines on a terminal, plain lines elsewhere, the QR code."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.interfaces.command import end, fetch, first_line
from tests.interfaces.conftest import Run, Start
from tests.interfaces.terminal import Terminal
from tests.server.wire import Wire

BIG = 12 << 20
SLOW = 64 << 10  # a receive buffer


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def big(folder: Path) -> Path:
    (folder / "board.img").write_bytes(bytes(BIG))
    return folder


def port_of(process: subprocess.Popen[str]) -> int:
    return int(first_line(process).rpartition(":")[2])


def test_line_of_a_transfer_changes_in_its_place_and_is_replaced_at_the_end(
    start: Start, big: Path, terminal: Terminal
) -> None:
    process = start(big, "-b", "127.0.0.1", stderr=terminal.theirs)
    with Wire(port_of(process), receive_bytes=SLOW) as board:
        board.get("/board.img")
        board.read_head()
        (begun,) = terminal.until(len)
        board.read_exactly(5 << 20)
        (stalled,) = terminal.until(lambda lines: "stalled" in lines[0])
        board.read_exactly(BIG - (5 << 20))
        (over,) = terminal.until(lambda lines: "completed" in lines[0])

    part = r"board\.img to 127\.0\.0\.1: +\d+ %, [\d.]+ \S+ of 12\.0 MiB"
    assert begun.startswith("board.img to 127.0.0.1: ")
    assert re.search(part + r", [\d.]+ [KMG]iB/s, \d+:\d\d left\r\n", terminal.raw.decode())
    assert re.fullmatch(part + ", stalled", stalled)
    assert re.fullmatch(r"board\.img to 127\.0\.0\.1: completed, 12\.0 MiB in \d+\.\d s, [\d.]+ [KMG]iB/s", over)
    assert terminal.finish(process) == [over]


def test_each_board_has_its_line_and_what_is_over_stands_above(start: Start, big: Path, terminal: Terminal) -> None:
    process = start(big, "-b", "127.0.0.1", stderr=terminal.theirs)
    port = port_of(process)
    with Wire(port, receive_bytes=SLOW) as first, Wire(port, receive_bytes=SLOW, source="127.0.0.2") as second:
        for board in (first, second):
            board.get("/board.img")
            board.read_head()
        terminal.until(lambda lines: len(lines) == 2)
        second.read_exactly(BIG)
        lines = terminal.until(lambda lines: "completed" in lines[0])
        first.reset()
        rest = terminal.until(lambda lines: "reset" in lines[1])

    assert [line.split(":")[0] for line in lines] == ["board.img to 127.0.0.2", "board.img to 127.0.0.1"]
    assert re.fullmatch(r"board\.img to 127\.0\.0\.1: reset at [\d.]+ [KM]iB of 12\.0 MiB", rest[1])


def test_log_does_not_run_into_live_lines(start: Start, big: Path, terminal: Terminal) -> None:
    process = start(big, "-b", "127.0.0.1", "-v", stderr=terminal.theirs)
    port = port_of(process)
    with Wire(port, receive_bytes=SLOW) as board:
        board.get("/board.img")
        board.read_head()
        terminal.until(lambda lines: any(line.startswith("board.img to") for line in lines))
        for _ in range(3):
            fetch(f"http://127.0.0.1:{port}/boot/zImage")
        lines = terminal.until(lambda lines: sum("GET /boot/zImage" in line for line in lines) == 3)

    assert sum(line.startswith("board.img to") for line in lines) == 1
    assert lines[-1].startswith("board.img to")
    assert not [line for line in lines[:-1] if "board.img to" in line and not line.startswith("board.img to")]


def test_lines_fit_into_a_narrow_and_low_terminal(start: Start, folder: Path) -> None:
    (folder / f"{'板' * 30}.img").write_bytes(bytes(BIG))
    with ExitStack() as stack:
        terminal = stack.enter_context(closing(Terminal(columns=40, rows=6)))
        port = port_of(start(folder, "-b", "127.0.0.1", stderr=terminal.theirs))
        boards = [stack.enter_context(Wire(port, receive_bytes=SLOW)) for _ in range(7)]
        for board in boards:
            board.get(f"/{quote('板' * 30)}.img")
            board.read_head()

        lines = terminal.until(lambda lines: lines and lines[-1] == "... and 4 more")

    assert [line[0] for line in lines] == ["板", "板", "板", "."]


def test_name_cannot_send_commands_to_the_terminal(start: Start, folder: Path, terminal: Terminal) -> None:
    (folder / "a\x1b[31m\nb").write_bytes(b"red")
    process = start(folder, "-b", "127.0.0.1", stderr=terminal.theirs)

    fetch(f"{first_line(process)}/a%1B%5B31m%0Ab")
    (line,) = terminal.until(lambda lines: "completed" in "".join(lines))

    assert line.startswith(r"a\x1b[31m\nb to 127.0.0.1: completed, 3 bytes")
    assert b"\x1b[31m" not in terminal.raw


@pytest.mark.parametrize("switch", ["--no-progress", "-q"])
def test_terminal_stays_empty_if_that_is_wanted(start: Start, folder: Path, terminal: Terminal, switch: str) -> None:
    process = start(folder, "-b", "127.0.0.1", switch, stderr=terminal.theirs)

    fetch(f"{first_line(process)}/boot/zImage")

    assert terminal.finish(process) == []


def test_put_shows_its_copy_and_leaves_no_line_of_it(start: Start, big: Path, terminal: Terminal) -> None:
    process = start("put", big / "board.img", "x", "-b", "127.0.0.1", stderr=terminal.theirs)
    first_line(process)

    assert terminal.finish(process) == []
    assert b"copying x: " in terminal.raw


@pytest.mark.parametrize("where", ["pipe", "dumb terminal"])
def test_elsewhere_progress_is_plain_lines(
    start: Start, folder: Path, terminal: Terminal, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stderr = subprocess.PIPE if where == "pipe" else terminal.theirs
    process = start(folder, "-b", "127.0.0.1", "--progress", stderr=stderr)

    fetch(f"{first_line(process)}/boot/zImage")
    if where == "pipe":
        lines = end(process)[2].splitlines()
    else:
        lines = terminal.finish(process)

    assert lines[0] == "boot/zImage to 127.0.0.1: started, 5.9 KiB"
    assert re.fullmatch(r"boot/zImage to 127\.0\.0\.1: completed, 5\.9 KiB in \d\.\d s, [\d.]+ \S+/s", lines[1])
    assert len(lines) == 2
    assert b"\x1b" not in terminal.raw


def test_qr_code_is_that_of_the_url(start: Start, folder: Path, terminal: Terminal) -> None:
    segno = pytest.importorskip("segno", reason="segno is not installed")
    process = start(folder, "-b", "127.0.0.1", "--qr", stderr=terminal.theirs)
    url = first_line(process)
    code = [[bool(dark) for dark in row] for row in segno.make(url, micro=False).matrix_iter(border=4)]

    lines = terminal.until(lambda lines: len(lines) >= len(code) // 2)

    halves = {"█": (False, False), "▀": (False, True), "▄": (True, False), " ": (True, True)}
    seen = [[halves[char][half] for char in line.ljust(len(code))] for line in lines for half in (0, 1)]
    assert seen[: len(code)] == code


def test_qr_code_without_its_package_is_one_line_that_names_it(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "segno", None)

    code, output, errors = run(folder, "-b", "127.0.0.1", "--qr")

    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "httpserve[qr]" in errors


def test_qr_code_is_drawn_without_half_blocks_where_the_encoding_has_none(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("segno", reason="segno is not installed")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    process = start(folder, "-b", "127.0.0.1", "--qr")
    first_line(process)

    errors = end(process)[2]

    assert errors.isascii()
    assert "\\u" not in errors
    assert "\x1b[7m" in errors
