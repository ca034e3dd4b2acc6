"""URLs taken apart for requests, by tables."""

from __future__ import annotations

import pytest

from httpserve.errors import InvalidArgument
from httpserve.storage.copying.exact_target import UrlParts, address_of, redirected
from tests.cases import each


@each(
    ("url", "address"),
    [
        ("http://host", UrlParts("http", "host", "/", None)),
        ("HTTPS://Host:8443/a%2fb?c=%2f#d", UrlParts("https", "Host:8443", "/a%2fb?c=%2f", None)),
        ("http://[fe80::1%25eth0]:80/a", UrlParts("http", "[fe80::1%25eth0]:80", "/a", None)),
        ("http://u:p%40q:r@host/", UrlParts("http", "host", "/", (b"u", b"p@q:r"))),
        ("http://u@host/", UrlParts("http", "host", "/", (b"u", b""))),
        ("http://ü@host/", UrlParts("http", "host", "/", ("ü".encode(), b""))),
        ("http://@host/", UrlParts("http", "host", "/", None)),
        ("http://a@b@host/", UrlParts("http", "host", "/", (b"a@b", b""))),
        ("http://host/a b\n", UrlParts("http", "host", "/a%20b%0A", None)),
        ("http://host/\udcff", UrlParts("http", "host", "/%FF", None)),
    ],
)
def test_a_url_is_taken_apart(url: str, address: UrlParts) -> None:
    assert address_of(url) == address


@each("url", ["http://", "http:///a", "ftp://host/", "host/a", "http://u@/a"])
def test_what_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="is not an http or https URL"):
        address_of(url)


@each(
    "authority",
    [
        *("[foo", "[", "]", "[]", "foo]", "[::1", "::1", "[::1]x", "[::1]:x", "[[::1]]", "[::1 ]", ":80", ":"),
        *("h:0", "h:65536", "h:-1", "h:+1", "h:abc", "h:80:80", "h: 80", "h:8_0", "h:\xb2", "h:000080"),
        *("a b", "a\r\nB: c", "a\0b", "h:" + "9" * 5000),
    ],
)
def test_a_host_or_a_port_that_cannot_be_is_refused(authority: str) -> None:
    with pytest.raises(InvalidArgument, match="is malformed"):
        address_of(f"http://{authority}/a")
    with pytest.raises(InvalidArgument, match="is malformed"):
        redirected(address_of("http://h/a"), f"http://{authority}/a")
    with pytest.raises(InvalidArgument, match="is malformed"):
        redirected(address_of("http://h/a"), f"//{authority}/a")


def test_a_malformed_location_is_named_without_its_secrets() -> None:
    for location in ("//user:secret@[foo/?sig=secret", "ftp://user:secret@[foo/?sig=secret"):
        with pytest.raises(InvalidArgument, match=r"://…@\[foo/\?…") as caught:
            redirected(address_of("http://h/a"), location)

        assert "secret" not in str(caught.value)


@each("url", ["http://host/\ud800", "http://\ud800:x@host/"])
def test_a_url_that_is_not_unicode_is_refused(url: str) -> None:
    with pytest.raises(InvalidArgument, match="surrogate"):
        address_of(url)


@each(
    ("base", "location", "authority", "target"),
    [
        ("http://h/a/b?c", "d?e=%2f", "h", "/a/d?e=%2f"),
        ("http://h/a/b?c", "/d", "h", "/d"),
        ("http://h/a/b?c", "?d", "h", "/a/b?d"),
        ("http://h/a/b?c", "../../d", "h", "/d"),
        ("http://h/a/b?c", "//i:1/d", "i:1", "/d"),
        ("http://h/a/b?c", "http://i/a/../b?%2f", "i", "/a/../b?%2f"),
        *(("http://h/a", " /b ", "h", "/b"), ("http://h/a", "/b#c", "h", "/b"), ("http://h/a", "", "h", "/a")),
    ],
)
def test_a_location_leads_on(base: str, location: str, authority: str, target: str) -> None:
    there = redirected(address_of(base), location)

    assert (there.authority, there.target) == (authority, target)


@each(
    ("base", "location", "kept"),
    [
        ("http://u:p@h/a", "/b", True),
        ("http://u:p@h/a", "http://h:80/b", True),
        ("http://u:p@h/a", "http://H/b", True),
        ("http://u:p@h/a", "https://h/b", True),
        ("http://u:p@h:80/a", "https://h:443/b", True),
        ("http://u:p@h:8080/a", "https://h/b", False),
        ("http://u:p@h/a", "https://h:8443/b", False),
        ("http://u:p@h/a", "http://h:8080/b", False),
        ("http://u:p@h/a", "http://other/b", False),
        ("http://u:p@h/a", "http://h.other/b", False),
        ("https://u:p@h/a", "https://h/b", True),
        ("https://u:p@h/a", "http://h/b", False),
    ],
)
def test_credentials_follow_within_their_origin(base: str, location: str, kept: bool) -> None:
    there = redirected(address_of(base), location)

    assert there.auth == ((b"u", b"p") if kept else None)


def test_credentials_of_a_location_are_taken() -> None:
    assert redirected(address_of("http://u:p@h/a"), "http://v:q@h/b").auth == (b"v", b"q")
