"""Which requests a rule is for, how often it holds, and that servers ask while there are rules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from httpserve.site.altered import Request
from httpserve.site.rules import MOST_TURNS, Rule, Rules
from tests.cases import each


def rule(rules: Rules | None = None, name: str | None = "fw.bin", **others: Any) -> Rule:
    made = Rule(rules or Rules(), name, **others)
    made.rules.add(made)
    return made


@each(
    "name, asked, is_for",
    [
        ("fw.bin", "fw.bin", True),
        ("fw.bin", "fw.bin.sha256", False),
        ("*.bin", "boot/fw.bin", True),
        ("boot/*", "fw.bin", False),
        ("fw-[12].bin", "fw-2.bin", True),
        ("fw-[12].bin", "fw-[12].bin", True),
        ("fw?bin", "fw.bin", True),
        ("FW.bin", "fw.bin", False),
        (None, "anything", True),
        (None, None, True),
        ("*", None, False),
    ],
)
def test_a_rule_is_for_a_name_a_pattern_or_everything(name: str | None, asked: str | None, is_for: bool) -> None:
    assert rule(name=name).is_for(Request(asked, "10.0.0.1", "GET")) is is_for


def test_a_rule_is_for_a_client_and_a_method() -> None:
    one = rule(client="10.0.0.1", method="GET")

    assert one.is_for(Request("fw.bin", "10.0.0.1", "GET"))
    assert not one.is_for(Request("fw.bin", "10.0.0.2", "GET"))
    assert not one.is_for(Request("fw.bin", "10.0.0.1", "HEAD"))


def test_a_rule_lets_some_through_then_holds_so_many_times() -> None:
    one = rule(after=2, times=3)

    assert [one.take() for _ in range(7)] == [False, False, True, True, True, False, False]
    assert (one.remaining, one.rules.all) == (0, ())


def test_a_rule_that_was_removed_holds_no_more() -> None:
    one = rule()
    one.rules.remove(one)
    one.rules.remove(one)

    assert not one.take()


def test_threads_that_take_at_the_same_time_take_no_more_than_there_is() -> None:
    one = rule(times=10)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: one.take(), range(100)))

    assert taken.count(True) == 10


def test_the_latest_rule_comes_first() -> None:
    rules = Rules()
    first, second, other = rule(rules), rule(rules, "*.bin"), rule(rules, "other")

    assert rules.find(Request("fw.bin", "", "GET"), Rule) == [second, first]
    assert rules.all == (first, second, other)
    rules.end()
    assert not rules.all


def test_turns_are_counted_for_each_key_and_not_for_ever() -> None:
    one = rule()

    assert [one.turn("a"), one.turn("a"), one.turn("b", "c"), one.turn("a")] == [0, 1, 0, 2]
    for number in range(MOST_TURNS):
        one.turn(str(number))
    assert one.turn("a") == 0


class Server:
    def __init__(self) -> None:
        self.paused: list[bool] = []

    def pause_repeats(self, is_paused: bool) -> None:
        self.paused.append(is_paused)


@pytest.mark.parametrize("is_early", [True, False])
def test_servers_ask_while_there_are_rules(is_early: bool) -> None:
    rules, server = Rules(), Server()
    if not is_early:
        rules.follow(server)
    one = rule(rules, times=1)
    if is_early:
        rules.follow(server)
    assert server.paused[-1] is True

    one.take()

    assert server.paused[-1] is False
