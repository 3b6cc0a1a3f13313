"""Products that stayed in float, and what kept them there."""

import math
from collections import Counter

from onnx import TensorProto

from qlab.graph.operators import NO_INTEGER_KERNEL, Q_AND_DQ, factors
from qlab.measure.diagnosis.finding import Cause, Finding, Kind
from qlab.measure.trace import took, type_name
from qlab.recipes import RECIPES
from qlab.recipes.choice import DYNAMIC, STATIC
from qlab.text import listed, ms

LEAST_SHARE = 0.04
EDGE_BYTES = 5 / 4  # read or written by Q or DQ for each byte of floats
KERNEL_TYPES = {TensorProto.UINT8, TensorProto.INT8, TensorProto.INT32}  # int32 is the biases'
FAMILIES = {
    "convolution": "convolutions", "matrix product": "matrix products",
    "other product": "recurrent and attention layers",
}  # fmt: skip
SEVERAL = {2: "two", 3: "three"}
ALL_OF_THEM = "quantizes every product that has an integer kernel"

SECOND_CONSUMER = Kind(
    "float-second-consumer",
    "products in float because int8 codes beside them have a second consumer",
    why="onnxruntime fuses a product with the Q/DQ around it only where both sides have codes of one type, and on x86 "
    "it turns int8 codes into uint8 only behind a QuantizeLinear with one consumer. A tensor with two (a residual, a "
    "skip) stays int8, and with it the products on both sides. A convolution whose weights come from a "
    "DequantizeLinear then also loses the blocked (NCHWc) kernel that it has in fp32",
    mend="uint8 activations need no rewriting, however many consumers they have",
    mended_by=(STATIC,),
)
RESULT_READ = Kind(
    "float-result-read",
    "products in float because their result is read as a float",
    why="an integer product gives codes; where its result is read as a float, or no QuantizeLinear is behind it, it is "
    "not fused",
    mend=ALL_OF_THEM,
)
NO_KERNEL = Kind(
    "float-no-kernel",
    "products of a kind that has no integer kernel",
    why="onnxruntime's CPU has no integer kernel for this operator",
    mend="no recipe can: replace the operator in the model, if it is worth that",
    mended_by=(),  # only the Q/DQ at their edges can be saved
)
NOT_FUSED = Kind(
    "float-not-fused",
    "products between Q and DQ that were not fused",
    why="the product stands between Q and DQ, yet onnxruntime has no rule for it as it stands there",
    mend=ALL_OF_THEM,
)
BOTH_MOVE = Kind(
    "float-both-move",
    "products without a constant factor",
    why="dynamic quantization takes products with constant weights; here both factors move with the input "
    "(attention's two products are such)",
    mend="with fixed ranges both factors may move. Less exact than dynamic ones, and quantizing both costs too: "
    "compare the two before you choose",
    mended_by=(STATIC,),
)
IN_BODY = Kind(
    "float-in-body",
    "products inside an If, Loop or Scan, which the quantizer did not enter",
    why="onnxruntime's quantize_static does not enter the bodies of If, Loop and Scan, quantize_dynamic only if it is "
    "told to",
    mend="enters the bodies",
    mended_by=(DYNAMIC,),
)
LEFT_OUT = Kind(
    "float-left-out",
    "products that the quantizer left in float",
    why="the quantizer was not asked for these operators, was told to leave these nodes out, or has no rule for them "
    "(quantize_static has none for LSTM)",
    mend=ALL_OF_THEM,
)


def float_products(examination, bill):
    """A Finding for each reason why products multiply floats: they, and the Q/DQ at their edges, against integers."""
    groups = {}
    for node in examination.quantized.nodes:
        if node.multiplies and node.kind == "float" and node not in bill.explained:
            reason, detail = _reason(examination, node)
            groups.setdefault(reason, []).append((node, detail))
    for reason, members in groups.items():
        nodes, details = zip(*members, strict=True)
        excess = sum(min(_excess_ms(examination, reason, node), bill.left([node])) for node in nodes)
        edges = _edges(examination, nodes)
        if examination.matters(excess + bill.left(edges), LEAST_SHARE):
            yield _finding(examination, reason, nodes, Counter(filter(None, details)), edges, bill)


def _excess_ms(examination, reason, node):
    """What the product takes more than on integers; one that was left out would need Q and DQ of its own first."""
    excess = examination.yardstick.excess_ms([node])
    if reason is not LEFT_OUT:
        return excess
    floats = node.bytes - 4 * math.prod(node.weights)
    return max(0.0, excess - EDGE_BYTES * floats / (examination.card.copy_gb_per_s * 1e6))


def _finding(examination, reason, nodes, details, edges, bill):
    shown = "; ".join(f"{count} because {detail}" for detail, count in details.most_common(3))
    more = f" (and {len(details) - 3} reasons more like these)" if len(details) > 3 else ""
    edge_ms, recipe = bill.left(edges), _recipe(examination, reason, nodes)
    cost = sum(bill.charge(node, _excess_ms(examination, reason, node)) for node in nodes if recipe)
    cost += sum(map(bill.charge, edges))
    float_ms = sum(examination.yardstick.float_ms(node) or 0.0 for node in nodes)
    evidence = (
        f"{_counted(examination, nodes)} in float, {ms(took(nodes))} a run "
        f"({ms(float_ms)} in the fp32 model)"
        + (f", {len(edges)} Q/DQ and transposes at their edges {ms(edge_ms)}" if edges else "")
        + (f". {shown}{more}" if shown else "")
    )
    return Finding.of(reason, examination, evidence, cost_ms=examination.cost(cost), nodes=nodes, recipe=recipe)


def _counted(examination, nodes):
    """ "2 of 3 convolutions (2 ConvTranspose)", of all kinds of products among `nodes`."""
    parts, totals = [], Counter(node.family for node in examination.quantized.nodes)
    for family, what in FAMILIES.items():
        if counts := Counter(node.op_type for node in nodes if node.family == family):
            parts.append(f"{counts.total()} of {totals[family]} {what} ({listed(counts, None)})")
    return " and ".join(parts)


def _reason(examination, node):
    """Why this product is in float: (Kind, detail).

    1. No operator of the kind computes on integers.
    2. It was meant to be one, between Q and DQ, its weights codes as well: the codes before or behind it have a second
       consumer, its result is read as a float, or there is no rule.
    3. It was not: both factors move, or it is in a body that the quantizer did not enter, or was left out otherwise.
    """
    if node.op_type in NO_INTEGER_KERNEL:
        return NO_KERNEL, ""
    if examination.reads_codes(node) and node.node.input[factors(node.node)[1]] not in examination.initializers:
        return _not_fused(examination, node)
    if not any(examination.is_weight(node.node.input[place]) for place in factors(node.node)):
        return BOTH_MOVE, ""
    return (IN_BODY if node.inside else LEFT_OUT), ""


def _not_fused(examination, node):
    before = examination.ran.maker(node, factors(node.node)[0])
    readers = examination.ran.readers.get(node.node.output[0], [])
    behind = [reader for reader in readers if reader.op_type == "QuantizeLinear"]
    sides = [("in front of", before.node.input[0], before)] + [("behind", one.node.output[0], one) for one in behind]
    for where, codes, edge in sides:
        count = len(examination.ran.readers.get(codes, []))
        if count > 1 and examination.code_type(edge) == TensorProto.INT8:
            return SECOND_CONSUMER, f"the int8 codes {where} the product have {SEVERAL.get(count, count)} consumers"
    if node.op_type.startswith("Fused"):
        return RESULT_READ, "what follows it was computed in float, and fused into it"
    if not behind or len(readers) > 1:
        others = sorted({reader.op_type for reader in readers if reader.op_type != "QuantizeLinear"})
        return RESULT_READ, f"its result goes to {' and '.join(others) or 'an output'} as a float"
    types = {where: examination.code_type(edge) for where, _, edge in sides}
    shown = " and ".join(f"{type_name(one)} {where}" for where, one in types.items())
    if set(types.values()) <= KERNEL_TYPES:
        return NOT_FUSED, (
            f"there is a kernel for {shown} the product, but onnxruntime did not take it: one scale may not fit the "
            "others (a bias needs that of the input times that of the weights), or the weights be codes of another type"
        )
    return NOT_FUSED, f"there is no kernel for {shown} the product"


def _edges(examination, nodes):
    """What stands between these products and the integers around them.

    1. The Q/DQ nodes next to them, which make floats for them and codes of what they give.
    2. The Transpose next to such a Q/DQ: integer convolutions have the channels last, float ones do not.
    3. Where the codes next to them are of a type that no kernel takes, all Q/DQ of that type.
    """
    found = {}  # in order
    for node in nodes:
        for edge in (one for one in examination.neighbours(node) if one.op_type in Q_AND_DQ):
            beside = [one for one in examination.neighbours(edge) if one.op_type in {"Transpose"} | Q_AND_DQ]
            found |= dict.fromkeys([edge, *(one for one in beside if one.op_type != edge.op_type)])
    edges = [one for one in examination.quantized.nodes if one.op_type in Q_AND_DQ]
    without_kernel = {examination.code_type(one) for one in edges if one in found} - KERNEL_TYPES
    return list(found | dict.fromkeys(one for one in edges if examination.code_type(one) in without_kernel))


def _recipe(examination, reason, nodes):
    """The Recipe that mends it, None where none does."""
    if reason.is_beyond_recipes:
        return None
    # uint8 in the place of int8 is what the recipes choose, unless the card's best pair has int8 activations.
    is_other = reason is SECOND_CONSUMER and examination.choice.activation_dtype != "int8"
    first = examination.fitting if reason.mended_by is None else RECIPES.of_ways(*reason.mended_by)
    return examination.mending(nodes, first, is_other=is_other)


FLOAT_PRODUCTS = Cause(
    (SECOND_CONSUMER, RESULT_READ, NO_KERNEL, NOT_FUSED, BOTH_MOVE, IN_BODY, LEFT_OUT), float_products
)
