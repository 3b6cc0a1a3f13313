"""Static quantization: weights and activations ahead of time, from a few representative feeds."""

from typing import Literal, get_args

from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from qlab.calibration.collect import Method, RangesOf
from qlab.calibration.rounding import round_adaptively
from qlab.files import ModelPath
from qlab.graph.model import Model
from qlab.graph.operators import CONVOLUTION, FLOAT_PRODUCTS, LAYERS, NO_INTEGER_KERNEL
from qlab.machine.card import Card
from qlab.recipes.choice import (
    DTYPES,
    INT4,
    NEEDED,
    STATIC,
    CodeType,
    Recipe,
    WeightType,
    check_op_types,
    choose,
    excluded,
    in_float,
    of_small_numbers,
    without_range,
)
from qlab.recipes.job import check_request, job, ranges_for
from qlab.recipes.quantized import Quantized
from qlab.recipes.quantizers import quantized_statically
from qlab.runtime import Names, Reader

WIDEST_SPAN = 255.0  # of what a Softmax reads: steps of 1, each a factor of e in the result
Rounding = Literal["nearest", "adaptive"]
ADAPTIVE = "adaptive"
OP_TYPES = {*QDQRegistry, *QLinearOpsRegistry}
DEFAULT_OP_TYPES = OP_TYPES - NO_INTEGER_KERNEL  # Q/DQ makes slower and less exact floats of those


def static(
    model: ModelPath | Model,
    output: ModelPath,
    reader: Reader | None = None,
    *,
    ranges: RangesOf | None = None,
    activation_dtype: CodeType | None = None,
    weight_dtype: WeightType | None = None,
    per_channel: bool = True,
    reduce_range: bool | None = None,
    method: Method = "minmax",
    rounding: Rounding = "nearest",
    op_types: Names | None = None,
    exclude: Names = (),
    card: str | Card | None = None,
) -> Quantized:
    """Quantize weights and activations of `model` ahead of time, with Q/DQ nodes that onnxruntime fuses at load.

    model, output     a path or graph.Model, and a path; `model` is never touched, `output` appears whole or not at all
    reader            representative feeds, {input name: array}, or a CalibrationDataReader; consumed once
    ranges            instead of a reader: what calibration.collect gave, on this model or on `recipes.prepare`'s
    activation_dtype, weight_dtype  "uint8" or "int8"; None: the fastest exact pair on this machine. Weights can be
                      "int4": for their numbers and the file's size, since onnxruntime multiplies by them in float
    per_channel       a weight scale per output channel
    reduce_range      7-bit weights; None: where u8 x s8 would saturate, scales with which no sum of two products does,
                      chosen on the feeds, and nearly 8 bits of accuracy (7 bits with rounding="adaptive")
    method            how ranges are chosen from a reader: see calibration.collect
    rounding          "nearest", or "adaptive": each weight up or down such that its layer's output errs least on (a
                      sample of) the reader's feeds, see `numerics.rounding`; scales of int4 weights are chosen so too
    op_types          which operators; None: all that onnxruntime has integer kernels for
    exclude           names of nodes that stay in float
    card              the machine to optimize for; None: this one

    What a mask stretches, from the mask to its Softmax, stays in float: no codes reach from -10000 to the scores. So
    does a Concat, or a sum, of numbers so different in size that the small ones would get a handful of codes; and what
    a Log, a root or a quotient is computed from, back to its convolution, if half of it would get hardly any.
    Returns a `Quantized`, which says what became of every product. Raises ValueError for a model that is quantized
    already, cannot be opened or written, for feeds that do not fit, and for settings that cannot run.
    """
    check_request(reader, ranges)
    _check_rounding(rounding, reader)
    op_types = DEFAULT_OP_TYPES if op_types is None else op_types
    check_op_types(op_types, OP_TYPES, "None, or ")
    nearest = rounding != ADAPTIVE  # which rounds up where it pays: a pair would not fit any more
    choice = choose(card, activation_dtype, weight_dtype, reduce_range, weights=(*DTYPES, INT4), fits_pairs=nearest)
    with job("static", model, output) as work:
        exclude = excluded(work, exclude)
        ranges = ranges_for(work, choice, reader, ranges, method)
        masked = around_masks(work, ranges, op_types)
        unlike = of_unlike_sizes(work, ranges, op_types)
        small = of_small_numbers(work, ranges, op_types)
        work.notes += in_float("masked scores are too wide for codes", masked)
        work.notes += in_float("what meets there differs too much in size to share codes", unlike.keys() - masked)
        work.notes += in_float(NEEDED, small.keys() - masked - unlike.keys())
        exclude |= without_range(work, ranges, op_types) | masked | unlike | small
        settings = {"op_types": set(op_types), "per_channel": per_channel, "exclude": exclude}
        result = quantized_statically(work, work.prepared.copy(weights=True), choice, ranges, **settings)
        if rounding == ADAPTIVE:
            how = {"reduce_range": choice.reduce_range, "rescale": choice.weight_dtype == INT4}
            work.notes += round_adaptively(work.prepared, result, work.feeds, **how)
        return work.finish(result, choice, **settings)


def _check_rounding(rounding, reader):
    if rounding not in get_args(Rounding):
        raise ValueError(f"rounding is {rounding!r}; expected {' or '.join(map(repr, get_args(Rounding)))}")
    if rounding == ADAPTIVE and reader is None:
        raise ValueError(
            "rounding='adaptive' looks at what each layer reads, which ranges do not keep; give a reader in their "
            "place, an iterable of feeds {input name: array}"
        )


def around_masks(work, ranges, op_types):
    """{name: why} of each Softmax whose scores no code could tell apart, and of what made their range so wide.

    Such is what a mask of -10000 or of the lowest float does, added or chosen: 255 codes from there to the scores. Wide
    tensors are followed back from the Softmax; products stay integer products, since a mask is none.
    """
    nodes, producers = work.prepared.proto.graph.node, work.prepared.network.producers
    reasons, seen = {}, set()
    for softmax in (node for node in nodes if node.op_type == "Softmax" and _is_wide(ranges, node.input[0])):
        todo = [softmax]
        while todo:
            node = todo.pop()
            if node.name in seen or node.op_type in FLOAT_PRODUCTS:
                continue
            seen.add(node.name)
            if node.op_type in op_types:
                reasons[node.name] = f"{softmax.input[0]!r}, what {softmax.name!r} reads, is masked"
            todo += [producers[name] for name in node.input if name in producers and _is_wide(ranges, name)]
    return reasons


def of_unlike_sizes(work, ranges, op_types):
    """{name: why} of each Concat and sum whose one scale would leave some of its numbers without codes, see `Joins`.

    With it stays in float what reads it and is no product: that would ask for codes of the same tensor.
    """
    crowded, reasons = {}, {}
    for node in work.prepared.proto.graph.node:
        from_join = next((crowded[name] for name in node.input if name in crowded), "")
        why = from_join or next((f"{name!r}: {why}" for name in node.output[:1] if (why := _crowded(ranges, name))), "")
        if not why or node.op_type in FLOAT_PRODUCTS or (from_join and node.op_type not in op_types):
            continue
        if node.op_type in op_types:
            reasons[node.name] = why
        crowded |= dict.fromkeys(node.output, why)
    return reasons


def _crowded(ranges, name):
    return ranges.joins.crowded(name, *map(float, ranges[name])) if name in ranges else ""


def _is_wide(ranges, name):
    low, high = ranges.get(name, (0.0, 0.0))
    return float(high) - float(low) > WIDEST_SPAN


def _how(product):
    is_taken = product.core in LAYERS and not product.is_stack and not product.inside
    return STATIC if is_taken and product.op_type not in NO_INTEGER_KERNEL else ""


RECIPE = Recipe(
    name="static",
    make=static,
    how=_how,
    ways=frozenset({STATIC}),
    fits=frozenset({CONVOLUTION}),
    keeps=frozenset(DEFAULT_OP_TYPES),
    spreads=True,
    spares_unlike=True,
)
