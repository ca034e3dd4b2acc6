"""Signals whose handlers raise, at each moment of a call at which Python calls handlers, one after the other."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scripts import ran
from tests.faults.test_signals import STARTED

SWEEP = """
def settle():
    for _ in range(1000):  # a thread may be about to end
        left = [one for one in ours() if not one.startswith(where)]
        if not left:
            return
        time.sleep(0.01)
    raise AssertionError(left)
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
        settle()
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
        settle()
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
