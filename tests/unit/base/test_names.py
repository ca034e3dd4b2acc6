"""Claims about names: their normal form, and what is refused."""

from __future__ import annotations

import os
from pathlib import PurePosixPath
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.base.names import checked_name
from httpserve.errors import InvalidName, InvalidType
from tests.cases import each

WHITE_SPACE_OF_RUST = [*"\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000", *map(chr, range(0x2000, 0x200B))]


@each(
    ("raw", "name"),
    [
        ("a.img", "a.img"),
        ("/a.img", "a.img"),
        ("//a///b", "a/b"),
        ("./x", "x"),
        ("a/./b", "a/b"),
        (".hidden", ".hidden"),
        ("...", "..."),
        ("a b/c d", "a b/c d"),
        ("a /b", "a /b"),
        ("größe#?%+.img", "größe#?%+.img"),
        ("a\nb", "a\nb"),
        ("x" * 255, "x" * 255),
        ("ä" * 127, "ä" * 127),
        ("a/.httpserve", "a/.httpserve"),
        ("a/" * 254 + "a", "a/" * 254 + "a"),
        ("//a/." * 254 + "/ö b", "a/" * 254 + "ö b"),
    ],
)
def test_a_name_has_one_normal_form(raw: str, name: str) -> None:
    assert checked_name(raw) == name


def test_a_path_object_is_a_name() -> None:
    assert checked_name(PurePosixPath("/a/b")) == "a/b"


@each(("raw", "name"), [("", ""), ("/", ""), (".", ""), ("d/", "d"), ("/d/e//", "d/e"), ("d", "d"), ("d/.", "d")])
def test_a_directory_may_end_in_a_slash_and_be_the_root(raw: str, name: str) -> None:
    assert checked_name(raw, directory=True) == name


@each("raw", ["", "/", ".", "./", "d/", "d/."])
def test_a_file_is_not_named_as_a_directory(raw: str) -> None:
    with pytest.raises(InvalidName, match="file is meant"):
        checked_name(raw)


@each(
    ("raw", "reason"),
    [
        ("..", "leave the root"),
        ("a/../b", "leave the root"),
        ("../a", "leave the root"),
        ("a\\b", "backslash"),
        ("a\0b", "NUL"),
        ("a\udc80", "surrogate"),
        ("x" * 256, "256 bytes"),
        ("d/" + "ä" * 128, "256 bytes"),
        (".httpserve-0123456789abcdef-1.part", "temporary files"),
        ("d/.httpserve-x", "temporary files"),
        ("d/.httpserve-x/y", "temporary files"),
        ("a/" * 256 + "a", "257 components"),
        ("a/" * 256, "256 components"),
        ("a b/" * 600, "600 components"),
        ("a/" * 8000, "16000 characters"),
        ("/" * 5000 + "a", "5001 characters"),
        ("x" * 16_000, "16000 characters"),
        ("http://127.0.0.1:8000/board.img", "it is a URL, and the name on the server is meant"),
        ("/ a", "blank"),
        ("a /", "blank"),
    ],
)
def test_a_name_that_leaves_the_root_or_comes_back_changed_is_refused(raw: str, reason: str) -> None:
    with pytest.raises(InvalidName, match=reason) as caught:
        checked_name(raw, directory=True)

    assert caught.value.name == raw
    assert isinstance(caught.value, ValueError)


@each("blank", WHITE_SPACE_OF_RUST)
def test_a_blank_at_either_end_is_refused(blank: str) -> None:
    for raw in (f"{blank}a", f"a{blank}", blank):
        with pytest.raises(InvalidName, match="blank"):
            checked_name(raw)


@each("raw", [b"a", 5, None])
def test_what_is_no_text_is_a_type_error(raw: object) -> None:
    with pytest.raises(InvalidType, match=type(raw).__name__):
        checked_name(cast("str", raw))


@given(st.text(max_size=30) | st.text(alphabet="/. \\a\0", max_size=12))
def test_a_checked_name_is_checked_already_and_stays_below_the_root(raw: str) -> None:
    try:
        name = checked_name(raw)
    except InvalidName:
        return

    assert checked_name(name) == name
    assert os.path.normpath(os.path.join("/root", name)) == f"/root/{name}"
