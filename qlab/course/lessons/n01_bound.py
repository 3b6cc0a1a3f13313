"""Exercise 01.3: wrong ways back, and bounds that do not hold or have room to spare, by name."""

import numpy as np

from qlab.course.brief import number
from qlab.course.expect import call, expect_array, expect_close, expect_shape
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator

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
