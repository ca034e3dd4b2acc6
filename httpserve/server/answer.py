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
from httpserve.plan import MAY_NOT_BLOCK, NEEDS_THREAD, Data, HandOver, Plan
from httpserve.server.request_head import Head, Refused
from httpserve.server.shared import Shared, connection_field

log = logger("httpserve.server")

Fields = list[tuple[str, str]]


class Answer:
    """One call of the app. `status` and `plan` are what came of it; the plan is `NEEDS_THREAD` where it may block."""

    __slots__ = ("_fields", "plan", "status")

    def __init__(self, service: Shared, head: Head, client: str, client_port: int, at_once: bool) -> None:
        self.status = ""
        self._fields: Fields = []
        environ = {
            **service.environ,
            **head.environ,
            "REMOTE_ADDR": client,
            "REMOTE_PORT": client_port,
            "wsgi.input": io.BytesIO(),
            MAY_NOT_BLOCK: at_once,
        }
        self.plan: Plan | HandOver
        try:
            body: Any = service.app(environ, self._start_response)
            self.plan = body if type(body) is Plan or body is NEEDS_THREAD else _collected(body)
        except Exception:  # noqa: BLE001 - an app's error is its user's to see, and must not end the thread
            message = "the app failed on %s %s:\n%s"
            service.scribe.say(log, logging.ERROR, message, head.method, head.noted.target, traceback_lines())
            self.refuse(Refused(500, "the server failed on this request"), body_wanted=head.method != "HEAD")

    def _start_response(self, status: str, headers: Fields, exc_info: object = None) -> Callable[[bytes], object]:
        self.status = status
        self._fields = headers
        return _no_write

    def refuse(self, refused: Refused, *, body_wanted: bool) -> Plan:
        """Answer with an error, whatever the app has said."""
        phrase = HTTPStatus(refused.status).phrase
        self.status = f"{refused.status} {phrase}"
        text = f"{self.status}: {refused.reason}\n".encode()
        self._fields = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(text)))]
        self.plan = plan = Plan((Data(text),), len(text)) if body_wanted else Plan((), 0)
        return plan

    def start(self, service: Shared, plan: Plan, head: Head | None, *, close: bool) -> bytes:
        """Return the status line and the fields, up to the empty line."""
        fields = plan.raw_fields
        if fields is None:
            fields = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in self._fields)
        line = b"HTTP/1.1 " + self.status.encode("latin-1") + b"\r\n"
        return line + service.date + fields + connection_field(head, close=close) + b"\r\n"


class Refusal(Answer):
    """The answer to what is no request."""

    __slots__ = ()

    def __init__(self, refused: Refused) -> None:
        self.status = ""
        self.refuse(refused, body_wanted=True)


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
