"""A disk that takes bytes and refuses them later, at a close, as NFS does: the copy fails, whichever close it was.

The disk tells it once, to whoever closes first, or again and again (FUSE).
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from httpserve import CopyFailed, HttpServerClient, StorageError
from tests.fuse import FaultyDisk

OLD = b"the old image"
TEMPORARY = "*.part"
SIZES = {"a small file": 1000, "a file of one chunk": 200_000, "a file that is read back": 1_000_000}
WHICH: dict[str, dict[str, int]] = {
    "the first close": {"times": 1},
    "the second close": {"after": 1, "times": 1},
    "every close": {},
}


@pytest.fixture
def died(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[threading.ExceptHookArgs]]:
    """What threads died of: nothing, at the end."""
    found: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", found.append)
    yield found
    assert not found


@pytest.fixture
def client(faulty_disk: FaultyDisk, died: object) -> Iterator[HttpServerClient]:
    with HttpServerClient(faulty_disk.path, host="127.0.0.1") as client:
        client.storage.write_bytes("image", OLD)
        yield client


def put_file(client: HttpServerClient, source: Path) -> object:
    return client.put_file("image", source)


def write_bytes(client: HttpServerClient, source: Path) -> None:
    client.storage.write_bytes("image", source.read_bytes())


def open_and_write(client: HttpServerClient, source: Path) -> None:
    with client.storage.open("image", "wb") as file:
        file.write(source.read_bytes())


def open_and_copy(client: HttpServerClient, source: Path) -> None:
    with client.storage.open("image", "wb") as file:
        file.write_from_path(source)


def copy(client: HttpServerClient, source: Path) -> None:
    client.storage.copy("source", "image")


CALLS = [put_file, write_bytes, open_and_write, open_and_copy, copy]


def temporaries(disk: FaultyDisk) -> list[str]:
    return [name for name in os.listdir(disk.beneath) if name.endswith(".part")]


def served(client: HttpServerClient) -> bytes:
    return requests.get(f"{client.get_url()}/image", timeout=20).content


ERRORS = itertools.cycle([errno.EDQUOT, errno.ENOSPC, errno.EIO, errno.EDQUOT])  # each call meets each


@pytest.mark.parametrize(
    ("call", "size", "which", "number"), [(*case, next(ERRORS)) for case in itertools.product(CALLS, SIZES, WHICH)]
)
def test_bytes_that_are_refused_at_a_close_are_not_published(
    faulty_disk: FaultyDisk,
    client: HttpServerClient,
    tmp_path: Path,
    call: Callable[[HttpServerClient, Path], object],
    size: str,
    which: str,
    number: int,
) -> None:
    new = b"N" * SIZES[size]
    source = tmp_path / "source"
    source.write_bytes(new)
    client.storage.write_bytes("source", new)
    fault = faulty_disk.fault("flush", TEMPORARY, errno=number, **WHICH[which])

    failed: int | None = None
    try:
        call(client, source)
    except StorageError as error:
        failed = error.errno

    # What is not read back is closed only once.
    assert failed == (number if fault.met else None)
    assert fault.met or which == "the second close"
    assert served(client) == (new if failed is None else OLD)
    assert temporaries(faulty_disk) == []
    fault.clear()
    call(client, source)
    assert served(client) == new


@pytest.mark.parametrize("size", SIZES)
def test_bytes_that_are_refused_at_a_close_are_not_copied_out(
    faulty_disk: FaultyDisk, died: object, tmp_path: Path, size: str
) -> None:
    target = faulty_disk.path / "copy"
    target.write_bytes(OLD)
    with HttpServerClient(tmp_path / "root", host="127.0.0.1") as client:
        client.storage.write_bytes("image", b"N" * SIZES[size])
        faulty_disk.fault("flush", "*.part", errno=errno.EDQUOT, times=1)

        with pytest.raises(CopyFailed, match=r"(?i)quota exceeded"):
            client.storage.read_into_path("image", target)

    assert target.read_bytes() == OLD
    assert temporaries(faulty_disk) == []


def test_bytes_that_cannot_be_read_back_are_not_published(
    faulty_disk: FaultyDisk, client: HttpServerClient, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(1_000_000))
    faulty_disk.fault("read", TEMPORARY, errno=errno.EIO)

    with pytest.raises((StorageError, CopyFailed)):
        client.put_file("image", source)

    assert served(client) == OLD
    assert temporaries(faulty_disk) == []
