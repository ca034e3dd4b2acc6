"""Brings what httpserve writes to Python's logging into Robot's log.

Robot takes records of Python's logging only from the thread of the keywords, and most of ours come from others.
They are kept here until a keyword ends.

Knows Python's logging and Robot's. Knows no keyword. Bounded, as a board may cause a record with each request.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

from robot.api import logger

from httpserve import HttpServeError
from httpserve.base.text import Hint, counted, worded
from httpserve.robot.words import argument

MOST_RECORDS = 50  # at a time; as many warnings again
_OF_ROBOT = {"MainThread", "RobotFrameworkTimeoutThread"}  # Robot listens to these, by name
_ACCESS = "httpserve.access"  # Robot's log has its own lines about transfers


class PythonLog(logging.Handler):
    """Keeps records until they are written. Safe from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque()
        self._left_out = 0

    def begin(self) -> None:
        """Keep records from now on. Harmless when repeated."""
        logging.getLogger("httpserve").addHandler(self)

    def end(self) -> None:
        """Keep no more, and forget what is left."""
        logging.getLogger("httpserve").removeHandler(self)
        self._records.clear()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record that Robot does not take itself."""
        if record.name == _ACCESS or threading.current_thread().name in _OF_ROBOT:
            return
        if len(self._records) < MOST_RECORDS * (2 if record.levelno >= logging.WARNING else 1):
            self._records.append(record)
        else:
            self._left_out += 1

    def write(self) -> None:
        """Write what is kept, in the thread of a keyword: warnings as such, and the others at DEBUG."""
        while self._records:
            record = self._records.popleft()
            if record.levelno >= logging.ERROR:
                logger.error(_text(record))
            elif record.levelno >= logging.WARNING:
                logger.warn(_text(record))
            else:
                logger.debug(_text(record))
        left_out, self._left_out = self._left_out, 0
        if left_out:
            logger.debug(f"and {counted(left_out, 'more line')} of Python's logging")


PYTHON_LOG = PythonLog()  # one, as there is one logging


def _text(record: logging.LogRecord) -> str:
    """Return the text of a record in a suite's words."""
    if not isinstance(record.args, tuple):
        return record.getMessage()
    return str(record.msg) % tuple(map(_worded, record.args)) if record.args else str(record.msg)


def _worded(value: object) -> object:
    if isinstance(value, HttpServeError) and value.args:
        return worded(value.args[0], argument)
    return argument(value) if isinstance(value, Hint) else value
