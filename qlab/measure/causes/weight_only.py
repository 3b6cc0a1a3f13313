"""Weights that are stored as codes and turned back into floats whenever the model runs."""

from qlab.measure.causes.graphs import constant_codes, reads_codes
from qlab.measure.finding import Finding
from qlab.measure.remedies import call, recipe_of_its_kind
from qlab.measure.words import plural

LEAST_SHARE = 0.02


def weight_only(examination, bill):
    """One Finding for the DequantizeLinear nodes that have constant codes, and whose product takes float activations.

    Where the activations come from a DequantizeLinear as well, the product was meant to run on integers: what kept it
    in float is another cause's to tell.
    """
    dequantizers, products = [], {}
    for node in examination.quantized.nodes:
        if node.op_type != "DequantizeLinear" or not constant_codes(examination, node):
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
    recipe = recipe_of_its_kind(examination)
    yield Finding(
        code="weight-only",
        evidence=f"{len(dequantizers)} DequantizeLinear of constant weights in every run, {milliseconds:.3g} ms"
        + (
            f"; {plural(len(products), 'product')} behind them in float, {excess:.3g} ms slower than on integers"
            if products
            else "; no product reads them (an embedding, a table)"
        ),
        why="codes that are turned back when the model runs save bytes on disk, not time: the same floats are computed "
        "with, after the conversion",
        cost_ms=examination.cost(cost),
        remedy=f"{call(examination, recipe)}: "
        + ("activations as codes too, so that the product is an integer one" if products else "leaves them as floats"),
        nodes=tuple(node.name for node in dequantizers),
        recipe=recipe,
    )
