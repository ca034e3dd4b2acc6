"""The command line on a bench with several networks: where it listens, and where it does not."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from tests.netns.nets import Network

BENCH = "192.168.7.1"


def serving(network: Network, root: Path, *words: str) -> tuple[subprocess.Popen[str], str]:
    """Start the command on the bench, and return it with the URL that it prints."""
    child = network.bench.start(sys.executable, "-m", "httpserve", str(root), *words)
    assert child.stdout is not None
    return child, child.stdout.readline().strip()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "f").write_bytes(b"content")
    return tmp_path


def test_this_host_is_answered_beside_the_bench_and_nothing_else_is(network: Network, root: Path) -> None:
    _, url = serving(network, root, "--peer", "192.168.7.2")
    port = url.rpartition(":")[2]

    assert url == f"http://{BENCH}:{port}"
    assert network.board.run("curl", "-sf", f"{url}/f") == "content"
    assert network.bench.run("curl", "-sf", f"http://127.0.0.1:{port}/f") == "content"
    refused = network.linklocal.start("curl", "-s", f"http://169.254.7.1:{port}/f")
    assert refused.wait(30) == 7  # curl's code for what nobody listens on


def test_addresses_that_are_given_are_all_and_nothing_is_beside_them(network: Network, root: Path) -> None:
    child, url = serving(network, root, "-b", "eth1", "-b", "169.254.7.1", "--exit-after", "f")
    port = url.rpartition(":")[2]

    refused = network.bench.start("curl", "-s", f"http://127.0.0.1:{port}/f")
    assert refused.wait(30) == 7
    assert network.linklocal.run("curl", "-sf", f"http://169.254.7.1:{port}/f") == "content"
    assert (child.wait(30), url) == (0, f"http://{BENCH}:{port}")


def test_a_port_that_another_program_has_on_loopback_is_served_on_the_bench_alone(network: Network, root: Path) -> None:
    with closing(HttpServerClient(host="127.0.0.1")) as other:
        network.bench.call(other.start)
        port = other.get_port()
        child, url = serving(network, root, "--peer", "192.168.7.2", "-p", str(port))

        assert url == f"http://{BENCH}:{port}"
        assert network.board.run("curl", "-sf", f"{url}/f") == "content"
        child.terminate()
        assert child.stderr is not None
        assert child.stderr.read() == f"httpserve: another program has port {port} on 127.0.0.1, and answers there\n"


def test_a_strict_peer_that_is_on_no_network_ends_the_command(network: Network, root: Path) -> None:
    network.bench.ip("route add default via 192.168.7.2")

    child, url = serving(network, root, "--peer", "203.0.113.9", "--strict-peer")

    assert (child.wait(30), url) == (1, "")
    assert child.stderr is not None
    assert "--peer 203.0.113.9 is on no network of this host" in child.stderr.read()
