"""Finds the fenced blocks of README.md and docs/*.md, and what the comments above them say of how they are run.

Comments, one a line, right above the fence:

    <!-- continues -->          the blocks of its language before it, back to one without this, run first
    <!-- ends with Ctrl-C -->   Ctrl-C is pressed after a URL that it prints was fetched
    <!-- on the board -->       typed on a board: the files of build/ were put on http://192.168.7.1:8000
    <!-- not run: REASON -->    it is only parsed
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
NOTES = {"continues", "ends with Ctrl-C", "on the board"}


@dataclass(frozen=True)
class Block:
    """A fenced block. *before* are those above it on its page, *notes* what the comments above it say."""

    page: str
    line: int
    language: str
    text: str
    notes: frozenset[str]
    before: tuple[Block, ...] = field(compare=False)

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> str:
        """Why it is only parsed, or nothing."""
        return next((note.partition(":")[2].strip() for note in self.notes if note.startswith("not run:")), "")

    @property
    def file(self) -> str:
        """The name under which later blocks of the page find it, or nothing."""
        named = re.match(r"# (\w+\.(?:py|ini|toml|robot|sh))\n", self.text)
        return named[1] if named else ""

    @property
    def whole(self) -> str:
        """Its text, after that of the blocks that it continues."""
        if "continues" not in self.notes:
            return self.text
        last = next(block for block in reversed(self.before) if block.language == self.language)
        return f"{last.whole}\n{self.text}"


FENCE = re.compile(
    r"(?P<notes>(?:^ *<!-- .+ -->\n\s*?)*)"
    r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<language>.*)\n"
    r"(?P<text>(?:.*\n)*?)"
    r"^ *(?P=fence) *$",
    re.MULTILINE,
)


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page that are not Sphinx's own."""
    blocks: list[Block] = []
    content = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(content):
        language = found["language"].strip()
        if not language.startswith("{"):
            blocks.append(
                Block(
                    page=page.relative_to(REPOSITORY).as_posix(),
                    line=content.count("\n", 0, found.start("indent")) + 1,
                    language=language,
                    text=textwrap.dedent(found["text"]),
                    notes=frozenset(re.findall(r"<!-- (.+) -->", found["notes"])),
                    before=tuple(blocks),
                )
            )
    return blocks
