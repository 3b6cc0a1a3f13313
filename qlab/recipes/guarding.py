"""Keep in float what is to stay in float: onnxruntime quantizes some weights itself when it opens a model."""

from onnx import helper

WEIGHTS_QUANTIZED_AT_LOAD = ("Conv", "ConvTranspose", "Gemm")


def keep_float(model):
    """Put a Sum of one behind each product of floats that stands between a DQ and one Q, in place.

    onnxruntime would round such a product's weights to int8, with one scale for all channels and at 8 bits even where
    those saturate. A Sum of one changes no number, costs one pass over the result, and no optimizer removes it.
    """
    graph = model.graph
    producers = {name: node for node in graph.node for name in node.output}
    weights = {tensor.name for tensor in graph.initializer}
    readers = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    readers |= {output.name: [] for output in graph.output}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        behind = readers.get(node.output[0], [])
        if (
            node.op_type in WEIGHTS_QUANTIZED_AT_LOAD
            and node.input[1] in weights
            and node.input[0] in producers
            and producers[node.input[0]].op_type == "DequantizeLinear"
            and [one.op_type for one in behind] == ["QuantizeLinear"]
        ):
            result, node.output[0] = node.output[0], f"{node.output[0]}/float"
            nodes.append(helper.make_node("Sum", [node.output[0]], [result], f"{node.name}/float"))
    del graph.node[:]
    graph.node.extend(nodes)
