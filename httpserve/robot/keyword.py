"""What every keyword has in common: a server to work on, plain failures, and the log written from its own thread.

Knows Robot's decorator and its form of a line in the log. Knows no keyword.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any, TypeVar, cast

from robot.api.deco import keyword as robot_keyword
from robot.libraries.BuiltIn import BuiltIn

from httpserve import AddressNotFound, HttpServeError, HttpServerClient, ServerNotRunning
from httpserve.robot.servers import NoServer, Servers
from httpserve.robot.transfers_log import Requests, TransfersLog


class Keywords:
    """What the groups of keywords share."""

    servers: Servers
    transfers_log: TransfersLog

    def client(self, alias: str | None) -> HttpServerClient:
        """Return the server of that alias, or the current one."""
        return self.servers.get(alias).client

    def requests(self) -> Requests:
        """Return what each server was asked, with what is acknowledged by now. Waits for nothing."""
        return [(server.alias, server.client.requests_for(wait=False)) for server in self.servers.all()]

    def tell(self) -> None:
        """Write a line for each transfer that has ended. Only in a keyword, whose output Robot reads.

        Robot drops what other threads log, so the server's threads write nothing.
        """
        if BuiltIn().robot_running:
            for line in self.transfers_log.lines(self.requests()):
                sys.stdout.write(f"*INFO:{line.time * 1000:.0f}* {line.text}\n")


Method = TypeVar("Method", bound=Callable[..., Any])  # Any: whatever the keyword takes and returns


def keyword(name: str, *tags: str) -> Callable[[Method], Method]:
    """Make a method a keyword that tells of transfers when it ends, however it ends.

    Args:
        name: The keyword's name, in Title Case.
        tags: Its tags.
    """

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def run(self: Keywords, /, *args: object, **kwargs: object) -> object:
            try:
                return method(self, *args, **kwargs)
            except HttpServeError as error:
                told = _in_words_of_suites(name, error)
                vars(told)["ROBOT_SUPPRESS_NAME"] = True  # the message says all; the class stays for Python
                raise told from error.__cause__
            finally:
                self.tell()

        robot_keyword(name, tags=tags)(run)
        return cast(Method, run)

    return decorate


def _in_words_of_suites(name: str, error: HttpServeError) -> HttpServeError:
    """Return an error that names keywords where it tells to call a method of the client."""
    if isinstance(error, ServerNotRunning) and not isinstance(error, NoServer):
        return ServerNotRunning(
            f"{name} needs a server that runs, and this one does not: Start HTTP Server starts it again"
        )
    if isinstance(error, AddressNotFound):
        text = str(error).replace("start(wait_for_address=30)", "Start HTTP Server with wait_for_address=30 s")
        return AddressNotFound(text.replace("start()", "Start HTTP Server"), error.host, error.port)
    return error
