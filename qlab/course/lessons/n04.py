"""Notebook 04: shapes of scales, blocks, effective bits, and which scales leave the sum."""

import math
from typing import NamedTuple

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import PerAxis, PerBlock, PerTensor, PerToken, choose_qparams, fake_quantize, models, sqnr_db
from qlab.course.brief import brief, kind
from qlab.course.expect import call, expect_close, expect_dtype, expect_equal, expect_number, expect_shape
from qlab.course.lessons import exercise, words
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator

SCALES = words("04", "scales")  # name: {"what": which scale it is, "factors": does it leave the sum, "why": or why not}
SCALE_BITS = 16


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
        ones = np.ones(shape, np.int8), np.ones(expected, np.float32)
        run_operator("DequantizeLinear", *ones, axis=axis, block_size=block_size or 0)  # it raises if they do not fit
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
            run_operator(
                "QuantizeLinear", x, expected, axis=1, block_size=block_size, output_dtype=onnx.TensorProto.INT8
            ),
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
        raise Almost(f"{missing[0]!r} is missing, {SCALES[missing[0]]['what']}")
    for name, said in answer.items():
        if not isinstance(said, bool | np.bool_):
            raise Almost(f"{name!r}: expected True or False, seen {brief(said)}")
    wrong_ones = [name for name in SCALES if answer[name] != SCALES[name]["factors"]]
    if wrong_ones:
        first = wrong_ones[0]
        more = f" ({len(wrong_ones) - 1} more to think over)" if len(wrong_ones) > 1 else ""
        raise Almost(f"{first!r}, {SCALES[first]['what']}, {_said(first)}: {SCALES[first]['why']}{more}")
    return f"all {len(SCALES)}: what depends on the summed index stays in, all else may leave"


def _said(name):
    return "factors out of the sum" if SCALES[name]["factors"] else "does not factor out of the sum"


def matrices():
    """(name, matrix, block size): ordinary ones, then edges."""
    random = np.random.default_rng(4)
    normal = random.normal(size=(6, 100)).astype(np.float32)
    yield "whole blocks", normal[:, :96], 32
    yield "a short last block", normal, 32
    loud = normal[:3, :10].copy()
    loud[:, -1] *= 50
    yield "a loud short last block", loud, 4
    yield "blocks of negative numbers", -np.abs(normal[:3, :7]), 3
    yield "a block longer than the row", normal[:2, :5], 16
    yield "blocks of one", normal[:2, :5], 1
    halves = np.float32([[0.5, 1.5, 2.5, -0.5, -2.5, 127.0, 3.5]])
    yield "numbers halfway between two codes", halves, 8
    zeros = normal[:3, :10].copy()
    zeros[1, 4:8] = 0
    yield "a block of zeros", zeros, 4


def block_scales(x, block_size, largest=127, size=lambda block: np.abs(block).max(axis=1)):
    """Scales (rows, blocks) from what `size` says of each block; 1 where that is 0."""
    starts = range(0, x.shape[1], block_size)
    sizes = np.stack([size(x[:, start : start + block_size]) for start in starts], axis=1)
    return np.where(sizes == 0, 1, sizes / np.float32(largest)).astype(np.float32)


def scale_mistakes(x, block_size, expected):
    parts = np.array_split(np.arange(x.shape[1]), expected.shape[1])
    return {
        "int8 has 127 positive codes: divide by 127": lambda: block_scales(x, block_size, 128),
        "the range of int8 was divided by 255 steps; a symmetric scale is the largest size / 127": lambda: block_scales(
            x, block_size, 255, lambda block: np.ptp(block, axis=1)
        ),
        "the largest number was taken, not the largest size: negative ones count as well": lambda: block_scales(
            x, block_size, size=lambda block: block.max(axis=1)
        ),
        "the blocks were made equally long; all have block_size numbers, and only the last may be short": lambda: (
            np.stack([np.abs(x[:, part]).max(axis=1) / 127 for part in parts], axis=1)
        ),
        "every block of a row has the row's scale": lambda: np.broadcast_to(
            np.abs(x).max(axis=1, keepdims=True) / 127, expected.shape
        ),
        "all rows share a block's scale; each row has its own": lambda: np.broadcast_to(
            expected.max(axis=0), expected.shape
        ),
        "the short last block was left out": lambda: np.where(
            np.arange(expected.shape[1]) < x.shape[1] // block_size, expected, 1
        ),
    }


def code_mistakes(x, scales, block_size):
    """{what was done wrong: the codes that it gives}."""
    quotient = x / np.repeat(scales, block_size, axis=1)[:, : x.shape[1]]
    return {
        "a cast to int8 truncates towards 0: round first": np.trunc(quotient),
        "floor always goes down: round to the nearest code": np.floor(quotient),
        "0.5 was added before flooring; round half to even, as np.rint does": np.floor(quotient + 0.5),
    }


def scale_shape(shape, kept, block_size):
    """(shape, mistakes): the shape, by counting groups along each axis; {mistake: the shape that comes of it}."""
    groups = [len({index if block_size is None else index // block_size for index in range(n)}) for n in shape]
    if block_size is None:
        return (groups[kept],), {
            "`axis` is the one that is kept, not the one that goes": shape[:kept] + shape[kept + 1 :],
            "PerAxis scales are one-dimensional, as ONNX wants them: no axes of length 1": tuple(
                n if i == kept else 1 for i, n in enumerate(shape)
            ),
            "a negative axis counts from the end": (),
        }
    cut = lambda blocks: tuple(blocks if i == kept else n for i, n in enumerate(shape))
    return cut(groups[kept]), {
        "the last block may be short, and it needs a scale as well": cut(shape[kept] // block_size),
        "the other axes are not shared: each of their indices has blocks of its own": (groups[kept],),
        "there is a block more than the numbers need": cut(shape[kept] // block_size + 1),
        "every axis was cut; only `axis` is": tuple(groups),
        "of a negative axis, axis + 1 is no place behind it: take axis % len(shape) first": (
            *shape[:kept],
            groups[kept],
            *(shape if kept == len(shape) - 1 else shape[kept + 1 :]),
        ),
        "a negative axis counts from the end": shape,
    }


class Case(NamedTuple):
    """One question: a tensor, and the effective bits that may be spent on it."""

    name: str
    x: np.ndarray
    budget: float

    def __str__(self):
        return f"{self.name} {self.x.shape}, at most {self.budget} bits"


def quality(x, bits, granularity, *, symmetric=True):
    """SQNR in dB."""
    return sqnr_db(x, fake_quantize(x, choose_qparams(x, f"int{bits}", symmetric=symmetric, granularity=granularity)))


def cost(x, bits, granularity):
    """Effective bits, scales included."""
    return bits + SCALE_BITS * np.prod(granularity.scale_shape(x.shape)) / x.size


# (what went wrong, what was made as large as possible)
HABITS = (
    (": the lowest SQNR was taken; the highest is the best", lambda x, bits, each: -quality(x, bits, each)),
    (": the most expensive that fits is not always the best; measure", cost),
    (": the most code bits are not always the best; a finer granularity may be", lambda x, bits, each: bits),
    (
        ": the choice is that of 8-bit codes throughout; is `bits` missing in shared(x, granularity, bits)?",
        lambda x, bits, each: quality(x, 8, each),
    ),
    (
        ": the choice is that of asymmetric codes; here they are symmetric",
        lambda x, bits, each: quality(x, bits, each, symmetric=False),
    ),
)


def judge_choices(best_within, cases, candidates):
    """Ask `best_within` every case; -> its choice in the last. A wrong one is told by the habit behind them all."""
    seen = [_chosen(best_within, case, candidates) for case in cases]
    for case, chosen in zip(cases, seen, strict=True):
        best = _largest(quality, case, candidates)
        has, could = quality(case.x, *chosen), quality(case.x, *best)
        if has < could:
            why = _why(cases, seen, candidates, cost(case.x, *best) == case.budget and best)
            raise Almost(f"{case}: {chosen} has {has:.1f} dB, but {best} has {could:.1f} dB{why}")
    return seen[-1]


def _chosen(best_within, case, candidates):
    answer = call(best_within, case.x, case.budget, list(candidates), name="best_within")
    if not isinstance(answer, tuple | list) or tuple(answer) not in candidates:
        raise Almost(f"{case}: expected one of the candidates, a pair (bits, granularity), seen {brief(answer)}")
    price = cost(case.x, *answer)
    if price > case.budget:
        raise Almost(f"{case}: {tuple(answer)} costs {price:.3f} bits, its scales included: too many")
    return tuple(answer)


def _largest(wanted, case, candidates):
    """The candidate within the budget of which `wanted` is largest, the first of equals."""
    affordable = [candidate for candidate in candidates if cost(case.x, *candidate) <= case.budget]
    return max(affordable, key=lambda candidate: wanted(case.x, *candidate))


def _why(cases, seen, candidates, costs_the_budget):
    for said, wanted in HABITS:
        if all(_largest(wanted, case, candidates) == chosen for case, chosen in zip(cases, seen, strict=True)):
            return said
    if costs_the_budget:
        return f", and {costs_the_budget} costs exactly the budget, which is allowed"
    return ": the SQNR decides, measured on this tensor"
