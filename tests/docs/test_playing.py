"""The docs' tests find the faults that a block may have, and play the board for one that has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.blocks import Block
from tests.docs.playing import build, run

SERVE = """
from httpserve import HttpServerClient
with HttpServerClient(host="127.0.0.1") as http:
    print("fetch", http.put_file("board.img", "build/board.img"))
    http.wait_for_download("board.img", timeout=30)
"""


def block(language: str, text: str, *notes: str, before: tuple[Block, ...] = ()) -> Block:
    return Block("page.md", 1, language, text, frozenset(notes), before)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "raise SystemExit(3)\n"),
        ("python", "import threading\nthreading.Thread(target=lambda: 1 / 0).start()\n"),
        ("python", "import warnings\nwarnings.warn('old', DeprecationWarning)\n"),
        ("python", "# test_of_a_reader.py\ndef test_that_fails():\n    assert False\n"),
        ("sh", "false\ntrue\n"),
        ("console", "$ test -e absent\nabsent\n"),
    ],
)
def test_block_with_a_fault_fails(language: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        run(block(language, text), tmp_path)


def test_board_fetches_what_a_block_prints(tmp_path: Path) -> None:
    build(tmp_path)

    run(block("python", SERVE), tmp_path)


def test_block_finds_the_files_and_the_cells_before_it(tmp_path: Path) -> None:
    saved = block("python", "# told.py\nWHO = 'board'\n")
    first = block("python", "import told\nwho = told.WHO\n", before=(saved,))
    second = block("python", "assert who == 'board'\n", "continues", before=(saved, first))

    run(second, tmp_path)


def test_ctrl_c_ends_what_serves_for_ever(tmp_path: Path) -> None:
    build(tmp_path)

    run(block("sh", "httpserve -b 192.168.7.1 -p 8000 build\necho on\n", "ends with Ctrl-C"), tmp_path)


def test_board_reaches_the_bench(tmp_path: Path) -> None:
    build(tmp_path)

    fetch = "import urllib.request as u; assert len(u.urlopen('http://192.168.7.1:8000/zImage').read()) == 100_000\n"
    run(block("python", fetch, "on the board"), tmp_path)
