"""What a person sees: live lines on a terminal, plain lines elsewhere, the QR code."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.interfaces.command import end, fetch, first_line, is_refused
from tests.interfaces.conftest import Run, Start
from tests.interfaces.terminal import Terminal
from tests.ports import free_port
from tests.server.wire import Wire, eventually

BIG = 12 << 20
SLOW = 64 << 10  # a receive buffer
DAY = r"\d\d:\d\d:\d\d  "


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

    part = r"board\.img  127\.0\.0\.1  [━╸╺]+ +\d+ % +[\d.]+ of 12\.0 MiB"
    assert begun.startswith("board.img  127.0.0.1  ")
    drawn = re.sub(r"\x1b\[[\d;]*m", "", terminal.raw.decode())
    assert re.search(part + r" +[\d.]+ [KMG]iB/s  \d+:\d\d left\r\n", drawn)
    assert re.fullmatch(part + " +stalled", stalled)
    assert re.fullmatch(rf"{DAY}board\.img to 127\.0\.0\.1: completed, 12\.0 MiB in \d+\.\d s, [\d.]+ [KMG]iB/s", over)
    assert terminal.finish(process) == [over]


def test_each_board_has_its_line_and_what_is_over_stands_above(start: Start, big: Path, terminal: Terminal) -> None:
    process = start(big, "-b", "127.0.0.1", stderr=terminal.theirs)
    port = port_of(process)
    with Wire(port, receive_bytes=SLOW) as first, Wire(port, receive_bytes=SLOW, source="127.0.0.2") as second:
        for board in (first, second):
            board.get("/board.img")
            board.read_head()
        both = terminal.until(lambda lines: len(lines) == 3)
        second.read_exactly(BIG)
        lines = terminal.until(lambda lines: "completed" in lines[0])
        first.reset()
        rest = terminal.until(lambda lines: "reset" in lines[1])

    assert re.match(r"2 in all +2 boards +[━╸╺]+ +\d+ % +[\d.]+ of 24\.0 MiB", both[2])
    assert [re.split(":? ", line)[1:4] for line in lines] == [["", "board.img", "to"], ["", "127.0.0.1", ""]]
    assert re.fullmatch(rf"{DAY}board\.img to 127\.0\.0\.1: reset at [\d.]+ of 12\.0 MiB", rest[1])


def test_log_does_not_run_into_live_lines(start: Start, big: Path, terminal: Terminal) -> None:
    process = start(big, "-b", "127.0.0.1", "-v", stderr=terminal.theirs)
    port = port_of(process)
    with Wire(port, receive_bytes=SLOW) as board:
        board.get("/board.img")
        board.read_head()
        terminal.until(lambda lines: any(line.startswith("board.img  127") for line in lines))
        for _ in range(3):
            fetch(f"http://127.0.0.1:{port}/boot/zImage")
        lines = terminal.until(
            lambda lines: sum("GET /boot/zImage" in line for line in lines) == 3 and lines[-1].startswith("board.img")
        )

    assert sum(line.startswith("board.img  127") for line in lines) == 1
    assert not [line for line in lines[:-1] if "board.img  127" in line and not line.startswith("board.img  127")]


def test_lines_fit_into_a_narrow_and_low_terminal(start: Start, folder: Path) -> None:
    (folder / f"{'板' * 30}.img").write_bytes(bytes(BIG))
    with ExitStack() as stack:
        terminal = stack.enter_context(closing(Terminal(columns=40, rows=6)))
        port = port_of(start(folder, "-b", "127.0.0.1", stderr=terminal.theirs))
        boards = [stack.enter_context(Wire(port, receive_bytes=SLOW)) for _ in range(7)]
        for board in boards:
            board.get(f"/{quote('板' * 30)}.img")
            board.read_head()

        lines = terminal.until(lambda lines: lines and lines[-1].startswith("7 in all"))

    assert [line[0] for line in lines[:2]] == ["板", "板"]
    assert lines[2] == "… and 5 more"


def test_name_cannot_send_commands_to_the_terminal(start: Start, folder: Path, terminal: Terminal) -> None:
    (folder / "a\x1b[31m\nb").write_bytes(b"red")
    process = start(folder, "-b", "127.0.0.1", stderr=terminal.theirs)

    fetch(f"{first_line(process)}/a%1B%5B31m%0Ab")
    (line,) = terminal.until(lambda lines: "completed" in "".join(lines))

    assert r"  a\x1b[31m\nb to 127.0.0.1: completed, 3 bytes" in line
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


def within(terminal: Terminal) -> dict[str, object]:
    """Return how to start what a terminal is to send its keys and signals to."""

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    return {"plain": True, "stdin": terminal.theirs, "stderr": terminal.theirs, "preexec_fn": take_terminal}


def test_put_of_what_is_typed_says_how_that_ends_and_shows_it(start: Start, terminal: Terminal) -> None:
    process = start("put", "-", "x", "-b", "127.0.0.1", **within(terminal))
    terminal.until(lambda lines: lines == ["reading standard input; Ctrl-D ends it"])
    terminal.type("text\n\x04")

    assert fetch(first_line(process)) == b"text\n"
    assert terminal.lines()[1] == "text"


def test_what_is_typed_moves_no_line_and_is_shown_again_at_the_end(start: Start, big: Path, terminal: Terminal) -> None:
    process = start(big, "-b", "127.0.0.1", **within(terminal))
    with Wire(port_of(process), receive_bytes=SLOW) as board:
        board.get("/board.img")
        board.read_head()
        terminal.until(len)
        silent = terminal.shows_what_is_typed()
        terminal.type("x\n\n\n")
        board.read_exactly(3 << 20)
        lines = terminal.until(lambda lines: re.search(r"2\d %", "".join(lines)))
        terminal.type("\x03")
        board.reset()
        code, _, _ = end(process, told=False)

    assert (silent, len(lines)) == (False, 1)
    assert (code, terminal.shows_what_is_typed()) == (0, True)


@pytest.mark.parametrize("where", ["pipe", "dumb terminal"])
def test_elsewhere_progress_is_plain_lines(
    start: Start, folder: Path, terminal: Terminal, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    stderr = subprocess.PIPE if where == "pipe" else terminal.theirs
    process = start(folder, "-b", "127.0.0.1", *(["--progress"] if where == "pipe" else []), stderr=stderr)

    fetch(f"{first_line(process)}/boot/zImage")
    if where == "pipe":
        lines = end(process)[2].splitlines()
    else:
        lines = terminal.finish(process)

    assert re.fullmatch(rf"{DAY}boot/zImage to 127\.0\.0\.1: started, 5\.8 KiB", lines[0])
    assert re.fullmatch(rf"{DAY}boot/zImage to 127\.0\.0\.1: completed, 5\.8 KiB in \d\.\d s, [\d.]+ \S+/s", lines[1])
    assert len(lines) == 2
    assert b"\x1b" not in terminal.raw


def test_without_rich_lines_are_plain_and_elsewhere_it_is_not_loaded(
    start: Start, folder: Path, terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rich.py").write_text("import os\nos.write(2, b'loads rich')\nraise ImportError\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    process = start(folder, "-b", "127.0.0.1", stderr=terminal.theirs)
    fetch(f"{first_line(process)}/boot/zImage")
    with Wire(port_of(elsewhere := start(folder, "-b", "127.0.0.1", "--progress"))) as board:
        board.ask("/boot/zimage")
    lines = terminal.finish(process)

    assert re.match(rf"loads rich{DAY}boot/zImage to 127\.0\.0\.1: started", lines[0])
    assert re.match(rf"{DAY}boot/zImage to 127\.0\.0\.1: completed", lines[1])
    assert re.fullmatch(
        rf'{DAY}127\.0\.0\.1 asked for "boot/zimage", which is not there; there is "boot/zImage"\n', end(elsewhere)[2]
    )


# What Ctrl-C does while boards download


def test_first_ctrl_c_says_what_it_waits_for_and_lines_go_on_moving(
    start: Start, big: Path, terminal: Terminal
) -> None:
    process = start(big, "-b", "127.0.0.1", stderr=terminal.theirs)
    with Wire(port_of(process), receive_bytes=SLOW) as board:
        board.get("/board.img")
        board.read_head()
        terminal.until(len)
        process.send_signal(signal.SIGINT)
        (said, before) = terminal.until(lambda lines: len(lines) == 2)
        board.read_exactly(6 << 20)
        terminal.until(lambda lines: re.search(r" [45]\d % +[56]\.\d of 12\.0 MiB", lines[1]))
        board.read_exactly(BIG - (6 << 20))
        lines = terminal.until(lambda lines: "completed" in lines[1])

    assert said == "waiting up to 5 s for 1 download; again to cut it"
    assert re.match(r"board\.img  127\.0\.0\.1  [━╸╺]+ +\d %", before)
    assert len(lines) == 2
    assert end(process, told=False)[0] == 0


def test_end_that_waits_for_another_board_says_what_is_done(start: Start, big: Path, terminal: Terminal) -> None:
    process = start(big, "-b", "127.0.0.1", "--exit-after", "board.img", stderr=terminal.theirs)
    with Wire(port := port_of(process), receive_bytes=SLOW, source="127.0.0.2") as other:
        other.get("/board.img")
        other.read_head()
        terminal.until(len)
        fetch(f"http://127.0.0.1:{port}/board.img")
        lines = terminal.until(lambda lines: any("waiting" in line for line in lines))
        other.reset()
        code, _, _ = end(process, told=False)

    assert "board.img is downloaded; waiting up to 5 s for 1 other download" in lines
    assert code == 0


@pytest.mark.parametrize("options", [["--progress"], ["--json"], ["-q"]], ids=" ".join)
def test_second_signal_cuts_at_once_and_plain_lines_say_once_what_is_waited_for(
    start: Start, big: Path, options: list[str]
) -> None:
    process = start(big, "-b", "127.0.0.1", "-p", str(port := free_port()), *options)
    first_line(process)
    with Wire(port, receive_bytes=SLOW) as one, Wire(port, receive_bytes=SLOW) as other:
        for board in (one, other):
            board.get("/board.img")
            board.read_head()
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        said = ""
        while options != ["-q"] and not said.startswith("waiting"):
            said = process.stderr.readline()
        eventually(lambda: is_refused(port), "the end of listening")
        process.send_signal(signal.SIGINT)
        code, output, errors = end(process, told=False)

    assert code == 0
    assert said in ("waiting up to 5 s for 2 downloads\n", "")
    assert "waiting" not in errors
    assert all(json.loads(line)["event"] for line in output.splitlines())


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
