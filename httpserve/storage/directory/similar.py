"""Which names exist that are like one that does not.

Knows directories and names. Knows nothing of who asked.
"""

from __future__ import annotations

import heapq
import os
import stat
from collections import deque
from collections.abc import Iterable
from itertools import pairwise

from httpserve.base.names import is_name
from httpserve.errors import InvalidName
from httpserve.storage.directory.places import Directory, Ground, Place

MOST_NAMES = 500  # looked at; a larger tree is looked at in part, so that a wait's timeout is kept
MOST_NEAREST = 3
MOST_COMPARED = 12  # letter by letter, which is slow
LIKENESS = 0.6


def names_in(path: str, most: int = MOST_NAMES) -> list[str]:
    """Return names of files under a directory that can be asked for, without those with a leading dot.

    Those nearest to the top come first, and no more than `most` entries are looked at.
    """
    top = Ground(os.path.realpath(path))
    found: list[str] = []
    left = deque([""])
    while left and most > 0:
        directory = left.popleft()
        try:
            with Place(top, directory.removesuffix("/")) as place:
                within = Directory(place)
                for entry in within:
                    most -= 1
                    if most < 0:
                        break
                    name = directory + entry.name
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        left.append(f"{name}/")
                    elif is_name(name) and _is_file(within, entry):
                        found.append(name)
        except (OSError, InvalidName):
            continue  # it has gone meanwhile, or is not ours to read
    return sorted(found)


def _is_file(within: Directory, entry: os.DirEntry[str]) -> bool:
    """Tell whether an entry is a file, or a symlink to one in the directory; one that leads out gets a 404."""
    try:
        if not entry.is_symlink():
            return entry.is_file(follow_symlinks=False)
        return stat.S_ISREG(within.status(entry).st_mode)
    except (OSError, InvalidName):
        return False


class SimilarNames:
    """Names that exist, ready to be compared with others."""

    def __init__(self, names: Iterable[str]) -> None:
        self._parts = {name: _parts(name.lower()) for name in names}

    def __len__(self) -> int:
        return len(self._parts)

    def nearest(self, name: str) -> tuple[str, ...]:
        """Return those that are like a name: the same in another directory or case, then nearly the same."""
        from difflib import SequenceMatcher  # which most servers never need

        wanted = name.lower()
        last = _last(wanted)
        parts = _parts(wanted)
        same = [one for one in self._parts if one.lower() == wanted]
        same += [one for one in self._parts if _last(one.lower()) == last]
        in_common = ((len(parts & own) / (len(parts) + len(own) or 1), one) for one, own in self._parts.items())
        likely = heapq.nlargest(MOST_COMPARED, in_common)
        ratios = [(SequenceMatcher(None, one.lower(), wanted).ratio(), one) for _, one in likely]
        alike = [one for ratio, one in sorted(ratios, reverse=True) if ratio >= LIKENESS]
        return tuple(dict.fromkeys(one for one in (*same, *alike) if one != name))[:MOST_NEAREST]


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _parts(name: str) -> frozenset[str]:
    """Return the pairs of letters of a name; similar names have many in common."""
    return frozenset(map("".join, pairwise(f"/{name}/")))
