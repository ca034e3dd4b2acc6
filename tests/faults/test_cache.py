"""Processes that share a cache are killed, find the disk full, or are forked: boards get right bytes, or none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.scripts import ended, go_on, line_of, on_a_disk_of, own_mounts, ran, running

# A script that reads one object of 8 MiB through a cache on root. Each read of the store is a line in a file.
CODE = """
from httpserve.storage.cache.cache import Cache
from tests.unit.storage.cache.objects import MIB, Object, fetched, opened, read

SIZE = 8 * MIB
thing = Object(SIZE)
begin = thing.fetch

def noted(offset, length):
    with open(os.path.join(where, "reads"), "a") as file:
        file.write(f"{offset} {length}\\n")
    return begin(offset, length)

thing.fetch = noted
cache = Cache(os.path.join(root, "cache"), 64 * MIB)
cache.open()
"""
FETCH = """
tell("ready")
sys.stdin.readline()
tell(fetched(cache, thing) == thing.data, cache.usage().bytes > SIZE)
cache.close()
"""
STOP_AT = """
gate = thing.gate(int(sys.argv[2]))
board = opened(cache, thing)
tell(board.arrived(0, SIZE, 10) > 0)
tell(read(board, 0, int(sys.argv[2]), SIZE) == thing.data[:int(sys.argv[2])])
sys.stdin.readline()
"""


def reads(where: Path) -> list[tuple[int, int]]:
    """Return the reads of all processes: their offsets and lengths."""
    lines = (where / "reads").read_text().splitlines()
    return [(int(offset), int(length)) for offset, length in map(str.split, lines)]


def test_two_processes_read_an_object_by_one_get(tmp_path: Path) -> None:
    with running(CODE + FETCH, tmp_path) as one, running(CODE + FETCH, tmp_path) as other:
        assert [line_of(one), line_of(other)] == ["ready"] * 2
        go_on(one)
        go_on(other)

        assert ended(one) == ended(other) == ["True True"]

    assert reads(tmp_path) == [(0, 8 << 20)]


@pytest.mark.parametrize("at", [1, 256 * 1024 + 1, 3_000_000, (8 << 20) - 1])
def test_a_process_that_is_killed_while_it_reads_leaves_the_rest_to_others(tmp_path: Path, at: int) -> None:
    with running(CODE + STOP_AT, tmp_path, str(at)) as killed, running(CODE + FETCH, tmp_path) as other:
        assert [line_of(killed), line_of(killed), line_of(other)] == ["True", "True", "ready"]
        go_on(other)  # it gets what is there, and waits for the other's block
        killed.send_signal(signal.SIGKILL)

        assert ended(other) == ["True True"]

    assert ran(CODE + FETCH, tmp_path) == ["ready", "True True"]
    block = at // (256 * 1024) * (256 * 1024)
    assert reads(tmp_path) == [(0, 8 << 20), (block, (8 << 20) - block)]


MANY = """
import itertools
for number in itertools.count(int(sys.argv[2])):
    thing = Object(5 * MIB // 4, f"image {number % 8}", number % 8)
    if fetched(cache, thing) != thing.data:
        tell("false")
    cache.prune(3 * MIB)
    if number % 8 == 0:
        tell("more")
"""


def test_whenever_processes_are_killed_what_is_there_is_right(tmp_path: Path) -> None:
    for moment in range(4):
        with running(CODE + MANY, tmp_path, str(moment)) as one, running(CODE + MANY, tmp_path, "5") as other:
            assert [line_of(one), line_of(other), line_of(one)] == ["more"] * 3
            one.send_signal(signal.SIGKILL)
            assert line_of(other) == "more"

    lines = ran(
        f"{CODE}for seed in range(8):\n    one = Object(5 * MIB // 4, f'image {{seed}}', seed)\n"
        "    tell(fetched(cache, one) == one.data)\nwhile cache.prune().bytes:\n    time.sleep(0.01)\ncache.close()",
        tmp_path,
    )
    assert lines == ["True"] * 8
    assert [path.name for path in (tmp_path / "root" / "cache").glob("*/*")] == ["locks"]


@pytest.mark.skipif(own_mounts() is None, reason="no file system may be mounted here")
@pytest.mark.parametrize("size", ["4m", "300k", "8k"])
def test_what_a_full_disk_does_not_take_goes_past_the_cache(tmp_path: Path, size: str) -> None:
    (tmp_path / "root").mkdir()
    code = """
answers = []
logging.getLogger("httpserve").addHandler(handler := logging.Handler())
handler.emit = lambda record: answers.append(record.getMessage())
for start in (0, 0, 5 * MIB):
    board = cache.file(thing.key, thing.fetch, is_pinned=True)
    tell(board is None or read(board, start, SIZE - start) == thing.data[start:])
    if board is not None:
        board.close()
tell(len(answers), "No space left" in answers[0] or "what is in use" in answers[0])
tell(cache.usage().bytes <= 4 * MIB)
cache.close()
"""

    lines = ran(CODE + code, tmp_path, under=on_a_disk_of(size, 100, tmp_path / "root"))

    assert lines == ["True"] * 3 + ["1 True", "True"]


def test_a_full_disk_lets_what_is_not_in_use_go(tmp_path: Path) -> None:
    if own_mounts() is None:
        pytest.skip("no file system may be mounted here")
    (tmp_path / "root").mkdir()
    code = """
for seed in range(12):
    one = Object(2 * MIB, f"image {seed}", seed)
    assert fetched(cache, one) == one.data
tell([one.name for one in cache.usage().entries][:2])
cache.close()
"""

    lines = ran(CODE + code, tmp_path, under=on_a_disk_of("9m", 100, tmp_path / "root"))

    assert lines == ["['image 11', 'image 10']"]


def test_a_cache_makes_room_for_what_is_put(tmp_path: Path) -> None:
    if own_mounts() is None:
        pytest.skip("no file system may be mounted here")
    (tmp_path / "root").mkdir()
    code = """
for seed in range(4):
    one = Object(2 * MIB, f"image {seed}", seed)
    assert fetched(cache, one) == one.data
from httpserve.storage.store.spool import Spool
class Owner:
    made_room = cache.made_room
    settled = id
spool = Spool("new", root, Owner())
for piece in range(6):
    spool.write(bytes(MIB))
spool.discard()
tell(cache.usage().bytes <= 3 * MIB)
cache.close()
"""

    lines = ran(CODE + code, tmp_path, under=on_a_disk_of("9m", 100, tmp_path / "root"))

    assert lines == ["True"]


FORK = """
board = opened(cache, thing)
gate = thing.gate(3 * MIB)
tell(read(board, 0, 3 * MIB, SIZE) == thing.data[:3 * MIB])
path = cache.usage().path
child = os.fork()
if child == 0:
    thing.gates.clear()
    tell(cache.file(thing.key, thing.fetch, is_pinned=True))
    cache.close()
    cache.open()
    tell(fetched(cache, thing, 5 * MIB) == thing.data[5 * MIB:])
    cache.close()
    os._exit(0)
tell(os.waitpid(child, 0)[1], os.path.isdir(path))
gate.set()
tell(read(board, 0, SIZE) == thing.data)
board.close()
cache.close()
"""


@pytest.mark.parametrize("where", ['os.path.join(root, "cache")', "None"])
def test_a_forked_child_leaves_the_parents_cache_alone(tmp_path: Path, where: str) -> None:
    lines = ran(CODE.replace('os.path.join(root, "cache")', where) + FORK, tmp_path)

    assert lines == ["True", "None", "True", "0 True", "True"]
    assert os.listdir(tmp_path / "tmp") == []
