"""The pictures of notebook 06 alone."""

import numpy as np

from qlab import palette
from qlab.course.plots import Schematic
from qlab.course.plots.canvas import styled

_INT16 = 32_767


def dataflow():
    """The way of an integer linear layer: codes, int32 sums, bias, multiplier, codes."""
    s = Schematic(
        20,
        5.6,
        title="Codes in, codes out: the only real numbers on the way are the multipliers",
        alt="Codes of x, uint8, and codes of w, uint8 or int8, each less its zero point, enter an integer product. Its "
        "int32 sums get the bias's int32 codes added, are multiplied by a float32 multiplier, rounded, moved by y's "
        "zero point and saturated to the uint8 codes of y.",
    )
    x = s.box(2.0, 4.3, "codes of x\nuint8", kind="activations", width=3, height=1.1)
    w = s.box(2.0, 2.1, "codes of w\nuint8 or int8", kind="weights", width=3, height=1.1)
    product = s.box(6.6, 3.2, "multiply and add\nint32 sums", kind="integer", width=3.6, height=1.1)
    bias = s.box(11.0, 3.2, "+ bias\nint32", kind="integer", width=2.2, height=1.1)
    multiply = s.box(14.2, 3.2, "× multiplier\nfloat32", kind="fp32", width=2.8, height=1.1)
    y = s.box(18.2, 3.2, "codes of y\nuint8", kind="activations", width=2.8, height=1.1)
    s.arrow(x, product)
    s.arrow(w, product)
    for height in (4.3, 2.1):
        s.text(3.8, height, "- zero point", size=9, align="left")
    s.arrow(product, bias)
    s.arrow(bias, multiply)
    s.arrow(multiply, y)
    s.text(16.2, 4.15, "round, + zero point,\nsaturate", size=9)
    s.bracket(4.8, 12.1, 1.3, "scale x_scale · w_scale, zero point 0", kind="integer", up=False)
    s.text(14.2, 2.1, "x_scale · w_scale\n/ y_scale", size=9)
    return s.figure


@styled
def room(wrong, *, title):
    """How many cells are wrong against the length of the sum. wrong: {name: {K: share}}; -> Figure"""
    figure, axes = palette.figure(height=3.6)
    inks = {"int16 pairs": palette.ERROR, "float32": palette.FP32, "int32": palette.INTEGER}
    marks = {"int16 pairs": "s", "float32": "o", "int32": "^"}
    wide = {
        "int32": {"linewidth": 6, "markersize": 9, "alpha": 0.5, "zorder": 1}
    }  # else it hides float32 at 0 and 100 %
    for name, shares in wrong.items():
        label = {"int16 pairs": "u8 × s8, pairs in int16", "float32": "u8 × u8, float32", "int32": "u8 × u8, int32"}
        axes.plot(
            list(shares), [100 * share for share in shares.values()], marker=marks[name], color=inks[name],
            label=label[name], **wide.get(name, {}),
        )  # fmt: skip
    axes.set(xscale="log", xlabel="K, products in a sum", ylabel="% of the sums that are wrong", ylim=(-4, 104))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_title(title)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3)
    return figure


@styled
def pair_square(first, second):
    """What an int16 pair loses for every two uint8 inputs, beside two int8 weights. -> Figure"""
    inputs = np.arange(256)
    sums = inputs[None] * first + inputs[:, None] * second
    lost = np.abs(sums - np.clip(sums, -_INT16 - 1, _INT16))
    share = (lost > 0).mean()
    figure, axes = palette.figure(height=3.9, layout=None)
    figure.subplots_adjust(left=0.09, right=0.93, bottom=0.14, top=0.9)
    shown = axes.imshow(
        lost, origin="lower", cmap=_reds(), vmin=0, vmax=32_512, extent=(-0.5, 255.5, -0.5, 255.5), aspect="auto"
    )
    figure.colorbar(shown, ax=axes, label="what is lost of the sum's size", fraction=0.06)
    if 0 < share < 1:  # the smallest losses are nearly white: their edge needs a line
        axes.contour(lost > 0, levels=[0.5], colors=[palette.ERROR], linewidths=1)
    axes.set(xlabel=f"first input, beside the weight {first}", ylabel=f"second input, beside the weight {second}")
    axes.grid(False)
    axes.set_title(f"{first} and {second}: {100 * share:.1f} % of all pairs of inputs saturate")
    return figure


def _reds():
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("lost", ["#FFFFFF", palette.ERROR])


def instructions():
    """How five instructions take their operands: the shapes of one lane, or of one tile."""
    s = Schematic(
        20,
        11.6,
        title="One instruction, one lane or tile: how many products meet in one sum",
        alt="vpmaddubsw adds 2 products of uint8 by int8 into int16, which saturates. vpdpbusd adds 4 products of "
        "uint8 by int8 into int32. SDOT adds 4 products of int8 by int8 into int32. SMMLA multiplies 2 by 8 and 8 by 2 "
        "int8 into 2 by 2 int32. AMX multiplies 16 by 64 and 64 by 16 bytes into 16 by 16 int32.",
    )
    y = 10.5
    for name, left, right, result, note, bad in (
        ("vpmaddubsw\nx86 without VNNI", ["u8"] * 2, ["s8"] * 2, "int16", "2 products a sum;\nit saturates", True),
        ("vpdpbusd\nx86, VNNI", ["u8"] * 4, ["s8"] * 4, "int32", "4 products a sum", False),
        ("SDOT\nArm, dot product", ["s8"] * 4, ["s8"] * 4, "int32", "4 products a sum;\nUDOT: u8 × u8", False),
    ):
        s.text(0.3, y, name, align="left", size=9, bold=True)
        s.cells(4.3, y, left, kind="activations", size=0.75, height=0.6)
        s.text(7.75, y, "·")
        s.cells(8.2, y, right, kind="weights", size=0.75, height=0.6)
        s.text(11.75, y, "→")
        s.cells(12.3, y, [result], kind="error" if bad else "integer", size=1.5, height=0.6)
        s.text(14.8, y, note, align="left", size=9)
        y -= 1.45
    _grids(s, 5.2, "SMMLA\nArm, i8mm", (2, 8), (8, 2), "8 products a sum, 4 sums;\nUMMLA: u8 × u8,\nUSMMLA: u8 × s8")
    note = "each side drawn at a quarter:\n16 × 64 by 64 × 16 bytes,\n64 products a sum, 256 sums;\n"
    note += "TDPBSSD, TDPBSUD,\nTDPBUUD: other signs"
    _grids(s, 1.9, "TDPBUSD\nx86, AMX", (4, 16), (16, 4), note)
    return s.figure


def _grids(s, y, name, left, right, note):
    """Two small matrices and their product."""
    size = 0.27 if left[0] == 2 else 0.17
    s.text(0.3, y, name, align="left", size=9, bold=True)
    _grid(s, 4.3, y, left, size, "activations")
    s.text(7.75, y, "·")
    _grid(s, 8.4, y, right, size, "weights")
    s.text(11.75, y, "→")
    _grid(s, 12.5, y, (left[0], right[1]), 2 * size, "integer")
    s.text(14.8, y, note, align="left", size=9)


def _grid(s, x, y, shape, size, kind):
    rows, columns = shape
    for row in range(rows):
        s.cells(x, y + (rows / 2 - row - 0.5) * size, [""] * columns, kind=kind, size=size)
