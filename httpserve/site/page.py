"""What every page for a browser has: its frame, and a style that follows the dark scheme and fits a phone.

Knows HTML. Does not know what a page is about.
"""

from __future__ import annotations

from html import escape

_FRAME = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
{body}
{script}</body>
</html>
"""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 1.5em auto; max-width: 60em; padding: 0 1em; }
h1 { font-size: 1.3em; overflow-wrap: anywhere; }
a { text-decoration: none; } a:hover { text-decoration: underline; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .2em .8em .2em 0; text-align: left; vertical-align: top; }
th[aria-sort] { cursor: pointer; } th[aria-sort=ascending]::after { content: " \\2191"; }
th[aria-sort=descending]::after { content: " \\2193"; }
td { border-top: 1px solid color-mix(in srgb, currentColor 15%, transparent); overflow-wrap: anywhere; }
td + td, th + th { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
#count { opacity: .7; } input { font: inherit; padding: .2em .5em; }
@media (max-width: 36em) {
  thead { display: none; } tr { display: grid; grid-template-columns: 1fr 1fr; padding: .3em 0; }
  td { border: 0; padding: 0; } td:first-child { grid-column: 1 / -1; } td + td { opacity: .7; text-align: left; }
}
"""


def page(title: str, body: str, script: str = "") -> bytes:
    """Return a page with a title that is plain text, around a body that is HTML."""
    script = f"<script>{script}</script>\n" if script else ""
    return _FRAME.format(title=escape(title), style=_STYLE, body=body, script=script).encode("utf-8")
