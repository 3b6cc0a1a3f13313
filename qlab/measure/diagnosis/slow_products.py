"""Models that integers cannot make faster, however they are quantized.

Integer products whose pair of signs is slow on the card.

ConvInteger, which is what dynamic quantization makes of a convolution.

Weights that are stored as codes and turned back into floats before they are multiplied.

Normalizations that were quantized before they were folded, and those that no convolution can take."""

from collections import Counter

from qlab import graph
from qlab.graph.operators import FUSED_ACTIVATIONS, QUANTIZERS, STATIC
from qlab.measure.diagnosis.examination import neighbours, reads_codes
from qlab.measure.diagnosis.finding import (
    Finding,
    call,
    has_lstm,
    is_out_of_reach,
    made_by,
    mending,
    recipe_for,
    recipe_of_its_kind,
    stay,
)
from qlab.measure.predict import PRODUCT_FAMILIES
from qlab.recipes.choice import choose
from qlab.recipes.static import DEFAULT_OP_TYPES
from qlab.text import listed, ms, plural

WORTH_WHILE = 1.15


def too_small(examination):
    """One Finding, if all that can run on integers, at the fastest pair's speed, gains less than WORTH_WHILE (Amdahl).

    Integers shorten what an operator computes, not what it takes to start it. Besides the products, what recipes.static
    takes between them (additions, pools) is counted as if it gained as much: no recipe can do better than that.
    """
    profile, speed = examination.fp32, max(examination.yardstick.speed, 1.0)
    start = examination.start_ms
    able = [node for node in profile.nodes if _is_able(node)]
    computing = sum(max(0.0, node.ms - start) for node in able)
    limit = profile.total_ms / (profile.total_ms - computing * (1 - 1 / speed))
    if limit >= WORTH_WHILE:
        return
    yield Finding(
        code="too-small",
        evidence=f"of {ms(profile.total_ms)} a run of the fp32 model {plural(len(able), 'operator')} that integers "
        f"could take over compute for {ms(computing)}, {100 * computing / profile.total_ms:.0f} %, when "
        f"{1e3 * start:.2g} microseconds to start each are left out; {speed:.2f} times faster, they would make the "
        f"whole {limit:.2f} times as fast at most",
        why="integers speed up what has an integer kernel only (Amdahl's law). A small model spends its time on "
        "starting operators, others on what lies between the products",
        cost_ms=None,
        remedy="stay with fp32 for speed, or run more at a time (a larger batch, a longer input); quantize only to "
        "save bytes",
    )


def _is_able(node):
    """Whether integers could take it over; for products without a kernel there is a finding of their own."""
    return node.family in PRODUCT_FAMILIES or node.op_type in DEFAULT_OP_TYPES


SLOW = 0.9  # of the best pair's speed; within it, two pairs differ by less than the card's own noise


LEAST_SHARE_OF_PAIRS = 0.03


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
        saving = {id(node): max(0.0, node.ms - examination.start_ms) * slower for node in nodes}
        if examination.matters(sum(saving.values()), LEAST_SHARE_OF_PAIRS):
            cost = sum(bill.charge(node, saving[id(node)]) for node in nodes)
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
    return choose(examination.card, "uint8", "int8" if has_lstm(examination.fp32) else None).pair


def _slow_pair(examination, pair, better, nodes, cost):
    card = examination.card
    recipe = mending(examination, nodes, recipe_of_its_kind(examination), is_other=True)
    milliseconds = sum(node.ms for node in nodes)
    operators = {node.op_type for node in nodes}
    return Finding(
        code="slow-sign-pair",
        evidence=f"{plural(len(nodes), 'product')} ({', '.join(sorted(operators))}) multiply {_spoken(pair)} and take "
        f"{ms(milliseconds)} a run; {card.name} does that at {card.speed[pair]:.2f} times float32's speed, "
        f"{_spoken(better)} at {card.speed[better]:.2f}",
        why="the pair of signs decides which instruction multiplies: a CPU has a fast one for some pairs only, and the "
        "others are widened first, or done one by one",
        cost_ms=examination.cost(cost),
        remedy=_remedy(examination, recipe, operators),
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )


def _remedy(examination, recipe, operators):
    if not recipe:
        return stay(examination)
    if (recipe, operators) == ("dynamic", {"ConvInteger"}):
        return f"{call(examination, recipe)}: leaves these convolutions in float"
    reduced = ", with 7-bit weights so that it does not saturate" if examination.choice.reduce_range else ""
    return f"{call(examination, recipe)}: its dtypes come from the card{reduced}"


def _spoken(pair):
    return f"{pair[:2]} x {pair[2:]}"


# What dynamic quantization puts behind a ConvInteger, then what a float or a static convolution has fused into it.
AFTER = ({"Cast"}, {"Mul"}, {"Add"}, FUSED_ACTIVATIONS)


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
    gated = examination.consumers.get(node.node.output[0], [])  # HardSwish, which a float convolution has fused, too
    if len(gated) == 2 and {one.op_type for one in gated} == {"HardSigmoid", "Mul"}:
        yield from gated


def _is_scalar(node):
    return node.bytes <= 64


def _float_ms(examination, nodes):
    return sum(examination.yardstick.float_ms(node) or 0.0 for node in nodes)


LEAST_SHARE_OF_WEIGHTS = 0.02


FUSED, SLOWER = "MatMulNBits", 1.05


AS_INTEGERS = "activations as codes too, so that the product is an integer one"


def weight_only(examination, bill):
    """Findings on weights that are stored as codes while the activations stay floats.

    1. DequantizeLinear nodes with constant codes. Where the activations come from a DequantizeLinear as well, the
       product was meant to run on integers: what kept it in float is another cause's to tell.
    2. Those that onnxruntime fused with their MatMul to a MatMulNBits, if that is slower than the fp32 product: it
       dequantizes block by block, which pays where there are few rows and reading the weights takes the time.
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
        readers = examination.consumers.get(node.node.output[0], [])
        if readers and not any(reads_codes(examination, reader) for reader in readers):
            dequantizers.append(node)
            products |= {id(reader): reader for reader in readers if reader.macs and reader.kind == "float"}
    milliseconds = sum(node.ms for node in dequantizers)
    excess = examination.yardstick.excess_ms(products.values())
    if not examination.matters(milliseconds + excess, LEAST_SHARE_OF_WEIGHTS):
        return
    bill.explain(products.values())
    cost = sum(bill.charge(node) for node in dequantizers)
    for node in products.values():
        cost += bill.charge(node, examination.yardstick.excess_ms([node]))
    shown = (
        f"; {plural(len(products), 'product')} behind them in float, {ms(excess)} slower than on integers"
        if products
        else "; no product reads them (an embedding, a table)"
    )
    evidence = f"{len(dequantizers)} DequantizeLinear of constant weights in every run, {ms(milliseconds)}{shown}"
    yield _weights_as_codes(examination, evidence, cost, dequantizers, list(products.values()))


def _fused(examination, bill):
    nodes, yardstick = [node for node in examination.quantized.nodes if node.op_type == FUSED], examination.yardstick
    milliseconds, in_float = sum(node.ms for node in nodes), sum(yardstick.float_ms(node) or node.ms for node in nodes)
    excess = yardstick.excess_ms(nodes)
    if milliseconds < SLOWER * in_float or not examination.matters(excess, LEAST_SHARE_OF_WEIGHTS):
        return
    bill.explain(nodes)
    cost = sum(bill.charge(node, yardstick.excess_ms([node])) for node in nodes)
    evidence = (
        f"{len(nodes)} {FUSED} dequantize constant weights in every run and take {ms(milliseconds)}; the same "
        f"products take {ms(in_float)} in the fp32 model"
    )
    yield _weights_as_codes(examination, evidence, cost, nodes, nodes)


def _folded(examination, bill):
    names = {node.name for node in graph.products_of_cast_codes(examination.file)}
    outputs = {name for node in graph.products_of_cast_codes(examination.file) for name in node.output}
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
    bill.explain(nodes)
    cost = sum(bill.charge(node, examination.yardstick.excess_ms([node])) for node in nodes)
    evidence = (
        f"{plural(len(nodes), 'product')} with weights that the file stores as codes behind a Cast; onnxruntime turned "
        f"them into floats when it opened the file: {ms(excess)} slower than on integers"
    )
    yield _weights_as_codes(examination, evidence, cost, nodes, nodes)


def _weights_as_codes(examination, evidence, cost, nodes, products):
    kind = recipe_of_its_kind(examination)
    if products:
        recipe, what = mending(examination, products, kind), AS_INTEGERS
    else:
        recipe, what = "" if kind == made_by(examination) else kind, "turns at most the rows back that are looked up"
    return Finding(
        code="weight-only",
        evidence=evidence,
        why="codes that are turned back when the model runs save bytes on disk, not time: the same floats are computed "
        "with, after the conversion",
        cost_ms=examination.cost(cost),
        remedy=f"{call(examination, recipe)}: {what}" if recipe else stay(examination),
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )


NORM = "BatchNormalization"


TAKES = ("Conv", "ConvTranspose", "MatMul")  # where nothing else reads their result


LEAST_SHARE_OF_NORMS = 0.03


def unfolded_norms(examination, bill):
    """Findings on batch normalizations that run as float operators of their own.

    1. Behind a convolution that nothing else reads: in the fp32 model they are part of it.
    2. Behind anything else (Conv, Relu, BatchNormalization; or the first of a DenseNet's layers): no convolution before
       them could have taken them, whatever the quantizer did.
    """
    nodes, before = [], _before(graph.load(examination.fp32.path))
    for node in examination.quantized.nodes:
        if node.op_type == NORM and node.ms > 0:
            nodes.append((node, before.get(examination.names.in_files(node.node), "an operator")))
    yield from _folding(examination, bill, [node for node, behind in nodes if not behind])
    yield from _alone(examination, bill, [(node, behind) for node, behind in nodes if behind])


def _before(fp32):
    """{name of a batch normalization of the fp32 file: what it stands behind, "" for a convolution that takes it}."""
    nodes = list(graph.nodes(fp32))
    producers = {name: node for node in nodes for name in node.output}
    readers = Counter(name for node in nodes for name in node.input)
    readers.update(value.name for value in fp32.graph.output)
    found = {}
    for node in nodes:
        if node.op_type == NORM:
            made = producers.get(node.input[0])
            is_taken = made is not None and made.op_type in TAKES and readers[node.input[0]] == 1
            found[node.name] = "" if is_taken else ("an input" if made is None else made.op_type)
    return found


def _folding(examination, bill, nodes):
    edges = _edges(examination, nodes)
    if not examination.matters(bill.left([*nodes, *edges]), LEAST_SHARE_OF_NORMS):
        return
    bill.explain(nodes)
    recipe = recipe_for(examination.fp32)
    recipe = "" if recipe == made_by(examination) else recipe
    made = call(examination, recipe) if recipe else ""
    left = sum(node.op_type == NORM and node.ms > 0 for node in examination.fp32.nodes)
    yield Finding(
        code="unfolded-norm",
        evidence=f"{_seen(nodes, edges)}; when fp32 runs, {left} are left, the others are part of the convolutions "
        "before them",
        why="onnxruntime folds them into the weights of the convolution before them when it loads an fp32 model. Once "
        "the convolution is quantized, other nodes stand between the two (Q and DQ, or Cast and Mul), and they stay",
        cost_ms=sum(bill.charge(node) for node in (*nodes, *edges)),
        remedy=f"{made}: the recipes pre-process the model first, as quant_pre_process does"
        if recipe
        else stay(examination),
        nodes=tuple(node.name for node in nodes),
        recipe=recipe,
    )


def _alone(examination, bill, found):
    nodes = [node for node, _ in found]
    edges = _edges(examination, nodes)
    if not examination.matters(bill.left([*nodes, *edges]), LEAST_SHARE_OF_NORMS):
        return
    bill.explain(nodes)
    behind = Counter(where for _, where in found)
    yield Finding(
        code="norm-not-behind-conv",
        evidence=f"{_seen(nodes, edges)}; these {NORM} stand behind {listed(behind)}, so that no convolution before "
        "them can take them",
        why="a batch normalization costs nothing where it stands right behind a convolution that nothing else reads, "
        "whose weights then take it. Elsewhere it is an operator, for which onnxruntime has no integer kernel",
        cost_ms=sum(bill.charge(node) for node in (*nodes, *edges)),
        remedy="no recipe can: swap the two when you train, convolution, normalization, activation; or fold them into "
        "the next convolution, if it does not pad and nothing else reads them",
        nodes=tuple(node.name for node in nodes),
    )


def _edges(examination, nodes):
    found = {id(one): one for node in nodes for one in neighbours(examination, node) if one.op_type in QUANTIZERS}
    return list(found.values())


def _seen(nodes, edges):
    milliseconds, edge_ms = (sum(node.ms for node in some) for some in (nodes, edges))
    quantizers = f", {plural(len(edges), 'quantizer')} at their edges {ms(edge_ms)}" if edges else ""
    return f"{len(nodes)} {NORM} take {ms(milliseconds)} a run as float operators of their own{quantizers}"
