"""A file is replaced a thousand times while another thread reads it: no version has the digest of another."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from pathlib import Path

import pytest

from httpserve.storage.directory.root import Root
from tests.faults.test_slow_changes import beside


@pytest.mark.parametrize("how", ["put", "rename"])
def test_whoever_opens_a_new_version_before_it_is_on_record_has_its_digest(tmp_path: Path, how: str) -> None:
    root = Root(tmp_path).open()
    is_over = threading.Event()
    digests = set()

    def put(name: str, data: bytes) -> None:
        with root.incoming(name) as incoming:
            incoming.write(data)
            incoming.commit(hashlib.sha256(data).hexdigest())

    def read() -> None:
        while not is_over.is_set():
            with contextlib.suppress(FileNotFoundError), contextlib.closing(root.open_file("f")) as file:
                content = os.pread(file.fd, 100, 0)
                if os.fstat(file.fd).st_nlink:  # else it was replaced before anybody could look which version it was
                    digests.add(file.sha256 == hashlib.sha256(content).hexdigest())

    with beside(read):
        for number in range(1000):
            data = f"version {number}".encode()
            if how == "put":
                put("f", data)
            else:
                put("g", data)
                root.changes.rename("g", "f")
        is_over.set()
    root.close()

    assert digests == {True}
