"""What is read from an output: a class, a yes or no, a direction.

Which of these an output is, is seen from the node that produces it, through what only reshapes, casts or rounds it:

1. Softmax, LogSoftmax, or the same written as several nodes: a class, the largest number along the axis whose vectors
   sum to 1 (exp: to 1). Not where a product reads it as well: that is an attention's weight.
2. Sigmoid: yes or no, above 0.5. Not the three channels of a picture, nor vectors of 2 or 4 numbers, which are places.
3. ArgMax, TopK or a comparison: labels, as they are.
4. MatMul or Gemm with constant weights: logits. Nothing in such a node tells them from an embedding or a regression, so
   the output's name decides, or its width: in a batch what is no multiple of 64, as layers are, nor 4, a box; in a
   sequence 5 to 63. What is called logits is some, whatever node produces it.
5. An embedding: vectors of length 1, an output whose name says so, or one pooled vector for each row of a batch, 64 to
   4,096 wide. Its direction is what is read: the cosine. A product's vector without such a name may be anything.
"""

import re
from typing import NamedTuple

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
_POOLED = {"ReduceMean", "ReduceMax", "ReduceSum", "GlobalAveragePool", "GlobalMaxPool", "Gather", "Tanh", "Div",
           "BatchNormalization", "LayerNormalization", "LpNormalization"}  # fmt: skip
_SCORES, _VECTORS = re.compile("logit|class|cls|score|label|prob", re.I), re.compile("embed|embd|emb$|vector", re.I)
_STEP, _WIDEST, _NEAR_1 = 64, 4096, 5e-3
DEEP = 50  # branches and parts inside each other


class Head(NamedTuple):
    """What a producing node is: its kind or None, whether it pools, and how many classes a product has."""

    kind: str | None = None
    pooled: bool = False
    width: int | None = None


def heads_of(model):
    """{output: Head}, of a ModelProto: what the node that produces each output says that it is."""
    seen = _Seen(list(graphs(model)))
    return {output.name: seen.head(output.name) for output in model.graph.output}


class _Seen:
    """Who produces and who reads each name, in all graphs of a model."""

    def __init__(self, every):
        nodes = [node for one in every for node in one.node]
        self._producers = {name: node for node in nodes for name in node.output}
        self._multiplied = {name for node in nodes if node.op_type in MATRIX_PRODUCTS for name in node.input}
        self._sizes = {tensor.name: list(tensor.dims) for one in every for tensor in one.initializer}
        self._found = {}

    def head(self, name, depth=0):
        """The Head of the tensor `name`."""
        if name not in self._found:
            self._found[name] = self._head(name, depth) if depth < DEEP else Head()
        return self._found[name]

    def _head(self, name, depth):
        node = self._producers.get(name)
        while node is not None and name not in self._multiplied:
            alike = []
            if node.op_type == "If":
                place = list(node.output).index(name)
                alike = [body.output[place].name for body in bodies(node)]
            elif node.op_type == "Concat":
                alike = list(node.input)
            if alike:
                found = {self.head(one, depth + 1) for one in alike}
                return found.pop() if len(found) == 1 else Head()
            if node.op_type == "ReduceMean" and self.head(node.input[0], depth + 1).kind == YES_NO:
                return Head(YES_NO)
            product = self._biased(node) if node.op_type == "Add" else None
            if product is None and node.op_type not in _HANDING_ON:
                return self._of(node)
            name = product or node.input[0]
            node = self._producers.get(name)
        return Head()

    def _of(self, node):
        kind, pooled, width = _HEADS.get(node.op_type), node.op_type in _POOLED, None
        if kind == LOGITS:
            weights, turns = self._constant(node.input[1])
            if weights is None:
                return Head(None, pooled)
            turns ^= any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
            width = weights[0 if turns else -1] if len(weights) == 2 else None
        return Head(kind, pooled, width)

    def _biased(self, add):
        """The product that an Add adds its bias to, or None."""
        return next((one for one in add.input if self._type(one) in ("MatMul", "Gemm")), None)

    def _type(self, name):
        return self._producers[name].op_type if name in self._producers else None

    def _constant(self, name):
        """(sizes, whether it is turned) of a constant, through what hands it on; (None, False) of anything else."""
        turns = False
        while self._type(name) in _HANDING_ON:
            turns ^= self._type(name) == "Transpose"
            name = self._producers[name].input[0]
        if self._type(name) == "Constant":
            return [], turns
        return self._sizes.get(name), turns


def reading(output, head, arrays):
    """(what is read from the `arrays` of an output, along which axis), or None; `head` is what `heads_of` says."""
    kind, pooled, width = head
    shape, has_vectors = arrays[0].shape, all(x.ndim > 1 and x.shape[-1] > 1 and x.size for x in arrays)
    named = bool(_SCORES.search(output))
    if arrays[0].dtype.kind in "bOU" or (kind == LABEL and all(map(_are_whole, arrays))):
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
        return (LOGITS, -1) if width in (None, shape[-1]) else None
    if kind is None and "logit" in output.lower():
        return LOGITS, 1 if len(shape) == 4 else -1  # of each pixel, as convolutions give them
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
