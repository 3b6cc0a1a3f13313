"""A convolution over time whose kernel is one frame wide is a matrix product, and can be quantized like one."""

import numpy as np
from onnx import helper, numpy_helper


def as_products(model, exclude=()):
    """Rewrite the pointwise 1-D convolutions of the ModelProto `model` in place, those named in `exclude` excepted.

    Conv(x [B, C, T], w [D, C, 1], b) = Transpose(MatMul(Transpose(x) [B, T, C], w.T [C, D]) + b), the same products
    summed: dynamic quantization takes it, without a fixed range for x and without rounding the result to 8 bits.
    onnxruntime removes the transposes that meet others. The product keeps the convolution's name.
    """
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes, replaced = [], set()
    for node in model.graph.node:
        if node.name not in exclude and _is_pointwise(node, weights):
            kernel = numpy_helper.to_array(weights[node.input[1]])
            matrix = np.ascontiguousarray(kernel[:, :, 0].T)
            model.graph.initializer.append(numpy_helper.from_array(matrix, f"{node.output[0]}/matrix"))
            replaced.add(node.input[1])
            nodes += _product(node)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input} | {value.name for value in model.graph.output}
    for name in replaced - used:
        model.graph.initializer.remove(weights[name])


def _is_pointwise(node, weights):
    if node.op_type != "Conv" or node.input[1] not in weights:
        return False
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return (
        list(weights[node.input[1]].dims[2:]) == [1]
        and attributes.get("group", 1) == 1
        and attributes.get("strides", [1]) == [1]
        and not any(attributes.get("pads", ()))
    )


def _product(node):
    y = node.output[0]
    frames, product, added = f"{y}/frames", f"{y}/product", f"{y}/added"
    yield helper.make_node("Transpose", [node.input[0]], [frames], f"{node.name}/frames", perm=[0, 2, 1])
    yield helper.make_node("MatMul", [frames, f"{y}/matrix"], [product], node.name)
    if len(node.input) > 2 and node.input[2]:
        yield helper.make_node("Add", [product, node.input[2]], [added], f"{node.name}/add")
        product = added
    yield helper.make_node("Transpose", [product], [y], f"{node.name}/channels", perm=[0, 2, 1])
