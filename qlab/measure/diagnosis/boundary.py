"""Time spent between floats and codes that no other cause explains, and the float operators among integer ones."""

import re
from collections import Counter

from qlab.graph.operators import Q_AND_DQ, QUANTIZERS
from qlab.measure.diagnosis.finding import Cause, Finding, Kind
from qlab.measure.trace import took
from qlab.recipes import RECIPES
from qlab.recipes.choice import STATIC
from qlab.recipes.static import DEFAULT_OP_TYPES
from qlab.text import listed, ms, plural

DYNAMIC_SHARE = 0.10  # a healthy dynamic model spends less than this on quantizing what moves
LEAST_SHARE = 0.05  # what a quantizer's mistakes must cost
# onnxruntime itself puts transposes around convolutions, between Q and DQ as well: no quantizer's mistake.
CAN_FUSE = DEFAULT_OP_TYPES - {"Transpose"}
INLINED = re.compile(r"_inlfunc_([A-Za-z]+)_")  # so onnxruntime names the tensors of an operator that it takes apart

BETWEEN = Kind(
    "float-between",
    "float operators without an integer kernel among integer ones",
    mend="no recipe can: where the model has another way, such as a Relu for an activation, and it is worth training "
    "again, take an operator that has an integer kernel",
    mended_by=(),
)
OVERHEAD = Kind(
    "boundary-overhead",
    "much time between floats and codes",
    why="each passes over a whole tensor to change its numbers' form, and computes nothing. Where integer operators "
    "follow each other there is none between them",
)


def boundary_overhead(examination, bill):
    """Findings on the time of quantizing and dequantizing that nobody has paid for yet.

    1. A dynamic model quantizes whatever moves, and looks for its range first; a static one need not.
    2. In any other, a quantizer may have put Q and DQ where nothing was fused with them: codes that no integer reads.
    3. Integers between floats are islands. Where the edges of one take more than its products gain, it should grow, or
       else is better left in float; where none does, the edges are worth their time.
    """
    nodes = [node for node in examination.quantized.nodes if node.op_type in QUANTIZERS]
    seen = f"{_listed(nodes, None)} take {ms(took(nodes))} of {ms(examination.quantized.total_ms)} a run"
    if not examination.alike.needs_reader:
        if not examination.matters(bill.left(nodes), DYNAMIC_SHARE):
            return
        cost, static = sum(map(bill.charge, nodes)), RECIPES.of_ways(STATIC)
        mend = {"recipe": static, "mend": "with fixed ranges codes stay codes between integer operators"}
        if examination.is_out_of_reach(nodes, static):
            mend = {}
        dearest = sorted(nodes, key=lambda node: -node.ms)
        yield Finding.of(OVERHEAD, examination, seen, cost_ms=cost, nodes=dearest, **mend)
        return
    yield from _of_a_static_model(examination, bill, seen)


def _of_a_static_model(examination, bill, seen):
    """One Finding on needless codes and on islands, or none.

    If any of that can be mended by quantizing what lies between, or other findings change the graph, a plain call of
    the recipe comes first.
    """
    cost, told, concerned, exclude = 0.0, [], [], ()
    is_plain = bill.is_used  # the edges will be others once the rest is mended
    needless, around = _needless(examination)
    if examination.matters(bill.left(needless), LEAST_SHARE):
        count, cost = sum(node.op_type in QUANTIZERS for node in needless), sum(map(bill.charge, needless))
        unfused = f", or stand around operators that were not fused with them ({_listed(around)}, {ms(took(around))})"
        told.append(f"{count} of them, {ms(cost)}, make codes that no integer operator reads{unfused * bool(around)}")
        concerned += needless
        is_plain = True
    integers = _groups(examination, lambda node: node.kind == "integer", QUANTIZERS)
    islands = [_Island(*group, examination, bill) for group in integers]
    islands = [island for island in islands if island.products and island.loss_ms > 0]
    if examination.matters(sum(island.loss_ms for island in islands), LEAST_SHARE):
        cost += sum(bill.charge(edge, island.share(edge)) for island in islands for edge in island.edges)
        products = [product for island in islands for product in island.products]
        gain_ms, edge_ms = (sum(getattr(island, what) for island in islands) for what in ("gain_ms", "edge_ms"))
        told.append(
            f"between float operators {plural(len(products), 'product')} gain {ms(gain_ms)} and their edges take "
            f"{ms(edge_ms)}{_beyond(islands, bill)}"
        )
        concerned += products
        is_plain = is_plain or any(island.can_grow for island in islands)
        exclude = tuple(dict.fromkeys(examination.names.in_files(node.node) for node in products))
    if not told:
        return
    mend = _mend(examination, is_plain, concerned, exclude)
    yield Finding.of(OVERHEAD, examination, "; ".join([seen, *told]), cost_ms=cost, nodes=concerned, **mend)


def _mend(examination, is_plain, concerned, exclude):
    """What mends it: a plain call, unless that made the model, or one that leaves `exclude` out."""
    recipe = examination.alike
    if examination.is_out_of_reach(concerned, recipe):
        return {}
    if is_plain and not examination.is_as_made(recipe):
        return {"recipe": recipe, "mend": "quantizes what onnxruntime fuses, all of it and nothing else"}
    others = (node for node in examination.quantized.nodes if node not in concerned)
    if exclude and any(node.kind == "integer" and node.multiplies for node in others):
        return examination.excluding(exclude, "leaves these products in float")
    return {"remedy": "stay with fp32 for speed: not one of its products gains"} if exclude else {}


def _needless(examination):
    """Q and DQ that serve no integer operator, and the operators that were not fused with theirs.

    1. Codes that are turned back into floats before any integer operator has read them.
    2. Those around an operator that has an integer kernel, and was not fused with them.
    3. The transposes of floats between them: floats have the channels first, integer convolutions last.
    """
    found, around = {}, []  # found: in order
    for node in examination.quantized.nodes:
        readers = examination.ran.behind(node)
        if node.op_type == "QuantizeLinear":
            if readers and all(reader.op_type == "DequantizeLinear" for reader in readers):
                found |= dict.fromkeys((node, *readers))
        elif _is_unfused(examination, node, readers):
            around.append(node)
            found |= dict.fromkeys(one for one in examination.neighbours(node) if one.op_type in QUANTIZERS)
    for node in examination.quantized.nodes:
        is_transpose = (node.op_type, node.kind) == ("Transpose", "float")
        if is_transpose and any(one in found for one in examination.neighbours(node)):
            found[node] = None
    return list(found), around


def _beyond(islands, bill):
    """The float operators next to the islands, in words; that they are named here explains them."""
    nodes = dict.fromkeys(node for one in islands for node in one.beyond if not node.multiplies)
    bill.explained.update(nodes)
    return f" beside {_listed(nodes)}, {ms(took(nodes))}" if nodes else ""


def _listed(nodes, most=5):
    return listed(Counter(node.op_type for node in nodes), most)


def _is_unfused(examination, node, readers):
    """Whether `node`, no product, has an integer kernel and computes on floats that were codes and will be again."""
    if node.kind != "float" or node.multiplies or node.op_type not in CAN_FUSE:
        return False
    return examination.reads_codes(node) and all(reader.op_type == "QuantizeLinear" for reader in readers)


class _Island:
    """Integer nodes that hand codes to each other, and the edges at which they become floats.

    gain_ms   what the products save by computing on integers, once what other findings charge them is mended; edge_ms,
              what the edges cost, with the transposes that the integers need
    beyond    the float operators at its edges
    can_grow  whether an operator with an integer kernel lies behind one of the edges
    """

    def __init__(self, nodes, edges, examination, bill):
        self.products = [node for node in nodes if node.multiplies]
        self.edges = edges + [node for node in nodes if node.op_type == "Transpose"]
        self.edge_ms = bill.left(self.edges)
        self.beyond = [one for edge in edges for one in examination.neighbours(edge) if one.kind == "float"]
        self.can_grow = any(one.op_type in CAN_FUSE for one in self.beyond)
        yardstick = examination.yardstick
        in_float = ((yardstick.float_ms(node) or node.ms) + yardstick.layout_ms(node) for node in self.products)
        self.gain_ms = max(0.0, sum(in_float) - bill.left(self.products))

    @property
    def loss_ms(self):
        """What leaving the island in float would save."""
        return self.edge_ms - self.gain_ms

    def share(self, edge):
        """The edge's part of the loss."""
        return edge.ms * self.loss_ms / self.edge_ms


def _groups(examination, belongs, at_edges):
    """(nodes, edges) of the nodes that belong, and hand each other tensors; edges: of these types, and beside them."""
    seen = set()
    for start in filter(belongs, examination.quantized.nodes):
        nodes, edges, todo = [], {}, [start]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                nodes.append(node)
                near = examination.neighbours(node)
                todo += filter(belongs, near)
                edges |= dict.fromkeys(one for one in near if one.op_type in at_edges and not belongs(one))
        if nodes:
            yield nodes, list(edges)


def float_between(examination, bill):
    """One Finding, if operators without an integer kernel, between integers, take time with the Q and DQ around them.

    They are found by what ran: groups of float operators, no products, that read codes turned back and whose result is
    turned into codes. Groups of operators that could have been fused are the quantizer's fault, and told elsewhere.
    """
    nodes, edges = {}, {}
    for group, around in _between(examination, bill):
        nodes, edges = nodes | dict.fromkeys(group), edges | dict.fromkeys(around)
    own_ms, edge_ms = took(nodes), bill.left(edges)
    if not examination.matters(own_ms + edge_ms, LEAST_SHARE):
        return
    lacking = _called_listed(examination, (node for node in nodes if node.op_type not in CAN_FUSE))
    beside = _called_listed(examination, (node for node in nodes if node.op_type in CAN_FUSE))
    yield Finding.of(
        BETWEEN,
        examination,
        f"between integer operators {lacking} compute on floats{f', and {beside} with them' * bool(beside)}, "
        f"{ms(own_ms)} a run; {len(edges)} Q/DQ around them take {ms(edge_ms)}",
        why=f"onnxruntime has no integer kernel for {lacking}: codes are turned into floats before them, and results "
        "into codes again. What an integer kernel gains on both sides, each of them takes a part of",
        cost_ms=sum(map(bill.charge, edges)),
        nodes=nodes,
    )


def _called_listed(examination, nodes):
    return listed(Counter(_called(examination, node) for node in nodes))


def _between(examination, bill):
    """(float operators that hand floats to each other, Q and DQ around them) where integers stand on both sides."""
    for group, edges in _groups(examination, lambda node: node.kind == "float" and not node.multiplies, Q_AND_DQ):
        gives_codes = any(edge.op_type == "QuantizeLinear" for edge in edges)
        is_between = gives_codes and any(map(examination.reads_codes, group))
        can_fuse = all(node.op_type in CAN_FUSE for node in group)
        if is_between and not can_fuse and bill.explained.isdisjoint(group):
            yield group, edges


def _called(examination, node):
    """The operator; a part of one that onnxruntime took apart, with its name: "HardSigmoid of HardSwish".

    What is left of that name stands in the QuantizeLinear behind it, since onnxruntime names anew what it fuses.
    """
    near = [node, *(one for one in examination.neighbours(node) if one.op_type == "QuantizeLinear")]
    names = " ".join(name for one in near for name in (one.name, *one.node.input, *one.node.output))
    whole = INLINED.search(names)
    return f"{node.op_type} of {whole[1]}" if whole else node.op_type


BOUNDARY = Cause((OVERHEAD,), boundary_overhead)
FLOAT_BETWEEN = Cause((BETWEEN,), float_between)
