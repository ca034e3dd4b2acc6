"""A store that stalls, breaks off, refuses the key, or has another version by now: nothing false, in bounded time."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import opendal
import pytest
import requests

import httpserve
from httpserve import errors
from httpserve.storage.served import DiskBusy
from httpserve.storage.store.calls import Patience
from httpserve.storage.store.root import MOST_WAITING, StoreRoot
from tests.server.wire import eventually, pattern
from tests.stores.proxy import Proxy
from tests.stores.servers import Place

CONTENT = pattern(3 * 1024 * 1024 + 17)
OTHER = pattern(3 * 1024 * 1024 + 17, seed=1)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let clients wait for a store as long as a test takes."""
    patience = partial(Patience, look=60.0, read=60.0, write=60.0)
    monkeypatch.setattr("httpserve.storage.store.root.Patience", patience)


@pytest.fixture
def reached(s3: Place, proxy: Proxy) -> opendal.Operator:
    s3.operator().write("f", CONTENT)
    return s3.through(proxy).operator()


@contextlib.contextmanager
def served(operator: opendal.Operator, patience: Patience) -> Iterator[StoreRoot]:
    root = StoreRoot(operator, patience=patience).open()
    try:
        yield root
    finally:
        root.close()


def test_no_more_threads_wait_for_a_store_than_there_are_seats(reached: opendal.Operator, proxy: Proxy) -> None:
    refused: list[DiskBusy] = []

    def ask() -> None:
        try:
            root.status("f")
        except DiskBusy as error:
            refused.append(error)

    with served(reached, Patience(look=60.0)) as root:
        stalled = proxy.spoil("stall", method="HEAD", target="/f$", at=-1, times=0)
        threads = [threading.Thread(target=ask) for _ in range(MOST_WAITING + 3)]
        for thread in threads:
            thread.start()
        eventually(lambda: len(refused) == 3)
        proxy.mend()
        for thread in threads:
            thread.join()

    assert (len(refused), stalled.met <= 2) == (3, True)


@pytest.mark.usefixtures("held")
@pytest.mark.parametrize("call", ["put", "stat", "read", "list", "delete", "serve"])
def test_ctrl_c_ends_a_call_that_waits_for_the_store(
    reached: opendal.Operator, proxy: Proxy, tmp_path: Path, call: str
) -> None:
    (tmp_path / "src").write_bytes(CONTENT)
    with httpserve.HttpServerClient(root=reached, host="127.0.0.1") as client:
        stalled = proxy.spoil("stall", method="PUT" if call == "put" else "", at=-1, times=0)
        calls: dict[str, Callable[[], object]] = {
            "put": lambda: client.put_file("new", tmp_path / "src"),
            "stat": lambda: client.storage.stat("f"),
            "read": lambda: client.storage.read_bytes("f"),
            "list": lambda: client.storage.list("/"),
            "delete": lambda: client.storage.delete("f"),
            "serve": lambda: client.serve("new", tmp_path / "src"),
        }

        def interrupt() -> None:
            eventually(lambda: stalled.met)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            calls[call]()
        thread.join()
        assert stalled.met == 1  # it still waits there
        proxy.mend()


def test_a_forked_child_is_told_what_to_do(reached: opendal.Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.storage.store.calls.PROBE_SECONDS", 0.2)  # it never answers there
    with served(reached, Patience()) as root:
        read, write = os.pipe()
        child = os.fork()
        if not child:
            for call in (lambda: root.status("f"), lambda: StoreRoot(reached), root.close):
                try:
                    call()
                except errors.StorageError as error:
                    os.write(write, f"{error}\n".encode())
            os._exit(0)
        os.close(write)
        with open(read) as said:
            lines = said.readlines()
        os.waitpid(child, 0)

        assert ["start it by multiprocessing's 'spawn'" in line for line in lines] == [True, True]
        assert root.status("f").identity.size == len(CONTENT)


def test_only_what_was_created_goes_on_close_and_only_where_it_is_asked_for(s3: Place) -> None:
    there = s3.operator()
    there.write("theirs", b"old")
    for remove in (False, True):
        with httpserve.HttpServerClient(
            root=s3.operator(), host="127.0.0.1", remove_created_on_close=remove or None
        ) as client:
            for name in ("ours", "replaced", "theirs"):
                client.storage.write_bytes(f"{name}{remove}" if name != "theirs" else name, b"new")
            client.storage.create_dir(f"made{remove}/")
            there.write(f"replaced{remove}", b"by another host")

    left = sorted(entry.path for entry in there.list("/", recursive=True))
    assert left == ["madeFalse/", "oursFalse", "replacedFalse", "replacedTrue", "theirs"]


def test_a_new_object_replaces_none_where_that_is_not_wanted(s3: Place) -> None:
    s3.operator().write("there", b"old")
    with served(s3.operator(), Patience()) as root:
        spool = root.incoming("there")
        spool.may_replace = False
        spool.write(b"new")
        with pytest.raises(errors.AlreadyExists):
            spool.commit(None)

    assert s3.operator().read("there") == b"old"


@pytest.mark.parametrize("megabytes", [1, 20], ids=["whole", "in parts"])
@pytest.mark.parametrize("may_replace", [True, False], ids=["replaces", "new"])
def test_a_put_whose_answer_is_lost_is_made_once(
    reached: opendal.Operator, proxy: Proxy, megabytes: int, may_replace: bool
) -> None:
    content = pattern(megabytes * 1024 * 1024)
    method = "POST" if megabytes > 8 else "PUT"
    lost = proxy.spoil("lost", method=method, target="uploadId" if method == "POST" else "/new")
    with served(reached, Patience()) as root:
        spool = root.incoming("new")
        spool.may_replace = may_replace
        spool.write(content)
        spool.commit(None)

    assert lost.met == 1
    assert reached.read("new") == content


def test_an_upload_that_the_store_does_not_take_is_told_by_503(reached: opendal.Operator, proxy: Proxy) -> None:
    with httpserve.HttpServerClient(root=reached, host="127.0.0.1") as client:
        client.accept_uploads("log")
        proxy.spoil("answer", method="PUT", times=0, status=500)
        refused = requests.put(client.get_url("log"), data=b"log", timeout=60)
        proxy.mend()
        taken = requests.put(client.get_url("log"), data=b"log", timeout=60)

    assert (refused.status_code, taken.status_code) == (503, 201)


def test_a_change_is_made_by_what_the_store_has_now_however_fresh_a_look_is(s3: Place, tmp_path: Path) -> None:
    store, source = s3.operator(), tmp_path / "source"
    source.write_bytes(b"ours")
    os.utime(source, (1, 1))
    with httpserve.HttpServerClient(
        root=s3.operator(), host="127.0.0.1", fresh_for=600.0, remove_created_on_close=True
    ) as client:
        for name in ("put twice", "replaced"):
            client.put_file(name, source)
            assert client.storage.stat(name).content_length == 4
            store.write(name, b"by another host")
        client.put_file("put twice", source)

        assert store.read("put twice") == b"ours"
    assert store.read("replaced") == b"by another host"


def test_what_another_host_writes_at_the_same_time_is_not_taken_for_what_was_put(
    held: None, s3: Place, proxy: Proxy, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(CONTENT)
    root = s3.through(proxy).operator()
    with httpserve.HttpServerClient(root=root, host="127.0.0.1") as client, ThreadPoolExecutor(1) as pool:
        stalled = proxy.spoil("stall", method="HEAD", target="/a$", at=-1, first=2)  # the look after the upload
        put = pool.submit(client.put_file, "a", source)
        eventually(lambda: stalled.met)
        s3.operator().write("a", OTHER)
        stalled.let_go()
        url = put.result()

        got = requests.get(url, timeout=30)
        assert got.content == OTHER
        assert hashlib.sha256(CONTENT).hexdigest() not in got.headers["ETag"]


class Mirror(http.server.BaseHTTPRequestHandler):
    """One of two mirrors whose files have the same length and ETag; it gives its own port as their content."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        content = b"%09d\n" % self.connection.getsockname()[1] * 50_000
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_two_stores_that_only_their_address_tells_apart_share_no_bytes_of_a_cache(tmp_path: Path) -> None:
    for _ in range(2):
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as mirror:
            thread = threading.Thread(target=mirror.serve_forever, args=(0.01,))
            thread.start()
            try:
                port = mirror.server_address[1]
                root = opendal.Operator("http", endpoint=f"http://127.0.0.1:{port}")
                with httpserve.HttpServerClient(root=root, host="127.0.0.1", cache_dir=tmp_path / "cache") as client:
                    assert requests.get(client.get_url("f"), timeout=30).content == b"%09d\n" % port * 50_000
            finally:
                mirror.shutdown()
                thread.join()
