"""`httpserve doctor`: prints why nothing may arrive.

Knows exit codes and streams. Does not know what is examined.
"""

from __future__ import annotations

import json
from dataclasses import replace

from httpserve import AddressError, Finding, HttpServeError, HttpServerClient, PortInUse, PortNotPermitted, Report
from httpserve.base.text import worded
from httpserve.cli.arguments import EXIT_ERROR, Options, explained_here, option
from httpserve.cli.paths import what_to_serve
from httpserve.cli.serve import client_for
from httpserve.cli.stream import Stream

MEANINGLESS = ("server", "connections")  # of no use for a server that only the doctor started, or that runs elsewhere


def doctor(options: Options, out: Stream, err: Stream) -> int:
    """Start a server as the options say, print what may be wrong, and return 0 if nothing is, else 1."""
    try:
        report = examined(options)
    except HttpServeError as error:
        err.write(f"httpserve: {explained_here(error, options)}\n")
        return EXIT_ERROR
    except KeyboardInterrupt:
        return EXIT_ERROR  # 0 would say that all is well
    out.write(f"{json.dumps(report.as_dict()) if options.json else report}\n")
    return 0 if report.ok else EXIT_ERROR


def examined(options: Options) -> Report:
    """Return what is found about a server as the options say; that it cannot start is a finding too."""
    served = what_to_serve(options.paths, is_beside=bool(options.store))
    client = client_for(served, options)
    try:
        client.start(options.wait_for_address)
        return Report(looked_at(client))
    except AddressError as error:
        if isinstance(error, PortInUse | PortNotPermitted):
            options.bind = error.host  # the number of what may have been a name
            client = client_for(served, options)
        found = looked_at(client)
        if any(finding.check == "start" for finding in found):  # the server that one asks about runs already
            return Report(found)
        what, _, next_step = explained_here(error, options).partition("; ")
        return Report((Finding("fail", "start", what, next_step), *found))
    finally:
        client.close()


def looked_at(client: HttpServerClient) -> tuple[Finding, ...]:
    """Return what the client finds, in the words of the shell."""
    return tuple(
        replace(finding, message=worded(finding.message, option), next_step=worded(finding.next_step, option))
        for finding in client.doctor().findings
        if finding.check not in MEANINGLESS
    )
