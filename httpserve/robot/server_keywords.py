"""Keywords that start, stop and choose servers, and say where they are.

Knows settings as a suite writes them. Knows nothing of files and downloads.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

from robot.api import logger

from httpserve import HttpServerClient, Report
from httpserve.base.text import worded
from httpserve.robot.conversions import Address, Addresses, Names, Service, Size, seconds
from httpserve.robot.keyword import Keywords, keyword, show_link, where
from httpserve.robot.servers import DEFAULT_ALIAS, settings_of
from httpserve.robot.words import argument

NO_TIME = timedelta(0)


class ServerKeywords(Keywords):
    """Starting and stopping."""

    @keyword("Start HTTP Server", "server")
    def start_http_server(
        self,
        root_dir: Path | None = None,
        host: Address | None = None,
        port: int | None = None,
        timeout: timedelta | None = None,
        remove_created_on_close: bool | None = None,
        *,
        alias: str = DEFAULT_ALIAS,
        peer: Address | None = None,
        advertise: str | None = None,
        listing: bool | None = None,
        dot_files: bool | None = None,
        read_only: bool | None = None,
        only: Names | None = None,
        digests: bool | None = None,
        max_records: int | None = None,
        max_connections: int | None = None,
        lost_after: timedelta | None = None,
        strict_peer: bool | None = None,
        more_hosts: Addresses | None = None,
        root: Service | None = None,
        cache_dir: Path | None = None,
        cache_bytes: Size | None = None,
        fresh_for: timedelta | None = None,
        redirect: bool | Names | None = None,
        look_timeout: timedelta | None = None,
        look_tries: int | None = None,
        read_timeout: timedelta | None = None,
        read_tries: int | None = None,
        wait_for_address: timedelta = NO_TIME,
    ) -> str:
        """Starts a server, makes it the current one, and returns its URL, without a ``/`` at the end.

        Returns when a request would be answered. A server of that alias that was stopped starts again with its settings
        and files; one that runs stays as it is. Different settings are refused, as they would cost its files: a
        server that must keep its port after `Stop HTTP Server` needs ``port`` at its first start. Fails when the port
        is taken or no interface has the address.

        ``alias`` names the server for `Switch HTTP Server` and for the argument ``server=`` of every keyword.
        ``wait_for_address`` is how long to wait for an address that is not there yet, such as that of a USB network;
        default: not at all. The other arguments mean what they mean at the import, whose values are the defaults of a
        new server.

        Example:
        | ${url}=    Start HTTP Server    peer=127.0.0.1
        | Should Start With    ${url}    http://127.0.0.1:
        | Start HTTP Server    alias=second    listing=no    wait_for_address=5 s
        """
        settings = settings_of(locals())
        suite, test = where()
        url = self.servers.start(alias, settings, seconds(wait_for_address), suite, test).client.get_url()
        show_link(url)
        return url

    @keyword("Stop HTTP Server", "server")
    def stop_http_server(self, server: str | None = None, timeout: timedelta = timedelta(seconds=5)) -> None:
        """Stops a server and frees its port. Waits for downloads under way, at most ``timeout``, then cuts them.

        Its files stay, and `Start HTTP Server` with its alias serves them again. Fails when it does not run.

        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | Stop HTTP Server    timeout=500 ms
        """
        self.client(server).stop(seconds(timeout))

    @keyword("Stop All HTTP Servers", "server")
    def stop_all_http_servers(self) -> None:
        """Stops every server, removes what was put on them, and forgets them. Harmless when there is none.

        Waits up to 5 seconds for each one's downloads under way. Servers that were started in a suite also end by
        themselves, see ``auto_close``.

        Example:
        | Start HTTP Server    alias=one
        | Start HTTP Server    alias=two
        | Stop All HTTP Servers
        """
        self.tell()  # the servers' records end with them
        self.servers.close_all()

    @keyword("Switch HTTP Server", "server")
    def switch_http_server(self, alias: str) -> str | None:
        """Makes another server the current one, and returns the alias of the one before.

        Fails when there is no server of that alias. Does not block.

        Example:
        | Start HTTP Server    alias=lab
        | Start HTTP Server    alias=field
        | ${before}=    Switch HTTP Server    lab
        | Should Be Equal    ${before}    field
        """
        return self.servers.switch(alias)

    @keyword("HTTP Server Should Be Running", "server", "check")
    def http_server_should_be_running(self, server: str | None = None) -> None:
        """Fails unless the server runs. Does not block.

        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | HTTP Server Should Be Running
        """
        found = self.servers.get(server)
        if not found.client.is_running:
            which = (
                f"HTTP server {found.alias!r}" if server or len(self.servers.all()) > 1 else "the current HTTP server"
            )
            raise AssertionError(f"{which} does not run: Start HTTP Server starts it again")

    @keyword("Get Server URL", "server", "url")
    def get_server_url(self, peer: Address | None = None, server: str | None = None) -> str:
        """Returns the URL of the server as a board sees it, without a ``/`` at the end. Does not block.

        ``peer`` is the address of the board that will use the URL, if it is not that of the server's settings.
        ``server`` is an alias; default: the current server. Fails when the server does not run.

        Example:
        | Start HTTP Server
        | ${url}=    Get Server URL
        | Log    on the board: wget ${url}/boot/Image
        """
        return self.client(server).get_url("", peer)

    @keyword("Run HTTP Doctor", "server", "check")
    def run_http_doctor(self, fail_on: Literal["fail", "warn", "never"] = "fail", server: str | None = None) -> Report:
        """Looks for reasons why boards would not reach the server, logs the findings, and returns the report.

        Takes about a second; changes nothing, and sends nothing beyond this host. Fails when there is a finding as
        bad as ``fail_on``: ``fail`` (default), ``warn``, or ``never``. Each finding says what to do next.

        ``server`` is an alias; default: the current server.

        Example:
        | Start HTTP Server
        | ${report}=    Run HTTP Doctor    fail_on=never
        """
        report = _report(self.client(server))
        logger.info(str(report))
        bad = {"fail": {"fail"}, "warn": {"fail", "warn"}, "never": set[str]()}[fail_on]
        found = [finding for finding in report.findings if finding.status in bad]
        if found:
            raise AssertionError("\n".join(map(str, found)))
        return report


def _report(client: HttpServerClient) -> Report:
    """Return what the doctor finds, with steps that a suite can take."""
    steps = {"server": "use Start HTTP Server"} if not client.is_running else {}
    return Report(
        tuple(
            replace(
                finding,
                message=worded(finding.message, argument),
                next_step=steps.get(finding.check, worded(finding.next_step, argument)),
            )
            for finding in client.doctor().findings
        )
    )
