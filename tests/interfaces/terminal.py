"""A terminal with the command in it: a real pseudo-terminal, and an emulator that says what a person sees."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable

import pyte

PATIENCE_SECONDS = 20.0
LOOK_SECONDS = 0.02


class Terminal:
    """A pseudo-terminal.

    Args:
        columns: Its width.
        rows: Its height.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self._ours, self.theirs = os.openpty()
        self.raw = b""
        self._tell(columns, rows)
        self._show(columns, rows)

    def _tell(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def _show(self, columns: int, rows: int) -> None:
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    def resize(self, columns: int, rows: int = 24, *, is_known: bool = True) -> None:
        """Change its size as most terminals do, which fold lines anew and keep the cursor where it is in the text.

        Programs know it later from some (tmux): not *is_known* is what they see until then.
        """
        self.read()
        lines, above = [line.rstrip() for line in self._screen.display], self._screen.cursor.y
        self._show(columns, rows)
        if is_known:
            self._tell(columns, rows)
        text = "\r\n".join([*lines[:above], "\x1b7" + lines[above], *lines[above + 1 :]]).rstrip()
        self._stream.feed(f"{text}\x1b8".encode())

    def type(self, text: str) -> None:
        """Press these keys."""
        os.write(self._ours, text.encode())

    def shows_what_is_typed(self) -> bool:
        return bool(termios.tcgetattr(self.theirs)[3] & termios.ECHO)

    def close(self) -> None:
        os.close(self._ours)
        os.close(self.theirs)

    def lines(self) -> list[str]:
        """Return the lines that a person sees, without those that are empty."""
        self.read()
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def until(self, fact: Callable[[list[str]], object]) -> list[str]:
        """Return the lines as soon as they fit."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not fact(self.lines()):
            assert time.monotonic() < deadline, self.lines()
            self.read(LOOK_SECONDS)
        return self.lines()

    def finish(self, process: subprocess.Popen[str]) -> list[str]:
        """Tell the process to end, wait for it, and return what it leaves."""
        process.terminate()
        deadline = time.monotonic() + PATIENCE_SECONDS
        while process.poll() is None:  # reading on: it must not wait for room
            assert time.monotonic() < deadline, self.lines()
            self.read(LOOK_SECONDS)
        return self.lines()

    def read(self, seconds: float = 0) -> None:
        """Show what has come; wait as long for the first of it."""
        while select.select([self._ours], [], [], seconds)[0]:
            data = os.read(self._ours, 65536)
            self.raw += data
            self._stream.feed(data)
