"""What signals raise, at every line of calls that block, and handlers, which stay what the script has made them.

A timeout of Robot or pytest raises by SIGALRM where a Ctrl-C does by SIGINT. Scripts of users run as processes of
their own, say nothing on stderr, and leave nothing; `tests/stress/test_interrupts.py` takes moments by chance.
"""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

from tests.copying.raw_server import End, RawServer, answer
from tests.faults.scripts import ended, line_of, ran, running
from tests.server.wire import Wire, eventually

STARTED = """
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"old")
source = os.path.join(where, "source")
with open(source, "wb") as file:
    file.write(bytes(300_000))

def waits():
    outcome(lambda: client.wait_for_download("image", timeout=0.01))

def expects():
    with client.expect_download("image"):
        fetched(client, "image")

def opens():
    with client.storage.open("opened", "wb") as file:
        file.write(b"x")

CALLS = {
    "put_file": lambda: client.put_file("a/image", source),
    "write_bytes": lambda: client.storage.write_bytes("b/image", bytes(20_000)),
    "open": opens,
    "read_bytes": lambda: client.storage.read_bytes("image"),
    "hash": lambda: client.storage.hash("image"),
    "copy": lambda: client.storage.copy("image", "c/image"),
    "list": lambda: client.storage.list("/"),
    "remove_all": lambda: client.storage.remove_all("c"),
    "wait_for_download": waits,
    "expect_download": expects,
    "stop": lambda: client.stop(0),
    "start": client.start,
    "close": client.close,
}
"""


def sleeps(process: subprocess.Popen[str]) -> bool:
    """Tell whether the main thread waits for something."""
    fields = Path(f"/proc/{process.pid}/task/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return fields[0] == "S"


# Handlers


@pytest.mark.parametrize("handler", ["signal.SIG_DFL", "signal.SIG_IGN", "lambda *_: None"])
def test_handlers_are_after_each_call_what_they_were_before(tmp_path: Path, handler: str) -> None:
    code = f"""
handler = {handler}
numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1]
for number in numbers:
    signal.signal(number, handler)
for name, call in CALLS.items():
    call()
    assert all(signal.getsignal(number) is handler for number in numbers), name
os.unlink(source)
"""
    assert ran(STARTED + code, tmp_path) == []


@pytest.mark.parametrize(
    "block",
    [
        "client.expect_download('image')",
        "client.expect_request('image')",
        "client.storage.open('opened', 'wb')",
        "HttpServerClient(host='127.0.0.1')",
    ],
)
def test_a_handler_that_is_set_inside_a_block_is_there_after_it(tmp_path: Path, block: str) -> None:
    code = f"""
def first(*_):
    pass
def second(*_):
    pass
signal.signal(signal.SIGALRM, first)
with {block}:
    signal.signal(signal.SIGALRM, second)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    fetched(client, "image")
tell(signal.getsignal(signal.SIGALRM) is second, signal.getsignal(signal.SIGINT) is signal.SIG_IGN)
client.close()
os.unlink(source)
"""
    assert ran(STARTED + code, tmp_path) == ["True True"]


def test_handlers_that_are_set_in_nested_blocks_stay_and_are_felt(tmp_path: Path) -> None:
    code = """
felt = []
handlers = [lambda *_, depth=depth: felt.append(depth) for depth in range(3)]
with client.expect_download("image"):
    signal.signal(signal.SIGALRM, handlers[0])
    with HttpServerClient(host="127.0.0.1") as other, other.storage.open("opened", "wb") as file:
        file.write(b"x")
        signal.signal(signal.SIGALRM, handlers[1])
        with client.expect_request("image"):
            signal.raise_signal(signal.SIGALRM)
            signal.signal(signal.SIGALRM, handlers[2])
            fetched(client, "image")
        signal.raise_signal(signal.SIGALRM)
    signal.raise_signal(signal.SIGALRM)
tell(felt, signal.getsignal(signal.SIGALRM) is handlers[2])
client.close()
os.unlink(source)
"""
    assert ran(STARTED + code, tmp_path) == ["[1, 2, 2] True"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_a_signal_with_its_default_ends_a_script_that_waits(tmp_path: Path, number: int) -> None:
    code = """
for number in (signal.SIGINT, signal.SIGALRM):
    signal.signal(number, signal.SIG_DFL)
tell("calling")
client.wait_for_download("image")
"""
    with running(STARTED + code, tmp_path) as process:
        line_of(process)
        eventually(lambda: sleeps(process), "it waits")
        process.send_signal(number)

        assert process.wait(20) == -number


def test_the_first_signal_with_its_default_ends_a_script_wherever_it_is(tmp_path: Path) -> None:
    code = """
signal.signal(signal.SIGINT, signal.SIG_DFL)
tell("calling")
while True:
    client.storage.write_bytes("image", b"new")
    client.storage.read_bytes("image")
"""
    for _ in range(10):
        with running(STARTED + code, tmp_path) as process:
            line_of(process)
            process.send_signal(signal.SIGINT)

            assert process.wait(20) == -signal.SIGINT


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGALRM])
def test_a_signal_that_is_ignored_ends_no_wait(tmp_path: Path, number: int) -> None:
    code = """
for number in (signal.SIGINT, signal.SIGALRM):
    signal.signal(number, signal.SIG_IGN)
tell(client.get_port())
tell(client.wait_for_download("image").bytes)
client.close()
os.unlink(source)
"""
    with running(STARTED + code, tmp_path) as process:
        port = int(line_of(process))
        eventually(lambda: sleeps(process), "it waits")
        process.send_signal(number)
        with Wire(port) as wire:
            wire.ask("/image")

        assert ended(process) == ["3"]


# What a handler raises

RAISES = """
class Timeout(Exception):
    pass
def handler(*_):
    raise Timeout
signal.signal(signal.SIGALRM, handler)
def interrupted(call):
    try:
        call()
    except Timeout:
        return True
    return False
"""


def test_a_timeout_in_a_start_that_waits_for_its_address_leaves_nothing_running(tmp_path: Path) -> None:
    code = """
client = HttpServerClient(root, host="192.0.2.1")
for again in range(3):
    tell("calling")
    felt = interrupted(lambda: client.start(wait_for_address=600))
    tell(felt, client.is_running, ours() == before_all)
client.close()
tell(outcome(client.start), ours() == before_all)
"""
    with running(RAISES + code, tmp_path) as process:
        for _ in range(3):
            assert line_of(process) == "calling"
            eventually(lambda: sleeps(process), "it waits")
            process.send_signal(signal.SIGALRM)
            assert line_of(process) == "True False True"

        assert ended(process) == ["AddressNotFound EADDRNOTAVAIL True"]


def test_a_timeout_ends_a_put_that_stalls_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    code = """
tell("calling")
felt = interrupted(lambda: client.put_file("image", {url!r}))
tell(felt, names(root), client.is_running, fetched(client, "image"))
client.close()
os.unlink(source)
"""
    with (
        RawServer(answer(b"some", length=1000, end=End.STALL)) as server,
        running(STARTED + RAISES + code.format(url=server.url()), tmp_path) as process,
    ):
        line_of(process)
        assert server.stalling.wait(10)
        process.send_signal(signal.SIGALRM)

        assert ended(process) == ["True ['image'] True (200, b'old')"]


# A signal at each moment of the main thread at which Python calls handlers, one after the other

SWEEP = """
class Timeout(Exception):
    pass
class Failed(BaseException):
    pass
raised_by = {signal.SIGINT: KeyboardInterrupt, signal.SIGALRM: Timeout, signal.SIGTERM: Failed}
came = 0
def handler(number, _):
    global came
    came += 1
    raise raised_by[number]
for number in raised_by:
    signal.signal(number, handler)

def interrupted(call, number, before):
    # Let a signal come at a moment, given as how many of them come first. False where the call is over before.
    # Python runs handlers where a function begins and where one of C's has returned.
    def moment(frame, event, _):
        nonlocal before
        name = frame.f_globals.get("__name__", "")
        if event in ("call", "c_return") and (name.startswith("httpserve") or name == "threading") and before >= 0:
            before -= 1
            if before < 0:
                signal.raise_signal(number)
    global came
    came = 0
    felt = False
    try:
        sys.setprofile(moment)
        try:
            call()
        finally:
            sys.setprofile(None)
    except raised_by[number]:
        felt = True
    assert felt == (came == 1) == (before < 0), (felt, came, before)
    return felt

def sweep(prepare, call, look):
    before = 0
    prepare()
    while interrupted(call, list(raised_by)[before % 3], before):
        assert all(signal.getsignal(each) is handler for each in raised_by), before
        left = [one.name for one in threading.enumerate() if one.name in ("httpserve-call", "httpserve:sha256")]
        assert not left, (left, before)
        look()
        before += 1
        prepare()
    look()
    assert before > 10, before
"""


@pytest.mark.parametrize(
    "call", ["put_file", "write_bytes", "copy", "read_bytes", "hash", "remove_all", "stop", "close"]
)
def test_what_a_signal_raises_at_any_moment_of_a_call_leaves_nothing_half_done(tmp_path: Path, call: str) -> None:
    code = f"""
call = CALLS[{call!r}]
def prepare():
    client.start()
    client.storage.write_bytes("image", b"old")
    client.storage.write_bytes("c/d/e", b"x")
def look():
    parts = [name for name in names(root) if name.endswith(".part")]
    assert not parts, parts
    if not client.is_running:
        assert not [one for one in ours() if not one.startswith(where)], ours()
    client.start()
    client.storage.write_bytes("image", b"new")
    assert fetched(client, "image") == (200, b"new")
sweep(prepare, call, look)
client.close()
os.unlink(source)
assert names(root) == [], names(root)
tell("done")
"""
    assert ran(STARTED + SWEEP + code, tmp_path) == ["done"]


def test_what_a_signal_raises_at_any_moment_of_a_start_leaves_no_server(tmp_path: Path) -> None:
    code = """
client = HttpServerClient(root, host="127.0.0.1")
felt = []
def start():
    client.start()
    felt.clear()
def prepare():
    client.close()
    felt[:] = ["yes"]
def look():
    assert client.is_running == (not felt)
    if not client.is_running:
        assert not [one for one in ours() if not one.startswith(where)], ours()
    client.start()
    client.storage.write_bytes("image", b"new")
    assert fetched(client, "image") == (200, b"new")
sweep(prepare, start, look)
client.close()
tell("done")
"""
    assert ran(SWEEP + code, tmp_path) == ["done"]


def test_what_a_signal_raises_at_any_moment_of_robots_keywords_loses_no_server(tmp_path: Path) -> None:
    code = """
from datetime import timedelta
from httpserve.robot.servers import Servers
from httpserve.robot.conversions import AutoClose

servers = Servers({"host": "127.0.0.1"}, AutoClose.SUITE)
began = []  # all there ever were: what a signal raises in a finalizer is lost, and so none may run in a call
def noted(*arguments, **settings):
    began.append(HttpServerClient(*arguments, **settings))
    return began[-1]
import httpserve.robot.servers
httpserve.robot.servers.HttpServerClient = noted

def start():
    servers.start("one", {}, 0.0, "suite", None)
def two():
    start()
    servers.start("two", {}, 0.0, "suite", None)
def look():
    known = [server.client for server in servers.all()]
    assert all(client in known for client in began[-4:] if client.is_running), known
    servers.suite_ended("suite")
    assert servers.all() == []
    assert not any(client.is_running for client in began[-4:])
    assert ours() == before_all
sweep(lambda: None, start, look)
sweep(two, servers.close_all, look)
tell("done")
"""
    assert ran(SWEEP + code, tmp_path) == ["done"]


def test_a_running_client_that_is_forgotten_ends_whole_whatever_signals_raise_meanwhile(tmp_path: Path) -> None:
    code = """
def unraisable(what):
    assert what.exc_type in raised_by.values(), what  # Python tells nobody else of what a handler raises in a finalizer
sys.unraisablehook = unraisable
before = 0
count = -1
while count < 0:  # until the end comes before the signal
    client = HttpServerClient(host="127.0.0.1")
    client.start()
    client.storage.write_bytes("image", b"x")
    directory = client.storage
    assert fetched(client, "image") == (200, b"x")
    try:
        count = before
        has_begun = False
        def moment(frame, event, _):
            global count, has_begun
            name = frame.f_globals.get("__name__", "")
            has_begun = has_begun or (name.startswith("httpserve.server") and frame.f_code.co_name == "stop")
            if event in ("call", "c_return") and name.startswith("httpserve") and has_begun:
                count -= 1
                if count == -1:
                    signal.raise_signal(signal.SIGALRM)
        del directory
        sys.setprofile(moment)
        del client
        gc.collect()
        sys.setprofile(None)
    except Timeout:
        pass
    finally:
        sys.setprofile(None)
    assert ours() == before_all, (before, ours())
    assert names(tempfile.tempdir) == [], (before, names(tempfile.tempdir))
    before += 1
assert before > 10, before
tell("done")
"""
    assert ran(SWEEP + code, tmp_path) == ["done"]
