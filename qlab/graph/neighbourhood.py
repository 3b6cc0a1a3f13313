"""The part of a model around one node."""

import difflib

from qlab.graph.lettering import LONGEST
from qlab.graph.view import Box, View, flow, flow_of
from qlab.graph.wiring import ModelInput

MOST_BESIDE = 5  # neighbours on one side of a node: further ones are only counted


def around(wiring, name, depth, limit):
    """The View of what lies within `depth` steps of the node or tensor `name`, the nearest `limit` boxes of it."""
    centre = find(wiring, name)[:limit]
    sources = [[source for source in op.producers if _is_shown(wiring, source)] for op in wiring.ops]
    readers = wiring.consumers
    chosen = _nearest(centre, sources, readers, depth, limit)
    home = {op: number for number, op in enumerate(chosen)}
    boxes = [Box([op], [[op]], hidden=_hidden(op, home, sources, readers), is_focus=op in centre) for op in chosen]
    edges = {
        (home[source], home[op]): flow(wiring, source, op) for op in chosen for source in sources[op] if source in home
    }
    view = View(wiring, boxes, edges)
    _add_ends(view, home, limit)
    return view


def _is_shown(wiring, op):
    return wiring.ops[op].op_type != "Constant"


def _nearest(centre, sources, readers, depth, limit):
    """Ops by distance, those straight above and below before those reached over a common neighbour, in graph order."""
    chosen, waiting = dict.fromkeys(centre), [(op, None) for op in centre]
    for _ in range(depth):
        straight, turned = [], []
        for op, came in waiting:
            for direction, near in (("up", sources[op]), ("down", readers[op])):
                found = [other for other in near if other not in chosen][:MOST_BESIDE]
                (straight if came in (None, direction) else turned).extend((other, direction) for other in found)
        waiting = []
        if not straight and not turned:
            break
        for op, direction in straight + turned:
            if op not in chosen and len(chosen) < limit:
                chosen[op] = None
                waiting.append((op, direction))
    return sorted(chosen)


def _hidden(op, home, sources, readers):
    return tuple(sum(other not in home for other in near[op]) for near in (sources, readers))


def _add_ends(view, home, limit):
    """Boxes for the model's inputs and outputs that the nodes shown read and make, while there is room."""
    wiring = view.wiring
    ends = {}
    for op, number in home.items():
        for source in wiring.ops[op].sources:
            if isinstance(source, ModelInput) and not source.scope:
                ends.setdefault(("input", source.name), set()).add(number)
    for name, source in zip(wiring.output_names, wiring.outputs, strict=True):
        if isinstance(source, int) and source in home:
            ends.setdefault(("output", name), set()).add(home[source])
    for (role, name), numbers in list(ends.items())[: max(0, limit - len(view.boxes))]:
        view.boxes.append(Box(ends=[name], role=role))
        last = len(view.boxes) - 1
        for number in sorted(numbers):
            pair = (last, number) if role == "input" else (number, last)
            view.edges[pair] = flow_of(wiring, name)


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
