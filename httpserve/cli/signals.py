"""What ends the command line: Ctrl-C, SIGTERM, the end of its terminal, and of its time, all in the same way.

Knows signals and the alarm clock. Does not know what is ended.
"""

from __future__ import annotations

import _thread
import _weakrefset
import contextlib
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

LONGEST_ALARM = 1e8  # seconds that any system's clock takes
AGAIN_SECONDS = 1.0  # Python drops what is raised in a finalizer
SOON_SECONDS = 0.001  # until a finalizer has probably ended
_WEAK = (weakref.__file__, _weakrefset.__file__)
NUMBERS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


def _is_finalizer(frame: FrameType | None) -> bool:
    """Tell whether Python would print and drop what is raised in a frame, or in one that has called it."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "__del__" or (code.co_name in ("remove", "_remove") and code.co_filename in _WEAK):
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    time.sleep(SOON_SECONDS)  # nothing tells when it has ended
    if hasattr(signal, "pthread_kill"):  # it interrupts what the main thread waits for
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:  # pragma: no cover - Windows
        signal.raise_signal(number)


class Signals:
    """A block in which each of these signals raises KeyboardInterrupt, unless it is held back.

    Where it is the last of the process, another signal after it ends that at once, without a message.
    """

    def __init__(self, *, is_last: bool) -> None:
        self._is_last = is_last
        self._before: dict[signal.Signals, Any] = {}  # Any: what signal.signal takes
        self.is_held = False  # whether signals are held back; set without a call, which one of them could interrupt
        self._has_come = False
        self.latest: int | None = None  # the number of the signal that came last
        self.is_time_over = False  # whether it was the clock that raised

    def __enter__(self) -> Self:
        for number in NUMBERS:
            handler = signal.getsignal(number)
            if handler != signal.SIG_IGN:  # as nohup, and a shell for what runs in the background, want it
                self._before[number] = handler
                signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *raised: object) -> None:
        # If a KeyboardInterrupt has come out of code that was compiled from a string, such as a dataclass's, CPython
        # ends the process by SIGINT, even if it was caught, and until the next such code has run.
        exec("")
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if self._is_last else handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.latest = number
        if self.is_held:
            self._has_come = True
        elif _is_finalizer(frame):
            _thread.start_new_thread(_send_again, (number,))  # by no lock, which this thread may have
        else:
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Delay signals until the end of this block, so that they do not interrupt it."""
        was_held, self.is_held = self.is_held, True
        try:
            yield
        finally:
            self.is_held = was_held
            if self._has_come and not was_held:
                self._has_come = False
                raise KeyboardInterrupt

    @contextlib.contextmanager
    def limited(self, seconds: float | None) -> Iterator[None]:
        """Raise KeyboardInterrupt, and set `is_time_over`, if the block takes longer; None: no limit.

        Does nothing on Windows, which has no alarms.
        """
        if seconds is None or not hasattr(signal, "setitimer"):
            yield
            return
        handler = signal.signal(signal.SIGALRM, self._on_alarm)
        alarm = signal.setitimer(signal.ITIMER_REAL, min(seconds, LONGEST_ALARM), AGAIN_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, *alarm)
            signal.signal(signal.SIGALRM, handler)

    def _on_alarm(self, number: int, frame: FrameType | None) -> None:
        self.is_time_over = True
        self._on_signal(number, frame)

    def release(self) -> None:
        """Let signals raise again, and forget those that came meanwhile."""
        self._has_come = False
        self.is_held = False
