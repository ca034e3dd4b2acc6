"""The keyboard of a terminal with live lines: what is typed is not shown there, where it would move the lines.

Knows the terminal's echo, and the signal of Ctrl-Z. Does not know what is drawn.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

IS_POSIX = os.name == "posix"
if IS_POSIX:
    import termios

LOCAL_MODES = 3  # where tcgetattr has them


class Keyboard:
    """The echo of the terminal that a file is, if this process reads it in the foreground; otherwise it stays as it is.

    A job in the background of a script has another standard input, so the echo is never that of what is in front.

    Args:
        number: The file's.
        on_stop: Called when Ctrl-Z is about to stop the process while there is no echo, in a signal's handler.
    """

    def __init__(self, number: int, on_stop: Callable[[], None]) -> None:
        self._number = number
        self._on_stop = on_stop
        self._is_silent = False  # because of us
        self._is_registered = False
        self._handles = IS_POSIX and threading.current_thread() is threading.main_thread()
        self._handles = self._handles and signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL
        if self._handles:
            signal.signal(signal.SIGTSTP, self._stop)

    def silence(self) -> None:
        """Show no more of what is typed. Harmless when repeated."""
        if self._is_ours() and self._set_echo(False):
            self._is_silent = True
            if not self._is_registered:
                atexit.register(self.release)  # after an error that nobody has caught
                self._is_registered = True

    def release(self) -> None:
        """Show what is typed again, if `silence` has ended that. Harmless when repeated."""
        if self._is_silent and self._is_ours():
            self._set_echo(True)
        self._is_silent = False

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.release()
        if self._handles:
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
            self._handles = False

    def _is_ours(self) -> bool:
        if not IS_POSIX:
            return False
        try:
            is_in_front = os.tcgetpgrp(self._number) == os.getpgrp()  # others are stopped if they change the terminal
            return is_in_front and os.path.sameopenfile(0, self._number)
        except OSError:  # it is no terminal of this process
            return False

    def _set_echo(self, wanted: bool) -> bool:
        """Tell whether that has changed it."""
        with contextlib.suppress(termios.error):
            modes = termios.tcgetattr(self._number)
            if bool(modes[LOCAL_MODES] & termios.ECHO) != wanted:
                modes[LOCAL_MODES] ^= termios.ECHO
                termios.tcsetattr(self._number, termios.TCSANOW, modes)
                return True
        return False

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._is_silent:
            self._on_stop()
            self.release()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # goes on behind this, after SIGCONT
        signal.signal(signal.SIGTSTP, self._stop)
