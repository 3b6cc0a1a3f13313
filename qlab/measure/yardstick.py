"""How long a product should take: measured in the fp32 model, divided by what the machine card promises."""

import math
from collections import defaultdict

from qlab.graph.operators import LAYOUT

PRODUCT_FAMILIES = ("convolution", "matrix product", "other product")
FULL_DEPTH = 64


class Yardstick:
    """Times of products by their work, from a Profile of the fp32 model.

    speed   how many times as fast as float32 the integer product is that the recipes would choose
    A product is looked up by its work: the same number of multiply-adds with weights of the same size, since fusing and
    quantizing rename nodes. Where none is like it, the fp32 model's mean rate for its kind of product serves.
    """

    def __init__(self, fp32, speed):
        self.speed = speed
        alike, rates = defaultdict(list), defaultdict(lambda: [0.0, 0])
        for node in fp32.nodes:
            if node.family in PRODUCT_FAMILIES and node.macs:
                alike[_work(node)].append(node.ms)
                rate = rates[_kind(node)]
                rate[0] += node.ms
                rate[1] += node.macs
        self._layout_ms = sum(node.ms for node in fp32.nodes if node.op_type in LAYOUT)
        self._convolutions_ms = sum(node.ms for node in fp32.nodes if node.family == "convolution")
        self._alike = {work: sum(times) / len(times) for work, times in alike.items()}
        self._rates = {kind: ms / macs for kind, (ms, macs) in rates.items()}

    def float_ms(self, node):
        """Milliseconds of the same product in the fp32 model, or None if it has nothing of the kind."""
        if _work(node) in self._alike:
            return self._alike[_work(node)]
        rate = self._rates.get(_kind(node))
        return None if rate is None else rate * node.macs

    def layout_ms(self, node):
        """Milliseconds that the fp32 model needs besides, to bring this convolution's tensors into blocks and back."""
        if node.family != "convolution" or not self._convolutions_ms:
            return 0.0
        return self._layout_ms * (self.float_ms(node) or 0.0) / self._convolutions_ms

    def healthy_ms(self, node):
        """Milliseconds of the same product on the fastest integers, or None if the fp32 model has nothing like it."""
        milliseconds = self.float_ms(node)
        return None if milliseconds is None else milliseconds / integer_speed(node, max(self.speed, 1.0))

    def excess_ms(self, nodes):
        """Milliseconds by which these products are slower than on the fastest integers, all together."""
        return sum(max(0.0, node.ms - (self.healthy_ms(node) or node.ms)) for node in nodes)


def integer_speed(node, speed):
    """How many times as fast as in float32 a product, a NodeTime, is on integers; a large one is it `speed` times.

    1. Depthwise convolutions of images gain nothing: they have a kernel of their own, bounded by what it reads.
    2. Where fewer than FULL_DEPTH products go into a sum, turning sums into codes weighs as much as multiplying: the
       gain is in proportion to their number.
    """
    if node.depthwise and len(node.weights) == 4:
        return min(speed, 1.0)
    if speed <= 1 or len(node.weights) < 2 or node.op_type == "MatMulNBits":  # whose weights are packed
        return speed
    depth = math.prod(node.weights[1:]) if node.family == "convolution" else node.weights[-2]
    return 1 + (speed - 1) * min(1.0, depth / FULL_DEPTH)


def _work(node):
    return node.macs, math.prod(node.weights), node.depthwise


def _kind(node):
    """A convolution over one frame is a matrix product in all but name, so its rate is not a depthwise one's."""
    return "depthwise" if node.depthwise else "dense"
