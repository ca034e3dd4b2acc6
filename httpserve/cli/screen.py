"""What the command line says to people, one line for each thing that happens; `live_screen` has more for a terminal.

Knows what an event looks like to a person. Does not know where events come from.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from httpserve import HttpServeError
from httpserve.base.text import UNITS, Hint, counted, moment, printable
from httpserve.cli.arguments import Options, explained_here, option
from httpserve.cli.stream import Stream

if TYPE_CHECKING:
    from httpserve.cli.json_events import Event

STALLED_SECONDS = 0.5  # after the request, a rate of nothing is not just the beginning
LINES_SECONDS = 5.0  # between two plain lines about the progress of one transfer
OF_ENDS = {"request", "transfer-started", "transfer-ended"}
OF_FILES = (200, 206)  # statuses
MOST_OF_FAULT = 200  # characters
Ranges = Sequence[Sequence[int]]
REPEAT_SECONDS, MOST_REPEAT_SECONDS = 5.0, 300.0  # in which repeated requests for what is missing are only counted


class Sentence(NamedTuple):
    """A line about a file. On a terminal its name may be shortened, and the word that matters has a colour."""

    before: str
    name: str
    between: str
    word: str
    after: str = ""


class Lines:
    """Plain lines for people. Safe from any thread.

    Args:
        stream: Where they go.
        tells_ends: Whether to say when a download begins and ends; the log may have that already.
    """

    def __init__(self, stream: Stream, *, tells_ends: bool = True) -> None:
        # Guards the stream, and in Screen what is on it. A finalizer may log in the middle of a line.
        self._lock = threading.RLock()
        self._stream = stream
        self._kinds = SENTENCES.keys() - ({} if tells_ends else OF_ENDS)
        self._ranges: dict[int, Ranges] = {}  # of the transfers under way
        self._over: list[str] = []  # lines that are to stay, not written yet
        self._due: dict[int, float] = {}  # when the next line about a transfer may come
        self._repeats = Repeats()

    def say(self, text: str) -> None:
        """Write a text, of one line or several, and a newline."""
        with self._lock:
            self._over.append(text)
            self._draw()

    def tell(self, event: Event) -> None:
        """Remember what a person wants to know of an event, if anything; `refresh` writes it."""
        now, fields = time.monotonic(), self._with_ranges(event)
        if event.kind not in self._kinds:
            return
        if event.kind == "request":
            if not (fields["fault"] and is_without_file(fields)):  # the line of a transfer says it
                return
        elif event.kind == "missing":
            if not self._repeats.is_first(fields["client"], fields["name"], now):
                return
        elif event.kind == "download":
            if not fields["ranges"]:  # it came at once, whose end says it
                return
        elif event.kind == "transfer-ended":
            self._due.pop(fields["id"], None)
        elif event.kind == "transfer-progress" and now < self._due.get(fields["id"], now):
            return
        elif "id" in fields:
            self._due[fields["id"]] = now + LINES_SECONDS
        self._stays(event.time, SENTENCES[event.kind](fields))

    def _with_ranges(self, event: Event) -> Mapping[str, Any]:
        """Return the fields of an event, with the ranges of its transfer, which only its first event has."""
        if event.kind == "transfer-started":
            self._ranges[event.fields["id"]] = event.fields["ranges"]
        known = self._ranges.pop if event.kind == "transfer-ended" else self._ranges.get
        return {"ranges": known(event.fields.get("id", -1), ()), **event.fields}

    def busy(self, text: str) -> None:
        """Show what is being done before anything is served; only on a terminal."""

    def begin(self, text: str) -> None:
        """Show what is begun and may take long."""
        self.say(text)

    def end_typed(self) -> None:
        """Go on below what was typed and is shown, `^C`; only on a terminal."""
        if self._stream.is_terminal:
            self._stream.write("\n")

    def leave(self) -> None:
        """Give the keyboard back, also after an end in the middle of something."""

    def refresh(self) -> None:
        """Write what `tell` has remembered."""
        self._count_repeats(time.monotonic())
        with self._lock:
            self._draw()

    def close(self) -> None:
        """Leave the stream to others."""
        self._count_repeats(float("inf"))
        with self._lock:
            self._draw()

    def _count_repeats(self, now: float) -> None:
        for client, name, times in self._repeats.counted(now):
            self._stays(time.time(), Sentence(f'{client} asked for "', shown(name), '" ', counted(times, "more time")))

    def _stays(self, time: float, sentence: Sentence) -> None:
        with self._lock:
            self._over.append(f"{time_of_day(time)}  {''.join(sentence)}")

    def _draw(self) -> None:
        if self._over:
            self._stream.put("".join(f"{line}\n" for line in self._over))
            self._over = []  # before the flush: a signal that ends that leaves all in the stream's buffer
        self._stream.flush()


class Repeats:
    """Counts requests for one missing name by one client: boards and browsers repeat them without end."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], tuple[float, float, int]] = {}  # until when, after how long, how many

    def is_first(self, client: str, name: str, now: float) -> bool:
        """Count a request, and tell whether it is one to tell at once."""
        until, seconds, count = self._counts.get((client, name), (now + REPEAT_SECONDS, REPEAT_SECONDS, -1))
        self._counts[client, name] = until, seconds, count + 1
        return count < 0

    def counted(self, now: float) -> Iterator[tuple[str, str, int]]:
        """Give each client and name that it has asked for again, and how many times, once in a while."""
        for key, (until, seconds, count) in list(self._counts.items()):
            if now < until:
                continue
            del self._counts[key]
            if count:
                longer = min(2 * seconds, MOST_REPEAT_SECONDS)
                self._counts[key] = now + longer, longer, 0
                yield *key, count


class PrintableFormatter(logging.Formatter):
    """Formats each record as one line, and its traceback as indented ones. Other packages' records quote servers."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line; only records of httpserve may have several."""
        level = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        whose = "" if record.name.startswith("httpserve") else f"{record.name}: "
        text = f"{time_of_day(record.created)}  {level}{whose}{record.message}"
        return "\n".join(map(printable, text.split("\n"))) if record.name.startswith("httpserve") else printable(text)

    def formatException(self, ei: Any) -> str:  # Any: what sys.exc_info returns
        """Return the lines of a traceback."""
        return "\n".join(f"  {printable(line)}" for line in super().formatException(ei).split("\n"))


class LogTo(logging.Handler):
    """Writes the log above the live lines."""

    def __init__(self, lines: Lines, options: Options) -> None:
        super().__init__()
        self._options = options
        self.setFormatter(PrintableFormatter())
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record, with options in place of arguments."""
        args = record.args
        if isinstance(args, tuple):
            record = copy.copy(record)  # other handlers get it too
            record.args = tuple(map(self._in_words_of_the_shell, args))
        self._lines.say(self.format(record))

    def _in_words_of_the_shell(self, value: object) -> object:
        if isinstance(value, Hint):
            return option(value)
        return explained_here(value, self._options) if isinstance(value, HttpServeError) else value


# What a person reads


def _progress(fields: Mapping[str, Any]) -> Sentence:
    got, total = fields["acknowledged"], fields["total"]
    parts = [amounts(got, total)]
    if fields["rate"]:
        parts += [f"{amount(fields['rate'])}/s", f"{duration((total - got) / fields['rate'])} left"]
    elif is_stalled(fields):
        parts.append("stalled")
    return _of_transfer(fields, percent(got, total), f", {', '.join(parts)}")


def _ended(fields: Mapping[str, Any]) -> Sentence:
    got, total = fields["acknowledged"], fields["total"]
    if fields["state"] == "completed":
        how = f", {amount(total)} in {fields['seconds']:.1f} s, {amount(fields['rate'])}/s"
    else:
        how = f" at {amounts(got, total)}"
    return _of_transfer(fields, fields["state"], how)


def _of_transfer(fields: Mapping[str, Any], word: str, after: str) -> Sentence:
    return Sentence(
        *(_which(fields["ranges"]), printable(fields["name"]), f" to {fields['client']}: ", word),
        f"{after}{on_purpose(fields)}",
    )


def _asked(fields: Mapping[str, Any]) -> Sentence:
    """Say how a request was answered that has met a fault and got no file."""
    if not fields["status"]:
        return Sentence(f"{fields['client']} connected: ", "", "", "refused", on_purpose(fields))
    asked = f'{fields["client"]} asked for "'
    return Sentence(asked, shown(fields["name"]), '": answer ', str(fields["status"]), on_purpose(fields))


def on_purpose(fields: Mapping[str, Any]) -> str:
    """Say which fault on purpose there was, if any."""
    return f", on purpose: {printable(fields['fault'], MOST_OF_FAULT)}" if fields.get("fault") else ""


def is_without_file(fields: Mapping[str, Any]) -> bool:
    """Tell whether the answer to a request is no transfer."""
    return fields["status"] not in OF_FILES or fields["method"] == "HEAD"


def _which(ranges: Ranges) -> str:
    """Return what stands before the name of a file that was asked for in ranges."""
    if len(ranges) > 1:
        return f"{len(ranges)} ranges of "
    return "".join(f"bytes {start}-{stop - 1} of " for start, stop in ranges)


def _whole(fields: Mapping[str, Any]) -> Sentence:
    return Sentence(f"{fields['client']} has all of ", printable(fields["name"]), "", "")


def _missing(fields: Mapping[str, Any]) -> Sentence:
    if fields["hidden"]:
        way = " (a leading dot); --dot-files serves it"
        return Sentence(f'{fields["client"]} asked for "', shown(fields["name"]), '", which is ', "hidden", way)
    near = f'; there is "{shown(fields["nearest"][0])}"' if fields["nearest"] else ""
    return Sentence(f'{fields["client"]} asked for "', shown(fields["name"]), '", which is ', "not there", near)


def _upload(fields: Mapping[str, Any]) -> Sentence:
    if fields["outcome"] == "completed":
        how = f", {amount(fields['bytes'])} in {fields['seconds']:.1f} s"
    else:
        status = f" ({fields['status']})" if fields["status"] else ""
        how = f"{status} at {amount(fields['bytes'])}"
    return Sentence("", printable(fields["name"]), f" from {fields['client']}: ", fields["outcome"], how)


SENTENCES: dict[str, Callable[[Mapping[str, Any]], Sentence]] = {
    "request": _asked,
    "transfer-started": lambda fields: _of_transfer(fields, "started", f", {amount(fields['total'])}"),
    "transfer-progress": _progress,
    "transfer-ended": _ended,
    "download": _whole,
    "upload": _upload,
    "missing": _missing,
}


def shown(name: str) -> str:
    """Return a name that was asked for, or is there; the root has none."""
    return printable(name) or "/"


def is_stalled(fields: Mapping[str, Any]) -> bool:
    """Tell whether a transfer does not move, and has not just begun."""
    return not fields.get("rate") and fields.get("seconds", 0) >= STALLED_SECONDS


def percent(got: int, total: int) -> str:
    """Say how much of a whole; 100 only when it is all."""
    return f"{100 * got // total if total else 100} %"


def amount(count: float) -> str:
    """Say how many bytes, in the unit that suits."""
    number, unit = _scaled(count, count)
    return f"{number} {unit}"


def amounts(got: float, total: float) -> str:
    """Say how many bytes of how many, in the unit that suits the latter."""
    return f"{_scaled(got, total)[0]} of {amount(total)}"


def _scaled(count: float, most: float) -> tuple[str, str]:
    """Return a number in the unit that suits another, and the unit. Rounded down: all is there only when it is."""
    for unit, bytes_of_unit in UNITS:
        if most >= bytes_of_unit:
            return f"{count * 10 // bytes_of_unit / 10:.1f}", unit
    return f"{count:.0f}", "bytes"


def duration(seconds: float) -> str:
    """Say how long, as `m:ss` or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def time_of_day(seconds: float) -> str:
    """Return the local time of a time since the epoch, as `hh:mm:ss`."""
    return moment(seconds)[-8:]
