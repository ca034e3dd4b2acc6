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

from httpserve.base.text import size, url_path
from httpserve.site.page import page
from httpserve.storage.served import Entry

# JSON has no charset, but clients ask for one.
_JSON = ("application/json", "application/json; charset=utf-8")
_OFFERED = ("text/html", *_JSON)
# Of an Accept field; browsers send 8 members in 200 bytes. Each costs werkzeug as much time as a small file costs us.
MOST_ACCEPT_BYTES = 1024
MOST_ACCEPT_MEMBERS = 32
_quoted_as_it_is = json.JSONEncoder(ensure_ascii=False).encode
_quoted_in_ascii = json.JSONEncoder().encode
_PLAIN = re.compile(r"[A-Za-z0-9._~/-]+")  # needs no quoting in HTML, nor in a URL
_TABLE = """<h1>{crumbs}</h1>
<p><input id="filter" type="search" placeholder="filter" aria-label="filter by name" hidden>
<span id="count"></span></p>
<table>
<thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
# Sorts and filters the list. Without it the page has the same links in the same order.
_SCRIPT = """
const body = document.querySelector("tbody"), heads = [...document.querySelectorAll("th")];
const rows = [...body.rows].filter(row => row.cells[0].textContent != "../");
const text = (row, at) => row.cells[at].textContent;
const bytes = row => Number(row.cells[1].title.replace(/\\D/g, ""));
const order = [(a, b) => text(a, 0).localeCompare(text(b, 0), undefined, {numeric: true}),
  (a, b) => bytes(a) - bytes(b), (a, b) => text(a, 2) < text(b, 2) ? -1 : text(a, 2) > text(b, 2) ? 1 : 0];
const isDirectory = row => text(row, 0).endsWith("/");
heads.forEach((head, at) => {
  head.ariaSort = "none";
  head.onclick = () => {
    const up = head.ariaSort == "ascending" ? -1 : 1;
    heads.forEach(one => one.ariaSort = "none");
    head.ariaSort = up > 0 ? "ascending" : "descending";
    rows.sort((a, b) => isDirectory(b) - isDirectory(a) || up * order[at](a, b));
    body.append(...rows);
  };
});
const filter = document.getElementById("filter"), count = document.getElementById("count");
filter.hidden = false;
filter.oninput = () => {
  const wanted = filter.value.toLowerCase();
  rows.forEach(row => row.hidden = !text(row, 0).toLowerCase().includes(wanted));
  const shown = rows.filter(row => !row.hidden).length;
  count.textContent = `${wanted ? `${shown} of ` : ""}${rows.length} entries`;
};
filter.oninput();
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
    rows = [  # written by hand, as json takes twice as long for ten thousand rows
        f'{{"name": {_quoted(name)}, "type": "directory", "size": null, "mtime": {modified or "null"}}}'
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
    rows = [] if not name else [_row(escape(url_path(f"{prefix}../")), "../", None, "")]
    for entry in entries:
        shown = f"{entry.name}/" if entry.is_dir else entry.name
        link = prefix + shown
        if not _PLAIN.fullmatch(link):
            link, shown = escape(url_path(link)), escape(shown)
        moment = _moment(int(entry.modified // 1)) if entry.modified else ""
        rows.append(_row(link, shown, None if entry.is_dir else entry.size, moment))
    body = _TABLE.format(crumbs=_crumbs(name, prefix), rows="\n".join(rows))
    return page(f"/{name}{'/' if name else ''}", body, _SCRIPT)


def _crumbs(name: str, prefix: str) -> str:
    """Return the path from the root to a directory, with a link for each directory above it."""
    parts = ["", *name.split("/")] if name else [""]
    links = [escape(url_path(prefix + "../" * above)) for above in range(len(parts) - 1, 0, -1)]
    return "".join(
        [f'<a href="{link}">{escape(part)}/</a>' for link, part in zip(links, parts, strict=False)]
        + [f"{escape(parts[-1])}/"]
    )


def _quoted(name: str) -> str:
    """Return a name as JSON. Letters stay readable at a terminal, which gets no control characters."""
    return _quoted_as_it_is(name) if name.isprintable() else _quoted_in_ascii(name)


@lru_cache(1024)  # files of one directory often came in the same second
def _moment(second: int) -> str:
    try:
        return datetime.fromtimestamp(second, UTC).isoformat(" ")[: len("2026-01-31 12:00:00")]
    except (OverflowError, ValueError, OSError):  # file systems know more years than `datetime` does
        return ""


def _row(link: str, shown: str, count: int | None, moment: str) -> str:
    cell = "<td></td>" if count is None else f'<td title="{count:,} bytes">{size(count)}</td>'
    return f'<tr><td><a href="{link}">{shown}</a></td>{cell}<td>{moment}</td></tr>'
