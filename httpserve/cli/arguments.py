"""The command line of `httpserve`, described once: for parsing, `--help`, the man page, completion and messages.

Knows arguments and their texts. Does nothing with them.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shlex
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn
from urllib.parse import urlencode

from httpserve import HttpServeError, __version__
from httpserve.base.text import Hint, Message, bytes_of, printable, worded
from httpserve.cli.paths import COMMANDS, is_store, what_to_serve

if TYPE_CHECKING:
    from httpserve.faults import Said

EXIT_ERROR = 1
LAST_PORT = 65535
HELP_COLUMNS = 80
HELP_INDENT = 26
LONGEST_SECONDS = threading.TIMEOUT_MAX  # that any wait of Python can take
# Of --command: clients whose command needs only the name of the file.
TOOLS = ("u-boot", "u-boot-lwip", "ipxe", "grub", "wget", "busybox", "curl", "rauc", "swupdate", "python")
# What is read where the command line says nothing: the argument that a variable stands for, as messages call it.
VARIABLES = {"HTTPSERVE_HOST": "host", "HTTPSERVE_PEER": "peer", "HTTPSERVE_PORT": "port"}
DEFAULT_CACHE = "~/.cache/httpserve"
LEAST_LIKE = 0.75  # how much a name is like one that it may mean, for difflib
# Options of other servers, and what ours are called.
OTHER_NAMES = dict.fromkeys(("--host", "--listen", "--address", "--interface"), "--bind") | {"--dir": "--directory"}

USAGE = {
    "put": "httpserve put SRC DST [OPTION]...",
    "doctor": "httpserve doctor [OPTION]... [PATH]...",
    "cache": "httpserve cache [DIR] [--prune SIZE]",
}
USAGE[""] = "\n       ".join(("httpserve [OPTION]... [PATH]... [PORT]", *USAGE.values()))

ENVIRONMENT = "HTTPSERVE_HOST, HTTPSERVE_PEER and HTTPSERVE_PORT stand for -b, --peer and -p."
DESCRIPTIONS = {
    "": "Serve files over HTTP. Prints the URL when ready; Ctrl-C ends it.",
    "put": "Serve SRC under the name DST, from a private directory that is deleted on exit. Prints its URL when ready.",
    "doctor": "Look for reasons why nothing arrives at a board, and say what to do. Changes nothing, and sends nothing "
    "beyond this host. Exit code 0: nothing is wrong; 1: something is.",
    "cache": "Show what the servers of this host keep of stores in DIR, their cache_dir, and make room there.",
}

EXAMPLES = {
    "": (
        "httpserve board.img --peer 192.168.7.2 --command u-boot",
        "httpserve build/ --exit-after zImage --exit-after board.img,2 --timeout 600",
        "httpserve s3://bucket/images -o region=eu-central-1 --cache-bytes 200G",
    ),
    "put": (
        "httpserve put build/zImage boot/zImage --exit-after boot/zImage,3",
        "httpserve put https://ci.example/board.img board.img --timeout 600 \\\n      --exit-after-download",
    ),
    "doctor": ("httpserve doctor --peer 192.168.7.2", "httpserve doctor --json"),
    "cache": ("httpserve cache /var/cache/httpserve", "httpserve cache /var/cache/httpserve --prune 5GiB"),
}


class ExitAfter(NamedTuple):
    """What boards must have, and how many boards, before the command ends."""

    name: str
    boards: int


class Options(argparse.Namespace):
    """What a command line says."""

    paths: list[str]
    store: str = ""  # the URL of a store that was given as PATH
    store_options: list[str]  # of -o, each as a part of a query
    cache_dir: str | None = None
    cache_bytes: int | None = None
    fresh_for: float | None = None
    directory: str | None
    src: str | None  # None but for `put`
    dst: str
    sha256: str | None
    decompress: bool
    tree: bool = False
    exit_after_download: bool
    addresses: list[str]  # of -b
    bind: str | None
    more_hosts: Sequence[str]
    given_port: int | None
    port: int
    is_port_bare: bool = False  # given as PORT, without -p
    environment: dict[str, str]  # the variables that were read, as in VARIABLES
    peer: str | None
    strict_peer: bool
    advertise: str | None
    wait_for_address: float
    exit_after: list[ExitAfter]
    listing: bool = True
    dot_files: bool = False
    timeout: float | None
    faults: list[Said]
    upload: str | None = None  # empty: anywhere
    max_upload: int | None = None
    prune: int | None  # None: nothing is removed
    port_file: str | None
    command: list[str]
    qr: bool
    progress: bool | None
    json: bool
    verbose: int
    quiet: bool


def parse(words: Sequence[str]) -> tuple[str, Options]:
    """Return the command, which is empty for plain serving, and its options.

    Raises:
        SystemExit: with 2, for invalid usage; with 0, after `--help` and `--version`.
    """
    command = words[0] if words and words[0] in COMMANDS else ""
    parser = PARSERS[command]()
    options, rest = parser.parse_known_args(words[1:] if command else words, Options())
    if rest and (command in ("put", "cache") or any(word.startswith("-") for word in rest)):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:  # paths behind an option
        options.paths = [*options.paths, *rest]
    if command == "cache":
        return command, options
    _read_where(parser, options)
    if command != "doctor":
        _check_exit(parser, options)
    return command, options


def _read_where(parser: argparse.ArgumentParser, options: Options) -> None:
    """Read what may be said in several ways: the port, the address, and the directory that paths begin in."""
    options.bind = next(iter(options.addresses), None)
    options.more_hosts = options.addresses[1:]
    if options.src is None:
        try:
            _read_paths(options)
        except ValueError as error:
            parser.error(str(error))
    wanted = [] if options.bind is not None or options.peer is not None else ["HTTPSERVE_HOST", "HTTPSERVE_PEER"]
    wanted += [] if options.given_port is not None else ["HTTPSERVE_PORT"]
    options.environment = {name: value for name in wanted if (value := os.environ.get(name))}
    options.bind = options.environment.get("HTTPSERVE_HOST", options.bind)
    options.peer = options.environment.get("HTTPSERVE_PEER", options.peer)
    try:
        options.port = options.given_port or port_number(options.environment.get("HTTPSERVE_PORT", "0"))
    except argparse.ArgumentTypeError as error:
        parser.error(f"HTTPSERVE_PORT: {error}")


def _read_paths(options: Options) -> None:
    """Take a number for the port, as http.server does, where no such path exists. Put paths into the directory.

    Take a URL for a store. Raises ValueError where that is not how stores are served.
    """
    place = options.directory or ""
    stores = [path for path in options.paths if is_store(path)]
    words = [path for path in options.paths if path not in stores]
    paths = [os.path.join(place, path) for path in words]
    if options.given_port is None and paths and is_port(words[-1]) and not os.path.exists(paths[-1]):
        options.given_port = int(words[-1])
        options.is_port_bare = True
        paths.pop()
    if len(stores) > 1:
        raise ValueError("one store is served by one command; give one URL")
    options.store = "".join(stores)
    if options.store.startswith(("fs:", "file:")):
        raise ValueError(f"{options.store} is on this computer: give its path")
    options.paths = paths if paths or stores else [place or "."]
    terms = {"-o": options.store_options, "--cache-dir": options.cache_dir, "--cache-bytes": options.cache_bytes}
    for name, value in {**terms, "--fresh-for": options.fresh_for}.items():
        if not stores and value not in (None, []):
            raise ValueError(f"{name} needs the URL of a store as PATH, such as s3://bucket/prefix")


def _check_tree(parser: argparse.ArgumentParser, options: Options) -> None:
    for given, word in (
        (options.sha256 is not None, "--sha256"),
        (options.decompress, "--decompress"),
        (options.exit_after_download, "--exit-after-download"),
        (options.src == "-", "-"),
    ):
        if given:
            way = "; for a file in it there is --exit-after NAME" if word == "--exit-after-download" else ""
            parser.error(f"{word} is for one file, and --tree for a directory{way}")


def _check_exit(parser: argparse.ArgumentParser, options: Options) -> None:
    if options.tree:
        _check_tree(parser, options)
    if options.exit_after_download:
        if options.exit_after:
            parser.error("--exit-after-download and --exit-after exclude each other")
        options.exit_after = [ExitAfter(options.dst, 1)]
    if options.timeout is not None and not options.exit_after:
        parser.error("--timeout needs --exit-after: it says how long to wait for that")
    if options.max_upload is not None and options.upload is None:
        parser.error("--max-upload needs --upload: it says how much one upload may bring")
    is_directory = options.tree if options.src is not None else all(map(os.path.isdir, options.paths))
    is_file_known = options.exit_after or not is_directory
    if options.command and not is_file_known:
        parser.error("--command needs to know the file: give one as PATH, or by --exit-after NAME")


class _Compact(argparse.RawDescriptionHelpFormatter):
    """Writes `-b, --bind ADDRESS` on every Python, and keeps within a terminal's usual width."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=HELP_INDENT, width=HELP_COLUMNS - 1)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return invocation(action) if action.option_strings else str(action.metavar)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def invocation(action: argparse.Action) -> str:
    """Return how an option is written, such as `-b, --bind ADDRESS`."""
    value = f" {action.metavar}" if action.metavar else ""
    return ", ".join(action.option_strings) + value


def serve_parser() -> argparse.ArgumentParser:
    """Describe `httpserve PATH`."""
    parser = _parser("")
    _add_paths(parser)
    _add_store(parser)
    _add_where(parser)
    _add_serving(parser)
    parser.add_argument("--no-listing", action="store_false", dest="listing", help="do not list what is in directories")
    parser.add_argument("--dot-files", action="store_true", help="serve names with a leading dot too")
    what = "let boards send files into SUBDIR (default: anywhere)"
    parser.add_argument("--upload", nargs="?", const="", metavar="[SUBDIR]", help=what)
    what = "the most that one file may have (default: 64M)"
    parser.add_argument("--max-upload", type=byte_count, metavar="SIZE", help=what)
    parser.add_argument("--version", action="version", version=f"httpserve {__version__}", help="print the version")
    parser.set_defaults(src=None, dst="", sha256=None, decompress=False, exit_after_download=False)
    return parser


def put_parser() -> argparse.ArgumentParser:
    """Describe `httpserve put SRC DST`."""
    parser = _parser("put")
    parser.add_argument("src", metavar="SRC", help="a file, an http(s) URL, or - for standard input")
    parser.add_argument("dst", metavar="DST", help="its name on the server, such as boot/zImage")
    parser.add_argument("--tree", action="store_true", help="SRC is a directory, or the URL of one: put all in it")
    parser.add_argument("--exit-after-download", action="store_true", help="end once a board has it")
    parser.add_argument("--sha256", metavar="HEX", help="the digest that SRC must have")
    what = "put what is in SRC, which gzip, xz, bzip2 or zstd has compressed"
    parser.add_argument("--decompress", action="store_true", help=what)
    _add_where(parser)
    _add_serving(parser)
    return parser


def doctor_parser() -> argparse.ArgumentParser:
    """Describe `httpserve doctor`."""
    parser = _parser("doctor")
    _add_paths(parser)
    _add_store(parser)
    _add_where(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of lines")
    parser.set_defaults(src=None)
    return parser


def cache_parser() -> argparse.ArgumentParser:
    """Describe `httpserve cache DIR`."""
    parser = _parser("cache")
    what = f"the cache_dir of servers (default: {DEFAULT_CACHE})"
    parser.add_argument("directory", nargs="?", default=DEFAULT_CACHE, metavar="DIR", help=what)
    what = "remove what is not in use, down to so much; 0 for all"
    parser.add_argument("--prune", type=size_or_0, metavar="SIZE", help=what)
    parser.set_defaults(src=None)
    return parser


PARSERS = {"": serve_parser, "put": put_parser, "doctor": doctor_parser, "cache": cache_parser}


class _Parser(argparse.ArgumentParser):
    """Makes its messages printable: they quote arguments, which may be the names of files. Names what may be meant."""

    def error(self, message: str) -> NoReturn:
        unknown, _, words = message.partition("unrecognized arguments: ")
        near = "" if unknown else self._right_form(words.split())
        super().error(printable(message + near))

    def _right_form(self, words: Sequence[str]) -> str:
        if "--exit-after-download" in words:
            return "; without put it is --exit-after NAME"
        from difflib import get_close_matches  # only where something is wrong

        there = [known for action in self._actions for known in action.option_strings if known.startswith("--")]
        for word in words:
            name = word.partition("=")[0]
            name = OTHER_NAMES.get(name, name)
            begun = [one for one in there if name.startswith("--") and one.startswith(f"{name}-")]
            near = begun or get_close_matches(name, there, 1, LEAST_LIKE) if name.startswith("--") else []
            if near:
                return f"; there is {near[0]}"
        return ""


def _parser(command: str) -> argparse.ArgumentParser:
    return _Parser(
        prog=f"httpserve {command}".rstrip(),
        usage=USAGE[command],
        description=DESCRIPTIONS[command] if command == "cache" else f"{DESCRIPTIONS[command]} {ENVIRONMENT}",
        epilog="\n  ".join(("examples:", *EXAMPLES[command])),
        formatter_class=_Compact,
        allow_abbrev=False,  # a script that abbreviates breaks with the next option
    )


def _add_paths(parser: argparse.ArgumentParser) -> None:
    what = "what to serve (default: .); a bare number: the port"
    parser.add_argument("paths", nargs="*", default=[], metavar="PATH", help=what)
    parser.add_argument("-d", "--directory", metavar="DIR", help="where each PATH begins (default: .)")


def _add_store(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "an option of the store whose URL PATH is; repeatable"
    add(
        "-o", "--option", type=store_option, action="append", default=[], dest="store_options", metavar="K=V", help=what
    )
    what = "keep there what is read from it (default: in private)"
    add("--cache-dir", metavar="DIR", help=what)
    add("--cache-bytes", type=size_or_0, metavar="SIZE", help="the most to keep of it; 0: nothing (default: 8G)")
    what = "take an object for unchanged for S s (default: 0)"
    add("--fresh-for", type=seconds_or_0, metavar="S", help=what)


def _add_where(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "listen on an address, or that of eth0; repeatable"
    add("-b", "--bind", action="append", default=[], dest="addresses", metavar="ADDRESS", help=what)
    what = "listen there (default: a free port)"
    add("-p", "--port", type=port_number, dest="given_port", metavar="PORT", help=what)
    add("--peer", metavar="ADDRESS", help="the board: listen on the side that faces it")
    add("--strict-peer", action="store_true", help="fail where this host is not on the network of --peer")
    add("--advertise", metavar="URL", help="what URLs say instead: URL, HOST or HOST:PORT")
    what = "wait up to S seconds for the address to listen on"
    add("--wait-for-address", type=seconds, default=0.0, metavar="S", help=what)


def _add_serving(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    what = "end once a board, or N boards, have NAME; repeatable"
    awaited = add("--exit-after", type=exit_after, action="append", default=[], metavar="NAME[,N]", help=what)
    awaited.completer = _names_served  # type: ignore[attr-defined]  # where argcomplete looks
    add("--timeout", type=seconds, metavar="S", help="give up after S seconds in total (needs --exit-after)")
    what = "be wrong on purpose, as a.img=cut@0.5; repeatable"
    wrong = add("--fault", type=fault, action="append", default=[], dest="faults", metavar="[NAME=]FAULT", help=what)
    wrong.completer = _names_and_faults  # type: ignore[attr-defined]  # where argcomplete looks
    add("--port-file", metavar="F", help="write the port to F when ready, remove F at the end")
    what = "say what to type on the board: u-boot, wget, ..."
    command = add("--command", type=tool, action="append", default=[], metavar="CLIENT", help=what)
    command.completer = lambda **_: TOOLS  # type: ignore[attr-defined]  # where argcomplete looks
    add("--qr", action="store_true", help="show the URL as a QR code")
    what = "show downloads on stderr (default: on a terminal)"
    add("--progress", action=argparse.BooleanOptionalAction, help=what)
    add("--json", action="store_true", help="print events, one JSON object a line, not the URL")
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("-v", "--verbose", action="count", default=0, help="log requests to stderr; twice for more")
    loudness.add_argument("-q", "--quiet", action="store_true", help="no log and no progress on stderr")


def is_port(text: str) -> bool:
    """Tell whether a text is the number of a port."""
    return text.isascii() and text.isdigit() and len(text.lstrip("0")) <= 5 and int(text) <= LAST_PORT


def port_number(text: str) -> int:
    """Read a port, or say in argparse's way why it is none."""
    if is_port(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: a whole number from 0 to {LAST_PORT}")


def byte_count(text: str) -> int:
    """Read a number of bytes above 0, or one with a unit such as 64M (MiB)."""
    with contextlib.suppress(ValueError):
        if count := bytes_of(text):
            return count
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes above 0, such as 64M")


def size_or_0(text: str) -> int:
    """Read what `byte_count` reads, or 0."""
    return 0 if text == "0" else byte_count(text)


def seconds_or_0(text: str) -> float:
    """Read what `seconds` reads, or 0."""
    return 0.0 if text == "0" else seconds(text)


def store_option(text: str) -> str:
    """Read `KEY=VALUE`, as a part of a URL's query. A message has no value, which may be a secret."""
    key, is_pair, value = text.partition("=")
    if not is_pair or not re.fullmatch(r"[A-Za-z]\w*", key):
        raise argparse.ArgumentTypeError("an option of a store is written KEY=VALUE, such as region=eu-central-1")
    return urlencode({key: value})


def seconds(text: str) -> float:
    """Read a number of seconds above 0 that one can wait for."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value <= LONGEST_SECONDS:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0 and up to {LONGEST_SECONDS:.0f}")


def tool(text: str) -> str:
    """Read the name of a client that --command knows."""
    if text in TOOLS:
        return text
    from difflib import get_close_matches  # only where something is wrong

    near = get_close_matches(text.lower(), TOOLS, 1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    if text == "ostree":
        hint = "; it needs ref=, which the command() of Python takes"
    raise argparse.ArgumentTypeError(f"there is no command for {text!r}{hint}; there is one for {', '.join(TOOLS)}")


def exit_after(text: str) -> ExitAfter:
    """Read `NAME` or `NAME,N`. A name that ends in a comma and digits needs `,1` behind it."""
    counted = re.fullmatch(r"(.+),([0-9]+)", text, re.DOTALL)
    name, boards = (counted[1], int(counted[2])) if counted else (text, 1)
    if not name or boards < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a file's name, or NAME,N with N boards")
    return ExitAfter(name, boards)


def fault(text: str) -> Said:
    """Read `NAME=FAULT`, or a fault for every request."""
    from httpserve.faults import parse_named  # only where there are faults

    try:
        return parse_named(text)
    except HttpServeError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# Messages


def option(hint: Hint) -> str:
    """Return how a shell says what a message names as an argument, such as `-b 0.0.0.0` for `host='0.0.0.0'`."""
    if hint.option == "faults":
        return "a run without --fault"
    names = {"host": "-b", "more_hosts": "-b", "port": "-p", "doctor": "httpserve doctor"}
    name = names.get(hint.option, f"--{hint.option.replace('_', '-')}")
    if hint.value is None:
        return f"leave {name} out" if hint.option == "wait_for_address" else f"no {name}"
    return name if hint.value is ... or hint.value is True else f"{name} {shlex.quote(printable(str(hint.value)))}"


def explained(error: HttpServeError) -> str:
    """Return the text of an error, with options in place of arguments."""
    return printable(worded(error.args[0], option)) if isinstance(error.args[0], Message) else str(error)


def explained_here(error: HttpServeError, options: Options) -> str:
    """Return the text of an error, with the variables that have said what it is about."""
    text = explained(error)
    if options.wait_for_address:
        text = text.replace(option(Hint("wait_for_address", 30)), "a longer --wait-for-address")
    about = {hint.option for hint in error.hints}
    said = [f"{name}={value}" for name, value in options.environment.items() if VARIABLES[name] in about]
    return text + (printable(f" (the environment has {', '.join(said)})") if said else "")


# Completion


def complete(words: Sequence[str]) -> None:
    """Answer a shell that asks for completions, and exit; otherwise return at once."""
    if "_ARGCOMPLETE" not in os.environ:
        return
    try:
        import argcomplete
    except ImportError:
        return
    typed = os.environ.get("COMP_LINE", "").split()
    before = int(os.environ["_ARGCOMPLETE"])  # how many words come before the first argument
    command = typed[before] if len(typed) > before and typed[before] in COMMANDS else ""
    is_being_typed = os.environ.get("COMP_LINE", "").endswith(command)
    if command and not is_being_typed:
        os.environ["_ARGCOMPLETE"] = str(before + 1)
        argcomplete.autocomplete(PARSERS[command](), always_complete_options=False)  # only after a -
    else:
        parser = serve_parser()
        path = next(action for action in parser._actions if action.dest == "paths")
        path.completer = _paths_and_commands  # type: ignore[attr-defined]  # argcomplete looks for it
        argcomplete.autocomplete(parser, always_complete_options=False)


def _paths_and_commands(prefix: str, **_: Any) -> Iterable[str]:
    import argcomplete.completers

    commands = [command for command in COMMANDS if command.startswith(prefix)]
    return [*commands, *argcomplete.completers.FilesCompleter()(prefix)]


def _names_and_faults(prefix: str, parsed_args: Any, **_: Any) -> Iterable[str]:  # Any: what argcomplete passes
    """Give names of what is served, and behind a name the faults."""
    from httpserve.faults.grammar import KINDS

    name, is_named, _kind = prefix.partition("=")
    return [f"{name}={kind}" for kind in KINDS] if is_named else _names_served(prefix, parsed_args)


def _names_served(prefix: str, parsed_args: Any, **_: Any) -> Iterable[str]:  # Any: what argcomplete passes
    """Give names of what is served, not of the working directory."""
    if getattr(parsed_args, "dst", None):
        return [parsed_args.dst]
    try:
        _read_paths(parsed_args)
        return list(what_to_serve(parsed_args.paths).beginning_with(prefix))
    except (HttpServeError, ValueError):
        return []
