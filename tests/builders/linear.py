"""Small models to compare, made in the test's own folder."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WIDTH = 32
INPUT = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", WIDTH])


def weights(seed=0):
    return np.random.default_rng(seed).standard_normal((WIDTH, WIDTH), np.float32)


def feed(seed=1, rows=4):
    return {"x": np.random.default_rng(seed).standard_normal((rows, WIDTH), np.float32)}


def save(path, nodes, outputs, *, initializers, inputs=(INPUT,), metadata=None, **storage):
    """Write a model of these nodes; `outputs` maps names to (element type, shape). Returns the path as text."""
    graph = helper.make_graph(
        nodes,
        "test",
        list(inputs),
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path, **storage)
    return str(path)


def linear(path, w, *, ballast=0, output="y", **options):
    """y = x w. `ballast` adds a product of that width, times zero: the same answer for more work."""
    nodes = [helper.make_node("MatMul", ["x", "w"], [output])]
    initializers = {"w": w}
    if ballast:
        initializers |= {"in": np.ones((WIDTH, ballast), np.float32), "zeros": np.zeros((ballast, WIDTH), np.float32)}
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["light"]),
            helper.make_node("MatMul", ["x", "in"], ["wide"]),
            helper.make_node("MatMul", ["wide", "zeros"], ["heavy"]),
            helper.make_node("Add", ["light", "heavy"], [output]),
        ]
    return save(path, nodes, {output: (TensorProto.FLOAT, ["rows", WIDTH])}, initializers=initializers, **options)
