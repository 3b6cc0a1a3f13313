"""A whole model in few boxes: repeated blocks once, then nodes that follow each other put together until it fits."""

import math
from dataclasses import dataclass
from itertools import chain, pairwise

from qlab.graph.operators import LAYERS, core
from qlab.graph.repeats import find_repeats
from qlab.graph.view import Box, Frame, ends_of, view_of, with_inner_folded
from qlab.graph.wiring import ModelInput, depth_first

FEWEST_TWINS = 3
BEGINNING, ENDING = ("DequantizeLinear", "DynamicQuantizeLinear"), ("QuantizeLinear", "Cast")  # of a box
OUTSIDE = -1
ROOM_OF_FRAME = 6  # boxes that a repeated block should have
PART = 8  # of the nodes too many, which part is put together before all is weighed anew

# What it costs to put two neighbours together, beside their size:
BESIDE = 6.0  # neither reads the other
SEAM = 1.5  # better that a box begins with a DQ or a product, and ends with a Q or Cast
APART = 3.0  # integers with floats, shapes with either, nodes in a body of an If or Loop with others
SHAPES = -4.0  # shapes with shapes


@dataclass
class Group:
    """Ops that share a box, each after those it reads; first and last are the operators it begins and ends with."""

    ops: list[int]
    reads: set[int]
    looks: tuple  # scope, and where it computes, Q and DQ left out: only equal ones belong together
    weight: float
    first: str
    last: str

    def __add__(self, other):
        scope = self.looks[0] if self.looks[0] == other.looks[0] else None
        looks = scope, self.looks[1] | other.looks[1]
        weight = self.weight + other.weight
        return Group(self.ops + other.ops, self.reads | other.reads, looks, weight, self.first, other.last)

    def cost(self, other):
        """Of putting `other`, which follows, into the same box."""
        cost = math.log2(self.weight + other.weight)
        (scope, kinds), (its_scope, its_kinds) = self.looks, other.looks
        if scope != its_scope or len(kinds | its_kinds) > 1:
            cost += APART
        elif kinds == {"other"}:
            return cost + SHAPES
        if other.reads.isdisjoint(self.ops):
            cost += BESIDE
        begins = other.first in BEGINNING or (core(other.first) in LAYERS and self.last not in BEGINNING)
        return cost + (SEAM if begins or self.last in ENDING else 0.0)


def group_of(ops, sources, wiring):
    """The Group of one op, or of several that are alike."""
    op = wiring.ops[ops[0]]
    kinds = frozenset({op.kind} - {"boundary"})
    weight = 4.0 if core(op.op_type) in LAYERS else 1.0  # products are what a network is made of
    return Group(list(ops), set(sources[ops[0]]), (op.scope, kinds), weight * len(ops), op.op_type, op.op_type)


def contract(ops, sources, zones, wiring, limit):
    """Lists of `ops`, at most `limit` (or one a zone, if those are more), each after its sources.

    ops      each after those that it reads, by zone
    sources  for each op, the ops that it reads
    zones    for each op, its zone; only nodes of one zone are put together

    Equal nodes with the same sources and readers become one. Then neighbours in the order do, the cheapest first: what
    stands side by side in such an order never reads each other in a circle.
    """
    twins = _twins(ops, sources, zones, wiring) if len(ops) > limit else [[op] for op in ops]
    groups = [group_of(ops, sources, wiring) for ops in twins]
    while len(groups) > limit:
        pairs = [
            (one.cost(two), number)
            for number, (one, two) in enumerate(pairwise(groups))
            if zones[one.ops[0]] == zones[two.ops[0]]
        ]
        joined = set()
        for _, number in sorted(pairs)[: max(1, (len(groups) - limit) // PART)]:
            if number - 1 not in joined and number + 1 not in joined:
                joined.add(number)
        if not joined:
            break
        groups = [
            group + groups[number + 1] if number in joined else group
            for number, group in enumerate(groups)
            if number - 1 not in joined
        ]
    return [group.ops for group in groups]


def _twins(ops, sources, zones, wiring):
    """Lists of ops that have the same operator, sources and readers; of integer ones the readers may differ.

    Each at the place of its first op: what reads the same stands nowhere on a way from one to another.
    """
    readers = {op: [] for op in ops}
    for op in ops:
        for source in sources[op]:
            readers[source].append(op)
    twins = {}
    for op in ops:
        look = wiring.ops[op].op_type, zones[op], frozenset(sources[op])
        twins.setdefault((*look, wiring.ops[op].kind == "integer" or frozenset(readers[op])), []).append(op)
    lists = ([same] if len(same) >= FEWEST_TWINS else [[op] for op in same] for same in twins.values())
    place = {op: number for number, op in enumerate(ops)}
    return sorted(chain(*lists), key=lambda same: place[same[0]])


class Folding:
    """A model's repeated blocks, found once; `view` then folds it to any number of boxes, an inner If to one."""

    def __init__(self, wiring):
        self.wiring = wiring = with_inner_folded(wiring)
        inner = {part for index, op in enumerate(wiring.ops) for part in range(index - op.folded, index)}
        self.shown = [op for op in visible(wiring) if op not in inner]
        self.repeats = _repeats(wiring, self.shown)

    def view(self, limit):
        """The View of all of the model in at most `limit` boxes, the inputs' and outputs' included."""
        ends = ends_of(self.wiring, set(self.shown), limit // 3)
        room = max(1, limit - len(ends))
        repeats = [] if len(self.shown) <= room else self.repeats[: room // ROOM_OF_FRAME]
        blocks = _Blocks(self.wiring, self.shown, repeats)
        groups = contract(blocks.order, blocks.sources, blocks.zones, self.wiring, room)
        boxes = [blocks.box(group) for group in groups]
        return view_of(self.wiring, boxes, ends, blocks.frames(), blocks.is_inner)


def visible(wiring):
    """Ops that get boxes, in order: not constants, nor what only prepares them, as a weight's DequantizeLinear does."""
    varying = [op for op in wiring.order if not wiring.constant[op]]
    return varying or [op for op in wiring.order if wiring.ops[op].op_type != "Constant"] or list(wiring.order)


def _repeats(wiring, shown):
    inside, known = set(shown), {}
    producers = [list(dict.fromkeys(_read(op, inside))) for op in wiring.ops]
    contents = [tuple(part.op_type for part in wiring.ops[at - op.folded : at]) for at, op in enumerate(wiring.ops)]
    looks = ((op.domain, op.op_type, op.scope, parts) for op, parts in zip(wiring.ops, contents, strict=True))
    labels = [known.setdefault(look, len(known)) for look in looks]
    return find_repeats(shown, labels, producers)


def _read(op, inside):
    """What an op reads, a model's input too: the first block may read one where the others read the block before."""
    for source in op.sources:
        if isinstance(source, ModelInput):
            yield OUTSIDE
        elif isinstance(source, int) and source in inside:
            yield source


class _Blocks:
    """What is drawn once the repeated blocks are drawn once.

    sources  for each op that is drawn, the ops that it reads; what a block reads of the block before is left out
    zones    1, 3, 5 for the repeated blocks; 0, 2, 4 for what lies before, between and behind them, as late as it can
    order    the ops by zone, each after its sources
    """

    def __init__(self, wiring, shown, repeats):
        place = {op: number for number, op in enumerate(shown)}
        self.wiring = wiring
        self.repeats = sorted(repeats, key=lambda repeat: place[repeat.blocks[0][0]])
        self.stands_for, self.block = {}, {}
        for number, repeat in enumerate(self.repeats):
            for time, block in enumerate(repeat.blocks):
                for first, op in zip(repeat.blocks[0], block, strict=True):
                    self.stands_for[op], self.block[op] = first, (number, time)
        self.sources = self._sources(shown, place)
        shapes_first = sorted(self.sources, key=lambda op: wiring.ops[op].kind != "other")
        order = depth_first(shapes_first, self.sources)
        self.zones = self._zones(order)
        self.order = sorted(order, key=self.zones.get)

    def is_inner(self, source, op):
        """Whether an edge leads from one block to the next of its kind."""
        here, there = self.block.get(op), self.block.get(source)
        return here is not None and there is not None and here[0] == there[0] and here[1] != there[1]

    def box(self, group):
        """The Box of a group of ops of one zone."""
        zone = self.zones[group[0]]
        if zone % 2 == 0:
            return Box(group, [group], zone=zone)
        blocks = self.repeats[zone // 2].blocks
        place = {op: number for number, op in enumerate(blocks[0])}
        return Box(group, [[block[place[op]] for op in group] for block in blocks], zone=zone)

    def frames(self):
        """A Frame for each repeated block."""
        blocks = [repeat.blocks for repeat in self.repeats]
        return [Frame(len(each), _size(self.wiring, each[0]), 2 * at + 1) for at, each in enumerate(blocks)]

    def _sources(self, shown, inside):
        sources = {self.stands_for.get(op, op): {} for op in shown}
        for op in shown:
            for source in self.wiring.ops[op].producers:
                if source in inside and not self.is_inner(source, op):
                    sources[self.stands_for.get(op, op)][self.stands_for.get(source, source)] = True
        return {op: list(read) for op, read in sources.items()}

    def _zones(self, order):
        inside = {op: 2 * number + 1 for number, repeat in enumerate(self.repeats) for op in repeat.blocks[0]}
        zones = {op: inside.get(op, 2 * len(self.repeats)) for op in order}
        for op in reversed(order):
            for source in self.sources[op]:
                if source not in inside:
                    zones[source] = min(zones[source], zones[op] - zones[op] % 2)
        return zones


def _size(wiring, block):
    """Nodes in a block, with those that only prepare its constants."""
    found, waiting = set(block), list(block)
    while waiting:
        for source in wiring.ops[waiting.pop()].producers:
            if wiring.constant[source] and source not in found:
                found.add(source)
                waiting.append(source)
    return len(found)
