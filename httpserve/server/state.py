"""The states of a connection, the moves between them, and what a connection needs before it can go on.

Everything about states is in this file. It does not know what makes a connection move.
"""

from __future__ import annotations

from enum import Enum, IntEnum, auto

NEVER = float("inf")


class State(IntEnum):
    """What a connection is doing. An answer that leaves in one send makes no move."""

    IDLE = auto()  # nothing of a request has come
    READING = auto()  # a head has begun
    ANSWERING = auto()  # a head is complete, and its answer takes a thread
    RECEIVING = auto()  # content is coming that an app wants
    SENDING = auto()
    PAUSED = auto()  # in the middle of an answer, until a deadline
    SETTLING = auto()  # the client has asked so often that it must acknowledge some answers first
    DRAINING = auto()  # content that nobody reads is coming
    LINGERING = auto()  # our FIN has left, but the client's has not come
    HALF_CLOSED = auto()  # both have left, and the client does not have everything yet
    GONE = auto()


_AFTER_REQUEST = (State.ANSWERING, State.RECEIVING, State.SENDING, State.SETTLING)
_AFTER_ANSWER = (State.DRAINING, State.LINGERING)
MOVES = {
    State.IDLE: frozenset({State.READING, *_AFTER_REQUEST, *_AFTER_ANSWER, State.HALF_CLOSED, State.GONE}),
    State.READING: frozenset({State.IDLE, *_AFTER_REQUEST, *_AFTER_ANSWER, State.HALF_CLOSED, State.GONE}),
    State.ANSWERING: frozenset({State.IDLE, State.RECEIVING, State.SENDING, *_AFTER_ANSWER, State.GONE}),
    State.RECEIVING: frozenset({State.IDLE, State.SENDING, *_AFTER_ANSWER, State.GONE}),
    State.SENDING: frozenset({State.IDLE, State.PAUSED, *_AFTER_ANSWER, State.GONE}),
    State.PAUSED: frozenset({State.SENDING, State.GONE}),
    State.SETTLING: frozenset({State.ANSWERING, State.LINGERING, State.GONE}),
    State.DRAINING: frozenset({State.IDLE, State.LINGERING, State.HALF_CLOSED, State.GONE}),
    State.LINGERING: frozenset({State.HALF_CLOSED, State.GONE}),
    State.HALF_CLOSED: frozenset({State.GONE}),
    State.GONE: frozenset[State](),
}


class Need(Enum):
    """What a connection needs before it can go on."""

    INPUT = auto()
    CONTENT = auto()  # input that a thread takes
    THREAD = auto()
    ROOM = auto()
    TIME = auto()  # until its deadline, whatever comes
    GONE = auto()
