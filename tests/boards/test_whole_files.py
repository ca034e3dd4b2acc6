"""Clients that take a file whole, in one piece or in several at once: curl, wget, busybox, aria2c."""

from __future__ import annotations

from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.boards.programs import MEBIBYTE, digest, needs, noise, run

SIZE = 12 * MEBIBYTE + 17
PROGRAMS = {
    "curl": ["curl", "-fsS", "-o", "got"],
    "wget": ["wget", "-nv", "--tries=1", "-O", "got"],
    "busybox": ["busybox", "wget", "-q", "-O", "got"],
    "aria2c": ["aria2c", "-q", "-x4", "-s4", "-k1M", "--file-allocation=none", "-o", "got"],
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(noise(SIZE))
    return path


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_board_takes_a_file_whole(bench: HttpServerClient, tmp_path: Path, image: Path, program: str) -> None:
    needs(PROGRAMS[program][0])
    url = bench.put_file("boot/image", image)

    run(*PROGRAMS[program], url, cwd=tmp_path)

    record = bench.wait_for_download("boot/image", 5)
    assert digest(tmp_path / "got") == digest(image)
    assert (record.name, record.client, record.bytes) == ("boot/image", "127.0.0.1", SIZE)
    assert record.user_agent.lower().startswith({"busybox": "wget", "aria2c": "aria2"}.get(program, program))


@pytest.mark.parametrize("program", ["curl", "wget", "busybox"])
def test_one_request_is_all_it_takes(bench: HttpServerClient, tmp_path: Path, image: Path, program: str) -> None:
    needs(PROGRAMS[program][0])
    url = bench.put_file("image", image)

    run(*PROGRAMS[program], url, cwd=tmp_path)

    assert bench.wait_for_download("image", 5).ranges == ()
    (request,) = bench.requests
    assert (request.status, request.bytes, request.completed, request.range) == (200, SIZE, True, "")


def test_aria2c_takes_several_ranges_at_once_and_they_make_one_download(
    bench: HttpServerClient, tmp_path: Path, image: Path
) -> None:
    needs("aria2c")
    url = bench.put_file("image", image)

    run(*PROGRAMS["aria2c"], url, cwd=tmp_path)

    record = bench.wait_for_download("image", 5)
    requests = bench.requests
    assert record.bytes == SIZE
    assert len({request.client_port for request in requests}) > 1
    assert {request.status for request in requests} == {200, 206}  # it asks for the whole, and then for parts of it
    assert sum(request.bytes for request in requests) >= SIZE
    assert record.ranges  # what it took by ranges; the first request, for the whole, brought the rest


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_board_that_asks_for_nothing_that_is_there_fails(
    bench: HttpServerClient, tmp_path: Path, program: str
) -> None:
    needs(PROGRAMS[program][0])

    done = run(*PROGRAMS[program], bench.get_url("missing"), cwd=tmp_path, ok=False)

    assert done.returncode != 0
    assert {request.status for request in bench.requests} == {404}
    assert {request.name for request in bench.requests} == {""}
