"""The QR code of a URL, for a phone."""

from __future__ import annotations

import io

from httpserve import MissingExtra


def qr_code(url: str, encoding: str) -> str:
    """Return a picture of a URL for a terminal, drawn in half blocks where the encoding has them."""
    try:
        import segno
    except ImportError:
        raise MissingExtra("--qr", "qr") from None
    picture = io.StringIO()
    try:
        "\u2580".encode(encoding)
        has_blocks = True
    except UnicodeEncodeError:
        has_blocks = False
    segno.make(url, micro=False).terminal(picture, compact=has_blocks)
    return picture.getvalue().rstrip("\n")
