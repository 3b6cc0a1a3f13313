"""What is read from an output: a class, a yes or no, a direction.

Which of these an output is, is seen from the node that produces it, through what only reshapes, casts or rounds it:

1. Softmax, LogSoftmax, or the same written as several nodes: a class, the largest number along the axis whose vectors
   sum to 1 (exp: to 1). Not where a product reads it as well: that is an attention's weight.
2. Sigmoid: yes or no, above 0.5. Not the three channels of a picture, nor vectors of 2 or 4 numbers, which are places.
3. ArgMax, TopK or a comparison: labels, as they are.
4. MatMul or Gemm with constant weights: logits. Nothing in such a node tells them from an embedding or a regression, so
   the output's name decides, or its width: fewer than 64 numbers, or as many as no layer is wide, a multiple of 64; but
   not 4, a box, nor in sequences 3 or fewer.
5. An embedding: vectors of length 1, an output whose name says so, or one pooled or projected vector for each row of a
   batch, 64 to 4,096 wide. Its direction is what is read: the cosine.
"""

import re

import numpy as np

from qlab.graph.operators import MATRIX_PRODUCTS, Q_AND_DQ, REARRANGING
from qlab.graph.walking import bodies, graphs
from qlab.measure.pooled import is_float

CLASS, LOG_CLASS, YES_NO, LABEL, LOGITS, DIRECTION = "class", "log-class", "yes or no", "label", "logits", "direction"

_HANDING_ON = REARRANGING | Q_AND_DQ | {"Cast"}
_HEADS = {
    "Softmax": CLASS, "Div": CLASS, "LogSoftmax": LOG_CLASS, "Log": LOG_CLASS, "Sub": LOG_CLASS,
    "Sigmoid": YES_NO, "HardSigmoid": YES_NO, "ArgMax": LABEL, "TopK": LABEL, "Greater": LABEL, "GreaterOrEqual": LABEL,
    "Less": LABEL, "LessOrEqual": LABEL, "MatMul": LOGITS, "Gemm": LOGITS,
}  # fmt: skip
_POOLED = {"ReduceMean", "ReduceMax", "ReduceSum", "GlobalAveragePool", "GlobalMaxPool", "Gather", "Tanh", "MatMul",
           "Gemm", "Div", "BatchNormalization", "LayerNormalization", "LpNormalization"}  # fmt: skip
_SCORES, _VECTORS = re.compile("logit|class|cls|score|label|prob", re.I), re.compile("embed|embd|emb$|vector", re.I)
_STEP, _WIDEST, _NEAR_1 = 64, 4096, 5e-3


def heads_of(model):
    """{output: what the node that produces it says that it is}, of a ModelProto; `reading` looks at its values, too."""
    every = list(graphs(model))
    producers = {name: node for one in every for node in one.node for name in node.output}
    readers = {name: [] for name in producers}
    for one in every:
        for node in one.node:
            for name in node.input:
                readers.setdefault(name, []).append(node.op_type)
    constants = {tensor.name for one in every for tensor in one.initializer}
    return {output.name: _head(output.name, producers, readers, constants) for output in model.graph.output}


def _head(name, producers, readers, constants):
    """(what it is or None, whether it is pooled) of the tensor `name`."""
    node = producers.get(name)
    while node is not None and MATRIX_PRODUCTS.isdisjoint(readers.get(name, ())):
        if node.op_type == "If":
            place = list(node.output).index(name)
            found = {_head(body.output[place].name, producers, readers, constants) for body in bodies(node)}
            return found.pop() if len(found) == 1 else (None, False)
        if node.op_type == "Concat":
            found = {_head(one, producers, readers, constants) for one in node.input}
            return found.pop() if len(found) == 1 else (None, False)
        if node.op_type == "ReduceMean" and _head(node.input[0], producers, readers, constants)[0] == YES_NO:
            return YES_NO, False
        if node.op_type in _HANDING_ON:
            name = node.input[0]
        elif node.op_type == "Add" and (product := _biased(node, producers)):
            name = product
        else:
            head = _HEADS.get(node.op_type)
            weighs = head != LOGITS or _is_constant(node.input[1], producers, constants)
            return head if weighs else None, node.op_type in _POOLED
        node = producers.get(name)
    return None, False


def _biased(add, producers):
    """The product that an Add adds its bias to, or None."""
    for name in add.input:
        if name in producers and producers[name].op_type in ("MatMul", "Gemm"):
            return name
    return None


def _is_constant(name, producers, constants):
    while name in producers and producers[name].op_type in _HANDING_ON:
        name = producers[name].input[0]
    return name in constants or (name in producers and producers[name].op_type == "Constant")


def reading(output, head, arrays):
    """(what is read from the `arrays` of an output, along which axis), or None; `head` is what `heads_of` says."""
    kind, pooled = head
    shape, has_vectors = arrays[0].shape, all(x.ndim > 1 and x.shape[-1] > 1 and x.size for x in arrays)
    named = bool(_SCORES.search(output))
    if arrays[0].dtype.kind == "b" or (kind == LABEL and all(map(_are_whole, arrays))):
        return LABEL, None
    if not is_float(arrays[0]) or not shape:
        return None
    if kind in (CLASS, LOG_CLASS) and (axis := _class_axis(arrays, kind)) is not None:
        return kind, axis
    if kind == YES_NO:
        is_picture = len(shape) == 4 and shape[1] == 3
        are_places = (len(shape) > 1 and shape[-1] == 4) or (len(shape) > 2 and shape[-1] == 2)
        return None if not named and (is_picture or are_places) else (YES_NO, None)
    if not has_vectors:
        return None
    if _VECTORS.search(output) or (shape[-1] >= 16 and all(map(_are_units, arrays))):
        return DIRECTION, -1
    if kind == LOGITS and (named or _is_as_wide_as_classes(shape)):
        return LOGITS, -1
    if pooled and not named and len(shape) == 2 and _STEP <= shape[-1] <= _WIDEST:
        return DIRECTION, -1
    return None


def _is_as_wide_as_classes(shape):
    width = shape[-1]
    if len(shape) > 2:
        return 4 < width < _STEP
    return width != 4 and (width % _STEP != 0 or width > _WIDEST)


def _are_whole(x):
    return x.dtype.kind in "iub" or (is_float(x) and np.array_equal(x, np.round(x.astype(np.float64))))


def _class_axis(arrays, kind):
    """The axis along which all vectors are probabilities (or their logarithms), the last one first; or None."""
    dimensions = arrays[0].ndim
    for axis in (dimensions - 1, *range(1, dimensions - 1)):
        if all(x.ndim == dimensions and x.shape[axis] > 1 and _are_probabilities(x, kind, axis) for x in arrays):
            return axis
    return None


def _are_probabilities(x, kind, axis):
    with np.errstate(over="ignore"):
        x = x.astype(np.float64) if kind == CLASS else np.exp(x.astype(np.float64))
    return x.size > 0 and x.min() >= 0 and bool(np.all(np.abs(x.sum(axis=axis) - 1) < _NEAR_1))


def _are_units(x):
    return bool(np.all(np.abs(np.linalg.norm(x.astype(np.float64), axis=-1) - 1) < _NEAR_1))
