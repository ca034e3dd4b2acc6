"""The command line's screen on a terminal: a live line for each transfer under way, below the lines that stay.

Knows terminals, and rich, which draws and comes with the extra `terminal`. Does not know where events come from.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.segment import Segment, Segments
from rich.style import Style

from httpserve.base.text import amounts, counted, printable
from httpserve.cli.screen import Lines, Sentence, amount, duration, is_stalled, percent, time_of_day
from httpserve.cli.stream import Stream

if TYPE_CHECKING:
    from httpserve.cli.events import Event

WORN_ROWS = 2  # that the prompt and what the user types take
UP, DOWN, CLEAR = "\x1b[{}A", "\x1b[B", "\x1b[K"  # ECMA-48, which any terminal but a "dumb" one knows
# A terminal that becomes narrower folds its lines anew, all but xterm and screen, which have these variables.
FOLDS_ANEW = not {"XTERM_VERSION", "STY"} & os.environ.keys()

# The colours of the terminal's own theme, which are readable on light and dark.
GREEN, RED, YELLOW, DIM, BOLD = map(Style.parse, ("green", "red", "yellow", "dim", "bold"))
OF_WORDS = {
    "completed": GREEN,
    **dict.fromkeys(("not there", "stalled", "unknown"), YELLOW),
    **dict.fromkeys(("closed", "reset", "lost", "cut"), RED),
}

LEAST_NAME, LEAST_BAR, MOST_BAR = 8, 10, 40
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
    Layout(("client", "percent", "amount", "rate")),
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
        name, got, rate = printable(fields["name"]), fields.get("acknowledged", 0), fields.get("rate", 0)
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

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self._rows: dict[int, Row] = {}  # by transfer
        self._busy = ""
        self._widths = FIGURES  # the widest so far
        self._is_current = True  # whether the live lines on the terminal are the latest
        self._live = ""  # what was drawn last, for a terminal of that size
        self._size = (0, 0)
        self._lengths: list[int] = []  # of these lines

    def tell(self, event: Event) -> None:
        """Remember the live line of a transfer, or what stays of it when it is over; `refresh` writes them."""
        with self._lock:
            if event.kind in ("transfer-started", "transfer-progress"):
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

    def close(self) -> None:
        """Remove the live lines."""
        with self._lock:
            self._rows.clear()
            self._is_current = False
        super().close()

    def _stays(self, time: float, sentence: Sentence) -> None:
        pen = Pen(self._stream)
        at = f"{time_of_day(time)}  "
        others = cell_len(at + "".join(sentence)) - cell_len(sentence.name)
        room = pen.columns - others
        name = pen.shortened(sentence.name, room if room >= LEAST_NAME else room + pen.columns)  # of two lines
        parts = [
            Segment(at, DIM),
            Segment(f"{sentence.before}{name}{sentence.between}"),
            Segment(sentence.word, OF_WORDS.get(sentence.word)),
            Segment(sentence.after),
        ]
        with self._lock:
            self._over.append(pen.drawn(parts))

    def _draw(self) -> None:
        """Write what stays, and below it the live lines. The cursor is at the start of the line after them then."""
        pen = Pen(self._stream)
        lengths = self._lengths
        if pen.size != self._size or not self._is_current:
            self._is_current = True
            lines = list(self._live_lines(pen))
            self._live = pen.drawn([part for line in lines for part in (*line, Segment.line())])
            lengths = [Segment.get_line_length(line) for line in lines]
        elif not self._over:
            return
        # What comes after the drawing is short, as a signal may end it.
        back, self._size, self._lengths = self._back(pen.size[0]), pen.size, lengths
        stay = "".join(f"{line}\n" for line in self._over)
        self._over.clear()
        self._stream.write(back + stay + self._live)

    def _back(self, columns: int) -> str:
        """Return what clears the live lines that are on the terminal, and what was typed below them.

        Line by line: what clears a whole screen at once makes tmux keep it in its history.
        """
        rows = sum(max(1, -(-length // columns)) if FOLDS_ANEW else 1 for length in self._lengths)
        up = UP.format(rows)
        return f"\r{up}{(CLEAR + DOWN) * rows}{CLEAR}{up}" if rows else ""

    def _live_lines(self, pen: Pen) -> Iterator[list[Segment]]:
        """Give the live lines, none longer than the terminal is wide."""
        if self._busy:
            yield [Segment(pen.shortened(self._busy, pen.columns))]
        rows = list(self._rows.values())
        if not rows:
            self._widths = FIGURES
            return
        total = [Row.of_all(rows)] if len(rows) > 1 else []
        room = max(1, pen.size[1] - WORN_ROWS)
        left_out = 0 if len(rows) + len(total) <= room else len(rows) - max(0, room - 2)
        shown = rows[: len(rows) - left_out]
        table = Table(pen, [*shown, *total], self._widths)
        self._widths = table.widths
        yield from map(table.line, shown)
        if left_out and room > 1:
            yield [Segment(f"{pen.dots} and {left_out} more", DIM)]
        for row in total:
            yield table.line(row, BOLD)


class Table:
    """Live lines with one below the other what belongs together.

    Args:
        pen: What draws them.
        rows: All of them.
        widths: The least widths of their figures.
    """

    def __init__(self, pen: Pen, rows: Sequence[Row], widths: Mapping[str, int]) -> None:
        self._pen = pen
        figures = [row.figures() for row in rows]
        self.widths = {key: max(width, *(cell_len(one[key]) for one in figures)) for key, width in widths.items()}
        self._name = max(cell_len(row.name) for row in rows)
        self._bar = 0
        for self._layout in LAYOUTS:
            room = self._room(self._layout)
            if room >= min(self._name, self._layout.least_name):
                break
        if BAR in self._layout.shown:
            self._bar = min(MOST_BAR, LEAST_BAR + max(0, room - self._name))
        self._name = max(0, min(self._name, room))

    def _room(self, layout: Layout) -> int:
        """Return the columns that are left for the name."""
        others = sum(self.widths.get(key, LEAST_BAR) + layout.blanks for key in layout.shown)
        return self._pen.columns - others

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
    """What rich draws on."""

    encoding = "utf-8"  # which the text is for


class Pen:
    """Draws for a terminal as it is now. Nothing of rich's lasts longer, as a signal may end a drawing anywhere."""

    def __init__(self, stream: Stream) -> None:
        self.size = stream.size()
        self.columns = self.size[0] - 1  # some terminals go on to the next line after the last one
        self._encoding = stream.encoding
        try:
            "\u2026".encode(stream.encoding)
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

    def bar(self, got: int, total: int, columns: int) -> list[Segment]:
        """Return a bar, that of nothing being full."""
        bar = ProgressBar(
            total or 1, got if total else 1, columns, style=DIM, complete_style=GREEN, finished_style=GREEN
        )
        parts = list(self._console(Paper()).render(bar))
        return [*parts, Segment(" " * (columns - Segment.get_line_length(parts)))]  # without colours it ends at `got`

    def drawn(self, parts: Iterable[Segment]) -> str:
        """Return what shows these on the terminal."""
        paper = Paper()
        self._console(paper).print(Segments(parts), soft_wrap=True, end="")
        return paper.getvalue()

    def _console(self, paper: Paper) -> Console:
        paper.encoding = self._encoding
        return Console(file=paper, width=self.size[0], force_terminal=True, legacy_windows=False)
