"""8-bit weights in u8 x s8 products, whose sums saturate in 16 bits: on the card's machine, on this one, or on both."""

import numpy as np
from onnx import numpy_helper

from qlab import graph
from qlab.measure.exact_sums import OPTION, with_exact_sums
from qlab.measure.finding import Finding
from qlab.measure.remedies import STATIC, call, mending, recipe_of_its_kind
from qlab.measure.work import CONVOLUTIONS, factors
from qlab.numerics.saturation import can_saturate
from qlab.text import decibels

HARMLESS_DB = 0.2


def saturation(examination):
    """One Finding, if the card or this CPU saturates and some input could make a product of this model go wrong.

    Two neighbouring products along the sum are added in 16 bits: 255 * (w1 + w2) must stay below 32,768. What that does
    to these feeds is measured against exact sums, where this CPU saturates. With another machine's card that does not,
    the finding tells what of the measured loss is this CPU's own.
    """
    if not (examination.card.saturates or examination.saturates_here):
        return
    products, risky, share = _at_risk(examination)
    if not risky:
        return
    exact = None
    # The option that makes sums exact does not reach into the bodies of If, Loop and Scan.
    if examination.saturates_here and not any(id(node.node) in examination.inside for node in risky):
        exact = with_exact_sums(examination.fp32.path, examination.path, examination.file, examination.feeds)
    seen = (
        f"{len(risky)} of {products} u8 x s8 products have neighbouring weights whose sum is beyond 128, "
        f"in {100 * share:.0f} % of their output channels"
    )
    if examination.card.saturates:
        yield _risk(examination, seen, exact, risky)
    elif not _is_harmless(exact):
        yield _only_here(examination, seen, exact, risky)


def saturated_layers(examination, findings):
    """Names, in the fp32 file, of the products whose loss in `layer_errors` is that of sums which saturate here.

    Between Q and DQ a layer's error is measured on float kernels, which do not saturate.
    """
    if not examination.saturates_here:
        return set()
    nodes = {time.name: time for time in examination.quantized.nodes}
    written = {node.op_type for node in graph.nodes(examination.file)}
    found = [nodes[name] for one in findings if not one.is_harmless for name in one.nodes]
    on_integers = [time.node for time in found if time.op_type not in STATIC or time.op_type in written]
    return {examination.names.in_files(node) for node in on_integers}


def _at_risk(examination):
    """(how many u8 x s8 products there are, those that some input makes saturate, in which share of their channels)."""
    stored = {tensor.name: tensor for one in graph.graphs(examination.file) for tensor in one.initializer}
    products, risky, columns, at_risk = 0, [], 0, 0
    for node in examination.quantized.nodes:
        name = node.node.input[factors(node.node)[1]] if node.sign_pair == "u8s8" else None
        if name not in stored:
            continue
        products += 1
        found = can_saturate(_matrix(node, stored[name], examination.path.parent))
        columns, at_risk = columns + found.size, at_risk + int(found.sum())
        risky += [node] if found.any() else []
    return products, risky, at_risk / max(columns, 1)


def _risk(examination, seen, exact, risky):
    kind = recipe_of_its_kind(examination)
    recipe = mending(examination, risky, kind, is_other=True) or kind
    option = f"keep this model and open it with the session option {OPTION} = 1, at the speed of u8 x u8"
    otherwise = option if exact is not None and exact.has_option else ""
    elsewhere = "" if examination.saturates_here else ". The CPU at hand adds exactly: no loss measured here is of this"
    return Finding(
        code="saturation-risk",
        evidence=f"{seen}{_on_these_feeds(exact)}{elsewhere}",
        why=f"on {examination.card.name} two products are added in 16 bits, and 255 * 129 = 32,895 becomes 32,767: "
        "a wrong answer, without a warning",
        cost_ms=None,
        remedy=f"{call(examination, recipe)}: 7-bit weights (reduce_range) where the card says that 8 bits saturate"
        + (f"; or {otherwise}" if otherwise else ""),
        nodes=tuple(node.name for node in risky),
        recipe=recipe,
        otherwise=otherwise,
        is_harmless=_is_harmless(exact),
    )


def _only_here(examination, seen, exact, risky):
    there = examination.card.name
    option = f"; opened with the session option {OPTION} = 1 it answers here as it does there"
    return Finding(
        code="saturation-here",
        evidence=f"{seen}{_on_these_feeds(exact)}",
        why=f"the CPU at hand adds two products in 16 bits, and 255 * 129 = 32,895 becomes 32,767; {there} adds "
        "exactly. What that loses is in every SQNR measured here, and will not be there",
        cost_ms=None,
        remedy=f"nothing, for {there}" + (option if exact is not None and exact.has_option else ": measure it there"),
        nodes=tuple(node.name for node in risky),
    )


def _is_harmless(exact):
    """Whether an ExactSums shows that these feeds lose nothing by sums that saturate."""
    return exact is not None and exact.exact_db - exact.running_db < HARMLESS_DB


def _on_these_feeds(exact):
    """What an ExactSums says, in words."""
    if exact is None:
        return ""
    now, then = decibels(exact.running_db), decibels(exact.exact_db)
    if _is_harmless(exact):
        return f". On these feeds that does no harm: output {exact.output!r} keeps {now} dB, with exact sums {then}"
    return f". On these feeds output {exact.output!r} keeps {now} dB, and would keep {then} with exact sums"


def _matrix(node, tensor, folder):
    """The codes as the product reads them: K along the first axis, an output channel in each column."""
    codes = numpy_helper.to_array(tensor, base_dir=str(folder))
    if node.op_type in CONVOLUTIONS:
        return codes.reshape(codes.shape[0], -1).T
    return np.ascontiguousarray(codes.reshape(-1, codes.shape[-1]))
