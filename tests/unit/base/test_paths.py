"""Claims about texts that may be paths or URLs."""

from __future__ import annotations

from httpserve.base.paths import scheme_of, shown_url
from tests.cases import each


@each(
    ("text", "scheme"),
    [("s3://b", "s3"), ("webdav://h/x", "webdav"), ("s3", ""), ("/s3://b", ""), ("a b://c", "")],
)
def test_a_url_is_told_by_its_scheme(text: str, scheme: str) -> None:
    assert scheme_of(text) == scheme


def test_a_url_is_shown_without_secrets_and_another_text_as_it_is() -> None:
    assert shown_url("ftp://user:geheim@host:21/x?password=geheim") == "ftp://host:21/x"
    assert shown_url("s3") == "s3"
