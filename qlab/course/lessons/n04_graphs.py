"""Quantized products as ONNX models, and the graphs that onnxruntime makes of them."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, quantize

BORDER = {"QuantizeLinear", "DequantizeLinear"}
X_SHARES = {"none: float32": None, "tensor ()": PerTensor(), "token (T,)": PerAxis(0), "channel (K,)": PerAxis(1)}
X_SHARES["block (T, K/16)"] = PerBlock(1, 16)
W_SHARES = {"tensor ()": PerTensor(), "output (N,)": PerAxis(1), "input (K,)": PerAxis(0)}
W_SHARES["block (K/16, N)"] = PerBlock(0, 16)


class Linear(NamedTuple):
    """A linear layer of a model: the name of what enters it, the name of its weight, the weight [inputs, outputs]."""

    enters: str
    name: str
    weight: np.ndarray


def linear(model, name):
    """The linear layer of an ONNX model whose bias is called `name`.bias."""
    makers = {output: node for node in model.graph.node for output in node.output}
    add = next(node for node in model.graph.node if f"{name}.bias" in node.input)
    multiplies = next(makers[source] for source in add.input if source in makers)
    held = next(tensor for tensor in model.graph.initializer if tensor.name == multiplies.input[1])
    return Linear(multiplies.input[0], held.name, numpy_helper.to_array(held))


def qdq_model(x, w, x_shares, w_shares, *, x_dtype="uint8", w_dtype="int8"):
    """An ONNX model x -> Q -> DQ -> MatMul <- DQ <- codes of w. Where x_shares is None, x stays float32."""
    qw = choose_qparams(w, w_dtype, symmetric=True, granularity=w_shares)
    held = {"w_codes": quantize(w, qw), "w_scale": qw.scale, "w_zero": qw.zero_point}
    nodes, real = [], "x"
    if x_shares is not None:
        qx = choose_qparams(x, x_dtype, symmetric=True, granularity=x_shares)
        held |= {"x_scale": qx.scale, "x_zero": qx.zero_point}
        scaled, along = ["x_scale", "x_zero"], vars(x_shares)
        nodes.append(onnx.helper.make_node("QuantizeLinear", ["x", *scaled], ["x_codes"], **along))
        nodes.append(onnx.helper.make_node("DequantizeLinear", ["x_codes", *scaled], [real := "x_real"], **along))
    nodes.append(
        onnx.helper.make_node("DequantizeLinear", ["w_codes", "w_scale", "w_zero"], ["w_real"], **vars(w_shares))
    )
    nodes.append(onnx.helper.make_node("MatMul", [real, "w_real"], ["y"]))
    return product_model(nodes, held, *w.shape)


def product_model(nodes, held, inputs, outputs):
    """An ONNX model float32 x [T, inputs] -> y [T, outputs] of these nodes; held: {name: array} of its initializers."""
    ends = [
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", size])
        for name, size in (("x", inputs), ("y", outputs))
    ]
    held = [numpy_helper.from_array(np.asarray(array), name) for name, array in held.items()]
    graph = onnx.helper.make_graph(nodes, "product", ends[:1], ends[1:], held)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 21)], ir_version=10)


def optimized(model, x, **settings):
    """What onnxruntime computes, and the graph that it runs. settings: session options, named without "session."."""
    session, graph = opened(model, **settings)
    (y,) = session.run(None, {session.get_inputs()[0].name: x})
    return y, graph


def opened(model, **settings):
    """A session, and the graph that it will run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # failures arrive as exceptions
    for name, value in settings.items():
        options.add_session_config_entry(f"session.{name}", value)
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        return session, onnx.load(options.optimized_model_filepath).graph


def saved_int8(x, w):
    """A product with int8 activations as onnxruntime saves it, optimized: it may not make uint8 of them on the way."""
    model = qdq_model(x, w, PerTensor(), PerAxis(1), x_dtype="int8")
    _, graph = opened(model, qdqisint8allowed="1")
    sets = [onnx.helper.make_opsetid("", 21), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=sets, ir_version=10)


def reading(model):
    """Of the graph that runs: (op_type of the product, dtype of x, dtype of w, shape of the scales of w)."""
    _, graph = opened(model)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    node = next(n for n in graph.node if n.op_type not in BORDER)
    quantizes = next(n for n in graph.node if n.output[0] == node.input[0])
    x_dtype = held[quantizes.input[2]].dtype.name if len(quantizes.input) > 2 else "uint8"
    return node.op_type, x_dtype, held[node.input[1]].dtype.name, held[node.input[3]].shape
