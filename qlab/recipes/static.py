"""Static quantization: weights and activations ahead of time, from a few representative feeds."""

from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

from qlab.machine import Card
from qlab.recipes.calibrating import check_request, ranges_for
from qlab.recipes.choosing import check_names, choose
from qlab.recipes.excluding import (
    NEEDED,
    around_masks,
    excluded,
    in_float,
    of_small_numbers,
    of_unlike_sizes,
    without_range,
)
from qlab.recipes.job import job
from qlab.recipes.quantized import Quantized
from qlab.recipes.quantizing import quantized_statically
from qlab.types import CodeType, Method, ModelPath, Names, RangesOf, Reader

# Q/DQ around these makes a slower and less exact float operator: onnxruntime's CPU has no integer kernel for them.
WITHOUT_KERNEL = {
    "BatchNormalization", "ConvTranspose", "CumSum", "EmbedLayerNormalization", "InstanceNormalization",
    "LayerNormalization", "TopK",
}  # fmt: skip
OP_TYPES = {*QDQRegistry, *QLinearOpsRegistry}
DEFAULT_OP_TYPES = OP_TYPES - WITHOUT_KERNEL


def static(
    model: ModelPath,
    output: ModelPath,
    reader: Reader | None = None,
    *,
    ranges: RangesOf | None = None,
    activation_dtype: CodeType | None = None,
    weight_dtype: CodeType | None = None,
    per_channel: bool = True,
    reduce_range: bool | None = None,
    method: Method = "minmax",
    op_types: Names | None = None,
    exclude: Names = (),
    card: str | Card | None = None,
) -> Quantized:
    """Quantize weights and activations of `model` ahead of time, with Q/DQ nodes that onnxruntime fuses at load.

    model, output     paths; `model` is never touched, `output` appears whole or not at all
    reader            representative feeds, {input name: array}, or a CalibrationDataReader; consumed once
    ranges            instead of a reader: what calibration.collect gave, on this model or on `recipes.prepare`'s
    activation_dtype, weight_dtype  "uint8" or "int8"; None: the fastest exact pair on this machine
    per_channel       a weight scale per output channel
    reduce_range      7-bit weights; None: where u8 x s8 would saturate
    method            how ranges are chosen from a reader: see calibration.collect
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
    op_types = _check_op_types(op_types)
    choice = choose(card, activation_dtype, weight_dtype, reduce_range)
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
        settings = {"op_types": op_types, "per_channel": per_channel, "exclude": exclude}
        result = quantized_statically(work, work.prepared, choice, ranges, **settings)
        return work.finish(result, choice, **settings)


def _check_op_types(op_types):
    if op_types is None:
        return DEFAULT_OP_TYPES
    check_names(op_types, "op_types")
    if not op_types or not set(op_types) <= OP_TYPES:
        raise ValueError(f"op_types is {op_types!r}; expected None, or some of {sorted(OP_TYPES)}, in a tuple")
    return set(op_types)
