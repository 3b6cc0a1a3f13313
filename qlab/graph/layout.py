"""Turn a View into places on a page, in pixels: boxes in layers, few crossings, lines as straight as they can be.

Source: Sugiyama et al. 1981.
"""

from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from qlab.graph.labels import Text, text_of
from qlab.graph.view import Box, View

PAGE = 800.0  # pixels
MARGIN = 14.0
DOWN = 18.0  # pixels between two layers
FRAME_HEAD, FRAME_FOOT = 34.0, 18.0  # pixels around a frame's layers, those of its caption above them included
PORT = 14.0  # pixels between the lines that enter a box
GAP = 16.0  # pixels between boxes of a layer
LANE = 9.0  # pixels that a line takes on its way through a layer
SWEEPS = 6
ROUNDS = 12
FIRM = 50  # how much less than a lane a box gives way
STRENGTH = (2, 1, 8)  # of a line between two boxes, a box and a lane, two lanes


@dataclass
class Layers:
    """Boxes and lanes (places where a line passes through a layer) in layers, top to bottom, left to right.

    rows     keys by layer: a box's number, or (source box, layer) for a lane, which all lines from that box share
    links    pairs of keys in adjacent layers
    routes   {edge: keys from its first box to its last}
    """

    rows: list[list]
    links: set[tuple] = field(default_factory=set)
    routes: dict[tuple[int, int], list] = field(default_factory=dict)

    def neighbours(self):
        """{key: keys above}, {key: keys below}."""
        above = {key: [] for row in self.rows for key in row}
        below = {key: [] for row in self.rows for key in row}
        for one, two in sorted(self.links, key=str):
            below[one].append(two)
            above[two].append(one)
        return above, below


def layer(widths, edges, zones, room):
    """The Layers of a graph: every edge leads down, the zones lie one below the other, no layer is wider than `room`.

    widths, zones  one for each box
    edges          pairs of boxes, (upper, lower)
    """
    ranks = _ranks(widths, edges, zones, room)
    layers = _with_lanes(ranks, edges)
    _reduce_crossings(layers)
    return layers


def _ranks(widths, edges, zones, room):
    above = [[] for _ in widths]
    below = [[] for _ in widths]
    for one, two in edges:
        above[two].append(one)
        below[one].append(two)
    ranks, start = [0] * len(widths), 0
    for zone in sorted(set(zones)):
        members = [box for box in _sorted(above, below) if zones[box] == zone]
        for box in members:
            ranks[box] = max([start, *(ranks[other] + 1 for other in above[box] if zones[other] == zone)])
        end = max(ranks[box] for box in members)
        for box in reversed(members):
            if len(above[box]) < len(below[box]):  # a line less to draw long: let it sink to what reads it
                ranks[box] = min((ranks[other] - 1 for other in below[box] if zones[other] == zone), default=end)
        start = _spread(members, ranks, above, widths, room, start) + 1
    return ranks


def _sorted(above, below):
    waiting = [len(set(sources)) for sources in above]
    order = [box for box, number in enumerate(waiting) if not number]
    for box in order:
        for reader in dict.fromkeys(below[box]):
            waiting[reader] -= 1
            if not waiting[reader]:
                order.append(reader)
    return order


def _spread(members, ranks, above, widths, room, start):
    """Move boxes of a layer that is too wide into new layers below it; returns the last layer."""
    by_rank = {}
    for box in members:
        by_rank.setdefault(ranks[box], []).append(box)
    new = start
    for rank in sorted(by_rank):
        used = 0.0
        for box in by_rank[rank]:
            used += widths[box] + GAP
            if used > room and used > widths[box] + GAP:
                new, used = new + 1, widths[box] + GAP
            ranks[box] = new
        new += 1
    return new - 1


def _with_lanes(ranks, edges):
    layers = Layers([[] for _ in range(max(ranks) + 1)])
    for box, rank in enumerate(ranks):
        layers.rows[rank].append(box)
    for one, two in edges:
        route = [one, *((one, rank) for rank in range(ranks[one] + 1, ranks[two])), two]
        layers.routes[one, two] = route
        for first, second in pairwise(route):
            layers.links.add((first, second))
            if isinstance(second, tuple) and second not in layers.rows[second[1]]:
                layers.rows[second[1]].append(second)
    return layers


def _reduce_crossings(layers):
    """Sort each layer by the mean place of its neighbours, down and up again, and keep the best order seen."""
    above, below = layers.neighbours()
    best, fewest = [list(row) for row in layers.rows], crossings(layers)
    for sweep in range(SWEEPS):
        rows = layers.rows if sweep % 2 == 0 else layers.rows[::-1]
        neighbours = above if sweep % 2 == 0 else below
        for before, row in pairwise(rows):
            place = {key: number for number, key in enumerate(before)}
            own = {key: number for number, key in enumerate(row)}
            row.sort(key=lambda key: (_mean([place[other] for other in neighbours[key]], own[key]), own[key]))
        number = crossings(layers)
        if number < fewest:
            best, fewest = [list(row) for row in layers.rows], number
    layers.rows[:] = best


def crossings(layers):
    """How many pairs of lines cross."""
    total = 0
    for upper, lower in pairwise(layers.rows):
        first, second = ({key: number for number, key in enumerate(row)} for row in (upper, lower))
        ends = sorted((first[one], second[two]) for one, two in layers.links if one in first and two in second)
        total += sum(one[0] < two[0] and one[1] > two[1] for index, one in enumerate(ends) for two in ends[index + 1 :])
    return total


def _mean(places, otherwise):
    return sum(places) / len(places) if places else otherwise


def gap(one, two):
    """Pixels between two neighbours of a layer: lines need less than boxes."""
    return GAP if isinstance(one, int) and isinstance(two, int) else GAP / 2


def place(layers, sizes, room, headroom):
    """The middle of every box and lane, {key: x}, and where each layer begins and ends, [(top, bottom)].

    sizes     (width, height) for each box
    room      width that the picture has
    headroom  pixels to leave free above each layer
    """
    bands, y = [], 0.0
    for row, above in zip(layers.rows, headroom, strict=True):
        y += above
        height = max((sizes[key][1] for key in row if isinstance(key, int)), default=0.0)
        bands.append((y, y + height))
        y += height + DOWN
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
            near = {key: _towards(key, above, below) if turn >= ROUNDS - 4 else sides[key] for key in row}
            x |= _settle(row, {key: _pull(key, near[key], x) for key in row}, half)
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
    kinds = [(other, isinstance(key, tuple) + isinstance(other, tuple)) for other in neighbours]
    return median([x[other] for other, lanes in kinds for _ in range(STRENGTH[lanes])] or [x[key]])


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


@dataclass(frozen=True)
class Placed:
    """A box on the page, as large as its text: its left upper corner."""

    box: Box
    text: Text
    left: float
    top: float

    @property
    def bottom(self):
        """The y of its lower edge."""
        return self.top + self.text.height


@dataclass(frozen=True)
class Route:
    """A line between two boxes through `points` (x, y), in turn straight down and bent: straight first and last."""

    points: list[tuple[float, float]]
    flow: str


@dataclass(frozen=True)
class Framed:
    """The frame of a repeated block, as wide as the page."""

    caption: str
    top: float
    bottom: float


@dataclass(frozen=True)
class Page:
    """All that is drawn of a View, below the heading. The width is that of a notebook, the height in pixels."""

    view: View
    boxes: list[Placed]
    routes: list[Route]
    frames: list[Framed]
    height: float


def compose(view, *, close):
    """The Page of a View, or None if one of its layers is wider than the page; `close` for boxes that bear names."""
    texts = [text_of(box, view.wiring, close=close) for box in view.boxes]
    sizes = [(text.width, text.height) for text in texts]
    layers = _layers_that_fit([text.width for text in texts], view)
    if layers is None:
        return None
    zones = [next(view.boxes[key].zone for key in row if isinstance(key, int)) for row in layers.rows]
    headroom = [_headroom(before, zone) for before, zone in zip([zones[0] % 2 - 1, *zones], zones, strict=False)]
    columns, bands = place(layers, sizes, PAGE - 2 * MARGIN, headroom)
    columns = {key: x + MARGIN for key, x in columns.items()}
    bands = [(top + MARGIN, bottom + MARGIN) for top, bottom in bands]
    home = {key: number for number, row in enumerate(layers.rows) for key in row}
    boxes = [
        Placed(box, text, columns[number] - text.width / 2, (sum(bands[home[number]]) - text.height) / 2)
        for number, (box, text) in enumerate(zip(view.boxes, texts, strict=True))
    ]
    frames = [_frame(frame, zones, bands) for frame in view.frames]
    end = bands[-1][1] + MARGIN + (FRAME_FOOT if zones[-1] % 2 else 0)
    return Page(view, boxes, _routes(view, layers, boxes, columns, bands, home), frames, end)


def _layers_that_fit(widths, view):
    """Layers no wider than the page, their lanes included: the more lanes, the fewer boxes side by side."""
    room = PAGE - 2 * MARGIN
    allowed, zones = room, [box.zone for box in view.boxes]
    while allowed >= max(widths):
        layers = layer(widths, view.edges, zones, allowed)
        used = max(_width(row, widths) for row in layers.rows)
        if used <= room:
            return layers
        allowed = min(allowed - 20, allowed + room - used)
    return None


def _width(row, widths):
    gaps = sum(gap(one, two) for one, two in pairwise(row))
    return gaps + sum(widths[key] if isinstance(key, int) else LANE for key in row)


def _headroom(before, zone):
    if before == zone:
        return 0.0
    return (FRAME_FOOT if before % 2 == 1 and before > 0 else 0.0) + (FRAME_HEAD if zone % 2 else 0.0)


def _frame(frame, zones, bands):
    inside = [band for zone, band in zip(zones, bands, strict=True) if zone == frame.zone]
    caption = f"{frame.times} x this block of {frame.size} nodes, each behind the one before"
    return Framed(caption, inside[0][0] - FRAME_HEAD + 6, inside[-1][1] + FRAME_FOOT - 6)


def _routes(view, layers, boxes, columns, bands, home):
    ports = _ports(layers, boxes, columns)
    routes = []
    for (one, two), keys in layers.routes.items():
        start, end = columns[one], ports[one, two]
        points = [(start, boxes[one].bottom), (start, bands[home[one]][1])]
        for key in keys[1:-1]:
            points += [(columns[key], bands[home[key]][0]), (columns[key], bands[home[key]][1])]
        points += [(end, bands[home[two]][0]), (end, boxes[two].top)]
        routes.append(Route(points, view.edges[one, two]))
    return routes


def _ports(layers, boxes, columns):
    """Where each line enters its box: side by side, in the order in which they come."""
    entering = {}
    for (one, two), keys in layers.routes.items():
        entering.setdefault(two, []).append((columns[keys[-2]], one))
    ports = {}
    for two, lines in entering.items():
        step = min(PORT, (boxes[two].text.width - 12) / max(1, len(lines) - 1))
        for number, (_, one) in enumerate(sorted(lines)):
            ports[one, two] = columns[two] + (number - (len(lines) - 1) / 2) * step
    return ports
