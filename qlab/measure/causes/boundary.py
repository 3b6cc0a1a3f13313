"""Time spent between floats and codes, that no other cause explains."""

from collections import Counter

from qlab.measure.finding import Finding
from qlab.measure.remedies import call

BOUNDARY = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
LEAST_SHARE = 0.10  # a healthy model spends less than this on quantizing its inputs and what moves


def boundary_overhead(examination, bill):
    """One Finding, if quantizing and dequantizing that nobody has paid for yet take more than LEAST_SHARE of a run."""
    nodes = [node for node in examination.quantized.nodes if node.op_type in BOUNDARY]
    milliseconds = bill.left(nodes)
    if not examination.matters(milliseconds, LEAST_SHARE):
        return
    cost = sum(bill.charge(node) for node in nodes)
    counts = Counter(node.op_type for node in nodes)
    dear = sorted(nodes, key=lambda node: -node.ms)[:3]
    yield Finding(
        code="boundary-overhead",
        evidence=f"{', '.join(f'{count} {name}' for name, count in counts.most_common())} take {cost:.3g} ms of "
        f"{examination.quantized.total_ms:.3g} ms a run; the dearest: {', '.join(repr(node.name) for node in dear)}",
        why="each passes over a whole tensor to change its numbers' form, and computes nothing. Where integer "
        "operators follow each other there is none between them",
        cost_ms=cost,
        remedy=f"{call(examination, 'static')}: quantizes all that has an integer kernel, so that codes stay codes; "
        "or, with exclude=(...), leaves the products between float operators in float",
        nodes=tuple(node.name for node in dear),
    )
