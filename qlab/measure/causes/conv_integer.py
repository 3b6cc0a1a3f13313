"""ConvInteger, which is what dynamic quantization makes of a convolution."""

from qlab.measure.finding import Finding
from qlab.measure.remedies import call, is_out_of_reach, mending, recipe_for
from qlab.text import ms

# What dynamic quantization puts behind a ConvInteger, then what a float or a static convolution has fused into it.
AFTER = ({"Cast"}, {"Mul"}, {"Add"}, {"Relu", "Clip", "LeakyRelu", "HardSigmoid", "Sigmoid", "Tanh"})


def conv_integer(examination, bill):
    """One Finding, if ConvInteger is in the graph that ran: it and the float nodes around it, against QLinearConv."""
    nodes = [node for node in examination.quantized.nodes if node.op_type == "ConvInteger"]
    if not nodes:
        return
    around = _around(examination, nodes)
    recipe = mending(examination, nodes, recipe_for(examination.fp32), is_other=True)
    of_one = examination.yardstick.float_ms if recipe == "dynamic" else examination.yardstick.healthy_ms
    healthy = sum(of_one(node) or node.ms for node in nodes)
    excess, cost = bill.left([*nodes, *around]) - healthy, 0.0
    for node in (*around, *nodes):
        cost += bill.charge(node, excess - cost)
    how = "leaves them in float" if recipe == "dynamic" else "convolutions static, as QLinearConv"
    if is_out_of_reach(examination, nodes, "static"):
        how += ": they are in the body of an If, Loop or Scan, where static quantization does not reach"
    pairs = sorted({f"{node.sign_pair[:2]} x {node.sign_pair[2:]}" for node in nodes if node.sign_pair})
    yield Finding(
        code="conv-integer",
        evidence=f"{len(nodes)} ConvInteger take {ms(sum(node.ms for node in nodes))} a run as {', '.join(pairs)} "
        f"products, {len(around)} nodes around them {ms(sum(node.ms for node in around))} more; in fp32 these "
        f"convolutions take {ms(_float_ms(examination, nodes))}",
        why="ConvInteger fuses with nothing: scale, bias and activation stay nodes of their own in float. It does one "
        "small matrix product for each group, and hands its weights over as the left factor, so that int8 weights make "
        "the slowest pair on x86",
        cost_ms=examination.cost(cost),
        remedy=f"{call(examination, recipe)}: {how}",
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )


def _around(examination, nodes):
    """The nodes that only serve ConvInteger: the quantizer of its input, and what turns its result into floats."""
    mine = {id(node) for node in nodes}
    found = {}
    for node in nodes:
        quantizer = examination.producers.get(node.node.input[0])
        if quantizer is not None and quantizer.op_type == "DynamicQuantizeLinear":
            readers = examination.consumers.get(quantizer.node.output[0], [])
            if all(id(reader) in mine for reader in readers):
                found[id(quantizer)] = quantizer
        for following in _chain(examination, node):
            found[id(following)] = following
            for name in following.node.input:  # the product of the two scales
                scale = examination.producers.get(name)
                if scale is not None and scale.op_type == "Mul" and scale.macs == 0 and _is_scalar(scale):
                    found[id(scale)] = scale
    return [node for key, node in found.items() if key not in mine]


def _chain(examination, node):
    """What follows `node` and nothing else reads: cast, scaling, then bias and activation where there are any."""
    for operators in AFTER:
        readers = examination.consumers.get(node.node.output[0], [])
        if len(readers) == 1 and readers[0].op_type in operators:
            node = readers[0]
            yield node


def _is_scalar(node):
    return node.bytes <= 64


def _float_ms(examination, nodes):
    return sum(examination.yardstick.float_ms(node) or 0.0 for node in nodes)
