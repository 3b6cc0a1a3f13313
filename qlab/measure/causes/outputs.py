"""Outputs that are of no use any more, though no single layer is to blame."""

from qlab.measure.causes.graphs import to_exclude
from qlab.measure.finding import Finding
from qlab.measure.remedies import excluding
from qlab.text import decibels

USELESS_DB = 15.0  # below, more than a sixth of the answer is error
SHOWN = 3


def output_losses(examination, explained):
    """One Finding, if an output keeps less than USELESS_DB and none of the Findings `explained` tells why."""
    rows = examination.layers.rows
    useless = {row.name: row for row in rows if row.name in examination.layers.outputs and _is_useless(row)}
    if explained or not useless:
        return
    first = next(row for row in rows if _is_useless(row))
    weakest = examination.layers.worst(SHOWN)
    nodes = tuple(dict.fromkeys(row.node for row in weakest if row.node))
    outputs = ", ".join(f"{name!r} keeps {decibels(row.accumulated_db)} dB" for name, row in useless.items())
    layers = ", ".join(f"{row.name!r} ({row.op_type}) {decibels(row.local_db)} dB" for row in weakest)
    yield Finding(
        code="output-loss",
        evidence=f"{outputs}. In graph order {first.name!r} ({first.op_type}) is the first tensor below "
        f"{USELESS_DB:.0f} dB, with {decibels(first.accumulated_db)}; by themselves the weakest layers keep: {layers}",
        why="errors add up from layer to layer, and some layers enlarge those that they are given: a difference of "
        "large numbers, a threshold, a loop. The body of an If, Loop or Scan may also read a tensor that the quantizer "
        "changed without looking inside",
        cost_ms=None,
        nodes=(first.name, *nodes),
        **excluding(
            examination,
            to_exclude(examination, weakest),
            "leaves the weakest layers in float; go on with the next ones of measure.layer_errors until the output is "
            "good enough",
        ),
    )


def _is_useless(row):
    return row.accumulated_db < USELESS_DB
