"""Find, for the nodes of one graph, those at the same places in another, whatever both are called.

What tells a place: its operator, its weights, and what lies around it.
"""

import hashlib
import math
from functools import cached_property
from itertools import islice

from qlab.graph.operators import COMMUTATIVE, LAYERS, REARRANGING, core, originals
from qlab.graph.wiring import ModelInput

REACH = 3  # steps: how far the nearer surroundings go
FAR = 64  # ops that are looked at, on the way to a pair and as its other half
SAMPLE = 4096  # bytes of a weight that stand for the whole


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
        self.ends = {"below": _read_ends(self.above), "above": _read_ends(self.below)}

    @cached_property
    def evidence(self):
        """What tells an op's place, the surest first: lists of one value for each op; None, where there is nothing."""
        labels = [(name, op.scope) for name, op in zip(self.cores, self.ops, strict=True)]
        weights = self._weights()
        contents, shapes = map(_content, weights), list(map(_shape, weights))
        order = self.wiring.order
        above, below = {}, {}
        for direction, sequence, found in (("above", order, above), ("below", order[::-1], below)):
            neighbours = getattr(self, direction)
            found[0] = labels
            for steps in range(1, REACH + 1):
                near = found[steps - 1]
                found[steps] = [_around(label, neighbours[at], near, direction) for at, label in enumerate(labels)]
            whole = found["all"] = [None] * len(labels)
            for index in sequence:
                whole[index] = _around(labels[index], neighbours[index], whole, direction)
        families = [("product" if name in LAYERS else name, scope) for name, scope in labels]
        return [
            list(zip(above["all"], below["all"], shapes, strict=True)),
            _where(families, contents),
            _where(zip(above["all"], self.names, strict=True), self.names),
            _where(zip(below["all"], self.names, strict=True), self.names),
            *(list(zip(above[steps], below[steps], strict=True)) for steps in range(REACH, 0, -1)),
            _where(families, shapes),
            above["all"],
            below["all"],
        ]

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


def _read_ends(neighbours):
    """{an end of the model: the ops next to it}."""
    found = {}
    for index, near in enumerate(neighbours):
        for end in near:
            if isinstance(end, str):
                found.setdefault(end, []).append(index)
    return found


def _where(values, known):
    """The values with what is known beside them; None where nothing is."""
    return [None if what is None else (value, what) for value, what in zip(values, known, strict=True)]


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


def match(before, after):
    """The index in `after` of each op of `before` that is at the same place: {before: after}. Both are Wirings.

    Names only break ties, so a renamed graph matches whole and a name used again elsewhere misleads nobody.
    1. Ops with the same evidence, the surest first, are a pair: weights, surroundings near and far.
    2. What is left is matched where its neighbours are, as long as that finds any: first where all of them are, then
       where those on one side are and the way to the next matched ops leads on, then whatever operator stands there.
    """
    pairs = _Pairs(Surroundings(before), Surroundings(after))
    for one, two in zip(pairs.one.evidence, pairs.two.evidence, strict=True):
        _match_alike(pairs, one, two)
    same = [pairs.one.names[index] == pairs.two.names[other] for index, other in pairs.to.items()]
    pairs.ask_names = sum(same) > len(same) / 2
    while any(_match_between(pairs, fits) for fits in (_is_equal, _is_near, _can_replace)):
        pass
    return pairs.to


def _match_alike(pairs, here, there):
    """Pair the free ops of equal evidence where there are as many in both: those of one name, the rest in order."""
    groups = {}
    for side, (surroundings, values, taken) in enumerate(((pairs.one, here, pairs.to), (pairs.two, there, pairs.back))):
        for index in surroundings.wiring.order:
            if index not in taken and values[index] is not None:
                groups.setdefault(values[index], ([], []))[side].append(index)
    for ours, theirs in groups.values():
        if len(ours) == len(theirs):
            named = {pairs.two.names[other]: other for other in theirs}
            found = {index: named.pop(pairs.one.names[index], None) for index in ours}
            taken = set(found.values())
            rest = iter([other for other in theirs if other not in taken])
            pairs.add_all({index: next(rest) if other is None else other for index, other in found.items()})


class _Pairs:
    """Matched ops of two Surroundings, `to` and `back`."""

    def __init__(self, one, two):
        self.one, self.two = one, two
        self.to, self.back = {}, {}

    def add_all(self, pairs):
        self.to |= pairs
        self.back |= {other: index for index, other in pairs.items()}

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


def _is_near(pairs, index, other):
    """Whether one operator has the same next matched ops around it, above and below.

    A product's scaling can pass for the gate behind it, so what is no product itself must keep its name where others
    do.
    """
    one, two = pairs.one, pairs.two
    if one.cores[index] != two.cores[other]:
        return False
    if pairs.ask_names and one.cores[index] not in LAYERS and one.names[index] != two.names[other]:
        return False
    for here, there in ((one.above, two.above), (one.below, two.below)):
        ours = {pairs.to.get(neighbour, neighbour) for neighbour in _nearest(index, here, pairs.to)}
        if ours and not ours & _nearest(other, there, pairs.back):
            return False
    return True


def _nearest(index, neighbours, matched):
    """The first matched ops, or ends of the model, in one direction."""
    found, seen, waiting = set(), set(), list(neighbours[index])
    while waiting and len(seen) < FAR:
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
    """Match what `fits` among the free ops that lie next to what is matched; how many were found."""
    order = pairs.one.wiring.order
    found, free = 0, {}
    for index in (*order, *order[::-1]):
        if index in pairs.to or pairs.one.ops[index].kind == "boundary":
            continue
        still_free = (other for other in _candidates(pairs, index, free) if other not in pairs.back)
        for other in islice(still_free, FAR):
            if fits(pairs, index, other):
                pairs.add_all({index: other})
                found += 1
                break
    return found


def _candidates(pairs, index, free):
    """Free ops of the other graph between the partners of the next matched ops; `free` remembers them for each."""
    one, two = pairs.one, pairs.two
    for side, neighbours, back in (("below", one.above, two.below), ("above", one.below, two.above)):
        for neighbour in _nearest(index, neighbours, pairs.to):
            place = side, pairs.to.get(neighbour, neighbour)
            if place not in free:  # a tensor may have thousands of readers
                free[place] = _free(place[1], back, two.ends[side], pairs.back)
            yield from free[place]


def _free(start, neighbours, ends, matched):
    """Ops without a partner that follow `start`, an op or an end of the model, up to those with one."""
    found, waiting = {}, list(ends.get(start, ()) if isinstance(start, str) else neighbours[start])
    for other in waiting:
        if isinstance(other, int) and other not in matched and other not in found:
            found[other] = True
            waiting += neighbours[other] if len(found) < FAR else []
    return list(found)


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
