"""The pictures of notebook 08 alone."""

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from qlab import palette
from qlab.course.plots.canvas import INK, spread, styled
from qlab.course.plots.schematic import Schematic

_TIMES = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16]
_LARGEST = 0.25  # difference of a picture, in 0..1, that is drawn darkest


def qdq():
    """A convolution between Q and DQ as the file holds it, and the one node that runs in its place."""
    s = Schematic(
        20, 7.4, title="Four scales around one Conv",
        alt="Above, the file: x goes through QuantizeLinear and DequantizeLinear into Conv, the codes of the weight, "
        "int8, and of the bias, int32, through a DequantizeLinear each; the result through QuantizeLinear and "
        "DequantizeLinear to y. Below, what runs: QuantizeLinear, QLinearConv, DequantizeLinear.",
    )  # fmt: skip
    s.text(0.2, 6.9, "in the file", align="left", bold=True)
    x, y = s.box(0.9, 5.6, "x", kind="activations", width=1.2), s.box(19.1, 5.6, "y", kind="activations", width=1.2)
    chain = [x]
    for at, text, kind in ((3.4, "Quantize\nLinear", "integer"), (6.5, "Dequantize\nLinear", "integer"),
                           (10.1, "Conv", "fp32"), (13.4, "Quantize\nLinear", "integer"),
                           (16.6, "Dequantize\nLinear", "integer")):  # fmt: skip
        chain.append(s.box(at, 5.6, text, kind=kind, width=2.2, height=1.1))
    for start, end in zip(chain, [*chain[1:], y], strict=True):
        s.arrow(start, end)
    for at, text in ((8.4, "weight's codes, int8\nDequantizeLinear"), (12.4, "bias' codes, int32\nDequantizeLinear")):
        s.arrow(s.box(at, 3.5, text, kind="weights", width=3.7, height=1.1), chain[3])
    s.text(0.2, 2.2, "what runs", align="left", bold=True)
    x, y = s.box(0.9, 1.1, "x", kind="activations", width=1.2), s.box(19.1, 1.1, "y", kind="activations", width=1.2)
    chain = [x]
    for at, text in ((3.4, "Quantize\nLinear"), (10.1, "QLinearConv"), (16.6, "Dequantize\nLinear")):
        width = 3.4 if text == "QLinearConv" else 2.2
        chain.append(s.box(at, 1.1, text, kind="integer", width=width, height=1.1))
    for start, end, said in zip(chain, [*chain[1:], y], ("", "codes", "codes", ""), strict=True):
        s.arrow(start, end, said)
    return s.figure


def residual():
    """The residual block of exercise 08.3: five convolutions, a fork, an addition."""
    s = Schematic(
        20, 5.2, title="A residual block: t is read twice",
        alt="x enters the Conv stem, which gives t. t is read by the Conv widen and by Add. Behind widen come the "
        "depthwise Conv and the Conv narrow, which enters Add as well. Behind Add comes the Conv last, which gives y.",
    )  # fmt: skip
    names = ((3.6, "stem\n3 × 3"), (7.6, "widen\n1 × 1"), (10.6, "depthwise\n3 × 3"), (13.6, "narrow\n1 × 1"))
    convs = [s.box(at, 3.6, text, width=2.2, height=1.1) for at, text in names]
    x, y = s.box(0.9, 3.6, "x", kind="activations", width=1.2), s.box(19.3, 3.6, "y", kind="activations", width=1.1)
    add, last = s.box(15.9, 3.6, "Add", width=1.3), s.box(17.9, 2.0, "last\n3 × 3", width=1.8, height=1.1)
    s.arrow(x, convs[0])
    s.arrow(convs[0], convs[1], "t")
    for start, end in ((convs[1], convs[2]), (convs[2], convs[3]), (convs[3], add), (add, last), (last, y)):
        s.arrow(start, end)
    fork = (5.6, 3.6)
    s.axes.plot([fork[0], fork[0], 15.9], [fork[1], 1.2, 1.2], color=INK, linewidth=1.4)
    s.arrow((15.9, 1.15), add)
    s.text(10.6, 0.85, "t once more: the skip connection", size=9)
    s.text(10.0, 4.8, "stem, widen, depthwise and the sum are followed by a ReLU each", size=9)
    return s.figure


@styled
def fused_against_speed(points, *, convolutions, title):
    """Speed against the number of convolutions on integers: {name: (how many, (speed-up, low, high))}. -> Figure"""
    figure, axes = palette.figure(height=3.8)
    found = [value for _, speeds in points.values() for value in speeds]
    low, high = min(0.7, *found) / 1.3, max(1.5, *found) * 1.3
    axes.axhline(1, color=palette.FP32, linewidth=1.6)
    axes.annotate("fp32", (0, 1), (0, 4), textcoords="offset points", color=INK)
    for count, (speed, below, above) in points.values():
        axes.plot([count, count], [below, above], color=palette.INTEGER, linewidth=2)
        axes.plot(count, speed, "o", color=palette.INTEGER, markersize=8)
    for count in sorted({count for count, _ in points.values()}):
        names = [name for name, (other, _) in points.items() if other == count]
        heights = np.log([points[name][1][0] for name in names])
        for name, height in zip(names, np.exp(spread(heights, np.log(high / low) / 13)), strict=True):
            text = f"{name}, {points[name][1][0]:.2f}×"
            told = axes.annotate(text, (count, height), (11, 0), textcoords="offset points", va="center", color=INK)
            told.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 1})  # else fp32's line strikes it through
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    axes.yaxis.set_major_locator(FixedLocator([times for times in _TIMES if low <= times <= high]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda times, _: f"{times:g}×"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(-0.04 * convolutions, 1.45 * convolutions)
    axes.set_xticks(sorted({0, convolutions, *(count for count, _ in points.values())}))
    axes.set_xlabel(f"convolutions that run on integers, of {convolutions}")
    axes.set_ylabel("speed against fp32 (log)")
    axes.set_title(title)
    return figure


@palette.style()
def beside(reference, picture, *, title, said):
    """Left a picture, right how far it lies from the reference, both float [3, n, n] in 0..1. -> Figure"""
    figure, (left, right) = palette.figure(1, 2, height=3.4, layout=None)
    figure.subplots_adjust(left=0.02, right=0.9, bottom=0.04, top=0.8, wspace=0.1)
    left.imshow(np.clip(picture, 0, 1).transpose(1, 2, 0), interpolation="nearest")
    ramp = LinearSegmentedColormap.from_list("error", ["white", palette.ERROR])
    drawn = right.imshow(
        np.abs(picture - reference).max(axis=0), cmap=ramp, vmin=0, vmax=_LARGEST, interpolation="nearest"
    )
    figure.colorbar(drawn, ax=right, label="difference, of a range of 1", extend="max")
    for axes, text in ((left, said), (right, "largest of the three colours' differences")):
        axes.set(xticks=[], yticks=[])
        axes.grid(False)
        axes.set_title(text, fontsize=10, fontweight="normal")
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    return figure
