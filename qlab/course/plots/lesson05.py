"""Figures of notebook 05: how calibration flows, ranges that drift and grow, and where each method cuts."""

import numpy as np

from qlab import palette
from qlab.course.plots.canvas import INK
from qlab.course.plots.schematic import Schematic

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


@palette.style()
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


@palette.style()
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


@palette.style()
def thresholds(histogram, ranges, *, title, label):
    """A histogram on a log axis, and the range that each method keeps: {method: (low, high)}."""
    figure, (axes, below) = palette.figure(2, 1, height=4.4, layout=None, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.2, right=0.97, top=0.91, bottom=0.12, hspace=0.12)
    join = max(1, -(-histogram.counts.size // _BINS))
    starts = np.arange(0, histogram.counts.size, join)
    counts = np.add.reduceat(histogram.counts, starts)
    edges = np.append(histogram.edges[starts], histogram.edges[-1])
    axes.stairs(counts, edges, baseline=0.5, fill=True, color=palette.ACTIVATIONS, alpha=0.75)
    axes.set(yscale="log", ylim=(0.5, None), ylabel="numbers in a bin", title=title)
    for row, (low, high) in enumerate(ranges.values()):
        below.plot([low, high], [row, row], color=palette.INTEGER, linewidth=3, solid_capstyle="butt")
        below.plot([low, high], [row, row], "|", color=palette.INTEGER, markersize=11, markeredgewidth=2)
        axes.axvline(low, color=palette.INTEGER, linewidth=0.7, alpha=0.6)
        axes.axvline(high, color=palette.INTEGER, linewidth=0.7, alpha=0.6)
    below.set_yticks(range(len(ranges)), list(ranges), color=INK)
    below.set(ylim=(len(ranges) - 0.4, -0.6), xlabel=label)
    below.grid(False, axis="y")
    return figure
