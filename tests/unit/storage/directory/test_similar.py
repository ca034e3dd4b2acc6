"""Claims about which names are like one that does not exist."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from httpserve.storage.directory.similar import MOST_NAMES, SimilarNames, names_in
from tests.cases import each

NAMES = ["Image", "boot/zImage", "boot/board.dtb", "rootfs.img.gz", "u-boot.bin", "a/b/c/grubx64.efi"]


def nearest(name: str, names: list[str]) -> tuple[str, ...]:
    return SimilarNames(names).nearest(name)


@each(
    ("name", "first"),
    [
        *(("image", "Image"), ("IMAGE", "Image"), ("boot/Image", "Image"), ("zImage", "boot/zImage")),
        *(("Imgae", "Image"), ("boot/board.dbt", "boot/board.dtb"), ("boot/bord.dtb", "boot/board.dtb")),
        *(("rootfs.img", "rootfs.img.gz"), ("u_boot.bin", "u-boot.bin")),
        ("EFI/BOOT/GRUBX64.EFI", "a/b/c/grubx64.efi"),
    ],
)
def test_a_misspelt_name_finds_its_own_first(name: str, first: str) -> None:
    assert nearest(name, NAMES)[0] == first


@each("name", ["", "revocations.efi", "x", "command.lst", "nothing/like/it"])
def test_a_name_that_is_like_none_finds_none(name: str) -> None:
    assert nearest(name, NAMES) == ()


def test_a_name_is_not_near_itself() -> None:
    assert nearest("Image", ["Image"]) == ()
    assert nearest("Image", ["Image", "image"]) == ("image",)


def test_no_more_than_three_are_told_and_each_once() -> None:
    assert len(nearest("image1", [f"image{number}" for number in range(20)])) == 3
    assert nearest("boot/image", ["image", "boot/Image"]) == ("boot/Image", "image")


def test_short_names_that_differ_in_one_letter_are_near() -> None:
    assert nearest("dbt", ["dtb", "x", "fit"]) == ("dtb",)


def test_nothing_is_near_in_an_empty_directory() -> None:
    assert (nearest("Image", []), len(SimilarNames([]))) == ((), 0)


def test_names_of_a_directory_are_those_of_its_files_below_and_no_hidden_ones(tmp_path: Path) -> None:
    for name in ("b", "a", "d/e/f", "d/.hidden", ".git/config", ".dot"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    os.symlink("a", tmp_path / "link")
    os.symlink("d", tmp_path / "way")
    os.symlink("nowhere", tmp_path / "dangling")

    assert names_in(str(tmp_path)) == ["a", "b", "d/e/f", "link"]


@pytest.mark.parametrize("odd", [b"caf\xe9.img", b"d\xe9/below", b"back\\slash", b"blank ", b"d/blank ", b" d/below"])
def test_what_cannot_be_asked_for_is_not_offered(tmp_path: Path, odd: bytes) -> None:
    (tmp_path / "file").write_bytes(b"")
    try:
        os.makedirs(os.path.dirname(os.fsencode(tmp_path) + b"/" + odd), exist_ok=True)
        os.mknod(os.fsencode(tmp_path) + b"/" + odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    assert names_in(str(tmp_path)) == ["file"]


def test_what_leads_out_of_the_directory_is_not_offered(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    (tmp_path / "top").mkdir()
    os.symlink("../secret", tmp_path / "top" / "out")

    assert names_in(str(tmp_path / "top")) == []


def test_what_is_near_the_top_is_looked_at_first_and_no_more_than_so_many(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "deep" / f"{number:02}").mkdir(parents=True)
        (tmp_path / "deep" / f"{number:02}" / "file").write_bytes(b"")
    (tmp_path / "zlast").write_bytes(b"")

    names = names_in(str(tmp_path), 30)

    assert "zlast" in names
    assert len(names) < 20
    assert MOST_NAMES >= 500


def test_a_directory_that_is_not_there_has_no_names(tmp_path: Path) -> None:
    assert names_in(str(tmp_path / "missing")) == []
