"""Notebook 01: scale and zero point, quantize, dequantize with a bound, the range of least MSE, a Q/DQ pair.

Its pictures come first, then what it and its checks use.
"""

from functools import cache, partial

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization.quant_utils import compute_scale_zp

from qlab import models, palette
from qlab.course.expect import call, expect_array, expect_close, expect_dtype, expect_equal, expect_number, expect_shape
from qlab.course.lessons import exercise
from qlab.course.plots.schematic import Schematic
from qlab.course.show import Almost, brief, error_text, kind, number
from qlab.numerics.affine import fake_quantize, mse_range, qparams_from_range
from qlab.numerics.kernels import dequantize_linear, quantize_linear
from qlab.numerics.metrics import sqnr_db
from qlab.palette import INK, styled
from qlab.runtime import open_session, run_operator


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


HEAVY_TAILED = "encoder.embed.conv.2.weight"


@cache
def heavy_tailed_weight():
    """The second convolution's weight of the trained conformer, float32 (144, 144, 3, 3)."""
    graph = onnx.load(models.path("conformer")).graph
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == HEAVY_TAILED))


def weight_before(graph, bias):
    """The weight of the matrix product to whose result this bias is added."""
    add = next(node for node in graph.node if bias in node.input)
    product = next(node for node in graph.node if node.output[0] in add.input)
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == product.input[1]))


RANGES = [(-1.0, 2.5), (-0.31, 0.2), (-40.0, 3.0), (0.0, 6.0), (-2.0, 0.0), (-4e-5, 7e-5), (-3e-30, 5e-30)]
WITHOUT_ZERO = [(0.8, 23.0), (-7.0, -0.5), (3.0, 3.0), (-2.0, -2.0)]
CODES = [(0, 255), (-128, 127), (0, 15), (-8, 7)]


def cases_qparams():
    """(low, high, quant_min, quant_max) of every question."""
    return [(low, high, *codes) for low, high in [*RANGES, *WITHOUT_ZERO, (0.0, 0.0)] for codes in CODES]


def judge_qparams(answer, low, high, quant_min, quant_max):
    where = f"for the range {low:g} to {high:g} and the codes {quant_min} to {quant_max}"
    constant = "" if low < high else ". All values of a constant tensor are equal: low == high must not divide by 0"
    try:
        seen = call(answer, low, high, quant_min, quant_max, name="qparams")
    except Almost as error:
        raise Almost(f"{error}{constant}") from error
    if not isinstance(seen, tuple | list | np.ndarray) or np.ndim(seen) == 0 or len(seen) != 2:
        raise Almost(f"{where}: expected (scale, zero_point), seen {brief(seen)} of type `{kind(seen)}`")
    scale, zero_point = expect_number(seen[0], f"scale {where}"), expect_number(seen[1], f"zero_point {where}")
    zero_point_found, expected = map(float, compute_scale_zp(*map(np.array, (low, high, quant_min, quant_max))))
    if _same(zero_point, expected) and zero_point != scale and scale == np.rint(scale):
        raise Almost(f"{where}: seen ({number(scale)}, {number(zero_point)}): return the scale first, then zero_point")
    if not np.isfinite(scale) or scale <= 0:
        turned = ". To take 0 in: min(low, 0) and max(high, 0), not the other way round" if low < high else ""
        raise Almost(f"scale {where}: expected a positive number, seen {number(scale)}{constant}{turned}")
    if low == high == 0:  # any of the codes will do for a zero point: nothing but 0.0 is to be stored
        _judge_zeros(scale, zero_point, quant_min, quant_max, where)
        return
    _judge_scale(scale, expected, low, high, quant_min, quant_max, where)
    _judge_zero_point(
        zero_point, zero_point_found, (min(low, 0.0), max(high, 0.0)), expected, quant_min, quant_max, where
    )


def _same(seen, expected):
    return bool(np.isclose(seen, expected, rtol=1e-5, atol=0))


def _judge_zeros(scale, zero_point, quant_min, quant_max, where):
    if scale != 1:
        raise Almost(f"scale {where}: where all is 0 the text asks for 1, as onnxruntime has it, seen {number(scale)}")
    if zero_point != np.rint(zero_point) or not quant_min <= zero_point <= quant_max:
        raise Almost(f"zero_point {where}: seen {number(zero_point)}, which is not one of the codes")


def _judge_scale(scale, expected, low, high, quant_min, quant_max, where):
    reach, steps = high - low, quant_max - quant_min
    largest = max(-low, high)
    mistakes = {
        "the range leaves out 0; move the end that is nearer to 0 onto it before anything else": [
            reach / steps, (abs(low) + abs(high)) / steps
        ],
        f"{steps + 1} codes have {steps} steps between them": [expected * steps / (steps + 1), reach / (steps + 1)],
        "this is one over the scale": [1 / expected, (steps / reach if reach else 0)],
        "that is one end of the range alone, as for the symmetric scale of notebook 02; here it is high - low": [
            abs(high) / steps, abs(low) / steps, largest / quant_max, 2 * largest / steps, 2 * largest / (steps + 1)
        ],
        f"255 steps belong to 8 bits; the codes {quant_min} to {quant_max} have {steps}": [
            expected * steps / 255, expected * steps / 256
        ],
        "the codes begin at quant_min: the steps are quant_max - quant_min": [expected * steps / quant_max],
        "a power of two was not asked for": [2.0 ** np.ceil(np.log2(expected)), 2.0 ** np.rint(np.log2(expected))],
        "do not round a scale: its digits are all needed": [round(expected, digits) for digits in range(1, 8)],
        "float16 keeps three digits of a scale: use float32 or float64": [float(np.float16(expected))],
    }  # fmt: skip
    if not _same(scale, expected):
        said = next((text for text, wrong in mistakes.items() if any(_same(scale, other) for other in wrong)), "")
        if low == high:
            said = said or "take 0 in first: then the range of a constant has a length, from 0 to its value"
        elif not said and scale == 1 and low < 0 < high and reach > 1e-3:
            said = "to take 0 in: min(low, 0) and max(high, 0), not the other way round"
        elif not said and scale > expected and reach < 1e-3:
            said = "a guard against 0 that catches small ranges too: only a range of no length needs another scale"
        raise Almost(
            f"scale {where}: expected {number(expected)}, seen {number(scale)}" + (f": {said}" if said else "")
        )


def _judge_zero_point(zero_point, expected, ends, scale, quant_min, quant_max, where):
    """ends: low and high, 0 taken in."""
    low, high = ends
    offset = low / scale
    exact = quant_min - offset  # the zero point before rounding
    if zero_point != np.rint(zero_point):
        raise Almost(f"zero_point {where}: seen {number(zero_point)}: it is one of the codes, so round it")
    if abs(exact % 1 - 0.5) < 1e-3 and abs(zero_point - exact) < 0.51:
        return  # a tie: float32 and float64 may round it to different sides
    mistakes = {
        "is a sign turned? low must land on the first code": [np.rint(quant_min + offset)],
        "low lands on the first code, and high on the last: quant_min belongs to low": [
            np.rint(quant_min + high / scale)
        ],
        "quant_min is missing: low lands on the first code, which need not be 0": [np.rint(-offset), np.rint(offset)],
        "is a sign turned? high must land on the last code": [np.rint(quant_max + high / scale)],
        "something added to a small scale, against a division by 0, is no longer small beside it": [
            np.rint(quant_min - low / (scale + 10.0**-digits)) for digits in range(5, 17) if scale < 1e-6
        ],
        "low is a real number: divide it by scale, so that it counts steps": [
            np.rint(quant_min - low * scale),
            np.rint(quant_min - low),
            np.rint(-low),
        ],
        "low must not be rounded, only what comes out": [np.rint(quant_min - np.rint(low) / scale)],
        "round to the nearest code; int() and // cut off": [np.trunc(exact), np.floor(exact)],
        "int(... + 0.5) cuts off toward 0, so that a negative code lands one too high: np.rint": [
            np.trunc(exact + 0.5)
        ],
        "round to the nearest code, not up": [np.ceil(exact)],
        "the codes run from quant_min to quant_max, not from 0 to 255": [
            np.clip(np.rint(exact), 0, 255),
            np.rint(exact) % 256,
        ],
        "the middle code, or 0, belongs to 0.0 only if the range is symmetric": [(quant_min + quant_max + 1) // 2, 0],
    }
    if zero_point != expected:
        listed = [(text, wrong) for text, several in mistakes.items() for wrong in several]
        clipped = [(text, np.clip(wrong, quant_min, quant_max)) for text, wrong in listed]
        said = next((text for text, wrong in listed + clipped if wrong == zero_point), "")
        if not said and not quant_min <= zero_point <= quant_max:
            said = "this is not one of the codes"
        expect_equal(zero_point, expected, f"zero_point {where}", hint=said or "low must land on the first code")


# Of these, products with 1 / scale miss ties that the quotient hits: in float32 of the first, in float64 of the second.
AWKWARD_SCALES = 7 / 16, 49 / 64


def cases_codes():
    """(name, x, scale, zero_point) of every question."""
    weight = heavy_tailed_weight()[::16, ::4].ravel()
    halves = np.arange(-4.5, 5, 1, dtype=np.float32)
    many = np.arange(-100.5, 154, dtype=np.float32)
    return [
        ("a real weight", _away_from_ties(weight, 0.001), 0.001, 60),
        ("x / scale halfway between whole numbers", halves * 0.25, 0.25, 7),
        ("x / scale halfway, even zero_point", halves * 0.5, 0.5, 128),
        *((f"x / scale exactly halfway, scale {s:g}", np.float32(s) * many, s, 101) for s in AWKWARD_SCALES),
        ("numbers beyond the levels", np.float32([-9, -2.1, -2, 0, 1.5, 4.4, 99, 4000]), 0.025, 80),
        ("huge numbers", np.float32([-1e30, -1e12, 0.0, 1e12, 1e30]), 0.5, 3),
        ("a matrix", _away_from_ties(weight[:48], 0.01).reshape(-1, 2), 0.01, 0),
    ]


def _away_from_ties(x, scale):
    """An even number of values, none of them near a tie."""
    kept = x[np.abs((x / np.float32(scale)) % 1 - 0.5) > 1e-3]
    return kept[: kept.size // 2 * 2]


def judge_codes(answer, x, scale, zero_point, where):
    given = []

    def watched(x, scale, zero_point):
        given.append(x)
        return answer(x, scale, zero_point)

    try:
        seen = call(watched if callable(answer) else answer, x, scale, zero_point, name="to_codes")
    except Almost as error:
        advice = ". x may have any shape: NumPy's own functions take every entry" if x.ndim > 1 else ""
        raise Almost(f"{error}{advice}") from error
    if not np.array_equal(given[0], x):
        raise Almost(
            "to_codes changes the array that it was given, and whoever called it has lost their numbers: x / scale "
            "makes a new array, x /= scale and out=x do not"
        )
    seen = expect_shape(seen, x.shape, f"the codes {where}")
    expected = run_operator("QuantizeLinear", x, scale, zero_point)
    ideal = np.rint(x.astype(np.float64) / scale) + int(zero_point)
    at_the_ends = (ideal <= 0) | (ideal >= 255)
    differs = seen.astype(np.float64) != expected
    if differs.any() and not differs[~at_the_ends].any():
        said = _wrong_ends(seen, ideal)
        raise Almost(
            f"the codes {where}: {number(x[differs][0])} should become {expected[differs][0]}, seen "
            f"{number(seen[differs][0])}: {said}"
        )
    wrong = (said for said, codes in _wrong_codes(x, scale, zero_point) if np.array_equal(codes, seen))
    said = next(wrong, _other_kind(seen, ideal, scale, zero_point)) if differs.any() else ""
    expect_equal(seen, expected, f"the codes {where}", hint=said)
    expect_dtype(seen, np.uint8, f"the codes {where}")


def _other_kind(seen, ideal, scale, zero_point):
    """What can be said of codes that no slip in the formula gives."""
    if np.allclose(seen, (np.clip(ideal, 0, 255) - zero_point) * scale, atol=scale / 10):
        return "these are real numbers again, not the codes"
    if np.array_equal(seen, np.clip(ideal, seen.min(), seen.max())):
        return f"uint8 codes run from 0 to 255, yours from {number(seen.min())} to {number(seen.max())}"
    return "divide, round, add zero_point, clip"


def _wrong_ends(seen, ideal):
    """What is wrong with the codes of numbers beyond the levels, all others being right."""
    below, above = np.unique(seen[ideal <= 0]), np.unique(seen[ideal >= 255])
    limited = below.size <= 1 and above.size <= 1 and (below < 128).all() and (above >= 128).all()
    if limited:
        first, last = (number(end[0]) if end.size else right for end, right in ((below, "0"), (above, "255")))
        return f"uint8 codes run from 0 to 255, yours from {first} to {last}"
    return (
        "clip to 0 ... 255 while the numbers are still float; an integer cast of what does not fit wraps around, "
        "and clipping after it comes too late"
    )


def _wrong_codes(x, scale, zero_point):
    """(what was done wrong, the codes that it gives) for every mistake that the check knows by name."""
    z, steps = int(zero_point), x.astype(np.float64) / scale
    away = np.sign(steps) * np.floor(np.abs(steps) + 0.5)
    toward = np.sign(steps) * np.ceil(np.abs(steps) - 0.5)
    tie = (
        "where x / scale is halfway between two whole numbers it goes to the even one (np.rint), then comes zero_point"
    )
    inverse = "x * (1 / scale) is not x / scale: 1 / scale was rounded itself, and misses ties that the quotient hits"
    own = "scale and zero_point are given, and the least x has no part in it: x / scale, rounded, + zero_point"
    early = "clipped too early: a negative x has a code below zero_point. Clip the codes, once zero_point is added"
    unclipped = [  # those of ties first: where all are ties, floor looks like rounding down
        ("zero_point was added before rounding: an odd one turns the ties around", np.rint(steps + z)),
        (f"{tie}, not always up", np.floor(steps + 0.5) + z),
        (f"{tie}, not always away from 0", away + z),
        (f"{tie}, not always down", np.ceil(steps - 0.5) + z),
        (f"{tie}, not always toward 0", toward + z),
        (f"{tie}; int(... + 0.5) also cuts off negative numbers on the wrong side", np.trunc(steps + 0.5) + z),
        ("floor takes the level below; round to the nearest: np.rint", np.floor(steps) + z),
        ("casting to an integer cuts off the fraction; round first: np.rint", np.trunc(steps) + z),
        ("this rounds up; round to the nearest: np.rint", np.ceil(steps) + z),
        (inverse, np.rint(x * (np.float32(1) / scale)) + z),
        (inverse, np.rint(x.astype(np.float64) * (1 / np.float64(scale))) + z),
        ("zero_point is missing", np.rint(steps)),
        ("zero_point is subtracted: that is the way back", np.rint(steps) - z),
        ("zero_point is a code, no real number: add it after dividing", np.rint((x.astype(np.float64) - z) / scale)),
        ("zero_point is a code, no real number: add it after dividing", np.rint((x.astype(np.float64) + z) / scale)),
        (
            "this multiplies by scale, which is the way back, or rounds x before it is divided",
            np.rint(x.astype(np.float64) * scale) + z,
        ),
        ("the sign of x is lost", np.rint(np.abs(steps)) + z),
        (early, np.rint(np.clip(x.astype(np.float64), 0, 255) / scale) + z),
        (early, np.clip(np.rint(steps), 0, 255) + z),
        (own, np.rint((x.astype(np.float64) - x.min()) / scale)),
        (own, np.rint((x.astype(np.float64) - x.min()) / scale) + z),
        (own, np.rint((x.astype(np.float64) - x.min()) / np.ptp(x.astype(np.float64)) * 255)),
    ]
    yield (
        "every code is 255: 0 - zero_point wraps around in uint8, or zero_point was added to x itself",
        np.full(x.shape, 255),
    )
    for said, codes in unclipped:
        yield said, np.clip(codes, 0, 255)
    yield early, (np.clip(np.rint(steps), 0, 255) + z) % 256
    yield early, np.clip(np.rint(steps), 0, 255) + z
    short = "x / scale needs more than the 8 bits of int8, before zero_point is added and after: stay in float"
    yield short, np.clip((np.rint(np.clip(steps, -1e9, 1e9)) + 128) % 256 - 128 + z, 0, 255)
    yield short, np.clip((np.clip(np.rint(steps), -1e9, 1e9) + z + 128) % 256 - 128, 0, 255)
    half = np.rint(x.astype(np.float16) / np.float16(scale)).astype(np.float64) + z
    yield "float16 has no digits to spare for codes up to 255: divide in float32", np.clip(half, 0, 255)
    signed = np.clip(np.rint(steps) + z, -128, 127)
    yield "int8 codes run from -128 to 127; those of uint8 from 0 to 255", signed
    yield "int8 codes run from -128 to 127; those of uint8 from 0 to 255", signed % 256


CASES = [(0.5, 2), (0.013, 128), (7e-4, 0), (3.0, 255), (0.02, 77)]  # scale, zero_point


def judge_both(answer, scale, zero_point):
    """Refuse a way back, or a bound, that is wrong for this scale and zero point. -> how many numbers were tried"""
    first, last = (scale * np.float32(code - int(zero_point)) for code in (0, 255))
    x = np.random.default_rng(3).uniform(first - 40 * scale, last + 40 * scale, size=500).astype(np.float32)
    x = np.concatenate([x, np.float32([0, first, last]), first + scale * np.arange(0.5, 6, dtype=np.float32)])
    where = f"with scale {scale:g}, zero_point {zero_point}"
    real = _judge_dequantize(answer, scale, zero_point, where)
    error = np.abs(x.astype(np.float64) - real[run_operator("QuantizeLinear", x, scale, zero_point)])
    _judge_bound(answer[1], x, error, scale, zero_point, (first, last), where)
    return x.size


def _judge_dequantize(answer, scale, zero_point, where):
    """-> the real number of each of the 256 codes, float64"""
    q, z = np.arange(256).astype(np.uint8), int(zero_point)
    expected = run_operator("DequantizeLinear", q, scale, zero_point)
    if _swapped(answer, q, scale, zero_point, expected):
        raise Almost("the two functions are in the wrong order: give (to_real, error_bound)")
    seen = call(answer[0], q, scale, zero_point, name="to_real")
    codes = np.arange(256.0)
    mistakes = {
        "codes below zero_point wrapped around: uint8 cannot hold q - zero_point, cast to float32 first": np.float32(
            q - zero_point
        )
        * scale,
        "codes above 127 wrapped around: int8 cannot hold them, cast to float32": (
            q.astype(np.int8).astype(np.float64) - z
        )
        * scale,
        "the difference of two codes lies between -255 and 255: int8 cannot hold it, cast to float32 first": (
            ((codes - z + 128) % 256 - 128) * scale
        ),
        "negative numbers are lost: codes below zero_point stand for them": np.maximum(codes - z, 0) * scale,
        "float16 has too few digits: compute in float32": np.float16(codes - z) * np.float16(scale),
        "float16 has too few digits to return: float32": np.float16(expected),
        "subtract zero_point before multiplying: (q - zero_point) * scale": codes * scale - z,
        "zero_point is subtracted, and before multiplying: (q - zero_point) * scale": codes * scale + z,
        "zero_point is added: the way back subtracts it": (codes + z) * scale,
        "zero_point is missing": codes * scale,
        "a code stands for its level, not for the middle between two": (codes - z + 0.5) * scale,
        "codes stand for real numbers; an integer type cuts off the fraction": np.trunc(expected),
        "the sign is turned: q - zero_point, not zero_point - q": (z - codes) * scale,
        "codes below zero_point stand for negative numbers; their sign is lost": np.abs(codes - z) * scale,
        "this divides by scale: the way back multiplies": (codes - z) / scale,
        "this is still a number of steps: multiply by scale": codes - z,
    }
    mistakes = {said: wrong for said, wrong in mistakes.items() if not np.allclose(wrong, expected)}
    expect_close(seen, expected, f"to_real {where}", atol=1e-6 * float(scale), mistakes=mistakes)
    seen = call(answer[0], q.reshape(16, 16), scale, zero_point, name="to_real")
    expect_close(seen, expected.reshape(16, 16), f"to_real of a matrix {where}", atol=1e-6 * float(scale))
    return expected.astype(np.float64)


def _swapped(answer, q, scale, zero_point, expected):
    """Does the second function give what the first should, and the first does not?"""
    right = []
    for function in answer:
        try:
            right.append(np.allclose(np.asarray(call(function, q, scale, zero_point), np.float64), expected, rtol=1e-5))
        except (Almost, TypeError, ValueError):
            right.append(False)
    return right == [False, True]


def _judge_bound(answer, x, error, scale, zero_point, ends, where):
    """The bound must hold, and be no larger than: half a step, or the way to the nearer end."""
    seen = expect_array(call(answer, x, scale, zero_point, name="error_bound"), f"error_bound {where}")
    bound = np.broadcast_to(seen, x.shape).astype(np.float64) if seen.ndim == 0 else expect_shape(seen, x.shape)
    beyond = np.maximum(np.maximum(ends[0] - x.astype(np.float64), x - np.float64(ends[1])), 0)
    slack = 1e-5 * scale + 1e-6 * np.abs(x)
    if (np.abs(bound - error) < slack).all():
        raise Almost(
            f"error_bound {where}: that is the error of each entry itself. A bound is known before quantizing: between "
            "the first and the last level it is one number for every x"
        )
    if (broken := ~(bound >= error - slack)).any():
        worst = int(np.argmax(np.where(broken, error - np.nan_to_num(bound, nan=-1), -1)))
        said = (
            f"it lies beyond the levels ({number(ends[0])} to {number(ends[1])}), where the error is the way to the end"
            if beyond[worst] > scale / 2
            else "halfway between two levels the error is half a step"
        )
        raise Almost(
            f"error_bound {where}: x = {number(x[worst])} errs by {number(error[worst])}, the bound says "
            f"{number(bound[worst])}: {said}"
        )
    tight = np.maximum(beyond, scale / 2)
    if (loose := bound > tight + slack).any():
        worst = int(np.argmax(np.where(loose, bound - tight, -1)))
        raise Almost(
            f"error_bound {where}, levels from {number(ends[0])} to {number(ends[1])}: it holds, but for x = "
            f"{number(x[worst])} it says {number(bound[worst])} where {number(tight[worst])} is enough: "
            f"{_too_loose(bound, x, ends, worst, scale, slack)}"
        )
    if (bound < scale / 2 - slack)[beyond == 0].any():
        raise Almost(
            f"error_bound {where}: it holds for these x, but is less than scale / 2 for some: the bound must not use "
            "where between two levels x lies"
        )


def _too_loose(bound, x, ends, worst, scale, slack):
    first, last = ends
    beyond = np.maximum(np.maximum(first - x.astype(np.float64), x - np.float64(last)), 0)
    if np.allclose(bound, np.maximum(scale / 2, np.maximum(first + 256 * scale - x, x - last)), rtol=1e-3):
        return "0 - zero_point wraps around, uint8 cannot hold it: cast to float first"
    if np.allclose(bound, np.maximum(scale / 2, np.maximum(last - x, x - first)), rtol=1e-3):
        return "the first and the last level stand in each other's place"
    if np.allclose(bound, np.maximum(beyond, scale / 2) / scale, rtol=1e-3):
        return "this is a number of steps: multiply by scale"
    if (np.abs(bound - (beyond + scale / 2)) < slack).all():
        return "beyond the last level the error is the way to it, and no half step comes on top"
    if (bound == bound[0]).all():
        return "one number, that of the worst entry, for all; each entry has its own"
    if beyond[worst] == 0:
        return "rounding to the nearest level errs by half a step at most"
    return "beyond the levels the error is the way to the nearer end, and not more"


TOLERANCE_DB = 0.5  # stated in the text; a search over mirrored ranges, -a to a, stays within it


def range_of(answer, name):
    """(low, high) as the answer gives it for one of the samples."""
    seen = call(answer, with_target(name)[0], name="best_range")
    if not isinstance(seen, tuple | list | np.ndarray) or np.ndim(seen) == 0 or len(seen) != 2:
        raise Almost(f"for {name}: expected (low, high), seen {brief(seen)} of type `{kind(seen)}`")
    low, high = (expect_number(end, f"{what} for {name}") for end, what in zip(seen, ("low", "high"), strict=True))
    if not low < high or not np.isfinite([low, high]).all():
        raise Almost(f"for {name}: expected low < high, seen {number(low)} and {number(high)}")
    return low, high


def why_not(name, ranges, lost):
    """What is wrong with a range whose error is too large, as far as it can be seen in the ranges of all samples."""
    (x, _, best), (low, high) = with_target(name), ranges[name]
    shown = f"for {name}: {number(low)} to {number(high)} has {lost:.1f} dB more noise than the best range"
    if _alike(ranges, lambda x: (x.min(), x.max())) or _alike(ranges, lambda x: np.abs(x).max() * np.array([-1, 1])):
        return (
            f"{shown}: that is min-max, which also the least *largest* error asks for. Clipping does lose information, "
            f"but so does rounding: {number(best[0])} to {number(best[1])} loses less in all"
        )
    if said := _one_sided(ranges) or _habit(ranges) or _signs_cancel(ranges) or _other_search(ranges):
        return f"{shown}: {said}"
    if low < 1.05 * x.min() and high > 1.05 * x.max():
        return f"{shown}: it reaches beyond the values, and the levels out there are wasted. Try others, and measure"
    outside = noise_of(x, low, high)[1]
    advice = "in finer steps, and compare the mean of the *squares* of all differences"
    if outside > 0.5:
        return f"{shown}: too narrow, {outside:.0%} of its squared error is clipping. Try wider ones, {advice}"
    return f"{shown}: too wide, {1 - outside:.0%} of its squared error is rounding. Try narrower ones, {advice}"


def copied(ranges):
    """Are these, to the last bit, the ranges of qlab's own search?"""
    return all(ends == tuple(map(float, mse_range(with_target(name)[0], "uint4"))) for name, ends in ranges.items())


def _alike(ranges, find):
    """Is the range of every sample about the one that `find(x)` gives for it?"""
    return all(np.allclose(ends, find(with_target(name)[0]), rtol=0.07) for name, ends in ranges.items())


def _one_sided(ranges):
    """One end that stands still in all samples, in words, or ""."""
    samples = [(with_target(name)[0], ends) for name, ends in ranges.items()]
    if all(low >= 0 or high <= 0 for _, (low, high) in samples):
        return "it leaves out one side of 0, and all values there are clipped"
    still = (
        [np.isclose(low, x.min()) for x, (low, _) in samples],
        [np.isclose(high, x.max()) for x, (_, high) in samples],
    )
    return "one end stays at min-max for every tensor: move both" if any(map(all, still)) else ""


def _habit(ranges):
    """A property that the ranges of all samples share, in words, or ""."""
    measures = {
        "it is the same share of min-max, whatever the tensor. If a search found it: look for the least error, and "
        "count the clipped values too": lambda x, end: end / (x.min() if end < 0 else x.max()),
        "it is the same multiple of the standard deviation, whatever the tensor. Measure each tensor, keep the best": (
            lambda x, end: end / x.std()
        ),
        "it clips the same share of the values, whatever the tensor. Measure each tensor, keep the best": (
            lambda x, end: np.mean((x < end) if end < 0 else (x > end))
        ),
        "it is the same range, whatever the tensor. Measure each tensor, keep the best": lambda x, end: end,
    }
    tried = [(with_target(name)[0], ends) for name, ends in ranges.items()]
    clipping = [(x, ends) for x, ends in tried if not np.allclose(ends, (x.min(), x.max()), rtol=1e-3)]
    for said, measure in measures.items():
        found = np.array([[measure(x, end) for end in ends] for x, ends in (clipping if len(clipping) > 1 else tried)])
        if (np.ptp(found, axis=0) <= 0.04 * np.abs(found).max(axis=0)).all():
            return said
    return ""


def _signs_cancel(ranges):
    """Was a sum of differences made small that nobody had squared? In words, or ""."""
    found, best, least, most = np.transpose(
        [(_mean(name, ends), _mean(name, with_target(name)[2]), *_extreme_means(name)) for name, ends in ranges.items()]
    )
    if (np.abs(found) <= 0.2 * np.abs(best)).all() or (found <= 0.9 * least).all() or (found >= 0.9 * most).all():
        return "errors of both signs cancel in this sum. Square each difference *before* the mean is taken"
    return ""


def _mean(name, ends):
    x = with_target(name)[0]
    return (x - fake_quantize(x, qparams_from_range(*ends, "uint4"))).mean(dtype=np.float64)


@cache
def _extreme_means(name):
    """The least and the greatest mean of the differences that a share of min-max gives."""
    x = with_target(name)[0]
    means = [_mean(name, (share * x.min(), share * x.max())) for share in np.linspace(0.02, 1, 50)]
    return min(means), max(means)


def _other_search(ranges):
    """What was searched for instead of the least squared error of 4 bits, if all ranges show it, or ""."""
    objectives = {
        f"that is the best range for {bits} bits. With 4 bits it is {other}": (f"uint{bits}", _mean_square)
        for bits, other in ((2, "wider"), (3, "wider"), (5, "narrower"), (8, "narrower"))
    }
    objectives |= {
        "that is the least *absolute* error. Squares weigh a large error more, so that clipping costs more": (
            "uint4", lambda difference: np.abs(difference).mean()
        ),
        "that is the least *cube* of the error. It weighs large errors more than squares do": (
            "uint4", lambda difference: (np.abs(difference).astype(np.float64) ** 3).mean()
        ),
        "that is the least *fourth power* of the error. It all but ignores the small errors; squares were asked for": (
            "uint4", lambda difference: (difference.astype(np.float64) ** 4).mean()
        ),
        "that is the *greatest* error: look for the least, or for the greatest SQNR": (
            "uint4", lambda difference: -_mean_square(difference)
        ),
    }  # fmt: skip
    for said, (dtype, objective) in objectives.items():
        for mirrored in (False, True):
            if _alike(ranges, partial(_searched, dtype=dtype, objective=objective, mirrored=mirrored)):
                return said
    return ""


def _mean_square(difference):
    return np.square(difference).mean()


def _searched(x, dtype, objective, mirrored):
    """The range of least `objective(difference)`, over shares of min-max or of a mirrored range."""
    largest = np.abs(x).max()
    low, high = (-largest, largest) if mirrored else (x.min(), x.max())

    def judged(share):
        return objective(x - fake_quantize(x, qparams_from_range(share * low, share * high, dtype)))

    share = min(np.linspace(0.02, 1, 50), key=judged)
    return share * low, share * high


def noise_of(x, low, high):
    """(mean squared error of 4 bits over this range, the clipped values' share of it), by ONNX's own operators."""
    qparams = qparams_from_range(low, high, "uint4")
    codes = run_operator("QuantizeLinear", x, qparams.scale, qparams.zero_point).astype(qparams.zero_point.dtype)
    real = run_operator("DequantizeLinear", codes, qparams.scale, qparams.zero_point)
    squares = np.square(x - real, dtype=np.float64)
    outside = (x < min(low, 0)) | (x > max(high, 0))
    return squares.mean(), squares[outside].sum() / max(squares.sum(), 1e-300)


def _sample(draw):
    """20,000 float32 numbers of a distribution, each with its mirror image, so that both sides are alike."""
    half = draw(np.random.default_rng(11))
    return np.concatenate([half, -half]).astype(np.float32)


SAMPLES = {  # name: a function that makes the tensor; the real one last, since it may be trained anew
    "a uniform sample": lambda: _sample(lambda random: random.uniform(-1, 1, size=10_000)),
    "a normal sample": lambda: _sample(lambda random: random.normal(size=10_000)),
    "a Laplace sample": lambda: _sample(lambda random: random.laplace(size=10_000)),
    "a Student t sample": lambda: _sample(lambda random: random.standard_t(3, size=10_000)),
    "the convolution weight": heavy_tailed_weight,
}


@cache
def with_target(name):
    """(the tensor, the least mean squared error of 4 bits that a fine search finds, the range that has it)"""
    x = SAMPLES[name]()
    low, high = mse_range(x, "uint4", steps=60)
    return x, noise_of(x, low, high)[0], (low, high)


def decibels_lost(name, ends):
    """How far the error of this range lies above the least one, for one of the samples."""
    x, target, _ = with_target(name)
    return 10 * np.log10(noise_of(x, *ends)[0] / target)


def decibels_gained(name, ends):
    """How far the error of this range lies below min-max's."""
    x, _, _ = with_target(name)
    return 10 * np.log10(noise_of(x, x.min(), x.max())[0] / noise_of(x, *ends)[0])


PAIRS = [(0.02, 120), (0.5, 3), (1.5, 255)]  # scale, zero_point
EXAMPLE = np.float32([-3.0, -0.31, 0.0, 0.25, 0.74, 1.0, 7.3, 1e4])


def qdq_model(scale, zero_point):
    """An ONNX model of a vector: x -> QuantizeLinear -> DequantizeLinear -> y."""
    return _pair(scale, zero_point)


def run_model(model, x):
    """The model's y for x, an array, as onnxruntime computes it."""
    return open_session(model.SerializeToString()).run(None, {"x": x})[0]


def _pair(scale, zero_point, domain=""):
    """The pair; with a domain a Neg follows, so that who computes both by hand gives another y."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("x", "y")]
    held = [numpy_helper.from_array(np.array(np.float32(scale)), "scale")]
    held += [numpy_helper.from_array(np.array(np.uint8(zero_point)), "zero_point")]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero_point"], ["q"], domain=domain),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero_point"], ["back" if domain else "y"], domain=domain),
    ]
    nodes += [helper.make_node("Neg", ["back"], ["y"])] if domain else []
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    graph = helper.make_graph(nodes, "pair", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def judge_pair(build, run, scale, zero_point):
    """Refuse a pair that is wrong for this scale and zero point. -> the model as it was built"""
    where = f"for scale {scale:g} and zero_point {zero_point}"
    given = _built(build, run, scale, zero_point)
    model = _opened(given)
    _judge_pair(model, scale, zero_point, where)
    for x in (EXAMPLE, EXAMPLE[:3]):
        codes = run_operator("QuantizeLinear", x, scale, zero_point)
        expected = run_operator("DequantizeLinear", codes, scale, zero_point)
        _judge_result(_run_itself(model, x), expected, f"y of your model {where}")
        _judge_result(call(run, given, x, name="run_model"), expected, f"y of run_model {where}")
    return given


def _built(build, run, scale, zero_point):
    """What qdq_model returns; if it raises, and run_model makes a model, the two are swapped."""
    try:
        return call(build, scale, zero_point, name="qdq_model")
    except Almost:
        try:
            swapped = isinstance(call(run, scale, zero_point), onnx.ModelProto | bytes)
        except Almost:
            swapped = False
        if swapped:
            raise Almost("the two functions are in the wrong order: give (qdq_model, run_model)") from None
        raise


def _opened(given):
    """The model that the answer made: a ModelProto, its bytes, or the path of its file."""
    if isinstance(given, onnx.GraphProto):
        raise Almost("qdq_model returned the graph: `helper.make_model(graph, ...)` makes a model of it")
    if isinstance(given, tuple | list):
        raise Almost(f"qdq_model returned a {kind(given)}: expected the model alone")
    try:
        model = given if isinstance(given, onnx.ModelProto) else None
        model = onnx.load_from_string(given) if isinstance(given, bytes) else model or onnx.load(given)
    except Exception as error:
        raise Almost(f"qdq_model returned {brief(given)} of type `{kind(given)}`: expected an onnx model") from error
    return model


def _judge_pair(model, scale, zero_point, where):
    graph = model.graph
    types = [node.op_type for node in graph.node]
    if "Constant" in types:
        raise Almost("scale or zero_point comes out of a Constant node: hand it to make_graph as an initializer")
    if types == ["DequantizeLinear", "QuantizeLinear"] and set(graph.node[0].input) & {i.name for i in graph.input}:
        raise Almost(
            "the nodes stand the other way round: QuantizeLinear makes codes, then DequantizeLinear reads them"
        )
    if sorted(types) != ["DequantizeLinear", "QuantizeLinear"]:
        raise Almost(f"the nodes are {types}: expected one QuantizeLinear, then one DequantizeLinear")
    nodes = {node.op_type: node for node in graph.node}
    _judge_wires(graph, nodes["QuantizeLinear"], nodes["DequantizeLinear"])
    for node in (nodes["QuantizeLinear"], nodes["DequantizeLinear"]):
        _judge_constants(graph, node, scale, zero_point, where)
    _judge_ends(graph)
    _judge_opens(model)


def _judge_wires(graph, first, second):
    inputs = [entry.name for entry in graph.input]
    held = {tensor.name for tensor in graph.initializer}
    for node in (first, second):
        for name in node.input[1:]:
            if name in inputs and name not in held:
                raise Almost(
                    f"{name!r} is an input of the graph: then whoever runs the model must bring it along. Keep it in "
                    "the model, as an initializer"
                )
            if name and name not in held:
                raise Almost(f"{node.op_type} reads {name!r}, and no initializer has this name: {sorted(held)}")
    inputs = [name for name in inputs if name not in held]
    outputs = [entry.name for entry in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise Almost(f"the graph's inputs are {inputs}, its outputs {outputs}: expected one of each")
    if first.output[0] in outputs and second.input[0] == first.output[0]:
        raise Almost("the graph's output is what QuantizeLinear makes, the codes: expected what DequantizeLinear makes")
    if second.input[0] != first.output[0]:
        raise Almost(
            f"DequantizeLinear reads {second.input[0]!r}, and QuantizeLinear writes {first.output[0]!r}: a wire "
            "between two nodes is a name that both use"
        )
    if list(first.input[:1]) != inputs or list(second.output) != outputs:
        raise Almost(
            f"the nodes read {first.input[0]!r} and write {second.output[0]!r}, the graph's input is {inputs[0]!r} and "
            f"its output {outputs[0]!r}: use the same names"
        )


def _judge_constants(graph, node, scale, zero_point, where):
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    names = [*node.input[1:], "", ""]
    if not names[0]:
        raise Almost(f"{node.op_type} has no scale: its inputs are {list(node.input)}")
    if not names[1]:
        raise Almost(f"{node.op_type} has no zero_point: left out, it is 0")
    found_scale, found_zero_point = held[names[0]], held[names[1]]
    if found_scale.dtype.kind in "iu" and found_zero_point.dtype.kind == "f":
        raise Almost(f"{node.op_type}: scale comes before zero_point among the inputs, seen {list(node.input)}")
    if found_scale.dtype != np.float32:
        raise Almost(f"the scale of {node.op_type} is {found_scale.dtype}: the type of x is float32, and so is scale's")
    if found_zero_point.dtype != np.uint8:
        raise Almost(
            f"the zero point of {node.op_type} is {found_zero_point.dtype}: its type is that of the codes, uint8"
        )
    for name, found, expected in (("scale", found_scale, scale), ("zero point", found_zero_point, zero_point)):
        if found.size != 1:
            raise Almost(f"the {name} of {node.op_type} has shape {found.shape}: expected one number")
        expect_close(found.reshape(()), expected, f"the {name} of {node.op_type} {where}", rtol=1e-6, atol=0)


def _judge_ends(graph):
    for entry, what in ((graph.input[0], "input"), (graph.output[0], "output")):
        found = entry.type.tensor_type.elem_type
        if found != TensorProto.FLOAT:
            name = TensorProto.DataType.Name(found)
            raise Almost(f"the graph's {what} {entry.name!r} is declared {name}: real numbers are TensorProto.FLOAT")
    shape = graph.input[0].type.tensor_type.shape
    fixed = [dimension.dim_value for dimension in shape.dim if dimension.HasField("dim_value")]
    if fixed:
        raise Almost(f"x has the fixed shape {fixed}: name the length, as in ['n'], so that any length will do")
    if graph.input[0].type.tensor_type.HasField("shape") and len(shape.dim) != 1:
        raise Almost(f"x is declared with {len(shape.dim)} axes: a vector has one, ['n']")


def _judge_opens(model):
    newest = max((entry.version for entry in model.opset_import if not entry.domain), default=0)
    try:
        open_session(model.SerializeToString())
    except Exception as error:
        said = ""
        if "ir version" in str(error).lower():
            said = f". The file's format is IR version {model.ir_version}: name an older one, `ir_version=10`"
        elif newest < 10:
            said = f". The model asks for opset {newest}: QuantizeLinear came with opset 10, so name a later one, as 21"
        elif "implementation for" in str(error) or "opset" in str(error).lower():
            said = (
                f". The model asks for opset {newest}; name one that this onnxruntime knows: "
                '`opset_imports=[helper.make_opsetid("", 21)]`'
            )
        raise Almost(f"onnxruntime cannot open the model: {error_text(error)}{said}") from error


def _run_itself(model, x):
    """y of a model with one input, by the check's own hand."""
    return open_session(model.SerializeToString()).run(None, {model.graph.input[0].name: x})[0]


def _judge_result(seen, expected, what):
    if isinstance(seen, list) and len(seen) == 1 and isinstance(seen[0], np.ndarray):
        raise Almost(f"{what}: `session.run` gives a list, one array for each output: return its first entry")
    if isinstance(seen, np.ndarray) and seen.dtype == np.uint8:
        raise Almost(f"{what}: these are the codes; y are real numbers again")
    expect_close(seen, expected, what, hint="run the model that was given, with x under its input's name")


def judge_runs_what_it_is_given(run, given):
    """A pair from onnxruntime's own domain, which onnx's reference evaluator cannot run, with other constants."""
    other = _pair(0.125, 9, domain="com.microsoft")
    other.graph.input[0].name = other.graph.node[0].input[0] = _opened(given).graph.input[0].name
    if not isinstance(given, onnx.ModelProto | bytes):
        return  # a path: what it names was run above
    try:
        seen = call(run, other.SerializeToString() if isinstance(given, bytes) else other, EXAMPLE, name="run_model")
    except Almost as error:
        raise Almost(f"{error}. onnxruntime runs this model: does it use onnxruntime.InferenceSession?") from error
    expected, given_y = _run_itself(other, EXAMPLE), _run_itself(_opened(given), EXAMPLE)
    mistakes = {
        "this is computed by hand from scale and zero_point; let onnxruntime run the model": -expected,
        "run_model gives the same for every model: run the one that it is given": given_y,
    }
    expect_close(seen, expected, "y of another model, with a Neg behind the pair", mistakes=mistakes)


def choose_qparams(low, high, quant_min, quant_max):
    """Scale and zero point for real numbers from low to high and the codes quant_min to quant_max."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (quant_max - quant_min) or 1.0
    return scale, int(np.clip(np.rint(quant_min - low / scale), quant_min, quant_max))


@exercise("01.1", "scale and zero point from a range", place="choose_qparams", otherwise=choose_qparams)
def _(answer):
    cases = cases_qparams()
    for case in cases:
        judge_qparams(answer, *case)
    return f"{len(cases)} ranges, as onnxruntime has them; in each of them 0.0 is exact"


def quantize(x, scale, zero_point):
    """The uint8 codes of x, as ONNX's QuantizeLinear computes them."""
    return quantize_linear(x, np.float32(scale), np.uint8(zero_point))


@exercise("01.2", "quantize", place="quantize", otherwise=quantize)
def _(answer):
    cases = cases_codes()
    for name, x, scale, zero_point in cases:
        judge_codes(answer, x, np.float32(scale), np.uint8(zero_point), f"for {name}")
    return f"{sum(x.size for _, x, *_ in cases):,} codes, each as onnxruntime has it, ties and saturation included"


def dequantize(q, scale, zero_point):
    """The real numbers for which the uint8 codes q stand."""
    return dequantize_linear(q, np.float32(scale), np.uint8(zero_point))


def error_bound(x, scale, zero_point):
    """For each entry of x: a bound on |x - to_real(to_codes(x))|, an array of the shape of x."""
    first, last = dequantize(np.uint8([0, 255]), scale, zero_point)
    return np.maximum(scale / 2, np.maximum(first - x, x - last))


@exercise(
    "01.3",
    "dequantize, and bound the error",
    place=("dequantize", "error_bound"),
    otherwise=(dequantize, error_bound),
)
def _(answer):
    _expect_two(answer, "to_real", "error_bound")
    tried = [judge_both(answer, np.float32(scale), np.uint8(z)) for scale, z in CASES]
    said = f"all 256 codes of {len(tried)} grids are right, and the bound holds for {sum(tried):,} numbers"
    return f"{said} without room to spare"


@exercise("01.4", "the range of least MSE")
def _(answer):
    ranges = {name: range_of(answer, name) for name in SAMPLES}
    if copied(ranges):
        raise Almost("these are the ranges of qlab's mse_range: write a search of your own, however simple")
    for name, ends in ranges.items():
        if (lost := decibels_lost(name, ends)) > TOLERANCE_DB:
            raise Almost(why_not(name, ranges, lost))
    name, ends = list(ranges.items())[-1]
    gained = decibels_gained(name, ends)
    return f"on the real weight {gained:.1f} dB better than min-max, with the same 4 bits"


@exercise(
    "01.5",
    "a Q/DQ pair in ONNX",
    place=("qdq_model", "run_model"),
    otherwise=(qdq_model, run_model),
)
def _(answer):
    _expect_two(answer, "qdq_model", "run_model")
    for scale, zero_point in PAIRS:
        given = judge_pair(*answer, np.float32(scale), np.uint8(zero_point))
    judge_runs_what_it_is_given(answer[1], given)
    tried = 2 * len(PAIRS)
    return f"two nodes, their scale and zero point kept in the file; onnxruntime agrees on {tried} vectors"


def _expect_two(answer, first, second):
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Almost(f"expected two functions, ({first}, {second}), seen {brief(answer)}")
