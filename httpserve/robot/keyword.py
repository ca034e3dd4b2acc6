"""What every keyword has in common: a server to work on, failures in a suite's words, and lines in Robot's log.

Knows Robot's decorator and its form of a line in the log. Knows no keyword.
"""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar, cast

from robot.api import logger
from robot.api.deco import keyword as robot_keyword
from robot.libraries.BuiltIn import BuiltIn

from httpserve import HttpServeError, HttpServerClient, NotFound, RequestEvent, WaitTimeout
from httpserve.base.tables import as_text, html
from httpserve.base.text import Message, worded
from httpserve.robot.conversions import Awaited, Upload, refuse_unknown
from httpserve.robot.python_log import PYTHON_LOG
from httpserve.robot.servers import Servers
from httpserve.robot.transfers_log import Answer, TransfersLog, with_uploads
from httpserve.robot.words import argument

T = TypeVar("T")


class Keywords:
    """What the groups of keywords share."""

    servers: Servers
    transfers_log: TransfersLog
    has_begun = False  # whether the running keyword has passed Robot's own checks

    def client(self, alias: str | None) -> HttpServerClient:
        """Return the server of that alias, or the current one."""
        return self.servers.get(alias).client

    def ended(self) -> list[Answer]:
        """Return the answers that have ended since the last call, in the order of their ends. Does not block."""
        answers = []
        for server in self.servers.all():
            events = list(server.client.events(server.since, 0, "ended"))
            uploads = server.client.uploads  # read last: an upload is noted before the answer about it
            for event in events:
                assert isinstance(event, RequestEvent)
                shown = with_uploads(event.request, uploads)
                answers += [Answer(event.time, server.alias, request) for request in shown]
                server.since = event.number
        return sorted(answers, key=lambda answer: answer.time)

    def under_way(self) -> list[Answer]:
        """Return the answers under way. Does not block."""
        return [
            Answer(time.time(), server.alias, record)
            for server in self.servers.all()
            for record in server.client.requests_for(wait=False)
            if record.outcome == "under way"
        ]

    def tell(self) -> None:
        """Write what Python's log has kept, and a line for each transfer that has ended.

        Only inside a keyword, whose output Robot reads: Robot drops what other threads write.
        """
        if BuiltIn().robot_running:
            PYTHON_LOG.write()
            sys.stdout.writelines(self.transfers_log.lines(self.ended()))

    def shown(self, records: Iterable[T]) -> list[T]:
        """Return what a keyword returns, and write a table of it."""
        found = Found(records)
        logger.info(self.transfers_log.records(found), html=True)
        return found


def where() -> tuple[str, str | None]:
    """Return the names of the running suite and test, None for no test."""
    robot = BuiltIn()
    if not robot.robot_running:
        return "", None
    return robot.get_variable_value("${SUITE NAME}"), robot.get_variable_value("${TEST NAME}")


class Found(list[T]):
    """A list of records that the log shows as a table, also when a suite logs it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return as_text(self)


def show_link(url: str, note: str = "") -> None:
    """Write a URL that can be clicked."""
    logger.info(str(html('<a href="{}">{}</a>{}', url, url, note)), html=True)


_OF_A_SERVER = (AssertionError, NotFound, WaitTimeout)  # failures that another server might not have

Method = TypeVar("Method", bound=Callable[..., Any])  # Any: whatever the keyword takes and returns


def keyword(name: str, *tags: str) -> Callable[[Method], Method]:
    """Make a method a keyword, by its name in Title Case, that writes lines about transfers when it ends or fails."""

    def decorate(method: Method) -> Method:
        parameters = inspect.signature(method).parameters

        @functools.wraps(method)
        def run(self: Keywords, /, *args: object, **kwargs: object) -> object:
            self.has_begun = True
            if BuiltIn().robot_running:
                PYTHON_LOG.begin()
            try:
                refuse_unknown(parameters, (self, *args), kwargs)
                return method(self, *args, **kwargs)
            except (HttpServeError, AssertionError) as error:
                given = {**dict(zip(parameters, (self, *args), strict=False)), **kwargs}
                error.args = (_in_words_of_suites(name, error, self.servers, given),)
                vars(error)["ROBOT_SUPPRESS_NAME"] = True  # the message says all; the class stays for Python
                raise
            finally:
                self.tell()

        robot_keyword(name, tags=tags)(run)
        return cast(Method, run)

    return decorate


def _in_words_of_suites(
    name: str, error: HttpServeError | AssertionError, servers: Servers, given: Mapping[str, object]
) -> str:
    """Return the text of an error that names keywords and their arguments, and the server if there are several."""
    text = worded(error.args[0], argument) if error.args and isinstance(error.args[0], Message) else str(error)
    several = len(servers.all()) > 1
    if not text:  # the server does not run
        this, again = "this one", ""
        if several:
            alias = servers.get(_alias(given)).alias
            this, again = f"server {alias!r}", f" with alias={alias}"
        return f"{name} needs a server that runs, and {this} does not: Start HTTP Server{again} starts it again"
    file = given.get("name", given.get("download", given.get("upload")))
    file = file.value if isinstance(file, Awaited | Upload) else file
    if several and isinstance(file, str) and isinstance(error, _OF_A_SERVER):
        return text + servers.note(_alias(given), file)
    return text


def _alias(given: Mapping[str, object]) -> str | None:
    return cast("str | None", given.get("server"))
