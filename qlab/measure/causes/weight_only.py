"""Weights that are stored as codes and turned back into floats before they are multiplied."""

from qlab import graph
from qlab.measure.causes.graphs import reads_codes
from qlab.measure.finding import Finding
from qlab.measure.remedies import call, made_by, mending, recipe_of_its_kind, stay
from qlab.text import ms, plural

LEAST_SHARE = 0.02
FUSED, SLOWER = "MatMulNBits", 1.05
AS_INTEGERS = "activations as codes too, so that the product is an integer one"


def weight_only(examination, bill):
    """Findings on weights that are stored as codes while the activations stay floats.

    1. DequantizeLinear nodes with constant codes. Where the activations come from a DequantizeLinear as well, the
       product was meant to run on integers: what kept it in float is another cause's to tell.
    2. Those that onnxruntime fused with their MatMul to a MatMulNBits, if that is slower than the fp32 product: it
       dequantizes block by block, which pays where there are few rows and reading the weights takes the time.
    3. Products whose codes stand behind a Cast: onnxruntime folds them into floats when it opens the file.
    """
    yield from _dequantized(examination, bill)
    yield from _fused(examination, bill)
    yield from _folded(examination, bill)


def _dequantized(examination, bill):
    dequantizers, products = [], {}
    for node in examination.quantized.nodes:
        if not examination.has_constant_codes(node):
            continue
        readers = examination.consumers.get(node.node.output[0], [])
        if readers and not any(reads_codes(examination, reader) for reader in readers):
            dequantizers.append(node)
            products |= {id(reader): reader for reader in readers if reader.macs and reader.kind == "float"}
    milliseconds = sum(node.ms for node in dequantizers)
    excess = examination.yardstick.excess_ms(products.values())
    if not examination.matters(milliseconds + excess, LEAST_SHARE):
        return
    bill.explain(products.values())
    cost = sum(bill.charge(node) for node in dequantizers)
    for node in products.values():
        cost += bill.charge(node, examination.yardstick.excess_ms([node]))
    shown = (
        f"; {plural(len(products), 'product')} behind them in float, {ms(excess)} slower than on integers"
        if products
        else "; no product reads them (an embedding, a table)"
    )
    evidence = f"{len(dequantizers)} DequantizeLinear of constant weights in every run, {ms(milliseconds)}{shown}"
    yield _finding(examination, evidence, cost, dequantizers, list(products.values()))


def _fused(examination, bill):
    nodes, yardstick = [node for node in examination.quantized.nodes if node.op_type == FUSED], examination.yardstick
    milliseconds, in_float = sum(node.ms for node in nodes), sum(yardstick.float_ms(node) or node.ms for node in nodes)
    excess = yardstick.excess_ms(nodes)
    if milliseconds < SLOWER * in_float or not examination.matters(excess, LEAST_SHARE):
        return
    bill.explain(nodes)
    cost = sum(bill.charge(node, yardstick.excess_ms([node])) for node in nodes)
    evidence = (
        f"{len(nodes)} {FUSED} dequantize constant weights in every run and take {ms(milliseconds)}; the same "
        f"products take {ms(in_float)} in the fp32 model"
    )
    yield _finding(examination, evidence, cost, nodes, nodes)


def _folded(examination, bill):
    names = {node.name for node in graph.products_of_cast_codes(examination.file)}
    outputs = {name for node in graph.products_of_cast_codes(examination.file) for name in node.output}
    nodes = [
        node
        for node in examination.quantized.nodes
        if node.macs
        and node.kind == "float"
        and (outputs.intersection(node.node.output) or examination.names.in_files(node.node) in names)
    ]
    excess = examination.yardstick.excess_ms(nodes)
    if not examination.matters(excess, LEAST_SHARE):
        return
    bill.explain(nodes)
    cost = sum(bill.charge(node, examination.yardstick.excess_ms([node])) for node in nodes)
    evidence = (
        f"{plural(len(nodes), 'product')} with weights that the file stores as codes behind a Cast; onnxruntime turned "
        f"them into floats when it opened the file: {ms(excess)} slower than on integers"
    )
    yield _finding(examination, evidence, cost, nodes, nodes)


def _finding(examination, evidence, cost, nodes, products):
    kind = recipe_of_its_kind(examination)
    if products:
        recipe, what = mending(examination, products, kind), AS_INTEGERS
    else:
        recipe, what = "" if kind == made_by(examination) else kind, "turns at most the rows back that are looked up"
    return Finding(
        code="weight-only",
        evidence=evidence,
        why="codes that are turned back when the model runs save bytes on disk, not time: the same floats are computed "
        "with, after the conversion",
        cost_ms=examination.cost(cost),
        remedy=f"{call(examination, recipe)}: {what}" if recipe else stay(examination),
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )
