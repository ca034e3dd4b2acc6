"""A server in a real Jupyter kernel: interrupted, restarted, watched, and silent."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cases import each
from tests.copying.raw_server import End, RawServer, answer
from tests.notebook.kernel import PRELUDE, Kernel, Message, kernel_in
from tests.server.wire import unmeasured

START = "client = HttpServerClient(host='127.0.0.1')\nclient.start()\nclient.storage.write_bytes('image', bytes(5000))"
FIND_ROOT = "import glob; ROOT, = glob.glob(tempfile.gettempdir() + '/httpserve-*')"
# tqdm looks for widgets when it is imported first.
NO_TQDM = "for name in [name for name in sys.modules if name.startswith('tqdm')]:\n    del sys.modules[name]"
NO_WIDGETS = f"import sys; sys.modules['ipywidgets'] = None\n{NO_TQDM}"
WIDGETS = f"import sys\nif sys.modules.get('ipywidgets', 0) is None:\n    sys.modules.pop('ipywidgets')\n{NO_TQDM}"
WIDGET = "application/vnd.jupyter.widget-view+json"


SOON_SECONDS = 15.0  # at once, on a machine that has much to do


@pytest.fixture(scope="module")
def unmeasured_kernel(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    if unmeasured() == dict(os.environ):
        yield request.getfixturevalue("running_kernel")
        return
    with kernel_in(tmp_path_factory.mktemp("k"), measured=False) as kernel:
        yield kernel


@pytest.fixture
def interruptible(unmeasured_kernel: Kernel) -> Iterator[Kernel]:
    """A running server's kernel."""
    unmeasured_kernel.printed(PRELUDE)
    unmeasured_kernel.printed(START)
    unmeasured_kernel.printed(FIND_ROOT)
    yield unmeasured_kernel
    unmeasured_kernel.run("client.close()")  # a new kernel has none
    unmeasured_kernel.forget()


def interrupted(kernel: Kernel, call: str, wait: Callable[[float], object] = lambda seconds: None) -> str:
    """Interrupt a cell while it waits, and return what it and the next one say."""
    kernel.messages.clear()
    number = kernel.begin(f"print('waiting', flush=True)\n{call}")
    kernel.listen(lambda message: message["msg_type"] == "stream")
    wait(10)  # until it does what is to be interrupted: Python drops what is raised while it imports
    began = time.monotonic()
    kernel.interrupt()
    cell = kernel.end(number)
    assert time.monotonic() - began < SOON_SECONDS
    assert cell.error.startswith("KeyboardInterrupt")
    return kernel.run("client.is_running, len(fetch(client, 'image'))").data()


@pytest.mark.parametrize("call", ["wait_for_download('image')", "wait_for_request('other')"])
def test_interrupting_a_wait_ends_it_and_the_server_goes_on(interruptible: Kernel, call: str) -> None:
    assert interrupted(interruptible, f"client.{call}") == "(True, 5000)"


def test_interrupting_a_put_ends_it_and_the_server_goes_on(interruptible: Kernel) -> None:
    with RawServer(answer(b"some", length=1000, end=End.STALL)) as server:
        call = f"client.put_file('image', {server.url()!r})"
        assert interrupted(interruptible, call, server.stalling.wait) == "(True, 5000)"


@each(
    "call, note",
    [
        ("wait_for_download('image', client='127.0.0.1', progress=interrupt)", ["127.0.0.1 had 5000 of 5000 bytes"]),
        ("wait_for_download('image', client='127.0.0.9', progress=interrupt)", ["nobody had a byte of 'image'"]),
        ("wait_for_request('image', client=interrupt)", []),
        ("events(0) and client.wait_for_download('image', client=interrupt)", []),
        ("put_file('image', os.__file__, progress=interrupt)", []),
    ],
)
def test_an_interrupt_is_the_line_of_the_cell_and_how_far_a_wait_had_come(
    interruptible: Kernel, call: str, note: list[str]
) -> None:
    interruptible.printed("import signal\ndef interrupt(*_):\n    signal.raise_signal(signal.SIGINT)")
    interruptible.printed("fetch(client, 'image');")
    interruptible.messages.clear()

    interruptible.run(f"client.{call}")

    (error,) = (one["content"] for one in interruptible.messages if one["msg_type"] == "error")
    assert error["ename"] == "KeyboardInterrupt"
    *first, where, line, _, callback = plain(error)
    assert first == ["KeyboardInterrupt", *note]
    assert re.match(r"  Cell In\[\d+\], line 1", where)
    assert line.strip() == f"client.{call}"
    assert callback.strip() == "signal.raise_signal(signal.SIGINT)"  # a frame of the user's, too


def test_restarting_the_kernel_frees_port_and_directory(interruptible: Kernel) -> None:
    port = interruptible.printed("print(client.get_port())")
    root = Path(interruptible.printed("print(ROOT)"))
    interruptible.printed("client")

    interruptible.restart()

    assert not root.exists()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", int(port)))
        sock.listen()


def test_restarting_in_the_middle_of_a_wait_frees_port_and_directory(interruptible: Kernel) -> None:
    port = interruptible.printed("print(client.get_port())")
    root = Path(interruptible.printed("print(ROOT)"))
    interruptible.messages.clear()
    interruptible.begin("print('waiting', flush=True)\nclient.wait_for_download('image')")
    interruptible.listen(lambda message: message["msg_type"] == "stream")

    interruptible.restart()

    assert not root.exists()
    with socket.socket() as sock:
        assert sock.connect_ex(("127.0.0.1", int(port))) != 0


# What a server shows by itself


def shows(message: Message) -> bool:
    """Tell whether a message adds to what is below a cell."""
    return message["msg_type"] in ("stream", "display_data", "execute_result", "error")


def test_nothing_is_shown_in_other_cells_by_a_busy_server(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("thread = threading.Thread(target=lambda: [fetch(client, 'image') for _ in range(100)])")

    shown = [kernel.run("thread.start()"), kernel.run("1 + 1"), kernel.run("thread.join()")]

    assert [cell.printed for cell in shown] == ["", "", ""]
    assert [len(cell.outputs) for cell in shown] == [0, 1, 0]
    assert kernel.printed("print(len(client.requests))") == "100"


def plain(error: Message) -> list[str]:
    """Return what is shown of an error, as lines without colours."""
    return re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error["traceback"])).splitlines()


def test_an_error_is_one_sentence_and_the_lines_of_the_cell(kernel: Kernel) -> None:
    kernel.printed(START)
    cell = kernel.run("def helper():\n    client.put_file('a', 'nope')\nhelper()")

    (error,) = [one["content"] for one in kernel.messages if one["msg_type"] == "error"][-1:]
    first, *lines = plain(error)
    assert cell.error == first
    assert first.startswith("SourceNotFound: the source 'nope' does not exist")
    assert error["traceback"][0].startswith("\x1b[31mSourceNotFound")  # the colour of an error's class
    assert lines[1::2] == ["    helper()", "    client.put_file('a', 'nope')"]
    assert [re.match(r"  Cell In\[\d+\], line \d", line) is not None for line in lines[::2]] == [True, True]


def test_an_error_hides_what_ours_call_and_shows_what_is_the_users(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.run("client.storage.stat('nothere')")
    kernel.run(
        "fetch(client, 'image'); client.wait_for_download('image', 5, client=lambda r: client.storage.stat('b'))"
    )

    stat, within = (plain(one["content"]) for one in kernel.messages if one["msg_type"] == "error")
    assert (stat[0].partition(":")[0], len(stat)) == ("NotFound", 3)
    assert [" in <lambda>" in line for line in within[1::2]] == [False, True]


def test_a_port_in_use_says_where_another_notebook_is_ended(kernel: Kernel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        kernel.run(f"HttpServerClient(host='127.0.0.1', port={taken.getsockname()[1]}).start()")

    (error,) = (one["content"] for one in kernel.messages if one["msg_type"] == "error")
    assert error["ename"] == "PortInUse"
    assert "shut down the kernel of that notebook" in plain(error)[-1]


def test_a_wait_that_failed_is_a_table_below_its_error_and_where_it_is_a_value(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.run("client.wait_for_download('image', 0)")
    value = kernel.run("import sys\nsys.last_value")

    (error,) = [one["content"] for one in kernel.messages if one["msg_type"] == "error"]
    assert "what happened  nobody connected" in error["traceback"]
    assert "nobody connected</td>" in value.data("text/html")
    assert value.data("text/html").count("<table") == 1


def changes(message: Message, place: str) -> str:
    """Return what a message puts into the output of that number, as HTML."""
    content = message["content"]
    if message["msg_type"] == "update_display_data" and content["transient"]["display_id"] == place:
        return str(content["data"]["text/html"])
    return ""


@each(
    "end, word",
    [
        ("client.stop()", "the server was stopped"),
        ("client.close()", "the server was closed"),
        ("watch.close()", "no longer watched"),
    ],
)
def test_watch_changes_its_own_output_and_shows_nothing_in_other_cells(kernel: Kernel, end: str, word: str) -> None:
    kernel.printed(START)

    (view,) = kernel.run("watch = client.watch()").outputs
    place = view["transient"]["display_id"]
    kernel.messages.clear()
    kernel.printed("fetch(client, 'image');")
    kernel.listen(lambda message: ">image</td>" in changes(message, place))
    kernel.printed(end)
    last = kernel.listen(lambda message: word in changes(message, place))

    assert not [message for message in kernel.messages if shows(message)]
    # What a saved notebook has for those who show no HTML.
    assert re.search(word + r"\nstate .*\ncompleted +127.0.0.1 +image +100 %", last["content"]["data"]["text/plain"])


def test_watch_ends_with_what_the_records_say_of_a_download_that_a_stop_has_cut(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("client.storage.write_bytes('big', bytes(64 << 20))")
    kernel.printed("import socket; PLACE = '127.0.0.1', client.get_port()")
    kernel.printed("board = socket.create_connection(PLACE, source_address=('127.0.0.10', 0))")
    kernel.printed("board.sendall(b'GET /big HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n'); board.recv(9)")
    (view,) = kernel.run("client.watch()").outputs
    place = view["transient"]["display_id"]

    cells = "|".join(re.split("(?:<[^>]*>)+", view["data"]["text/html"].partition("<progress")[2]))
    assert re.search(r"\|127.0.0.10\|big\|\d+ %\|.*\|64.0 MiB\|.*/s\|", cells)
    kernel.printed("two = socket.create_connection(PLACE, source_address=('127.0.0.9', 0))")
    kernel.printed(
        "two.sendall(b'GET /imag HTTP/1.1\\r\\nHost: x\\r\\n\\r\\nGET /big HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n')"
    )
    kernel.listen(lambda message: ">all 2<" in changes(message, place) and ">128.0 MiB<" in changes(message, place))
    kernel.listen(lambda message: "not there" in changes(message, place) and ">image</td>" in changes(message, place))
    kernel.printed("client.stop(0.2)")
    kernel.listen(lambda message: "the server was stopped" in changes(message, place))

    last = [page for page in (changes(message, place) for message in kernel.messages) if page][-1]
    assert "0 under way, 2 in all" in last
    assert ">cut</strong>" in last
    assert last.index(">127.0.0.9<") < last.index(">127.0.0.10<")  # by the boards' addresses
    kernel.printed("board.close()\ntwo.close()")


def test_watch_has_a_bar_for_ten_boards_and_one_for_all(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("client.storage.write_bytes('big', bytes(64 << 20)); PLACE = '127.0.0.1', client.get_port()")
    kernel.printed("""
import socket
from httpserve.faults import Slow
fault = client.fault('big', Slow(99), client='127.0.0.2')
boards = [socket.create_connection(PLACE, source_address=(f'127.0.0.{n}', 0)) for n in range(13, 1, -1)]
for board in boards:
    board.sendall(b'GET /big HTTP/1.1\\r\\nHost: bench\\r\\n\\r\\n')
    board.recv(9)
""")

    page = kernel.run("client.watch()").data("text/html")

    assert re.findall(r">(127\.0\.0\.\d+|all 12|and 2 more under way)</td>", page) == [
        *(f"127.0.0.{number}" for number in range(2, 12)),
        *("all 12", "and 2 more under way"),
    ]
    assert page.count("<progress") == 11
    assert page.count(">Slow(99)<") == 1
    assert "wrong on purpose: Slow(99) for big<" in page
    kernel.printed("for board in boards: board.close()\nclient.stop(0)")


def test_watch_goes_on_beside_a_cell_that_captures_its_output(kernel: Kernel, tmp_path: Path) -> None:
    kernel.printed(START)
    (view,) = kernel.run("client.watch()").outputs
    place = view["transient"]["display_id"]

    shown = f"os.path.exists({str(tmp_path / 'shown')!r})"
    number = kernel.begin(f"%%capture captured\nfetch(client, 'image')\neventually(lambda: {shown})")
    kernel.listen(lambda message: ">image</td>" in changes(message, place))
    (tmp_path / "shown").touch()
    kernel.end(number)

    assert kernel.printed("print(captured.outputs)") == "[]"


def test_watch_that_is_closed_ends_its_thread(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("watch = client.watch()")

    printed = kernel.printed("print(watch.is_live); watch.close(); watch.close(); print(watch.is_live, watch)")

    assert printed.split("\n")[0] == "True"
    assert printed.split("\n")[1].startswith("False <Watch of http://127.0.0.1:")


def test_watch_that_is_shown_in_another_cell_is_a_line(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("watch = client.watch()")

    assert kernel.run("watch").data().startswith("<Watch of http://127.0.0.1:")


def test_second_watch_takes_the_place_of_the_first(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("first = client.watch()")
    kernel.printed("second = client.watch()")

    assert kernel.printed("print(first.is_live, second.is_live)") == "False True"


def test_watch_keeps_no_server_alive(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed("watch = client.watch()")
    kernel.printed("import weakref; client = weakref.ref(client)")

    assert kernel.printed("eventually(lambda: not watch.is_live); print(client())") == "None"


def test_watch_of_a_replaced_server_ends(kernel: Kernel) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cell = f"client = HttpServerClient(host='127.0.0.1', port={port})\nclient.start()\nclient.watch()\nclient"
    kernel.printed(cell)
    kernel.printed("first = client.watch()")

    kernel.printed(cell)

    assert kernel.printed("eventually(lambda: not first.is_live); print(client.is_running)") == "True"


def test_progress_is_a_bar_of_the_notebook(kernel: Kernel) -> None:
    kernel.printed(WIDGETS)
    kernel.printed(START)
    kernel.printed("open('source', 'wb').write(bytes(3_000_000));")
    kernel.messages.clear()

    cell = kernel.run("client.put_file('image', 'source', progress=True);")

    assert [output["type"] for output in cell.outputs] == ["display_data"]
    assert WIDGET in cell.outputs[0]["data"]
    states = [m["content"]["data"].get("state", {}) for m in kernel.messages if m["msg_type"].startswith("comm_")]
    assert 3_000_000 in [state.get("max") for state in states]
    assert 3_000_000 in [state.get("value") for state in states]


def test_progress_of_a_wait_is_a_bar_of_the_notebook(kernel: Kernel) -> None:
    kernel.printed(WIDGETS)
    kernel.printed(START)
    kernel.printed("threading.Thread(target=fetch, args=(client, 'image')).start()")

    cell = kernel.run("client.wait_for_download('image', timeout=20, progress=True);")

    assert cell.error == ""
    assert [WIDGET in output["data"] for output in cell.outputs] == [True]


def test_progress_without_widgets_is_a_bar_of_text(kernel: Kernel) -> None:
    kernel.printed(START)
    kernel.printed(NO_WIDGETS)
    kernel.printed("open('source', 'wb').write(bytes(3_000_000));")

    cell = kernel.run("client.put_file('image', 'source', progress=True);")

    kernel.printed(WIDGETS)
    assert {output["type"] for output in cell.outputs} == {"stream"}
    assert "2.86M/2.86M" in cell.printed
