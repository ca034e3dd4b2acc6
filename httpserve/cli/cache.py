"""`httpserve cache`: prints what a cache on this host keeps of stores, and makes room in it.

Knows streams and the words of a table. Does not know how anything is kept.
"""

from __future__ import annotations

import os

from httpserve import HttpServeError
from httpserve.base.tables import Column, text_table
from httpserve.base.text import counted, moment, printable, size
from httpserve.cli.arguments import EXIT_ERROR, Options
from httpserve.cli.stream import Stream
from httpserve.storage.cache.cache import kept_in
from httpserve.storage.cache.room import KeptObject

COLUMNS = (Column("last used"), Column("kept", True), Column("size", True), Column("in use"), Column("name"))


def cache(options: Options, out: Stream, err: Stream) -> int:
    """Print what is in a cache, after making room in it if the options say so. Return 0, or 1 after an error."""
    path = os.path.expanduser(options.directory or "")
    try:
        usage = kept_in(path, options.prune)
    except HttpServeError as error:
        err.write(f"httpserve: {error}\n")
        return EXIT_ERROR
    rows = [_row(entry) for entry in usage.entries]
    lines = text_table(COLUMNS, rows) if rows else []
    total = f"{counted(len(rows), 'object')}, {size(usage.bytes)} in {printable(path)}"
    out.write("".join(f"{line}\n" for line in (*lines, total)))
    return 0


def _row(entry: KeptObject) -> list[str]:
    where = f"{entry.store} {entry.name}"
    return [moment(entry.used), size(entry.kept), size(entry.size), "yes" if entry.in_use else "", printable(where)]
