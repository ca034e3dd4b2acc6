"""Claims about listings: which entries, in which order, and that no name breaks a page or a link."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.site.listing import as_html, as_json, in_order, wants_json
from httpserve.storage.served import Entry
from tests.cases import each

HOSTILE = [
    "a b",
    "a#b",
    "a?b=c&d",
    "a%20b",
    "100%",
    "a+b",
    "<script>alert(1)<script>",
    '"><img src=x onerror=alert(1)>',
    "'quoted'",
    "&amp;",
    "javascript:alert(1)",
    "http:",
    "{title}{0}",
    "grün",
    "日本語",
    "new\nline",
    "tab\there",
    "\x1b[2J",
    "\u202egnp.exe",
    "~",
    "...",
    "-rf",
    "x" * 200,
]


def file(name: str, size: int = 5, modified: float = 784111777.0) -> Entry:
    return Entry(name, False, size, modified)


def directory(name: str) -> Entry:
    return Entry(name, True, 4096, 784111777.0)


def links(page: bytes, part: int = 1) -> list[str]:
    """Return the links of the table, or those of the way to it."""
    return [unescape(link) for link in re.findall(r'<a href="([^"]*)"', page.decode().split("<table>")[part])]


# Order


def test_directories_come_first_then_names_in_order() -> None:
    entries = in_order([file("b"), directory("z"), file("a"), directory("d"), file("C")])

    assert [entry.name for entry in entries] == ["d", "z", "C", "a", "b"]


# What the client would rather have


@each(
    ("accept", "json_wanted"),
    [
        ("", False),
        ("*/*", False),
        ("text/html", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
        ("application/json", True),
        ("Application/JSON", True),
        ("application/json, text/plain, */*", True),
        ("application/*", True),
        ("application/json;q=0.5, text/html", False),
        ("application/json, text/html;q=0.5", True),
        ("application/json;q=0, */*", False),
        ("text/plain", False),
        ("application/json; charset=utf-8", True),
        ("json", False),
        (";;;,,,=", False),
        ("application/json;q=x", False),
    ],
)
def test_json_goes_to_those_who_prefer_it(accept: str, json_wanted: bool) -> None:
    assert wants_json(accept) is json_wanted


@each(
    "accept",
    [
        "application/json," + "a/b," * 1_000_000,
        "application/json" + ";a=b" * 1_000_000,
        "application/json," + "," * 10_000,
        "application/json; a=" + '"' * 10_000,
        "application/json," * 32,
        "application/json" + " " * 2000,
    ],
)
def test_who_accepts_more_than_any_client_does_gets_the_page(accept: str) -> None:
    assert not wants_json(accept)


@given(st.text(max_size=40))
def test_no_accept_field_breaks_the_choice(accept: str) -> None:
    assert wants_json(accept) in (True, False)


# JSON


def test_json_says_name_type_size_and_time() -> None:
    body = as_json([directory("d"), file("f")])

    assert json.loads(body) == [
        {"name": "d", "type": "directory", "size": None, "mtime": 784111777.0},
        {"name": "f", "type": "file", "size": 5, "mtime": 784111777.0},
    ]


@each("name", HOSTILE)
def test_json_gives_every_name_back(name: str) -> None:
    assert json.loads(as_json([file(name)]))[0]["name"] == name


# HTML


def test_a_page_shows_names_sizes_and_times() -> None:
    page = as_html("d/e", [directory("sub"), file("f", 12345)], "").decode()

    assert "<title>/d/e/</title>" in page
    assert ">sub/</a></td><td" in page
    assert '>f</a></td><td title="12,345 bytes">12.1 KiB</td><td>1994-11-06 08:49:37</td>' in page


def test_the_root_leads_nowhere_up() -> None:
    assert links(as_html("", [file("f")], "")) == ["f"]
    assert "<title>/</title>" in as_html("", [], "").decode()


@each(("target", "prefix"), [pytest.param("/d/e/", "", id="slash"), pytest.param("/d/e", "e/", id="no slash")])
def test_links_are_relative_and_lead_right_with_and_without_a_slash_at_the_end(target: str, prefix: str) -> None:
    found = links(as_html("d/e", [directory("sub"), file("f")], prefix))

    assert [urljoin(f"http://bench{target}", link) for link in found] == [
        "http://bench/d/",
        "http://bench/d/e/sub/",
        "http://bench/d/e/f",
    ]


@each(
    ("target", "prefix"), [pytest.param("/a%20b/d/e/", "", id="slash"), pytest.param("/a%20b/d/e", "e/", id="no slash")]
)
def test_the_way_to_a_directory_is_a_link_for_each_one_above(target: str, prefix: str) -> None:
    page = as_html("a b/d/e", [], prefix)

    above = [urljoin(f"http://bench{target}", link) for link in links(page, 0)]

    assert above == ["http://bench/", "http://bench/a%20b/", "http://bench/a%20b/d/"]
    assert re.sub("<.*?>", "", re.findall("<h1>(.*)</h1>", page.decode())[0]) == "/a b/d/e/"


@each("name", HOSTILE)
@each("prefix", ["", "d/"])
def test_no_name_breaks_a_link(name: str, prefix: str) -> None:
    base = "http://bench/d/" if not prefix else "http://bench/d"

    up, link = links(as_html("d", [file(name)], prefix))

    url = urlsplit(urljoin(base, link))
    assert up == f"{prefix}../"
    assert (url.netloc, unquote(url.path), url.query, url.fragment) == ("bench", f"/d/{name}", "", "")


@each("name", HOSTILE)
def test_no_name_breaks_the_page(name: str) -> None:
    plain = as_html("x", [file("x")], "").decode()

    page = as_html(name, [file(name)], "").decode()

    tags = re.compile(r"<[^>]*>")
    without_links = [tag for tag in tags.findall(page) if not tag.startswith("<a ")]
    assert without_links == [tag for tag in tags.findall(plain) if not tag.startswith("<a ")]
    assert unescape(page).count(name) >= 3


@each("modified", [-1e15, -1e11, 1e12, 1e15, 1e20])
def test_a_time_beyond_all_dates_is_left_out(modified: float) -> None:
    page = as_html("", [file("f", modified=modified)], "").decode()

    assert "<td></td>" in page
