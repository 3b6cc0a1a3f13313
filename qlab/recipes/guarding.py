"""Keep onnxruntime from what it does to Q, DQ and weights of its own accord when it opens a model.

The means is a Sum of one: it changes no number, costs one pass over them, and no optimizer removes it.
"""

from onnx import helper

from qlab import graph

ROUNDED_AT_LOAD = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # a MatMul with an Add behind it becomes a Gemm
MOVES = {"Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
FOLDED_BEHIND = {"Add", "BatchNormalization", "Clip", "Mul", "Relu"}
FOLDED_AHEAD = {"Pad"}


def keep_float(model):
    """Put a Sum ahead of each product of floats that stands between a DQ and Qs, in place.

    onnxruntime would round such a product's weights to int8, with one scale for all channels and at 8 bits even where
    those saturate. Between them may stand what it drops, folds into the product, or moves a Q or DQ past.
    """
    main = model.graph
    stored = {tensor.name for tensor in main.initializer}
    from_codes, to_codes = _behind_codes(main.node), _ahead_of_codes(main)
    _put_sums(main, [node for node in main.node if node.op_type in ROUNDED_AT_LOAD and node.input[1] in stored
                     and node.input[0] in from_codes and node.output[0] in to_codes])  # fmt: skip


def keep_signed(model):
    """Put a Sum beside each mover of int8 numbers that has codes on one side only, in place.

    onnxruntime moves the Q or DQ past it, from opset 21 on with int8 in an attribute. Then, on x86, it shifts the codes
    to uint8, forgets the attribute, and cannot open the model.
    """
    main = model.graph
    given = {name for node in main.node if node.op_type == "DequantizeLinear" for name in node.output}
    readers = _readers(main)
    taken = {name for name, nodes in readers.items() if all(one and one.op_type == "QuantizeLinear" for one in nodes)}
    movers = [node for node in main.node if node.op_type in MOVES]
    ahead = [node for node in movers if node.input[0] in given and node.output[0] not in taken]
    behind = [node for node in movers if node.input[0] not in given and node.output[0] in taken]
    _put_sums(main, ahead, behind)


def _put_sums(main, ahead, behind=()):
    """Put a Sum ahead of some nodes, one for all that read the same, and behind others."""
    ahead, behind = ({node.output[0] for node in nodes} for nodes in (ahead, behind))
    nodes, summed = [], {}
    for node in main.node:
        name, result = node.input[0] if node.input else "", node.output[0] if node.output else ""
        if result in ahead:
            if name not in summed:
                summed[name] = f"{name}/float"
                nodes.append(helper.make_node("Sum", [name], [summed[name]], f"{node.name}/float"))
            node.input[0] = summed[name]
        nodes.append(node)
        if result in behind:
            node.output[0] = f"{result}/float"
            nodes.append(helper.make_node("Sum", [node.output[0]], [result], f"{node.name}/float"))
    del main.node[:]
    main.node.extend(nodes)


def _behind_codes(nodes):
    """The tensors that a DQ gives, or that its DQ may reach."""
    found = set()
    for node in nodes:
        if node.op_type == "DequantizeLinear" or (node.op_type in MOVES | FOLDED_AHEAD and node.input[0] in found):
            found.update(node.output)
    return found


def _ahead_of_codes(main):
    """The tensors that only Qs read, or what their Qs may reach."""
    readers, found = _readers(main), set()
    for node in reversed(main.node):
        for name in node.output:
            if name in readers and all(_takes_to_codes(one, found) for one in readers[name]):
                found.add(name)
    return found


def _takes_to_codes(node, ahead):
    if node is None:
        return False
    carries = node.op_type in MOVES | FOLDED_BEHIND and node.output[0] in ahead
    return node.op_type == "QuantizeLinear" or carries


def _readers(main):
    """{tensor: the nodes that read it, in their bodies too, and None for the outside}."""
    readers = {output.name: [None] for output in main.output}
    for node in main.node:
        for name in graph.reads(node):
            readers.setdefault(name, []).append(node)
    return readers
