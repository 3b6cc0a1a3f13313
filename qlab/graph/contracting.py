"""Put nodes together until few enough are left, without ever making a circle."""

import heapq
import math
from itertools import count, pairwise

from qlab.graph.gathering import MOST, chains, in_order, neighbours, twins, wired
from qlab.graph.operators import LAYERS, REARRANGING, core
from qlab.graph.view import STRONGEST

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
    groups = [[op] for op in ops]
    if len(ops) > limit:
        groups = twins(groups, sources, zones, wiring)
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
            self.reach[one] = self._reached(one)
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

    def _reached(self, one):
        reach = 0
        for reader in self.below[one]:
            reach |= self.reach[reader] | self.bits[reader]
        return reach

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
        for ours, theirs, back in ((self.above, self.above, self.below), (self.below, self.below, self.above)):
            moved = theirs.pop(two)
            for neighbour in moved:
                back[neighbour].discard(two)
                if neighbour != one:
                    back[neighbour].add(one)
            ours[one] = (ours[one] | moved) - {one, two}
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
