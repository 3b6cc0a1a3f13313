"""One recipe on one model, again and again, each time with other layers in float: cheap enough to search with."""

import math
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, external_data_helper

from qlab.graph.network import LARGE, Links, reads
from qlab.graph.operators import FLOAT_PRODUCTS
from qlab.recipes.job import drafting, job
from qlab.recipes.quantized import ways
from qlab.runtime import open_session

NUMBERS = {TensorProto.FLOAT: np.float32, TensorProto.INT8: np.int8, TensorProto.UINT8: np.uint8}  # of weights


@dataclass(frozen=True)
class Layer:
    """A product, and the nodes around it that work on its codes: they stay in float together.

    name     of the product in the pre-processed model;   op_type, its operator;   how, the way that it is quantized
    nodes    the names of all of them, the product's first
    weights  how many numbers its constant factor has; 0 if both factors move
    """

    name: str
    op_type: str
    how: str
    nodes: tuple[str, ...]
    weights: int = 0


class Mixer:
    """Models of one recipe in which some layers stay in float.

    Prepared once, calibrated once, each weight rounded once: to be used in a block of `job.sharing`.
    `mixed(floats)` computes what `recipe(..., exclude=names of these layers)` writes.

    recipe   a Recipe;   model, a graph.Model;   output, where the result is to stand in the end
    options  for the recipe: reader or ranges, card
    """

    def __init__(self, recipe, model, output, reader, **options):
        self._recipe, self._model, self._output = recipe, model, output
        self._reader, self._options = reader, options
        self._codes, self._shelf = {}, Shelf()
        with job(recipe.name, model, output) as work:
            self.prepared = work.prepared
        self.layers = layers_of(recipe, self.prepared.proto, self.draft(()))

    def draft(self, names):
        """The ModelProto with the nodes `names` in float."""
        with drafting(self._codes):
            return self._made(names)

    def names(self, floats):
        """The names of all nodes of these layers, given by their places."""
        return tuple(name for place in sorted(floats) for name in self.layers[place].nodes)

    def mixed(self, floats):
        """A session of the model with the layers at these places in float."""
        draft = self.draft(self.names(floats))
        weights = self._shelf.taken_from(draft)
        return open_session(draft.SerializeToString(), weights=weights)

    def publish(self, floats):
        """Let the recipe write the output, with these layers in float: a Quantized."""
        with drafting(self._codes, is_draft=False):
            return self._made(self.names(floats))

    def _made(self, names):
        return self._recipe(self._model, self._output, self._reader, exclude=tuple(names), **self._options)


class Shelf:
    """The weights of many drafts of one model, outside of them: what several have alike is there once."""

    def __init__(self):
        self._kept = {}

    def taken_from(self, draft):
        """{name: array} of the large weights that the ModelProto `draft` has no more, as `open_session` takes them."""
        read, taken = {name for node in draft.graph.node for name in reads(node)}, {}
        for tensor in draft.graph.initializer:
            # A constant that nobody reads is dropped before onnxruntime would look for its numbers.
            if tensor.data_type not in NUMBERS or math.prod(tensor.dims) <= LARGE or tensor.name not in read:
                continue
            if numbers := tensor.raw_data:
                external_data_helper.set_external_data(tensor, "shelf")
                tensor.ClearField("raw_data")
                taken[tensor.name] = self._array(tensor, numbers)
        return taken

    def _array(self, tensor, numbers):
        """The array of a tensor's bytes; a name may stand for other numbers in another draft."""
        alike = self._kept.setdefault((tensor.name, tensor.data_type, *tensor.dims), [])
        if (known := next((array for kept, array in alike if kept == numbers), None)) is not None:
            return known
        alike.append((numbers, np.frombuffer(numbers, NUMBERS[tensor.data_type]).reshape(tensor.dims)))
        return alike[-1][1]


def layers_of(recipe, before, after):
    """The Layers of the pre-processed ModelProto `before` that are quantized in `after`, in graph order.

    A node that works on codes and is no product goes with the product that its numbers come from, or else with the one
    that they go to.
    """
    how = {node.name: way for node, way, _ in ways(before, after) if way}
    links = Links(before.graph.node)
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in before.graph.initializer}
    products = [node for node in before.graph.node if node.name in how]
    owned = {node.name: [node.name] for node in products}
    of = {node.name: node.name for node in products}
    around = [node for node in before.graph.node if node.op_type in recipe.keeps - FLOAT_PRODUCTS]
    for node in before.graph.node:
        above = (of[one.name] for one in links.makers(node) if one.name in of)
        of.setdefault(node.name, next(above, None))
    below = {}
    for node in reversed(before.graph.node):
        found = (below[one.name] for one in links.behind(node) if below.get(one.name))
        below[node.name] = node.name if node.name in how else next(found, None)
    for node in around:
        owner = of[node.name] or below[node.name]
        if owner:
            owned[owner].append(node.name)
    return [
        Layer(one.name, one.op_type, how[one.name], tuple(owned[one.name]), sizes.get(one.input[1], 0))
        for one in products
    ]
