"""Exercise 04.2: matrices that find mistakes, and the judging of codes and scales."""

import numpy as np
from onnx import TensorProto

from qlab import PerBlock, choose_qparams, quantize
from qlab.course.expect import expect_array, expect_close, expect_dtype, expect_shape
from qlab.course.lessons.n04_block_mistakes import block_scales, block_sizes, code_mistakes, scale_mistakes, spread
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
    if (codes.shape, scales.shape) == (expected.shape, x.shape) != (x.shape, x.shape):
        raise Almost(f"{said}: the two are swapped: return the codes first, then the scales")
    _judge_scale_shape(scales, x, block_size, expected, said)
    zeros = np.asarray(scales, np.float64)[block_sizes(x, block_size) == 0]
    if not (np.isfinite(zeros) & (zeros > 0)).all():
        raise Almost(
            f"scales of {said}: a block of zeros got the scale {zeros[0]:g}. A scale must be positive, or the "
            "codes are 0 / 0: use 1 there, as onnxruntime's quantize_static does"
        )
    mistakes = scale_mistakes(x, block_size, expected)
    expect_close(scales, expected, f"scales of {said}", rtol=1e-5, atol=0, mistakes=mistakes)
    if scales.dtype != np.float32:
        raise Almost(
            f"scales of {said}: expected dtype float32, seen {scales.dtype}: the numbers are right, but ONNX's "
            "DequantizeLinear, which is to read them, takes float32"
        )
    _judge_code_shape(codes, x, block_size, expected.shape[1], said)
    if codes.dtype.kind == "f" and np.allclose(codes, x, atol=np.abs(x).max() / 100) and np.abs(x).max() > 1:
        raise Almost(f"codes of {said}: expected dtype int8, seen {codes.dtype}: real numbers again, scale × code")
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
        ((x.shape[1], -(-x.shape[0] // block_size)), "the blocks run along axis 0; cut the rows' length, axis 1"),
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


def _judge_code_shape(codes, x, block_size, blocks, said):
    rows, columns = x.shape
    for shape, why in (
        ((rows, blocks * block_size), "the codes of what was filled up are left: cut them to the columns of x"),
        ((rows, blocks, block_size), "they stand block by block: reshape them to (rows, columns)"),
        ((rows, columns // block_size * block_size), "the short last block was lost"),
        ((columns, rows), "they are transposed"),
    ):
        if codes.shape == shape != x.shape:
            raise Almost(f"codes of {said}: expected shape {x.shape}, seen {codes.shape}: {why}")
    expect_shape(codes, x.shape, f"codes of {said}")


def _rounds_either_way(x, scales, block_size):
    """Where x / scale lies so near a half, but not on it, that float32 and float64 may round apart."""
    quotient = np.abs(x.astype(np.float64) / spread(scales, x, block_size))
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
    yield "zeros among other numbers", np.float32([[0, 3, -1, 2, 4, 0, 0, -5], [1, -1, 2, -2, 0, 0, 0.5, 0]]), 4
    zeros = normal[:3, :10].copy()
    zeros[1, 4:8] = 0
    yield "a block of zeros", zeros, 4
