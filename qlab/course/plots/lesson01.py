"""What notebook 01 draws: its schematics and its curves."""

import numpy as np

from qlab import palette
from qlab.course.plots import Schematic
from qlab.course.plots.canvas import INK, styled
from qlab.numerics.metrics import sqnr_db


def draw_grid():
    """A schematic of the grid that the notebook computes by hand: range, levels, codes, and one number's way."""
    page = Schematic(
        10, 3.8, title="A grid: the range, its levels, their codes",
        alt="An axis of real numbers from -1 to 2.5 with eight levels, 0.5 apart, numbered from 0 to 7. The distance "
        "of two levels is the scale. The level at 0.0 has code 2, the zero point. The number 0.8 goes to level 1.0, "
        "code 4; the 0.2 by which it moves is its error.",
    )  # fmt: skip
    levels = 0.5 * (np.arange(8) - 2)
    at = page.levels(1.6, 9.4, 2.25, levels, labels=[f"{level:g}" for level in levels])
    page.text(0.1, 2.25, "levels", align="left")
    page.text(0.1, 0.75, "codes", align="left")
    page.bracket(at(-1), at(2.5), 3.3, "range: low = -1 to high = 2.5", kind="weights")
    page.bracket(at(1.5), at(2), 2.5, "scale = 0.5", kind="integer")
    for code, level in enumerate(levels):
        page.cells(at(level) - 0.3, 0.75, [code], kind="integer", size=0.6)
        page.arrow((at(level), 1.8), (at(level), 1.08), kind="integer")
    page.text(at(0.8), 3.08, "x = 0.8", kind="weights", size=9)
    page.arrow((at(0.8), 2.97), (at(0.8), 2.42), kind="weights")
    page.arrow((at(0.8), 2.39), (at(1), 2.39), kind="error")
    page.text(at(0.92), 2.58, "error 0.2", kind="error", size=9, align="left")
    page.text(at(0), 0.22, "zero point = 2: the code of 0.0", kind="integer", size=9)
    page.text(at(1.45), 0.22, "q = round(0.8 / 0.5) + 2 = 4", kind="integer", size=9)
    return page.figure


def draw_bits(value, code, pair):
    """A schematic: the 32 bits of a float32, the 8 of its uint8 code, and two uint4 codes in one byte."""
    page = Schematic(
        10, 3.5, title=f"The weight {value:+.4f} in 32 bits, in 8, and in 4",
        alt="Three rows of bits. A float32 has 1 sign bit, 8 bits of exponent and 23 of fraction. A uint8 code has 8 "
        "bits. A byte holds two uint4 codes of 4 bits each.",
    )  # fmt: skip
    rows = [  # name, bits, [(name of a field, its bits, kind)]
        (
            "float32",
            f"{np.float32(value).view(np.uint32):032b}",
            [("sign", 1), ("exponent, 8 bits", 8), ("fraction, 23 bits", 23)],
        ),
        ("uint8", f"{int(code):08b}", [(f"code {code}", 8)]),
        (
            "2 x uint4",
            "".join(f"{int(one):04b}" for one in reversed(pair)),  # ONNX packs the first one into the low half
            [(f"code {pair[1]}", 4), (f"code {pair[0]}", 4)],
        ),
    ]  # fmt: skip
    for y, (name, digits, fields) in zip((2.9, 1.8, 0.7), rows, strict=True):
        page.text(0.05, y, name, align="left")
        kind, x = ("fp32" if name == "float32" else "integer"), 1.3
        for said, count in fields:
            page.cells(x, y, digits[:count], kind=kind, size=0.265)
            page.text(x + count * 0.1325, y - 0.36, said, size=9)
            digits, x = digits[count:], x + count * 0.265 + (0.06 if len(fields) > 1 else 0)
    page.text(
        3.7,
        0.7,
        f"the code of this weight, {pair[0]}, in the low half; the next one's in the high half",
        align="left",
        size=9,
    )
    return page.figure


def draw_pair():
    """A schematic of a Q/DQ pair in an ONNX graph."""
    page = Schematic(
        10, 2.7, title="A Q/DQ pair: codes run between two nodes",
        alt="x, float32, enters QuantizeLinear; uint8 codes q run to DequantizeLinear; y, float32, leaves it. Both "
        "nodes read the same scale and zero point, which are initializers.",
    )  # fmt: skip
    first = page.box(3.2, 1.9, "QuantizeLinear", kind="integer", width=2.2)
    second = page.box(7.0, 1.9, "DequantizeLinear", kind="integer", width=2.2)
    page.text(2.95, 0.45, "initializers:", align="right")
    page.box(4.05, 0.45, "scale, float32", kind="fp32", width=1.9)
    page.box(6.25, 0.45, "zero_point, uint8", kind="integer", width=2.2)
    page.arrow((0.7, 1.9), first, "x, float32", kind="fp32")
    page.arrow(first, second, "q, uint8", kind="integer")
    page.arrow(second, (9.5, 1.9), "y, float32", kind="fp32")
    for x in (3.85, 6.05):
        page.arrow((x, 0.82), (3.5, 1.53))
    for x in (4.25, 6.45):
        page.arrow((x, 0.82), (6.7, 1.53))
    return page.figure


@styled
def draw_ways_back(x, wrapped, saturated):
    """What comes back of sorted weights if codes wrap around, and if they saturate. -> Figure"""
    figure, axes = palette.figure(
        height=3.6,
        alt="What comes back against the weight. Outside the range saturated codes stay flat, wrapped ones jump",
    )
    axes.plot(x, wrapped, ".", color=palette.ERROR, markersize=4, label="cast to uint8 first: wraps around")
    axes.plot(x, saturated, color=palette.INTEGER, label="saturated first")
    axes.set(xlabel="weight", ylabel="what comes back")
    kept = f"{sqnr_db(x, saturated):.1f} dB saturated, {sqnr_db(x, wrapped):.1f} wrapped"
    axes.set_title(f"The weight {x[-1]:+.3f} wraps to {wrapped[-1]:+.3f}: {kept}")
    axes.legend()
    return figure


@styled
def draw_rounding_and_clipping(shares, rounding, clipping):
    """Both kinds of squared error against the share of the range that is covered; min-max's sum is 1. -> Figure"""
    both = rounding + clipping
    best = both.argmin()
    figure, axes = palette.figure(height=3.8)
    for part, line, name in ((rounding, "--", "rounding"), (clipping, ":", "clipping"), (both, "-", "both")):
        width = 2.6 if name == "both" else 1.8
        axes.plot(100 * shares, part, line, color=palette.ERROR, label=name, linewidth=width)
    axes.plot(100 * shares[best], both[best], "o", color=palette.ERROR, markersize=9)
    axes.set(xlabel="range that the levels cover, % of min-max", ylabel="squared error (min-max = 1)", ylim=(0, 1.5))
    gain = -10 * np.log10(both[best])
    axes.set_title(f"Covering {100 * shares[best]:.0f} % of the range is best: {gain:.1f} dB better than min-max")
    axes.legend(loc="upper center")
    return figure


@styled
def draw_bits_and_sqnr(bits, sqnr):
    """SQNR against bits, and what each bit added, of {"min-max": dB, "least MSE": dB}. -> Figure"""
    figure, (left, right) = palette.figure(
        1, 2, height=4.0,
        alt=f"Left: SQNR against bits, {bits[0]} to {bits[-1]}, for min-max and least MSE, which starts higher. "
        "Right: the decibels that each bit adds; with many bits both lie at the level of 6.02",
    )  # fmt: skip
    for (name, decibels), line in zip(sqnr.items(), ("-", "--"), strict=True):
        ground = "white" if line == "--" else palette.WEIGHTS
        look = {"marker": "o", "markersize": 5, "color": palette.WEIGHTS, "label": name, "markerfacecolor": ground}
        left.plot(bits, decibels, line, **look)
        right.plot(bits[1:], np.diff(decibels), line, **look)
    step_ratio = (2.0 ** bits[1:] - 1) / (2.0 ** bits[:-1] - 1)  # n bits have 2**n - 1 steps
    right.plot(bits[1:], 20 * np.log10(step_ratio), ":", color=INK, linewidth=1.4, label="as the steps shrink")
    right.axhline(20 * np.log10(2), color=INK, linewidth=0.8, label=f"{20 * np.log10(2):.2f} dB, half the error")
    left.set(xlabel="bits", ylabel="SQNR (dB)")
    right.set(xlabel="bits", ylabel="dB that this bit added")
    left.set_title(f"At {bits[0]} bits least MSE leads by {sqnr['least MSE'][0] - sqnr['min-max'][0]:.1f} dB ...")
    right.set_title("... and loses that lead bit by bit")
    left.legend(loc="upper left")
    right.legend(loc="upper right")
    return figure
