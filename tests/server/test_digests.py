"""`NAME.sha256` from a real server: a board fetches it and checks by `sha256sum -c`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.server.wire import Wire, pattern


def sha256sum(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    return subprocess.run([*command, "-c", "sums"], cwd=cwd, capture_output=True, text=True, timeout=30)


@pytest.mark.parametrize("command", [("sha256sum",), ("busybox", "sha256sum")], ids=lambda command: command[0])
def test_a_board_checks_what_it_fetched(bench: HttpServerClient, tmp_path: Path, command: tuple[str, ...]) -> None:
    bench.storage.write_bytes("boot/disk image.img", pattern(100_000))
    with Wire(bench.get_port()) as wire:
        (tmp_path / "disk image.img").write_bytes(wire.ask("/boot/disk%20image.img").body)
        (tmp_path / "sums").write_bytes(wire.ask("/boot/disk%20image.img.sha256").body)

    good = sha256sum(*command, cwd=tmp_path)
    (tmp_path / "disk image.img").write_bytes(pattern(99_999))
    bad = sha256sum(*command, cwd=tmp_path)

    assert good.returncode == 0
    assert bad.returncode != 0


def test_the_digest_is_no_request_for_the_file(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", pattern(1000))
    with Wire(bench.get_port()) as wire:
        for _ in range(2):  # the second answer is given from memory, where one is
            wire.ask("/f.sha256")
        with pytest.raises(TimeoutError):
            bench.wait_for_download("f", 0)
        wire.ask("/f")

        assert bench.wait_for_download("f", 5).bytes == 1000
        assert bench.wait_for_download("f.sha256", 5).bytes == 64 + len("  f\n")
    assert [record.name for record in bench.requests] == ["f.sha256", "f.sha256", "f"]


def test_a_new_version_has_its_digest_at_once(bench: HttpServerClient) -> None:
    with Wire(bench.get_port()) as wire:
        answers = []
        for seed in range(5):
            bench.storage.write_bytes("f", pattern(1000, seed))
            answers += [wire.ask("/f.sha256").body for _ in range(3)]

    assert len(set(answers)) == 5
    assert len(set(answers[-3:])) == 1


def test_digests_can_be_switched_off_in_the_client() -> None:
    with HttpServerClient(host="127.0.0.1", digests=False) as client:
        client.storage.write_bytes("f", b"1")
        with Wire(client.get_port()) as wire:
            assert wire.ask("/f.sha256").status == 404
