"""Normalizations that fold into convolutions, and were quantized before they did."""

from qlab.measure.causes.graphs import neighbours
from qlab.measure.finding import Finding
from qlab.measure.remedies import call, recipe_for
from qlab.measure.work import QUANTIZERS
from qlab.text import ms, plural

FOLDS = "BatchNormalization"
LEAST_SHARE = 0.03


def unfolded_norms(examination, bill):
    """One Finding, if batch normalizations run that in the fp32 model are part of the convolutions before them."""
    nodes, in_fp32 = (
        [node for node in profile.nodes if node.op_type == FOLDS and node.ms > 0]
        for profile in (examination.quantized, examination.fp32)
    )
    if len(nodes) <= len(in_fp32):
        return
    edges = {id(one): one for node in nodes for one in neighbours(examination, node) if one.op_type in QUANTIZERS}
    if not examination.matters(bill.left([*nodes, *edges.values()]), LEAST_SHARE):
        return
    milliseconds, edge_ms = (sum(node.ms for node in some) for some in (nodes, edges.values()))
    recipe = recipe_for(examination.fp32)
    yield Finding(
        code="unfolded-norm",
        evidence=f"{len(nodes)} {FOLDS} take {ms(milliseconds)} a run as float operators of their own"
        + (f", {plural(len(edges), 'quantizer')} at their edges {ms(edge_ms)}" if edges else "")
        + f"; when fp32 runs, {len(in_fp32)} are left, the others are part of the convolutions before them",
        why="onnxruntime folds them into the weights of the convolution before them when it loads an fp32 model. Once "
        "the convolution is quantized, other nodes stand between the two (Q and DQ, or Cast and Mul), and they stay",
        cost_ms=sum(bill.charge(node) for node in (*nodes, *edges.values())),
        remedy=f"{call(examination, recipe)}: the recipes pre-process the model first, as quant_pre_process does",
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )
