"""Drawn schematics in one style: boxes, arrows, cells of memory or bits, axes with levels.

>>> from qlab.course.plots import Schematic
>>> s = Schematic(10, 3, title="What a Q/DQ pair does", alt="x goes through QuantizeLinear to codes and back")
>>> q = s.box(2, 1.5, "QuantizeLinear", kind="integer")
>>> dq = s.box(6, 1.5, "DequantizeLinear", kind="integer")
>>> s.arrow(q, dq, "codes")
>>> s.figure

The unit is the same across and up; y grows upwards. A kind is one of qlab.palette's, so that a colour means here what
it means in every figure: fp32, weights, activations, integer, error; None is neutral.
"""

from typing import NamedTuple

import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle

from qlab import palette
from qlab.palette import INK, colour

SIZE = 10  # points, of what stands in boxes
SMALL = 9  # of what stands beside arrows and below cells


class Place(NamedTuple):
    """A rectangle that was drawn: its middle, and how far it reaches."""

    x: float
    y: float
    width: float
    height: float

    def toward(self, x, y):
        """The point of the edge where a line from the middle to (x, y) leaves."""
        dx, dy = x - self.x, y - self.y
        if not dx and not dy:
            return self.x, self.y
        share = min(self.width / 2 / abs(dx) if dx else np.inf, self.height / 2 / abs(dy) if dy else np.inf)
        return self.x + share * dx, self.y + share * dy


class Schematic:
    """A page of `width` by `height` units, drawn at notebook width; `.figure` is the matplotlib figure."""

    def __init__(self, width, height, *, title="", alt=""):
        with palette.style():
            inches = palette.WIDTH * height / width + (0.35 if title else 0)
            self.figure, self.axes = palette.figure(height=inches, layout=None)
            self.figure.subplots_adjust(0.005, 0.01, 0.995, 1 - 0.35 / inches if title else 0.99)
            self.axes.set(xlim=(0, width), ylim=(0, height), title=title)
            self.axes.set_axis_off()
        self.figure.alt = alt or title

    def box(self, x, y, text, *, kind=None, width=None, height=0.7):
        """A box around `text`, its middle at (x, y). -> Place"""
        lines = text.split("\n")
        width = width or 0.5 + 0.125 * max(map(len, lines)) * self._wide()
        ink = colour(kind) if kind else INK
        outline = FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=0.12",
            facecolor=_tint(ink), edgecolor=ink, linewidth=1.4,
        )  # fmt: skip
        self.axes.add_patch(outline)
        self.axes.text(x, y, text, ha="center", va="center", fontsize=SIZE, color=INK)
        return Place(x, y, width, height)

    def arrow(self, start, end, text="", *, kind=None, bend=0.0, beside=0.16):
        """An arrow between two Places or (x, y) points, its text beside the middle, `beside` units off the line."""
        ends = [place if isinstance(place, Place) else Place(*place, 0, 0) for place in (start, end)]
        tail, head = ends[0].toward(*ends[1][:2]), ends[1].toward(*ends[0][:2])
        ink = colour(kind) if kind else INK
        line = FancyArrowPatch(
            tail, head, arrowstyle="-|>", mutation_scale=12, linewidth=1.4, color=ink, shrinkA=1, shrinkB=1,
            connectionstyle=f"arc3,rad={bend}",
        )  # fmt: skip
        self.axes.add_patch(line)
        if text:
            (x0, y0), (x1, y1) = tail, head
            middle = (x0 + x1) / 2 + bend * (y1 - y0) / 2, (y0 + y1) / 2 - bend * (x1 - x0) / 2
            upright = abs(x1 - x0) < abs(y1 - y0)
            place = (middle[0] + beside, middle[1]) if upright else (middle[0], middle[1] + beside)
            align = {"ha": "left", "va": "center"} if upright else {"ha": "center", "va": "bottom"}
            self.axes.text(*place, text, fontsize=SMALL, color=ink, **align)

    def cells(self, x, y, entries, *, kind=None, kinds=None, size=0.5, height=None, below=None):
        """A row of cells from the left edge x, at the middle y: memory, codes, bits. -> list of Place

        entries: what stands in them. kinds: one kind each instead of `kind`. below: small words under each cell.
        """
        places, height = [], height or size
        for index, entry in enumerate(entries):
            one = kinds[index] if kinds is not None else kind
            ink = colour(one) if one else INK
            middle = x + (index + 0.5) * size
            self.axes.add_patch(
                Rectangle(
                    (middle - size / 2, y - height / 2), size, height,
                    facecolor=_tint(ink), edgecolor=ink, linewidth=1,
                )
            )  # fmt: skip
            self.axes.text(middle, y, str(entry), ha="center", va="center", fontsize=SMALL, color=INK)
            if below is not None:
                self.axes.text(
                    middle, y - height / 2 - 0.08, below[index], ha="center", va="top", fontsize=8, color=INK
                )
            places.append(Place(middle, y, size, height))
        return places

    def levels(self, x0, x1, y, values, *, kind="integer", labels=None, low=None, high=None):
        """An axis from x0 to x1 that stands for low to high, with a tick at each of `values`. -> function value -> x

        labels: what stands below each tick (None: nothing).
        """
        values = np.asarray(values, float)
        low, high = values.min() if low is None else low, values.max() if high is None else high
        at = lambda value: x0 + (x1 - x0) * (value - low) / (high - low)
        self.axes.plot([x0, x1], [y, y], color=INK, linewidth=1)
        self.axes.vlines(at(values), y - 0.14, y + 0.14, color=colour(kind) if kind else INK, linewidth=2)
        for value, label in zip(values, labels if labels is not None else [], strict=labels is not None):
            self.axes.text(at(value), y - 0.2, label, ha="center", va="top", fontsize=SMALL, color=INK)
        return at

    def bracket(self, x0, x1, y, text, *, kind=None, up=True):
        """A brace from x0 to x1 at y, with its text above it (or below)."""
        ink, reach = colour(kind) if kind else INK, 0.12 if up else -0.12
        self.axes.plot([x0, x0, x1, x1], [y, y + reach, y + reach, y], color=ink, linewidth=1.2)
        align = {"ha": "center", "va": "bottom" if up else "top"}
        self.axes.text((x0 + x1) / 2, y + 1.4 * reach, text, fontsize=SMALL, color=ink, **align)

    def text(self, x, y, text, *, kind=None, size=SIZE, align="center", bold=False):
        """Words in the middle of (x, y), or beginning there ("left"), or ending ("right")."""
        ink, weight = colour(kind) if kind else INK, "bold" if bold else "normal"
        self.axes.text(x, y, text, ha=align, va="center", fontsize=size, color=ink, fontweight=weight)

    def _wide(self):
        """Units that a letter needs, against a page of ten units across."""
        return np.ptp(self.axes.get_xlim()) / 10


def _tint(ink):
    """The colour, thinned for a ground that text stands on."""
    red, green, blue = (int(ink[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(1 - 0.14 * (1 - part) for part in (red, green, blue))
