"""8-bit weights in u8 x s8 products, where the card says that their sums saturate in 16 bits."""

import math

import numpy as np
from onnx import numpy_helper

from qlab.machine.runtime import open_session
from qlab.measure.finding import Finding
from qlab.measure.layer_rows import decibels
from qlab.measure.outputs import output_quality
from qlab.measure.remedies import call, recipe_of_its_kind
from qlab.measure.work import CONVOLUTIONS, factors
from qlab.numerics.saturation import can_saturate

EXACT = "session.x64quantprecision"  # onnxruntime then makes int8 weights uint8, whose products do not saturate


def saturation(examination):
    """One Finding, if the card saturates and some input could make a product of this model go wrong.

    Two neighbouring products along the sum are added in 16 bits: 255 * (w1 + w2) must stay below 32,768. What that does
    to these feeds is measured, where it can be: on the machine that the card is of, against exact sums.
    """
    if not examination.card.saturates:
        return
    stored = {tensor.name: tensor for tensor in examination.file.graph.initializer}
    products, risky, columns, at_risk = 0, [], 0, 0
    for node in examination.quantized.nodes:
        name = node.node.input[factors(node.node)[1]] if node.sign_pair == "u8s8" else None
        if name not in stored:
            continue
        products += 1
        found = can_saturate(_matrix(node, stored[name], examination.path.parent))
        columns, at_risk = columns + found.size, at_risk + int(found.sum())
        risky += [node] if found.any() else []
    if risky:
        recipe = recipe_of_its_kind(examination)
        yield Finding(
            code="saturation-risk",
            evidence=f"{len(risky)} of {products} u8 x s8 products have neighbouring weights whose sum is beyond 128, "
            f"in {100 * at_risk / columns:.0f} % of their output channels{_measured(examination)}",
            why=f"on {examination.card.name} two products are added in 16 bits, and 255 * 129 = 32,895 becomes 32,767: "
            "a wrong answer, without a warning",
            cost_ms=None,
            remedy=f"{call(examination, recipe)}: 7-bit weights (reduce_range) where the card says that 8 bits "
            f"saturate; or keep this model and open it with the session option {EXACT} = 1, at the speed of u8 x u8",
            nodes=tuple(node.name for node in risky),
            recipe=recipe,
        )


def _measured(examination):
    """What exact sums would give on these feeds, in words; empty where it cannot be measured."""
    if not examination.is_own_card:
        return ""
    reference = _answers(examination.fp32.path, examination.feeds)
    as_it_runs = _answers(examination.path, examination.feeds)
    try:
        exact = _answers(examination.path, examination.feeds, lambda o: o.add_session_config_entry(EXACT, "1"))
    except ValueError:  # onnxruntime 1.32 cannot open all models with it
        return ""
    now, then = (output_quality(reference, answers)[0] for answers in (as_it_runs, exact))
    if not now:
        return ""
    name = max(now, key=lambda name: then[name] - now[name] if math.isfinite(then[name] - now[name]) else -math.inf)
    return (
        f". On these feeds output {name!r} has {decibels(now[name])} dB as it runs, and with exact sums "
        f"{decibels(then[name])}"
    )


def _answers(path, feeds, adjust=None):
    """[{output: array}] of a model, opened in onnxruntime with `adjust`."""
    session = open_session(path, adjust=adjust)
    names = [output.name for output in session.get_outputs()]
    return [dict(zip(names, session.run(names, dict(feed)), strict=True)) for feed in feeds]


def _matrix(node, tensor, folder):
    """The codes as the product reads them: K along the first axis, an output channel in each column."""
    codes = numpy_helper.to_array(tensor, base_dir=str(folder))
    if node.op_type in CONVOLUTIONS:
        return codes.reshape(codes.shape[0], -1).T
    return np.ascontiguousarray(codes.reshape(-1, codes.shape[-1]))
