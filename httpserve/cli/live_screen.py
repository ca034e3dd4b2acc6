"""The command line's screen on a terminal: a live line for each transfer under way, below the lines that stay.

Knows terminals, and rich, which draws and comes with the extra `terminal`. Does not know where events come from.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.color import ColorSystem
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.style import Style
from rich.text import Text

from httpserve.base.text import counted, printable
from httpserve.cli.keyboard import Keyboard
from httpserve.cli.screen import (
    Lines,
    Sentence,
    amount,
    amounts,
    duration,
    is_stalled,
    on_purpose,
    percent,
    time_of_day,
)
from httpserve.cli.stream import COLUMNS, ROWS, Stream

if TYPE_CHECKING:
    from httpserve.cli.json_events import Event

WORN_ROWS = 2  # that the prompt and what the user types take
WORN_COLUMNS = 1  # a line that fills all makes some terminals go on to the next one
# Any terminal but a "dumb" one knows these; CUT and FOLD say what it does with a line that is too long.
UP, CUT, FOLD = "\x1b[{}A", "\x1b[?7l", "\x1b[?7h"
# Clears all from the line of the cursor on, and stays there. In two steps: tmux keeps a screen that is cleared at once.
CLEAR = "\r\x1b[K\x1b7\x1b[B\x1b[J\x1b8"

# The colours of the terminal's own theme, which are readable on light and dark.
GREEN, RED, YELLOW, DIM, BOLD = map(Style.parse, ("green", "red", "yellow", "dim", "bold"))
OF_WORDS = {
    "completed": GREEN,
    **dict.fromkeys(("not there", "stalled", "unknown"), YELLOW),
    **dict.fromkeys(("closed", "reset", "lost", "cut", "refused"), RED),
}

LEAST_NAME, LEAST_BAR, MOST_BAR = 12, 10, 40  # more than the label of a sum has
BAR = "bar"
FIGURES = {"client": 0, "percent": 5, "amount": 0, "rate": 10, "left": 9}  # the least widths, so that nothing jumps


class Layout(NamedTuple):
    """What stands behind the name, the blanks between two of these, and the least width of the name."""

    shown: Sequence[str]
    blanks: int = 1
    least_name: int = LEAST_NAME


LAYOUTS = [  # the first that fits is taken
    Layout(("client", BAR, "percent", "amount", "rate", "left"), 2, 20),
    Layout(("client", "percent", "amount", "rate", "left"), 2, 16),
    Layout(("client", "percent", "amount", "rate"), 2),
    Layout(("client", "percent", "rate"), 2),
    Layout(("client", "percent", "rate")),
    Layout(("client", "percent")),
    Layout(("percent",), least_name=0),
]


class Row(NamedTuple):
    """How much of what has gone where, as a live line shows it."""

    name: str
    client: str
    got: int
    total: int
    rate: float
    is_stalled: bool = False

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Row:
        """Return the row of a transfer that has begun, or goes on."""
        name = f"{printable(fields['name'])}{on_purpose(fields)}"
        got, rate = fields.get("acknowledged", 0), fields.get("rate", 0)
        return cls(name, fields["client"], got, fields["total"], rate, is_stalled(fields))

    @classmethod
    def of_all(cls, rows: Sequence[Row]) -> Row:
        """Return the row of several together."""
        boards = counted(len({row.client for row in rows}), "board")
        got, total = sum(row.got for row in rows), sum(row.total for row in rows)
        return cls(f"{len(rows)} in all", boards, got, total, sum(row.rate for row in rows))

    def figures(self) -> dict[str, str]:
        """Return the texts of FIGURES."""
        return {
            "client": self.client,
            "percent": percent(self.got, self.total),
            "amount": amounts(self.got, self.total),
            "rate": f"{amount(self.rate)}/s" if self.rate else "stalled" if self.is_stalled else "",
            "left": f"{duration((self.total - self.got) / self.rate)} left" if self.rate else "",
        }


class Screen(Lines):
    """A terminal: lines for what is over, and below them a live one for each transfer under way."""

    def __init__(self, stream: Stream, *, tells_ends: bool = True) -> None:
        super().__init__(stream, tells_ends=tells_ends)
        self._pen = Pen(stream.encoding)
        self._rows: dict[int, Row] = {}  # by transfer
        self._busy = ""
        self._widths = FIGURES  # the widest so far
        self._is_current = True  # whether the live lines on the terminal are the latest
        self._live = ""  # what was drawn last, for a terminal of that size
        self._size = (0, 0)
        self._keyboard = Keyboard(stream.number, self._on_stop)

    def tell(self, event: Event) -> None:
        """Remember the live line of a transfer, or what stays of it when it is over; `refresh` writes them."""
        with self._lock:
            if event.kind in ("transfer-started", "transfer-progress"):
                self._with_ranges(event)
                self._rows[event.fields["id"]] = Row.of(event.fields)
                self._is_current = False
                return
            if event.kind == "transfer-ended":
                self._rows.pop(event.fields["id"], None)
                self._is_current = False
        super().tell(event)

    def busy(self, text: str) -> None:
        """Show one live line, or none for an empty text."""
        with self._lock:
            self._busy = text
            self._is_current = False
            self._draw()

    begin = busy

    def close(self) -> None:
        """Remove the live lines."""
        with self._lock:
            self._rows.clear()
            self._busy = ""
            self._is_current = False
        super().close()
        self.leave()

    def leave(self) -> None:
        """Show what is typed again. Harmless when repeated."""
        self._keyboard.close()

    def end_typed(self) -> None:
        """Do nothing: the next drawing goes over what was typed."""

    def _on_stop(self) -> None:
        self._size = (0, 0)  # so that the lines are drawn when it goes on
        self._stream.write_at_once(CLEAR)

    def _stays(self, time: float, sentence: Sentence) -> None:
        columns = self._stream.size()[0] - WORN_COLUMNS
        margin = f"{time_of_day(time)}  "
        room = columns - cell_len(margin + "".join(sentence)) + cell_len(sentence.name)
        name = self._pen.shortened(sentence.name, room if room >= LEAST_NAME else room + columns - 2 * len(margin))
        parts = [
            Segment(f"{sentence.before}{name}{sentence.between}"),
            Segment(sentence.word, OF_WORDS.get(sentence.word)),
            Segment(sentence.after),
        ]
        if room < LEAST_NAME:
            parts = self._pen.folded(parts, columns, margin)
        with self._lock:
            self._over.append(self._pen.drawn([Segment(margin, DIM), *parts]))

    def _draw(self) -> None:
        """Write what stays, and below it the live lines. The cursor is at the start of the first of these then.

        A terminal that folds its lines anew after a change of size keeps the cursor where it is in the text. So what
        the lines above it have become does not matter, nor that its new size may become known later (tmux).
        """
        size = self._stream.size()
        if size != self._size or not self._is_current:
            lines = list(self._live_lines(size[0] - WORN_COLUMNS, max(1, size[1] - WORN_ROWS)))
            text = "".join(f"{self._pen.drawn(line)}\n" for line in lines)
            self._live = f"{CUT}{text}{FOLD}{UP.format(len(lines))}" if lines else ""
        elif not self._over:
            self._stream.flush()  # what a signal has left in the buffer
            return
        if self._live:
            self._keyboard.silence()
        self._stream.put("".join([CLEAR, *(f"{line}\n" for line in self._over), self._live]))
        # Only now: a signal may have ended the drawing. Before the flush: one that ends that leaves all in the buffer.
        self._size, self._over, self._is_current = size, [], True
        self._stream.flush()
        if not self._live:
            self._keyboard.release()

    def _live_lines(self, columns: int, most: int) -> Iterator[list[Segment]]:
        """Give at most so many lines, none longer than that."""
        if self._busy:
            yield [Segment(self._pen.shortened(self._busy, columns))]
        rows = list(self._rows.values())
        if not rows:
            self._widths = FIGURES
            return
        total = [Row.of_all(rows)] if len(rows) > 1 else []
        left_out = 0 if len(rows) + len(total) <= most else len(rows) - max(0, most - 2)
        shown = rows[: len(rows) - left_out]
        table = Table(self._pen, [*shown, *total], self._widths, columns)
        self._widths = table.widths
        yield from map(table.line, shown)
        if left_out and most > 1:
            yield [Segment(f"{self._pen.dots} and {left_out} more", DIM)]
        for row in total:
            yield table.line(row, BOLD)


class Table:
    """Live lines with one below the other what belongs together.

    Args:
        pen: What draws them.
        rows: All of them.
        widths: The least widths of their figures.
        columns: How wide they may be.
    """

    def __init__(self, pen: Pen, rows: Sequence[Row], widths: Mapping[str, int], columns: int) -> None:
        self._pen = pen
        figures = [row.figures() for row in rows]
        self.widths = {key: max(width, *(cell_len(one[key]) for one in figures)) for key, width in widths.items()}
        longest = max(cell_len(row.name) for row in rows)
        for layout in LAYOUTS:
            room = columns - sum(self.widths.get(key, LEAST_BAR) + layout.blanks for key in layout.shown)
            if room >= min(longest, layout.least_name):
                break
        self._layout = layout
        self._bar = min(MOST_BAR, LEAST_BAR + max(0, room - longest))
        self._name = max(0, min(longest, room))

    def line(self, row: Row, style: Style | None = None) -> list[Segment]:
        """Return the line of one of the rows."""
        figures = row.figures()
        parts = [Segment(set_cell_size(self._pen.shortened(row.name, self._name), self._name), style)]
        for key in self._layout.shown:
            parts.append(Segment(" " * self._layout.blanks))
            if key == BAR:
                parts += self._pen.bar(row.got, row.total, self._bar)
                continue
            text, width = figures[key], self.widths[key]
            text = text.ljust(width) if key == "client" else text.rjust(width)
            parts.append(Segment(text, OF_WORDS.get(figures[key], style)))
        while not parts[-1].text.strip():  # a terminal that folds lines counts blanks too
            parts.pop()
        return parts


class Paper(io.StringIO):
    """What rich takes for its file, to know the encoding; nothing is written to it."""

    encoding = ""


class Pen:
    """Draws with rich, in the characters of an encoding and the colours that the environment wants.

    It has no state that a signal could leave half changed.
    """

    def __init__(self, encoding: str) -> None:
        paper = Paper()
        paper.encoding = encoding
        self._console = Console(file=paper, width=COLUMNS, height=ROWS, force_terminal=True, legacy_windows=False)
        self._colours = None if self._console.no_color else ColorSystem.STANDARD
        try:
            "\u2026".encode(encoding)
            self.dots = "\u2026"
        except UnicodeEncodeError:
            self.dots = "..."

    def shortened(self, text: str, columns: int) -> str:
        """Return a text that fits into so many columns; what is too long loses its middle."""
        if cell_len(text) <= columns:
            return text
        room = columns - len(self.dots)
        if room < 2:
            return set_cell_size(text, max(0, columns))
        end = set_cell_size(text[::-1], room - room // 2)[::-1]
        return f"{set_cell_size(text, room // 2)}{self.dots}{end}"

    def folded(self, parts: Iterable[Segment], columns: int, margin: str) -> list[Segment]:
        """Return a text in lines of so many columns, folded between words. A margin stands before all but the first."""
        text = Text.assemble(*((part.text, part.style or "") for part in parts))
        lines = text.wrap(self._console, max(1, columns - len(margin)))
        return list(Text(f"\n{' ' * len(margin)}").join(lines).render(self._console))

    def bar(self, got: int, total: int, columns: int) -> list[Segment]:
        """Return a bar, that of nothing being full."""
        if not total:
            got = total = 1
        bar = ProgressBar(total, got, columns, style=DIM, complete_style=GREEN, finished_style=GREEN)
        parts = list(self._console.render(bar, self._console.options.update(width=columns)))
        return [*parts, Segment(" " * (columns - Segment.get_line_length(parts)))]  # without colours it ends at `got`

    def drawn(self, parts: Iterable[Segment]) -> str:
        """Return what shows these on the terminal."""
        return "".join(
            part.style.render(part.text, color_system=self._colours) if part.style else part.text for part in parts
        )
