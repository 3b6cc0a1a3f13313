"""Scales of a model's weights for kernels whose sums saturate in 16 bits: `numerics.fitting`, product by product."""

import numpy as np
from onnx import numpy_helper

from qlab.calibration.observers import FITTED
from qlab.graph.operators import attribute, summed_rows
from qlab.numerics.fitting import least_error_scale, pair_limited_scale
from qlab.runtime import bar


def fitted_scales(model, inputs=None, *, op_types, exclude=(), per_channel=True, known=None):
    """{weight: (axis of its outputs or None, float32 scales)} for the int8 weights of the ModelProto `model`.

    With these scales no sum of two products leaves 16 bits, whatever the feeds: see `numerics.fitting`. Where `inputs`,
    Inputs, has seen what a product reads, its scale is one with which it errs little there.
    op_types, exclude   as in the recipes: which products
    known     a dictionary that keeps what was found, for the next model with the same weights

    A weight that is quantized for two uses that differ has none; nor has one in the body of an If, Loop or Scan.
    """
    stored = {one.name: one for one in model.graph.initializer}
    known, found, ways = {} if known is None else known, {}, {}
    for node in (one for one in model.graph.node if one.op_type in {*FITTED, *op_types}):
        for place, name in enumerate(node.input):
            ways.setdefault(name, set()).add(_way(node, place))
    taken = [
        node for node in model.graph.node
        if node.op_type in FITTED and node.op_type in op_types and node.name not in exclude and node.input[1] in stored
    ]  # fmt: skip
    for node in bar(taken, "fitting scales", unit="weight"):
        name = node.input[1]
        if len(ways[name]) > 1 or name in found:
            continue
        key = "fitted", name, node.input[0], per_channel
        if key not in known:
            known[key] = _fitted(node, numpy_helper.to_array(stored[name]), inputs, per_channel)
        if known[key] is not None:
            found[name] = known[key]
    return found


def _way(node, place):
    """What must be the same for all who read a weight, so that one scale suits them."""
    if place != 1 or node.op_type not in FITTED:
        return node.op_type, place
    return node.op_type == "Conv", attribute(node, "transB", 0), attribute(node, "group", 1)


def _fitted(node, weights, inputs, per_channel):
    is_stack = node.op_type != "Conv" and weights.ndim != 2
    if weights.dtype != np.float32 or not weights.size or not np.isfinite(weights).all() or (is_stack and per_channel):
        return None
    rows = summed_rows(node, weights)
    pairs = rows is not None
    rows = rows if pairs else weights.reshape(len(weights), -1)
    least = pair_limited_scale(rows, pairs=pairs)
    moments = inputs.moments(node) if inputs is not None and not is_stack else None
    moments = moments and [_spread(one, node, weights) for one in moments]
    if moments and all(one is not None for one in moments):
        scale = least_error_scale(rows, least, *moments, shared=not per_channel)
    else:
        scale = least if per_channel else least.max()
    axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    return (axis, scale) if per_channel else (None, scale)


def _spread(channels, node, weights):
    """A number for each channel as one for each column of the rows: (K,), or (outputs, K) of groups; None: no match."""
    if node.op_type != "Conv":
        return channels if channels.shape == weights.shape[attribute(node, "transB", 0) :][:1] else None
    groups, size = attribute(node, "group", 1), weights.shape[1]
    if channels.size != groups * size:
        return None
    columns = np.tile(channels.reshape(groups, size), (1, weights[0, 0].size))  # channels last
    return columns[0] if groups == 1 else np.repeat(columns, len(weights) // groups, axis=0)
