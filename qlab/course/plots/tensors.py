"""Tensors: a histogram with its quantization marks, a heat map beside its error."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch

from qlab import palette
from qlab.course.plots.canvas import colour, numbers, panel, styled

_MARKS = 80  # more marks than this are a grey wall: every k-th is drawn


@styled
def histogram(values, *, title, label, kind="weights", marks=(), bins=160, log=False, axes=None):
    """Histogram of a real tensor, the quantization marks as ticks below it, the clipped parts shaded in error red.

    label: what the values are, with unit. marks: the representable values, sorted or not; what lies outside them clips.
    """
    axes = panel(axes, height=3.6)
    values = numbers(values, "values").ravel()
    marks = np.sort(np.asarray(marks, np.float64).ravel())
    counts, edges = np.histogram(values, bins=bins)
    axes.stairs(counts / values.size * 100, edges, fill=True, color=colour(kind), alpha=0.75)
    if log:
        axes.set_yscale("log")
        palette.plain_log_labels(axes.yaxis)  # the axes may stand in a figure of the reader's
    if marks.size:
        _draw_marks(axes, marks, values)
    axes.set(xlabel=label, ylabel=f"% of {values.size:,} values")
    axes.set_title(title)
    return axes.figure


def _draw_marks(axes, marks, values):
    every = -(-marks.size // _MARKS)
    feet = axes.get_xaxis_transform()
    axes.vlines(
        marks[::every], -0.02, 0.09, transform=feet, color=palette.INTEGER, linewidth=1.2, clip_on=False, zorder=4
    )
    # The view spans values and marks, whichever reach further.
    low, high = min(values.min(), marks[0]), max(values.max(), marks[-1])
    pad = 0.02 * (high - low or 1)
    axes.set_xlim(low - pad, high + pad)
    handles = [
        Patch(color=palette.INTEGER, label=f"{marks.size:,} marks" + (f", 1 in {every} drawn" if every > 1 else ""))
    ]
    below, above = values < marks[0], values > marks[-1]
    for clips, start, stop in ((below, low - pad, marks[0]), (above, marks[-1], high + pad)):
        if clips.any():
            axes.axvspan(start, stop, color=palette.ERROR, alpha=0.12, linewidth=0, zorder=0)
    if clipped := 100 * float((below | above).mean()):
        handles.append(Patch(color=palette.ERROR, alpha=0.3, label=f"clipped: {clipped:.2g} % of the values"))
    axes.legend(handles=handles, loc="upper right")


@styled
def heat_map(values, approximation=None, *, title, rows, columns, kind="weights", unit="", limits=(None, None)):
    """The size of a tensor's entries as colour, and beside it how far an approximation is off.

    values, approximation: [rows, columns]. rows, columns: what the axes count. limits: the sizes of value and of error
    that get the full colour, to compare figures.
    """
    values = numbers(values, "values")
    if values.ndim != 2:
        raise ValueError(f"heat map of shape {values.shape}: expected two axes")
    pictures = [(values, "|value|", colour(kind))]
    if approximation is not None:
        pictures.append((numbers(approximation, "approximation") - values, "|error|", palette.ERROR))
    figure, axes = palette.figure(1, len(pictures), height=3.8, squeeze=False, sharey=True)
    for part, (picture, said, ink), limit in zip(axes.flat, pictures, limits, strict=False):
        sizes = np.abs(picture)
        ramp = LinearSegmentedColormap.from_list(said, ["white", ink])
        top = limit or max(float(sizes.max()), 1e-12)
        drawn = part.imshow(sizes, cmap=ramp, vmin=0, vmax=top, aspect="auto", interpolation="nearest")
        part.grid(False)
        part.set_xlabel(columns)
        figure.colorbar(drawn, ax=part, label=f"{said} {unit}".strip(), pad=0.02)
    axes.flat[0].set_ylabel(rows)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure
