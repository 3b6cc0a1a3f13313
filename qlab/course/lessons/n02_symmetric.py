"""Exercise 02.1: a symmetric scale, and the mistakes that one makes with it."""

import numpy as np
from onnxruntime.quantization.quant_utils import compute_scale_zp

from qlab.course.brief import brief, kind, number
from qlab.course.expect import call, expect_number
from qlab.course.verdict import Almost


def symmetric_qparams(x):
    """Scale and zero point of symmetric int8 with the codes -127 to 127."""
    largest = float(np.abs(x).max())
    return largest / 127 if largest else 1.0, 0


def asked(answer, x):
    return _pair(called(answer, x, "symmetric_qparams"), ("scale", "zero_point"))


def called(answer, x, name):
    """`call`, and a word on Python's max where it meets an array of several dimensions."""
    try:
        return call(answer, x, name=name)
    except Almost as error:
        if "ambiguous" not in str(error):
            raise
        said = "Python's `max` compares rows of an array as a whole; `x.max()` takes the largest of all numbers"
        raise Almost(f"{name}, for an x of shape {x.shape}: {said}") from error


def _pair(seen, names):
    if isinstance(seen, dict) or not isinstance(seen, tuple | list | np.ndarray) or len(seen) != 2:
        raise Almost(f"expected two values, {' and '.join(names)}, seen {brief(seen)} of type `{kind(seen)}`")
    return [expect_number(value, what) for value, what in zip(seen, names, strict=True)]


def judge(x, scale, zero_point, where, turned):
    """Against onnxruntime's own choice for symmetric int8, whose codes are -127 to 127. turned(): the scale for -x."""
    _, expected = compute_scale_zp(np.array(x.min()), np.array(x.max()), np.int8(-127), np.int8(127), symmetric=True)
    expected, largest = float(expected), float(np.abs(x).max())
    if zero_point != 0 and (scale == 0 or np.isclose(zero_point, expected, rtol=1e-6, atol=0)):
        raise Almost(f"{where}: seen ({number(scale)}, {number(zero_point)}): return the scale first, then zero_point")
    if zero_point != 0:
        raise Almost(f"zero_point {where}: expected 0, seen {number(zero_point)}: symmetric codes mirror at the code 0")
    if not largest and scale != 1:
        why = "0 / 0 has no code" if scale == 0 or not np.isfinite(scale) else "no value there tells one"
        raise Almost(f"scale {where}: seen {number(scale)}; {why}: where all is 0, use scale 1, as onnxruntime does")
    if np.isclose(scale, expected, rtol=1e-6, atol=0):
        return
    mistakes = _wrong_scales(x, largest)
    said = next((text for text, wrong in mistakes.items() if np.isclose(scale, wrong, rtol=1e-6, atol=0)), None)
    if said and "end only" in said and not np.isclose(turned(), expected, rtol=1e-6, atol=0):
        said = "this takes the end that is nearer to 0: take the largest |x|"
    if said is None and np.isclose(-scale, list(mistakes.values()), rtol=1e-6, atol=0).any():
        said = "a scale is positive: take the absolute value"
    if said is None and largest < 1e-2 and scale > expected:
        said = guarded(scale)
    said = said or _effect(scale, expected)
    raise Almost(f"scale {where}: expected {number(expected)}, seen {number(scale)}: {said}")


def _effect(scale, expected):
    """What a scale does that no foreseen mistake explains."""
    if scale > 0 and has_few_digits(scale, expected):
        return "it was rounded: keep the digits of float32"
    if scale == 0:
        return "nothing is left of it: does // or an integer type cut it off?"
    if not scale > 0:
        return "a scale is a positive number"
    if scale > expected:
        return (
            "no value reaches the code 127, so the outer codes lie idle: a is the largest |x|, and the code 127 means a"
        )
    return "the largest |x| lies beyond the code 127 and clips: a is the largest |x|, and the code 127 means a"


def has_few_digits(scale, exact):
    """Is it the exact scale in float16, or with some decimals only? In float64 or float32."""
    rounded = [float(np.float16(exact)), *(round(exact, digits) for digits in range(1, 9))]
    return np.float32(scale) in np.float32(rounded)


def guarded(scale):
    if scale == 1:
        return "a guard such as `if largest < 1e-3` takes small numbers for zeros; only where all is 0 has no scale"
    return "a floor under the scale, or a small number added to it: small values need a small scale"


def _wrong_scales(x, largest):
    """{what was done wrong: the scale that it gives}, in the order of asking: on some tensors two give one number."""
    low, high = float(x.min()), float(x.max())
    ends = {
        "this is largest / 128: +largest needs the code 128, which does not exist, and errs by a whole step": 128,
        "this is largest / 127.5: the outer values lie half a step beyond the last code; here both ends shall have a "
        "code": 127.5,
        "this is largest / 255: 255 codes on one side of 0; int8 has 127 there": 255,
        "this is largest / 256: 8 bits for one side of 0; int8 has 127 codes there": 256,
        "this is largest / 126: from 0 to the code 127 there are 127 steps": 126,
        "this is largest / 254: the mirrored range is twice as wide, 2 a over 254 steps": 254,
        "this is 2 a / 127: 127 steps lead from 0 to a, 254 from -a to a": 63.5,
        "this is a, the largest |x|, not yet divided by the 127 steps from 0 to it": 1,
        "this is a / 8, as in 4 bits: int8 has 127 steps from 0 to a": 8,
        "this is a / 7.5, as in 4 bits: int8 has 127 steps from 0 to a": 7.5,
        "this is a / 7, as in 4 bits: int8 has 127 steps from 0 to a": 7,
    }
    mistakes = {said: largest / codes for said, codes in ends.items()}
    mistakes["this is a times 127: a step is a / 127"] = largest * 127
    mistakes["this is a / 32767, of 16 bits: int8 has 127 steps from 0 to a"] = largest / 32767
    mistakes["this is one over the scale: the code 127 shall mean a, so a step is a / 127"] = 127 / (largest or 1)
    mistakes |= {
        "this looks at the positive end only: take the largest |x|": high / 127,
        "this looks at the negative end only: take the largest |x|": -low / 127,
        "this is the asymmetric scale, the whole range over 255: the mirrored range runs from -largest to largest": (
            max(high, 0) - min(low, 0)
        )
        / 255,
        "this is the whole range over 254: the mirrored range runs from -largest to largest": (high - low) / 254,
        "this takes the mean of |x|: the range follows the largest |x|": float(np.abs(x).mean()) / 127,
        "this takes the standard deviation: the range follows the largest |x|": float(x.std()) / 127,
    }
    mistakes["this is the whole range over 255: the mirrored range runs from -largest to largest"] = (high - low) / 255
    return mistakes
