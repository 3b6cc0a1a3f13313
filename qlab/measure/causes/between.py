"""Float operators among integer ones: HardSigmoid, LayerNormalization, whatever else ran in float between DQ and Q."""

import re
from collections import Counter

from qlab.measure.causes.boundary import CAN_FUSE
from qlab.measure.causes.graphs import neighbours, reads_codes
from qlab.measure.finding import Finding
from qlab.measure.yardstick import PRODUCT_FAMILIES
from qlab.text import listed, ms

LEAST_SHARE = 0.05
EDGES = ("QuantizeLinear", "DequantizeLinear")
INLINED = re.compile(r"_inlfunc_([A-Za-z]+)_")  # so onnxruntime names the tensors of an operator that it takes apart


def float_between(examination, bill):
    """One Finding, if operators without an integer kernel, between integers, take time with the Q and DQ around them.

    They are found by what ran: groups of float operators, no products, that read codes turned back and whose result is
    turned into codes. Groups of operators that could have been fused are the quantizer's fault, and told elsewhere.
    """
    nodes, edges = {}, {}
    for group, around in _groups(examination, bill):
        nodes |= {id(node): node for node in group}
        edges |= {id(node): node for node in around}
    own_ms, edge_ms = sum(node.ms for node in nodes.values()), bill.left(edges.values())
    if not examination.matters(own_ms + edge_ms, LEAST_SHARE):
        return
    lacking = _listed(examination, (node for node in nodes.values() if node.op_type not in CAN_FUSE))
    beside = _listed(examination, (node for node in nodes.values() if node.op_type in CAN_FUSE))
    yield Finding(
        code="float-between",
        evidence=f"between integer operators {lacking} compute on floats{f', and {beside} with them' * bool(beside)}, "
        f"{ms(own_ms)} a run; {len(edges)} Q/DQ around them take {ms(edge_ms)}",
        why=f"onnxruntime has no integer kernel for {lacking}: codes are turned into floats before them, and results "
        "into codes again. What an integer kernel gains on both sides, each of them takes a part of",
        cost_ms=sum(bill.charge(edge) for edge in edges.values()),
        remedy="no recipe can: where the model has another way, such as a Relu for an activation, and it is worth "
        "training again, take an operator that has an integer kernel",
        nodes=tuple(node.name for node in nodes.values()),
    )


def _listed(examination, nodes):
    return listed(Counter(_called(examination, node) for node in nodes))


def _groups(examination, bill):
    """(float operators that hand floats to each other, Q and DQ around them) where integers stand on both sides."""
    seen = set()
    for start in examination.quantized.nodes:
        group, edges, todo = [], {}, [start]
        while todo:
            node = todo.pop()
            if node.op_type in EDGES and group:
                edges[id(node)] = node
            if node.kind != "float" or node.family in PRODUCT_FAMILIES or id(node) in seen:
                continue
            seen.add(id(node))
            group.append(node)
            todo += neighbours(examination, node)
        can_fuse = all(node.op_type in CAN_FUSE for node in group)
        is_between = any(reads_codes(examination, node) for node in group) and any(
            edge.op_type == "QuantizeLinear" for edge in edges.values()
        )
        if is_between and not can_fuse and not any(map(bill.is_explained, group)):
            yield group, list(edges.values())


def _called(examination, node):
    """The operator; a part of one that onnxruntime took apart, with its name: "HardSigmoid of HardSwish".

    What is left of that name stands in the QuantizeLinear behind it, since onnxruntime names anew what it fuses.
    """
    near = [node, *(one for one in neighbours(examination, node) if one.op_type == "QuantizeLinear")]
    names = " ".join(name for one in near for name in (one.name, *one.node.input, *one.node.output))
    whole = INLINED.search(names)
    return f"{node.op_type} of {whole[1]}" if whole else node.op_type
