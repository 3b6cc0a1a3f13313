"""8-bit weights in u8 x s8 products, where the card says that their sums saturate in 16 bits."""

import numpy as np
from onnx import numpy_helper

from qlab.measure.finding import Finding
from qlab.measure.remedies import call
from qlab.measure.work import CONVOLUTIONS, factors
from qlab.numerics.saturation import can_saturate


def saturation(examination):
    """One Finding, if the card saturates and some input could make a product of this model go wrong.

    Two neighbouring products along the sum are added in 16 bits: 255 * (w1 + w2) must stay below 32,768.
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
        yield Finding(
            code="saturation-risk",
            evidence=f"{len(risky)} of {products} u8 x s8 products have neighbouring weights whose sum is beyond 128, "
            f"in {100 * at_risk / columns:.0f} % of their output channels",
            why=f"on {examination.card.name} two products are added in 16 bits, and 255 * 129 = 32,895 becomes 32,767: "
            "a wrong answer, without a warning",
            cost_ms=None,
            remedy=f"{call(examination)}: 7-bit weights (reduce_range) where the card says that 8 bits saturate",
            nodes=tuple(node.name for node in risky),
        )


def _matrix(node, tensor, folder):
    """The codes as the product reads them: K along the first axis, an output channel in each column."""
    codes = numpy_helper.to_array(tensor, base_dir=str(folder))
    if node.op_type in CONVOLUTIONS:
        return codes.reshape(codes.shape[0], -1).T
    return np.ascontiguousarray(codes.reshape(-1, codes.shape[-1]))
