"""Which requests are sent on to the store, where a client fetches the file itself, and how they are answered.

Knows names and User-Agent fields. Does not know what the store is, nor how it signs a URL.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from httpserve.errors import InvalidArgument
from httpserve.plan import Plan, Response
from httpserve.site.representation import Representation
from httpserve.site.rules import fits

AGENT = "User-Agent:"
# Clients of boards that go where a redirect leads, by what they call themselves (docs/stores.md has the others).
FOLLOWERS = ("Wget*", "rauc*", "libostree*", "casync*", "swupdate*", "ESP32 HTTP Client/*", "python-requests/*")


class Redirects:
    """The requests to send on, and where to.

    Args:
        asked: True: those of `FOLLOWERS`. Otherwise patterns of names, such as `*.raucb`, or of User-Agent fields, such
            as `User-Agent: curl/*`; one of them is enough.
        signed: Returns the URL of an object that anybody may read for a while. May block.

    Raises:
        InvalidArgument: There is no pattern, or one is not a text.
    """

    def __init__(self, asked: bool | str | Collection[str], signed: Callable[[str], str]) -> None:
        given = (
            [f"{AGENT}{one}" for one in FOLLOWERS] if asked is True else [asked] if isinstance(asked, str) else asked
        )
        if not isinstance(given, Collection) or not given or not all(isinstance(one, str) and one for one in given):
            what = "redirect must be True, or patterns of names or, after 'User-Agent:', of clients, not {}"
            raise InvalidArgument(what, repr(asked))
        is_agent = re.compile(f"(?i){AGENT}").match
        self._agents = [one[len(AGENT) :].strip() for one in given if is_agent(one)]
        self._names = [one.lstrip("/") for one in given if not is_agent(one)]
        self._signed = signed

    def has(self, name: str, agent: str) -> bool:
        """Tell whether a request for a name by such a client is sent on."""
        return any(fits(name, one) for one in self._names) or any(fits(agent, one) for one in self._agents)

    def answer(self, representation: Representation, name: str) -> Response:
        """Send a client to the store for a file. What it fetches there is not on record. May block."""
        fields = [("Location", self._signed(name)), ("Content-Length", "0"), ("Cache-Control", "no-store")]
        return Response(302, fields, Plan((), 0, representation.subject._replace(pieces=())))
