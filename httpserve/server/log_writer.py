"""Writes lines to logs in its own thread, so that a blocking handler holds nobody up.

Knows loggers and one thread. Does not know what the lines are about.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

from httpserve.base.log import logger, say
from httpserve.base.threads import Latch, block_signals

MOST_LINES = 10_000  # waiting to be written; of more, the log says only how many there were
FLUSH_SECONDS = 1.0  # for what is left at the end
LINGER_SECONDS = 1.0  # the thread ends when it has had nothing to do for this long

log = logger("httpserve.server")


class LogWriter:
    """Lines that wait to be written. Safe from any thread; nothing but `close` blocks.

    Args:
        name: What its thread is called.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._lock = threading.Lock()  # guards _thread and _dropped
        self._thread: threading.Thread | None = None
        self._dropped = 0
        self._is_closed = False

    def say(self, logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
        """Write a line soon, if anybody reads it. Its arguments must no longer change."""
        if logger.isEnabledFor(level):
            self.write(lambda: say(logger, level, message, *arguments))

    def write(self, line: Callable[[], object]) -> None:
        """Have a function that writes a line called: soon, and in the order of the calls."""
        with self._lock:
            if self._lines.qsize() >= MOST_LINES:
                self._dropped += 1
                return
            self._lines.put(line)
            if self._begins():
                return
        while self._lines.qsize():  # no more threads: better late than never
            self._lines.get()()

    def _begins(self) -> bool:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return False
            self._thread = thread
        return True

    def close(self) -> None:
        """Wait until everything is written and the thread has ended, at most FLUSH_SECONDS."""
        with self._lock:
            thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        written = Latch()
        self._is_closed = True
        self._lines.put(written.open)
        if written.wait(FLUSH_SECONDS):
            thread.join(FLUSH_SECONDS)

    def _run(self) -> None:
        block_signals()
        while self._writes_one():
            self._log_dropped()

    def _writes_one(self) -> bool:
        try:
            line = self._lines.get(timeout=0 if self._is_closed else LINGER_SECONDS)
        except queue.Empty:
            with self._lock:
                if not self._lines.qsize():
                    self._thread = None
                    return False
            return True
        try:
            line()
        except BaseException:  # noqa: BLE001, S110 - a handler that calls pytest.fail: the lines behind it are written
            pass
        return True

    def _log_dropped(self) -> None:
        if self._dropped:
            with self._lock:
                dropped, self._dropped = self._dropped, 0
            say(log, logging.WARNING, "%d lines were not logged: the log takes them too slowly", dropped)
