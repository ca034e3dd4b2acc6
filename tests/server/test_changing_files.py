"""Files that change while they are sent: old bytes whole, or cut so that the client sees it; never a mixture."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern

pytestmark = pytest.mark.local_root("files are changed in their place, which no store can do")


@contextlib.contextmanager
def reader(client: HttpServerClient, *fields: str) -> Iterator[tuple[Wire, int]]:
    """A client that has the head of `f`, which fits into no buffer, and how much is to follow."""
    with Wire(client.get_port(), receive_bytes=65536) as wire:
        wire.get("/f", *fields)
        yield wire, int(wire.read_head().split(b"Content-Length: ")[1].split(b"\r\n")[0])


def write_into(path: Path, data: bytes, at: int = 0) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(data)


def write_into_and_set_the_time_back(path: Path, data: bytes) -> None:
    """Do what `rsync --inplace --times` and `touch -r` do, and builds whose times are to be the same each time."""
    found = path.stat()
    write_into(path, data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def other(path: Path) -> bytes:
    """Return other content of the same length."""
    return pattern(path.stat().st_size, 2)


@pytest.fixture
def path(site: HttpServerClient, tmp_path: Path) -> Path:
    """What is served as `f`: a file that fits into no buffer."""
    path = tmp_path / "root" / "f"
    path.write_bytes(pattern(BIG_BYTES))
    return path


def new(path: Path) -> Path:
    """Return another file with other content."""
    found = path.parent.parent / "new"
    found.write_bytes(other(path))
    return found


# What a poller does is the same whatever happens to a file; how its bytes leave is not.
each_way_out = pytest.mark.parametrize("site", ["epoll and sendfile", "behind a cable", "neither"], indirect=True)


# Sent whole


AWAY: dict[str, Callable[[HttpServerClient, Path], object]] = {
    "replaced": lambda _, path: os.replace(new(path), path),
    "put": lambda site, path: site.put_file("f", new(path)),
    "deleted": lambda _, path: path.unlink(),
    "renamed": lambda _, path: path.rename(path.parent / "g"),
    "linked": lambda _, path: os.link(path, path.parent / "g"),
}


@each_way_out
@pytest.mark.parametrize("away", AWAY)
def test_a_file_whose_name_gets_or_loses_something_while_it_is_sent_is_sent_whole(
    site: HttpServerClient, path: Path, away: str
) -> None:
    with reader(site) as (wire, length):
        AWAY[away](site, path)

        assert wire.read_exactly(length) == pattern(BIG_BYTES)
        if away in ("replaced", "put"):
            assert wire.ask("/f").body == pattern(BIG_BYTES, 2)
        else:
            assert wire.ask("/f").status == (200 if away == "linked" else 404)


def test_a_file_that_the_storage_replaces_and_renames_while_it_is_sent_is_sent_whole(bench: HttpServerClient) -> None:
    bench.storage.write_bytes("f", pattern(BIG_BYTES))
    with reader(bench) as (old, length):
        bench.storage.write_bytes("f", pattern(BIG_BYTES, 2))
        with reader(bench) as (new, _):
            bench.storage.rename("f", "g")

            assert old.read_exactly(length) == pattern(BIG_BYTES)
            assert new.read_exactly(length) == pattern(BIG_BYTES, 2)


# Cut


CHANGES: dict[str, Callable[[Path], object]] = {
    "halved": lambda path: os.truncate(path, path.stat().st_size // 2 + 5),
    "emptied": lambda path: os.truncate(path, 0),
    "written over": lambda path: path.write_bytes(other(path)),
    "written into": lambda path: write_into(path, other(path)),
    "written into, its time as it was": lambda path: write_into_and_set_the_time_back(path, other(path)),
}


@each_way_out
@pytest.mark.parametrize(
    "change",
    [
        *CHANGES.values(),
        lambda path: os.truncate(path, BIG_BYTES - 1),
        lambda path: write_into(path, b"X", at=BIG_BYTES - 1),
    ],
    ids=[*CHANGES, "less by a byte", "last byte"],
)
def test_a_file_that_changes_in_place_while_it_is_sent_is_cut_so_that_the_client_sees_it(
    site: HttpServerClient, path: Path, change: Callable[[Path], object]
) -> None:
    with reader(site) as (wire, length):
        change(path)

        assert len(wire.rest_until_any_end()) < length


@each_way_out
@pytest.mark.parametrize("size", [200_000, 3 << 20])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_when_the_kernel_has_it_is_of_the_old_bytes_or_cut(
    site: HttpServerClient, tmp_path: Path, size: int, change: str
) -> None:
    path = tmp_path / "root" / "f"
    path.write_bytes(pattern(size))
    with reader(site, "Connection: close") as (wire, _):
        eventually(lambda: site.transfers[0].sent >= 150_000, "the kernel has a part or all of it")
        CHANGES[change](path)
        data = wire.rest_until_any_end()

    assert len(data) < size or data == pattern(size)


@each_way_out
@pytest.mark.parametrize("wanted", ["0-", "1-", f"0-{BIG_BYTES // 2},{BIG_BYTES // 2 + 9}-"])
@pytest.mark.parametrize("change", ["halved", "written into, its time as it was"])
def test_ranges_of_a_file_that_changes_are_cut_and_no_wait_takes_them(
    site: HttpServerClient, path: Path, change: str, wanted: str
) -> None:
    os.utime(path, (1_700_000_000, 1_700_000_000))
    with reader(site, f"Range: bytes={wanted}") as (wire, length):
        CHANGES[change](path)

        assert len(wire.rest_until_any_end()) < length
    eventually(lambda: site.requests[-1].outcome == "cut", "the record says so")
    with pytest.raises(TimeoutError):
        site.wait_for_download("f", timeout=0)


@each_way_out
def test_a_file_that_grows_while_it_is_sent_is_cut_or_of_the_old_length(site: HttpServerClient, path: Path) -> None:
    with reader(site) as (wire, _):
        with open(path, "ab") as file:
            file.write(b"more")

        data = wire.rest_until_any_end()

    assert data == pattern(BIG_BYTES)[: len(data)]


def test_a_small_file_replaced_all_the_time_is_always_whole(bench: HttpServerClient, tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / str(seed)).write_bytes(pattern(50_000 * seed, seed))
    bench.put_file("f", tmp_path / "1")
    others = {pattern(50_000, 1): pattern(100_000, 2), pattern(100_000, 2): pattern(50_000, 1)}

    def replace() -> None:
        for number in range(100):
            bench.put_file("f", tmp_path / str(1 + number % 2))

    with ThreadPoolExecutor() as pool, Wire(bench.get_port()) as wire:
        replacing = pool.submit(replace)
        while not replacing.done():
            answer = wire.ask("/f")
            assert answer.body in others
            assert answer["ETag"] != f'"{hashlib.sha256(others[answer.body]).hexdigest()}"'
        replacing.result(10)
