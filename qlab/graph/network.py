"""The element types of a model's tensors, without a copy of its weights.

A model as one flat graph of operations: who gives what to whom, subgraphs and functions included.

Who computes and who reads each tensor of a graph."""

import contextlib
import os
from collections import ChainMap
from dataclasses import dataclass, field
from functools import cached_property, partial
from graphlib import CycleError, TopologicalSorter

import ml_dtypes
import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, inliner, numpy_helper

from qlab.graph.model import depth_first, graphs, load, nodes, reads
from qlab.graph.operators import CODES, KEEP_THE_TYPE, codes_of, kind_of

LARGE = 4096  # bytes: what is larger is a weight, never a shape that inference could need


def element_types(model):
    """{tensor name: element type} for a ModelProto, as far as types are declared or can be inferred."""
    light = _without_weights(model)
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


def _without_weights(model):
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    for tensor in graph.initializer:
        large = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        light.graph.initializer.append(large if tensor.ByteSize() > LARGE else tensor)
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


STATES_AFTER = {"Loop": 2, "Scan": 0}  # inputs of the node before those that the body's inputs take


@dataclass(frozen=True)
class ModelInput:
    """An input of the model, as the source of a tensor, or one of a Loop's body that nothing outside hands in."""

    name: str
    position: int
    scope: tuple[str, ...] = ()


@dataclass(frozen=True)
class Op:
    """One node and where its inputs come from.

    sources  one for each input: the producing op's index, a ModelInput, a TensorProto, or None (left out or unknown);
             after them, for If, Loop and Scan, what their bodies return
    scope    the attributes that lead to its graph, such as ("then_branch",)
    inside   how many of the ops before it are in its bodies; folded, how many of them are drawn with it as one
    """

    node: NodeProto
    kind: str
    scope: tuple[str, ...] = ()
    sources: list = field(default_factory=list)
    inside: int = 0
    folded: int = 0

    @property
    def name(self):
        """The node's name; where the exporter gave none, that of its first output."""
        return self.node.name or next(iter(self.node.output), "")

    @property
    def domain(self):
        """ "" for the standard domain."""
        return standard(self.node.domain)

    @property
    def op_type(self):
        """The operator's name."""
        return self.node.op_type

    @cached_property
    def producers(self):
        """Indices of the ops that it reads, each once, in the order of its inputs."""
        return list(dict.fromkeys(source for source in self.sources if isinstance(source, int)))

    @cached_property
    def read_from(self):
        """{index of an op: names of its inputs that this one makes}."""
        names = {}
        for name, source in zip(self.node.input, self.sources, strict=False):
            if isinstance(source, int):
                names.setdefault(source, []).append(name)
        return names

    @property
    def constants(self):
        """The stored tensors that it reads."""
        return [source for source in self.sources if isinstance(source, TensorProto)]


@dataclass(frozen=True)
class Wiring:
    """All ops of a model; nodes inside If, Loop and Scan stand before the node that holds them.

    outputs  the source of each output of the model
    types    element types by tensor name; codes, those of them that are codes
    opsets   version by domain, the standard one being ""
    """

    ops: list[Op]
    outputs: list
    output_names: list[str]
    types: dict[str, int]
    codes: set[int]
    opsets: dict[str, int]

    @cached_property
    def consumers(self):
        """For each op, the indices of the ops that read it."""
        readers = [[] for _ in self.ops]
        for index, op in enumerate(self.ops):
            for producer in op.producers:
                readers[producer].append(index)
        return readers

    @cached_property
    def constant(self):
        """For each op, whether it depends on nothing but what is stored in the model."""
        constant = [False] * len(self.ops)
        for index in self.order:
            sources = [source for source in self.ops[index].sources if source is not None]
            constant[index] = all(
                constant[source] if isinstance(source, int) else isinstance(source, TensorProto) for source in sources
            )
        return constant

    @cached_property
    def order(self):
        """Indices of the ops, each after those it reads.

        It follows from the structure alone, whatever the order and the names in the file: depth first from the model's
        outputs along the inputs. What leads to no output comes last.
        """
        roots = [source for source in self.outputs if isinstance(source, int)]
        dead_ends = [index for index, readers in enumerate(self.consumers) if not readers]
        return depth_first([*roots, *dead_ends], [op.producers for op in self.ops])


def standard(domain):
    """`domain`, or "" for the standard one, which has two names."""
    return "" if domain == "ai.onnx" else domain


def wire(model):
    """The Wiring of `model`: a ModelProto, or the path of a file. Functions of the model's own are put in their place.

    Raises what `graph.load` raises, and ValueError if nodes feed each other in a circle.
    """
    if not isinstance(model, str | os.PathLike | onnx.ModelProto):
        raise ValueError(f"model is a {type(model).__name__}; expected the path of a model file, or an onnx.ModelProto")
    model = model if isinstance(model, onnx.ModelProto) else load(model)
    if model.functions:
        try:
            model = inliner.inline_local_functions(model)
        except Exception as error:  # onnx's C++ has exceptions of its own
            raise ValueError(f"the model's functions cannot be put in their place: {error}; export it anew") from None
    types = element_types(model)
    ops, names = [], []
    kinds = partial(kind_of, types=types, codes=(codes := codes_of(nodes(model), types)))
    known = _enter(model.graph, (), ChainMap(), kinds, ops, names)
    for op, scope in zip(ops, names, strict=True):
        op.sources.extend(_resolve(name, inner) for name, inner in scope)
    outputs = [value.name for value in model.graph.output]
    _check_circles(ops)
    opsets = {standard(opset.domain): opset.version for opset in model.opset_import}
    return Wiring(ops, [_resolve(name, known) for name in outputs], outputs, types, codes, opsets)


def _enter(graph, path, outer, kinds, ops, names):
    """Append the ops of `graph` to `ops`, and to `names`, for each, its inputs as (name, names known where it stands).

    They are resolved when all is known: a file may hold its nodes in any order.
    """
    inputs = [ModelInput(value.name, number, path) for number, value in enumerate(graph.input)]
    known = outer.new_child({source.name: source for source in inputs})
    known |= {tensor.name: tensor for tensor in graph.initializer}
    known |= {sparse.values.name: sparse.values for sparse in graph.sparse_initializer}
    for node in graph.node:
        reads, first = [(name, known) for name in node.input], len(ops)
        for attribute in node.attribute:
            for body in [attribute.g] if attribute.type == AttributeProto.GRAPH else attribute.graphs:
                inner = _enter(body, (*path, attribute.name), known, kinds, ops, names)
                skipped = STATES_AFTER.get(node.op_type)
                if skipped is not None:
                    given = [(name, known) for name in node.input]
                    inner |= dict(zip([value.name for value in body.input][skipped:], given[skipped:], strict=False))
                reads += [(value.name, inner) for value in body.output]
        known |= {name: len(ops) for name in node.output if name}
        ops.append(Op(node, kinds(node), path, inside=len(ops) - first))
        names.append(reads)
    return known


def _resolve(name, scope):
    source = scope.get(name)
    while isinstance(source, tuple):  # an input of a body: what the node outside hands in
        name, scope = source
        source = scope.get(name)
    return source


def _check_circles(ops):
    try:
        TopologicalSorter({index: op.producers for index, op in enumerate(ops)}).prepare()
    except CycleError as error:
        names = " -> ".join(ops[index].name for index in error.args[1])
        raise ValueError(f"nodes feed each other in a circle: {names}; an ONNX graph must have none") from None


class Network:
    """The main graph of a ModelProto as a network of named tensors.

    constants  {name: TensorProto} of the weights; sparse ones by their values
    inputs, outputs  names, in order; inputs that are weights with another value to choose are no inputs here
    producers  {name: node}; readers, {name: nodes}, those that read it in a body of theirs included
    inside     names of what is computed in the bodies of If, Loop and Scan
    """

    def __init__(self, model):
        graph, *inner = graphs(model)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.constants |= {sparse.values.name: sparse.values for sparse in graph.sparse_initializer}
        self.inputs = [value.name for value in graph.input if value.name not in self.constants]
        self.outputs = [value.name for value in graph.output]
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self._order = {name: index for index, node in enumerate(graph.node) for name in node.output}
        self.inside = {name for body in inner for node in body.node for name in node.output}
        self.readers = {}
        for node in graph.node:
            for name in reads(node):
                self.readers.setdefault(name, []).append(node)

    def moving(self):
        """Names of all that depends on an input. The rest is constant: weights, whatever node hands them on."""
        found, todo = set(self.inputs), list(self.inputs)
        while todo:
            new = {name for node in self.readers.get(todo.pop(), ()) for name in node.output if name} - found
            found |= new
            todo += new
        return found

    def has(self, name):
        """Whether `name` is computed here, or fed."""
        return name in self.producers or name in self.inputs

    def layer(self, name, through):
        """The nodes that compute `name`, in graph order, back to whatever is not in `through`."""
        found, todo = {}, [name]
        while todo:
            value = todo.pop()
            if value in self.producers and self._order[value] not in found:
                found[self._order[value]] = self.producers[value]
                todo += [read for read in reads(self.producers[value]) if read in through]
        return [found[index] for index in sorted(found)]

    def takers(self, name, op_type):
        """The nodes of that type whose first input is `name`."""
        return [node for node in self.readers.get(name, ()) if node.op_type == op_type and node.input[0] == name]

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
