"""Claims about directories that are swapped or moved while a call is under way: nothing outside the root is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from httpserve.errors import HttpServeError, InvalidName, NotFound, StorageError
from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor
from httpserve.storage.facade import Storage
from httpserve.storage.served import Listeners


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the root, with a file in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "f").write_text("precious")
    return outside


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    (top / "d").mkdir(parents=True)
    (top / "d" / "f").write_text("inside")
    return top


@pytest.fixture
def root(top: Path) -> Iterator[Root]:
    root = Root(top, remove_created=False).open()
    yield root
    root.close()


def swap(top: Path, outside: Path) -> None:
    """Put a symlink in the place of a directory."""
    os.rename(top / "d", top / "was")
    os.symlink(outside, top / "d")


def files(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize("how", ["a symlink takes its place", "it is moved out of the root", "it is moved inside"])
def test_a_version_whose_directory_goes_away_meanwhile_is_put_nowhere(
    root: Root, top: Path, outside: Path, tmp_path: Path, how: str
) -> None:
    incoming = root.incoming("d/f")
    incoming.write(b"new")
    moved = tmp_path / "moved" if "out of" in how else top / "was"
    os.rename(top / "d", moved)
    if "symlink" in how:
        os.symlink(outside, top / "d")

    with pytest.raises(NotFound, match="write 'd/f': its directory was moved or removed meanwhile"):
        incoming.commit(None)

    assert files(moved) == {"f": "inside"}
    assert files(outside) == {"f": "precious"}


def test_a_directory_that_is_moved_out_just_before_a_version_is_put_there_gets_none(
    top: Path, outside: Path, tmp_path: Path
) -> None:
    root = Root(top, listeners=Listeners(before_publish=lambda name: os.rename(top / "d", tmp_path / "moved"))).open()

    with pytest.raises(StorageError), root.incoming("d/f") as incoming:
        incoming.commit(None)
    root.close()

    assert files(tmp_path / "moved") == {"f": "inside"}


def test_a_directory_that_is_swapped_just_before_a_move_is_neither_source_nor_target(top: Path, outside: Path) -> None:
    for source, target in (("d/f", "g"), ("mine", "d/mine")):
        (top / "mine").write_text("mine")
        root = Root(top, listeners=Listeners(before_publish=lambda name: swap(top, outside))).open()

        with pytest.raises((StorageError, InvalidName)):
            root.changes.rename(source, target)
        root.close()

        assert files(outside) == {"f": "precious"}
        (top / "d").unlink()
        os.rename(top / "was", top / "d")


def test_a_root_that_is_replaced_by_a_symlink_is_not_followed(
    root: Root, top: Path, outside: Path, tmp_path: Path
) -> None:
    storage = Storage(DirectoryAccessor(root), timeout=5.0)
    os.rename(top, tmp_path / "away")
    os.symlink(outside, top)
    calls: list[Callable[[], object]] = [
        lambda: storage.write_bytes("new", b"x"),
        lambda: storage.create_dir("new/"),
        lambda: storage.delete("f"),
        lambda: storage.remove_all("f"),
        lambda: storage.rename("f", "g"),
        lambda: storage.copy("f", "g"),
        lambda: storage.read_bytes("f"),
        lambda: storage.stat("f"),
    ]

    for call in calls:
        with pytest.raises((StorageError, InvalidName)):
            call()

    storage.remove_all("/")
    assert not storage.exists("f")
    assert "f" not in storage.list("/")
    assert files(outside) == {"f": "precious"}


def test_symlinks_that_stay_inside_lead_on_however_they_are_written(root: Root, top: Path) -> None:
    (top / "a" / "b").mkdir(parents=True)
    (top / "a" / "up").symlink_to("../d")
    (top / "a" / "absolute").symlink_to(top / "d")
    (top / "a" / "chain").symlink_to("up")
    (top / "a" / "self").symlink_to("../.")
    (top / "new").symlink_to("not/there")
    storage = Storage(DirectoryAccessor(root), timeout=5.0)

    for number, way in enumerate(["a/up", "a/absolute", "a/chain", "a/self/d", "a/self/a/chain"]):
        storage.write_bytes(f"{way}/{number}", b"x")
        assert storage.read_bytes(f"d/{number}") == b"x"
        assert storage.list(f"{way}/")[0] == f"{way}/"
    storage.write_bytes("new/f", b"x")

    assert (top / "not" / "there" / "f").read_text() == "x"
    assert storage.exists("a/self/")


def test_symlinks_in_a_circle_are_an_error_of_ours(root: Root, top: Path) -> None:
    (top / "one").symlink_to("two")
    (top / "two").symlink_to("one")
    storage = Storage(DirectoryAccessor(root), timeout=5.0)

    for call in (lambda: storage.write_bytes("one/f", b"x"), lambda: storage.stat("one"), lambda: storage.list("one/")):
        with pytest.raises(InvalidName, match="in a circle"):
            call()
    assert "one" not in storage.list("/")


def test_remove_all_leaves_a_directory_that_was_moved_out_of_the_root(
    root: Root, top: Path, outside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (top / "tree" / "deep").mkdir(parents=True)
    for number in range(5):
        (top / "tree" / "deep" / f"{number}").write_text("x")
    unlink = os.unlink

    def move_away(name: str, *, dir_fd: int | None = None) -> None:
        unlink(name, dir_fd=dir_fd)
        if (top / "tree" / "deep").exists():
            os.rename(top / "tree" / "deep", outside / "deep")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", move_away)
        with pytest.raises(HttpServeError):
            root.changes.remove_all("tree")

    assert len(list((outside / "deep").iterdir())) == 4
    assert (outside / "f").exists()


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_no_call_leaves_a_descriptor_whether_it_succeeds_or_not(root: Root, top: Path, outside: Path) -> None:
    storage = Storage(DirectoryAccessor(root), timeout=5.0)
    (top / "out").symlink_to(outside)
    (top / "loop").symlink_to("loop")
    storage.write_bytes("first", b"x")  # the journal stays open
    before = sorted(os.listdir("/proc/self/fd"))

    for name in ("d/f", "new/deep/f", "d", "d/f/below", "out/f", "out", "loop", "loop/f", "missing", "x" * 300):
        for call in (
            partial(storage.write_bytes, name, b"x"),
            partial(storage.copy, "first", name),
            partial(storage.rename, name, f"{name}-moved"),
            partial(storage.rename, f"{name}-moved", name),
            partial(storage.stat, name),
            partial(storage.scan, f"{name}/"),
            partial(storage.create_dir, f"{name}/"),
            partial(storage.delete, name),
            partial(storage.remove_all, name),
        ):
            try:
                call()
            except HttpServeError:
                pass

    assert sorted(os.listdir("/proc/self/fd")) == before


# Special files


def test_no_call_opens_a_fifo(root: Root, top: Path) -> None:
    storage = Storage(DirectoryAccessor(root), timeout=5.0)
    os.mkfifo(top / "fifo")
    os.symlink("fifo", top / "link")
    reader = os.open(top / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(top / "fifo", os.O_WRONLY | os.O_NONBLOCK)
    os.close(reader)  # from here on a write raises, as long as nobody opens it to read

    for name in ("fifo", "link"):
        for call in (storage.read_bytes, storage.hash):
            with pytest.raises(StorageError, match="not a regular file"):
                call(name)
        with pytest.raises(StorageError):
            storage.copy(name, "copy")
        assert storage.exists(name)
        assert not storage.stat(name).is_file
        assert name in storage.list("/")

    with pytest.raises(BrokenPipeError):
        os.write(writer, b"x")
    os.close(writer)
