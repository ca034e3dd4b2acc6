"""The disk of the tests does what its rules say, and is gone afterwards, however its test ends."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.fuse import PATIENCE_SECONDS, REPOSITORY, FaultyDisk, mounted


def test_what_is_written_to_the_disk_lies_beneath_it(faulty_disk: FaultyDisk) -> None:
    (faulty_disk.path / "deep").mkdir()
    (faulty_disk.path / "deep" / "a").write_bytes(b"A" * 300_000)
    (faulty_disk.path / "deep" / "a").rename(faulty_disk.path / "b")
    os.utime(faulty_disk.path / "b", ns=(1, 2))

    assert (faulty_disk.beneath / "b").read_bytes() == b"A" * 300_000
    assert (faulty_disk.path / "b").read_bytes() == b"A" * 300_000
    assert (faulty_disk.path / "b").stat().st_mtime_ns == 2
    assert sorted(os.listdir(faulty_disk.path)) == ["b", "deep"]


def test_an_operation_fails_as_often_as_its_rule_says(faulty_disk: FaultyDisk) -> None:
    (faulty_disk.path / "a").touch()
    fault = faulty_disk.fault("open", "a", errno=errno.EIO, after=1, times=1)

    outcomes: list[int | None] = []
    for name in ("a", "b", "a", "a"):
        try:
            os.close(os.open(faulty_disk.path / name, os.O_RDONLY))
            outcomes.append(0)
        except OSError as error:
            outcomes.append(error.errno)

    assert outcomes == [0, errno.ENOENT, errno.EIO, 0]
    assert fault.met == 1


def test_a_read_fails_from_a_byte_on(faulty_disk: FaultyDisk) -> None:
    (faulty_disk.beneath / "a").write_bytes(b"A" * 1_000_000)
    faulty_disk.fault("read", errno=errno.EIO, at=500_000)

    with open(faulty_disk.path / "a", "rb", buffering=0) as file:
        assert file.read(100_000) == b"A" * 100_000
        file.seek(600_000)
        with pytest.raises(OSError, match="Input/output error"):
            file.read(100_000)


def test_the_close_of_a_descriptor_fails_once(faulty_disk: FaultyDisk) -> None:
    faulty_disk.fault("flush", "a", errno=errno.EDQUOT, times=1)
    first = os.open(faulty_disk.path / "a", os.O_CREAT | os.O_WRONLY)
    second = os.dup(first)

    with pytest.raises(OSError, match="quota"):
        os.close(first)
    os.close(second)


def test_an_operation_is_held_until_its_rule_is_cleared(faulty_disk: FaultyDisk) -> None:
    (faulty_disk.beneath / "a").write_bytes(b"A")
    fault = faulty_disk.fault("open", "a", block=True)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append((faulty_disk.path / "a").read_bytes()))

    reader.start()
    fault.wait_until_met()
    held = (list(got), os.listdir(faulty_disk.path))
    fault.clear()
    reader.join()

    assert held == ([], ["a"])
    assert got == [b"A"]


def test_a_disk_that_goes_away_says_so_to_whoever_waits_for_it(faulty_disk: FaultyDisk) -> None:
    (faulty_disk.beneath / "a").write_bytes(b"A")
    fault = faulty_disk.fault("open", "a", block=True)
    failed: list[int | None] = []

    def read() -> None:
        try:
            (faulty_disk.path / "a").read_bytes()
        except OSError as error:
            failed.append(error.errno)

    reader = threading.Thread(target=read)
    reader.start()
    fault.wait_until_met()
    faulty_disk.kill()
    reader.join()

    assert failed == [errno.ECONNABORTED]
    with pytest.raises(OSError, match="not connected"):
        os.listdir(faulty_disk.path)


def test_nothing_is_mounted_afterwards_though_a_file_is_open(tmp_path: Path, faulty_disk: FaultyDisk) -> None:
    where = tmp_path / "another"
    where.mkdir()
    with mounted(where) as disk:
        fd = os.open(disk.path / "a", os.O_CREAT)
    with pytest.raises(OSError, match="not connected"):
        os.close(fd)

    assert not os.path.ismount(where / "disk")
    assert os.listdir(where / "disk") == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_disk_goes_with_its_test(tmp_path: Path, faulty_disk: FaultyDisk, how: signal.Signals) -> None:
    where = tmp_path / "another"
    where.mkdir()
    code = (
        "import sys, time; from pathlib import Path; from tests.fuse import mounted\n"
        "with mounted(Path(sys.argv[1])) as disk: print('mounted', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(where)]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert os.path.ismount(where / "disk")
        process.send_signal(how)

    until = time.monotonic() + PATIENCE_SECONDS
    while os.path.ismount(where / "disk"):
        assert time.monotonic() < until
        time.sleep(0.02)
