"""Digests of files that came in without one: which are kept, and which are not given at all."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve.storage.directory.digests import Digests
from httpserve.storage.directory.open_file import OpenFile
from httpserve.storage.directory.root import Root
from httpserve.storage.served import SETTLED_SECONDS, Identity

CONTENT = b"content"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Opener:
    """Opens `f`, and knows how often."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.path = Path(root.path) / "f"
        self.path.write_bytes(CONTENT)
        self.count = 0

    def __call__(self) -> OpenFile:
        self.count += 1
        return self.root.open_file("f")

    def identity(self) -> Identity:
        return Identity.of(self.path.stat())


@pytest.fixture
def opener(tmp_path: Path) -> Iterator[Opener]:
    root = Root(tmp_path / "root").open()
    yield Opener(root)
    root.close()


@pytest.mark.parametrize(
    ("seconds_old", "times_read"),
    [(0.0, 2), (SETTLED_SECONDS - 1, 2), (SETTLED_SECONDS + 1, 1), (-3600.0, 1)],
    ids=["new", "almost", "has rested", "before the clock was set back"],
)
def test_a_digest_is_kept_where_a_change_would_show(
    opener: Opener, monkeypatch: pytest.MonkeyPatch, seconds_old: float, times_read: int
) -> None:
    now = opener.identity().ctime_ns / 1e9 + seconds_old
    monkeypatch.setattr(time, "time", lambda: now)
    digests = Digests()

    found = [digests.of("f", opener.identity(), opener, seconds) for seconds in (None, 0.0)]

    assert (found, opener.count) == ([DIGEST, DIGEST], times_read)


def test_another_version_than_the_one_that_is_meant_has_no_digest(opener: Opener) -> None:
    before = opener.identity()
    opener.path.write_bytes(b"another")

    assert Digests().of("f", before._replace(ctime_ns=0), opener, None) is None


def test_a_file_that_changes_while_it_is_read_has_no_digest(opener: Opener) -> None:
    def opened() -> OpenFile:
        file = opener()
        while opener.identity() == before:  # until the clock of the file system has ticked
            opener.path.write_bytes(CONTENT[::-1])
        return file

    before = opener.identity()

    assert Digests().of("f", before, opened, None) is None
    assert Digests().of("f", opener.identity(), opener, None) == hashlib.sha256(CONTENT[::-1]).hexdigest()
