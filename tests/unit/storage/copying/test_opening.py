"""What src and operator mean, and how local files and operators' paths are read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import opendal
import pytest
from opendal.layers import ConcurrentLimitLayer, RetryLayer

from httpserve.errors import CopyFailed, HttpServeError, InvalidArgument, InvalidType, SourceNotFound
from httpserve.storage.copying.ends import Source
from httpserve.storage.copying.local import FileSource
from httpserve.storage.copying.opening import open_source
from tests.cases import each

CONTENT = os.urandom(300_000)


@pytest.fixture
def operator(tmp_path: Path) -> opendal.Operator:
    (tmp_path / "file").write_bytes(CONTENT)
    return opendal.Operator("fs", root=str(tmp_path))


def drained(source: Source) -> bytes:
    """Read *source* to its end, finish and close it."""
    buffer = memoryview(bytearray(65536))
    content = b""
    with contextlib.closing(source):
        while count := source.readinto(buffer):
            content += buffer[:count]
        source.finish()
    return content


# What is meant


@pytest.mark.parametrize("kind", [str, Path])
def test_without_an_operator_it_is_a_local_path(tmp_path: Path, kind: type[str | Path]) -> None:
    (tmp_path / "file").write_bytes(CONTENT)

    assert drained(open_source(kind(tmp_path / "file"), timeout=20)) == CONTENT


def test_with_an_operator_it_is_a_path_on_it(operator: opendal.Operator) -> None:
    assert drained(open_source("file", operator, timeout=20)) == CONTENT


def test_an_operator_may_have_layers(operator: opendal.Operator) -> None:
    layered = operator.layer(RetryLayer()).layer(ConcurrentLimitLayer(4))

    assert drained(open_source("file", layered, timeout=20)) == CONTENT


def test_an_operator_of_another_service_does_as_well() -> None:
    operator = opendal.Operator("memory")
    operator.write("a/b", CONTENT)

    assert drained(open_source("/a/b", operator, timeout=20)) == CONTENT


@each("src", [b"bytes", 7, None, ["a"]])
def test_a_src_of_another_type_is_refused(src: object) -> None:
    with pytest.raises(InvalidType, match="src must be a str or a path"):
        open_source(src, timeout=20)  # type: ignore[arg-type]  # what is refused


def test_an_async_operator_is_a_type_error_that_says_the_way_out() -> None:
    operator = opendal.AsyncOperator("memory")

    with pytest.raises(TypeError, match=r"operator\.to_operator\(\)") as caught:
        open_source("a", operator, timeout=20)  # type: ignore[arg-type]  # what is refused

    assert isinstance(caught.value, HttpServeError)


def test_an_operator_of_another_type_is_refused() -> None:
    with pytest.raises(InvalidType, match="not str"):
        open_source("a", "fs", timeout=20)  # type: ignore[arg-type]  # what is refused


def test_a_nul_in_a_path_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="NUL"):
        open_source("a\0b", timeout=20)


@each("timeout", [0, -1, float("inf"), float("nan")])
def test_a_timeout_that_nobody_can_wait_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        open_source("a", timeout=timeout)


@pytest.mark.parametrize("src", [" file", "file ", "file\n"])
def test_blanks_that_opendal_would_strip_are_refused(operator: opendal.Operator, src: str) -> None:
    with pytest.raises(InvalidArgument, match="blanks"):
        open_source(src, operator, timeout=20)


def test_a_surrogate_that_stands_for_nothing_is_refused(operator: opendal.Operator) -> None:
    for where in (None, operator):
        with pytest.raises(InvalidArgument, match="src"):
            open_source("\ud83d", where, timeout=20)


def test_an_operator_is_given_no_name_that_is_not_utf_8(operator: opendal.Operator) -> None:
    with pytest.raises(InvalidArgument, match="surrogate"):
        open_source(os.fsdecode(b"caf\xe9"), operator, timeout=20)


# Local files


def test_a_local_file_may_have_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/caf\xe9"
    try:
        with open(path, "wb") as file:
            file.write(CONTENT)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")

    assert drained(open_source(os.fsdecode(path), timeout=20)) == CONTENT


def test_a_local_file_may_have_blanks_at_its_ends(tmp_path: Path) -> None:
    (tmp_path / " file ").write_bytes(CONTENT)

    assert drained(open_source(str(tmp_path) + "/ file ", timeout=20)) == CONTENT


def test_a_local_file_that_is_missing_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFound, match="none") as caught:
        open_source(tmp_path / "none", timeout=20)

    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.source == repr(str(tmp_path / "none"))


def test_a_local_directory_says_that_it_is_one(tmp_path: Path) -> None:
    with pytest.raises(CopyFailed, match="Is a directory"):
        open_source(tmp_path, timeout=20)


def test_a_path_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(CopyFailed, match="Not a directory"):
        open_source(tmp_path / "file" / "x", timeout=20)


def test_a_local_file_that_cannot_be_read_says_why() -> None:
    with contextlib.closing(FileSource("/proc/self/mem")) as source, pytest.raises(CopyFailed, match="error"):
        source.readinto(memoryview(bytearray(10)))


def test_a_file_that_says_it_is_empty_may_have_content() -> None:
    assert drained(open_source("/proc/self/status", timeout=20)).startswith(b"Name:")


def test_a_pipe_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    with os.fdopen(reader), os.fdopen(writer, "wb") as end:
        source = open_source(f"/proc/self/fd/{reader}", timeout=20)
        end.write(b"content")
        end.close()

        assert (source.size, drained(source)) == (None, b"content")


def test_a_local_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    source = open_source(path, timeout=20)
    os.truncate(path, 9)

    with pytest.raises(CopyFailed, match="9 bytes, less than the 300000"):
        drained(source)


def test_a_local_file_that_is_replaced_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    source = open_source(path, timeout=20)
    (tmp_path / "new").write_bytes(b"new")
    os.replace(tmp_path / "new", path)

    assert drained(source) == CONTENT


# Paths on an operator


def test_a_path_that_is_missing_on_an_operator_is_not_found(operator: opendal.Operator) -> None:
    with pytest.raises(SourceNotFound, match="'none' on Operator"):
        open_source("none", operator, timeout=20)


@pytest.mark.parametrize("src", ["dir", "dir/", "", "/"])
def test_a_directory_on_an_operator_says_that_it_is_one(tmp_path: Path, operator: opendal.Operator, src: str) -> None:
    (tmp_path / "dir").mkdir()

    with pytest.raises(CopyFailed, match="is a directory"):
        open_source(src, operator, timeout=20)


def test_an_object_that_is_deleted_after_it_was_read_is_whole(tmp_path: Path, operator: opendal.Operator) -> None:
    source = open_source("file", operator, timeout=20)
    buffer = memoryview(bytearray(len(CONTENT) + 1))
    count = 0
    while read := source.readinto(buffer[count:]):
        count += read
    (tmp_path / "file").unlink()

    source.finish()
    source.close()

    assert buffer[:count] == CONTENT


def test_an_object_that_goes_away_is_not_found(tmp_path: Path, operator: opendal.Operator) -> None:
    source = open_source("file", operator, timeout=20)
    (tmp_path / "file").unlink()

    with pytest.raises(SourceNotFound):
        drained(source)


def test_a_closed_object_does_not_read(operator: opendal.Operator) -> None:
    source = open_source("file", operator, timeout=20)
    source.close()
    source.close()

    with pytest.raises(CopyFailed):
        source.readinto(memoryview(bytearray(10)))


# Both alike


@pytest.fixture(params=["local", "on an operator"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, operator: opendal.Operator) -> Callable[[], Source]:
    os.utime(tmp_path / "file", (1, 1))
    if request.param == "local":
        return lambda: open_source(tmp_path / "file", timeout=20)
    return lambda: open_source("file", operator, timeout=20)


def test_a_file_that_grows_is_refused(tmp_path: Path, opened: Callable[[], Source]) -> None:
    source = opened()
    with (tmp_path / "file").open("ab") as build:
        build.write(b"more")

    with pytest.raises(CopyFailed, match="more than the 300000"):
        drained(source)


def test_a_file_that_is_written_meanwhile_is_refused(tmp_path: Path, opened: Callable[[], Source]) -> None:
    source = opened()
    with (tmp_path / "file").open("r+b") as build:
        build.write(b"other")

    with pytest.raises(CopyFailed, match="changed while it was copied"):
        drained(source)


def test_an_empty_file_is_whole(tmp_path: Path, opened: Callable[[], Source]) -> None:
    (tmp_path / "file").write_bytes(b"")

    assert drained(opened()) == b""
