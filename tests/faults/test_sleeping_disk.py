"""A disk that does not answer, or fails, costs the boards that ask for its files, and nobody else."""

from __future__ import annotations

import errno
import hashlib
import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from httpserve import HttpServerClient, WaitTimeout
from tests.fuse import FaultyDisk
from tests.server.wire import Wire, eventually, pattern

MANY = 150  # more than may wait for one disk
MANY_LISTS = 600  # more than there may be threads
BIG_BYTES = 3 << 20


class Bench:
    """A root on a good disk, with a bad one mounted in it."""

    def __init__(self, client: HttpServerClient, disk: FaultyDisk, mount: str) -> None:
        self.client = client
        self.disk = disk
        self.mount = mount

    def wire(self) -> Wire:
        return Wire(self.client.get_port())

    @contextmanager
    def asleep(self, operation: str, target: str, count: int, file: str = "bad") -> Iterator[list[Wire]]:
        """So many boards wait for a disk that wakes up when the block ends; all else is served meanwhile."""
        fault = self.disk.fault(operation, file, block=True)
        with ExitStack() as stack:
            waiting = [stack.enter_context(self.wire()) for _ in range(count)]
            for wire in waiting:
                wire.get(target)
            fault.wait_until_met()
            with self.wire() as quick:
                for _ in range(3):
                    assert quick.ask("/good").body == b"good"
                    assert quick.ask("/big").body == pattern(BIG_BYTES)
                    assert quick.ask("/missing").status == 404
            try:
                yield waiting
            finally:
                fault.clear()


@pytest.fixture
def bench(tmp_path: Path, faulty_disk: FaultyDisk) -> Iterator[Bench]:
    root = faulty_disk.path.parent
    (faulty_disk.beneath / "bad").write_bytes(pattern(BIG_BYTES))
    (faulty_disk.beneath / "small").write_bytes(b"small")
    (root / "good").write_bytes(b"good")
    (root / "big").write_bytes(pattern(BIG_BYTES))
    with HttpServerClient(root, host="127.0.0.1") as client:
        yield Bench(client, faulty_disk, faulty_disk.path.name)
        faulty_disk.clear()


@pytest.mark.parametrize("operation", ["open", "getattr", "read"])
@pytest.mark.parametrize("count", [1, MANY])
def test_a_disk_that_does_not_answer_holds_up_nobody_else(bench: Bench, operation: str, count: int) -> None:
    with bench.asleep(operation, f"/{bench.mount}/bad", count) as waiting:
        with bench.wire() as quick:
            assert quick.ask("/").status == 200

        bench.disk.clear()
        assert waiting[0].answer().status == 200


@pytest.mark.parametrize("operation", ["open", "read"])
@pytest.mark.parametrize("way", ["relative", "absolute", "directory", "link to a link", "out of the root"])
def test_a_link_to_a_disk_that_does_not_answer_takes_the_places_of_that_disk(
    bench: Bench, tmp_path_factory: pytest.TempPathFactory, operation: str, way: str
) -> None:
    root, disk = bench.disk.path.parent, bench.disk.path
    name = "link"
    match way:
        case "relative":
            (root / name).symlink_to(f"{disk.name}/bad")
        case "absolute":
            (root / name).symlink_to(disk / "bad")
        case "directory":
            (root / "to").symlink_to(disk.name)
            name = "to/bad"
        case "link to a link":
            (root / "first").symlink_to(f"./{disk.name}/../{disk.name}/bad")
            (root / name).symlink_to("first")
        case "out of the root":
            outside = tmp_path_factory.mktemp("outside") / "link"
            outside.symlink_to(disk / "bad")
            (root / name).symlink_to(outside)
    with bench.asleep(operation, f"/{name}", MANY) as waiting:
        assert len(waiting) == MANY


def test_lists_that_wait_for_a_disk_take_no_places_of_files(bench: Bench) -> None:
    with bench.asleep("getattr", "/", MANY_LISTS, file="") as waiting:
        bench.disk.clear()
        assert {wire.answer().status for wire in waiting} <= {200, 503}


def test_a_digest_that_waits_for_a_disk_holds_up_neither_others_nor_the_stop(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpserve.storage.directory.digests.SETTLED_SECONDS", 0.0)
    monkeypatch.setattr("httpserve.site.digest_file.WAIT_SECONDS", 1e9)
    monkeypatch.setattr("httpserve.storage.directory.digests.JOIN_SECONDS", 0.1)  # in vain
    with bench.asleep("read", f"/{bench.mount}/bad.sha256", MANY) as waiting:
        with bench.wire() as quick:
            assert quick.ask("/big.sha256").body.startswith(hashlib.sha256(pattern(BIG_BYTES)).hexdigest().encode())
            assert quick.ask(f"/{bench.mount}/small").body == b"small"

        bench.client.stop(timeout=0)

        assert len(waiting) == MANY


@pytest.mark.parametrize("operation", ["open", "read"])
def test_a_server_stops_while_a_disk_does_not_answer(
    bench: Bench, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("httpserve.server.server.JOIN_SECONDS", 0.1)  # in vain
    fault = bench.disk.fault(operation, "bad", block=True)
    with bench.wire() as wire:
        wire.get(f"/{bench.mount}/bad")
        fault.wait_until_met()
        port = bench.client.get_port()

        bench.client.stop(0)

        with pytest.raises(ConnectionRefusedError):
            Wire(port)
        with pytest.raises(ConnectionResetError):
            wire.rest()
        bench.client.start()
        with bench.wire() as again:
            assert again.ask("/good").body == b"good"
    fault.clear()
    old = f"httpserve:{port}"
    eventually(lambda: not [one for one in threading.enumerate() if one.name.startswith(old)], "the threads' end")


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOTCONN, errno.ESTALE])
def test_a_disk_that_fails_in_the_middle_is_not_taken_for_the_board(
    bench: Bench, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    bench.disk.fault("read", "bad", errno=code, at=BIG_BYTES // 2)
    with bench.wire() as wire:
        wire.get(f"/{bench.mount}/bad")
        with pytest.raises(ConnectionResetError):
            wire.rest()

    eventually(lambda: bench.client.requests[-1].outcome == "failed", "the outcome")
    eventually(lambda: _warnings(caplog), "the warning")
    (line,) = _warnings(caplog)
    assert f"{bench.mount}/bad" in line
    assert bench.client.requests[-1].bytes < BIG_BYTES
    with pytest.raises(WaitTimeout, match="the server could not read the file"):
        bench.client.wait_for_download(f"{bench.mount}/bad", timeout=0)


def test_a_disk_that_fails_at_once_is_a_500(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.disk.fault("read", "small", errno=errno.EIO)
    with bench.wire() as wire:
        assert wire.ask(f"/{bench.mount}/small").status == 500
        assert wire.ask("/good").body == b"good"

    eventually(lambda: _warnings(caplog), "the warning")
    (line,) = _warnings(caplog)
    assert "small" in line
    assert "Input/output error" in line


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
