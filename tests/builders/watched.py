"""Small models to calibrate, and readers to feed them with."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader

FLOAT, HALF, INT64, BOOL = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BOOL
WIDTH = 8


class Reader(CalibrationDataReader):
    """Feeds as onnxruntime's own calibrators take them; counts how often it is asked."""

    def __init__(self, feeds):
        self.feeds, self.asked = iter(feeds), 0

    def get_next(self):
        self.asked += 1
        return next(self.feeds, None)


def value(name, kind=FLOAT, shape=None):
    return helper.make_tensor_value_info(name, kind, shape)


def save(path, nodes, inputs, outputs, initializers=None, **storage):
    """Write a model of these nodes; returns its path."""
    weights = [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **storage)
    return path


def linear(path, **storage):
    """x [batch, rows, 8] -> MatMul -> h -> Relu -> y."""
    weights = {"w": np.random.default_rng(0).standard_normal((WIDTH, WIDTH), np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    shape = ["batch", "rows", WIDTH]
    return save(path, nodes, [value("x", shape=shape)], [value("y", shape=shape)], weights, **storage)


def feeds(count, *, rows=5, spread=1.0, seed=1):
    """`count` feeds of `linear`; `rows` may be a list of lengths, taken in turn."""
    rng = np.random.default_rng(seed)
    lengths = [rows] if isinstance(rows, int) else rows
    shapes = [(1, lengths[i % len(lengths)], WIDTH) for i in range(count)]
    return [{"x": rng.laplace(0, spread, shape).astype(np.float32)} for shape in shapes]
