"""Leader and followers: one thread polls and answers what cannot block, others take over what may.

Knows connections by their needs, and threads. Knows no HTTP.

One thread at a time leads: it waits on the listening socket and on every
connection that has nothing to do. When a connection needs a thread, the leader
hands the lead to a follower and serves it; afterwards it puts the connection
back and follows. So there is a thread for each busy connection and none for an
idle one.
"""

from __future__ import annotations

import errno
import heapq
import logging
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial

from httpserve.base.log import logger, traceback_lines
from httpserve.base.threads import Latch, block_signals
from httpserve.server.connection import Connection
from httpserve.server.deadline_queue import Deadlines
from httpserve.server.delivery import plain_address
from httpserve.server.poller import READ, WRITE, Poller
from httpserve.server.shared import Shared
from httpserve.server.state import Need

log = logger("httpserve.server")

FOLLOW_SECONDS = 10.0  # a spare thread without work ends after this
EVICTED_PART = 32  # of all connections at once: finding the longest idle among thousands takes a while
ACCEPT_AT_ONCE = 64  # connections taken per poll, so that those already there get their turn
LONGEST_POLL_SECONDS = 3600.0
RETRY_ACCEPT_SECONDS = 0.1  # out of descriptors: look again then, rather than spin
ACKNOWLEDGMENT_POLL_SECONDS = 0.005
MOST_THREADS = 512  # each takes memory; connections that need one more wait
MOST_TRACEBACKS = 10
INTERRUPT_SECONDS = 0.15  # sending threads have noticed by then; the others wait for a disk, and their boards for us
LET_GO_SECONDS = 0.5  # a thread that is not back this long after the end is waiting for a disk

# Looking up a member of an Enum takes a tenth of the time under its own name (before Python 3.12).
_INPUT, _CONTENT, _ROOM = Need.INPUT, Need.CONTENT, Need.ROOM
_THREAD, _GONE = Need.THREAD, Need.GONE
_EVENTS = READ | WRITE
_READ_BY_THREAD = READ | 8  # a bit that no poller knows
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Phase(Enum):
    """The life of a leader."""

    SERVING = auto()
    DRAINING = auto()
    CUTTING = auto()
    OVER = auto()


class Leader:
    """The threads of one server.

    Args:
        listeners: The listening sockets, not blocking.
        shared: What its connections share.
        poller: Closed by `run` at the end.
        name: What its threads are called.
    """

    def __init__(self, listeners: Sequence[socket.socket], shared: Shared, poller: Poller, name: str) -> None:
        self._listeners = {listener.fileno(): listener for listener in listeners}
        self._shared = shared
        self._poller = poller
        self._name = name
        # Touched only by the leader:
        self._clock = shared.clock
        self._now, self._wall = self._clock(), time.time()
        self._ready: deque[tuple[int, int]] = deque()
        self._deadlines = Deadlines()
        self._parked: deque[Connection] = deque()  # they need a thread, and there are too many
        self._cut_at = 0.0  # when everything had to end
        self._accept_again = 0.0  # when to look again after the descriptors ran out; 0.0: accepting
        self._warned: set[str] = set()
        self._tracebacks = 0
        self._awaits_acknowledgments = False
        self.has_cut = False  # whether an answer was under way when everything had to end
        self._connections: dict[int, Connection] = {}
        self._working: set[Connection] = set()  # other threads own these
        # Touched by every thread, each touch one step of the interpreter:
        self._returned: deque[tuple[Connection, Need]] = deque()
        self._lock = threading.Lock()  # guards _spare, _threads, _phase, _numbers
        # What each follower waits for (True: lead; False: end). The latest is taken first, so that the others may end.
        self._spare: list[queue.SimpleQueue[bool]] = []
        self._threads: set[threading.Thread] = set()
        self._phase = Phase.SERVING
        self._numbers = 0
        self.over = Latch()
        self._watch_listeners()

    # From any thread

    def drain(self) -> None:
        """Take no more connections, and end each existing one as soon as its answer is out."""
        self._enter(Phase.DRAINING)

    def cut(self) -> None:
        """End every connection now."""
        self._shared.cutting = True
        self._enter(Phase.CUTTING)

    def _enter(self, phase: Phase) -> None:
        with self._lock:
            if self._phase.value < phase.value:
                self._phase = phase
        self._shared.stopping = True
        self._poller.wake()

    def wake(self) -> None:
        """Look at the clock now."""
        self._poller.wake()

    def threads(self) -> list[threading.Thread]:
        """Return the threads that were started in addition to the one in `run`."""
        with self._lock:
            return list(self._threads)

    def never_ran(self) -> None:
        """Free what a leader holds if no thread has run it."""
        self._poller.close()

    def abandon_in_child(self) -> None:
        """In a forked child, where none of the threads is, close the copies of the descriptors."""
        self._poller.close()
        self._shared.repeats.forget_whole()
        for connection in self._connections.values():
            connection.delivery.sock.close()

    # Roles

    def run(self, *, first: bool = True) -> None:
        """Lead, work and follow until the server is over, or no work is left for a thread that is not the first."""
        block_signals()
        while True:
            connection = self._lead()
            if connection is None:
                return
            self._work(connection)
            if not self._follow(first):
                return

    def _run_and_leave(self) -> None:
        try:
            self.run(first=False)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _follow(self, first: bool) -> bool:
        baton: queue.SimpleQueue[bool] = queue.SimpleQueue()
        with self._lock:
            if self._phase is Phase.OVER:
                return False
            self._spare.append(baton)
        try:
            return baton.get(timeout=None if first else FOLLOW_SECONDS)
        except queue.Empty:
            with self._lock:
                if baton in self._spare:
                    self._spare.remove(baton)
                    return False
            return baton.get()

    def _hand_over(self) -> bool:
        """Let another thread lead. False when the system has no thread for us."""
        with self._lock:
            if self._spare:
                self._spare.pop().put(True)
                return True
            self._numbers += 1
            thread = threading.Thread(target=self._run_and_leave, name=f"{self._name}-{self._numbers}", daemon=True)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # can't start new thread
            with self._lock:
                self._threads.discard(thread)
            return False
        return True

    def _work(self, connection: Connection) -> None:
        """Serve a connection, and give it back to the leader, which alone does the watching and scheduling."""
        try:
            need = connection.proceed(self._clock(), time.time())
        except Exception as error:  # noqa: BLE001 - a fault on one connection must not cost the others their server
            need = self._failed(connection, error)
        with self._lock:
            is_over = self._phase is Phase.OVER  # nobody leads any more: this thread was away too long
            if not is_over:
                self._returned.append((connection, need))
        if is_over:
            connection.delivery.abandon(self._clock())
            connection.release()
        else:
            self._poller.wake()

    def _failed(self, connection: Connection, error: Exception) -> Need:
        try:
            if isinstance(error, MemoryError):
                self._warn_once("out of memory; connections that need more of it are reset")
            elif self._tracebacks < MOST_TRACEBACKS:
                self._tracebacks += 1
                client = connection.delivery.client
                message = "a connection of %s failed:\n%s"
                self._shared.log.say(log, logging.ERROR, message, client, traceback_lines())
            return connection.delivery.abandon(self._clock())
        except MemoryError:  # not even for that
            self._shared.repeats.forget()
            return Need.GONE

    # Leading

    def _lead(self) -> Connection | None:
        """Lead until a connection needs this thread; None when the server is over."""
        while True:
            while self._ready:
                fd = self._ready.popleft()[0]
                listener = self._listeners.get(fd)
                connection = self._serve_ready(fd) if listener is None else self._accept(listener)
                if connection is not None:
                    return connection
            if self._returned:
                self._take_back()
            # Dueness is judged by the time of the last poll: whatever had come by then was looked at first.
            soonest = self._deadlines.soonest()
            if self._accept_again or self._parked or soonest <= self._now:
                connection = self._expire(self._now) or self._unpark()
                if connection is not None:
                    return connection
                soonest = self._deadlines.soonest()
            if self._phase is not Phase.SERVING:
                if self._wind_up(self._clock()):
                    self._end()
                    return None
                soonest = self._deadlines.soonest()
            self._ready.extend(self._poller.poll(self._seconds_to_wait(soonest)))
            self._now, self._wall = self._clock(), time.time()
            self._shared.look_around(self._wall)

    def _take_back(self) -> None:
        while self._returned:
            connection, need = self._returned.popleft()
            self._working.discard(connection)
            if self._phase is Phase.CUTTING and need is not Need.GONE:
                need = connection.delivery.abandon(self._now)
            self._apply(connection, need)

    def _serve_ready(self, fd: int) -> Connection | None:
        connection = self._connections.get(fd)
        if connection is None or not connection.watched:  # the event was about what had this descriptor before
            return None
        if connection.watched != READ:
            return self._apply(connection, Need.THREAD)
        try:
            need = connection.on_input(self._now, self._wall, True)
        except Exception as error:  # noqa: BLE001 - a fault on one connection must not cost the others their server
            need = self._failed(connection, error)
        if need is _INPUT and connection.delivery.deadline >= connection.scheduled:
            return None
        return self._apply(connection, need)

    def _guarded(self, connection: Connection, call: Callable[[float, float, bool], Need]) -> Need:
        try:
            return call(self._now, self._wall, True)
        except Exception as error:  # noqa: BLE001 - a fault on one connection must not cost the others their server
            return self._failed(connection, error)

    def _apply(self, connection: Connection, need: Need) -> Connection | None:
        """Give a connection what it needs; return it when that is this thread."""
        events = READ if need is _INPUT else WRITE if need is _ROOM else _READ_BY_THREAD if need is _CONTENT else 0
        if connection.watched != events:
            if connection.watched:
                self._poller.drop(connection.delivery.fd)
            connection.watched = 0
            if events and not self._watch(connection, events):
                need = connection.delivery.abandon(self._now)
        if need is _GONE:
            self._connections.pop(connection.delivery.fd, None)
            self._deadlines.forget(connection)
            connection.release()  # not before: the next connection may get its descriptor
            return None
        if need is _THREAD:
            self._working.add(connection)
            if len(self._threads) >= MOST_THREADS and not self._spare:
                self._parked.append(connection)
                return None
            if self._hand_over():
                return connection
            self._warn_once("no more threads can be started; going on with those there are")
            connection.delivery.hurry()
            self._work(connection)
            return None
        if connection.delivery.deadline < connection.scheduled:
            self._deadlines.schedule(connection)
        return None

    def _unpark(self) -> Connection | None:
        """Return a connection that has waited for a thread, now that there is one."""
        if self._parked and self._spare and self._hand_over():
            return self._parked.popleft()
        return None

    def _watch(self, connection: Connection, events: int) -> bool:
        try:
            self._poller.watch(connection.delivery.fd, events & _EVENTS)
        except OSError:  # epoll has limits of its own
            self._warn_once("the system lets no more connections be watched; those beyond are reset")
            return False
        connection.watched = events
        return True

    # Accepting

    def _watch_listeners(self) -> None:
        for fd in self._listeners:
            self._poller.watch(fd, READ)

    def _accept(self, listener: socket.socket) -> Connection | None:
        refuse = self._shared.refuse
        for at in range(ACCEPT_AT_ONCE):
            if len(self._connections) >= self._shared.limits.connections:
                if at > 0:
                    return None  # perhaps nobody waits any more: only the poller can tell without taking one
                if not self._make_room():
                    self._pause_accepting()
                    return None
            try:
                sock, address = listener.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._warn_once("out of descriptors; new connections wait until others end")
                    if not self._make_room():
                        self._pause_accepting()
                return None  # else: a client that left before it was taken
            sock.setblocking(False)
            try:
                client = address[0] if address[0][:7] != "::ffff:" else plain_address(address[0])
                connection = Connection(sock, client, address[1], self._shared, self._now)
            except MemoryError:
                sock.close()
                self._warn_once("out of memory; connections that need more of it are reset")
                return None
            self._connections[connection.delivery.fd] = connection
            self._shared.ledger.connected(connection.delivery, self._wall)
            met = refuse(client)
            first = connection.on_input if met is None else partial(connection.refuse, met)
            taken = self._apply(connection, self._guarded(connection, first))
            if taken is not None:
                return taken
        return None

    def _make_room(self) -> bool:
        """Close the longest idle connections. False when none has been idle for long enough."""
        limits = self._shared.limits
        longest_first = heapq.nsmallest(
            max(1, len(self._connections) // EVICTED_PART),
            (
                (one.idle_since, one.delivery.fd)
                for one in list(self._connections.values())
                if one.is_idle() and one not in self._working and one.idle_since <= self._now - limits.short_idle
            ),
        )
        for _, fd in longest_first:
            connection = self._connections[fd]
            self._apply(connection, connection.delivery.close(self._now))
        return bool(longest_first)

    def _pause_accepting(self) -> None:
        """Let new connections wait in the backlog until one ends, and in any case look again soon."""
        if not self._accept_again:
            for fd in self._listeners:
                self._poller.drop(fd)
        self._accept_again = self._now + RETRY_ACCEPT_SECONDS

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._shared.log.say(log, logging.WARNING, message)

    # Deadlines

    def _seconds_to_wait(self, soonest: float) -> float:
        """Return how long to poll, given when a connection may next be due."""
        now = self._clock()
        if self._awaits_acknowledgments:
            soonest = now + ACKNOWLEDGMENT_POLL_SECONDS  # nothing signals an acknowledgment
        if self._accept_again:
            soonest = min(soonest, self._accept_again)
        return min(LONGEST_POLL_SECONDS, max(0.0, soonest - now))

    def _expire(self, now: float) -> Connection | None:
        """Deal with every deadline that has come; return a connection that needs this thread."""
        if self._accept_again and now >= self._accept_again and self._phase is Phase.SERVING:
            self._accept_again = 0.0
            self._watch_listeners()
        for _ in range(len(self._deadlines)):  # each once, whatever deadline it gets next
            connection = self._deadlines.take_due(now)
            if connection is None:
                break
            taken = self._expire_one(connection, now)
            if taken is not None:
                return taken
        return None

    def _expire_one(self, connection: Connection, now: float) -> Connection | None:
        if connection in self._working:
            return None  # scheduled again when it comes back
        if connection.delivery.deadline <= now:
            return self._apply(connection, self._guarded(connection, connection.on_deadline))
        self._deadlines.schedule(connection)
        return None

    # The end

    def _wind_up(self, now: float) -> bool:
        """Close what is quiet, or everything when cutting. True when nothing is left."""
        self._awaits_acknowledgments = False
        self._close_listeners()
        if self._phase is Phase.CUTTING:
            self._cut_all(now)
        else:
            for connection in list(self._connections.values()):
                if connection.delivery.is_quiet() and connection not in self._working:
                    need = connection.wind_up(now)
                    self._apply(connection, need)
                    self._awaits_acknowledgments |= need is not Need.GONE
        return not self._connections

    def _close_listeners(self) -> None:
        while self._listeners:
            fd, listener = self._listeners.popitem()
            if listener.fileno() < 0:  # `stop` waited too long for this thread, and closed the listener
                continue
            try:
                if not self._accept_again:
                    self._poller.drop(fd)
                listener.shutdown(socket.SHUT_RDWR)  # a child between fork and exec has a copy that listens, too
            except OSError:
                pass  # just closed, or the system cannot do that to a listening socket
            listener.close()

    def _cut_all(self, now: float) -> None:
        self._cut_at = self._cut_at or now
        for connection in list(self._connections.values()):
            if connection in self._working:
                self.has_cut = True
                if now - self._cut_at >= INTERRUPT_SECONDS:
                    connection.delivery.interrupt()
                if now - self._cut_at >= LET_GO_SECONDS:  # its thread closes it when the disk answers
                    connection.delivery.write_off(now)
                    self._deadlines.forget(connection)
                    del self._connections[connection.delivery.fd]
            elif connection.delivery.is_quiet():
                has_all = connection.delivery.is_settled(now)
                self.has_cut |= not has_all
                self._apply(connection, connection.wind_up(now) if has_all else connection.delivery.abandon(now))
            else:
                self.has_cut = True
                self._apply(connection, connection.delivery.abandon(now))
        for connection in self._parked:  # no thread has these
            self._working.discard(connection)
        self._parked.clear()
        self._awaits_acknowledgments = bool(self._connections)

    def _end(self) -> None:
        with self._lock:
            self._phase = Phase.OVER
            for baton in self._spare:
                baton.put(False)
            self._spare.clear()
        while self._returned:
            connection, _ = self._returned.popleft()
            connection.delivery.abandon(self._clock())
            connection.release()
        self._poller.close()
        self._shared.repeats.forget_whole()
        self.over.open()
