"""A whole model in few boxes: repeated blocks once, then nodes put together until it fits, never in a circle.

groups   lists of ops; sources, for each op, the ops that it reads; looks, for each op, what must be equal in a group
"""

import heapq
import math
from itertools import count, pairwise

from qlab.graph.operators import LAYERS, REARRANGING, core
from qlab.graph.repeats import find_repeats
from qlab.graph.view import STRONGEST, Box, Frame, View, flow, flow_of, mixed, with_inner_folded
from qlab.graph.wiring import ModelInput, depth_first

FEWEST_TWINS = 3
MOST = 600  # groups that are then joined pair by pair
MOST_ENDS = 6  # boxes for inputs, and as many for outputs
OUTSIDE = -1
ROOM_OF_FRAME = 6  # boxes that a repeated block should have

# What it costs to join two groups, beside their size:
BRANCH = 0.5  # one of them has other neighbours, too
TWIN = 1.0  # they lie side by side, with the same operators
BESIDE = 4.0  # they lie side by side, with different operators
PRODUCT = 1.5  # a product follows: better that it begins a box
APART = 3.0  # only one of them computes on integers
BORDER = 2.0  # a Q or DQ joins the side that it does not belong to
SHAPES = 3.0  # shapes join numbers
BODY = 8.0  # one is in a body of an If, Loop or Scan, the other is not
LIKE_SHAPES = -4.0  # shapes join shapes


def wired(groups, sources):
    """{first op of a group: the first ops of those that it reads, and of those that read it}."""
    home = {op: group[0] for group in groups for op in group}
    above = {group[0]: {home[source] for op in group for source in sources[op]} - {group[0]} for group in groups}
    below = {group[0]: set() for group in groups}
    for one, read in above.items():
        for source in read:
            below[source].add(one)
    return above, below


def twins(groups, sources, zones, wiring):
    """Nodes that have the same operator, sources and readers, put together."""
    above, below = wired(groups, sources)
    twins = {}
    for (op,) in groups:
        around = frozenset(above[op]), frozenset(below[op])
        twins.setdefault((wiring.ops[op].op_type, zones[op], *around), []).append(op)
    return [group for ops in twins.values() for group in ([ops] if len(ops) >= FEWEST_TWINS else [[op] for op in ops])]


def chains(groups, sources, looks):
    """Groups of one look that only each other read and feed, put together."""
    above, below = wired(groups, sources)
    chains = {}
    for group in in_order(groups, above):
        one, read = group[0], list(above[group[0]])
        chain = chains.get(read[0]) if len(read) == 1 and len(below[read[0]]) == 1 else None
        if chain and looks[chain[0]] == looks[one]:
            chain += group
        else:
            chain = list(group)
        chains[one] = chain
    return list({chain[0]: chain for chain in chains.values()}.values())


def neighbours(groups, sources, looks):
    """Groups that follow each other in the order and are of one look, put together until about MOST are left."""
    size, parts = 2 * sum(map(len, groups)) // MOST, []
    for group in in_order(groups, wired(groups, sources)[0]):
        if parts and len(parts[-1]) + len(group) <= size and looks[parts[-1][0]] == looks[group[0]]:
            parts[-1] += group
        else:
            parts.append(list(group))
    return parts


def in_order(groups, above):
    """The groups, each after all that it reads."""
    by_first = {group[0]: group for group in groups}
    return [by_first[one] for one in depth_first(by_first, {one: sorted(read) for one, read in above.items()})]


def contract(ops, sources, zones, wiring, limit):
    """Groups of `ops`, at most `limit` (or one a zone, if those are more), each after its sources.

    ops      each after those that it reads
    sources  for each op, the ops that it reads
    zones    for each op, its zone; only nodes of one zone are put together

    1. Equal nodes with the same sources and readers become one. 2. Where more than MOST are left, chains of nodes that
    compute alike become one, then neighbours in the order: what follows takes time by the square. 3. Then the cheapest
    pair is joined: shapes and indices with their like, chains of nodes that compute alike, small groups before large.
    What computes on integers stays apart from what computes on floats as long as it can: that is what the picture is
    for.
    """
    groups = twins([[op] for op in ops], sources, zones, wiring) if len(ops) > limit else [[op] for op in ops]
    looks = {op: (zones[op], wiring.ops[op].scope, wiring.ops[op].kind) for op in ops}
    for join, look in ((chains, looks), (neighbours, looks), (neighbours, zones)):
        if len(groups) > MOST:
            groups = join(groups, sources, look)
    work = _Work(ops, groups, sources, zones, wiring)
    while len(work.members) > limit and (work.join_cheapest() or work.join_neighbours()):
        pass
    return work.groups()


class _Work:
    def __init__(self, ops, groups, sources, zones, wiring):
        self.wiring, self.zones = wiring, zones
        self.rank = {op: number for number, op in enumerate(ops)}
        self.above, self.below = wired(groups, sources)
        ordered = in_order(groups, self.above)
        self.members = {group[0]: list(group) for group in ordered}
        self.bits = {one: 1 << number for number, one in enumerate(self.members)}
        self.reach = {}  # the groups, as bits, that a group leads to
        for one in reversed(self.members):
            self.reach[one] = 0
            for reader in self.below[one]:
                self.reach[one] |= self.reach[reader] | self.bits[reader]
        inside = {one: [wiring.ops[op] for op in group] for one, group in self.members.items()}
        self.kinds = {one: _kind({op.kind for op in group}) for one, group in inside.items()}
        self.weight = {one: sum(map(_weight, group)) for one, group in inside.items()}
        self.scopes = {one: group[0].scope for one, group in inside.items()}
        self.operators = {one: {op.op_type for op in group} for one, group in inside.items()}
        self.has_product = {one: any(core(op.op_type) in LAYERS for op in group) for one, group in inside.items()}
        self.heap, self.ticket = [], count()
        for one in sorted(self.members, key=self.rank.get):
            self._offer(one)

    def join_cheapest(self):
        """Join the pair that costs least; False if no pair is left that may be joined."""
        while self.heap:
            cost, _, one, two = heapq.heappop(self.heap)
            if one not in self.members or two not in self.members or not self._may_join(one, two):
                continue
            now = self._cost(one, two)
            if now > cost:  # one of them has grown since
                heapq.heappush(self.heap, (now, next(self.ticket), one, two))
                continue
            self._join(one, two)
            return True
        return False

    def join_neighbours(self):
        """Join two groups that follow each other, whatever they are; False if each zone is one group."""
        order = self._sorted()
        pairs = [(one, two) for one, two in pairwise(order) if self.zones[one] == self.zones[two]]
        if not pairs:
            return False
        self._join(*min(pairs, key=lambda pair: self.weight[pair[0]] + self.weight[pair[1]]))
        return True

    def groups(self):
        return [sorted(self.members[one], key=self.rank.get) for one in self._sorted()]

    def _sorted(self):
        """Groups, each after its sources; among those that are free, the one whose first op comes first."""
        waiting = {one: len(self.above[one]) for one in self.members}
        first = {one: min(self.rank[op] for op in members) for one, members in self.members.items()}
        free = [(self.zones[one], first[one], one) for one, number in waiting.items() if not number]
        heapq.heapify(free)
        order = []
        while free:
            *_, one = heapq.heappop(free)
            order.append(one)
            for reader in self.below[one]:
                waiting[reader] -= 1
                if not waiting[reader]:
                    heapq.heappush(free, (self.zones[reader], first[reader], reader))
        return order

    def _offer(self, one):
        """Put the pairs that `one` could be joined with on the heap."""
        near = {(one, reader) for reader in self.below[one]} | {(source, one) for source in self.above[one]}
        for beside in [*(self.below[source] for source in self.above[one]), *(self.above[r] for r in self.below[one])]:
            for first, second in pairwise(sorted(beside, key=self.rank.get)):
                if one in (first, second):
                    near.add((first, second))
        for first, second in sorted(near, key=lambda pair: (self.rank[pair[0]], self.rank[pair[1]])):
            if self.zones[first] == self.zones[second]:
                heapq.heappush(self.heap, (self._cost(first, second), next(self.ticket), first, second))

    def _may_join(self, one, two):
        """Whether no third group lies on a way from one to the other."""
        if two in self.below[one]:
            return not any(self.reach[r] & self.bits[two] for r in self.below[one] if r != two)
        if one in self.below[two]:
            return False
        return not (self.reach[one] & self.bits[two] or self.reach[two] & self.bits[one])

    def _cost(self, one, two):
        ours, theirs = self.kinds[one], self.kinds[two]
        cost = math.log2(self.weight[one] + self.weight[two])
        if self.scopes[one] != self.scopes[two]:
            cost += BODY
        if ours == theirs == "other":
            return cost + LIKE_SHAPES
        if two not in self.below[one]:
            cost += TWIN if self.operators[one] == self.operators[two] else BESIDE
        elif len(self.below[one]) > 1 or len(self.above[two]) > 1:
            cost += BRANCH
        if self.has_product[two]:
            cost += PRODUCT
        if "boundary" in (ours, theirs):
            cost += 0 if self._belongs(one, two) else BORDER
        elif ours != theirs:
            cost += SHAPES if "other" in (ours, theirs) else APART
        return cost

    def _belongs(self, one, two):
        """Whether a Q ends what is above it, or a DQ or dynamic Q begins what is below it."""
        first, last = self.wiring.ops[self.members[two][0]], self.wiring.ops[self.members[one][-1]]
        if self.kinds[two] == "boundary":
            return first.op_type == "QuantizeLinear" and self.kinds[one] != "boundary"
        return last.op_type in ("DequantizeLinear", "DynamicQuantizeLinear")

    def _join(self, one, two):
        self.members[one] += self.members.pop(two)
        self.weight[one] += self.weight.pop(two)
        self.bits[one] |= self.bits.pop(two)
        self.kinds[one] = _kind({self.kinds[one], self.kinds.pop(two)})
        self.operators[one] |= self.operators.pop(two)
        self.has_product[one] |= self.has_product.pop(two)
        for near, back in ((self.above, self.below), (self.below, self.above)):
            moved = near.pop(two)
            for neighbour in moved:
                back[neighbour].discard(two)
                if neighbour != one:
                    back[neighbour].add(one)
            near[one] = (near[one] | moved) - {one, two}
        self.reach[one] = (self.reach[one] | self.reach.pop(two)) & ~self.bits[one]
        whole = self.reach[one] | self.bits[one]
        for other in self.members:
            if self.reach[other] & self.bits[one] and other != one:
                self.reach[other] |= whole
        self._offer(one)


def _kind(kinds):
    """What a group is whose nodes, or parts, are of these kinds."""
    if kinds >= {"integer", "float"} or "mixed" in kinds:
        return "mixed"
    return min(kinds, key=STRONGEST.index)


def _weight(op):
    """How much a node adds to its box's size: products are what the network is made of, moves are not."""
    name = core(op.op_type)
    return 4 if name in LAYERS else 0.5 if name in REARRANGING or op.kind == "boundary" else 1


class Folding:
    """A model's repeated blocks, found once; `view` then folds it to any number of boxes, an inner If to one."""

    def __init__(self, wiring):
        self.wiring = wiring = with_inner_folded(wiring)
        inner = {part for index, op in enumerate(wiring.ops) for part in range(index - op.folded, index)}
        self.shown = [op for op in visible(wiring) if op not in inner]
        self.repeats = _repeats(wiring, self.shown)

    def view(self, limit):
        """The View of all of the model in at most `limit` boxes, the inputs' and outputs' included."""
        inputs, outputs = _ends(self.wiring, set(self.shown), limit)
        room = max(1, limit - len(inputs) - len(outputs))
        repeats = [] if len(self.shown) <= room else self.repeats[: room // ROOM_OF_FRAME]
        blocks = _Blocks(self.wiring, self.shown, repeats)
        groups = contract(blocks.order, blocks.sources, blocks.zones, self.wiring, room)
        view = View(self.wiring, [blocks.box(group) for group in groups], {}, blocks.frames())
        home = {op: number for number, box in enumerate(view.boxes) for copy in box.copies for op in copy}
        _connect(view, home, blocks)
        _add_ends(view, home, "input", inputs)
        _add_ends(view, home, "output", outputs)
        return view


def visible(wiring):
    """Ops that get boxes, in order: not constants, nor what only prepares them, as a weight's DequantizeLinear does."""
    varying = [op for op in wiring.order if not wiring.constant[op]]
    return varying or [op for op in wiring.order if wiring.ops[op].op_type != "Constant"] or list(wiring.order)


def _ends(wiring, shown, limit):
    """The model's inputs and outputs that lead somewhere, as [(names, ops that read or make them)], few each."""
    readers = {}
    for op in sorted(shown):
        for source in wiring.ops[op].sources:
            if isinstance(source, ModelInput) and not source.scope:
                readers.setdefault(source.name, []).append(op)
    inputs = [([name], ops) for name, ops in readers.items()]
    ends = zip(wiring.output_names, wiring.outputs, strict=True)
    outputs = [([name], [source]) for name, source in ends if isinstance(source, int) and source in shown]
    most = min(MOST_ENDS, limit // 3)
    return _grouped(inputs, most), _grouped(outputs, most)


def _grouped(ends, most):
    if len(ends) <= most or not most:
        return ends[:most]
    return [([name for names, _ in ends for name in names], [op for _, ops in ends for op in ops])]


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
        self.zones = self._zones()
        order = depth_first(list(self.sources), self.sources)
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

    def _zones(self):
        inside = {op: 2 * number + 1 for number, repeat in enumerate(self.repeats) for op in repeat.blocks[0]}
        zones = {op: inside.get(op, 2 * len(self.repeats)) for op in self.sources}
        for op in reversed(depth_first(list(self.sources), self.sources)):
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


def _connect(view, home, blocks):
    flows = {}
    for op, number in home.items():
        for source in view.wiring.ops[op].producers:
            if home.get(source, number) != number and not blocks.is_inner(source, op):
                flows.setdefault((home[source], number), set()).add(flow(view.wiring, source, op))
    view.edges = {pair: mixed(what) for pair, what in flows.items()}


def _add_ends(view, home, role, ends):
    """Boxes for the model's inputs above the first box that reads them, for its outputs below all."""
    for names, ops in ends:
        touched = sorted({home[op] for op in ops})
        zone = min(view.boxes[number].zone for number in touched) if role == "input" else 2 * len(view.frames)
        view.boxes.append(Box(ends=names, role=role, zone=zone - zone % 2))
        last = len(view.boxes) - 1
        what = mixed({flow_of(view.wiring, name) for name in names})
        for number in touched:
            view.edges[(last, number) if role == "input" else (number, last)] = what
