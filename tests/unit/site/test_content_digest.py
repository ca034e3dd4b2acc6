"""Claims about Content-Digest and Repr-Digest: what is compared, what is ignored, what is malformed."""

from __future__ import annotations

import base64
import hashlib
from functools import partial

import pytest

from httpserve.site.content_digest import ContentDigest, Mismatch, field_value
from tests.cases import each, raised

CONTENT = b"what a board sends"
SHA256 = base64.b64encode(hashlib.sha256(CONTENT).digest()).decode()
SHA512 = base64.b64encode(hashlib.sha512(CONTENT).digest()).decode()
WRONG = base64.b64encode(bytes(32)).decode()


def checked(**fields: str) -> None:
    digest = ContentDigest({f"HTTP_{name}": value for name, value in fields.items()})
    digest.update(CONTENT[:5])
    digest.update(CONTENT[5:])
    digest.check()


@each(
    "value",
    [
        f"sha-256=:{SHA256}:",
        f"sha-512=:{SHA512}:",
        f"sha-256=:{SHA256}:, sha-512=:{SHA512}:",
        f" sha-256=:{SHA256}:;note=1 ,\tmd5=:AAAA:",
        "md5=:AAAA:, unixsum=:AA==:",
        "",
    ],
)
def test_content_that_is_as_the_field_says_is_right(value: str) -> None:
    for field in ("CONTENT_DIGEST", "REPR_DIGEST"):
        assert raised(partial(checked, **{field: value})) is None


@each("value", [f"sha-256=:{WRONG}:", f"sha-512=:{WRONG}:", f"sha-256=:{SHA256}:, sha-512=:{SHA256}:", "sha-256=::"])
def test_other_content_is_a_mismatch(value: str) -> None:
    with pytest.raises(Mismatch, match="Content-Digest"):
        checked(CONTENT_DIGEST=value)
    with pytest.raises(Mismatch, match="Repr-Digest"):
        checked(CONTENT_DIGEST=f"sha-256=:{SHA256}:", REPR_DIGEST=value)


MALFORMED = (SHA256, "sha-256", "sha-256=", f"sha-256={SHA256}", "sha-256=:a:", "sha-256=:=AAA:", ",", "md5=:AAAA:,")


@each("value", MALFORMED)
def test_malformed_field_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="Repr-Digest is not such as"):
        ContentDigest({"HTTP_REPR_DIGEST": value})


def test_field_says_what_a_file_has() -> None:
    assert field_value(hashlib.sha256(CONTENT).hexdigest()) == f"sha-256=:{SHA256}:"
