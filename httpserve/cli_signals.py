"""What ends the command line: Ctrl-C, SIGTERM, and the end of its terminal, all in the same way.

Knows signals. Does not know what is ended.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

NUMBERS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


@contextlib.contextmanager
def signals_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM, and the end of the terminal, end the block in the same way as Ctrl-C does."""
    before = {number: signal.getsignal(number) for number in NUMBERS}
    for number in NUMBERS:
        if before[number] != signal.SIG_IGN:  # as nohup, and a shell for what runs in the background, want it
            signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Let nothing interrupt the last lines; `signals_as_ctrl_c` takes it back."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)
