"""Networks that come late, as that of a USB gadget does: `start(wait_for_address=...)`."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from httpserve import AddressNotFound, HttpServeError, HttpServerClient, InvalidArgument, ServerNotRunning
from tests.netns.nets import Network
from tests.server.wire import eventually

LONG_SECONDS = 20.0  # for what a test ends, or brings about, long before
SHORT_SECONDS = 0.3
LATE = "10.3.3.1"

Begin = Callable[..., "Future[HttpServerClient]"]


@pytest.fixture
def begin(network: Network) -> Iterator[Begin]:
    """Starts a server on the bench that waits for its address; returns at once, with what will be the client."""
    clients: list[HttpServerClient] = []

    def begin(client: HttpServerClient, seconds: float = LONG_SECONDS) -> Future[HttpServerClient]:
        clients.append(client)

        def start() -> HttpServerClient:
            client.start(wait_for_address=seconds)
            return client

        future = network.bench.submit(start)
        eventually(lambda: "starting" in repr(client) or future.done(), "the start")
        return future

    yield begin
    for client in clients:
        client.close()


def test_a_host_that_comes_late_is_listened_on(network: Network, begin: Begin) -> None:
    starting = begin(HttpServerClient(host=LATE))
    assert not starting.done()

    network.bench.ip(f"addr add {LATE}/24 dev eth1")

    client = starting.result(LONG_SECONDS)
    assert client.is_running
    assert client.get_url() == f"http://{LATE}:{client.get_port()}"


def test_a_peer_whose_network_comes_late_is_faced_on_it(network: Network, begin: Begin) -> None:
    starting = begin(HttpServerClient(peer="10.3.3.2"))
    assert not starting.done()

    network.bench.ip(f"addr add {LATE}/24 dev eth1")

    assert starting.result(LONG_SECONDS).get_host() == LATE


def test_the_default_router_is_no_way_to_a_peer_that_is_waited_for(network: Network, begin: Begin) -> None:
    network.bench.ip("route add default via 192.168.7.2")
    starting = begin(HttpServerClient(peer="10.3.3.2"))
    assert not starting.done()

    network.bench.ip(f"addr add {LATE}/24 dev eth2")

    assert starting.result(LONG_SECONDS).get_host() == LATE


def test_a_peer_behind_a_router_of_its_own_is_not_waited_for(network: Network, begin: Begin) -> None:
    network.bench.ip("route add default via 169.254.7.2", "route add 10.3.0.0/16 via 192.168.7.2")

    client = begin(HttpServerClient(peer="10.3.3.2")).result(LONG_SECONDS)

    assert client.get_host() == "192.168.7.1"


def test_an_interface_that_is_plugged_in_late_is_listened_on(network: Network, begin: Begin) -> None:
    starting = begin(HttpServerClient(host=LATE))

    network.bench.ip("link add usb7 type veth peer name usb8", f"addr add {LATE}/24 dev usb7", "link set usb7 up")

    assert starting.result(LONG_SECONDS).get_host() == LATE


def test_an_ipv6_address_that_is_not_ready_yet_is_waited_for(network: Network, begin: Begin) -> None:
    network.bench.run("sh", "-c", "echo 60 > /proc/sys/net/ipv6/conf/eth1/dad_transmits")
    network.bench.ip("addr add fd00:3::1/64 dev eth1")
    starting = begin(HttpServerClient(host="fd00:3::1"))
    assert not starting.done()

    network.bench.ip("addr del fd00:3::1/64 dev eth1", "addr add fd00:3::1/64 dev eth1 nodad")

    assert starting.result(LONG_SECONDS).get_host() == "fd00:3::1"


def test_an_address_that_does_not_come_is_an_error_that_says_how_long_was_waited(begin: Begin) -> None:
    began = time.monotonic()
    starting = begin(HttpServerClient(host=LATE), SHORT_SECONDS)

    with pytest.raises(AddressNotFound, match=rf"^waited 0\.3 s: no interface has {LATE} yet") as caught:
        starting.result(LONG_SECONDS)

    assert time.monotonic() - began >= SHORT_SECONDS
    assert caught.value.host == LATE


def test_a_peer_whose_network_does_not_come_is_an_error_that_names_the_router(network: Network, begin: Begin) -> None:
    network.bench.ip("route add default via 192.168.7.2")
    starting = begin(HttpServerClient(peer="10.3.3.2"), SHORT_SECONDS)

    with pytest.raises(AddressNotFound, match=r"^waited 0\.3 s: .*peer='10\.3\.3\.2' yet.* default router"):
        starting.result(LONG_SECONDS)


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_stop_or_close_in_another_thread_ends_the_waiting(begin: Begin, end: str) -> None:
    client = HttpServerClient(host=LATE)
    starting = begin(client)

    getattr(client, end)()

    with pytest.raises(ServerNotRunning, match="still waiting for an address"):
        starting.result(LONG_SECONDS)
    assert not client.is_running


def test_a_start_after_a_wait_that_was_ended_starts(network: Network, begin: Begin) -> None:
    client = HttpServerClient(host=LATE)
    ended = begin(client)
    client.stop()
    assert ended.exception(LONG_SECONDS) is not None
    network.bench.ip(f"addr add {LATE}/24 dev eth1")

    network.bench.call(client.start)

    assert client.is_running


def test_a_second_start_waits_with_the_first(network: Network, begin: Begin) -> None:
    client = HttpServerClient(host=LATE)
    first = begin(client)
    with ThreadPoolExecutor(1) as other:
        second = other.submit(client.start)  # outside the bench: alone it would find no address
        network.bench.ip(f"addr add {LATE}/24 dev eth1")

        second.result(LONG_SECONDS)

    assert first.result(LONG_SECONDS).is_running


def test_the_wait_is_told_once(network: Network, begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "httpserve.client")

    starting = begin(HttpServerClient(host=LATE), SHORT_SECONDS)
    assert starting.exception(LONG_SECONDS) is not None

    (told,) = [record.getMessage() for record in caplog.records if "waiting" in record.getMessage()]
    assert told.startswith(f"waiting up to 0.3 s for an address: no interface has {LATE} yet")


def test_a_listener_survives_its_address_going_and_coming(network: Network, begin: Begin) -> None:
    network.bench.ip(f"addr add {LATE}/24 dev eth1")
    network.board.ip("addr add 10.3.3.2/24 dev usb0")
    client = begin(HttpServerClient(host=LATE)).result(LONG_SECONDS)
    network.bench.ip(f"addr del {LATE}/24 dev eth1")  # the board reboots, and its USB network with it

    network.bench.ip(f"addr add {LATE}/24 dev eth1")

    assert "200 OK" in network.board.run("curl", "-sSi", client.get_url())


def test_threads_that_start_with_patience_stop_and_close_leave_it_usable(network: Network) -> None:
    client = HttpServerClient(host=LATE)
    calls = [lambda: client.start(wait_for_address=SHORT_SECONDS / 10), client.stop, client.close]

    def mix(seed: int) -> list[HttpServeError]:
        errors = []
        for number in range(12):
            try:
                calls[(seed + number) % 3]()
            except HttpServeError as error:
                errors.append(error)
        return errors

    with ThreadPoolExecutor(16) as threads:
        errors = list(itertools.chain(*threads.map(mix, range(16))))
    network.bench.ip(f"addr add {LATE}/24 dev eth1")
    network.bench.call(client.start)

    assert {type(error) for error in errors} <= {AddressNotFound, ServerNotRunning}
    assert client.is_running
    client.close()


@pytest.mark.parametrize("seconds", [-1, float("nan"), "1", True])
def test_a_wait_that_is_no_number_of_seconds_is_refused(seconds: object) -> None:
    with pytest.raises(InvalidArgument, match="wait_for_address must be 0 or more seconds"):
        HttpServerClient(host="127.0.0.1").start(wait_for_address=seconds)  # type: ignore[arg-type]  # what is refused


def test_ctrl_c_ends_the_waiting_at_once(network: Network) -> None:
    code = f"""
from httpserve import HttpServerClient
client = HttpServerClient(host="{LATE}")
print("starts", flush=True)
try:
    client.start(wait_for_address={3 * LONG_SECONDS})
except KeyboardInterrupt:
    print("interrupted", client.is_running)
"""
    child = network.bench.start(sys.executable, "-c", code)
    assert child.stdout is not None
    assert child.stdout.readline() == "starts\n"
    pause = threading.Event()
    pause.wait(SHORT_SECONDS)  # most likely it waits by now; if not, the interrupt comes earlier, and is felt too
    began = time.monotonic()

    child.send_signal(signal.SIGINT)

    out, err = child.communicate(timeout=LONG_SECONDS)
    assert out == "interrupted False\n", err
    assert time.monotonic() - began < LONG_SECONDS / 4
