"""The stores that tests use: real servers, which all workers of the run share, and a place of its own for each test.

SeaweedFS has S3 and WebDAV; moto has S3 alone, looks at no signature, and so lets a proxy change requests. Knows
opendal; knows nothing of the package.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import opendal

from tests import ports
from tests.stores.proxy import Proxies, Proxy
from tests.stores.shared import Plan, Use, use

BUCKET = "bench"
KEYS = {"access_key_id": "AKAKAKAK", "secret_access_key": "SKSKSKSK"}
# An operator on S3 knows nothing of the machine's own configuration.
_S3 = {"bucket": BUCKET, "region": "us-east-1", "disable_config_load": "true", "disable_ec2_metadata": "true", **KEYS}
_SEAWEEDFS_PORTS = ("s3", "master", "volume", "filer", "webdav", "admin")
_GRPC = {"s3", "master", "volume", "filer", "admin"}


@dataclass(frozen=True)
class Place:
    """A part of a store that belongs to one test.

    Attributes:
        scheme: Of opendal.
        endpoint: The URL of the server, or of a proxy before it.
        root: The path of the part, with slashes at both ends.
        settings: What else an operator needs.
    """

    scheme: str
    endpoint: str
    root: str
    settings: dict[str, str] = field(default_factory=dict)

    def operator(self, **options: str) -> opendal.Operator:
        """Make an operator on the part; *options* go before its settings."""
        return opendal.Operator(
            self.scheme, **{"endpoint": self.endpoint, "root": self.root, **self.settings, **options}
        )

    def through(self, proxy: Proxy) -> Place:
        """Return the same part as it is reached through a proxy."""
        return replace(self, endpoint=proxy.endpoint)


class Servers:
    """The servers of a run, as one of its processes uses them.

    Args:
        directory: Belongs to the run: all its processes give the same one.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._used: dict[str, Use] = {}
        self._proxies: Proxies | None = None

    def s3(self) -> Place | None:
        """Return a place on SeaweedFS. It has all that a store may have. None where it is not installed."""
        facts = self._seaweedfs()
        return None if facts is None else Place("s3", facts["s3"], _own_root(), _S3)

    def webdav(self) -> Place | None:
        """Return a place on SeaweedFS's WebDAV. It pins, lists and renames; it refuses metadata, by 403."""
        facts = self._seaweedfs()
        return None if facts is None else Place("webdav", facts["webdav"], _own_root())

    def moto(self) -> Place | None:
        """Return a place on moto, an S3 server that looks at no signature. None where it is not installed."""
        with contextlib.suppress(ImportError):
            import moto.server  # noqa: F401 - only to say whether it is there

            return Place("s3", self._use("moto", _moto)["s3"], _own_root(), _S3)
        return None

    def proxy(self, endpoint: str) -> Proxy:
        """Return a new proxy before a server; `close` it after use."""
        if self._proxies is None:
            self._proxies = Proxies()
        proxy = self._proxies.before(endpoint)
        ports.pooled.add(proxy.port)
        return proxy

    def close(self) -> None:
        """Use no server any more. Harmless when repeated."""
        for used in self._used.values():
            used.close()
        self._used.clear()
        if self._proxies is not None:
            self._proxies.close()
            self._proxies = None

    def _seaweedfs(self) -> dict[str, str] | None:
        program = _program("weed")
        return None if program is None else self._use("seaweedfs", lambda: _seaweedfs(program))

    def _use(self, name: str, plan: Callable[[], Plan]) -> dict[str, str]:
        if name not in self._used:
            self._used[name] = use(self._directory, name, plan)
            ports.pooled.update(int(endpoint.rpartition(":")[2]) for endpoint in self._used[name].facts.values())
        return self._used[name].facts


def _own_root() -> str:
    return f"/{uuid.uuid4().hex[:12]}/"


def _program(name: str) -> str | None:
    """Return the path of a program, which pip puts beside the interpreter; None where it is not installed."""
    return shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def _seaweedfs(program: str) -> Plan:
    numbers = iter(_free_ports(len(_SEAWEEDFS_PORTS) + len(_GRPC)))
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-master.telemetry=false", f"-bucket={BUCKET}"]
    options += ["-dir=.", "-webdav.cacheDir=.", "-filer.localSocket=filer.sock", "-s3.localSocket=s3.sock"]
    options += ["-s3.port.lance=0", "-s3.port.iceberg=0"]
    chosen = {}
    for part in _SEAWEEDFS_PORTS:
        chosen[part] = next(numbers)
        options.append(f"-{part}.port={chosen[part]}")
        if part in _GRPC:
            chosen[f"{part}.grpc"] = next(numbers)
            options.append(f"-{part}.port.grpc={chosen[f'{part}.grpc']}")
    return Plan(
        [program, "mini", *options],
        "ready to use",
        {part: f"http://127.0.0.1:{chosen[part]}" for part in ("s3", "webdav")},
        {"AWS_ACCESS_KEY_ID": KEYS["access_key_id"], "AWS_SECRET_ACCESS_KEY": KEYS["secret_access_key"]},
        tuple(f"/tmp/seaweedfs-*-{port}.sock" for port in chosen.values()),
    )


_MOTO = """
import sys
import moto.backends
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
server = make_server("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
moto.backends.get_backend("s3")["123456789012"]["aws"].create_bucket(sys.argv[2], "us-east-1")
print("listening", flush=True)
server.serve_forever()
"""


def _moto() -> Plan:
    (port,) = _free_ports(1)
    command = [sys.executable, "-W", "ignore", "-c", _MOTO, str(port), BUCKET]
    return Plan(command, "listening", {"s3": f"http://127.0.0.1:{port}"}, {})


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, from below those that the system gives to other tests meanwhile."""
    found: list[int] = []
    for port in random.sample(range(10_000, ports.LOWEST), 50 * count):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} ports are free for a store")
