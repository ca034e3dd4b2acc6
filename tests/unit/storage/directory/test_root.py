"""Claims about the root: opening it, reading from it, and what comes in."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import resource
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from httpserve.errors import (
    InvalidArgument,
    InvalidName,
    IsADirectory,
    NotFound,
    NotPermitted,
    RootUnusable,
    StorageError,
)
from httpserve.storage.directory import root as root_module
from httpserve.storage.directory.changes import Changes
from httpserve.storage.directory.root import Root
from httpserve.storage.served import Entry, Identity, Listeners, Status
from tests.cases import each
from tests.unit.storage.parts import in_threads, on_disk, put

NOBODY = 65534


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path / "root").open()
    yield root
    root.close()


@contextmanager
def unprivileged() -> Iterator[Path]:
    """Give a directory, and act as a user whom modes bind, which they do not the superuser."""
    superuser = os.geteuid() == 0
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:  # which any user can reach
        if superuser:
            os.chown(directory, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(directory)
        finally:
            if superuser:
                os.seteuid(0)


def get(root: Root, name: str) -> bytes:
    file = root.open_file(name)
    try:
        return os.read(file.fd, 1 << 20)
    finally:
        file.close()


# Opening


def test_a_root_that_is_only_made_touches_nothing(tmp_path: Path) -> None:
    Root(tmp_path / "root")

    assert not list(tmp_path.iterdir())


def test_open_makes_the_directory_and_close_removes_it_empty(tmp_path: Path) -> None:
    root = Root(tmp_path / "a" / "b")

    root.open()
    made = (tmp_path / "a" / "b").is_dir()
    root.close()

    assert made
    assert not (tmp_path / "a").exists()


def test_a_directory_that_was_there_stays(tmp_path: Path) -> None:
    root = Root(tmp_path)

    root.open()
    root.open()
    root.close()
    root.close()

    assert tmp_path.is_dir()


def test_a_root_keeps_what_it_made_when_told_so(tmp_path: Path) -> None:
    root = Root(tmp_path / "root", remove_created=False)

    root.open()
    put(root, "f")
    root.close()

    assert sorted(path.name for path in (tmp_path / "root").iterdir()) == ["f"]


def test_the_path_is_absolute_and_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    root = Root("link")

    closed = root.path
    root.open()
    opened = root.path
    root.close()

    assert closed == str(tmp_path / "link")
    assert opened == os.path.realpath(tmp_path / "real")


def test_a_relative_path_in_a_directory_that_is_gone_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(NotFound, match=r"'build' leads nowhere: the current directory is gone"):
        Root("build")

    assert Root(tmp_path).path == str(tmp_path)


def test_a_private_root_is_anew_at_each_opening_and_gone_on_close() -> None:
    root = Root(None, remove_created=False)

    paths = []
    for _ in range(2):
        root.open()
        paths.append(root.path)
        put(root, "d/f")
        (Path(root.path) / "others").write_text("")
        root.close()

    assert paths[0] != paths[1]
    assert not any(os.path.exists(path) for path in paths)


def test_a_private_root_has_no_path_while_closed() -> None:
    with pytest.raises(StorageError, match="not open"):
        Root(None).path  # noqa: B018 - which raises


@pytest.mark.parametrize("read_only", [False, True])
def test_a_root_that_is_a_file_is_named_and_left_as_it_was(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "zImage").write_text("x")
    root = Root(tmp_path / "zImage", read_only=read_only)

    with pytest.raises(RootUnusable, match=r"/zImage cannot be served: it is a file.* only='zImage'") as caught:
        root.open()

    assert caught.value.root == str(tmp_path / "zImage")
    (tmp_path / "zImage").unlink()
    (tmp_path / "zImage").mkdir()
    root.open()
    root.close()


def test_a_root_that_was_not_there_is_made_with_a_line_of_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    Root(tmp_path / "Typo" / "dir").open().close()

    with pytest.raises(RootUnusable, match="/Other cannot be served: no such file or directory"):
        Root(tmp_path / "Other", read_only=True).open()
    (tmp_path / "Othre").mkdir()
    with pytest.raises(RootUnusable, match=f"no such file or directory; there is {tmp_path}/Othre$"):
        Root(tmp_path / "Other", read_only=True).open()
    (tmp_path / "Othre").rmdir()

    assert [one.getMessage() for one in caplog.records if "made" in one.getMessage()] == [
        f"made the directory {tmp_path}/Typo/dir, which was not there; close() removes it again where it is empty"
    ]
    assert os.listdir(tmp_path) == []


@each(
    ("given", "text"),
    [
        ("s3://bucket/x?key=y", "root_dir 's3://bucket/x' is a URL; a store is root="),
        ("~/build", "root_dir '~/build': a ~ is not replaced; pass os.path.expanduser(root_dir)"),
    ],
)
def test_what_is_no_path_of_this_computer_is_refused(given: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Root(given)

    assert str(caught.value).startswith(text)


def test_a_root_below_a_file_leaves_no_directory_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    with pytest.raises(RootUnusable, match="pass another directory"):
        Root(tmp_path / "file" / "a" / "b").open()

    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_root_that_cannot_be_written_is_refused() -> None:
    with unprivileged() as directory:
        directory.chmod(0o555)
        try:
            with pytest.raises(RootUnusable, match="not writable"):
                Root(directory).open()
        finally:
            directory.chmod(0o755)


def test_no_place_for_a_private_root_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("x")
    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path / "file"))

        with pytest.raises(RootUnusable, match="pass a directory"):
            Root(None).open()


def test_many_threads_open_a_root_once() -> None:
    root = Root(None)
    paths = set()

    def work(number: int) -> None:
        paths.add(root.open().path)

    in_threads(work, range(8))
    root.close()

    assert len(paths) == 1


def test_a_closed_root_refuses_changes(tmp_path: Path) -> None:
    root = Root(tmp_path)

    for call in (lambda: root.changes, lambda: root.ground, lambda: root.incoming("x")):
        with pytest.raises(StorageError, match="is not open"):
            call()


def test_a_closed_root_has_nothing(tmp_path: Path) -> None:
    root = Root(tmp_path).open()
    identity = put(root, "f")
    root.close()

    for call in (root.open_file, root.status, lambda name: root.digest(name, identity, None)):
        with pytest.raises(NotFound):
            call("f")
    assert not root.came_in("f")
    assert root.digest_on_record("f", identity) is None
    assert root.created() == set()


# Reading


def test_a_file_that_came_in_has_its_digest(root: Root) -> None:
    identity = put(root, "d/f", b"data")

    file = root.open_file("d/f")
    file.close()
    file.close()

    assert (file.name, file.identity) == ("d/f", identity)
    assert file.sha256 == hashlib.sha256(b"data").hexdigest() == root.digest_on_record("d/f", identity)
    assert root.came_in("d/f")


def test_a_file_of_other_hands_has_no_digest(root: Root) -> None:
    Path(root.path, "f").write_text("x")

    for _ in range(2):
        file = root.open_file("f")
        file.close()

        assert file.sha256 is None
    assert not root.came_in("f")


@pytest.mark.parametrize("change", ["write", "replace", "touch"])
def test_a_file_changed_by_other_hands_loses_its_digest(root: Root, change: str) -> None:
    identity = put(root, "f", b"data")
    path = Path(root.path, "f")

    if change == "write":
        path.write_bytes(b"atad")
    elif change == "replace":
        Path(root.path, "g").write_bytes(b"data")
        os.replace(Path(root.path, "g"), path)
    else:
        os.utime(path, ns=(1, 1))
    file = root.open_file("f")
    file.close()

    assert file.sha256 is None
    assert file.identity != identity


def test_a_version_removed_by_other_hands_is_forgotten(root: Root) -> None:
    put(root, "f")

    os.unlink(os.path.join(root.path, "f"))
    with pytest.raises(NotFound):
        root.open_file("f")

    assert not root.came_in("f")


def test_a_socket_is_refused(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")

        with pytest.raises(NotPermitted, match="open 'socket'"):
            root.open_file("socket")


def test_a_file_without_permission_is_not_permitted() -> None:
    with unprivileged() as directory:
        (directory / "f").write_text("x")
        (directory / "f").chmod(0)
        root = Root(directory).open()
        try:
            with pytest.raises(NotPermitted, match="permission denied") as caught:
                root.open_file("f")
        finally:
            root.close()

    assert caught.value.errno == errno.EACCES


# Symlinks


@pytest.mark.parametrize("name", ["file", "dir/secret", "dangling", "dir/new/x"])
def test_nothing_is_written_through_a_symlink_that_leads_out(root: Root, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_text("s")
    os.symlink(tmp_path / "secret", os.path.join(root.path, "file"))
    os.symlink("..", os.path.join(root.path, "dir"))
    os.symlink(tmp_path / "nothing", os.path.join(root.path, "dangling"))

    for call in (root.incoming, root.changes.delete, root.changes.create_dir, root.changes.remove_all):
        with pytest.raises(InvalidName, match="leads out"):
            call(name)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "secret"]


def test_a_file_put_by_way_of_a_symlink_has_its_digest_under_both_names(root: Root) -> None:
    root.changes.create_dir("real")
    os.symlink("real", os.path.join(root.path, "link"))
    put(root, "link/f")

    for name in ("link/f", "real/f"):
        file = root.open_file(name)
        file.close()

        assert file.sha256 == hashlib.sha256(b"data").hexdigest()
    assert root.created() == {"real", "real/f"}


def test_writing_to_a_symlink_replaces_the_symlink(root: Root) -> None:
    put(root, "f", b"old")
    os.symlink("f", os.path.join(root.path, "link"))

    put(root, "link", b"new")

    assert (get(root, "f"), get(root, "link")) == (b"old", b"new")


def test_without_proc_symlinks_are_still_seen(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def readlink(path: str) -> str:
        raise FileNotFoundError(errno.ENOENT, path)

    Path(root.path, "f").write_text("x")
    os.symlink("/etc/passwd", os.path.join(root.path, "out"))
    with monkeypatch.context() as patch:
        patch.setattr(os, "readlink", readlink)

        assert get(root, "f") == b"x"
    monkeypatch.setattr(root_module, "real_path", lambda fd, path: os.path.realpath(path))
    with pytest.raises(InvalidName):
        root.open_file("out")


# Coming in


def test_a_temporary_lies_beside_its_target_under_a_reserved_name(root: Root) -> None:
    with root.incoming("d/f"):
        beside = on_disk(root, "d")

    assert [name[:11] for name in beside] == [".httpserve-"]


def test_a_discard_keeps_parents_that_others_need(root: Root) -> None:
    first = root.incoming("d/f")
    second = root.incoming("d/g")

    first.discard()
    second.commit(None)

    assert on_disk(root, "d") == ["g"]


def test_the_mode_is_what_the_umask_gives(root: Root) -> None:
    before = os.umask(0o027)
    try:
        put(root, "f")
    finally:
        os.umask(before)

    assert os.stat(os.path.join(root.path, "f")).st_mode & 0o777 == 0o640


def test_a_restart_drops_what_was_written(root: Root) -> None:
    with root.incoming("f") as incoming:
        incoming.write(b"first")
        incoming.restart()
        incoming.write(b"2nd")
        incoming.restart(1)
        incoming.write(b"!")
        incoming.commit(None)

    assert get(root, "f") == b"2!"


def test_a_path_too_long_for_the_file_system_is_an_invalid_name(root: Root) -> None:
    with pytest.raises(InvalidName, match="too long"):
        root.incoming("/".join(["d" * 250] * 20))


@pytest.mark.parametrize("ended", ["commit", "discard"])
def test_a_settled_version_takes_nothing_more(root: Root, ended: str) -> None:
    incoming = root.incoming("f")
    if ended == "commit":
        incoming.commit(None)
    else:
        incoming.discard()

    for call in (lambda: incoming.write(b"x"), incoming.restart, lambda: incoming.commit(None)):
        with pytest.raises(StorageError, match="already"):
            call()
    incoming.discard()


def test_a_full_disk_is_an_error_of_ours_and_leaves_the_old_file(root: Root) -> None:
    put(root, "f", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(StorageError, match="write 'f': file too large"), root.incoming("f") as incoming:
            incoming.write(bytes(8192))
        with pytest.raises(StorageError), root.incoming("f") as incoming:
            incoming.restart(8192)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert get(root, "f") == b"old"
    assert on_disk(root) == ["f"]


def test_a_directory_without_permission_takes_no_file() -> None:
    with unprivileged() as directory:
        root = Root(directory).open()
        put(root, "f")
        (directory / "d").mkdir(mode=0o555)
        try:
            with pytest.raises(NotPermitted, match="write 'd/f'"):
                root.incoming("d/f")
            with pytest.raises(NotPermitted, match="create_dir 'd/e'"):
                root.changes.create_dir("d/e")
        finally:
            root.close()


def test_a_journal_that_cannot_be_made_is_an_error_of_ours(tmp_path: Path) -> None:
    root = Root(tmp_path / "root").open()
    os.rmdir(tmp_path / "root")

    with pytest.raises(NotFound, match="write 'f'"):
        root.incoming("f")

    root.close()


def test_threads_that_put_the_same_name_each_succeed_and_the_last_one_stays(root: Root) -> None:
    bodies = [bytes([65 + number]) * 100_000 for number in range(8)]
    seen: list[tuple[bytes, Identity]] = []

    def work(body: bytes) -> None:
        for _ in range(10):
            seen.append((body, put(root, "d/f", body)))

    in_threads(work, bodies)

    file = root.open_file("d/f")
    file.close()
    content = get(root, "d/f")
    assert len(seen) == 80
    assert content in bodies
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert on_disk(root, "d") == ["f"]


def test_parents_that_others_remove_meanwhile_are_made_again(root: Root) -> None:
    failures: list[OSError] = []

    def work(number: int) -> None:
        try:
            for _ in range(60):
                incoming = root.incoming(f"a/b/c/{number}")
                incoming.discard()
        except OSError as error:
            failures.append(error)

    in_threads(work, range(4))

    assert failures == []
    assert on_disk(root) == []


def test_a_discard_during_a_write_in_another_thread_publishes_nothing(root: Root) -> None:
    incoming = root.incoming("f")
    failures: list[OSError] = []
    begun = threading.Event()

    def work() -> None:
        try:
            while True:
                incoming.write(bytes(1 << 20))
                begun.set()
        except StorageError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait(10)
    incoming.discard()
    thread.join()

    assert len(failures) == 1
    assert on_disk(root) == []


def test_a_publication_is_announced_by_name(tmp_path: Path) -> None:
    announced: list[str] = []
    root = Root(tmp_path, listeners=Listeners(before_publish=announced.append)).open()
    put(root, "d/f")
    root.changes.rename("d/f", "g")
    root.close()

    assert announced == ["d/f", "g"]


def test_a_version_that_is_settled_twice_counts_once(root: Root) -> None:
    other = root.incoming("g")
    incoming = root.incoming("f")
    incoming.discard()

    incoming.discard()
    (log_book,) = Path(root.path).glob("*.journal")
    noted = log_book.stat().st_size
    other.discard()

    assert noted > 0


def test_a_version_can_be_read_back_while_it_is_written_and_not_once_it_was_discarded(root: Root) -> None:
    with root.incoming("f") as incoming:
        incoming.write(b"data")
        fd = incoming.reader()
    read = os.pread(fd, 10, 0)
    os.close(fd)

    assert read == b"data"
    with pytest.raises(StorageError, match="discarded"):
        incoming.reader()


def test_a_root_closed_between_two_steps_takes_nothing(tmp_path: Path) -> None:
    tree = Changes(str(tmp_path), None, Listeners())
    tree.close()

    for call in (tree.incoming, tree.create_dir):
        with pytest.raises(StorageError, match="closed meanwhile"):
            call("f")


def test_a_version_put_again_since_it_was_missed_is_not_forgotten(tmp_path: Path) -> None:
    tree = Changes(str(tmp_path), None, Listeners())
    with tree.incoming("f") as incoming:
        incoming.commit(None)

    tree.forget_missing("f")
    tree.end_journal(remove=True)

    assert tree.created.holds("f")


def test_a_root_that_another_process_makes_meanwhile_is_not_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir = os.mkdir

    def mkdir_second(path: str) -> None:
        mkdir(path)
        mkdir(path)

    root = Root(tmp_path / "root")
    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir_second)
        root.open()
    root.close()

    assert (tmp_path / "root").is_dir()


def test_an_open_file_tells_that_it_was_written_to(root: Root) -> None:
    put(root, "f")
    file = root.open_file("f")
    before = file.unchanged()
    Path(root.path, "f").write_text("longer than before")
    after = file.unchanged()
    file.close()

    assert (before, after) == (True, False)


def test_a_second_writer_is_refused(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def write_twice(fd: int, data: bytes) -> int:
        with pytest.raises(StorageError, match="another thread"):
            incoming.write(b"y")
        return write(fd, data)

    with root.incoming("f") as incoming:
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", write_twice)
            incoming.write(b"x")
        incoming.commit(None)

    assert get(root, "f") == b"x"


def test_close_discards_what_is_on_its_way_in(tmp_path: Path) -> None:
    root = Root(tmp_path).open()
    incoming = root.incoming("d/f")
    incoming.write(b"x")

    root.close()

    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StorageError, match="already discarded"):
        incoming.commit(None)


@pytest.mark.parametrize(("number", "works"), [(errno.EXDEV, True), (errno.EIO, False)])
def test_what_the_kernel_will_not_copy_is_copied_here(
    root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, works: bool
) -> None:
    def copy_file_range(source: int, target: int, count: int) -> int:
        raise OSError(number, os.strerror(number))

    (tmp_path / "source").write_bytes(b"0123456789" * 50_000)
    monkeypatch.setattr(os, "copy_file_range", copy_file_range)
    fd = os.open(tmp_path / "source", os.O_RDONLY)
    try:
        os.lseek(fd, 10, os.SEEK_SET)
        with root.incoming("f") as incoming:
            if works:
                incoming.copy_from(fd)
                assert incoming.commit(None).size == 499_990
            else:
                with pytest.raises(StorageError, match="input/output error"):
                    incoming.copy_from(fd)
    finally:
        os.close(fd)


# Status


def test_the_status_of_a_file_is_the_version_that_is_opened(root: Root) -> None:
    identity = put(root, "d/f")
    Path(root.path, "theirs").write_bytes(b"others put it here")

    found = [root.status(name) for name in ("d/f", "theirs")]

    assert found[0] == Status("d/f", identity, hashlib.sha256(b"data").hexdigest(), shares_second=False)
    assert found[1] == Status("theirs", Identity.of(os.stat(Path(root.path, "theirs"))), None, shares_second=False)


def test_the_status_follows_each_change(root: Root) -> None:
    path = Path(root.path, "f")
    path.write_bytes(b"one")
    before = root.status("f")
    path.write_bytes(b"other")

    assert (before.identity.size, root.status("f").identity.size) == (3, 5)


def test_a_status_opens_a_version_once(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(root.path, "f").write_bytes(b"theirs")
    before = root.status("f")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", None)
        after = root.status("f")

    assert after == before


@pytest.mark.parametrize(
    ("name", "error"),
    [("gone", NotFound), ("d", IsADirectory), ("f/below", NotFound), ("fifo", NotPermitted), ("out", InvalidName)],
)
def test_what_is_no_file_of_the_root_has_no_status(root: Root, tmp_path: Path, name: str, error: type) -> None:
    put(root, "f")
    Path(root.path, "d").mkdir()
    os.mkfifo(Path(root.path, "fifo"))
    (tmp_path / "outside").write_bytes(b"secret")
    Path(root.path, "out").symlink_to(tmp_path / "outside")

    with pytest.raises(error):
        root.status(name)


# What is in a directory, for an answer


def test_an_entry_says_what_is_there(root: Root) -> None:
    path = Path(root.path, "f")
    path.write_bytes(b"hello")
    os.utime(path, (5, 7.5))

    assert root.entries("", lambda name: True) == [Entry("f", False, 5, 7.5)]


def test_only_what_is_wanted_is_an_entry(root: Root) -> None:
    put(root, "d/a")
    put(root, "d/b")

    assert [entry.name for entry in root.entries("d", lambda name: name == "b")] == ["b"]


def test_what_cannot_be_fetched_is_no_entry(root: Root, tmp_path: Path) -> None:
    top = Path(root.path)
    os.mkfifo(top / "fifo")
    (top / "dangling").symlink_to("nowhere")
    (top / "loop").symlink_to("loop")
    (tmp_path / "outside").write_bytes(b"secret")
    (top / "out").symlink_to(tmp_path / "outside")
    for name in (b"\xff", b".httpserve-0123.part", b" blank", b"back\\slash"):
        with open(os.fsencode(top) + b"/" + name, "wb"):
            pass

    assert root.entries("", lambda name: True) == []


def test_a_symlink_is_an_entry_as_what_it_leads_to(root: Root) -> None:
    Path(root.path, "d").mkdir()
    Path(root.path, "link").symlink_to("d")

    assert [entry.is_dir for entry in root.entries("", lambda name: True)] == [True, True]


def test_a_directory_that_is_gone_has_no_entries(root: Root) -> None:
    with pytest.raises(NotFound):
        root.entries("gone", lambda name: True)
