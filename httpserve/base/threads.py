"""Runs what must not stop half way, although handlers of signals may raise at any moment in the main thread.

A Ctrl-C raises KeyboardInterrupt there, a timeout of Robot or pytest raises another class by SIGALRM, and other
handlers raise anything, more than once. What takes long runs in another thread, and the main one only waits for it
(`run_shielded`).
A few steps that belong together run while signals are held (`sigint_held`).

A Ctrl-C can interrupt the wait for a `Latch` at any moment without harm. In `Condition.wait` and `Event.wait` a
KeyboardInterrupt at the wrong moment becomes a RuntimeError about an unlocked lock.

Knows threads, locks and handlers. Does not know what runs, nor any particular signal.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import weakref
from _signal import getsignal  # type: ignore[import-not-found]  # those of `signal` take ten times as long
from _signal import signal as set_handler
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, ClassVar, Generic, TypeVar

from httpserve.base.ipython import fold

T = TypeVar("T")
_Handler = Callable[[int, FrameType | None], object]

JOIN_SECONDS = 1.0  # for a thread that has nothing left to do
NUMBERS = sorted(map(int, signal.valid_signals()))
_OF_THE_THREAD = {signal.SIGSEGV, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}  # what its own code has caused
_OF_THE_PROCESS = [number for number in NUMBERS if number not in _OF_THE_THREAD]


def block_signals() -> None:
    """Leave signals to the main thread: one that another thread takes does not end a sleep in the script.

    SIGPIPE is among them: a script that lets it end the process, its default, does not mean a board's connection.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, _OF_THE_PROCESS)


class GivenUp(Exception):
    """Raised by a body that hurried and did not do its work. The caller gets the interrupt."""


class Aside(Generic[T]):
    """A body in its own thread, of that name, which the main thread may start and wait for while signals raise."""

    def __init__(self, body: Callable[[], T], name: str) -> None:
        self._body = body
        self._name = name
        self._has_begun = False
        self._thread: threading.Thread | None = None
        self._over = Latch()
        self.value: T | None = None  # what the body has returned
        self.error: BaseException | None = None  # or raised

    def start(self) -> bool:
        """Let the body begin. Harmless when repeated; False where the system has no thread for it."""
        if not self._has_begun:
            with sigint_held():  # an exception in between would leave a thread that nobody knows of
                try:
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
                except RuntimeError:  # no more threads, or the interpreter ends
                    self._thread = None
                    return False
                self._has_begun = True
        return True

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the body has ended and its thread is gone. True at once where it has not begun."""
        if not self._has_begun:
            return True
        if not self._over.wait(timeout):
            return False
        if self._thread is not None:
            # An exception in the join would leave a thread that counts as dead.
            with sigint_held():
                self._thread.join(JOIN_SECONDS)
                self._thread = None
        return True

    def result(self) -> T:
        """Return or raise what the body returned or raised."""
        error, self.error = self.error, None  # else it would hold its own traceback
        if error is not None:
            try:
                raise error
            finally:
                error = None
        return self.value  # type: ignore[return-value]  # there is one where there is no error

    def run_here(self) -> None:
        """Run the body in this thread, after `start` returned False."""
        self._has_begun = True
        self._run()

    def _run(self) -> None:
        try:
            self.value = self._body()
        except BaseException as error:  # noqa: BLE001 - it is raised where the body was asked for
            self.error = error
        finally:
            self._over.open()


def run_shielded(
    body: Callable[[], T], hurry: Callable[[], object] | None = None, undo: Callable[[T], object] | None = None
) -> T:
    """Return or raise what `body` does. Raise only after its end what signals raise meanwhile.

    Blocks as long as `body`, and `undo` after it. In other threads than the main one it only calls `body`.

    Args:
        body: What to do.
        hurry: Called at each interrupt, so that `body` ends soon. If it is interrupted itself, it is called again.
        undo: Called with the value of `body` if there was an interrupt.

    Raises:
        BaseException: The latest interrupt, with those before it, or else what `body` raised, as its context.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return body()
    work = Aside(body, "httpserve-call")
    interrupt = _waited_out(work, hurry)
    # From here on nothing is called if there was no interrupt, since a new one would prevent the undo.
    error, work.error = work.error, None  # else it would hold its own traceback
    if interrupt is not None:
        try:
            if error is None and undo is not None:
                undone = Aside(partial(undo, work.value), "httpserve-call")  # type: ignore[arg-type]  # see below
                interrupt = _waited_out(undone, None, interrupt) or interrupt
            fold(interrupt)
            raise _in_context(interrupt, error)
        finally:
            interrupt = error = None
    if error is not None:
        try:
            raise error
        finally:
            error = None
    return work.value  # type: ignore[return-value]  # there is one where there is no error


def _waited_out(
    work: Aside[T], hurry: Callable[[], object] | None, interrupt: BaseException | None = None
) -> BaseException | None:
    """Start a body and wait for its end. Return the latest interrupt, with each one before it as context."""
    has_hurried = True
    while True:
        # An exception may also come on the way back to the head of a loop, outside its `try`. Hence two loops: in
        # the outer one no signal that came with the first is left.
        try:
            while True:
                try:
                    if not work.start():
                        work.run_here()  # better than not at all
                    if not has_hurried and hurry is not None:
                        hurry()
                        has_hurried = True
                    work.wait()
                    return interrupt
                except BaseException as again:  # noqa: BLE001 - from a signal's handler; `work` keeps the body's
                    if again.__context__ is None and again is not interrupt:
                        again.__context__ = interrupt
                    interrupt, has_hurried = again, False
        except BaseException as again:  # noqa: BLE001 - likewise
            if again.__context__ is None and again is not interrupt:
                again.__context__ = interrupt
            interrupt, has_hurried = again, False


def _in_context(interrupt: BaseException, error: BaseException | None) -> BaseException:
    """Return the interrupt, with the error of the body as its context unless that was GivenUp."""
    if error is not None and not isinstance(error, GivenUp) and interrupt.__context__ is None:
        interrupt.__context__ = error
    return interrupt


def _pass_on(handler: _Handler, number: int, frame: FrameType | None) -> object:
    """Let a signal through to its handler, but note it while signals are held."""
    noted = _Gate.noted
    if noted is None:
        return handler(number, frame)
    noted[number] = frame
    return None


class _Gate(partial[object]):
    """`_pass_on` to a handler. As it is made in C, it costs no Python call."""

    noted: ClassVar[dict[int, FrameType | None] | None] = None  # None: no signals are held
    main: ClassVar[int | None] = threading.main_thread().ident


class sigint_held:
    """Put off a Ctrl-C to the end of a block, and every other signal that has a handler of Python's.

    The handler that is set at the end gets the signal. Signals without such a handler do what they always do: nothing,
    or end the process. Does nothing in threads other than the main one, which get no signals, nor in a block
    within another. Costs some microseconds.
    """

    __slots__ = ("_gates", "_is_within")

    def __enter__(self) -> None:
        self._gates: dict[int, _Gate] = {}
        self._is_within = threading.get_ident() != _Gate.main or _Gate.noted is not None
        if self._is_within:
            return
        _Gate.noted = {}
        try:
            for number, handler in zip(NUMBERS, map(getsignal, NUMBERS), strict=True):
                if callable(handler):
                    # There is already a gate if an exception from a signal cut short the end of another block.
                    gate = self._gates[number] = handler if isinstance(handler, _Gate) else _Gate(_pass_on, handler)
                    set_handler(number, gate)
        except BaseException:  # from the handler of a signal that has no gate yet
            self.__exit__()
            raise

    def __exit__(self, *raised: object) -> None:
        if self._is_within:
            return
        try:
            for number, gate in self._gates.items():
                if getsignal(number) is gate:  # else somebody has set another handler in the block
                    set_handler(number, gate.args[0])
        except BaseException:  # from the handler of a signal that no longer has a gate
            for number, gate in self._gates.items():
                if getsignal(number) is gate:
                    set_handler(number, gate.args[0])
            raise
        finally:
            noted, _Gate.noted = _Gate.noted, None  # gates that are still there let everything through from now on
            if noted:
                _deliver(noted)


def _deliver(noted: dict[int, FrameType | None]) -> None:
    """Give each of the signals to the handler that it has now."""
    number, frame = noted.popitem()
    handler = getsignal(number)
    try:
        if callable(handler):
            handler(number, frame)
        elif handler == signal.SIG_DFL:
            signal.raise_signal(number)
    finally:
        if noted:
            _deliver(noted)


# Forks

_renewed: weakref.WeakKeyDictionary[Any, Callable[[Any], object]] = weakref.WeakKeyDictionary()


def renew_in_child(thing: T, renew: Callable[[T], object]) -> None:
    """Have `renew(thing)` called in each forked child, before anything else, as long as the thing is alive.

    A child has one thread: nobody there gives back or finishes what another thread of its parent holds or does.
    """
    _renewed[thing] = renew


def _begin_in_child() -> None:
    _Gate.noted = None  # the block that holds signals may be another thread's
    _Gate.main = threading.get_ident()
    for thing, renew in list(_renewed.items()):
        renew(thing)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_begin_in_child)

SLICE_SECONDS = 0.25  # an interrupted waiter may have kept the lock: look again


class Latch:
    """Closed at first; once open, open for ever. Safe from any thread."""

    __slots__ = ("_lock", "is_open")

    def __init__(self, *, is_open: bool = False) -> None:
        self.is_open = is_open  # whether it was opened
        self._lock = threading.Lock()
        self._lock.acquire()

    def open(self) -> None:
        """Let all pass that wait now or later. Harmless when repeated."""
        self.is_open = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was open already

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is open, at most `timeout` seconds (None: for ever). Return whether it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_open:
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            if self._lock.acquire(timeout=left):
                self._lock.release()
        return True
