"""8-bit weights in u8 x s8 products, where the card says that their sums saturate in 16 bits."""

import numpy as np
from onnx import numpy_helper

from qlab import graph
from qlab.measure.exact_sums import OPTION, with_exact_sums
from qlab.measure.finding import Finding
from qlab.measure.remedies import call, mending, recipe_of_its_kind
from qlab.measure.work import CONVOLUTIONS, factors
from qlab.numerics.saturation import can_saturate
from qlab.text import decibels

HARMLESS_DB = 0.2


def saturation(examination):
    """One Finding, if the card saturates and some input could make a product of this model go wrong.

    Two neighbouring products along the sum are added in 16 bits: 255 * (w1 + w2) must stay below 32,768. What that does
    to these feeds is measured, where it can be: on the machine that the card is of, against exact sums.
    """
    if not examination.card.saturates:
        return
    stored = {tensor.name: tensor for one in graph.graphs(examination.file) for tensor in one.initializer}
    products, risky, columns, at_risk = 0, [], 0, 0
    for node in examination.quantized.nodes:
        name = node.node.input[factors(node.node)[1]] if node.sign_pair == "u8s8" else None
        if name not in stored:
            continue
        products += 1
        found = can_saturate(_matrix(node, stored[name], examination.path.parent))
        columns, at_risk = columns + found.size, at_risk + int(found.sum())
        risky += [node] if found.any() else []
    if not risky:
        return
    exact = None
    # The option that makes sums exact does not reach into the bodies of If, Loop and Scan.
    if examination.is_own_card and not any(id(node.node) in examination.inside for node in risky):
        exact = with_exact_sums(examination.fp32.path, examination.path, examination.file, examination.feeds)
    kind = recipe_of_its_kind(examination)
    recipe = mending(examination, risky, kind, is_other=True) or kind
    option = f"keep this model and open it with the session option {OPTION} = 1, at the speed of u8 x u8"
    otherwise = option if exact is not None and exact.has_option else ""
    yield Finding(
        code="saturation-risk",
        evidence=f"{len(risky)} of {products} u8 x s8 products have neighbouring weights whose sum is beyond 128, "
        f"in {100 * at_risk / columns:.0f} % of their output channels{_on_these_feeds(exact)}",
        why=f"on {examination.card.name} two products are added in 16 bits, and 255 * 129 = 32,895 becomes 32,767: "
        "a wrong answer, without a warning",
        cost_ms=None,
        remedy=f"{call(examination, recipe)}: 7-bit weights (reduce_range) where the card says that 8 bits saturate"
        + (f"; or {otherwise}" if otherwise else ""),
        nodes=tuple(node.name for node in risky),
        recipe=recipe,
        otherwise=otherwise,
        is_harmless=exact is not None and exact.exact_db - exact.running_db < HARMLESS_DB,
    )


def _on_these_feeds(exact):
    """What an ExactSums says, in words."""
    if exact is None:
        return ""
    now, then = decibels(exact.running_db), decibels(exact.exact_db)
    if exact.exact_db - exact.running_db < HARMLESS_DB:
        return f". On these feeds that does no harm: output {exact.output!r} keeps {now} dB, with exact sums {then}"
    return f". On these feeds output {exact.output!r} keeps {now} dB, and would keep {then} with exact sums"


def _matrix(node, tensor, folder):
    """The codes as the product reads them: K along the first axis, an output channel in each column."""
    codes = numpy_helper.to_array(tensor, base_dir=str(folder))
    if node.op_type in CONVOLUTIONS:
        return codes.reshape(codes.shape[0], -1).T
    return np.ascontiguousarray(codes.reshape(-1, codes.shape[-1]))
