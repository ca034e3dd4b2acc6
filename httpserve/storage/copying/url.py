"""Reads an http(s) URL as a source, and resumes it where it breaks off.

Knows requests, redirects and how a download is resumed. Knows nothing of where the bytes go. It imports
requests, so it is itself imported only on first use.
"""

from __future__ import annotations

import contextlib
import http.client
import ssl
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from typing import Any

import requests
import urllib3

from httpserve.base.log import logger
from httpserve.base.text import printable
from httpserve.base.threads import Latch
from httpserve.errors import CopyFailed, InvalidArgument
from httpserve.storage.copying.answer_grammar import CutAnswer, MalformedAnswer
from httpserve.storage.copying.broken_pipe import sigpipe_held
from httpserve.storage.copying.ends import SourceChanged
from httpserve.storage.copying.exact_target import ExactAdapter, UrlParts, address_of, redirected
from httpserve.storage.copying.messages import (
    MOST_SAID,
    check_whole,
    missing,
    redacted,
    redacted_url,
    stalled,
    unreadable,
)
from httpserve.storage.copying.resumption import Representation, Resume, how_to_resume, part_of, representation_of
from httpserve.storage.copying.strict_response import SlowAnswer
from httpserve.storage.copying.unchanged import Origin, etag_to_ask, origin_of_url

RESUME_TRIES = 5
FIRST_PAUSE = 0.1  # seconds; doubles with each try
MAX_REDIRECTS = 20
# What urllib3 holds when a connection is reset is lost and fetched again, so it should be little.
READ_BYTES = 64 * 1024
# A resumed answer that brought this much shows that the source is worth the same number of tries again.
PROGRESS_BYTES = 256 * 1024

# What requests, and what is below it, raise when a connection ends or cannot be made.
_BREAKS = (
    requests.exceptions.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
)

_log = logger("httpserve.storage")


class HttpSource:
    """A whole http(s) URL."""

    interruptible = True

    def __init__(self, url: str, *, timeout: float, known: Origin | None = None, accept: str | None = None) -> None:
        """Ask for *url*, and wait for the head of its answer. The version that is *known* comes without its bytes.

        *accept*: the kind of content to ask for.
        """
        self.label = redacted_url(url)
        self._url = url
        self._known = known
        self._asked = {} if accept is None else {"Accept": accept}
        self._address = address_of(url)
        self._timeout = timeout
        self._closed = Latch()
        self._session = requests.Session()
        self._adapter = ExactAdapter()
        self._session.mount("http://", self._adapter)
        self._session.mount("https://", self._adapter)
        self._response: requests.Response | None = None
        self._offset = 0  # bytes of the representation that were read
        self._stop: int | None = None  # the offset at the end of this answer, where that was said
        self._furthest = 0  # the offset at the last break-off
        self._tries = 0  # resumptions since there was progress
        self._held = Representation(None, None, None)
        try:
            self._begin_unless_known()
        except BaseException as error:  # a Ctrl-C too: nobody else has the session
            self.close()
            if isinstance(error, _BrokenOff):
                raise unreadable(self.label, str(error)) from None
            raise

    @property
    def size(self) -> int | None:
        return self._held.size

    @property
    def origin(self) -> Origin | None:
        return origin_of_url(self._url, self._held.validator)

    def readinto(self, buffer: memoryview) -> int:
        while True:
            try:
                data = self._read(min(len(buffer), READ_BYTES))
            except _BrokenOff as error:
                broken = error
            else:
                buffer[: len(data)] = data
                self._offset += len(data)
                return len(data)
            self._resume(broken)

    def finish(self) -> None:
        check_whole(self.label, self._offset, self.size)

    def close(self) -> None:
        self._closed.open()
        self._drop()
        self._session.close()

    def _read(self, count: int) -> bytes:
        if self._response is None:
            raise unreadable(self.label, "it is closed")
        with self._border():
            # Any Content-Encoding stays: the bytes are staged as they are.
            data: bytes = self._response.raw.read(count, decode_content=False)
        end = self._offset + len(data)
        if self._stop is not None and end > self._stop:
            raise unreadable(self.label, f"it goes on behind byte {self._stop}, where its Content-Range says it ends")
        if not data and any(said is not None and end < said for said in (self._stop, self.size)):
            raise _BrokenOff("the connection was closed")
        return data

    def _begin_unless_known(self) -> None:
        etag = etag_to_ask(self._url, self._known)
        if etag is None:
            self._begin(self._get(None))
            return
        fields = self._asked
        self._asked = fields | {"If-None-Match": etag}
        response = self._get(None)
        self._asked = fields
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            self._held = Representation(None, etag, etag)
            self._drop()
        else:
            self._begin(response)

    def _begin(self, response: requests.Response) -> None:
        """Take the content of *response* for the whole representation."""
        self._response = response
        if response.status_code != HTTPStatus.OK:
            raise self._refused(response)
        self._held = representation_of(response.headers)
        self._offset = 0
        self._stop = self._held.size

    def _resume(self, broken: _BrokenOff) -> None:
        """Find an answer that goes on where the last one broke off. Raises SourceChanged when it starts over."""
        if self._offset >= self._furthest + PROGRESS_BYTES:
            self._tries = 0
        self._furthest = max(self._furthest, self._offset)
        asked = self._offset if self._offset and self._held.validator else None
        while self._tries < RESUME_TRIES:
            self._wait()
            try:
                response = self._get(asked)
            except _BrokenOff as again:
                broken = again
                continue
            match how_to_resume(response.status_code, response.headers, asked, self._held):
                case Resume.CONTINUE:
                    part = part_of(response.headers)
                    assert part is not None
                    self._stop = part.stop
                    self._held = replace(self._held, size=part.total if self.size is None else self.size)
                    return
                case Resume.ANEW:
                    had_some = self._offset > 0
                    self._begin(response)
                    if had_some:
                        _log.info("%s starts over: it changed, or cannot be resumed", self.label)
                        raise SourceChanged
                    return
                case Resume.ASK_ANEW:
                    asked = None
                case Resume.RETRY:
                    broken = _BrokenOff(f"the server answered {_status(response)}")
                case _:
                    raise self._refused(response)
        total = "an unknown number" if self.size is None else self.size
        raise CopyFailed(
            f"{self.label} broke off after {self._furthest} of {total} bytes and could not be resumed "
            f"in {RESUME_TRIES} tries: {printable(str(broken), MOST_SAID)}",
            self.label,
        )

    def _wait(self) -> None:
        pause = FIRST_PAUSE * 2**self._tries
        self._tries += 1
        _log.info("%s broke off; try %d of %d in %.1f s", self.label, self._tries, RESUME_TRIES, pause)
        if self._closed.wait(pause):
            raise unreadable(self.label, "it is closed")

    def _get(self, offset: int | None) -> requests.Response:
        """Ask for the content from *offset* on, following redirects. The caller drops the answer by _drop."""
        self._drop()
        address = self._address
        for _ in range(MAX_REDIRECTS + 1):
            self._response = self._send(address, offset)
            location = self._response.headers.get("Location")
            if location is None or self._response.status_code not in requests.sessions.REDIRECT_STATI:
                return self._response
            self._session.cookies.update(self._response.cookies)
            self._drop()
            try:
                address = redirected(address, location)
            except InvalidArgument as error:
                raise unreadable(self.label, f"it redirects to what is none: {error}") from None
        raise CopyFailed(f"{self.label} leads through more than {MAX_REDIRECTS} redirects", self.label)

    def _send(self, address: UrlParts, offset: int | None) -> requests.Response:
        root = f"{address.scheme}://{address.authority}/"
        fields = {"Accept-Encoding": "identity", **self._asked}
        if offset is not None and self._held.validator is not None:
            fields |= {"Range": f"bytes={offset}-", "If-Range": self._held.validator}
        with self._border():
            request = self._session.prepare_request(requests.Request("GET", root, headers=fields, auth=address.auth))
            assert request.url is not None
            request.url = request.url.removesuffix("/") + address.target
            # Any: as requests has it
            settings: Any = self._session.merge_environment_settings(root, {}, True, None, None)
            return self._adapter.send(request, timeout=(self._timeout, self._timeout), **settings)

    @contextlib.contextmanager
    def _border(self) -> Iterator[None]:
        """Turn what requests and the layers below it raise, and what our own response raises, into our errors."""
        try:
            with sigpipe_held():
                yield
        except MalformedAnswer as error:
            raise unreadable(self.label, f"its answer is malformed: {error}") from None
        except SlowAnswer as error:
            raise stalled(self.label, self._timeout, str(error)) from None
        except CutAnswer:
            raise _BrokenOff("the connection was closed before its answer was whole") from None
        except (requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError):
            raise stalled(self.label, self._timeout) from None
        except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError, UnicodeError):
            why = "its URL, one it redirects to, or a proxy's has a host that cannot be"
            raise unreadable(self.label, why) from None
        except _BREAKS as error:
            raise _BrokenOff(_reason(error)) from None

    def _drop(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _refused(self, response: requests.Response) -> CopyFailed:
        if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return missing(self.label, _status(response))
        return unreadable(self.label, f"the server answered {_status(response)}")


class _BrokenOff(Exception):
    """The connection ended before the content did, or could not be made. Says why, without secrets."""


def _status(response: requests.Response) -> str:
    return printable(redacted(f"{response.status_code} {response.reason or ''}".strip()))


def _reason(error: BaseException) -> str:
    """Return what the system said, which requests and urllib3 wrap several times, next to the URL."""
    innermost = ""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its certificate is not trusted: {seen.verify_message}"
        if isinstance(seen, ssl.SSLError) and seen.reason == "WRONG_VERSION_NUMBER":
            return "it does not speak TLS; is its URL one of http://?"
        if isinstance(seen, OSError) and seen.strerror:
            innermost = seen.strerror
        seen = seen.__cause__ or seen.__context__
    return innermost or "the connection was closed"
