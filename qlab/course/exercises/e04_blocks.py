"""What exercises 04.1 and 04.2 are measured against: shapes and scales by counting, codes from onnxruntime."""

import numpy as np
import onnx.parser

from qlab.machine.runtime import open_session


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


def onnx_codes(x, scales, block_size):
    """ONNX QuantizeLinear in onnxruntime."""
    text = f"""<ir_version: 10, opset_import: ["": 21]> one (float[m, n] x, float[m, b] s) => (int8[m, n] y)
               {{ y = QuantizeLinear<axis = 1, block_size = {block_size}, output_dtype = 3>(x, s) }}"""
    session = open_session(onnx.parser.parse_model(text).SerializeToString())
    return session.run(None, {"x": x, "s": scales})[0]


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


def dequantized(shape, scale_shape, axis, block_size):
    """onnxruntime's DequantizeLinear with scales of this shape: it raises if they do not fit."""
    text = """<ir_version: 10, opset_import: ["": 21]> one (int8[{x}] q, float[{s}] s) => (float[{x}] y)
              {{ y = DequantizeLinear<axis = {axis}, block_size = {block_size}>(q, s) }}"""
    x, s = (", ".join(map(str, dimensions)) for dimensions in (shape, scale_shape))
    model = onnx.parser.parse_model(text.format(x=x, s=s, axis=axis, block_size=block_size))
    feeds = {"q": np.ones(shape, np.int8), "s": np.ones(scale_shape, np.float32)}
    return open_session(model.SerializeToString()).run(None, feeds)[0]
