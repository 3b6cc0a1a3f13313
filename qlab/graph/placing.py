"""Give the boxes of a layered picture their places, in pixels: as straight below each other as they can be."""

from qlab.graph.layering import LANE, gap

ROUNDS = 24
FIRM = 50  # how much less than a lane a box gives way
STRENGTH = (2, 1, 8)  # of a line between two boxes, a box and a lane, two lanes


def place(layers, sizes, room, headroom, down):
    """The middle of every box and lane, {key: x}, and where each layer begins and ends, [(top, bottom)].

    sizes     (width, height) for each box
    room      width that the picture has
    headroom  pixels to leave free above each layer
    down      pixels between two layers
    """
    bands, y = [], 0.0
    for row, above in zip(layers.rows, headroom, strict=True):
        y += above
        height = max((sizes[key][1] for key in row if isinstance(key, int)), default=0.0)
        bands.append((y, y + height))
        y += height + down
    return _columns(layers, sizes, room), bands


def _columns(layers, sizes, room):
    above, below = layers.neighbours()
    half = {key: (sizes[key][0] if isinstance(key, int) else LANE) / 2 for row in layers.rows for key in row}
    x = {}
    for row in layers.rows:
        x |= _settle(row, dict.fromkeys(row, 0.0), half)
    for turn in range(ROUNDS):
        rows = layers.rows if turn % 2 == 0 else layers.rows[::-1]
        sides = above if turn % 2 == 0 else below
        for row in rows:
            both = turn >= ROUNDS - 4
            wanted = {key: _pull(key, _towards(key, above, below) if both else sides[key], x) for key in row}
            x |= _settle(row, wanted, half)
    left = min(x[key] - half[key] for key in x)
    right = max(x[key] + half[key] for key in x)
    x = {key: place + (room - left - right) / 2 for key, place in x.items()}
    for row in layers.rows:
        x |= _settle(row, {key: x[key] for key in row}, half, room)
    return x


def _towards(key, above, below):
    """What draws a box in the end: all its neighbours. A lane goes on straight, and bends once, where it ends."""
    if isinstance(key, int):
        return above[key] + below[key]
    return above[key]


def _pull(key, neighbours, x):
    """Where the lines to its neighbours draw a box: the weighted median keeps chains and long lines straight."""
    if not neighbours:
        return x[key]
    pulls = sorted((x[other], STRENGTH[isinstance(key, tuple) + isinstance(other, tuple)]) for other in neighbours)
    half, passed = sum(strength for _, strength in pulls) / 2, 0
    for number, (place, strength) in enumerate(pulls):
        passed += strength
        if passed == half:
            return (place + pulls[number + 1][0]) / 2
        if passed > half:
            return place
    return x[key]


def _settle(row, wanted, half, room=None):
    """Places next to the wanted ones, in least squares, that keep the order, the gaps and, given `room`, the edges."""
    offsets, width = {}, 0.0
    for index, key in enumerate(row):
        if index:
            width += half[row[index - 1]] + half[key] + gap(row[index - 1], key)
        offsets[key] = width
    blocks = []  # [weight * start, weight, how many]: those that touch move as one
    for key in row:
        weight = FIRM if isinstance(key, int) else 1
        blocks.append([weight * (wanted[key] - offsets[key]), weight, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [one + two for one, two in zip(blocks[-1], last, strict=True)]
    starts = [total / weight for total, weight, number in blocks for _ in range(number)]
    if room is not None:
        low = half[row[0]]
        starts = [min(max(start, low), max(low, room - half[row[-1]] - width)) for start in starts]
    return {key: start + offsets[key] for key, start in zip(row, starts, strict=True)}
