"""Boards behind a router that rewrites their addresses: to the server all of them are one."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.netns.conftest import Serve
from tests.netns.nets import Network, Place
from tests.server.wire import eventually

SIZE_BYTES = 2_000_000
LARGE_BYTES = 32 << 20  # more than all buffers on the way take
WAIT_SECONDS = 20.0
ROUTER = "192.168.7.2"
MASQUERADE = """
table ip nat {
    chain postrouting { type nat hook postrouting priority 100; oifname usb0 masquerade; }
}
"""


@pytest.fixture
def boards(network: Network) -> tuple[Place, Place]:
    """Two boards, of which the server sees the address of their router."""
    if shutil.which("nft") is None:
        pytest.skip("nft of nftables is not installed")
    router, one, other = network.board, network.linklocal, network.ipv6
    router.run("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
    loading = router.start("sh", "-c", f"echo '{MASQUERADE}' | nft -f -")
    _, error = loading.communicate(timeout=WAIT_SECONDS)
    if loading.returncode:
        pytest.skip(f"this kernel has no masquerading: {error.strip()}")
    for number, board in enumerate((one, other), 1):
        router.ip(
            f"link add lan{number} type veth peer name eth0 netns {board.name}",
            f"addr add 10.0.{number}.1/24 dev lan{number}",
            f"link set lan{number} up",
        )
        board.ip(f"addr add 10.0.{number}.2/24 dev eth0", "link set eth0 up", f"route add default via 10.0.{number}.1")
    return one, other


def put(network: Network, client: HttpServerClient, tmp_path: Path, size: int = SIZE_BYTES) -> str:
    (tmp_path / "image").write_bytes(b"x" * size)
    return network.bench.call(lambda: client.put_file("image", tmp_path / "image"))


def test_a_board_behind_nat_has_the_address_of_its_router(
    network: Network, serve: Serve, boards: tuple[Place, Place], tmp_path: Path
) -> None:
    client = serve(peer=ROUTER)

    boards[0].run("curl", "-sSf", "-o", "/dev/null", put(network, client, tmp_path))

    record = client.wait_for_download("image", timeout=WAIT_SECONDS)
    assert (record.client, record.shared) == (ROUTER, False)  # of one board alone nothing can be told


def test_two_boards_behind_nat_are_told_to_share_an_address(
    network: Network, serve: Serve, boards: tuple[Place, Place], tmp_path: Path
) -> None:
    client = serve(peer=ROUTER)
    url = put(network, client, tmp_path, LARGE_BYTES)
    curls = [board.start("curl", "-sSf", url) for board in boards]  # what they print is not read yet
    eventually(lambda: [one.state for one in client.transfers] == ["under way"] * 2, "two downloads at a time")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda curl: curl.communicate(timeout=WAIT_SECONDS), curls))
    assert [curl.returncode for curl in curls] == [0, 0]

    record = client.wait_for_download("image", timeout=WAIT_SECONDS)

    assert {asked.client for asked in client.requests} == {ROUTER}
    assert (record.client, record.shared) == (ROUTER, True)


def test_boards_behind_nat_are_told_apart_by_what_they_say(
    network: Network, serve: Serve, boards: tuple[Place, Place], tmp_path: Path
) -> None:
    client = serve(peer=ROUTER)
    url = put(network, client, tmp_path)
    for board, name in zip(boards, ("board-a", "board-b"), strict=True):
        board.run("curl", "-sSf", "-A", name, "-o", "/dev/null", url)

    record = client.wait_for_download(
        "image", timeout=WAIT_SECONDS, client=lambda asked: asked.fields["User-Agent"] == "board-b"
    )

    assert record.user_agent == "board-b"
