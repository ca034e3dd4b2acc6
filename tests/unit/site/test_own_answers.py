"""Answers of a user's own, without a socket: what each becomes, what an app is given, and what content may take."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from werkzeug.test import Client

from httpserve.base.fields import checked_fields
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.plan import Data, Met, Own, Plan, Response
from httpserve.server.request_head import parse
from httpserve.site.altered import FaultRule, Request
from httpserve.site.app import Site
from httpserve.site.own_answers import (
    CONTENT,
    AnswerRule,
    Given,
    Memory,
    MountRule,
    WholeContent,
    given,
    own_answer,
    own_rules,
)
from httpserve.site.own_thread import NotRun, OwnThread, ServerEnds, TookTooLong
from httpserve.site.rules import Rule, Rules
from httpserve.storage.directory.root import Root
from tests.cases import each

JSON, OCTETS = "application/json", "application/octet-stream"


@each(
    "answer, status, expected",
    [
        (b"ab", 200, Given(200, (("Content-Type", OCTETS), ("Content-Length", "2")), b"ab")),
        (bytearray(b"ab"), 206, Given(206, (("Content-Type", OCTETS), ("Content-Length", "2")), b"ab")),
        ("ü", 404, Given(404, (("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", "2")), b"\xc3\xbc")),
        ({}, 200, Given(200, (("Content-Type", JSON), ("Content-Length", "2")), b"{}")),
        ((1, "a"), 200, Given(200, (("Content-Type", JSON), ("Content-Length", "8")), b'[1, "a"]')),
        (None, 200, Given(204, (), b"")),
        (None, 304, Given(304, (), b"")),
        (None, 500, Given(500, (("Content-Length", "0"),), b"")),
        ("", 204, Given(204, (), b"")),
    ],
)
def test_an_answer_has_the_status_the_fields_and_the_content_that_it_means(
    answer: object, status: int, expected: Given
) -> None:
    assert given(answer, status, ()) == expected


@each("answer, status, error", [(1, 200, InvalidType), ({1j}, 200, InvalidType), ("a", 204, InvalidArgument)])
def test_what_is_no_answer_is_an_error(answer: object, status: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        given(answer, status, ())


def test_a_content_type_that_is_given_is_the_only_one() -> None:
    assert given("a", 200, (("content-type", "a/b"),)).fields == (("content-type", "a/b"), ("Content-Length", "1"))


def test_fields_may_come_as_pairs_and_one_name_twice() -> None:
    assert checked_fields("headers", [("Link", "<a>"), ("Link", " <b> ")]) == (("Link", "<a>"), ("Link", "<b>"))


def asked(path: str, client: str = "10.0.0.2") -> Request:
    return Request(path, client, "GET", path)


def environ(path: str = "/a", **more: object) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": path, "SCRIPT_NAME": "", "wsgi.input": io.BytesIO(), **more}


def body(response: Response | None) -> bytes:
    assert response is not None
    return b"".join(response.plan)


def test_the_latest_rule_answers_as_often_as_it_may_and_then_the_one_before() -> None:
    rules = Rules()
    for number, times in ((1, None), (2, 2), (3, 1)):
        rules.add(AnswerRule(rules, "a", 1.0, [given(f"{number}", 200, ())], times=times))
    rules.add(FaultRule(rules, "a", ()))

    def answered() -> bytes:
        return body(own_answer(own_rules(rules.find(asked("a"), Rule), 0.0), asked("a"), environ()))

    assert [answered() for _ in range(4)] == [b"3", b"2", b"2", b"1"]
    assert [rule.times for rule in rules.all] == [None, None]


def test_an_answer_notes_its_rule_and_what_came_for_the_record() -> None:
    rules = Rules()
    rule = AnswerRule(rules, None, 1.0, [given(None, 200, ())])
    rules.add(rule)

    response = own_answer([rule], asked("x"), {**environ(), CONTENT: b"log"})

    assert response is not None
    met = response.plan.met
    assert isinstance(met, Met)
    assert (met.fault, met.rules) == ("", (rule,))
    assert isinstance(met.own, Own)
    assert (met.own.content, met.own.error) == (b"log", "")


def test_an_app_finds_the_prefix_in_its_script_name() -> None:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        start_response("201 Made", [("X", "1")])
        return [f"{environ['SCRIPT_NAME']}|{environ['PATH_INFO']}".encode("latin-1")]

    rule = MountRule(Rules(), "ü/b", 10.0, app)
    response = rule.answer(asked("ü/b/c"), environ("//Ã¼/b/c", SCRIPT_NAME="/s"), Own(b""))

    assert (response.status, response.fields) == (201, [("X", "1"), ("Content-Length", "10")])
    assert body(response) == b"/s/\xc3\xbc/b|/c"
    assert [rule.is_for(asked(path)) for path in ("ü/b", "ü/b/", "ü/bc", "ü")] == [True, True, False, False]


def streaming(environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
    start_response("200 OK", [])
    yield from (b"a", b"b")
    raise LookupError("later")


def test_pieces_come_as_they_are_made_and_an_error_at_its_place() -> None:
    thread = OwnThread(streaming, environ(), 10.0, lambda: False)
    pieces = thread.answer().pieces

    assert pieces is not None
    assert [next(pieces), next(pieces)] == [b"a", b"b"]
    with pytest.raises(LookupError):
        next(pieces)


def never(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    go_on: Any = environ["go_on"]
    go_on.wait(20.0)
    raise AssertionError


@each("seconds, is_given_up, error", [(0.02, False, TookTooLong), (20.0, True, ServerEnds)])
def test_nobody_waits_beyond_the_deadline_or_the_end_of_the_server(
    seconds: float, is_given_up: bool, error: type[Exception]
) -> None:
    go_on = threading.Event()
    thread = OwnThread(never, environ(go_on=go_on), seconds, lambda: is_given_up)

    with pytest.raises(error):
        thread.answer()
    thread.close()
    go_on.set()


def test_a_system_without_threads_is_told_from_an_app_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("httpserve.base.threads.Aside.start", lambda aside: False)

    with pytest.raises(NotRun):
        OwnThread(streaming, environ(), 1.0, lambda: False).answer()


def test_content_takes_from_what_all_share_and_gives_it_back() -> None:
    memory = Memory(10)
    asked_for: list[bytes] = []

    def site(environ: dict[str, Any], start_response: Any) -> Plan:
        asked_for.append(environ["wsgi.input"].read())
        return Plan((Data(b"ok"),), 2)

    def start(status: str, *fields: object) -> Callable[[bytes], object]:
        asked_for.append(status.encode())
        return bytes

    intakes = [WholeContent(site, environ(), memory) for _ in range(4)]

    assert [one.write(b"four") for one in intakes] == [True, True, False, False]
    intakes[2].answer(start)
    intakes[1].cut("reset")
    intakes[1].cut("reset")
    assert intakes[3].write(b"four")
    intakes[0].answer(start)
    intakes[3].answer(start)
    assert asked_for == [b"503 Service Unavailable", b"four", b"four"]
    assert memory.take(10)


def test_under_another_server_an_own_answer_has_the_content_too(root: Root) -> None:
    site = Site(root)
    app = MountRule(
        site.rules, "app", 10.0, lambda environ, start: [start("200 OK", []), environ["wsgi.input"].read()][1:]
    )
    site.rules.add(app)

    answer = Client(site).post("/app", data=b"log")

    assert (answer.status_code, answer.data) == (200, b"log")


@pytest.fixture
def root(tmp_path: Any) -> Iterator[Root]:
    root = Root(tmp_path / "root").open()
    yield root
    root.close()


def test_fields_of_a_record_hide_what_lets_somebody_in() -> None:
    names = ("Authorization", "COOKIE", "x-api-key", "Proxy-Authorization", "X-Board")
    head = "".join(f"{name}: secret\r\n" for name in names)

    fields = parse(f"GET / HTTP/1.0\r\n{head}\r\n".encode()).noted.fields

    assert [fields[name] for name in names] == ["…", "…", "…", "…", "secret"]
