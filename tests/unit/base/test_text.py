"""Texts made fit to be read: what is escaped, that no two texts look alike, and where a long one is cut."""

from __future__ import annotations

import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from httpserve.base.text import (
    Hint,
    InPython,
    Message,
    amounts,
    bytes_of,
    clock,
    counted,
    escaped,
    moment,
    printable,
    size,
    worded,
)
from httpserve.errors import InvalidArgument
from tests.cases import each

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHARACTERS = {
    "C0": [chr(number) for number in range(0x20)],
    "DEL and C1": [chr(number) for number in range(0x7F, 0xA0)],
    "bidi controls": list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"),
    "of no width": list("\u00ad\u200b\u200c\u200d\u2060\u180e\ufeff\U000e0001\U000e007f"),
    "ends of lines": list("\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"),
    "blanks that are none": list("\u00a0\u2003\u3000"),
    "lone surrogates": list("\ud800\udc80\udcff"),
    "of no meaning": list("\ue000\uffff\U0010ffff"),
}
ESCAPE = re.compile(r"(\\+)(?:([nrt])|x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8}))")
# Of what makes escapes and backslashes meet.
TEXTS = st.text(st.sampled_from("\\xuUnrt01abf \n\x1b\x9b\u202e\U000e0001\udcff") | st.characters())


def read(shown: str) -> str:
    """Return the text that `escaped` has made this of, by what it promises."""

    def one(found: re.Match[str]) -> str:
        backslashes, letter, *numbers = found.groups()
        before = "\\" * (len(backslashes) // 2)
        if len(backslashes) % 2 == 0:
            return before + found[0][len(backslashes) :]
        if letter:
            return before + {"n": "\n", "r": "\r", "t": "\t"}[letter]
        return before + chr(int("".join(filter(None, numbers)), 16))

    return ESCAPE.sub(one, shown)


@each(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("grüße", "grüße"),
        ("ファイル.img", "ファイル.img"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x7f\x9b", "\\x7f\\x9b"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udcff", "\\udcff"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert escaped(text) == shown


@each("kind", CHARACTERS)
def test_no_character_stays_that_moves_what_is_read_or_cannot_be_seen(kind: str) -> None:
    for char in CHARACTERS[kind]:
        for made in (printable(f"a{char}b"), escaped(f"a{char}b")):
            assert re.fullmatch(r"a\\[a-zA-Z0-9]+b", made), ascii(char)


@given(TEXTS)
def test_whatever_a_client_sends_fits_on_one_line_of_a_terminal(text: str) -> None:
    for made in (printable(text), escaped(text)):
        assert made.isprintable()
        assert len(made.splitlines()) <= 1
        made.encode()


@given(TEXTS)
def test_what_was_made_printable_once_stays_as_it_is(text: str) -> None:
    assert printable(printable(text)) == printable(text)
    assert printable(escaped(text)) == escaped(text)


@given(TEXTS)
def test_no_two_texts_are_escaped_as_the_same(text: str) -> None:
    assert read(escaped(text)) == text


@each(
    ("text", "shown"),
    [
        ("\\x1b[31m", "\\\\x1b[31m"),
        ("\\\x1b", "\\\\\\x1b"),
        ("\\new", "\\\\new"),
        ("EFI\\BOOT\\grubx64.efi", "EFI\\BOOT\\grubx64.efi"),
        ("end\\", "end\\"),
    ],
)
def test_a_backslash_is_doubled_only_where_it_would_read_as_an_escape(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(TEXTS, st.integers(20, 60))
def test_a_text_is_never_longer_than_it_may_be(text: str, most: int) -> None:
    made = printable(text * 5, most)

    assert len(made) <= most
    assert made.isprintable()
    assert printable(made, most) == made


def test_a_long_text_is_cut_in_the_middle_where_its_length_stands() -> None:
    made = printable(f"/begin{'x' * 16_000}end.img", 40)

    assert made.startswith("/begin")
    assert made.endswith("end.img")
    assert "…[16013]…" in made
    assert len(made) == 40
    assert printable("x" * 40, 40) == "x" * 40


# Sizes and times


@each(
    ("count", "shown"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5_000_000, "4.8 MiB"), (5 * 1024**3, "5.0 GiB")],
)
def test_size_as_people_read_it(count: int, shown: str) -> None:
    assert size(count) == shown


def test_moment_that_no_calendar_has_is_shown_as_a_number() -> None:
    assert moment(1e30) == "1e+30"


@each(
    ("got", "total", "text"),
    [
        (0, 0, "0 of 0 bytes"),
        (3, 10 * KIB - 1, "3 of 10239 bytes"),
        (9 * KIB, 10 * KIB, "9 of 10 KiB"),
        (41 * MIB, 58 * MIB, "41 of 58 MiB"),
        (41 * MIB + 5, 58 * MIB + 5, "41 of 59 MiB"),
        (58 * MIB + 4, 58 * MIB + 5, "58 of 59 MiB"),
        (1 * GIB, 20 * GIB, "1 of 20 GiB"),
    ],
)
def test_amounts_are_told_in_the_unit_of_the_total_and_never_look_complete(got: int, total: int, text: str) -> None:
    assert amounts(got, total) == text


def test_counts_and_the_time_of_day() -> None:
    assert [counted(number, "record") for number in (0, 1, 2)] == ["0 records", "1 record", "2 records"]
    assert clock(0.25).endswith(":00.250")


# Messages that name arguments


def option(hint: Hint) -> str:
    return f"--{hint.option} {hint.value}"


def test_message_has_the_words_of_python_and_can_be_worded_anew() -> None:
    message = Message("{} is taken; {}pass {}, or {}", "a\nb", InPython("call, or "), Hint("port", 0), Hint("peer"))

    assert message == "a\\nb is taken; call, or pass port=0, or peer="
    assert worded(message, option) == "a\\nb is taken; pass --port 0, or --peer Ellipsis"


def test_other_texts_are_worded_as_they_are() -> None:
    assert worded("host=None", option) == "host=None"


@each(
    ("hint", "text"),
    [
        (Hint("host", "::"), "host='::'"),
        (Hint("host", None), "host=None"),
        (Hint("peer"), "peer="),
        (Hint("wait_for_address", 30), "start(wait_for_address=30)"),
        (Hint("wait_for_address", None), "start() without waiting"),
    ],
)
def test_hint_in_the_words_of_python(hint: Hint, text: str) -> None:
    assert str(hint) == text


def test_error_has_its_hints_and_keeps_them_in_another_process() -> None:
    error = pickle.loads(pickle.dumps(InvalidArgument(Message("{} {}: {}", Hint("port", 0), "{}", Hint("peer")))))

    assert str(error) == "port=0 {}: peer="
    assert error.hints == (Hint("port", 0), Hint("peer"))
    assert InvalidArgument("a plain text").hints == InvalidArgument().hints == ()


@each(
    ("text", "size"),
    [
        ("0", 0),
        ("4096", 4096),
        ("512 B", 512),
        ("10 MiB", 10 << 20),
        ("10MiB", 10 << 20),
        ("10 mib", 10 << 20),
        ("10M", 10 << 20),
        ("1.5 GiB", 3 << 29),
        ("10 MB", 10_000_000),
        ("2 kB", 2000),
        ("1 TiB", 1 << 40),
    ],
)
def test_size_is_a_number_with_a_unit(text: str, size: int) -> None:
    assert bytes_of(text) == size


@each("text", ["", "MiB", "-1", "1 MiBit", "ten", "1,000", "1 XB"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 10 MiB"):
        bytes_of(text)
