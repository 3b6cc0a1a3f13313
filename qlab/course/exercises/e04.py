"""Notebook 04: shapes of scales, blocks, effective bits, and which scales leave the sum."""

import math

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import PerAxis, PerBlock, PerTensor, PerToken, choose_qparams, models
from qlab.course.brief import brief, kind
from qlab.course.exercises import exercise
from qlab.course.exercises.e04_blocks import (
    block_scales,
    code_mistakes,
    dequantized,
    matrices,
    onnx_codes,
    scale_mistakes,
    scale_shape,
)
from qlab.course.exercises.e04_choices import Case, judge_choices
from qlab.course.exercises.e04_words import QUIZ, SCALES, WHY
from qlab.course.expect import call, expect_close, expect_dtype, expect_equal, expect_number, expect_shape
from qlab.course.verdict import Almost

__all__ = ["CANDIDATES", "QUIZ", "SCALES"]


@exercise("04.1", "the shape of the scales")
def _(answer):
    cases = [
        *(((64, 3, 3, 3), axis, None) for axis in (0, 1, -1)),
        *(((8, 64), 1, size) for size in (16, 64, 1, 100)),
        *(((64, 100), axis, 32) for axis in (1, -1, 0, -2)),
        *(((2, 7, 10), axis, 4) for axis in (1, 2)),
    ]
    for shape, axis, block_size in cases:
        seen = call(answer, shape, axis, block_size, name="scale_shape")
        if not isinstance(seen, tuple):
            raise Almost(
                f"scale_shape{(shape, axis, block_size)}: expected a tuple, seen {brief(seen)}, a `{kind(seen)}`"
            )
        if not all(isinstance(n, int | np.integer) for n in seen):
            raise Almost(f"scale_shape{(shape, axis, block_size)}: expected whole numbers (int), seen {seen}")
        expected, mistakes = scale_shape(shape, axis % len(shape), block_size)
        if seen != expected:
            said = next((f": {name}" for name, shown in mistakes.items() if seen == shown), "")
            raise Almost(
                f"scale_shape(shape={shape}, axis={axis}, block_size={block_size}): expected {expected}, "
                f"seen {seen}{said}"
            )
        dequantized(shape, expected, axis, block_size or 0)
    return f"{len(cases)} shapes, and onnxruntime's DequantizeLinear takes every one"


@exercise("04.2", "quantize in blocks")
def _(answer):
    for name, x, block_size in matrices():
        said = f"{name} {x.shape}, block_size={block_size}"
        seen = call(answer, x, block_size, name="quantize_blocks")
        if not isinstance(seen, tuple | list) or len(seen) != 2:
            raise Almost(f"{said}: expected two arrays, codes and scales, seen {brief(seen)}")
        codes, scales = seen
        expected = block_scales(x, block_size)
        expect_shape(scales, expected.shape, f"scales of {said}")
        zeros = np.asarray(scales, np.float64)[expected == 1]
        if not (np.isfinite(zeros) & (zeros > 0)).all():
            raise Almost(
                f"scales of {said}: a block of zeros got the scale {zeros[0]:g}. A scale must be positive, or the "
                "codes are 0 / 0: use 1 there, as onnxruntime does"
            )
        expect_close(
            scales, expected, f"scales of {said}", rtol=1e-5, atol=0, mistakes=scale_mistakes(x, block_size, expected)
        )
        expect_dtype(scales, np.float32, f"scales of {said}")
        expect_shape(codes, x.shape, f"codes of {said}")
        expect_dtype(codes, np.int8, f"codes of {said}")
        expect_equal(
            codes,
            onnx_codes(x, expected, block_size),
            f"codes of {said}",
            mistakes=code_mistakes(x, expected, block_size),
        )
    return "scales and codes as onnxruntime's QuantizeLinear has them, short last blocks included"


CANDIDATES = [  # what exercise 04.3 chooses from: (bits, granularity) for a weight (out, in)
    (4, PerTensor()), (4, PerAxis(0)), (4, PerAxis(1)), (4, PerBlock(1, 128)), (4, PerBlock(1, 32)),
    (4, PerBlock(1, 8)), (5, PerTensor()), (5, PerAxis(0)), (5, PerBlock(1, 64)),
]  # fmt: skip


@exercise("04.3", "the best granularity within a budget")
def _(answer):
    if not isinstance(answer, tuple | list) or len(answer) != 2 or not all(map(callable, answer)):
        raise Almost(f"expected (effective_bits, best_within), two functions; seen {brief(answer)}, a `{kind(answer)}`")
    effective_bits, best_within = answer
    shapes = [
        ((64, 128), PerTensor()), ((64, 128), PerAxis(0)), ((64, 3, 3, 3), PerAxis(0)), ((64, 128), PerBlock(1, 32)),
        ((64, 100), PerBlock(1, 32)), ((5, 7), PerBlock(0, 2)), ((2, 5, 8), PerToken()),
    ]  # fmt: skip
    for bits, scale_bits in ((4, 16), (8, 32)):
        for shape, granularity in shapes:
            _check_effective_bits(effective_bits, shape, bits, granularity, scale_bits)
    random = np.random.default_rng(43)
    tailed = random.standard_t(3, size=(24, 160)).astype(np.float32)
    striped = random.normal(size=(24, 160)).astype(np.float32) * np.exp(random.normal(size=160)).astype(np.float32)
    weight = conformer_weight("encoder.embed.out.0").T
    tensors = {"a heavy-tailed matrix": tailed, "a matrix with loud columns": striped, "the real weight": weight}
    budgets = {"a heavy-tailed matrix": (4.05, 4.5, 6.0, 7.0), "a matrix with loud columns": (4.15, 4.8, 5.5)}
    budgets["the real weight"] = (5.3, 4.2)
    cases = [Case(name, tensors[name], budget) for name in budgets for budget in budgets[name]]
    bits, granularity = judge_choices(best_within, cases, CANDIDATES)
    return f"on the real weight, 4.2 bits buy {bits}-bit codes with {granularity}"


def conformer_weight(name):
    """The weight [K, N] of the conformer's linear layer whose bias is called `name`.bias."""
    graph = onnx.load(models.path("conformer")).graph
    makers = {output: node for node in graph.node for output in node.output}
    add = next(node for node in graph.node if f"{name}.bias" in node.input)
    product = next(makers[source] for source in add.input if source in makers)
    held = next(tensor for tensor in graph.initializer if tensor.name == product.input[1])
    return numpy_helper.to_array(held)


def _scales_of(shape, granularity):
    """How many scales there are, counted on a tensor that is quantized."""
    return choose_qparams(np.ones(shape, np.float32), "int8", granularity=granularity).scale.size


def _check_effective_bits(effective_bits, shape, bits, granularity, scale_bits):
    seen = call(effective_bits, shape, bits, granularity, scale_bits, name="effective_bits")
    numbers, scales = math.prod(shape), _scales_of(shape, granularity)
    block = getattr(granularity, "block_size", None)
    mistakes = {
        "the scales were left out": bits,
        "these are all bits together; divide by how many numbers there are": bits * numbers + scale_bits * scales,
        "one scale was counted, whatever the granularity": bits + scale_bits / numbers,
        "16 bits were counted for a scale; it has `scale_bits`": bits + 16 * scales / numbers,
        "each number was given a scale of its own; count the scales": bits + scale_bits,
        "a scale was counted as 32 bits; it has `scale_bits`": bits + 32 * scales / numbers,
        "numbers were counted per scale; scales per number is its inverse": bits + scale_bits * numbers / scales,
    }
    if block:
        mistakes["a short last block has a whole scale: count the scales, do not divide by block_size"] = (
            bits + scale_bits / block
        )
    said = f"effective_bits({shape}, {bits}, {granularity}, {scale_bits})"
    seen = expect_number(seen, said)
    expect_close(seen, bits + scale_bits * scales / numbers, said, rtol=1e-6, mistakes=mistakes)


@exercise("04.4", "which scales leave the sum")
def _(answer):
    if not isinstance(answer, dict):
        raise Almost(f'expected a dictionary such as {{"x ()": True, ...}}, seen {brief(answer)}, a `{kind(answer)}`')
    if strangers := [name for name in answer if name not in SCALES]:
        raise Almost(f"{brief(strangers[0])} is not in the list: {', '.join(SCALES)}")
    if missing := [name for name in SCALES if name not in answer]:
        raise Almost(f"{missing[0]!r} is missing, {SCALES[missing[0]]}")
    for name, said in answer.items():
        if not isinstance(said, bool | np.bool_):
            raise Almost(f"{name!r}: expected True or False, seen {brief(said)}")
    wrong_ones = [name for name in SCALES if answer[name] != WHY[name][0]]
    if wrong_ones:
        first = wrong_ones[0]
        more = f" ({len(wrong_ones) - 1} more to think over)" if len(wrong_ones) > 1 else ""
        raise Almost(f"{first!r}, {SCALES[first]}, {_said(first)}: {WHY[first][1]}{more}")
    return f"all {len(SCALES)}: what depends on the summed index stays in, all else may leave"


def _said(name):
    return "factors out of the sum" if WHY[name][0] else "does not factor out of the sum"
