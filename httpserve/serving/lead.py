"""Leader and followers: one thread polls and answers what cannot block, others take over what can.

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
from collections.abc import Callable
from enum import Enum, auto
from traceback import format_exc

from httpserve.latch import Latch
from httpserve.safe_log import say
from httpserve.serving.connection import Connection
from httpserve.serving.line import NEVER, Need, Stage, plain_address
from httpserve.serving.poller import READ, WRITE, Poller
from httpserve.serving.service import Service

log = logging.getLogger("httpserve.serving")

FOLLOW_SECONDS = 10.0  # a spare thread without work ends after this
EVICTED_PART = 32  # of all connections at once: looking for the longest idle takes a while among thousands
ACCEPT_AT_ONCE = 64  # connections taken per poll, so that those already there get their turn
LONGEST_POLL_SECONDS = 3600.0
RETRY_ACCEPT_SECONDS = 0.1  # out of descriptors: look again then, rather than spin

ACKNOWLEDGMENT_POLL_SECONDS = 0.005

# A member of an Enum is looked up in a tenth of the time under a name of its own (before Python 3.12).
_INPUT, _ROOM, _THREAD, _GONE = Need.INPUT, Need.ROOM, Need.THREAD, Need.GONE
_SENDING, _PAUSED = Stage.SENDING, Stage.PAUSED
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Phase(Enum):
    """The life of a lead."""

    SERVING = auto()
    DRAINING = auto()
    CUTTING = auto()
    OVER = auto()


class Lead:
    """The threads of one server.

    Args:
        listener: The listening socket, not blocking.
        service: What its connections share.
        poller: Closed by `run` at the end.
        name: How its threads are called.
    """

    def __init__(self, listener: socket.socket, service: Service, poller: Poller, name: str) -> None:
        self._listener = listener
        self._service = service
        self._poller = poller
        self._name = name
        self._listener_fd = listener.fileno()
        # Touched by the leader alone:
        self._now, self._wall = time.monotonic(), time.time()
        self._ready: deque[tuple[int, int]] = deque()
        self._deadlines: list[tuple[float, int, Connection]] = []
        self._serial = 0  # no two entries of the heap compare their connections
        self._accept_again = 0.0  # when to look again after the descriptors ran out; 0.0: accepting
        self._told: set[str] = set()
        self._listener_dropped = False
        self._awaits_acknowledgments = False
        self.has_cut = False  # an answer was under way when everything had to end
        self._connections: dict[int, Connection] = {}
        self._working: set[Connection] = set()  # other threads own these
        # Touched by every thread, each touch one step of the interpreter:
        self._returned: deque[tuple[Connection, Need]] = deque()
        self._baton: queue.SimpleQueue[bool] = queue.SimpleQueue()  # True: lead; False: end
        self._lock = threading.Lock()  # guards _spare, _threads, _phase, _numbers
        self._spare = 0
        self._threads: set[threading.Thread] = set()
        self._phase = Phase.SERVING
        self._numbers = 0
        self.over = Latch()
        poller.watch(self._listener_fd, READ)

    # From any thread

    def drain(self) -> None:
        """Take no more connections, and end each one as soon as its answer is out."""
        self._enter(Phase.DRAINING)

    def cut(self) -> None:
        """End every connection now."""
        self._enter(Phase.CUTTING)

    def _enter(self, phase: Phase) -> None:
        with self._lock:
            if self._phase.value < phase.value:
                self._phase = phase
        self._service.stopping = True
        self._poller.wake()

    def threads(self) -> list[threading.Thread]:
        """Return the threads that were started beside the one in `run`."""
        with self._lock:
            return list(self._threads)

    def connections(self) -> int:
        """Return how many connections there are."""
        return len(self._connections)

    def never_ran(self) -> None:
        """Free what a lead holds that no thread has run."""
        self._poller.close()

    def abandon_in_child(self) -> None:
        """In a forked child, where none of the threads is, close the copies of the descriptors."""
        self._poller.close()
        self._service.forget_kept()
        for connection in self._connections.values():
            connection.sock.close()

    # Roles

    def run(self) -> None:
        """Lead, work and follow until the server is over. For the first thread."""
        self._play(first=True)

    def _play(self, *, first: bool) -> None:
        while True:
            connection = self._lead()
            if connection is None:
                return
            self._work(connection)
            if not self._follow(first):
                return

    def _play_and_leave(self) -> None:
        try:
            self._play(first=False)
        finally:
            with self._lock:
                self._threads.discard(threading.current_thread())

    def _follow(self, first: bool) -> bool:
        with self._lock:
            if self._phase is Phase.OVER:
                return False
            self._spare += 1
        while True:
            try:
                return self._baton.get(timeout=None if first else FOLLOW_SECONDS)
            except queue.Empty:
                with self._lock:
                    if self._spare:
                        self._spare -= 1
                        return False

    def _hand_over(self) -> bool:
        """Let another thread lead. False when the system has no thread for us."""
        with self._lock:
            if self._spare:
                self._spare -= 1
                self._baton.put(True)
                return True
            self._numbers += 1
            thread = threading.Thread(
                target=self._play_and_leave, name=f"{self._name}-{self._numbers}", daemon=True
            )
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError:  # can't start new thread
            with self._lock:
                self._threads.discard(thread)
            return False
        return True

    def _work(self, connection: Connection) -> None:
        """Serve a connection, and give it back to whoever leads: the leader alone watches and schedules."""
        try:
            need = connection.proceed(time.monotonic(), time.time())
        except Exception:  # noqa: BLE001 - a fault on one connection must not cost the others their server
            need = self._failed(connection)
        self._returned.append((connection, need))
        self._poller.wake()

    def _failed(self, connection: Connection) -> Need:
        say(log, logging.ERROR, "a connection of %s failed:\n%s", connection.client, format_exc())
        return connection.abandon(time.monotonic())

    # Leading

    def _lead(self) -> Connection | None:
        """Lead until a connection needs this thread; None when the server is over."""
        while True:
            while self._ready:
                connection = self._serve_ready(self._ready.popleft()[0])
                if connection is not None:
                    return connection
            self._take_back()
            now = time.monotonic()
            connection = self._expire(now)
            if connection is not None:
                return connection
            if self._phase is not Phase.SERVING and self._wind_up(now):
                self._end()
                return None
            self._ready.extend(self._poller.poll(self._seconds_to_wait(now)))
            self._now, self._wall = time.monotonic(), time.time()
            self._service.look_around(self._wall)

    def _take_back(self) -> None:
        while self._returned:
            connection, need = self._returned.popleft()
            self._working.discard(connection)
            if self._phase is Phase.CUTTING and need is not Need.GONE:
                need = connection.abandon(self._now)
            self._apply(connection, need)

    def _serve_ready(self, fd: int) -> Connection | None:
        connection = self._connections.get(fd)
        if connection is None:
            return self._accept() if fd == self._listener_fd else None
        stage = connection.stage
        if stage is _SENDING or stage is _PAUSED:  # `is_quiet`, without a call for each request
            return self._apply(connection, Need.THREAD)
        try:
            need = connection.on_input(self._now, self._wall, True)
        except Exception:  # noqa: BLE001 - a fault on one connection must not cost the others their server
            need = self._failed(connection)
        if need is _INPUT and connection.deadline >= connection.scheduled:
            return None
        return self._apply(connection, need)

    def _guarded(self, connection: Connection, call: Callable[[float, float, bool], Need]) -> Need:
        try:
            return call(self._now, self._wall, True)
        except Exception:  # noqa: BLE001 - a fault on one connection must not cost the others their server
            return self._failed(connection)

    def _apply(self, connection: Connection, need: Need) -> Connection | None:
        """Give a connection what it needs; return it when that is this thread."""
        events = READ if need is _INPUT else WRITE if need is _ROOM else 0
        if connection.watched != events:
            if connection.watched:
                self._poller.drop(connection.fd)
            connection.watched = 0
            if events and not self._watch(connection, events):
                need = connection.abandon(self._now)
        if need is _GONE:
            self._connections.pop(connection.fd, None)
            connection.release()  # not before: its descriptor is the next connection's
            return None
        if need is _THREAD:
            self._working.add(connection)
            if self._hand_over():
                return connection
            self._tell_once("no more threads can be started; going on with those there are")
            connection.hurry()
            self._work(connection)
            return None
        if connection.deadline < connection.scheduled:
            self._schedule(connection)
        return None

    def _watch(self, connection: Connection, events: int) -> bool:
        try:
            self._poller.watch(connection.fd, events)
        except OSError:  # epoll has limits of its own
            self._tell_once("the system lets no more connections be watched; those beyond are reset")
            return False
        connection.watched = events
        return True

    # Accepting

    def _accept(self) -> Connection | None:
        for at in range(ACCEPT_AT_ONCE):
            if len(self._connections) >= self._service.limits.connections:
                if at > 0:
                    return None  # nobody may be waiting any more: only the poller says so without taking one
                if not self._make_room():
                    self._pause_accepting()
                    return None
            try:
                sock, address = self._listener.accept()
            except BlockingIOError:
                return None
            except OSError as error:
                if error.errno in _OUT_OF_DESCRIPTORS:
                    self._tell_once("out of descriptors; new connections wait until others end")
                    if not self._make_room():
                        self._pause_accepting()
                return None  # else: a client that left before it was taken
            if sock.gettimeout() is not None:  # the script has called socket.setdefaulttimeout
                sock.settimeout(None)
            connection = Connection(sock, plain_address(address[0]), address[1], self._service, self._now)
            self._connections[connection.fd] = connection
            self._service.ledger.connected(connection.client)
            taken = self._apply(connection, self._guarded(connection, connection.on_input))
            if taken is not None:
                return taken
        return None

    def _make_room(self) -> bool:
        """Close the longest idle connections. False when none has been idle for long enough."""
        limits = self._service.limits
        longest_first = heapq.nsmallest(
            max(1, len(self._connections) // EVICTED_PART),
            (
                (one.idle_since, one.fd)
                for one in list(self._connections.values())
                if one.is_idle()
                and one not in self._working
                and one.idle_since <= self._now - limits.short_idle
            ),
        )
        for _, fd in longest_first:
            connection = self._connections[fd]
            self._apply(connection, connection.close(self._now))
        return bool(longest_first)

    def _pause_accepting(self) -> None:
        """Let new connections wait in the backlog until one ends, and look again soon in any case."""
        if not self._accept_again:
            self._poller.drop(self._listener_fd)
        self._accept_again = self._now + RETRY_ACCEPT_SECONDS

    def _tell_once(self, message: str) -> None:
        if message not in self._told:
            self._told.add(message)
            say(log, logging.WARNING, message)

    # Deadlines

    def _schedule(self, connection: Connection) -> None:
        connection.scheduled = connection.deadline
        self._serial += 1
        heapq.heappush(self._deadlines, (connection.deadline, self._serial, connection))

    def _seconds_to_wait(self, now: float) -> float:
        soonest = self._deadlines[0][0] if self._deadlines else now + LONGEST_POLL_SECONDS
        if self._awaits_acknowledgments:
            soonest = now + ACKNOWLEDGMENT_POLL_SECONDS  # nothing signals one
        if self._accept_again:
            soonest = min(soonest, self._accept_again)
        return max(0.0, soonest - now)

    def _expire(self, now: float) -> Connection | None:
        """Deal with every deadline that has come; return a connection that needs this thread."""
        if self._accept_again and now >= self._accept_again and self._phase is Phase.SERVING:
            self._accept_again = 0.0
            self._poller.watch(self._listener_fd, READ)
        while self._deadlines and self._deadlines[0][0] <= now:
            due, _, connection = heapq.heappop(self._deadlines)
            if due != connection.scheduled or self._connections.get(connection.fd) is not connection:
                continue
            taken = self._expire_one(connection, now)
            if taken is not None:
                return taken
        return None

    def _expire_one(self, connection: Connection, now: float) -> Connection | None:
        connection.scheduled = NEVER
        if connection in self._working:
            return None  # scheduled again when it comes back
        if connection.deadline <= now:
            return self._apply(connection, self._guarded(connection, connection.on_deadline))
        self._schedule(connection)
        return None

    # The end

    def _wind_up(self, now: float) -> bool:
        """Close what is quiet, or everything when cutting. True when nothing is left."""
        self._awaits_acknowledgments = False
        if not self._listener_dropped:
            self._listener_dropped = True
            if not self._accept_again:
                self._poller.drop(self._listener_fd)
            try:
                self._listener.shutdown(socket.SHUT_RDWR)  # a child between fork and exec has a copy that listens, too
            except OSError:
                pass  # not every system does that to a listening socket
            self._listener.close()
        for connection in list(self._connections.values()):
            if connection in self._working:
                if self._phase is Phase.CUTTING:
                    self.has_cut = True
                    connection.interrupt()
            elif self._phase is Phase.CUTTING:
                if connection.is_quiet():
                    self._apply(connection, connection.close(now))
                else:
                    self.has_cut = True
                    self._apply(connection, connection.abandon(now))
            elif connection.is_quiet():
                need = connection.wind_up(now)
                self._apply(connection, need)
                self._awaits_acknowledgments |= need is not Need.GONE
        return not self._connections

    def _end(self) -> None:
        with self._lock:
            self._phase = Phase.OVER
            for _ in range(self._spare):
                self._baton.put(False)
            self._spare = 0
        self._poller.close()
        self._service.forget_kept()
        self.over.open()
