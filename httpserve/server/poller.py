"""Which sockets have something to do: epoll where there is one, else the selector of the system.

Knows descriptors. Any thread may watch and drop while one thread polls.
"""

from __future__ import annotations

import select
import selectors
import socket
from collections import deque
from typing import Protocol

READ = 1
WRITE = 4  # as EPOLLIN and EPOLLOUT
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # a script may have set SIGPIPE to its default, which ends it


class Poller(Protocol):
    """What the leader needs of either kind."""

    def watch(self, fd: int, events: int) -> None:
        """Begin to watch a descriptor that is not watched."""

    def drop(self, fd: int) -> None:
        """Stop watching a descriptor; before it is closed."""

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Return what is ready, after at most `seconds`; nothing when woken."""

    def wake(self) -> None:
        """Let `poll` return at once."""

    def close(self) -> None:
        """Free the descriptors."""


class _Waker:
    def __init__(self) -> None:
        self.reader, self._writer = socket.socketpair()
        self.reader.setblocking(False)
        self._writer.setblocking(False)

    def wake(self) -> None:
        try:
            self._writer.send(b"\0", NO_SIGNAL)
        except BlockingIOError:
            pass  # full: the poll returns anyway
        except OSError:
            pass  # closed: nobody polls any more

    def clear(self) -> None:
        try:
            while self.reader.recv(4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        self.reader.close()
        self._writer.close()


class EpollPoller:
    """Linux: another thread's changes count at once, even for a poll that is already waiting."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._waker = _Waker()
        self._wake_fd = self._waker.reader.fileno()
        self._epoll.register(self._wake_fd, READ)
        self.watch = self._epoll.register
        self.drop = self._epoll.unregister
        self.wake = self._waker.wake

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Return what is ready, after at most `seconds`; nothing when woken."""
        ready = self._epoll.poll(seconds, 256)
        for fd, _ in ready:
            if fd == self._wake_fd:
                self._waker.clear()
                return [one for one in ready if one[0] != fd]
        return ready

    def close(self) -> None:
        """Free the descriptors."""
        self._epoll.close()
        self._waker.close()


class SelectorPoller:
    """Elsewhere: the polling thread makes all changes, since a selector may not notice those made behind its back."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._waker = _Waker()
        self._selector.register(self._waker.reader, selectors.EVENT_READ)
        self._changes: deque[tuple[int, int]] = deque()
        self.wake = self._waker.wake

    def watch(self, fd: int, events: int) -> None:
        """Begin to watch a descriptor that is not watched."""
        self._changes.append((fd, events))
        self.wake()

    def drop(self, fd: int) -> None:
        """Stop watching a descriptor; before it is closed."""
        self._apply()
        self._selector.unregister(fd)

    def _apply(self) -> None:
        while self._changes:
            fd, events = self._changes.popleft()
            mask = (selectors.EVENT_READ if events & READ else 0) | (selectors.EVENT_WRITE if events & WRITE else 0)
            self._selector.register(fd, mask)

    def poll(self, seconds: float) -> list[tuple[int, int]]:
        """Return what is ready, after at most `seconds`; nothing when woken."""
        self._apply()
        ready = []
        for key, mask in self._selector.select(seconds):
            if key.fileobj is self._waker.reader:
                self._waker.clear()
            else:
                events = (READ if mask & selectors.EVENT_READ else 0) | (WRITE if mask & selectors.EVENT_WRITE else 0)
                ready.append((key.fd, events))
        return ready

    def close(self) -> None:
        """Free the descriptors."""
        self._selector.close()
        self._waker.close()


def best_poller() -> Poller:
    """Return the kind that suits this system."""
    return EpollPoller() if hasattr(select, "epoll") else SelectorPoller()
