"""All that is in a ModelProto, whoever holds it: its graphs and nodes, their types, who computes and who reads."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper

from qlab.graph.operators import CODES, KEEP_THE_TYPE

LARGE = 1024  # numbers: what has more is a weight, never a shape that inference could need


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Every graph of `model`: its own first, then those inside If, Loop and Scan, at any depth, functions' too."""
    yield from _with_subgraphs(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _inside(node)


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of `model`, those of subgraphs and functions included."""
    for one in graphs(model):
        yield from one.node
    for function in model.functions:
        yield from function.node


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of `model`: initializers, sparse ones too, and tensors in attributes (Constant)."""
    for one in graphs(model):
        yield from one.initializer
        for sparse in one.sparse_initializer:
            yield from (sparse.values, sparse.indices)
    for node in nodes(model):
        for attribute in node.attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors


def bodies(node: NodeProto) -> Iterator[GraphProto]:
    """The graphs inside one node: the branches of an If, the body of a Loop or Scan."""
    for attribute in node.attribute:
        yield from [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs


def reads(node: NodeProto) -> Iterator[str]:
    """Every name that `node` reads: its inputs, and what the nodes of its bodies read, at any depth."""
    yield from (name for name in node.input if name)
    for body in bodies(node):
        for inner in body.node:
            yield from reads(inner)


def _with_subgraphs(graph):
    yield graph
    for node in graph.node:
        yield from _inside(node)


def _inside(node):
    for body in bodies(node):
        yield from _with_subgraphs(body)


def element_types(model):
    """{tensor name: element type} for a ModelProto, as far as types are declared or can be inferred."""
    light = without_weights(model)
    # A model that onnxruntime runs may still be beyond inference: then what is declared must do.
    with contextlib.suppress(Exception):
        light = onnx.shape_inference.infer_shapes(light)
    types = {}
    for graph in graphs(light):
        for value in (*graph.input, *graph.value_info, *graph.output):
            types[value.name] = value.type.tensor_type.elem_type
        types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    for graph in graphs(light):
        for node in graph.node:
            _pass_on(node, types)
    return types


def without_weights(model):
    """The ModelProto again, of whose large weights only types and shapes are left."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    for tensor in graph.initializer:
        large = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        light.graph.initializer.append(large if math.prod(tensor.dims) > LARGE else tensor)
    return light


def _pass_on(node, types):
    """Fill in what ONNX's inference leaves open behind onnxruntime's own operators, whose rules it does not know.

    1. What QLinear operators write is of the type of its zero point, the last of their inputs that is a code.
    2. What only moves values keeps their type.
    """
    read = [types.get(name, TensorProto.UNDEFINED) for name in node.input]
    kind = TensorProto.UNDEFINED
    if node.op_type.startswith("QLinear"):
        kind = next((one for one in reversed(read) if one in CODES), kind)
    elif node.op_type in KEEP_THE_TYPE and read:
        kind = read[0]
    for name in node.output:
        if not types.get(name):
            types[name] = kind


class Links:
    """Who computes and who reads each tensor among some nodes, or among things that have a node.

    >>> links = Links(model.graph.node)  # doctest: +SKIP
    >>> links.readers["x"]  # doctest: +SKIP

    items  in the order of their graph; `node(item)` is its NodeProto
    ends   tensors that the outside reads as well, such as the outputs of a model

    producers  {tensor: item}; readers, {tensor: items}, each once: what the bodies of an If, Loop or Scan read is read
               by the node that holds them
    """

    def __init__(self, items: Iterable[Any], node: Callable[[Any], NodeProto] = lambda item: item, ends=()):
        self.items, self.ends = list(items), frozenset(ends)
        self.producers: dict[str, Any] = {}
        self.readers: dict[str, list[Any]] = {}
        self._node, self._order = node, {}
        for place, item in enumerate(self.items):
            for name in filter(None, node(item).output):
                self.producers[name], self._order[name] = item, place
            for name in dict.fromkeys(reads(node(item))):
                self.readers.setdefault(name, []).append(item)

    def makers(self, item):
        """The items that compute what this one reads, in the order of its inputs, each once."""
        made = (self.producers[name] for name in reads(self._node(item)) if name in self.producers)
        return list({id(one): one for one in made}.values())

    def behind(self, item):
        """The items that read what this one computes, each once."""
        found = (reader for name in self._node(item).output if name for reader in self.readers.get(name, ()))
        return list({id(one): one for one in found}.values())

    def maker(self, item, place=0):
        """The item that computes input `place` of this one; None where it is fed, stored or left out."""
        names = self._node(item).input
        return self.producers.get(names[place]) if len(names) > place else None

    def sole_reader(self, name):
        """The one item that reads the tensor; None where several do, or none, or the outside."""
        readers = self.readers.get(name, ())
        return readers[0] if len(readers) == 1 and name not in self.ends else None

    def takers(self, name, op_type):
        """The items of that type whose first input is `name`."""
        readers = self.readers.get(name, ())
        return [item for item in readers if self._node(item).op_type == op_type and self._node(item).input[0] == name]

    def layer(self, name, through):
        """The items that compute `name`, in order, back to whatever is not in `through`."""
        found, todo = set(), [name]
        while todo:
            value = todo.pop()
            place = self._order.get(value)
            if place is not None and place not in found:
                found.add(place)
                todo += [read for read in reads(self._node(self.items[place])) if read in through]
        return [self.items[place] for place in sorted(found)]

    def moving(self, names):
        """The tensors in `names` and all that depends on them."""
        found, todo = set(names), list(names)
        while todo:
            new = {name for item in self.readers.get(todo.pop(), ()) for name in self._node(item).output if name}
            todo += new - found
            found |= new
        return found


class Network(Links):
    """The main graph of a ModelProto as a network of named tensors.

    constants  {name: TensorProto} of the weights; sparse ones by their values
    inputs, outputs  names, in order; inputs that are weights with another value to choose are no inputs here
    inside     names of what is computed in the bodies of If, Loop and Scan
    """

    def __init__(self, model: ModelProto):
        graph, *inner = graphs(model)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.constants |= {sparse.values.name: sparse.values for sparse in graph.sparse_initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.inside = {name for body in inner for node in body.node for name in node.output}
        super().__init__(graph.node, ends=self.outputs)

    def has(self, name):
        """Whether `name` is computed here, or fed."""
        return name in self.producers or name in self.inputs

    def starts_at_zero(self, zero_point):
        """Whether codes with the zero point of that name stand for no negative number; "" is the default, uint8's 0."""
        value = self._value(zero_point) if zero_point else np.uint8(0)
        return value is not None and bool((value == ml_dtypes.iinfo(value.dtype).min).all())

    def are_equal(self, first, second):
        """Whether two names stand for the same constant, or for constants of the same value."""
        if first == second:
            return True
        values = [self._value(name) for name in (first, second)]
        return all(value is not None for value in values) and np.array_equal(*values)

    def is_on_grid(self, name, scale, zero_point):
        """Whether the constant `name` is exactly what one of the codes with that scale and zero point stands for."""
        value, step, zero = (self._value(one) if one else np.uint8(0) for one in (name, scale, zero_point))
        if value is None or not np.any(value):
            return value is not None
        if step is None or zero is None:
            return False
        limits, codes = ml_dtypes.iinfo(zero.dtype), np.rint(np.float32(value) / np.float32(step))
        within = np.clip(codes + np.float32(zero), limits.min, limits.max) - np.float32(zero)
        return bool(np.array_equal(within * np.float32(step), np.float32(value)))

    def _value(self, name):
        """The constant of that name, or None: it is computed, or stored outside the file, as only large ones are."""
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)
