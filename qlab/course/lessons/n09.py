"""Notebook 09: an honest benchmark, Amdahl's law with overhead, causes read from graphs, hybrid, a cost model.

Its pictures come first, then what it and its checks use.
"""

import contextlib
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from numbers import Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from qlab import graph, machine, models, palette, sqnr_db
from qlab.course.expect import call, expect_array, expect_number
from qlab.course.lessons import common, exercise, folder
from qlab.course.lessons.common import Feeds, fewer, in_haste, operator_session
from qlab.course.plots.figures import spread, times_axis, with_interval
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, error_text, kind
from qlab.graph import operators
from qlab.graph.operators import CONVOLUTIONS, MATRIX_PRODUCTS, factors, scale_places, summed_rows
from qlab.measure.compare import rounds_here
from qlab.measure.predict import Yardstick
from qlab.measure.profile import Profile, profile_models
from qlab.measure.trace import Tensor, sign_pair
from qlab.numerics.saturation import can_saturate
from qlab.palette import INK, styled
from qlab.recipes.quantizers import captured_logs
from qlab.runtime import interleave, open_session


def timeline(share, times, overhead):
    """fp32's time as one bar, and what int8 makes of it: quantizing, the products, the rest that stays."""
    after = share / times
    whole = 1 - share + after + overhead
    s = Schematic(
        20,
        5.2,
        title="int8 shortens one part, adds another, and leaves the rest",
        alt=f"Two bars of time. fp32: products {share:.0%}, the rest {1 - share:.0%}. int8: quantizing {overhead:.0%} "
        f"of fp32's time, products {after:.0%}, the rest {1 - share:.0%} as before: {whole:.0%} in all.",
    )
    left, unit = 1.6, 15.0

    def bar(y, name, parts):
        s.text(left - 0.3, y, name, align="right", bold=True)
        at = left
        for said, width, colour in parts:
            s.box(at + width * unit / 2, y, said, kind=colour, width=width * unit, height=1.1)
            at += width * unit
        return at

    bar(3.9, "fp32", [(f"products: {share:.0%}", share, "fp32"), (f"the rest: {1 - share:.0%}", 1 - share, None)])
    end = bar(
        1.9,
        "int8",
        [
            (f"{overhead:.0%}", overhead, "activations"),
            (f"products:\n{share:.0%} / {times:g} = {after:.0%}", after, "integer"),
            (f"the rest: {1 - share:.0%}", 1 - share, None),
        ],
    )
    s.text(left + overhead * unit / 2, 0.85, "ranges, codes", kind="activations", size=9)
    s.text(end + 0.3, 1.9, f"{whole:.0%} of the time:\n1 / {whole:.2f} = {1 / whole:.2f} times", align="left", size=9)
    return s.figure


@styled
def amdahl(share, times, overhead, *, pairs=None, name="the network"):
    """Left the network's speed-up against that of its products, right the time that is left. -> Figure

    pairs: {sign pair: the card's speed}, marked on the curve.
    """
    figure, (left, right) = palette.figure(1, 2, height=3.5, layout=None, width_ratios=(3, 2))
    figure.subplots_adjust(left=0.11, right=0.97, bottom=0.17, top=0.85, wspace=0.25)
    at = 2.0 ** np.linspace(-3, 3, 121)
    gain = lambda s: 1 / (1 - share + share / s + overhead)
    left.plot(at, gain(at), color=palette.INTEGER)
    left.axhline(1, color=palette.FP32, linewidth=1.6)
    most = 1 / max(1 - share + overhead, 1e-9)
    if most < 8:
        left.axhline(most, color=INK, linewidth=1, linestyle=":")
        left.annotate(
            f"products free: {most:.2f}×", (1 / 8, most), (2, 3), textcoords="offset points", color=INK, fontsize=9
        )
    left.plot(times, gain(times), "o", color=palette.INTEGER, markersize=9)
    for said, speed in _near_ones(pairs or {}):
        left.plot([speed] * 2, [1 / 16, 1 / 13], color=INK, linewidth=2)
        left.annotate(said, (speed, 1 / 13), (0, 2), textcoords="offset points", ha="center", fontsize=8, color=INK)
    times_axis(left, 1 / 8, 8, "x")
    times_axis(left, 1 / 16, 8)
    left.set(xlabel="speed of the products, float32 = 1 (log)", ylabel="speed-up of the network (log)")
    _stack(right, 0, [("", 1 - share, None), ("", share, palette.FP32)])
    right.text(0, 1 - share / 2, "products", color="white", ha="center", va="center", fontsize=9)
    after = [("the rest", 1 - share, None), ("products", share / times, palette.INTEGER),
             ("ranges, codes", overhead, palette.ACTIVATIONS)]  # fmt: skip
    _stack(right, 1, after)
    right.set_xticks([0, 1], ["fp32", "int8"])
    right.set_xlim(-0.5, 2.4)
    right.set_ylim(0, max(1.15, 1.1 / gain(times)))
    right.set_ylabel("time, fp32 = 1")
    right.grid(False, axis="x")
    verdict = "faster" if gain(times) > 1 else "slower" if gain(times) < 1 else "as fast"
    figure.suptitle(
        f"Products {times:.2g}×: {name} {gain(times):.2f}×, {verdict}", x=0.01, ha="left", fontsize=12,
        fontweight="bold",
    )  # fmt: skip
    return figure


def _near_ones(pairs):
    """(names, speed) of the pairs on a card; those within a tenth of each other under one label."""
    groups = []
    for signs, speed in sorted((entry for entry in pairs.items() if entry[1]), key=lambda entry: entry[1]):
        if 1 / 8 < speed < 8:
            if groups and speed < 1.15 * groups[-1][1]:
                groups[-1][0].append(signs)
            else:
                groups.append(([signs], speed))
    return [("\n".join(names), speed) for names, speed in groups]


def _stack(axes, x, parts):
    """Bars on each other, the last with their names at its side; None is a part that stays, and is drawn empty."""
    bottom, top = 0.0, sum(height for _, height, _ in parts)
    middles, names = [], []
    for name, height, colour in parts:
        axes.bar(x, height, bottom=bottom, width=0.7, facecolor=colour or "white", edgecolor=colour or INK)
        middles, names = [*middles, bottom + height / 2], [*names, name]
        bottom += height
    for name, y in zip(names, spread(middles, 0.09 * max(top, 1)), strict=True):
        axes.annotate(name, (x + 0.42, y), color=INK, va="center", fontsize=9)


_MARKS = {"u8s8": "o", "u8u8": "s", "s8s8": "^", "s8u8": "v"}


@styled
def rows(raced, roofs, *, title):
    """A panel a matrix: speed-up over float32 against rows, measured (solid) and by a roofline (dashed).

    raced: {size: what race_rows gave}; roofs: {size: {pair: [speed-up at each number of rows]}}.
    """
    figure, panels = palette.figure(1, len(raced), height=4.1, sharey=True, squeeze=False)
    for axes, (size, found) in zip(panels[0], raced.items(), strict=True):
        counts = np.array([count for count, _ in found["float32"]])
        ends = []
        for signs, points in found.items():
            if signs == "float32" or not points:
                continue
            at, gain = np.array(points).T
            axes.plot(at, gain, color=palette.INTEGER, marker=_MARKS[signs], markersize=5)
            ends.append((signs, at[-1], gain[-1]))
            if signs in roofs[size]:
                axes.plot(
                    counts, roofs[size][signs], color=INK, linewidth=1, linestyle="--", marker=_MARKS[signs],
                    markersize=4, markerfacecolor="white",
                )  # fmt: skip
        heights = 2.0 ** spread([np.log2(gain) for _, _, gain in ends], 0.55)
        for (signs, at, gain), height in zip(ends, heights, strict=True):
            axes.annotate(
                f"{signs[:2]} × {signs[2:]}", (at, gain), (at * 1.25, height), color=palette.INTEGER, va="center",
                fontsize=9, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )  # fmt: skip
        axes.axhline(1, color=palette.FP32, linewidth=2)
        axes.set_xscale("log", base=2)
        axes.set_xlim(counts[0] / 1.25, counts[-1] * 4)
        axes.xaxis.set_major_locator(FixedLocator(counts))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("rows of activations (log)")
        axes.set_title(f"{size} × {size}: {4e-6 * size * size:.0f} MB of float32", fontsize=10, fontweight="normal")
    values = [gain for found in raced.values() for name, p in found.items() if name != "float32" for _, gain in p]
    values += [gain for found in roofs.values() for gains in found.values() for gain in gains]
    times_axis(panels[0][0], min(0.25, *values) / 1.3, max(4.5, *values) * 1.3)
    panels[0][0].set_ylabel("speed against float32 (log)")
    keys = [
        Line2D([], [], color=palette.INTEGER, label="measured"),
        Line2D([], [], color=INK, linewidth=1, linestyle="--", label="by the roofline (same marks)"),
        Line2D([], [], color=palette.FP32, linewidth=2, label="float32"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.alt = title + ". " + "; ".join(
        f"{size}: " + ", ".join(f"{n} {p[0][1]:.2f} at one row" for n, p in found.items() if n != "float32" and p)
        for size, found in raced.items()
    )  # fmt: skip
    return figure


@styled
def three_machines(lines, *, title):
    """A row a network and setting: the article's speed-up, this machine's with its interval, reference cards' ratios.

    lines: {setting: {who: speed-up, or (speed-up, low, high), or nan}}.
    """
    figure, axes = palette.figure(height=1.5 + 0.62 * len(lines))
    names = list(dict.fromkeys(name for found in lines.values() for name in found))
    marks = dict(zip(names, "Dos^v", strict=False))
    drawn = {name: (palette.INTEGER if at == 1 else INK) for at, name in enumerate(names)}
    for y, found in enumerate(lines.values()):
        for at, (name, value) in enumerate(found.items()):
            value, low, high = with_interval(value)
            where = y + 0.17 * (at - (len(found) - 1) / 2)
            if high > low:
                axes.plot([low, high], [where, where], color=drawn[name], linewidth=1.6)
            axes.plot(
                value, where, marks[name], color=drawn[name], markersize=8, markerfacecolor=drawn[name] if at < 2 else
                "white", label=name if y == 0 else None,
            )  # fmt: skip
    values = [each for found in lines.values() for value in found.values() for each in with_interval(value)]
    values = [each for each in values if np.isfinite(each)]
    times_axis(axes, min(0.45, *values) / 1.15, max(2.2, *values) * 1.15, "x")
    axes.axvline(1, color=palette.FP32, linewidth=2)
    axes.set_yticks(range(len(lines)), list(lines))
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.grid(False, axis="y")
    axes.set_xlabel("speed against fp32 (log)")
    figure.legend(loc="outside lower center", ncols=len(names), fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


@styled
def predicted_and_measured(cells, *, title):
    """A row a model and recipe: the predicted range, the predicted value, the measured one, a band of a factor 1.3.

    cells: {name: (predicted, low, high, measured)}.
    """
    figure, axes = palette.figure(height=1.4 + 0.4 * len(cells))
    for y, (predicted, low, high, measured) in enumerate(cells.values()):
        axes.barh(y, predicted * 1.3 - predicted / 1.3, left=predicted / 1.3, height=0.62, color="#E3E6E8")
        axes.plot([low, high], [y, y], color=INK, linewidth=1.4)
        axes.plot(predicted, y, "|", color=INK, markersize=14, markeredgewidth=2, label="predicted" if y == 0 else None)
        axes.plot(measured, y, "o", color=palette.INTEGER, markersize=7, label="measured" if y == 0 else None)
    values = [value for cell in cells.values() for value in cell]
    times_axis(axes, min(0.8, *values) / 1.5, max(2, *values) * 1.5, "x")
    axes.axvline(1, color=palette.FP32, linewidth=2)
    axes.set_yticks(range(len(cells)), list(cells))
    axes.set_ylim(len(cells) - 0.5, -0.6)
    axes.grid(False, axis="y")
    axes.set_xlabel(
        "speed against fp32 (log)\nband: a factor of 1.3 around the prediction; line: the range that it gives itself"
    )
    figure.legend(loc="outside lower right", ncols=2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def sentences(noise_db):
    """The test sentences in noise, all 320; under QLAB_FAST=1 an eighth."""
    return fewer(common.sentences(noise_db))


class World:
    """A simulated machine. `clock()` tells its time in seconds; each of `candidates` takes some of it when called.

    costs   {name: seconds of an ordinary run}
    first   seconds that a candidate's first run takes besides
    slows   the machine gets slower: after so many seconds every run takes twice as long
    hiccups, lucky  shares of runs that take 8 times as long, and 0.6 times
    """

    def __init__(self, costs, *, first=0.0, slows=math.inf, hiccups=0.0, lucky=0.0, seed=0):
        self.costs, self.first, self.slows = costs, first, slows
        self.hiccups, self.lucky, self._random = hiccups, lucky, random.Random(seed)
        self.now, self.readings, self.ran = 20.0, 0, []  # ran: (name, seconds), in order
        self.candidates = {name: partial(self._run, name) for name in costs}

    def clock(self):
        self.readings += 1
        return self.now

    def _run(self, name):
        drawn = self._random.random()
        seconds = self.costs[name] * (1 + (self.now - 20) / self.slows)
        seconds *= 8 if drawn < self.hiccups else 0.6 if drawn > 1 - self.lucky else 1
        seconds += self.first if name not in dict(self.ran) else 0
        self.now += seconds
        self.ran.append((name, seconds))


def benchmark(candidates, rounds, clock):
    """{name: median seconds}: every candidate once untimed, then `rounds` rounds in which they take turns."""
    for run in candidates.values():
        run()
    seconds = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return {name: statistics.median(times) for name, times in seconds.items()}


_WORLDS = [  # (what is said of it, the World's arguments, rounds)
    ("one candidate, one round", {"costs": {"fp32": 0.25}, "first": 1.25}, 1),
    ("a steady machine", {"costs": {"fp32": 0.02, "int8": 0.01}}, 5),
    ("slow first runs", {"costs": {"fp32": 0.03, "int8": 0.02, "fp16": 0.05}, "first": 1.2}, 3),
    ("four rounds on a machine that gets slower",
     {"costs": {"fp32": 0.2, "int8": 0.1}, "slows": 2.0, "hiccups": 0.3, "lucky": 0.2, "seed": 28}, 4),
    ("runs that are interrupted", {"costs": {"one": 0.004, "other": 0.006}, "hiccups": 0.25, "lucky": 0.2}, 21),
    ("a machine that gets slower", {"costs": {"a": 0.1, "b": 0.1}, "slows": 1.0, "first": 0.3}, 9),
    ("all of it, five candidates",
     {"costs": {name: 0.01 * (1 + at) for at, name in enumerate("pqrst")}, "first": 0.2, "slows": 8.0, "hiccups": 0.15,
      "lucky": 0.1, "seed": 3}, 15),
]  # fmt: skip


@exercise("09.1", "an honest benchmark", place="benchmark", otherwise=benchmark)
def _(answer):
    for said, how, rounds in _WORLDS:
        world = World(**how)
        judge_benchmark(call(answer, world.candidates, rounds, world.clock, name="benchmark"), world, rounds, said)
    return f"{len(_WORLDS)} simulated machines: slow first runs, interruptions, one that gets slower all the time"


def judge_benchmark(seen, world, rounds, said):
    _judge_form(seen, world, said)
    _judge_order(world, rounds, said)
    durations = {name: [seconds for who, seconds in world.ran if who == name] for name in world.costs}
    values = {name: expect_number(seen[name], f"{said}: the time of {name!r}") for name in world.costs}
    expected = {name: statistics.median(times[-rounds:]) for name, times in durations.items()}
    wrong = [name for name in world.costs if not _same(values[name], expected[name])]
    if not wrong:
        return
    mistakes = {name: dict(_benchmark_mistakes(times, rounds)) for name, times in durations.items()}
    why = next((what for what in mistakes[wrong[0]] if all(_same(values[n], mistakes[n][what]) for n in values)), "")
    raise Almost(
        f"{said}: {wrong[0]!r} has a median of {expected[wrong[0]]:.4g} s over its {rounds} timed runs, seen "
        f"{values[wrong[0]]:.4g}: " + (why or "does the clock go from just before one run to just after it?")
    )


def _same(one, other):
    return math.isclose(one, other, rel_tol=1e-6)


def _judge_form(seen, world, said):
    if not world.readings:
        raise Almost(f"{said}: the clock that was handed over was not read; another one knows nothing of these runs")
    if not isinstance(seen, dict) or set(seen) != set(world.costs):
        names = ", ".join(map(repr, world.costs))
        raise Almost(f"{said}: expected a dict with the names {names}, seen {brief(seen)}, a `{kind(seen)}`")
    for name, value in seen.items():
        if np.size(value) != 1:
            raise Almost(f"{said}: expected one number for {name!r}, the median; seen {brief(value)}")


def _judge_order(world, rounds, said):
    counts = Counter(name for name, _ in world.ran)
    for name in world.costs:
        if counts[name] < rounds:
            raise Almost(f"{said}: {name!r} ran {counts[name]} times; asked for {rounds} timed rounds and a warm-up")
        if counts[name] == rounds:
            raise Almost(
                f"{said}: {name!r} ran {rounds} times, so that its first run is counted, or only {rounds - 1} rounds "
                "are: a warm-up run besides is asked for"
            )
        if counts[name] > rounds + 10:
            raise Almost(f"{said}: {name!r} ran {counts[name]} times; asked for {rounds} timed rounds and a warm-up")
    many = len(world.costs)
    if many > 1 and _warms_up_before_each(world, counts, rounds):
        raise Almost(
            f"{said}: the runs went {', '.join(name for name, _ in world.ran[:12])}, ... A warm-up run stands among "
            "the timed ones; run each candidate once before anything is timed"
        )
    last = [name for name, _ in world.ran[-rounds * many :]]
    turns = [last[at : at + many] for at in range(0, len(last), many)]
    if any(len(set(turn)) < many for turn in turns):
        raise Almost(
            f"{said}: they do not take turns; the runs went {', '.join(name for name, _ in world.ran[:12])}, ... What "
            "slows the machine meanwhile must meet all: in each round each runs once"
        )


def _warms_up_before_each(world, counts, rounds):
    """Whether a candidate's untimed runs come directly before its timed ones, round by round."""
    names, many = [name for name, _ in world.ran], len(world.costs)
    paired = lambda part: part[::2] == part[1::2] and len(set(part[: 2 * many])) == many
    first = set(counts.values()) == {rounds + 1} and paired(names[: 2 * many])
    return rounds > 1 and (first or (set(counts.values()) == {2 * rounds} and paired(names)))


def _benchmark_mistakes(durations, rounds):
    timed = durations[-rounds:]
    middle = "of the two middle runs; a median of an even number is their mean"
    yield f"that is the lower {middle}", statistics.median_low(timed)
    yield f"that is the upper {middle}", statistics.median_high(timed)
    yield "that is the mean; one interrupted run moves it", statistics.fmean(timed)
    yield "that is the least; a lucky run decides it", min(timed)
    yield "that is the largest", max(timed)
    yield "that is the sum of all rounds", sum(timed)
    yield "that is the median with the warm-up among the runs", statistics.median(durations)
    yield "that is the mean with the warm-up among the runs", statistics.fmean(durations)
    yield "these are milliseconds; asked for seconds", 1e3 * statistics.median(timed)
    yield "these are microseconds; asked for seconds", 1e6 * statistics.median(timed)
    yield "that is the last round alone", timed[-1]
    yield "that is the first round alone", timed[0]
    yield "that is the warm-up", durations[0]
    yield "that is the median over the rounds, divided by their number", statistics.median(timed) / rounds


def speedup(parts, overhead):
    """How many times as fast the whole is. parts: (share of the time, times as fast) pairs; the rest stays."""
    rest = 1 - sum(share for share, _ in parts)
    return 1 / (rest + sum(share / times for share, times in parts) + overhead)


def _amdahl_cases():
    drawn = np.random.default_rng(9)
    yield [(0.7, 3.3)], 0.08
    yield [(0.7, 3.3)], 0.0
    yield [(0.5, 0.25)], 0.1
    yield [], 0.25
    yield [(1.0, 4.0)], 0.0
    yield [(0.6, math.inf)], 0.05
    for count in (1, 2, 3, 4):
        shares = drawn.dirichlet(np.ones(count + 1))[:count]
        yield [(float(share), float(2 ** drawn.uniform(-2, 2.5))) for share in shares], float(drawn.uniform(0, 0.4))


def _amdahl_mistakes(parts, overhead):
    shares, times = [share for share, _ in parts], [times for _, times in parts]
    rest, after = 1 - sum(shares), sum(share / each for share, each in parts)
    whole = rest + after + overhead
    yield "that is the time that is left, as a share of fp32's; the speed-up is 1 over it", whole
    yield "the overhead is missing: what quantizing adds counts too", _over(rest + after)
    yield "the overhead is taken off; it takes time, too", _over(rest + after - overhead)
    yield "what is not quantized is missing: it still takes its share", _over(after + overhead)
    yield "what is not quantized is missing, and the overhead too", _over(after)
    yield "speed-ups are averaged by their shares; times add up, speeds do not", sum(map(math.prod, parts)) + rest
    yield "speed-ups are averaged; times add up, speeds do not", sum(map(math.prod, parts))
    yield (
        "speed-ups are averaged by their shares and the overhead taken off; times add up",
        (sum(map(math.prod, parts)) + rest - overhead),
    )
    yield (
        "the products' gain is divided by 1 + overhead; the rest of the network gains nothing",
        (math.prod(times) / (1 + overhead)),
    )
    yield "that is what the products gain; the rest of the network gains nothing", math.prod(times)
    yield (
        "the overhead makes the network's own time longer by a factor; it is a share of fp32's time that is added",
        (_over((rest + after) * (1 + overhead))),
    )
    yield "the overhead is subtracted from the speed-up; it is a share of the time", _over(rest + after) - overhead
    yield "these are per cent; asked for how many times as fast", 100 * _over(whole)
    yield "that is the time saved; asked for how many times as fast", 1 - whole
    yield "what is not quantized is counted once for each part", _over(len(parts) - sum(shares) + after + overhead)
    yield (
        "the overhead is put on the products as a factor; it is a share of fp32's time that is added",
        _over(rest + after * (1 + overhead)),
    )
    yield (
        "the overhead is added once for each part; it is that of the whole network",
        _over(rest + after + len(parts) * overhead),
    )
    yield "a network may become slower, too: nothing is cut off at 1", max(1.0, _over(whole))
    alone = [_over(1 - share + share / each) for share, each in parts]
    yield (
        "the speed-ups of the parts, each by itself, are multiplied; times add up",
        _over(1 / math.prod(alone) + overhead),
    )
    if parts:
        last = 1 - shares[-1] + shares[-1] / times[-1] + overhead
        yield "only the last part is counted", _over(last)
        slow = rest + sum(map(math.prod, parts)) + overhead
        yield "the shares are multiplied by the speed-ups; a product that is faster takes less", _over(slow)
        first = 1 - shares[0] + shares[0] / times[0] + overhead
        yield "only the first part is counted", _over(first)


def _over(time):
    return 1 / time if time else math.inf


@exercise("09.2", "Amdahl's law for int8")
def _(answer):
    cases = list(_amdahl_cases())
    said = [f"speedup({[tuple(float(f'{x:.3g}') for x in part) for part in parts]}, {c:.3g})" for parts, c in cases]
    seen = [expect_number(call(answer, *case, name="speedup"), what) for case, what in zip(cases, said, strict=True)]
    expected = [speedup(*case) for case in cases]
    if (at := _first_apart(seen, expected)) is not None:
        why = _one_mistake(seen, [dict(_amdahl_mistakes(*case)) for case in cases])
        raise Almost(f"{said[at]}: expected {expected[at]:.4g}, seen {seen[at]:.4g}{why}")
    told = speedup([(0.7, 3.3)], 0.08)
    return f"{len(cases)} networks. 70 % of the time 3.3 times as fast and 8 % more make {told:.2f}"


def _first_apart(seen, expected):
    """The index of the first case that is off by more than one in ten thousand, or None."""
    apart = (at for at, pair_of in enumerate(zip(seen, expected, strict=True)) if not _alike(*pair_of))
    return next(apart, None)


def _alike(one, other):
    return np.allclose(one, other, rtol=1e-4, atol=1e-9)


def _one_mistake(seen, mistakes):
    """ ": what was done", if one of the mistakes explains every case, otherwise "". mistakes: a dict for each case."""
    for what in mistakes[0]:
        if all(what not in case or _alike(each, case[what]) for each, case in zip(seen, mistakes, strict=True)):
            return f": {what}"
    return ""


def products(profile):
    """{"op_type, pair": (how many, milliseconds)} of a Profile's products, float ones too, the costliest first."""
    found = {}
    for node in profile.nodes:
        if node.op_type in CONVOLUTIONS | MATRIX_PRODUCTS and node.macs:
            said = f"{node.op_type}, {_pair_in_words(node.sign_pair) or 'float32'}"
            count, ms = found.get(said, (0, 0.0))
            found[said] = count + 1, ms + node.ms
    return dict(sorted(found.items(), key=lambda entry: -entry[1][1]))


class Profiles(NamedTuple):
    """Profiles of an fp32 model and its int8 version, taken in turns, named as in an Examination."""

    fp32: Profile
    quantized: Profile


def profiles(fp32, int8, feed, rounds=5):
    """The Profiles of two model files: what measure.examine measures of their time, and no more."""
    taken = profile_models({"fp32": fp32, "quantized": int8}, feed, rounds=rounds)
    return Profiles(**taken)


def _pair_in_words(name):
    return f"{name[:2]} × {name[2:]}" if name else ""


def spent(examination):
    """(share of fp32's time in products that became integer, how many times as fast they are, overhead), as measured.

    Times of nodes only: what lies between the operators is left out on both sides. Overhead is what all other nodes
    take more than in fp32, as a share of fp32's time: quantizing, and what float products lose that stay; it may be
    negative.
    """
    fp32, int8 = examination.fp32, examination.quantized
    in_fp32 = Yardstick(fp32, 1.0).float_ms
    now = sum(node.ms for node in int8.nodes if node.sign_pair)
    stayed = sum(in_fp32(node) or node.ms for node in int8.nodes if _is_float_product(node))
    before = sum(node.ms for node in fp32.nodes if _is_float_product(node))
    moved = max(before - stayed, 1e-9)
    others = (int8.kernel_ms - now) - (fp32.kernel_ms - moved)
    return moved / fp32.kernel_ms, moved / now, others / fp32.kernel_ms


def _is_float_product(node):
    return node.op_type in CONVOLUTIONS | MATRIX_PRODUCTS and not node.sign_pair and node.macs > 0


def with_ratios_of(card, examination, measured):
    """What the `measured` speed-up becomes if integer products had the ratios of another card, and nothing else.

    The profile says by how much that makes the int8 model's nodes longer or shorter; a whole run in proportion.
    """
    own, there = machine.card().speed, machine.card(card).speed
    int8, ms = examination.quantized, 0.0
    for node in int8.nodes:
        ratio = 1.0
        if node.sign_pair:
            if not there[node.sign_pair]:
                return math.nan  # no kernel there: the file would not run
            ratio = (own[node.sign_pair] or there[node.sign_pair]) / there[node.sign_pair]
        ms += node.ms * ratio
    return measured * int8.kernel_ms / ms


def cards():
    """This machine's card, the reference cards, and one made up on which u8 × u8 is slow: {name: Card}."""
    made_up = replace(
        machine.card("x86-avx2"), name="made up", speed={"u8s8": 1.6, "u8u8": 0.8, "s8s8": 1.2, "s8u8": 1.1}
    )
    found = [machine.card(), *map(machine.card, machine.reference_cards()), made_up]
    return {card.name: card for card in found}


def costs(profile):
    """(ms in depthwise convolutions, in other products, in all other nodes) of a Profile."""
    products_of = [node for node in profile.nodes if node.sign_pair or _is_float_product(node)]
    deep = sum(node.ms for node in products_of if node.depthwise)
    others = sum(node.ms for node in products_of) - deep
    return deep, others, profile.kernel_ms - deep - others


def depthwise(model):
    """Names of the depthwise convolutions of an fp32 file."""
    return [node.name for node in onnx.load(model).graph.node if node.op_type == "Conv" and _is_depthwise(node)]


def race_rows(size, counts, pairs, rounds=6):
    """{pair: [(rows, speed-up over float32), ...]} of the product of [rows, size] by a constant [size, size] matrix.

    Also "float32": [(rows, milliseconds), ...]. Pairs without a kernel here are left out. The slow pairs are not run
    beyond 16 rows, where they take long and tell nothing new.
    """
    drawn = np.random.default_rng(size)
    weights = drawn.integers(0, 100, (size, size)).astype(np.int8)
    sessions = {}
    for name in ("float32", *pairs):
        with contextlib.suppress(ValueError):  # no kernel for these signs here
            sessions[name] = _rows_session(name, weights)
    found = {name: [] for name in sessions}
    for count in counts:
        x = drawn.integers(0, 100, (count, size))
        actions = {
            name: partial(session.run, None, {"x": x.astype(_type_of(name))})
            for name, session in sessions.items()
            if count <= 16 or name == "float32" or (machine.card().speed[name] or 1) > 0.5
        }
        seconds = {name: float(np.median(each)) for name, each in interleave(actions, rounds_here(rounds)).items()}
        found["float32"].append((count, 1e3 * seconds["float32"]))
        for name in set(seconds) - {"float32"}:
            found[name].append((count, seconds["float32"] / seconds[name]))
    return found


@cache
def rate(number_of_bytes):
    """10^9 bytes read and written a second when so many bytes are copied: those that fit in a cache move faster."""
    source = np.ones(number_of_bytes, np.uint8)
    target = np.empty_like(source)
    times = max(1, 10_000_000 // number_of_bytes)

    def copy():
        for _ in range(times):
            np.copyto(target, source)

    return 2 * times * number_of_bytes / float(np.median(interleave({"copy": copy}, 7)["copy"])) / 1e9


@cache
def call_s():
    """Seconds that a call of a session takes by itself: a product of next to nothing."""
    session, x = _rows_session("float32", np.ones((2, 2), np.int8)), {"x": np.ones((1, 2), np.float32)}
    return float(np.median(interleave({"call": lambda: session.run(None, x)}, 50)["call"]))


def roofs(size, counts, pairs, card):
    """{pair: [speed-up at each number of rows]} by a roofline that knows the rate of as many bytes as the weights have,
    and what a call takes by itself."""
    counts = np.asarray(counts, float)
    arithmetic = 2 * counts * size**2 / (card.float32_gflops * 1e9)
    reading = {width: width * size**2 / (rate(width * size**2) * 1e9) for width in (1, 4)}
    plain = np.maximum(arithmetic, reading[4]) + call_s()
    speeds = {name: card.speed[name] for name in pairs if card.speed[name]}
    return {name: plain / (np.maximum(arithmetic / speed, reading[1]) + call_s()) for name, speed in speeds.items()}


def _type_of(name):
    return np.float32 if name == "float32" else np.uint8 if name.startswith("u8") else np.int8


def _rows_session(name, weights):
    x = np.empty((1, len(weights)), _type_of(name))
    w = weights.astype(np.float32 if name == "float32" else np.uint8 if name.endswith("u8") else np.int8)
    return operator_session("MatMul" if name == "float32" else "MatMulInteger", x, w)


SLOW, CONV, ISLAND = "sign pair", "ConvInteger", "float island"


def pair(node, model):
    """The signs that a node of the graph multiplies, left and right, such as "u8s8"; "" for what is no integer product.

    ConvInteger puts its weights on the left (notebook 07), so that its weights' sign comes first.
    """
    if node.op_type not in CONVOLUTIONS | MATRIX_PRODUCTS:
        return ""
    held = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    held |= {value.name: value.type.tensor_type.elem_type for value in model.graph.input}
    makers = {name: each for each in model.graph.node for name in each.output}
    places = factors(node)
    if len(node.input) <= max(places):
        return ""
    tensors = {node.input[place]: Tensor(_dtype(node.input[place], held, makers), ()) for place in places}
    return sign_pair(node, tensors)


def _dtype(name, held, makers):
    """The element type of a tensor of the graph, as far as codes are concerned; 0 if it holds none."""
    while name not in held:
        maker = makers.get(name)
        if maker is None:
            return 0
        if maker.op_type == "DynamicQuantizeLinear":
            return TensorProto.UINT8
        written = operators.of(maker.op_type).writes
        if written is None and not _passes(maker):
            return 0
        place = written[1] if written else 0  # the zero point of what it gives, or what it hands on
        if len(maker.input) <= place or not maker.input[place]:
            return TensorProto.UINT8
        name = maker.input[place]
    return held[name]


def _passes(node):
    """Whether a node hands codes on as they are."""
    return node.op_type in {"Flatten", "Identity", "MaxPool", "Pad", "ReorderInput", "ReorderOutput", "Reshape",
                            "Slice", "Squeeze", "Transpose", "Unsqueeze"}  # fmt: skip


def causes(model, card):
    """Which of the three causes a graph shows on a card."""
    found = set()
    for node in model.graph.node:
        if node.op_type == "ConvInteger":
            found.add(CONV)
        if node.op_type in ("Conv", "FusedConv"):
            found.add(ISLAND)
        if (signs := pair(node, model)) and (card.speed[signs] or 0) < 1:
            found.add(SLOW)
    return found


@cache
def made(name):
    """Path of a quantized model that a check needs, made once."""
    path = folder("09") / f"{name.replace(' ', '-')}.onnx"
    network, *how = name.split()
    images, *_ = models.digit_split()
    kinds = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8}
    with captured_logs():
        if not how:
            onnx.save({"product": _lone_product, "island": _fused_island}[network](), path)
        elif how[0] == "static":
            pair_of = {"activation_type": kinds[how[1][:2]], "weight_type": kinds[how[1][2:]]}
            quantize_static(models.path(network), path, Feeds([{"images": images[:64]}]), **pair_of)
        else:
            operators = ["MatMul"] if network == "conformer" else None
            quantize_dynamic(models.path(network), path, weight_type=kinds[how[1]], op_types_to_quantize=operators)
    return path


def _fused_island():
    """A FusedConv in float, as onnxruntime writes a convolution with its activation in it, and no Conv."""
    weights = np.random.default_rng(3).normal(size=(4, 2, 3)).astype(np.float32)
    node = helper.make_node("FusedConv", ["x", "w"], ["y"], "fused", domain="com.microsoft", activation="Relu")
    put, get = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, size])
        for name, channels, size in (("x", 2, 6), ("y", 4, 4))
    )
    made_graph = helper.make_graph([node], "island", [put], [get], [numpy_helper.from_array(weights, "w")])
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made_graph, opset_imports=domains, ir_version=8)


def _lone_product():
    """A network of one product s8 x s8, its activations quantized by a fixed scale, and of one in float."""
    weights = np.random.default_rng(9).integers(-100, 101, (64, 32)).astype(np.int8)
    held = {"scale": np.float32(0.05), "zero": np.int8(0), "weights": weights, "floats": weights.astype(np.float32)}
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["codes"], "to_codes"),
        helper.make_node("MatMulInteger", ["codes", "weights"], ["sums"], "product"),
        helper.make_node("MatMul", ["x", "floats"], ["y"], "in_float"),
    ]
    put = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 64])
    get = [
        helper.make_tensor_value_info(name, dtype, ["rows", 32])
        for name, dtype in {"sums": TensorProto.INT32, "y": TensorProto.FLOAT}.items()
    ]
    made_graph = helper.make_graph(
        nodes, "product", [put], get, [numpy_helper.from_array(array, name) for name, array in held.items()]
    )
    return helper.make_model(made_graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


_MADE = [
    "digits dynamic u8", "digits dynamic s8", "digits static s8s8", "digits static u8s8", "digits static u8u8",
    "conformer dynamic s8", "conformer dynamic u8", "product", "island",
]  # fmt: skip


def running(path):
    """The graph that onnxruntime makes of a file; of one that it cannot open here, the file's own."""
    try:
        return graph.optimized(path)
    except ValueError:
        return onnx.load(path)


def _cards_with_others():
    own, avx2 = machine.card(), machine.card("x86-avx2")
    made_up = {
        "all fast": {"u8s8": 3.4, "u8u8": 3.4, "s8s8": 3.5, "s8u8": 3.3},
        "no s8 × u8": {"u8s8": 3.4, "u8u8": 2.9, "s8s8": 3.5, "s8u8": None},
        "u8 × u8 slow": {"u8s8": 1.6, "u8u8": 0.8, "s8s8": 1.2, "s8u8": 1.1},
        "just below": {"u8s8": 0.97, "u8u8": 1.03, "s8s8": 1.02, "s8u8": 0.98},
        "as fast": {"u8s8": 1.0, "u8u8": 0.995, "s8s8": 0.995, "s8u8": 1.0},
    }
    others = [replace(avx2, name=name, note="made up", speed=speed) for name, speed in made_up.items()]
    return [own, *map(machine.card, machine.reference_cards()), *others]


@exercise("09.3", "what makes this model slow")
def _(answer):
    tried, heard = 0, []
    for name in _MADE:
        path = made(name)
        model = running(path)
        for card in _cards_with_others()[:: 2 if name.startswith("conformer") else 1]:  # its graph takes a while
            said = f"{name}, on the card {card.name!r}"
            heard.append((_names(call(answer, path, card, name=f"causes, {said},"), said), path, model, card, said))
            tried += 1
    own = all(seen == causes(model, machine.card()) for seen, _, model, _, _ in heard)
    for each in heard:
        judge_causes(*each, own=own)
    return f"{len(_MADE)} models, {tried} pairs of a model and a card, this machine's and made-up ones among them"


def _names(seen, said):
    if isinstance(seen, str):
        seen = {seen} if seen else set()
    if isinstance(seen, dict):
        seen = {name for name, found in seen.items() if found}
    try:
        names = set(seen)
    except TypeError:
        raise Almost(f"{said}: expected a set of names, seen {brief(seen)}, a `{kind(seen)}`") from None
    if strangers := names - {SLOW, CONV, ISLAND}:
        known = ", ".join(map(repr, (SLOW, CONV, ISLAND)))
        raise Almost(f"{said}: {brief(next(iter(strangers)))} is none of {known}")
    return names


def judge_causes(seen, path, model, card, said, own=False):
    """own: whether each answer is the one that this machine's card would give, whatever card was handed over."""
    expected = causes(model, card)
    if seen == expected:
        return
    written = onnx.load(path)
    if seen == causes(written, card):
        raise Almost(
            f"{said}: {_listed(seen)} is what the *file* shows; the graph that runs shows {_listed(expected)}: read "
            "graph.optimized(path)"
        )
    evidence = _evidence(model, card)
    hint = "; for this machine's own card every answer is right: was the card handed over asked?" if own else ""
    for name in sorted(expected - seen):
        raise Almost(f"{said}: {name!r} is missing: {evidence[name]}{hint}")
    for name in sorted(seen - expected):
        raise Almost(f"{said}: {name!r} is not seen there: {evidence[name]}{hint}")


def _listed(names):
    return ", ".join(map(repr, sorted(names))) or "none of the three"


def _evidence(model, card):
    counted = Counter(node.op_type for node in model.graph.node)
    pairs = Counter(signs for node in model.graph.node if (signs := pair(node, model)))
    speeds = {signs: "no kernel" if card.speed[signs] is None else f"{card.speed[signs]:.2f}" for signs in pairs}
    multiplied = ", ".join(f"{n} × {_pair_in_words(s)} (card: {speeds[s]})" for s, n in pairs.items()) or "none"
    return {
        CONV: f"ConvInteger in the graph that runs: {counted['ConvInteger']}",
        ISLAND: f"Conv and FusedConv in the graph that runs: {counted['Conv'] + counted['FusedConv']}",
        SLOW: f"integer products by signs: {multiplied}; slow is below 1 times float32, or without a kernel",
    }


@cache
def _hybrid_feeds():
    """(feeds to calibrate on, feeds to judge on) of the conformer."""
    spoken = models.utterances("calibration")
    return [models.feed(each.samples) for each in spoken[:4]], [models.feed(each.samples) for each in spoken[40:42]]


def hybrid(model, output, reader):
    """Convolutions static with Q/DQ, then matrix products dynamic."""
    reduced = machine.card().saturates
    with tempfile.TemporaryDirectory() as folder:
        half = Path(folder) / "half.onnx"
        quantize_static(
            model, half, reader, quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"],
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=reduced,
        )  # fmt: skip
        quantize_dynamic(
            half, output, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, per_channel=True,
            reduce_range=reduced,
        )  # fmt: skip


@cache
def _reference_hybrid():
    """(operators that run, SQNR in dB) of the reference's file."""
    path = folder("09") / "reference-hybrid.onnx"
    with captured_logs():
        hybrid(models.path("conformer"), path, Feeds(_hybrid_feeds()[0]))
    return _facts(path)


class Facts(NamedTuple):
    """Of a quantized file: operators that run, pairs by op_type, SQNR of the outputs, whether u8 x s8 could saturate,
    {op_type: how many} of products with one scale for all of their weights, how many activations are made int8, and
    how many convolutions that are not depthwise run in float.
    """

    counts: Counter
    pairs: dict
    sqnr: float
    can_saturate: bool
    one_scale: Counter
    signed: int
    left: int


def _facts(path):
    model, written = graph.optimized(path), onnx.load(path)
    pairs = {node.op_type: signs for node in model.graph.node if (signs := pair(node, model))}
    dims = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in CONVOLUTIONS | MATRIX_PRODUCTS]
    scales = ((node, scale_places(node, factors(node)[1])) for node in products)
    types = {tensor.name: tensor.data_type for tensor in written.graph.initializer}
    quantizers = (node for node in written.graph.node if node.op_type == "QuantizeLinear" and len(node.input) > 2)
    held = {tensor.name: tensor for tensor in written.graph.initializer if tensor.data_type == TensorProto.INT8}
    weights = ((node, held[name]) for node in products if (name := node.input[factors(node)[1]]) in held)
    rows = (summed_rows(node, numpy_helper.to_array(tensor)) for node, tensor in weights)
    return Facts(
        counts=Counter(node.op_type for node in model.graph.node),
        pairs=pairs,
        sqnr=_outputs_db(path),
        can_saturate=any(can_saturate(row.T).any() for row in rows if row is not None),
        one_scale=Counter(
            node.op_type for node, places in scales if places and places[0] and dims.get(node.input[places[0]]) == 1
        ),
        signed=sum(types.get(node.input[2]) == TensorProto.INT8 for node in quantizers),
        left=sum(node.op_type in ("Conv", "FusedConv") and not _is_depthwise(node) for node in model.graph.node),
    )


def _is_depthwise(node):
    return any(attribute.name == "group" and attribute.i > 1 for attribute in node.attribute)


def _outputs_db(path):
    """SQNR of the conformer's outputs, of the file against fp32."""
    return sqnr_db(_fp32_outputs(), _outputs(path))


@cache
def _fp32_outputs():
    return _outputs(models.path("conformer"))


def _outputs(path):
    session = open_session(path)
    return np.concatenate([session.run(["ctc_log_probs"], feed)[0].ravel() for feed in _hybrid_feeds()[1]])


def _matrices(counts):
    return sum(counts[name] for name in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulInteger"))


@exercise("09.4", "hybrid, by hand")
def _(answer):
    feeds, _ = _hybrid_feeds()
    path = folder("09") / "answer.onnx"
    path.unlink(missing_ok=True)
    if not callable(answer):
        raise Almost(f"hybrid is of type `{kind(answer)}`: expected a function")
    reader = Feeds(feeds)
    with captured_logs():
        _call_hybrid(answer, path, reader)
    if next(reader.left, None) is not None:
        raise Almost("the reader still has feeds: quantize_static takes all of them if it gets the reader as it is")
    if not path.is_file():
        raise Almost("hybrid wrote nothing to `output`: the second call writes there, the first to a file in between")
    try:
        facts = _facts(path)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise Almost(f"the file that hybrid wrote does not run: {error_text(error)}") from error
    judge_hybrid(facts, _reference_hybrid())
    return (
        f"{facts.counts['QLinearConv']} QLinearConv and {_matrices(facts.counts)} dynamic matrix products run, all "
        f"u8 × s8; SQNR {facts.sqnr:.1f} dB"
    )


def _call_hybrid(answer, path, reader):
    try:
        call(lambda: [answer(models.path("conformer"), path, reader)], name="hybrid")
    except Almost as refusal:
        if "to be an initializer" in str(refusal):  # onnxruntime's words for a weight behind DequantizeLinear
            raise Almost(
                "the dynamic call took the convolutions too, whose weights the static one had quantized: "
                'op_types_to_quantize=["MatMul"] leaves them alone'
            ) from refusal
        raise


def judge_hybrid(facts, reference):
    counts = facts.counts
    if not set(counts) & (MATRIX_PRODUCTS | CONVOLUTIONS) - {"MatMul", "Conv", "FusedConv", "FusedMatMul", "Gemm"}:
        raise Almost("no product runs on integers: is `output` the quantized file?")
    if counts["ConvInteger"]:
        raise Almost(
            f"{counts['ConvInteger']} ConvInteger run: the dynamic call took the convolutions as well. "
            'op_types_to_quantize=["MatMul"] leaves them alone, and the static call must have had them before'
        )
    if others := sorted(name for name in counts if name.startswith("QLinear") and name != "QLinearConv"):
        told = ", ".join(f"{counts[name]} {name}" for name in others)
        raise Almost(
            f"{told} run: the static call took more than the convolutions. "
            'op_types_to_quantize=["Conv"] leaves the matrix products to the dynamic one, and all else in float'
        )
    if not _matrices(counts):
        raise Almost("the matrix products run in float: quantize_dynamic is missing, or it took another file")
    _judge_pairs(facts)
    if not counts["QLinearConv"]:
        raise Almost("the convolutions run in float: quantize_static is missing, or quantize_dynamic took another file")
    if facts.left:
        raise Almost(f"{facts.left} convolutions that are not depthwise run in float: are they left out of a call?")
    if machine.card().saturates and facts.can_saturate:
        raise Almost("on this card u8 × s8 saturates: give both calls reduce_range=True")
    if _matrices(counts) < _matrices(reference.counts):
        raise Almost(
            f"{_matrices(counts)} matrix products run on integers; {_matrices(reference.counts)} have weights: were "
            "nodes excluded?"
        )
    if facts.one_scale:
        told = ", ".join(f"{count} {op_type}" for op_type, count in facts.one_scale.items())
        raise Almost(f"one scale for all weights in {told}: per_channel=True gives each output channel its own")
    if facts.sqnr < reference.sqnr - 4:
        raise Almost(
            f"the outputs keep {facts.sqnr:.1f} dB, the reference {reference.sqnr:.1f}: are the ranges those of the "
            "reader's feeds as they come, and without further options such as ActivationSymmetric?"
        )


def _judge_pairs(facts):
    if facts.signed:
        raise Almost(
            f"{facts.signed} QuantizeLinear make int8 activations; asked for u8 × s8: activation_type=QuantType.QUInt8"
        )
    for op_type, signs in facts.pairs.items():
        if signs != "u8s8":
            raise Almost(
                f"{op_type} multiplies {_pair_in_words(signs)}; asked for u8 × s8: activations QUInt8, weights QInt8, "
                "in both calls"
            )


class Layer(NamedTuple):
    """One product: multiply-adds of a run; how many numbers go in, are held as weights, come out; is it quantized?"""

    macs: int
    x: int
    w: int
    y: int
    quantized: bool


def bytes_and_operations(node):
    """A NodeTime of an fp32 profile as a Layer, quantized if it has weights."""
    held = math.prod(node.weights) if node.weights else 0
    x = node.input_bytes // 4
    y = max(0, node.bytes // 4 - held - x)
    return Layer(node.macs, x, held, y, bool(held) and not node.depthwise)


def layers_of(profile):
    """The Layers of all float products of a Profile, and the milliseconds that they and that all else took."""
    nodes = [node for node in profile.nodes if _is_float_product(node)]
    ms = sum(node.ms for node in nodes)
    return [bytes_and_operations(node) for node in nodes], ms, profile.kernel_ms - ms


def cost(layers, speed, gflops, gb_per_s):
    """(fp32 ms, int8 ms) of the layers, by the roofline of a card."""
    fp32_ms = int8_ms = 0.0
    for layer in layers:
        plain = max(2 * layer.macs / gflops, 4 * (layer.x + layer.w + layer.y) / gb_per_s) / 1e6
        fp32_ms += plain
        if layer.quantized:
            work = max(2 * layer.macs / (speed * gflops), (layer.x + layer.w + 4 * layer.y) / gb_per_s) / 1e6
            int8_ms += work + 5 * layer.x / gb_per_s / 1e6
        else:
            int8_ms += plain
    return fp32_ms, int8_ms


_SIZES = (5, 8), (3, 6), (3, 7), (3, 6)  # powers of ten, of macs, x, w, y


def _cost_cases():
    drawn = np.random.default_rng(95)
    arithmetic = Layer(128 * 512 * 512, 128 * 512, 512 * 512, 128 * 512, True)
    bytes_bound = Layer(4096 * 4096, 4096, 4096 * 4096, 4096, True)
    yield "one layer, 128 rows", [arithmetic], 3.2, 98.0, 22.0
    yield "one layer, one row", [bytes_bound], 3.2, 98.0, 22.0
    yield "one layer left in float", [arithmetic._replace(quantized=False)], 3.2, 98.0, 22.0
    yield "a slow pair", [arithmetic], 0.3, 98.0, 22.0
    yield "no layer", [], 3.2, 98.0, 22.0
    for at in range(4):
        layers = [
            Layer(*(int(10 ** drawn.uniform(*ends)) for ends in _SIZES), bool(drawn.random() < 0.6)) for _ in range(5)
        ]
        numbers = 10 ** drawn.uniform(-0.6, 0.6), 10 ** drawn.uniform(1.5, 2.5), 10 ** drawn.uniform(0.8, 1.8)
        yield f"five drawn layers, {at}", layers, *map(float, numbers)


def _cost_mistakes(layers, speed, gflops, gb_per_s):
    """{what was done: (fp32 ms, int8 ms)}"""

    def summed(times=2, sides=max, codes=1, floats=4, out=4, making=5, all_of=False, apart=True, bytes_by=1):
        fp32 = int8 = 0.0
        for layer in layers:
            plain = sides((times * layer.macs / gflops, floats * (layer.x + layer.w + layer.y) / gb_per_s)) / 1e6
            moved = (codes * (layer.x + layer.w) + out * layer.y) / gb_per_s
            fast = times * layer.macs / (speed * gflops)
            added = making * layer.x / gb_per_s
            moved /= bytes_by
            own = (sides((fast, moved)) + added) if apart else sides((fast, moved + added))
            fp32 += plain
            int8 += own / 1e6 if layer.quantized or all_of else plain
        return fp32, int8

    right = summed()
    yield "a multiply-add is two operations", summed(times=1)
    yield "time of arithmetic and time of bytes are added; the longer of the two counts", summed(sides=sum)
    yield "the shorter of the two times is taken; the longer one counts", summed(sides=min)
    yield "the bytes are forgotten: a layer with few rows waits for its weights", summed(sides=lambda both: both[0])
    yield "the arithmetic is forgotten", summed(sides=lambda both: both[1])
    yield "codes are counted with 4 bytes each; x and w have 1 byte a number", summed(codes=4)
    yield "numbers are counted as bytes; a float32 has 4", summed(floats=1, out=1, making=2)
    yield "y is counted with 1 byte a number; it comes out as float32", summed(out=1)
    yield "making codes is forgotten: x is read as floats and written as codes", summed(making=0)
    yield "making codes reads 4 bytes and writes 1 for each number of x; the reading is missing", summed(making=1)
    yield "making codes reads 4 bytes and writes 1 for each number of x; the writing is missing", summed(making=4)
    yield "making codes reads and writes 4 bytes each; codes have 1", summed(making=8)
    yield "layers that are not quantized are counted as if they were", summed(all_of=True)
    yield "making codes goes on top: it is work of its own, not a part of the layer's bytes", summed(apart=False)
    yield "these are seconds; asked for milliseconds", tuple(each / 1e3 for each in right)
    yield "these are microseconds; asked for milliseconds", tuple(each * 1e3 for each in right)
    yield "the two are swapped: fp32 first", right[::-1]
    yield "the bytes are divided by the speed, too; a faster product does not move them faster", summed(bytes_by=speed)
    totals = [layer for layer in layers if layer.quantized], [layer for layer in layers if not layer.quantized]
    sums = [
        [sum(each) for each in zip(*([layer[:4] for layer in part] or [(0, 0, 0, 0)]), strict=True)] for part in totals
    ]
    bound = lambda macs, x, w, y: max(2 * macs / gflops, 4 * (x + w + y) / gb_per_s) / 1e6
    (macs, x, w, y), others = sums
    fast = max(2 * macs / (speed * gflops), (x + w + 4 * y) / gb_per_s) / 1e6 + 5 * x / gb_per_s / 1e6
    yield (
        "the longer is taken of the two sums; take it for each layer, then add",
        (bound(*map(sum, zip(*sums, strict=True))), fast + bound(*others)),
    )
    whole = sum(layer.quantized for layer in layers) and right[0] / speed
    yield "all of fp32's time is divided by the card's speed; do it layer by layer", (right[0], whole)


@exercise("09.5", "a cost model")
def _(answer):
    cases = list(_cost_cases())
    seen = [_two(call(answer, *case, name=f"cost, {said},"), said) for said, *case in cases]
    expected = [cost(*case) for _, *case in cases]
    if (at := _first_apart(seen, expected)) is not None:
        why = _one_mistake(seen, [dict(_cost_mistakes(*case)) for _, *case in cases])
        told = [", ".join(f"{ms:.4g}" for ms in both) for both in (expected[at], seen[at])]
        raise Almost(f"{cases[at][0]}: expected ({told[0]}) ms, seen ({told[1]}){why}")
    return f"{len(cases)} networks, arithmetic and bytes in turn the longer"


def _two(seen, said):
    if isinstance(seen, Real):
        raise Almost(f"{said}: expected two numbers, (fp32_ms, int8_ms), seen one, {brief(seen)}")
    both = expect_array(list(seen.values()) if isinstance(seen, dict) else seen, said).ravel().astype(float)
    if both.size != 2:
        raise Almost(f"{said}: expected (fp32_ms, int8_ms), seen {brief(seen)}")
    return both


_CHILD = """\
import json, sys, time
import numpy as np, psutil
import qlab.runtime as runtime
feed = dict(np.load(sys.argv[2]))
memory = lambda: psutil.Process().memory_info().rss
before, started = memory(), time.perf_counter()
session = runtime.open_session(sys.argv[1])
opened, loaded = memory(), time.perf_counter() - started
session.run(None, feed)
print(json.dumps([1e3 * loaded, (opened - before) / 1e6, (memory() - before) / 1e6]))
"""


def loaded(paths, feed, times=3):
    """{name: (ms to open the file, MB that the process grew by opening it, and by running it once as well)}.

    Medians over new processes.
    """
    found = {name: [] for name in paths}
    with tempfile.TemporaryDirectory() as folder:
        stored = Path(folder) / "feed.npz"
        np.savez(stored, **feed)
        for _ in range(1 if in_haste() else times):
            for name, path in paths.items():
                command = [sys.executable, "-c", _CHILD, str(path), str(stored)]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                found[name].append(json.loads(done.stdout))
    return {name: tuple(np.median(each, axis=0).tolist()) for name, each in found.items()}
