"""Find the blocks that a network repeats: the twelve layers of an encoder are one picture, not twelve."""

from dataclasses import dataclass

import numpy as np

SMALLEST = 2  # nodes of a block: equal nodes in a row need no frame
LEAST_SAVED = 8  # nodes that a frame must spare
MOST = 4  # frames in one picture
MOST_EDGES = 1_000_000  # looked at in search of a repeat
CHOICES = 2_000_000  # nodes looked at to find the best of several cuts


@dataclass(frozen=True)
class Repeat:
    """A block of nodes that comes several times in a row, the last one reading the one before.

    blocks  lists of ops, one for each time; ops at the same position of two blocks correspond
    """

    blocks: list[list[int]]


def find_repeats(order, labels, producers):
    """The Repeats in a graph whose ops stand in `order`, each after its producers; the longest first.

    labels     for each op, what must be equal for two ops to correspond
    producers  for each op, the ops that it reads
    The frames keep the order: all that a block reads from outside can be drawn before the first one.
    """
    found, stretches = [], [list(order)]
    while stretches and len(found) < MOST:
        stretch = stretches.pop(0)
        repeat, before, after = _longest(stretch, labels, producers)
        if repeat is None:
            continue
        found.append(repeat)
        stretches += [before, after]
        stretches.sort(key=len, reverse=True)
    return found


def _longest(stretch, labels, producers):
    """The Repeat that spares the most nodes, and what stands before it and after it; None if there is none.

    Of thousands of runs, which a stretch of few operators has, only the first are looked at.
    """
    known = {}
    kinds = np.array([known.setdefault((labels[op], len(producers[op])), len(known)) for op in stretch])
    changes = np.concatenate([[0], np.cumsum(kinds[1:] != kinds[:-1])])
    edges, looked_at = np.concatenate([[0], np.cumsum([len(producers[op]) for op in stretch])]), 0
    for period, start, length in _runs(np.array([labels[op] for op in stretch])):
        if changes[start] == changes[start + length + period - 1]:  # one and the same node again and again
            continue
        if looked_at > MOST_EDGES:
            break
        looked_at += length + edges[start + length] - edges[start]
        start, length = _equally_wired(stretch, producers, period, start, length)
        if len({(labels[op], len(producers[op])) for op in stretch[start : start + period]}) < SMALLEST:
            continue
        saved = (length // period) * period
        if length >= period and saved >= LEAST_SAVED and _is_chain(stretch, producers, period, start):
            return _cut(stretch, labels, producers, period, start, length)
    return None, [], []


def _runs(codes):
    """(period, start, length) of all places where codes[i] == codes[i + period] for `length` i; most spared first."""
    runs = []
    for period in range(SMALLEST, len(codes) // 2 + 1):
        equal = np.concatenate([[False], codes[:-period] == codes[period:], [False]])
        starts, ends = np.flatnonzero(equal[1:] != equal[:-1]).reshape(-1, 2).T
        long = ends - starts >= period
        runs += [(period, int(start), int(end - start)) for start, end in zip(starts[long], ends[long], strict=True)]
    return sorted(runs, key=lambda run: (-(run[2] // run[0]) * run[0], run[0]))


def _is_chain(stretch, producers, period, start):
    """Whether the second block reads the first; what lies side by side is no repetition."""
    first = set(stretch[start : start + period])
    return any(first.intersection(producers[op]) for op in stretch[start + period : start + 2 * period])


def _equally_wired(stretch, producers, period, start, length):
    """The longest part of a run in which an op's sources correspond to those of the op a period later."""
    position = {op: index for index, op in enumerate(stretch)}
    best, begin = (start, 0), start
    for index in range(start, start + length + 1):
        if index == start + length or not _corresponds(stretch, index, position, producers, period, start):
            best = max(best, (begin, index - begin), key=lambda part: part[1])
            begin = index + 1
    return best


def _corresponds(stretch, index, position, producers, period, start):
    ours, theirs = producers[stretch[index]], producers[stretch[index + period]]
    if len(ours) != len(theirs):
        return False
    for one, two in zip(ours, theirs, strict=True):
        here, there = position.get(one, -1), position.get(two, -1)
        shared = one == two
        follows = there - here == period
        outside = index - here > period and index + period - there > period  # a skip connection of a U-Net
        entry = here < start <= there  # the first block reads what stands before it, the second the first block
        if not (shared or follows or outside or entry):
            return False
    return True


def _cut(stretch, labels, producers, period, start, length):
    """Choose where the blocks begin: where the least crosses from one to the next, then where most blocks are whole."""
    last = start + length + period
    firsts = range(start, min(start + period, last - 2 * period) + 1)
    reach = _last_readers(stretch, producers)
    crossing = [int((reach[first : first + period] >= first + period).sum()) for first in firsts]
    choices, least = [], min(crossing)
    cuts = [first for first, number in zip(firsts, crossing, strict=True) if number == least]
    for first in cuts[: max(1, CHOICES // len(stretch))]:
        count = (last - first) // period
        blocks = [stretch[first + period * number : first + period * (number + 1)] for number in range(count)]
        earlier, rest = _one_earlier(stretch[:first], blocks, labels, producers)
        choices.append((-count - (earlier is not None), first, blocks, earlier, rest))
    _, first, blocks, earlier, rest = min(choices, key=lambda choice: choice[:2])
    return Repeat([*([earlier] if earlier else []), *blocks]), rest, stretch[first + period * len(blocks) :]


def _last_readers(stretch, producers):
    """For each position, that of the last op that reads it; -1 if none does."""
    position = {op: index for index, op in enumerate(stretch)}
    reach = np.full(len(stretch), -1)
    for index, op in enumerate(stretch):
        for source in producers[op]:
            if source in position:
                reach[position[source]] = index
    return reach


def _one_earlier(before, blocks, labels, producers):
    """One more block before the first, between whose ops may stand what all blocks share, such as the mask.

    It is followed from what the first block reads, as the second reads the first. Returns its ops and what else stood
    before; (None, before) if there is no such block.
    """
    first, second = blocks[:2]
    offsets, wanted, known = {op: offset for offset, op in enumerate(first)}, {}, set(before)
    pairs = list(zip(second, first, strict=True))
    while pairs:
        later, op = pairs.pop()
        for source, earlier in zip(producers[later], producers[op], strict=True):
            if source not in offsets or offsets[source] in wanted:
                continue
            if earlier not in known or labels[earlier] != labels[source]:
                return None, before
            if len(producers[earlier]) != len(producers[source]):
                return None, before
            wanted[offsets[source]] = earlier
            pairs.append((source, earlier))
    block = set(wanted.values())
    rest, late = [op for op in before if op not in block], set(block)
    for op in rest:
        if late.intersection(producers[op]):
            late.add(op)
    if len(block) != len(first) or len(late) > len(block):
        return None, before
    return [wanted[offset] for offset in range(len(first))], rest
