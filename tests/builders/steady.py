"""A machine whose speed never changes: diagnoses are tested on its times, since a busy machine makes faults of its own.

QLAB_REAL_TIMES=1 leaves the times as they were measured, to see that the faults show on a real machine too.
"""

import os
from dataclasses import replace

from qlab.measure.profile import profile_models

START_MS = 0.002
BYTES_PER_MS = 4e7
MULTIPLY_ADDS_PER_MS = 1e8  # in float32
SLOWED = {  # share of the speed that a product of this pair has elsewhere
    "ConvInteger": 0.6,  # multiplies what it has first copied
    "MatMulNBits": 0.6,  # dequantizes its weights
}
BETWEEN = 1.02  # of the kernels' time, for a whole run


def profiler(card):
    """As `profile_models`, but with what the work takes in place of what was measured, products at the card's ratios.

    Models are run and profiled all the same; only the milliseconds are others.
    """

    def steady(models, feed, **options):
        profiles = profile_models(models, feed, **options)
        if os.environ.get("QLAB_REAL_TIMES") == "1":
            return profiles
        return {name: _on_time(profile, card) for name, profile in profiles.items()}

    return steady


def _on_time(profile, card):
    nodes = tuple(replace(node, ms=_milliseconds(node, card)) for node in profile.nodes)
    return replace(profile, nodes=nodes, total_ms=BETWEEN * sum(node.ms for node in nodes), profiler_ms=0.0)


def _milliseconds(node, card):
    """What one run of a NodeTime takes: its start, and its bytes or its multiply-adds, whichever take longer."""
    speed = card.speed[node.sign_pair] if node.sign_pair and not node.depthwise else 1.0
    speed *= SLOWED.get(node.op_type, 1.0)
    passes = 2 if node.op_type == "DynamicQuantizeLinear" else 1  # it looks for the range first
    return START_MS + max(passes * node.bytes / BYTES_PER_MS, node.macs / (MULTIPLY_ADDS_PER_MS * speed))
