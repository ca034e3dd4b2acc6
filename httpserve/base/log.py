"""The loggers of this package. They escape what strangers chose, before any of the user's handlers sees it.

Knows logging. Does not know who logs what.
"""

from __future__ import annotations

import logging
from traceback import format_exc

from httpserve.base.text import printable

logging.getLogger("httpserve").addHandler(logging.NullHandler())  # nothing is printed unless the user says so

MOST_CHARACTERS = 1000  # of one value in a line: a target may have 16 KiB


class Lines(str):
    """A text of several lines that passes unchanged."""

    __slots__ = ()


class _Printable(logging.Filter):
    """Makes the values of every record printable."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(map(_shown, record.args))
        return True


_PRINTABLE = _Printable()


def logger(name: str) -> logging.Logger:
    """Return the logger of that name. Every value in its records is printable and of bounded length."""
    found = logging.getLogger(name)
    found.addFilter(_PRINTABLE)  # once, however often it is asked for
    return found


def warn(log: logging.Logger, text: str, *values: object) -> None:
    """Log a warning, and print it to stderr if nobody has set up logging, as Python does for loggers of scripts."""
    log.warning(text, *values)
    if logging.lastResort is not None and log.isEnabledFor(logging.WARNING) and not _is_heard(log):
        record = log.makeRecord(log.name, logging.WARNING, __file__, 0, f"httpserve: {text}", values, None)
        _PRINTABLE.filter(record)
        logging.lastResort.handle(record)


def _is_heard(log: logging.Logger) -> bool:
    """Tell whether a record of this logger reaches a handler that does something with it."""
    logger: logging.Logger | None = log
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def traceback_lines() -> Lines:
    """Return the traceback of the current exception, each line printable.

    The lines are indented, so that those of the exception's message do not look like lines of the log.
    """
    return Lines("\n".join(f"  {printable(line, MOST_CHARACTERS)}" for line in format_exc().rstrip("\n").split("\n")))


def _shown(value: object) -> object:
    if isinstance(value, int | float | Lines):
        return value
    text = str(value)
    shown = printable(text, MOST_CHARACTERS)
    return value if shown == text else shown  # an exception stays an exception for handlers that look at it


def say(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log, and go on if one of the user's handlers raises: boards need the server. Blocks as long as the handlers."""
    try:
        logger.log(level, message, *arguments)
    except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001, S110 - there is nowhere left to log it
        pass
