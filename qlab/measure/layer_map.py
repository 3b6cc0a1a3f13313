"""The picture of where a quantized model loses its accuracy."""

import math

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from qlab import palette

COLUMNS = 160  # of the heat map at most: a narrower one would not be seen
NAMED = 3  # layers that the figure calls by name
SCALE = (0.0, 60.0)  # dB, in every figure alike, so that two of them compare: all is lost, and hardly anything
LONGEST_NAME = 32

# From dark to light, so that the order shows in any kind of colour vision, and in print.
COLOURS = LinearSegmentedColormap.from_list("error", ["#3D0410", palette.ERROR, "#E08A7D", "#FBE9E4"]).with_extremes(
    over="white", under="black", bad=palette.FP32
)


@palette.style()
def draw(rows, worst, note=""):
    """A figure of LayerErrors' `rows`, in graph order: heat map above, the same numbers as points below.

    worst  the rows that lose most by themselves, the worst first
    note   a line under the axis
    """
    values = np.array([[row.local_db for row in rows], [row.accumulated_db for row in rows]])
    low, high = _range(values), SCALE[1]
    figure, (above, below) = palette.figure(2, height=5.2, sharex=True, height_ratios=[1, 2.2])
    size = math.ceil(len(rows) / COLUMNS)
    columns, edges = _lowest_of(values, size)
    image = above.pcolormesh(edges, [0, 1, 2], columns, cmap=COLOURS, vmin=SCALE[0], vmax=SCALE[1])
    above.set_yticks([0.5, 1.5], ["alone", "accumulated"])
    above.set_ylim(2, 0)
    above.grid(False)
    above.tick_params(left=False)
    for side in above.spines.values():
        side.set_visible(True)
    above.set_title(_finding(worst))
    bar = figure.colorbar(image, ax=above, extend="both", aspect=9)
    bar.set_label("SQNR (dB)\nwhite: above, or exact" + ("\ngrey: NaN" if np.isnan(values).any() else ""), size=9)
    centres, room = np.arange(len(rows)) + 0.5, 0.35 * (high - low)
    marker = 3 if len(rows) > COLUMNS else 6
    dots = [
        below.plot(centres, np.where(values[place] <= high, values[place], np.nan), ".", **look)[0]
        for place, look in (
            (0, {"color": palette.ERROR, "label": "alone", "markersize": marker + 3}),
            (1, {"color": palette.INTEGER, "label": "accumulated", "markersize": marker}),
        )
    ]
    below.set_ylim(low - room, high + 2)
    below.set_xlim(0, len(rows))
    below.set_ylabel("SQNR (dB)")
    below.xaxis.set_major_locator(MaxNLocator(integer=True))
    below.set_yticks(np.arange(low, high + 1, 10))
    below.legend(handles=dots, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, borderaxespad=0)
    _call_by_name(below, rows, worst, low, room)
    text = "layers in graph order" + (f" (a column above: the lowest of {size})" if size > 1 else "")
    below.set_xlabel(f"{text}\n{note}" if note else text)
    return figure


def _range(values):
    """Where the axis of the points begins, in dB: at a multiple of 10 below all of them, but not below -20."""
    lowest = np.min(values, where=np.isfinite(values), initial=SCALE[1] - 10)
    return max(-20, 10 * math.floor(lowest / 10))


def _lowest_of(values, size):
    """Every `size` neighbouring columns as one, the lowest of each row; NaN is lower than all. Also the edges."""
    values = np.where(np.isinf(values), np.sign(values) * 1e3, values)  # matplotlib takes infinity for missing
    starts = np.arange(0, values.shape[1], size)
    return np.minimum.reduceat(values, starts, axis=1), np.append(starts, values.shape[1])


def _call_by_name(axes, rows, worst, low, room):
    """Names of the worst layers, each below its point and at a height of its own."""
    places = {row.name: place for place, row in enumerate(rows)}
    for rank, row in enumerate(worst[:NAMED]):
        place, value = places[row.name], low if math.isnan(row.local_db) else max(row.local_db, low)
        side = "left" if place < 0.6 * len(rows) else "right"
        axes.annotate(
            _short(row.name),
            (place + 0.5, value),
            (place + 0.5, low - room * (0.1 + 0.28 * rank)),
            color=palette.ERROR,
            ha=side,
            va="top",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": palette.ERROR, "linewidth": 0.7, "relpos": (side == "right", 1)},
        )


def _finding(worst):
    """The title: which layer loses most."""
    if not worst:
        return "No layer has an error of its own"
    name = f"{worst[0].op_type} {_short(worst[0].name)}"
    if math.isnan(worst[0].local_db):
        return f"{name} gives NaN or infinity by itself"
    if worst[0].local_db == -math.inf:
        return f"{name} errs where fp32 has zeros only"
    return f"{name} loses most: {worst[0].local_db:.1f} dB alone"


def _short(name):
    half = (LONGEST_NAME - 3) // 2
    return name if len(name) <= LONGEST_NAME else f"{name[:half]}...{name[-half:]}"
