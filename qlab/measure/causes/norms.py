"""Normalizations that were quantized before they were folded, and those that no convolution can take."""

from collections import Counter

from qlab import graph
from qlab.measure.causes.graphs import neighbours
from qlab.measure.finding import Finding
from qlab.measure.remedies import call, made_by, recipe_for, stay
from qlab.measure.work import QUANTIZERS
from qlab.text import listed, ms, plural

NORM = "BatchNormalization"
TAKES = ("Conv", "ConvTranspose", "MatMul")  # where nothing else reads their result
LEAST_SHARE = 0.03


def unfolded_norms(examination, bill):
    """Findings on batch normalizations that run as float operators of their own.

    1. Behind a convolution that nothing else reads: in the fp32 model they are part of it.
    2. Behind anything else (Conv, Relu, BatchNormalization; or the first of a DenseNet's layers): no convolution before
       them could have taken them, whatever the quantizer did.
    """
    nodes, before = [], _before(graph.load(examination.fp32.path))
    for node in examination.quantized.nodes:
        if node.op_type == NORM and node.ms > 0:
            nodes.append((node, before.get(examination.names.in_files(node.node), "an operator")))
    yield from _folding(examination, bill, [node for node, behind in nodes if not behind])
    yield from _alone(examination, bill, [(node, behind) for node, behind in nodes if behind])


def _before(fp32):
    """{name of a batch normalization of the fp32 file: what it stands behind, "" for a convolution that takes it}."""
    nodes = list(graph.nodes(fp32))
    producers = {name: node for node in nodes for name in node.output}
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(value.name for value in fp32.graph.output)
    found = {}
    for node in nodes:
        if node.op_type == NORM:
            made = producers.get(node.input[0])
            is_taken = made is not None and made.op_type in TAKES and readers[node.input[0]] == 1
            found[node.name] = "" if is_taken else ("an input" if made is None else made.op_type)
    return found


def _folding(examination, bill, nodes):
    edges = _edges(examination, nodes)
    if not examination.matters(bill.left([*nodes, *edges]), LEAST_SHARE):
        return
    bill.explain(nodes)
    recipe = recipe_for(examination.fp32)
    recipe = "" if recipe == made_by(examination) else recipe
    made = call(examination, recipe) if recipe else ""
    left = sum(node.op_type == NORM and node.ms > 0 for node in examination.fp32.nodes)
    yield Finding(
        code="unfolded-norm",
        evidence=f"{_seen(nodes, edges)}; when fp32 runs, {left} are left, the others are part of the convolutions "
        "before them",
        why="onnxruntime folds them into the weights of the convolution before them when it loads an fp32 model. Once "
        "the convolution is quantized, other nodes stand between the two (Q and DQ, or Cast and Mul), and they stay",
        cost_ms=sum(bill.charge(node) for node in (*nodes, *edges)),
        remedy=f"{made}: the recipes pre-process the model first, as quant_pre_process does"
        if recipe
        else stay(examination),
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )


def _alone(examination, bill, found):
    nodes = [node for node, _ in found]
    edges = _edges(examination, nodes)
    if not examination.matters(bill.left([*nodes, *edges]), LEAST_SHARE):
        return
    bill.explain(nodes)
    behind = Counter(where for _, where in found)
    yield Finding(
        code="norm-not-behind-conv",
        evidence=f"{_seen(nodes, edges)}; these {NORM} stand behind {listed(behind)}, so that no convolution before "
        "them can take them",
        why="a batch normalization costs nothing where it stands right behind a convolution that nothing else reads, "
        "whose weights then take it. Elsewhere it is an operator, for which onnxruntime has no integer kernel",
        cost_ms=sum(bill.charge(node) for node in (*nodes, *edges)),
        remedy="no recipe can: swap the two when you train, convolution, normalization, activation; or fold them into "
        "the next convolution, if it does not pad and nothing else reads them",
        nodes=tuple(node.name for node in nodes),
    )


def _edges(examination, nodes):
    found = {id(one): one for node in nodes for one in neighbours(examination, node) if one.op_type in QUANTIZERS}
    return list(found.values())


def _seen(nodes, edges):
    milliseconds, edge_ms = (sum(node.ms for node in some) for some in (nodes, edges))
    quantizers = f", {plural(len(edges), 'quantizer')} at their edges {ms(edge_ms)}" if edges else ""
    return f"{len(nodes)} {NORM} take {ms(milliseconds)} a run as float operators of their own{quantizers}"
