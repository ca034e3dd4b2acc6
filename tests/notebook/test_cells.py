"""A cell that is run again gets its port back, whatever has kept its old server alive."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.notebook.kernel import Kernel
from tests.ports import free_port

MAKE = "HttpServerClient(host='127.0.0.1', port=PORT)"
PLAIN = f"client = {MAKE}\nclient.start()\nclient"


def port() -> str:
    """Return the line that says which port a cell uses."""
    return f"PORT = {free_port('127.0.0.1', '127.0.0.2')}"


def test_cell_that_shows_its_server_works_ten_times(kernel: Kernel) -> None:
    kernel.printed(port())

    errors = [kernel.run(PLAIN).error for _ in range(10)]

    assert errors == [""] * 10
    assert kernel.printed("print(client.get_port() == PORT, fetch(client)[:9])") == "True b'<!DOCTYPE'"


def test_start_takes_the_port_whoever_has_the_old_server(kernel: Kernel) -> None:
    kernel.printed(port())
    kernel.printed(PLAIN)
    kernel.printed("former = client")

    cell = kernel.run(f"other = {MAKE}\nother.start()")

    assert cell.error == ""
    assert kernel.printed("print(former.is_running, other.get_port() == PORT)") == "False True"


def test_server_at_another_address_keeps_the_same_port(kernel: Kernel) -> None:
    kernel.printed(port())
    kernel.printed(PLAIN)

    cell = kernel.run("other = HttpServerClient(host='127.0.0.2', port=PORT)\nother.start()")

    assert cell.error == ""
    assert kernel.printed("print(client.is_running, other.is_running)") == "True True"


def test_start_that_fails_otherwise_closes_nothing(kernel: Kernel) -> None:
    kernel.printed(port())
    kernel.printed(PLAIN)

    cell = kernel.run("HttpServerClient('/dev/null', host='127.0.0.1', port=PORT).start()")

    assert cell.error.startswith("RootUnusable")
    assert kernel.printed("print(client.is_running)") == "True"


def test_servers_of_a_loop_all_run(kernel: Kernel) -> None:
    loop = """
servers = []
for _ in range(3):
    client = HttpServerClient(host='127.0.0.1')
    client.start()
    servers.append(client)
"""
    kernel.printed(loop)

    kernel.printed(loop)

    assert kernel.printed("print([server.is_running for server in servers])") == "[True, True, True]"


def test_closing_the_old_server_is_logged(kernel: Kernel) -> None:
    kernel.printed(port())
    kernel.printed(PLAIN)
    kernel.printed(
        "import logging; lines = []; handler = logging.Handler(); handler.emit = lambda r: lines.append(r.getMessage())"
    )
    kernel.printed("log = logging.getLogger('httpserve.client'); log.addHandler(handler); log.setLevel('INFO')")

    kernel.printed(PLAIN)

    printed = kernel.printed("print(*lines, PORT); log.removeHandler(handler); log.setLevel('NOTSET')")
    assert f"closing the server at port {printed.split()[-1]} of 127.0.0.1: this start takes its port" in printed


def test_start_in_another_thread_closes_nothing(kernel: Kernel) -> None:
    kernel.printed(port())
    kernel.printed(PLAIN)

    printed = kernel.printed(f"""
def other():
    try:
        {MAKE}.start()
    except PortInUse:
        print("in use")
thread = threading.Thread(target=other)
thread.start()
thread.join()
""")

    assert printed == "in use"


def test_ipython_in_a_terminal_does_the_same(tmp_path: Path) -> None:
    lines = ["from httpserve import HttpServerClient", port(), *[f"client = {MAKE}", "client.start()", "client"] * 3]

    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--simple-prompt", "--no-banner", "--no-confirm-exit"],
        input="\n".join([*lines, "client.watch()", ""]),
        env={**os.environ, "IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=40,
    )

    assert done.returncode == 0
    assert done.stdout.count("<HttpServerClient running") == 3
    assert "PortInUse" not in done.stdout
    assert "read `transfers`" in done.stdout
