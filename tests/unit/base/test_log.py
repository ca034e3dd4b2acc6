"""Loggers of the package: whatever is logged, a record holds nothing that a terminal obeys."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.base.log import MOST_CHARACTERS, logger, traceback_lines
from httpserve.errors import StorageError

PACKAGE = Path(__file__).resolve().parents[3] / "httpserve"
NASTY = "a\x1b]0;pwned\x07\r\nforged \x9b31m\u202e\u2028\udcff"


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.got: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.got.append(record)


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """The records of a logger, as any handler of a user's gets them."""
    handler = Records()
    log = logger("httpserve.test")
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    yield handler.got
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    "value",
    [NASTY, Path(NASTY.replace("\udcff", "")), StorageError(f"no {NASTY}"), OSError(5, NASTY), ValueError(NASTY)],
)
def test_values_of_a_record_are_printable(records: list[logging.LogRecord], value: object) -> None:
    logger("httpserve.test").warning("%s left", value)

    assert records[0].getMessage().isprintable()
    assert records[0].getMessage().endswith(" left")


def test_values_that_are_printable_stay_what_they_are(records: list[logging.LogRecord]) -> None:
    error = StorageError("no room")

    logger("httpserve.test").warning("%s: %d of %.1f s: %s", "Image", 5, 1.5, error)

    assert records[0].args == ("Image", 5, 1.5, error)
    assert records[0].getMessage() == "Image: 5 of 1.5 s: no room"


def test_a_long_value_is_cut(records: list[logging.LogRecord]) -> None:
    logger("httpserve.test").warning("%s: %s", "\x1b" * 16_384, 404)

    assert len(records[0].getMessage()) == MOST_CHARACTERS + len(": 404")
    assert "…[65536]…" in records[0].getMessage()


def test_a_traceback_keeps_its_lines_and_forges_none(records: list[logging.LogRecord]) -> None:
    try:
        raise ValueError(f"{NASTY}\n2026-01-01 httpserve.access: all is well")
    except ValueError:
        logger("httpserve.test").error("failed:\n%s", traceback_lines())

    first, *rest = records[0].getMessage().split("\n")
    assert first == "failed:"
    assert rest[0] == "  Traceback (most recent call last):"
    assert all(line.startswith("  ") and line.isprintable() for line in rest)


def test_every_logger_of_the_package_is_such_a_one() -> None:
    """Only the module of the loggers asks `logging` itself, and the one that brings Python's log into Robot's."""
    asking = {file.name for file in PACKAGE.rglob("*.py") if "getLogger(" in file.read_text(encoding="utf-8")}

    assert asking == {"log.py", "python_log.py"}
