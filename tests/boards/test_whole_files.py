"""Clients that take a file whole, in one piece or in several at once: curl, wget, busybox, aria2c."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.errors import WaitTimeout
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

    with bench.expect_download("boot/image", 10) as download:
        run(*PROGRAMS[program], url, cwd=tmp_path)

    record = download.record
    assert digest(tmp_path / "got") == digest(image)
    assert (record.name, record.client, record.bytes, record.total) == ("boot/image", "127.0.0.1", SIZE, SIZE)
    assert record.known == "acked" or sys.platform != "linux"
    assert record.user_agent.lower().startswith({"busybox": "wget", "aria2c": "aria2"}.get(program, program))


@pytest.mark.parametrize("program", ["curl", "wget", "busybox"])
def test_one_request_is_all_it_takes(bench: HttpServerClient, tmp_path: Path, image: Path, program: str) -> None:
    needs(PROGRAMS[program][0])
    url = bench.put_file("image", image)

    run(*PROGRAMS[program], url, cwd=tmp_path)

    assert bench.wait_for_download("image", 20).ranges == ()
    (request,) = bench.requests
    (transfer,) = bench.transfers
    assert (request.status, request.bytes, request.completed, request.range) == (200, SIZE, True, "")
    assert (transfer.name, transfer.state, transfer.ranges) == ("image", "completed", ())
    assert transfer.sent == transfer.acknowledged == transfer.total == SIZE


def test_aria2c_takes_several_ranges_at_once_and_they_make_one_download(
    bench: HttpServerClient, tmp_path: Path, image: Path
) -> None:
    needs("aria2c")
    url = bench.put_file("image", image)

    # So slowly that the first connection does not have it all before the others come.
    run(*PROGRAMS["aria2c"], "--max-overall-download-limit=40M", url, cwd=tmp_path)

    record = bench.wait_for_download("image", 20)
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
    assert {(missing.client, missing.name) for missing in bench.missing} == {("127.0.0.1", "missing")}


def test_three_boards_are_waited_for_by_their_addresses(bench: HttpServerClient, tmp_path: Path, image: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("127.0.0.2 is an address of this host on Linux only")
    needs("curl", "wget")
    url = bench.put_file("image", image)
    boards = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]

    run("curl", "-fsS", "--interface", boards[0], "-o", "a", url, cwd=tmp_path)
    run("wget", "-nv", f"--bind-address={boards[1]}", "-O", "b", url, cwd=tmp_path)
    run("curl", "-fsS", "--interface", boards[2], "-r", "0-999999", "-o", "c", url, cwd=tmp_path)

    with pytest.raises(WaitTimeout):
        bench.wait_for_download("image", 0, clients=boards)
    assert bench.wait_for_download("image", 5, client=boards[1], since=0).user_agent.startswith("Wget/")
    run("curl", "-fsS", "--interface", boards[2], "-r", "1000000-", "-o", "d", url, cwd=tmp_path)
    records = bench.wait_for_download("image", 5, clients=boards, since=0)
    assert [record.client for record in records] == boards
    assert [record.bytes for record in records] == [SIZE] * 3


def test_a_part_can_be_waited_for(bench: HttpServerClient, tmp_path: Path, image: Path) -> None:
    needs("curl")
    url = bench.put_file("image", image)

    run("curl", "-fsS", "-r", f"0-{SIZE // 2}", "-o", "got", url, cwd=tmp_path)

    assert bench.wait_for_download("image", 5, until="started").bytes > 0
    assert bench.wait_for_download("image", 5, until=0.5).bytes == SIZE // 2 + 1
    with pytest.raises(WaitTimeout) as caught:
        bench.wait_for_download("image", 0, until=SIZE // 2 + 2)
    assert caught.value.received == SIZE // 2 + 1
    assert caught.value.missing == ((SIZE // 2 + 1, SIZE),)


def test_a_board_is_told_from_another_by_the_fields_of_its_request(
    bench: HttpServerClient, tmp_path: Path, image: Path
) -> None:
    needs("curl", "wget")
    url = bench.put_file("image", image)

    run("curl", "-fsS", "-H", "X-Board: 7", "-o", "a", url, cwd=tmp_path)
    run("wget", "-nv", "-O", "b", url, cwd=tmp_path)

    record = bench.wait_for_download("image", 5, client=lambda request: request.fields.get("x-board") == "7")
    assert record.user_agent.startswith("curl/")
