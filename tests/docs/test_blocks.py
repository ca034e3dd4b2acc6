"""Every code block in README.md and in docs/ is run, or is parsed and says above it why that is all."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests.cases import each
from tests.docs.blocks import NOTES, PAGES, REPOSITORY, Block, blocks_of
from tests.docs.playing import build, run

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = {"python", "sh", "console", "robot"}
PARSED = {"toml", "ini", "json"}
SHOWN = {"text"}  # what something prints
NOWHERE = {  # how many blocks of a page no test runs
    "README.md": 2,
    "docs/network.md": 2,
    "docs/performance.md": 1,
    "docs/quickstart.md": 1,
    "docs/reliability.md": 1,
    "docs/robot.md": 1,
    "docs/scale.md": 1,
    "docs/shell.md": 2,
}


def blocks(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


@pytest.mark.parametrize("block", [block for block in blocks(*RUN) if not block.not_run], ids=str)
def test_block_runs_as_written(block: Block, tmp_path: Path) -> None:
    build(tmp_path)

    run(block, tmp_path)


@each("block", blocks(*PARSED), ids=str)
def test_block_of_settings_can_be_read(block: Block) -> None:
    if block.language == "toml":
        assert tomllib.loads(block.text)
    elif block.language == "ini":
        settings = configparser.ConfigParser()
        settings.read_string(block.text)
        assert settings.sections()
    else:
        for value in block.text.splitlines() if block.text.count("\n{") else [block.text]:
            assert json.loads(value)


@each("block", [block for block in blocks("sh", "python") if block.not_run], ids=str)
def test_block_that_is_not_run_has_no_fault_of_syntax(block: Block) -> None:
    if block.language == "python":
        assert compile(block.whole, str(block), "exec")
    else:
        assert subprocess.run(["bash", "-n"], input=block.text, text=True, check=False).returncode == 0


@each("block", BLOCKS, ids=str)
def test_block_has_a_language_and_notes_that_mean_something(block: Block) -> None:
    unknown = {note for note in block.notes if note not in NOTES and not note.startswith("not run: ")}

    assert block.language in RUN | PARSED | SHOWN or block.not_run, "say why it is not run: <!-- not run: REASON -->"
    assert not unknown
    assert "pip install" not in block.text or block.not_run, "a test installs nothing"


def test_blocks_that_are_run_nowhere_are_few_and_counted() -> None:
    elsewhere = {block: re.findall(r"tests/[\w/]+\.py|\.ci/run", block.not_run) for block in BLOCKS if block.not_run}

    nowhere = Counter(block.page for block, runs in elsewhere.items() if not runs)

    assert all((REPOSITORY / run).is_file() for runs in elsewhere.values() for run in runs)
    assert nowhere <= Counter(NOWHERE), "run it, name the test that does, or count it here"


@each("page", PAGES, ids=lambda page: page.name)
def test_every_fence_of_the_page_is_found(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()

    fences = [line for line in lines if line.lstrip().startswith(("```", "~~~"))]

    assert len(fences) % 2 == 0
    assert sum("{" in fence for fence in fences) + len(blocks_of(page)) == len(fences) // 2
