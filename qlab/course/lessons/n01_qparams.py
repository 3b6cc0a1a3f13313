"""Exercise 01.1: ranges that tell mistakes apart, and wrong scales and zero points by name."""

import numpy as np
from onnxruntime.quantization.quant_utils import compute_scale_zp

from qlab.course.brief import brief, kind, number
from qlab.course.expect import call, expect_equal, expect_number
from qlab.course.verdict import Almost

RANGES = [(-1.0, 2.5), (-0.31, 0.2), (-40.0, 3.0), (0.0, 6.0), (-2.0, 0.0), (-4e-5, 7e-5), (-3e-30, 5e-30)]
WITHOUT_ZERO = [(0.8, 23.0), (-7.0, -0.5), (3.0, 3.0), (-2.0, -2.0)]
CODES = [(0, 255), (-128, 127), (0, 15), (-8, 7)]


def cases():
    """(low, high, quant_min, quant_max) of every question."""
    return [(low, high, *codes) for low, high in [*RANGES, *WITHOUT_ZERO, (0.0, 0.0)] for codes in CODES]


def judge(answer, low, high, quant_min, quant_max):
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
