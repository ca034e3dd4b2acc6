"""`httpserve --upload`: what boards may send, where it goes, and where it is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import requests

from tests.cases import each
from tests.interfaces.command import end, event, events
from tests.interfaces.conftest import Run, Start


def test_board_sends_a_file_that_stays(start: Start, folder: Path) -> None:
    process = start(folder, "-b", "127.0.0.1", "--json", "--progress", "--upload", "logs", "--max-upload", "1K")
    told = events(process)
    url = event(told, "listening")["url"]

    statuses = [
        requests.put(f"{url}/{name}", data=data, timeout=20).status_code
        for name, data in (("logs/a", b"log"), ("logs/a", b"again"), ("boot/zImage", b"x"), ("logs/b", bytes(1025)))
    ]
    upload = event(told, "upload")
    code, _, errors = end(process)

    assert (code, statuses) == (0, [201, 409, 405, 413])
    assert (upload["name"], upload["bytes"], upload["outcome"], upload["status"]) == ("logs/a", 3, "completed", 201)
    assert upload["sha256"] == hashlib.sha256(b"log").hexdigest()
    assert "  logs/a from 127.0.0.1: completed, 3 bytes in 0." in errors
    assert (folder / "logs" / "a").read_bytes() == b"log"


def test_beside_one_file_a_directory_may_be_sent_to(start: Start, run: Run, folder: Path) -> None:
    process = start(folder / "boot" / "zImage", "-b", "127.0.0.1", "--upload", "logs/")
    assert process.stdout is not None
    url = process.stdout.readline().strip().rpartition("/")[0]

    status = requests.put(f"{url}/logs/a", data=b"log", timeout=20).status_code
    got = requests.get(f"{url}/logs/a", timeout=20).content
    end(process)
    code, _, errors = run(folder / "boot" / "zImage", "--upload")

    assert (status, got, (folder / "boot" / "logs" / "a").read_bytes()) == (201, b"log", b"log")
    assert (code, errors) == (1, "httpserve: --upload needs a SUBDIR where not all of a directory is served\n")


@each(
    ("words", "code", "message"),
    [
        (["--max-upload", "1K"], 2, "--max-upload needs --upload"),
        (["--upload", "logs", "--max-upload", "0"], 2, "is not a number of bytes above 0, such as 64M"),
        (["--upload", "../logs"], 1, "'..' would leave the root"),
    ],
)
def test_what_means_nothing_is_refused(run: Run, folder: Path, words: list[str], code: int, message: str) -> None:
    ended, _, errors = run(folder, *words)

    assert ended == code
    assert message in errors
