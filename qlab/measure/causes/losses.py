"""Layers that lose much more than the others."""

import math

import numpy as np

from qlab.measure.causes.graphs import to_exclude
from qlab.measure.causes.ranges import folded_clips
from qlab.measure.finding import Finding
from qlab.measure.remedies import excluding

POOR_DB = 15.0  # below, one layer alone changes its result by more than a sixth
OUTLIER_DB = 10.0  # this much below the middle layer stands out
SHOWN = 3


def layer_losses(examination, explained, saturated=()):
    """One Finding, if layers lose so much, fed with fp32's own values, that they stand out.

    explained   Findings that tell already why tensors lose: their ranges
    saturated   names of the products that lose by sums which saturate
    """
    elsewhere = {name for finding in explained for name in finding.nodes} | examination.once(folded_clips)
    rows = [row for row in examination.layers.rows if math.isfinite(row.local_db)]
    if not rows:
        return
    middle = float(np.median([row.local_db for row in rows]))
    limit = min(POOR_DB, middle - OUTLIER_DB)
    poor = [row for row in rows if row.local_db < limit and row.name not in elsewhere and row.node not in saturated]
    poor.sort(key=lambda row: row.local_db)
    if not poor:
        return
    nodes = tuple(row.node for row in poor if row.node)
    shown = ", ".join(f"{row.name!r} ({row.op_type}) {row.local_db:.1f} dB" for row in poor[:SHOWN])
    yield Finding(
        code="layer-loss",
        evidence=f"{len(poor)} of {len(rows)} layers lose far more than the rest: {shown}; the middle layer keeps "
        f"{middle:.1f} dB. Each was fed with the fp32 model's own values, so this is its own loss",
        why="a few weights or activations far from the rest (a mask's -10000 is one) stretch the range, and the others "
        "share what remains",
        cost_ms=None,
        nodes=nodes,
        **excluding(
            examination,
            to_exclude(examination, poor),
            "these layers and those that read them in float; or per_channel=True, or another method of calibration, "
            "if they were not used",
        ),
    )
