"""A model as one flat graph of operations: who gives what to whom, subgraphs and functions included."""

import os
from collections import ChainMap
from dataclasses import dataclass, field
from functools import cached_property, partial
from graphlib import CycleError, TopologicalSorter

import onnx
from onnx import AttributeProto, NodeProto, TensorProto, inliner

from qlab.graph.model import load
from qlab.graph.network import element_types, nodes
from qlab.graph.operators import codes_of, kind_of

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


def depth_first(roots, producers):
    """Every index that leads to `roots`, each once and after all its producers."""
    order, seen = [], set()
    for root in roots:
        stack = [] if root in seen else [(root, iter(producers[root]))]
        seen.add(root)
        while stack:
            index, rest = stack[-1]
            following = next((producer for producer in rest if producer not in seen), None)
            if following is None:
                order.append(index)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(producers[following])))
    return order
