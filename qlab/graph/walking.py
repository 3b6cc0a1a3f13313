"""Everything in a model, wherever it hides: in the branches of If, the bodies of Loop and Scan, in functions."""

from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto


def graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Every graph of `model`: its own first, then those inside If, Loop and Scan, at any depth, functions' too."""
    yield from _with_subgraphs(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from _inside(node)


def nodes(model: ModelProto) -> Iterator[NodeProto]:
    """Every node of `model`, those of subgraphs and functions included."""
    for graph in graphs(model):
        yield from graph.node
    for function in model.functions:
        yield from function.node


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of `model`: initializers, sparse ones too, and tensors in attributes (Constant)."""
    for graph in graphs(model):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
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


def _with_subgraphs(graph):
    yield graph
    for node in graph.node:
        yield from _inside(node)


def _inside(node):
    for body in bodies(node):
        yield from _with_subgraphs(body)
