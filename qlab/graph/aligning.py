"""Align two graphs as two texts are aligned: the heaviest pairs that do not cross."""

import numpy as np

UP, LEFT, TAKE = 0, 1, 2  # steps of an alignment


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
