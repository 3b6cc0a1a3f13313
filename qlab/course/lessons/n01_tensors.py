"""The two weights that notebook 01 looks at, from the trained conformer."""

from functools import cache

import onnx
from onnx import numpy_helper

from qlab import models

HEAVY_TAILED = "encoder.embed.conv.2.weight"


@cache
def heavy_tailed_weight():
    """The second convolution's weight of the trained conformer, float32 (144, 144, 3, 3)."""
    graph = onnx.load(models.path("conformer")).graph
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == HEAVY_TAILED))


def weight_before(graph, bias):
    """The weight of the matrix product to whose result this bias is added."""
    add = next(node for node in graph.node if bias in node.input)
    product = next(node for node in graph.node if node.output[0] in add.input)
    return numpy_helper.to_array(next(tensor for tensor in graph.initializer if tensor.name == product.input[1]))
