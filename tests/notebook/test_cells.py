"""A cell that is run again replaces the server of its variable, and no other one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from httpserve import HttpServerClient
from httpserve.notebook.reruns import assigned, holds
from tests.notebook.kernel import Kernel

PORT = "PORT = (lambda s: (s.bind(('127.0.0.1', 0)), s.getsockname()[1], s.close())[1])(__import__('socket').socket())"
MAKE = "HttpServerClient(host='127.0.0.1', port=PORT)"
PLAIN = f"client = {MAKE}\nclient.start()\nclient"


def test_cell_that_shows_its_server_works_ten_times(kernel: Kernel) -> None:
    kernel.printed(PORT)

    errors = [kernel.run(PLAIN).error for _ in range(10)]

    assert errors == [""] * 10
    assert kernel.printed("print(client.get_port() == PORT, fetch(client)[:9])") == "True b'<!DOCTYPE'"


@pytest.mark.parametrize(
    "again",
    [
        f"# edited\nclient = {MAKE}\nclient.start()\nclient",
        f"client = {MAKE}.__enter__()\nclient",
        f"with {MAKE} as client:\n    print(client.is_running)",
        f"def made():\n    it = {MAKE}\n    it.start()\n    return it\nclient = made()\nclient",
        f"%pwd\nother, client = 1, {MAKE}\nclient.start()\nclient",
        f"if (client := {MAKE}):\n    client.start()",
    ],
    ids=["edited", "entered", "with", "function", "magic", "walrus"],
)
def test_cell_that_makes_it_otherwise_gets_the_port_back(kernel: Kernel, again: str) -> None:
    kernel.printed(PORT)
    kernel.printed(PLAIN)

    errors = [kernel.run(again).error for _ in range(3)]

    assert errors == [""] * 3


def test_server_that_is_started_in_a_later_cell_gets_the_port_back(kernel: Kernel) -> None:
    kernel.printed(PORT)

    for _ in range(3):
        kernel.printed(f"client = {MAKE}\nclient")
        kernel.printed("client.start()")

    assert kernel.printed("print(client.is_running)") == "True"


def test_interrupted_call_that_a_traceback_keeps_does_not_hold_the_port(kernel: Kernel) -> None:
    kernel.printed(PORT)
    kernel.printed(PLAIN)

    assert "NotFound" in kernel.run("client.wait_for_download('absent')").error

    assert kernel.run(PLAIN).error == ""


def test_other_variables_server_keeps_its_port(kernel: Kernel) -> None:
    kernel.printed(PORT)
    kernel.printed(PLAIN)

    cell = kernel.run(f"other = {MAKE}\nother.start()")

    assert cell.error.startswith("PortInUse")
    assert kernel.printed("print(client.is_running, len(fetch(client)) > 0)") == "True True"


@pytest.mark.parametrize("keeping", ["keep = client", "keep = [client]", "keep = {1: client}", "keep = Keeps(client)"])
def test_server_with_a_second_name_keeps_its_port(kernel: Kernel, keeping: str) -> None:
    kernel.printed(PORT)
    kernel.printed("class Keeps:\n    def __init__(self, client):\n        self.client = client")
    kernel.printed(PLAIN)
    kernel.printed(keeping)

    cell = kernel.run(PLAIN)

    assert cell.error.startswith("PortInUse")
    assert kernel.printed("print(len(fetch(port=PORT)) > 0)") == "True"


def test_server_that_got_its_second_name_in_the_same_cell_keeps_its_port(kernel: Kernel) -> None:
    kernel.printed(PORT)
    kernel.printed(PLAIN)

    cell = kernel.run(f"keep = client\n{PLAIN}")

    assert cell.error.startswith("PortInUse")
    assert kernel.printed("print(keep.is_running)") == "True"


def test_server_whose_variable_was_deleted_keeps_its_port(kernel: Kernel) -> None:
    kernel.printed(PORT)
    kernel.printed(f"{PLAIN}\nservers = [client]")
    kernel.printed("del client")

    cell = kernel.run(f"other = {MAKE}\nother.start()")

    assert cell.error.startswith("PortInUse")
    assert kernel.printed("print(servers[0].is_running)") == "True"


def test_object_that_has_a_server_gets_the_port_back(kernel: Kernel) -> None:
    kernel.printed(PORT)
    kernel.printed(f"""
class Bench:
    def __init__(self):
        self.http = {MAKE}
        self.http.start()
""")

    errors = [kernel.run("bench = Bench()\nbench").error for _ in range(3)]

    assert errors == [""] * 3
    assert kernel.printed("print(bench.http.is_running)") == "True"


def test_list_of_servers_that_was_shown_gets_its_ports_back(kernel: Kernel) -> None:
    kernel.printed(PORT)
    cell = f"servers = [{MAKE}]\nfor one in servers:\n    one.start()\nservers"

    errors = [kernel.run(cell).error for _ in range(3)]

    assert errors == [""] * 3


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


def test_replaced_server_with_any_port_is_closed_too(kernel: Kernel) -> None:
    cell = "client = HttpServerClient(host='127.0.0.1')\nclient.start()\nclient"
    kernel.printed(cell)
    kernel.printed("import weakref; former = weakref.ref(client);")

    kernel.printed(cell)

    assert kernel.printed("print(former().is_running, client.is_running)") == "False True"


def test_closing_what_was_replaced_is_logged(kernel: Kernel) -> None:
    kernel.printed(PORT)
    kernel.printed(PLAIN)
    kernel.printed(
        "import logging; lines = []; handler = logging.Handler(); handler.emit = lambda r: lines.append(r.getMessage())"
    )
    kernel.printed("log = logging.getLogger('httpserve.client'); log.addHandler(handler); log.setLevel('INFO')")

    kernel.printed(PLAIN)

    printed = kernel.printed("print(*lines, PORT); log.removeHandler(handler); log.setLevel('NOTSET')")
    assert f"closing the server at port {printed.split()[-1]}: another one has taken its place in client" in printed


def test_start_in_another_thread_replaces_nothing(kernel: Kernel) -> None:
    kernel.printed(PORT)
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


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a = b = 1", {"a", "b"}),
        ("a, (b, *c) = 1", {"a", "b", "c"}),
        ("a.b = c[0] = 1", set()),
        ("with f() as a, g() as (b, c): pass", {"a", "b", "c"}),
        ("for a in b:\n    c = a", {"a", "c"}),
        ("if (a := 1): b: int = 2", {"a", "b"}),
        ("def f():\n    a = 1\nclass C:\n    b = 1\nx = lambda: (c := 1)", {"x"}),
        ("[a for a in b]", set()),
        ("no python", set()),
        ("a = '\0'", set()),
        ("", set()),
    ],
)
def test_what_a_cell_assigns(source: str, names: set[str]) -> None:
    assert assigned(source) == names


class Holder:
    def __init__(self, thing: object) -> None:
        self.thing = thing


class Slots:
    __slots__ = ("thing",)

    def __init__(self, thing: object) -> None:
        self.thing = thing


def test_variable_holds_what_it_is_and_what_is_an_attribute_or_an_item_of_it() -> None:
    server, other = HttpServerClient(), HttpServerClient()

    def function() -> HttpServerClient:
        return server

    held = [server, [server], (1, server), {server}, {"a": server}, Holder(server), Slots(server), server.start]
    not_held = [None, 1, other, [other], [server] * 1001, [[server]], Holder(other), Holder([server]), pytest, function]

    assert [holds(value, server) for value in held] == [True] * len(held)
    assert [holds(value, server) for value in not_held] == [False] * len(not_held)


def test_terminals_ipython_replaces_likewise(tmp_path: Path) -> None:
    lines = ["from httpserve import HttpServerClient", PORT, *[f"client = {MAKE}", "client.start()", "client"] * 3]

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
    assert "poll `transfers` instead" in done.stdout
