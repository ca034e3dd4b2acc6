"""Tells how far a copy is, to a function or with a bar.

Knows tqdm, where it is installed. Knows nothing of copies.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

from httpserve.errors import InvalidType, MissingExtra

Report = Callable[[int, int | None], object]  # bytes so far, and the total or None


def _nothing(copied: int, total: int | None) -> None:
    """Report to nobody."""


@contextlib.contextmanager
def reporter(progress: Report | bool | None) -> Iterator[Report]:
    """Give a function that reports as *progress* asks for, for the time of the block. Never blocks.

    Args:
        progress: A function of the bytes so far and the total or None; True for a bar of tqdm on stderr, in a
            notebook one of its own; None or False for nothing.

    Raises:
        MissingExtra: A bar is asked for, and tqdm is not installed.
        InvalidType: *progress* is none of these.
    """
    if progress is None or progress is False:
        yield _nothing
    elif progress is True:
        with _bar() as report:
            yield report
    elif callable(progress):
        yield progress
    else:
        raise InvalidType(f"progress must be a function, True or None, not {type(progress).__name__}")


@contextlib.contextmanager
def _bar() -> Iterator[Report]:
    try:
        from tqdm import tqdm
    except ImportError:
        raise MissingExtra("progress=True", "progress") from None

    kind: Any = tqdm  # generic in the stubs only
    if _is_notebook():
        from tqdm.notebook import tqdm_notebook

        kind = tqdm_notebook

    class Bar(kind):  # type: ignore[misc]  # one of two
        monitor_interval = 0  # else tqdm leaves a thread behind

    with Bar(unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def report(copied: int, total: int | None) -> None:
            if total != bar.total:
                bar.reset(total)  # a notebook's bar learns its length by nothing else
            bar.update(copied - bar.n)

        yield report


def _is_notebook() -> bool:
    """Tell whether this runs in a Jupyter kernel that has what tqdm draws a bar with."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    if getattr(shell, "kernel", None) is None:
        return False
    try:
        importlib.import_module("ipywidgets")
    except ImportError:
        return False
    return True
