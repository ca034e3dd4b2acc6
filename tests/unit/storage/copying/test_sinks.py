"""Where a file goes that is copied out."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import opendal
import pytest

from httpserve.errors import CopyFailed, InvalidArgument
from httpserve.storage.copying.local import FileSink
from httpserve.storage.copying.operator import OperatorSink

Make = Callable[[str], FileSink | OperatorSink]


@pytest.fixture
def operator(tmp_path: Path) -> opendal.Operator:
    return opendal.Operator("fs", root=str(tmp_path))


@pytest.fixture(params=["local", "on an operator"])
def make(request: pytest.FixtureRequest, tmp_path: Path, operator: opendal.Operator) -> Make:
    """Make a sink of a name in the test's directory."""
    if request.param == "local":
        return lambda name: FileSink(f"{tmp_path}/{name}")
    return lambda name: OperatorSink(name, operator, timeout=10)


# Both alike


def test_nothing_is_seen_before_the_commit(tmp_path: Path, make: Make) -> None:
    (tmp_path / "file").write_bytes(b"old")
    sink = make("file")
    sink.write(memoryview(bytes(600_000)))
    before = (tmp_path / "file").read_bytes()

    sink.commit(None)
    sink.discard()

    assert (before, (tmp_path / "file").read_bytes()) == (b"old", bytes(600_000))
    assert os.listdir(tmp_path) == ["file"]


def test_discard_leaves_the_old_and_no_litter(tmp_path: Path, make: Make) -> None:
    (tmp_path / "file").write_bytes(b"old")
    sink = make("file")
    sink.write(memoryview(bytes(600_000)))

    sink.discard()
    sink.discard()

    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_restart_forgets_what_was_written(tmp_path: Path, make: Make) -> None:
    sink = make("file")
    sink.write(memoryview(bytes(600_000)))

    sink.restart()
    sink.write(memoryview(b"new"))
    sink.commit(None)

    assert (tmp_path / "file").read_bytes() == b"new"


def test_missing_directories_are_made_for_an_empty_file(tmp_path: Path, make: Make) -> None:
    make("a/b/file").commit(None)

    assert (tmp_path / "a" / "b" / "file").read_bytes() == b""


def test_a_path_below_a_file_cannot_be_written(tmp_path: Path, make: Make) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(CopyFailed, match=r"cannot write '.*file/x"):
        make("file/x").commit(None)


# Local paths


def test_a_discarded_sink_takes_nothing_and_publishes_nothing(tmp_path: Path) -> None:
    sink = FileSink(str(tmp_path / "file"))
    sink.discard()

    with pytest.raises(CopyFailed):
        sink.write(memoryview(b"x"))
    with pytest.raises(CopyFailed):
        sink.restart()
    with pytest.raises(CopyFailed):
        sink.commit(None)

    assert os.listdir(tmp_path) == []


def test_the_mode_is_what_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        FileSink(str(tmp_path / "file")).commit(None)
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_symlink_stays_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"old")
    (tmp_path / "link").symlink_to("there/file")
    sink = FileSink(str(tmp_path / "link"))
    sink.write(memoryview(b"new"))

    sink.commit(None)

    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"new"


def test_a_pipe_is_written_itself(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "fifo").read_bytes()))
    reader.start()
    sink = FileSink(str(tmp_path / "fifo"))
    sink.write(memoryview(b"content"))

    sink.commit(None)
    reader.join(10)

    assert got == [b"content"]
    assert (tmp_path / "fifo").is_fifo()


def test_a_directory_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match=r"cannot write .*directory") as caught:
        FileSink(str(tmp_path))

    assert caught.value.name == str(tmp_path)


def test_a_full_disk_says_so() -> None:
    sink = FileSink("/dev/full")

    with pytest.raises(CopyFailed, match="No space left"):
        sink.write(memoryview(b"x"))

    sink.discard()


# Paths on an operator


def test_a_store_without_rename_is_written_at_the_commit() -> None:
    operator = opendal.Operator("memory")
    sink = OperatorSink("file", operator, timeout=10)
    sink.write(memoryview(b"new"))
    before = operator.exists("file")

    sink.commit(None)

    assert (before, operator.read("file")) == (False, b"new")


def test_a_store_without_rename_gets_nothing_that_was_discarded() -> None:
    operator = opendal.Operator("memory")
    sink = OperatorSink("file", operator, timeout=10)
    sink.write(memoryview(b"new"))

    sink.discard()

    assert not operator.exists("file")


def test_a_service_that_cannot_be_written_says_so() -> None:
    operator = opendal.Operator("http", endpoint="http://127.0.0.1:1")
    sink = OperatorSink("file", operator, timeout=10)

    with pytest.raises(CopyFailed, match="the service cannot do that"):
        sink.write(memoryview(b"x"))


def test_blanks_at_the_end_of_a_path_on_an_operator_are_refused(operator: opendal.Operator) -> None:
    with pytest.raises(InvalidArgument, match="dst"):
        OperatorSink("file ", operator, timeout=10)


def test_a_directory_on_an_operator_cannot_be_replaced(tmp_path: Path, operator: opendal.Operator) -> None:
    operator.create_dir("dir/")
    sink = OperatorSink("dir", operator, timeout=10)
    sink.write(memoryview(b"new"))

    with pytest.raises(CopyFailed, match="is a directory"):
        sink.commit(None)
    sink.discard()

    assert os.listdir(tmp_path) == ["dir"]


# A temporary that cannot be removed does not hide what made the copy fail


def test_a_temporary_that_cannot_be_removed_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = FileSink(str(tmp_path / "gone" / "file"))
    shutil.rmtree(tmp_path / "gone")

    sink.discard()

    assert "could not be removed: No such file" in caplog.text


def test_a_temporary_that_an_operator_does_not_remove_is_logged(
    tmp_path: Path, operator: opendal.Operator, caplog: pytest.LogCaptureFixture
) -> None:
    sink = OperatorSink("dir/file", operator, timeout=10)
    (tmp_path / "dir").write_bytes(b"a file now")

    sink.discard()

    assert "could not be removed: is not a directory" in caplog.text
