"""Find, for the nodes of one graph, those at the same places in another."""

from qlab.graph.aligning import align
from qlab.graph.operators import LAYERS, REARRANGING
from qlab.graph.surroundings import Surroundings


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
