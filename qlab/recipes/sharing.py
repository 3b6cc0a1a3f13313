"""Weights that several nodes share, where they need a scale each."""

from qlab.graph.operators import of


def unshare(model, op_types, exclude):
    """Give nodes that use the same weights of the ModelProto `model` in different ways a copy each, in place.

    A matrix that is an embedding here and, transposed, the output layer there has channels along different axes, and a
    vector may be a bias in one place and a summand in the other. onnxruntime's static quantizer keeps one scale per
    tensor, takes the first user's, and writes a model that fails at run time. A bias has the scale of its product, and
    onnxruntime's own copies of it get names that others may have.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    first_use, copies = {}, {}
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name not in weights:
                continue
            use = _use(node, place) if node.op_type in op_types and node.name not in exclude else "float"
            if first_use.setdefault(name, use) != use:
                node.input[place] = copies.setdefault((name, use), f"{name}/copy{len(copies)}")
    for (name, _), copy in copies.items():
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(weights[name])
        tensor.name = copy


def _use(node, place):
    if place == of(node.op_type).bias:
        return node.name
    transposed = [attribute.i for attribute in node.attribute if attribute.name == "transB"]
    return node.op_type, place, transposed == [1]
