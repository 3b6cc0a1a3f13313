"""A quantized model back in floats: what it would compute if its activations were never rounded."""

from graphlib import TopologicalSorter

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from qlab.graph.census import quantized_by
from qlab.graph.network import bodies, reads
from qlab.graph.operators import QUANTIZERS
from qlab.numerics import kernels
from qlab.numerics.blockwise import unpack

FOLDED = {"Add", "Cast", "DequantizeLinear", "Div", "Mul", "QuantizeLinear", "Reshape", "Sub", "Transpose"}
NEVER_NEGATIVE = {"Clip", "Relu", "Sigmoid", "Softmax"}
OWN = {"QuantizeLinear": "quantize_linear", "DequantizeLinear": "dequantize_linear"}
WITHOUT_INTEGERS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


def in_floats(model: onnx.ModelProto) -> onnx.ModelProto:
    """A new ModelProto, with its weights inside: the quantized `model` without what quantizing added.

    1. Weights that are codes become the floats that these stand for: DequantizeLinear, Cast and Mul of constants.
    2. Q and DQ of what moves are left out, and what lies between them moves floats. Codes that begin at 0 do the work
       of a Relu or Clip that quantizers leave out: there is a Clip in their place.
    3. MatMulInteger and ConvInteger become MatMul and Conv of floats, with a scale of 1 for what was quantized on the
       way to them. MatMulNBits becomes MatMul.
    Raises ValueError naming what is left where it has operators besides (QLinearConv, DynamicQuantizeLSTM).
    """
    floats = onnx.ModelProto()
    floats.CopyFrom(model)
    floats.ClearField("metadata_props")
    _restore(floats.graph, model.opset_import, {}, {})
    if left := quantized_by(floats):
        raise ValueError(f"there is no way back to floats from {', '.join(left)}")
    return floats


def _restore(one, opsets, outer, outer_renamed):
    """Make floats of a GraphProto in place; `outer` and `outer_renamed` are the constants and names it can see."""
    stored = outer | {tensor.name: numpy_helper.to_array(tensor) for tensor in one.initializer}
    renamed, kept, made = dict(outer_renamed), [], {}
    for node in _in_order(one.node):
        node.input[:] = [renamed.get(name, name) for name in node.input]
        values = [stored.get(name) for name in node.input if name]
        value = next((a.t for a in node.attribute if node.op_type == "Constant" and a.name == "value"), None)
        if value is not None:
            stored[node.output[0]] = numpy_helper.to_array(value)
        elif node.op_type in FOLDED and values and all(value is not None for value in values):
            stored[node.output[0]] = _computed(node, values, opsets)
        elif (
            node.op_type == "QuantizeLinear" and (limits := _limits(node, stored)) and made.get(node.input[0]) != "Clip"
        ):
            kept.append(_clip(node, limits, stored))
            renamed[node.output[0]] = kept[-1].output[0]
        elif node.op_type in QUANTIZERS:
            renamed[node.output[0]] = node.input[0]
            stored |= dict(zip(node.output[1:], (np.float32(1), np.float32(0)), strict=False))
        elif node.op_type in WITHOUT_INTEGERS and node.input[1] in stored:
            kept.append(_product(node, stored))
        elif node.op_type == "MatMulNBits":
            kept.append(_unpacked(node, stored))
        else:
            for body in bodies(node):
                _restore(body, opsets, stored, renamed)
            kept.append(node)
        made |= dict.fromkeys(node.output, "Clip" if node.op_type in NEVER_NEGATIVE else node.op_type)
    ends = {value.name for value in one.output}
    kept += [helper.make_node("Identity", [renamed[name]], [name]) for name in sorted(ends & renamed.keys())]
    read = {name for node in kept for name in reads(node)} | ends
    del one.node[:], one.initializer[:], one.value_info[:]
    one.node.extend(kept)
    mine = [name for name in stored if name in read and (name not in outer or stored[name] is not outer[name])]
    one.initializer.extend(numpy_helper.from_array(np.asarray(stored[name]), name) for name in mine)


def _limits(node, stored):
    """What the codes that a QuantizeLinear makes stand for, (0, most), if they begin at 0; None for other nodes."""
    if node.op_type != "QuantizeLinear":
        return None
    scale, zero_point = stored.get(node.input[1]), np.uint8(0)
    if len(node.input) > 2 and node.input[2]:
        zero_point = stored.get(node.input[2])
    if scale is None or zero_point is None or np.size(scale) != 1 or np.asarray(zero_point).dtype.kind not in "iu":
        return None
    codes = np.iinfo(np.asarray(zero_point).dtype)
    is_from_0 = np.asarray(zero_point).item() == codes.min
    return (np.float32(0), np.float32(np.asarray(scale).item() * (codes.max - codes.min))) if is_from_0 else None


def _clip(node, limits, stored):
    name = f"{node.input[0]}/clipped"
    ends = [f"{name}/{end}" for end in ("low", "high")]
    stored |= dict(zip(ends, limits, strict=True))
    return helper.make_node("Clip", [node.input[0], *ends], [name], name)


def _in_order(some):
    """The nodes, each behind those whose results it or a body of it reads: quantizers leave them in any order."""
    makers = {name: at for at, node in enumerate(some) for name in node.output if name}
    needs = {at: {makers[name] for name in reads(node) if name in makers} for at, node in enumerate(some)}
    return [some[at] for at in TopologicalSorter(needs).static_order()]


def _computed(node, values, opsets):
    """The constant that `node` computes from the constants `values`."""
    settings = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return getattr(kernels, OWN[node.op_type])(*values, **settings)
    names = [name for name in node.input if name]
    inputs = [onnx.ValueInfoProto(name=name) for name in names]
    one = helper.make_graph([node], "constant", inputs, [onnx.ValueInfoProto(name=node.output[0])])
    model = helper.make_model(one, opset_imports=opsets)
    return ReferenceEvaluator(model).run(None, dict(zip(names, values, strict=True)))[0]


def _product(node, stored):
    """The float product of what moves with the constant codes of `node`, less their zero point."""
    weights = f"{node.output[0]}/weights"
    codes = stored[node.input[1]].astype(np.float32)
    if len(node.input) > 3 and node.input[3]:
        zero_point = stored[node.input[3]].astype(np.float32)
        is_per_channel = zero_point.ndim and node.op_type == "ConvInteger"
        codes = codes - (zero_point.reshape(-1, *[1] * (codes.ndim - 1)) if is_per_channel else zero_point)
    stored[weights] = codes
    product = helper.make_node(WITHOUT_INTEGERS[node.op_type], [node.input[0], weights], [node.output[0]], node.name)
    product.attribute.extend(node.attribute)
    return product


def _unpacked(node, stored):
    """The MatMul of the weights that a MatMulNBits packs: codes of 2, 4 or 8 bits, in blocks along K."""
    settings = {one.name: one.i for one in node.attribute}
    bits, size = settings.get("bits", 4), settings["block_size"]
    rows, depth = settings["N"], settings["K"]
    blocks = -(-depth // size)
    scales = stored[node.input[2]].reshape(rows, blocks, 1).astype(np.float32)
    zero_points = np.float32(1 << (bits - 1))
    if len(node.input) > 3 and node.input[3]:
        packed = stored[node.input[3]].reshape(rows, -1)
        zero_points = unpack(packed, bits)[:, :blocks, None] if packed.dtype == np.uint8 else packed[:, :blocks, None]
    codes = unpack(stored[node.input[1]].reshape(rows, blocks, -1), bits).astype(np.float32)
    weights = f"{node.output[0]}/weights"
    stored[weights] = np.ascontiguousarray(((codes - zero_points) * scales).reshape(rows, -1)[:, :depth].T, np.float32)
    if len(node.input) > 4 and any(node.input[4:]):
        raise ValueError("there is no way back to floats from MatMulNBits with a bias, or blocks in another order")
    return helper.make_node("MatMul", [node.input[0], weights], [node.output[0]], node.name)
