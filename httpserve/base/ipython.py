"""What IPython shows of an error that has gone through this package: one sentence, and the user's own lines.

Knows IPython's formatter and where frames come from. Does not know which errors there are.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from traceback import FrameSummary

_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep
_SHELLS = f"{os.sep}IPython{os.sep}"


def shell() -> Any:
    """Return the running shell of IPython, or None. IPython has no types."""
    ipython = sys.modules.get("IPython")
    return None if ipython is None else ipython.get_ipython()


def shown(error: BaseException, text: str) -> list[str]:
    """Return what IPython shows of an error with that text, in IPython's own words and colours."""
    import traceback  # only where something is wrong

    from IPython.core.ultratb import ListTB

    only = Exception(text)  # without what the error was raised from
    only.__notes__ = getattr(error, "__notes__", [])
    users: Any = list(_users(traceback.extract_tb(error.__traceback__)))  # a list, which this formatter takes, too
    *lines, sentence = ListTB.structured_traceback(shell().InteractiveTB, type(error), only, users, 0)
    return [line.rstrip() for line in (sentence, *lines[1:])]


def fold(error: object, note: Callable[[], str] | None = None) -> None:
    """Have IPython show an interrupt as it shows our errors, with a note. Does nothing elsewhere."""
    if not isinstance(error, KeyboardInterrupt) or shell() is None:
        return
    # IPython asks each error for this. The interrupt must not refer to itself: its traceback would keep servers alive.
    error._render_traceback_ = _interrupt  # type: ignore[attr-defined]  # IPython's own
    if note is not None and (text := note()):
        error.add_note(text)


def _interrupt() -> list[str]:
    assert sys.last_value is not None  # IPython has set it before it asks
    return shown(sys.last_value, "")


def _users(frames: list[FrameSummary]) -> Iterator[FrameSummary]:
    """Leave out IPython's frames, ours, and those of installed packages and of Python that ours called."""
    import sysconfig

    installed = tuple({*sysconfig.get_paths().values(), "<frozen "})
    is_below_ours = False
    for frame in frames:
        if frame.filename.startswith(_OURS):
            is_below_ours = True
        elif not (_SHELLS in frame.filename or (is_below_ours and frame.filename.startswith(installed))):
            yield frame
