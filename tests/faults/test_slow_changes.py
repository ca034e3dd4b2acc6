"""A disk that takes its time to remove, move or replace a file: everybody else is answered meanwhile."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from httpserve import HttpServerClient
from tests.fuse import FaultyDisk
from tests.server.wire import Wire

LARGE = 32 << 20


@contextmanager
def beside(call: Callable[[], object]) -> Iterator[None]:
    """Run *call* in a thread, which must end by itself after the block."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()
    assert failures == []


CHANGES: dict[str, tuple[str, Callable[[HttpServerClient], object]]] = {
    "delete": ("unlink", lambda client: client.storage.delete("d/big")),
    "remove_all": ("unlink", lambda client: client.storage.remove_all("d/big")),
    "write_bytes over it": ("rename", lambda client: client.storage.write_bytes("d/big", b"new")),
    "put_file over it": ("rename", lambda client: client.put_file("d/big", "/dev/null")),
    "rename": ("rename", lambda client: client.storage.rename("d/big", "d/moved")),
    "rename over it": ("rename", lambda client: client.storage.rename("d/ours", "d/big")),
    "create_dir": ("mkdir", lambda client: client.storage.create_dir("d/made/")),
}


@pytest.mark.parametrize("change", CHANGES)
def test_boards_get_other_files_while_the_disk_is_busy_with_a_change(faulty_disk: FaultyDisk, change: str) -> None:
    operation, call = CHANGES[change]
    (faulty_disk.beneath / "d").mkdir()
    (faulty_disk.beneath / "d" / "big").write_bytes(bytes(LARGE))
    (faulty_disk.beneath / "foreign").write_bytes(b"foreign")

    with HttpServerClient(faulty_disk.path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        client.storage.write_bytes("ours", b"ours")
        client.storage.write_bytes("d/ours", b"ours")
        fault = faulty_disk.fault(operation, "d/*", block=True)
        with beside(lambda: call(client)):
            fault.wait_until_met()
            try:
                answers = [wire.ask(target).body for target in ("/foreign", "/ours", "/foreign", "/ours")]
                missing = wire.ask("/missing").status
                others = [client.storage.exists("ours"), client.storage.hash("foreign"), client.storage.list("/")[0]]
            finally:
                fault.clear()

    assert answers == [b"foreign", b"ours", b"foreign", b"ours"]
    assert missing == 404
    assert others == [True, hashlib.sha256(b"foreign").hexdigest(), "/"]


def test_a_file_removed_by_others_is_missed_at_once_while_the_disk_is_busy_with_a_change(
    faulty_disk: FaultyDisk,
) -> None:
    with HttpServerClient(faulty_disk.path, host="127.0.0.1") as client, Wire(client.get_port()) as wire:
        client.storage.write_bytes("gone", b"x")
        client.storage.write_bytes("d/f", b"x")
        os.unlink(faulty_disk.path / "gone")
        fault = faulty_disk.fault("unlink", "d/*", block=True)
        with beside(lambda: client.storage.delete("d/f")):
            fault.wait_until_met()
            try:
                status = wire.ask("/gone").status
            finally:
                fault.clear()

    assert status == 404
