# PYTHON_ARGCOMPLETE_OK
"""The command `httpserve`: serves directories and files until a signal, or until boards have it.

Knows what the first word may be, and signals. Knows nothing of servers.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from httpserve.cli.arguments import EXIT_ERROR, complete, parse
from httpserve.cli.signals import Signals
from httpserve.cli.stream import Stream


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as *arguments* say (`sys.argv[1:]` when None), and serve until Ctrl-C, SIGTERM or a condition of theirs.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, or when boards have what --exit-after names; 1 after an error of
        httpserve, which stderr has in one line, and when boards do not have it.

    Raises:
        SystemExit: with 2, for invalid usage; with 0, after `--help` and `--version`.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    complete(words)
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    try:
        command, options = parse(words)
    finally:
        out.flush()  # of --help; its reader may be gone
    with Signals(is_last=arguments is None) as signals:
        try:
            if command == "doctor":
                from httpserve.cli.doctor import doctor  # only now: a completion or --help comes at once

                return doctor(options, out, err)
            if command == "cache":
                from httpserve.cli.cache import cache

                return cache(options, out, err)
            from httpserve.cli.serve import ServeCommand

            return ServeCommand(options, out, err, signals).run()
        except KeyboardInterrupt:  # before anything was begun
            return EXIT_ERROR if command in ("doctor", "cache") or options.exit_after or options.src else 0
