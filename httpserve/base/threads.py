"""Runs what must not be left half done, whatever the handlers of signals raise: they do so in the main thread alone.

A Ctrl-C raises KeyboardInterrupt there, a timeout of Robot or pytest another class by SIGALRM, and any handler
whatever it likes, at any moment and more than once. What takes long is done in another thread, and the main one does
no more than wait for it; a few steps that belong together are done while signals are held.

A `Latch` is something to wait for that a Ctrl-C can interrupt at any moment without harm. `Condition.wait` and
`Event.wait` are no such thing: a KeyboardInterrupt at the wrong moment inside them becomes a RuntimeError about an
unlocked lock.

Knows threads, locks and handlers. Knows nothing of what is done, nor of any particular signal.
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

T = TypeVar("T")
_Handler = Callable[[int, FrameType | None], object]

JOIN_SECONDS = 1.0  # for a thread that has nothing left to do
NUMBERS = sorted(map(int, signal.valid_signals()))


class GivenUp(Exception):
    """What a body raises that was told to hurry and did not do its work; the caller gets what interrupted it."""


class Aside(Generic[T]):
    """A body in a thread of its own, which the main thread may start and wait for while signals raise in it.

    Args:
        body: What to do.
        name: The thread's name, for whoever reads a dump of stacks.
    """

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
            with sigint_held():  # inside of it an exception leaves a thread that nobody knows has begun
                try:
                    self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                    self._thread.start()
                except RuntimeError:  # no more threads, or the interpreter is ending
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
            # An exception inside of it leaves a thread that is taken for dead; and is lost in Python's finalizer of it.
            with sigint_held():
                self._thread.join(JOIN_SECONDS)
                self._thread = None
        return True

    def result(self) -> T:
        """Return what the body has returned, or raise what it raised."""
        error, self.error = self.error, None  # else it would hold its own traceback
        if error is not None:
            try:
                raise error
            finally:
                error = None
        return self.value  # type: ignore[return-value]  # there is one where there is no error

    def run_here(self) -> None:
        """Run the body in this thread, where `start` has said that there is no other."""
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
    """Return what `body` returns, or raise what it raises. What signals raise meanwhile is raised once it has ended.

    Blocks as long as `body`, and `undo` after it; in any thread but the main one it is no more than a call.

    Args:
        body: What to do.
        hurry: Called at each interrupt, so that `body` ends soon. It may be interrupted itself, and is called again.
        undo: Called with what `body` returned, if there was an interrupt.

    Raises:
        BaseException: The latest interrupt, with those before it, or else what `body` raised, as its context.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return body()
    work = Aside(body, "httpserve-call")
    interrupt = _waited_out(work, hurry)
    # From here on nothing is called if there was no interrupt: one that came now would leave undone what is to be.
    error, work.error = work.error, None  # else it would hold its own traceback
    if interrupt is not None:
        try:
            if error is None and undo is not None:
                interrupt = _waited_out(Aside(_Undone(undo, work), "httpserve-call"), None, interrupt) or interrupt
            raise _in_context(interrupt, error)
        finally:
            interrupt = error = None
    if error is not None:
        try:
            raise error
        finally:
            error = None
    return work.value  # type: ignore[return-value]  # there is one where there is no error


class _Undone(Generic[T]):
    """What is to be undone, as a body."""

    def __init__(self, undo: Callable[[T], object], work: Aside[T]) -> None:
        self._undo = undo
        self._work = work

    def __call__(self) -> None:
        self._undo(self._work.value)  # type: ignore[arg-type]  # it has ended without an error


def _waited_out(
    work: Aside[T], hurry: Callable[[], object] | None, interrupt: BaseException | None = None
) -> BaseException | None:
    """Start a body and wait for its end. Returns the latest interrupt, each with the one before as its context."""
    is_told = True
    while True:
        # An exception may also come on the way back to the head of a loop, which is outside of what it tries. Hence
        # two loops: at the second one no signal is left that came with the first.
        try:
            while True:
                try:
                    if not work.start():
                        work.run_here()  # the interpreter ends, or the machine is full; better so than not at all
                    if not is_told and hurry is not None:
                        hurry()
                        is_told = True
                    work.wait()
                    return interrupt
                except BaseException as again:  # noqa: BLE001 - of a signal's handler: the body's are kept apart
                    if again.__context__ is None and again is not interrupt:
                        again.__context__ = interrupt
                    interrupt, is_told = again, False
        except BaseException as again:  # noqa: BLE001 - likewise
            if again.__context__ is None and again is not interrupt:
                again.__context__ = interrupt
            interrupt, is_told = again, False


def _in_context(interrupt: BaseException, error: BaseException | None) -> BaseException:
    """Return the interrupt, and let it show what the body raised meanwhile, unless that was for the interrupt."""
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
    """`_pass_on` to a handler. Being made by C, it costs no call of Python's."""

    noted: ClassVar[dict[int, FrameType | None] | None] = None  # None: no signals are held


class sigint_held:
    """Put off a Ctrl-C to the end of a block, and every other signal that has a handler of Python's.

    At the end the handler of that time gets the signal. Signals without such a handler do what they always do: nothing,
    or the end of the process. Does nothing in threads other than the main one, which get no signals, nor in a block
    within another. Costs some microseconds.
    """

    __slots__ = ("_gates", "_is_within")

    def __enter__(self) -> None:
        self._gates: dict[int, _Gate] = {}
        self._is_within = threading.get_ident() != threading.main_thread().ident or _Gate.noted is not None
        if self._is_within:
            return
        _Gate.noted = {}
        try:
            for number, handler in zip(NUMBERS, map(getsignal, NUMBERS), strict=True):
                if callable(handler):
                    # A gate is there already if an exception of a signal cut short the end of another block.
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
        except BaseException:  # from the handler of a signal that has no gate any more
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

    A child has one thread: what another thread of its parent holds or does there, nobody will give back or finish.
    """
    _renewed[thing] = renew


def _begin_in_child() -> None:
    _Gate.noted = None  # the block that holds signals may be another thread's
    for thing, renew in list(_renewed.items()):
        renew(thing)


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has none
    os.register_at_fork(after_in_child=_begin_in_child)

SLICE_SECONDS = 0.25  # a waiter that was interrupted may have kept the lock: look again


class Latch:
    """Closed at first, and open for ever once it was opened. Safe from any number of threads."""

    __slots__ = ("_is_open", "_lock")

    def __init__(self, *, is_open: bool = False) -> None:
        self._is_open = is_open
        self._lock = threading.Lock()
        self._lock.acquire()

    @property
    def is_open(self) -> bool:
        """Whether it was opened."""
        return self._is_open

    def open(self) -> None:
        """Let everybody pass who waits or will wait. Harmless when repeated."""
        self._is_open = True
        try:
            self._lock.release()
        except RuntimeError:
            pass  # it was open already

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the latch is open, at most `timeout` seconds (None: for ever). False when it is not."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._is_open:
            left = SLICE_SECONDS if deadline is None else min(SLICE_SECONDS, deadline - time.monotonic())
            if left <= 0:
                return False
            if self._lock.acquire(timeout=left):
                self._lock.release()
        return True
