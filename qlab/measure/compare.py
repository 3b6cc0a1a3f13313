"""From paired times to a verdict that a second measurement would repeat.

Time open models against each other.

The result of a comparison: its table and its figure.

Time models against each other, fairly, and say how much of each other's answers they keep."""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab import text as markup
from qlab.files import ModelPath
from qlab.graph.model import load, opened
from qlab.measure.answers import Answers, Cosine, Kept, agreement, check_agree, heads_of, kept, random_draws
from qlab.measure.opening import open_model
from qlab.measure.outputs import (
    DIFFERS,
    RANDOM_WEIGHTS,
    Part,
    check_outputs,
    counted_by,
    counted_places,
    has_random_weights,
    is_hidden,
    output_quality,
)
from qlab.measure.streaming import stream_of
from qlab.runtime import MINIMUM_ROUNDS, Feeds, as_feeds, check_feed, interleave, repeats_of, run
from qlab.text import aligned, decibels, figures, ms, plural, ratio

MARGIN = 1.02


def speedup_interval(reference, other, *, resamples=2000, seed=0):
    """Speed-up of `other` over `reference` with its 95 % interval: (speedup, low, high).

    Both are float [rounds], paired by round. The speed-up is the ratio of the two medians; the interval resamples whole
    rounds, so that a slow round counts for both or for neither (percentile bootstrap, Efron & Tibshirani 1993, ch. 13).
    """
    rounds = np.random.default_rng(seed).integers(0, len(reference), (resamples, len(reference)))
    ratios = np.median(reference[rounds], axis=1) / np.median(other[rounds], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(reference) / np.median(other)), float(low), float(high)


def judge(low, high, *, rounds):
    """The verdict: "faster" or "slower" if the whole interval says so by more than MARGIN, otherwise "cannot tell".

    One and the same model, opened twice, differs from itself by a percent or so, in every round alike: where its memory
    came to lie decides (Mytkowicz et al. 2009). No number of rounds averages that away, hence the margin. With fewer
    rounds than MINIMUM_ROUNDS there is no 95 % interval to speak of.
    """
    if rounds < MINIMUM_ROUNDS:
        return "cannot tell"
    if low > MARGIN:
        return "faster"
    return "slower" if high < 1 / MARGIN else "cannot tell"


FAST_ROUNDS, MOST_ROUNDS = 7, 100_000


SAMPLE_S, FAST_SAMPLE_S = 10e-3, 1e-3  # a model faster than this runs several times a round; under QLAB_FAST=1


def time_models(sessions, feeds, rounds):
    """Seconds a feed, for every model and round: {name: float64 [rounds]}."""
    actions = {name: one_pass(session, feeds) for name, session in sessions.items()}
    repeats = {name: repeats_here(action) for name, action in actions.items()}
    description = "comparing " + ", ".join(sessions)
    timed = interleave(actions, rounds, repeats=repeats, description=description, clock=time.perf_counter)
    return {name: seconds / len(feeds) for name, seconds in timed.items()}


def one_pass(session, feeds):
    """A callable that runs the session on each feed."""

    def run_all():
        for feed in feeds:
            session.run(None, feed)

    return run_all


def repeats_here(action, fast_s=FAST_SAMPLE_S):
    """How often an action is to run in a round, so that what interrupts the machine is seen to be an interruption.

    fast_s  seconds of a sample under QLAB_FAST=1
    """
    return repeats_of(action, fast_s if _is_fast() else SAMPLE_S, clock=time.perf_counter)


def rounds_here(rounds):
    """`rounds`, but at most FAST_ROUNDS under QLAB_FAST=1. Raises ValueError unless it is such a number."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds is {rounds!r}; expected a whole number from 1 up, such as 30, up to {MOST_ROUNDS:,}")
    return min(rounds, FAST_ROUNDS) if _is_fast() else rounds


def _is_fast():
    return os.environ.get("QLAB_FAST") == "1"


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
class Comparison:
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

    def __repr__(self):
        return "\n".join([*aligned(self._noted(), self.text_columns), self.method])

    def _repr_html_(self) -> str:
        judged = ((place, row) for place, row in enumerate(self.rows, 1) if not row.is_reference)
        tones = {(place, self.table[0].index("verdict")): _TONES[row.verdict] for place, row in judged}
        return markup.table(self._noted(), left=self.text_columns, tones=tones, below=[self.method])

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

    def _noted(self):
        """The table, with the notes if there are any."""
        if not any(row.note for row in self.rows):
            return self.table
        notes = ["note", *(row.note for row in self.rows)]
        return [[*cells, note] for cells, note in zip(self.table, notes, strict=True)]

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
        axes.set_xlabel(_axis_label(self.rows))
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


def _axis_label(rows):
    label = f"speed-up over {rows[0].name} (times, log scale; bars: 95 % interval)"
    return f"{label}\n{RANDOM_WEIGHTS}" if any(RANDOM_WEIGHTS in row.note for row in rows) else label


def _limits(rows):
    """Room for a label to the right of the last interval, and never less than a factor of two around 1."""
    low = min(0.7, *(row.speedup_low / 1.2 for row in rows))
    high = max(1.4, *(row.speedup_high for row in rows))
    return low, high * (high / low) ** 0.3


def compare(
    models: Mapping[str, ModelPath],
    feed: Feeds,
    *,
    agree: Callable[[dict, dict], float] | None = None,
    threads: int = 1,
    rounds: int = 30,
) -> Comparison:
    """Latency, size and closeness of several ONNX models that do the same; the first is the reference.

    >>> measure.compare({"fp32": "model.onnx", "int8": "model.int8.onnx"}, {"x": x})  # doctest: +SKIP
    model  size MB    ms  speed-up          95 %  SQNR dB  verdict
    fp32     143.5  97.2      1.00                         reference
    int8      41.0  35.1      2.77  2.74 to 2.80     57.3  faster
    medians of 30 interleaved rounds, 1 feed, 1 thread; SQNR of the worst float output; a verdict needs more than 2 %

    models   {name: path}, at least two, with the same inputs and outputs
    feed     {input name: array}, or several of them; a model's time is the mean over the feeds
    agree    a metric of your own: agree(reference, outputs), two {output name: array} of one feed, gives a number, 1
             for full agreement, larger is better; a column shows the mean over the feeds
    threads  threads inside an operator; rounds, how often each model is timed (QLAB_FAST=1: 7 at most)

    Each round runs every model, in an order drawn anew, so that what slows the machine slows all of them; a model of
    less than 10 ms runs several times, and the middle half of these runs counts: what fits into the CPU's cache is then
    read from there. Times are medians over the rounds; the interval of the speed-up is a paired bootstrap over them.
    SQNR is that of the float outputs over all feeds, against the reference; the table has the worst, `.sqnr_by_output`
    has all. There is none, and a note says so, where the number of results depends on the data (NonMaxSuppression) and
    is another.
    `.worst_part` has the channel, or slice along the last axis, that kept least; where SQNR of the whole hides that it
    is lost (scores beside boxes), a note says so. A reference that draws random numbers has no SQNR, and
    a note says why.
    A model whose state is fed back (an output called as the next value of an input: state and stateN, past and present)
    is judged over a stream: the feeds in order, 32 of them or again and again, each model with its own state. SQNR is
    then that of the later steps, without the state itself, and a note has that of the first and the worst drift.

    SQNR is not the task: 48 dB can change a class, 10 dB can leave all as they were. Where an output is a Softmax, a
    LogSoftmax, a Sigmoid, logits or a label, its answers are counted as well (the largest number; above 0.5; the label
    itself), and of embeddings the cosine is taken: `Row.answers`, `Row.cosine`, `Row.kept`. What counts as what is in
    qlab.measure.answers. What all classes share changes no answer, but flatters the SQNR of logits and of
    log-probabilities: `sqnr_db` is of the numbers as they are, `Kept.judged_db` of those without the mean of each
    vector, and of embeddings at length 1. Positions that the feed marks as padding (attention_mask, lengths) count for
    nothing.
    Raises ValueError where models, feed or `agree` do not fit together, FileNotFoundError for a path that is not there.
    """
    _check_models(models)
    rounds = rounds_here(rounds)
    if agree is not None:
        check_agree(agree)
    feeds = as_feeds(feed)
    first = next(iter(models))
    sessions = {name: open_model(path, fp32=models[first], threads=threads) for name, path in models.items()}
    for name, session in sessions.items():
        for one in feeds:
            check_feed(session, one, name)
    reference = load(models[first])
    quality, notes, parts, told = _over_a_stream(sessions, stream_of(reference, feeds), reference, agree)
    if draws := random_draws(reference, models[first], feeds[0]):
        quality, parts = {name: dict.fromkeys(quality[name], math.nan) for name in models}, dict.fromkeys(models)
        notes = {name: [draws] if name == first else [] for name in models}
        told = {name: {"agreement": one["agreement"]} for name, one in told.items()}
    seconds = time_models(sessions, feeds, rounds)
    rows = [_row(name, models[name], seconds, quality[name], notes[name], told[name]) for name in models]
    times = {name: 1e3 * values for name, values in seconds.items()}
    return Comparison(rows, quality, times, threads, len(feeds), parts)


def _check_models(models):
    if not isinstance(models, Mapping) or len(models) < 2:
        raise ValueError(f"models is {models!r}; expected {{name: path}}, at least two, the reference first")


def _over_a_stream(sessions, stream, model, agree):
    try:
        return _qualities(sessions, stream, model, agree)
    except ValueError:
        if not stream.state:
            raise
        return _qualities(sessions, stream.alone(), model, agree)


def _qualities(sessions, stream, model, agree):
    """SQNR, remarks, worst Part and more of a Row, of every model against the first, whose ModelProto is `model`.

    Also a warm-up: each model sees each feed once.
    """
    quality, notes, parts, told, reference_name = {}, {}, {}, {}, next(iter(sessions))
    counted, heads = counted_by(model), heads_of(model)
    answers_of = {name: partial(_answers, session, name=name) for name, session in sessions.items()}
    reference = stream.answers(answers_of[reference_name])
    # Whether it is padding is tried by runs without a state, which those of a stream are not.
    first = stream.judged(reference)
    places = (
        counted_places(answers_of[reference_name], stream.feeds, reference) if not stream.state else [{}] * len(first)
    )
    for name, session in sessions.items():
        answers = reference if name == reference_name else stream.answers(answers_of[name])
        check_outputs(reference, answers, reference_name, name, counted)
        judged = first, first if answers is reference else stream.judged(answers)
        quality[name], notes[name], parts[name] = output_quality(*judged, counted, places)
        found = _kept(*judged, heads, places)
        counting = {f"{output} {DIFFERS}" for output, one in found.items() if one.answers is not None}
        notes[name] = [note for note in notes[name] if note not in counting]
        notes[name] += stream.remark(reference, answers, min(quality[name].values(), default=math.nan), counted)
        told[name] = {"kept": found, "agreement": math.nan if agree is None else agreement(agree, *judged, name)}
        if has_random_weights(session):
            notes[name].insert(0, RANDOM_WEIGHTS)
        elif is_hidden(parts[name], quality[name]) and not _is_answered(found.get(parts[name].tensor)):
            notes[name].append(f"of {parts[name]}")
    return quality, notes, parts, told


def _kept(reference, answers, heads, places):
    """{output: Kept} of the outputs that can be compared number by number."""
    found = {}
    for output, head in heads.items():
        if output not in reference[0]:  # a state that is fed back
            continue
        pairs = [(expected[output], got[output]) for expected, got in zip(reference, answers, strict=True)]
        if all(isinstance(one, np.ndarray) and one.shape == other.shape for one, other in pairs):
            found[output] = kept(output, head, pairs, [place.get(output) for place in places])
    return {output: one for output, one in found.items() if one is not None}


def _is_answered(one):
    """Whether answers tell what an output keeps: a class that is never likely may be lost without a loss."""
    return one is not None and one.answers is not None and one.answers.tell


def _answers(session, feed, name):
    try:
        values = run(session, feed)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ValueError(f"model {name!r} does not run on this feed: {error}") from error
    return dict(zip((output.name for output in session.get_outputs()), values, strict=True))


def _row(name, path, seconds, quality, notes, told):
    reference = next(iter(seconds))
    speedup, low, high = speedup_interval(seconds[reference], seconds[name])
    return Row(
        name=name,
        size_mb=opened(path).size_mb,
        median_ms=1e3 * float(np.median(seconds[name])),
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        sqnr_db=min(quality.values(), default=float("nan"), key=lambda db: -math.inf if math.isnan(db) else db),
        verdict=judge(low, high, rounds=len(seconds[name])),
        is_reference=name == reference,
        note="; ".join(notes),
        **told,
    )
