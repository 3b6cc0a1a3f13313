"""Notebook 01: scale and zero point, quantize, dequantize with a bound, the range of least MSE, a Q/DQ pair."""

import numpy as np

from qlab.course.brief import brief
from qlab.course.lessons import exercise, n01_bound, n01_codes, n01_pair, n01_qparams, n01_range
from qlab.course.verdict import Almost
from qlab.numerics.kernels import dequantize_linear, quantize_linear


def choose_qparams(low, high, quant_min, quant_max):
    """Scale and zero point for real numbers from low to high and the codes quant_min to quant_max."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (quant_max - quant_min) or 1.0
    return scale, int(np.clip(np.rint(quant_min - low / scale), quant_min, quant_max))


@exercise("01.1", "scale and zero point from a range", place="choose_qparams", otherwise=choose_qparams)
def _(answer):
    cases = n01_qparams.cases()
    for case in cases:
        n01_qparams.judge(answer, *case)
    return f"{len(cases)} ranges, as onnxruntime has them; in each of them 0.0 is exact"


def quantize(x, scale, zero_point):
    """The uint8 codes of x, as ONNX's QuantizeLinear computes them."""
    return quantize_linear(x, np.float32(scale), np.uint8(zero_point))


@exercise("01.2", "quantize", place="quantize", otherwise=quantize)
def _(answer):
    cases = n01_codes.cases()
    for name, x, scale, zero_point in cases:
        n01_codes.judge(answer, x, np.float32(scale), np.uint8(zero_point), f"for {name}")
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
    tried = [n01_bound.judge_both(answer, np.float32(scale), np.uint8(z)) for scale, z in n01_bound.CASES]
    said = f"all 256 codes of {len(tried)} grids are right, and the bound holds for {sum(tried):,} numbers"
    return f"{said} without room to spare"


@exercise("01.4", "the range of least MSE")
def _(answer):
    ranges = {name: n01_range.range_of(answer, name) for name in n01_range.SAMPLES}
    if n01_range.copied(ranges):
        raise Almost("these are the ranges of qlab's mse_range: write a search of your own, however simple")
    for name, ends in ranges.items():
        if (lost := n01_range.decibels_lost(name, ends)) > n01_range.TOLERANCE_DB:
            raise Almost(n01_range.why_not(name, ranges, lost))
    name, ends = list(ranges.items())[-1]
    gained = n01_range.decibels_gained(name, ends)
    return f"on the real weight {gained:.1f} dB better than min-max, with the same 4 bits"


@exercise(
    "01.5",
    "a Q/DQ pair in ONNX",
    place=("qdq_model", "run_model"),
    otherwise=(n01_pair.qdq_model, n01_pair.run_model),
)
def _(answer):
    _expect_two(answer, "qdq_model", "run_model")
    for scale, zero_point in n01_pair.PAIRS:
        given = n01_pair.judge(*answer, np.float32(scale), np.uint8(zero_point))
    n01_pair.judge_runs_what_it_is_given(answer[1], given)
    tried = 2 * len(n01_pair.PAIRS)
    return f"two nodes, their scale and zero point kept in the file; onnxruntime agrees on {tried} vectors"


def _expect_two(answer, first, second):
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Almost(f"expected two functions, ({first}, {second}), seen {brief(answer)}")
