"""When connections are to be looked at next: a heap that stays as small as there are connections.

Knows connections by their deadlines. Knows no clock. Only the leader uses it.
"""

from __future__ import annotations

import heapq

from httpserve.server.connection import Connection
from httpserve.server.state import NEVER

FEW_STALE = 256  # entries that nobody needs any more, but too few to be worth a sweep


class Deadlines:
    """An entry for each connection; `Connection.scheduled` says which one is right."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Connection]] = []
        self._serial = 0  # makes entries differ before their connections are compared
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap)

    def schedule(self, connection: Connection) -> None:
        """Have a connection looked at when its deadline comes."""
        self.forget(connection)
        connection.scheduled = deadline = connection.delivery.deadline
        self._serial += 1
        heapq.heappush(self._heap, (deadline, self._serial, connection))

    def forget(self, connection: Connection) -> None:
        """No longer look at a connection. Harmless when repeated."""
        if connection.scheduled == NEVER:
            return
        connection.scheduled = NEVER
        self._stale += 1
        if self._stale > FEW_STALE and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[0] == entry[2].scheduled]
            heapq.heapify(self._heap)
            self._stale = 0

    def soonest(self) -> float:
        """Return when something may next be due; `NEVER` if nothing is."""
        return self._heap[0][0] if self._heap else NEVER

    def take_due(self, now: float) -> Connection | None:
        """Remove an entry that is due, and return its connection; None if none is due."""
        while self._heap and self._heap[0][0] <= now:
            due, _, connection = heapq.heappop(self._heap)
            if due == connection.scheduled:
                connection.scheduled = NEVER
                return connection
            self._stale -= 1
        return None
