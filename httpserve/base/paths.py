"""Local paths as people write them: where one leads, what is like one that is not there, which text is a URL.

Knows directories. Knows no names on the server.
"""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(text: str) -> str:
    """Return the scheme of a URL, such as that of a store; empty for what is none."""
    found = _URL.match(text)
    return "" if found is None else found[1]


def shown_url(url: str) -> str:
    """Return a URL without what may be secret in it: user, password and query; another text as it is."""
    if not scheme_of(url):
        return url
    try:
        parts = urlsplit(url)
    except ValueError:  # half of a bracket, say
        return f"{scheme_of(url)}://…"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def place_of(path: str) -> str:
    """Return the real path; of a symlink to something in its own directory that of the symlink."""
    real = os.path.realpath(path)
    above, name = os.path.split(path.rstrip("/"))
    above = os.path.realpath(above)
    is_within = name not in ("", ".", "..") and real.startswith(f"{above.rstrip('/')}/")
    return os.path.join(above, name) if is_within else real


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
