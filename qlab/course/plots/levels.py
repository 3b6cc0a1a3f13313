"""The course's most frequent picture: where a tensor's values lie, and where the levels lie that stand for them."""

import numpy as np

from qlab import palette
from qlab.course.plots.canvas import INK, colour, numbers, panel, styled
from qlab.numerics.affine import fake_quantize
from qlab.numerics.metrics import sqnr_db

_DRAWN = 80  # more levels than this are a wall: every k-th is drawn
_NUMBERED = 16  # so many codes have room for their number
_GRID = 1_400  # points of an error curve: two a pixel
_LEAST = 1e-3  # % of the values: where a log axis begins
_GROUND = {"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85}  # words that stand on bars or lines


@styled
def histogram(values, *, title, label, kind="weights", levels=(), view=None, step=None, bins=140, log=False, axes=None):
    """Histogram of a real tensor, the levels as ticks at its foot, the parts that clip shaded in error red. -> Figure

    label: what the values are, with unit. levels: the numbers that codes stand for, in any order. view: (low, high) of
    the picture; without it, values and levels, whichever reach further. step: evenly spaced levels reach half a step
    further out before a value clips. log: the share of the values on a log axis.
    """
    axes = panel(axes, height=3.6)
    values = numbers(values, "values").ravel()
    levels = np.sort(np.asarray(levels, np.float64).ravel())
    low, high = view or _reach(values, levels)
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    least = _LEAST if log else 0
    axes.stairs(100 * counts / values.size, edges, baseline=least, fill=True, color=colour(kind), alpha=0.75)
    axes.set(xlim=(low, high), xlabel=label, ylabel="% of the numbers")
    if log:
        axes.set(yscale="log", ylim=(least, 100))
        axes.set_yticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
        axes.minorticks_off()
    if levels.size:
        shown = levels[:: -(-levels.size // _DRAWN)]
        foot, head = (-0.02, 0.07) if label else (-0.09, 0)  # below the axis only where it has no numbers of its own
        axes.vlines(
            shown[(shown >= low) & (shown <= high)], foot, head, transform=axes.get_xaxis_transform(),
            color=palette.INTEGER, linewidth=1.6, clip_on=False, zorder=4,
        )  # fmt: skip
        _draw_clipped(axes, values, levels, (low, high), step or 0)
    axes.set_title(title)
    return axes.figure


@styled
def levels_and_error(x, qparams, *, view, label, title=None, kind="weights", log=False, top=None):
    """Histogram of `x` with the levels of one scale for the tensor; below it the error at every place. -> Figure

    qparams: a QParams with PerTensor(). view: (low, high) of the picture; label: what x is, with unit; top: the largest
    error that the lower panel shows (2 scales if left out), so that figures can be compared.
    """
    codes = np.arange(int(qparams.quant_min), int(qparams.quant_max) + 1)
    levels = float(qparams.scale) * (codes - float(qparams.zero_point))
    kept = sqnr_db(x, fake_quantize(x, qparams))
    figure, (above, below) = palette.figure(2, 1, height=4.7, layout=None, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.09, right=0.97, bottom=0.11, top=0.92, hspace=0.3)
    title = title or f"SQNR {kept:.1f} dB with {qparams.dtype}, scale {float(qparams.scale):.3g}"
    histogram(
        x, title=title, label="", kind=kind, levels=levels, view=view, step=float(qparams.scale), log=log, axes=above
    )
    above.set(ylabel="% of the numbers")
    above.tick_params(axis="x", length=0)
    _number_codes(above, codes, levels, view, int(qparams.zero_point))
    _draw_error(below, qparams, view, top)
    below.set_xlabel(label)
    return figure


def _reach(values, levels):
    """The ends of a picture that shows all values and all levels, a little air beside them."""
    low, high = (pick(pick(array) for array in (values, levels) if array.size) for pick in (min, max))
    air = 0.02 * (high - low or 1)
    return low - air, high + air


def _draw_clipped(axes, values, levels, view, step):
    first, last = levels[0] - step / 2, levels[-1] + step / 2
    beyond = [(start, stop) for start, stop in ((view[0], first), (last, view[1])) if start < stop]
    for start, stop in beyond:
        axes.axvspan(start, stop, color=palette.ERROR, alpha=0.12, linewidth=0, zorder=0)
    every = -(-levels.size // _DRAWN)
    said = f"green: {levels.size:,} levels" + (f", 1 in {every} drawn" if every > 1 else "")
    if beyond:
        clipped = 100 * float(((values < first) | (values > last)).mean())
        said += f"\nred: clips ({clipped:.2g} %)"
    axes.text(0.99, 0.95, said, transform=axes.transAxes, ha="right", va="top", color=INK, bbox=_GROUND)


def _number_codes(axes, codes, levels, view, zero_point):
    """The codes below their levels: all of a few, or the ends and the zero point, where they have room."""
    axes.tick_params(axis="x", labelbottom=False)
    room = (view[1] - view[0]) / 30
    wanted = codes if codes.size <= _NUMBERED else (zero_point, codes[0], codes[-1])
    taken = []
    for code in sorted(wanted, key=lambda code: (code != zero_point, code)):  # the zero point has its room first
        place = levels[code - codes[0]] if codes[0] <= code <= codes[-1] else np.inf
        if view[0] <= place <= view[1] and all(abs(place - other) >= room for other in taken):
            taken.append(place)
            axes.annotate(
                str(code), (place, -0.1), xycoords=axes.get_xaxis_transform(), ha="center", va="top", fontsize=9,
                color=palette.INTEGER, fontweight="bold" if code == zero_point else "normal",
            )  # fmt: skip


def _draw_error(axes, qparams, view, top):
    grid = np.linspace(*view, _GRID, dtype=np.float32)
    half = float(qparams.scale) / 2
    axes.plot(grid, np.abs(grid - fake_quantize(grid, qparams)), color=palette.ERROR, linewidth=1)
    axes.axhline(half, color=INK, linewidth=1, linestyle="--")
    axes.text(0.99, 0.93, "dashed: scale / 2", transform=axes.transAxes, ha="right", va="top", color=INK, bbox=_GROUND)
    axes.set(ylim=(0, top or 4 * half), ylabel="|error|")
