"""The widget of notebook 02: a range whose two ends move, over the histogram of a real tensor."""

import numpy as np
from matplotlib.ticker import NullLocator

from qlab import palette
from qlab.course.plots.canvas import INK
from qlab.numerics.affine import fake_quantize, qparams_from_range, quantize
from qlab.numerics.metrics import sqnr_db

_GRID = 1_400  # points of the error curve: two a pixel
_MARKS = 80  # more marks than this are a wall: every k-th is drawn
_LEAST = 1e-3  # % of the values: where the log axis begins


@palette.style()
def draw_range_ends(x, view, limits, bits=4, symmetric=False, label="value"):
    """Histogram with the quantization marks of a range, and below it the error of every value in view. -> Figure

    x: float32 array; view, limits: (low, high) of the picture and of the quantizer. symmetric: signed codes that mirror
    at 0, else unsigned codes with a zero point. The title says SQNR, zero point, and how many codes no value takes.
    """
    dtype = f"{'int' if symmetric else 'uint'}{bits}"
    qparams = qparams_from_range(*np.float32(limits), dtype, symmetric=symmetric)
    codes = np.arange(qparams.quant_min, qparams.quant_max + 1)
    marks = float(qparams.scale) * (codes - float(qparams.zero_point))
    figure, axes = palette.figure(2, 1, height=4.7, layout=None, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.09, right=0.98, bottom=0.11, top=0.92, hspace=0.2)
    _draw_values(axes[0], x, marks, view)
    _draw_error(axes[1], qparams, view)
    axes[1].set_xlabel(label)
    idle = codes.size - np.count_nonzero(np.bincount(quantize(x, qparams).astype(np.int16).ravel() - codes[0]))
    axes[0].set_title(
        f"{'Symmetric' if symmetric else 'Asymmetric'} {dtype}: {sqnr_db(x, fake_quantize(x, qparams)):.1f} dB, "
        f"zero point {int(qparams.zero_point)}, {idle} of {codes.size} codes idle"
    )
    return figure


def _draw_values(axes, x, marks, view):
    counts, edges = np.histogram(x, bins=140, range=view)
    shares = 100 * counts / x.size
    axes.stairs(shares, edges, baseline=_LEAST, fill=True, color=palette.ACTIVATIONS, alpha=0.75)
    every = -(-marks.size // _MARKS)
    shown = marks[::every]
    shown = shown[(shown >= view[0]) & (shown <= view[1])]
    feet = axes.get_xaxis_transform()
    axes.vlines(shown, -0.11, -0.02, transform=feet, color=palette.INTEGER, linewidth=1.6, clip_on=False)
    half = (marks[1] - marks[0]) / 2  # up to half a step beyond the last mark a value rounds, and does not clip
    first, last = marks[0] - half, marks[-1] + half
    for start, stop in ((view[0], first), (last, view[1])):
        if start < stop:
            axes.axvspan(start, stop, color=palette.ERROR, alpha=0.12, linewidth=0, zorder=0)
    clipped = 100 * float(((x < first) | (x > last)).mean())
    drawn = f", 1 in {every} drawn" if every > 1 else ""
    axes.text(
        0.99, 0.95, f"green: {marks.size} marks{drawn}\nred: {clipped:.2g} % of the values clip",
        transform=axes.transAxes, ha="right", va="top", color=INK,
    )  # fmt: skip
    axes.set(yscale="log", xlim=view, ylim=(_LEAST, 100), ylabel="% of the values")
    axes.set_yticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
    axes.yaxis.set_minor_locator(NullLocator())  # half of the drawing time went into them
    axes.tick_params(axis="x", length=0)


def _draw_error(axes, qparams, view):
    grid = np.linspace(*view, _GRID, dtype=np.float32)
    axes.plot(grid, np.abs(grid - fake_quantize(grid, qparams)), color=palette.ERROR, linewidth=1)
    half = float(qparams.scale) / 2
    axes.axhline(half, color=INK, linewidth=1, linestyle="--")
    axes.text(0.99, 0.93, "dashed: half a step", transform=axes.transAxes, ha="right", va="top", color=INK)
    axes.set(ylim=(0, 4 * half), ylabel="|error|")
