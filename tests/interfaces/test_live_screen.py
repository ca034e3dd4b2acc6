"""What the live screen shows of events, on terminals of any size."""

from __future__ import annotations

import gc
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from httpserve.cli.json_events import Event
from httpserve.cli.screen import REPEAT_SECONDS, Lines, Repeats
from httpserve.cli.stream import Stream
from tests.cases import each
from tests.interfaces.terminal import Terminal

rich = pytest.importorskip(
    "httpserve.cli.live_screen", reason="rich is not installed: pip install 'httpserve[terminal]'"
)

LONG = "deploy/images/core-image-full-cmdline-genericarm64.wic.zst"
MIB = 1 << 20


@contextmanager
def screen(columns: int, rows: int = 24, encoding: str = "utf-8") -> Iterator[tuple[Terminal, Lines]]:
    terminal = Terminal(columns, rows)
    with open(os.dup(terminal.theirs), "w", encoding=encoding, errors="backslashreplace") as stream:
        shown = rich.Screen(Stream(stream))
        yield terminal, shown
        shown.leave()
    terminal.close()


def progress(number: int, name: str = LONG, client: str = "192.168.7.101", **fields: Any) -> Event:
    amounts = {"acknowledged": 123 * MIB, "total": 412 * MIB, "rate": 11.5 * MIB, "seconds": 9.0}
    return Event("transfer-progress", {"id": number, "name": name, "client": client, **amounts, **fields})


def missing(name: str, *nearest: str) -> Event:
    return Event("missing", {"client": "192.168.7.2", "name": name, "nearest": nearest, "hidden": name[0] == "."}, 0.0)


FIGURES = "29 %  123.0 of 412.0 MiB  11.5 MiB/s"
WIDTHS = [
    (200, f"{LONG}  192.168.7.101  {'━' * 11}╸{'━' * 28}   {FIGURES}  0:25 left"),
    (120, f"deploy/images/core-i…-genericarm64.wic.zst  192.168.7.101  ━━╸━━━━━━━   {FIGURES}  0:25 left"),
    (100, f"deploy/ima…m64.wic.zst  192.168.7.101  ━━╸━━━━━━━   {FIGURES}  0:25 left"),
    (80, f"deploy/image…rm64.wic.zst  192.168.7.101   {FIGURES}"),
    (60, "deploy/image…rm64.wic.zst  192.168.7.101   29 %  11.5 MiB/s"),
    (40, "deploy/im…4.wic.zst 192.168.7.101  29 %"),
    (10, "d…t  29 %"),
]


@each("columns, line", WIDTHS)
def test_the_name_is_shortened_in_its_middle_before_a_figure_is_left_out(columns: int, line: str) -> None:
    with screen(columns) as (terminal, lines):
        lines.tell(progress(1))
        lines.refresh()

        assert terminal.lines() == [line]


def test_the_last_line_is_the_sum_and_says_where_nothing_moves() -> None:
    with screen(100) as (terminal, lines):
        lines.tell(progress(1, "fitImage", "192.168.7.2", acknowledged=3 * MIB, total=12 * MIB, rate=3 * MIB))
        lines.tell(progress(2, "rootfs.squashfs", "192.168.7.13", acknowledged=1 * MIB, total=76 * MIB, rate=0))
        lines.tell(progress(3, "板" * 20, "192.168.7.13", acknowledged=0, total=0, rate=0, seconds=0.1))
        lines.refresh()

        assert terminal.lines() == [
            "fitImage                    192.168.7.2   ━━╸━━━━━━━   25 %  3.0 of 12.0 MiB   3.0 MiB/s  0:03 left",
            "rootfs.squashfs             192.168.7.13  ━━━━━━━━━━    1 %  1.0 of 76.0 MiB     stalled",
            "板板板板板板… 板板板板板板  192.168.7.13  ━━━━━━━━━━  100 %     0 of 0 bytes",
            "3 in all                    2 boards      ━━━━━━━━━━    4 %  4.0 of 88.0 MiB   3.0 MiB/s  0:28 left",
        ]


def test_what_is_wrong_on_purpose_stands_behind_the_name() -> None:
    with screen(120) as (terminal, lines):
        lines.tell(progress(1, "fitImage", "192.168.7.2", rate=0, fault="Stall(0.5, None)"))
        lines.refresh()
        (live,) = terminal.lines()
        lines.tell(
            Event("request", {"client": "192.168.7.3", "status": 0, "method": "", "name": "", "fault": "Refuse()"})
        )
        lines.refresh()

        assert live.startswith("fitImage, on purpose: Stall(0.5, None)  192.168.7.2  ")
        assert terminal.lines()[0].endswith("192.168.7.3 connected: refused, on purpose: Refuse()")


def test_a_narrow_terminal_keeps_names_apart_and_the_label_of_the_sum_whole() -> None:
    with screen(60) as (terminal, lines):
        for number in range(15):
            lines.tell(progress(number, f"image-{number:02}.bin"))
        lines.refresh()

        names = [line.split("  ")[0] for line in terminal.lines()]

    assert names == [*(f"image-{number:02}.bin" for number in range(15)), "15 in all"]


def test_what_came_by_ranges_and_what_is_hidden_is_told_as_that() -> None:
    def transfer(number: int, kind: str, ranges: list[list[int]], **more: object) -> Event:
        fields = {"seconds": 1.0, "name": "board.img", "client": "127.0.0.2", "id": number, "acknowledged": 100}
        told = {} if kind == "transfer-ended" else {"ranges": ranges}
        return Event(kind, {**fields, "total": 100, "rate": 100.0, "state": "completed", **told, **more})

    with screen(100) as (terminal, lines):
        for number, ranges in enumerate(([[0, 100]], [[100, 150], [200, 250]], [])):
            lines.tell(transfer(number, "transfer-started", ranges))
            lines.tell(transfer(number, "transfer-ended", ranges))
            lines.tell(transfer(number, "download", ranges))
        lines.tell(missing(".hid"))
        lines.busy("copying")
        lines.close()
        shown = [line[10:] for line in terminal.lines()]

    how = "board.img to 127.0.0.2: completed, 100 bytes in 1.0 s, 100 bytes/s"
    whole = "127.0.0.2 has all of board.img"
    hidden = '192.168.7.2 asked for ".hid", which is hidden (a leading dot); --dot-files serves it'
    assert shown == [f"bytes 0-99 of {how}", whole, f"2 ranges of {how}", whole, how, hidden]


@each("rows, last", [(10, ["… and 24 more", "30 in all"]), (4, ["… and 30 more", "30 in all"]), (3, ["30 in all"])])
def test_lines_that_find_no_room_are_counted(rows: int, last: list[str]) -> None:
    with screen(80, rows) as (terminal, lines):
        for number in range(30):
            lines.tell(progress(number, "fitImage"))
        lines.refresh()

        shown = terminal.lines()

    assert [line.split("  ")[0] for line in shown[-len(last) :]] == last
    assert len(shown) == max(1, rows - 2)


@each("columns, is_known", [(50, True), (70, True), (110, True), (70, False)])
def test_a_resize_leaves_nothing_of_the_lines_before(columns: int, is_known: bool) -> None:
    with screen(100) as (terminal, lines):
        lines.say("http://192.168.7.1:8000")
        for number in range(5):
            lines.tell(progress(number))
        lines.refresh()
        terminal.lines()

        terminal.resize(columns, is_known=is_known)
        lines.tell(progress(0))
        lines.refresh()
        shown = terminal.lines()

    assert shown[0] == "http://192.168.7.1:8000"
    assert [line[:3] for line in shown[1:]] == ["dep"] * 5 + ["5 i"]


def test_what_is_over_stays_above_with_its_time_and_fits_into_a_line() -> None:
    over = {"state": "reset", "known": "acked"}
    with screen(85) as (terminal, lines):
        lines.tell(progress(1))
        lines.tell(progress(2, "fitImage"))
        lines.refresh()
        lines.tell(Event("transfer-ended", {**progress(1).fields, **over}))
        lines.tell(missing("fitimage", "fitImage", "uImage"))
        lines.tell(missing("none"))
        lines.refresh()
        shown = terminal.lines()

        lines.close()

        assert terminal.lines() == shown[:3]
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in shown[:3])
    assert [line[10:] for line in shown[:3]] == [
        "deploy/images…carm64.wic.zst to 192.168.7.101: reset at 123.0 of 412.0 MiB",
        '192.168.7.2 asked for "fitimage", which is not there; there is "fitImage"',
        '192.168.7.2 asked for "none", which is not there',
    ]
    assert shown[3].startswith("fitImage  192.168.7.101")


def test_requests_that_are_repeated_are_counted() -> None:
    repeats = Repeats()

    told = [repeats.is_first("192.168.7.2", name, 0.0) for name in ("a", "b", "a", "a")]
    at_once = list(repeats.counted(REPEAT_SECONDS / 2))
    later = list(repeats.counted(REPEAT_SECONDS))
    again = [repeats.is_first("192.168.7.2", name, REPEAT_SECONDS) for name in ("a", "b")]
    then = list(repeats.counted(2 * REPEAT_SECONDS)), list(repeats.counted(3 * REPEAT_SECONDS))

    assert told == [True, True, False, False]
    assert (at_once, later) == ([], [("192.168.7.2", "a", 2)])
    assert again == [False, True]
    assert then == ([], [("192.168.7.2", "a", 1)])


def test_requests_that_were_not_counted_yet_are_at_the_end() -> None:
    with screen(80) as (terminal, lines):
        for _ in range(12):
            lines.tell(missing("none"))
        lines.close()

        shown = [line[10:] for line in terminal.lines()]

    assert shown == ['192.168.7.2 asked for "none", which is not there', '192.168.7.2 asked for "none" 11 more times']


def test_colours_and_characters_are_those_that_the_terminal_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    with screen(100, encoding="ascii") as (terminal, lines):
        lines.tell(progress(1))
        lines.tell(missing("none"))
        lines.refresh()
        shown = terminal.lines()

    assert shown[1] == f"deploy/im...64.wic.zst  192.168.7.101  --           {FIGURES}  0:25 left"
    assert not re.search(rb"\x1b\[[\d;]*3\dm", terminal.raw)


def test_what_a_signal_keeps_from_being_drawn_is_drawn_once_later() -> None:
    left = 0

    def profile(frame: object, event: str, argument: object) -> None:
        nonlocal left
        left -= event == "call"
        if left == 0:
            raise KeyboardInterrupt

    for calls in range(1, 1000):
        with screen(100) as (terminal, lines):
            lines.say("before")
            lines.tell(progress(1))
            lines.refresh()
            ended = {"acknowledged": MIB, "total": MIB, "rate": MIB, "seconds": 1.0, "state": "completed"}
            lines.tell(Event("transfer-ended", {"id": 1, "name": "f", "client": "192.168.7.2", **ended}, 0.0))
            lines.tell(progress(2))
            left = calls
            gc.disable()  # what others call at a collection has no place for the interrupt
            try:
                sys.setprofile(profile)
                lines.refresh()
            except KeyboardInterrupt:
                pass
            finally:
                sys.setprofile(None)
                gc.enable()

            lines.refresh()

            shown = terminal.lines()
        assert [line[:6] for line in shown] == ["before", shown[1][:6], "deploy"], (calls, shown)
        assert "f to 192.168.7.2: completed" in shown[1]
        if left > 0:  # it came to its end
            return
