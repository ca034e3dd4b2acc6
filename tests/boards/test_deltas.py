"""Clients that take what they do not have: zckdl by multipart ranges, casync by chunks."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.errors import WaitTimeout
from tests.boards.programs import digest, needs, noise, put_tree, run

PIECES = 300
PIECE_BYTES = 5000


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Path, Path]:
    """Two images, of which the new one differs in twelve places."""
    old = bytearray(b"".join(noise(PIECE_BYTES, seed) + bytes(1000) for seed in range(PIECES)))
    (tmp_path / "old").write_bytes(old)
    for place in range(12):
        offset = 20_000 + place * len(old) // 12
        old[offset : offset + 100] = noise(100, PIECES + place)
    (tmp_path / "new").write_bytes(old)
    return tmp_path / "old", tmp_path / "new"


@pytest.fixture
def zchunks(tmp_path: Path, versions: tuple[Path, Path]) -> tuple[Path, Path]:
    needs("zck", "zckdl")
    old, new = (path.with_suffix(".zck") for path in versions)
    for source, target in zip(versions, (old, new), strict=True):
        run("zck", "-o", target, source, cwd=tmp_path)
    return old, new


@pytest.fixture
def board(tmp_path: Path) -> Path:
    path = tmp_path / "board"
    path.mkdir()
    return path


def test_zckdl_takes_the_new_chunks_by_multipart_ranges(
    bench: HttpServerClient, board: Path, zchunks: tuple[Path, Path]
) -> None:
    old, new = zchunks
    url = bench.put_file("image.zck", new)

    with bench.expect_download("image.zck", 10, until="idle", idle=0.2) as download:
        run("zckdl", "-s", old, url, cwd=board)

    last = bench.requests[-1]
    assert 0 < download.record.bytes < download.record.total == new.stat().st_size
    assert len(download.record.ranges) > 3
    assert digest(board / "image.zck") == digest(new)
    assert {request.status for request in bench.requests} == {206}
    assert len({request.client_port for request in bench.requests}) == 1
    assert last.range.count("-") > 1  # ranges, and so an answer of several parts
    assert sum(request.bytes for request in bench.requests) < new.stat().st_size / 2


def test_a_delta_is_no_whole_download(bench: HttpServerClient, board: Path, zchunks: tuple[Path, Path]) -> None:
    old, new = zchunks
    url = bench.put_file("image.zck", new)

    run("zckdl", "-s", old, url, cwd=board)

    with pytest.raises(WaitTimeout, match="idle") as caught:
        bench.wait_for_download("image.zck", 0)
    wait = caught.value
    received = bench.wait_for_download("image.zck", 5, until="idle", idle=0.1).bytes
    assert wait.happened == "ranges missing"
    assert wait.received + sum(stop - start for start, stop in wait.missing) == wait.total == new.stat().st_size
    assert wait.received == received


def test_zckdl_without_an_old_image_takes_all_by_ranges(
    bench: HttpServerClient, board: Path, zchunks: tuple[Path, Path]
) -> None:
    new = zchunks[1]
    url = bench.put_file("image.zck", new)

    run("zckdl", url, cwd=board)

    record = bench.wait_for_download("image.zck", 20)
    assert digest(board / "image.zck") == digest(new)
    assert record.bytes == new.stat().st_size
    assert (record.ranges[0][0], record.ranges[-1][1]) == (0, record.bytes)
    assert all(stop >= start for (_, stop), (start, _) in pairwise(record.ranges))


def chunked(client: HttpServerClient, tmp_path: Path, new: Path) -> list[str]:
    needs("casync")
    run("casync", "make", "--store=store.castr", "image.caibx", new, cwd=tmp_path)
    client.put_file("image.caibx", tmp_path / "image.caibx")
    return put_tree(client, tmp_path / "store.castr", "store.castr")


def extract(client: HttpServerClient, board: Path, *options: str | Path) -> None:
    store = client.get_url("store.castr")
    run("casync", "extract", f"--store={store}", *options, client.get_url("image.caibx"), "got", cwd=board)


def test_casync_takes_the_index_and_each_chunk_once(
    bench: HttpServerClient, tmp_path: Path, board: Path, versions: tuple[Path, Path]
) -> None:
    chunks = chunked(bench, tmp_path, versions[1])

    extract(bench, board)

    assert digest(board / "got") == digest(versions[1])
    assert sorted(request.name for request in bench.requests) == sorted(["image.caibx", *chunks])
    assert {(request.status, request.completed) for request in bench.requests} == {(200, True)}
    assert len({request.client_port for request in bench.requests}) == 1
    for name in ["image.caibx", *chunks]:
        assert bench.wait_for_download(name, 20).name == name


def test_casync_with_a_seed_takes_only_the_chunks_that_it_does_not_have(
    bench: HttpServerClient, tmp_path: Path, board: Path, versions: tuple[Path, Path]
) -> None:
    old, new = versions
    chunks = chunked(bench, tmp_path, new)

    extract(bench, board, f"--seed={old}")

    asked = [request.name for request in bench.requests]
    assert digest(board / "got") == digest(new)
    assert asked[0] == "image.caibx"
    assert 0 < len(asked) - 1 < len(chunks)
    assert {(request.status, request.completed) for request in bench.requests} == {(200, True)}
