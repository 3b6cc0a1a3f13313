"""What tells a node's place in a graph without looking at names: its operator, its weights, and what lies around it."""

import hashlib
import math
from functools import cached_property

from qlab.graph.operators import COMMUTATIVE, LAYERS, core, originals
from qlab.graph.wiring import ModelInput

REACH = 3  # steps: how far the nearer surroundings go
SAMPLE = 4096  # bytes of a weight that stand for the whole


def stem(name):
    """`name` without what quantizers and onnxruntime's optimizer append: node_Conv_7_nchwc -> node_Conv_7."""
    return [name, *originals(name)][-1]


class Surroundings:
    """For each op of a Wiring, what it reads and feeds as seen past Q, DQ and Cast, and what it computes with.

    above, below  lists of neighbours: an op's index, or "input 0", "output 1" at the model's ends. Nodes that compute
                  from constants alone are no neighbours: one exporter writes them, another stores the result.
    """

    def __init__(self, wiring):
        self.wiring = wiring
        self.ops = wiring.ops
        self.cores = [core(op.op_type) for op in self.ops]
        self.names = [stem(op.node.name) or None for op in self.ops]
        self.above, self.below = self._neighbours()

    @cached_property
    def evidence(self):
        """What speaks for two ops being at the same place: {what: (points, one value for each op)}.

        None speaks for nothing. The first row must agree, or the ops are no match at all.
        """
        labels = [(name, op.scope) for name, op in zip(self.cores, self.ops, strict=True)]
        weights = self._weights()
        rows = {
            "family": (2, [("product" if name in LAYERS else name, scope) for name, scope in labels]),
            "core": (4, labels),
            "operator": (2, [(op.domain, op.op_type) for op in self.ops]),
            "weights": (10, [_content(tensor) for tensor in weights]),
            "shape": (10, [_shape(tensor) for tensor in weights]),
        }
        order = self.wiring.order
        for direction, sequence, neighbours in (("above", order, self.above), ("below", order[::-1], self.below)):
            near = labels
            for steps in range(1, REACH + 1):
                near = [_around(label, neighbours[i], near, direction) for i, label in enumerate(labels)]
                rows[f"{direction} {steps}"] = (3, near)
            whole = [None] * len(labels)
            for index in sequence:
                whole[index] = _around(labels[index], neighbours[index], whole, direction)
            rows[f"all {direction}"] = (3, whole)
        return rows

    def _weights(self):
        """For each op the largest constant it computes with, through a DequantizeLinear too; None if there is none."""
        largest = [None] * len(self.ops)
        for index in self.wiring.order:  # what is behind a constant is known by then, on however many ways it is read
            op = self.ops[index]
            tensors = op.constants + [attribute.t for attribute in op.node.attribute if attribute.HasField("t")]
            behind = [largest[producer] for producer in op.producers[::-1] if self.wiring.constant[producer]]
            tensors += [tensor for tensor in behind if tensor is not None]
            largest[index] = max(tensors, key=lambda tensor: math.prod(tensor.dims), default=None)
        return largest

    def _neighbours(self):
        above, below = [[] for _ in self.ops], [[] for _ in self.ops]
        for index in self.wiring.order:
            for source in self.ops[index].sources:
                if isinstance(source, ModelInput):
                    above[index].append(" ".join((*source.scope, "input", str(source.position))))
                elif isinstance(source, int) and not self.wiring.constant[source]:
                    above[index] += above[source] if self.ops[source].kind == "boundary" else [source]
            above[index] = list(dict.fromkeys(above[index]))
        for position, source in enumerate(self.wiring.outputs):
            if isinstance(source, int):
                below[source].append(f"output {position}")
        for index in reversed(self.wiring.order):
            for reader in self.wiring.consumers[index]:
                below[index] += below[reader] if self.ops[reader].kind == "boundary" else [reader]
            below[index] = list(dict.fromkeys(below[index]))
        return above, below


def _around(label, neighbours, known, direction):
    """A digest of an op's label and of what is known of its neighbours; readers have no order."""
    parts = [neighbour if isinstance(neighbour, str) else str(known[neighbour]) for neighbour in neighbours]
    ordered = parts if direction == "above" and label[0] not in COMMUTATIVE else sorted(parts)
    return hashlib.blake2b(repr((label, ordered)).encode(), digest_size=8).hexdigest()


def _content(tensor):
    if tensor is None or not tensor.raw_data:
        return None
    sample = tensor.raw_data[:SAMPLE]
    return tensor.data_type, tuple(tensor.dims), hashlib.blake2b(sample, digest_size=8).hexdigest()


def _shape(tensor):
    """The sizes above 1 in any order: a Conv's weights (8, 4, 1) become a MatMul's (4, 8)."""
    sizes = () if tensor is None else tuple(sorted(size for size in tensor.dims if size > 1))
    return sizes or None
