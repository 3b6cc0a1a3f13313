"""Integer products whose pair of signs is slow on the card."""

from qlab.measure.finding import Finding
from qlab.measure.remedies import STATIC, call, has_lstm, mending, recipe_of_its_kind, stay
from qlab.recipes.choosing import choose
from qlab.text import ms, plural

SLOW = 0.9  # of the best pair's speed; within it, two pairs differ by less than the card's own noise
LEAST_SHARE = 0.03


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
        if examination.matters(sum(saving.values()), LEAST_SHARE):
            cost = sum(bill.charge(node, saving[id(node)]) for node in nodes)
            yield _finding(examination, pair, better, nodes, cost)


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


def _finding(examination, pair, better, nodes, cost):
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
