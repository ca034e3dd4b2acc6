"""The loggers of this package: what a stranger chose is escaped in every record, and a handler ends no thread.

Knows logging. Does not know who logs what. A user's handlers format as they like and write anywhere, so what has to
be escaped is escaped before any of them sees it. A handler that raises ends no answer.
"""

from __future__ import annotations

import logging
from traceback import format_exc

from httpserve.base.text import printable

MOST_CHARACTERS = 1000  # of one value in a line: a target may have 16 KiB


class Lines(str):
    """A text of several lines that a record may have as it is."""

    __slots__ = ()


class _Printable(logging.Filter):
    """Lets every record pass, with its values printable."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_shown, record.args))
        return True


_PRINTABLE = _Printable()


def logger(name: str) -> logging.Logger:
    """Return the logger of that name, in whose records every value is printable and of bounded length."""
    found = logging.getLogger(name)
    found.addFilter(_PRINTABLE)  # once, however often it is asked for
    return found


def traceback_lines() -> Lines:
    """Return where the exception that is being handled comes from, each line printable.

    They are indented, as the exception's own message may have lines, which shall not look like lines of the log.
    """
    return Lines("\n".join(f"  {printable(line, MOST_CHARACTERS)}" for line in format_exc().rstrip("\n").split("\n")))


def _shown(value: object) -> object:
    if isinstance(value, int | float | Lines):
        return value
    text = str(value)
    shown = printable(text, MOST_CHARACTERS)
    return value if shown == text else shown  # an exception stays one for handlers that look at it


def say(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log, and survive a handler of the user's that raises: it must not cost the boards their server.

    Blocks for as long as a handler does. What `logging` itself prints of a handler that fails is its user's to see.
    """
    try:
        logger.log(level, message, *arguments)
    except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001, S110 - there is nowhere left to tell it
        pass
