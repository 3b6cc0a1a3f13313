"""The pictures of notebook 04 alone."""

import math
from itertools import product

import numpy as np
from matplotlib.patches import Rectangle

from qlab import PerAxis, PerBlock, PerTensor, PerToken, palette
from qlab.course.plots import Schematic


def who_shares():
    """The same 4 × 10 numbers under five granularities, and how a row in blocks lies in memory."""
    shape, kinds = (4, 10), (PerTensor(), PerAxis(0), PerAxis(1), PerToken(), PerBlock(1, 4))
    counts = [math.prod(each.scale_shape(shape)) for each in kinds]
    s = Schematic(
        20,
        5.3,
        title=f"The same 4 × 10 numbers share {', '.join(map(str, counts[:-1]))} or {counts[-1]} scales",
        alt="Five grids of 4 by 10 cells, cut into the groups that share a scale, with the shape of the scales below: "
        "() for PerTensor, (4,) for PerAxis(0), (10,) for PerAxis(1), (4, 1) for PerToken, (4, 3) for PerBlock(1, 4). "
        "Below, a row of the last in memory: ten codes as 4, 4 and 2, then three scales.",
    )
    for place, each in enumerate(kinds):
        name = f"{type(each).__name__}({', '.join(map(str, vars(each).values()))})"
        _grid(s, 0.35 + 4 * place, shape, each, name)
    s.text(0.35, 1.95, "a row of the last one in memory:", align="left", size=9)
    for block, start in enumerate((0, 4, 8)):
        codes = [f"q{index}" for index in range(start, min(start + 4, 10))]
        left, width = 0.35 + 0.9 * start + 0.3 * block, 0.9 * len(codes)
        s.cells(left, 1.2, codes, kind="integer", size=0.9, height=0.6)
        said = "block of 4" if len(codes) == 4 else "short: 2"
        s.bracket(left + 0.05, left + width - 0.05, 0.78, said, up=False)
    s.cells(11.6, 1.2, ["s0", "s1", "s2"], kind="fp32", size=0.9, height=0.6)
    s.bracket(11.65, 14.25, 0.78, "their scales, one each", up=False)
    s.text(15.0, 1.2, "codes: 4 or 8 bits each\nscales: 8 to 32 bits each", align="left", size=9)
    return s.figure


def _grid(s, left, shape, each, name):
    """One matrix whose cells stand apart where the scale changes."""
    number = each.spread(np.arange(math.prod(each.scale_shape(shape))).reshape(each.scale_shape(shape)), shape)
    number = np.broadcast_to(number, shape)
    s.text(left + 1.65, 5.0, name, bold=True)
    s.text(left + 1.65, 2.55, f"scales {each.scale_shape(shape)}", size=9)
    for row, column in product(*map(range, shape)):
        across = len(set(number[row, : column + 1])) - 1
        down = len(set(number[: row + 1, column])) - 1
        s.cells(left + 0.27 * column + 0.08 * across, 4.55 - 0.35 * row - 0.13 * down, [""], kind="fp32", size=0.27)


def the_sum():
    """Where a scale may stand: after the whole sum, inside it, or after short sums."""
    s = Schematic(
        20,
        8.1,
        title="A scale that does not depend on k leaves the sum",
        alt="Three sums of four products of codes. Where all terms share their scales, codes are summed in int32 and "
        "scaled afterwards. Where each term has a scale of its own, it is scaled before the sum, in float32. Where "
        "pairs share a scale, two short int32 sums are scaled and added in float32.",
    )
    code = "qx{0} · qw{0}"
    end = _row(s, 6.6, "1. the same scales for all k", [code.format(k) for k in range(4)], kind="integer")
    s.bracket(1.0, end, 6.1, "one integer product: int32", kind="integer", up=False)
    _ends_in(s, 6.6, "× (sx · sw)")
    terms = [f"s{k} · {code.format(k)}" for k in range(4)]
    end = _row(s, 3.9, "2. a scale for each k", terms, kind="fp32")
    s.bracket(1.0, end, 3.4, "each term is scaled before it is added: float32", kind="fp32", up=False)
    _ends_in(s, 3.9, None)
    s.text(0.4, 2.15, "3. a scale for each block", align="left", bold=True)
    for block, left in enumerate((1.9, 9.7)):
        s.text(left - 0.2, 1.2, f"{'+  ' if block else ''}s{'ab'[block]} ·", size=11, align="right")
        for k in (0, 1):
            s.box(left + 1.2 + 2.9 * k, 1.2, code.format(2 * block + k), kind="integer", width=2.4)
        s.text(left + 2.65, 1.2, "+", size=11)
        s.bracket(left, left + 5.3, 0.7, "a short integer product: int32", kind="integer", up=False)
    _ends_in(s, 1.2, None)
    return s.figure


def _row(s, y, said, terms, kind):
    """The heading and the terms of one sum; -> where it ends."""
    s.text(0.4, y + 0.95, said, align="left", bold=True)
    for k, term in enumerate(terms):
        s.box(2.4 + 3.4 * k, y, term, kind=kind, width=2.8)
        if k:
            s.text(0.7 + 3.4 * k, y, "+", size=11)
    return 2.4 + 3.4 * (len(terms) - 1) + 1.4


def _ends_in(s, y, scaled):
    start = (15.2, y)
    if scaled:
        box = s.box(17.1, y, scaled, kind="fp32", width=2.4)
        s.arrow(start, box)
        start = box
    s.arrow(start, (19.1, y))
    s.text(19.45, y, "y")


@palette.style()
def slices(largest):
    """The largest |value| of every slice beside the median slice. largest: {what a slice is: array}."""
    figure, panels = palette.figure(1, len(largest), height=3.2)
    for axes, (name, sizes) in zip(panels, largest.items(), strict=True):
        colour = palette.ACTIVATIONS if "activation" in name else palette.WEIGHTS
        axes.vlines(np.arange(sizes.size), 0, sizes, color=colour, linewidth=max(1.2, 150 / sizes.size))
        axes.axhline(np.median(sizes), color="black", linestyle="--", linewidth=1.2, label="median")
        axes.set(xlabel=name, ylabel="largest |value|", title=f"max: {sizes.max() / np.median(sizes):.1f} × median")
        axes.set_ylim(0, 1.25 * sizes.max())
        axes.legend(loc="upper right")
    said = "One scale for all is made for the largest slice"
    figure.suptitle(said, x=0.01, ha="left", fontweight="bold")
    return figure


@palette.style()
def price(codes, *series, title):
    """SQNR against effective bits: more bits in the codes, dashed, against more scales, one line for each of `series`.

    codes: {bits: (effective bits, dB)} with one scale a channel. series: (label, {block size: (effective bits, dB)}).
    """
    figure, axes = palette.figure(height=4.4)
    axes.plot(
        *zip(*codes.values(), strict=True),
        "D--",
        color=palette.WEIGHTS,
        markerfacecolor="white",
        markersize=6,
        label=f"{', '.join(f'int{bits}' for bits in codes)}, one scale a channel",
    )
    for bits, place in codes.items():
        axes.annotate(f"int{bits}", place, (-6, 6), textcoords="offset points", fontsize=9, ha="right")
    for index, (label, blocks) in enumerate(series):
        style, face = ("o-", palette.WEIGHTS) if index == 0 else ("s:", "white")
        axes.plot(*zip(*blocks.values(), strict=True), style, color=palette.WEIGHTS, markerfacecolor=face, markersize=5)
        axes.lines[-1].set_label(label)
        for size, place in blocks.items():
            if index and size > 64:
                continue  # they lie on the first line's, and the others tell how it goes
            offset, side = ((-4, 6), "right") if index else ((7, -8) if size == max(blocks) else (5, -12), "left")
            axes.annotate(f"{size}", place, offset, textcoords="offset points", fontsize=9, ha=side)
    axes.set(xlabel="effective bits a number, scales included", ylabel="SQNR (dB)", title=title)
    axes.margins(0.08, 0.12)
    axes.legend(loc="lower right")
    return figure


LOOKS = {  # what became of a model: (ground, ink, hatch)
    "one integer product": (palette.INTEGER, "white", ""),
    "x rounded too": ("white", palette.INTEGER, ""),
    "float": ("#E3E3E3", "black", ""),
    "stops": ("white", "black", "///"),
    "saturates": ("white", palette.ERROR, ""),
    "wrong": (palette.ERROR, "white", ""),
}


@palette.style()
def fates(ran, *, title):
    """A table of what became of each combination. ran: {(scales of x, scales of w): a key of LOOKS}."""
    rows, columns = (list(dict.fromkeys(pair[side] for pair in ran)) for side in (0, 1))
    figure, axes = palette.figure(height=3.6)
    for (x, w), said in ran.items():
        row, column, (ground, ink, hatch) = rows.index(x), columns.index(w), LOOKS[said]
        edge = ink if ground == "white" and not hatch else "#9A9A9A"
        place = (column - 0.47, row - 0.45)
        axes.add_patch(Rectangle(place, 0.94, 0.9, facecolor=ground, edgecolor=edge, hatch=hatch, linewidth=1.4))
        axes.text(
            column,
            row,
            said.replace("integer ", "integer\n"),
            ha="center",
            va="center",
            color=ink,
            fontweight="bold",
            fontsize=9.5,
            bbox={"facecolor": ground, "edgecolor": "none", "pad": 2},
        )
    axes.set(xlim=(-0.5, len(columns) - 0.5), ylim=(len(rows) - 0.5, -0.5), title=title)
    axes.set(xlabel="scales of the weight (K, N)", ylabel="scales of the activations (T, K)")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    return figure
