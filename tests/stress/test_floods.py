"""Floods: whatever clients send in whatever numbers, memory stays bounded, and other boards get their files.

A server with default settings takes at most 100 MiB more than when it is idle, and gives most of that back.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.netns.long_cable import LongCable
from tests.netns.nets import Place, skip_where_not_allowed
from tests.server.wire import eventually
from tests.stress.flooded import MIB, Others, Server, descriptors, flooding, serving, warm_up

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

MOST_MIB = 100  # beyond idle, while it lasts
KEPT_MIB = 50  # beyond idle, afterwards: what is remembered of requests, and what the allocator keeps
SPARE_DESCRIPTORS = 200
DELAY_SECONDS = 0.1  # longer than any thread waits for its turn
WAIT_SECONDS = 20


@dataclass(frozen=True)
class Case:
    """A kind of flood.

    Attributes:
        kind: Its name.
        count: How much of it.
        statuses: What its answers may be; any of them may be cut instead.
        held: Whether its connections stay open until others have been answered.
        most: MiB beyond idle that it may take.
    """

    kind: str
    count: int
    statuses: frozenset[str] = frozenset()
    held: bool = False
    most: int = MOST_MIB


CASES = [
    Case("unfinished_heads", 4000),
    Case("finished_heads", 4000, statuses=frozenset({"200"})),
    Case("heads_on_one_connection", 3000, statuses=frozenset({"200"})),
    Case("many_fields", 300, statuses=frozenset({"200", "431"})),
    Case("open_heads", 4000, held=True),
    Case("open_big_heads", 3000, held=True),
    Case("long_targets", 1200, statuses=frozenset({"404", "414"})),
    Case("long_conditions", 100, statuses=frozenset({"200", "304"})),
    Case("missing_names", 20_000, statuses=frozenset({"404"})),
    Case("ranges_255", 1500, statuses=frozenset({"206"})),
    Case("ranges_4096", 250, statuses=frozenset({"200", "206", "416"})),
    Case("small_gets", 60_000, statuses=frozenset({"200"}), most=30),
    Case("addresses", 10_000, statuses=frozenset({"200"})),
    Case("half_closed", 3000, held=True),
    Case("readers_of_nothing", 2000, held=True),
    Case("pipelines_unread", 500, held=True),
    Case("slow_bodies", 3000, held=True),
    Case("chunks", 100, statuses=frozenset({"405"})),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.kind)
def test_memory_is_bounded_and_others_are_answered_in_a_flood(case: Case, seed: int) -> None:
    with serving() as server:
        warm_up(server)
        idle = server.begin()
        with Others(server) as others:
            answers = flood(server, case, seed)
        peak = server.peak
        print(f"{case.kind}: idle {idle:.0f} MiB, most {peak:.0f}, now {server.rss:.0f}; {answers}")

        assert others.wrong == []
        assert others.answered > 0
        assert set(answers) <= case.statuses | {"cut"}
        assert peak - idle <= case.most
        eventually(lambda: server.rss - idle <= KEPT_MIB, "that memory is given back")


def flood(server: Server, case: Case, seed: int) -> dict[str, int]:
    """Run a flood to its end, and return how many answers of each status it got."""
    count = min(case.count, descriptors() - SPARE_DESCRIPTORS) if case.held else case.count
    with flooding(server, case.kind, count, seed) as process:
        assert process.stdout is not None
        if case.held:
            assert process.stdout.readline() == "held\n", process.communicate()[1]
            warm_up(server)
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    answers: dict[str, int] = json.loads(out)
    return answers


def test_a_server_with_little_room_outlives_a_flood(seed: int) -> None:
    with serving(room=150 * MIB) as server:
        warm_up(server)
        flood(server, Case("unfinished_heads", 8000), seed)

        with Others(server) as others:
            eventually(lambda: others.answered > 20, "that boards are answered")

        assert others.wrong == []


@pytest.fixture
def far_board() -> Iterator[tuple[list[str], list[str]]]:
    """The commands that run something on a bench, 10.9.0.1, and on a board far away from it."""
    skip_where_not_allowed()
    with Place("bench") as bench, Place("far") as board:
        try:
            cable = LongCable(bench, board, DELAY_SECONDS, 0)
        except OSError as error:
            pytest.skip(f"this system has no TAP devices: {error}")
        with cable:
            bench.ip("link set lo up", "addr add 10.9.0.1/24 dev eth4", "link set eth4 up")
            board.ip("addr add 10.9.0.2/24 dev usb4", "link set usb4 up")
            yield ["ip", "netns", "exec", bench.name], ["ip", "netns", "exec", board.name]


def test_a_pipeline_over_a_long_way_is_settled_as_it_goes_on(far_board: tuple[list[str], list[str]], seed: int) -> None:
    bench, board = far_board
    with serving("10.9.0.1", under=bench) as server:
        idle = server.begin()
        server.wait_for("first", WAIT_SECONDS)
        with flooding(server, "pipeline", 3000, seed, under=board) as process:
            waited = server.waited()
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            peak = server.peak
            answers, err = process.communicate()

    assert err == ""
    assert json.loads(answers).keys() == {"200"}
    assert waited == "1000"
    assert peak - idle <= MOST_MIB
