"""Checks of arguments that several rooms take. Knows nothing but numbers."""

from __future__ import annotations

import threading

from httpserve.errors import InvalidArgument


def checked_seconds(name: str, value: object, *, zero: bool = False) -> float:
    """Return a duration as float seconds.

    Args:
        name: The argument's name, for the message.
        value: What was given.
        zero: Whether 0 is one.

    Raises:
        InvalidArgument: It is no number that one can wait for.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_long_enough = value > 0 or (zero and value == 0)
        if is_long_enough and value <= threading.TIMEOUT_MAX:  # an int may be too large for a float
            return float(value)
    least = "0 or more" if zero else "a positive number of"
    raise InvalidArgument(f"{name} must be {least} seconds, not {value!r}")


def checked_count(name: str, value: object) -> int:
    """Return a number of things.

    Args:
        name: The argument's name, for the message.
        value: What was given.

    Raises:
        InvalidArgument: It is no whole number from 1 on.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise InvalidArgument(f"{name} must be a whole number from 1 on, not {value!r}")
