"""Sends a request target byte for byte, which requests and urllib3 would rewrite ('%2f' becomes '%2F').

Knows URLs, requests' adapters and urllib3's pools. Knows nothing of answers except which class reads them.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes, urljoin

import requests
from requests.adapters import HTTPAdapter

from httpserve.errors import InvalidArgument
from httpserve.storage.copying.messages import redacted_url
from httpserve.storage.copying.strict_response import StrictResponse

_URL = re.compile(r"(https?)://(?:([^/?#]*)@)?([^/?#@]+(?=[/?#]|\Z))([^#]*)", re.IGNORECASE)
# Other names of hosts are left to requests to judge; some of its versions look up even one with blanks.
_AUTHORITY = re.compile(r"(?:\[[^\[\]\x00-\x20\x7f]+\]|[^\[\]:\x00-\x20\x7f]+)(?::([0-9]*))?")
_ORIGIN = re.compile(r"https?://[^/?#]*", re.IGNORECASE)
_NOT_SENT_AS_IS = re.compile(r"[^\x21-\x7e]+")
MOST_PORT_DIGITS = 5
_DEFAULT_PORTS = {"http": "80", "https": "443"}


class UrlParts(NamedTuple):
    """A URL in the parts that a request is made of."""

    scheme: str  # lower case
    authority: str  # host and port, without userinfo
    target: str  # path and query exactly as given
    auth: tuple[bytes, bytes] | None  # user and password of the userinfo

    @property
    def origin(self) -> tuple[str, str]:
        """Scheme and host with port; credentials may be shown only within one origin."""
        host = self.authority.lower()
        if not re.search(r":\d+$", host):
            host = f"{host.rstrip(':')}:{_DEFAULT_PORTS[self.scheme]}"
        return self.scheme, host


def address_of(url: str) -> UrlParts:
    """Take *url* apart; what a request line cannot carry is percent-encoded, the rest stays. Raises InvalidArgument."""
    match = _URL.match(url)
    if match is None:
        raise InvalidArgument(f"{redacted_url(url)} is not an http or https URL")
    scheme, userinfo, authority, target = match.groups()
    host = _AUTHORITY.fullmatch(authority)
    if host is None or (host[1] and not (len(host[1]) <= MOST_PORT_DIGITS and 1 <= int(host[1]) <= 65535)):
        raise InvalidArgument(f"the URL {redacted_url(url)} is malformed: its host or its port cannot be")
    auth = None
    try:
        if userinfo:
            user, _, password = userinfo.partition(":")
            auth = unquote_to_bytes(user), unquote_to_bytes(password)
        target = _NOT_SENT_AS_IS.sub(lambda match: quote(match[0], safe="", errors="surrogateescape"), target)
    except UnicodeEncodeError:
        raise InvalidArgument(f"{redacted_url(url)!r} holds a lone surrogate, which no URL can") from None
    return UrlParts(scheme.lower(), authority, target if target.startswith("/") else "/" + target, auth)


def redirected(base: UrlParts, location: str) -> UrlParts:
    """Return where *location*, the field as `requests` gives it, leads from *base*. Raises InvalidArgument.

    Credentials stay with the origin they were for, and follow its step from http to https.
    """
    # http.client decodes fields as ISO 8859-1; what is on the wire is UTF-8 or already encoded.
    location = location.encode("latin-1").decode("utf-8", "surrogateescape").strip()
    if not _URL.match(location):
        # Only a relative URL goes through urljoin, which takes a path apart and puts it together again.
        try:
            location = urljoin(f"{base.scheme}://{base.authority}{base.target}", location)
        except ValueError:
            shown = f"{base.scheme}:{location}" if location.startswith("//") else location
            raise InvalidArgument(f"the URL {redacted_url(shown)} is malformed") from None
    there = address_of(location)
    scheme, host = base.origin
    secured = ("https", f"{host[:-3]}:443") if scheme == "http" and host.endswith(":80") else None
    if there.auth is None and there.origin in (base.origin, secured):
        return there._replace(auth=base.auth)
    return there


class ExactAdapter(HTTPAdapter):
    """Connects as requests does, and sends the target that the request's URL holds, one request at a time.

    urllib3 sees, logs, and names in its errors only the path without the query.
    """

    target = "/"

    def cert_verify(self, conn: Any, url: Any, *args: Any, **kwargs: Any) -> None:  # Any: as in requests and urllib3
        super().cert_verify(conn, url, *args, **kwargs)  # type: ignore[no-untyped-call]  # of requests
        # Every version of requests calls this with the pool that a request goes to, just before it is sent.
        self.target = address_of(url).target
        if not issubclass(kind := conn.ConnectionCls, _ExactTarget):
            conn.ConnectionCls = type(kind.__name__, (_ExactTarget, kind), {"adapter": self})

    def request_url(self, request: requests.PreparedRequest, proxies: Any) -> str:  # Any: as requests has it
        return super().request_url(request, proxies).partition("?")[0]


class _ExactTarget:
    """A base to put before a connection class of urllib3: sends the adapter's target, reads answers by RFC 9112."""

    adapter: ExactAdapter
    response_class = StrictResponse

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:  # Any: passed through
        proxied = _ORIGIN.match(url)
        target = (proxied[0] if proxied else "") + self.adapter.target
        super().putrequest(method, target, *args, **kwargs)  # type: ignore[misc]  # a mixin
