"""What became of every product of a model, and why: read from its graphs before, after, and as onnxruntime runs it."""

from collections import Counter
from dataclasses import dataclass

from qlab import graph
from qlab.graph.operators import FLOAT_PRODUCTS, MATRIX_PRODUCTS, NO_INTEGER_KERNEL


@dataclass(frozen=True)
class Fate:
    """One product: `how` it is quantized ("dynamic", "static") or "float", and then `why`."""

    name: str
    op_type: str
    how: str
    why: str = ""


def fates(before, after, optimized, op_types, exclude):
    """The Fate of every product in the ModelProto `before`, in graph order.

    after      the quantized model: a node that is still a product between DequantizeLinear nodes is static, one that
               was replaced is dynamic
    optimized  the graph that onnxruntime makes of it: a static product that is still float there was not fused
    op_types   what the recipe quantizes; exclude, {name: why} of nodes that are to stay in float
    """
    constants = {tensor.name: len(tensor.dims) for one in graph.graphs(before) for tensor in one.initializer}
    inner = {node.name for one in list(graph.graphs(before))[1:] for node in one.node}
    dequantized = {name for node in graph.nodes(after) if node.op_type == "DequantizeLinear" for name in node.output}
    remaining = {node.name: node for node in graph.nodes(after)}
    floats = {node.name for node in graph.nodes(optimized) if node.op_type in FLOAT_PRODUCTS}
    for node in graph.nodes(before):
        if node.op_type not in FLOAT_PRODUCTS:
            continue
        left = remaining.get(node.name) or remaining.get(f"{node.name}_MatMul")
        if left is None:
            yield Fate(node.name, node.op_type, "dynamic")
        elif left.input[0] not in dequantized or left.input[1] not in dequantized:
            yield Fate(node.name, node.op_type, "float", _why(node, op_types, exclude, constants, node.name in inner))
        elif left.name in floats:
            yield Fate(
                node.name, node.op_type, "float", "between Q and DQ, but onnxruntime has no integer kernel for it here"
            )
        else:
            yield Fate(node.name, node.op_type, "static")


def _why(node, op_types, exclude, constants, inside):
    if node.name in exclude:
        return exclude[node.name]
    if node.op_type in NO_INTEGER_KERNEL:
        return "onnxruntime has no integer kernel for it"
    if node.op_type not in op_types and not (node.op_type == "Gemm" and "MatMul" in op_types):
        return "not among the operators that this recipe quantizes"
    if node.input[1] not in constants:
        left = node.op_type in MATRIX_PRODUCTS and node.input[0] in constants
        return "the weights are its left factor" if left else "no constant weights: both factors move with the input"
    if node.op_type == "MatMul" and constants[node.input[1]] != 2:
        return f"weights of {constants[node.input[1]]} dimensions: only per_channel=False takes them"
    if inside:
        return "inside If, Loop or Scan, where onnxruntime's quantizer does not reach"
    return "onnxruntime's quantizer left it out"


def summary(products, how):
    """["38 of 38 Conv", ...]: per operator, how many have that fate."""
    total = Counter(fate.op_type for fate in products)
    done = Counter(fate.op_type for fate in products if fate.how == how)
    return [f"{done[op_type]} of {total[op_type]} {op_type}" for op_type in total if done[op_type]]
