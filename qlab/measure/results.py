"""What a comparison found: a Row a model, as a table and as a figure."""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab.graph.timing import MARGIN
from qlab.measure.answers import Answers, Cosine, Kept
from qlab.measure.outputs import RANDOM_WEIGHTS
from qlab.numerics.pooled import Part
from qlab.text import Table, Tabular, decibels, figures, ms, plural, ratio

_COLOURS = {"faster": palette.INTEGER, "slower": palette.ERROR, "cannot tell": palette.FP32}
_TONES = {"faster": "good", "slower": "bad", "cannot tell": "quiet"}
TEXT = {"model", "answers", "cosine", "verdict", "note"}  # columns of the table that hold no numbers
_TICKS = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7, 10, 20)


@dataclass(frozen=True)
class Row:
    """One model's line. Times in milliseconds a feed, sizes in 10^6 bytes, the speed-up's interval at 95 %.

    verdict is "faster", "slower" or "cannot tell"; note says what limits the line, such as
    "random weights: latency only".
    The reference against itself: speed-up 1, SQNR infinite, "cannot tell".

    kept       {output: Kept}: what is read from each output, answers or a direction, beside its SQNR
    agreement  what the metric given to `compare` says, 1 for full agreement; NaN without one
    """

    name: str
    size_mb: float
    median_ms: float
    speedup: float
    speedup_low: float
    speedup_high: float
    sqnr_db: float
    verdict: str
    is_reference: bool = False
    note: str = ""
    kept: dict[str, Kept] = field(default_factory=dict)
    agreement: float = math.nan

    @property
    def answers(self) -> Answers | None:
        """Those of the output of which the largest share changed; None where no output gives any."""
        found = [one.answers for one in self.kept.values() if one.answers is not None]
        return min(found, key=lambda one: (not one.tell, one.same), default=None)

    @property
    def cosine(self) -> Cosine | None:
        """That of the embedding whose worst vector is the furthest off; None where no output is one."""
        return min((one.cosine for one in self.kept.values() if one.cosine), key=lambda one: one.worst, default=None)

    @property
    def interval(self):
        """The speed-up's 95 % interval as text."""
        return f"{ratio(self.speedup_low)} to {ratio(self.speedup_high)}"


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """What `compare` found. `rows` has one Row a model, the reference first; printing it gives the table.

    sqnr_by_output  {model: {float output: dB}}
    times_ms        {model: float64 [rounds]}, round i of one model paired with round i of another
    worst_part      {model: the Part of its float outputs that kept least, or None}
    """

    rows: list[Row]
    sqnr_by_output: dict[str, dict[str, float]]
    times_ms: dict[str, np.ndarray]
    threads: int
    feeds: int
    worst_part: dict[str, Part | None] = field(default_factory=dict)

    def _table(self):
        table, notes = self.table, [row.note for row in self.rows]
        judged = ((place, row) for place, row in enumerate(self.rows, 1) if not row.is_reference)
        tones = {(place, table[0].index("verdict")): _TONES[row.verdict] for place, row in judged}
        if any(notes):
            table = [[*cells, note] for cells, note in zip(table, ["note", *notes], strict=True)]
        return Table(table, self.text_columns, tones, below=[self.method])

    def joined(self, other):
        """This Comparison with the rows of another that it does not have, which was made later with the same reference.

        Speed-ups over the reference go together; milliseconds of another hour would not, and follow from them.
        """
        known, reference = {row.name for row in self.rows}, self.rows[0]
        note = f"timed later, beside {' and '.join(row.name for row in other.rows if row.name in known)}"
        rows = [
            replace(row, median_ms=reference.median_ms / row.speedup, note="; ".join(filter(None, [row.note, note])))
            for row in other.rows
            if row.name not in known
        ]
        parts = ("sqnr_by_output", "times_ms", "worst_part")
        merged = {name: getattr(other, name) | getattr(self, name) for name in parts}
        return replace(self, rows=[*self.rows, *rows], **merged)

    @property
    def table(self):
        """The rows as text, below their heads, without the notes; a column of answers, cosines or agreement if any."""
        extra = {
            "answers": [row.answers and str(row.answers) for row in self.rows],
            "cosine": [row.cosine and str(row.cosine) for row in self.rows],
            "agreement": [None if math.isnan(row.agreement) else f"{row.agreement:.4f}" for row in self.rows],
        }
        extra = {head: cells for head, cells in extra.items() if any(cells)}
        head = ["model", "size MB", "ms", "speed-up", "95 %", "SQNR dB", *extra, "verdict"]
        return [head, *(_cells(row, [cells[at] for cells in extra.values()]) for at, row in enumerate(self.rows))]

    @property
    def text_columns(self):
        """Places of the columns, the notes' included, that hold no numbers: they stand to the left."""
        return tuple(place for place, head in enumerate([*self.table[0], "note"]) if head in TEXT)

    @property
    def method(self):
        """How it was measured, in a line."""
        rounds = len(next(iter(self.times_ms.values())))
        counts = {"interleaved round": rounds, "feed": self.feeds, "thread": self.threads}
        setting = ", ".join(plural(count, what) for what, count in counts.items())
        margin = f"a verdict needs more than {100 * (MARGIN - 1):.0f} %"
        extra = "; answers: classes, labels, yes or no" * any(row.answers for row in self.rows)
        return f"medians of {setting}; SQNR of the worst float output{extra}; {margin}"

    @palette.style()
    def plot(self):
        """A figure of the speed-ups with their intervals, on a log axis: twice as fast and half as fast look alike."""
        reference, *others = self.rows
        figure, axes = palette.figure(height=1.5 + 0.45 * len(self.rows))
        for position, row in enumerate(self.rows):
            colour = palette.FP32 if row.is_reference else _COLOURS[row.verdict]
            reach = [[row.speedup - row.speedup_low], [row.speedup_high - row.speedup]]
            axes.errorbar(row.speedup, position, xerr=np.maximum(reach, 0), fmt="o", color=colour, capsize=4)
            label = f"{ms(row.median_ms)}" if row.is_reference else f"{ratio(row.speedup)}x, {ms(row.median_ms)}"
            place = {"xytext": (8, 0), "textcoords": "offset points", "va": "center"}
            axes.annotate(label, (row.speedup_high, position), color=colour, **place)
        axes.axvline(1.0, color=palette.FP32, linewidth=1)
        axes.set_yticks(range(len(self.rows)), [row.name for row in self.rows])
        axes.set_ylim(len(self.rows) - 0.5, -0.5)
        axes.set_xscale("log", base=2)
        axes.set_xlim(*_limits(self.rows))
        axes.xaxis.set_major_locator(FixedLocator(_TICKS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axes.xaxis.set_minor_locator(NullLocator())
        label = f"speed-up over {reference.name} (times, log scale; bars: 95 % interval)"
        axes.set_xlabel(f"{label}\n{RANDOM_WEIGHTS}" if any(RANDOM_WEIGHTS in row.note for row in self.rows) else label)
        axes.set_title(_finding(reference, others))
        return figure


def _cells(row, extra):
    cells = [row.name, figures(row.size_mb) if row.size_mb < 10 else f"{row.size_mb:,.1f}", figures(row.median_ms)]
    if row.is_reference:
        return [*cells, "1.00", "", "", *("" for _ in extra), "reference"]
    return [*cells, ratio(row.speedup), row.interval, decibels(row.sqnr_db), *(one or "" for one in extra), row.verdict]


def _finding(reference, others):
    """The title: what the measurement says, in one line."""
    told = [row for row in others if row.verdict != "cannot tell"]
    if not told:
        return f"Whether anything is faster than {reference.name}: cannot tell"
    row = max(told, key=lambda row: abs(math.log(row.speedup)))
    return f"{row.name} is {row.verdict} than {reference.name}: {ratio(row.speedup)}x ({row.interval})"


def _limits(rows):
    """Room for a label to the right of the last interval, and never less than a factor of two around 1."""
    low = min(0.7, *(row.speedup_low / 1.2 for row in rows))
    high = max(1.4, *(row.speedup_high for row in rows))
    return low, high * (high / low) ** 0.3
