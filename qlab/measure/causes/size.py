"""Models that integers cannot make faster, however they are quantized."""

from qlab.measure.finding import Finding
from qlab.measure.yardstick import PRODUCT_FAMILIES
from qlab.recipes.static import DEFAULT_OP_TYPES
from qlab.text import ms, plural

WORTH_WHILE = 1.15


def too_small(examination):
    """One Finding, if all that can run on integers, at the fastest pair's speed, gains less than WORTH_WHILE (Amdahl).

    Integers shorten what an operator computes, not what it takes to start it. Besides the products, what recipes.static
    takes between them (additions, pools) is counted as if it gained as much: no recipe can do better than that.
    """
    profile, speed = examination.fp32, max(examination.yardstick.speed, 1.0)
    start = examination.start_ms
    able = [node for node in profile.nodes if _is_able(node)]
    computing = sum(max(0.0, node.ms - start) for node in able)
    limit = profile.total_ms / (profile.total_ms - computing * (1 - 1 / speed))
    if limit >= WORTH_WHILE:
        return
    yield Finding(
        code="too-small",
        evidence=f"of {ms(profile.total_ms)} a run of the fp32 model {plural(len(able), 'operator')} that integers "
        f"could take over compute for {ms(computing)}, {100 * computing / profile.total_ms:.0f} %, when "
        f"{1e3 * start:.2g} microseconds to start each are left out; {speed:.2f} times faster, they would make the "
        f"whole {limit:.2f} times as fast at most",
        why="integers speed up what has an integer kernel only (Amdahl's law). A small model spends its time on "
        "starting operators, others on what lies between the products",
        cost_ms=None,
        remedy="stay with fp32 for speed, or run more at a time (a larger batch, a longer input); quantize only to "
        "save bytes",
    )


def _is_able(node):
    """Whether integers could take it over; for products without a kernel there is a finding of their own."""
    return node.family in PRODUCT_FAMILIES or node.op_type in DEFAULT_OP_TYPES
