"""Claims about emptying a directory: all of it goes, and nothing outside, whatever others do meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.storage.directory.emptying import emptied
from tests.unit.storage.parts import left


@pytest.fixture
def top(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top").mkdir()
    fd = os.open(tmp_path / "top", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_tree_deeper_than_calls_can_nest_and_paths_can_be_long_goes_whole(tmp_path: Path, top: int) -> None:
    here = os.dup(top)
    for _ in range(3000):
        os.mkdir("directory", dir_fd=here)
        below = os.open("directory", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)

    assert emptied(top)
    assert os.listdir(top) == []


def test_what_is_to_be_kept_stays_at_the_top_only(tmp_path: Path, top: int) -> None:
    (tmp_path / "top" / "a" / "kept").mkdir(parents=True)
    (tmp_path / "top" / "kept").write_text("x")

    assert emptied(top, keep="kept")
    assert os.listdir(top) == ["kept"]


def test_a_directory_in_use_stays_with_all_that_is_in_it(tmp_path: Path, top: int) -> None:
    for name in ("a/used/below/file", "a/file", "b/file"):
        (tmp_path / "top" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "top" / name).write_text("x")
    (tmp_path / "top" / "a" / "used" / "mark").write_text("x")

    assert not emptied(top, is_in_use=lambda fd, names: "mark" in names)
    assert left(tmp_path / "top") == ["a", "a/used", "a/used/below", "a/used/below/file", "a/used/mark"]


@pytest.mark.parametrize("by", ["nothing", "a symlink"])
def test_a_directory_that_is_moved_away_under_way_takes_nothing_else_with_it(tmp_path: Path, top: int, by: str) -> None:
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "kept").write_text("x")
    (outside / "deep" / "kept").write_text("x")
    (tmp_path / "top" / "a" / "deep").mkdir(parents=True)
    (tmp_path / "top" / "a" / "deep" / "mark").write_text("x")

    def move(fd: int, names: list[str]) -> bool:
        if "mark" in names:
            (tmp_path / "top" / "a" / "deep").rename(outside / "moved")
            if by == "a symlink":
                (tmp_path / "top" / "a").rmdir()
                (tmp_path / "top" / "a").symlink_to(outside)
        return False

    assert not emptied(top, is_in_use=move)
    assert left(outside) == ["deep", "deep/kept", "kept", "moved"]
