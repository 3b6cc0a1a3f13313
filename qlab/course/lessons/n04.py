"""Notebook 04: shapes of scales, blocks, effective bits, which scales leave the sum, what onnxruntime makes of them."""

import numpy as np
import onnx

from qlab import PerAxis, PerBlock, PerTensor, PerToken, models
from qlab.course.brief import brief, kind
from qlab.course.expect import call
from qlab.course.lessons import exercise, words
from qlab.course.lessons.n04_blocks import blocks_of, judge_blocks, matrices
from qlab.course.lessons.n04_budget import CANDIDATES, cases, check_effective_bits, judge_choices
from qlab.course.lessons.n04_graphs import (
    W_SHARES,
    X_SHARES,
    linear,
    optimized,
    product_model,
    qdq_model,
    reading,
    saved_int8,
)
from qlab.course.lessons.n04_pictures import fates, price, slices, the_sum, who_shares
from qlab.course.lessons.n04_product import as_model, judge_built, judge_reading
from qlab.course.lessons.n04_shapes import scale_shape
from qlab.course.verdict import Almost, NotYet
from qlab.machine.runtime import run_operator

__all__ = [  # what the notebook uses beside the checks
    "CANDIDATES", "SCALES", "W_SHARES", "X_SHARES", "fates", "linear", "optimized", "price", "product_model",
    "qdq_model", "slices", "the_sum", "who_shares",
]  # fmt: skip

SCALES = words("04", "scales")  # name: {"what": which scale it is, "factors": does it leave the sum, "why": or why not}


@exercise("04.1", "the shape of the scales")
def _(answer):
    cases = [
        *(((64, 3, 3, 3), axis, None) for axis in (0, 1, -1)),
        *(((5, 4, 3, 2), axis, None) for axis in (-1, -2, -4, 2)),
        *(((2, 14, 10), axis, 5) for axis in (1, 2, -1, -3)),
        *(((8, 64), 1, size) for size in (16, 64, 1, 100)),
        *(((64, 100), axis, 32) for axis in (1, -1, 0, -2)),
        *(((6, 9), 1, size) for size in (2, 7)),
    ]
    for shape, axis, block_size in cases:
        said = f"scale_shape(shape={shape}, axis={axis}, block_size={block_size})"
        seen = call(answer, shape, axis, block_size, name="scale_shape")
        if not isinstance(seen, tuple):
            raise Almost(f"{said}: expected a tuple, seen {brief(seen)}, a `{kind(seen)}`")
        if not all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in seen):
            how = "round up, in integers: -(-n // block_size), or int(...) around it"
            raise Almost(f"{said}: expected whole numbers (int), seen {seen}: {how}")
        expected, mistakes = scale_shape(shape, axis, block_size)
        if seen != expected:
            why = next((f": {name}" for name, shown in mistakes if seen == shown), "")
            raise Almost(f"{said}: expected {expected}, seen {seen}{why}")
        ones = np.ones(shape, np.int8), np.ones(expected, np.float32)
        run_operator("DequantizeLinear", *ones, axis=axis, block_size=block_size or 0)  # it raises if they do not fit
    return f"{len(cases)} shapes, and onnxruntime's DequantizeLinear takes every one"


@exercise("04.2", "quantize in blocks", place="quantize_blocks", otherwise=blocks_of)
def _(answer):
    for name, x, block_size in matrices():
        said = f"{name} {x.shape}, block_size={block_size}"
        seen = call(answer, x, block_size, name="quantize_blocks")
        if not isinstance(seen, tuple | list) or len(seen) != 2:
            raise Almost(f"{said}: expected two arrays, codes and scales, seen {brief(seen)}")
        judge_blocks(seen, x, block_size, said)
    return "scales and codes as onnxruntime's QuantizeLinear has them, short last blocks included"


@exercise("04.3", "the most for your bits")
def _(answer):
    alone = getattr(answer, "__name__", "") == "effective_bits"
    if not alone and (not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(callable, answer))):
        raise Almost(f"expected (effective_bits, best_within), two functions; seen {brief(answer)}, a `{kind(answer)}`")
    effective_bits, best_within = (answer, None) if alone else answer
    if getattr(effective_bits, "__name__", "") == "best_within":
        raise Almost("the two functions are swapped: check takes (effective_bits, best_within)")
    shapes = [
        ((5, 7), PerBlock(0, 2)), ((64, 128), PerTensor()), ((64, 128), PerAxis(0)), ((64, 3, 3, 3), PerAxis(0)),
        ((64, 128), PerBlock(1, 32)), ((64, 100), PerBlock(1, 32)), ((2, 5, 8), PerToken()),
    ]  # fmt: skip
    for bits, scale_bits in ((4, 16), (8, 32)):
        for shape, granularity in shapes:
            check_effective_bits(effective_bits, shape, bits, granularity, scale_bits)
    if alone:
        raise NotYet("effective_bits is right; best_within is next, then check both")
    bits, granularity = judge_choices(best_within, cases())
    return f"on the real weight, 4.2 bits buy {bits}-bit codes with {granularity}"


@exercise("04.4", "may it leave the sum?")
def _(answer):
    if not isinstance(answer, dict):
        raise Almost(f'expected a dictionary such as {{"x ()": True, ...}}, seen {brief(answer)}, a `{kind(answer)}`')
    if strangers := [name for name in answer if name not in SCALES]:
        raise Almost(f"{brief(strangers[0])} is not in the list: {', '.join(SCALES)}")
    if missing := [name for name in SCALES if name not in answer]:
        raise Almost(f"{missing[0]!r} is missing, {SCALES[missing[0]]['what']}")
    for name, said in answer.items():
        if not isinstance(said, bool | np.bool_):
            raise Almost(f"{name!r}: expected True or False, seen {brief(said)}")
    wrong_ones = [name for name in SCALES if answer[name] != SCALES[name]["factors"]]
    if len(wrong_ones) == len(SCALES):
        raise Almost("all of them are the other way round: True is for a scale that leaves the sum")
    if wrong_ones:
        first = wrong_ones[0]
        more = f" ({len(wrong_ones) - 1} more to think over)" if len(wrong_ones) > 1 else ""
        raise Almost(f"{first!r}, {SCALES[first]['what']}, {_said(first)}: {SCALES[first]['why']}{more}")
    return f"all {len(SCALES)}: what depends on the summed index stays in, all else may leave"


def _said(name):
    return "factors out of the sum" if SCALES[name]["factors"] else "does not factor out of the sum"


@exercise("04.5", "per output channel, as at work")
def _(answer):
    alone = getattr(answer, "__name__", "") == "build"
    if not alone and (not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(callable, answer))):
        raise Almost(f"expected (build, read), two functions; seen {brief(answer)}, a `{kind(answer)}`")
    build, read = (answer, None) if alone else answer
    if getattr(build, "__name__", "") == "read":
        raise Almost("the two functions are swapped: check takes (build, read)")
    random = np.random.default_rng(45)
    conformer = onnx.load(models.path("conformer"))
    for part in ("self_attn.linear_q", "feed_forward.w_2", "feed_forward.w_1"):
        w = linear(conformer, f"encoder.encoders.0.{part}").weight
        x = (random.normal(size=(40, len(w))) + 0.4).astype(np.float32)
        model = as_model(call(build, x, w, name="build"))
        judge_built(model, x, w, f"build, K = {w.shape[0]}, N = {w.shape[1]}")
    if alone:
        raise NotYet("build is right; read is next, then check both")
    variants = {
        "of your own model": model,
        "of one with a single scale for the weights": qdq_model(x, w, PerTensor(), PerTensor()),
        "of one with uint8 weights": qdq_model(x, w, PerTensor(), PerAxis(1), w_dtype="uint8"),
        "of a saved one with int8 activations": saved_int8(x, w),
    }
    for said, variant in variants.items():
        judge_reading(call(read, variant, name="read"), variant, f"read, {said}")
    op_type, x_dtype, w_dtype, scales = reading(model)
    return f"{op_type} takes {x_dtype} × {w_dtype}, and {scales[0]} scales after the sum; 4 graphs were read"
