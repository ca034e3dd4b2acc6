"""The matrix of docs/faults.md, client by fault: `python -m tests.boards.matrix --write` measures all of it again.

Each cell is a server of its own, one client that fetches from it, and what its exit code says beside the bytes that it
has. Knows processes and servers. `tests/boards/clients.py` knows the clients.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from httpserve import HttpServerClient
from httpserve import faults as f
from tests import warm
from tests.boards.clients import AGAIN, BOOTING, CHECKING, ONCE, Client, Content
from tests.boards.programs import IN_ANY_LANGUAGE

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
BEGIN, END = "<!-- matrix -->", "<!-- end of the matrix -->"
MARKED = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
COLUMNS = 120
PATIENCE_SECONDS = 60.0  # longer than each client's own limits together
AT_ONCE = 24  # most of the time they wait

Cell = tuple[str, str]  # the client's name, and the faults
Cells = dict[Cell, str]

RECOVERS, FAILS, HANGS, NOT_MET = "recovers", "fails", "hangs", "–"
OLD, BAD, NOTHING, LEFT = "**old version**", "**bad bytes**", "**no bytes**", " †"


class Case(NamedTuple):
    """A fault, or several, for some answers.

    Attributes:
        faults: The faults, as the page has them.
        is_once: Whether there is a difference between the first answer alone and all of them.
        which: Which file: the one that meets the faults, or `entry`, which changes with each version, or all.
        make: Makes them, where they depend on what is fetched.
        times: How many answers meet them; None: all.
    """

    faults: str
    is_once: bool = False
    which: str = "met"
    make: Callable[[Content], Sequence[f.Fault]] = lambda _: ()
    times: int | None = None


def _all(*faults: f.Fault, is_once: bool = True, which: str = "met") -> Case:
    return Case(", ".join(map(repr, faults)), is_once, which, lambda _: faults)


PORTAL = f.Status(200, body="<html>Please log in")
CASES = [
    _all(f.Slow(100_000), is_once=False),
    _all(f.Stall(0, None)),
    _all(f.Stall(0.25, None)),
    _all(f.Cut(0.25)),
    _all(f.Cut(0.25, "reset")),
    _all(f.Corrupt(0.25)),
    _all(f.Truncate(0.25)),
    _all(f.WrongLength(1000)),
    _all(f.WrongLength(-1000)),
    _all(f.NoLength(), is_once=False),
    _all(f.NoLength(), f.Cut(0.25)),
    _all(f.NoLength(chunked=True), is_once=False),
    _all(f.NoLength(chunked=True), f.Cut(0.25)),
    _all(f.IgnoreRange()),
    _all(f.WrongRange(-1000)),
    Case("Stale(old)", False, "entry", lambda content: [f.Stale(content.old)]),
    _all(f.Status(404)),
    _all(f.Status(500)),
    _all(f.Status(503, retry_after=1)),
    _all(PORTAL),
    Case("Redirect('/copy')", False, "met", lambda _: [f.Redirect("/copy")]),
    Case("Redirect(itself)", False, "met", lambda content: [f.Redirect(f"/{content.met}")]),
    _all(f.Headers(set={"Content-Encoding": "gzip"}), is_once=False),
    _all(f.Refuse(), which="all"),
]
LATER = [  # which take more than one try to tell
    _all(f.Sequence([f.Status(500), f.Status(500), None]), is_once=False),
    _all(f.Sequence([f.Cut(0.25), f.IgnoreRange()]), is_once=False),
    _all(f.Sequence([f.Cut(0.25), f.WrongRange(-1000)]), is_once=False),
    Case("Stale(old), Cut(0.25), times=1", False, "entry", lambda content: [f.Stale(content.old), f.Cut(0.25)], 1),
]
# What chance decides: casync tries again if the reset comes while it still connects.
EITHER = {("casync", "Refuse()"): (RECOVERS, FAILS)}
GROUPS = {
    "once": (ONCE, CASES),
    "again": (AGAIN, [*CASES, *LATER]),
    "checking": (CHECKING, [*CASES, *LATER]),
    "booting": (BOOTING, [case._replace(is_once=False) for case in CASES]),
}


TEXT = """
Measured by `.ci/do faults --write`, which writes this section. In each cell one client fetches one file, which meets
the fault of the row. Its exit code, and the bytes that it leaves, make the verdict:

| verdict | exit code | what lies there |
|---|---|---|
| recovers | 0 | the right bytes |
| fails | another one | nothing, or the right bytes |
| fails † | another one | other bytes, under the name of the file |
| **bad bytes** | 0 | other bytes |
| **no bytes** | 0 | nothing |
| **old version** | 0 | the whole of the version before |
| hangs | killed after {patience:g} s | |
| – | 0 | the right bytes: no request of this client meets the fault |

Where a cell has two verdicts, the first one is for `times=1`, and the second one for a fault that stays. The faults are
for GET alone: a HEAD is answered without them. `old` stands for the bytes of the version before.

{versions}

### With one try

{once}

```text
{once_lines}
```

`requests` is `requests.get(url)` with `raise_for_status()`. `urlretrieve` is the line of
`client.command(name, "python")` without its digest, `curl, sha256sum` that of `client.command(name, "curl")` with it.

No client can see a `Corrupt`, a `Truncate` or a cut without a length: what arrives is a good answer. A digest from
elsewhere turns each of them into a failure, and so it does with an old version, a wrong length and the page of a
captive portal. The lines of `client.command` for `curl`, `wget`, `busybox`, `python`, `u-boot` and `ipxe` compare it;
with `sha256=False` they do not. The wrong file is still there after it (†): remove it before the next try.

### With more tries

{again}

```text
{again_lines}
```

`requests, Retry` is a session with `Retry(total=3, backoff_factor=0.1, status_forcelist=[429, 500, 502, 503])` and
`timeout=2`.

- A client that resumes may join the beginning of one version to the end of another: `Stale(old), Cut(0.25)`. None of
  these asks with `If-Range`. This curl is safe because `--retry` begins again, in spite of `-C -`.
- busybox does not compare `Content-Range` with what it asked for: `WrongRange`. GNU wget and aria2c do.
- urllib3's `Retry` covers a request up to the head of its answer. What breaks later is not tried again.
- GNU wget takes a cut between two chunks for the end of the file. The others fail.
- curl follows no redirect without `-L`, and calls it a success.

### That check what they fetch

{checking}

```text
{checking_lines}
```

The faults are for the file itself; with casync for one of its chunks, with OSTree for the object of the file. `Stale`
is for the index of casync, and for the branch of OSTree. SWUpdate and RAUC check a signature. RAUC is Debian's, which
downloads the whole bundle; its streaming needs NBD in the kernel, and was not run.

- A digest or a signature tells other bytes, but not an older version. Compare versions (SWUpdate: `--no-downgrading`).
- casync, RAUC and zckdl have no second try once they are connected, and no limit of time. SWUpdate tries again after a
  broken connection, and OSTree after a 500.
- zckdl asks for ever where the file is shorter than its own header says: `Truncate`.

### A boot loader

{booting}

The line of `client.command(name, "u-boot", sha256=False)`, typed at Debian 13's U-Boot 2025.01 for `qemu_arm64`. QEMU's
user network is between; the bytes are those of the machine's memory. `HTTPSERVE_TEST_UBOOT` says where U-Boot is.

- It takes each orderly end of the connection for the end of the file, and compares no length: `Cut`. A length that is
  wrong does no harm, for the same reason.
- It follows no redirect.
"""


Group = tuple[Sequence[Client], Sequence[Case]]


@dataclass
class Bench:
    """What is fetched, made once for each client."""

    folder: Path

    def content(self, client: Client) -> Content:
        """Make what a client fetches."""
        where = self.folder / re.sub(r"\W", "_", client.name)
        where.mkdir()
        return client.make(where)

    def measure(self, client: Client, content: Content, case: Case, times: int | None, patience: float) -> str:
        """Let a client fetch, and say how that ended."""
        for _ in range(client.tries):
            found = self._measured_once(client, content, case, times, patience)
            if FAILS not in found and found != HANGS:
                break
        return found

    def _measured_once(self, client: Client, content: Content, case: Case, times: int | None, patience: float) -> str:
        with (
            HttpServerClient(host="127.0.0.1", advertise=client.advertise) as server,
            tempfile.TemporaryDirectory(dir=self.folder) as board,
        ):
            for name, data in {**content.files, "copy": content.files[content.met]}.items():
                server.storage.write_bytes(name, data)
            for name, data in content.has.items():
                Path(board, name).write_bytes(data)
            which = {"met": content.met, "entry": content.entry or content.met, "all": None}[case.which]
            method = None if which is None else "GET"  # a HEAD is answered as ever
            fault = server.fault(which, *case.make(content), method=method, times=times, seed=0)
            typed = client.command and server.command(content.asked, client.command, sha256="sha256" in client.name)
            words = client.words(server.get_url(content.asked), server.get_url().rstrip("/"), typed)
            code = ended(words, Path(board), patience)
            got = Path(board, client.got)
            return verdict(code, got.read_bytes() if got.is_file() else None, content, bool(fault.hits))


def ended(command: list[str], board: Path, patience: float) -> int | None:
    """Run a client, whose words nobody reads, and return its exit code; None if it had to be killed."""
    nothing = subprocess.DEVNULL
    process = warm.Popen(
        command, cwd=board, env=IN_ANY_LANGUAGE, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
    )
    try:
        return process.wait(patience)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)  # the shell's children too
        except ProcessLookupError:
            pass
        process.wait()


def verdict(code: int | None, got: bytes | None, content: Content, is_met: bool) -> str:
    """Return what a cell says."""
    if code is None:
        return HANGS
    if not is_met:
        return NOT_MET if code == 0 and got == content.right else f"{NOT_MET} {FAILS}"
    if code:
        return FAILS if got in (None, b"", content.right) else FAILS + LEFT
    if not got:
        return NOTHING
    return RECOVERS if got == content.right else OLD if got == content.before else BAD


def measured(groups: Iterable[Group], patience: float = PATIENCE_SECONDS) -> Cells:
    """Return each cell: how it ended with the first answer wrong, and, if it is another verdict, with all of them."""
    with (
        tempfile.TemporaryDirectory(prefix="faults-") as folder,
        ThreadPoolExecutor(AT_ONCE) as many,
        contextlib.ExitStack() as others,
    ):
        bench, running = Bench(Path(folder)), dict[Cell, list[Future[str]]]()
        for clients, cases in groups:
            for client in clients:
                content = bench.content(client)
                pool = others.enter_context(ThreadPoolExecutor(client.at_once)) if client.at_once else many
                for case in cases:
                    running[client.name, case.faults] = [
                        pool.submit(bench.measure, client, content, case, times, patience)
                        for times in ([1, None] if case.is_once else [case.times])
                    ]
        return {key: cell(key, [one.result() for one in found]) for key, found in running.items()}


def cell(key: Cell, found: list[str]) -> str:
    """Return what a cell says for one verdict, or for that with the first answer wrong and that with all."""
    if found[0] in EITHER.get(key, ()):
        found[0] = " or ".join(EITHER[key])
    return " / ".join(dict.fromkeys(found))


def table(group: Group, cells: Cells) -> str:
    """Return cells as a table of Markdown."""
    clients, cases = group
    lines = ["| fault | " + " | ".join(client.name for client in clients) + " |", "|---" * (len(clients) + 1) + "|"]
    for case in cases:
        found = [cells[client.name, case.faults] for client in clients]
        lines.append(f"| `{case.faults}` | " + " | ".join(found) + " |")
    return "\n".join(lines)


def committed() -> Cells:
    """Return the cells that the page has."""
    cells, names = Cells(), list[str]()
    for line in PAGE.read_text("utf-8").partition(BEGIN)[2].splitlines():
        first, *others = [cell.strip() for cell in line.strip("|").split("|")]
        if first == "fault":
            names = others
        elif line.startswith("| `"):
            cells |= {(name, first.strip("`")): cell for name, cell in zip(names, others, strict=True)}
    return cells


def lines(clients: Iterable[Client]) -> str:
    """Return what was typed for each client, those of `command` and of Python left out."""
    return "\n".join(one.line.format(url="URL", top="TOP") for one in clients if isinstance(one.line, str) and one.line)


def versions(clients: Iterable[Client]) -> str:
    """Return what was measured, and where."""
    system = platform.freedesktop_os_release()["PRETTY_NAME"]
    text = f"On {system}: {', '.join(dict.fromkeys(' '.join(one.version).strip() for one in clients))}."
    return textwrap.fill(text, COLUMNS)


def section(cells: Cells) -> str:
    """Return what was measured, of all clients and faults, as a section of the page."""
    tables = {name: table(group, cells) for name, group in GROUPS.items()}
    typed = {f"{name}_lines": lines(clients) for name, (clients, _) in GROUPS.items()}
    clients = [client for clients, _ in GROUPS.values() for client in clients if client not in BOOTING]
    text = TEXT.format(versions=versions(clients), patience=PATIENCE_SECONDS, **tables, **typed)
    return f"{BEGIN}\n{text}{END}"


def chosen(words: Sequence[str], faults: Sequence[str]) -> list[Group]:
    """Return the clients and faults whose names hold one of these words. Raises SystemExit where one is missing."""
    groups = list[Group]()
    for clients, cases in GROUPS.values():
        some = [one for one in clients if not words or any(word in one.name for word in words)]
        groups.append((some, [one for one in cases if not faults or any(word in one.faults for word in faults)]))
    if lacking := sorted({client.missing for clients, _ in groups[:-1] for client in clients} - {""}):
        raise SystemExit(f"not installed: {', '.join(lacking)}; .ci/run has the names of the packages")
    if lacking := [client.missing for client in groups[-1][0] if client.missing]:
        print(f"The boot loader is not measured, as there is no {lacking[0]}; the page keeps what it says of it.")
        del groups[-1]
    return groups


def main() -> int:
    """Measure, and compare with the page, or write it."""
    parser = argparse.ArgumentParser(prog=".ci/do faults", description="measures clients against faults, all or some")
    parser.add_argument("--clients", nargs="+", default=[], help="only those whose names hold one of these words")
    parser.add_argument("--faults", nargs="+", default=[], help="only those that hold one of these words")
    parser.add_argument("--write", action="store_true", help="measure all, and write that into docs/faults.md")
    options = parser.parse_args()
    if options.write and (options.clients or options.faults):
        parser.error("--write measures all clients and faults")
    groups = chosen(options.clients, options.faults)
    cells = measured(groups)
    for group in groups:
        if all(group):
            print(table(group, cells), end="\n\n")
    if options.write:
        page = PAGE.read_text("utf-8")
        PAGE.write_text(MARKED.sub(lambda _: section(committed() | cells), page), "utf-8")
        return 0
    before = committed()
    others = {key: cell for key, cell in cells.items() if before.get(key) != cell}
    for key, cell in others.items():
        print(f"{key[0]}, {key[1]}: {cell}, where docs/faults.md has {before.get(key, 'nothing')}")
    return 1 if others else 0


if __name__ == "__main__":
    sys.exit(main())
