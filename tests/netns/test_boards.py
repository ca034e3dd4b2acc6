"""Boards on networks of their own, each reached by the address that faces it, and what the records say of them."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest

from httpserve import AddressNotFound, HttpServerClient, RequestRecord
from tests.netns.conftest import Serve
from tests.netns.nets import Network, Place
from tests.server.wire import pattern

SIZE_BYTES = 3_000_000
WAIT_SECONDS = 20.0
FORWARD = str(Path(__file__).with_name("forward.py"))

PEERS = {
    "board": ("192.168.7.2", "192.168.7.1"),
    "linklocal": ("169.254.7.2", "169.254.7.1"),
    "ipv6": ("fd00:9::2", "fd00:9::1"),
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(pattern(SIZE_BYTES))
    return path


def fetched(board: Place, url: str, tmp_path: Path) -> bytes:
    """Return what curl on the board gets."""
    target = tmp_path / f"fetched-{board.name}"
    board.run("curl", "-sSgf", "-o", str(target), url)
    return target.read_bytes()


def put(network: Network, client: HttpServerClient, image: Path) -> str:
    return network.bench.call(lambda: client.put_file("image", image))


def only(client: HttpServerClient) -> RequestRecord:
    (record,) = client.requests
    return record


@pytest.mark.parametrize("role", PEERS)
def test_a_board_gets_the_file_by_the_address_that_faces_it(
    network: Network, serve: Serve, image: Path, tmp_path: Path, role: str
) -> None:
    theirs, ours = PEERS[role]
    board: Place = getattr(network, role)
    client = serve(peer=theirs)
    url = put(network, client, image)

    data = fetched(board, url, tmp_path)

    record = client.wait_for_download("image", timeout=WAIT_SECONDS)
    assert url == f"http://{f'[{ours}]' if ':' in ours else ours}:{client.get_port()}/image"
    assert data == image.read_bytes()
    assert (record.client, record.bytes) == (theirs, SIZE_BYTES)
    assert (only(client).client, only(client).local) == (theirs, ours)


@pytest.mark.parametrize("role", PEERS)
def test_one_server_for_all_networks_has_a_url_for_each_board(
    network: Network, serve: Serve, image: Path, tmp_path: Path, role: str
) -> None:
    theirs, ours = PEERS[role]
    board: Place = getattr(network, role)
    client = serve(host="::")
    put(network, client, image)
    url = network.bench.call(lambda: client.get_url("image", peer=theirs))

    data = fetched(board, url, tmp_path)

    record = client.wait_for_download("image", timeout=WAIT_SECONDS, client=theirs)
    assert data == image.read_bytes()
    assert record.client == theirs
    assert (only(client).client, only(client).local) == (theirs, ours)


def test_two_boards_on_two_networks_are_told_apart(network: Network, serve: Serve, image: Path, tmp_path: Path) -> None:
    client = serve(host="0.0.0.0")
    put(network, client, image)
    for role in ("board", "linklocal"):
        url = network.bench.call(partial(client.get_url, "image", peer=PEERS[role][0]))
        fetched(getattr(network, role), url, tmp_path)

    boards = [PEERS["linklocal"][0], PEERS["board"][0]]
    records = [client.wait_for_download("image", timeout=WAIT_SECONDS, client=board) for board in boards]

    assert [record.client for record in records] == boards
    assert [(asked.client, asked.local) for asked in client.requests] == [PEERS["board"], PEERS["linklocal"]]


def test_a_board_with_a_link_local_address_of_ipv6_is_recorded_by_it(
    network: Network, serve: Serve, image: Path, tmp_path: Path
) -> None:
    client = serve(host="fe80::91%eth3")
    put(network, client, image)

    data = fetched(network.ipv6, f"http://[fe80::91%25usb0]:{client.get_port()}/image", tmp_path)

    assert data == image.read_bytes()
    assert client.wait_for_download("image", timeout=WAIT_SECONDS).client.partition("%")[0] == "fe80::92"


def test_a_board_without_ipv4_cannot_be_faced_by_a_server_of_ipv4(network: Network, serve: Serve) -> None:
    client = serve(host="0.0.0.0")

    with pytest.raises(AddressNotFound, match="no address of this host faces peer='fd00:9::2'"):
        network.bench.call(lambda: client.get_url("image", peer="fd00:9::2"))


def test_a_server_on_one_network_does_not_answer_on_the_other(network: Network, serve: Serve) -> None:
    client = serve(peer="192.168.7.2")

    asked = network.linklocal.start("curl", "-sS", "-m", "5", f"http://169.254.7.1:{client.get_port()}/")

    assert asked.wait(timeout=WAIT_SECONDS) == 7  # connection refused
    assert client.requests == ()


def test_an_advertised_address_that_is_forwarded_leads_the_board_to_the_file(
    network: Network, serve: Serve, image: Path, tmp_path: Path
) -> None:
    client = serve(host="127.0.0.1", advertise="http://192.168.7.1:8000/bench")
    url = put(network, client, image)
    network.bench.call(lambda: client.put_file("bench/image", image))  # the prefix that this forwarder leaves in place
    forward = network.bench.start(sys.executable, FORWARD, "192.168.7.1", "8000", "127.0.0.1", str(client.get_port()))
    assert forward.stdout is not None
    assert forward.stdout.readline() == "listens\n"

    data = fetched(network.board, url, tmp_path)

    assert url == "http://192.168.7.1:8000/bench/image"
    assert data == image.read_bytes()
    assert only(client).client == "127.0.0.1"  # as all that are behind it
