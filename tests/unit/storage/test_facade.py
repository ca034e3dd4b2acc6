"""Claims about `client.storage`: Jumpstarter's contract first, then what is ours."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import opendal
import pytest

from httpserve.errors import (
    AlreadyExists,
    DigestMismatch,
    HttpServeError,
    InvalidArgument,
    InvalidName,
    InvalidType,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    SourceNotFound,
    StorageError,
    Unsupported,
)
from httpserve.storage.directory.root import Root
from httpserve.storage.facade import Storage
from tests.cases import each
from tests.unit.storage.parts import a_storage, in_threads, on_disk

HELLO = hashlib.sha256(b"hello").hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path / "root")
    yield root
    root.close()


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Of the directory `root`, or with `--roots store` of a place on a store."""
    yield from a_storage(request)


# Jumpstarter's contract


def test_what_is_written_is_read(storage: Storage) -> None:
    storage.write_bytes("file.txt", b"hello")

    assert storage.read_bytes("file.txt") == b"hello"
    assert storage.hash("file.txt", "md5") == hashlib.md5(b"hello").hexdigest()
    assert storage.hash("file.txt", "sha256") == storage.hash("file.txt") == HELLO


def test_a_local_path_is_copied_in_and_out(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "src").write_bytes(b"hello")

    storage.write_from_path("file.txt", tmp_path / "src")
    storage.read_into_path("file.txt", tmp_path / "dst")

    assert (tmp_path / "dst").read_bytes() == b"hello"


def test_a_path_of_an_operator_is_copied_in_and_out(storage: Storage) -> None:
    operator = opendal.Operator("memory")
    operator.write("src", b"hello")

    storage.write_from_path("file.txt", "src", operator)
    storage.read_into_path("file.txt", "dst", operator)

    assert operator.read("dst") == b"hello"


def test_a_file_is_stated_copied_renamed_and_deleted(storage: Storage) -> None:
    storage.write_bytes("f", b"hello")
    is_file = storage.stat("f").mode.is_file()

    storage.copy("f", "copy")
    copied = storage.exists("copy")
    storage.rename("copy", "renamed")
    renamed = (storage.exists("copy"), storage.exists("renamed"))
    storage.delete("renamed")

    assert is_file
    assert copied
    assert renamed == (False, True)
    assert not storage.exists("renamed")


def test_a_directory_is_made_stated_and_removed(storage: Storage) -> None:
    storage.create_dir("d/")
    is_dir = storage.stat("d/").mode.is_dir()

    storage.remove_all("d/")

    assert is_dir
    assert not storage.exists("d/")


def test_lists_and_scans_begin_with_the_directory_itself(storage: Storage) -> None:
    storage.create_dir("a/b/c/")
    storage.create_dir("d/e/")
    storage.write_bytes("d/f", b"")

    assert storage.list("/") == storage.list("") == storage.list(".") == ["/", "a/", "d/"]
    assert storage.scan("/") == ["/", "a/", "a/b/", "a/b/c/", "d/", "d/e/", "d/f"]
    assert storage.list("d/") == storage.list("/d/") == ["d/", "d/e/", "d/f"]
    assert storage.scan("a/b/") == ["a/b/", "a/b/c/"]


def test_created_resources_are_normalised_names(storage: Storage) -> None:
    for path in ("dir/", "/dir2/", "nested/dir/", "./here/", "//double//slash//path/"):
        storage.create_dir(path)
    storage.write_bytes("/file", b"")
    storage.copy("file", "copied")
    storage.rename("copied", "renamed")

    created = storage.get_created_resources()

    assert created == {"dir", "dir2", "nested/dir", "here", "double/slash/path", "file", "renamed"}


@pytest.mark.local_root("what a store can is its service's")
def test_capability_is_what_is_supported(storage: Storage) -> None:
    capability = storage.capability()

    supported = ("stat", "read", "write", "create_dir", "delete", "copy", "rename", "list")
    assert all(getattr(capability, name) for name in (*supported, "write_can_empty", "write_can_multi"))
    assert not any(getattr(capability, name) for name in ("presign", "presign_read", "write_can_append"))


@pytest.mark.parametrize("method", ["presign_stat", "presign_read", "presign_write"])
@pytest.mark.local_root("a store may sign")
def test_nothing_is_signed(storage: Storage, method: str) -> None:
    with pytest.raises(Unsupported, match=f"{method} 'f': a local directory signs nothing") as caught:
        getattr(storage, method)("f", 100)

    assert isinstance(caught.value, NotImplementedError)


# The root


def test_a_storage_opens_its_root_at_the_first_call(root: Root, storage: Storage, tmp_path: Path) -> None:
    before = (tmp_path / "root").exists()

    empty = storage.list("/")

    assert not before
    assert empty == ["/"]
    assert (tmp_path / "root").is_dir()


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda storage: storage.write_bytes("f", b""), id="write_bytes"),
        pytest.param(lambda storage: storage.store("f", __file__), id="store"),
        pytest.param(lambda storage: storage.create_dir("d/"), id="create_dir"),
        pytest.param(lambda storage: storage.open("f", "wb").close(), id="open"),
    ],
)
def test_every_writing_call_opens_the_root(storage: Storage, root: Root, call: Callable[[Storage], object]) -> None:
    call(storage)

    assert len(root.created()) == 1


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda storage: storage.read_bytes("f"), id="read_bytes"),
        pytest.param(lambda storage: storage.hash("f"), id="hash"),
        pytest.param(lambda storage: storage.stat("f"), id="stat"),
        pytest.param(lambda storage: storage.copy("f", "g"), id="copy"),
        pytest.param(lambda storage: storage.rename("f", "g"), id="rename"),
        pytest.param(lambda storage: storage.rename("f/", "g/"), id="rename 2"),
        pytest.param(lambda storage: storage.read_into_path("f", "/nowhere"), id="read_into_path"),
        pytest.param(lambda storage: storage.open("f", "rb"), id="open"),
    ],
)
def test_what_is_not_there_is_not_found(storage: Storage, call: Callable[[Storage], object]) -> None:
    with pytest.raises(NotFound, match="'f") as caught:
        call(storage)

    assert isinstance(caught.value, FileNotFoundError)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("path", ["nope", "nope/", "nope/x", "f/", "f/x", "f/x/"])
def test_what_is_not_there_is_removed_and_listed_without_an_error(storage: Storage, path: str) -> None:
    storage.write_bytes("f", b"")

    storage.delete(path)
    storage.remove_all(path)

    assert storage.list(path) == storage.scan(path) == []
    assert not storage.exists(path)
    assert storage.exists("f")


def test_what_only_begins_so_is_listed_and_stays(storage: Storage) -> None:
    storage.write_bytes("moved/f", b"")

    storage.remove_all("mov")
    storage.delete("mov")

    assert storage.list("mov") == ["moved/"]
    assert storage.exists("moved/f")


def test_all_of_the_root_can_be_removed(storage: Storage, root: Root) -> None:
    storage.write_bytes("d/f", b"")

    storage.remove_all("/")

    assert storage.scan("/") == ["/"]
    assert storage.exists("/")
    assert storage.get_created_resources() == set()


def test_many_threads_use_one_storage(storage: Storage) -> None:
    failures: list[HttpServeError] = []

    def work(number: int) -> None:
        try:
            for turn in range(10):
                storage.write_bytes(f"d{turn}/{number}", bytes([number]) * 1000)
                storage.copy(f"d{turn}/{number}", f"e/{number}")
                storage.rename(f"d{turn}/{number}", f"same/{turn}")
                storage.scan("/")
        except HttpServeError as error:
            failures.append(error)

    in_threads(work, range(6))

    assert failures == []
    assert len(storage.list("e/")) == 7
    assert len(storage.list("same/")) == 11


# Names


EVERY_METHOD = [
    pytest.param(lambda storage, path: storage.write_bytes(path, b""), id="write_bytes"),
    pytest.param(lambda storage, path: storage.read_bytes(path), id="read_bytes"),
    pytest.param(lambda storage, path: storage.write_from_path(path, __file__), id="write_from_path"),
    pytest.param(lambda storage, path: storage.read_into_path(path, "/nowhere"), id="read_into_path"),
    pytest.param(lambda storage, path: storage.open(path, "rb"), id="open"),
    pytest.param(lambda storage, path: storage.open(path, "wb"), id="open 2"),
    pytest.param(lambda storage, path: storage.stat(path), id="stat"),
    pytest.param(lambda storage, path: storage.hash(path), id="hash"),
    pytest.param(lambda storage, path: storage.copy(path, "x"), id="copy"),
    pytest.param(lambda storage, path: storage.copy("f", path), id="copy 2"),
    pytest.param(lambda storage, path: storage.rename(path, "x"), id="rename"),
    pytest.param(lambda storage, path: storage.rename("f", path), id="rename 2"),
    pytest.param(lambda storage, path: storage.remove_all(path), id="remove_all"),
    pytest.param(lambda storage, path: storage.create_dir(f"{path}/"), id="create_dir"),
    pytest.param(lambda storage, path: storage.delete(path), id="delete"),
    pytest.param(lambda storage, path: storage.exists(path), id="exists"),
    pytest.param(lambda storage, path: storage.list(f"{path}/"), id="list"),
    pytest.param(lambda storage, path: storage.scan(f"{path}/"), id="scan"),
    pytest.param(lambda storage, path: storage.presign_read(path, 1), id="presign_read"),
]


@each("call", EVERY_METHOD)
def test_every_method_refuses_names_that_leave_the_root_or_come_back_changed(
    storage: Storage, call: Callable[[Storage, str], object]
) -> None:
    storage.write_bytes("f", b"")

    for path in ("../x", "a/../b", "a\\b", "a\0b", " a", ".httpserve-x"):
        with pytest.raises(InvalidName):
            call(storage, path)


@pytest.mark.parametrize("call", EVERY_METHOD[:-1])
def test_no_method_follows_a_symlink_that_leads_out(
    storage: Storage, root: Root, tmp_path: Path, call: Callable[[Storage, str], object]
) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "f").write_text("s")
    storage.write_bytes("f", b"")
    os.symlink(tmp_path / "secret", os.path.join(root.path, "out"))
    os.symlink(tmp_path / "secret" / "f", os.path.join(root.path, "file"))

    for path in ("out/f", "file"):
        with pytest.raises(InvalidName):
            call(storage, path)

    assert (tmp_path / "secret" / "f").read_text() == "s"
    assert os.listdir(tmp_path / "secret") == ["f"]


@pytest.mark.parametrize("name", ["a b", "#?%+&", "größe", "日本/語", "a\nb", "x" * 200, ".dot", "a'\"b"])
def test_every_legal_name_comes_back_as_it_was(storage: Storage, name: str) -> None:
    storage.write_bytes(name, b"hello")

    assert storage.read_bytes(name) == b"hello"
    assert [path for path in storage.scan("/") if not path.endswith("/")] == [name]


@pytest.mark.parametrize("path", ["d/", "d/.", "/"])
def test_a_path_with_a_trailing_slash_is_no_files(storage: Storage, path: str) -> None:
    for call in (storage.read_bytes, storage.hash, lambda path: storage.copy(path, "x")):
        with pytest.raises(IsADirectory, match="is a directory's"):
            call(path)
    with pytest.raises(IsADirectory) as caught:
        storage.write_bytes(path, b"")
    assert isinstance(caught.value, IsADirectoryError)


# Errors


def test_a_file_and_a_directory_are_not_taken_for_each_other(storage: Storage) -> None:
    storage.write_bytes("f", b"")
    storage.create_dir("d/")

    with pytest.raises(IsADirectory, match="'d'"):
        storage.write_bytes("d", b"")
    with pytest.raises(IsADirectory, match="'d'"):
        storage.read_bytes("d")
    with pytest.raises(NotADirectory, match="stat 'f'"):
        storage.stat("f/")
    with pytest.raises(NotADirectory, match="write 'f/x'"):
        storage.write_bytes("f/x", b"")
    with pytest.raises(NotADirectory, match="create_dir 'x'"):
        storage.create_dir("x")
    with pytest.raises(AlreadyExists, match="create_dir 'f'"):
        storage.create_dir("f/")
    with pytest.raises(NotADirectory, match="create_dir 'f/d'"):
        storage.create_dir("f/d/")
    with pytest.raises(NotADirectory, match="rename 'f'"):
        storage.rename("f", "g/")
    with pytest.raises(IsADirectory, match="rename 'f' to 'd'"):
        storage.rename("f", "d")
    with pytest.raises(StorageError, match="rename 'd'"):
        storage.rename("d", "d/below")
    assert not storage.exists("f/")
    assert storage.exists("d")


def test_a_directory_that_is_not_empty_is_not_deleted(storage: Storage) -> None:
    storage.write_bytes("d/f", b"")

    for path in ("d", "d/"):
        with pytest.raises(StorageError, match=r"delete 'd': .*not empty"):
            storage.delete(path)
    storage.delete("d/f")
    storage.delete("d/")

    assert storage.list("/") == ["/"]


def test_the_root_is_neither_deleted_nor_moved(storage: Storage) -> None:
    with pytest.raises(NotPermitted, match="delete '/'"):
        storage.delete("/")
    for source, target in (("/", "x/"), ("x/", "/")):
        with pytest.raises(NotPermitted, match="keeps its place"):
            storage.rename(source, target)


def test_a_file_is_not_copied_or_moved_onto_itself(storage: Storage) -> None:
    storage.write_bytes("f", b"hello")

    for call in (storage.copy, storage.rename):
        with pytest.raises(StorageError, match="source and target are the same"):
            call("f", "./f")
    assert storage.read_bytes("f") == b"hello"


@pytest.mark.parametrize("mode", ["r", "w", "ab", "r+b", ""])
def test_other_modes_are_refused(storage: Storage, mode: Any) -> None:
    with pytest.raises(InvalidArgument, match="'rb' or 'wb'"):
        storage.open("f", mode)


def test_other_algorithms_are_refused(storage: Storage) -> None:
    with pytest.raises(InvalidArgument, match="sha1"):
        storage.hash("f", cast("Any", "sha1"))


def test_text_is_not_written(storage: Storage, root: Root) -> None:
    with pytest.raises(InvalidType, match="write 'f'"):
        storage.write_bytes("f", cast("bytes", "text"))

    assert on_disk(root) == []


# What is there


@pytest.mark.local_root("it compares with an operator on that directory")
def test_metadata_has_the_attributes_of_opendals(storage: Storage, tmp_path: Path) -> None:
    storage.write_bytes("d/f", b"hello")
    theirs = opendal.Operator("fs", root=str(tmp_path / "root")).stat("d/f")

    ours = storage.stat("d/f")

    for name in (name for name in dir(theirs) if not name.startswith("_")):
        value = getattr(ours, name)
        if name != "etag":
            assert value == getattr(theirs, name), name
    assert ours.etag == f'"{HELLO}"'
    assert datetime.now(UTC) - ours.last_modified < timedelta(minutes=1)


def test_a_directory_has_no_length(storage: Storage) -> None:
    storage.create_dir("d/")

    for path in ("d", "d/", "/"):
        found = storage.stat(path)

        assert (found.is_dir, found.is_file, found.content_length, found.etag) == (True, False, 0, None)


def test_a_file_of_other_hands_has_no_etag_here(storage: Storage, root: Root) -> None:
    root.open()
    Path(root.path, "f").write_bytes(b"hello")

    assert storage.stat("f").etag is None
    assert storage.hash("f") == HELLO
    assert storage.get_created_resources() == set()


def test_a_path_without_a_slash_lists_what_begins_so_as_opendal_does(storage: Storage, root: Root) -> None:
    for path in ("d/x", "dd", "e", "d.txt"):
        storage.write_bytes(path, b"")
    opendals = opendal.Operator("fs", root=root.path)

    for path in ("d", "d/x", "e", "nope", "nope/x"):
        assert storage.list(path) == sorted(entry.path for entry in opendals.list(path))
        assert storage.scan(path) == sorted(entry.path for entry in opendals.scan(path))


def test_lists_show_only_what_can_be_asked_for(storage: Storage, root: Root, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    storage.write_bytes("d/f", b"")
    file = storage.open("coming", "wb")
    base = os.fsencode(root.path)
    for weird in (b" blank", b"back\\slash", b"no-utf8-\xff", b"fifo"):
        os.mkfifo(base + b"/" + weird)
    for name, target in (("in", "d"), ("out", str(tmp_path / "secret")), ("dangling", "x"), ("loop", "loop")):
        os.symlink(target, os.path.join(root.path, name))

    found = storage.scan("/")
    file.discard()

    assert found == ["/", "d/", "d/f", "fifo", "in/"]
    assert not storage.stat("fifo").is_file


def test_a_directory_is_listed_by_way_of_a_symlink_inside_the_root(storage: Storage, root: Root) -> None:
    storage.write_bytes("d/f", b"")
    os.symlink("d", os.path.join(root.path, "in"))
    os.symlink("..", os.path.join(root.path, "d", "up"))

    assert storage.scan("in/") == ["in/", "in/f", "in/up/"]


@pytest.mark.local_root("an error of the file system")
def test_listing_without_permission_is_not_permitted(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    def scandir(path: str) -> Iterator[object]:
        raise PermissionError(13, "Permission denied")

    storage.create_dir("d/")
    monkeypatch.setattr(os, "scandir", scandir)

    with pytest.raises(NotPermitted, match="scan 'd': permission denied"):
        storage.scan("d/")


# Copying


def test_store_returns_the_digest(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "src").write_bytes(b"hello")
    seen: list[tuple[int, int | None]] = []

    digest = storage.store(
        "d/f", tmp_path / "src", sha256=HELLO.upper(), progress=lambda *args: seen.append(args), timeout=20.0
    )

    assert digest == HELLO
    assert seen[-1] == (5, 5)
    assert storage.stat("d/f").etag == f'"{HELLO}"'


def test_what_fails_to_come_in_leaves_the_old_file_and_no_litter(storage: Storage, root: Root, tmp_path: Path) -> None:
    (tmp_path / "src").write_bytes(b"hello")
    storage.write_bytes("f", b"old")

    with pytest.raises(DigestMismatch) as mismatch:
        storage.store("f", tmp_path / "src", sha256="0" * 64)
    with pytest.raises(SourceNotFound) as missing:
        storage.write_from_path("new/f", tmp_path / "missing")
    with pytest.raises(IsADirectory):
        storage.write_from_path("/", tmp_path / "src")

    assert mismatch.value.name == "f"
    assert missing.value.name == ""
    assert storage.read_bytes("f") == b"old"
    assert on_disk(root) == ["f"]


def test_a_copy_takes_content_and_digest_along_in_one_step(storage: Storage) -> None:
    storage.write_bytes("f", b"hello" * 100_000)
    storage.write_bytes("g", b"old")

    storage.copy("f", "g")

    assert storage.read_bytes("g") == b"hello" * 100_000
    assert storage.stat("g").etag == storage.stat("f").etag is not None
    assert storage.get_created_resources() == {"f", "g"}


@pytest.mark.local_root("a store has no version but the latest")
def test_an_open_file_stays_the_version_that_it_was(storage: Storage) -> None:
    storage.write_bytes("g", b"old")

    with storage.open("g", "rb") as reader:
        storage.write_bytes("g", b"new")
        old = reader.read()

    assert old == b"old"


def test_a_source_that_changes_while_it_is_copied_is_not_published(
    storage: Storage, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    def copy_file_range(source: int, target: int, count: int) -> int:
        Path(root.path, "f").write_bytes(b"changed")
        return 0

    storage.write_bytes("f", b"hello")
    monkeypatch.setattr(os, "copy_file_range", copy_file_range)

    with pytest.raises(StorageError, match="copy 'f': it changed"):
        storage.copy("f", "new/g")

    assert on_disk(root) == ["f"]


def test_a_directory_is_renamed_with_all_in_it(storage: Storage) -> None:
    storage.write_bytes("d/e/f", b"hello")

    storage.rename("d/", "n/m/")

    assert storage.scan("/") == ["/", "n/", "n/m/", "n/m/e/", "n/m/e/f"]
    assert storage.get_created_resources() == {"n/m/e/f"}


def test_a_forked_child_can_still_use_the_storage(tmp_path: Path) -> None:
    script = f"""
import os
from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor
from httpserve.storage.facade import Storage

storage = Storage(DirectoryAccessor(Root({str(tmp_path)!r})), timeout=5.0)
storage.write_bytes("f", b"hello")
child = os.fork()
if child == 0:
    os._exit(len(storage.read_bytes("f")) + len(storage.list("/")))
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=30, cwd=Path(__file__).parents[3]
    )

    assert (answer.stdout, answer.stderr) == (b"7\n", b"")
