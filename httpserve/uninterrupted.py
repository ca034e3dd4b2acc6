"""Runs what a Ctrl-C must not leave half done: signals reach the main thread alone, so the work is done in another.

Knows threads. Knows nothing of what is done.
"""

from __future__ import annotations

import _thread
import queue
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def uninterrupted(body: Callable[[], T], hurry: Callable[[], object], undo: Callable[[T], object] | None = None) -> T:
    """Return what `body` returns, or raise what it raises. A Ctrl-C is raised once `body` has ended.

    Args:
        body: What to do.
        hurry: Called at each Ctrl-C, so that `body` ends soon.
        undo: Called with what `body` returned, if there was a Ctrl-C.
    """
    if threading.current_thread() is not threading.main_thread():
        return body()
    results: queue.SimpleQueue[tuple[T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put((body(), None))
        except BaseException as error:  # noqa: BLE001 - raised again where it belongs
            results.put((None, error))

    interrupt: KeyboardInterrupt | None = None
    try:
        # Not threading.Thread, whose start() waits, and can be interrupted while it does.
        _thread.start_new_thread(run, ())
    except RuntimeError:  # no more threads, or the interpreter is ending
        return body()
    while True:
        try:
            value, error = results.get()
            break
        except KeyboardInterrupt as again:
            interrupt = again
            hurry()
    if error is not None:
        raise error
    if interrupt is not None:
        if undo is not None:
            undo(value)  # type: ignore[arg-type] # without an error there is a value
        raise interrupt
    return value  # type: ignore[return-value] # likewise
