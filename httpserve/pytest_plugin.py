"""pytest's fixtures `http_server_client` and `make_http_server_client`, and what a failing test's report says of them.

Knows pytest, and of the package only what it exports, which is imported when a
test asks for a fixture. Does not know boards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pluggy import Result

    from httpserve import HttpServerClient, Missing, RequestRecord, Transfer

MOST_LINES = 40  # of each kind in a report; the latest are kept
MOST_CHARACTERS = 200  # of what a board chose

CLIENTS = pytest.StashKey[list["HttpServerClient"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options, and the ini keys that hold when an option is not given."""
    group = parser.getgroup("httpserve", "httpserve: files for the boards on a test bench")
    for name, what in (
        ("host", "address or name that the servers of http_server_client listen on"),
        ("peer", "the board's address: the servers listen, and URLs point, on the side that faces it"),
    ):
        group.addoption(f"--httpserve-{name}", dest=f"httpserve_{name}", metavar="ADDRESS", help=what)
        parser.addini(f"httpserve_{name}", f"{what}; --httpserve-{name} wins", default="")


@pytest.fixture
def http_server_client(make_http_server_client: Callable[..., HttpServerClient]) -> HttpServerClient:
    """A server for files that boards fetch over HTTP, on a private directory; closed when the test ends.

    It runs already. Where it listens say the options --httpserve-host and --httpserve-peer, or the ini keys
    httpserve_host and httpserve_peer; without them it is the address that other hosts reach. The report of a test
    that fails has the requests, the transfers and the missing names.
    """
    return make_http_server_client()


@pytest.fixture
def make_http_server_client(request: pytest.FixtureRequest) -> Iterator[Callable[..., HttpServerClient]]:
    """A function that starts a server and returns its client; all are closed when the test ends.

    Its arguments are those of HttpServerClient. A call with neither `host` nor `peer` takes those of the options.
    """
    from httpserve import HttpServerClient

    clients = request.node.stash.setdefault(CLIENTS, [])

    def make(*args: Any, **settings: Any) -> HttpServerClient:  # Any: the constructor's own, which checks them
        if len(args) < 2 and "host" not in settings and "peer" not in settings:  # the second of them is the host
            settings.update(_where(request.config))
        client = HttpServerClient(*args, **settings)
        clients.append(client)
        return opened.enter_context(client)

    with ExitStack() as opened:
        yield make


def _where(config: pytest.Config) -> dict[str, str]:
    """Return the host and the peer that were asked for, each by its option or else by its ini key."""
    keys = {name: f"httpserve_{name}" for name in ("host", "peer")}
    asked = {name: config.getoption(key) or config.getini(key) for name, key in keys.items()}
    return {name: value for name, value in asked.items() if value}


@pytest.hookimpl(hookwrapper=True)  # the old form, which every pytest knows
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Result[pytest.TestReport], None]:
    """Add what the boards asked for to the report of a test that failed."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for client in item.stash.get(CLIENTS, []):
            report.sections.append((f"httpserve: {client!r}", _account(client)))


def _account(client: HttpServerClient) -> str:
    """Return the requests, the transfers and the missing names of a client, as text."""
    return "\n".join(
        [
            *_listed("requests", [_request(record) for record in client.requests]),
            *_listed("transfers", [_transfer(transfer) for transfer in client.transfers]),
            *_listed("missing names", [_missing(missing) for missing in client.missing]),
        ]
    )


def _listed(title: str, lines: Sequence[str]) -> Iterator[str]:
    if not lines:
        yield f"{title}: none"
        return
    yield f"{title}: {len(lines)}"
    if len(lines) > MOST_LINES:
        yield f"  ({len(lines) - MOST_LINES} earlier ones are left out)"
    yield from (f"  {line}" for line in lines[-MOST_LINES:])


def _request(record: RequestRecord) -> str:
    asked = " ".join(_shown(part) for part in (record.method, record.target, record.range) if part)
    return (
        f"{_clock(record.time)} {record.client} {asked}: {record.status}, {record.bytes} bytes in "
        f"{record.seconds:.3f} s, {record.outcome} ({_shown(record.user_agent) or 'no user agent'})"
    )


def _transfer(transfer: Transfer) -> str:
    return (
        f"{_clock(transfer.time)} {transfer.client} {_shown(transfer.name)}: {transfer.acknowledged} of "
        f"{transfer.total} bytes arrived, {transfer.rate:.0f} bytes/s, {transfer.state}"
    )


def _missing(missing: Missing) -> str:
    nearest = f" (there is {', '.join(map(_shown, missing.nearest))})" if missing.nearest else ""
    return f"{_clock(missing.time)} {missing.client} {_shown(missing.name)}{nearest}"


def _shown(text: str) -> str:
    from httpserve.base.text import printable  # as all of the package, only where a test has used it

    return printable(text, MOST_CHARACTERS)


def _clock(epoch: float) -> str:
    return f"{time.strftime('%H:%M:%S', time.localtime(epoch))}.{int(epoch % 1 * 1000):03d}"
