"""A store as the root of a client: puts, uploads, waits, storage, as on a directory."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import opendal
import pytest
import requests

import httpserve
from httpserve import errors
from tests import ports
from tests.cases import each
from tests.server.wire import eventually, pattern
from tests.stores.proxy import Proxy
from tests.stores.servers import Place

BIG = pattern(9 * 1024 * 1024 + 17)  # more than one part of an upload


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def client(s3: Place) -> Iterator[httpserve.HttpServerClient]:
    with httpserve.HttpServerClient(root=s3.operator(), host="127.0.0.1") as client:
        yield client


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "big").write_bytes(BIG)
    (tmp_path / "small").write_bytes(b"small")
    return tmp_path


@pytest.mark.parametrize(("name", "content"), [("small", b"small"), ("big", BIG)])
def test_what_is_put_is_in_the_store_and_is_served(
    client: httpserve.HttpServerClient, s3: Place, files: Path, name: str, content: bytes
) -> None:
    url = client.put_file(f"os/{name}", files / name, headers={"X-Version": "2"}, content_type="text/x-image")

    got = requests.get(url, timeout=30)
    stored = s3.operator().stat(f"os/{name}")
    assert (got.status_code, got.content) == (200, content)
    assert got.headers["ETag"] == f'"{digest_of(content)}"'
    assert (got.headers["X-Version"], got.headers["Content-Type"]) == ("2", "text/x-image")
    assert stored.user_metadata is not None
    assert stored.user_metadata["sha256"] == digest_of(content)
    assert requests.get(f"{url}.sha256", timeout=30).text.startswith(digest_of(content))
    assert client.wait_for_download(f"os/{name}", timeout=20).bytes == len(content)
    assert client.storage.get_created_resources() == {f"os/{name}"}


def test_another_host_answers_with_the_same_fields(client: httpserve.HttpServerClient, s3: Place, files: Path) -> None:
    url = client.put_file("a", files / "big", headers={"X-Version": "2"})
    with httpserve.HttpServerClient(root=s3.operator(), host="127.0.0.1", cache_bytes=0) as other:
        there = requests.get(other.get_url("a"), timeout=30, headers={"Range": "bytes=5-99"})
        here = requests.get(url, timeout=30, headers={"Range": "bytes=5-99"})

    assert there.content == here.content == BIG[5:100]
    assert {name: here.headers[name] for name in here.headers if name != "Date"} == {
        name: there.headers[name] for name in there.headers if name != "Date"
    }


def test_what_was_put_leaves_from_the_local_disk(s3: Place, proxy: Proxy, files: Path) -> None:
    with httpserve.HttpServerClient(root=s3.through(proxy).operator(), host="127.0.0.1") as client:
        urls = [client.put_file(name, files / name) for name in ("small", "big")]

        assert [requests.get(url, timeout=30).content for url in urls] == [b"small", BIG]
    assert [one for one in proxy.seen("GET", "/(small|big)$") if one.status in (200, 206)] == []


def test_large_objects_are_moved_and_copied_and_signed_like_small_ones(
    client: httpserve.HttpServerClient, files: Path
) -> None:
    storage = client.storage
    storage.write_from_path("a/b/two", files / "big")
    storage.rename("a", "moved")
    storage.copy("moved/b/two", "copy")

    assert storage.read_bytes("moved/b/two") == storage.read_bytes("copy") == BIG
    assert storage.hash("copy") == storage.stat("moved/b/two").etag.strip('"') == digest_of(BIG)  # type: ignore[union-attr]  # there is one
    assert requests.get(storage.presign_read("copy", 60).url, timeout=30).content == BIG


def test_a_thread_that_runs_a_loop_of_its_own_lists_as_all_others_do(client: httpserve.HttpServerClient) -> None:
    client.storage.write_bytes("a/b", b"")

    async def listed() -> list[str]:
        return client.storage.list("a/")

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(asyncio.run, listed()).result() == ["a/", "a/b"]


def test_what_one_thread_has_not_looked_at_yet_is_no_directory_for_another(s3: Place, proxy: Proxy) -> None:
    stalled = proxy.spoil("stall", method="HEAD", target="/file$", at=-1)
    s3.operator().write("file", b"")
    with httpserve.HttpServerClient(root=s3.through(proxy).operator(), host="127.0.0.1") as client:
        raised: list[type[BaseException]] = []

        def put(name: str) -> None:
            try:
                client.storage.write_bytes(name, b"")
            except errors.StorageError as error:
                raised.append(type(error))

        threads = [threading.Thread(target=put, args=(name,)) for name in ("file/in/one", "file/in/below/two")]
        threads[0].start()
        eventually(lambda: stalled.met)
        threads[1].start()
        eventually(lambda: proxy.seen("HEAD", "/file/in/below$"))
        stalled.let_go()
        for thread in threads:
            thread.join(30)

    assert raised == [errors.NotADirectory] * 2


@pytest.mark.parametrize("service", ["webdav", "moto", "memory"])
def test_services_with_less_are_served_as_well(request: pytest.FixtureRequest, files: Path, service: str) -> None:
    place = None if service == "memory" else request.getfixturevalue(service)
    operator = opendal.Operator("memory") if place is None else place.operator()
    with httpserve.HttpServerClient(root=operator, host="127.0.0.1", remove_created_on_close=True) as client:
        url = client.put_file("a/b", files / "big", headers={"X-Version": "2"})
        client.storage.copy("a/b", "c")
        client.storage.copy("a/b", "x/y/z")
        client.storage.remove_all("x")
        client.storage.rename("a", "d/e")

        got = requests.get(client.get_url("d/e/b"), timeout=30)
        assert (got.content, got.headers["X-Version"], requests.get(url, timeout=30).status_code) == (BIG, "2", 404)
        assert client.storage.read_bytes("c") == BIG
        assert client.storage.scan("/") == ["/", "c", "d/", "d/e/", "d/e/b"]
        assert (got.headers["ETag"] == f'"{digest_of(BIG)}"') == (service == "moto")  # the others keep no metadata
    left = [entry.path for entry in operator.list("/", recursive=True) if not entry.path.endswith("/")]
    assert left == (["c", "d/e/b"] if service == "memory" else [])  # where nothing tells whose it is, it stays


def test_a_service_that_only_reads_says_what_it_cannot_do(web: Place, tmp_path: Path) -> None:
    (tmp_path / "web" / "f").write_bytes(BIG)
    with httpserve.HttpServerClient(root=web.operator(), host="127.0.0.1") as client:
        asked: list[Callable[[], object]] = [
            lambda: client.storage.write_bytes("new", b""),
            lambda: client.storage.list("/"),
            lambda: client.storage.delete("f"),
            lambda: client.storage.presign_write("f", 60),
        ]
        told = []
        for call in asked:
            with pytest.raises(errors.Unsupported) as caught:
                call()
            told.append(str(caught.value).rpartition("has no ")[2])

        assert told == ["write", "list", "delete", "presign_write"]
        assert requests.get(client.get_url("f"), timeout=30).content == BIG
        assert [requests.get(client.get_url(name), timeout=30).status_code for name in ("none", "")] == [404, 404]


class Plain(http.server.SimpleHTTPRequestHandler):
    """As `python -m http.server` has it: without ranges."""

    def log_message(self, *said: object) -> None:
        pass

    def copyfile(self, source: Any, outputfile: Any) -> None:
        with contextlib.suppress(OSError):  # the client has enough
            super().copyfile(source, outputfile)


def test_a_server_without_ranges_is_read_from_the_first_byte(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(BIG)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Plain, directory=str(tmp_path))) as plain:
        ports.pooled.add(plain.server_port)
        serving = threading.Thread(target=plain.serve_forever)
        serving.start()
        try:
            with httpserve.HttpServerClient(root=f"http://127.0.0.1:{plain.server_port}", host="127.0.0.1") as client:
                asked = {"Range": "bytes=5000001-5000009"}
                part = requests.get(client.get_url("big"), timeout=30, headers=asked)
                with client.storage.open("big", "rb") as file:
                    file.seek(-5, 2)
                    end = file.read()
        finally:
            plain.shutdown()
            serving.join()

    assert (part.status_code, part.content, end) == (206, BIG[5_000_001:5_000_010], BIG[-5:])


def test_a_part_of_what_a_server_changed_just_now_is_that_part(web: Place, tmp_path: Path) -> None:
    (tmp_path / "web" / "f").write_bytes(BIG)  # by whose ETag it gives nobody a part for two seconds
    with httpserve.HttpServerClient(root=web.operator(), host="127.0.0.1") as client:
        part = requests.get(client.get_url("f"), timeout=30, headers={"Range": "bytes=5000001-5000009"})

    assert (part.status_code, part.content) == (206, BIG[5_000_001:5_000_010])


def test_what_boards_send_is_in_the_store(client: httpserve.HttpServerClient, s3: Place) -> None:
    with client.expect_upload("log", timeout=30) as expected:
        sent = requests.put(client.get_url("log"), data=BIG, timeout=30)
        record = expected.wait()

    assert (sent.status_code, record.sha256, s3.operator().read("log")) == (201, digest_of(BIG), BIG)


@each("given", [5, b"cache", "", "a\0b", "~/cache", "s3://bucket/cache"])
def test_what_is_no_directory_for_a_cache_is_refused(given: Any) -> None:
    with pytest.raises((errors.InvalidArgument, errors.InvalidType), match="cache_dir"):
        httpserve.HttpServerClient(root=opendal.Operator("memory"), cache_dir=given)
