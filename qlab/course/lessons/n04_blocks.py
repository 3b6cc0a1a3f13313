"""Exercise 04.2: matrices that find mistakes, the reference, and wrong results by name."""

import numpy as np
from onnx import TensorProto

from qlab import PerBlock, choose_qparams, quantize
from qlab.course.expect import expect_array, expect_close, expect_dtype, expect_shape
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator


def blocks_of(x, block_size):
    """What stands for 04.2 until it is passed: codes int8 (rows, columns), scales float32 (rows, blocks)."""
    qparams = choose_qparams(x, "int8", symmetric=True, granularity=PerBlock(1, block_size))
    return quantize(x, qparams), qparams.scale


def judge_blocks(seen, x, block_size, said):
    codes, scales = (
        expect_array(part, f"{what} of {said}") for part, what in zip(seen, ("codes", "scales"), strict=True)
    )
    expected = block_scales(x, block_size)
    if scales.dtype == np.int8 and codes.dtype.kind == "f" and scales.shape == x.shape:
        raise Almost(f"{said}: the two are swapped: return the codes first, then the scales")
    _judge_scale_shape(scales, x, block_size, expected, said)
    zeros = np.asarray(scales, np.float64)[expected == 1]
    if not (np.isfinite(zeros) & (zeros > 0)).all():
        raise Almost(
            f"scales of {said}: a block of zeros got the scale {zeros[0]:g}. A scale must be positive, or the "
            "codes are 0 / 0: use 1 there, as onnxruntime does"
        )
    mistakes = scale_mistakes(x, block_size, expected)
    expect_close(scales, expected, f"scales of {said}", rtol=1e-5, atol=0, mistakes=mistakes)
    if scales.dtype != np.float32:
        raise Almost(
            f"scales of {said}: expected dtype float32, seen {scales.dtype}: the numbers are right, but ONNX's "
            "DequantizeLinear, which is to read them, takes float32"
        )
    expect_shape(codes, x.shape, f"codes of {said}")
    expect_dtype(codes, np.int8, f"codes of {said}")
    attributes = {"axis": 1, "block_size": block_size, "output_dtype": TensorProto.INT8}
    reference = run_operator("QuantizeLinear", x, expected, **attributes)
    reference = np.where(_rounds_either_way(x, expected, block_size), codes, reference)
    mistakes = code_mistakes(x, expected, block_size)
    expect_close(codes, reference, f"codes of {said}", rtol=0, atol=0, mistakes=mistakes)


def _judge_scale_shape(scales, x, block_size, expected, said):
    if scales.shape == expected.shape:
        return
    for shape, why in (
        (expected.shape[::-1], "they stand as (blocks, rows): transpose them"),
        ((-(-x.shape[0] // block_size), x.shape[1]), "the blocks run along axis 0; cut the rows' length, axis 1"),
        (x.shape, "each number has a scale; a block shares one"),
        ((len(x),), "one scale a row; each row has several blocks"),
        ((expected.shape[1],), "one scale a block for all rows together; each row has its own"),
        ((len(x), x.shape[1] // block_size), "the short last block has no scale"),
        ((expected.size,), "they are right in number, and flat: make them (rows, blocks)"),
        ((*expected.shape, 1), "an axis of length 1 is left: drop it, or leave out keepdims"),
        ((), "one scale for everything"),
    ):
        if scales.shape == shape:
            raise Almost(f"scales of {said}: expected shape {expected.shape}, seen {scales.shape}: {why}")
    expect_shape(scales, expected.shape, f"scales of {said}")


def _rounds_either_way(x, scales, block_size):
    """Where x / scale lies so near a half, but not on it, that float32 and float64 may round apart."""
    quotient = np.abs(x.astype(np.float64) / _spread(scales, x, block_size))
    distance = np.abs(quotient % 1 - 0.5)
    return (distance > 0) & (distance < 1e-4)


def matrices():
    """(name, matrix, block size): ordinary ones, then edges."""
    random = np.random.default_rng(4)
    normal = random.normal(size=(6, 100)).astype(np.float32)
    yield "whole blocks", normal[:, :96], 32
    yield "a short last block", normal, 32
    loud = normal[:3, :10].copy()
    loud[:, -1] *= 50
    yield "an outlier in the short last block", loud, 4
    yield "blocks of negative numbers", -np.abs(normal[:3, :7]), 3
    yield "a block longer than the row", normal[:2, :5], 16
    yield "blocks of one", normal[:2, :5], 1
    halves = np.float32([[0.5, 1.5, 2.5, -0.5, -2.5, 127.0, 3.5, -1.5]])
    yield "numbers halfway between two codes", halves, 8
    for size in (1e-4, 1e-8, 1e-30):
        yield f"blocks of numbers of {size:g}", normal[:3, :9] * np.float32(size), 4
    zeros = normal[:3, :10].copy()
    zeros[1, 4:8] = 0
    yield "a block of zeros", zeros, 4


def block_scales(x, block_size, largest=127.0, size=lambda block: np.abs(block).max(axis=1)):
    """Scales (rows, blocks) from what `size` says of each block; 1 where that is 0."""
    starts = range(0, x.shape[1], block_size)
    sizes = np.stack([size(x[:, start : start + block_size]) for start in starts], axis=1)
    return np.where(sizes == 0, 1, sizes / np.float32(largest)).astype(np.float32)


def _spread(scales, x, block_size):
    return np.repeat(scales, block_size, axis=1)[:, : x.shape[1]]


def scale_mistakes(x, block_size, expected):
    of = lambda largest=127.0, **how: lambda: block_scales(x, block_size, largest, **how)
    parts = np.array_split(np.arange(x.shape[1]), expected.shape[1])
    sizes = np.where(expected == 1, 0, expected * np.float32(127))
    return _guards(sizes) | {
        "int8 has 127 positive codes: divide by 127": of(128),
        "this is largest / 127.5, half of 255 steps: the largest number then lies half a step beyond the last code; "
        "divide by 127": of(127.5),
        "this is largest / 126; the last code is 127": of(126),
        "this is largest / 255: int8 has 127 codes on one side of 0": of(255),
        "this is largest / 7, the scale of int4; int8 has 127 positive codes": of(7),
        "this is the largest size itself; the scale is a 127th of it": of(1),
        "this is 1 / scale: a scale is the step between two codes, largest / 127": lambda: 1 / expected,
        "the range of int8 was divided by 255 steps; a symmetric scale is the largest size / 127": of(
            255, size=lambda block: np.ptp(block, axis=1)
        ),
        "this is the asymmetric scale, its range widened to 0, over 255": of(
            255, size=lambda block: np.maximum(block.max(axis=1), 0) - np.minimum(block.min(axis=1), 0)
        ),
        "the largest number was taken, not the largest size: negative ones count as well": of(
            size=lambda block: block.max(axis=1)
        ),
        "the least number was taken: positive ones count as well": of(size=lambda block: -block.min(axis=1)),
        "this is |largest number|: take the size first, then the largest": of(size=lambda b: np.abs(b.max(axis=1))),
        "this is the mean size; the largest one must still have a code": of(size=lambda b: np.abs(b).mean(axis=1)),
        "this is the standard deviation; the largest size must have a code": of(size=lambda b: b.std(axis=1)),
        "the blocks were made equally long; all have block_size numbers, and only the last may be short": lambda: (
            np.stack([np.abs(x[:, part]).max(axis=1) / 127 for part in parts], axis=1)
        ),
        "every block of a row has the row's scale": lambda: np.broadcast_to(
            np.abs(x).max(axis=1, keepdims=True) / 127, expected.shape
        ),
        "one scale for everything": lambda: np.full(expected.shape, np.abs(x).max() / 127),
        "all rows share a block's scale; each row has its own": lambda: np.broadcast_to(
            expected.max(axis=0), expected.shape
        ),
        "the short last block was left out": lambda: np.where(
            np.arange(expected.shape[1]) < x.shape[1] // block_size, expected, 1
        ),
    }


def _guards(sizes):
    """What becomes of blocks that are small, or of zeros, if a guard against 0 / 0 takes in too much."""
    scales = sizes / np.float32(127)
    guards = {}
    for least in (*(10.0**power for power in range(-20, 0)), np.finfo(np.float32).eps, np.finfo(np.float64).eps):
        least, said = np.float32(least), f"{least:.0e}"
        small = f"a block is not of zeros because it is small (a guard of about {said}): compare with 0"
        guards[small] = np.where(sizes < least, 1, scales)
        guards[f"{small} "] = np.where(scales < least, 1, scales)
        raised = f"the scale is held above about {said}: small blocks lose their codes, and zeros do not get scale 1"
        guards[raised] = np.maximum(scales, least)
        guards[f"{raised} "] = np.maximum(sizes, least) / 127
        added = f"about {said} was added against 0 / 0: no scale is right any more; use 1 for a block of zeros only"
        guards[added] = scales + least
        guards[f"{added} "] = (sizes + least) / 127
    return guards


def code_mistakes(x, scales, block_size):
    """{what was done wrong: the codes that it gives}."""
    quotient = x / _spread(scales, x, block_size)
    tiled = x / np.tile(scales, (1, block_size))[:, : x.shape[1]]
    codes = np.rint(quotient)
    results = {
        "0.5 was added before flooring; round half to even, as np.rint does": np.floor(quotient + 0.5),
        "halves were rounded away from 0; round half to even, as np.rint does": np.trunc(
            quotient + np.copysign(np.float32(0.5), quotient)
        ),
        "halves were rounded down; round half to even, as np.rint does": np.ceil(quotient - 0.5),
        "a cast to int8 truncates towards 0: round first": np.trunc(quotient),
        "floor always goes down: round to the nearest code": np.floor(quotient),
        "ceil always goes up: round to the nearest code": np.ceil(quotient),
        "np.tile repeats the whole row of scales; np.repeat(..., axis=1) repeats each one": np.rint(tiled),
        "np.tile repeats the whole row of scales; what was too large for int8 was clipped": np.clip(
            np.rint(tiled), -128, 127
        ),
        "x was multiplied by its scale; divide": np.rint(x * _spread(scales, x, block_size)),
        "codes of uint8 and not of int8: the zero point of symmetric codes is 0": codes + 128,
        "clipped to 126: 127 is a code too": np.clip(codes, -126, 126),
        "clipped to -127 to 126: 127 is a code too": np.clip(codes, -127, 126),
        "clipped to int4's codes": np.clip(codes, -7, 7),
        "negative codes were clipped away": np.clip(codes, 0, 127),
        "these are the sizes of the codes; the sign belongs to them": np.abs(codes),
        "all codes are 0: was x divided by 127 instead of by its scale?": np.zeros_like(codes),
    }
    # An int8 wraps around where a wrong code does not fit.
    return {said: np.clip(wrong, -(2**40), 2**40).astype(np.int64).astype(np.int8) for said, wrong in results.items()}
