"""From a head to the first bytes of an answer: the WSGI call, the status line, the fields.

Knows WSGI and how an answer begins. Knows no sockets.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

from httpserve.base.log import logger, traceback_lines
from httpserve.plan import MAY_NOT_BLOCK, Data, HandOver, Plan
from httpserve.server.request_head import Head, Refused
from httpserve.server.shared import Shared

log = logger("httpserve.server")

Fields = list[tuple[str, str]]


class Answer:
    """What an app has said: the beginning of an answer, and its content.

    Args:
        status: The status line without the version.
        fields: The fields.
        plan: The content.

    Attributes:
        line: The status line.
        plan: The content.
        status: The status as a number.
    """

    __slots__ = ("_fields", "line", "plan", "status")

    def __init__(self, status: str, fields: Fields, plan: Plan) -> None:
        self.status = int(status[:3])
        self.line = b"HTTP/1.1 %b\r\n" % status.encode("latin-1")
        self.plan = plan
        raw = plan.raw_fields
        if raw is None:
            raw = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1")
        self._fields = raw

    def end(self, head: Head | None, *, close: bool) -> bytes:
        """Return the fields but for the Date field, and the empty line."""
        if close:
            return self._fields + b"Connection: close\r\n\r\n"
        if head is not None and head.http_10:
            return self._fields + b"Connection: keep-alive\r\n\r\n"
        return self._fields + b"\r\n"


def refusal(refused: Refused, *, body_wanted: bool = True) -> Answer:
    """Return an answer that says why there is no other."""
    status = f"{refused.status} {HTTPStatus(refused.status).phrase}"
    text = f"{status}: {refused.reason}\n".encode()
    fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
    return Answer(status, fields, Plan((Data(text),), len(text)) if body_wanted else Plan((), 0))


def call_app(shared: Shared, head: Head, client: str, client_port: int, at_once: bool) -> Answer | HandOver:
    """Ask the app. Returns `NEEDS_THREAD` where it may block and must not."""
    said: tuple[str, Fields] = ("", [])

    def start_response(status: str, fields: Fields, exc_info: object = None) -> Callable[[bytes], object]:
        nonlocal said
        said = status, fields
        return _no_write

    environ = {
        **shared.environ,
        **head.environ,
        "REMOTE_ADDR": client,
        "REMOTE_PORT": client_port,
        "wsgi.input": io.BytesIO(),
        MAY_NOT_BLOCK: at_once,
    }
    try:
        body: Any = shared.app(environ, start_response)
        if isinstance(body, HandOver):
            return body
        plan = body if type(body) is Plan else _collected(body)
        return Answer(*said, plan)
    except Exception:  # noqa: BLE001 - an app's error is its user's to see, and must not end the thread
        message = "the app failed on %s %s:\n%s"
        shared.log.say(log, logging.ERROR, message, head.method, head.noted.target, traceback_lines())
        return refusal(Refused(500, "the server failed on this request"), body_wanted=head.method != "HEAD")


def _no_write(data: bytes) -> object:
    raise NotImplementedError("the write callable of PEP 3333 is not offered; return the body")


def _collected(body: Iterable[bytes]) -> Plan:
    try:
        data = b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()
    return Plan((Data(data),), len(data))
