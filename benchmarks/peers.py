"""The servers that are compared, each in a process of its own on 127.0.0.1.

Knows how each is configured, started, asked whether it is ready, and stopped.
Knows nothing of load and of results. `python -m benchmarks.peers NAME ROOT`
serves ROOT until its standard input ends.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
READY_SECONDS = 20.0
STOP_SECONDS = 5.0

OURS = "httpserve"
FREE_THREADED = "httpserve, free-threaded"
FREE_THREADED_PROGRAMS = ("python3.15t", "python3.14t")  # opendal has wheels for it from 3.14 on
NGINX_CONFIG = """\
daemon off;
master_process off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    default_type application/octet-stream;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; {what} }}
}}
"""


class PeerFailed(Exception):
    """A server did not come up; the message says which and what it printed."""


@dataclass(frozen=True)
class Running:
    """A server that answers."""

    name: str
    port: int
    pid: int  # of the process that serves, or (nginx) that has started the one that does


# What runs inside the servers' processes


def serve_httpserve(root: str) -> None:
    from httpserve import HttpServerClient

    with HttpServerClient(root_dir=root, host="127.0.0.1") as client:
        announce(client.get_port())
        sys.stdin.read()


def serve_aiohttp(root: str) -> None:
    import asyncio

    from aiohttp import web

    async def run() -> None:
        app = web.Application()
        app.router.add_static("/", root)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        announce(runner.addresses[0][1])
        await asyncio.to_thread(sys.stdin.read)
        await runner.cleanup()

    asyncio.run(run())


def serve_werkzeug(root: str) -> None:
    import threading

    from werkzeug.exceptions import NotFound
    from werkzeug.middleware.shared_data import SharedDataMiddleware
    from werkzeug.serving import make_server

    app = SharedDataMiddleware(NotFound(), {"/": root})
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    announce(server.server_port)
    sys.stdin.read()
    server.shutdown()
    server.server_close()


def serve_http_server(root: str) -> None:
    import http.server
    import threading
    from functools import partial

    # What `python -m http.server` runs: this handler on this server.
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        announce(server.server_port)
        sys.stdin.read()
        server.shutdown()


def serve_nginx(root: str) -> None:
    with nginx(f"root {root};") as port:
        announce(port)
        sys.stdin.read()


@contextlib.contextmanager
def nginx(what: str) -> Iterator[int]:
    """Run nginx with these lines in its server block until the block ends. Gives its port."""
    program = nginx_program()
    assert program is not None
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="bench-nginx-") as folder:
        config = Path(folder, "nginx.conf")
        user = "user root;" if os.geteuid() == 0 else ""
        config.write_text(NGINX_CONFIG.format(folder=folder, port=port, what=what, user=user))
        process = subprocess.Popen([program, "-p", folder, "-c", str(config), "-e", f"{folder}/error.log"])
        try:
            yield port
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)


SERVE: dict[str, Callable[[str], None]] = {
    OURS: serve_httpserve,
    FREE_THREADED: serve_httpserve,
    "nginx": serve_nginx,
    "aiohttp": serve_aiohttp,
    "werkzeug": serve_werkzeug,
    "http.server": serve_http_server,
}


def announce(port: int) -> None:
    print(port, flush=True)


def free_threaded_program() -> str | None:
    """Return a Python without the interpreter lock, the newest that there is."""
    found = map(shutil.which, FREE_THREADED_PROGRAMS)
    return next((program for program in found if program is not None), None)


def nginx_program() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    """Choose a port for a server that cannot tell which one it was given."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


# What runs in the benchmark's process


def missing(name: str) -> str | None:
    """Say why the server *name* cannot run here, or None when it can."""
    if name == "nginx" and nginx_program() is None:
        return "nginx is not installed (Debian: apt-get install nginx-light)"
    if name == FREE_THREADED:
        return missing_free_threaded()
    if name == "aiohttp" and importlib.util.find_spec("aiohttp") is None:
        return "aiohttp is not installed (pip install 'httpserve[bench]')"
    return None


def missing_free_threaded() -> str | None:
    program = free_threaded_program()
    if program is None:
        return f"none of {', '.join(FREE_THREADED_PROGRAMS)} is in the PATH"
    check = "import sys, httpserve.client.client; sys.exit(sys._is_gil_enabled())"
    if subprocess.run([program, "-c", check], cwd=REPOSITORY, capture_output=True, check=False).returncode != 0:
        return f"{program} has no packages for it, or takes the lock for one of them ({program} -m pip install -e .)"
    return None


def interpreter(name: str) -> str:
    """Return the Python that runs a server."""
    program = free_threaded_program() if name == FREE_THREADED else None
    return program or sys.executable


@contextlib.contextmanager
def running(name: str, root: Path) -> Iterator[Running]:
    """Run the server *name* on *root* in a process of its own until the block ends."""
    command = [interpreter(name), "-m", "benchmarks.peers", name, str(root)]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # http.server and werkzeug write a line for each request
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line.strip().isdigit():
            raise PeerFailed(f"{name} did not start; to see why: {' '.join(command)}")
        server = Running(name, int(line), process.pid)
        wait_until_it_accepts(server)
        yield server
    finally:
        process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def wait_until_it_accepts(server: Running) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise PeerFailed(f"{server.name} does not accept connections") from None
            time.sleep(0.01)  # nginx says nothing when it listens


if __name__ == "__main__":
    SERVE[sys.argv[1]](sys.argv[2])
