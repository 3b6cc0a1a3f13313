"""Tensors: a heat map beside its error."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from qlab import palette
from qlab.course.plots.canvas import colour, numbers, styled


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
