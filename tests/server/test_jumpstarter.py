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
    assert uploaded_url == f"http://127.0.0.1:{http.get_port()}/test.txt"

    files = list(http.storage.list("/"))
    response = requests.get(uploaded_url, timeout=10)
    http.storage.delete("test.txt")
    files_after_deletion = list(http.storage.list("/"))

    assert "test.txt" in files
    assert (response.status_code, response.content) == (200, b"test content")
    assert "test.txt" not in files_after_deletion
    assert requests.get(uploaded_url, timeout=10).status_code == 404


def test_an_operator_and_an_http_url_are_sources(http: HttpServerClient, source: Path) -> None:
    operator = opendal.Operator("fs", root=str(source.parent))

    first = http.put_file("first.txt", "src", operator)
    second = http.put_file("second.txt", first)

    assert requests.get(second, timeout=10).content == b"test content"


def test_the_storage_is_the_child_of_the_composite_client(http: HttpServerClient, source: Path) -> None:
    http.children["storage"].write_from_path("direct.txt", source)

    assert requests.get(http.get_url() + "/direct.txt", timeout=10).content == b"test content"
    assert http.children["storage"] is http.storage


def test_what_was_put_is_tracked_until_it_is_deleted(http: HttpServerClient, source: Path) -> None:
    assert http.storage.get_created_resources() == set()

    http.put_file("test.txt", source)
    http.storage.write_bytes("dir/other.txt", b"")
    assert {"test.txt", "dir/other.txt"} <= http.storage.get_created_resources()

    http.storage.delete("test.txt")
    assert "test.txt" not in http.storage.get_created_resources()


def test_what_was_put_is_removed_on_close(http: HttpServerClient, root: Path, source: Path) -> None:
    (root / "before").write_bytes(b"")
    http.put_file("test.txt", source)

    http.close()
    http.close()

    assert [path.name for path in root.iterdir()] == ["before"]


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


def test_a_second_start_keeps_the_port_and_a_second_stop_raises_as_its_client_documents(
    http: HttpServerClient, unused_tcp_port: int
) -> None:
    http.start()
    assert http.get_port() == unused_tcp_port
    http.stop()

    with pytest.raises(ServerNotRunning):
        http.stop()


def test_its_positional_arguments_are_ours(root: Path, unused_tcp_port: int, source: Path) -> None:
    client = HttpServerClient(str(root), "127.0.0.1", unused_tcp_port, 600, True)
    client.start()

    assert client.get_port() == unused_tcp_port
    assert client.get_host() == "127.0.0.1"
    client.close()
