"""Reports progress to the user's function, or with a bar.

Knows tqdm, if it is installed. Does not know what makes progress.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from httpserve.errors import InvalidType, MissingExtra

Report = Callable[[int, int | None], object]  # bytes so far, and the total or None
Progress = Report | bool | None  # True: a bar


def _nothing(copied: int, total: int | None) -> None:
    """Report to nobody."""


@contextlib.contextmanager
def reporter(progress: Progress) -> Iterator[Report]:
    """Give the function that reports as *progress* says, for the time of the block. Never blocks.

    Raises:
        MissingExtra: a bar needs tqdm, which is not installed.
        InvalidType: *progress* is neither a function, True, False nor None.
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
        from tqdm.auto import tqdm
    except ImportError:
        raise MissingExtra("progress=True", "progress") from None

    class Bar(tqdm):  # type: ignore[type-arg]  # generic in the stubs only
        monitor_interval = 0  # else tqdm leaves a thread behind

    with Bar(unit="B", unit_scale=True, unit_divisor=1024) as bar:

        def report(copied: int, total: int | None) -> None:
            if total != bar.total:
                bar.reset(total)  # nothing else tells a notebook's bar its length
            bar.update(copied - bar.n)

        yield report
