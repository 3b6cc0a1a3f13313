"""Float16 and bfloat16 models in float32: what a CPU computes anyway, and the only floats that quantizers know."""

import numpy as np
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from qlab import graph
from qlab.recipes.naming import rename

NARROW = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")


def narrow_types(model):
    """The names of the 16-bit floats that the ModelProto stores or declares."""
    found = {one.data_type for one in graph.tensors(model)} | {kind.elem_type for kind in _declared(model)}
    return sorted(NARROW[kind] for kind in found & set(NARROW))


def widen(model):
    """Compute in float32 what the ModelProto `model`, whose weights are loaded, computes in narrower floats, in place.

    1. Stored numbers, the types that nodes name, and declared types become float32.
    2. Inputs and outputs of float16 stay what they are, behind a Cast each: the same feeds fit. Those of bfloat16
       become float32, since onnxruntime takes no such arrays from Python.

    Returns a note that says so, "" where nothing was narrow. The numbers are those that were stored: what a narrow sum
    rounded on the way is more exact now.
    """
    found = narrow_types(model)
    if not found:
        return ""
    kept = {
        value.name: value
        for value in (*model.graph.output, *model.graph.input)  # an input that is handed on unchanged is an input
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16
    }
    for tensor in list(graph.tensors(model)):
        if tensor.data_type in NARROW:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), name))
    for node in graph.nodes(model):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.INT and attribute.name in TYPE_ATTRIBUTES and attribute.i in NARROW:
                attribute.i = TensorProto.FLOAT
    for kind in _declared(model):
        if kind.elem_type in NARROW:
            kind.elem_type = TensorProto.FLOAT
    inputs = {value.name for value in model.graph.input}
    for name, value in kept.items():
        _cast_at_the_end(model, value, name in inputs)
    return f"{' and '.join(found)} became float32 first: quantizers know no other floats"


def _declared(model):
    """The tensor types that are written down anywhere in the model, sequences' and optional values' included."""
    todo = [value.type for one in graph.graphs(model) for value in (*one.input, *one.value_info, *one.output)]
    todo += [value.type for function in model.functions for value in function.value_info]
    todo += [attribute.tp for node in graph.nodes(model) for attribute in node.attribute
             if attribute.type == AttributeProto.TYPE_PROTO]  # fmt: skip
    while todo:
        kind = todo.pop()
        match kind.WhichOneof("value"):
            case "tensor_type":
                yield kind.tensor_type
            case "sequence_type":
                todo.append(kind.sequence_type.elem_type)
            case "optional_type":
                todo.append(kind.optional_type.elem_type)


def _cast_at_the_end(model, value, is_input):
    """Let an input or output be float16 as before, and everything inside read or write its float32 twin."""
    outer, inner = value.name, f"{value.name}/float32"
    value.type.tensor_type.elem_type = TensorProto.FLOAT16
    rename(model, {outer: inner})
    if is_input:
        cast = helper.make_node("Cast", [outer], [inner], f"{outer}/widen", to=TensorProto.FLOAT)
        model.graph.node.insert(0, cast)
    else:
        cast = helper.make_node("Cast", [inner], [outer], f"{outer}/narrow", to=TensorProto.FLOAT16)
        model.graph.node.append(cast)
