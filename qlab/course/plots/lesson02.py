"""The figures that only notebook 02 draws."""

import numpy as np

from qlab import palette, quantize
from qlab.course.plots.canvas import INK, styled
from qlab.course.plots.schematic import Schematic


@styled
def ranges(tensors):
    """The range of each tensor, in units of its largest absolute value."""
    figure, axes = palette.figure(height=3.6)
    for row, (name, x) in enumerate(tensors.items()):
        low, high = min(x.min(), 0) / np.abs(x).max(), max(x.max(), 0) / np.abs(x).max()
        color = palette.WEIGHTS if "weight" in name else palette.ACTIVATIONS
        axes.barh(row, high - low, left=low, height=0.62, color=color)
        first, last = (round(float(end), 2) + 0 for end in (x.min(), x.max()))  # + 0 makes 0 of -0
        axes.text(1.1, row, f"{first:g} to {last:g}", va="center", fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=INK, linewidth=1.5)
    axes.set_yticks(range(len(tensors)), list(tensors))
    axes.set(ylim=(len(tensors) - 0.5, -0.5), xlim=(-1.05, 1.75), xticks=[-1, -0.5, 0, 0.5, 1])
    axes.set_xlabel("range / largest absolute value (weights blue, activations orange)")
    axes.set_title("Some ranges lie around zero, some begin or end there")
    return figure


def two_grids(low=-1.0, high=4.0, x=1.3):
    """One range, one value, four bits: the symmetric and the asymmetric grid."""
    drawn = Schematic(
        10,
        4.5,
        title="Symmetric levels also lie where no value is",
        alt=f"A range from {low:g} to {high:g}. Symmetric int4 lays 15 levels from {-high:g} to {high:g}, some of them "
        "below the range; asymmetric uint4 lays 16 finer levels over the range alone.",
    )
    symmetric = np.arange(-7, 8) * high / 7
    scale = (high - low) / 15
    zero_point = round(-low / scale)
    asymmetric = scale * (np.arange(16) - zero_point)
    at = drawn.levels(0.7, 9.3, 3.1, symmetric, low=-high, high=high, labels=range(-7, 8))
    drawn.levels(at(asymmetric[0]), at(asymmetric[-1]), 1.05, asymmetric, labels=range(16))
    drawn.text(0.2, 4.2, f"symmetric int4: scale {high:g} / 7, zero point 0", kind="integer", align="left", bold=True)
    said = f"asymmetric uint4: scale ({high:g} - {low:g}) / 15, zero point {zero_point}".replace("- -", "+ ")
    drawn.text(0.2, 0.3, said, kind="integer", align="left", bold=True)
    drawn.bracket(at(low), at(high), 3.4, f"the range of the values, {low:g} to {high:g}")
    for y in (2.78, 0.73):
        drawn.text(0.05, y, "codes", align="left", size=9)
    drawn.axes.plot([at(0), at(0)], [2.55, 1.3], color=INK, linewidth=1, linestyle=":")
    drawn.text(at(0) - 0.3, 1.9, "0.0", size=9)
    idle = symmetric[symmetric < low]
    drawn.bracket(at(idle[0]), at(idle[-1]), 2.6, f"{idle.size} of 15 levels: no value here", kind="error", up=False)
    drawn.text(at(x), 2.0, f"x = {x:g}", kind="activations", bold=True)
    for y, levels in ((2.65, symmetric), (1.23, asymmetric)):
        nearest = levels[np.abs(levels - x).argmin()]
        drawn.arrow((at(x), 2.17 if y > 2 else 1.83), (at(nearest), y), kind="activations")
        beside = 2.4 if y > 2 else 1.5
        drawn.text(at(x) + 0.25, beside, f"decoded as {nearest:.2f}", kind="activations", align="left", size=9)
    return drawn.figure


def four_scales():
    """The ends of -a ... a under four conventions, with 4 bits."""
    drawn = Schematic(
        10,
        5.9,
        title="Four scales for symmetric int4, and what becomes of -a and +a",
        alt="Levels of symmetric int4 between -a and a. With a/7 both ends are levels; with a/7.5 both err by half a "
        "step; with a/8 -a is a level and +a errs by a whole step; with the signed extreme / -8 the extreme is a level "
        "and the other end errs by a whole step.",
    )
    at = lambda value: 5.75 + 3.1 * value
    rows = (
        ("a / 7", 7, -7, "8 bits: a / 127"),
        ("a / 7.5", 7.5, -8, "8 bits: a / 127.5"),
        ("a / 8", 8, -8, "8 bits: a / 128"),
        ("extreme / -8", 8, -8, "blocks: MatMulNBits"),
    )
    for row, (name, divisor, first, where) in enumerate(rows):
        y = 4.9 - 1.32 * row
        codes = np.arange(first, 8)
        levels = codes / (-divisor if row == 3 else divisor)
        drawn.levels(at(min(levels)), at(max(levels)), y, levels, labels=codes)
        drawn.text(0.15, y + 0.3, name, align="left", bold=True)
        drawn.text(0.15, y, f"{codes.size} levels", align="left", size=9)
        drawn.text(0.15, y - 0.27, where, align="left", size=9)
        for end in (-1, 1):
            drawn.axes.plot([at(end)] * 2, [y - 0.14, y + 0.45], color=INK, linewidth=0.8, linestyle=":")
            nearest = levels[np.abs(levels - end).argmin()]
            error = abs(end - nearest) * divisor
            if error:
                drawn.arrow((at(end), y + 0.42), (at(nearest), y + 0.16), kind="error")
            said = f"{'+' if end > 0 else '-'}a: " + (f"{error:g} step off" if error else "exact")
            drawn.text(at(end), y + 0.58, said, kind="error" if error else None, size=9)
    drawn.text(0.15, 0.2, "extreme: the value of largest size, with its sign; here it is +a", align="left", size=9)
    return drawn.figure


@styled
def gains(points):
    """{name: (kind, position of zero, dB gained)}: every tensor, and the formula as a line."""
    figure, axes = palette.figure(height=4.6)
    line = np.linspace(0, 1, 100)
    formula = 20 * np.log10(2 / (1 + line) * 127.5 / 127)
    axes.plot(line, formula, color=INK, linewidth=1.2, label="the formula")
    for kind in ("activations", "weights"):
        across, up = zip(*(point[1:] for point in points.values() if point[0] == kind), strict=True)
        size = 3 if kind == "weights" else 6  # so that neither hides the other
        axes.plot(
            across,
            up,
            "o",
            color=palette.COLOURS[kind],
            alpha=0.7,
            markersize=size,
            label=f"{len(up)} {kind}",
            zorder=3,
        )
    silus = sum(name.startswith("Mul silu") for name in points)
    named = {
        "ReLU, sigmoid, softmax": ("Relu relu_8", (0.1, 7.3)),
        f"the first of {silus} SiLUs": ("Mul silu of", (0.24, 6.2)),
        "cosines of positions": ("Cos cos", (0.72, -2.6)),
    }
    for said, (begins, place) in named.items():
        _, across, up = next(point for name, point in points.items() if name.startswith(begins))
        axes.annotate(
            said, (across, up), place, color=INK, va="center",
            arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkB": 4},
        )  # fmt: skip
    axes.set(ylim=(-3.9, 8), ylabel="dB gained by asymmetric uint8")
    axes.set_xlabel("shorter side of the range / longer side (0: one-sided, 1: zero in the middle)")
    axes.legend(loc="lower left")
    axes.set_title("Where zero lies in the range decides nearly everything")
    return figure


@styled
def codes(x, ways):
    """{name: QParams}: how often each code occurs, and how many never do."""
    figure, axes = palette.figure(len(ways), 1, height=3.6, sharex=True, sharey=True)
    for axis, (name, qparams) in zip(axes, ways.items(), strict=True):
        taken, counts = np.unique(quantize(x, qparams).astype(int), return_counts=True)
        axis.bar(taken, 100 * counts / x.size, width=1, color=palette.INTEGER)
        axis.axvspan(qparams.quant_min, qparams.quant_max, color=palette.INTEGER, alpha=0.12, linewidth=0)
        idle = qparams.quant_max - qparams.quant_min + 1 - taken.size
        axis.set(yscale="log", ylabel="% of the\nnumbers (log)", title=f"{name}: {idle} of 256 codes idle")
    axes[-1].set_xlabel("code (shaded: all that the type has)")
    return figure


def dynamic_product():
    """What quantize_dynamic makes of one MatMul."""
    drawn = Schematic(
        10,
        3.7,
        title="One MatMul after quantize_dynamic: the range of x is found while the model runs",
        alt="x goes through DynamicQuantizeLinear, which finds its range and gives uint8 codes, scale and zero point; "
        "MatMulInteger multiplies the codes by codes of the weight into int32; Cast makes floats of them, and Mul "
        "multiplies by both scales: float32.",
    )
    drawn.text(0.35, 1.9, "x", kind="activations", bold=True)
    first = drawn.box(2.35, 1.9, "DynamicQuantizeLinear\nlow, high -> codes", kind="activations", width=2.6, height=0.9)
    product = drawn.box(5.6, 1.9, "MatMulInteger", kind="integer", width=1.7)
    last = drawn.box(8.0, 1.9, "Cast, Mul", width=1.3)
    weight = drawn.box(5.6, 3.25, "codes of the weight,\nmade beforehand", kind="weights", width=2.6, height=0.8)
    drawn.arrow((0.5, 1.9), first, kind="activations")
    drawn.arrow(first, product, "uint8", kind="integer")
    drawn.arrow(weight, product, "int8 or uint8", kind="integer")
    drawn.arrow(product, last, "int32", kind="integer")
    drawn.arrow(last, (9.75, 1.9), "float32", kind="fp32")
    scales = drawn.box(8.0, 0.5, "scale of x times\nscale of the weight", width=2.0, height=0.8)
    drawn.axes.plot([2.35, 2.35], [1.43, 0.5], color=INK, linewidth=1.4)
    drawn.arrow((2.35, 0.5), scales, "scale of x, new for every x")
    drawn.arrow(scales, last)
    return drawn.figure
