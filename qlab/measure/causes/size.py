"""Models that integers cannot make faster, however they are quantized."""

import numpy as np

from qlab.measure.finding import Finding
from qlab.measure.yardstick import PRODUCT_FAMILIES

WORTH_WHILE = 1.15
DEAREST_START_MS = 0.005  # what merely starting an operator takes at the most; a larger tensor's time is work


def too_small(examination, bill):
    """One Finding, if all products on the fastest integers would gain less than WORTH_WHILE (Amdahl's law).

    Integers shorten what products compute, not what it takes to start them; and each operator that quantizing adds has
    to be started as well.
    """
    profile, speed = examination.fp32, max(examination.yardstick.speed, 1.0)
    start = _start_ms(examination)
    products = [node for node in profile.nodes if node.family in PRODUCT_FAMILIES]
    computing = sum(max(0.0, node.ms - start) for node in products)
    added = max(0, len(examination.quantized.nodes) - len(profile.nodes)) * start
    limit = profile.total_ms / (profile.total_ms - computing * (1 - 1 / speed) + added)
    if limit >= WORTH_WHILE:
        return
    yield Finding(
        code="too-small",
        evidence=f"of {profile.total_ms:.3g} ms a run the {len(products)} products of the fp32 model compute for "
        f"{computing:.3g} ms, {100 * computing / profile.total_ms:.0f} %; {speed:.2f} times faster ones would make the "
        f"whole {limit:.2f} times as fast at most, with {1e3 * start:.2g} microseconds to start an operator",
        why="integers speed up the products only (Amdahl's law). A small model spends its time on starting operators "
        "and on what lies between the products",
        cost_ms=None,
        remedy="stay with fp32 for speed, or run more at a time (a larger batch, a longer input); quantize only to "
        "save bytes",
    )


def _start_ms(examination):
    """What it takes to start an operator: the time of the cheapest ones."""
    times = [node.ms for node in examination.quantized.nodes if node.ms > 0]
    return min(float(np.quantile(times, 0.05)), DEAREST_START_MS) if times else 0.0
