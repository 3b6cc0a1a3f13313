"""Exact rewrites of what onnxruntime's quantizers take wrongly, slowly or not at all."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from qlab import graph

PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0}  # of a Gemm


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


def rewrite(model, folder):
    """Apply, in place, to the pre-processed ModelProto `model`, whose weights may lie outside it in `folder`:

    1. Gemm: alpha is multiplied into the weights, beta into the bias, the left factor transposed ahead, and a constant
       bias broadcast to a number a column; one that differs from row to row, or is computed, is added behind.
       The static quantizer drops beta and wants one dimension, the dynamic one leaves all this in float.
    2. x / constant is x * (1 / constant), for which there is an integer kernel.
    3. Pad with axes pads all axes: onnxruntime takes the others for it when it moves the channels to the end.
    """
    weights = Weights(model, folder)
    nodes = []
    for node in model.graph.node:
        rewriting = {"Gemm": _gemm, "Div": _division, "Pad": _pad}.get(node.op_type)
        nodes += rewriting(node, weights) if rewriting and node.domain in ("", "ai.onnx") else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


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


def _gemm(node, weights):
    values = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    alpha, beta, moved = (values.get(name, default) for name, default in PLAIN.items())
    right, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""
    constant = right in weights
    if constant and alpha != 1:
        node.input[1] = weights.add(f"{right}/{node.name}", _times(weights[right], alpha))
    if moved:
        left, node.input[0] = node.input[0], weights.free(f"{node.output[0]}/left")
        yield helper.make_node("Transpose", [left], [node.input[0]], f"{node.name}/transpose", perm=[1, 0])
    kept = [one for one in node.attribute if one.name not in PLAIN or (one.name == "alpha" and not constant)]
    del node.attribute[:], node.input[2:]
    node.attribute.extend(kept)
    if not bias or beta == 0:
        yield node
    elif bias not in weights:
        yield from _with_sum(node, bias, beta, weights)
    elif constant and (len(weights.shape(bias)) < 2 or weights.shape(bias)[0] == 1):
        columns = weights.shape(right)[0 if values.get("transB") else 1]
        same = beta == 1 and weights.shape(bias) == (columns,)
        spread = np.ascontiguousarray(np.broadcast_to(_times(weights[bias], beta).reshape(-1), columns))
        node.input.append(bias if same else weights.add(f"{bias}/{node.name}", spread))
        yield node
    else:
        scaled = bias if beta == 1 else weights.add(f"{bias}/{node.name}", _times(weights[bias], beta))
        yield from _with_sum(node, scaled, 1, weights)


def _times(array, factor):
    return (array.astype(np.float64) * factor).astype(np.float32)


def _with_sum(node, bias, beta, weights):
    """`node`, a Gemm, and the nodes that add `beta` times `bias` to what it computes, under its result's name."""
    yield node
    result, node.output[0] = node.output[0], weights.free(f"{node.output[0]}/product")
    if beta != 1:
        factor = weights.add(f"{node.name}/beta", np.float32(beta))
        times, bias = bias, weights.free(f"{result}/bias")
        yield helper.make_node("Mul", [times, factor], [bias], f"{node.name}/beta")
    yield helper.make_node("Add", [node.output[0], bias], [result], f"{node.name}/add")


def _division(node, weights):
    divisor = node.input[1]
    if divisor in weights and weights.kind(divisor) == TensorProto.FLOAT:
        with np.errstate(all="ignore"):
            reciprocal = (1 / weights[divisor].astype(np.float64)).astype(np.float32)
        if np.isfinite(reciprocal).all() and (np.abs(reciprocal) >= np.finfo(np.float32).tiny).all():
            node.op_type = "Mul"
            node.input[1] = weights.add(f"{divisor}/reciprocal", reciprocal)
    return [node]


def _pad(node, weights):
    axes = node.input[3] if len(node.input) > 3 else ""
    rank, pads = weights.rank(node.input[0]), node.input[1]
    if axes in weights and rank is not None:
        places = np.concatenate([weights[axes] % rank, weights[axes] % rank + rank])
        everywhere = np.zeros(2 * rank, np.int64)
        if pads in weights:
            everywhere[places] = weights[pads]
            node.input[1] = weights.add(f"{pads}/all", everywhere)
        else:
            inputs = [weights.add(f"{node.name}/zeros", everywhere), weights.add(f"{node.name}/places", places), pads]
            node.input[1] = weights.free(f"{node.output[0]}/pads")
            yield helper.make_node("ScatterElements", inputs, [node.input[1]], f"{node.name}/pads")
        del node.input[3:]
    yield node
