"""What only notebook 03 draws."""

import numpy as np

from qlab import PerBlock, PerTensor, palette, sqnr_db
from qlab.course import plots
from qlab.course.lessons.n03 import nearest
from qlab.course.plots.canvas import INK, styled
from qlab.course.plots.schematic import Schematic
from qlab.numerics.codebook import absmax_scale, kmeans, normal_float, powers_of_two, uniform


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
