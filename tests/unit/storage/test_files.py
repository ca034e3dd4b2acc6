"""Claims about the file objects of `storage.open`: as Python's own, and nothing is published by accident."""

from __future__ import annotations

import errno
import gc
import hashlib
import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import opendal
import pytest

from httpserve.errors import CopyFailed, InvalidArgument, SourceNotFound, StorageError, Unsupported
from httpserve.storage.directory.root import Root
from httpserve.storage.facade import Storage
from httpserve.storage.files import ReadAsSource, ReadFile, WriteAsSink, WriteFile
from tests.unit.storage.parts import a_storage, on_disk

LINES = b"one\ntwo\nthree"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path / "root")
    yield root
    root.close()


@pytest.fixture
def storage(request: pytest.FixtureRequest) -> Iterator[Storage]:
    """Of the directory `root`, or with `--roots store` of a place on a store."""
    for storage in a_storage(request):
        storage.write_bytes("lines", LINES)
        yield storage


# As in Jumpstarter


def test_seek_tell_and_read_to_the_end(storage: Storage) -> None:
    file = storage.open("lines", "rb")

    file.seek(-3, os.SEEK_END)

    assert file.tell() == len(LINES) - 3
    assert file.read_bytes() == b"ree"
    file.close()


def test_a_file_says_what_it_can_do(storage: Storage) -> None:
    with closing(storage.open("new", "wb")) as writer, closing(storage.open("lines", "rb")) as reader:
        assert (writer.readable(), writer.seekable(), writer.writable()) == (False, False, True)
        assert (reader.readable(), reader.seekable(), reader.writable()) == (True, True, False)
        before = [writer.closed, reader.closed]
    after = [writer.closed, reader.closed]

    assert before == [False, False]
    assert after == [True, True]


def test_write_bytes_appends(storage: Storage) -> None:
    with storage.open("new", "wb") as file:
        file.write_bytes(b"a")
        file.write_bytes(b"bc")
        position = file.tell()

    assert position == 3
    assert storage.read_bytes("new") == b"abc"


def test_paths_are_appended_and_the_rest_is_copied_out(storage: Storage, tmp_path: Path) -> None:
    operator = opendal.Operator("memory")
    operator.write("src", b"operator")
    (tmp_path / "src").write_bytes(b"local")

    with storage.open("new", "wb") as file:
        file.write(b"<")
        file.write_from_path(tmp_path / "src")
        file.write_from_path("src", operator)
        file.write(b">")
    with storage.open("new", "rb") as reader:
        reader.seek(1)
        reader.read_into_path(tmp_path / "dst")
        reader.seek(6)
        reader.read_into_path("dst", operator)

    assert (tmp_path / "dst").read_bytes() == b"localoperator>"
    assert operator.read("dst") == b"operator>"
    assert storage.stat("new").etag == f'"{hashlib.sha256(b"<localoperator>").hexdigest()}"'


# As in Python


def test_a_reader_reads_as_pythons_own(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(LINES)
    calls: list[Callable[[Any], object]] = [
        lambda file: file.read(2),
        lambda file: file.read(0),
        lambda file: file.read(),
        lambda file: file.read(),
        lambda file: file.seek(1),
        lambda file: file.read1(),
        lambda file: file.seek(-4, io.SEEK_CUR),
        lambda file: file.read(None),
        lambda file: file.seek(0),
        lambda file: file.readline(),
        lambda file: file.readline(2),
        lambda file: file.readline(None),
        lambda file: file.seek(0),
        lambda file: next(file),
        lambda file: file.readlines(),
        lambda file: list(file),
        lambda file: file.seek(100),
        lambda file: file.read(1),
        lambda file: file.seek(2),
        lambda file: file.readinto(bytearray(3)),
        lambda file: file.readinto1(bytearray(3)),
        lambda file: file.tell(),
        lambda file: file.isatty(),
        lambda file: file.flush(),
        lambda file: file.mode,
    ]

    with storage.open("lines", "rb") as ours, open(tmp_path / "lines", "rb") as pythons:
        answers = [(call(ours), call(pythons)) for call in calls]

    assert [ours for ours, _ in answers] == [pythons for _, pythons in answers]


def test_the_standard_library_takes_a_reader(storage: Storage) -> None:
    taken = io.BytesIO()

    with storage.open("lines", "rb") as file:
        shutil.copyfileobj(file, taken)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        ahead = file.peek(1)[:1]
        buffered = io.BufferedReader(cast("io.RawIOBase", file))
        line = buffered.readline()
        buffered.detach()

    assert taken.getvalue() == LINES
    assert digest == hashlib.sha256(LINES).hexdigest()
    assert (ahead, line) == (b"o", b"one\n")


def test_the_standard_library_takes_a_writer(storage: Storage) -> None:
    with storage.open("new", "wb") as file:
        shutil.copyfileobj(io.BytesIO(LINES), file)
        file.flush()
        file.writelines([b"\n", b"four"])
        buffered = io.BufferedWriter(cast("io.RawIOBase", file))
        buffered.write(b"!")
        buffered.flush()
        buffered.detach()

    assert storage.read_bytes("new") == LINES + b"\nfour!"


def test_every_kind_of_buffer_is_written(storage: Storage) -> None:
    with storage.open("new", "wb") as file:
        counts = [file.write(data) for data in (b"a", bytearray(b"bc"), memoryview(b"\1\0\2\0").cast("H"))]

    assert counts == [1, 2, 4]
    assert storage.read_bytes("new") == b"abc\1\0\2\0"


@pytest.mark.parametrize(
    ("mode", "method", "argument"),
    [
        *(("rb", "write", b""), ("rb", "write_bytes", b""), ("rb", "write_from_path", __file__), ("rb", "truncate", 0)),
        *(("wb", "read", -1), ("wb", "read1", -1), ("wb", "readinto", bytearray(1)), ("wb", "readline", -1)),
        *(("wb", "read_bytes", None), ("wb", "__next__", None), ("wb", "read_into_path", "/nowhere")),
        *(("wb", "seek", 0), ("wb", "truncate", 0)),
    ],
)
def test_a_reader_is_not_written_to_nor_a_writer_read_from(
    storage: Storage, mode: Any, method: str, argument: object
) -> None:
    with (
        storage.open("lines", mode) as file,
        pytest.raises(Unsupported, match=f"open in mode '{mode}'") as caught,
    ):
        getattr(file, method)(*(() if argument is None else (argument,)))

    assert isinstance(caught.value, io.UnsupportedOperation)


@pytest.mark.parametrize("mode", ["rb", "wb"])
def test_a_closed_file_refuses_everything(storage: Storage, mode: str) -> None:
    file = storage.open("lines", cast("Any", mode))
    file.close()
    file.close()

    calls: list[Callable[[], object]] = [
        file.read,
        file.read1,
        file.readline,
        file.tell,
        file.flush,
        file.readable if mode == "rb" else file.writable,
        lambda: file.readinto(bytearray(1)),
        lambda: file.write(b""),
        lambda: file.seek(0),
        lambda: file.write_from_path(__file__),
        lambda: file.read_into_path("/nowhere"),
        file.__enter__,
    ]
    for call in calls:
        with pytest.raises(ValueError, match="closed"):
            call()
    assert "closed" in repr(file)


@pytest.mark.parametrize(("position", "whence"), [(-1, 0), (-100, 1), (-100, 2), (0, 9)])
def test_a_seek_before_the_start_is_refused(storage: Storage, position: int, whence: int) -> None:
    with storage.open("lines", "rb") as file:
        with pytest.raises(InvalidArgument, match=f"seek in 'lines' to {position}"):
            file.seek(position, whence)

        assert file.read(3) == b"one"


@pytest.mark.parametrize(
    ("method", "argument"), [("read", 1), ("read1", -1), ("readline", -1), ("readinto", bytearray(1))]
)
@pytest.mark.local_root("an error of the file system")
def test_a_disk_that_fails_is_an_error_of_ours(storage: Storage, method: str, argument: object) -> None:
    with storage.open("lines", "rb") as file:
        directory = os.open("/", os.O_RDONLY)
        os.dup2(directory, file.fileno())  # the kernel refuses to read from a directory
        os.close(directory)

        with pytest.raises(StorageError, match="read 'lines'"):
            getattr(file, method)(argument)


@pytest.mark.local_root("a store has no version but the latest")
def test_a_reader_keeps_its_version(storage: Storage) -> None:
    with storage.open("lines", "rb") as file:
        storage.write_bytes("lines", b"new")
        storage.delete("lines")

        assert os.fstat(file.fileno()).st_size == len(LINES)
        assert file.read() == LINES


def test_a_file_that_changes_while_it_is_copied_out_is_not_copied(storage: Storage, root: Root, tmp_path: Path) -> None:
    with storage.open("lines", "rb") as file:
        Path(root.path, "lines").write_bytes(b"other" + LINES)

        with pytest.raises(CopyFailed, match="'lines' on the server changed"):
            file.read_into_path(tmp_path / "dst")

    assert not (tmp_path / "dst").exists()


def test_a_copy_out_leaves_its_file_open(storage: Storage) -> None:
    with storage.open("lines", "rb") as file:
        ReadAsSource(file).close()

        assert not file.closed


# What is published, and what is not


def test_nothing_is_seen_before_close(storage: Storage) -> None:
    file = storage.open("lines", "wb")
    file.write(b"new")
    before = storage.read_bytes("lines")
    file.close()

    assert before == LINES
    assert storage.read_bytes("lines") == b"new"
    assert storage.stat("lines").etag == f'"{hashlib.sha256(b"new").hexdigest()}"'


def test_a_block_left_by_an_exception_publishes_nothing(storage: Storage, root: Root) -> None:
    def interrupted() -> None:
        with storage.open("lines", "wb") as file:
            file.write(b"part")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert storage.read_bytes("lines") == LINES
    assert on_disk(root) == ["lines"]


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_a_writer_that_is_forgotten_publishes_nothing(
    storage: Storage, root: Root, capfd: pytest.CaptureFixture[str], in_a_cycle: bool
) -> None:
    file: WriteFile | None = storage.open("lines", "wb")
    assert file is not None
    file.write(b"part")
    if in_a_cycle:
        file.itself = file  # type: ignore[attr-defined]  # only for the cycle

    file = None
    gc.collect()

    assert file is None
    assert storage.read_bytes("lines") == LINES
    assert on_disk(root) == ["lines"]
    assert capfd.readouterr().err == ""


@pytest.mark.local_root("what is read from a store has no descriptor")
def test_a_reader_that_is_forgotten_closes_its_descriptor(storage: Storage, capfd: pytest.CaptureFixture[str]) -> None:
    file: ReadFile | None = storage.open("lines", "rb")
    assert file is not None
    descriptor = file.fileno()

    file = None
    gc.collect()

    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert file is None
    assert capfd.readouterr().err == ""


def test_files_left_open_at_the_end_of_the_process_say_nothing_and_publish_nothing(tmp_path: Path) -> None:
    script = f"""
from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor
from httpserve.storage.facade import Storage

storage = Storage(DirectoryAccessor(Root({str(tmp_path)!r})), timeout=5.0)
storage.write_bytes("f", b"hello")
reader = storage.open("f", "rb")
writer = storage.open("f", "wb")
writer.write(b"part")
forgotten = [writer, storage.open("g", "wb")]
"""
    answer = subprocess.run(
        [sys.executable, "-X", "dev", "-c", script],
        capture_output=True,
        timeout=30,
        cwd=Path(__file__).parents[3],
    )
    root = Root(tmp_path).open()
    left = sorted(os.listdir(tmp_path))
    root.close()

    assert (answer.returncode, answer.stderr) == (0, b"")
    assert left == ["f"]
    assert (tmp_path / "f").read_bytes() == b"hello"


def test_a_failed_write_poisons_the_file(storage: Storage, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    file = storage.open("lines", "wb")
    file.write(b"good")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", write)
        with pytest.raises(StorageError, match="write 'lines': no space left on device") as caught:
            file.write(b"bad")

    with pytest.raises(StorageError, match="a write failed before"):
        file.write(b"more")
    with pytest.raises(StorageError, match="close 'lines': nothing is published"):
        file.close()
    file.close()

    assert caught.value.errno == errno.ENOSPC
    assert file.closed
    assert storage.read_bytes("lines") == LINES
    assert on_disk(root) == ["lines"]


def test_a_failed_copy_poisons_the_file(storage: Storage, root: Root, tmp_path: Path) -> None:
    file = storage.open("new", "wb")
    with pytest.raises(SourceNotFound):
        file.write_from_path(tmp_path / "missing")
    with pytest.raises(StorageError, match="nothing is published"):
        file.close()
    with pytest.raises(CopyFailed), storage.open("lines", "wb") as poisoned:
        poisoned.write_from_path("/proc/self/mem")  # whose first page cannot be read

    assert not storage.exists("new")
    assert storage.read_bytes("lines") == LINES


def test_a_file_whose_publishing_fails_is_closed_and_leaves_nothing(storage: Storage, root: Root) -> None:
    file = storage.open("d", "wb")
    os.mkdir(os.path.join(root.path, "d"))

    with pytest.raises(StorageError, match="'d'"):
        file.close()

    assert file.closed
    assert on_disk(root) == ["d", "lines"]


def test_a_copy_that_begins_again_begins_where_the_file_was(storage: Storage) -> None:
    with storage.open("new", "wb") as file:
        file.write(b"head,")
        tail = WriteAsSink(file)
        tail.write(memoryview(b"old"))
        tail.restart()
        tail.write(memoryview(b"new"))
        tail.commit(None)

    assert storage.read_bytes("new") == b"head,new"
    assert storage.stat("new").etag == f'"{hashlib.sha256(b"head,new").hexdigest()}"'
