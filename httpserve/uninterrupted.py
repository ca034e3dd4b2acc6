"""Runs what a Ctrl-C must not leave half done: signals reach the main thread alone, so the work is done in another.

Knows threads and SIGINT. Knows nothing of what is done.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from httpserve.latch import Latch

T = TypeVar("T")

JOIN_SECONDS = 1.0  # for a thread that has nothing left to do


def uninterrupted(body: Callable[[], T], hurry: Callable[[], object], undo: Callable[[T], object] | None = None) -> T:
    """Return what `body` returns, or raise what it raises. A Ctrl-C is raised once `body` has ended.

    Args:
        body: What to do.
        hurry: Called at each Ctrl-C, so that `body` ends soon.
        undo: Called with what `body` returned, if there was a Ctrl-C.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return body()
    outcome: list[Callable[[], T]] = []
    done = Latch()
    thread = threading.Thread(target=_run, args=(body, outcome, done), name="httpserve-call", daemon=True)
    is_started = False
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            if not is_started:
                with sigint_held():  # Thread.start waits, and cannot be interrupted without harm while it does
                    thread.start()
                    is_started = True
            done.wait()
            thread.join(JOIN_SECONDS)
            break
        except KeyboardInterrupt as again:
            interrupt = again
            hurry()
        except RuntimeError:  # no more threads, or the interpreter is ending
            return body()
    value = outcome[0]()
    if interrupt is not None:
        if undo is not None:
            undo(value)
        raise interrupt
    return value


def _run(body: Callable[[], T], outcome: list[Callable[[], T]], done: Latch) -> None:
    try:
        value = body()
    except BaseException as error:  # noqa: BLE001 - raised again where it belongs
        raised = error

        def fail() -> T:
            raise raised

        outcome.append(fail)
    else:
        outcome.append(lambda: value)
    done.open()


@contextlib.contextmanager
def sigint_held() -> Iterator[None]:
    """Put off a Ctrl-C to the end of the block. Does nothing in other threads, which feel none."""
    held: list[tuple[Any, ...]] = []
    is_felt = threading.get_ident() == threading.main_thread().ident
    before = signal.getsignal(signal.SIGINT) if is_felt else None
    if before is None:  # or not Python's to change
        yield
        return
    signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held and callable(before):
        before(*held[0])
