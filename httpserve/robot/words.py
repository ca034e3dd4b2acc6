"""How a suite writes the arguments that a message names.

Knows hints. Knows nothing of keywords and of who shows the message.
"""

from __future__ import annotations

from httpserve.base.text import Hint


def argument(hint: Hint) -> str:
    """Return a hint as a suite writes it, such as `host=0.0.0.0` for `host='0.0.0.0'`."""
    if hint.option == "doctor":
        return "Run HTTP Doctor"
    if hint.option == "faults":
        return "Clear Faults"
    if hint.option == "uploads":
        return f"Accept Uploads    {hint.value}"
    if hint.option == "wait_for_address":
        value = "without" if hint.value is None else "with"
        return f"Start HTTP Server {value} wait_for_address=" + ("" if hint.value is None else f"{hint.value} s")
    return f"{hint.option}=" + ("" if hint.value is ... else "${None}" if hint.value is None else str(hint.value))
