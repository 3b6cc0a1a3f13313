"""Models and methods beside each other: a slope chart, bars."""

import numpy as np
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab.course.plots.canvas import INK, colour, panel, spread, styled, with_interval

_TIMES = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16]


@styled
def slope_chart(left, right, *, title, left_label="the article", right_label="this machine"):
    """Speed-ups from one table to another on a log axis; a line that changes sign is drawn bold.

    left, right: {name: speed-up against fp32, or (speed-up, low, high)}; a name of one side only is a point there.
    Where an interval contains 1 the sign cannot be told, and the line stays thin.
    """
    figure, axes = palette.figure(height=4.6)
    sides = [{name: with_interval(value) for name, value in side.items()} for side in (left, right)]
    everything = [value for side in sides for interval in side.values() for value in interval]
    if not everything or min(everything) <= 0:
        raise ValueError(f"slope chart: expected positive speed-ups, got {left} and {right}")
    low, high = np.log2(min(*everything, 0.7)) - 0.25, np.log2(max(*everything, 1.9)) + 0.25
    margins = _margins(_labels(0, *sides), _labels(1, *sides))
    axes.set(yscale="log", xlim=margins, ylim=(2**low, 2**high), ylabel="times as fast as fp32 (log)")
    axes.yaxis.set_major_locator(FixedLocator([times for times in _TIMES if 2**low <= times <= 2**high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xticks([0, 1], [left_label, right_label])
    axes.tick_params(axis="x", length=0, labelsize=11)
    axes.grid(False, axis="x")
    axes.axhline(1, color=palette.FP32, linewidth=2)
    flips = {name for name in sides[0] if name in sides[1] and _sign(sides[0][name]) * _sign(sides[1][name]) < 0}
    for name in sides[0]:
        if name in sides[1]:
            ends = [side[name][0] for side in sides]
            axes.plot([0, 1], ends, color=palette.INTEGER, linewidth=3.2 if name in flips else 1.4, zorder=3)
    for x, side in enumerate(sides):
        _points(axes, x, side, _labels(x, *sides), flips, (high - low) / 15)
    axes.set_title(title)
    return figure


def _labels(x, left, right):
    """The label of each point of one side. A line bears its name once, on the right."""
    if x:
        return {name: f"{value:.2f}×  {name}" for name, (value, _, _) in right.items()}
    return {name: f"{value:.2f}×" if name in right else f"{name}  {value:.2f}×" for name, (value, _, _) in left.items()}


def _margins(left, right):
    """Limits of x that leave room for the labels beside the columns at 0 and 1."""
    pixels = [8.4 * max(map(len, labels.values()), default=0) + 40 for labels in (left, right)]
    between = max(160, 690 - sum(pixels))
    return -pixels[0] / between, 1 + pixels[1] / between


def _sign(interval):
    _, low, high = interval
    return 1 if low > 1 else -1 if high < 1 else 0


def _points(axes, x, side, labels, flips, gap):
    """The dots, intervals and labels of one side; labels are moved apart, with a thin line to their dot."""
    outward = 1 if x else -1
    heights = 2.0 ** spread([np.log2(value) for value, _, _ in side.values()], gap)
    for (name, (value, low, high)), height in zip(side.items(), heights, strict=True):
        axes.plot([x], [value], "o", color=palette.INTEGER, markersize=7, zorder=4)
        if high > low:
            axes.plot([x, x], [low, high], color=INK, linewidth=1.2, zorder=5)
        axes.annotate(
            labels[name], (x, value), (x + 0.1 * outward, height), color=INK, fontsize=9.5, va="center",
            ha="left" if x else "right", fontweight="bold" if name in flips else "normal",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.6, "shrinkB": 5, "relpos": (1 - x, 0.5)},
        )  # fmt: skip


@styled
def bars(values, *, unit, title, kind="integer", kinds=None, reference=None, axes=None):
    """Horizontal bars with their values, and 95 % intervals where they are given.

    values: {name: number, or (number, low, high)}. kinds: {name: kind} where bars differ in kind; reference: (number,
    label) of a line to compare with.
    """
    axes = panel(axes, height=1.2 + 0.42 * len(values))
    rows = [with_interval(value) for value in values.values()]
    colours = [colour((kinds or {}).get(name, kind)) for name in values]
    axes.barh(range(len(rows)), [value for value, _, _ in rows], height=0.66, color=colours)
    largest = max(abs(value) for value, _, _ in rows) or 1
    decimals = max(0, 2 - int(np.floor(np.log10(largest))))  # three digits for the largest, as many places for all
    reach = max(high for _, _, high in rows) - min(0.0, *(low for _, low, _ in rows))
    for y, (value, low, high) in enumerate(rows):
        if high > low:
            axes.plot([low, high], [y, y], color=INK, linewidth=1.4)
        beyond = high + 0.012 * reach if value >= 0 else low - 0.012 * reach
        axes.text(beyond, y, f"{value:.{decimals}f}", va="center", ha="left" if value >= 0 else "right", color=INK)
    if reference is not None:
        axes.axvline(reference[0], color=palette.FP32, linewidth=1.6, linestyle="--")
        axes.annotate(
            reference[1], (reference[0], 1), (4, -2), xycoords=("data", "axes fraction"),
            textcoords="offset points", color=palette.FP32, va="top", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(values))
    axes.set_ylim(len(rows) - 0.5, -0.5 - (0.55 if reference is not None else 0))
    axes.margins(x=0.12)
    axes.grid(False, axis="y")
    axes.set_xlabel(unit)
    axes.set_title(title)
    return axes.figure
