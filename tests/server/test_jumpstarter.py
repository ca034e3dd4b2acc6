"""The contract of Jumpstarter's HTTP driver, as its own tests state it: scripts written for it run with us.

Its `serve(HttpServer(...))` hands out a client; ours is that client.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import opendal
import pytest
import requests

from httpserve import HttpServerClient, ServerNotRunning


@pytest.fixture
def unused_tcp_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "src"
    path.write_bytes(b"test content")
    return path


@pytest.fixture
def http(root: Path, unused_tcp_port: int) -> Iterator[HttpServerClient]:
    client = HttpServerClient(root_dir=str(root), host="127.0.0.1", port=unused_tcp_port)
    client.start()
    yield client
    client.close()


def test_a_file_that_was_put_is_listed_fetched_and_deleted(http: HttpServerClient, source: Path) -> None:
    uploaded_url = http.put_file("test.txt", source)

    files = list(http.storage.list("/"))
    response = requests.get(uploaded_url, timeout=10)
    http.storage.delete("test.txt")
    files_after_deletion = list(http.storage.list("/"))

    assert "test.txt" in files
    assert (response.status_code, response.content) == (200, b"test content")
    assert "test.txt" not in files_after_deletion
    assert requests.get(uploaded_url, timeout=10).status_code == 404


def test_the_url_is_the_base_with_the_name(http: HttpServerClient, source: Path, unused_tcp_port: int) -> None:
    assert http.put_file("test.txt", source) == f"http://127.0.0.1:{unused_tcp_port}/test.txt"


def test_the_operator_is_the_third_argument(http: HttpServerClient, source: Path) -> None:
    operator = opendal.Operator("fs", root=str(source.parent))

    assert requests.get(http.put_file("test.txt", "src", operator), timeout=10).content == b"test content"


def test_an_http_url_is_a_source_without_an_operator(http: HttpServerClient, source: Path) -> None:
    first = http.put_file("first.txt", source)

    assert requests.get(http.put_file("second.txt", first), timeout=10).content == b"test content"


def test_the_storage_is_the_child_of_the_composite_client(http: HttpServerClient, source: Path) -> None:
    http.children["storage"].write_from_path("direct.txt", source)

    assert requests.get(http.get_url() + "/direct.txt", timeout=10).content == b"test content"
    assert http.children["storage"] is http.storage


def test_a_host_that_was_configured_is_the_host(tmp_path: Path) -> None:
    assert HttpServerClient(root_dir=str(tmp_path), host="192.168.1.1").get_host() == "192.168.1.1"


def test_a_root_that_is_missing_is_made(tmp_path: Path) -> None:
    with HttpServerClient(root_dir=str(tmp_path / "new_http_root"), host="127.0.0.1"):
        assert (tmp_path / "new_http_root").exists()


def test_nothing_is_tracked_at_first(http: HttpServerClient) -> None:
    assert http.storage.get_created_resources() == set()


def test_what_was_put_is_tracked(http: HttpServerClient, source: Path) -> None:
    http.put_file("direct_test.txt", source)
    http.storage.write_bytes("dir/other.txt", b"")

    assert {"direct_test.txt", "dir/other.txt"} <= http.storage.get_created_resources()


def test_what_was_deleted_is_tracked_no_more(http: HttpServerClient, source: Path) -> None:
    http.put_file("test.txt", source)

    http.storage.delete("test.txt")

    assert http.storage.get_created_resources() == set()


def test_what_was_put_is_removed_on_close(http: HttpServerClient, root: Path, source: Path) -> None:
    (root / "before").write_bytes(b"")
    http.put_file("test.txt", source)

    http.close()

    assert [path.name for path in root.iterdir()] == ["before"]


def test_what_was_put_stays_without_the_clean_up(root: Path, source: Path) -> None:
    client = HttpServerClient(root_dir=str(root), host="127.0.0.1", remove_created_on_close=False)
    client.start()
    client.put_file("test.txt", source)

    client.close()

    assert (root / "test.txt").read_bytes() == b"test content"


def test_the_port_is_released_and_reused(root: Path, unused_tcp_port: int) -> None:
    (root / "test.txt").write_text("hello")
    for _ in range(2):
        client = HttpServerClient(root_dir=str(root), host="127.0.0.1", port=unused_tcp_port)
        client.start()
        url = client.get_url()

        assert str(unused_tcp_port) in url
        assert requests.get(f"{url}/test.txt", timeout=10).text == "hello"
        client.stop()
        client.close()


def test_a_plain_bind_gets_the_port_after_close(http: HttpServerClient, unused_tcp_port: int) -> None:
    http.close()

    with socket.socket() as sock:
        sock.bind(("127.0.0.1", unused_tcp_port))


def test_port_zero_is_a_port_that_the_system_chose(root: Path) -> None:
    (root / "test.txt").write_text("hello")
    with HttpServerClient(root_dir=str(root), host="127.0.0.1", port=0) as client:
        port = client.get_port()

        assert isinstance(port, int)
        assert port > 0
        assert str(port) in client.get_url()
        assert requests.get(f"{client.get_url()}/test.txt", timeout=10).text == "hello"


def test_a_second_start_keeps_the_bound_port(http: HttpServerClient, unused_tcp_port: int) -> None:
    http.start()

    assert http.get_port() == unused_tcp_port


def test_stop_on_a_stopped_server_raises_as_its_client_documents(http: HttpServerClient) -> None:
    http.stop()

    with pytest.raises(ServerNotRunning):
        http.stop()


def test_close_without_a_server_does_nothing(root: Path) -> None:
    HttpServerClient(root_dir=str(root)).close()


def test_its_positional_arguments_are_ours(root: Path, unused_tcp_port: int, source: Path) -> None:
    client = HttpServerClient(str(root), "127.0.0.1", unused_tcp_port, 600, True)
    client.start()

    assert client.get_port() == unused_tcp_port
    assert client.get_host() == "127.0.0.1"
    client.close()
