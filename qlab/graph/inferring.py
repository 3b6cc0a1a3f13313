"""The element types of a model's tensors, without a copy of its weights."""

import contextlib

import onnx
from onnx import TensorProto

from qlab.graph.operators import CODES, KEEP_THE_TYPE
from qlab.graph.walking import graphs

LARGE = 4096  # bytes: what is larger is a weight, never a shape that inference could need


def element_types(model):
    """{tensor name: element type} for a ModelProto, as far as types are declared or can be inferred."""
    light = _without_weights(model)
    # A model that onnxruntime runs may still be beyond inference: then what is declared must do.
    with contextlib.suppress(Exception):
        light = onnx.shape_inference.infer_shapes(light)
    types = {}
    for graph in graphs(light):
        for value in (*graph.input, *graph.value_info, *graph.output):
            types[value.name] = value.type.tensor_type.elem_type
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for graph in graphs(light):
        for node in graph.node:
            _pass_on(node, types)
    return types


def _without_weights(model):
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    for tensor in graph.initializer:
        large = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        light.graph.initializer.append(large if tensor.ByteSize() > LARGE else tensor)
    return light


def _pass_on(node, types):
    """Fill in what ONNX's inference leaves open behind onnxruntime's own operators, whose rules it does not know.

    1. What QLinear operators write is of the type of its zero point, the last of their inputs that is a code.
    2. What only moves values keeps their type.
    """
    read = [types.get(name, TensorProto.UNDEFINED) for name in node.input]
    kind = TensorProto.UNDEFINED
    if node.op_type.startswith("QLinear"):
        kind = next((one for one in reversed(read) if one in CODES), kind)
    elif node.op_type in KEEP_THE_TYPE and read:
        kind = read[0]
    for name in node.output:
        if not types.get(name):
            types[name] = kind
