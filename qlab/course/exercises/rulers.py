"""What the checks of notebook 01 measure with: ONNX's own operators, and tensors that are worth clipping or not."""

from functools import cache

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.helper import (
    make_graph,
    make_model,
    make_node,
    make_opsetid,
    make_tensor_value_info,
    np_dtype_to_tensor_dtype,
)
from onnx.reference import ReferenceEvaluator

from qlab import models
from qlab.machine.runtime import open_session
from qlab.numerics.affine import qparams_from_range
from qlab.numerics.clipping import mse_range

HEAVY_TAILED = "encoder.embed.conv.2.weight"  # of the conformer; the notebook shows it


def run_node(op_type, x, scale, zero_point):
    """What QuantizeLinear or DequantizeLinear gives: onnxruntime's answer for 8 bits, the ONNX reference's for 4.

    onnxruntime hands no 4-bit arrays to Python; the reference lets huge numbers wrap around.
    """
    x, scale, zero_point = (np.asarray(array) for array in (x, scale, zero_point))
    return _node(op_type, zero_point.dtype.name).run(None, {"x": x, "scale": scale, "zero_point": zero_point})[0]


@cache
def _node(op_type, code_dtype):
    codes, real = np_dtype_to_tensor_dtype(np.dtype(code_dtype)), onnx.TensorProto.FLOAT
    taken, given = (real, codes) if op_type == "QuantizeLinear" else (codes, real)
    inputs = [
        make_tensor_value_info("x", taken, None),
        make_tensor_value_info("scale", real, []),
        make_tensor_value_info("zero_point", codes, []),
    ]
    node = make_node(op_type, ["x", "scale", "zero_point"], ["y"])
    graph = make_graph([node], op_type, inputs, [make_tensor_value_info("y", given, None)])
    model = make_model(graph, opset_imports=[make_opsetid("", 21)], ir_version=10)
    return open_session(model.SerializeToString()) if code_dtype == "uint8" else ReferenceEvaluator(model)


def noise_of(x, low, high):
    """(mean squared error of 4 bits over this range, the clipped values' share of it), by ONNX's own operators."""
    qparams = qparams_from_range(low, high, "uint4")
    codes = run_node("QuantizeLinear", x, qparams.scale, qparams.zero_point)
    real = run_node("DequantizeLinear", codes, qparams.scale, qparams.zero_point)
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
