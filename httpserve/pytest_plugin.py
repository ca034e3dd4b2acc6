"""pytest's fixtures `http_server_client` and `make_http_server_client`, and their part of a failing test's report.

Knows pytest, and the public names, which it imports when a test uses a fixture.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pluggy import Result

    from httpserve import AcceptedUploads, Handle, HttpServerClient, RequestRecord, Transfer

MOST_LINES = 40  # of each kind in a report; the latest are kept
MOST_CHARACTERS = 200  # of a text that a board chose

CLIENTS = pytest.StashKey[list["HttpServerClient"]]()
BEGAN = pytest.StashKey[float]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and the ini keys, which are their defaults."""
    group = parser.getgroup("httpserve", "httpserve: files for the boards on a test bench")
    for name, what in (
        ("host", "address or name that the servers of http_server_client listen on"),
        ("peer", "the board's address: the servers listen, and URLs point, on the side that faces it"),
    ):
        group.addoption(f"--httpserve-{name}", dest=f"httpserve_{name}", metavar="ADDRESS", help=what)
        parser.addini(f"httpserve_{name}", f"{what}; --httpserve-{name} wins", default="")
    parser.addini("httpserve_root", "URL of the store that they serve, such as s3://bucket/images", default="")
    what = "options of the store's service, one a line: region=eu-central-1; keys belong in the environment"
    parser.addini("httpserve_root_options", what, type="linelist", default=[])
    parser.addini("httpserve_cache_dir", "directory to keep what is read from the store", default="")
    parser.addini("httpserve_cache_bytes", "the most to keep of it, such as 200 GiB; 0: nothing", default="")
    parser.addini("httpserve_fresh_for", "seconds for which an object is taken for unchanged", default="")


@pytest.fixture
def http_server_client(make_http_server_client: Callable[..., HttpServerClient]) -> HttpServerClient:
    """A server for files that boards fetch over HTTP, on a private directory; closed when the test ends.

    It runs already. The options --httpserve-host and --httpserve-peer, or the ini keys httpserve_host and
    httpserve_peer, say where it listens; the default is the address that other hosts reach. The ini key httpserve_root
    is the URL of a store that it serves in place of the directory. The report of a failed
    test has the requests, the transfers and the missing names.
    """
    return make_http_server_client()


@pytest.fixture
def make_http_server_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., HttpServerClient]]:
    """A function that starts a server and returns its client; all are closed when the test ends.

    Its arguments are those of HttpServerClient. A call with neither `host` nor `peer` takes those of the options, and
    one with neither `root_dir` nor `root` the store of the ini file, if that names one.
    """
    from httpserve import AddressNotFound, HttpServerClient, InvalidArgument

    clients = request.node.stash.setdefault(CLIENTS, [])

    def make(*args: Any, **settings: Any) -> HttpServerClient:  # Any: the constructor's own, which checks them
        options: dict[str, Any] = {}
        said: list[str] = []
        if len(args) < 2 and "host" not in settings and "peer" not in settings:  # the second of args is the host
            options = _where(request.config)
            said = [f"--httpserve-{name} (httpserve_{name} of the ini file)" for name in options]
        try:
            if not args and "root_dir" not in settings and "root" not in settings and (store := _store(request.config)):
                said += [f"httpserve_{name} of the ini file" for name in store]
                options |= store
            client = HttpServerClient(*args, **{**options, **settings})
            opened.enter_context(client)
        except (AddressNotFound, InvalidArgument) as error:
            if not said:
                raise
            reason = str(error)
        else:
            clients.append(client)
            return client
        pytest.fail(f"no server for this test; look at {' and '.join(said)}: {reason}", pytrace=False)

    with ExitStack() as opened:
        yield make


def _where(config: pytest.Config) -> dict[str, str]:
    """Return the host and the peer, each from its option or else from its ini key."""
    keys = {name: f"httpserve_{name}" for name in ("host", "peer")}
    given = {name: config.getoption(key) or config.getini(key) for name, key in keys.items()}
    return {name: value for name, value in given.items() if value}


def _store(config: pytest.Config) -> dict[str, Any]:  # Any: of the constructor's arguments
    """Return what the ini file says about a store. Raises InvalidArgument where that cannot be meant."""
    from urllib.parse import urlencode

    from httpserve import InvalidArgument
    from httpserve.base.text import bytes_of

    url = config.getini("httpserve_root")
    if not url:
        return {}
    if options := config.getini("httpserve_root_options"):
        parts = [line.partition("=") for line in options]
        if not all(mark for _, mark, _ in parts):
            raise InvalidArgument("an option of a store is written KEY=VALUE, such as region=eu-central-1")
        url += f"{'&' if '?' in url else '?'}{urlencode([(key.strip(), value.strip()) for key, _, value in parts])}"
    given: dict[str, Any] = {"root": url}
    for name, read in (("cache_dir", str), ("cache_bytes", bytes_of), ("fresh_for", float)):
        if value := config.getini(f"httpserve_{name}"):
            try:
                given[name] = read(value)
            except ValueError as error:
                raise InvalidArgument(f"{name}: {error}") from None
    return given


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Note the time: for a server that outlives a test, the report has what came since then."""
    item.stash[BEGAN] = time.time()


@pytest.hookimpl(hookwrapper=True)  # the old form, which every pytest knows
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Result[pytest.TestReport], None]:
    """Add what the boards asked for to the report of a test that failed, and leave out our own lines of code."""
    if call.excinfo is not None:
        _hide_ours(call.excinfo.value)
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        if crash is not None:  # the summary has one line; the name of a module would take half of it
            crash.message = crash.message.removeprefix("httpserve.errors.")
        for client in _clients(item):
            report.sections.append((f"httpserve: {client!r}", _account(client, item.stash.get(BEGAN, 0.0))))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """End what a test asks for (faults, holds, own answers, uploads), also of a server that outlives it."""
    before = {handle for client in _clients(item) for handle in _asked_for(client)}
    yield
    for client in _clients(item):
        for handle in _asked_for(client):
            if handle not in before:
                handle.clear()


def _asked_for(client: HttpServerClient) -> tuple[Handle | AcceptedUploads, ...]:
    return *client.faults, *client.holds, *client.own_answers, *client.accepted_uploads


def _clients(item: pytest.Item) -> list[HttpServerClient]:
    """Return the servers of a test: those of our fixtures, and those that the user's own fixtures return."""
    if "httpserve.client.client" not in sys.modules:
        return []
    from httpserve import HttpServerClient

    of_fixtures = (getattr(item, "funcargs", None) or {}).values()
    # By the type: isinstance() on a lazy proxy would create the object that it stands for, or fail.
    own = (one for one in of_fixtures if issubclass(type(one), HttpServerClient))
    found = [*item.stash.get(CLIENTS, []), *own]
    return list({id(client): client for client in found}.values())


def _hide_ours(error: BaseException | None) -> None:
    """Have pytest show only the user's lines; --full-trace shows all."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_globals.get("__name__", "").startswith("httpserve."):
                frame.f_globals["__tracebackhide__"] = True
        error = error.__cause__ or error.__context__


def _account(client: HttpServerClient, began: float) -> str:
    """Return the requests, the transfers and the missing names of a client since a time, as text."""
    from httpserve.base.text import clock, printable, size  # as all of the package, only where a test has used it

    def shown(*parts: str) -> str:
        return " ".join(printable(part, MOST_CHARACTERS) for part in parts if part)

    def fault(record: RequestRecord | Transfer) -> str:
        return f", on purpose: {shown(record.fault)}" if record.fault else ""

    requests = [
        f"{clock(one.time)} {one.client} {shown(one.method, one.target, one.range)}: {one.status}, {one.bytes} bytes "
        f"in {one.seconds:.3f} s, {one.outcome}{fault(one)} ({shown(one.user_agent) or 'no user agent'})"
        for one in client.requests
        if one.time + one.seconds >= began
    ]
    transfers = [
        f"{clock(one.time)} {one.client} {shown(one.name)}: {one.acknowledged} of {one.total} bytes arrived, "
        f"{size(one.rate)}/s, {one.state}{fault(one)}"
        for one in client.transfers
        if one.time + one.seconds >= began
    ]
    missing = [
        f"{clock(one.time)} {one.client} {shown(one.name)}"
        + (f" (there is {', '.join(map(shown, one.nearest))})" if one.nearest else "")
        for one in client.missing
        if one.time >= began
    ]
    kinds = {"requests": requests, "transfers": transfers, "missing names": missing}
    return "\n".join(line for title, lines in kinds.items() for line in _listed(title, lines))


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    yield f"{title}: {len(lines) or 'none'}"
    if len(lines) > MOST_LINES:
        yield f"  ({len(lines) - MOST_LINES} earlier ones are left out)"
    yield from (f"  {line}" for line in lines[-MOST_LINES:])
