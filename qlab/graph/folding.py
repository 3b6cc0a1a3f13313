"""A whole model in few boxes: repeated blocks once, then nodes put together until it fits."""

from qlab.graph.contracting import contract
from qlab.graph.repeating import find_repeats
from qlab.graph.view import Box, Frame, View, flow, flow_of, mixed, with_inner_folded
from qlab.graph.walking import depth_first
from qlab.graph.wiring import ModelInput

MOST_ENDS = 6  # boxes for inputs, and as many for outputs
OUTSIDE = -1
ROOM_OF_FRAME = 6  # boxes that a repeated block should have


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
    labels = [
        known.setdefault((op.domain, op.op_type, op.scope, inside), len(known))
        for op, inside in zip(wiring.ops, contents, strict=True)
    ]
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
        return [
            Frame(len(repeat.blocks), _size(self.wiring, repeat.blocks[0]), 2 * number + 1)
            for number, repeat in enumerate(self.repeats)
        ]

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
