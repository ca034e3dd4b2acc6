"""Faults as the shell and Robot write them."""

from __future__ import annotations

from typing import Any

import pytest

from httpserve import faults
from httpserve.errors import InvalidArgument
from httpserve.faults import (
    Chance,
    Corrupt,
    Cut,
    Fault,
    Headers,
    IgnoreRange,
    NoLength,
    Redirect,
    Refuse,
    Sequence,
    Slow,
    Stale,
    Stall,
    Status,
    Truncate,
    WrongLength,
    WrongRange,
    parse,
    parse_named,
)
from httpserve.faults.grammar import KINDS, form
from tests.cases import each

WRITTEN: list[tuple[str, list[Fault], dict[str, Any]]] = [
    ("cut@50%,times=2", [Cut(0.5)], {"times": 2}),
    ("cut@-1KiB,how=reset,after=1,client=192.168.7.2,method=GET,seed=7", [Cut(-1024, "reset")], {
        "after": 1, "client": "192.168.7.2", "method": "GET", "seed": "7"
    }),
    ("slow@64KiB/s", [Slow(65536)], {}),
    ("slow@64 kB + stall@0,seconds=500 ms", [Slow(64000), Stall(0, 0.5)], {}),
    ("stall,at=50 %,seconds=forever", [Stall(0.5, None)], {}),
    ("stall@0.25,seconds=2min", [Stall(0.25, 120.0)], {}),
    ("corrupt@-1,count=3", [Corrupt(-1, 3)], {}),
    ("truncate@4096", [Truncate(4096)], {}),
    ("wrong-length@-10", [WrongLength(-10)], {}),
    ("Wrong Range@1KiB", [WrongRange(1024)], {}),
    ("IgnoreRange", [IgnoreRange()], {}),
    ("no_length,chunked=yes", [NoLength(chunked=True)], {}),
    ("status@500; status@503,retry-after=5,times=3; none", [Sequence([Status(500), Status(503, 5.0), None])], {
        "times": 3
    }),
    ('status@403,body="a, \\"b\\" + c"', [Status(403, body='a, "b" + c')], {}),
    ("redirect@http://b.lab/x?y=1,code=307", [Redirect("http://b.lab/x?y=1", 307)], {}),
    ("stale@old/fw.bin", [Stale("old/fw.bin")], {}),
    ("refuse,chance=10%", [Chance(0.1, Refuse())], {}),
    ("headers,set=etag:,set=X-Y: a b,drop=Date2 Accept-Ranges", [
        Headers({"etag": "", "X-Y": "a b"}, ["Date2", "Accept-Ranges"])
    ], {}),
]  # fmt: skip


@each(("text", "wanted", "terms"), WRITTEN)
def test_text_is_read(text: str, wanted: list[Fault], terms: dict[str, Any]) -> None:
    assert parse(text) == (None, tuple(wanted), terms)


def test_every_fault_can_be_written() -> None:
    all_faults = {kind for name in faults.__all__ if isinstance(kind := getattr(faults, name), type)}
    read = {type(leaf) for text, _, _ in WRITTEN for one in parse(text).faults for leaf in one.leaves() if leaf}

    assert read == {kind for kind in all_faults if issubclass(kind, Fault)} - {Fault, Sequence, Chance}
    assert read == set(KINDS.values())


@each(
    ("text", "name", "fault"),
    [
        ("fw.bin=cut@50%", "fw.bin", Cut(0.5)),
        ("a=b.img=cut@1,how=reset", "a=b.img", Cut(1, "reset")),
        ("cut=cut@1", "cut", Cut(1)),
        ("*.img=slow@1", "*.img", Slow(1)),
        ("cut@1", None, Cut(1)),
        ("=refuse", None, Refuse()),
    ],
)
def test_name_stands_before_the_fault(text: str, name: str | None, fault: Fault) -> None:
    assert parse_named(text) == (name, (fault,), {})


@each(
    ("text", "told"),
    [
        ("cutt@3", "there is no fault 'cutt' (did you mean cut?); there are slow, stall, cut,"),
        ("fw.bin=cutt@3", "there is no fault 'cutt' (did you mean cut?)"),
        ("fw.bin", "cannot read the fault 'fw.bin'; write KIND[@VALUE][,KEY=VALUE]..., such as cut@50%,times=2"),
        ("cut@1;;none", "cannot read the fault 'cut@1;;none' from ';none' on; write KIND"),
        ("cut", "cut needs at=; write cut@AT[,how=fin|reset]; AT is 4096, 64KiB, 50%, 0.5, or -1 from the end"),
        ("cut@half", "cannot read at='half' as AT; write cut@AT"),
        ("cut@5,foo=3", "cut takes no foo=; write cut@AT"),
        ("cut@5,at=3", "at= is given twice"),
        ("cut@5,times=1,times=2", "times= is given twice"),
        ("cut@5,times=few", "cannot read times='few' as N"),
        ("cut@5,chance=often", "cannot read chance='often' as P, such as 10% or 0.1"),
        ("cut@150%", "not 1.5; write cut@AT"),
        ("stall@5,seconds=soon", "cannot read seconds='soon' as S; write stall@AT,seconds=S"),
        ("no-length@maybe", "cannot read chunked='maybe' as yes|no; write no-length[@yes|no]"),
        ("headers,set=ETag", "cannot read set='ETag' as FIELD:VALUE; write headers[@FIELD:VALUE][,drop=FIELD]"),
        ("refuse@3", "refuse takes no @VALUE; write refuse"),
        ("none", "none is one of several faults, parted by `;`, not all of 'none'"),
        ("cut@1;none,at=3", "none takes no values, and at was given"),
    ],
)
def test_wrong_text_is_told_the_right_form(text: str, told: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse_named(text)

    assert told in str(refused.value)


@each("kind", KINDS)
def test_error_about_a_fault_ends_with_its_form(kind: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        parse(f"{kind},nonsense=1")

    assert str(refused.value).endswith(f"; write {form(kind)}")


def test_values_may_come_beside_the_text_of_one_fault() -> None:
    assert parse("cut", at="50 %", how="reset", times=2) == (None, (Cut(0.5, "reset"),), {"times": 2})
    assert parse("stale", version=b"old", chance=0.5) == (None, (Chance(0.5, Stale(b"old")),), {})
    with pytest.raises(InvalidArgument, match="at= goes with one fault: write it beside its own in 'cut@1;none'"):
        parse("cut@1;none", at=3)
