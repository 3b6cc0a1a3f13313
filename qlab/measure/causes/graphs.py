"""Questions about the graph that ran, which several causes ask."""

import onnx
from onnx import TensorProto

from qlab import graph
from qlab.measure.work import factors


def producer(examination, node, place):
    """The NodeTime that computes input `place` of `node`, or None for an input of the model, a constant or no input."""
    inputs = node.node.input
    return examination.producers.get(inputs[place]) if place < len(inputs) else None


def reads_codes(examination, node):
    """Whether the activations of the product `node` come straight from a DequantizeLinear of codes that move."""
    places = [factors(node.node)[0]] if node.macs else range(len(node.node.input))
    sources = [producer(examination, node, place) for place in places]
    return any(
        source is not None and source.op_type == "DequantizeLinear" and not examination.has_constant_codes(source)
        for source in sources
    )


def neighbours(examination, node):
    """The NodeTimes whose results `node` reads, then those that read its."""
    before = [producer(examination, node, place) for place in range(len(node.node.input))]
    behind = [reader for name in node.node.output for reader in examination.consumers.get(name, [])]
    return [one for one in (*before, *behind) if one is not None]


def to_exclude(examination, rows):
    """Names for a recipe's `exclude` that leave these LayerErrors' tensors in float: who computes them, who reads them.

    A tensor that a quantized node reads becomes codes, whoever computed it.
    """
    readers = {}
    for node in graph.nodes(graph.load(examination.fp32.path)):
        for name in node.input:
            readers.setdefault(name, []).append(node.name)
    names = [name for row in rows for name in (row.node, *readers.get(row.name, ()))]
    return tuple(dict.fromkeys(filter(None, names)))


def code_type(examination, node):
    """Element type of the codes that a QuantizeLinear makes or a DequantizeLinear takes, a TensorProto number."""
    if len(node.node.input) > 2:
        zero_point = examination.initializers.get(node.node.input[2])
        if zero_point is not None:
            return zero_point.data_type
    return TensorProto.UINT8


def dtype_name(number):
    """ "int8" for TensorProto.INT8."""
    return onnx.TensorProto.DataType.Name(number).lower()
