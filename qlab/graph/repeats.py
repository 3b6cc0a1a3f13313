"""Find the blocks that a network repeats: the twelve layers of an encoder are one picture, not twelve."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain

import numpy as np

from qlab.graph.wiring import depth_first

SMALLEST = 2  # nodes of a block: equal nodes in a row need no frame
LEAST_SAVED = 8  # nodes that a frame must spare
MOST = 4  # frames in one picture
MOST_EDGES = 1_000_000  # looked at in search of a repeat


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
    found = _in_order(order, labels, producers)
    shared = _shared(found, set(order), producers)  # such as a mask, which stands between the ops of the first block
    if not shared:
        return found
    return _in_order([op for op in order if op in shared] + [op for op in order if op not in shared], labels, producers)


def _shared(repeats, inside, producers):
    """What several blocks of a repeat read, and all that it reads."""
    shared = set()
    for repeat in repeats:
        times = Counter(read for block in repeat.blocks for read in {one for op in block for one in producers[op]})
        shared |= {op for op, number in times.items() if number > 1 and op in inside} - set(chain(*repeat.blocks))
    return set(depth_first(sorted(shared), [[one for one in read if one in inside] for read in producers]))


def _in_order(order, labels, producers):
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
            return _cut(stretch, producers, period, start, length)
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


def _cut(stretch, producers, period, start, length):
    """Choose where the blocks begin: where the least crosses from one to the next, then where most blocks are whole."""
    last = start + length + period
    reach = _last_readers(stretch, producers)

    def disadvantage(first):
        return int((reach[first : first + period] >= first + period).sum()), -((last - first) // period)

    begin = min(range(start, min(start + period, last - 2 * period) + 1), key=disadvantage)
    end = last - (last - begin) % period
    blocks = [stretch[first : first + period] for first in range(begin, end, period)]
    return Repeat(blocks), stretch[:begin], stretch[end:]


def _last_readers(stretch, producers):
    """For each position, that of the last op that reads it; -1 if none does."""
    position = {op: index for index, op in enumerate(stretch)}
    reach = np.full(len(stretch), -1)
    for index, op in enumerate(stretch):
        for source in producers[op]:
            if source in position:
                reach[position[source]] = index
    return reach
