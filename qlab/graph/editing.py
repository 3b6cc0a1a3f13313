"""Exact changes of a ModelProto in place: names, 16-bit floats widened, shared weights parted, tensors shown."""

import re

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from qlab import graph
from qlab.graph.operators import attribute, of

# What onnxruntime's quantizers append to a tensor's name to name what they make of it.
APPENDED = re.compile(
    "_(?=(?:quantized|scale|zero_point|QuantizeLinear|DequantizeLinear|convert|output_quantized|bias_reshape|MatMul"
    "|Transposed)(?:_|$))"
)
NARROW = {TensorProto.FLOAT16: "float16", TensorProto.BFLOAT16: "bfloat16"}
TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "stash_type")


def show(model, names):
    """Make outputs of the tensors `names` of the ModelProto `model`, in place; what is one already stays as it is."""
    shown = {value.name for value in model.graph.output}
    # A name is enough: onnxruntime knows the types, also where ONNX's own inference does not (other domains).
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in shown)


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
        for one in node.attribute:
            if one.type == AttributeProto.INT and one.name in TYPE_ATTRIBUTES and one.i in NARROW:
                one.i = TensorProto.FLOAT
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


def unshare(model, op_types, exclude):
    """Give nodes that use the same weights of the ModelProto `model` in different ways a copy each, in place.

    A matrix that is an embedding here and, transposed, the output layer there has channels along different axes, and a
    vector may be a bias in one place and a summand in the other. onnxruntime's static quantizer keeps one scale per
    tensor, takes the first user's, and writes a model that fails at run time. A bias has the scale of its product, and
    onnxruntime's own copies of it get names that others may have.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    first_use, copies = {}, {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in weights:
                continue
            use = _use(node, place) if node.op_type in op_types and node.name not in exclude else "float"
            if first_use.setdefault(name, use) != use:
                node.input[place] = copies.setdefault((name, use), f"{name}/copy{len(copies)}")
    for (name, _), copy in copies.items():
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(weights[name])
        tensor.name = copy


def _use(node, place):
    if place == of(node.op_type).bias:
        return node.name
    return node.op_type, place, attribute(node, "transB", 0) == 1


def as_products(model, exclude=()):
    """Rewrite the pointwise 1-D convolutions of the ModelProto `model` in place, those named in `exclude` excepted.

    Conv(x [B, C, T], w [D, C, 1], b) = Transpose(MatMul(Transpose(x) [B, T, C], w.T [C, D]) + b), the same products
    summed: dynamic quantization takes it, without a fixed range for x and without rounding the result to 8 bits.
    onnxruntime removes the transposes that meet others. The product keeps the convolution's name.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, replaced = [], set()
    for node in model.graph.node:
        if node.name not in exclude and _is_pointwise(node, weights):
            kernel = numpy_helper.to_array(weights[node.input[1]])
            matrix = np.ascontiguousarray(kernel[:, :, 0].T)
            model.graph.initializer.append(numpy_helper.from_array(matrix, f"{node.output[0]}/matrix"))
            replaced.add(node.input[1])
            nodes += _as_product(node)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    for name in replaced - used:
        model.graph.initializer.remove(weights[name])


def _is_pointwise(node, weights):
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    return (
        list(weights[node.input[1]].dims[2:]) == [1]
        and attribute(node, "group", 1) == 1
        and attribute(node, "strides", [1]) == [1]
        and not any(attribute(node, "pads", ()))
    )


def _as_product(node):
    y = node.output[0]
    frames, product, added = f"{y}/frames", f"{y}/product", f"{y}/added"
    yield helper.make_node("Transpose", [node.input[0]], [frames], f"{node.name}/frames", perm=[0, 2, 1])
    yield helper.make_node("MatMul", [frames, f"{y}/matrix"], [product], node.name)
    if len(node.input) > 2 and node.input[2]:
        yield helper.make_node("Add", [product, node.input[2]], [added], f"{node.name}/add")
        product = added
    yield helper.make_node("Transpose", [product], [y], f"{node.name}/channels", perm=[0, 2, 1])


def listed_weights(model):
    """The inputs of the ModelProto that have a stored value: its weights, as older exporters list them."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name in stored]


def delist_weights(model):
    """Make constants of the weights that the ModelProto lists as inputs too, in place; returns a note, or "".

    An input can be replaced by a feed, so nothing is folded into it: no BatchNorm, no bias.
    """
    listed = listed_weights(model)
    for value in listed:
        model.graph.input.remove(value)
    model.ir_version = max(model.ir_version, 4)  # before that every weight had to be an input
    return f"{len(listed)} weights listed as inputs became constants: no feed replaces them now" if listed else ""


class Weights:
    """The constants of a graph, as arrays; and the number of dimensions of its tensors, as far as it is known."""

    def __init__(self, model, folder):
        self._graph, self._folder = model.graph, folder
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        self._taken = {name for node in graph.nodes(model) for name in (*node.input, *node.output)}
        self._ranks = {
            value.name: len(value.type.tensor_type.shape.dim)
            for value in (*model.graph.input, *model.graph.value_info, *model.graph.output)
            if value.type.tensor_type.HasField("shape")
        }

    def __contains__(self, name):
        return name in self._stored

    def __getitem__(self, name):
        return numpy_helper.to_array(self._stored[name], base_dir=str(self._folder))

    def shape(self, name):
        """The sizes of a constant."""
        return tuple(self._stored[name].dims)

    def kind(self, name):
        """The element type of a constant, a number of TensorProto's."""
        return self._stored[name].data_type

    def rank(self, name):
        """How many dimensions the tensor has; None if unknown."""
        return len(self._stored[name].dims) if name in self else self._ranks.get(name)

    def free(self, name):
        """`name`, or what is like it and no tensor's yet."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name

    def add(self, name, array):
        """Store a new constant; returns the name that it got."""
        name = self.free(name)
        self._stored[name] = self._graph.initializer.add()
        self._stored[name].CopyFrom(numpy_helper.from_array(array, name))
        return name
