"""Many boards, two caches on one directory, little room, and a store that breaks off: no byte is false.

Afterwards nothing is left: no thread, no read, no room that is taken.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from httpserve.errors import StoreUnavailable
from httpserve.plan import ReadFailed
from httpserve.storage.cache.cache import Cache
from httpserve.storage.cache.cached_file import CachedFile
from tests.server.wire import eventually
from tests.unit.storage.cache.objects import MIB, Object, at_rest

BOARDS, ANSWERS, OBJECTS = 10, 150, 8
PIECES = (1000, 65536, MIB)


def sent(file: CachedFile, thing: Object, start: int, stop: int, chance: random.Random) -> bool:
    """Take a part as a server sends it, by looks that wait and looks that do not; say whether all of it was right."""
    leaves = chance.random() < 0.2
    while start < stop and not (leaves and chance.random() < 0.3):
        there = file.arrived(start, stop - start, chance.choice([0.0, 0.05, 10.0]))
        data = os.pread(file.fd, min(there, chance.choice(PIECES)), start) if there else b""
        if bool(data) != bool(there) or data != thing.data[start : start + len(data)]:
            return False
        start += len(data)
    return True


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mib", [8, 64])
@pytest.mark.parametrize("is_pinned", [True, False])
@pytest.mark.parametrize("is_shared", [True, False])
def test_no_byte_is_false(seed: int, tmp_path: Path, is_shared: bool, is_pinned: bool, mib: int) -> None:
    things = [Object(random.Random(seed + one).randrange(1, 6 * MIB), f"image {one}", one) for one in range(OBJECTS)]
    caches = [Cache(str(tmp_path / "cache") if is_shared else None, mib * MIB) for _ in range(2)]
    for cache in caches:
        cache.open()

    def board(number: int) -> Counter[str]:
        chance, outcomes = random.Random(f"{seed} {number}"), Counter[str]()
        for _ in range(ANSWERS):
            thing, cache = chance.choice(things), chance.choice(caches)
            thing.breaks_at = chance.choice([None, None, chance.randrange(60) * 100_000 or None])
            if chance.random() < 0.01:
                cache.prune(chance.choice([0, 4 * MIB]))
            file = cache.file(thing.key, thing.fetch, is_pinned=is_pinned)
            if file is None:
                outcomes["no room"] += 1
                continue
            try:
                for _ in range(chance.choice([1, 1, 3])):
                    start = chance.choice([0, chance.randrange(thing.key.size)])
                    stop = chance.choice([thing.key.size, min(thing.key.size, start + 1 + chance.randrange(MIB))])
                    outcomes["right" if sent(file, thing, start, stop, chance) else "false"] += 1
            except ReadFailed as error:
                outcomes["broke off" if isinstance(error.cause, StoreUnavailable) else repr(error.cause)] += 1
            finally:
                file.close()
        return outcomes

    with ThreadPoolExecutor(BOARDS) as pool:
        outcomes = sum(pool.map(board, range(BOARDS)), Counter[str]())

    assert set(outcomes) <= {"right", "broke off", "no room"}, outcomes
    assert outcomes["right"] > ANSWERS
    eventually(lambda: not any(thing.open for thing in things), "the end of all reads")
    for cache in caches:
        at_rest(cache)
        assert cache.prune().bytes == 0
        cache.close()
