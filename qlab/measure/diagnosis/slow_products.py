"""What costs time in products, besides those that stayed in float, and in what stands around them.

Models that integers cannot make faster; slow pairs of signs; ConvInteger, which is what dynamic quantization makes of a
convolution; weights stored as codes and multiplied as floats; normalizations that were quantized before they were
folded, and those that no convolution can take.
"""

import math
from collections import Counter

from qlab import graph
from qlab.graph.operators import CONVOLUTION, FUSED_ACTIVATIONS, QUANTIZERS, STATIC
from qlab.measure.diagnosis.finding import NEITHER, Cause, Finding, Kind
from qlab.measure.trace import side_by_side, took
from qlab.recipes import RECIPES, choice
from qlab.recipes.static import DEFAULT_OP_TYPES
from qlab.text import listed, ms, plural

WORTH_WHILE = 1.15
DOMINANT = 0.1  # of a run: what makes a model slow that is too small to gain
SLOW = 0.9  # of the best pair's speed; within it, two pairs differ by less than the card's own noise
LEAST_SHARE_OF_PAIRS = 0.03
# What dynamic quantization puts behind a ConvInteger, then what a float or a static convolution has fused into it.
AFTER = ({"Cast"}, {"Mul"}, {"Add"}, FUSED_ACTIVATIONS)
SCALAR_BYTES = 64  # or less: a product of two scales
LEAST_SHARE_OF_WEIGHTS = 0.02
FUSED, SLOWER = "MatMulNBits", 1.05
AS_INTEGERS = "activations as codes too, so that the product is an integer one"
NORM = "BatchNormalization"
TAKES = ("Conv", "ConvTranspose", "MatMul")  # where nothing else reads their result
LEAST_SHARE_OF_NORMS = 0.03

SMALL = Kind(
    "too-small",
    "the products take too little of the time for integers to gain",
    why="integers speed up what has an integer kernel only (Amdahl's law). A small model spends its time on starting "
    "operators, others on what lies between the products",
    mend="stay with fp32 for speed, or run more at a time (a larger batch, a longer input); quantize only to save "
    "bytes",
    mended_by=(),
    costs=NEITHER,
)
PAIR = Kind(
    "slow-sign-pair",
    "products whose pair of signs is slow on the card",
    why="the pair of signs decides which instruction multiplies: a CPU has a fast one for some pairs only, and the "
    "others are widened first, or done one by one",
)
CONV_INTEGER = Kind(
    "conv-integer",
    "convolutions that dynamic quantization made ConvInteger",
    why="ConvInteger fuses with nothing: scale, bias and activation stay nodes of their own in float. It does one "
    "small matrix product for each group, and hands its weights over as the left factor, so that int8 weights make "
    "the slowest pair on x86",
)
WEIGHT_ONLY = Kind(
    "weight-only",
    "weights that are stored as codes and turned back, or unpacked block by block, in every run",
    why="codes that are converted in every run save bytes, and time only where reading the weights is what takes it: "
    "a few rows, from memory. Elsewhere the conversion comes on top of the products",
    mend=AS_INTEGERS,
)
UNFOLDED = Kind(
    "unfolded-norm",
    "batch normalizations that were quantized before they were folded into their convolutions",
    why="onnxruntime folds them into the weights of the convolution before them when it loads an fp32 model. Once "
    "the convolution is quantized, other nodes stand between the two (Q and DQ, or Cast and Mul), and they stay",
    mend="the recipes pre-process the model first, as quant_pre_process does",
)
ALONE = Kind(
    "norm-not-behind-conv",
    "batch normalizations that no convolution before them can take",
    why="a batch normalization costs nothing where it stands right behind a convolution that nothing else reads, "
    "whose weights then take it. Elsewhere it is an operator, for which onnxruntime has no integer kernel",
    mend="no recipe can: swap the two when you train, convolution, normalization, activation; or fold them into "
    "the next convolution, if it does not pad and nothing else reads them",
    mended_by=(),
)


def too_small(examination, bill):
    """One Finding, if all that can run on integers, at the fastest pair's speed, gains less than WORTH_WHILE (Amdahl).

    Integers shorten what an operator computes, not what it takes to start it. Besides the products, what recipes.static
    takes between them (additions, pools) is counted as if it gained as much: no recipe can do better than that. Other
    causes then count only where the model is slower than fp32, and they make it so.
    """
    profile, speed = examination.fp32, max(examination.yardstick.speed, 1.0)
    start = examination.start_ms
    able = [node for node in profile.nodes if _is_able(node)]
    computing = sum(max(0.0, node.ms - start) for node in able)
    limit = profile.total_ms / (profile.total_ms - computing * (1 - 1 / speed))
    if limit >= WORTH_WHILE:
        return
    bill.least_ms = DOMINANT * examination.quantized.total_ms if examination.is_slower else math.inf
    evidence = (
        f"of {ms(profile.total_ms)} a run of the fp32 model {plural(len(able), 'operator')} that integers "
        f"could take over compute for {ms(computing)}, {100 * computing / profile.total_ms:.0f} %, when "
        f"{1e3 * start:.2g} microseconds to start each are left out; {speed:.2f} times faster, they would make the "
        f"whole {limit:.2f} times as fast at most"
    )
    yield Finding.of(SMALL, examination, evidence)


def _is_able(node):
    """Whether integers could take it over; for products without a kernel there is a finding of their own."""
    return node.multiplies or node.op_type in DEFAULT_OP_TYPES


def slow_sign_pairs(examination, bill):
    """A Finding for each slow pair: what the same products would save with the pair that the recipes choose."""
    card, groups = examination.card, {}
    for node in examination.quantized.nodes:
        better = _better_pair(node, examination)
        speed = card.speed.get(node.sign_pair)
        if better and speed is not None and card.speed[better] and speed < SLOW * card.speed[better]:
            groups.setdefault((node.sign_pair, better), []).append(node)
    for (pair, better), nodes in groups.items():
        slower = 1 - card.speed[pair] / card.speed[better]
        saving = {node: max(0.0, node.ms - examination.start_ms) * slower for node in nodes}
        if examination.matters(sum(saving.values()), LEAST_SHARE_OF_PAIRS):
            cost = sum(bill.charge(*one) for one in saving.items())
            yield _slow_pair(examination, pair, better, nodes, cost)


def _better_pair(node, examination):
    """The pair that this product could have instead, or "" where the pair does not decide its speed.

    1. ConvInteger multiplies weights x activations, and these are uint8: unsigned weights are its best.
    2. A depthwise QLinearConv has kernels of its own, which are no matrix products.
    3. Static products may have any pair, dynamic ones uint8 activations only, and int8 weights beside an LSTM.
    """
    if not node.sign_pair or (node.depthwise and node.op_type != "ConvInteger"):
        return ""
    if node.op_type == "ConvInteger":
        return "u8u8"
    if node.op_type in STATIC:
        return examination.choice.pair
    return choice.choose(examination.card, "uint8", "int8" if "LSTM" in examination.original_operators else None).pair


def _slow_pair(examination, pair, better, nodes, cost):
    card = examination.card
    recipe = examination.mending(nodes, examination.alike, is_other=True)
    operators = {node.op_type for node in nodes}
    evidence = (
        f"{plural(len(nodes), 'product')} ({', '.join(sorted(operators))}) multiply {_spoken(pair)} and take "
        f"{ms(took(nodes))} a run; {card.name} does that at {card.speed[pair]:.2f} times float32's speed, "
        f"{_spoken(better)} at {card.speed[better]:.2f}"
    )
    reduced = ", its scales such that no sum saturates" if examination.choice.reduce_range else ""
    mend = f"its dtypes come from the card{reduced}"
    if recipe is not None and operators == {"ConvInteger"} and CONVOLUTION not in recipe.fits:
        mend = "leaves these convolutions in float"
    cost_ms = examination.cost(cost)
    return Finding.of(PAIR, examination, evidence, cost_ms=cost_ms, nodes=nodes, recipe=recipe, mend=mend)


def _spoken(pair):
    return f"{pair[:2]} x {pair[2:]}"


def conv_integer(examination, bill):
    """One Finding, if ConvInteger is in the graph that ran: it and the float nodes around it, against QLinearConv."""
    nodes = [node for node in examination.quantized.nodes if node.op_type == "ConvInteger"]
    if not nodes:
        return
    around = _around(examination, nodes)
    recipe = examination.mending(nodes, examination.fitting, is_other=True)
    leaves = recipe is not None and CONVOLUTION not in recipe.fits
    of_one = examination.yardstick.float_ms if leaves else examination.yardstick.healthy_ms
    healthy = sum(of_one(node) or node.ms for node in nodes)
    excess, cost = bill.left([*nodes, *around]) - healthy, 0.0
    for node in (*around, *nodes):
        cost += bill.charge(node, excess - cost)
    how = "leaves them in float" if leaves else "convolutions static, as QLinearConv"
    if examination.is_out_of_reach(nodes, RECIPES.of_ways(choice.STATIC)):
        how += ": they are in the body of an If, Loop or Scan, where static quantization does not reach"
    pairs = sorted({_spoken(node.sign_pair) for node in nodes if node.sign_pair})
    evidence = (
        f"{len(nodes)} ConvInteger take {ms(took(nodes))} a run as {', '.join(pairs)} "
        f"products, {len(around)} nodes around them {ms(took(around))} more; in fp32 these "
        f"convolutions take {ms(sum(examination.yardstick.float_ms(node) or 0.0 for node in nodes))}"
    )
    cost_ms = examination.cost(cost)
    yield Finding.of(CONV_INTEGER, examination, evidence, cost_ms=cost_ms, nodes=nodes, recipe=recipe, mend=how)


def _around(examination, nodes):
    """The nodes that only serve ConvInteger: the quantizer of its input, and what turns its result into floats."""
    ran, found = examination.ran, {}  # in order
    for node in nodes:
        quantizers = [one for one in ran.makers(node) if one.op_type == "DynamicQuantizeLinear"]
        found |= dict.fromkeys(one for one in quantizers if set(ran.readers[one.node.output[0]]) <= set(nodes))
        for following in _chain(examination, node):
            products = [one for one in ran.makers(following) if one.op_type == "Mul" and one.macs == 0]
            scales = [one for one in products if one.bytes <= SCALAR_BYTES]  # the product of the two scales
            found |= dict.fromkeys([following, *scales])
    return [node for node in found if node not in nodes]


def _chain(examination, node):
    """What follows `node` and nothing else reads: cast, scaling, then bias and activation where there are any."""
    for operators in AFTER:
        readers = examination.ran.readers.get(node.node.output[0], [])
        if len(readers) == 1 and readers[0].op_type in operators:
            node = readers[0]
            yield node
    gated = examination.ran.readers.get(node.node.output[0], [])  # HardSwish, which a float convolution has fused, too
    if len(gated) == 2 and {one.op_type for one in gated} == {"HardSigmoid", "Mul"}:
        yield from gated


def weight_only(examination, bill):
    """Findings on weights that are stored as codes while the activations stay floats.

    1. DequantizeLinear nodes with constant codes. Where the activations come from a DequantizeLinear as well, the
       product was meant to run on integers: what kept it in float is another cause's to tell.
    2. MatMulNBits, which onnxruntime makes of such a node and its MatMul too, if that is slower than the fp32 product:
       it unpacks block by block, which pays where there are few rows and reading the weights takes the time.
    3. Products whose codes stand behind a Cast: onnxruntime folds them into floats when it opens the file.
    """
    yield from _dequantized(examination, bill)
    yield from _fused(examination, bill)
    yield from _folded(examination, bill)


def _dequantized(examination, bill):
    dequantizers, products = [], {}
    for node in examination.quantized.nodes:
        if not examination.has_constant_codes(node):
            continue
        readers = examination.ran.readers.get(node.node.output[0], [])
        if readers and not any(examination.reads_codes(reader) for reader in readers):
            dequantizers.append(node)
            products |= dict.fromkeys(reader for reader in readers if reader.macs and reader.kind == "float")
    milliseconds, excess = took(dequantizers), examination.yardstick.excess_ms(products)
    if not examination.matters(milliseconds + excess, LEAST_SHARE_OF_WEIGHTS):
        return
    shown = (
        f"; {plural(len(products), 'product')} behind them in float, {ms(excess)} slower than on integers"
        if products
        else "; no product reads them (an embedding, a table)"
    )
    evidence = f"{len(dequantizers)} DequantizeLinear of constant weights in every run, {ms(milliseconds)}{shown}"
    yield _weights_as_codes(examination, bill, evidence, dequantizers, list(products))


def _fused(examination, bill):
    nodes, yardstick = [node for node in examination.quantized.nodes if node.op_type == FUSED], examination.yardstick
    milliseconds, in_float = took(nodes), sum(yardstick.float_ms(node) or node.ms for node in nodes)
    excess = yardstick.excess_ms(nodes)
    if milliseconds < SLOWER * in_float or not examination.matters(excess, LEAST_SHARE_OF_WEIGHTS):
        return
    evidence = (
        f"{len(nodes)} {FUSED} unpack constant weights, block by block, in every run and take {ms(milliseconds)}; the "
        f"same products take {ms(in_float)} in the fp32 model"
    )
    yield _weights_as_codes(examination, bill, evidence, [], nodes)


def _folded(examination, bill):
    cast = list(graph.products_of_cast_codes(examination.file.proto))
    names, outputs = {node.name for node in cast}, {name for node in cast for name in node.output}
    nodes = [
        node
        for node in examination.quantized.nodes
        if node.macs
        and node.kind == "float"
        and (outputs.intersection(node.node.output) or examination.names.in_files(node.node) in names)
    ]
    excess = examination.yardstick.excess_ms(nodes)
    if not examination.matters(excess, LEAST_SHARE_OF_WEIGHTS):
        return
    evidence = (
        f"{plural(len(nodes), 'product')} with weights that the file stores as codes behind a Cast; onnxruntime turned "
        f"them into floats when it opened the file: {ms(excess)} slower than on integers"
    )
    yield _weights_as_codes(examination, bill, evidence, [], nodes)


def _weights_as_codes(examination, bill, evidence, dequantizers, products):
    bill.explained.update(products)
    cost = sum(bill.charge(node) for node in dequantizers)
    cost += sum(bill.charge(node, examination.yardstick.excess_ms([node])) for node in products)
    recipe, more = examination.alike, {"cost_ms": examination.cost(cost), "nodes": dequantizers or products}
    if products:
        recipe = examination.mending(products, recipe)
        return Finding.of(WEIGHT_ONLY, examination, evidence, recipe=recipe, **more)
    recipe, mend = None if examination.is_as_made(recipe) else recipe, "turns at most the rows back that are looked up"
    return Finding.of(WEIGHT_ONLY, examination, evidence, recipe=recipe, mend=mend, **more)


def unfolded_norms(examination, bill):
    """Findings on batch normalizations that run as float operators of their own.

    1. Behind a convolution that nothing else reads: in the fp32 model they are part of it.
    2. Behind anything else (Conv, Relu, BatchNormalization; or the first of a DenseNet's layers): no convolution before
       them could have taken them, whatever the quantizer did.
    """
    fp32 = examination.original
    links, kinds = side_by_side(fp32.nodes, ends=fp32.network.outputs), {}
    behind = {node.name: _behind(node, links) for node in fp32.nodes if node.op_type == NORM}
    for node in examination.quantized.nodes:
        if node.op_type == NORM and node.ms > 0:
            before = behind.get(examination.names.in_files(node.node), "an operator")
            kinds.setdefault(ALONE if before else UNFOLDED, []).append((node, before))
    for kind in (UNFOLDED, ALONE):
        yield from _norms(examination, bill, kind, kinds.get(kind, []))


def _behind(norm, links):
    """What a batch normalization of the fp32 file stands behind; "" for a convolution that takes it."""
    made = links.maker(norm)
    if made is None:
        return "an input"
    is_taken = made.op_type in TAKES and links.sole_reader(norm.input[0]) is not None
    return "" if is_taken else made.op_type


def _norms(examination, bill, kind, found):
    """The Finding of that Kind on (batch normalization that ran, what it stands behind), if they matter."""
    nodes = [node for node, _ in found]
    near = (one for node in nodes for one in examination.neighbours(node) if one.op_type in QUANTIZERS)
    edges = list(dict.fromkeys(near))
    if not examination.matters(bill.left([*nodes, *edges]), LEAST_SHARE_OF_NORMS):
        return
    bill.explained.update(nodes)
    behind, recipe = listed(Counter(where for _, where in found)), None
    told = f"these {NORM} stand behind {behind}, so that no convolution before them can take them"
    if kind is UNFOLDED:
        recipe = None if examination.is_as_made(examination.fitting) else examination.fitting
        left = sum(node.op_type == NORM and node.ms > 0 for node in examination.fp32.nodes)
        told = f"when fp32 runs, {left} are left, the others are part of the convolutions before them"
    evidence, cost_ms = f"{_seen(nodes, edges)}; {told}", sum(bill.charge(node) for node in (*nodes, *edges))
    yield Finding.of(kind, examination, evidence, cost_ms=cost_ms, nodes=nodes, recipe=recipe)


def _seen(nodes, edges):
    quantizers = f", {plural(len(edges), 'quantizer')} at their edges {ms(took(edges))}" if edges else ""
    return f"{len(nodes)} {NORM} take {ms(took(nodes))} a run as float operators of their own{quantizers}"


TOO_SMALL = Cause((SMALL,), too_small)
SLOW_PAIRS = Cause((PAIR,), slow_sign_pairs)
CONV_INTEGERS = Cause((CONV_INTEGER,), conv_integer)
WEIGHTS_ONLY = Cause((WEIGHT_ONLY,), weight_only)
NORMS = Cause((UNFOLDED, ALONE), unfolded_norms)
