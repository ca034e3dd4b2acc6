"""Cables that are pulled, and cables that are long and bad."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import HttpServerClient, WaitTimeout
from tests.conftest import our_threads
from tests.netns.conftest import Serve
from tests.netns.long_cable import LongCable
from tests.netns.nets import Network
from tests.server.wire import eventually, pattern

LOST_SECONDS = 1.0
PATIENCE_SECONDS = 20.0
BIG_BYTES = 50_000_000
SLOW = "1M"  # bytes a second that the board takes: it would need most of a minute
SMALL_BYTES = 200_000
DELAY_SECONDS = 0.1
LOSS = 0.02


def sparse(client: HttpServerClient, network: Network, tmp_path: Path) -> str:
    """Put a file that no buffer swallows, and return its URL."""
    with open(tmp_path / "image", "wb") as file:
        file.truncate(BIG_BYTES)
    return network.bench.call(lambda: client.put_file("image", tmp_path / "image"))


def can_be_bound(network: Network, port: int) -> bool:
    """Tell whether another server could take a port of the bench."""

    def bind() -> bool:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("192.168.7.1", port))
            sock.listen()
            return True

    return network.bench.call(bind)


def come_so_far(client: HttpServerClient) -> int:
    """Return how much of the upload has come, as a wait in vain tells."""
    with pytest.raises(WaitTimeout) as caught:
        client.wait_for_upload("image", timeout=0)
    return caught.value.received


def test_a_cable_that_is_pulled_mid_transfer_is_told_as_lost(network: Network, serve: Serve, tmp_path: Path) -> None:
    client = serve(peer="192.168.7.2", lost_after=LOST_SECONDS)
    network.board.start("curl", "-sS", "--limit-rate", SLOW, "-o", "/dev/null", sparse(client, network, tmp_path))
    eventually(lambda: client.requests and client.requests[0].bytes, "the beginning")

    network.pull(network.board)

    pulled = time.monotonic()
    eventually(lambda: client.requests[0].outcome != "under way", "the loss")
    assert client.requests[0].outcome == "lost"
    assert time.monotonic() - pulled < PATIENCE_SECONDS / 2
    (transfer,) = client.transfers
    assert (transfer.state, transfer.known, transfer.client) == ("lost", "acked", "192.168.7.2")
    assert 0 < transfer.acknowledged < transfer.total == BIG_BYTES
    with pytest.raises(WaitTimeout, match="the client did not answer any more") as caught:
        client.wait_for_download("image", timeout=0)
    assert (caught.value.happened, caught.value.received) == ("stopped", transfer.acknowledged)


def test_a_cable_that_is_pulled_mid_upload_is_told_as_lost(network: Network, serve: Serve, tmp_path: Path) -> None:
    client = serve(peer="192.168.7.2", lost_after=LOST_SECONDS)
    client.accept_uploads("image")
    (tmp_path / "image").write_bytes(bytes(SMALL_BYTES))
    url = network.bench.call(lambda: client.get_url("image"))
    network.board.start("curl", "-sS", "--limit-rate", "20k", "-T", str(tmp_path / "image"), url)
    eventually(lambda: come_so_far(client), "the beginning")

    network.pull(network.board)

    eventually(lambda: client.uploads, "the loss")
    (upload,) = client.uploads
    assert (upload.outcome, upload.completed, upload.status) == ("lost", False, 0)
    assert 0 < upload.bytes < SMALL_BYTES
    assert not client.storage.exists("image")


def test_a_cable_that_is_pulled_leaves_the_thread_and_the_port_free(
    network: Network, serve: Serve, tmp_path: Path
) -> None:
    client = serve(peer="192.168.7.2", lost_after=LOST_SECONDS)
    port = client.get_port()
    network.board.start("curl", "-sS", "--limit-rate", SLOW, "-o", "/dev/null", sparse(client, network, tmp_path))
    eventually(lambda: client.requests and client.requests[0].bytes, "the beginning")
    network.pull(network.board)
    eventually(lambda: client.requests[0].outcome == "lost", "the loss")

    began = time.monotonic()
    client.stop(timeout=PATIENCE_SECONDS)

    assert time.monotonic() - began < PATIENCE_SECONDS / 4  # nothing was left to wait for
    assert our_threads() == []
    assert can_be_bound(network, port)


def test_a_board_whose_cable_is_back_gets_the_file_at_the_next_try(
    network: Network, serve: Serve, tmp_path: Path
) -> None:
    client = serve(peer="192.168.7.2", lost_after=LOST_SECONDS)
    url = sparse(client, network, tmp_path)
    network.board.start("curl", "-sS", "--limit-rate", SLOW, "-o", "/dev/null", url)
    eventually(lambda: client.requests and client.requests[0].bytes, "the beginning")
    network.pull(network.board)
    eventually(lambda: client.requests[0].outcome == "lost", "the loss")
    network.board.ip("link set usb0 up")

    network.board.run("curl", "-sSf", "--retry", "5", "--retry-connrefused", "-o", "/dev/null", url)

    record = client.wait_for_download("image", timeout=PATIENCE_SECONDS)
    assert (record.client, record.bytes) == ("192.168.7.2", BIG_BYTES)
    assert [asked.outcome for asked in client.requests] == ["lost", "completed"]


def test_a_held_board_whose_cable_is_pulled_is_lost(network: Network, serve: Serve, tmp_path: Path) -> None:
    client = serve(peer="192.168.7.2", lost_after=LOST_SECONDS)
    url = sparse(client, network, tmp_path)
    with client.hold("image") as hold:
        network.board.start("curl", "-sS", "-o", "/dev/null", url)
        assert hold.wait(PATIENCE_SECONDS).acknowledged == BIG_BYTES // 2  # nothing is on its way that would tell

        network.pull(network.board)

        eventually(lambda: hold.hits[0].outcome != "under way", "the loss")
    assert (hold.hits[0].outcome, hold.hits[0].bytes) == ("lost", BIG_BYTES // 2)


def test_a_pulled_cable_of_one_board_is_nothing_to_another(network: Network, serve: Serve, tmp_path: Path) -> None:
    client = serve(host="0.0.0.0", lost_after=LOST_SECONDS)
    sparse(client, network, tmp_path)
    port = client.get_port()
    network.board.start("curl", "-sS", "--limit-rate", SLOW, "-o", "/dev/null", f"http://192.168.7.1:{port}/image")
    eventually(lambda: client.requests and client.requests[0].bytes, "the beginning")
    network.pull(network.board)

    network.linklocal.run("curl", "-sSf", "-o", "/dev/null", f"http://169.254.7.1:{port}/image")

    assert client.wait_for_download("image", timeout=PATIENCE_SECONDS).client == "169.254.7.2"
    eventually(lambda: client.requests[0].outcome == "lost", "the loss")


@contextlib.contextmanager
def bad_by_netem(network: Network) -> Iterator[None]:
    for place, interface in ((network.bench, "eth4"), (network.board, "usb4")):
        done = place.start(
            *f"tc qdisc add dev {interface} root netem delay {DELAY_SECONDS * 1000:g}ms loss {LOSS:.0%}".split()
        )
        _, err = done.communicate(timeout=PATIENCE_SECONDS)
        if done.returncode:
            pytest.skip(f"this kernel has no netem: {err.strip()}")
    yield


@pytest.fixture(params=["netem", "tap"])
def far(request: pytest.FixtureRequest, network: Network) -> Iterator[Network]:
    """A network whose board is 192.168.8.2, by a cable that takes 100 ms and loses 2 %, each way."""
    with contextlib.ExitStack() as stack:
        if request.param == "tap":
            try:
                stack.enter_context(LongCable(network.bench, network.board, DELAY_SECONDS, LOSS))
            except OSError as error:
                pytest.skip(f"this system has no TAP devices: {error}")
        else:
            network.bench.ip(f"link add eth4 type veth peer name usb4 netns {network.board.name}")
            stack.enter_context(bad_by_netem(network))
        network.bench.ip("addr add 192.168.8.1/24 dev eth4", "link set eth4 up")
        network.board.ip("addr add 192.168.8.2/24 dev usb4", "link set usb4 up")
        yield network


def test_a_bad_cable_delivers_every_byte_and_the_wait_is_right(far: Network, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(pattern(SMALL_BYTES))
    client = serve(peer="192.168.8.2")
    url = far.bench.call(lambda: client.put_file("image", tmp_path / "image"))
    board = far.board.start("curl", "-sSf", "-o", str(tmp_path / "got"), url)

    record = client.wait_for_download("image", timeout=PATIENCE_SECONDS)

    assert (record.client, record.bytes) == ("192.168.8.2", SMALL_BYTES)
    assert record.seconds >= DELAY_SECONDS  # a send buffer would have swallowed it at once
    assert client.requests[0].outcome == "completed"
    assert board.wait(timeout=PATIENCE_SECONDS) == 0
    assert (tmp_path / "got").read_bytes() == pattern(SMALL_BYTES)


def test_on_a_bad_cable_a_wait_that_ends_too_early_says_how_far_it_came(
    far: Network, serve: Serve, tmp_path: Path
) -> None:
    (tmp_path / "image").write_bytes(pattern(SMALL_BYTES))
    client = serve(peer="192.168.8.2")
    url = far.bench.call(lambda: client.put_file("image", tmp_path / "image"))
    far.board.start("curl", "-sSf", "-o", "/dev/null", url)
    eventually(lambda: client.requests, "the request")

    with pytest.raises(WaitTimeout):
        client.wait_for_download("image", timeout=DELAY_SECONDS / 2)

    assert client.requests[0].bytes < SMALL_BYTES
    assert client.wait_for_download("image", timeout=PATIENCE_SECONDS).bytes == SMALL_BYTES
