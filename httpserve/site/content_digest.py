"""Content-Digest and Repr-Digest (RFC 9530) of a request: whether what came is what was sent.

Knows these two fields and hash functions. Knows no files.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping

FIELDS = {"HTTP_CONTENT_DIGEST": "Content-Digest", "HTTP_REPR_DIGEST": "Repr-Digest"}
_FUNCTIONS = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}  # the others of RFC 9530 are deprecated
# A dictionary of byte sequences (RFC 8941), which may have parameters.
_MEMBER = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]*={0,2}):(?:;[^,]*)?[ \t]*")


class Mismatch(Exception):
    """What came has another digest than a field says. The text says which."""


class ContentDigest:
    """What the fields of a request say of its content. Raises ValueError where one is malformed."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._expected = [
            (field, algorithm, digest)
            for key, field in FIELDS.items()
            for algorithm, digest in _members(field, environ.get(key, ""))
            if algorithm in _FUNCTIONS
        ]
        self._hashes = {algorithm: _FUNCTIONS[algorithm]() for _, algorithm, _ in self._expected}

    def update(self, data: bytes) -> None:
        """Take the next bytes of the content."""
        for one in self._hashes.values():
            one.update(data)

    def check(self) -> None:
        """Raise Mismatch unless all digests are right."""
        for field, algorithm, expected in self._expected:
            actual = self._hashes[algorithm].digest()
            if actual != expected:
                raise Mismatch(f"the content has the {algorithm} {_text(actual)}, and {field} says {_text(expected)}")


def _members(field: str, value: str) -> list[tuple[str, bytes]]:
    if not value.strip():
        return []
    found = []
    for member in value.split(","):
        match = _MEMBER.fullmatch(member)
        try:
            if match is None:
                raise ValueError
            found.append((match[1], base64.b64decode(match[2], validate=True)))
        except (ValueError, binascii.Error):
            raise ValueError(f"{field} is not such as sha-256=:BASE64:") from None
    return found


def _text(digest: bytes) -> str:
    return f":{base64.b64encode(digest).decode('ascii')}:"


def field_value(sha256: str) -> str:
    """Return what Repr-Digest says of a file, by its hexadecimal digest."""
    return f"sha-256={_text(bytes.fromhex(sha256))}"
