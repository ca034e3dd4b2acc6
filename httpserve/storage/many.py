"""Puts many files at once: each in one step, a failure of one without harm to the others, and an end at once if wanted.

Knows threads, and what a call about many files reports. Knows nothing of how one file is put, nor of where it is from.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from httpserve.base.arguments import checked_count
from httpserve.base.log import logger
from httpserve.base.names import checked_name
from httpserve.base.outcome import TreeReport
from httpserve.base.progress import Progress, reporter
from httpserve.base.text import counted
from httpserve.base.threads import Aside
from httpserve.errors import HttpServeError, StorageError, TreeFailed
from httpserve.storage.accessor import Accessor, Writable
from httpserve.storage.copying.opening import Item
from httpserve.storage.copying.unchanged import Manner
from httpserve.storage.putting import COPIED, UNCHANGED, put, put_whole, renewed

THREADS = 8  # that wait for a store or a server; a local disk is no quicker with more than one
REPORT_SECONDS = 0.1  # between two reports of progress
GRACE = 0.2  # seconds that an interrupted call waits for all its threads, each of which may be inside opendal
MOST_TOLD = 3  # failures in a message

log = logger("httpserve.storage")


class _Ended(BaseException):
    """Nobody waits for these files any more. Ends a copy within one chunk, and is no error of a file."""


class Fate:
    """What has become of the files so far; `errors` by the name on the server."""

    def __init__(self, errors: dict[str, HttpServeError] | None = None) -> None:
        self.copied: list[str] = []
        self.unchanged: list[str] = []
        self.errors = {} if errors is None else errors
        self.removed: list[str] = []

    def report(self) -> TreeReport:
        """Return it as users get it."""
        return TreeReport(*(tuple(sorted(names)) for names in (self.copied, self.unchanged, self.errors, self.removed)))

    def check(self, what: str) -> None:
        """Log what has become of them, and raise TreeFailed if one has failed; *what* was tried."""
        report = self.report()
        log.info("%s: %s", what, report)
        if not report.failed:
            return
        count = len(report.failed)
        total = count + len(report.copied) + len(report.unchanged)
        told = "; ".join(str(self.errors[name]) for name in report.failed[:MOST_TOLD])
        more = f"; and {count - MOST_TOLD:,} more" if count > MOST_TOLD else ""
        others = ", the others are there" if total > count else ""
        message = f"{what}: {count:,} of {counted(total, 'file')} failed{others}: {told}{more}"
        raise TreeFailed(message, report, {name: self.errors[name] for name in report.failed})


def put_many(
    accessor: Accessor,
    items: Sequence[tuple[str, Item]],
    fate: Fate,
    *,
    always: bool,
    threads: int | None,
    is_local: bool,
    progress: Progress,
) -> None:
    """Put each item under its name on the server, and add to *fate*. Blocks until all were tried."""
    count = (
        checked_count("threads", threads) if threads is not None else 1 if is_local and accessor.is_local else THREADS
    )
    Many(accessor, items, fate, always=always).run(count, progress)


def remove_others(accessor: Accessor, below: str, kept: set[str], wanted: Callable[[str], bool], fate: Fate) -> None:
    """Remove what lies below a directory, is *wanted* by its path in it and not *kept*, and directories left empty."""
    prefix = f"{below}/" if below else ""
    emptied = set()
    for name in accessor.list("scan", below, is_directory=True, recursive=True):
        if name.endswith("/") or name in kept or not wanted(name[len(prefix) :]) or not accessor.may_change(name):
            continue
        accessor.delete(name)
        fate.removed.append(name)
        parts = name[len(prefix) :].split("/")[:-1]
        emptied |= {prefix + "/".join(parts[:end]) for end in range(1, len(parts) + 1)}
    for directory in sorted(emptied, key=lambda one: one.count("/"), reverse=True):
        with contextlib.suppress(StorageError):  # something is left in it
            accessor.delete(directory)


class Many:
    """One call that puts several files. Used once.

    Args:
        accessor: Where they go.
        items: What to put, each with its name on the server.
        always: Whether what is unchanged is copied, too.
    """

    def __init__(self, accessor: Accessor, items: Sequence[tuple[str, Item]], fate: Fate, *, always: bool) -> None:
        self._accessor = accessor
        self._items = items
        self._fate = fate
        self._always = always
        self._left = iter(items)  # each thread takes the next: one step of the interpreter
        self._underway: dict[int, Writable] = {}  # by number of the thread; each touch is one step of the interpreter
        self._done: dict[int, int] = {}  # bytes of whole files, by thread
        self._current: dict[int, int] = {}  # bytes of the file that is under way
        self._is_ended = False
        self._manner = Manner()
        self._tells_each = log.isEnabledFor(logging.DEBUG)

    def run(self, threads: int, progress: Progress) -> None:
        """Put all of them. Blocks until done; a Ctrl-C, or what *progress* raises, ends it at once.

        It is called here, not in the threads, ten times a second and at the end.
        """
        count = max(1, min(threads, len(self._items)))
        works = [Aside(partial(self._work, number), f"httpserve:put-{number}") for number in range(1, count + 1)]
        sizes = [item.size for _, item in self._items]
        total = None if None in sizes else sum(filter(None, sizes))
        try:
            with reporter(progress) as report:
                started = [work for work in works if work.start()]
                if not started:
                    works[0].run_here()
                for work in started:
                    while not work.wait(REPORT_SECONDS):
                        if progress:
                            report(self._bytes(), total)
                for work in works:
                    work.result()
                report(self._bytes(), self._bytes())
        except BaseException:  # from a signal, from what reports, or from a thread
            self._is_ended = True
            for new in list(self._underway.values()):
                new.discard()
            until = time.monotonic() + GRACE
            for work in works:
                work.wait(max(0.0, until - time.monotonic()))
            raise

    def _bytes(self) -> int:
        return sum(list(self._done.values())) + sum(list(self._current.values()))

    # In a thread

    def _work(self, own: int) -> None:
        self._done[own] = self._current[own] = 0
        try:
            while not self._is_ended and self._put_on(own):
                pass
        except _Ended:
            pass

    def _put_on(self, own: int) -> bool:
        """Put one file after the other, until one fails. False: all are put."""
        with self._accessor.row() as incoming:

            def begin(name: str) -> Writable:
                new = self._underway[own] = incoming(name)
                if self._is_ended:  # after it can be found, or else the main thread has found it
                    new.discard()
                    raise _Ended
                return new

            for name, item in self._left:
                if self._is_ended:
                    return False
                try:
                    size = None if self._always else renewed(self._accessor, name, item, self._manner)
                    if size is None:
                        self._put(own, name, item, begin)
                    else:
                        self._done[own] += size
                        self._note(name, UNCHANGED)
                except HttpServeError as error:
                    self._fate.errors[name] = error
                    return True
        return False

    def _put(self, own: int, name: str, item: Item, begin: Callable[[str], Writable]) -> None:
        try:
            if put_whole(name, item, self._manner, begin):
                said, self._current[own] = COPIED, item.size or 0
            else:
                said = self._put_in_pieces(own, name, item, begin)
        finally:
            self._underway.pop(own, None)
            self._done[own] += self._current[own]
            self._current[own] = 0
        self._note(name, said)

    def _put_in_pieces(self, own: int, name: str, item: Item, begin: Callable[[str], Writable]) -> str:
        def note(copied: int, total: int | None) -> None:
            if self._is_ended:
                raise _Ended
            self._current[own] = copied

        is_told = item.origin is not None  # and has been compared
        always = self._always or is_told
        return put(self._accessor, name, item, self._manner, begin=begin, always=always, progress=note).said

    def _note(self, name: str, said: str) -> None:
        (self._fate.unchanged if said == UNCHANGED else self._fate.copied).append(name)
        if self._tells_each:
            log.debug("%s %s", name, said)


def names_on_server(below: str, items: Sequence[Item], fate: Fate) -> list[tuple[str, Item]]:
    """Return each item with its name below a directory on the server; what cannot have one has failed."""
    named = []
    prefix = f"{below}/" if below else ""
    for item in items:
        name = prefix + item.name
        try:
            named.append((checked_name(name), item))
        except HttpServeError as error:
            fate.errors[name] = error
    return named
