"""The words that several grammars are made of, read without regular expressions, and what a refusal looks like."""

from __future__ import annotations

from httpserve.server.request_head import Refused

REFUSALS = {400, 414, 431, 501, 505}
TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
DIGITS = frozenset(b"0123456789")
BLANKS = b" \t"


def check_refusal(refused: Refused, *statuses: int) -> None:
    """Hold a refusal to one of these statuses, and to a reason that a client can read."""
    assert refused.status in (statuses or REFUSALS)
    assert refused.reason
    assert str(refused) == refused.reason
    assert refused.reason.isascii()
    assert refused.reason.isprintable()


def is_token(text: bytes) -> bool:
    """Tell whether `text` is a token of RFC 9110 5.6.2."""
    return bool(text) and all(byte in TOKEN for byte in text)


def is_field(line: bytes) -> bool:
    """Tell whether `line` has the form of a field."""
    name, colon, value = line.partition(b":")
    return bool(colon) and is_token(name) and is_text(value)


def is_text(value: bytes) -> bool:
    """Tell whether there is no control character but tabs."""
    return all(byte == 0x09 or (byte >= 0x20 and byte != 0x7F) for byte in value)


def number(word: bytes) -> int | None:
    """Return the number of at most four digits that `word` is, None for anything else."""
    return int(word) if 0 < len(word) <= 4 and all(byte in DIGITS for byte in word) else None
