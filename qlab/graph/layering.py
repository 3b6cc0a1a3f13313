"""Put the boxes of a picture into layers, and the layers into an order with few crossings (Sugiyama et al. 1981)."""

from dataclasses import dataclass, field
from itertools import pairwise

GAP = 16.0  # pixels between boxes of a layer
LANE = 9.0  # pixels that a line takes on its way through a layer
SWEEPS = 12


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
        _swap_neighbours(layers, above, below)
        number = crossings(layers)
        if number < fewest:
            best, fewest = [list(row) for row in layers.rows], number
    layers.rows[:] = best


def _swap_neighbours(layers, above, below):
    for number, row in enumerate(layers.rows):
        places = [
            {key: place for place, key in enumerate(layers.rows[other])} if 0 <= other < len(layers.rows) else {}
            for other in (number - 1, number + 1)
        ]
        for index in range(len(row) - 1):
            one, two = row[index : index + 2]
            now = then = 0
            for neighbours, place in zip((above, below), places, strict=True):
                for first in neighbours[one]:
                    for second in neighbours[two]:
                        now += place[first] > place[second]
                        then += place[first] < place[second]
            if then < now:
                row[index : index + 2] = two, one


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
