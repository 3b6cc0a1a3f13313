"""Scales of a model's weights for kernels whose sums saturate in 16 bits: `numerics.fitting`, product by product."""

import numpy as np
from onnx import numpy_helper

from qlab.graph.operators import CONVOLUTION, attribute, of, summed_rows
from qlab.numerics.fitting import least_error_scale, pair_limited_scale
from qlab.runtime import bar

FITTED = ("Conv", "MatMul", "Gemm")


class Inputs:
    """What the products of a ModelProto read: mean and variance of each channel, over all feeds.

    Channels are along axis 1 of what a convolution reads, the last of what a matrix product does.
    """

    def __init__(self, model):
        self._axes = {(node.input[0], _axis_read(node)) for node in model.graph.node if node.op_type in FITTED}
        self._names = {name for name, _ in self._axes}
        self._seen = {}

    def observe(self, name, x):
        """Take in the array `x` of one tensor."""
        if name not in self._names or not x.size:
            return
        for axis in (axis for one, axis in self._axes if one == name and x.ndim > axis):
            others = tuple(place for place in range(x.ndim) if place != axis % x.ndim)
            mean = x.mean(axis=others, dtype=np.float64)
            self._add((name, axis), x.size // len(mean), mean, x.var(axis=others, dtype=np.float64))

    def merge(self, other):
        """Take in what `other`, of the same model, has seen."""
        for key, seen in other._seen.items():
            if seen is None:
                self._seen[key] = None
            else:
                self._add(key, *seen)

    def moments(self, node):
        """(mean, variance), each [channels], of what `node` reads; None if that was not seen, or changes its size."""
        seen = self._seen.get((node.input[0], _axis_read(node)))
        return None if seen is None else seen[1:]

    def _add(self, key, count, mean, variance):
        known = self._seen.get(key, (0, np.zeros_like(mean), np.zeros_like(mean)))
        if known is None or known[1].shape != mean.shape:
            self._seen[key] = None
            return
        total = known[0] + count
        share, apart = count / total, mean - known[1]
        variance = known[2] + share * (variance - known[2]) + share * (1 - share) * np.square(apart)
        self._seen[key] = total, known[1] + share * apart, variance


def _axis_read(node):
    return 1 if of(node.op_type).family == CONVOLUTION else -1


def fitted_scales(model, inputs=None, *, op_types, exclude=(), per_channel=True, known=None):
    """{weight: (axis of its outputs or None, float32 scales)} for the int8 weights of the ModelProto `model`.

    With these scales no sum of two products leaves 16 bits, whatever the feeds: see `numerics.fitting`. Where `inputs`,
    Inputs, has seen what a product reads, its scale is one with which it errs little there.
    op_types, exclude   as in the recipes: which products
    known     a dictionary that keeps what was found, for the next model with the same weights

    A weight that is read in two ways has none; nor has one that is not float32, or in the body of an If, Loop or Scan.
    """
    stored = {one.name: one for one in model.graph.initializer}
    known, found, ways = {} if known is None else known, {}, {}
    nodes = [node for node in model.graph.node if node.op_type in FITTED and node.input[1] in stored]
    for node in nodes:
        ways.setdefault(node.input[1], set()).add((node.op_type == "Conv", *_way(node)))
    taken = [node for node in nodes if node.op_type in op_types and node.name not in exclude]
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


def _way(node):
    return attribute(node, "transB", 0), attribute(node, "group", 1)


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
