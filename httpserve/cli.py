"""The command `httpserve`: serves a directory or one file until it is told to stop.

Knows arguments, signals, exit codes, and which stream a line belongs on. Knows
of the package only what it exports.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence

from httpserve import HttpServeError, HttpServerClient, NotFound, NotPermitted, StorageError, __version__

EXIT_ERROR = 1
LAST_PORT = 65535


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as *arguments* say (`sys.argv[1:]` when None), until Ctrl-C or SIGTERM.

    Returns:
        The exit code: 0 after Ctrl-C or SIGTERM, 1 after an error of ours, told in one line on stderr.

    Raises:
        SystemExit: with 2, the arguments make no sense; with 0, after `--help` and `--version`.
    """
    options = parser().parse_args(arguments)
    log_to_stderr(options.verbose)
    try:
        with sigterm_as_ctrl_c():
            serve(options.path, options.bind, options.port)
    except KeyboardInterrupt:
        pass  # how serving ends
    except HttpServeError as error:
        print(f"httpserve: {error}", file=sys.stderr)
        return EXIT_ERROR
    return 0


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    described = argparse.ArgumentParser(
        prog="httpserve",
        description="Serve a directory, or one file, over HTTP. Prints its URL when ready; Ctrl-C ends it.",
    )
    add = described.add_argument
    add(
        "path", nargs="?", default=".", metavar="PATH", help="a directory or a file (default: this directory)"
    )
    add("-b", "--bind", metavar="ADDRESS", help="listen there (default: the address that other hosts reach)")
    add(
        "-p",
        "--port",
        type=port_number,
        default=0,
        metavar="PORT",
        help="listen there (default: a free port)",
    )
    add("-v", "--verbose", action="count", default=0, help="log requests to stderr; twice for more")
    add("--version", action="version", version=f"httpserve {__version__}")
    return described


def port_number(text: str) -> int:
    """Read a port, or say in argparse's way why it is none."""
    if text.isascii() and text.isdigit() and int(text) <= LAST_PORT:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: a whole number from 0 to {LAST_PORT}")


def log_to_stderr(verbosity: int) -> None:
    """Send the log to stderr: warnings; requests and each step with -v; everything with -vv."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbosity, 2)]
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(name)s: %(message)s")


@contextlib.contextmanager
def sigterm_as_ctrl_c() -> Iterator[None]:
    """Let SIGTERM end the block in the same way as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def checked_file(path: str) -> tuple[str, str]:
    """Return the directory and the name of a file that can be served, wherever symlinks lead."""
    real = os.path.realpath(path)
    try:
        with open(real, "rb"):
            pass
    except OSError as error:
        raise NotPermitted(f"{path!r} cannot be read: {(error.strerror or '').lower()}", path) from error
    if not os.path.isfile(real):
        raise NotPermitted(f"{path!r} is neither a directory nor a regular file", path)
    directory, name = os.path.split(real)
    return directory, name


def say_url(url: str) -> None:
    """Print the URL, which is all that goes to stdout."""
    try:
        print(url, flush=True)
    except OSError as error:
        sys.stdout = None  # or the interpreter tries once more at its end
        raise StorageError(f"the URL {url} could not be written to stdout: {error.strerror}") from error


def serve(path: str, host: str | None, port: int) -> None:
    """Serve *path*, print its URL once a request would be answered, and block until a signal."""
    if not os.path.exists(path):  # a client would make the directory
        raise NotFound(f"there is no file or directory {path!r} to serve", path)
    directory, name = (path, "") if os.path.isdir(path) else checked_file(path)
    with HttpServerClient(directory, host, port, read_only=True, only=name or None) as client:
        say_url(client.get_url(name))
        threading.Event().wait()
