"""The system's clock set back, and forth, while a server runs.

The clock of one process is set, by a library that is loaded before the C library; files keep the system's time, so
that they are from the future once the clock was set back, as on a bench whose clock NTP corrects.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.faults.scripts import ran

SOURCE = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
__attribute__((constructor)) static void set_up(void) {
    int fd = open(getenv("CLOCK_OFFSET"), O_RDONLY);
    void *at = mmap(0, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) offset = at;
    close(fd);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (!result && offset && clock == CLOCK_REALTIME) now->tv_sec += *offset;
    return result;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec fine;
    int result = clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return result;
}
time_t time(time_t *now) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (now) *now = fine.tv_sec;
    return fine.tv_sec;
}
"""

SETTING = """
import itertools
from email.utils import parsedate_to_datetime
def set_clock(seconds):
    with open(os.environ["CLOCK_OFFSET"], "r+b", buffering=0) as file:
        file.write(seconds.to_bytes(8, sys.byteorder, signed=True))
set_clock(0)
before = time.time()
set_clock(-1000)
assert -1001 < time.time() - before < -900, "the clock was not set"
set_clock(0)
client = HttpServerClient(root, host="127.0.0.1", timeout=30)
client.start()
with open(os.path.join(root, "theirs"), "wb") as file:
    file.write(b"theirs" * 10_000)
client.storage.write_bytes("ours", b"ours" * 10_000)
kept = HTTPConnection("127.0.0.1", client.get_port(), timeout=10)
def ask(name, **fields):
    kept.request("GET", f"/{name}", headers={field.replace("_", "-"): value for field, value in fields.items()})
    answer = kept.getresponse()
    return answer, answer.read()
"""
END = """
kept.close()
client.close()
"""
DAY = 86_400


@pytest.fixture(scope="module")
def under(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """The command under which a script has a clock of its own."""
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler, on Linux")
    where = tmp_path_factory.mktemp("clock")
    (where / "clock.c").write_text(SOURCE)
    (where / "offset").write_bytes(bytes(8))
    built = [compiler, "-shared", "-fPIC", "-o", str(where / "clock.so"), str(where / "clock.c")]
    subprocess.run(built, check=True, capture_output=True, timeout=30)
    return ["env", f"LD_PRELOAD={where / 'clock.so'}", f"CLOCK_OFFSET={where / 'offset'}"]


def test_a_file_has_the_same_validator_and_no_date_in_the_future(tmp_path: Path, under: Sequence[str]) -> None:
    code = f"""
for name, seconds in itertools.product(("ours", "theirs"), {[-DAY, -10_000 * DAY, 30_000 * DAY]}):
    first, _ = ask(name)
    set_clock(seconds)
    ask("nothing")
    again, body = ask(name)
    modified, date = (parsedate_to_datetime(again.headers[field]) for field in ("Last-Modified", "Date"))
    tell(again.headers["ETag"] == first.headers["ETag"], body == name.encode() * 10_000, modified <= date)
    tell(abs(date.timestamp() - time.time()) < 60, ask(name, If_None_Match=first.headers["ETag"])[0].status)
    set_clock(0)
"""
    assert ran(SETTING + code + END, tmp_path, under=under) == ["True True True", "True 304"] * 6


def test_what_changes_after_the_clock_was_set_back_is_seen_at_the_next_request(
    tmp_path: Path, under: Sequence[str]
) -> None:
    code = f"""
first, _ = ask("theirs")
set_clock({-DAY})
with open(os.path.join(root, "theirs"), "wb") as file:
    file.write(b"changed")
os.utime(os.path.join(root, "theirs"), (time.time(), time.time()))
again, body = ask("theirs", If_None_Match=first.headers["ETag"])
tell(again.status, body, again.headers["ETag"] != first.headers["ETag"])
again, body = ask("theirs", If_Modified_Since=first.headers["Last-Modified"], If_None_Match=first.headers["ETag"])
tell(again.status, body)
client.storage.write_bytes("ours", b"changed")
tell(ask("ours")[1])
"""
    assert ran(SETTING + code + END, tmp_path, under=under) == ["200 b'changed' True", "200 b'changed'", "b'changed'"]


@pytest.mark.parametrize("seconds", [-DAY, DAY])
def test_waits_records_and_deadlines_go_by_a_clock_that_nobody_sets(
    tmp_path: Path, under: Sequence[str], seconds: int
) -> None:
    code = f"""
slow = HTTPConnection("127.0.0.1", client.get_port(), timeout=10)
slow.request("GET", "/ours")
answer = slow.getresponse()
ask("theirs")
waiting = threading.Timer(0.2, set_clock, [{seconds}])
waiting.start()
began = time.monotonic()
try:
    client.wait_for_download("theirs", timeout=0.5, client="127.0.0.9")
except WaitTimeout:
    tell(0.4 < time.monotonic() - began < 50)
waiting.join()
tell(answer.read() == b"ours" * 10_000)
record = client.wait_for_download("ours", timeout=20)
tell(0 <= record.seconds < 50, all(0 <= one.seconds < 50 for one in client.requests))
tell(ask("theirs")[0].status, fetched(client, "ours")[0])
began = time.monotonic()
client.stop()
tell(time.monotonic() - began < 50)
slow.close()
"""
    assert ran(SETTING + code + END, tmp_path, under=under) == ["True", "True", "True True", "200 200", "True"]


@pytest.mark.parametrize("mtime", [-1, 0, 2**31, 2**33, 253_402_300_800, 2**40])
def test_a_file_from_any_time_is_served_without_a_date_in_the_future(tmp_path: Path, mtime: int) -> None:
    code = f"""
from email.utils import parsedate_to_datetime
client = HttpServerClient(root, host="127.0.0.1")
client.start()
path = os.path.join(root, "theirs")
with open(path, "wb") as file:
    file.write(b"theirs")
os.utime(path, ({mtime}, {mtime}))
kept = HTTPConnection("127.0.0.1", client.get_port(), timeout=10)
kept.request("GET", "/theirs")
answer = kept.getresponse()
tell(answer.status, answer.read())
tell(parsedate_to_datetime(answer.headers["Last-Modified"]) <= parsedate_to_datetime(answer.headers["Date"]))
tell(client.storage.stat("theirs").content_length, fetched(client, "")[0])
kept.close()
client.close()
"""
    assert ran(code, tmp_path) == ["200 b'theirs'", "True", "6 200"]
