"""What a picture of a graph shows: boxes for one node or many, what flows between them, what lies around a node."""

import difflib
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import chain

from qlab.graph.operators import FLOATS, gives_floats
from qlab.graph.wiring import ModelInput, Wiring
from qlab.text import shortened

STRONGEST = ("integer", "float", "boundary", "other")  # kinds: what a part of a model is that does several
LONGEST = 300  # letters of which some are shown
MOST_BESIDE = 5  # neighbours on one side of a node: further ones are only counted
MOST_ENDS = 6  # boxes for inputs, and as many for outputs
TO_SUMS = {"MatMulInteger", "ConvInteger"}


@dataclass
class Box:
    """One box.

    ops     indices into the wiring; of a repeated block, those of its first time
    copies  the ops that correspond to them, one list for each time the block comes; [ops] where nothing is repeated
    ends    for a box that stands for inputs or outputs of the model: their names
    zone    boxes of a lower zone lie above those of a higher one
    hidden  how many neighbours above and below are not shown
    """

    ops: list[int] = field(default_factory=list)
    copies: list[list[int]] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    role: str = "ops"  # or "input", "output"
    zone: int = 0
    hidden: tuple[int, int] = (0, 0)
    is_focus: bool = False


@dataclass(frozen=True)
class Frame:
    """A block that comes `times` in a row, drawn once; `size` nodes each; its boxes have the number `zone`."""

    times: int
    size: int
    zone: int


@dataclass
class View:
    """Boxes of a picture. edges: {(from, to): what flows}, which is "codes", "sums", "floats" or "other"."""

    wiring: Wiring
    boxes: list[Box]
    edges: dict[tuple[int, int], str]
    frames: list[Frame] = field(default_factory=list)


def kinds(wiring, ops):
    """How many of `ops` compute where."""
    return Counter(wiring.ops[op].kind for op in ops)


def flow(wiring, producer, reader):
    """What `reader` gets from `producer`.

    "codes" of a quantized tensor, int32 "sums" of their products, "floats", or "other" (shapes, masks).
    """
    op, source = wiring.ops[reader], wiring.ops[producer]
    if source.op_type in TO_SUMS:
        return "sums"
    known = [name for name in op.read_from.get(producer, ()) if wiring.types.get(name)]
    if known:
        return mixed({flow_of(wiring, name) for name in known})
    if source.kind == "other":
        return "other"
    quantizes = source.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")
    return "codes" if quantizes or (source.kind == "integer" and not gives_floats(source.node)) else "floats"


def flow_of(wiring, name):
    """What the tensor of that name is, as in `flow`; without a type, floats."""
    kind = wiring.types.get(name)
    return "codes" if kind in wiring.codes else "floats" if not kind or kind in FLOATS else "other"


def mixed(flows):
    """What flows along an edge that stands for several: codes, if there are any."""
    return next(what for what in ("codes", "sums", "floats", "other") if what in flows)


def with_inner_folded(wiring):
    """The Wiring in which each If, Loop and Scan that stands in a body has taken in what its own bodies do.

    It reads what they read from outside; the ops in it are still there, and lead nowhere. An If in an If is a detail of
    an exporter's, such as a choice between two ways to pad, and would cover the page.
    """
    ops = list(wiring.ops)
    for index, op in enumerate(wiring.ops):
        if len(op.scope) == 1 and op.inside:
            inner = range(index - op.inside, index)
            parts = [*inner, index]
            read = [source for part in parts for source in wiring.ops[part].sources if not _is_in(source, inner)]
            kind = min((wiring.ops[part].kind for part in parts), key=STRONGEST.index)
            sources = [*op.sources[: len(op.node.input)], *(source for source in read if source is not None)]
            ops[index] = replace(op, sources=sources, kind=kind, folded=op.inside)
    return wiring if ops == wiring.ops else replace(wiring, ops=ops)


def _is_in(source, inner):
    return isinstance(source, int) and source in inner


def view_of(wiring, boxes, ends, frames=(), is_inner=lambda source, op: False):
    """The View of `boxes`, and of `ends` as far as nodes in them read or make those, with the edges between them.

    is_inner  of a source and an op that reads it: whether their edge leads to another time of the same block
    """
    home = {op: number for number, box in enumerate(boxes) for copy in box.copies for op in copy}
    flows = {}
    for op, number in home.items():
        for source in wiring.ops[op].producers:
            if home.get(source, number) != number and not is_inner(source, op):
                flows.setdefault((home[source], number), set()).add(flow(wiring, source, op))
    boxes = list(boxes)
    for role, names, ops in ends:
        touched = sorted({home[op] for op in ops})
        zone = min(boxes[number].zone for number in touched) if role == "input" else 2 * len(frames)
        for number in touched:
            pair = (len(boxes), number) if role == "input" else (number, len(boxes))
            flows[pair] = {flow_of(wiring, name) for name in names}
        boxes.append(Box(ends=names, role=role, zone=zone - zone % 2))
    return View(wiring, boxes, {pair: mixed(what) for pair, what in flows.items()}, list(frames))


def ends_of(wiring, shown, most):
    """The model's inputs and outputs that the ops `shown` read or make: [(role, names, ops)], at most `most` of each.

    More stand together as one.
    """
    readers = {}
    for op in sorted(shown):
        for source in wiring.ops[op].sources:
            if isinstance(source, ModelInput) and not source.scope:
                readers.setdefault(source.name, []).append(op)
    inputs = [("input", [name], ops) for name, ops in readers.items()]
    made = zip(wiring.output_names, wiring.outputs, strict=True)
    outputs = [("output", [name], [source]) for name, source in made if isinstance(source, int) and source in shown]
    most = min(MOST_ENDS, most)
    return [end for ends in (inputs, outputs) for end in (ends if len(ends) <= most else _together(ends)[:most])]


def _together(ends):
    roles, names, ops = zip(*ends, strict=True)
    return [(roles[0], list(chain(*names)), list(chain(*ops)))]


def around(wiring, name, depth, limit):
    """The View of what lies within `depth` steps of the node or tensor `name`, the nearest `limit` boxes of it."""
    centre = find(wiring, name)[:limit]
    sources = [[source for source in op.producers if wiring.ops[source].op_type != "Constant"] for op in wiring.ops]
    sides = sources, wiring.consumers
    chosen, last = dict.fromkeys(centre), centre
    while depth and last and len(chosen) < limit:
        sets = [[other for other in side[op] if other not in chosen][:MOST_BESIDE] for op in last for side in sides]
        last, depth = list(dict.fromkeys(other for found in sets for other in found)), depth - 1
        chosen |= dict.fromkeys(last[: limit - len(chosen)])
    hidden = {op: tuple(sum(other not in chosen for other in side[op]) for side in sides) for op in chosen}
    boxes = [Box([op], [[op]], hidden=hidden[op], is_focus=op in centre) for op in sorted(chosen)]
    return view_of(wiring, boxes, ends_of(wiring, set(chosen), (limit - len(boxes)) // 2))


def find(wiring, name):
    """The ops that `name` means: a node, the node that makes a tensor, or those that read an input or a weight.

    Raises ValueError with the names most like it if there is none.
    """
    ops = [(index, op) for index, op in enumerate(wiring.ops) if op.op_type != "Constant"]
    for meant in (
        [index for index, op in ops if op.name == name],
        [index for index, op in ops if name in op.node.output],
        [index for index, op in enumerate(wiring.ops) if name in op.node.input],
    ):
        if meant and name:
            return meant[:MOST_BESIDE]
    known = {op.name for _, op in ops} | {tensor for _, op in ops for tensor in (*op.node.input, *op.node.output)}
    known = {one for one in known if len(one) <= LONGEST}
    alike = (
        difflib.get_close_matches(str(name)[:LONGEST], sorted(known - {""}), n=5, cutoff=0.5)
        or sorted(known - {""})[:5]
    )
    raise ValueError(
        f"around is {str(name)[:LONGEST]!r}; the model has no such node or tensor. Names like it: {', '.join(alike)}"
    )


def cut(text):
    """`text`, at most LONGEST letters of it: no line has room for more, and measuring takes time."""
    return shortened(text, LONGEST, "middle")
