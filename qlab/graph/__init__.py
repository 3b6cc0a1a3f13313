"""Open ONNX graphs and say what computes where.

>>> from qlab import graph, models
>>> graph.census(models.path("digits"), optimized=False).float["", "Conv"]
11

census          what computes on integers, on floats, at the boundary
diff, draw      what a quantizer did to a graph; a picture of it
optimized       the graph that onnxruntime makes of a file, and runs
in_floats       a quantized model without what quantizing added: weights as its codes are, activations unrounded
invented_feeds  inputs for a model of which only the file is at hand: to time it, not to calibrate it
load, nodes, graphs, tensors   a checked ModelProto, and all that is in it
"""

from qlab.graph.counting import Census, census, count, is_quantized, products_of_cast_codes, quantized_by
from qlab.graph.diffing import Diff, diff
from qlab.graph.drawing import draw
from qlab.graph.files import load
from qlab.graph.floating import in_floats
from qlab.graph.inventing import invented_feeds
from qlab.graph.optimizing import optimized
from qlab.graph.walking import bodies, graphs, nodes, reads, tensors

__all__ = [
    "Census",
    "Diff",
    "bodies",
    "census",
    "count",
    "diff",
    "draw",
    "graphs",
    "in_floats",
    "invented_feeds",
    "is_quantized",
    "load",
    "nodes",
    "optimized",
    "products_of_cast_codes",
    "quantized_by",
    "reads",
    "tensors",
]
