"""Claims about arguments that no method of the storage can do anything with: errors of ours, and nothing is left."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from httpserve.errors import HttpServeError, InvalidArgument, InvalidName, InvalidType
from httpserve.storage.directory.root import Root
from httpserve.storage.directory_accessor import DirectoryAccessor
from httpserve.storage.facade import Storage
from tests.cases import each


class OddPath:
    def __fspath__(self) -> bytes:
        return b"bytes"


class Rude:
    """Whoever compares it, or asks for its truth, gets another's exception."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("compared")

    def __bool__(self) -> bool:
        raise RuntimeError("asked for its truth")

    __hash__ = None  # type: ignore[assignment]  # as Python has it


ODD: list[Any] = [None, True, 0, -1, 10**5000, 1.5, float("nan"), b"f", [], {}, set(), object(), OddPath(), Rude()]
IDS = [str(number) for number in range(len(ODD))]


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    root = Root(tmp_path / "root")
    storage = Storage(DirectoryAccessor(root), timeout=5.0)
    storage.write_bytes("f", b"content")
    yield storage
    assert storage.list("/") == ["/", "f"]
    root.close()


METHODS: dict[str, Callable[[Storage, Any], object]] = {
    "write_bytes": lambda storage, odd: storage.write_bytes(odd, b"x"),
    "read_bytes": lambda storage, odd: storage.read_bytes(odd),
    "write_from_path": lambda storage, odd: storage.write_from_path(odd, __file__),
    "write_from_path from": lambda storage, odd: storage.write_from_path("g", odd),
    "read_into_path": lambda storage, odd: storage.read_into_path(odd, "/nowhere/at/all"),
    "read_into_path to": lambda storage, odd: storage.read_into_path("f", odd),
    "store": lambda storage, odd: storage.store(odd, __file__),
    "open": lambda storage, odd: storage.open(odd, "rb"),
    "open to write": lambda storage, odd: storage.open(odd, "wb"),
    "open in no mode": lambda storage, odd: storage.open(odd, odd),
    "mode": lambda storage, odd: storage.open("f", odd),
    "exists": lambda storage, odd: storage.exists(odd),
    "stat": lambda storage, odd: storage.stat(odd),
    "hash": lambda storage, odd: storage.hash(odd),
    "hash by nothing": lambda storage, odd: storage.hash(odd, odd),
    "algo": lambda storage, odd: storage.hash("f", odd),
    "list": lambda storage, odd: storage.list(odd),
    "scan": lambda storage, odd: storage.scan(odd),
    "copy": lambda storage, odd: storage.copy(odd, "g"),
    "copy to": lambda storage, odd: storage.copy("f", odd),
    "rename": lambda storage, odd: storage.rename(odd, "g"),
    "rename to": lambda storage, odd: storage.rename("f", odd),
    "create_dir": lambda storage, odd: storage.create_dir(odd),
    "delete": lambda storage, odd: storage.delete(odd),
    "remove_all": lambda storage, odd: storage.remove_all(odd),
    "presign_stat": lambda storage, odd: storage.presign_stat(odd, 1),
    "presign_read": lambda storage, odd: storage.presign_read(odd, odd),
    "presign_write": lambda storage, odd: storage.presign_write(odd, odd),
}


@pytest.mark.parametrize("method", METHODS)
@each("odd", ODD, ids=IDS)
def test_what_is_no_path_mode_or_algorithm_is_an_error_of_ours(storage: Storage, method: str, odd: Any) -> None:
    with pytest.raises((InvalidType, InvalidArgument, InvalidName)) as caught:
        METHODS[method](storage, odd)

    str(caught.value).encode()


@pytest.mark.parametrize("method", ["read", "read1", "readinto", "readline", "peek", "seek", "whence", "write"])
@each("odd", ODD, ids=IDS)
def test_what_the_files_cannot_do_anything_with_is_an_error_of_ours(storage: Storage, method: str, odd: Any) -> None:
    with storage.open("f", "rb") as file, storage.open("g", "wb") as written:
        try:
            if method == "whence":
                file.seek(0, odd)
            elif method == "write":
                written.write(odd)
            else:
                getattr(file, method)(odd)
        except HttpServeError as error:
            str(error).encode()
        written.discard()

    assert storage.read_bytes("f") == b"content"


@each("path", ["", "/", "\0", "a\0b", "..", "../f", "a/../f", "\ud800", " f", "a\\b", "x" * 300])
def test_what_can_be_no_name_of_a_file_is_an_error_of_ours_in_each_mode(storage: Storage, path: str) -> None:
    for mode in ("rb", "wb", "x", None, 7):
        with pytest.raises(HttpServeError) as caught:
            storage.open(path, mode)  # type: ignore[call-overload]  # what is refused
        str(caught.value).encode("utf-8", "backslashreplace")


def test_a_path_object_is_a_path(storage: Storage) -> None:
    assert storage.read_bytes(Path("f")) == b"content"
    assert storage.exists(os.fspath(Path("/f")))
