"""The pictures of notebook 07 alone."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, LogNorm
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab.course.plots import Schematic
from qlab.course.plots.canvas import INK, styled, with_interval
from qlab.course.plots.levels import histogram

_TIMES = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16]


def left_factor():
    """The two products of the dynamic model, and which operand each of them puts on the left."""
    s = Schematic(
        20,
        6.4,
        title="The same numbers, on the other side",
        alt="Two rows. MatMulInteger: the activations' codes, u8, T by K, times the codes of the weights, K by N. "
        "ConvInteger: the codes of the weights, N by K, times the windows of the activations, u8, K by T.",
    )
    for y, name, left, right, out in (
        (4.6, "MatMulInteger", ("activations\nT × K, u8", "activations"), ("weights\nK × N", "weights"), "T × N"),
        (1.5, "ConvInteger", ("weights\nN × K", "weights"), ("windows of the\nactivations\nK × T, u8", "activations"),
         "N × T"),
    ):  # fmt: skip
        s.text(0.3, y, name, align="left", bold=True)
        first = s.box(6.4, y, left[0], kind=left[1], width=3.6, height=1.9)
        s.text(8.9, y, "×", size=14)
        second = s.box(11.4, y, right[0], kind=right[1], width=3.6, height=1.9)
        sums = s.box(17.4, y, f"sums\n{out}, int32", kind="integer", width=3.4, height=1.9)
        s.arrow(second, sums)
        s.text(first.x, y + 1.3, "left", size=9)
        s.text(second.x, y + 1.3, "right", size=9)
    return s.figure


@styled
def signs(card, raced, *, title):
    """Left the card's four sign pairs as a heat map; right what the two products made of one sign bit. -> Figure

    raced: {name: (speed-up over float32, low, high), or None where there is no kernel}.
    """
    figure, (left, right) = palette.figure(1, 2, height=3.5, width_ratios=(2, 3))
    _heat(left, card)
    names = list(raced)
    for y, name in enumerate(names):
        if raced[name] is None:
            right.annotate("no kernel here", (1, y), (8, 0), textcoords="offset points", va="center", color=INK)
            continue
        value, low, high = with_interval(raced[name])
        right.plot([1, value], [y, y], color=_faster_or_slower(value), linewidth=9, solid_capstyle="butt")
        right.plot([low, high], [y, y], color=INK, linewidth=1.4)
        right.annotate(
            f"{value:.2f}×", (max(high, 1), y), (8, 0), textcoords="offset points", va="center", color=INK
        )  # fmt: skip
    found = [value for entry in raced.values() if entry for value in entry]
    low, high = min(0.7, *found) / 1.2, max(1.4, *found) * 2
    _times_axis(right, low, high, "x")
    right.axvline(1, color=palette.FP32, linewidth=2)
    right.set_yticks(range(len(names)), names)
    right.set_ylim(len(names) - 0.5, -0.5)
    right.grid(False, axis="y")
    right.set_xlabel("speed against the float32 product (log)")
    right.set_title("measured just now", fontsize=10, fontweight="normal")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _faster_or_slower(times):
    """The colour that the card's heat map has on that side of 1."""
    return palette.INTEGER if times >= 1 else palette.ERROR


def _heat(axes, card):
    speeds = np.array([[card.speed[x + w] or np.nan for w in ("u8", "s8")] for x in ("u8", "s8")], float)
    ramp = LinearSegmentedColormap.from_list("times", [palette.ERROR, "white", palette.INTEGER])
    axes.imshow(speeds, cmap=ramp, norm=LogNorm(1 / 6, 6))
    for row, column in np.ndindex(2, 2):
        speed = speeds[row, column]
        said = "no\nkernel" if np.isnan(speed) else f"{speed:.2f}×"
        ground = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 2}
        axes.text(column, row, said, ha="center", va="center", color=INK, fontsize=12, bbox=ground)
    axes.set_xticks([0, 1], ["u8", "s8"])
    axes.set_yticks([0, 1], ["u8", "s8"])
    axes.set(xlabel="right factor", ylabel="left factor")
    axes.grid(False)
    axes.set_title("the card", fontsize=10, fontweight="normal")


def _times_axis(axes, low, high, which):
    getattr(axes, f"set_{which}scale")("log")
    getattr(axes, f"set_{which}lim")(low, high)
    axis = getattr(axes, f"{which}axis")
    axis.set_major_locator(FixedLocator([times for times in _TIMES if low <= times <= high]))
    axis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×"))
    axis.set_minor_locator(NullLocator())


@styled
def grid(rows, *, title):
    """A row a variant: word errors against fp32 and speed-up, both with intervals; changed transcripts as numbers.

    rows: {name: (Interval of the word error rate, changed transcripts, (speed-up, low, high) or None)}.
    """
    figure, (left, right) = palette.figure(1, 2, height=1.5 + 0.34 * len(rows), sharey=True)
    for y, (interval, changed, speedup) in enumerate(rows.values()):
        points = [100 * each for each in (interval.low, interval.high)]
        left.plot(points, [y, y], color=INK, linewidth=2.2)
        left.plot(100 * interval.difference, y, "o", color=INK)
        left.annotate(
            f"{changed}", (1, y), (-2, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
            ha="right", va="center", color=INK,
        )  # fmt: skip
        if speedup is not None:
            color = _faster_or_slower(speedup[0])
            right.plot(speedup[1:], [y, y], color=color, linewidth=2.2)
            right.plot(speedup[0], y, "o", color=color)
    for axes, at in ((left, 0), (right, 1)):
        axes.axvline(at, color=palette.FP32, linewidth=1.6)
        axes.grid(False, axis="y")
    left.set_yticks(range(len(rows)), list(rows))
    left.set_ylim(len(rows) - 0.5, -0.7)
    low, high = left.get_xlim()
    left.set_xlim(low, high + 0.22 * (high - low))
    left.annotate(
        "changed", (1, 1), (-2, 3), xycoords="axes fraction", textcoords="offset points", ha="right", color=INK,
        fontsize=9,
    )  # fmt: skip
    found = [value for _, _, speedup in rows.values() if speedup for value in speedup]
    _times_axis(right, min(0.7, *found) / 1.1, max(1.4, *found) * 1.1, "x")
    left.set_xlabel("word error rate against fp32 (points)")
    right.set_xlabel("speed against fp32 (log)")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


_STORED = {"float32": palette.FP32, "int8": palette.INTEGER, "uint8": palette.INTEGER}


@styled
def stored(files, *, title):
    """Stacked bars of what the files hold, in megabytes. files: {name: {"float32": bytes, ..., "graph": bytes}}."""
    figure, axes = palette.figure(height=1.3 + 0.45 * len(files))
    for y, parts in enumerate(files.values()):
        sums = {"float32": 0, "codes": 0, "the rest": 0}
        for name, size in parts.items():
            sums["float32" if name == "float32" else "codes" if name in _STORED else "the rest"] += size / 1e6
        left = 0.0
        inks = {"float32": palette.FP32, "codes": palette.INTEGER, "the rest": INK}
        for name, size in sums.items():
            axes.barh(y, size, left=left, color=inks[name], height=0.62, label=name if y == 0 else None)
            left += size
        said = ", ".join(f"{size:.2f} {name}" for name, size in sums.items() if size)
        axes.annotate(said, (left, y), (6, 0), textcoords="offset points", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(len(files)), list(files))
    axes.set_ylim(len(files) - 0.5, -0.6)
    axes.set_xlim(0, 1.45 * max(sum(parts.values()) for parts in files.values()) / 1e6)
    axes.legend(loc="lower right")
    axes.grid(False, axis="y")
    axes.set_xlabel("megabytes (10⁶ bytes)")
    axes.set_title(title)
    return figure


@palette.style()
def beside(x, curve, decibels, *, low, high, at_db, label):
    """Left a sentence's numbers with the levels that the batch leaves them; right its SQNR against loudness. -> Figure

    x: the numbers; low, high: what the levels reach; curve: (dB of the neighbour, SQNR); at_db, decibels: the dot.
    """
    figure, (left, right) = palette.figure(1, 2, height=3.4, layout=None)
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.16, top=0.84, wspace=0.24)
    levels = low + (high - low) * np.arange(256) / 255
    view = (min(float(x.min()), 0) * 1.05 - 0.02, float(x.max()) * 1.05)
    inside = int(((levels >= view[0]) & (levels <= view[1])).sum())
    shown = levels[(levels >= view[0]) & (levels <= view[1])]
    histogram(x, title="", label=label, kind="activations", levels=(), view=view, log=True, bins=90, axes=left)
    left.vlines(
        shown, -0.02, 0.07, transform=left.get_xaxis_transform(), color=palette.INTEGER, linewidth=1.4,
        clip_on=False, zorder=4,
    )  # fmt: skip
    left.set_title(f"{inside} of 256 codes are left (green)", fontsize=10, fontweight="normal")
    left.set_ylabel("% of your numbers (log)")
    right.plot(*curve, color=palette.ACTIVATIONS)
    right.plot(at_db, decibels, "o", color=palette.ACTIVATIONS, markersize=9)
    right.set(xlabel="the neighbour is louder by (dB)", ylabel="SQNR of your numbers (dB)", ylim=(-5, 55))
    right.set_title("at 0 dB the neighbour is as large as you", fontsize=10, fontweight="normal")
    times = 10 ** (at_db / 20)
    said = (
        f"Beside one {times:.0f} times as large: SQNR {decibels:.1f} dB"
        if at_db
        else f"Beside its like: SQNR {decibels:.1f} dB"
    )
    figure.suptitle(said, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
