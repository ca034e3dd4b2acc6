"""Signals whose handlers raise, at random moments of calls that block: all are felt, nothing is left, all goes on.

A Ctrl-C raises KeyboardInterrupt; timeouts of Robot Framework and pytest raise other classes by SIGALRM, some of them
no Exception. Scripts of users run as processes of their own, and say nothing on stderr.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scripts import ran

SCRIPT = """
import random, struct

call_name, seed, most_rounds, seconds = sys.argv[2], *map(int, sys.argv[3:])
chances = random.Random(seed)

class Timeout(Exception):
    pass

class Failed(BaseException):
    pass

INTERRUPTS = [(signal.SIGINT, KeyboardInterrupt), (signal.SIGALRM, Timeout), (signal.SIGUSR1, Failed)]
raised_by = dict(INTERRUPTS)
came = 0

def handler(number, _):
    global came
    came += 1
    raise raised_by[number]

for number in raised_by:
    signal.signal(number, handler)
reader, writer = os.pipe()
parent = os.getpid()
if not os.fork():  # sends the signals when it is told: a thread would have to wait for the interpreter lock
    os.close(writer)
    while told := os.read(reader, 12):
        number, delay = struct.unpack("=id", told)
        at = time.perf_counter() + delay
        while time.perf_counter() < at:
            pass
        os.kill(parent, number)
    os._exit(0)
os.close(reader)
source = os.path.join(where, "tmp", "source")
with open(source, "wb") as file:
    file.write(bytes(1_000_000))
before_all = ours()
client = HttpServerClient(root, host="127.0.0.1")

def stopped():
    if client.is_running:
        client.stop(0)

def wait():
    try:
        client.wait_for_download("image", timeout=0.02)
    except WaitTimeout:
        pass

def with_a_tree():
    client.start()
    client.storage.write_bytes("c/d/e", b"x")

prepare, call = {
    "start": (stopped, client.start),
    "stop": (client.start, lambda: client.stop(0)),
    "close": (client.start, client.close),
    "put_file": (client.start, lambda: client.put_file("a/image", source)),
    "write_bytes": (client.start, lambda: client.storage.write_bytes("a/image", bytes(20_000))),
    "copy": (client.start, lambda: client.storage.copy("image", "b/image")),
    "wait_for_download": (client.start, wait),
    "read_bytes": (client.start, lambda: client.storage.read_bytes("image")),
    "hash": (client.start, lambda: client.storage.hash("image")),
    "list": (client.start, lambda: client.storage.list("/")),
    "remove_all": (with_a_tree, lambda: client.storage.remove_all("c")),
}[call_name]
client.start()
client.storage.write_bytes("image", b"x" * 1000)
prepare()
began = time.perf_counter()
call()
longest = 1.2 * (time.perf_counter() - began) + 1e-4
rounds = 0
end = time.monotonic() + seconds
while rounds < most_rounds and time.monotonic() < end:
    rounds += 1
    number, interrupt = chances.choice(INTERRUPTS)
    client.start()
    client.storage.write_bytes("image", b"x" * 1000)
    prepare()
    try:
        os.write(writer, struct.pack("=id", number, chances.uniform(0, longest)))
        call()
        for _ in range(2000):  # it comes in any case; a sleep is not ended by one that came just before it
            time.sleep(0.01)
    except interrupt:
        pass
    else:
        raise SystemExit(f"what the handler raised was lost: it was called {came} times in {rounds} rounds")
    left = [thread.name for thread in threading.enumerate() if thread.name in ("httpserve-call", "httpserve:sha256")]
    assert not left, left  # no call that was interrupted goes on
    parts = [name for name in names(root) if name.endswith(".part")]
    assert not parts, parts
    assert all(signal.getsignal(number) is handler for number in raised_by)
    client.start()
    client.storage.write_bytes("image", b"y")
    assert fetched(client, "image") == (200, b"y")
client.close()
assert came == rounds, (came, rounds)
assert names(root) == [], names(root)
os.close(writer)
os.unlink(source)
tell(rounds)
"""
CALLS = [
    "start",
    "stop",
    "close",
    "put_file",
    "write_bytes",
    "copy",
    "wait_for_download",
    "read_bytes",
    "hash",
    "list",
    "remove_all",
]
SIGNALS = 1000
MOST_SECONDS = 20  # then as many as there were are enough: the verdict is not of the machine


@pytest.mark.parametrize("call", CALLS)
def test_what_a_signal_raises_at_any_moment_of_a_call_is_felt_and_harmless(
    tmp_path: Path, seed: int, call: str
) -> None:
    (felt,) = ran(SCRIPT, tmp_path, call, str(seed), str(SIGNALS), str(MOST_SECONDS))

    print(f"{call}: {felt} signals of {SIGNALS}")
    assert int(felt) > 0
