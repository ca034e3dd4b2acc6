"""What comes in is hashed while it comes: at once where little comes, behind the writer where much does."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.errors import StorageError
from httpserve.storage.directory.root import Root
from httpserve.storage.received import HASH_BYTES, QUICK_BYTES, Received
from tests.cases import each
from tests.server.wire import eventually, pattern

MUCH = pattern(6 * QUICK_BYTES)


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    root = Root(tmp_path).open()
    yield root
    root.close()


def followers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "httpserve:sha256"]


def filled(root: Root, content: bytes, piece: int) -> Received:
    received = root.receive("a")
    for at in range(0, len(content), piece):
        received.write(content[at : at + piece])
    return received


@each(("content", "piece"), [(b"", 1), (b"12345", 2), (MUCH, HASH_BYTES), (MUCH, 1 << 22), (MUCH, 50_000)])
def test_digest_is_that_of_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, piece: int
) -> None:
    root = Root(tmp_path_factory.mktemp("root")).open()

    received = filled(root, content, piece)
    sha256 = received.sha256()
    received.commit()

    assert sha256 == hashlib.sha256(content).hexdigest()
    assert root.digest_on_record("a", root.status("a").identity) == sha256
    assert followers() == []
    root.close()


def test_who_pauses_after_much_has_no_thread_and_the_same_digest(root: Root) -> None:
    received = filled(root, MUCH, HASH_BYTES)
    eventually(lambda: not followers(), "nobody follows a silent writer")
    for _ in range(2):
        received.write(b"more")

    assert received.sha256() == hashlib.sha256(MUCH + b"moremore").hexdigest()
    received.discard()


def test_who_is_far_ahead_waits_for_the_thread_that_hashes(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.storage.received.QUICK_SECONDS", 60.0)  # somebody follows, however slow
    monkeypatch.setattr("httpserve.storage.received.MOST_BEHIND_BYTES", HASH_BYTES)
    received = filled(root, MUCH, 1 << 20)

    sha256 = received.sha256()
    received.discard()

    assert sha256 == hashlib.sha256(MUCH).hexdigest()


def test_what_is_discarded_leaves_nothing(root: Root) -> None:
    received = filled(root, MUCH, HASH_BYTES)

    received.discard()
    received.discard()

    assert followers() == []
    assert [name for name in os.listdir(root.path) if not name.endswith(".journal")] == []
    with pytest.raises(StorageError, match="discarded"):
        received.write(b"x")


def test_disk_that_does_not_give_back_what_was_written_is_an_error(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.storage.received.QUICK_SECONDS", 60.0)  # somebody follows, however slow
    received = filled(root, MUCH, HASH_BYTES)

    def fails(*arguments: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def go_on() -> None:
        received.write(MUCH)
        received.commit()

    monkeypatch.setattr(os, "pread", fails)
    with pytest.raises(StorageError, match="input/output error"):
        go_on()
    received.discard()

    assert not (Path(root.path) / "a").exists()
