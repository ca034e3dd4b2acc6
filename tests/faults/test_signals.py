"""What signals raise, at every line of calls that block, and handlers, which stay what the script has made them.

A timeout of Robot or pytest raises by SIGALRM where a Ctrl-C does by SIGINT. Scripts of users run as processes of
their own, say nothing on stderr, and leave nothing; `tests/stress/test_interrupts.py` takes moments by chance.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.copying.raw_server import End, RawServer, answer
from tests.faults.scripts import ended, line_of, ran, running
from tests.server.wire import Wire, eventually, sleeps

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
    felt = interrupted(lambda: (tell("calling"), client.start(wait_for_address=600)))
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
felt = interrupted(lambda: (tell("calling"), client.put_file("image", {url!r})))
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
        # Not in the middle of what urllib3 does with a head: it would leave the socket to the garbage collector.
        eventually(lambda: sleeps(process, 5), "it waits")
        process.send_signal(signal.SIGALRM)

        assert ended(process) == ["True ['image'] True (200, b'old')"]


@pytest.mark.parametrize("error", ["TimeoutError('over')", "FileNotFoundError(2, 'over')"])
def test_what_a_handler_raises_while_a_command_reads_a_file_for_its_digest_is_raised_as_it_is(
    tmp_path: Path, error: str
) -> None:
    script = f"""
class Mine(type({error})): pass
def over(number, frame): raise Mine(*{error}.args)
os.makedirs(root)
with open(os.path.join(root, "f"), "wb") as file:
    file.truncate(1 << 40)  # which takes minutes to read
with HttpServerClient(root, "127.0.0.1", read_only=True) as http:
    signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        print(http.command("f", "curl"))
    except Mine as caught:
        print("Mine", [thread.name for thread in threading.enumerate() if thread.name == "httpserve-call"])
"""

    assert ran(script, tmp_path) == ["Mine []"]
