"""Claims about a root with files and directories beside it that are served where they lie."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from httpserve.errors import (
    AlreadyExists,
    HttpServeError,
    InvalidArgument,
    InvalidName,
    InvalidType,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
)
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.root import Root
from httpserve.storage.joined import Joined
from tests.unit.storage.parts import put


@pytest.fixture
def joined(tmp_path: Path) -> Iterator[Joined]:
    root = Root(tmp_path / "root")
    joined = Joined(root)
    joined.open()
    put(root, "boot/zImage", b"of the root")
    yield joined
    joined.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A directory with files, which others write."""
    out = tmp_path / "out"
    (out / "dtb").mkdir(parents=True)
    (out / "board.img").write_bytes(b"image")
    (out / "dtb" / "board.dtb").write_bytes(b"tree")
    (out / ".config").write_bytes(b"hidden")
    return out


def serve(joined: Joined, name: str, path: Path | str) -> None:
    joined.serve(name, path, is_directory=False)


def read(joined: Joined, name: str) -> bytes:
    with contextlib.closing(opened(joined, name)) as file:
        assert file.name == name
        assert joined.status(name).identity == file.identity
        return os.pread(file.fd, 100, 0)


def opened(joined: Joined, name: str) -> OpenFile:
    file = joined.open_to_serve(name, may_block=True)
    assert isinstance(file, OpenFile)
    return file


def names(joined: Joined, directory: str, is_wanted: Callable[[str], bool] = lambda last: True) -> list[str]:
    found = joined.entries(directory, is_wanted)
    assert len({entry.name for entry in found}) == len(found)
    return sorted(f"{entry.name}/" if entry.is_dir else entry.name for entry in found)


def test_each_name_belongs_to_the_nearest_of_those_above_it(joined: Joined, out: Path) -> None:
    serve(joined, "boot/board.img", out / "board.img")
    serve(joined, "deep/er/out", out)
    serve(joined, "deep/er/out/dtb/other.dtb", out / "dtb" / "board.dtb")

    assert read(joined, "boot/zImage") == b"of the root"
    assert read(joined, "boot/board.img") == b"image"
    assert read(joined, "deep/er/out/dtb/board.dtb") == read(joined, "deep/er/out/dtb/other.dtb") == b"tree"
    assert names(joined, "") == ["boot/", "deep/"]
    assert names(joined, "boot") == ["board.img", "zImage"]
    assert names(joined, "deep") == ["er/"]
    assert names(joined, "deep/er") == ["out/"]
    assert names(joined, "deep/er/out") == [".config", "board.img", "dtb/"]
    assert names(joined, "deep/er/out/dtb") == ["board.dtb", "other.dtb"]
    assert names(joined, "boot", "zImage".__eq__) == ["zImage"]
    for directory in ("deep", "deep/er", "deep/er/out", "deep/er/out/dtb", "boot"):
        with pytest.raises(IsADirectory) as raised:
            joined.open_to_serve(directory, may_block=True)
        assert raised.value.name == directory


def test_a_replaced_file_is_a_new_version_and_one_that_is_gone_is_not_found(joined: Joined, out: Path) -> None:
    serve(joined, "board.img", out / "board.img")
    serve(joined, "out", out)
    before = joined.status("board.img")
    file = opened(joined, "out/board.img")
    again = joined.again(file)
    assert again is not None
    assert again.is_unchanged()

    (out / "new").write_bytes(b"second")
    os.replace(out / "new", out / "board.img")

    assert read(joined, "board.img") == read(joined, "out/board.img") == b"second"
    assert joined.status("board.img").identity != before.identity
    assert not again.is_unchanged()
    (out / "board.img").unlink()
    for name in ("board.img", "out/board.img", "board.img/below", "out/none"):
        with pytest.raises(NotFound) as raised:
            joined.open_to_serve(name, may_block=True)
        assert raised.value.name == name
    assert names(joined, "") == ["boot/", "out/"]
    (out / "board.img").mkdir()  # a directory is not what was served
    with pytest.raises(NotFound):
        joined.status("board.img")
    file.close()


def test_serving_again_replaces_and_unserving_ends_it(joined: Joined, out: Path) -> None:
    serve(joined, "Image", out / "board.img")
    file = opened(joined, "Image")
    again = joined.again(file)
    assert again is not None
    assert again.open()[1] == 5

    assert joined.serve("Image", out / "board.img", is_directory=False) is None  # as it is already
    assert again.read(memoryview(bytearray(5)))
    serve(joined, "Image", out / "dtb" / "board.dtb")

    assert read(joined, "Image") == b"tree"
    assert (again.read(memoryview(bytearray(5))), again.is_unchanged(), again.open()) == (False, False, (None, 0))
    assert os.pread(file.fd, 9, 0) == b"image"  # what is under way ends as it began
    assert joined.unserve("Image")
    assert not joined.unserve("Image")
    with pytest.raises(NotFound):
        joined.status("Image")
    assert names(joined, "") == ["boot/"]
    file.close()


def test_symlinks_are_followed_as_in_a_root(joined: Joined, out: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (out / "latest").symlink_to("board.img")
    (out / "way-out").symlink_to(tmp_path / "secret")
    (tmp_path / "link").symlink_to(out / "board.img")
    elsewhere = tmp_path / "links"
    elsewhere.mkdir()
    (elsewhere / "Image").symlink_to(out / "board.img")
    serve(joined, "out", out)
    serve(joined, "latest", out / "latest")
    serve(joined, "Image", elsewhere / "Image")  # the user says so: it is followed once

    assert read(joined, "out/latest") == read(joined, "latest") == read(joined, "Image") == b"image"
    with pytest.raises(InvalidName, match=r"'out/way-out' .* a symlink leads out"):
        joined.open_to_serve("out/way-out", may_block=True)
    (out / "latest").unlink()
    (out / "latest").symlink_to("dtb/board.dtb")
    assert read(joined, "latest") == b"tree"
    (out / "latest").unlink()
    (out / "latest").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidName):
        joined.open_to_serve("latest", may_block=True)
    (out / "board.img").unlink()
    (out / "board.img").write_bytes(b"replaced")
    assert read(joined, "Image") == b"replaced"


def test_dots_of_the_name_are_asked_for_and_those_below_are_not(joined: Joined, out: Path) -> None:
    serve(joined, ".well-known/out", out)

    shown = [name for name in ("", "/out", "/out/board.img", "/out/.config") if joined.came_in(f".well-known{name}")]

    assert shown == ["", "/out", "/out/board.img"]


CASES: dict[str, tuple[str, Callable[[Path], object], type[HttpServeError], str]] = {
    "a file of the root": ("boot/zImage", lambda out: out, AlreadyExists, "there is a file of that name already"),
    "a directory of the root": ("boot", lambda out: out, AlreadyExists, "a directory of that name"),
    "below a file of the root": ("boot/zImage/x", lambda out: out, NotADirectory, "'boot/zImage' is a file"),
    "below a file in place": ("Image/x", lambda out: out, NotADirectory, "'Image' is a file"),
    "a file of a directory in place": ("out/board.img", lambda out: out, AlreadyExists, "there is a file"),
    "nothing": ("new", lambda out: out / "board.imh", NotFound, "no file or directory .* there is .*board.img'"),
    "a device": ("new", lambda out: "/dev/null", NotPermitted, "neither a directory nor a regular file"),
    "a URL": ("new", lambda out: "http://host/x", InvalidArgument, "is a URL; put_file"),
    "a URL with a secret": ("new", lambda out: "http://me:key@host/x?key", InvalidArgument, "'http://host/x' is a URL"),
    "half a URL": ("new", lambda out: "http://[::1/x", InvalidArgument, "'http://…' is a URL"),
    "a tilde": ("new", lambda out: "~/x", InvalidArgument, "expanduser"),
    "empty": ("new", lambda out: "", InvalidArgument, "'' is not a path"),
    "no path": ("new", lambda out: 5, InvalidType, "not 5"),
}


def test_what_cannot_be_served_is_told_and_changes_nothing(joined: Joined, out: Path) -> None:
    serve(joined, "out", out)
    serve(joined, "Image", out / "board.img")

    for label, (name, path, kind, text) in CASES.items():
        with pytest.raises(kind, match=text):
            joined.serve(name, path(out), is_directory=False)  # type: ignore[arg-type]  # one is no path
        assert set(joined.in_place) == {"out", "Image"}, label
    with pytest.raises(InvalidName, match="ends in '/' as directories do"):
        joined.serve("new", out / "board.img", is_directory=True)
