"""Starting, stopping, closing and forgetting a server, on real sockets."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import re
import socket
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests

import httpserve
from httpserve import (
    AddressNotFound,
    HttpServerClient,
    InvalidArgument,
    PortInUse,
    RootUnusable,
    ServerNotRunning,
)
from httpserve.network.binding import first_free_port
from tests.cases import each
from tests.conftest import our_threads, private_directories
from tests.ports import free_port
from tests.server.wire import BIG_BYTES, Wire, eventually, pattern, script


def is_free(port: int) -> bool:
    """Say whether nothing listens on a port, and another server could."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
        return True


@pytest.fixture
def port() -> int:
    """A port that is free, and stays so."""
    return free_port()


@pytest.fixture
def client() -> Iterator[HttpServerClient]:
    """A client that was not started yet."""
    made = HttpServerClient(host="127.0.0.1")
    yield made
    made.close()


@contextlib.contextmanager
def under_way(root: Path, port: int = 0) -> Iterator[tuple[HttpServerClient, Wire]]:
    """A server, and a board that has the head of a file that no socket buffer swallows."""
    (root / "big").write_bytes(pattern(BIG_BYTES))
    with (
        HttpServerClient(root, host="127.0.0.1", port=port) as client,
        Wire(client.get_port(), receive_bytes=65536) as wire,
    ):
        wire.get("/big")
        wire.read_head()
        yield client, wire


def draining(pool: ThreadPoolExecutor, client: HttpServerClient, timeout: float) -> Future[None]:
    """Begin a stop that lets transfers end, and return when it does."""
    stopping = pool.submit(client.stop, timeout)
    eventually(lambda: not client.is_running)
    return stopping


def answered(client: HttpServerClient, target: str = "/") -> int:
    with Wire(client.get_port()) as wire:
        return wire.ask(target, "Connection: close").status


# Start


def test_a_request_is_answered_at_a_given_port_as_soon_as_start_returns(port: int) -> None:
    client = HttpServerClient(host="127.0.0.1", port=port)
    before = client.get_host()

    client.start()

    assert client.get_port() == port
    assert answered(client) == 200
    client.close()
    assert client.get_host() == before == "127.0.0.1"


def test_a_client_that_was_not_started_does_nothing(tmp_path: Path) -> None:
    client = HttpServerClient(tmp_path / "root", host="127.0.0.1")

    assert not client.is_running
    assert not (tmp_path / "root").exists()
    assert our_threads() == []


def test_a_second_start_keeps_connections_and_transfers(tmp_path: Path) -> None:
    with under_way(tmp_path) as (client, wire):
        client.start()

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES)


def test_entering_with_starts_and_leaving_it_stops() -> None:
    with HttpServerClient(host="127.0.0.1") as client:
        running = client.is_running
        port = client.get_port()

    assert running
    assert not client.is_running
    assert is_free(port)


def test_leaving_with_lets_the_error_of_the_block_through() -> None:
    client = HttpServerClient(host="127.0.0.1")

    with pytest.raises(ZeroDivisionError), client:
        _ = 1 / 0

    assert not client.is_running


@pytest.mark.parametrize("host", ["::1", "0.0.0.0", "::"])
def test_the_url_carries_an_address_of_the_host_also_on_a_wildcard(host: str) -> None:
    with HttpServerClient(host=host) as client:
        url = client.put_file("a", __file__)

        assert url.startswith("http://[::1]:") is (host == "::1")
        assert "http://0.0.0.0:" not in url
        assert "http://[::]:" not in url
        assert requests.get(url, timeout=10).content == Path(__file__).read_bytes()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1"])
@pytest.mark.parametrize("peer", ["", 0, []])
def test_a_peer_that_names_nothing_is_refused_wherever_it_is_given(host: str, peer: Any) -> None:
    with HttpServerClient(host=host, peer="127.0.0.1") as client:
        with pytest.raises(InvalidArgument, match=r"^peer="):
            client.get_url("x", peer=peer)
        with pytest.raises(InvalidArgument, match=r"^peer="):
            client.command("x", "curl", peer=peer)
        assert client.get_url("x", peer=None) == f"http://127.0.0.1:{client.get_port()}/x"


def test_advertise_overrides_what_urls_say() -> None:
    with HttpServerClient(host="127.0.0.1", advertise="http://192.168.1.5:8000/x") as client:
        url = client.put_file("a b", __file__)

    assert url == "http://192.168.1.5:8000/x/a%20b"


def test_start_makes_a_root_that_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "er" / "root"

    with HttpServerClient(root, host="127.0.0.1"):
        assert root.is_dir()


def test_close_removes_a_root_that_start_made_and_nobody_used(tmp_path: Path) -> None:
    with HttpServerClient(tmp_path / "deep" / "root", host="127.0.0.1"):
        pass

    assert list(tmp_path.iterdir()) == []


# Stop


def test_stop_on_a_stopped_server_raises(client: HttpServerClient) -> None:
    with pytest.raises(ServerNotRunning, match="running"):
        client.stop()
    with client:
        client.stop()
        with pytest.raises(ServerNotRunning):
            client.stop()


def test_close_never_raises(client: HttpServerClient) -> None:
    client.close()
    client.start()
    client.close()
    client.close()

    assert not client.is_running


def test_the_port_is_free_when_stop_returns_although_connections_were_open(bench: HttpServerClient) -> None:
    port = bench.get_port()
    with Wire(port) as idle, Wire(port) as silent, Wire(port) as half:
        idle.ask("/")
        half.send(b"GET / HTTP/1.1\r\nHo")
        answered(bench)

        bench.stop()

        assert is_free(port)
        assert our_threads() == []
        assert [wire.rest_until_any_end() for wire in (idle, silent, half)] == [b""] * 3


def listening_at(port: int) -> int:
    """Return the descriptor of this process that listens at a port."""
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(number))) as copy:
            if copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and copy.getsockname()[1] == port:
                return int(number)
    raise AssertionError(f"nothing listens at {port}")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_copy_of_the_descriptor_in_a_child_just_forked_does_not_keep_the_port(bench: HttpServerClient) -> None:
    port = bench.get_port()
    copy = os.dup(listening_at(port))  # what a child has between fork and exec
    try:
        bench.stop()

        assert is_free(port)
        with pytest.raises(ConnectionRefusedError):
            Wire(port)
    finally:
        os.close(copy)


def test_what_needs_a_running_server_says_so_when_stopped(client: HttpServerClient, tmp_path: Path) -> None:
    with pytest.raises(ServerNotRunning, match="start"):
        client.get_port()
    with pytest.raises(ServerNotRunning, match="start"):
        client.get_url()
    with pytest.raises(ServerNotRunning, match="start"):
        client.put_file("a", tmp_path / "missing")


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "5", None, True])
def test_stop_refuses_a_timeout_that_is_none_and_goes_on_serving(bench: HttpServerClient, timeout: Any) -> None:
    with pytest.raises(InvalidArgument, match="timeout"):
        bench.stop(timeout=timeout)

    assert answered(bench) == 200


# Transfers under way


def test_stop_lets_a_transfer_end_that_is_under_way(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with under_way(tmp_path) as (client, wire):
        stopping = draining(pool, client, 30.0)

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES)
        assert stopping.result(10) is None
        assert wire.rest() == b""


def test_a_stop_that_waits_for_downloads_says_so_once(
    tmp_path: Path, pool: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    line = "waiting up to 30 s for 1 download to end; stop(0) does not wait"
    with caplog.at_level(logging.INFO, logger="httpserve.client"), under_way(tmp_path) as (client, wire):
        stopping = draining(pool, client, 30.0)

        eventually(lambda: line in caplog.messages, "the line")
        assert not stopping.done()
        wire.read_exactly(BIG_BYTES)
        stopping.result(10)
        client.start()
        with Wire(client.get_port()) as other:
            other.ask("/big", "Range: bytes=0-9")
            assert client.requests[-1].completed
            client.stop(30.0)  # nothing is under way, although a connection is open

    assert [message for message in caplog.messages if message.startswith("waiting")] == [line]


@pytest.mark.parametrize("timeout", [0, 0.1])
def test_stop_cuts_a_transfer_after_its_timeout(tmp_path: Path, timeout: float) -> None:
    with under_way(tmp_path) as (client, wire):
        port = client.get_port()

        client.stop(timeout)

        assert our_threads() == []
        assert is_free(port)
        assert len(wire.rest_until_any_end()) < BIG_BYTES


def test_no_connection_is_taken_while_a_transfer_drains(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with under_way(tmp_path) as (client, wire):
        port = client.get_port()
        stopping = pool.submit(client.stop, 30.0)

        eventually(lambda: is_free(port), "the port was freed")

        assert not stopping.done()
        with pytest.raises(ConnectionRefusedError):
            Wire(port)
        wire.close()
        stopping.result(10)


def test_a_request_that_comes_while_its_connection_drains_is_the_last(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with under_way(tmp_path) as (client, wire):
        stopping = draining(pool, client, 30.0)

        wire.get("/big")
        wire.get("/big")

        assert len(wire.read_exactly(BIG_BYTES)) == BIG_BYTES
        assert wire.rest_until_any_end().count(b"HTTP/1.1 200 OK") <= 1
        assert stopping.result(10) is None


def test_a_second_stop_while_the_first_drains_waits_and_then_raises(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with under_way(tmp_path) as (client, _):
        first = draining(pool, client, 0.2)

        with pytest.raises(ServerNotRunning):
            client.stop()

        assert first.result(10) is None


@pytest.mark.parametrize("timeout", [0.0, 0.1])
def test_a_second_stop_cuts_after_its_own_timeout_what_the_first_one_lets_drain(
    tmp_path: Path, pool: ThreadPoolExecutor, timeout: float
) -> None:
    with under_way(tmp_path) as (client, wire):
        first = draining(pool, client, 60.0)

        second = pool.submit(client.stop, timeout)

        assert first.result(30) is None
        assert isinstance(second.exception(30), ServerNotRunning)
        assert len(wire.rest_until_any_end()) < BIG_BYTES


@pytest.mark.parametrize("stops", [False, True])
def test_close_cuts_after_its_own_timeout_what_a_wedged_board_or_a_stop_lets_drain(
    tmp_path: Path, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, stops: bool
) -> None:
    monkeypatch.setattr("httpserve.client.client.STOP_SECONDS", 0.1)
    with under_way(tmp_path) as (client, _):
        stopping = draining(pool, client, 60.0) if stops else None

        pool.submit(client.close).result(30)

        assert our_threads() == []
        assert stopping is None or stopping.result(30) is None


def test_a_second_stop_with_more_time_than_the_first_cuts_nothing(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    with under_way(tmp_path) as (client, wire):
        first = draining(pool, client, 50.0)
        second = pool.submit(client.stop, 60.0)

        assert wire.read_exactly(BIG_BYTES) == pattern(BIG_BYTES)
        assert wire.read() == b""
        assert first.result(30) is None
        assert isinstance(second.exception(30), ServerNotRunning)


def test_start_while_a_stop_drains_waits_and_then_starts(tmp_path: Path, port: int, pool: ThreadPoolExecutor) -> None:
    with under_way(tmp_path, port) as (client, _):
        stopping = draining(pool, client, 0.2)

        client.start()

        assert stopping.result(10) is None
        assert client.get_port() == port
        assert answered(client) == 200


def test_a_forgotten_object_cuts_its_transfers(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(pattern(BIG_BYTES))
    client = HttpServerClient(tmp_path, host="127.0.0.1")
    client.start()
    with Wire(client.get_port(), receive_bytes=65536) as wire:
        wire.get("/big")
        wire.read_head()

        del client

        assert our_threads() == []
        assert len(wire.rest_until_any_end()) < BIG_BYTES


# Again and again


def test_files_stay_over_stop_and_start(bench: HttpServerClient) -> None:
    bench.put_file("a", __file__)

    bench.stop()
    bench.start()

    assert requests.get(bench.get_url("a"), timeout=10).content == Path(__file__).read_bytes()


def test_close_removes_the_private_directory_and_a_start_makes_a_new_one(client: HttpServerClient) -> None:
    client.start()
    client.put_file("a", __file__)
    during = private_directories()
    client.close()
    after = private_directories()

    client.start()

    assert len(during) == 1
    assert after == set()
    assert requests.get(client.get_url("a"), timeout=10).status_code == 404
    client.put_file("a", __file__)
    assert requests.get(client.get_url("a"), timeout=10).status_code == 200


def test_one_object_starts_and_stops_for_ever(port: int) -> None:
    client = HttpServerClient(host="127.0.0.1", port=port)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client.start()
            wire = stack.enter_context(Wire(port))  # it stays open
            assert wire.ask("/").status == 200
            client.stop()
        client.close()

        assert is_free(port)


def test_many_threads_start_and_stop_one_object_on_one_port(port: int) -> None:
    client = HttpServerClient(host="127.0.0.1", port=port)

    def rounds() -> int:
        stopped = 0
        for _ in range(10):
            client.start()
            try:
                client.stop()
                stopped += 1
            except ServerNotRunning:
                pass
        return stopped

    with ThreadPoolExecutor(8) as pool:
        stopped = sum(one.result(30) for one in [pool.submit(rounds) for _ in range(8)])

    assert stopped >= 10
    assert not client.is_running
    client.start()
    assert answered(client) == 200
    client.close()


def at_once(call: Callable[[], object]) -> list[object]:
    """Call in eight threads at once; return what it returns, or the class of what it raises."""
    barrier = threading.Barrier(8)

    def run(_: int) -> object:
        barrier.wait(10)
        try:
            return call()
        except ServerNotRunning:
            return ServerNotRunning

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(run, range(8), timeout=10))


def port_of_started(client: HttpServerClient) -> int:
    client.start()
    return client.get_port()


def test_many_threads_that_start_at_once_get_one_server_and_stop_it_once() -> None:
    for _ in range(5):
        client = HttpServerClient(host="127.0.0.1")

        ports = at_once(partial(port_of_started, client))
        stopped = at_once(client.stop)

        assert set(ports) == {ports[0]}
        assert stopped.count(None) == 1
        client.close()


# What can go wrong


def test_a_port_in_use_is_named_with_the_way_out_and_the_client_works_once_it_is_free(bench: HttpServerClient) -> None:
    port = bench.get_port()
    other = HttpServerClient(host="127.0.0.1", port=port)

    with pytest.raises(PortInUse, match=rf"port {port} on 127\.0\.0\.1.*port=0") as caught:
        other.start()

    assert (caught.value.host, caught.value.port) == ("127.0.0.1", port)
    assert isinstance(caught.value, OSError)
    assert not other.is_running
    assert our_threads() == [thread for thread in our_threads() if str(bench.get_port()) in thread.name]
    bench.stop()

    with other:
        assert answered(other) == 200


@pytest.mark.parametrize("holder", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_a_socket_is_bound_to_without_listening_is_in_use(holder: str) -> None:
    with socket.socket() as taken:
        taken.bind((holder, 0))
        client = HttpServerClient(host="127.0.0.1", port=taken.getsockname()[1])

        with pytest.raises(PortInUse):
            client.start()

        client.close()


def test_a_root_that_is_a_file_is_named_and_the_client_works_once_it_can_be_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"kept")
    client = HttpServerClient(path, host="127.0.0.1")

    with pytest.raises(RootUnusable, match="file") as caught:
        client.start()

    assert caught.value.root == str(path)
    assert path.read_bytes() == b"kept"
    assert not client.is_running
    path.unlink()

    with client:
        assert answered(client) == 200


AS_ANOTHER_USER = """
import os, sys, httpserve, httpserve.storage.copying.copy, httpserve.site.app, tempfile, requests, encodings.idna
from httpserve import HttpServerClient
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
def outcome(call):
    try:
        return call()
    except httpserve.HttpServeError as error:
        return f"{type(error).__name__} {isinstance(error, PermissionError)} {error}"
"""


def run_as_another_user(code: str, *arguments: str) -> list[str]:
    with script(AS_ANOTHER_USER + code, *arguments, measured=os.geteuid() != 0) as process:
        out, err = process.communicate(timeout=20)
    assert err == ""
    return out.splitlines()


def test_a_root_that_is_not_writable_is_named_and_the_client_works_once_it_is(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir(mode=0o555)
    for parent in [root, *root.parents][1:]:
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o011)

    code = """
client = HttpServerClient(sys.argv[1], host="127.0.0.1")
print(outcome(client.start), client.is_running)
if os.stat(sys.argv[1]).st_uid == os.geteuid():
    os.chmod(sys.argv[1], 0o755)
print(outcome(client.start))
client.close()
"""
    lines = run_as_another_user(code, str(root))

    assert lines[0].startswith("RootUnusable")
    assert str(root) in lines[0]
    assert lines[0].endswith("False")
    assert lines[1].startswith("RootUnusable" if os.geteuid() == 0 else "None")


@pytest.mark.skipif(first_free_port() <= 1, reason="here every user may listen on every port")
def test_a_port_below_1024_without_the_right_is_named_with_the_way_out() -> None:
    lines = run_as_another_user(
        """
client = HttpServerClient(host="127.0.0.1", port=1)
print(outcome(client.start))
print(client.is_running)
client = HttpServerClient(host="127.0.0.1")
print(outcome(client.start), client.is_running)
client.close()
"""
    )

    assert lines[0].startswith("PortNotPermitted True port 1 on 127.0.0.1")
    assert "port=0" in lines[0]
    assert lines[1:] == ["False", "None True"]


def test_a_lifecycle_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        with HttpServerClient(host="127.0.0.1") as client:
            client.put_file("a", __file__)
            requests.get(client.get_url("a"), timeout=10)
            requests.get(client.get_url("missing"), timeout=10)

    assert capfd.readouterr() == ("", "")


def test_the_loggers_of_others_are_left_alone(bench: HttpServerClient) -> None:
    answered(bench)

    werkzeug = logging.getLogger("werkzeug")
    assert (werkzeug.handlers, werkzeug.level) == ([], logging.NOTSET)
    assert [type(handler) for handler in logging.getLogger("httpserve").handlers] == [logging.NullHandler]


def test_each_step_of_the_life_is_one_line_of_info(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="httpserve"):
        client = HttpServerClient(host="127.0.0.1")
        client.start()
        port = client.get_port()
        client.close()

    lines = [record.getMessage() for record in caplog.records if record.name == "httpserve.client"]
    assert len(lines) == 2
    assert str(port) in lines[0]
    assert "stopped" in lines[1]


def test_a_threads_name_says_whose_it_is(bench: HttpServerClient) -> None:
    assert [thread.name for thread in our_threads()] == [f"httpserve:{bench.get_port()}"]
    assert all(thread.daemon for thread in our_threads())


def test_idle_connections_take_no_thread_each(bench: HttpServerClient) -> None:
    bench.put_file("a", __file__)
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(bench.get_port())) for _ in range(50)]
        statuses = [wire.ask("/a").status for wire in wires]

        assert statuses == [200] * 50
        assert len(our_threads()) < 10  # the leader, and who has led before; how many depends on the machine


def test_the_repr_says_the_state_and_where(client: HttpServerClient) -> None:
    stopped = repr(client)
    client.start()

    assert "stopped" in stopped
    assert "running" in repr(client)
    assert client.get_url() in repr(client)


@each(
    ("argument", "value"),
    [
        *(("port", -1), ("port", 65536), ("port", "80"), ("timeout", 0), ("timeout", -1), ("timeout", "1")),
        *(("host", ""), ("host", "a b"), ("peer", "0.0.0.0"), ("advertise", "http://"), ("max_records", 0)),
    ],
)
def test_an_argument_that_means_nothing_is_refused_at_once(argument: str, value: Any) -> None:
    with pytest.raises((InvalidArgument, httpserve.InvalidType)):
        HttpServerClient(**{argument: value})


# Forgotten


def test_a_deleted_object_frees_port_threads_and_directory_also_by_another_one_or_an_exception(port: int) -> None:
    client = HttpServerClient(host="127.0.0.1", port=port)
    client.start()
    client.put_file("a", __file__)
    client = HttpServerClient(host="127.0.0.1", port=port)
    client.start()
    assert client.get_port() == port

    def cell(client: HttpServerClient) -> None:
        raise ValueError("the cell failed")

    with contextlib.suppress(ValueError):
        cell(client)
    del client
    gc.collect()

    assert is_free(port)
    assert our_threads() == []
    assert private_directories() == set()


def test_an_object_in_a_cycle_is_freed_by_the_collector() -> None:
    class Notebook:
        def __init__(self) -> None:
            self.me = self
            self.client = HttpServerClient(host="127.0.0.1")

    notebook = Notebook()
    notebook.client.start()
    port = notebook.client.get_port()
    gone = weakref.ref(notebook)

    del notebook
    gc.collect()

    assert gone() is None
    assert is_free(port)
    assert our_threads() == []
    assert private_directories() == set()


def test_the_storage_of_a_forgotten_object_leaves_no_directory_behind() -> None:
    storage = HttpServerClient(host="127.0.0.1").storage
    storage.write_bytes("a", b"x")
    used = private_directories()

    del storage
    gc.collect()

    assert len(used) == 1
    assert private_directories() == set()


def test_files_of_a_given_root_are_removed_when_the_object_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"before")
    client = HttpServerClient(tmp_path, host="127.0.0.1")
    client.start()
    client.put_file("ours/a", __file__)

    del client

    assert sorted(path.name for path in tmp_path.iterdir()) == ["there"]


@each(
    ("setting", "begin"),
    [
        ("", "httpserve: peer='192.0.2.9' cannot reach 127.0.0.1, "),
        ("logging.basicConfig()", "WARNING:httpserve.network:peer="),
    ],
)
def test_a_peer_that_cannot_come_is_one_line_on_stderr_of_a_script(setting: str, begin: str) -> None:
    code = f"""
import logging
from httpserve import HttpServerClient
{setting}
HttpServerClient(host="127.0.0.1", peer="192.0.2.9").start()
"""
    with script(code) as process:
        _, errors = process.communicate(timeout=20)

    assert (process.returncode, errors.count("\n")) == (0, 1)
    assert errors.startswith(begin)


def test_a_peer_that_cannot_come_is_a_warning_at_the_start_or_refuses_it(caplog: pytest.LogCaptureFixture) -> None:
    with HttpServerClient(host="127.0.0.1", peer="192.0.2.9") as http:
        assert http.is_running
    refused = HttpServerClient(host="127.0.0.1", peer="192.0.2.9", strict_peer=True)
    with contextlib.closing(refused), pytest.raises(AddressNotFound, match=re.escape("192.0.2.9")) as caught:
        refused.start()

    (warning,) = [one for one in caplog.records if one.levelname == "WARNING"]
    assert (warning.name, warning.getMessage()) == ("httpserve.network", str(caught.value))
