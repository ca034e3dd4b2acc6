"""`httpserve doctor`: prints why nothing may arrive.

Knows exit codes, and which stream a line belongs on. Does not know what is looked at.
"""

from __future__ import annotations

import json

from httpserve import AddressError, HttpServeError
from httpserve.cli_arguments import Options
from httpserve.cli_screen import Stream, printable
from httpserve.cli_serving import EXIT_ERROR, client_for, one_line, what_to_serve


def doctor(options: Options, out: Stream, err: Stream) -> int:
    """Start a server as the options say, print what may be wrong, and return 0 if nothing is."""
    try:
        directory, name = what_to_serve(options.path)
        client = client_for(directory, options, only=name or None)
        problem = ""
        try:
            client.start()
        except AddressError as error:  # what a doctor is for: go on without a server
            problem = str(error)
        try:
            report = client.doctor()
        finally:
            client.close()
        out.write(f"{json.dumps(report.as_dict()) if options.json else report}\n")
    except HttpServeError as error:
        problem, is_well = str(error), False
    except KeyboardInterrupt:
        return 0
    else:
        is_well = report.ok and not problem
    if problem:
        err.write(f"httpserve: {printable(one_line(problem))}\n")
    return 0 if is_well else EXIT_ERROR
