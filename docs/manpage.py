"""Writes the man page of `httpserve` to stdout, from the texts that `httpserve --help` prints.

python docs/manpage.py > docs/httpserve.1
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterable, Iterator

from httpserve import __version__
from httpserve.cli.arguments import DESCRIPTIONS, EXAMPLES, PARSERS, TOOLS, USAGE
from httpserve.cli.json_events import KINDS
from httpserve.faults import grammar

SOURCE_COLUMNS = 72  # mandoc wants 80 at most, and escapes take some

LIKE_A_COMMAND = "To serve a directory called put, doctor or cache, write ./put."

OUTPUT = (
    "The URL is the only line on stdout, printed once the server is ready; each of several paths has one. Everything "
    "else goes to stderr: what --command and --qr show, the log, errors, and the progress of downloads. With --quiet "
    "there is no log and no progress.",
    "On a terminal each download has a line that changes while it is under way, and one that stays when it is over; "
    "this takes rich (pip install 'httpserve[terminal]'), and what is typed is not shown meanwhile. Elsewhere "
    "--progress prints plain lines: when a download starts, every 5 seconds, and when it is over. Both tell of "
    "requests for what is not there.",
    "The first Ctrl-C gives downloads under way 5 seconds to finish. A second one cuts them at once.",
    "A byte counts when the board's TCP has acknowledged it.",
    f"The clients of --command are {', '.join(TOOLS)}. The server answers a request for NAME.sha256 with the digest of "
    "the file NAME, in the form that sha256sum -c reads.",
)

PATHS = (
    "Each of several paths is served under its own last name, wherever it lies, and nothing beside them is. A "
    "number as the last word is the port, where no such path exists and -p is not given.",
    "A PATH such as s3://bucket/prefix is a store of objects, which is served in place of a directory: any service of "
    "OpenDAL, with its options by -o. Keys are best in the environment, as AWS_ACCESS_KEY_ID, where nobody else sees "
    "them. Paths of this host beside it are served too. In the store nothing is changed, but for --upload.",
)

VARIABLES = (
    "HTTPSERVE_HOST and HTTPSERVE_PEER stand for --bind and --peer where neither is given, HTTPSERVE_PORT stands for "
    "--port. An empty one counts for nothing.",
)

WAITING = (
    "--exit-after may be given several times, and all names are waited for. A name may also be the path of a file that "
    "is served.",
    "With --exit-after, a download counts whether it comes in one response or in many ranges. Boards are counted by IP "
    "address: those behind one router or one emulator count as one. For a name that ends in a comma and digits, add "
    ",1.",
    "--timeout counts from the start of the command. It limits the wait for an address and the copy of SRC too.",
    "The command then ends with 0. Other downloads that are under way are given 5 seconds to finish.",
)

FAULTS = (
    "--fault lets answers be wrong on purpose, to see what an updater makes of it. NAME is a name on the server, the "
    "path of a file that is served, or a pattern such as *.img; without NAME= it is every request. Of several for the "
    "same name, the last one holds. The screen, the log and the events say which transfers met a fault.",
    "FAULT is one of those below. Any of them takes chance=10%, and these for which answers it is: times=N, after=N "
    "(so many are let through first), client=ADDRESS, method=METHOD, and seed=TEXT, with which the same requests meet "
    "the same faults. Faults one after the other have ; between them, as in status@500;status@500;none, and faults at "
    "once have +. A value with , ; or + in it stands in double quotes.",
    "AT is a byte such as 4096 or 64KiB, a part such as 50% or 0.5, or, as -1, from the end. RATE is bytes in a "
    "second, such as 64KiB. S is seconds, or a time such as 500ms or 2min; stall takes forever too. BYTES may "
    "be negative.",
)

STATUS = (
    ("0", "Ended by Ctrl-C, SIGTERM or the end of the terminal; with --exit-after: the boards have the file."),
    (
        "1",
        "An error, which stderr explains in one line. With --exit-after: the boards do not have the file, because of "
        "the timeout or a signal. put: a signal came before SRC was copied. doctor: something is wrong.",
    ),
    ("2", "Invalid usage."),
)

EVENTS = (
    "With --json, stdout has one JSON object a line instead of the URL. Each has the fields event and time (seconds "
    "since the epoch), and those listed here. Sizes are bytes, durations are seconds, rates are bytes in a second; "
    "ranges are pairs of first byte and the one after the last, empty where the whole file was requested. Later "
    "versions may add fields and events.",
    "A transfer is one response with the content of a file. Its events have the same id.",
)

ALSO = {
    "put": "It takes the options but --directory, those for stores, --no-listing, --dot-files and --version, and:",
    "doctor": "It takes --directory, the options for stores, --bind, --port, --peer, --advertise and "
    "--wait-for-address, and:",
    "cache": "Its arguments are:",
}

PORT_FILE = (
    "The file of --port-file has the port and a newline. An old one is removed at the start. The new "
    "one appears in one step when the server is ready, and is removed at the end unless something has replaced it. A "
    "named pipe or a device is written to and left.",
)

COMPLETION = (
    "Where argcomplete is installed (pip install 'httpserve[completion]'), this line completes options and names in "
    "bash and zsh:",
)


def escaped(text: str) -> str:
    """Return a line as roff takes it literally."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq")
    return f"\\&{text}" if text.startswith(".") else text


def filled(text: str) -> Iterator[str]:
    """Give a text in lines as short as they should be in the source of a man page."""
    return map(escaped, textwrap.wrap(text, SOURCE_COLUMNS, break_long_words=False, break_on_hyphens=False))


def paragraphs(texts: Iterable[str]) -> Iterator[str]:
    """Give each text as a paragraph."""
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield from filled(text)


def faults() -> Iterator[str]:
    """Give how each fault is written, and what it does."""
    for name, kind in grammar.KINDS.items():
        written, what = grammar.form(name).partition("; ")[0], str(kind.__doc__).partition("\n")[0]
        yield from (".TP", f"\\fB{escaped(written)}\\fR", *filled(what.replace("`", "")))


def option(action: argparse.Action) -> str:
    """Return an option as it is written: bold what is typed, italic what stands for something."""
    value = f" \\fI{escaped(str(action.metavar))}\\fR" if action.metavar else ""
    if not action.option_strings:
        return value.strip()
    return ", ".join(f"\\fB{escaped(name)}\\fR" for name in action.option_strings) + value


def options(command: str, known: set[tuple[str, str]]) -> Iterator[str]:
    """Give the arguments of a command that are not in `known`, and add them to it."""
    for action in PARSERS[command]()._actions:
        written, text = option(action), action.help or ""
        if (written, text) not in known:
            known.add((written, text))
            yield from (".TP", written, *filled(text))


def page() -> Iterator[str]:
    """Give the lines of the man page."""
    yield '.\\" Made by docs/manpage.py from the texts of httpserve --help; do not edit.'
    yield f'.TH HTTPSERVE 1 "" "httpserve {__version__}" "User Commands"'
    yield from (".SH NAME", "httpserve \\- put files where boards on a test bench can fetch them over HTTP")
    yield ".SH SYNOPSIS"
    for number, line in enumerate(USAGE[""].splitlines()):
        if number:
            yield ".br"
        yield f"\\fBhttpserve\\fR {escaped(line.strip().removeprefix('httpserve '))}"
    yield from (".SH DESCRIPTION", *paragraphs((DESCRIPTIONS[""], *PATHS, LIKE_A_COMMAND)))
    known: set[tuple[str, str]] = set()
    yield from (".SH OPTIONS", *options("", known))
    for command, also in ALSO.items():
        yield from (f'.SH "HTTPSERVE {command.upper()}"', f"\\fBhttpserve\\fR {escaped(USAGE[command][10:])}", ".PP")
        yield from (*paragraphs((DESCRIPTIONS[command], also)), *options(command, known))
    yield from (".SH OUTPUT", *paragraphs(OUTPUT))
    yield from (".SH WAITING", *paragraphs(WAITING))
    yield from (".SH FAULTS", *paragraphs(FAULTS), *faults())
    yield ".SH EXIT STATUS"
    for code, meaning in STATUS:
        yield from (".TP", f"\\fB{code}\\fR", *filled(meaning))
    yield from (".SH EVENTS", *paragraphs(EVENTS))
    for name, kind in KINDS.items():
        yield from (".TP", f"\\fB{escaped(name)}\\fR", *filled(kind.meaning), ".br", *filled(", ".join(kind.fields)))
    yield from (".SH ENVIRONMENT", *paragraphs(VARIABLES))
    yield from (".SH FILES", *paragraphs(PORT_FILE))
    yield from (".SH COMPLETION", *paragraphs(COMPLETION))
    yield from (".PP", ".nf", escaped('    eval "$(register-python-argcomplete httpserve)"'), ".fi")
    yield from (".SH EXAMPLES", ".nf")
    lines = [line for texts in EXAMPLES.values() for text in texts for line in text.splitlines()]
    yield from map(escaped, dict.fromkeys(lines))
    yield ".fi"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in page()))
