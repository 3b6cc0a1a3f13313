"""Open ONNX graphs and say what computes where.

>>> from qlab import graph, models
>>> graph.census(models.path("digits"), optimized=False).float["", "Conv"]
11
"""

from qlab.graph.counting import Census, census, count, is_quantized
from qlab.graph.diffing import Diff, diff
from qlab.graph.drawing import draw
from qlab.graph.files import load
from qlab.graph.optimizing import optimized
from qlab.graph.walking import graphs, nodes, tensors

__all__ = [
    "Census",
    "Diff",
    "census",
    "count",
    "diff",
    "draw",
    "graphs",
    "is_quantized",
    "load",
    "nodes",
    "optimized",
    "tensors",
]
