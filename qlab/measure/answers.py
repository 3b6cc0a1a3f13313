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

Answers are counted beside SQNR. Of models that draw random numbers neither tells anything.
"""

import inspect
import math
import re
from copy import deepcopy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from qlab.graph.network import Links, bodies, graphs
from qlab.graph.operators import DRAWS, MATRIX_PRODUCTS, Q_AND_DQ, REARRANGING, attribute
from qlab.numerics.pooled import PooledError, is_float
from qlab.runtime import repeats

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
ENOUGH = 60  # of as many answers, none of which changes, 5 % at most would at 95 % confidence (the rule of three)
DIVERSE = 10  # as many must be other than the commonest: what always says no keeps saying no
FULL = 1e-3  # what rounding may take from full agreement


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
        self._producers = Links(nodes).producers
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
            turns ^= bool(attribute(node, "transB", 0))
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


@dataclass(frozen=True)
class Answers:
    """How many of the `total` answers of an output `changed`; `others` of the reference's are not its commonest.

    >>> str(Answers(4, 232, 200)), str(Answers(0, 232, 200))
    ('4 of 232 differ', 'all 232 the same')
    """

    changed: int
    total: int
    others: int

    def __str__(self):
        return f"{self.changed:,} of {self.total:,} differ" if self.changed else f"all {self.total:,} the same"

    @property
    def same(self):
        """The share that stayed as it was."""
        return 1 - self.changed / self.total

    @property
    def tell(self):
        """Whether there are enough to judge by, of more than one kind."""
        return self.total >= ENOUGH and self.others >= DIVERSE


@dataclass(frozen=True)
class Cosine:
    """Cosine of the angle between the vectors of two models, the mean and the worst."""

    mean: float
    worst: float

    def __str__(self):
        return f"{self.mean:.4f}, worst {self.worst:.4f}"


@dataclass(frozen=True)
class Kept:
    """What an output keeps of the reference's, beside its SQNR.

    judged_db  SQNR of what is read from it: of logits and log-probabilities without the offset of each vector, which no
               class gains from, of embeddings at length 1; of anything else as it is
    answers    Answers, or None where none can be read; cosine, of an embedding, or None
    """

    judged_db: float
    answers: Answers | None = None
    cosine: Cosine | None = None


def kept(output, head, pairs, places):
    """The Kept of the output called `output`, or None where nothing can be compared.

    head    what `heads_of` says of it; pairs, for each feed, the reference's array and the other one, of one shape
    places  for each feed, the positions that count, as an array that fits these, or None for all
    """
    read = reading(output, head, [expected for expected, _ in pairs])
    if read is None and not is_float(pairs[0][0]):
        return None
    error, counts, cosines = PooledError(), [], []
    for (expected, got), counted in zip(pairs, places, strict=True):
        where = np.broadcast_to(True if counted is None else counted, expected.shape)
        if is_float(expected):
            expected, got = (x.astype(np.float64) for x in (expected, got))
            error.add(_as_read(expected, read), _as_read(got, read), counted=where)
        if read is not None and read[0] == DIRECTION:
            cosines.append(_cosines(expected, got, where))
        elif read is not None and expected.size:
            counts.append(_answers(expected, got, read, where))
    return Kept(error.db if error.size else math.inf, _counted(counts, error), _cosine(cosines, error))


def _as_read(x, read):
    """Vectors without what is not read from them: of classes the common offset, of directions the length."""
    kind, axis = read or (None, None)
    if kind not in (LOG_CLASS, LOGITS, DIRECTION):
        return x
    finite = np.isfinite(x)
    if kind == DIRECTION:
        length = np.linalg.norm(np.where(finite, x, 0), axis=axis, keepdims=True)
        return np.divide(x, length, where=length > 0, out=np.zeros_like(x))
    count = np.maximum(finite.sum(axis=axis, keepdims=True), 1)
    return x - np.where(finite, x, 0).sum(axis=axis, keepdims=True) / count


def _answers(expected, got, read, where):
    """(what the reference answers where it counts, whether the other answers the same)."""
    kind, axis = read
    if kind == YES_NO:
        expected, got = expected > 0.5, got > 0.5
    elif kind != LABEL:
        expected, got, where = expected.argmax(axis), got.argmax(axis), where.any(axis)
    return expected[where], (expected == got)[where]


def _counted(counts, error):
    """The Answers of all feeds together, or None."""
    answers, same = (np.concatenate(parts) for parts in zip(*counts, strict=True)) if counts else (np.zeros(0),) * 2
    if not answers.size or (error.size and error.remark):
        return None
    commonest = np.unique(answers, return_counts=True)[1].max()
    return Answers(int((~same).sum()), same.size, int(answers.size - commonest))


def _cosines(expected, got, where):
    """Cosines of the vectors that count; one of zeros has no direction."""
    expected, got = (_as_read(x, (DIRECTION, -1)) for x in (expected, got))
    return (expected * got).sum(axis=-1)[where.any(axis=-1) & expected.any(axis=-1)]


def _cosine(cosines, error):
    every = np.concatenate(cosines) if cosines else np.zeros(0)
    return None if not every.size or error.remark else Cosine(float(every.mean()), float(every.min()))


def check_agree(agree):
    """Raise ValueError unless `agree` can be called with two dictionaries."""
    wanted = "expected a function agree(reference, outputs) of two {output name: array}"
    if not callable(agree):
        raise ValueError(f"agree is {agree!r}; {wanted}")
    try:
        parameters = inspect.signature(agree)
    except ValueError:  # some functions written in C show none
        return
    try:
        parameters.bind({}, {})
    except TypeError:
        raise ValueError(f"agree takes {parameters}; {wanted}") from None


def agreement(agree, reference, answers, name):
    """The mean of agree(reference, outputs) over the feeds; -inf where NaN comes of the model's own NaN."""
    pairs = zip(reference, answers, strict=True)
    values = [_agreement(agree, *pair, f"feed {at} of {name!r}") for at, pair in enumerate(pairs)]
    mean = float(np.mean(values))
    if answers is reference and mean < 1 - FULL:
        raise ValueError(
            f"agree gives {mean:g} for the reference against itself; expected 1 for full agreement, and less for less: "
            "compare with the reference's outputs, not with the truth, and let larger be better"
        )
    return mean


def _agreement(agree, expected, got, place):
    try:
        value = agree(deepcopy(expected), deepcopy(got))
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        raise ValueError(f"agree raised {type(error).__name__} on {place}: {error}") from error
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    is_number = isinstance(value, int | float | np.bool_ | np.integer | np.floating)
    floats = (x for x in got.values() if isinstance(x, np.ndarray) and x.dtype.kind == "f")
    if is_number and not all(np.isfinite(x).all() for x in floats) and not math.isfinite(value):
        return -math.inf
    if not is_number or not -math.inf < value <= 1 + FULL:
        shown = repr(value) if is_number or value is None else f"a {type(value).__name__}"
        raise ValueError(f"agree returned {shown} on {place}; expected a finite number, 1 for full agreement, no more")
    return float(value)


def random_draws(model, feed):
    """What to say of a Model that draws numbers, so that two runs on `feed` differ; or "".

    With a seed a node draws the same in each new session, whatever else the file holds. Without one, onnxruntime seeds
    it by its place among the nodes, which a quantizer changes. A draw whose result counts for nothing does no harm.
    """
    nodes = [node for node in model.nodes if _draws(node)]
    if not nodes or repeats(model.session(), feed):
        return ""
    names = ", ".join(f"{node.name or node.output[0]} ({node.op_type})" for node in nodes)
    draw, them = ("draws", "it a seed") if len(nodes) == 1 else ("draw", "them seeds")
    return f"{names} {draw} other numbers in each run: SQNR means nothing here; set the scale to 0 or give {them}"


def _draws(node):
    is_active = len(node.input) > 2 and bool(node.input[2]) if node.op_type == "Dropout" else node.op_type in DRAWS
    return is_active and attribute(node, "seed", None) is None
