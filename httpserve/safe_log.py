"""Logging that costs nobody anything: a handler of the user's that raises ends no answer and no thread.

Knows `logging`. Does not know what is logged.
"""

from __future__ import annotations

import logging


def say(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log, and survive a handler of the user's that raises: it must not cost the boards their server.

    Blocks for as long as a handler does. What `logging` itself prints of a handler that fails is its user's to see.
    """
    try:
        logger.log(level, message, *arguments)
    except (Exception, SystemExit, GeneratorExit):  # noqa: BLE001, S110 - there is nowhere left to tell it
        pass
