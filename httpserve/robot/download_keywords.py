"""Keywords about what boards do: what to type there, what was asked for, and waiting for it.

Knows waits as a suite writes them. Knows nothing of how they come true.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from ipaddress import ip_address
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from robot.api import logger

from httpserve import (
    DownloadRecord,
    ExpectedDownload,
    HttpServeError,
    InvalidArgument,
    InvalidName,
    Missing,
    RequestRecord,
    Transfer,
)
from httpserve.base.text import amounts, printable
from httpserve.robot.conversions import Address, Awaited, Clients, Until, seconds
from httpserve.robot.keyword import Found, Keywords, keyword
from httpserve.robot.transfers_log import plain

WAIT = timedelta(minutes=10)  # no suite hangs over night
IDLE = timedelta(seconds=5)
ALL = Until("all")
ONE = Clients(1)
CLIENT = "client must be a board's IP address, such as 192.168.7.2"
CLIENTS = "clients must be a number of boards, or their IP addresses with commas"
MOST_NAMED = 5  # in a message
MOST_CHARACTERS = 200  # of a method there, which may be any word


class DownloadKeywords(Keywords):
    """Knowing that the board has it, and saying why not."""

    # the name and the server's alias of what `Expect Download` has returned
    _expected: ClassVar[WeakKeyDictionary[ExpectedDownload, tuple[str, str | None]]] = WeakKeyDictionary()

    @keyword("Get Download Command", "board")
    def get_download_command(
        self,
        name: str,
        tool: str,
        *,
        peer: Address | None = None,
        sha256: bool = True,
        server: str | None = None,
        **values: int | str,
    ) -> str:
        """Returns the line to type on a board that downloads a file. Blocks only to read a file for its digest.

        ``name`` is the name on the server. ``tool`` is what the board has: ``u-boot``, ``u-boot-lwip``, ``grub``,
        ``ipxe``, ``busybox``, ``wget``, ``curl``, ``rauc``, ``swupdate`` and others; an unknown one fails with the
        list. ``peer`` is the address of the board, if it is not that of the server's settings. ``sha256`` adds a
        check of what came, where the tool can do one; the digest of a file that was not put here is computed, which
        takes as long as reading it. Further arguments are values of the tool's template. One of
        them, ``address``, is hexadecimal if it is text, as U-Boot reads it, with or without ``0x``; a number such as
        ``${0x40200000}`` is written in hexadecimal. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Put Text    boot/cmdline.txt    quiet
        | ${command}=    Get Download Command    boot/cmdline.txt    busybox
        | Type On Board    ${command}
        """
        # Here a number means its text, except for an address, which consoles read in another base.
        written = {key: value if key == "address" else str(value) for key, value in values.items()}
        return self.client(server).command(name, tool, peer=peer, sha256=sha256, **written)

    @keyword("Expect Download", "board", "wait")
    def expect_download(
        self,
        name: str,
        timeout: timedelta | None = WAIT,
        *,
        until: Until = ALL,
        idle: timedelta = IDLE,
        client: Address | None = None,
        clients: Clients = ONE,
        server: str | None = None,
    ) -> ExpectedDownload:
        """Returns what makes `Wait For Download` count only requests that begin after this keyword. Does not block.

        Use it before the command that makes the board download, so that an earlier download does not count. The
        arguments are those of `Wait For Download`; ``timeout`` starts with that keyword.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    boot/cmdline.txt    quiet
        | ${download}=    Expect Download    boot/cmdline.txt    timeout=30 s
        | Type On Board    wget ${url}
        | ${record}=    Wait For Download    ${download}
        | Should Be Equal As Integers    ${record.bytes}    5
        """
        found = self.client(server).expect_download(name, **_terms(timeout, until, idle, client, clients))
        self._expected[found] = name, self.servers.get(server).alias
        return found

    @keyword("Wait For Download", "board", "wait")
    def wait_for_download(
        self,
        download: Awaited,
        timeout: timedelta | None = WAIT,
        *,
        until: Until = ALL,
        idle: timedelta = IDLE,
        client: Address | None = None,
        clients: Clients = ONE,
        since: datetime | None = None,
        server: str | None = None,
    ) -> DownloadRecord | list[DownloadRecord]:
        """Waits until a board has a file, and returns the record of it: ``client``, ``bytes``, ``seconds`` and more.

        ``download`` is what `Expect Download` returned, which then needs no further argument; or a name on the server.
        For a name, a download since it was put counts even if it came before this keyword. A wait that returns a
        board's download uses up what that board has fetched of the name until then; what other boards have fetched
        stays for the next wait.

        ``timeout`` is how long to wait; default: 10 minutes, ``None``: for ever. ``until`` is what to wait for, and
        ``idle`` how long nothing must come with ``until=idle`` (default: 5 seconds). ``client`` is the address of the
        board that must have it; default: any. ``clients`` is how many boards, or which; the keyword then returns a
        list. ``since`` is a time from which downloads count. ``server`` is an alias; default: the current server.

        When it fails, the message says what happened instead, and what has arrived. It fails at once when the server is
        stopped or the file is removed.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    boot/cmdline.txt    quiet
        | Type On Board    wget ${url}
        | ${record}=    Wait For Download    boot/cmdline.txt    timeout=30 s
        | Should Be Equal    ${record.client}    127.0.0.1
        """
        wait: Callable[[], DownloadRecord | list[DownloadRecord]]
        if isinstance(download.value, ExpectedDownload):
            given = (timeout, until, idle, client, clients, since, server)
            if given != (WAIT, ALL, IDLE, None, ONE, None, None):
                raise InvalidArgument("what Expect Download returned knows what to wait for: give the arguments there")
            name, server = self._expected.get(download.value, ("", None))
            wait = download.value.wait
        else:
            name = download.value
            terms = {**_terms(timeout, until, idle, client, clients), "since": epoch(since)}
            wait = partial(self.client(server).wait_for_download, name, **terms)
        try:
            found = wait()
        except HttpServeError:
            raise
        except BaseException:  # a timeout of Robot's, or a Ctrl-C
            self._say_how_far(name, server)
            raise
        return Found(found) if isinstance(found, list) else found

    def _say_how_far(self, name: str, server: str | None) -> None:
        """Write how far a wait had come when something else ended it."""
        if not name:  # a promise made in Python
            return
        had = [one for one in self.client(server).transfers if one.name == plain(name)][-MOST_NAMED:]
        far = "; ".join(f"{one.client} had {amounts(one.acknowledged, one.total)}, {one.state}" for one in had)
        logger.info(f"the wait for {name!r} was ended: {far or 'no board had any of it'}")

    @keyword("Wait For Request", "board", "wait")
    def wait_for_request(
        self,
        name: str | None = None,
        *,
        method: str | None = None,
        status: int | None = None,
        client: Address | None = None,
        timeout: timedelta | None = WAIT,
        since: datetime | None = None,
        server: str | None = None,
    ) -> RequestRecord:
        """Waits until a board has asked for something, and returns the record of the request.

        The record has ``client``, ``method``, ``target``, ``status`` and more.

        ``name`` is what it asks for, ``method`` is, say, ``HEAD``, ``status`` is that of the answer, and ``client`` is
        the board's address; what is not given may be anything. ``timeout`` is how long to wait; default: 10 minutes,
        ``None``: for ever. ``since`` is a time from which requests count. ``server`` is an alias; default: the
        current server.

        Example:
        | Start HTTP Server
        | ${url}=    Get File URL    not-there.cfg
        | Type On Board    wget ${url}
        | ${request}=    Wait For Request    not-there.cfg    status=404    timeout=30 s
        """
        return self.client(server).wait_for_request(
            name,
            method=method,
            status=status,
            client=board_address(client),
            timeout=seconds(timeout),
            since=epoch(since),
        )

    @keyword("File Should Have Been Downloaded", "board", "check")
    def file_should_have_been_downloaded(
        self, name: str, client: Address | None = None, server: str | None = None
    ) -> None:
        """Fails unless a board has every byte of the current version of a file. Neither waits nor affects other waits.

        It looks at the latest requests, as many as ``max_records`` of the import says. ``client`` is the address of
        the board; default: any. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    boot/cmdline.txt    quiet
        | Type On Board    wget ${url}
        | Wait For Download    boot/cmdline.txt    timeout=30 s
        | File Should Have Been Downloaded    boot/cmdline.txt
        """
        # 1.0, not "all": a wait for a part uses nothing up. since=0: what earlier waits have returned counts too.
        self.client(server).wait_for_download(name, 0, until=1.0, client=board_address(client), since=0)

    @keyword("File Should Not Have Been Requested", "board", "check")
    def file_should_not_have_been_requested(
        self, name: str, client: Address | None = None, server: str | None = None
    ) -> None:
        """Fails when a board has asked for that name, whether there is such a file or not. Does not block.

        Also fails if it cannot tell: the server remembers the latest ``max_records`` requests (see the import), and
        once it has that many, it may have forgotten others.

        ``client`` is the address of the board; default: any. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Put Text    recovery.cfg    panic
        | File Should Not Have Been Requested    recovery.cfg
        """
        found = self.servers.get(server)
        if not plain(name):
            raise InvalidName(name, "it is empty, or the root itself, and a file is meant")
        asked = found.client.requests_for(_no_url(name), client=board_address(client))
        if asked:
            shown = ", ".join(
                f"{printable(record.method, MOST_CHARACTERS)} by {record.client} ({record.status})"
                for record in asked[:MOST_NAMED]
            )
            more = f" and {len(asked) - MOST_NAMED} more" if len(asked) > MOST_NAMED else ""
            raise AssertionError(f"{name!r} was asked for: {shown}{more}")
        most = found.settings["max_records"]
        if len(found.client.requests) >= most:  # last: requests in between only make this more careful
            raise AssertionError(
                f"cannot tell whether {name!r} was asked for: the server remembers {most} requests and has so many, so "
                f"earlier ones may be forgotten; start it with a larger max_records="
            )

    @keyword("Get Requests", "board")
    def get_requests(
        self, name: str | None = None, client: Address | None = None, server: str | None = None
    ) -> list[RequestRecord]:
        """Returns the latest requests, oldest first, as many as ``max_records`` of the import says. Does not block.

        Each has ``time``, ``client``, ``method``, ``target``, ``status``, ``bytes``, ``outcome`` and more.
        ``name`` and ``client`` choose those for a file and from a board; default: all. ``server`` is an alias; default:
        the current server.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    boot/cmdline.txt    quiet
        | Type On Board    wget ${url}
        | Wait For Download    boot/cmdline.txt    timeout=30 s
        | ${requests}=    Get Requests    boot/cmdline.txt
        | Should Be Equal    ${requests[0].method}    GET
        """
        return self.shown(self.client(server).requests_for(_no_url(name), client=board_address(client)))

    @keyword("Get Transfers", "board")
    def get_transfers(
        self, name: str | None = None, client: Address | None = None, server: str | None = None
    ) -> list[Transfer]:
        """Returns the latest transfers, oldest first. Does not block.

        Each has ``name``, ``client``, ``acknowledged``, ``total``, ``rate``, ``state`` and more. A
        transfer under way shows how far it is. ``name`` and ``client`` choose those of a file and to a board; default:
        all. ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | ${url}=    Put Text    boot/cmdline.txt    quiet
        | Type On Board    wget ${url}
        | Wait For Download    boot/cmdline.txt    timeout=30 s
        | ${transfers}=    Get Transfers    boot/cmdline.txt
        | Should Be Equal    ${transfers[0].state}    completed
        """
        board = board_address(client)
        known = self.client(server)
        known.requests_for(_no_url(name))  # refuses what cannot be a name
        wanted = None if name is None else plain(name)
        return self.shown(
            transfer
            for transfer in known.transfers
            if wanted in (None, transfer.name) and board in (None, transfer.client)
        )

    @keyword("Get Missing Files", "board")
    def get_missing_files(self, client: Address | None = None, server: str | None = None) -> list[Missing]:
        """Returns the names that boards asked for and that do not exist, oldest first.

        Blocks while the disk lists the files. Each has ``time``, ``client``, ``name``, and the ``nearest`` names that
        exist by now. ``client`` is the address of the board; default: any. ``server`` is an alias; default: the current
        server.

        Example:
        | Start HTTP Server
        | Put Text    boot/cmdline.txt    quiet
        | ${url}=    Get File URL    boot/cmdlin.txt
        | Type On Board    wget ${url}
        | Wait For Request    status=404    timeout=30 s
        | ${missing}=    Get Missing Files
        | Should Be Equal    ${missing[0].nearest[0]}    boot/cmdline.txt
        """
        board = board_address(client)
        return self.shown(missing for missing in self.client(server).missing if board in (None, missing.client))


def _terms(
    timeout: timedelta | None, until: Until, idle: timedelta, client: Address | None, clients: Clients
) -> dict[str, Any]:  # Any: arguments, each of its own type
    """Return the arguments of a wait as the client takes them."""
    boards = clients.value
    return {
        "timeout": seconds(timeout),
        "until": until.value,
        "idle": seconds(idle),
        "client": board_address(client),
        "clients": boards if isinstance(boards, int) else [board_address(one, CLIENTS) for one in boards],
    }


def epoch(since: datetime | None) -> float | None:
    """Return a time of Robot's as the client takes it."""
    return None if since is None else since.timestamp()


def board_address(client: str | None, what: str = CLIENT) -> str | None:
    """Return a board's address as records have it, however it is written."""
    if client is None:
        return None
    try:
        found = ip_address(client)
    except ValueError:
        raise InvalidArgument(f"{what}, not {str(client)!r}") from None
    return str(getattr(found, "ipv4_mapped", None) or found)


def _no_url(name: str | None) -> str | None:
    """Refuse what is meant as a URL: as a name it would be that of a file in a directory called `http:`."""
    if name is not None and "://" in name:
        raise InvalidArgument(f"{name!r} is a URL, and the name on the server is meant, such as boot/Image")
    return name
