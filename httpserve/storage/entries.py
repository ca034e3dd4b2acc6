"""Which entries of a directory lists show, in opendal's form.

Knows directories and their entries. Does not know how users write paths; names
are checked ones.
"""

from __future__ import annotations

import stat

from httpserve.base.names import is_name
from httpserve.base.tables import Listing
from httpserve.errors import InvalidName
from httpserve.storage.directory.places import Ground
from httpserve.storage.metadata import Names


def listed(ground: Ground, name: str, *, is_directory: bool, recursive: bool) -> Names:
    """Return a directory and its entries, or (not *is_directory*) what begins with *name* in its parent."""
    own: Names = []
    links: set[str] = set()  # to directories: they are shown, but may lead in a circle
    waiting = _entries(ground, name if is_directory else name.rpartition("/")[0], links)
    if waiting is None:
        return Listing()
    if is_directory:
        own.append(f"{name}/")
    else:
        waiting = [entry for entry in waiting if entry.startswith(name)]
    found = []
    while waiting:
        entry = waiting.pop()
        found.append(entry)
        if recursive and entry.endswith("/") and entry not in links:
            waiting += _entries(ground, entry[:-1], links) or []
    return Listing(own + sorted(found))


def _entries(ground: Ground, name: str, links: set[str]) -> Names | None:
    """Return what is in a directory and can be asked for, and add to *links*; None if there is no such directory."""
    found = []
    try:
        with ground.directory(name) as directory:
            for entry in directory:
                below = f"{name}/{entry.name}" if name else entry.name
                if not is_name(below):
                    continue
                if not entry.is_symlink():
                    found.append(f"{below}/" if entry.is_dir(follow_symlinks=False) else below)
                    continue
                try:
                    leads_to = directory.status(entry)
                except (InvalidName, OSError):  # nowhere, in a circle, or out of the root
                    continue
                if stat.S_ISDIR(leads_to.st_mode):
                    below += "/"
                    links.add(below)
                found.append(below)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found
