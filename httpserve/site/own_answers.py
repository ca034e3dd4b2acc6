"""Answers of a user's own in place of files: which requests get one, and how an app's answer becomes a plan.

Knows rules, WSGI and plans. Does not know who asked for the rules.
"""

from __future__ import annotations

import io
import json
import logging
import os
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from httpserve.base.fields import Fields
from httpserve.base.log import Lines, logger, say
from httpserve.base.text import printable
from httpserve.errors import InvalidArgument, InvalidType
from httpserve.plan import IS_CUTTING, MAY_NOT_BLOCK, Data, Met, Own, Plan, Response, Stream
from httpserve.site import answers
from httpserve.site.own_thread import NotRun, OwnThread, ServerEnds, TookTooLong
from httpserve.site.rules import Asked, Rule, fits

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication
    from werkzeug.wrappers import Request
    from werkzeug.wrappers import Response as WerkzeugResponse

    _Plain = bytes | str | dict[str, Any] | list[Any] | None  # Any: whatever JSON can hold
    _Function = Callable[[Request], _Plain | WerkzeugResponse]
    Answer = _Plain | _Function | Sequence[_Plain | _Function]

log = logger("httpserve.server")

Environ = dict[str, Any]

MOST_CONTENT_BYTES = 16 * 1024 * 1024  # of a request that an answer of a user's own is for; it is kept in memory
MOST_BYTES_IN_ALL = 128 * 1024 * 1024  # of all such requests at a time
NOTED_ERROR_CHARACTERS = 8192
CONTENT = "httpserve.content"  # in the environ: the whole content of the request
_NO_CONTENT = (204, 304)
_OURS = f"{Path(__file__).parents[1]}{os.sep}"


class Given(NamedTuple):
    """An answer that is there."""

    status: int
    fields: Fields
    content: bytes


def given(answer: object, status: int, fields: Fields) -> Given:
    """Return what bytes, text, JSON or None are as an answer. Raises InvalidType or InvalidArgument for anything else.

    Args:
        answer: The content; None: none, and the status 204 in place of 200.
        status: The status.
        fields: Fields, which come before those that the content brings.
    """
    kind = ""
    if answer is None:
        status, content = 204 if status == 200 else status, b""
    elif isinstance(answer, bytes | bytearray | memoryview):
        kind, content = "application/octet-stream", bytes(answer)
    elif isinstance(answer, str):
        kind, content = "text/plain; charset=utf-8", answer.encode()
    elif isinstance(answer, dict | list | tuple):
        kind, content = "application/json", _as_json(answer)
    else:
        raise InvalidType(f"an answer is bytes, str, a dict or list for JSON, None or a function, not {answer!r}")
    if status in _NO_CONTENT:
        if content:
            raise InvalidArgument(f"an answer with the status {status} has no content; pass None")
        return Given(status, fields, b"")
    if kind and not any(name.lower() == "content-type" for name, _ in fields):
        fields = (("Content-Type", kind), *fields)
    return Given(status, (*fields, ("Content-Length", str(len(content)))), content)


def _as_json(answer: object) -> bytes:
    try:
        return json.dumps(answer, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise InvalidType(f"an answer as JSON cannot hold this: {error}") from None


class Made:
    """An answer that a function of the request makes each time: a WSGI app.

    Args:
        function: Gets werkzeug's `Request`.
        status: The status of what it returns, unless that is a `Response`.
        fields: Likewise its fields.
    """

    def __init__(self, function: Callable[[Request], object], status: int, fields: Fields) -> None:
        self._function = function
        self._status = status
        self._fields = fields

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        from werkzeug.exceptions import HTTPException  # on first use: most scripts never need these
        from werkzeug.wrappers import Request, Response

        try:
            said = self._function(Request(environ))
        except HTTPException as error:  # abort(404)
            said = error.get_response(environ)
        if isinstance(said, Response):
            return said(environ, start_response)
        found = given(said, self._status, self._fields)
        start_response(answers.status_line(found.status), list(found.fields))
        return [found.content]


@dataclass(eq=False)
class OwnRule(Rule):
    """Requests that get an answer of a user's own, by their paths.

    Args:
        seconds: How long it may take.
    """

    seconds: float

    def is_for_name(self, asked: Asked) -> bool:
        """Tell whether a request is for such a path. It need not be one that a file can have."""
        return self.name is None or fits(asked.path, self.name)

    def answer(self, asked: Asked, environ: Environ, own: Own) -> Response:
        """Answer a request. Blocks for `seconds` at most until the answer begins."""
        raise NotImplementedError


@dataclass(eq=False)
class AnswerRule(OwnRule):
    """Answers to give, one after the other to each client; the last one stays."""

    word = "answer"

    answers: Sequence[Given | Made]

    def answer(self, asked: Asked, environ: Environ, own: Own) -> Response:
        """Do what `OwnRule.answer` says."""
        turn = self.turn(asked.client, asked.path)
        answer = self.answers[min(turn, len(self.answers) - 1)]
        if isinstance(answer, Made):
            return _ran(answer, environ, self.seconds, own)
        return Response(answer.status, answer.fields, answers.content(answer.content, asked.method))


@dataclass(eq=False)
class MountRule(OwnRule):
    """A WSGI app that answers for everything below a path, and for the path itself."""

    word = "app"

    app: WSGIApplication

    def is_for_name(self, asked: Asked) -> bool:
        """Tell whether a request is for a path there."""
        return not self.name or asked.path == self.name or asked.path.startswith(f"{self.name}/")

    def answer(self, asked: Asked, environ: Environ, own: Own) -> Response:
        """Do what `OwnRule.answer` says."""
        prefix = f"/{self.name}".encode().decode("latin-1") if self.name else ""
        path = f"/{environ.get('PATH_INFO', '').lstrip('/')}"
        script = f"{environ.get('SCRIPT_NAME', '')}{prefix}"
        there = {**environ, "SCRIPT_NAME": script, "PATH_INFO": path[len(prefix) :]}
        return _ran(self.app, there, self.seconds, own)


def asked_path(path: str) -> str:
    """Return the path of a WSGI request as rules have it: as text, with no `/` before it."""
    return path.encode("latin-1").decode("utf-8", "replace").lstrip("/")


def own_rules(rules: Iterable[Rule], since: float) -> list[OwnRule]:
    """Return those of some rules that answer by themselves, and are not older than a time."""
    return [rule for rule in rules if isinstance(rule, OwnRule) and rule.since >= since]


def own_answer(rules: Iterable[OwnRule], asked: Asked, environ: Environ) -> Response | None:
    """Return the answer of the first of some rules that has one. May block as long as that rule lets its answer take.

    None if no rule has one (any more).
    """
    for rule in rules:
        if rule.take():
            own = Own(environ.get(CONTENT, b""))
            response = rule.answer(asked, environ, own)
            response.plan.met = Met("", (rule,), own)
            return response
    return None


# Content of requests


def has_content(environ: Environ) -> bool:
    """Tell whether a request has content that has not been read."""
    return CONTENT not in environ and bool(
        environ.get("CONTENT_LENGTH", "0").strip("0") or "HTTP_TRANSFER_ENCODING" in environ
    )


class Memory:
    """What the content of requests may take in all. Safe from any thread."""

    def __init__(self, most: int = MOST_BYTES_IN_ALL) -> None:
        self._left = most
        self._lock = threading.Lock()

    def take(self, count: int) -> bool:
        """Take so many bytes; False: there are not that many left."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give_back(self, count: int) -> None:
        """Give back what was taken."""
        with self._lock:
            self._left += count


class WholeContent:
    """An intake that keeps the content of a request in memory, and then lets the site answer.

    Args:
        site: The site.
        environ: The request.
        memory: What all such requests share.
    """

    def __init__(self, site: WSGIApplication, environ: Environ, memory: Memory) -> None:
        self._site = site
        self._environ = environ
        self._memory = memory
        self._content = bytearray()
        self._has_room = True
        self._is_too_much = int(environ.get("CONTENT_LENGTH") or 0) > MOST_CONTENT_BYTES

    def refusal(self) -> Response | None:
        """Return the answer to a request with more content than is kept; None if it has no more than that."""
        method = self._environ["REQUEST_METHOD"]
        if self._is_too_much:
            return answers.text(413, f"{MOST_CONTENT_BYTES} bytes are the most that is taken here", method)
        if not self._has_room:
            return answers.text(503, "too many clients send content", method, [("Retry-After", "1")])
        return None

    def write(self, data: bytes) -> bool:
        """Take the next bytes; False: no more are wanted, as there are too many."""
        self._is_too_much = len(self._content) + len(data) > MOST_CONTENT_BYTES
        self._has_room = not self._is_too_much and self._memory.take(len(data))
        if self._has_room:
            self._content += data
        return self._has_room

    def answer(self, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request, as an app does."""
        refused = self.refusal()
        if refused is not None:
            self.cut("refused")
            start_response(answers.status_line(refused.status), list(refused.fields))
            return refused.plan
        content = bytes(self._content)
        environ = {name: value for name, value in self._environ.items() if name not in _OF_CONTENT}
        known = {CONTENT: content, "CONTENT_LENGTH": str(len(content)), "wsgi.input": io.BytesIO(content)}
        try:
            return self._site({**environ, **known}, start_response)
        finally:
            self.cut("answered")

    def cut(self, how: str, status: int = 0) -> None:
        """Let go of what has come: nobody was told of it."""
        self._memory.give_back(len(self._content))
        self._content.clear()


_OF_CONTENT = ("HTTP_TRANSFER_ENCODING", "HTTP_EXPECT", MAY_NOT_BLOCK)


# Apps


class _Failure(NamedTuple):
    """What went wrong in an app: the status and the reason for the client, and the lines for the record and the log."""

    status: int
    reason: str
    lines: list[str]


def _ran(app: WSGIApplication, environ: Environ, seconds: float, own: Own) -> Response:
    """Return what an app answers, or that it failed: the client gets no word of why."""
    method, target = environ["REQUEST_METHOD"], environ.get("REQUEST_URI") or environ.get("PATH_INFO", "")
    thread = OwnThread(app, environ, seconds, environ.get(IS_CUTTING, lambda: False))
    try:
        found = thread.answer()
    except BaseException as error:  # noqa: BLE001 - sys.exit() too: it is the user's to see, and the thread goes on
        thread.close()
        failure = _failure(error, seconds, own)
        text = Lines("\n".join(f"  {line}" for line in failure.lines))
        level = logging.INFO if isinstance(error, ServerEnds) else logging.ERROR
        say(log, level, "your answer to %s %s failed:\n%s", method, target, text)
        return answers.text(failure.status, failure.reason, method)
    if found.pieces is None:
        plan = Plan(tuple(map(Data, found.whole)), found.length)
    else:
        plan = Plan((Stream(_watched(found.pieces, seconds, own), found.length, thread.close),), found.length)
    return Response(int(found.status[:3]), found.fields, plan)


def _watched(pieces: Iterator[bytes], seconds: float, own: Own) -> Iterator[bytes]:
    """Yield what an app gives, and note what goes wrong. Whoever sends it logs that."""
    try:
        yield from pieces
    except BaseException as error:
        if not isinstance(error, GeneratorExit):
            _failure(error, seconds, own)
        raise


def _failure(error: BaseException, seconds: float, own: Own) -> _Failure:
    """Return what went wrong, and note it for the record."""
    if isinstance(error, ServerEnds):
        found = _Failure(503, "the server ends", ["the server was stopped before the answer came"])
    elif isinstance(error, NotRun):
        found = _Failure(503, "the server is busy", ["the system had no thread for it"])
    elif isinstance(error, TookTooLong):
        found = _Failure(504, "the answer takes too long", [f"nothing came in {seconds:g} s"])
    else:
        found = _Failure(500, "the server failed on this request", _traceback(error))
    own.error = "\n".join(found.lines)[-NOTED_ERROR_CHARACTERS:]
    return found


def _traceback(error: BaseException) -> list[str]:
    """Return the lines of a traceback, each printable, without our own frames before the user's."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return [printable(line, 1000) for line in text.rstrip("\n").split("\n")]
