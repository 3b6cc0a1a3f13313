"""Notebook 05: activations that drift, observers, ranges from histograms, calibration sets good and bad.

Its pictures come first, then what it and its checks use.
"""

import pickle
import re
import tempfile
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantType, quantize_static

from qlab import PerAxis, models, palette, recipes
from qlab.calibration.clipping import least_divergence_range, least_error_range, percentile_range, squared_errors
from qlab.calibration.observers import MinMaxObserver
from qlab.course import plots
from qlab.course.expect import call, class_and_function, expect_array, expect_number
from qlab.course.lessons import exercise
from qlab.course.lessons.common import Feeds, Table, ends_of, in_haste, linear, listen, short_of_time
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, NotYet, brief, error_text, kind, learner_line
from qlab.models.speech import decode, in_noise
from qlab.numerics.affine import qparams_from_range
from qlab.palette import INK, styled
from qlab.runtime import open_session

_BINS = 160  # of a histogram, drawn
_GAP = 6  # lines left out between two groups of feeds


def flow():
    """How a range comes about: feeds, the float model, an observer a tensor, merged, a range, a scale."""
    s = Schematic(
        16, 5.2, title="Calibration: activations pass by, a few numbers stay",
        alt="Two shards of calibration feeds run through the float model. At each tensor an observer keeps a few "
        "numbers. The observers of both shards are merged into one, which gives a range, and the range gives scale and "
        "zero point of the int8 model. Test feeds enter the int8 model only.",
    )  # fmt: skip
    ends = []
    for y, shard in ((4.2, "A"), (2.6, "B")):
        feeds = s.box(1.6, y, f"calibration\nfeeds, shard {shard}", width=2.6, height=0.95)
        model = s.box(5.0, y, "float model", kind="fp32", width=2.2, height=0.95)
        observer = s.box(8.4, y, f"observer {shard}", kind="activations", width=2.4, height=0.95)
        s.arrow(feeds, model)
        s.arrow(model, observer, "x")
        ends.append(observer)
    merged = s.box(11.5, 3.4, "merged", kind="activations", width=1.8)
    for observer in ends:
        s.arrow(observer, merged)
    scale = s.box(14.4, 3.4, "range: scale,\nzero point", kind="integer", width=2.3, height=0.95)
    s.arrow(merged, scale)
    s.arrow(
        s.box(1.6, 0.8, "test feeds", width=2.6),
        int8 := s.box(14.4, 0.8, "int8 model", kind="integer", width=2.3),
        "never calibrated with",
    )
    s.arrow(scale, int8)
    return s.figure


@styled
def drift(tensors, *, title):
    """Ranges that move, a panel a tensor, a line a sentence: {tensor: {group: [n, 2], lowest and highest}}."""
    figure, panels = palette.figure(1, len(tensors), height=3.4)
    for axes, (name, groups) in zip(panels, tensors.items(), strict=True):
        start, middles = 0, []
        for seen in groups.values():
            places = start + np.arange(len(seen))
            axes.vlines(places, seen[:, 0], seen[:, 1], color=palette.ACTIVATIONS, linewidth=2.5)
            middles.append(places.mean())
            start += len(seen) + _GAP
        axes.set_xticks(middles, list(groups))
        axes.tick_params(axis="x", length=0)
        axes.set(title=name, xlabel=f"{start // len(groups) - _GAP} sentences each, in order")
        axes.grid(False, axis="x")
    panels[0].set_ylabel("lowest to highest value")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def running(highest, inside, *, marked, title):
    """Running maximum and running p99.9 against sentences, a line a layer. Each: array [layers, sentences].

    marked  (name, index) of the layer whose line is thick
    """
    figure, panels = palette.figure(1, 2, height=3.8, sharey=True)
    sentences = np.arange(1, highest.shape[1] + 1)
    for axes, lines, said in zip(panels, (highest, inside), ("largest value so far", "p99.9 so far"), strict=True):
        for place, line in enumerate(lines):
            thick = place == marked[1]
            style = {"linewidth": 2.8 if thick else 1.0, "alpha": 1 if thick else 0.7, "drawstyle": "steps-post"}
            axes.plot(sentences, line, color=palette.ACTIVATIONS, label=marked[0] if thick else None, **style)
        axes.set(xscale="log", xlabel="sentences seen (log axis)", title=said, xlim=(1, sentences[-1]))
        axes.set_xticks([1, 2, 4, 9, 18, 36, 72], ["1", "2", "4", "9", "18", "36", "72"])
        axes.minorticks_off()
    panels[0].set(ylabel="value of the activation", ylim=(0, 1.16 * highest.max()))
    panels[1].legend(loc="upper left")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def thresholds(histogram, ranges, *, title, label):
    """A histogram on a log axis, and the range that each method keeps: {method: (low, high)}."""
    figure, (axes, below) = palette.figure(2, 1, height=4.4, layout=None, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.2, right=0.97, top=0.91, bottom=0.12, hspace=0.12)
    plots.histogram(histogram, title=title, label="", kind="activations", bins=_BINS, log=True, axes=axes)
    for row, (low, high) in enumerate(ranges.values()):
        below.plot([low, high], [row, row], color=palette.INTEGER, linewidth=3, solid_capstyle="butt")
        below.plot([low, high], [row, row], "|", color=palette.INTEGER, markersize=11, markeredgewidth=2)
        axes.axvline(low, color=palette.INTEGER, linewidth=0.7, alpha=0.6)
        axes.axvline(high, color=palette.INTEGER, linewidth=0.7, alpha=0.6)
    below.set_yticks(range(len(ranges)), list(ranges), color=INK)
    below.set(ylim=(len(ranges) - 0.4, -0.6), xlabel=label)
    below.grid(False, axis="y")
    return figure


METHODS = ("minmax", "moving_average", "percentile", "mse", "entropy")


def methods():
    """How calibration.collect may choose; for tests, the first and the last."""
    return METHODS[::4] if in_haste() else METHODS


def spoken_tests(noise_db, every=3):
    """Every third test sentence, in noise: without making that of the others."""
    indices = short_of_time(range(0, len(models.utterances("test")), every), 16)
    if noise_db is None:
        return [models.utterances("test")[index] for index in indices]
    return [in_noise("test", index, noise_db) for index in indices]


def feed_forward_inputs(model):
    """{name of a layer: tensor that enters it} of the second linear layers of the conformer's twelve feed-forwards."""
    layers = [f"{block}.{part}.w_2" for block in range(6) for part in ("feed_forward_macaron", "feed_forward")]
    return {name: linear(model, f"encoder.encoders.{name}").enters for name in layers}


def hear(model, feeds):
    """The transcript of each feed by the conformer file `model`."""
    return [decode(answer) for answer in listen(model, feeds)]


def log_probs(model, feeds):
    """All log-probabilities of the feeds in one row."""
    session = open_session(model)
    return np.concatenate([session.run(["ctc_log_probs"], feed)[0].ravel() for feed in feeds])


def errors(sentences, transcripts):
    """(word errors, words) of each sentence."""
    return models.word_errors([sentence.text for sentence in sentences], transcripts)


def span(feeds):
    """(lowest, highest) feature of speech in the feeds."""
    return min(feed["speech"].min() for feed in feeds), max(feed["speech"].max() for feed in feeds)


def filled_up(feed, length):
    """A feed of the conformer filled up with zeros to `length` vectors, which it is told to take for speech."""
    speech = np.pad(feed["speech"], [(0, 0), (0, length - feed["speech"].shape[1]), (0, 0)])
    return {"speech": speech, "speech_lengths": np.array([length], np.int64)}


def way_in(path):
    """The tensors of a model file between its input and its first Conv, in order."""
    graph = onnx.load(path).graph
    producers = {name: node for node in graph.node for name in node.output}
    name, names = next(node.input[0] for node in graph.node if node.op_type == "Conv"), []
    while name in producers:
        names.append(name)
        name = producers[name].input[0]
    return names[::-1]


def scale_of(path, name):
    """The scale with which the model file quantizes the tensor `name`."""
    graph = onnx.load(path).graph
    held = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "QuantizeLinear" and node.input[0] == name:
            return float(numpy_helper.to_array(held[node.input[1]]))
    raise ValueError(f"{path} has no QuantizeLinear of {name!r}")


def cuts(histogram, percent, bits):
    """{method and the SQNR of its codes: (low, high)} for the numbers of a histogram and unsigned codes."""
    dtype = f"uint{bits}"
    found = {
        "min-max": (histogram.low, histogram.high),
        f"{percent:g} %": percentile_range(histogram, percent, dtype),
        "MSE": least_error_range(histogram, dtype),
        "entropy": least_divergence_range(histogram, dtype),
    }
    middles = (histogram.edges[1:] + histogram.edges[:-1]) / 2
    power = float(histogram.counts @ middles**2)
    told = {}
    for name, (low, high) in found.items():
        qparams = qparams_from_range([low], [high], dtype, granularity=PerAxis(0))
        error = float(squared_errors(histogram.counts, histogram.edges, qparams)[0])
        told[f"{name}: {10 * np.log10(power / error):.1f} dB"] = low, high
    return told


def clipping(histogram, told):
    """How many of the ranges that `cuts` tells leave numbers out, in words."""
    least = histogram.width / 2
    clip = [name for name, (low, high) in told.items() if high < histogram.high - least or low > histogram.low + least]
    return f"{len(clip)} of {len(told)} clip"


def points(interval):
    """An interval of a difference in WER, in points."""
    return f"WER {ends_of(interval, 100).replace(' (', ' points (')}"


def told_apart(interval):
    """Whether a paired interval tells two models apart, in words."""
    if not interval.excludes_zero:
        return "0 lies inside: not to be told apart"
    return f"0 lies outside: {'worse' if interval.low > 0 else 'better'}"


class MethodTable(Table):
    """Measures of three int8 networks, each against float32, under each method, in the page and in print."""

    MEASURES = (
        ("digits: accuracy, points", lambda row: _marked(row["digits"])),
        ("digits: SQNR, dB", lambda row: f"{row['digits dB']:.1f}"),
        ("speech, clean: WER, points", lambda row: _marked(row["clean"][0])),
        ("speech, clean: transcripts changed", lambda row: str(len(row["clean"][1]))),
        ("speech, 5 dB: WER, points", lambda row: _marked(row["5 dB"][0])),
        ("speech, 5 dB: transcripts changed", lambda row: str(len(row["5 dB"][1]))),
        ("speech, 5 dB: SQNR, dB", lambda row: f"{row['speech dB']:.1f}"),
        ("face: PSNR of the mouth, dB", lambda row: _marked(row["mouth"], unit=1)),
        ("face: SQNR, dB", lambda row: f"{row['face dB']:.1f}"),
    )

    def __init__(self, rows, people):
        below = [
            "with paired 95 % intervals, * where 0 lies outside. Worse is: accuracy and PSNR -, WER +",
            f"the mouth's interval draws {people} people; SQNR is that of the network's outputs",
        ]
        if len(rows) < len(METHODS):
            below.append(f"QLAB_FAST=1: {len(rows)} of {len(METHODS)} methods, fewer sentences and faces")
        heading = ["int8 - float32", *(method.replace("_", " ") for method in rows)]
        super().__init__(heading, [[name, *map(told, rows.values())] for name, told in self.MEASURES], *below)


def _marked(interval, unit=100):
    return ends_of(interval, unit, digits=1) + "*" * interval.excludes_zero


def first_weight(model):
    """The weight [144, 576] of the conformer's first feed-forward layer."""
    return linear(model, "encoder.encoders.0.feed_forward_macaron.w_1").weight


def call_watched(function, *arguments, name):
    """(what `call` gives, the arguments as the function left them)."""
    left = []

    def watched(*copies):
        left.extend(copies)
        return function(*copies)

    return call(watched if callable(function) else function, *arguments, name=name), left


OBSERVER = ("observe", "merge", "range")


def streams():
    """(name, batches): ordinary ones, then those on which a habit errs."""
    random = np.random.default_rng(5)
    normal = [random.normal(size=(3, 4 + i)).astype(np.float32) for i in range(4)]
    yield "four batches", normal
    yield "the largest batch first", [10 * normal[0], *normal[1:]]
    yield "one batch", normal[:1]
    yield "batches of positive numbers", [np.abs(x) + 2 for x in normal]
    yield "batches of negative numbers", [-np.abs(x) - 2 for x in normal]
    yield "batches of other shapes", [normal[0].ravel(), normal[1][None], normal[2][0, :1]]
    yield "large numbers", [x * np.float32(1e30) for x in normal]
    yield "zeros", [np.zeros((2, 2), np.float32)] * 2
    yield "numbers that fall", [np.float32([9, 5, 2]), np.float32([1])]
    yield "a lowest number of 0", [np.float32([0, 5]), np.float32([1, 7])]
    yield "large positive numbers", [(np.abs(x) + 1) * np.float32(1e30) for x in normal]


def _one_or_the_other(numbers):
    """Ends by `if v < low: ... elif v > high: ...`."""
    low, high = np.inf, -np.inf
    for v in numbers:
        if v < low:
            low = v
        elif v > high:
            high = v
    return low, high


def _rounded(low, high):
    with np.errstate(over="ignore"):
        return float(np.float16(low)), float(np.float16(high))


def _nought_is_unseen(batches):
    """Ends where `if not low` stands for nothing seen."""
    low = high = 0
    for x in batches:
        low, high = min(low, x.min()) if low else x.min(), max(high, x.max()) if high else x.max()
    return low, high


def range_mistakes(batches):
    """{what was done wrong: the range that it gives}."""
    everything = np.concatenate([x.ravel() for x in batches])
    low, high = everything.min(), everything.max()
    lows, highs = np.array([x.min() for x in batches]), np.array([x.max() for x in batches])
    reach = max(abs(low), abs(high))
    return {
        "the two are swapped: (low, high)": (high, low),
        # Whoever widens at both ends errs at the positive batches, which come first.
        "the highest starts at 0, and all numbers were below: start it at -inf": (low, max(high, 0)),
        "the range was widened to contain 0. That is the quantizer's to do; an observer says what it saw, so start "
        "from inf and -inf, not from 0": (min(low, 0), max(high, 0)),
        "the lowest starts at 0, and all numbers were above": (min(low, 0), high),
        "an end of 0 was taken for nothing seen: start from inf and -inf, or from None": _nought_is_unseen(batches),
        "a number was taken for a lowest or for a highest, never for both: `if` twice, not `elif`": _one_or_the_other(
            everything),
        "only the last batch counts: each batch must widen what was there": (lows[-1], highs[-1]),
        "only the first batch counts": (lows[0], highs[0]),
        "this is the mean of the batches' ends (onnxruntime's CalibMovingAverage); asked for the extremes": (
            lows.mean(), highs.mean()),
        "this is the range that all batches share: the ends were moved inwards": (lows.max(), highs.min()),
        "this is symmetric: asked for the lowest and the highest number as they are": (-reach, reach),
        "sizes were taken, |x|: negative numbers keep their sign": (np.abs(everything).min(), np.abs(everything).max()),
        "the ends of all batches were added up": (lows.sum(), highs.sum()),
        "these are percentiles; asked for the extremes": tuple(np.percentile(everything, [0.1, 99.9])),
        "the numbers were rounded to float16, which ends at 65504: keep them as they came": _rounded(low, high),
        "the ends start at float16's, 65504 and -65504; there are numbers beyond: start from inf and -inf": (
            min(low, 65504), max(high, -65504)),
    }  # fmt: skip


def made(observer, batches=()):
    """A new observer that has seen the batches."""
    try:
        fresh = observer()
    except Exception as error:
        raise Almost(f"Observer() raised {error_text(error)}: it is made without arguments") from None
    for name in OBSERVER:
        if not callable(getattr(fresh, name, None)):
            raise Almost(f"Observer has no method `{name}`; asked for observe(x), merge(other) and range()")
    for x in batches:
        _quietly(fresh.observe, x.copy(), said=f"observe of {brief(x)}")
    return fresh


def _quietly(function, *arguments, said):
    try:
        return function(*arguments)
    except Exception as error:
        raise Almost(f"{said} raised {error_text(error)}") from None


def judge_range(seen, batches, said, others=None, *, foreseen=True):
    """(low, high), as NumPy has it of all batches together; `foreseen`: name the mistakes of one observer, too."""
    if seen is ...:
        raise NotYet("`range` still returns `...`")
    if seen is None:
        raise Almost(f"{said}: range() returned None: does it end in `return`?")
    if callable(seen):
        raise Almost(f"{said}: range() returned a function: call it, range() not range")
    seen = expect_array(seen, f"{said}, range()")
    if seen.shape != (2,):
        raise Almost(f"{said}: range() is to give two numbers, (low, high); seen {brief(seen)}")
    everything = np.concatenate([x.ravel() for x in batches])
    expected = np.array([everything.min(), everything.max()], np.float64)
    if np.allclose(seen, expected, rtol=1e-6, atol=0):
        return
    mistakes = (others or {}) | (range_mistakes(batches) if foreseen else {})
    why = next((name for name, wrong in mistakes.items() if np.allclose(seen, wrong, rtol=1e-5, atol=0)), "")
    if not why and foreseen:
        why = _too_far(seen, expected)
    ends = f"expected ({expected[0]:.6g}, {expected[1]:.6g}), seen ({seen[0]:.6g}, {seen[1]:.6g})"
    raise Almost(f"{said}: {ends}" + (f": {why}" if why else ""))


def _too_far(seen, expected):
    """What a range says that is wider than what was seen."""
    if expected[1] < 0 < seen[1] < 1e-3:
        return (
            f"the highest starts at {seen[1]:.3g}, above all numbers below 0 (the tiny of np.finfo is the smallest "
            "above 0, not the lowest): start at -inf"
        )
    if seen[0] < expected[0] or seen[1] > expected[1]:
        return "no number seen was as far out: start from inf and -inf"
    return ""


def judge_merge(observer):
    random = np.random.default_rng(51)
    first = [(random.normal(size=(4, 5)) - 8).astype(np.float32) for _ in range(2)]  # neither range holds the other
    second = [(random.normal(size=(2, 9)) * 3 + 1).astype(np.float32) for _ in range(3)]
    for name, left, right in (
        ("two shards merged", first, second),
        ("two shards merged, the other way round", second, first),
        ("two shards of positive numbers merged", [np.abs(x) + 1 for x in first], [np.abs(x) + 2 for x in second]),
        ("two shards of negative numbers merged", [-np.abs(x) - 1 for x in first], [-np.abs(x) - 2 for x in second]),
        ("merged with an observer that saw nothing", first, []),
        ("an observer that saw nothing, merged with one", [], second),
    ):
        ours, theirs = made(observer, left), made(observer, right)
        result = _quietly(ours.merge, theirs, said=f"{name}: merge")
        if result is None:
            raise Almost("merge returned None: let it `return self`, so that merges can be chained")
        if result is ...:
            raise NotYet("`merge` still returns `...`")
        if not callable(getattr(result, "range", None)):
            raise Almost(f"{name}: merge is to return the observer itself, seen {brief(result)}")
        others = {"merge changed nothing": _ends(left)} if left and right else {}
        others |= {"the other's range took the place of one's own": _ends(right)} if left and right else {}
        if left and right:
            both = np.array([_ends(left), _ends(right)])
            others["the ends of both were averaged; take the wider ones"] = both.mean(axis=0)
            others["merge takes the narrower ends: min for low, max for high"] = both[:, 0].max(), both[:, 1].min()
        judge_range(result.range(), [*left, *right], name, others)
        if right:
            both = {"merge gave it this one's numbers as well": _ends([*left, *right])}
            left_alone = f"{name}: the other one, which merge must leave as it is"
            judge_range(theirs.range(), right, left_alone, both, foreseen=False)
        if left and right:
            judge_range(ours.range(), [*left, *right], f"{name}: the first one itself, which is to take the other in")
        _quietly(theirs.observe, np.float32([-1e4, 1e4]), said=f"{name}: observe of the other one")
        later = {"merge kept the other one itself; take over its two numbers": _ends([np.float32([-1e4, 1e4])])}
        judge_range(ours.range(), [*left, *right], f"{name}, when the other has gone on observing", later)
    nothing = made(observer)
    _quietly(nothing.merge, made(observer), said="two observers that saw nothing: merge")
    _quietly(nothing.observe, np.float32([1, 2]), said="two observers that saw nothing, merged: observe")
    judge_range(nothing.range(), [np.float32([1, 2])], "two that saw nothing, merged, then (1, 2) observed")


def _ends(batches):
    return min(x.min() for x in batches), max(x.max() for x in batches)


def judge_memory(observer):
    """It must not keep what it saw."""
    batch = np.random.default_rng(52).normal(size=(64, 64)).astype(np.float32)
    few, many = (_weight(made(observer, [batch] * count)) for count in (1, 40))
    if few is not None and many > few + 10_000:
        raise Almost(
            f"after 40 batches the observer holds {many:,} bytes, after one {few:,}: it keeps the activations. A few "
            "numbers are enough"
        )
    few, many = (_weight(made(observer, [batch[0, :2]] * count)) for count in (1, 2000))
    if few is not None and many > few + 10_000:
        raise Almost(f"after 2,000 small batches the observer holds {many:,} bytes: it keeps something of each batch")


def _weight(observer):
    slots = getattr(type(observer), "__slots__", ())
    slots = [slots] if isinstance(slots, str) else slots
    try:
        held = {name: getattr(observer, name) for name in slots if hasattr(observer, name)}
        return len(pickle.dumps(held | getattr(observer, "__dict__", {})))
    except Exception:  # what cannot be pickled: not judged
        return None


def judge_observer(observer):
    if not isinstance(observer, type):
        raise Almost(f"expected the class Observer itself, seen {brief(observer)}, a `{kind(observer)}`")
    one, two = made(observer), made(observer)
    for each, x in ((one, [-7, 9]), (two, [1, 2])):
        _quietly(each.observe, np.float32(x), said="observe")
    shared = {"the observers share one memory: set the ends on self, in __init__": (-7, 9)}
    seen = _quietly(two.range, said="range()")
    if isinstance(seen, tuple | list | np.ndarray) and len(seen) == 2 and tuple(map(float, seen)) == (-7, 9):
        judge_range(seen, [np.float32([1, 2])], "a second observer beside another", shared)
    for name, batches in streams():
        judge_range(_quietly(made(observer, batches).range, said=f"{name}: range()"), batches, name)
    asked = made(observer, [np.float32([1, 3])])
    asked.range()
    asked.observe(np.float32([2, 5]))
    judge_range(asked.range(), [np.float32([1, 5])], "observed again after range() was asked")
    judge_merge(observer)
    judge_memory(observer)


@exercise("05.1", "a streaming observer that merges", place="Observer", otherwise=MinMaxObserver)
def _(answer):
    judge_observer(answer)
    return "ranges as NumPy has them of all numbers at once, in any order, merged, and nothing kept"


def histogram_cases():
    """(name, batches, edges, percent)."""
    random = np.random.default_rng(55)
    small, large = random.normal(size=60), random.normal(size=4000) * 0.4
    tailed = [random.standard_t(3, size=n) for n in (500, 50, 1200)]
    for name, batches, percents in (
        ("three heavy-tailed batches", tailed, (99.9, 90, 10)),
        ("a small wide batch and a large narrow one", [small, large], (99, 99.9, 50, 2)),
        ("one batch", [large], (99, 25)),
        ("batches above 0", [np.abs(small) + 1, np.abs(large) + 3], (95, 40)),
        ("a batch in which nothing was counted", [small, np.empty(0), large], (97,)),
        ("three batches, empty bins at either end", tailed, (100, 0.05)),
    ):
        everything = np.concatenate(batches)
        edges = np.linspace(everything.min() - 0.5, everything.max() + 0.7, 401)
        for percent in percents:
            yield f"{name}, percent={percent}", batches, edges, percent


def of_counts(counts, edges, share):
    """Where `share` of the counts lie below, linear within a bin."""
    up_to = np.concatenate([[0], np.cumsum(counts)]) / np.sum(counts)
    return float(np.interp(share, up_to, edges))


def percentile_mistakes(batches, histograms, edges, percent):
    some = [x for x in batches if x.size]
    counts, share = np.sum(histograms, axis=0), percent / 100
    each = [of_counts(h, edges, percent / 100) for h in histograms if h.sum()]
    normalized = np.sum([h / h.sum() for h in histograms if h.sum()], axis=0)
    place = int(np.searchsorted(np.cumsum(counts), share * counts.sum()))
    mistakes = {
        "the batches' percentiles were averaged. A percentile of all is not the mean of percentiles: add the counts, "
        "then look": np.mean(each),
        "this is the largest of the batches' percentiles: add the counts of all batches first": max(each),
        "this is the least of the batches' percentiles: add the counts of all batches first": min(each),
        "this is the median of the batches' percentiles": np.median(each),
        "only the last batch was looked at": each[-1],
        "only the first batch was looked at": each[0],
        "each histogram was divided by its own sum first: a small batch then counts as much as a large one": of_counts(
            normalized, edges, share),
        "it was counted from the top": of_counts(counts, edges, 1 - share),
        "this is percent of the way from the lowest edge to the highest; count the numbers": float(
            edges[0] + share * (edges[-1] - edges[0])),
        "percent is of 100: 99 percent is a share of 0.99": float(edges[-1]),
        "percent was divided by 100 twice": of_counts(counts, edges, share / 100),
        "that is a percentile of the counts; asked for one of the numbers that were counted": float(
            np.percentile(counts, percent)),
        "counts, added up, were compared with percent / 100, a share: multiply it by the number of all": _first_place(
            counts, edges, share),
        "counts, added up, were compared with percent itself: take percent / 100 of the number of all": _first_place(
            counts, edges, percent),
        "half of the rest was cut here; asked for the one end below which `percent` percent lie": of_counts(
            counts, edges, 1 - (1 - share) / 2),
    }  # fmt: skip
    weights = [x.size for x in some]
    mistakes["the batches' percentiles were averaged, weighted by size: still not the percentile of all"] = np.average(
        each, weights=weights
    )
    return mistakes, place


def _first_place(counts, edges, count):
    """The right edge of the bin at which the counts, added up, reach `count`."""
    return float(edges[min(np.searchsorted(np.cumsum(counts), count) + 1, len(edges) - 1)])


@exercise("05.2", "a percentile of batches that are gone")
def _(answer):
    asked = list(histogram_cases())
    told = []
    for said, batches, edges, percent in asked:
        histograms = [np.histogram(x, edges)[0] for x in batches]
        everything, width = np.sort(np.concatenate(batches)), edges[1] - edges[0]
        seen = _percentile(answer, histograms, edges, percent, said)
        rank = percent / 100 * (everything.size - 1)
        low, high = everything[int(np.floor(rank))], everything[int(np.ceil(rank))]
        high = edges[-1] if percent == 100 else high  # no number lies between the highest one and the last edge
        told.append((said, batches, histograms, edges, percent, seen, low - 1.01 * width, high + 1.01 * width))
    for said, batches, histograms, edges, percent, seen, low, high in told:
        if not low <= seen <= high:
            raise Almost(_why_percentile(said, batches, histograms, edges, percent, seen, low, high, told))
    return f"{len(told)} percentiles within a bin of NumPy's on all numbers at once"


def _percentile(answer, histograms, edges, percent, said):
    """What the answer tells, as a number; it must leave the histograms as they are."""
    try:
        result, (kept, *_) = call_watched(answer, histograms, edges, percent, name="percentile")
    except Almost as refused:
        if not isinstance(refused.__cause__, IndexError):
            raise
        raise Almost(
            f"{said}: {error_text(refused.__cause__)}{learner_line(refused.__cause__)}. No bin lies behind the last: "
            "99 percent is a share of 0.99, and 100 percent are reached, not exceeded, in the last bin that holds some"
        ) from None
    changed = [i for i, (own, left) in enumerate(zip(histograms, kept, strict=False)) if not np.array_equal(own, left)]
    if changed:
        raise Almost(
            f"{said}: histograms[{changed[0]}] is no longer what it was: `+=` adds into the array itself; start from a "
            "copy, or use np.sum(histograms, axis=0)"
        )
    seen = expect_number(result, said)
    if not np.isfinite(seen):
        raise Almost(f"{said}: seen {seen}; every number lies between the edges")
    return seen


def _fitting_percentiles(told):
    """{a mistake: the share of the cases whose answers it explains}."""
    found = {}
    for _, batches, histograms, edges, percent, seen, _, _ in told:
        for name, wrong in percentile_mistakes(batches, histograms, edges, percent)[0].items():
            found[name] = found.get(name, 0) + (abs(seen - wrong) <= 1.5 * (edges[1] - edges[0])) / len(told)
    return found


def _why_percentile(said, batches, histograms, edges, percent, seen, low, high, told):
    middle, width = (low + high) / 2, edges[1] - edges[0]
    text = f"{said}: expected about {middle:.4g}, to within a bin of {width:.3g}; seen {seen:.4g}"
    mistakes, place = percentile_mistakes(batches, histograms, edges, percent)
    if abs(seen - place) <= 1 and abs(seen - middle) > 2 * width:
        return f"{text}: that is the number of a bin; edges[...] tells where it lies"
    everywhere = _fitting_percentiles(told)
    found = [name for name, wrong in mistakes.items() if abs(seen - wrong) <= 1.5 * width and everywhere[name] > 0.6]
    if not found and low - 1.5 * width <= seen <= high + 1.5 * width:
        found = ["that is one bin off: counts[i] lies between edges[i] and edges[i + 1]"]
    return text + (f": {'; or '.join(found)}" if found else "")  # two mistakes may give the same numbers


@cache
def prepared_face():
    """The face network as a recipe prepares it, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="qlab-05-"))
    return recipes.prepare(models.path("face"), folder / "face.onnx")


@cache
def few_frames():
    return tuple(models.face_frames("calibration")[::60])


@cache
def marked_frames():
    """Four frames; each holds an end of one input's range: audio's highest and lowest, face's highest and lowest."""
    marked, ends = [], (("audio", 1), ("audio", -1), ("face", 1), ("face", -1))
    for frame, (name, sign) in zip(few_frames(), ends, strict=False):
        feed = {"audio": frame.audio.copy(), "face": frame.face.copy()}
        feed[name].flat[0] = sign * 1.5 * max(np.abs(each.feed[name]).max() for each in few_frames())
        marked.append(SimpleNamespace(**feed, feed=feed))
    return tuple(marked)


@cache
def expected_scales():
    """{tensor: scale of its codes, min-max over the marked frames}, and how many Convs have a quantized weight."""
    with tempfile.TemporaryDirectory(prefix="qlab-05-") as folder:
        output = Path(folder) / "right.onnx"
        quantize_static(
            str(prepared_face()), str(output), Feeds([frame.feed for frame in marked_frames()]), per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        )  # fmt: skip
        graph = onnx.load(output).graph
    return _scales(graph), _quantized_convs(graph)


def _scales(graph):
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return {node.input[0]: held[node.input[1]] for node in graph.node
            if node.op_type == "QuantizeLinear" and node.input[1] in held}  # fmt: skip


def _quantized_convs(graph):
    made = {node.output[0] for node in graph.node if node.op_type == "DequantizeLinear"}
    return sum(node.op_type == "Conv" and set(node.input[:2]) <= made for node in graph.node)


def judge_reader(reader_class):
    frames = few_frames()
    if not isinstance(reader_class, type):
        raise Almost(f"FaceReader: expected the class itself, seen {brief(reader_class)}")
    if not callable(getattr(reader_class, "get_next", None)):  # all that onnxruntime asks of a reader
        raise Almost("FaceReader has no method get_next")
    try:
        reader = reader_class(list(frames))
    except Exception as error:
        raise Almost(f"FaceReader(frames) raised {error_text(error)}") from None
    for number, frame in enumerate(frames):
        feed = _quietly(reader.get_next, said=f"get_next, call {number + 1}")
        _judge_feed(feed, frame, frames, number)
    after = _quietly(reader.get_next, said=f"get_next after the last of {len(frames)} frames")
    if after is not None:
        what = "one more feed" if isinstance(after, dict) and after else brief(after)
        raise Almost(f"get_next after the last of {len(frames)} frames gave {what}: asked for None")
    second = _quietly(reader_class, list(frames), said="FaceReader(frames), a second time")
    if _quietly(second.get_next, said="get_next of a second reader") is None:
        raise Almost("a second FaceReader has nothing left: keep the frames on self, in __init__, not on the class")


def _judge_feed(feed, frame, frames, number):
    said = f"get_next, call {number + 1}"
    if feed is ...:
        raise NotYet("`get_next` still returns `...`")
    if feed is None:
        raise Almost(f"{said}: None, though {len(frames)} frames were given")
    if not isinstance(feed, dict):
        raise Almost(f"{said}: expected a dictionary {{input name: array}}, seen a `{kind(feed)}`")
    if set(feed) != {"audio", "face"}:
        raise Almost(f"{said}: the model's inputs are 'audio' and 'face'; seen {', '.join(map(repr, feed))}")
    for name, expected in frame.feed.items():
        array = expect_array(feed[name], f"{said}, {name!r}")
        other = frame.feed["face" if name == "audio" else "audio"]
        if array.shape == other.shape:
            raise Almost(f"{said}: {name!r} holds the other input's array: the two are swapped")
        if array.shape != expected.shape:
            batch = " One frame a call." if array.shape[1:] == expected.shape[1:] else ""
            raise Almost(f"{said}, {name!r}: expected shape {expected.shape}, seen {array.shape}.{batch}")
        if array.dtype != np.float32:
            raise Almost(f"{said}, {name!r}: the model takes float32, seen {array.dtype}")
        if not np.array_equal(array, expected):
            again = next((i for i, each in enumerate(frames) if np.array_equal(array, each.feed[name])), None)
            why = ": these are other numbers"
            if again is not None:
                why = f": that is frame {again}" + (" again" if again < number else "")
            raise Almost(f"{said}, {name!r}: expected the array of frame {number}{why}")


def judge_quantized(quantize_face):
    """The file that was written: Q/DQ, uint8 x int8, per channel, ranges of all frames."""
    frames, folder = marked_frames(), tempfile.TemporaryDirectory(prefix="qlab-05-")
    with folder:
        output = Path(folder.name) / "yours.onnx"
        try:
            result = quantize_face(str(prepared_face()), str(output), list(frames))
        except Exception as error:
            raise Almost(f"quantize_face raised {error_text(error)}") from None
        if result is ...:
            raise NotYet("quantize_face still returns `...`")
        if not output.is_file():
            raise Almost("quantize_face wrote no file at `output`: quantize_static(model, output, reader, ...)")
        graph = onnx.load(output).graph
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    ops = {node.op_type for node in graph.node}
    if "ConvInteger" in ops:
        raise Almost("the file holds ConvInteger: that is dynamic quantization; asked for quantize_static")
    if any(op.startswith("QLinear") for op in ops):
        raise Almost("the file holds QLinearConv and the like: asked for Q/DQ, quant_format=QuantFormat.QDQ")
    if "QuantizeLinear" not in ops:
        raise Almost("the file has no QuantizeLinear: nothing was quantized statically")
    _judge_types(graph, held)
    for name in ("audio", "face"):
        _judge_scale(graph, held, name, frames)
    scales, convs = expected_scales()
    if _quantized_convs(graph) != convs:
        raise Almost(
            f"{_quantized_convs(graph)} of the network's Convs have quantized inputs and weights; all else as it "
            f"stands gives {convs}: was an option set that leaves some out?"
        )
    seen = _scales(graph)
    other = [name for name in scales if name not in seen or not np.allclose(seen[name], scales[name], rtol=1e-4)]
    if other:
        raise Almost(
            f"{len(other)} of {len(scales)} tensors, {other[0]!r} first, have not the scale of min-max over all "
            "frames: leave the method of calibration as it stands"
        )


def _judge_types(graph, held):
    quantizes = {node.output[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    types = {held[node.input[2]].dtype.name for node in quantizes.values()}
    if types != {"uint8"}:
        raise Almost(f"activations have codes of {', '.join(sorted(types))}; asked for activation_type=QUInt8")
    dequantizes = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    convs = [node for node in graph.node if node.op_type == "Conv" and node.input[1] in dequantizes]
    if not convs:
        raise Almost("no Conv has a quantized weight")
    weights = [dequantizes[node.input[1]].input for node in convs]
    types = {held[codes].dtype.name for codes, *_ in weights}
    if types != {"int8"}:
        raise Almost(f"the weights have codes of {', '.join(sorted(types))}; asked for weight_type=QInt8")
    if all(held[scale].size == 1 for _, scale, *_ in weights):
        raise Almost("each weight has one scale; asked for per_channel=True")
    if max(np.abs(held[codes].astype(int)).max() for codes, *_ in weights) <= 64:
        raise Almost("the weights have 7 bits (reduce_range=True); asked for all 8 here")


def _judge_scale(graph, held, name, frames):
    seen = next((held[node.input[1]] for node in graph.node
                 if node.op_type == "QuantizeLinear" and node.input[0] == name), None)  # fmt: skip
    if seen is None:
        raise Almost(f"the input {name!r} is not quantized: was the reader given frames with both inputs?")
    step = lambda arrays: (max(0, *(x.max() for x in arrays)) - min(0, *(x.min() for x in arrays))) / 255
    arrays = [frame.feed[name] for frame in frames]
    if np.isclose(seen, step(arrays), rtol=1e-3):
        return
    parts = {"all frames but the last": arrays[:-1], "all frames but the first": arrays[1:]}
    parts |= {"every second frame": arrays[::2], "the first two frames": arrays[:2]}
    alone = {f"frame {i} alone": step([x, x]) for i, x in enumerate(arrays)}
    alone |= {said: step(some) for said, some in parts.items()}
    alone["a symmetric range"] = 2 * max(np.abs(x).max() for x in arrays) / 255
    alone["the mean of the frames' ranges (CalibMovingAverage)"] = np.mean([step([x, x]) for x in arrays])
    fits = [said for said, wrong in alone.items() if np.isclose(seen, wrong, rtol=1e-3)]
    why = f": that is the scale of {' or of '.join(fits)}" if fits else ""
    raise Almost(
        f"the scale of {name!r} is {float(seen):.6g}; min-max over all {len(frames)} frames gives "
        f"{step(arrays):.6g}{why}"
    )


@exercise("05.3", "a reader for two inputs, through quantize_static")
def _(answer):
    reader, quantize_face = class_and_function(answer, "FaceReader", "quantize_face")
    judge_reader(reader)
    if quantize_face is None:
        raise NotYet("FaceReader is right; now quantize_face, and check both")
    judge_quantized(quantize_face)
    return "both inputs, one frame a call; uint8 x int8 Q/DQ, per channel, ranges of all frames"


CODES = 128
MISTAKES = {  # `how` of `divergence`: what to say
    "Q of the clipped": "Q was made of the clipped counts: the tail then costs nothing. Q knows only what lies inside",
    "no tail in P": "the numbers beyond the threshold were dropped; they are clipped, into P's last bin",
    "spread over all": "a code's numbers were spread over all its bins; spread them over those where P has something",
    "divided among all": "a code's numbers were divided by all its bins; divide by those where P has something",
    "where counts are": "a code's numbers were spread over bins where counts[:stop] has something; P has the tail, too",
    "reversed": "this is KL(Q || P); asked for sum of P log(P / Q)",
    "not normalized": "P and Q were not divided by their sums",
    "only P normalized": "Q was not divided by its sum",
    "zeros skipped": "bins where P is and Q is 0 were left out of the sum; there the divergence is infinite",
    "epsilon": "a small number was added to Q; where Q is 0 and P is not, the divergence is infinite",
    "stop // codes": "bin j went to code j // (stop // codes), as TensorRT does it; here it is j * codes // stop",
    "squared": "this is the sum of squared differences of P and Q; asked for sum of P log(P / Q)",
}


def divergence(counts, stop, codes=CODES, how="right"):
    """KL(P || Q) for |x| clipped at `stop` bins; `how` names a mistake to make."""
    inside = counts[:stop].astype(np.float64)
    p = inside.copy()
    if how != "no tail in P":
        p[-1] += counts[stop:].sum()
    q = _as_codes_know_it(p if how == "Q of the clipped" else inside, p, codes, how)
    if q.sum() == 0 or p.sum() == 0:
        return np.inf
    if how != "not normalized":
        p, q = p / p.sum(), q if how == "only P normalized" else q / q.sum()
    return _distance(p, q, how)


def _as_codes_know_it(source, p, codes, how):
    """Q, not yet normalized: what falls to a code, spread over its bins."""
    code = np.arange(p.size) * codes // p.size
    if how == "stop // codes":
        code = np.minimum(np.arange(p.size) // (p.size // codes), codes - 1)
    live = {"spread over all": p >= 0, "where counts are": source > 0}.get(how, p > 0)
    shared = p >= 0 if how == "divided among all" else live
    total, share = np.bincount(code, source, codes), np.bincount(code, shared, codes)
    return np.where(live, (total / np.maximum(share, 1))[code], 0)


def _distance(p, q, how):
    if how == "squared":
        return float(np.sum((p - q) ** 2))
    if how == "reversed":
        p, q = q, p
    if how == "epsilon":
        q = q + 1e-12
    at = p > 0
    if how in ("zeros skipped", "reversed"):
        at &= q > 0
    if (q[at] == 0).any():
        return np.inf
    return float(np.sum(p[at] * np.log(p[at] / q[at])))


@cache
def magnitude_histograms():
    """(name, counts of |x|, width of a bin, codes): made-up ones, of several sizes."""
    random = np.random.default_rng(54)
    found = []
    for name, x, bins, codes in (
        ("normal numbers", random.normal(size=40_000), 512, CODES),
        ("heavy-tailed numbers", random.standard_t(4, size=40_000), 512, CODES),
        ("numbers with an outlier", np.append(random.normal(size=40_000), 30.0), 512, CODES),
        ("evenly spread numbers", random.uniform(-1, 1, size=40_000), 320, CODES),
        ("few numbers, many bins empty", random.normal(size=1_500), 512, CODES),
        ("rounded numbers, every other bin empty", np.round(random.normal(size=9_000) * 40) / 40, 512, CODES),
        ("a heavier tail", random.standard_t(3, size=20_000), 640, CODES),
        ("two-sided exponential numbers, fewer codes", random.laplace(size=20_000), 300, 48),
    ):
        counts, edges = np.histogram(np.abs(x), bins=bins, range=(0, np.abs(x).max()))
        found.append((name, counts, float(edges[1]), codes))
    return tuple(found)


@cache
def divergences_of(place, how="right"):
    """The stops of a histogram of `magnitude_histograms`, and the divergence at each, with a mistake or without."""
    _, counts, _, codes = magnitude_histograms()[place]
    stops = np.arange(codes, counts.size + 1)
    return stops, np.array([divergence(counts, stop, codes, how) for stop in stops])


@exercise("05.5", "the threshold of least divergence")
def _(answer):
    seen, wrong = [], None
    for place in range(len(magnitude_histograms())):
        try:
            seen.append(_threshold(answer, place))
        except Almost:
            if wrong is None:
                raise
            break  # one threshold was wrong before: that tells more
        if wrong is None and not _is_least(place, seen[-1]):
            wrong = place
    if wrong is not None:
        raise Almost(_why_threshold(wrong, seen))
    return f"the threshold of least divergence in {len(seen)} histograms"


def _threshold(answer, place):
    """What the answer gives, in bins; it must leave `counts` as they are."""
    name, counts, width, codes = magnitude_histograms()[place]
    said = _said(place)
    try:
        result, (left, *_) = call_watched(answer, counts, width, codes, name="kl_threshold")
    except Almost as refused:
        stops, told = divergences_of(place)
        if not np.isfinite(told[:-1]).any():
            raise Almost(f"{refused}. Of {name}, the divergence is finite at the last stop alone, {stops[-1]}: does "
                         "your range reach it?") from None  # fmt: skip
        raise
    if not np.array_equal(left, counts):
        raise Almost(f"{said}: your function changed `counts`, since counts[:stop] is a view of it: `.copy()` it first")
    return expect_number(result, said) / width


def _said(place):
    name, counts, width, codes = magnitude_histograms()[place]
    return f"{name}, {counts.size} bins of {width:.4g}, {codes} codes"


def _is_least(place, bins):
    stops, told = divergences_of(place)
    stop = round(bins) if np.isfinite(bins) else -1
    if not stops[0] <= stop <= stops[-1] or abs(bins - stop) > 0.01:
        return False
    return told[stop - stops[0]] <= told.min() * (1 + 1e-6) + 1e-12


def _why_threshold(place, seen):
    """What is wrong with the threshold in one histogram: mistakes that explain what was seen in all of them."""
    width = magnitude_histograms()[place][2]
    best = _least(place)
    text = f"{_said(place)}: expected {best * width:.4g} (bin {best}), seen {seen[place] * width:.4g}"
    places = range(len(seen))
    bests = np.array([_least(each) for each in places])
    sizes, codes = (np.array([divergences_of(each)[0][end] for each in places]) for end in (-1, 0))
    widths = np.array([magnitude_histograms()[each][2] for each in places])
    fits = {
        "that is the number of bins; a threshold is that times width": bests / widths,
        "that is the middle of the last bin: a threshold is its right edge, stop * width": bests - 0.5,
        "that is the middle of the bin behind it; a threshold is stop * width": bests + 0.5,
        "that is one bin short: the range ends behind the last bin of counts[:stop], at stop * width": bests - 1,
        "that is one bin too far: P of `stop` bins ends at stop * width": bests + 1,
        "that is the largest number, nothing clipped": sizes,
        "that is the first candidate; take the one of least divergence": codes,
        "the last stop is missing: range ends before its second number, so give it len(counts) + 1": np.array(
            [_least(each, end=-1) for each in places]),
        "128 codes were taken, where fewer were asked for": np.array([_least(each, fixed=True) for each in places]),
        "that is the largest divergence; the least is wanted": np.array([_greatest(each) for each in places]),
    }  # fmt: skip
    fits |= {why: np.array([_least(each, how) for each in places]) for how, why in MISTAKES.items()}
    found = [why for why, bins in fits.items() if np.allclose(bins, seen, rtol=0, atol=0.02)]
    return text + (f": {'; or '.join(found)}" if found else "")  # several mistakes may give one threshold


def _least(place, how="right", end=None, fixed=False):
    """The stop of least divergence; `end`: of the stops up to there, `fixed`: with 128 codes."""
    stops, told = divergences_of(place, how)
    if fixed:
        _, counts, _, _ = magnitude_histograms()[place]
        stops = np.arange(CODES, counts.size + 1)
        told = np.array([divergence(counts, stop) for stop in stops])
    return int(stops[:end][np.argmin(told[:end])])


def _greatest(place):
    stops, told = divergences_of(place)
    return int(stops[np.argmax(np.where(np.isfinite(told), told, -1))])


HOW = ("too few sentences", "another level", "an outlier", "padding taken for speech", "test sentences in it")


@cache
def suspects():
    """{"A", "B", "C": feeds of the conformer}."""
    clean, noisy = models.utterances("calibration"), models.utterances("calibration", noise_db=5)
    sets = {"A": noisy[:16], "B": clean[16:32], "C": clean[32:48]}
    sets = {letter: [models.feed(said.samples) for said in chosen] for letter, chosen in sets.items()}
    longest = max(feed["speech"].shape[1] for feed in sets["B"])
    return sets | {"B": [filled_up(feed, longest) for feed in sets["B"]]}


@exercise("05.4", "which calibration set is broken, and how")
def _(answer):
    letter, how = _letter_and_fault(answer)
    sets = suspects()
    if letter != "B":
        noise = " It is speech in noise, which is no fault where the model will hear noise." if letter == "A" else ""
        raise Almost(f'set {letter} is sound. "{how}" does not hold of it: {_disproof(how, sets, letter)}.{noise}')
    if how != HOW[3]:
        raise Almost(f'B it is, but "{how}" does not hold of it: {_disproof(how, sets, letter)}')
    zeros = np.mean([(feed["speech"] == 0).mean() for feed in sets["B"]])
    return f"{zeros:.0%} of what B calls speech is exactly 0: filled up, and counted by speech_lengths"


def _letter_and_fault(answer):
    """("A", "B" or "C", one of HOW), however they are written."""
    parts = re.split(r"[,:;]", answer, maxsplit=1) if isinstance(answer, str) else answer
    if not isinstance(parts, tuple | list | np.ndarray) or len(parts) != 2:
        raise Almost(f'expected a pair such as ("A", "an outlier"), seen {brief(answer)}')
    parts = [" ".join(str(part).lower().split()).strip(" .'\"") for part in parts]
    letters = [part.removeprefix("set ") for part in parts if part.removeprefix("set ") in ("a", "b", "c")]
    faults = [[how for how in HOW if len(part) > 4 and part in how] for part in parts]
    faults = [found[0] for found in faults if len(found) == 1]
    if len(letters) != 1 or len(faults) != 1:
        raise Almost(f"expected one of A, B, C and one of {', '.join(HOW)}; seen {brief(answer)}")
    return letters[0].upper(), faults[0]


def _disproof(how, sets, letter):
    other = "C" if letter == "B" else "A" if letter == "C" else "B"
    spoken, others = ([feed["speech"][0] for feed in sets[name]] for name in (letter, other))
    spoken, others = ([x[np.abs(x).sum(axis=1) > 0] for x in some] for some in (spoken, others))
    if how == HOW[0]:
        return f"it has {len(spoken)} sentences, as many as the other two"
    if how == HOW[1]:
        loud = [np.quantile(np.concatenate(some), 0.99) for some in (spoken, others)]
        said = f"99 % of its features lie below {loud[0]:.1f}, of those of {other} below {loud[1]:.1f}"
        return f"{said}; a tenth of the level would take away {np.log(100):.1f}"
    if how == HOW[2]:
        ends = max(x.max() for x in spoken), max(x.max() for x in others)
        return f"its largest feature is {ends[0]:.1f}, that of {other} {ends[1]:.1f}"
    if how == HOW[3]:
        return f"its {len(spoken)} sentences have {len({len(x) for x in spoken})} lengths"
    return "no sentence of the test is among them"
