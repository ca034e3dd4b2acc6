"""Which names exist that are like one that does not.

Knows directories and names. Knows nothing of who asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches

MOST_NAMES = 1000  # looked at; a larger tree is looked at in part
MOST_NEAREST = 3
LIKENESS = 0.6


def names_in(path: str, most: int = MOST_NAMES) -> list[str]:
    """Return names of files under a directory, those with a leading dot left out. Blocks for the disk."""
    found: list[str] = []
    for where, directories, files in os.walk(path):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        inside = os.path.relpath(where, path)
        prefix = "" if inside == os.curdir else inside.replace(os.sep, "/") + "/"
        found += [prefix + name for name in sorted(files) if not name.startswith(".")]
        if len(found) >= most:
            return found[:most]
    return found


def nearest(name: str, names: Iterable[str]) -> tuple[str, ...]:
    """Return those of the names that are like one: the same in another directory or case, then nearly the same."""
    by_lower: dict[str, str] = {}
    for one in names:
        by_lower.setdefault(one.lower(), one)
    wanted = name.lower()
    last = wanted.rpartition("/")[2]
    same = [one for lower, one in by_lower.items() if lower == wanted or lower.rpartition("/")[2] == last]
    alike = [by_lower[lower] for lower in get_close_matches(wanted, by_lower, MOST_NEAREST, LIKENESS)]
    return tuple(dict.fromkeys(one for one in (*same, *alike) if one != name))[:MOST_NEAREST]
