"""Names of tensors that a quantizer's own would take."""

import re

from onnx import helper

from qlab import graph

# What onnxruntime's quantizers append to a tensor's name to name what they make of it.
APPENDED = re.compile(
    "_(?=(?:quantized|scale|zero_point|QuantizeLinear|DequantizeLinear|convert|output_quantized|bias_reshape|MatMul"
    "|Transposed)(?:_|$))"
)


def part_names(model):
    """Rename tensors of the ModelProto whose name is another's with what a quantizer appends to it, in place.

    Where "x" and "x_scale" are tensors, the scale of x would take the other's name. Renamed is a constant rather than
    what is computed; where both are ends of the model, what stands behind an Identity.
    """
    main = model.graph
    stored = {tensor.name for tensor in main.initializer}
    inputs, outputs = ({value.name for value in values} for values in (main.input, main.output))
    taken = stored | inputs | outputs | {name for node in graph.nodes(model) for name in node.output}
    renamed = {}
    for name in sorted(taken - (inputs & outputs)):
        stems = {name[: match.start()] for match in APPENDED.finditer(name)} & taken - (inputs & outputs)
        if stems:
            chosen = min((name, *stems), key=lambda one: (one in inputs | outputs, one not in stored, one))
            renamed[chosen] = next(one for one in _own(chosen) if one not in taken)
    if renamed:
        rename(model, renamed)
    for name in sorted(renamed.keys() & inputs):
        main.node.insert(0, helper.make_node("Identity", [name], [renamed[name]], f"{name}/end"))
    for name in sorted(renamed.keys() & outputs):
        main.node.append(helper.make_node("Identity", [renamed[name]], [name], f"{name}/end"))


def rename(model, renamed):
    """Rename what nodes read and write, constants and declared types, in every graph; not the model's own ends."""
    for one in graph.graphs(model):
        for node in one.node:
            for names in (node.input, node.output):
                names[:] = [renamed.get(name, name) for name in names]
        ends = () if one is model.graph else one.output
        for value in (*one.initializer, *one.value_info, *ends):
            value.name = renamed.get(value.name, value.name)


def _own(name):
    while True:
        name = f"{name}/own"
        yield name
