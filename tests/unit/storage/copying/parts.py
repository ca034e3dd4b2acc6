"""Sources that fail on demand, for the tests of staging."""

from __future__ import annotations

import threading
from collections.abc import Callable

from httpserve.storage.copying.ends import SourceChanged
from httpserve.storage.copying.messages import check_whole


class Scripted:
    """A source that gives each element of *script* in turn: bytes, or an exception that is raised."""

    label = "'scripted'"

    def __init__(
        self,
        *script: bytes | BaseException | Callable[[], None],
        size: int | None = None,
        interruptible: bool = True,
    ) -> None:
        self.size = size
        self.interruptible = interruptible
        self.reader: threading.Thread | None = None
        self.finished = 0
        self._script = list(script)
        self._read = 0

    def readinto(self, buffer: memoryview) -> int:
        self.reader = threading.current_thread()
        while self._script:
            step = self._script.pop(0)
            if isinstance(step, SourceChanged):
                self._read = 0
            if isinstance(step, BaseException):
                raise step
            if callable(step):
                step()
                continue
            buffer[: len(step)] = step
            self._read += len(step)
            return len(step)
        return 0

    def finish(self) -> None:
        self.finished += 1
        check_whole(self.label, self._read, self.size)

    def close(self) -> None:
        """There is nothing to close."""
