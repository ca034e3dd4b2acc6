"""Answers of a script's own in place of files: checks what it says, and puts it in force.

Knows rules of the site. Does not know how a request is answered.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from httpserve.base.arguments import StrPath, checked_count, checked_seconds, quoted_value
from httpserve.base.fields import OF_FILES, Fields, checked_fields
from httpserve.client.faults import Handle
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.records.log import ExchangeLog
from httpserve.records.terms import method_named
from httpserve.site.own_answers import AnswerRule, Given, Made, MountRule, OwnRule, given
from httpserve.site.rules import Rules

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from httpserve.site.own_answers import Answer

    FieldsGiven = Mapping[str, str] | Iterable[tuple[str, str]]


class _Function:
    """What a script has given to be called. It may hold the client, which must not live for ever for that.

    So the rule, which the server holds, knows it weakly, and what the client holds keeps it.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def call_weakly(self) -> Callable[..., Any]:
        """Return what calls it as long as it is kept."""
        kept = ref(self)

        def call(*values: object) -> object:
            function = kept()
            if function is None:
                raise RuntimeError("the HttpServerClient that had this function is gone")
            return function._call(*values)

        return call


class OwnAnswers:
    """The answers of one server that are no files.

    Args:
        rules: Those of its site.
        log: Its log.
        timeout: How long an answer may take if nothing else is said, in seconds.
    """

    def __init__(self, rules: Rules, log: ExchangeLog, timeout: float) -> None:
        self._rules = rules
        self._log = log
        self._timeout = timeout
        self._functions: WeakKeyDictionary[OwnRule, list[_Function]] = WeakKeyDictionary()  # of each rule

    def respond(
        self,
        path: StrPath | None,
        answer: Answer,
        *,
        method: str | None,
        status: int,
        headers: FieldsGiven | None,
        times: int | None,
        timeout: float | None,
    ) -> Handle:
        """Do what `HttpServerClient.respond` does."""
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 999:
            raise InvalidArgument(f"status must be from 200 to 999, not {quoted_value(status)}")
        fields = checked_fields("headers", headers)
        functions: list[_Function] = []
        answers: list[Given | Made] = []
        for one in _one_after_the_other(answer):
            if callable(one):
                functions.append(_Function(one))
                answers.append(Made(functions[-1].call_weakly(), status, fields))
            else:
                answers.append(given(one, status, fields))
        rule = AnswerRule(
            self._rules,
            None if path is None else _pattern("respond", path),
            self._seconds(timeout),
            answers,
            method=None if method is None else method_named(method),
            times=None if times is None else checked_count("times", times),
        )
        return self._in_force(rule, functions)

    def mount(self, prefix: StrPath, wsgi_app: WSGIApplication, *, timeout: float | None) -> Handle:
        """Do what `HttpServerClient.mount` does."""
        if not callable(wsgi_app):
            raise InvalidType(
                f"mount() takes a WSGI app, which is called with environ and start_response: {wsgi_app!r}"
            )
        path = _path("mount", prefix).rstrip("/")
        function = _Function(wsgi_app)
        return self._in_force(MountRule(self._rules, path, self._seconds(timeout), function.call_weakly()), [function])

    def _in_force(self, rule: OwnRule, functions: list[_Function]) -> Handle:
        self._functions[rule] = functions
        self._rules.add(rule)
        return Handle(self._rules, rule, self._log)

    def in_force(self) -> tuple[Handle, ...]:
        """Return those in force, the oldest first."""
        return tuple(Handle(self._rules, one, self._log) for one in self._rules.all if isinstance(one, OwnRule))

    def _seconds(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else checked_seconds("timeout", timeout)


def fields_of_file(headers: FieldsGiven | None, content_type: str | None) -> Fields:
    """Return what answers with a file are to say besides. Raises InvalidArgument or InvalidType."""
    if headers is None and content_type is None:
        return ()
    fields = checked_fields("headers", headers, OF_FILES)
    if content_type is not None:
        fields += checked_fields("content_type", {"Content-Type": content_type})
    kinds = [value for name, value in fields if name.lower() == "content-type"]
    if len(kinds) > 1:
        raise InvalidArgument(f"the file can have one Content-Type, not {kinds!r}")
    if kinds and not ("/" in kinds[0] and kinds[0].isascii()):
        raise InvalidArgument(f"content_type must be a media type, such as 'text/plain', not {kinds[0]!r}")
    return fields


def _path(what: str, path: StrPath) -> str:
    """Return a path as rules have it. Raises InvalidType or InvalidArgument."""
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidType(f"{what}() takes a path on the server, such as '/api/status', not {path!r}")
    if "://" in text:
        raise InvalidArgument(f"{what}() takes the path alone, not a URL: {text!r}")
    if not text.isprintable():
        raise InvalidArgument(f"no client can ask for {text!r}: it has characters that do not print")
    return text.lstrip("/")


def _pattern(what: str, path: StrPath) -> str:
    text = _path(what, path)
    if "?" in text or "#" in text:
        raise InvalidArgument(
            f"{what}() takes a path without a query: {text!r} has '?' or '#'. An answer that is a function sees the "
            "query as request.args; '[!/]' stands for any one character"
        )
    return text


def _one_after_the_other(answer: object) -> list[object]:
    """Return the answers that are meant: those of a list, or this one."""
    if not isinstance(answer, list | tuple):
        return [answer]
    if not answer:
        raise InvalidArgument("a list is one answer after the other, and this one is empty; [[]] is an empty JSON list")
    for one in answer:
        if isinstance(one, bool | int | float):
            raise InvalidArgument(
                f"a list is one answer after the other, and {one!r} is none; write [[...]] for a JSON list"
            )
    return list(answer)
