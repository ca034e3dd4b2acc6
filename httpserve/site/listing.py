"""A directory as a page or as JSON: plain relative links, names escaped.

Knows the entries and how to write them down. Knows no request beyond what it accepts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache
from html import escape

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from httpserve.base.text import url_path
from httpserve.storage.served import Entry

# JSON has no charset, but clients ask for one.
_JSON = ("application/json", "application/json; charset=utf-8")
_OFFERED = ("text/html", *_JSON)
# Of an Accept field; browsers send 8 members in 200 bytes. Each member takes werkzeug as long as a small file takes us.
MOST_ACCEPT_BYTES = 1024
MOST_ACCEPT_MEMBERS = 32
_quoted_as_it_is = json.JSONEncoder(ensure_ascii=False).encode
_quoted_in_ascii = json.JSONEncoder().encode
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]+")  # needs no quoting in HTML, nor in a URL
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font-family: system-ui, sans-serif; margin: 2em; }}
table {{ border-collapse: collapse; }}
th, td {{ padding: .2em 1.5em .2em 0; text-align: left; }}
td.size {{ text-align: right; font-variant-numeric: tabular-nums; }}
</style>
</head>
<body>
<h1>{title}</h1>
<table>
<tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr>
{rows}
</table>
</body>
</html>
"""


def in_order(entries: Iterable[Entry]) -> list[Entry]:
    """Return entries in the order of their names, directories first."""
    return sorted(entries, key=lambda entry: (not entry.is_dir, entry.name))


def wants_json(accept: str) -> bool:
    """Tell whether a client that sends this Accept field would rather have JSON than HTML.

    One that sends more than any client does gets HTML.
    """
    if len(accept) > MOST_ACCEPT_BYTES or accept.count(",") >= MOST_ACCEPT_MEMBERS:
        return False
    best = parse_accept_header(accept, MIMEAccept).best_match(_OFFERED)
    return best in _JSON


def as_json(entries: list[Entry]) -> bytes:
    """Return the listing as a JSON array of objects with name, type, size in bytes and mtime in seconds."""
    rows = [  # written by hand, as json takes twice as long for ten thousand of one form
        f'{{"name": {_quoted(name)}, "type": "directory", "size": null, "mtime": {modified!r}}}'
        if is_dir
        else f'{{"name": {_quoted(name)}, "type": "file", "size": {size}, "mtime": {modified!r}}}'
        for name, is_dir, size, modified in entries
    ]
    return f"[{', '.join(rows)}]\n".encode()


def as_html(name: str, entries: list[Entry], prefix: str) -> bytes:
    """Return the listing as a page.

    Args:
        name: The directory's name, empty for the root.
        entries: What is in it.
        prefix: What each link begins with: empty where the target ended in `/`, else the directory's last
            component and a `/`.
    """
    rows = [] if not name else [_row(escape(url_path(f"{prefix}../")), "../", "", "")]
    for entry in entries:
        shown = f"{entry.name}/" if entry.is_dir else entry.name
        size = "" if entry.is_dir else f"{entry.size}"
        link = prefix + shown
        if not _PLAIN.fullmatch(link):
            link, shown = escape(url_path(link)), escape(shown)
        rows.append(_row(link, shown, size, _moment(int(entry.modified // 1))))
    return _PAGE.format(title=f"/{escape(name)}{'/' if name else ''}", rows="\n".join(rows)).encode("utf-8")


def _quoted(name: str) -> str:
    """Return a name as JSON. Letters stay as they are for a reader at a terminal, which gets no control characters."""
    return _quoted_as_it_is(name) if name.isprintable() else _quoted_in_ascii(name)


@lru_cache(1024)  # files of one directory often came in the same second
def _moment(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, UTC).isoformat(" ")[: len("2026-01-31 12:00:00")]
    except (OverflowError, ValueError, OSError):  # file systems know more years than dates do
        return ""


def _row(link: str, shown: str, size: str, moment: str) -> str:
    return f'<tr><td><a href="{link}">{shown}</a></td><td class="size">{size}</td><td>{moment}</td></tr>'
