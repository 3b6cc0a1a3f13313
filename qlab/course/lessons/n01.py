"""Notebook 01: scale and zero point, quantize, dequantize with a bound on the error, and the range of least MSE."""

from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization.quant_utils import compute_scale_zp

from qlab import models
from qlab.course.brief import brief, kind, number
from qlab.course.expect import call, expect_array, expect_close, expect_dtype, expect_equal, expect_number, expect_shape
from qlab.course.lessons import exercise
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator
from qlab.numerics.affine import qparams_from_range
from qlab.numerics.clipping import mse_range

HEAVY_TAILED = "encoder.embed.conv.2.weight"  # of the conformer; the notebook shows it

RANGES = [(-1.0, 2.5), (-0.31, 0.2), (-40.0, 3.0), (0.0, 6.0), (-2.0, 0.0)]
WITHOUT_ZERO = [(0.8, 23.0), (-7.0, -0.5), (3.0, 3.0), (-2.0, -2.0)]
CODES = [(0, 255), (-128, 127), (0, 15), (-8, 7)]


@exercise("01.1", "scale and zero point from a range")
def _(answer):
    cases = [(low, high, *codes) for low, high in RANGES + WITHOUT_ZERO + [(0.0, 0.0)] for codes in CODES]
    for case in cases:
        _judge_qparams(answer, *case)
    return f"{len(cases)} ranges, as onnxruntime has them; in each of them 0.0 is exact"


def _judge_qparams(answer, low, high, quant_min, quant_max):
    where = f"for the range {low:g} to {high:g} and the codes {quant_min} to {quant_max}"
    constant = "" if low < high else ". All values of a constant tensor are equal: low == high must not divide by 0"
    try:
        seen = call(answer, low, high, quant_min, quant_max, name="qparams")
    except Almost as error:
        raise Almost(f"{error}{constant}") from error
    if not isinstance(seen, tuple | list) or len(seen) != 2:
        raise Almost(f"{where}: expected (scale, zero_point), seen {brief(seen)} of type `{kind(seen)}`")
    scale, zero_point = expect_number(seen[0], f"scale {where}"), expect_number(seen[1], f"zero_point {where}")
    if zero_point != np.rint(zero_point) and scale == np.rint(scale):
        raise Almost(f"{where}: seen ({number(scale)}, {number(zero_point)}): return the scale first, then zero_point")
    if not np.isfinite(scale) or scale <= 0:
        raise Almost(f"scale {where}: expected a positive number, seen {number(scale)}{constant}")
    left_out = "the range leaves out 0; move the end that is nearer to 0 onto it before anything else"
    reach, steps = high - low, quant_max - quant_min
    if zero_point != np.rint(zero_point):
        raise Almost(f"zero_point {where}: seen {number(zero_point)}: it is one of the codes, so round it")
    if not quant_min <= zero_point <= quant_max:
        hint = left_out if low > 0 or high < 0 else "is a sign turned? low must land on the first code"
        raise Almost(f"zero_point {where}: seen {number(zero_point)}, which is not one of the codes: {hint}")
    if low == high == 0:
        return  # any positive scale and any code do: nothing but 0.0 is to be stored
    expected_zero_point, expected = compute_scale_zp(
        np.array(low), np.array(high), np.array(quant_min), np.array(quant_max)
    )
    mistakes = {
        left_out: reach / steps,
        f"{steps + 1} codes have {steps} steps between them": float(expected) * steps / (steps + 1),
        "this is one over the scale": 1 / float(expected),
        "this is the largest magnitude over the last code, the symmetric scale of notebook 02": max(-low, high)
        / quant_max,
    }
    mistakes = {said: wrong for said, wrong in mistakes.items() if not np.isclose(wrong, expected, rtol=1e-5)}
    expect_close(scale, expected, f"scale {where}", mistakes=mistakes)
    _judge_zero_point(zero_point, int(expected_zero_point), quant_min - min(low, 0.0) / float(expected), where)


def _judge_zero_point(zero_point, expected, exact, where):
    """`exact` is the zero point before rounding."""
    if abs(exact % 1 - 0.5) < 1e-3 and abs(zero_point - exact) < 0.51:
        return  # a tie: float32 and float64 may round it to different sides
    rounding = {"round to the nearest code; int() and // cut off": [np.trunc(exact), np.floor(exact)]}
    said = next((text for text, wrong in rounding.items() if zero_point in wrong), "")
    said = said if zero_point != expected else ""
    expect_equal(zero_point, expected, f"zero_point {where}", hint=said or "low must land on the first code")


@exercise("01.2", "quantize")
def _(answer):
    weight = heavy_tailed_weight()[::16, ::4].ravel()
    cases = [  # name, x, scale, zero_point
        ("a real weight", _away_from_ties(weight, 0.004), 0.004, 120),
        ("numbers halfway between two marks", np.arange(-4.5, 5, 1, dtype=np.float32) * 0.25, 0.25, 7),
        ("numbers halfway, even zero_point", np.arange(-4.5, 5, 1, dtype=np.float32) * 0.5, 0.5, 128),
        ("numbers beyond the marks", np.float32([-9, -2.1, -2, 0, 1.5, 4.4, 99, 4000]), 0.025, 80),
        ("huge numbers", np.float32([-3e38, -1e12, 0.0, 1e12, 3e38]), 0.5, 3),
        ("a matrix", _away_from_ties(weight[:48], 0.01).reshape(-1, 2), 0.01, 0),
    ]
    for name, x, scale, zero_point in cases:
        _judge_codes(answer, x, np.float32(scale), np.uint8(zero_point), f"for {name}")
    return f"{sum(x.size for _, x, *_ in cases):,} codes, each as onnxruntime has it, ties and saturation included"


def _away_from_ties(x, scale):
    """An even number of values that x / scale and x * (1 / scale) round alike."""
    kept = x[np.abs((x / np.float32(scale)) % 1 - 0.5) > 1e-3]
    return kept[: kept.size // 2 * 2]


def _judge_codes(answer, x, scale, zero_point, where):
    seen = expect_shape(call(answer, x, scale, zero_point, name="to_codes"), x.shape, f"the codes {where}")
    expected = run_operator("QuantizeLinear", x, scale, zero_point)
    steps, z = x.astype(np.float64) / scale, int(zero_point)
    mistakes = {
        "floor takes the mark below; round to the nearest: np.rint": np.clip(np.floor(steps) + z, 0, 255),
        "casting to an integer cuts off the fraction; round first: np.rint": np.clip(np.trunc(steps) + z, 0, 255),
        "zero_point was added before rounding: an odd one turns the ties around": np.clip(np.rint(steps + z), 0, 255),
        "halfway goes to the even code (np.rint), not always up": np.clip(np.floor(steps + 0.5) + z, 0, 255),
        "zero_point is missing": np.clip(np.rint(steps), 0, 255),
        "zero_point is subtracted: that is the way back": np.clip(np.rint(steps) - z, 0, 255),
    }
    mistakes = {said: wrong for said, wrong in mistakes.items() if not np.array_equal(wrong, expected)}
    ideal = np.rint(steps) + z
    outside = (ideal < 0) | (ideal > 255)
    differs = seen.astype(np.float64) != expected
    if differs.any() and not differs[~outside].any():
        raise Almost(
            f"the codes {where}: {number(x[differs][0])} should saturate at {expected[differs][0]}, seen "
            f"{number(seen[differs][0])}: clip to 0 ... 255 while the numbers are still float; an integer cast of what "
            "does not fit wraps around"
        )
    expect_equal(seen, expected, f"the codes {where}", mistakes=mistakes, hint="divide, round, add zero_point, clip")
    expect_dtype(seen, np.uint8, f"the codes {where}")


@exercise("01.3", "dequantize, and bound the error")
def _(answer):
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Almost(f"expected two functions, (to_real, error_bound), seen {brief(answer)}")
    random, tried = np.random.default_rng(3), 0
    for scale, zero_point in ((0.5, 2), (0.013, 128), (7e-4, 0), (3.0, 255), (0.02, 77)):
        scale, zero_point = np.float32(scale), np.uint8(zero_point)
        first, last = (scale * np.float32(code - int(zero_point)) for code in (0, 255))
        x = random.uniform(first - 40 * scale, last + 40 * scale, size=500).astype(np.float32)
        x = np.concatenate([x, np.float32([0, first, last]), first + scale * np.arange(0.5, 6, dtype=np.float32)])
        where = f"with scale {scale:g}, zero_point {zero_point}"
        real = _judge_dequantize(answer[0], scale, zero_point, where)
        codes = run_operator("QuantizeLinear", x, scale, zero_point)
        error = np.abs(x.astype(np.float64) - real[codes])
        _judge_bound(answer[1], x, error, scale, zero_point, (first, last), where)
        tried += x.size
    return f"all 256 codes of 5 rulers are right, and the bound holds for {tried:,} numbers without room to spare"


def _judge_dequantize(answer, scale, zero_point, where):
    """-> the real number of each of the 256 codes, float64"""
    q, z = np.arange(256).astype(np.uint8), int(zero_point)
    expected = run_operator("DequantizeLinear", q, scale, zero_point)
    seen = call(answer, q, scale, zero_point, name="to_real")
    codes = np.arange(256.0)
    mistakes = {
        "codes below zero_point wrapped around: uint8 cannot hold q - zero_point, cast to float32 first": np.float32(
            q - zero_point
        )
        * scale,
        "subtract zero_point before multiplying: (q - zero_point) * scale": codes * scale - z,
        "zero_point is added: the way back subtracts it": (codes + z) * scale,
        "zero_point is missing": codes * scale,
        "this divides by scale: the way back multiplies": (codes - z) / scale,
    }
    mistakes = {said: wrong for said, wrong in mistakes.items() if not np.allclose(wrong, expected)}
    expect_close(seen, expected, f"to_real {where}", atol=1e-6 * float(scale), mistakes=mistakes)
    return expected.astype(np.float64)


def _judge_bound(answer, x, error, scale, zero_point, ends, where):
    """The bound must hold, and be no larger than: half a step, or the way to the nearer end."""
    seen = expect_array(call(answer, x, scale, zero_point, name="error_bound"), f"error_bound {where}")
    bound = np.broadcast_to(seen, x.shape).astype(np.float64) if seen.ndim == 0 else expect_shape(seen, x.shape)
    beyond = np.maximum(np.maximum(ends[0] - x.astype(np.float64), x - np.float64(ends[1])), 0)
    slack = 1e-5 * scale + 1e-6 * np.abs(x)
    if (broken := bound < error - slack).any():
        worst = int(np.argmax(np.where(broken, error - bound, -1)))
        said = (
            f"it lies beyond the marks ({number(ends[0])} to {number(ends[1])}), where the error is the way to the end"
            if beyond[worst] > scale / 2
            else "halfway between two marks the error is half a step"
        )
        raise Almost(
            f"error_bound {where}: x = {number(x[worst])} errs by {number(error[worst])}, the bound says "
            f"{number(bound[worst])}: {said}"
        )
    tight = np.maximum(beyond, scale / 2)
    if (loose := bound > tight + slack).any():
        worst = int(np.argmax(np.where(loose, bound - tight, -1)))
        said = "rounding to the nearest mark errs by half a step at most" if beyond[worst] == 0 else "too much"
        raise Almost(
            f"error_bound {where}: it holds, but for x = {number(x[worst])} it says {number(bound[worst])} where "
            f"{number(tight[worst])} is enough: {said}"
        )
    if (bound < scale / 2 - slack)[beyond == 0].any():
        raise Almost(
            f"error_bound {where}: that is the error of each entry itself. A bound is known before quantizing: between "
            "the marks it is one number for every x"
        )


@exercise("01.4", "the range of least MSE")
def _(answer):
    gains = [_judge_range(answer, name, *with_target(name)) for name in SAMPLES]
    return f"on the real weight {gains[-1]:.1f} dB better than min-max, with the same 4 bits"


def _judge_range(answer, name, x, target, target_range):
    """Refuse a range whose error is over 0.3 dB above the best of a finer search. -> dB gained over min-max"""
    seen = call(answer, x, name="best_range")
    if not isinstance(seen, tuple | list | np.ndarray) or len(seen) != 2:
        raise Almost(f"for {name}: expected (low, high), seen {brief(seen)} of type `{kind(seen)}`")
    low, high = (expect_number(end, f"{what} for {name}") for end, what in zip(seen, ("low", "high"), strict=True))
    if not low < high or not np.isfinite([low, high]).all():
        raise Almost(f"for {name}: expected low < high, seen {number(low)} and {number(high)}")
    noise, outside = noise_of(x, low, high)
    minmax, _ = noise_of(x, x.min(), x.max())
    lost = 10 * np.log10(noise / target)
    if lost <= 0.3:
        return 10 * np.log10(minmax / noise)
    shown = f"for {name}: {number(low)} to {number(high)} has {lost:.1f} dB more noise than the best range"
    if np.allclose([low, high], [x.min(), x.max()], rtol=0.02):
        raise Almost(
            f"{shown}: that is min-max. Clipping does lose information, but so does rounding: "
            f"{number(target_range[0])} to {number(target_range[1])} loses less in all"
        )
    if low < 1.05 * x.min() and high > 1.05 * x.max():
        raise Almost(f"{shown}: it reaches beyond the values, and the marks out there are wasted. Measure, try others")
    if outside > 0.5:
        raise Almost(
            f"{shown}: too narrow, {outside:.0%} of its squared error comes from clipped values: count them in"
        )
    raise Almost(
        f"{shown}: too wide, {1 - outside:.0%} of its squared error is rounding. Measure, and try narrower ones"
    )


def noise_of(x, low, high):
    """(mean squared error of 4 bits over this range, the clipped values' share of it), by ONNX's own operators."""
    qparams = qparams_from_range(low, high, "uint4")
    codes = run_operator("QuantizeLinear", x, qparams.scale, qparams.zero_point).astype(qparams.zero_point.dtype)
    real = run_operator("DequantizeLinear", codes, qparams.scale, qparams.zero_point)
    squares = np.square(x - real, dtype=np.float64)
    outside = (x < min(low, 0)) | (x > max(high, 0))
    return squares.mean(), squares[outside].sum() / max(squares.sum(), 1e-300)


@cache
def heavy_tailed_weight():
    """The second convolution's weight of the trained conformer, float32 (144, 144, 3, 3)."""
    graph = onnx.load(models.path("conformer")).graph
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == HEAVY_TAILED))


def _sample(draw):
    """20,000 float32 numbers of a distribution, each with its mirror image, so that both sides are alike."""
    half = draw(np.random.default_rng(11))
    return np.concatenate([half, -half]).astype(np.float32)


SAMPLES = {  # name: a function that makes the tensor; the real one last, since it may be trained anew
    "a uniform sample": lambda: _sample(lambda random: random.uniform(-1, 1, size=10_000)),
    "a Laplace sample": lambda: _sample(lambda random: random.laplace(size=10_000)),
    "a Student t sample": lambda: _sample(lambda random: random.standard_t(3, size=10_000)),
    "the conformer's conv2d weight": heavy_tailed_weight,
}


@cache
def with_target(name):
    """(the tensor, the least mean squared error of 4 bits that a fine search finds, the range that has it)"""
    x = SAMPLES[name]()
    low, high = mse_range(x, "uint4", steps=60)
    return x, noise_of(x, low, high)[0], (low, high)
