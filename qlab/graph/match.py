"""Which nodes of two graphs are at the same place: by operator, weights and surroundings, whatever they are called."""

import hashlib
import math
from functools import cached_property

import numpy as np

from qlab.graph.operators import COMMUTATIVE, LAYERS, REARRANGING, core, originals
from qlab.graph.wiring import ModelInput

REACH = 3  # steps: how far the nearer surroundings go
SAMPLE = 4096  # bytes of a weight that stand for the whole
UP, LEFT, TAKE = 0, 1, 2  # steps of an alignment


def stem(name):
    """`name` without what quantizers and onnxruntime's optimizer append: node_Conv_7_nchwc -> node_Conv_7."""
    return [name, *originals(name)][-1]


class Surroundings:
    """For each op of a Wiring, what it reads and feeds as seen past Q, DQ and Cast, and what it computes with.

    above, below  lists of neighbours: an op's index, or "input 0", "output 1" at the model's ends. Nodes that compute
                  from constants alone are no neighbours: one exporter writes them, another stores the result.
    """

    def __init__(self, wiring):
        self.wiring = wiring
        self.ops = wiring.ops
        self.cores = [core(op.op_type) for op in self.ops]
        self.names = [stem(op.node.name) or None for op in self.ops]
        self.above, self.below = self._neighbours()

    @cached_property
    def evidence(self):
        """What speaks for two ops being at the same place: {what: (points, one value for each op)}.

        None speaks for nothing. The first row must agree, or the ops are no match at all.
        """
        labels = [(name, op.scope) for name, op in zip(self.cores, self.ops, strict=True)]
        weights = self._weights()
        rows = {
            "family": (2, [("product" if name in LAYERS else name, scope) for name, scope in labels]),
            "core": (4, labels),
            "operator": (2, [(op.domain, op.op_type) for op in self.ops]),
            "weights": (10, [_content(tensor) for tensor in weights]),
            "shape": (10, [_shape(tensor) for tensor in weights]),
        }
        order = self.wiring.order
        for direction, sequence, neighbours in (("above", order, self.above), ("below", order[::-1], self.below)):
            near = labels
            for steps in range(1, REACH + 1):
                near = [_around(label, neighbours[i], near, direction) for i, label in enumerate(labels)]
                rows[f"{direction} {steps}"] = (3, near)
            whole = [None] * len(labels)
            for index in sequence:
                whole[index] = _around(labels[index], neighbours[index], whole, direction)
            rows[f"all {direction}"] = (3, whole)
        return rows

    def _weights(self):
        """For each op the largest constant it computes with, through a DequantizeLinear too; None if there is none."""
        largest = [None] * len(self.ops)
        for index in self.wiring.order:  # what is behind a constant is known by then, on however many ways it is read
            op = self.ops[index]
            tensors = op.constants + [attribute.t for attribute in op.node.attribute if attribute.HasField("t")]
            behind = [largest[producer] for producer in op.producers[::-1] if self.wiring.constant[producer]]
            tensors += [tensor for tensor in behind if tensor is not None]
            largest[index] = max(tensors, key=lambda tensor: math.prod(tensor.dims), default=None)
        return largest

    def _neighbours(self):
        above, below = [[] for _ in self.ops], [[] for _ in self.ops]
        for index in self.wiring.order:
            for source in self.ops[index].sources:
                if isinstance(source, ModelInput):
                    above[index].append(" ".join((*source.scope, "input", str(source.position))))
                elif isinstance(source, int) and not self.wiring.constant[source]:
                    above[index] += above[source] if self.ops[source].kind == "boundary" else [source]
            above[index] = list(dict.fromkeys(above[index]))
        for position, source in enumerate(self.wiring.outputs):
            if isinstance(source, int):
                below[source].append(f"output {position}")
        for index in reversed(self.wiring.order):
            for reader in self.wiring.consumers[index]:
                below[index] += below[reader] if self.ops[reader].kind == "boundary" else [reader]
            below[index] = list(dict.fromkeys(below[index]))
        return above, below


def _around(label, neighbours, known, direction):
    """A digest of an op's label and of what is known of its neighbours; readers have no order."""
    parts = [neighbour if isinstance(neighbour, str) else str(known[neighbour]) for neighbour in neighbours]
    ordered = parts if direction == "above" and label[0] not in COMMUTATIVE else sorted(parts)
    return hashlib.blake2b(repr((label, ordered)).encode(), digest_size=8).hexdigest()


def _content(tensor):
    if tensor is None or not tensor.raw_data:
        return None
    sample = tensor.raw_data[:SAMPLE]
    return tensor.data_type, tuple(tensor.dims), hashlib.blake2b(sample, digest_size=8).hexdigest()


def _shape(tensor):
    """The sizes above 1 in any order: a Conv's weights (8, 4, 1) become a MatMul's (4, 8)."""
    sizes = () if tensor is None else tuple(sorted(size for size in tensor.dims if size > 1))
    return sizes or None


def align(one, two):
    """{op of `one`: op of `two`} for two Surroundings: the pairs with the most evidence in all that keep the order.

    What is equal at both ends of the texts is paired at once: no other pair could have more evidence. In between, time
    is that of len(one) * len(two) additions in NumPy, 4 s for 10,000 nodes each.
    Source: Needleman and Wunsch 1970, without a penalty for gaps.
    """
    rows, columns = one.wiring.order, two.wiring.order
    points, left, right = _codes(one, two)
    left, right = left[:, rows], right[:, columns]
    head = _equal(left, right)
    tail = _equal(left[:, head:][:, ::-1], right[:, head:][:, ::-1])
    pairs = dict(
        zip(rows[:head] + rows[len(rows) - tail :], columns[:head] + columns[len(columns) - tail :], strict=True)
    )
    inner = slice(head, len(rows) - tail), slice(head, len(columns) - tail)
    return pairs | _align(points, left[:, inner[0]], right[:, inner[1]], rows[inner[0]], columns[inner[1]])


def _equal(left, right):
    """How many ops at the beginning have the same evidence in both; where neither has any they agree, too."""
    shared = min(left.shape[1], right.shape[1])
    left, right = left[:, :shared], right[:, :shared]
    differs = ((left != right) & ((left >= 0) | (right >= 0))).any(axis=0)
    return int(differs.argmax()) if differs.any() else shared


def _align(points, left, right, rows, columns):
    best = np.zeros(len(columns) + 1, np.int64)
    steps = np.zeros((len(rows) + 1, len(columns) + 1), np.uint8)
    places = {family: np.flatnonzero(right[0] == family) for family in np.unique(left[0])}
    relatives = {family: right[:, found] for family, found in places.items()}  # no other op can be a partner
    for row, family in enumerate(left[0]):
        found, weight = places[family], np.zeros(len(places[family]), np.int32)
        for point, here, there in zip(points, left[:, row], relatives[family], strict=True):
            if here >= 0:
                weight += point * (there == here)
        taken, over = best[found] + weight, best[found + 1]
        reached = best[1:].copy()
        reached[found] = np.maximum(over, taken)
        steps[row + 1, found[taken >= over] + 1] = TAKE
        best[1:] = np.maximum.accumulate(reached)
        steps[row + 1, 1:][best[1:] > reached] = LEFT
    return _walk_back(steps, rows, columns)


def _walk_back(steps, rows, columns):
    pairs, row, column = {}, len(rows), len(columns)
    while row and column:
        step = steps[row, column]
        if step == TAKE:
            pairs[rows[row - 1]] = columns[column - 1]
        row, column = row - (step != LEFT), column - (step != UP)
    return pairs


def _codes(one, two):
    """The evidence as integers: points [row], and for either graph codes [row, op], equal where the evidence agrees."""
    size = min(len(one.ops), len(two.ops)) + 1
    rows = [(points * size, values, two.evidence[what][1]) for what, (points, values) in one.evidence.items()]
    rows.append((1, one.names, two.names))  # a point of structure outweighs all names together
    left, right = np.empty((len(rows), len(one.ops)), np.int32), np.empty((len(rows), len(two.ops)), np.int32)
    for row, (_, here, there) in enumerate(rows):
        known = {}
        left[row] = [-1 if value is None else known.setdefault(value, len(known)) for value in here]
        right[row] = [-2 if value is None else known.setdefault(value, len(known)) for value in there]
    return [np.int32(points) for points, _, _ in rows], left, right


def match(before, after):
    """The index in `after` of each op of `before` that is at the same place: {before: after}. Both are Wirings.

    Names only break ties, so a renamed graph matches whole and a name used again elsewhere misleads nobody.
    1. Both graphs are put in an order that follows from their structure, and aligned as two texts are: the pairs of
       equal or related operators with the most evidence (weights, surroundings) that do not cross.
    2. Pairs with too little in common around them are dropped: the order alone proves nothing.
    3. What is left crosses the order, or has another operator: it is matched where all its neighbours are.
    """
    pairs = _Pairs(Surroundings(before), Surroundings(after))
    pairs.add_all(align(pairs.one, pairs.two))
    _drop_unsupported(pairs)
    for fits in (_is_equal, _can_replace):
        while _match_between(pairs, fits):
            pass
    return pairs.to


class _Pairs:
    """Matched ops of two Surroundings, `to` and `back`."""

    def __init__(self, one, two):
        self.one, self.two = one, two
        self.to, self.back = {}, {}

    def add_all(self, pairs):
        self.to |= pairs
        self.back |= {other: index for index, other in pairs.items()}

    def drop_all(self, indices):
        for index in indices:
            del self.back[self.to.pop(index)]

    def sides(self, index, other):
        """Above, then below: the neighbours of both ops, each as its partner or, without one, its operator."""
        for here, there in ((self.one.above, self.two.above), (self.one.below, self.two.below)):
            ours = [self._tag(neighbour, self.one, self.to) for neighbour in here[index]]
            theirs = [self._tag(neighbour, self.two, self.back, own=True) for neighbour in there[other]]
            yield sorted(ours), sorted(theirs)

    def _tag(self, neighbour, surroundings, partners, own=False):
        if isinstance(neighbour, str):
            return neighbour
        if neighbour not in partners:
            return f"unmatched {surroundings.cores[neighbour]}"
        return f"op {neighbour if own else partners[neighbour]}"


def _drop_unsupported(pairs):
    """Cases: 1. equal weights prove a pair; 2. so does having all neighbours on one side in common.

    3. Failing that, the next matched ops beyond the unmatched ones must agree. But then a product's scaling can pass
       for the gate behind it, so what is no product itself must have its partner's name, if the firm pairs mostly do.
    """
    firm = {index for index, other in pairs.to.items() if _is_firm(pairs, index, other)}
    alike = [_has_name_of(pairs, index) for index in firm]
    ask_names = sum(alike) > len(alike) / 2
    loose = [index for index in pairs.to if index not in firm]
    pairs.drop_all(
        [
            index
            for index in loose
            if not _meets_beyond(pairs, index, pairs.to[index])
            or (ask_names and pairs.one.cores[index] not in LAYERS and not _has_name_of(pairs, index))
        ]
    )


def _has_name_of(pairs, index):
    return pairs.one.names[index] == pairs.two.names[pairs.to[index]]


def _is_firm(pairs, index, other):
    ours, theirs = (surroundings.evidence["weights"][1] for surroundings in (pairs.one, pairs.two))
    if ours[index] is not None and ours[index] == theirs[other]:
        return True
    return any(ours and set(ours) <= set(theirs) for ours, theirs in pairs.sides(index, other))


def _meets_beyond(pairs, index, other):
    """Whether the next matched ops are the same above or below, or some are on both sides."""
    shared = []
    for here, there in ((pairs.one.above, pairs.two.above), (pairs.one.below, pairs.two.below)):
        ours = {pairs.to.get(neighbour, neighbour) for neighbour in _nearest(index, here, pairs.to)}
        theirs = _nearest(other, there, pairs.back)
        if ours and ours == theirs:
            return True
        shared.append(ours & theirs)
    return all(shared)


def _nearest(index, neighbours, matched):
    """The first matched ops, or ends of the model, in one direction."""
    found, seen, waiting = set(), set(), list(neighbours[index])
    while waiting:
        neighbour = waiting.pop()
        if neighbour in seen:
            continue
        seen.add(neighbour)
        if isinstance(neighbour, str) or neighbour in matched:
            found.add(neighbour)
        else:
            waiting += neighbours[neighbour]
    return found


def _match_between(pairs, fits):
    """Match the ops whose neighbours are all matched to each other; whether any was found."""
    order = pairs.one.wiring.order
    found, free = 0, {}
    for index in (*order, *order[::-1]):
        if index in pairs.to or pairs.one.ops[index].kind == "boundary":
            continue
        for other in _candidates(pairs, index, free):
            if other not in pairs.back and fits(pairs, index, other):
                pairs.add_all({index: other})
                found += 1
                break
    return found


def _candidates(pairs, index, free):
    """Ops of the other graph next to the partner of a neighbour; `free` remembers which of them had no partner yet."""
    one, two = pairs.one, pairs.two
    for side, neighbours, back in (("below", one.above, two.below), ("above", one.below, two.above)):
        for neighbour in neighbours[index]:
            if neighbour in pairs.to:
                place = side, pairs.to[neighbour]
                if place not in free:  # a tensor may have thousands of readers
                    free[place] = [
                        other for other in back[place[1]] if isinstance(other, int) and other not in pairs.back
                    ]
                yield from free[place]


def _is_equal(pairs, index, other):
    """Whether both have the same operator, or one stands for the other, and the same neighbours."""
    same = pairs.one.cores[index] == pairs.two.cores[other]
    return same and all(ours == theirs for ours, theirs in pairs.sides(index, other))


def _can_replace(pairs, index, other):
    """Whether two different operators are one place: tied on both sides, and both compute or both move values."""
    movers = pairs.one.cores[index] in REARRANGING, pairs.two.cores[other] in REARRANGING
    return movers[0] == movers[1] and all(
        ours == theirs and not all(tag.startswith("unmatched") for tag in ours)
        for ours, theirs in pairs.sides(index, other)
    )
