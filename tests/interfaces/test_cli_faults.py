"""`httpserve --fault`: what is wrong on purpose, and where it is told."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from tests.cases import each
from tests.interfaces.command import end, event, events
from tests.interfaces.conftest import Run, Start
from tests.server.wire import Wire

REFUSED = "127.0.0.3"
FAULTS = ("boot/zImage=cut@50%,times=1", "*.txt=status@503", f"refuse,client={REFUSED}")


def test_faults_are_told_in_events_and_on_the_screen(start: Start, folder: Path) -> None:
    options = [word for fault in FAULTS for word in ("--fault", fault)]
    process = start(folder, "-b", "127.0.0.1", "--json", "--progress", *options)
    told = events(process)
    port = event(told, "listening")["port"]

    with Wire(port) as board:
        board.get("/boot/zImage", "Connection: close")
        assert board.rest().endswith((b"kernel" * 1000)[:3000])
    begun, ended = event(told, "request"), event(told, "transfer-ended")
    with Wire(port) as board:
        assert board.ask("/a%20file.txt").status == 503
        answered = event(told, "request")
        assert board.ask("/boot/zImage").body == b"kernel" * 1000
        whole = event(told, "transfer-ended")
    with contextlib.suppress(ConnectionError), Wire(port, source=REFUSED) as board:
        board.rest()
    refused = event(told, "request")
    code, _, errors = end(process)

    assert (begun["fault"], ended["fault"], ended["state"], whole["fault"]) == ("Cut(0.5)", "Cut(0.5)", "cut", "")
    assert (answered["status"], answered["name"], answered["fault"]) == (503, "a file.txt", "Status(503)")
    assert (refused["status"], refused["client"], refused["method"], refused["target"]) == (0, REFUSED, "", "")
    lines = [line[10:] for line in errors.splitlines()]
    for line in (
        "boot/zImage to 127.0.0.1: cut at 2.9 of 5.8 KiB, on purpose: Cut(0.5)",
        '127.0.0.1 asked for "a file.txt": answer 503, on purpose: Status(503)',
        f"{REFUSED} connected: refused, on purpose: Refuse()",
    ):
        assert line in lines
    assert code == 0
    assert [line for line in lines if re.match("boot/zImage to 127.0.0.1: completed, .*/s$", line)]


def test_fault_is_for_the_path_of_a_file_too(start: Start, folder: Path) -> None:
    process = start("served", "-b", "127.0.0.1", "-v", "--fault", "served/boot/zImage=truncate@10", cwd=folder.parent)
    assert process.stdout is not None
    url = process.stdout.readline()

    with Wire(int(url.rpartition(":")[2])) as board:
        assert board.ask("/boot/zImage").body == b"kernelkern"
    _, _, errors = end(process)

    assert errors.count(" fault Truncate(10)\n") == 1


@each(
    ("fault", "code", "told"),
    [
        ("fw.bin=cutt@50%", 2, "argument --fault: there is no fault 'cutt' (did you mean cut?); there are slow,"),
        ("fw.bin=cut", 2, "argument --fault: cut needs at=; write cut@AT[,how=fin|reset]; AT is 4096, 64KiB, 50%,"),
        ("fw.bin=refuse", 1, "so it cannot know the name 'fw.bin': give no name, and client= for one board"),
        ("fw.bin=cut@1,client=board", 1, "client must be a board's IP address"),
    ],
)
def test_wrong_fault_is_told_the_right_form(run: Run, folder: Path, fault: str, code: int, told: str) -> None:
    exit_code, output, errors = run(folder, "-b", "127.0.0.1", "--fault", fault)

    assert (exit_code, output) == (code, "")
    assert told in errors


def test_put_takes_faults_as_well(run: Run, folder: Path) -> None:
    code, _, errors = run("put", folder / "x", "y", "--fault", "y=cut@half")

    assert code == 2
    assert "cannot read at='half' as AT" in errors
