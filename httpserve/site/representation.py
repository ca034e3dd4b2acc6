"""What is known about one version of a file before it is sent: validators, type and ready-made fields.

Knows which version a file is. Opens no file, and knows no request.
"""

from __future__ import annotations

import base64
import hashlib
import mimetypes
import time
from email.utils import formatdate
from typing import NamedTuple

from httpserve.plan import Piece, Subject
from httpserve.site.conditional import Validators
from httpserve.storage.served import SETTLED_SECONDS, AnyIdentity, FileVersion

# The same types on every machine: no system file is consulted. Nor are there content codings: `.img.gz`
# is a gzip file, not an image with a coding, as a board must not inflate it.
_TYPES = dict(mimetypes.MimeTypes(filenames=()).types_map[True])
for _type, _suffixes in {
    "application/efi": (".efi",),  # EDK2 boots by the type, or by the suffix of the path
    "application/vnd.efi-iso": (".iso",),
    "application/vnd.efi-img": (".img",),
    "application/octet-stream": (".bin", ".raucb", ".swu", ".itb", ".ipxe", ".dtb", ".dtbo", ".ubi", ".zck"),
    "application/yaml": (".yaml", ".yml"),
    "text/markdown": (".md",),
    "text/plain": (".log", ".cfg", ".conf", ".ini", ".sha256"),
    "text/javascript": (".js", ".mjs"),
    "application/gzip": (".gz", ".tgz"),
    "application/x-xz": (".xz",),
    "application/zstd": (".zst",),
    "application/x-bzip2": (".bz2",),
    "application/wasm": (".wasm",),
}.items():
    _TYPES.update(dict.fromkeys(_suffixes, _type))


def media_type(name: str) -> str:
    """Return the Content-Type for a name."""
    dot = name.rfind(".")
    suffix = name[dot:].lower() if dot > name.rfind("/") else ""
    guessed = _TYPES.get(suffix, "application/octet-stream")
    return f"{guessed}; charset=utf-8" if guessed.startswith("text/") else guessed


class Representation(NamedTuple):
    """One version of one file.

    Attributes:
        identity: Which version.
        sha256: Its digest in hexadecimal, if it came in through us.
        validators: What decides conditions.
        media_type: The value of Content-Type.
        common: The fields that a 200, 206 and 304 share.
        whole: All fields of a 200.
        raw: The same as bytes.
        subject: What the record says of the whole.
    """

    identity: AnyIdentity
    sha256: str | None
    validators: Validators
    media_type: str
    common: tuple[tuple[str, str], ...]
    whole: tuple[tuple[str, str], ...]
    raw: bytes
    subject: Subject


def represent(file: FileVersion) -> Representation:
    """Return what is known about one version of a file."""
    identity = file.identity
    # RFC 9110 8.8.2.1: no Last-Modified in the future, whatever the clock did since. A file system may also
    # have years that no date has.
    modified = max(0, min(identity.mtime_ns // 1_000_000_000, int(time.time())))
    etag = f'"{file.sha256}"' if file.sha256 else file.etag or f'"{_fingerprint(identity)}"'
    given = {name.lower(): value for name, value in file.fields}
    kind = given.get("content-type") or media_type(file.name)
    common: tuple[tuple[str, str], ...] = (
        ("Accept-Ranges", "bytes"),
        ("ETag", etag),
        ("Last-Modified", formatdate(modified, usegmt=True)),
        ("Cache-Control", "no-cache"),
    )
    if file.sha256 is not None:
        digest = base64.b64encode(bytes.fromhex(file.sha256)).decode("ascii")
        common = (*common, ("Repr-Digest", f"sha-256=:{digest}:"))  # RFC 9530
    if given:
        common = tuple(one for one in common if one[0].lower() not in given)
        common += tuple(one for one in file.fields if one[0].lower() != "content-type")
    whole = (("Content-Type", kind), ("Content-Length", str(identity.size)), *common)
    raw = "".join(map("%s: %s\r\n".__mod__, whole)).encode("latin-1")
    subject = Subject(file.name, etag, identity.size, (Piece(0, 0, identity.size),))
    is_named = file.sha256 is not None or file.etag is not None  # by whoever has taken all of it
    has_rested = is_named or time.time() - identity.mtime_ns / 1e9 >= SETTLED_SECONDS
    validators = Validators(etag, modified, identity.size, not file.shares_second, has_rested)
    return Representation(identity, file.sha256, validators, kind, common, whole, raw, subject)


def _fingerprint(identity: AnyIdentity) -> str:
    text = "-".join(map(str, identity))
    return hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()
