"""The file system of the root goes away, as a network share or a FUSE daemon does: closing raises nothing."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import pytest

from httpserve import HttpServeError, HttpServerClient, RootUnusable
from tests.faults.fuse_mirror import can_mount, mirror

pytestmark = pytest.mark.skipif(not can_mount(), reason="needs FUSE, fusermount3 and mfusepy")


@pytest.mark.parametrize("kind", ["a root", "a private root"])
def test_a_client_whose_file_system_is_gone_closes_and_logs_one_line(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with mirror(tmp_path) as (place, daemon), monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place))
        client = HttpServerClient(place / "new" / "root" if kind == "a root" else None, host="127.0.0.1")
        client.start()
        for number in range(5):
            client.storage.write_bytes(f"boards/{number}", b"x")
        files = [client.storage.open(f"on its way/{number}", "wb") for number in range(2)]
        for file in files:
            file.write(b"x" * 1000)
        daemon.kill()
        daemon.wait()
        caplog.set_level(logging.INFO, logger="httpserve.storage")
        caplog.clear()

        client.close()
        client.close()

        warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.name for record in warnings] == ["httpserve.storage"]
        assert not client.is_running
        del files, file
    client = HttpServerClient(tmp_path / "another", host="127.0.0.1")
    client.start()
    client.close()


@pytest.mark.parametrize("moment", ["open", "written"])
def test_a_write_that_is_under_way_when_the_file_system_goes_ends_with_an_error_of_ours(
    tmp_path: Path, moment: str
) -> None:
    with mirror(tmp_path) as (place, daemon):
        client = HttpServerClient(place, host="127.0.0.1")
        client.start()
        client.storage.write_bytes("before", b"x")
        file = client.storage.open("directory/file", "wb")
        if moment == "written":
            file.write(b"x" * 100_000)
        daemon.kill()
        daemon.wait()

        with pytest.raises(HttpServeError):
            file.write(b"x" * 300_000)
        with pytest.raises(HttpServeError):
            client.put_file("next", __file__)
        client.close()


def test_a_start_on_a_file_system_that_is_gone_is_refused_and_says_why(tmp_path: Path) -> None:
    with mirror(tmp_path) as (place, daemon):
        client = HttpServerClient(place, host="127.0.0.1")
        client.start()
        client.storage.write_bytes("before", b"x")
        client.close()
        daemon.kill()
        daemon.wait()

        with pytest.raises(RootUnusable, match="not connected"):
            client.start()


def test_a_private_root_on_fuse_is_removed_on_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirror(tmp_path) as (place, _), monkeypatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(place))
        with HttpServerClient(host="127.0.0.1") as client:
            client.storage.write_bytes("boards/file", b"x")

        assert list(place.iterdir()) == []
