"""Files that change while they are sent: old bytes whole, or cut so that the client sees it; never a mixture."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern


def start_download(client: HttpServerClient, target: str = "/f") -> Wire:
    """Begin a download that fits into no buffer, and stop reading."""
    wire = Wire(client.get_port(), receive_bytes=65536)
    wire.get(target)
    head = wire.read_head()
    assert f"Content-Length: {BIG_BYTES}\r\n".encode() in head
    return wire


def test_a_file_replaced_while_it_is_sent_is_sent_whole_from_the_old_bytes(
    site: HttpServerClient, tmp_path: Path
) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES, 1))
    (tmp_path / "new").write_bytes(pattern(BIG_BYTES, 2))
    with start_download(site) as wire:
        os.replace(tmp_path / "new", tmp_path / "root" / "f")

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES, 1)
        assert wire.ask("/f").body == pattern(BIG_BYTES, 2)


def test_a_file_put_while_the_old_one_is_sent_leaves_that_whole(site: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(pattern(BIG_BYTES, 1))
    (tmp_path / "new").write_bytes(pattern(BIG_BYTES, 2))
    site.put_file("f", tmp_path / "old")
    with start_download(site) as wire:
        site.put_file("f", tmp_path / "new")

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES, 1)
        assert wire.ask("/f").body == pattern(BIG_BYTES, 2)


def test_a_file_deleted_while_it_is_sent_is_sent_whole(site: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES))
    with start_download(site) as wire:
        (tmp_path / "root" / "f").unlink()

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES)
        assert wire.ask("/f").status == 404


@pytest.mark.parametrize("left", [0, 1000, BIG_BYTES - 1])
def test_a_file_truncated_while_it_is_sent_is_cut_so_that_the_client_sees_it(
    site: HttpServerClient, tmp_path: Path, left: int
) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES))
    with start_download(site) as wire:
        os.truncate(tmp_path / "root" / "f", left)

        data = wire.rest_until_any_end()

    assert len(data) < BIG_BYTES


def read_after(change: Callable[[Path], object], client: HttpServerClient, path: Path) -> bytes:
    """Return what a client gets of a file that changes when all of it is in the kernel's hands."""
    with Wire(client.get_port(), receive_bytes=65536) as wire:
        wire.get(f"/{path.name}", "Connection: close")
        wire.read_head()
        eventually(lambda: not busy(client), "the kernel has what it takes")
        change(path)
        return wire.rest_until_any_end()


def busy(client: HttpServerClient) -> bool:
    """Say whether a file is open for sending, and has not been waited with for the client."""
    seconds = [record.seconds for record in client.requests]
    return not client.requests[-1].completed and seconds[-1] < 0.2


def write_into(path: Path, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.write(data)


def write_into_and_set_the_time_back(path: Path, data: bytes) -> None:
    """Do what `rsync --inplace --times` and `touch -r` do, and builds whose times are to be the same each time."""
    found = path.stat()
    write_into(path, data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


CHANGES: dict[str, Callable[[Path], object]] = {
    "truncated": lambda path: os.truncate(path, 1000),
    "halved": lambda path: os.truncate(path, path.stat().st_size // 2 + 5),
    "emptied": lambda path: os.truncate(path, 0),
    "written over": lambda path: path.write_bytes(pattern(path.stat().st_size, 2)),
    "written into": lambda path: write_into(path, pattern(path.stat().st_size, 2)),
    "written into, its time as it was": lambda path: write_into_and_set_the_time_back(
        path, pattern(path.stat().st_size, 2)
    ),
}


@pytest.mark.parametrize("size", [200_000, 3 << 20])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_when_the_kernel_has_it_is_of_the_old_bytes_or_cut(
    site: HttpServerClient, tmp_path: Path, size: int, change: str
) -> None:
    path = tmp_path / "root" / "f"
    path.write_bytes(pattern(size))

    data = read_after(CHANGES[change], site, path)

    assert len(data) < size or data == pattern(size)


@pytest.mark.parametrize("wanted", ["0-", "1-", f"0-{BIG_BYTES // 2},{BIG_BYTES // 2 + 9}-"])
def test_a_file_rewritten_in_place_with_its_old_time_is_cut_and_no_wait_takes_it(
    site: HttpServerClient, tmp_path: Path, wanted: str
) -> None:
    path = tmp_path / "root" / "f"
    path.write_bytes(pattern(BIG_BYTES, 1))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    with Wire(site.get_port(), receive_bytes=65536) as wire:
        wire.get("/f", f"Range: bytes={wanted}")
        length = int(wire.read_head().split(b"Content-Length: ")[1].split(b"\r\n")[0])
        write_into_and_set_the_time_back(path, pattern(BIG_BYTES, 2))

        data = wire.rest_until_any_end()

    assert len(data) < length
    eventually(lambda: site.requests[-1].outcome == "cut", "the record says so")
    with pytest.raises(TimeoutError):
        site.wait_for_download("f", timeout=0)


@pytest.mark.parametrize("away", [os.rename, os.link])
def test_a_file_that_gets_another_name_while_it_is_sent_is_sent_whole(
    site: HttpServerClient, tmp_path: Path, away: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES))
    with start_download(site) as wire:
        away(tmp_path / "root" / "f", tmp_path / "root" / "g")

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES)


def test_a_file_that_the_storage_renames_while_it_is_sent_is_sent_whole(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", pattern(BIG_BYTES))
    with start_download(bench) as wire:
        bench.storage.rename("f", "g")

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES)


@pytest.mark.parametrize("where", ["first byte", "last byte", "everything"])
def test_a_file_rewritten_in_place_while_it_is_sent_is_cut_so_that_the_client_sees_it(
    site: HttpServerClient, tmp_path: Path, where: str
) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES, 1))
    with start_download(site) as wire:
        with open(tmp_path / "root" / "f", "r+b") as file:
            if where == "everything":
                file.write(pattern(BIG_BYTES, 2))
            else:
                file.seek(0 if where == "first byte" else BIG_BYTES - 1)
                file.write(b"X")

        data = wire.rest_until_any_end()

    assert len(data) < BIG_BYTES


def test_a_file_that_grows_while_it_is_sent_is_cut_or_of_the_old_length(site: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES))
    with start_download(site) as wire:
        with open(tmp_path / "root" / "f", "ab") as file:
            file.write(b"more")

        data = wire.rest_until_any_end()

    assert len(data) <= BIG_BYTES
    assert data == pattern(BIG_BYTES)[: len(data)]


def test_a_truncated_range_among_many_is_cut(site: HttpServerClient, tmp_path: Path) -> None:
    (tmp_path / "root" / "f").write_bytes(pattern(BIG_BYTES))
    with Wire(site.get_port(), receive_bytes=65536) as wire:
        wire.get("/f", f"Range: bytes=0-{BIG_BYTES // 2},{BIG_BYTES // 2 + 9}-")
        length = int(wire.read_head().split(b"Content-Length: ")[1].split(b"\r\n")[0])
        os.truncate(tmp_path / "root" / "f", BIG_BYTES // 2)

        assert len(wire.rest_until_any_end()) < length


def test_a_small_file_replaced_all_the_time_is_always_whole(bench: HttpServerClient, tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / str(seed)).write_bytes(pattern(50_000 * seed, seed))
    bench.put_file("f", tmp_path / "1")
    done = threading.Event()

    def replace() -> int:
        rounds = 0
        while not done.is_set():
            rounds += 1
            bench.put_file("f", tmp_path / str(1 + rounds % 2))
        return rounds

    with ThreadPoolExecutor() as pool, Wire(bench.get_port()) as wire:
        replacing = pool.submit(replace)
        try:
            for _ in range(300):
                answer = wire.ask("/f")
                others = {pattern(50_000, 1): pattern(100_000, 2), pattern(100_000, 2): pattern(50_000, 1)}
                assert answer.body in others
                assert answer["ETag"] != f'"{hashlib.sha256(others[answer.body]).hexdigest()}"'
        finally:
            done.set()
        assert replacing.result(10) > 10
