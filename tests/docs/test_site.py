"""The site has every page and every public name. That it builds without a warning is shown by `.ci/do docs`."""

from __future__ import annotations

import re
from pathlib import Path

import httpserve
from httpserve import errors
from tests.cases import each
from tests.docs.blocks import PAGES, REPOSITORY

DOCS = REPOSITORY / "docs"
STUMBLED_OVER = (  # by native readers
    r"neither chooses|says why nothing arrives|rooms of the house|boards are N|with it: gives up|gone in the end",
    r"makes no sense|a command of ours|is given up after|in vain|\bthat stands\b|lies in the board|passes, and nothing",
    r"may take its time|chosen last, as|was never seen|there was a choice|have it not|knows no `|is no fault",
    r"holds what it is|is left alone|to print is yours|ours are used|Give ours|is there as soon as",
    r"Each fault is a real|That is mended|Remember the settings|could do anything with|nothing could be done",
    r"goes first|means the root|out of reach|needs a right|stop who has it|in the words of its users",
    r"that answer was complete",
)


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    page = (DOCS / "api.md").read_text("utf-8")
    listed = set(re.findall(r"^\.\. (?:auto\w+:: httpserve\.|py:data:: )(\w+)", page, re.MULTILINE))
    assert "errors" in listed  # as a whole

    missing = {name for name in httpserve.__all__ if name not in listed and not hasattr(errors, name)}

    assert missing == {"__version__"}


def test_page_of_logging_has_every_logger() -> None:
    sources = [file.read_text("utf-8") for file in (REPOSITORY / "httpserve").rglob("*.py")]
    loggers = {name for text in sources for name in re.findall(r'\b(?:l|getL)ogger\("([\w.]+)"\)', text)}

    page = (DOCS / "logging.md").read_text("utf-8")

    assert set(re.findall(r"^\| `([\w.]+)`", page, re.MULTILINE)) == loggers | {"httpserve"}


def test_every_page_is_in_the_index() -> None:
    index = (DOCS / "index.md").read_text("utf-8").splitlines()

    missing = {page.stem for page in PAGES if page.parent == DOCS} - {"index"} - set(index)

    assert not missing


@each("page", PAGES, ids=lambda page: page.name)
def test_links_of_the_page_lead_to_files(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text("utf-8"))

    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]

    assert not broken


def test_no_text_has_the_sentences_that_readers_stumbled_over() -> None:
    seen = (
        "errors.py",
        "pytest_plugin.py",
        "storage/facade.py",
        "c*/*.py",
        "network/*.py",
        "robot/*.py",
        "records/waits/*",
    )
    sources = [path for pattern in seen for path in (REPOSITORY / "httpserve").glob(pattern) if path.suffix == ".py"]
    texts = [*PAGES, DOCS / "httpserve.1", *sources]
    unclear = re.compile("|".join(STUMBLED_OVER))

    found = {f"{path.name}: {line}" for path in texts for line in unclear.findall(path.read_text("utf-8"))}

    assert not found
