"""From a head to the first bytes of an answer: the WSGI call, the status line, the fields.

Knows WSGI and how an answer begins. Knows no sockets.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from functools import partial
from http import HTTPStatus
from typing import Any

from httpserve.base.log import logger, traceback_lines
from httpserve.base.wsgi import Fields, StartResponse, heard
from httpserve.plan import MAY_NOT_BLOCK, Data, HandOver, Intake, Plan, Stream
from httpserve.server.request_body import ContentFailed, RequestBody
from httpserve.server.request_head import Head, Refused
from httpserve.server.shared import Shared

log = logger("httpserve.server")


class Answer:
    """What an app has returned: the beginning of an answer, and its content.

    Args:
        status: The status line without the version.
        fields: The fields.
        plan: The content.

    Attributes:
        is_chunked: Whether the content leaves in chunks.
        line: The status line.
        plan: The content.
        status: The status as a number.
    """

    __slots__ = ("_fields", "is_chunked", "line", "plan", "status")

    def __init__(self, status: str, fields: Fields, plan: Plan) -> None:
        self.status = int(status[:3])
        self.line = b"HTTP/1.1 %b\r\n" % status.encode("latin-1")
        self.plan = plan
        self.is_chunked = False
        raw = plan.raw_fields
        if raw is None:
            raw = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
        self._fields = raw

    def chunk(self) -> None:
        """Send the content in chunks."""
        self.is_chunked = True
        self._fields += b"Transfer-Encoding: chunked\r\n"

    def end(self, head: Head | None, *, close: bool) -> bytes:
        """Return the fields except the Date field, and the empty line."""
        if close:
            return self._fields + b"Connection: close\r\n\r\n"
        if head is not None and head.http_10:
            return self._fields + b"Connection: keep-alive\r\n\r\n"
        return self._fields + b"\r\n"


def refusal(refused: Refused, *, body_wanted: bool = True) -> Answer:
    """Return an answer that says why the request was refused."""
    status = f"{refused.status} {HTTPStatus(refused.status).phrase}"
    text = f"{status}: {refused.reason}\n".encode()
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    return Answer(status, fields, Plan((Data(text),), len(text)) if body_wanted else Plan((), 0))


def call_app(
    shared: Shared, head: Head, client: str, client_port: int, read: Callable[[], bytes] | None, at_once: bool
) -> Answer | HandOver:
    """Ask the app.

    Args:
        shared: What the connections share.
        head: The request's head.
        client: The client's address.
        client_port: The client's port.
        read: As for `RequestBody`; None if the request has no content.
        at_once: Whether the app may not block; then the answer may be `NEEDS_THREAD`.
    """
    environ = {
        **shared.environ,
        **head.environ,
        "REMOTE_ADDR": client,
        "REMOTE_PORT": client_port,
        "wsgi.input": io.BytesIO() if read is None else RequestBody(read),
        MAY_NOT_BLOCK: at_once,
    }
    return _asked(shared, head, partial(shared.app, environ))


def answer_of_intake(shared: Shared, head: Head, intake: Intake) -> Answer:
    """Ask an intake, which has all the content that it wants."""
    answer = _asked(shared, head, intake.answer)
    assert isinstance(answer, Answer), "an intake has had its thread"
    return answer


def _asked(shared: Shared, head: Head, ask: Callable[[StartResponse], Iterable[bytes]]) -> Answer | HandOver:
    start_response = StartResponse()
    try:
        said: Any = ask(start_response)
        if isinstance(said, HandOver):
            return said
        if isinstance(said, Plan):
            return _framed(Answer(start_response.status, start_response.fields, said), head)
        return _answer_of(said, start_response, head, partial(_close, said, shared))
    except ContentFailed as failed:
        return refusal(failed.refused)
    except BaseException:  # noqa: BLE001 - an app's error, or sys.exit(), is its user's to see; the thread goes on
        message = "the app failed on %s %s:\n%s"
        shared.log.say(log, logging.ERROR, message, head.method, head.noted.target, traceback_lines())
        return refusal(Refused(500, "the server failed on this request"), body_wanted=head.method != "HEAD")


def _answer_of(body: Iterable[bytes], said: StartResponse, head: Head, close: Callable[[], None]) -> Answer:
    """Return the answer of an app that knows no plans: what is in memory as it is, the rest as it comes."""
    found = heard(body, said, close, is_head=head.method == "HEAD")
    if found.pieces is None:
        plan = Plan(tuple(map(Data, found.whole)), found.length)
    else:
        plan = Plan((Stream(found.pieces, found.length, close),), found.length)
    return _framed(Answer(found.status, found.fields, plan), head)


def _framed(answer: Answer, head: Head) -> Answer:
    """Have an answer leave in chunks where nothing else tells where its content ends."""
    plan = answer.plan
    if plan.length is None and not plan.is_last and not head.http_10:
        answer.chunk()
    return answer


def _close(body: object, shared: Shared) -> None:
    """Tell an app's body that no more is wanted."""
    close = getattr(body, "close", None)
    if close is not None:
        try:
            close()
        except BaseException:  # noqa: BLE001 - an app's error is its user's to see, and must not end the thread
            shared.log.say(log, logging.ERROR, "the app failed to close its answer:\n%s", traceback_lines())
