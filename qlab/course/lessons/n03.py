"""Notebook 03: the nearest level, powers of two, where NF4 overtakes int4, an fp8 byte, 4 bits by onnxruntime.

Its pictures come first, then what it and its checks use.
"""

import logging
import tempfile
import time
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, fake_quantize, models, palette, sqnr_db
from qlab.course import plots
from qlab.course.expect import call, expect_array, expect_close, expect_equal, expect_number, tensors
from qlab.course.lessons import exercise
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, kind
from qlab.numerics.codebook import Codebook, absmax_scale, kmeans, normal_float, powers_of_two, uniform
from qlab.palette import INK, styled

_PATIENCE_S = 2  # for a million numbers: an array's arithmetic needs a tenth, a loop over numbers five


def thresholds(levels, x):
    """Uneven levels above even ones as many, borders halfway between neighbours, and where `x` goes. -> Figure"""
    levels = np.asarray(levels, float)
    rows = {"evenly spaced": np.linspace(levels[0], levels[-1], levels.size), "a codebook": levels}
    words = f"Two rows of {levels.size} levels, borders halfway between neighbours. {x:g} goes to the nearest level."
    page = Schematic(
        10, 4.1, title="A number takes the code of the nearest level; borders lie halfway between levels",
        alt=words,
    )  # fmt: skip
    for name, y in zip(rows, (2.85, 1.05), strict=True):
        row = rows[name]
        page.text(0.15, y + 0.75, name, align="left", bold=True)
        at = page.levels(0.6, 9.6, y, row, labels=[f"{level:.3g}" for level in row])
        borders = (row[1:] + row[:-1]) / 2
        page.axes.vlines(at(borders), y - 0.32, y + 0.5, color=INK, linewidth=1, linestyle="--")
        edges = np.array([row[0], *borders, row[-1]])
        for code, middle in enumerate((edges[1:] + edges[:-1]) / 2):
            page.text(at(middle), y + 0.33, f"code {code}" if np.diff(at(edges))[code] > 0.9 else code, size=9)
        nearest_one = row[np.abs(row - x).argmin()]
        page.axes.plot([at(x)], [y], "o", color=palette.WEIGHTS, markersize=8, zorder=5)
        page.arrow((at(x), y), (at(nearest_one), y), kind="weights", bend=0.25 if nearest_one > x else -0.25)
        page.text(at(x), y - 0.62, f"{x:g} becomes {nearest_one:.3g}", kind="weights", size=9)
    return page.figure


def bit_fields(rows):
    """One number's bits in several float types, cut into fields. rows: [(name, bits, exponent bits)] -> Figure"""
    page = Schematic(
        10, 0.55 + 0.85 * len(rows), title="One weight, rounded to four types: sign, exponent and mantissa",
        alt="; ".join(f"{name}: 1 sign bit, {e} of exponent, {len(b) - 1 - e} of mantissa" for name, b, e in rows),
    )  # fmt: skip
    size, room_for_name = 0.25, 0.95
    for index, (name, bits, exponent) in enumerate(rows):
        y = 0.85 * (len(rows) - index) - 0.15
        page.text(0.05, y, name, align="left", bold=True)
        start, first = 1.35, 0
        for field, count in (("sign", 1), ("exponent", exponent), ("mantissa", len(bits) - 1 - exponent)):
            page.cells(start, y, bits[first : first + count], size=size)
            page.text(start, y - 0.31, field if count == 1 else f"{field} {count}", align="left", size=9)
            first += count
            start += max(count * size, 0.3 if count == 1 else room_for_name) + 0.15
    return page.figure


_LINES = {"int4": "-", "NF4": "--", "log2": ":", "int8": "-", "E4M3": "--"}
_SIGNS = {"int4": "o", "NF4": "^", "log2": "_"}


@styled
def relative_errors(books):
    """The error of each codebook in % of the number, over the sizes from 1/800 to 1 of the largest. -> Figure"""
    size = np.geomspace(1.2e-3, 1, 1500).astype(np.float32)
    figure, axes = palette.figure(height=3.4)
    for name, book in books.items():
        error = np.abs(book[nearest(size, book)] - size) / size * 100
        axes.loglog(size, error, _LINES[name], color=palette.ERROR, label=name, linewidth=1.3)
    axes.set(xlabel="magnitude / largest magnitude", ylabel="error, % of the number", ylim=(0.5, 150))
    smallest = books["log2"][books["log2"] > 0].min()
    axes.set_title(f"log2 errs by a third at most down to 1/{1 / smallest:.0f}; int4 loses all small numbers")
    axes.legend(loc="lower left")
    return figure


@styled
def tails(reach, kept):
    """SQNR of many tensors over how far their tails reach. reach: [n]; kept: {codebook: [n] dB}. -> Figure"""
    figure, axes = palette.figure(height=4.0)
    for name, decibels in kept.items():
        wide = (
            {"markeredgewidth": 2} if _SIGNS[name] == "_" else {"markerfacecolor": "white" if name == "NF4" else None}
        )
        axes.plot(reach, decibels, _SIGNS[name], color=palette.WEIGHTS, label=name, markersize=8, **wide)
    axes.set(xlabel="largest weight / root mean square", ylabel="SQNR at 4 bits (dB)", xscale="log")
    _plain_ticks(axes, [3, 4, 5, 6, 8, 10, 12, 15])
    axes.set_title("The longer the tail, the less int4 and NF4 keep; log2 keeps what it keeps")
    axes.legend(loc="lower left")
    return figure


@styled
def stretched(reach, kept, best, marked):
    """SQNR over how far out the last level stands. kept: {name: dB at each reach}; best: dB; marked: {text: reach}."""
    figure, axes = palette.figure(height=4.0)
    for name, decibels in kept.items():
        line = "--" if "NF4" in name else "-"
        axes.plot(reach, decibels, line, color=palette.INTEGER, label=name)
    axes.axhline(best, color=INK, linewidth=1.2, linestyle=":", label="Lloyd-Max")
    for text, place in marked.items():
        axes.axvline(place, color=INK, linewidth=0.8)
        axes.annotate(text, (place, 0.04), (4, 0), xycoords=axes.get_xaxis_transform(), textcoords="offset points",
                      fontsize=9, color=INK)  # fmt: skip
    axes.set(xlabel="the last level stands at this many standard deviations", ylabel="SQNR (dB)")
    axes.set_title("Levels used equally often are not the levels that err least")
    axes.legend(loc="lower right")
    return figure


@styled
def crossings(block_sizes, curves, made_up=()):
    """NF4's lead over int4 with a zero point, in dB, over block sizes. curves: {name: (int4, NF4, first)}. -> Figure"""
    figure, axes = palette.figure(height=4.0)
    lines = iter((("o", "-"), ("s", "--"), ("^", "-"), ("D", "--"), ("v", ":")))
    for name, (even, uneven, first) in curves.items():
        sign, line = next(lines)
        ink = INK if name in made_up else palette.WEIGHTS
        label = f"{name}: from {first}" if first else f"{name}: never"
        axes.plot(block_sizes, np.subtract(uneven, even), line, marker=sign, color=ink, label=label, markersize=6)
    axes.axhline(0, color=INK, linewidth=1)
    axes.set(xlabel="numbers that share a scale", ylabel="dB that NF4 keeps more than int4", xscale="log")
    _plain_ticks(axes, block_sizes)
    axes.set_title("Where NF4 overtakes int4 with a zero point depends on the numbers")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="NF4 is ahead", alignment="left")
    return figure


@styled
def eight_bits(points):
    """SQNR at 8 bits over reach. points: {(kind of tensor, codebook): (reach [n], dB [n])}. -> Figure"""
    figure, axes = palette.figure(height=4.0)
    ends = {}
    for (sort, name), (reach, decibels) in points.items():
        ends[name] = [min(decibels), max(decibels), *ends.get(name, [])]
        face = {"markerfacecolor": "white"} if name == "E4M3" else {}
        sign = "^" if name == "E4M3" else "o"
        axes.plot(reach, decibels, sign, color=palette.COLOURS[sort], label=f"{name}, {sort}", markersize=6, **face)
    axes.set(xlabel="largest magnitude / root mean square", ylabel="SQNR at 8 bits (dB)", xscale="log")
    _plain_ticks(axes, [3, 4, 6, 8, 12, 16, 24])
    said = [f"{name} keeps {min(decibels):.0f} to {max(decibels):.0f} dB" for name, decibels in ends.items()]
    axes.set_title(f"Over these tensors {', '.join(said)}")
    axes.legend(loc="upper right", ncols=2)
    return figure


def _plain_ticks(axes, places):
    axes.set_xticks(places, labels=[f"{place:g}" for place in places])
    axes.minorticks_off()


METHODS = ("evenly spaced (int)", "k-means", "powers of two (log2)", "normal quantiles (NF)")
GROUPS = {"the whole tensor": PerTensor(), "each block of 32": PerBlock(1, 32)}
_MADE = dict(zip((METHODS[0], *METHODS[2:]), (uniform, powers_of_two, normal_float), strict=True))
_FITTED_TO = 4_000  # k-means sees this many values: enough for 64 levels, and quick enough for a slider


class CodebookPicture:
    """Draws `picture(method, bits, shared_by)` for one tensor, float32 [rows, columns].

    >>> picture = CodebookPicture(np.random.default_rng(0).normal(size=(16, 64)))
    >>> picture("k-means", 3, "each block of 32").axes[0].get_xlabel()
    'weight / largest magnitude that shares its scale'
    """

    def __init__(self, tensor):
        self._tensor = np.asarray(tensor, np.float32)
        self._scaled, self._fitted = {}, {}
        for name, granularity in GROUPS.items():
            scale = granularity.spread(absmax_scale(self._tensor, 1.0, granularity), self._tensor.shape)
            self._scaled[name] = self._tensor / scale, scale
            self._codebook("k-means", 4, name)  # the first fit loads scikit-learn, for which a slider is not to wait

    def __call__(self, method, bits, shared_by):
        """-> Figure: histogram with levels, and the share of the values that each level stands for."""
        book = self._codebook(method, bits, shared_by)
        scaled, scale = self._scaled[shared_by]
        codes = book.encode(scaled)
        quality = sqnr_db(self._tensor, book.decode(codes) * scale)
        used = np.bincount(codes.ravel(), minlength=book.levels.size) / codes.size * 100
        with palette.style():
            figure, (above, below) = palette.figure(2, height=4.6, layout=None)
            figure.subplots_adjust(left=0.09, right=0.98, top=0.92, bottom=0.11, hspace=0.52)
            title = f"{method}, {bits} bits, one scale for {shared_by}: {quality:.1f} dB"
            label = "weight / largest magnitude that shares its scale"
            plots.histogram(scaled, title=title, label=label, levels=book.levels, view=(-1, 1), axes=above)
            _draw_usage(below, used)
        return figure

    def _codebook(self, method, bits, shared_by):
        if method != "k-means":
            return _MADE[method](bits)
        if (bits, shared_by) not in self._fitted:
            values = self._scaled[shared_by][0].ravel()
            sample = values[:: max(1, values.size // _FITTED_TO)]
            largest = values[np.abs(values).argmax()]  # kmeans scales by it: a sample without it would be stretched
            self._fitted[bits, shared_by] = kmeans(np.append(sample, largest), bits)
        return self._fitted[bits, shared_by]


def _draw_usage(axes, used):
    axes.bar(np.arange(used.size), used, width=0.8, color=palette.INTEGER)
    axes.set(xlabel="code, from lowest level to highest", ylabel="% of the numbers", xlim=(-0.8, used.size - 0.2))
    few = int(np.searchsorted(np.sort(used)[::-1].cumsum(), 90)) + 1
    axes.set_title(f"{few} of {used.size} levels stand for 90 % of the weights")


def nearest(x, levels):
    """What stands in the place of exercise 03.1: the index of the level nearest to each number, halfway the lower."""
    levels = np.asarray(levels)
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, x)


@exercise("03.1", "the nearest level", place="nearest", otherwise=nearest)
def _(answer):
    random = np.random.default_rng(31)
    uneven = np.float32([-3, -1, 0, 0.5, 4])
    books = {"NF4": normal_float(4).levels, "powers of two": powers_of_two(4).levels, "uneven levels": uneven}
    for name, levels in books.items():
        reach = 1.5 * float(np.abs(levels).max())
        for shape in ((40,), (6, 7)):
            _expect_nearest(answer, random.uniform(-reach, reach, shape).astype(np.float32), levels, f"{name}, {shape}")
    _expect_nearest(answer, uneven, uneven, "numbers that are levels themselves")
    halfway = np.float32([-2, -0.5, 0.25, 2.25])
    beside = np.concatenate([halfway - 1e-4, halfway + 1e-4]).astype(np.float32)
    _expect_nearest(answer, beside, uneven, "numbers close to halfway")
    codes = expect_array(call(answer, halfway, uneven, name="nearest"), "codes of numbers halfway")
    expect_equal(codes, [0, 1, 2, 3], "codes of numbers halfway", hint="between two levels the lower one is chosen")
    return f"even or uneven levels, inside and far outside, arrays of one and of two axes{_slowness(answer)}"


def _slowness(answer):
    """What a reader whose version goes number by number is told: later cells call it with many millions."""
    few = np.linspace(-1, 1, 2_000, dtype=np.float32)
    start = time.perf_counter()
    answer(few, normal_float(4).levels)
    seconds = (time.perf_counter() - start) / few.size * 1e6
    if seconds < _PATIENCE_S:
        return ""
    return (
        f"; {seconds:.0f} s for a million numbers, and the cells below ask for some 40 million: the solution takes all "
        "of them at once"
    )


def _expect_nearest(answer, x, levels, what):
    codes = expect_array(call(answer, x, levels, name="nearest"), f"the codes ({what})")
    _expect_shape_of_codes(codes, x, levels, what)
    distance = np.abs(x[..., None] - levels)
    reference = distance.argmin(axis=-1)
    above = np.searchsorted(levels, x)
    below = np.clip(np.searchsorted(levels, x, side="right") - 1, 0, levels.size - 1)
    step = (levels[-1] - levels[0]) / (levels.size - 1)
    evenly = np.clip(np.rint((x - levels[0]) / step), 0, levels.size - 1)
    mistakes = {
        "x was rounded to float16 first, which moves numbers across a border": nearest(np.float16(x), levels),
        "these are the levels: what is asked for is their index, the code": levels[reference],
        "these count from 1, and an index counts from 0": reference + 1,
        "these are the indices of the *furthest* level: argmin finds the smallest distance": distance.argmax(axis=-1),
        "these are distances, not the index of the smallest": distance.min(axis=-1),
        "these are the indices of the next level *above*, past the last one too": above,
        "these are the indices of the next level *above*, not of the nearest": np.minimum(above, levels.size - 1),
        "these are the indices of the next level *below*, not of the nearest": below,
        "these count the levels from the highest down: index 0 is the lowest": levels.size - 1 - reference,
        "this takes the levels to be evenly spaced, which only a uniform codebook is": evenly,
        "the smallest *signed* difference: it lies far below 0, at the greatest level": np.full(
            x.shape, levels.size - 1
        ),
        "the magnitudes are compared and the sign is lost: -1 is not near 1": nearest(np.abs(x), levels),
        "x was scaled first: the levels are given as they stand, in the unit of x": nearest(
            x / np.abs(x).max(), levels
        ),
        "x was clipped to -1 ... 1 first: levels may lie further out": nearest(np.clip(x, -1, 1), levels),
        "the distances were divided by the level: near is meant on the number line": _nearest_relatively(x, levels),
        "the distances are those of logarithms: near is meant on the number line": _nearest_by_logarithm(x, levels),
    }
    expect_equal(codes, reference, f"the codes ({what})", mistakes=mistakes)
    if codes.dtype.kind not in "iu":
        raise Almost(f"the codes ({what}) are {codes.dtype}: an index is a whole number, of an integer dtype")


def _expect_shape_of_codes(codes, x, levels, what):
    if codes.shape == x.shape:
        return
    reasons = {
        (): "one code for each number is asked for: argmin without `axis` gives one for all",
        (*x.shape, 1): "one axis too many: argmin with keepdims keeps the levels' axis",
        (*x.shape[1:], levels.size): "argmin along the first axis asks for each *level* which number is nearest; the "
        "levels' axis is the last one",
        (x.size,): "the shape of x is lost",
    }
    reason = reasons.get(codes.shape, "a code for each number is asked for, in x's shape")
    raise Almost(f"the codes ({what}): expected shape {x.shape}, seen {codes.shape}: {reason}")


def _nearest_relatively(x, levels):
    with np.errstate(divide="ignore", invalid="ignore"):
        return (np.abs(x[..., None] - levels) / np.abs(levels)).argmin(axis=-1)


def _nearest_by_logarithm(x, levels):
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.abs(np.log(np.abs(x[..., None] / levels))).argmin(axis=-1)


@exercise("03.2", "a log2 quantizer")
def _(answer):
    for bits in (4, 2, 3, 6):  # 4 first: with 2 bits, several mistakes have the same levels
        for name, x in tensors(seed=32 + bits):
            _expect_powers(answer, x, bits, f"{name} at {bits} bits")
    for bits in (2, 3, 4, 6):  # last: other mistakes are named before the rule for ties is
        _expect_ties(answer, bits)
    return "9 kinds of tensors at 2, 3, 4 and 6 bits, zeros and numbers halfway between levels among them"


def _expect_powers(answer, x, bits, what):
    seen = expect_array(call(answer, x, bits, name="log2_quantize"), what)
    if not np.isfinite(seen.astype(np.float64)).all():
        raise Almost(f"{what}: NaN or infinity came out: log2(0) is -infinity and 0 / 0 is NaN, so zeros need care")
    powers, largest = _magnitudes(bits), np.abs(x).max()
    descending = largest * np.array([*-powers, 0, *powers])
    mistakes = {
        "the result was rounded to float16": lambda: powers_of_two(bits).fake_quantize(x).astype(np.float16),
        "small numbers became 0: their m is small too, and only m = 0 needs care": np.zeros_like(x),
        "rounded in the exponent: 1.45 lies nearer to 1 than to 2, although log2(1.45) rounds to 1": _by_exponent(
            x, bits, np.rint
        ),
        "the exponent is cut, not rounded: 1.9 lies nearer to 2 than to 1": _by_exponent(x, bits, np.floor),
        "the exponent is rounded *up*: 1.1 lies nearer to 1 than to 2": _by_exponent(x, bits, np.ceil),
        **_without_zero_by_exponent(x, bits),
        "that is the *natural* logarithm, and powers of e: np.log2 gives powers of two": _by_exponent(
            x, bits, np.rint, base=np.e
        ),
        "the powers go on for ever, and 0 is missing: a few bits number a few levels": lambda: (
            np.sign(x) * np.abs(x).max() * 2.0 ** np.rint(np.log2(np.abs(x) / np.abs(x).max()))
        ),
        "0 is missing among the levels: small numbers belong to it": _nearest_of(x, powers, zero=False),
        **_zero_by_exponent(x, bits),
        "the sign is lost": lambda: np.abs(powers_of_two(bits).fake_quantize(x)),
        "only the positive half has levels: each power takes two codes, + and -": lambda: np.maximum(
            powers_of_two(bits).fake_quantize(x), 0
        ),
        "these are codes, the indices of the levels: what is asked for is the levels, numbers again": lambda: (
            powers_of_two(bits).encode(x / (np.abs(x).max() or 1))
        ),
        "the levels are not scaled back by m: they must lie between -m and m": lambda: (
            powers_of_two(bits).fake_quantize(x) / (np.abs(x).max() or 1)
        ),
        "m is x.max() here: the largest *magnitude* may be that of a negative number": lambda: _nearest_level(
            x, x.max() * np.sort([*-powers, 0, *powers])
        ),
        "m differs from row to row: it is the largest magnitude in the whole of x": lambda: powers_of_two(
            bits
        ).fake_quantize(x, PerBlock(x.ndim - 1, x.shape[-1])),
        "m itself is missing among the levels: they begin at m, not at m/2": _nearest_of(x, powers / 2),
        "too many levels: with a sign and 0, there is room for 2**(bits - 1) - 1 powers": _nearest_of(
            x, 0.5 ** np.arange(2**bits - 1)
        ),
        "one power too many: 0 takes a code as well, so that 2**(bits - 1) - 1 are left": _nearest_of(
            x, 0.5 ** np.arange(2 ** (bits - 1))
        ),
        "too few levels: a power for each *code* is meant, not for each bit: 2**(bits - 1) - 1 powers": _nearest_of(
            x, 0.5 ** np.arange(bits)
        ),
        "too few levels: `bits` bits number 2**bits codes, and so 2**(bits - 1) - 1 powers": _nearest_of(
            x, 0.5 ** np.arange(bits - 1)
        ),
        "the distances were divided by the level: near is meant on the number line": lambda: np.sort(descending)[
            _nearest_relatively(x, np.sort(descending))
        ],
        "16 levels, one negative power more than positive ones: each power takes two codes, + and -": lambda: (
            _nearest_level(x, largest * np.sort([*-powers, 0, *powers, -powers[-1] / 2]))
        ),
        "the levels are not in ascending order, and a search among borders needs that": lambda: descending[
            nearest(x, descending)
        ],
        "m is rounded up to a power of two: it is the largest magnitude itself": lambda: _nearest_level(
            x, 2.0 ** np.ceil(np.log2(largest or 1)) * np.sort(descending) / (largest or 1)
        ),
        **_m_kept_off_zero(x, powers),
        "evenly spaced levels: the magnitudes are m, m/2, m/4 ...": lambda: uniform(bits).fake_quantize(x),
        "the greatest level is 1 here, not the largest magnitude in x": lambda: Codebook(
            "", powers_of_two(bits).levels, unit=None
        ).fake_quantize(x),
    }
    expect_close(seen, powers_of_two(bits).fake_quantize(x), what, mistakes=mistakes)


def _expect_ties(answer, bits):
    """Numbers exactly halfway between two levels: with m a power of two, float32 holds them exactly."""
    levels = 4 * powers_of_two(bits).levels
    x = np.float32([*(levels[1:] + levels[:-1]) / 2, 4])
    lower, upper = np.append(levels[:-1], 4), np.append(levels[1:], 4)
    inner, outer = np.where(np.abs(lower) < np.abs(upper), [lower, upper], [upper, lower])
    rule = "halfway the lower level is asked for, the one further left: -0.75 becomes -1, and 0.75 becomes 0.5"
    mistakes = {
        f"ties go up here; {rule}": upper,
        f"ties go towards 0 here; {rule}": inner,
        f"ties go away from 0 here; {rule}": outer,
    }
    seen = call(answer, x, bits, name="log2_quantize")
    expect_close(seen, lower, f"numbers halfway between levels at {bits} bits", mistakes=mistakes, hint=rule)


def _magnitudes(bits):
    return 0.5 ** np.arange(2 ** (bits - 1) - 1)


def _nearest_of(x, magnitudes, zero=True):
    def result():
        levels = [*-magnitudes, 0, *magnitudes] if zero else [*-magnitudes, *magnitudes]
        return _nearest_level(x, np.abs(x).max() * np.sort(levels))

    return result


def _nearest_level(x, levels):
    return levels[np.abs(x[..., None] - levels).argmin(axis=-1)]


def _m_kept_off_zero(x, powers):
    """{mistake: result} where m is kept off 0 by more than tiny numbers bear."""
    levels, largest = np.sort([*-powers, 0, *powers]), np.abs(x).max()
    why = "tiny numbers have a tiny m, and only m = 0 needs care"
    results = {}
    for least in 10.0 ** np.arange(-7, -1):
        results[f"m is {least:g} too large: {why}"] = _nearest_level(x, (largest + least) * levels)
        results[f"m is never less than {least:g} here: {why}"] = _nearest_level(x, max(largest, least) * levels)
    return results


def _zero_by_exponent(x, bits):
    """{mistake: result} where 0 begins at a whole or a rounded exponent, below which no power is left."""
    smallest = np.abs(x).max() * _magnitudes(bits)[-1]
    right = powers_of_two(bits).fake_quantize(x)
    up = np.sign(x) * smallest
    edge = "0 and the smallest power p meet at p/2, on the number line"
    return {
        f"0 begins where the exponent *rounds* to less than the smallest one, at p/√2. {edge}": lambda: np.where(
            np.abs(x) < smallest / np.sqrt(2), 0, np.where(np.abs(x) < smallest, up, right)
        ),
        f"0 begins right below the smallest power p. {edge}": lambda: np.where(np.abs(x) < smallest, 0, right),
    }


def _without_zero_by_exponent(x, bits):
    """{mistake: result} where small numbers, too, go to a power that is chosen by its exponent."""
    both = "and small numbers stay at the smallest power, where 0 is nearer"
    return {
        f"rounded in the exponent (1.45 lies nearer to 1 than to 2), {both}": _by_exponent(
            x, bits, np.rint, zero=False
        ),
        f"the exponent is cut (1.9 lies nearer to 2 than to 1), {both}": _by_exponent(x, bits, np.floor, zero=False),
    }


def _by_exponent(x, bits, to_whole, base=2.0, zero=True):
    """Powers chosen by their exponent, as one is tempted to: 0 only where half of the smallest is not reached.

    Without `zero` only 0 itself stays 0.
    """

    def result():
        largest = np.abs(x).max() or np.float32(1)
        size = np.maximum(np.abs(x) / largest, 1e-30)
        lowest = 2 - 2 ** (bits - 1)
        power = base ** np.clip(to_whole(np.log(size) / np.log(base)), lowest, 0)
        return np.sign(x) * largest * np.where(zero & (size <= base**lowest / 2), 0, power)

    return result


def crossing(x, block_sizes, levels):
    """What stands in the place of exercise 03.3. -> (dB of int4 with a zero point, dB of the levels, first size)"""
    even, uneven = [], []
    for size in block_sizes:
        blocks = np.asarray(x).reshape(-1, size)
        even.append(sqnr_db(blocks, _with_zero_point(blocks)))
        uneven.append(sqnr_db(blocks, _on_levels(blocks, levels)))
    return even, uneven, _first_ahead(even, uneven, block_sizes)


def _with_zero_point(blocks):
    return fake_quantize(blocks, choose_qparams(blocks, "int4", granularity=PerAxis(0)))


def _on_levels(blocks, levels):
    return Codebook("levels", levels).fake_quantize(blocks, PerAxis(0))


def _first_ahead(even, uneven, block_sizes):
    ahead = (size for size, one, other in zip(block_sizes, even, uneven, strict=True) if other > one)
    return next(ahead, None)


_SAME_DB = 0.02  # orders of the same arithmetic differ by less, mistakes by more
_SIZES = (8, 16, 32, 64, 128, 256)


@exercise("03.3", "where NF4 overtakes int4", place="crossing", otherwise=crossing)
def _(answer):
    found = []
    for name, x, sizes in _crossing_tensors():
        found.append((name, _expect_crossing(answer, x, sizes, name)))
    said = [f"{name}: {first or 'never'}" for name, first in found[2:]]
    return f"NF4 leads from this block size on: {', '.join(said)}"


@cache
def _crossing_tensors():
    random, count = np.random.default_rng(33), 2**14
    return (
        ("Gaussian numbers in large blocks first", random.normal(size=count).astype(np.float32), (256, 8)),
        ("a few Gaussian numbers", _a_narrow_lead(), (8, 64, 128, 256)),
        ("Gaussian numbers", random.normal(size=count).astype(np.float32), _SIZES),
        ("Laplace numbers", random.laplace(size=(4, count // 4)).astype(np.float32), _SIZES),
        ("uniform numbers", random.uniform(-1, 1, count).astype(np.float32), _SIZES),
        ("positive numbers", np.abs(random.normal(size=count)).astype(np.float32) + 1, (8, 32)),
        ("a part of the convolution weight", _conv2d()[:48], _SIZES),
    )


def _a_narrow_lead():
    """Numbers of which NF4 keeps 0.05 dB more in blocks of 64: rounded to a tenth, both keep the same."""
    return np.random.default_rng(17).normal(size=2**11).astype(np.float32)


@cache
def _conv2d():
    initializers = {tensor.name: tensor for tensor in onnx.load(models.path("conformer")).graph.initializer}
    weight = numpy_helper.to_array(initializers["encoder.embed.conv.2.weight"])
    return weight.reshape(len(weight), -1)


def _expect_crossing(answer, x, sizes, what):
    levels = normal_float(4).levels
    seen = call(answer, x, list(sizes), levels, name="crossing")
    if not isinstance(seen, tuple | list) or len(seen) != 3:
        said = f"seen {brief(seen)} of type `{kind(seen)}`"
        raise Almost(f"crossing: expected three things, (dB of int4, dB of NF4, the first block size), {said}")
    even, uneven, first = crossing(x, sizes, levels)
    where = f"{what}, at block sizes {list(sizes)}"
    nf4 = lambda blocks: _on_levels(blocks, levels)
    _expect_curve(seen[0], x, sizes, f"dB of int4 with a zero point, {where}", even, uneven, _with_zero_point, _EVEN)
    _expect_curve(seen[1], x, sizes, f"dB of NF4, {where}", uneven, even, nf4, _misfits_of(levels))
    _expect_first(seen[2], even, uneven, sizes, what)
    return first


def _expect_curve(seen, x, sizes, what, expected, other, right, misfits):
    cut = {size: np.asarray(x).reshape(-1, size) for size in sizes}
    mistakes = {"the two lists are swapped: int4 with a zero point comes first": other, **_misread_decibels(expected)}
    wrong_cuts = {
        "one scale for all of x: each block has a scale of its own": lambda blocks: right(
            blocks.reshape(1, -1)
        ).reshape(blocks.shape),
        "one scale for each *column* of the blocks: a block is a row of reshape(-1, block_size)": lambda blocks: (
            right(blocks.T).T
        ),
        "so *many* blocks, not blocks of so many numbers: reshape(-1, block_size)": lambda blocks: right(
            blocks.reshape(blocks.shape[1], -1)
        ).reshape(blocks.shape),
    }
    for mistake, approximate in (wrong_cuts | misfits).items():
        mistakes[mistake] = lambda approximate=approximate: [sqnr_db(b, approximate(b)) for b in cut.values()]
    mistakes["x is cut in another order: neighbours in memory share a block, x.reshape(-1, block_size)"] = lambda: [
        sqnr_db(b, right(b)) for b in (np.asarray(x).T.reshape(-1, size) for size in sizes)
    ]
    for mistake, measured in _OTHER_RATIOS.items():
        mistakes[mistake] = lambda measured=measured: [20 * np.log10(measured(b, right(b))) for b in cut.values()]
    mistakes["this is the mean of the blocks' own decibels: SQNR is that of all numbers together"] = lambda: [
        np.mean([sqnr_db(*pair) for pair in zip(b, right(b), strict=True)]) for b in cut.values()
    ]
    expect_close(expect_array(seen, what), expected, what, rtol=0, atol=_SAME_DB, mistakes=mistakes)


_OTHER_RATIOS = {
    "a ratio of mean magnitudes: SQNR compares mean squares": lambda b, y: np.abs(b).mean() / np.abs(b - y).mean(),
    "a ratio of variances: SQNR compares mean squares, with their means in them": lambda b, y: b.std() / (b - y).std(),
    "a ratio of largest magnitudes: SQNR compares mean squares": lambda b, y: np.abs(b).max() / np.abs(b - y).max(),
    "the largest magnitude over the error: SQNR compares mean squares": lambda b, y: (
        np.abs(b).max() / np.sqrt(np.square(b - y).mean())
    ),
}


def _misread_decibels(expected):
    power = np.asarray(expected)
    return {
        "a natural logarithm: decibels are 20 log10 of the ratio": power * np.log(10),
        "half of the decibels: 20 log10 of a ratio of sizes, or 10 log10 of one of squares": power / 2,
        "twice the decibels: 10 log10 of a ratio of squares, or 20 log10 of one of sizes": power * 2,
        "error over numbers: SQNR is the numbers over the error, and positive here": -power,
        "this is the ratio itself: 20 log10 of it are decibels": 10 ** (power / 20),
        "this is the ratio of squares itself: 10 log10 of it are decibels": 10 ** (power / 10),
    }


def _evenly(blocks, steps=15, from_zero=True, whole=True, clipped=True):
    """int4 with a zero point, as a reader may write it; each option leaves out one thing."""
    low, high = blocks.min(axis=1, keepdims=True), blocks.max(axis=1, keepdims=True)
    if from_zero:
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    scale = (high - low) / steps
    zero_point = np.rint(-low / scale) if whole else -low / scale
    if clipped:
        zero_point = np.clip(zero_point, 0, steps)
    codes = np.rint(blocks / scale + zero_point) if not whole else np.rint(blocks / scale) + zero_point
    return (np.clip(codes, 0, min(steps, 15) if steps < 255 else steps) - zero_point) * scale


def _roughly(to_code=np.rint, to_zero_point=np.rint, from_low=False, wrap=False):
    """int4 with a zero point, rounded in another way than asked for. -> function blocks -> blocks"""

    def approximate(blocks):
        low, high = np.minimum(blocks.min(1, keepdims=True), 0), np.maximum(blocks.max(1, keepdims=True), 0)
        scale = (high - low) / 15
        zero_point = to_zero_point(-low / scale)
        codes = to_code((blocks - low) / scale) if from_low else to_code(blocks / scale) + zero_point
        codes = np.clip(codes, 0, 15)
        return ((codes - zero_point) % 256 if wrap else codes - zero_point) * scale

    return approximate


def _signed_extreme(blocks):
    """Symmetric int4 as onnxruntime's MatMulNBits and llama.cpp's Q4_0 have it: the extreme is code -8."""
    extreme = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=1, keepdims=True), axis=1)
    return np.clip(np.rint(blocks / (extreme / -8)), -8, 7) * (extreme / -8)


_EVEN = {
    "symmetric int4, without a zero point: each block's levels run from its smallest to its largest number": lambda b: (
        uniform(4).fake_quantize(b, PerAxis(0))
    ),
    "symmetric int4 from the signed extreme: here a zero point is asked for": _signed_extreme,
    "the zero point is not rounded: it is one of the 16 codes": lambda b: _evenly(b, whole=False),
    "the zero point is not rounded, though x / scale is: it is one of the 16 codes": _roughly(
        to_zero_point=np.positive
    ),
    "the range leaves out 0, so that the zero point lies outside the codes: widen it to take in 0": lambda b: _evenly(
        b, from_zero=False, clipped=False
    ),
    "the range leaves out 0, and the clipped zero point no longer fits it: widen it to take in 0": lambda b: _evenly(
        b, from_zero=False
    ),
    "scale is range / 16 here: 16 levels have 15 steps between them": lambda b: _evenly(b, steps=16),
    "scale is range / 14 here: with a zero point all 16 codes are there, and 15 steps": lambda b: _evenly(b, steps=14),
    "the zero point is cut, not rounded: np.rint before it becomes an integer": _roughly(to_zero_point=np.floor),
    "x / scale is rounded down: np.rint gives the nearest code": _roughly(to_code=np.floor),
    "x / scale is cut towards 0: np.rint gives the nearest code": _roughly(to_code=np.trunc),
    "x - low is rounded here, and the rounded zero point taken off: rint(x / scale) + zero_point is asked for": (
        _roughly(from_low=True)
    ),
    "codes minus zero point wrap around 256: both are unsigned integers": _roughly(wrap=True),
    "these are 8 bits: int4 has 15 steps": lambda b: _evenly(b, steps=255),
}


def _misfits_of(levels):
    book, bare = Codebook("levels", levels), Codebook("bare", levels, unit=None)
    by = lambda b, scale: book.decode(book.encode(b / scale)) * scale
    extreme = lambda b: np.take_along_axis(b, np.abs(b).argmax(axis=1, keepdims=True), axis=1)
    return {
        "the blocks are not scaled: NF4's levels run from -1 to 1": bare.fake_quantize,
        "the levels are not scaled back by the block's largest magnitude": lambda b: book.decode(
            book.encode(b / np.abs(b).max(axis=1, keepdims=True))
        ),
        "the scale is max() here: the largest *magnitude* may be that of a negative number": lambda b: by(
            b, b.max(axis=1, keepdims=True)
        ),
        "the scale is the range here: NF4 has no zero point, and the largest magnitude goes to 1": lambda b: by(
            b, b.max(axis=1, keepdims=True) - b.min(axis=1, keepdims=True)
        ),
        "the scale is the range here, 0 in it: NF4 has no zero point, and the largest magnitude goes to 1": lambda b: (
            by(b, np.maximum(b.max(axis=1, keepdims=True), 0) - np.minimum(b.min(axis=1, keepdims=True), 0))
        ),
        "the scale is the standard deviation here: the largest magnitude of the block goes to 1": lambda b: by(
            b, b.std(axis=1, keepdims=True)
        ),
        "the scale has the sign of the extreme, which mirrors the levels: it is a magnitude": lambda b: by(
            b, extreme(b)
        ),
        "these are int4's even levels": lambda b: uniform(4).fake_quantize(b, PerAxis(0)),
    }


def _expect_first(seen, even, uneven, sizes, what):
    sizes, first = list(sizes), _first_ahead(even, uneven, sizes)
    ahead = [size for size, one, other in zip(sizes, even, uneven, strict=True) if other > one]
    if seen is not None:
        seen = expect_number(seen, f"the first block size at which NF4 keeps more, {what}")
    if seen == first:
        return
    pairs = ", ".join(f"{size}: {one:.1f} / {other:.1f}" for size, one, other in zip(sizes, even, uneven, strict=True))
    mistakes = (
        (seen is None, "never, you say, and yet NF4 leads from some size on"),
        (not ahead, "NF4 never leads here: the answer is None"),
        (
            seen != sizes[0] and seen == _first_ahead(uneven, even, sizes),
            "that is where *int4* keeps more: the comparison is turned round",
        ),
        (seen == sizes[0], "NF4 from the first size on, you say: it does not lead there"),
        (
            seen == _first_ahead(np.round(even, 1), np.round(uneven, 1), sizes),
            "the decibels were rounded before they were compared: a smaller lead counts too",
        ),
        (seen == max(ahead, default=None), "that is the *last* size at which NF4 leads"),
        (first in sizes and seen == sizes.index(first), "that is its index in the list, not the size itself"),
        (True, "the first size at which NF4's decibels are the higher ones is asked for"),
    )
    why = next(text for applies, text in mistakes if applies)
    shown = "None" if seen is None else f"{seen:g}"
    raise Almost(f"{what}: expected {first}, seen {shown}: {why} (int4 / NF4 in dB at {pairs})")


@exercise("03.4", "decode an E4M3 byte")
def _(answer):
    bytes_ = np.arange(256, dtype=np.uint8)
    reference = bytes_.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    seen = np.array([_decoded(answer, int(byte)) for byte in bytes_])
    apart = ~_same(seen, reference)
    if not apart.any():
        return "all 256 bytes, the 14 subnormal numbers, both zeros and both NaN among them"
    for mistake, values in _misread(bytes_.astype(int)):
        if _same(values, seen).all():
            raise Almost(f"{_first_difference(seen, reference)}: {mistake}")
    raise Almost(f"{_first_difference(seen, reference)}: look at {_most_common_kind(np.flatnonzero(apart))}")


def _decoded(answer, byte):
    """The number that the answer reads, or Almost; None in the place of NaN has a message of its own."""
    missing = object()

    def decode_e4m3(byte):
        value = answer(byte)
        return missing if value is None and byte & 127 == 127 else value

    value = call(decode_e4m3 if callable(answer) else answer, byte, name="decode_e4m3")
    if value is missing:
        raise Almost(f'{_bits(byte)}: expected nan, seen None: NaN is a value of the type float, `float("nan")`')
    return expect_number(value, _bits(byte))


def _same(seen, reference):
    """Where two readings agree: NaN is NaN, and -0.0 is not 0.0."""
    alike = (seen == reference) & (np.signbit(seen) == np.signbit(reference))
    return alike | (np.isnan(seen) & np.isnan(reference))


def _bits(byte):
    return f"0b{byte >> 7:b}_{byte >> 3 & 15:04b}_{byte & 7:03b}"


def _first_difference(seen, reference):
    apart = np.flatnonzero(~_same(seen, reference))
    byte = int(apart[0])
    return f"{_bits(byte)}: expected {reference[byte]:g}, seen {seen[byte]:g} ({apart.size} of 256 bytes differ)"


def _most_common_kind(apart):
    """What to look at: the kind of byte of which most are read wrongly."""
    kinds = [_kind_of(int(byte)) for byte in apart]
    return max(dict.fromkeys(kinds), key=kinds.count)


def _kind_of(byte):
    if byte & 127 == 127:
        return "the one pattern, but for the sign, that is NaN: exponent 1111 with mantissa 111"
    if byte >> 3 & 15 == 0:
        return "exponent field 0000: there the number is mantissa/8 * 2**-6, without the leading 1"
    if byte >> 3 & 15 == 15:
        return "exponent field 1111: E4M3 has no infinity, so that these are ordinary numbers, up to 448"
    return "the ordinary numbers: sign * (1 + mantissa/8) * 2**(exponent - 7)"


def _misread(byte):
    """(mistake, what it makes of all 256 bytes): each differs from the right reading in one thing only."""

    def read(bias=7, lead=1.0, subnormal=True, eighths=8, signed=True, ieee=False, nan=True, lowest=None, below=7):
        exponent, mantissa = byte >> 3 & 15, byte & below
        value = (lead + mantissa / eighths) * 2.0 ** (exponent - bias)
        if subnormal:
            value = np.where(exponent == 0, mantissa / eighths * 2.0 ** (1 - bias if lowest is None else lowest), value)
        if nan:
            value = np.where(byte & 127 == 127, np.nan, value)
        if ieee:
            value = np.where(exponent == 15, np.where(mantissa == 0, np.inf, np.nan), value)
        return np.where((byte >> 7 == 1) & signed, -value, value)

    def as_e5m2(special=True):
        if special:
            return byte.astype(np.uint8).view(ml_dtypes.float8_e5m2).astype(np.float64)
        value = (1 + (byte & 3) / 4) * 2.0 ** ((byte >> 2 & 31) - 15)
        return np.where(byte >> 7 == 1, -value, value)

    e5m2 = (
        "this reads an E5M2 byte: five exponent bits with bias 15 and two of mantissa; E4M3 has four and three, bias 7"
    )
    reversed_mantissa = byte & 248 | (byte & 1) << 2 | byte & 2 | byte >> 2 & 1
    turned = byte >> 1 | (byte & 1) << 7
    exponent = (byte >> 3 & 15) - 16 * (byte >> 6 & 1)
    three = (1 + (byte & 15) / 16) * 2.0 ** ((byte >> 4 & 7) - 3)
    sign_bit = "the first bit is the sign, and the other seven stay as they are: no two's complement"
    zeros = np.where(byte >> 7 == 1, -0.0, 0.0)
    bias = "the exponent's bias is 7, so that 0111 means 2**0"
    ieee = "that is how E5M2 and float32 do it; E4M3 gives the exponent 1111 to numbers, up to 448"
    subnormal = "exponent field 0000 marks subnormal numbers: mantissa/8 * 2**-6"
    return (
        ("1 0000 000 is -0.0: the sign counts for 0 too, as in every float", read() + 0.0),
        (
            "both NaN patterns are NaN, with either sign: 0 1111 111 and 1 1111 111",
            np.where(byte == 127, np.nan, np.where(byte == 255, -480.0, read())),
        ),
        *((bias, read(bias=other)) for other in (8, 15, 6)),
        ("without its bias the exponent has no negative powers: 0111 means 2**0", read(bias=0)),
        ("the leading 1 is missing: a stored mantissa of 100 means 1.5", read(lead=0.0)),
        (f"{subnormal}, without a leading 1", read(subnormal=False)),
        ("subnormal numbers share the exponent of field 0001, which is -6, not -7", read(lowest=-7)),
        (f"{subnormal}, and not all of them 0", np.where(byte & 120 == 0, zeros, read())),
        ("the three mantissa bits count eighths, not tenths", read(eighths=10)),
        ("the three mantissa bits count eighths, not sevenths", read(eighths=7)),
        ("the three mantissa bits count eighths: quarters are E5M2's, which has two", read(eighths=4)),
        ("the three mantissa bits count eighths, not quarters", read(eighths=4, subnormal=False, nan=False)),
        (
            "the exponent field comes first, behind the sign, and the mantissa last",
            read()[byte & 128 | (byte & 15) << 3 | byte >> 4 & 7],
        ),
        ("the mantissa's bits are read from the wrong end: its first one counts a half", read()[reversed_mantissa]),
        ("the sign is the first bit, not the last", read()[turned]),
        *(
            ("the exponent field is unsigned, with a bias of 7, not a two's complement", value)
            for value in _with_exponent(exponent, byte, read())
        ),
        ("the exponent has four bits and the mantissa three, not three and four", np.where(byte > 127, -three, three)),
        (
            "that is another fp8, E4M3FNUZ: its bias is 8, and its one NaN stands where -0.0 does here",
            byte.astype(np.uint8).view(ml_dtypes.float8_e4m3fnuz).astype(np.float64),
        ),
        ("the mantissa has three bits, byte & 7: these are more", read(eighths=16, below=15)),
        ("the first bit is the sign", read(signed=False)),
        (ieee, read(ieee=True)),
        (ieee, np.where(byte & 120 == 120, np.nan, read())),
        (ieee, np.where(byte & 120 == 120, np.where(byte > 127, -np.inf, np.inf), read())),
        ("exponent 1111 with mantissa 111 is NaN, not 480", read(nan=False)),
        (
            "exponent 1111 with mantissa 111 is NaN, not infinity",
            np.where(byte & 127 == 127, np.where(byte > 127, -np.inf, np.inf), read()),
        ),
        (e5m2, as_e5m2()),
        (e5m2, as_e5m2(special=False)),
        ("this is the byte as an integer", byte.astype(float)),
        (f"this is the byte as a signed integer; {sign_bit}", np.where(byte > 127, byte - 256.0, byte)),
        (sign_bit, np.where(byte > 127, -read()[(256 - byte) & 127], read())),
    )


def _with_exponent(exponent, byte, right):
    """Readings with this exponent: the exceptions read rightly, only NaN, or none of them."""
    value = np.where(byte > 127, -1.0, 1.0) * (1 + (byte & 7) / 8) * 2.0**exponent
    nan = byte & 127 == 127
    return np.where(nan | (byte & 120 == 0), right, value), np.where(nan, right, value), value


@exercise("03.5", "4 bits by onnxruntime")
def _(answer):
    with tempfile.TemporaryDirectory() as folder:
        for name, weight, x in _products():
            path = Path(folder) / f"{name}.onnx"
            onnx.save(matmul_model(weight), path)
            tried = _tried(path, x)
            limits = _limits(tried)
            seen = [_setting(_returned(answer, str(path), x, limit)) for limit in limits]
            _expect_smallest(seen, limits, tried, f"the {name} weight")
    return "two weights, each with limits that all, some and none of the eight versions keep"


@cache
def _products():
    random = np.random.default_rng(35)
    initializers = {tensor.name: tensor for tensor in onnx.load(models.path("conformer")).graph.initializer}
    forward = numpy_helper.to_array(initializers["val_78"])
    heavy = random.standard_t(4, size=(256, 48)).astype(np.float32)
    rows = lambda weight: random.normal(size=(8, len(weight))).astype(np.float32)
    return ("feed-forward", forward, rows(forward)), ("heavy-tailed", heavy, rows(heavy))


def matmul_model(weight):
    """An ONNX model of one product, y = x @ weight, for any number of rows."""
    value = lambda name, size: helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["rows", size])
    node = helper.make_node("MatMul", ["x", "weight"], ["y"], "product")
    held = [numpy_helper.from_array(weight, "weight")]
    graph = helper.make_graph([node], "one product", [value("x", len(weight))], [value("y", weight.shape[1])], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


_BLOCK_SIZES = (16, 32, 64, 128)
_OUT_OF_REACH_DB = 100  # of 8 bits as well


class _Version(NamedTuple):
    """One 4-bit version of a model: its bytes, (block size, symmetric), and the dB that its output keeps.

    Beside it, what a reader may have measured instead: the weight's dB, and those of the output's largest magnitudes.
    """

    size: int
    setting: tuple[int, bool]
    kept: float
    of_weight: float
    of_peaks: float


def _tried(path, x):
    """Every 4-bit version of a model, in the order of two loops. -> list of _Version"""
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer  # a second to import

    model = path.read_bytes()
    every_input = np.eye(x.shape[1], dtype=np.float32)  # its product is the weight
    (reference,), (weight,) = _run(model, x), _run(model, every_input)
    versions, quiet = [], logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        for block_size in _BLOCK_SIZES:
            for symmetric in (True, False):
                quantizer = MatMulNBitsQuantizer(onnx.load(path), block_size=block_size, is_symmetric=symmetric)
                quantizer.process()
                data = quantizer.model.model.SerializeToString()
                (y,), (made) = _run(data, x), _run(data, every_input)
                peaks = 20 * np.log10(np.abs(reference).max() / np.abs(reference - y).max())
                decibels = (sqnr_db(reference, y), sqnr_db(weight, *made), peaks)
                versions.append(_Version(len(data), (block_size, symmetric), *map(float, decibels)))
    finally:
        logging.disable(quiet)
    return versions


def _run(model, x):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})


def _limits(tried):
    """Decibels between those of the versions, so that no limit is met by a hair; the last two are out of reach."""
    kept = sorted(version.kept for version in tried)
    apart = [(low + high) / 2 for low, high in pairwise(kept) if high - low > 0.1]
    return [kept[0] - 1, *apart, kept[-1] + 1, _OUT_OF_REACH_DB]


def _returned(answer, *arguments):
    """What the answer returns, None included: here it means that no version keeps enough."""
    wrapped = (lambda *given: (answer(*given),)) if callable(answer) else answer
    return call(wrapped, *arguments, name="four_bits")[0]


def _setting(seen):
    """The answer's (block_size, symmetric), or None."""
    if seen is None or seen == "None" or (isinstance(seen, tuple | list) and len(seen) == 2 and seen[0] is None):
        return None
    if not isinstance(seen, tuple | list) or len(seen) != 2:
        raise Almost(f"four_bits: expected (block_size, symmetric), or None, seen {brief(seen)} of type `{kind(seen)}`")
    if isinstance(seen[0], bool | np.bool):
        raise Almost(f"four_bits: block_size comes first, symmetric second, seen {brief(seen)}")
    block_size, symmetric = (expect_number(part, "four_bits: block_size and symmetric") for part in seen)
    if block_size not in _BLOCK_SIZES or symmetric not in (0, 1):
        raise Almost(f"four_bits: block_size is one of {_BLOCK_SIZES}, symmetric True or False, seen {brief(seen)}")
    return int(block_size), bool(symmetric)


def _expect_smallest(seen, limits, tried, what):
    right = [_chosen(tried, limit, min) for limit in limits]
    if seen == right:
        return
    index = next(index for index, pair in enumerate(zip(seen, right, strict=True)) if pair[0] != pair[1])
    said = f"{what}, at least {limits[index]:.1f} dB: expected {right[index]}, seen {seen[index]}"
    if not any(seen):
        decibels = "and are the decibels whole, 20 log10 of a ratio of sizes or 10 log10 of one of squares?"
        raise Almost(f"{said}, as for every limit: does every way end in `return`, {decibels}")
    for mistake, choose in _MISCHOSEN.items():
        if seen == [choose(tried, limit) for limit in limits]:
            raise Almost(f"{said}: {mistake}")
    raise Almost(f"{said}: {_why_not(seen, index, limits, tried)}")


def _chosen(tried, limit, choose):
    """The setting of one of the versions that keep at least `limit`, or None where none does."""
    enough = [version for version in tried if version.kept >= limit]
    return choose(enough).setting if enough else None


def _of_enough(choose):
    return lambda tried, limit: _chosen(tried, limit, choose)


def _of_measured(measured):
    """The smallest version of those of which `measured` is at least the limit."""
    return lambda tried, limit: min((version for version in tried if measured(version) >= limit), default=_NONE).setting


def _without(block_size):
    return lambda tried, limit: _chosen([one for one in tried if one.setting[0] != block_size], limit, min)


_NONE = _Version(0, None, 0, 0, 0)


def _only(symmetric):
    return lambda tried, limit: _chosen([one for one in tried if one.setting[1] == symmetric], limit, min)


_MISCHOSEN = {
    "that is the most exact version: the *smallest* that keeps enough is asked for": _of_enough(
        lambda enough: max(enough, key=lambda version: version.kept)
    ),
    "that is the smallest version of all: is its own y compared with the float model's y?": (
        lambda tried, limit: min(tried).setting
    ),
    "that is the first version that keeps enough, in the order of the loops: compare their bytes": _of_enough(
        lambda enough: enough[0]
    ),
    "that is the last version that keeps enough, in the order of the loops: compare their bytes": _of_enough(
        lambda enough: enough[-1]
    ),
    "that is the largest file that keeps enough, and the smallest is asked for": _of_enough(max),
    "that is the largest block, and not always the smallest file: rows are padded to whole blocks": _of_enough(
        lambda enough: max(enough, key=lambda version: version.setting)
    ),
    "the decibels are cut to whole ones before they are compared": _of_measured(lambda version: int(version.kept)),
    "the decibels are rounded to whole ones before they are compared": _of_measured(
        lambda version: round(version.kept)
    ),
    "those are the weight's decibels: what the output y keeps is asked for": _of_measured(
        lambda version: version.of_weight
    ),
    "those are decibels of largest magnitudes: SQNR compares mean squares": _of_measured(
        lambda version: version.of_peaks
    ),
    **{f"no version of block size {size} was tried": _without(size) for size in _BLOCK_SIZES},
    "only symmetric versions were tried: a zero point costs half a byte a block, and keeps more": _only(True),
    "only versions with a zero point were tried: symmetric ones are smaller": _only(False),
    "these keep *less* than the limit: the comparison is turned round": lambda tried, limit: next(
        (version.setting for version in sorted(tried) if version.kept < limit), None
    ),
}


def _why_not(seen, index, limits, tried):
    one, limit = seen[index], limits[index]
    kept = {version.setting: version.kept for version in tried}
    if seen[-2] and not seen[-1]:
        return (
            f"no 4-bit version keeps {limits[-2]:.1f} dB: are these 4 bits? "
            "MatMulNBitsQuantizer makes them unless `bits` says otherwise"
        )
    if len({setting for setting in seen if setting}) == 1:
        return (
            "whatever the limit, it is one and the same version: does onnx.load stand before the loops? process() "
            "rewrites the model that it is given, and the next quantizer finds nothing left to do"
        )
    if one is None:
        return "there is a version that keeps enough"
    if kept[one] < limit:
        return f"that version's output keeps {kept[one]:.1f} dB: measure y against the float model's y"
    size = {version.setting: version.size for version in tried}
    smaller = _chosen(tried, limit, min)
    return (
        f"{smaller} keeps {kept[smaller]:.1f} dB as well, in {size[smaller]:,} bytes instead of {size[one]:,}: "
        "len(model.SerializeToString()) tells them"
    )
