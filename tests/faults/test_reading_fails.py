"""A disk that fails or goes away while the script reads from it: errors of ours, with errno and name."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from httpserve import HttpServeError, HttpServerClient, StorageError
from tests.fuse import FaultyDisk
from tests.server.wire import Wire, eventually

CALLS: dict[str, Callable[[HttpServerClient, Path], object]] = {
    "hash": lambda client, where: client.storage.hash("f"),
    "hash md5": lambda client, where: client.storage.hash("f", "md5"),
    "read_bytes": lambda client, where: client.storage.read_bytes("f"),
    "read_into_path": lambda client, where: client.storage.read_into_path("f", where / "out"),
    "open": lambda client, where: client.storage.open("f", "rb"),
    "stat": lambda client, where: client.storage.stat("f"),
    "exists": lambda client, where: client.storage.exists("f"),
    "list": lambda client, where: client.storage.list("d/"),
    "scan": lambda client, where: client.storage.scan("d/"),
    "copy": lambda client, where: client.storage.copy("f", "g"),
    "wait": lambda client, where: client.wait_for_download("f", timeout=0.01),
    "command": lambda client, where: client.command("f", "wget"),
    "expect": lambda client, where: client.expect_download("f", timeout=0.01).__enter__(),
}


@pytest.fixture
def client(faulty_disk: FaultyDisk) -> HttpServerClient:
    (faulty_disk.beneath / "f").write_bytes(b"content" * 50_000)
    (faulty_disk.beneath / "d").mkdir()
    (faulty_disk.beneath / "d" / "f").touch()
    return HttpServerClient(faulty_disk.path, host="127.0.0.1")


ERRORS = itertools.cycle([errno.EIO, errno.ESTALE, errno.ENOTCONN])  # each call and each operation meets each


@pytest.mark.parametrize(
    ("call", "operation", "number"),
    [(*case, next(ERRORS)) for case in itertools.product(CALLS, ["getattr", "open", "read", "readdir", "flush"])],
)
def test_a_failing_disk_is_an_error_of_ours_or_does_not_matter(
    client: HttpServerClient, faulty_disk: FaultyDisk, tmp_path: Path, call: str, operation: str, number: int
) -> None:
    errors: list[HttpServeError] = []
    with client:
        client.storage.write_bytes("journal", b"is there")
        for after in range(4):
            fault = faulty_disk.fault(operation, errno=number, after=after)
            try:
                CALLS[call](client, tmp_path)
            except HttpServeError as error:
                errors.append(error)
            finally:
                fault.clear()
        client.storage.read_bytes("f")

    of_the_disk = [error for error in errors if isinstance(error, StorageError)]
    assert {error.errno for error in of_the_disk} <= {number}
    assert all(error.name or operation == "getattr" for error in of_the_disk)
    assert errors == of_the_disk or call in ("wait", "expect", "read_into_path")


@pytest.mark.parametrize("call", CALLS)
def test_a_disk_that_is_gone_is_an_error_of_ours(
    client: HttpServerClient, faulty_disk: FaultyDisk, tmp_path: Path, call: str
) -> None:
    with client:
        faulty_disk.kill()

        with pytest.raises(StorageError) as caught:
            CALLS[call](client, tmp_path)

    assert caught.value.errno == errno.ENOTCONN


def test_a_file_that_is_open_when_its_disk_goes_away_fails_with_errors_of_ours(
    client: HttpServerClient, faulty_disk: FaultyDisk, tmp_path: Path
) -> None:
    with client, client.storage.open("f", "rb") as file:
        faulty_disk.kill()

        for call in (
            file.read,
            lambda: file.read_into_path(tmp_path / "out"),
            lambda: file.seek(0, 2),
            lambda: file.is_unchanged(),
        ):
            with pytest.raises(HttpServeError):
                call()


@pytest.mark.parametrize("at_once", [1 << 20, 0], ids=["at once", "in the background"])
def test_a_digest_of_a_file_that_cannot_be_read_is_an_error_until_it_can(
    client: HttpServerClient,
    faulty_disk: FaultyDisk,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    at_once: int,
) -> None:
    monkeypatch.setattr("httpserve.storage.directory.digests.AT_ONCE_BYTES", at_once)
    monkeypatch.setattr("httpserve.storage.directory.digests.SETTLED_SECONDS", 0.0)
    with client, Wire(client.get_port()) as wire:
        fault = faulty_disk.fault("read", errno=errno.EIO)
        failed = wire.ask("/f.sha256").status
        fault.clear()
        eventually(lambda: wire.ask("/f.sha256").status == 200, "it is read")

    assert failed == 500
    assert capfd.readouterr().err == ""
