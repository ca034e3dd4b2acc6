"""`httpserve cache`: what a cache keeps, as lines, and room in it."""

from __future__ import annotations

import re
from pathlib import Path

from httpserve.storage.cache.cache import Cache
from tests.interfaces.conftest import Run
from tests.unit.storage.cache.objects import MIB, Object, at_rest, fetched, opened


def test_what_is_kept_is_shown_and_removed_unless_a_server_uses_it(run: Run, tmp_path: Path) -> None:
    where = tmp_path / "cache"
    cache = Cache(str(where))
    cache.open()
    used, idle = Object(3 * MIB, "used", 1), Object(2 * MIB, "\x1b[2Jidle", 2)
    assert fetched(cache, idle) == idle.data
    at_rest(cache)
    board = opened(cache, used)
    assert board.arrived(0, MIB, 10.0)

    code, output, errors = run("cache", where)
    heading, *rows, total = output.splitlines()
    first, second = sorted(rows, key=lambda row: "idle" in row)
    assert (code, errors, heading.split()) == (0, "", ["last", "used", "kept", "size", "in", "use", "name"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +\S+ [KM]iB +3\.0 MiB  yes +memory used", first)
    assert re.fullmatch(r".* +2\.0 MiB +2\.0 MiB +memory \\x1b\[2Jidle", second)
    assert total.startswith("2 objects, ")
    assert run("cache", where, "--prune", "100M")[1].splitlines()[-1].startswith("2 objects")
    assert run("cache", where, "--prune", "0")[1].splitlines()[-1].startswith("1 object, ")
    board.close()
    cache.close()


def test_a_directory_without_a_cache_is_left_as_it_is(run: Run, tmp_path: Path) -> None:
    assert run("cache", tmp_path) == (0, f"0 objects, 0 B in {tmp_path}\n", "")
    assert list(tmp_path.iterdir()) == []
    code, output, errors = run("cache", tmp_path / "absent")
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert "there is no such directory" in errors
