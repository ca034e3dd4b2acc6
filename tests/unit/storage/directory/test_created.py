"""Claims about what is on record as created, and what close removes."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.errors import IsADirectory, NotFound, StorageError
from httpserve.storage.directory.generations import generation_of
from httpserve.storage.directory.root import Root
from tests.unit.storage.parts import in_threads, left, put


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path).open()
    yield root
    root.close()


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "httpserve")
    return caplog


def sha256(root: Root, name: str) -> str | None:
    file = root.open_file(name)
    file.close()
    return file.sha256


# What close removes


def test_close_removes_files_and_the_directories_made_for_them(root: Root, tmp_path: Path) -> None:
    put(root, "a/b/f")
    put(root, "g")
    root.changes.create_dir("d/e")

    root.close()

    assert left(tmp_path) == []


def test_close_leaves_what_was_there_before(root: Root, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").write_text("x")
    put(root, "d/new")
    root.changes.create_dir("d")

    root.close()

    assert left(tmp_path) == ["d", "d/old"]


def test_close_leaves_a_directory_of_ours_in_which_others_put_files(
    root: Root, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    put(root, "d/f")
    root.changes.create_dir("e")
    (tmp_path / "d" / "theirs").write_text("x")
    (tmp_path / "e" / "theirs").write_text("x")

    root.close()

    assert left(tmp_path) == ["d", "d/theirs", "e", "e/theirs"]
    assert "left directory e: it is not empty" in log.messages


def test_close_leaves_an_overwritten_file_with_a_log_line(
    root: Root, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "f").write_text("old")
    put(root, "f", b"new")
    put(root, "f", b"newer")
    created = root.created()

    root.close()

    assert created == set()
    assert (tmp_path / "f").read_text() == "newer"
    assert "left f: it was there before, and was overwritten" in log.messages


def test_close_removes_a_file_that_was_put_again(root: Root, tmp_path: Path) -> None:
    put(root, "f")
    put(root, "f")

    root.close()

    assert left(tmp_path) == []


def test_close_removes_a_file_that_others_edited(root: Root, tmp_path: Path) -> None:
    put(root, "f")
    with open(tmp_path / "f", "ab") as file:
        file.write(b"more")

    root.close()

    assert left(tmp_path) == []


def test_close_leaves_a_file_that_others_replaced(root: Root, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
    put(root, "f")
    (tmp_path / "theirs").write_text("x")
    os.replace(tmp_path / "theirs", tmp_path / "f")

    root.close()

    assert left(tmp_path) == ["f"]
    assert "left f: somebody else replaced it since" in log.messages


def test_close_leaves_a_file_that_others_made_anew_under_the_same_inode_number(root: Root, tmp_path: Path) -> None:
    put(root, "f")
    for _ in range(10):  # ext4 gives the number anew at once, others do not
        number = (tmp_path / "f").stat().st_ino
        (tmp_path / "f").unlink()
        (tmp_path / "f").write_text("theirs")
        if (tmp_path / "f").stat().st_ino == number:
            break

    root.close()

    assert (tmp_path / "f").read_text() == "theirs"


def test_a_file_that_others_replaced_and_we_overwrite_stays_theirs(root: Root, tmp_path: Path) -> None:
    put(root, "f")
    (tmp_path / "theirs").write_text("x")
    os.replace(tmp_path / "theirs", tmp_path / "f")
    put(root, "f")

    root.close()

    assert left(tmp_path) == ["f"]


def test_close_bears_with_what_others_removed(root: Root, tmp_path: Path) -> None:
    put(root, "d/f")
    put(root, "g")
    root.changes.create_dir("h")
    (tmp_path / "d" / "f").unlink()
    (tmp_path / "d").rmdir()
    (tmp_path / "d").write_text("a file now")
    (tmp_path / "g").unlink()

    root.close()

    assert left(tmp_path) == ["d"]


def test_close_follows_no_symlink_that_leads_out_since(
    root: Root, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    put(root, "d/f")
    os.rename(tmp_path / "d", outside)
    (tmp_path / "d").symlink_to(outside)

    root.close()

    assert left(outside) == ["f"]
    assert any("leads out of the root" in message for message in log.messages)


def test_close_removes_nothing_in_a_forked_child(root: Root, tmp_path: Path) -> None:
    put(root, "f")

    child = os.fork()
    if child == 0:
        root.close()
        os._exit(len(left(tmp_path)))  # the file and the journal of its parent
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 2
    assert sha256(root, "f") is not None


def test_a_forked_child_leaves_alone_what_its_parent_is_writing(root: Root, tmp_path: Path) -> None:
    def sizes() -> list[int]:
        return [path.stat().st_size for path in tmp_path.rglob(".httpserve-*")]

    with root.incoming("d/f") as incoming:
        incoming.write(b"data")
        before = sizes()
        child = os.fork()
        if child == 0:
            incoming.discard()
            os._exit(0)
        os.waitpid(child, 0)
        after = sizes()
        incoming.commit(None)

    assert sorted(after) == sorted(before)
    assert len(before) == 2
    assert (tmp_path / "d" / "f").read_bytes() == b"data"


@pytest.mark.parametrize("private", [True, False])
def test_a_forked_child_that_goes_on_removes_what_it_created_itself(tmp_path: Path, private: bool) -> None:
    root = Root(None if private else tmp_path).open()
    put(root, "parents")

    child = os.fork()
    if child == 0:
        root.open()
        put(root, "childs")
        known = sha256(root, "parents") is not None and root.created() == {"childs"}
        root.close()
        os._exit(known)
    _, status = os.waitpid(child, 0)
    there = os.listdir(root.path)
    root.close()

    assert os.waitstatus_to_exitcode(status) == 1
    assert [name for name in there if not name.endswith(".journal")] == ["parents"]


def test_a_root_is_used_again_after_close(root: Root, tmp_path: Path) -> None:
    put(root, "f")
    root.close()
    root.open()
    put(root, "g")

    assert root.created() == {"g"}
    assert not root.came_in("f")


def test_where_the_file_system_has_no_generations_the_number_decides(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    try:
        assert generation_of(reading) is None
    finally:
        os.close(reading)
        os.close(writing)


# What is on record


def test_created_are_the_files_and_directories_asked_for(root: Root) -> None:
    put(root, "a/b/f")
    root.changes.create_dir("d/e")

    assert root.created() == {"a/b/f", "d/e"}


def test_a_directory_asked_for_after_it_was_made_for_a_file_is_created(root: Root) -> None:
    put(root, "d/f")
    root.changes.create_dir("d")
    root.changes.create_dir("d")

    assert root.created() == {"d", "d/f"}


def test_the_root_is_a_directory_already(root: Root) -> None:
    root.changes.create_dir("")

    assert root.created() == set()


def test_many_threads_make_the_same_directories(root: Root, tmp_path: Path) -> None:
    failures: list[OSError] = []

    def work(thread: int) -> None:
        try:
            for number in range(20):
                put(root, f"{number}/d/{thread}")
        except OSError as error:
            failures.append(error)

    in_threads(work, range(4))
    root.close()

    assert failures == []
    assert left(tmp_path) == []


def test_what_was_deleted_is_not_created_any_more(root: Root) -> None:
    put(root, "f")
    put(root, "d/f")
    root.changes.create_dir("e")

    root.changes.delete("f")
    root.changes.delete("e")
    root.changes.remove_all("d")

    assert root.created() == set()
    assert not root.came_in("f")
    assert not root.came_in("d/f")


# Deleting


def test_delete_removes_a_symlink_and_not_what_it_means(root: Root, tmp_path: Path) -> None:
    put(root, "d/f")
    (tmp_path / "link").symlink_to("d")
    (tmp_path / "also").symlink_to("d")

    root.changes.delete("link")
    root.changes.remove_all("also")

    assert root.created() == {"d/f"}
    assert not (tmp_path / "link").is_symlink()
    assert not (tmp_path / "also").is_symlink()


def test_remove_all_takes_a_deep_tree_and_follows_no_symlink(root: Root, tmp_path: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    put(root, "/".join(["d", *"e" * 1500, "f"]))
    (tmp_path / "d" / "link").symlink_to(outside)

    root.changes.remove_all("d")

    assert root.created() == set()
    assert not (tmp_path / "d").exists()
    assert (outside / "kept").exists()


def test_remove_all_of_the_root_keeps_the_root_and_its_journal(root: Root, tmp_path: Path) -> None:
    put(root, "d/f")
    (tmp_path / "theirs").write_text("x")

    root.changes.remove_all("")

    assert root.created() == set()
    assert [name[:11] for name in left(tmp_path)] == [".httpserve-"]


def test_remove_all_leaves_what_is_on_its_way_in(root: Root, tmp_path: Path) -> None:
    put(root, "d/f")
    with root.incoming("d/g") as incoming:
        incoming.write(b"x")

        root.changes.remove_all("d")
        incoming.commit(None)

    assert left(tmp_path / "d") == ["g"]
    root.close()
    assert left(tmp_path) == []


def test_remove_all_says_what_it_may_not_remove(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def rmdir(path: str, *, dir_fd: int | None = None) -> None:
        raise PermissionError(13, "Permission denied")

    root.changes.create_dir("d")
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", rmdir)

        with pytest.raises(StorageError, match="remove_all 'd': permission denied"):
            root.changes.remove_all("d")


# Renaming


def test_rename_takes_record_and_digest_along(root: Root, tmp_path: Path) -> None:
    put(root, "f")

    root.changes.rename("f", "new/g")

    assert root.created() == {"new/g"}
    assert sha256(root, "new/g") is not None
    assert not root.came_in("f")
    root.close()
    assert left(tmp_path) == []


def test_rename_of_a_directory_takes_all_below_along(root: Root, tmp_path: Path) -> None:
    put(root, "d/e/f")
    root.changes.create_dir("d/x")

    root.changes.rename("d", "n")

    assert root.created() == {"n/e/f", "n/x"}
    assert sha256(root, "n/e/f") is not None
    root.close()
    assert left(tmp_path) == []


def test_rename_of_what_was_there_before_makes_nothing_ours(root: Root, tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("x")
    put(root, "ours")

    root.changes.rename("theirs", "ours")

    assert root.created() == set()
    root.close()
    assert (tmp_path / "ours").read_text() == "x"


def test_rename_over_what_was_there_before_is_left_in_place(
    root: Root, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "theirs").write_text("x")
    put(root, "ours", b"new")

    root.changes.rename("ours", "theirs")

    assert root.created() == set()
    assert sha256(root, "theirs") == hashlib.sha256(b"new").hexdigest()
    root.close()
    assert left(tmp_path) == ["theirs"]
    assert "left theirs: it was there before, and was overwritten" in log.messages


def test_rename_over_a_file_of_ours_stays_ours(root: Root, tmp_path: Path) -> None:
    put(root, "f", b"new")
    put(root, "g", b"old")

    root.changes.rename("f", "g")

    assert root.created() == {"g"}
    root.close()
    assert left(tmp_path) == []


def test_rename_of_a_file_changed_by_others_does_not_revive_its_digest(root: Root, tmp_path: Path) -> None:
    put(root, "f", b"data")
    (tmp_path / "f").write_bytes(b"other data")

    root.changes.rename("f", "g")

    assert sha256(root, "g") is None


def test_rename_of_what_is_not_there_is_not_found(root: Root, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="rename 'f' to 'new/g'"):
        root.changes.rename("f", "new/g")

    assert not (tmp_path / "new").exists()


def test_a_rename_that_fails_leaves_no_directory(root: Root, tmp_path: Path) -> None:
    root.changes.create_dir("d")
    put(root, "f")

    with pytest.raises(StorageError, match="rename 'd' to 'd/e/f': invalid argument"):
        root.changes.rename("d", "d/e/f")
    with pytest.raises(IsADirectory, match="rename 'f' to 'd'"):
        root.changes.rename("f", "d")

    assert left(tmp_path / "d") == []
