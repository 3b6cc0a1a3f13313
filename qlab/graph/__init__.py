"""Open ONNX graphs and say what computes where.

>>> from qlab import graph, models
>>> graph.census(models.path("digits"), optimized=False).float["", "Conv"]
11

census          what computes on integers, on floats, at the boundary
diff, draw      what a quantizer did to a graph; a picture of it
optimized       the graph that onnxruntime makes of a file, and runs
in_floats       a quantized model without what quantizing added: weights as its codes are, activations unrounded
invented_feeds  inputs for a model of which only the file is at hand: to time it, not to calibrate it
opened          a Model: a file opened once, which goes wherever a path does
load, nodes, graphs, tensors   a checked ModelProto, and all that is in it
"""

from qlab.graph.census import Census, census, count, products_of_cast_codes, quantized_by
from qlab.graph.diff import Diff, diff
from qlab.graph.draw import draw
from qlab.graph.floating import in_floats
from qlab.graph.inventing import invented_feeds
from qlab.graph.model import Model, load, opened, optimized
from qlab.graph.network import bodies, graphs, nodes, reads, tensors
from qlab.graph.operators import is_quantized

__all__ = [
    "Census",
    "Diff",
    "Model",
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
    "opened",
    "optimized",
    "products_of_cast_codes",
    "quantized_by",
    "reads",
    "tensors",
]
