"""The WSGI app that decides which answer a request gets: names, conditions, listings, what is hidden.

Knows the protocol of what is served, and WSGI as PEP 3333 has it. Knows no disk, no sockets and no threads:
it runs under any WSGI server. Its bodies are plans.
"""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from httpserve.base.log import logger, say
from httpserve.base.names import checked_name
from httpserve.base.text import Hint, Message
from httpserve.errors import (
    InvalidName,
    IsADirectory,
    NotADirectory,
    NotFound,
    NotPermitted,
    StorageError,
    StoreUnavailable,
)
from httpserve.plan import ASIDE, MAY_NOT_BLOCK, NEEDS_THREAD, PROBE, SMALL_BYTES, HandOver, Met, Own, Receive, Response
from httpserve.site import answers, conditional
from httpserve.site.altered import SHORTENED, FaultyIntake, Meeting, Request, refusal, shortened
from httpserve.site.answers import File
from httpserve.site.conditional import Answer
from httpserve.site.digest_file import SUFFIX, digest_file, digest_version, probe_file
from httpserve.site.listing import as_html, as_json, in_order, wants_json
from httpserve.site.own_answers import Memory, WholeContent, asked_path, has_content, own_answer, own_rules
from httpserve.site.redirects import Redirects
from httpserve.site.representation import Representation, represent
from httpserve.site.rules import Rule, Rules
from httpserve.site.uploads import REFUSED, Uploads, take_all
from httpserve.storage.served import DigestPending, DiskBusy, FileVersion, Identity, MemoryFile, Served, VersionGone

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

log = logger("httpserve.server")

MOST_NAMES = 4096  # names and representations kept in memory; both are made again when needed
MOST_KEPT_NAME = 256  # the length of a path that is kept: a path that names no file may be of any length
INDEX = "index.html"
UPLOADING = ("PUT", "POST")
MOST_LOOKS = 2  # at an object that is replaced meanwhile
FAVICON = "favicon.ico"

Environ = dict[str, Any]


class Site:
    """Answers for what is served.

    Args:
        served: Where the files live.
        listing: Whether a directory without an index.html answers with what is in it.
        dot_files: Whether to serve names with a component that begins with a dot even if others put them there.
        only: The one file to serve, or all files and directories to serve; None for everything.
        digests: Whether `NAME.sha256` answers with the digest of a file that is served.
        redirects: Which requests are sent on to the store; None: none.
    """

    plans = True  # answers NEEDS_THREAD rather than block

    def __init__(
        self,
        served: Served,
        *,
        listing: bool = True,
        dot_files: bool = False,
        only: str | Collection[str] | None = None,
        digests: bool = True,
        redirects: Redirects | None = None,
    ) -> None:
        self._served = served
        self._redirects = redirects
        self._listing = listing
        self._dot_files = dot_files
        self.only = (only,) if isinstance(only, str) else tuple(only or ())
        parts = [name.split("/") for name in self.only]
        self._above_only = {"/".join(one[:depth]) for one in parts for depth in range(len(one))}
        self._digests = digests
        self.uploads = Uploads(served)
        # Returns, for names that do not exist, similar ones that do; may block for the disk.
        self.nearest: Callable[[Sequence[str]], Mapping[str, Sequence[str]]] = lambda missing: {}
        self.rules = Rules()
        self._memory = Memory()  # for content that answers of a user's own are given
        self._has_warned = False  # about running out of descriptors
        # Caches of pure results; the interpreter makes each touch one step.
        self._names: dict[str, str] = {}
        self._representations: dict[str, Representation] = {}
        self._probes: dict[str, MemoryFile] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        response = self._respond_by_rules(environ) if self.rules.all else self._respond(environ)
        if isinstance(response, HandOver):
            if isinstance(response, Receive) and MAY_NOT_BLOCK not in environ:
                return take_all(response.intake, environ, start_response)
            # Only a server that sets MAY_NOT_BLOCK gets this, and knows it.
            return response  # type: ignore[return-value]  # see above
        # A copy: a server may change what it is given.
        start_response(answers.status_line(response.status), list(response.fields))
        return response.plan

    # Rules of the user

    def _respond_by_rules(self, environ: Environ) -> Response | HandOver:
        path = environ.get("PATH_INFO", "")
        try:
            name = _decoded(path)
        except InvalidName:
            name = None
        asked = Request(name, environ.get("REMOTE_ADDR", ""), environ["REQUEST_METHOD"], asked_path(path))
        rules = self.rules.find(asked, Rule)
        if name in self._probes or not rules:
            return self._respond(environ)
        own = None
        if own_answers := own_rules(rules, self._accepted_since(asked)):
            if environ.get(MAY_NOT_BLOCK):
                return NEEDS_THREAD
            if has_content(environ):
                intake = WholeContent(self, environ, self._memory)
                return intake.refusal() or Receive(intake)
            own = own_answer(own_answers, asked, environ)
        made = own
        if own is None and asked.method in UPLOADING:
            response = self._respond(environ)
            if isinstance(response, HandOver):
                return self._faulty_upload(response, asked, environ) if isinstance(response, Receive) else response
            made = response
        if environ.get(MAY_NOT_BLOCK):
            return NEEDS_THREAD
        meeting = Meeting(self.rules, self, asked, environ)
        return meeting.altered(made or self.answer(environ), own)

    def _faulty_upload(self, receive: Receive, asked: Request, environ: Environ) -> Response | HandOver:
        """Take an upload whose answer meets something. Another answer comes at once, and nothing is kept.

        Its client sends the same again after a 503, and must not find that it is there already.
        """
        meeting = Meeting(self.rules, self, asked, environ)
        if not meeting.comes_instead:
            return Receive(FaultyIntake(receive.intake, meeting))
        instead = meeting.altered(answers.text(201, "created", asked.method))
        if instead.plan.met is None:  # the rule lets this one through
            return receive
        receive.intake.cut(REFUSED, instead.status)
        return instead

    def _accepted_since(self, asked: Request) -> float:
        """Return when what a request sends was asked for as an upload, by the clock of rules; 0 if it was not."""
        accepted = self.uploads.for_name(asked.name) if asked.name and asked.method in UPLOADING else None
        return 0.0 if accepted is None else accepted.since

    def answer(self, environ: Environ) -> Response:
        """Return the answer to a request, whatever the rules. It may block for the disk."""
        response = self._respond(environ)
        assert isinstance(response, Response)
        return response

    def answer_with(self, file: MemoryFile, environ: Environ) -> Response:
        """Return the answer to a request that is taken to be for this file, whatever the rules."""
        response = self._file(file, environ)
        assert isinstance(response, Response)
        return response

    def refuse(self, client: str) -> Met | None:
        """Return by which rule a connection of a client is to be refused; None if it is not."""
        return refusal(self.rules, client) if self.rules.all else None

    # Files, directories and what does not exist

    def serve(self, served: Served) -> None:
        """Answer from now on for this. What was opened elsewhere leaves as it is."""
        self._served = self.uploads.served = served

    def _respond(self, environ: Environ, looks: int = MOST_LOOKS) -> Response | HandOver:
        method = environ["REQUEST_METHOD"]
        if method not in ("GET", "HEAD"):
            is_upload = method in UPLOADING and self.uploads.is_open
            return self.uploads.respond(environ) if is_upload else answers.other_method(method)
        try:
            return self._found(environ)
        except NotFound as error:
            return self._missing(error.name, environ)
        except VersionGone as error:  # between the look at it and the read
            return self._respond(environ, looks - 1) if looks > 1 else self._failed(error, environ)
        except (InvalidName, StorageError) as error:
            return self._failed(error, environ)

    def _found(self, environ: Environ) -> Response | HandOver:
        """Answer with what is served under the name. Raises what opening it raises."""
        path = environ.get("PATH_INFO", "")
        name = self._names.get(path)
        if name is None:
            name = _decoded(path)
            if not self._is_shown(name):
                return self._missing(name, environ)
            if not name or path.endswith("/"):
                return self._directory(name, environ)
            self._keep(path, name)
        try:
            file = self._served.open_to_serve(name, may_block=not environ.get(MAY_NOT_BLOCK))
        except IsADirectory as error:
            return self._directory(error.name, environ)
        if self._redirects is not None and file is not None and environ["REQUEST_METHOD"] == "GET":
            return self._elsewhere(self._redirects, file, environ)
        return NEEDS_THREAD if file is None else self._file(file, environ)

    def _elsewhere(self, redirects: Redirects, file: File, environ: Environ) -> Response | HandOver:
        """Send a client on to the store if it is one of those, and the file is there; else answer with the file."""
        if isinstance(file.identity, Identity) or not redirects.has(file.name, environ.get("HTTP_USER_AGENT", "")):
            return self._file(file, environ)
        file.close()
        if environ.get(MAY_NOT_BLOCK):
            return NEEDS_THREAD
        return redirects.answer(self._represent(file, is_given=True), file.name)

    def _failed(self, error: InvalidName | StorageError, environ: Environ) -> Response | HandOver:
        """Answer when there is nothing to send: 404 for what does not exist, 5xx for what the system refuses."""
        method = environ["REQUEST_METHOD"]
        if isinstance(error, InvalidName | NotPermitted):
            if _may_block(environ, logging.INFO):
                return NEEDS_THREAD
            say(log, logging.INFO, "%s", error)
            return answers.not_found(method)
        wait = [("Retry-After", "1")]
        if isinstance(error, DiskBusy):
            return answers.text(503, "the disk does not answer", method, wait)
        if isinstance(error, DigestPending):
            return answers.text(503, "the digest is not known yet", method, wait)
        if isinstance(error, StoreUnavailable | VersionGone):
            say(log, logging.WARNING, "%s", error)
            response = answers.text(503, "the store does not answer", method, wait)
            response.plan.met = Met("", (), Own(b"", error=str(error)))
            return response
        if isinstance(error, NotFound | NotADirectory) or error.errno is None:  # None: the root was closed meanwhile
            return answers.not_found(method)
        is_out_of_descriptors = error.errno in (errno.EMFILE, errno.ENFILE)
        is_known = is_out_of_descriptors and self._has_warned
        if not is_known and _may_block(environ, logging.WARNING):
            return NEEDS_THREAD
        if not is_out_of_descriptors:
            say(log, logging.WARNING, "%s", error)
            return answers.text(500, "the file cannot be read", method)
        if not is_known:
            self._has_warned = True
            say(log, logging.WARNING, "out of descriptors: files cannot be opened until others are closed")
        return answers.text(503, "the server is busy", method, wait)

    # Names

    def _keep(self, path: str, name: str) -> None:
        """Remember which name a path is, unless it is long, or has a dot that may hide it later."""
        if len(path) <= MOST_KEPT_NAME and not name.startswith(".") and "/." not in name:
            if len(self._names) >= MOST_NAMES:
                self._names.clear()
            self._names[path] = name

    def _is_shown(self, name: str) -> bool:
        """Tell whether a name may be seen: dot files only where they came in through us or were asked for."""
        within = f"/{name}"
        if self.only:
            if name in self._above_only:
                return True
            top = self._named(name)
            if top is None:
                return False
            within = name[len(top) :]
        return self._dot_files or "/." not in within or self._served.came_in(name)

    def may_serve(self, name: str) -> bool:
        """Tell whether a file of this name, or those below a directory of this name, may be served at all."""
        return not self.only or self._named(name) is not None

    def _named(self, name: str) -> str | None:
        """Return which entry of `only` a name is, or lies in; None: none."""
        return next((one for one in self.only if name == one or name.startswith(f"{one}/")), None)

    def _hidden(self, name: str) -> str:
        if self.only and self._named(name) is None:
            is_one = "is the only file that is" if len(self.only) == 1 else "are all that is"
            return f"{name!r} is not served: {', '.join(map(repr, self.only))} {is_one}"
        text = "{} is not served: its name has a leading dot, and others put it here; {} serves it"
        return Message(text, repr(name), Hint("dot_files", True))

    # Files

    def representation(self, name: str) -> Representation:
        """Return what is known about a file as it is now. Costs one look at it, unless its version is new.

        Raises what `Served.status` raises, and NotFound for a file that exists but that no request is answered with.
        """
        try:
            found: FileVersion = self._served.status(name)
            if not self._is_shown(name):
                raise NotFound(self._hidden(name), name)
        except NotFound:
            digest = digest_version(self._served, name) if self._may_have_digest(name) else None
            if digest is None:
                raise
            found = digest
        return self._represent(found, is_given=False)

    def _missing(self, name: str, environ: Environ) -> Response | HandOver:
        """Answer for a name that no file has, or only one that is not shown."""
        probe = self._probes.get(name)
        if probe is not None:
            response = self._file(probe, environ)
            if isinstance(response, Response):
                response.plan.subject = PROBE
            return response
        if environ.get(MAY_NOT_BLOCK):
            return NEEDS_THREAD
        try:
            digest = digest_file(self._served, name) if self._may_have_digest(name) else None
        except (InvalidName, StorageError) as error:
            return self._failed(error, environ)
        if digest is not None:
            return self._file(digest, environ)
        if not _is_browser(environ):
            return answers.not_found(environ["REQUEST_METHOD"])
        if name == FAVICON:  # a browser asks for it by itself: nobody misses it
            response = answers.not_found(environ["REQUEST_METHOD"])
            response.plan.subject = ASIDE
            return response
        near = self.nearest([name]).get(name, ())
        return answers.not_found_page(name, near, environ.get("SCRIPT_NAME", ""), environ["REQUEST_METHOD"])

    def _may_have_digest(self, name: str) -> bool:
        """Tell whether the digest that a name asks for may be shown; no file has that name."""
        return self._digests and self._is_shown(name.removesuffix(SUFFIX))

    def _represent(self, file: FileVersion, *, is_given: bool) -> Representation:
        """Return what is known about one version of a file.

        A version whose validators were given to a client while other hands may have been writing is never again one
        to resume from; until then it may come to rest.
        """
        known = self._representations.get(file.name)
        if (
            known is not None
            and known.identity == file.identity
            and known.sha256 == file.sha256
            and known.validators.date_is_strong != file.shares_second  # a store's date grows strong with age
            and known.validators.modified <= time.time()  # else the clock was set back meanwhile
        ):
            return known
        made = represent(file)
        if not is_given and not made.validators.may_resume:
            return made
        if len(self._representations) >= MOST_NAMES:
            self._representations.clear()
        self._representations[file.name] = made
        return made

    def _file(self, file: File, environ: Environ) -> Response | HandOver:
        representation = self._represent(file, is_given=True)
        if SHORTENED in environ:
            representation = shortened(representation, environ[SHORTENED])
        is_get = environ["REQUEST_METHOD"] == "GET"
        for field in conditional.FIELDS:
            if field in environ:
                if environ.get(MAY_NOT_BLOCK) and conditional.takes_long(environ):
                    file.close()
                    return NEEDS_THREAD
                decision = conditional.decide(environ, representation.validators, is_get=is_get)
                break
        else:
            decision = conditional.WHOLE
        if decision.kind is Answer.WHOLE and is_get:
            # Nothing here depends on the client, so a server may give the very same answer to all requests of these
            # bytes.
            is_small = representation.validators.size <= SMALL_BYTES
            again = self._served.again(file) if is_small and not isinstance(file, MemoryFile) else None
            return answers.whole(file, representation, again)
        if decision.kind is Answer.PARTS:
            if len(decision.ranges) == 1:
                return answers.one_range(file, representation, decision.ranges[0])
            return answers.many_ranges(file, representation, decision.ranges)
        file.close()
        method = environ["REQUEST_METHOD"]
        if decision.kind is Answer.WHOLE:
            return answers.head_of_whole(representation)
        if decision.kind is Answer.NOT_MODIFIED:
            return answers.not_modified(representation)
        if decision.kind is Answer.FAILED:
            return answers.text(412, "the file is not the version meant", method)
        return answers.unsatisfiable(representation, method)

    # Looking at ourselves

    @contextmanager
    def probe(self, data: bytes) -> Iterator[str]:
        """Answer with *data* under a name that nobody can guess, as with a file, until the block ends.

        No record is made of such answers, so no wait takes them for a board's.
        """
        name = f"httpserve-{secrets.token_hex(16)}"
        self._probes[name] = probe_file(name, data, time.time_ns())
        try:
            yield name
        finally:
            del self._probes[name]
            self._names.pop(f"/{name}", None)
            self._representations.pop(name, None)

    # Directories

    def _directory(self, name: str, environ: Environ) -> Response | HandOver:
        index = f"{name}/{INDEX}" if name else INDEX
        may_block = not environ.get(MAY_NOT_BLOCK)
        if self._is_shown(index):
            try:
                file = self._served.open_to_serve(index, may_block=may_block)
            except (NotFound, IsADirectory, NotPermitted, InvalidName):
                pass  # the listing answers
            else:
                return NEEDS_THREAD if file is None else self._index(name, file, environ)
        if not self._listing:
            return answers.text(404, "directories are not listed", environ["REQUEST_METHOD"])
        return self._list(name, environ) if may_block else NEEDS_THREAD

    def _index(self, name: str, file: File, environ: Environ) -> Response | HandOver:
        """Answer with a directory's index. A browser is sent to the name with a slash; else relative links break."""
        if not name or environ.get("PATH_INFO", "").endswith("/") or not _is_browser(environ):
            return self._file(file, environ)
        file.close()
        last = name.rpartition("/")[2]
        return answers.moved(f"{last}/", environ.get("QUERY_STRING", ""), environ["REQUEST_METHOD"])

    def _list(self, name: str, environ: Environ) -> Response | HandOver:
        prefix = f"{name}/" if name else ""
        try:
            entries = in_order(self._served.entries(name, lambda last: self._is_shown(prefix + last)))
        except NotFound as error:
            return self._failed(error, environ)
        if wants_json(environ.get("HTTP_ACCEPT", "")):
            body, kind = as_json(entries), "application/json"
        else:
            last = name.rpartition("/")[2]
            link = "" if environ.get("PATH_INFO", "").endswith("/") or not name else f"{last}/"
            body, kind = as_html(name, entries, link), "text/html; charset=utf-8"
        fields = [("Content-Type", kind), ("Content-Length", str(len(body)))]
        plan = answers.content(body, environ["REQUEST_METHOD"])
        return Response(200, [*fields, ("Cache-Control", "no-cache"), ("Vary", "Accept")], plan)


def _decoded(path: str) -> str:
    """Return the name that a WSGI path means; empty: the root's. Raises InvalidName."""
    try:
        text = path.encode("latin-1").decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidName(path, "it is not UTF-8") from None
    return checked_name(text, directory=True)


def _is_browser(environ: Environ) -> bool:
    """Tell whether a person is looking: every browser says that it is Mozilla, and no client of a board does."""
    return str(environ.get("HTTP_USER_AGENT", "")).startswith("Mozilla/")


def _may_block(environ: Environ, level: int) -> bool:
    """Tell whether this request must not wait, but a handler of what is logged at a level might."""
    return bool(environ.get(MAY_NOT_BLOCK)) and log.isEnabledFor(level)
