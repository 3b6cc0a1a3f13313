"""Of a quantized model that onnxruntime refuses: what is wrong with it, and how to come by another."""

import os

from onnx import TensorProto

from qlab import graph
from qlab.graph.operators import QUANTIZERS
from qlab.measure.trace import stored, type_name
from qlab.recipes import RECIPES
from qlab.recipes.choice import DYNAMIC

PER_CHANNEL_SINCE = 13  # opset of a QuantizeLinear with an axis
SINCE = {  # opset of a QuantizeLinear with codes of that type
    **dict.fromkeys((TensorProto.FLOAT8E4M3FN, TensorProto.FLOAT8E5M2), 19),
    **dict.fromkeys((TensorProto.INT16, TensorProto.UINT16, TensorProto.INT4, TensorProto.UINT4), 21),
}


def explained(error, path, fp32=None):
    """The ValueError that says why the model file `path` does not open, instead of onnxruntime's; None if unquantized.

    fp32   the file that it was made from, if that is known
    """
    try:
        model = graph.load(path)
    except ValueError:
        return None
    if not graph.quantized_by(model):
        return None
    why = _cause(model)
    words = " ".join(str(error.__cause__ or error).split())
    return ValueError(
        f"{os.fspath(path)}: onnxruntime cannot open this quantized model{f', since {why}' if why else ''}. "
        f"recipes.{_kind(model)} makes one of {os.fspath(fp32 or 'the fp32 model')} anew, and opens and runs it before "
        f"it hands it over. (In onnxruntime's words: {words})"
    )


def _cause(model):
    """Why onnxruntime cannot open the ModelProto, in words; empty if it is none of these.

    1. Scales per channel, or codes of a type, that the file's version of QuantizeLinear does not have.
    2. A tensor that is read and nowhere made: quantizers write scales where the bodies of If and Loop do not see them.
    3. Operators of a set that the file does not import.
    """
    versions = {"" if one.domain == "ai.onnx" else one.domain: one.version for one in model.opset_import}
    opset = versions.get("", PER_CHANNEL_SINCE)
    quantizers = [one for one in graph.nodes(model) if one.op_type in QUANTIZERS and one.domain in ("", "ai.onnx")]
    weights = stored(model)
    for node in quantizers:
        scales = [weights[name] for name in node.input[1:2] if name in weights]
        if opset < PER_CHANNEL_SINCE and any(list(one.dims) not in ([], [1]) for one in scales):
            return (
                f"{node.name!r} has scales per channel, for which opset {PER_CHANNEL_SINCE} is needed, and the file is "
                f"of opset {opset}: quantize with one scale a tensor, or export with opset {PER_CHANNEL_SINCE} or later"
            )
    for node in quantizers:
        for dtype in {weights[name].data_type for name in node.input if name in weights} & SINCE.keys():
            if opset < SINCE[dtype]:
                needed = f"codes of {type_name(dtype)}, for which opset {SINCE[dtype]} is needed"
                return f"{node.name!r} has {needed}, and it has {opset}"
    for node, name in _unseen(model.graph, set()):
        return f"{node.name!r} ({node.op_type}) reads {name!r}, which is nothing that it can see in the file"
    lacking = sorted({node.domain for node in graph.nodes(model)} - {"", "ai.onnx"} - versions.keys())
    return f"it uses operators of {lacking[0]!r}, which it does not import" if lacking else ""


def _unseen(one, outer):
    """(node, tensor) of every tensor that a node of the GraphProto reads and nothing makes."""
    seen = outer | {value.name for value in (*one.input, *one.initializer)}
    seen |= {tensor.values.name for tensor in one.sparse_initializer}
    seen |= {name for node in one.node for name in node.output}  # in any order: onnxruntime sorts them
    for node in one.node:
        yield from ((node, name) for name in node.input if name and name not in seen)
        for body in graph.bodies(node):
            yield from _unseen(body, seen)


def _kind(model):
    """The recipe that quantizes as the ModelProto is quantized; in bodies of If, Loop and Scan only dynamic can."""
    _, *bodies = graph.graphs(model)
    is_inside = any(node.op_type in QUANTIZERS for body in bodies for node in body.node)
    like = None if is_inside else RECIPES.like({node.op_type for node in graph.nodes(model)})
    return (like or RECIPES.of_ways(DYNAMIC)).name
