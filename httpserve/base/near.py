"""Finds a path on the disk that is like one that does not exist, for messages.

Knows directories. Knows no names on the server.
"""

from __future__ import annotations

import os


def nearest_path(path: str) -> str | None:
    """Return the path beside this one on the disk whose name is most like it; None if there is none."""
    import difflib  # only where something is wrong

    above, name = os.path.split(path.rstrip(os.sep))
    try:
        there = {one.lower(): one for one in os.listdir(above or ".") if one != name}  # itself: a symlink to nothing
    except OSError:
        return None
    alike = difflib.get_close_matches(name.lower(), there, 1)
    return os.path.join(above, there[alike[0]]) if alike else None
