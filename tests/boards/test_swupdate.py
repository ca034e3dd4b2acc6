"""SWUpdate with the line of `client.command`: it fetches an update, checks its signature, and installs it."""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.boards.clients import DESCRIPTION, make_key, signed_update
from tests.boards.programs import needs, noise, run, type_line


@pytest.fixture
def update(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A signed update that writes an image to `tmp_path/installed`."""
    needs("swupdate", "openssl", "cpio")
    with open(tmp_path_factory.getbasetemp().parent / "swupdate.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it binds an abstract name, so there can be only one on a host
        yield made(tmp_path)


def made(tmp_path: Path) -> Path:
    if "--key" not in run("swupdate", "--help", cwd=tmp_path, ok=False).stdout:
        pytest.skip("this swupdate was built without signatures")
    image = noise(300_000)
    make_key(tmp_path)
    description = DESCRIPTION.replace("installed", f"{tmp_path}/installed") % ("1", "%s")
    (tmp_path / "update.swu").write_bytes(signed_update(tmp_path, image, description))
    return tmp_path / "update.swu"


def install(client: HttpServerClient, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    options = "swupdate -k cert.pem -H board:1.0 -d"  # what else a board's own settings say
    line = client.command("update.swu", "swupdate").replace("swupdate -d", options, 1)
    (tmp_path / "tmp").mkdir()  # its sockets; and it removes what it unpacks there
    return type_line(f"TMPDIR={tmp_path / 'tmp'} {line}", cwd=tmp_path)


def test_swupdate_installs_what_it_fetches(bench: HttpServerClient, tmp_path: Path, update: Path) -> None:
    bench.put_file("update.swu", update)

    with bench.expect_download("update.swu", 10) as download:
        done = install(bench, tmp_path)

    # Not its exit code: 2022.12 ends with 1 at times, when its processes end in another order.
    assert "SWUPDATE successful" in done.stdout, done.stdout + done.stderr
    assert (tmp_path / "installed").read_bytes() == (tmp_path / "image").read_bytes()
    assert download.record.bytes == update.stat().st_size
    assert [(request.method, request.status) for request in bench.requests] == [("HEAD", 200), ("GET", 200)]


def test_swupdate_refuses_an_update_that_was_changed(bench: HttpServerClient, tmp_path: Path, update: Path) -> None:
    content = bytearray(update.read_bytes())
    content[len(content) // 2] ^= 1
    bench.storage.write_bytes("update.swu", content)

    done = install(bench, tmp_path)

    assert done.returncode != 0
    assert "GET" in {request.method for request in bench.requests}
