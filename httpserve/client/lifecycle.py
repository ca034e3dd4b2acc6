"""The life of one server and its root: stopped, starting, running, stopping, and again.

Knows which moves are legal, and that threads, forks and the collector make them. Knows no URLs and no files.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from functools import partial

from httpserve.base.log import logger
from httpserve.base.text import Message
from httpserve.base.threads import GivenUp, Latch, renew_in_child, run_shielded, sigint_held
from httpserve.errors import AddressNotFound, ServerNotRunning
from httpserve.records.log import ExchangeLog
from httpserve.server.server import Server
from httpserve.storage.served import ServedRoot

log = logger("httpserve.client")


class State(Enum):
    """Where a server is in its life."""

    STOPPED = auto()
    STARTING = auto()
    RUNNING = auto()
    STOPPING = auto()


LOOK_SECONDS = 0.05  # how often a call that waits for another one checks whether it was given up
ADDRESS_POLL_SECONDS = 0.1  # not every system reports a new address as an event
_SETTLED = (State.STOPPED, State.RUNNING)


class _Call:
    """One call of start, stop or close: whether it made the move, what it has ended, and what has ended it.

    A Ctrl-C, or another exception from a signal, gives it up; a stop or close in another thread calls off a start that
    waits for an address, for `address_seconds`. A stop or close leaves `grace` seconds to what is under way.
    """

    def __init__(self, address_seconds: float = 0.0, grace: float = 0.0) -> None:
        self.address_seconds = address_seconds
        self.cut_at = time.monotonic() + grace
        self.has_left = False
        self.has_called_off = False
        self.is_given_up = False
        self.is_called_off = False
        self.is_over = Latch()  # open once it need not wait for anything

    def give_up(self) -> None:
        self.is_given_up = True
        self.is_over.open()

    def call_off(self) -> None:
        self.is_called_off = True
        self.is_over.open()


class Lifecycle:
    """A root and, at times, a server for it. Safe from any thread.

    `listen` returns a server that listens but was not started. Its argument says whether the address may still come:
    AddressNotFound is then no reason to give up, or to listen anywhere else.
    """

    def __init__(self, root: ServedRoot, exchanges: ExchangeLog, listen: Callable[[bool], Server]) -> None:
        self._root = root
        self._exchanges = exchanges
        self._listen = listen
        self._lock = threading.Lock()  # guards changes of state, _server, _starting and _settled
        self._settled = Latch(is_open=True)  # closed between two settled states
        self.state = State.STOPPED
        self._server: Server | None = None
        self._starting: _Call | None = None  # while it may wait for an address
        self.started_at = 0.0  # when it last began to run, in seconds since the epoch
        renew_in_child(self, Lifecycle._begin_anew)

    def running(self) -> Server | None:
        """Return the server while it runs. Waits for nothing."""
        server = self._server
        return server if self.state is State.RUNNING else None

    def start(self, wait_for_address: float = 0.0) -> Server | None:
        """Open the root, listen and serve; None when it runs already. Raises what opening and listening raise.

        A Ctrl-C, or another exception from a signal, leaves it stopped, as does a stop or close in another thread while
        it waits for an address, which it does for at most `wait_for_address` seconds.
        """
        if self.running() is not None:
            return None
        call = _Call(wait_for_address)
        return run_shielded(partial(self._start, call), call.give_up, self._undo_start)

    def stop(self, timeout: float) -> bool:
        """Stop the server. False when none ran. An interrupt cuts what is under way, and stops the server all the same.

        If several threads stop it, what is under way is cut as soon as the timeout of any of these calls is over.
        """
        call = _Call(grace=timeout)
        return run_shielded(partial(self._stop, call, timeout), partial(self._hurry, call))

    def close(self, timeout: float) -> bool:
        """Stop the server if it runs, and close the root. No one starts it in between. False when none ran."""
        call = _Call(grace=timeout)
        return run_shielded(partial(self._close, call, timeout), partial(self._hurry, call))

    def _hurry(self, call: _Call) -> None:
        """At an interrupt: cut the server if this call stops it, else wait no longer for the call that does."""
        call.give_up()
        server = self._server
        if call.has_left and server is not None:
            server.cut()

    def _undo_start(self, server: Server | None) -> None:
        if server is not None:
            self._stop(_Call(), 0.0)

    def _start(self, call: _Call) -> Server | None:
        if self._leave(call, State.STOPPED, State.STARTING) is None:
            return None
        server = started = None
        try:
            self._root.open()
            self._root.go_on()
            server = self._listen_when_possible(call) if call.address_seconds else self._listen(False)
            self._exchanges.started(server.host, server.port)
            server.start()
            started = server
        finally:
            if server is not None and started is None:
                server.stop(0.0)
            self._settle(started)
        return started

    def _listen_when_possible(self, call: _Call) -> Server:
        """Listen as soon as the address is there."""
        seconds = call.address_seconds
        deadline = time.monotonic() + seconds
        is_told = False
        while True:
            try:
                return self._listen(True)
            except AddressNotFound as error:
                left = deadline - time.monotonic()
                if left <= 0:
                    message = Message("waited {} s: {}", f"{seconds:g}", error.args[0])
                    raise AddressNotFound(message, error.host, error.port) from error
                if not is_told:
                    log.info("waiting up to %g s for an address: %s", seconds, error)
                    is_told = True
            call.is_over.wait(min(left, ADDRESS_POLL_SECONDS))
            if call.is_given_up:
                raise GivenUp
            if call.is_called_off:
                raise ServerNotRunning("start() was still waiting for an address when the server was stopped")

    def _stop(self, call: _Call, timeout: float) -> bool:
        if self._leave(call, State.RUNNING, State.STOPPING) is None:
            return call.has_called_off  # no server ran yet, but this call has ended the wait for one
        try:
            self._stop_server(call, timeout)
        finally:
            self._settle(None)
        return True

    def _close(self, call: _Call, timeout: float) -> bool:
        left = self._leave(call, None, State.STOPPING)
        try:
            self._stop_server(call, timeout)
        finally:
            try:
                self._root.close()
            finally:
                self._settle(None)
        return left is State.RUNNING

    def dispose(self) -> None:
        """End everything at once, for an object that nothing holds any more."""
        server = self._server
        if server is not None and server.owns(threading.current_thread()):
            # The collector ran in one of the threads that a close waits for.
            threading.Thread(target=self.dispose, name="httpserve-dispose", daemon=True).start()
            return
        call = _Call()
        call.give_up()
        while True:
            self._settled.wait()  # at the interpreter's exit another thread may be doing this; a Ctrl-C ends it
            try:
                with sigint_held():  # else an exception from a signal would leave it half ended for ever
                    self._close(call, 0.0)
            except GivenUp:  # between two settled states again
                continue
            return

    def _stop_server(self, call: _Call, timeout: float) -> None:
        self._exchanges.wake()  # a wait for what can no longer begin need not last until the end
        self._root.rest()  # nor need a board wait for a digest
        server = self._server
        began = time.monotonic()
        if server is not None and not server.stop(0.0 if call.is_given_up else timeout):
            log.warning("cut what was still being sent after %.1f s", time.monotonic() - began)

    def _leave(self, call: _Call, wanted: State | None, to: State) -> State | None:
        """Leave a settled state once no other thread is between two states. None when it is not the wanted one."""
        while True:
            with self._lock:
                if self.state in _SETTLED:
                    if wanted is not None and self.state is not wanted:
                        return None
                    left, self.state = self.state, to
                    self._settled = Latch()
                    self._starting = call if call.address_seconds else None
                    call.has_left = True
                    return left
                settled = self._settled
                if to is State.STOPPING and self._starting is not None:
                    self._starting.call_off()
                    call.has_called_off = True
                is_stopping = to is State.STOPPING and self.state is State.STOPPING
                server = self._server if is_stopping else None  # which another call is stopping, perhaps for longer
            while not settled.is_open:
                now = time.monotonic()
                if server is not None and now >= call.cut_at:
                    server.cut()
                    server = None
                settled.wait(LOOK_SECONDS if server is None else min(LOOK_SECONDS, call.cut_at - now))
                if call.is_given_up and not settled.is_open:
                    raise GivenUp

    def _settle(self, server: Server | None) -> None:
        if server is None:
            self._exchanges.stopped()
        with self._lock:
            self._server = server
            self._starting = None
            if server is not None:
                self.started_at = time.time()
            self.state = State.STOPPED if server is None else State.RUNNING
        self._settled.open()
        self._exchanges.wake()

    def _begin_anew(self) -> None:
        """Become a stopped server in a forked child: threads and sockets are the parent's, and a lock may stay held."""
        self._lock = threading.Lock()
        self._settled = Latch(is_open=True)
        self.state = State.STOPPED
        self._server = None
        self._starting = None
