"""What strangers send and call things, and what must hold of all that people then read.

Knows bytes and characters. Knows nothing of the package.
"""

from __future__ import annotations

import re
from urllib.parse import quote_from_bytes

FORGED = "1999-12-31 23:59:59,000 httpserve.access: 10.0.0.9"  # how a line begins that nobody has logged

# Each as bytes on the wire or in the name of a file.
TEXTS = {
    "escapes": b"\x1b]0;pwned\x07\x1b[2J\x1b[31mHACKED",
    "a line": b'A"\n' + FORGED.replace(" ", "\xa0").encode("latin-1") + b'"\t"GET\t/board.img"\t200',
    "a return": b"A\r" + FORGED.replace(" ", "\t").encode(),
    "C1": b"a\x9b2J\x9d0;pwned\x9c\x85b",
    "C1 in UTF-8": "a\u009b2J\u0085b".encode(),
    "NUL and DEL": b"a\x00\x7f\x08b",
    "turned round": "a\u202egnp.exe\u2066b".encode(),
    "ends of lines": "a\u2028\u2029\x0b\x0c\x1c\x1eb".encode(),
    "of no width": "a\u200b\u200d\ufeffb".encode(),
    "no text": b"a\xff\xfe\xed\xa0\x80b",
}


# To go to a line and clear it, and styles. The strangers above have red too.
OUR_OWN = r"\r(?=\x1b\[K\x1b7)|\x1b[78]|\x1b\[(\d+A|[BJK]|\?7[lh]|0m|1m|2m|32m|33m|31m(?=(closed|reset|lost|cut)\x1b))"


def requests(text: bytes) -> list[bytes]:
    """Return heads with this text wherever a head has room for one: most are refused, some answered."""
    end = b"\r\n\r\n"
    return [
        text + b" /x HTTP/9" + end,
        text + end,
        b"GET" + text + b" /x HTTP/1.1\r\nHost: a" + end,
        b"GET /" + text + b" HTTP/1.1\r\nHost: a" + end,
        b"GET /" + quote_from_bytes(text).encode() + b" HTTP/1.1\r\nHost: a\r\nConnection: close" + end,
        b"GET /x?" + text + b" HTTP/1.1\r\nHost: a\r\nConnection: close" + end,
        b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUser-Agent: " + text + end,
        b"GET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\nRange: bytes=" + text + end,
        b"GET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\nIf-None-Match: " + text + end,
        b"GET /f HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-" + text + b": 1" + end,
        b"GET /f HTTP/1.1\r\nHost: " + text + end,
        b"GET /x " + text + end,
    ]


def names(directory: bytes) -> list[bytes]:
    """Return the paths of files with these names in a directory."""
    return [directory + b"/" + text.replace(b"\x00", b"").replace(b"/", b"") for text in TEXTS.values()]


def check(shown: str) -> None:
    """Hold a text of any number of lines to this: all that is in it prints, and nobody has forged a line."""
    for line in shown.split("\n"):
        assert line.isprintable(), ascii(line)
        assert not line.startswith("1999-12-31"), line
    assert len(shown.splitlines()) <= shown.count("\n") + 1


def without_our_own(terminal: bytes) -> str:
    """Return what a terminal was sent, without that by which the live lines are drawn."""
    return re.sub(OUR_OWN, "", terminal.decode()).replace("\r\n", "\n")
