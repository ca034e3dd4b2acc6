"""The content of a request on its way to an intake: taken as it comes, and no thread waits for a client that is silent.

Knows the content's end, the socket and the clock. Does not know what becomes of the content.
"""

from __future__ import annotations

from httpserve.plan import Intake
from httpserve.records.exchange import End
from httpserve.server import tcp
from httpserve.server.answer import Answer, answer_of_intake
from httpserve.server.delivery import Delivery
from httpserve.server.request_content import Content
from httpserve.server.request_head import Head, Refused
from httpserve.server.shared import Shared
from httpserve.server.state import NEVER

RECEIVE_BYTES = 256 * 1024  # at a time
QUICK_BYTES = 64 * 1024  # a client that has sent this much in one turn is likely to send more within a moment
MOMENT_SECONDS = 0.05
LEAST_RATE = 500.0  # bytes a second that a client must send, beyond the time that it may be silent


class EndedEarly(Refused):
    """The client has sent the end before all of the content."""

    def __init__(self) -> None:
        super().__init__(400, "the content ended before its end")


class Receiving:
    """One request whose content comes.

    Args:
        head: Its head.
        content: Where the content ends.
        intake: What takes it.
        delivery: Where it comes from.
        shared: What the connections share.
        wall: When the request came, in seconds since the epoch.

    Attributes:
        began: The same by the server's clock.
    """

    __slots__ = (
        "_delivery",
        "_intake",
        "_shared",
        "_silent_since",
        "_silent_until",
        "began",
        "content",
        "head",
        "wall",
    )

    def __init__(
        self, head: Head, content: Content, intake: Intake, delivery: Delivery, shared: Shared, wall: float
    ) -> None:
        self.head = head
        self.content = content
        self.wall = wall
        self._intake = intake
        self._delivery = delivery
        self._shared = shared
        self._silent_since = 0.0
        self._silent_until = NEVER  # when the client has been silent for too long; NEVER: it is not silent
        self.began = shared.clock()

    def take(self, begun: bytes) -> bool:
        """Give the intake what there is; `begun` has come already. True: all that it wants.

        False: the client sends nothing now. By the deadline of the connection it has been silent for too long.

        Raises:
            Refused: The content is malformed, has ended too early, or takes too long.
            OSError: The connection is over.
        """
        content, delivery, shared = self.content, self._delivery, self._shared
        if content.is_held:
            content.is_held = False
            delivery.send_go_ahead()
        received, taken = begun, 0
        while True:
            data = content.feed(received)
            if (data and not self._intake.write(data)) or content.done:
                return True
            taken += len(received)
            if shared.cutting:
                raise ConnectionAbortedError("the server stops")
            try:
                received = self._receive(quick=taken >= QUICK_BYTES)
            except BlockingIOError:
                self._be_silent()
                return False
            if not received:
                raise EndedEarly
            if self._silent_until != NEVER:
                content.waited += shared.clock() - self._silent_since
                self._silent_until = NEVER

    def _receive(self, *, quick: bool) -> bytes:
        try:
            return self._delivery.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            if not quick or not self._shared.slots.acquire(blocking=False):
                raise
        try:
            tcp.wait_for_input(self._delivery.fd, MOMENT_SECONDS)
        finally:
            self._shared.slots.release()
        return self._delivery.sock.recv(RECEIVE_BYTES)

    def _be_silent(self) -> None:
        """Wait for more until a deadline. Raises Refused when it is over."""
        content, now, most = self.content, self._shared.clock(), self._shared.limits.timeout
        if self._silent_until == NEVER:
            left = most + content.taken / LEAST_RATE - content.waited
            self._silent_since = now
            self._silent_until = now + max(0.0, min(most, left))
        elif now >= self._silent_until:
            raise Refused(408, "the content took too long")
        self._delivery.deadline = self._silent_until

    def answer(self) -> Answer:
        """Return what the intake answers."""
        return answer_of_intake(self._shared, self.head, self._intake)

    def cut(self, end: End, status: int = 0) -> None:
        """Tell the intake that no more comes: why, and with which status that was answered, if at all."""
        self._intake.cut(end.value, status)
