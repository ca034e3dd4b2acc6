"""A keyword for answers that are no files.

Knows how a suite writes an answer, and when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from httpserve import Handle
from httpserve.robot.keyword import Keywords, keyword, where


class AnswerKeywords(Keywords):
    """What a server of updates would say."""

    @keyword("Respond With", "answer")
    def respond_with(
        self,
        path: str | None,
        answer: Any,  # whatever a suite has in a variable: the client checks it
        *,
        method: str | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        times: int | None = None,
        server: str | None = None,
    ) -> Handle:
        """Answers requests for a path with this instead of a file, from now on. Does not block.

        ``path`` is the path without a query, such as ``/api/update``, or a pattern such as ``/boards/*/state``;
        ``${None}``: every request. ``answer`` is text, bytes, a dictionary (sent as JSON) or ``${None}`` (204, no
        content). A list is one of these after the other: each board gets the first one first, and the last one stays.

        ``method`` is, say, ``POST``; default: any. ``status`` is the status; default: 200. ``headers`` is a dictionary
        of further fields. ``times`` is for how many requests; default: all. ``server`` is an alias; default: the
        current server.

        It ends with the test, or, in a suite setup, with the suite. What it returns has ``hits``, the records of the
        requests that it has answered, with their ``query`` and ``content``.

        Example:
        | ${url}=    Start HTTP Server
        | VAR    &{update}    version=1.2    file=fw.bin
        | ${answer}=    Respond With    /api/update    ${update}
        | Type On Board    wget -q -O - --post-data=serial=7 ${url}/api/update
        | Should Be Equal As Strings    ${answer.hits[0].content}    serial=7
        """
        handle = self.client(server).respond(path, answer, method=method, status=status, headers=headers, times=times)
        self.servers.end_with(handle.clear, *where())
        return handle
