"""Ctrl-C in every call that blocks, in scripts of users: it is felt, nothing is torn, and the client goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from httpserve.storage.directory.root import Root
from tests.copying.raw_server import Answer, End, RawServer, answer
from tests.faults.scripts import ended, go_on, line_of, running
from tests.server.wire import Wire, eventually, sleeps

STARTED = """
client = HttpServerClient(root, host="127.0.0.1")
client.start()
client.storage.write_bytes("image", b"old")
"""
# The call is interrupted by a real SIGINT from outside; whatever it was, the client is usable afterwards.
CALL = """
def interrupted(call):
    try:
        tell("calling")
        call()
    except KeyboardInterrupt:
        return True
    return False
felt = interrupted(lambda: {call})
tell(felt, names(root), client.is_running, fetched(client, "image"))
client.put_file("after", "/dev/null")
client.close()
"""


@contextmanager
def calling(code: str, call: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a script up to a call that blocks."""
    with running(code + CALL.format(call=call), tmp_path) as process:
        assert line_of(process) == "calling"
        yield process


def links(process: subprocess.Popen[str]) -> str:
    """Return what a process has open."""
    opened = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            opened.append(str(link.readlink()))
        except OSError:  # it was closed in between
            continue
    return " ".join(opened)


def felt(process: subprocess.Popen[str]) -> list[str]:
    process.send_signal(signal.SIGINT)
    return ended(process)


GOES_ON = ["True ['image'] True (200, b'old')"]


@pytest.mark.parametrize("begun", [b"", b"some bytes"])
@pytest.mark.parametrize(
    "call", ["client.put_file('image', {url!r})", "client.storage.write_from_path('new', {url!r})"]
)
def test_ctrl_c_ends_a_copy_from_a_url_that_stalls(tmp_path: Path, call: str, begun: bytes) -> None:
    with (
        RawServer(answer(begun, length=1000, end=End.STALL)) as server,
        calling(STARTED, call.format(url=server.url()), tmp_path) as process,
    ):
        assert server.stalling.wait(10)
        eventually(lambda: sleeps(process, 5), "it waits")

        assert felt(process) == GOES_ON


def test_ctrl_c_ends_a_copy_from_a_url_that_does_not_answer_at_all(tmp_path: Path) -> None:
    with (
        RawServer(Answer(b"", End.STALL)) as server,
        calling(STARTED, f"client.put_file('image', {server.url()!r})", tmp_path) as process,
    ):
        assert server.stalling.wait(10)
        eventually(lambda: sleeps(process, 5), "it waits")

        assert felt(process) == GOES_ON


def test_ctrl_c_ends_the_pause_before_a_url_is_tried_again(tmp_path: Path) -> None:
    with (
        RawServer(answer(b"a", length=1000)) as server,
        calling(STARTED, f"client.put_file('image', {server.url()!r})", tmp_path) as process,
    ):
        eventually(lambda: len(server.heads) == 4, "its fourth try")
        eventually(lambda: sleeps(process, 5), "the pause after it")

        assert felt(process) == GOES_ON


def test_ctrl_c_ends_a_copy_from_an_operator_that_stalls(tmp_path: Path) -> None:
    code = """
import opendal
opendal.Operator("memory").write("a", b"x")  # which starts what opendal keeps
before_all = ours()
"""
    with RawServer(answer(b"", length=1000), answer(b"some", length=1000, end=End.STALL)) as server:
        operator = f"opendal.Operator('http', endpoint='http://127.0.0.1:{server.port}')"
        with calling(code + STARTED, f"client.put_file('image', 'file', {operator})", tmp_path) as process:
            assert server.stalling.wait(10)
            eventually(lambda: sleeps(process, 5), "it waits")

            process.send_signal(signal.SIGINT)
            line = line_of(process)
            process.kill()  # opendal itself waits until the server lets go, which is after this

    assert line == GOES_ON[0]


PIPE = """
client.storage.write_bytes("big", bytes(1 << 20))
pipe = os.path.join(where, "pipe")
os.mkfifo(pipe)
end = os.open(pipe, os.O_RDWR)
"""
BIG = """
with open(os.path.join(root, "big"), "wb") as file:
    file.truncate(1 << 40)
"""


@pytest.mark.parametrize(
    ("code", "call", "begun"),
    [
        (PIPE, "client.put_file('image', pipe)", sleeps),
        (PIPE, "client.storage.read_into_path('big', pipe)", sleeps),
        (BIG, "client.storage.hash('big')", lambda process: "/big" in links(process)),
        (BIG, "client.command('big', 'wget')", lambda process: "/big" in links(process)),
    ],
    ids=["from a pipe that nobody writes", "to a pipe that nobody reads", "a hash", "a digest for a command"],
)
def test_ctrl_c_ends_what_would_take_for_ever(
    tmp_path: Path, code: str, call: str, begun: Callable[[subprocess.Popen[str]], bool]
) -> None:
    with calling(STARTED + code, call, tmp_path) as process:
        eventually(lambda: begun(process), "it is under way")

        process.send_signal(signal.SIGINT)
        line = line_of(process)
        process.kill()

    assert line == "True ['big', 'image'] True (200, b'old')"


def test_ctrl_c_ends_a_copy_of_a_local_file_without_end(tmp_path: Path) -> None:
    code = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 32, 1 << 32))
said = []
def progress(copied, total):
    if not said:
        said.append(copied)
        tell("going")
"""
    with calling(code + STARTED, "client.put_file('image', '/dev/zero', progress=progress)", tmp_path) as process:
        line_of(process)

        assert felt(process) == GOES_ON


def test_ctrl_c_ends_a_write_to_the_storage(tmp_path: Path) -> None:
    code = """
def write():
    with client.storage.open("image", "wb") as file:
        for _ in range(20_000):
            file.write(bytes(100_000))
            if file.tell() == 100_000:
                tell("going")
"""
    with calling(STARTED + code, "write()", tmp_path) as process:
        line_of(process)

        assert felt(process) == GOES_ON


EXPECTING = """
def nothing(*_):
    return False
def expect_download(**terms):
    with client.expect_download("image", **terms):
        pass
def expect_request(**terms):
    with client.expect_request("other", **terms):
        pass
"""


@pytest.mark.parametrize(
    "call",
    [
        "client.wait_for_download('image', timeout=None)",
        "client.wait_for_download('image', timeout=600)",
        "client.wait_for_download('image', until='started')",
        "client.wait_for_download('image', 600, until='idle', idle=600, since=0)",
        "client.wait_for_download('image', until=0.5, clients=2, progress=nothing)",
        "client.wait_for_download('image', client=nothing)",
        "client.wait_for_request('other')",
        "client.wait_for_request(client=nothing, timeout=600)",
        "expect_download()",
        "expect_download(timeout=600, clients=3)",
        "expect_request()",
        "client.expect_download('image').wait()",
    ],
)
def test_ctrl_c_ends_a_wait_of_any_kind_and_leaves_nothing_of_it(tmp_path: Path, call: str) -> None:
    with calling(STARTED + EXPECTING, call, tmp_path) as process:
        eventually(lambda: sleeps(process), "it waits")

        assert felt(process) == GOES_ON


def test_ctrl_c_in_a_users_function_ends_the_wait(tmp_path: Path) -> None:
    code = """
def asks(request):
    tell("asked")
    time.sleep(600)
fetched(client, "image")
"""
    with calling(STARTED + code, "client.wait_for_download('image', client=asks)", tmp_path) as process:
        assert line_of(process) == "asked"

        assert felt(process) == GOES_ON


@pytest.mark.parametrize("call", ["client.stop(timeout=600)", "client.close()"])
def test_ctrl_c_ends_a_stop_that_drains_and_the_client_starts_again(tmp_path: Path, call: str) -> None:
    code = """
with open(os.path.join(root, "big"), "wb") as file:
    file.truncate(1 << 30)
tell(client.get_port())
sys.stdin.readline()
try:
    tell("calling")
    {call}
    felt = False
except KeyboardInterrupt:
    felt = True
left = [thread.name for thread in threading.enumerate() if thread.name.startswith("httpserve")]
tell(felt, client.is_running, left)
client.start()
tell(client.is_running)
client.close()
"""
    with running(STARTED + code.format(call=call), tmp_path) as process, Wire(int(line_of(process))) as wire:
        wire.get("/big")
        wire.read_head()
        go_on(process)
        line_of(process)
        eventually(lambda: sleeps(process), "it drains")

        assert felt(process) == ["True False []", "True"]


def test_ctrl_c_ends_a_start_that_waits_for_a_stop(tmp_path: Path) -> None:
    code = """
with open(os.path.join(root, "big"), "wb") as file:
    file.truncate(1 << 30)
tell(client.get_port())
sys.stdin.readline()
stopping = threading.Thread(target=client.stop, args=(600,))
stopping.start()
while client.is_running:
    pass
try:
    tell("calling")
    client.start()
    felt = False
except KeyboardInterrupt:
    felt = True
tell(felt, client.is_running)
stopping.join()
client.start()
tell(fetched(client, "image"))
client.close()
"""
    with running(STARTED + code, tmp_path) as process, contextlib.ExitStack() as stack:
        wire = stack.enter_context(Wire(int(line_of(process))))
        wire.get("/big")
        wire.read_head()
        go_on(process)
        line_of(process)
        eventually(lambda: sleeps(process), "it waits")
        process.send_signal(signal.SIGINT)
        line = line_of(process)
        wire.reset()

        assert line == "True False"
        assert ended(process) == ["(200, b'old')"]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_ctrl_c_while_a_file_is_opened_loses_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image").write_bytes(b"x")
    root = Root(tmp_path).open()
    really_open = os.open

    def open_and_press_ctrl_c(path: str, flags: int) -> int:
        fd = really_open(path, flags)
        signal.raise_signal(signal.SIGINT)
        return fd

    before = os.listdir("/proc/self/fd")
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", open_and_press_ctrl_c)
        with pytest.raises(KeyboardInterrupt):
            root.open_file("image")

    assert os.listdir("/proc/self/fd") == before
    root.close()
