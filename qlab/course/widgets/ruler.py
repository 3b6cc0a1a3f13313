"""The widget of notebook 01: a ruler of evenly spaced marks over the histogram of a real tensor."""

import numpy as np

from qlab import palette
from qlab.course.plots.canvas import INK
from qlab.numerics.affine import fake_quantize, qparams_from_range
from qlab.numerics.metrics import sqnr_db

_GRID = 1_400  # points of the error curve: two a pixel
_MARKS = 80  # more marks than this are a wall: every k-th is drawn
_NUMBERED = 16  # so many codes have room for their number


@palette.style()
def draw_ruler(x, bits, low, high, *, view, label, top):
    """Histogram of `x` with the marks of an unsigned ruler and their codes; below it the error. -> Figure

    x: float32 array; low, high: what the ruler covers (0 is taken in); view: (low, high) of the picture; label: what x
    is, with unit; top: the largest error that the lower panel shows, so that the curve's height can be compared.
    """
    qparams = qparams_from_range(low, high, f"uint{bits}")
    codes = np.arange(qparams.quant_max + 1)
    marks = float(qparams.scale) * (codes - float(qparams.zero_point))
    figure, axes = palette.figure(2, 1, height=4.7, layout=None, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.09, right=0.97, bottom=0.11, top=0.92, hspace=0.3)
    _draw_values(axes[0], x, marks, view)
    _number_marks(axes[0], marks, view, int(qparams.zero_point))
    _draw_error(axes[1], qparams, view, top)
    axes[1].set_xlabel(label)
    axes[0].set_title(f"{sqnr_db(x, fake_quantize(x, qparams)):.1f} dB with {bits} bits, {_noise(x, qparams, marks)}")
    return figure


def _reach(marks):
    """What the ruler covers: up to half a step beyond the last mark a value rounds, and does not clip."""
    half = (marks[1] - marks[0]) / 2
    return marks[0] - half, marks[-1] + half


def _noise(x, qparams, marks):
    """What the squared error is made of, in words."""
    first, last = _reach(marks)
    squares = np.square(x - fake_quantize(x, qparams), dtype=np.float64)
    share = 100 * squares[(x < first) | (x > last)].sum() / max(squares.sum(), 1e-300)
    return f"step {float(qparams.scale):.3g}; noise: {100 - share:.0f} % rounding, {share:.0f} % clipping"


def _draw_values(axes, x, marks, view):
    counts, edges = np.histogram(x, bins=140, range=view)
    axes.stairs(100 * counts / x.size, edges, fill=True, color=palette.WEIGHTS, alpha=0.75)
    every = -(-marks.size // _MARKS)
    shown = marks[::every]
    shown = shown[(shown >= view[0]) & (shown <= view[1])]
    axes.vlines(
        shown, -0.09, 0, transform=axes.get_xaxis_transform(), color=palette.INTEGER, linewidth=1.6, clip_on=False
    )
    first, last = _reach(marks)
    for start, stop in ((view[0], first), (last, view[1])):
        if start < stop:
            axes.axvspan(start, stop, color=palette.ERROR, alpha=0.12, linewidth=0, zorder=0)
    drawn = f", 1 in {every} drawn" if every > 1 else ""
    clipped = 100 * float(((x < first) | (x > last)).mean())
    axes.text(
        0.99, 0.96, f"green: {marks.size} marks{drawn}\nred: {clipped:.2g} % of the values clip",
        transform=axes.transAxes, ha="right", va="top", color=INK,
    )  # fmt: skip
    axes.set(xlim=view, ylabel="% of the values")
    axes.tick_params(axis="x", length=0)


def _number_marks(axes, marks, view, zero_point):
    """The codes below their marks: all of a few, or the ends and the zero point, where they have room."""
    last, room = marks.size - 1, (view[1] - view[0]) / 30
    wanted = range(marks.size) if marks.size <= _NUMBERED else (zero_point, 0, last)
    taken = []
    for code in sorted(wanted, key=lambda code: (code != zero_point, code)):  # the zero point has its room first
        place = marks[code]
        if view[0] <= place <= view[1] and all(abs(place - other) >= room for other in taken):
            taken.append(place)
            axes.annotate(
                str(code), (place, -0.1), xycoords=axes.get_xaxis_transform(), ha="center", va="top",
                fontsize=9, color=palette.INTEGER, fontweight="bold" if code == zero_point else "normal",
            )  # fmt: skip


def _draw_error(axes, qparams, view, top):
    grid = np.linspace(*view, _GRID, dtype=np.float32)
    axes.plot(grid, np.abs(grid - fake_quantize(grid, qparams)), color=palette.ERROR, linewidth=1)
    axes.axhline(float(qparams.scale) / 2, color=INK, linewidth=1, linestyle="--")
    ground = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    axes.text(0.99, 0.93, "dashed: scale / 2", transform=axes.transAxes, ha="right", va="top", color=INK, bbox=ground)
    axes.set(ylim=(0, top), ylabel="|error|")
