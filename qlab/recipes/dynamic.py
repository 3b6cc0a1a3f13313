"""Dynamic quantization: weights ahead of time, activations while the model runs."""

import math

from onnx import TensorProto
from onnxruntime.quantization.registry import IntegerOpsRegistry

from qlab import machine
from qlab.files import ModelPath
from qlab.graph.model import Model
from qlab.graph.operators import NO_INTEGER_KERNEL, PRODUCT
from qlab.machine.card import Card
from qlab.recipes.choice import DYNAMIC, CodeType, Recipe, check_op_types, choose, excluded
from qlab.recipes.job import job
from qlab.recipes.quantized import Quantized
from qlab.recipes.quantizers import quantized_dynamically
from qlab.runtime import Names
from qlab.text import figures

LARGE_SHARE = 0.2  # of the file
OP_TYPES = {*IntegerOpsRegistry, "Gemm"}


def dynamic(
    model: ModelPath | Model,
    output: ModelPath,
    *,
    op_types: Names = ("MatMul",),
    weight_dtype: CodeType | None = None,
    per_channel: bool = True,
    reduce_range: bool | None = None,
    exclude: Names = (),
    card: str | Card | None = None,
) -> Quantized:
    """Quantize the weights of `model`, and its activations at run time, to uint8. Writes `output`; needs no data.

    An activation has one range for the whole batch: beside a row 50 times as loud, or beside padding that the model
    turns into large numbers, a row has fewer codes than alone. Stack what is alike, or run it one at a time.

    model, output  a path or a `graph.Model`, and a path; `model` is never touched, `output` appears whole or not at all
    op_types       which operators: "MatMul" (Gemm with it), "LSTM", "Conv", "Attention", "Gather". Convolutions stay in
                   float unless asked for: ConvInteger fuses with nothing, and takes its weights as the left operand
    weight_dtype   "int8" or "uint8"; None: the faster one on this machine
    per_channel    a weight scale per output channel, for matrix products and LSTMs; ConvInteger has one per tensor
    reduce_range   7-bit weights; None: where u8 x s8 would saturate, scales with which no sum of two products does; 7
                   bits of what gets none: LSTMs, convolutions, attention, and models with If, Loop or Scan
    exclude        names of nodes that stay in float
    card           the machine to optimize for; None: this one

    Returns a `Quantized`, which says what became of every product. Raises ValueError for a model that is quantized
    already, cannot be opened or written, or for settings that cannot run; FileNotFoundError where something is missing.
    """
    check_op_types(op_types, OP_TYPES)
    op_types = {"MatMul" if name == "Gemm" else name for name in op_types}
    card = machine.card(card)
    conv_dtype = weight_dtype or _conv_weights(card)
    if "LSTM" in op_types:
        if weight_dtype == "uint8":
            raise ValueError("weight_dtype is 'uint8', but onnxruntime's LSTM has int8 weights only; leave it out")
        weight_dtype = "int8"
    choice = choose(card, "uint8", weight_dtype, reduce_range)
    with job("dynamic", model, output) as work:
        settings = {"op_types": op_types, "per_channel": per_channel, "exclude": excluded(work, exclude)}
        result = quantized_dynamically(
            work, work.prepared.copy(weights=True), choice, conv_dtype=conv_dtype, **settings
        )
        if "Gather" not in op_types:
            work.notes += _embeddings(result, op_types)
        return work.finish(result, choice, **settings)


def _embeddings(result, op_types):
    """A note on the table, looked up with Gather, that makes most of a file which has other weights as codes."""
    model = result.graph
    looked_up = {node.input[0] for node in model.node if node.op_type == "Gather"}
    others = {name for node in model.node if node.op_type != "Gather" for name in node.input}
    size = {one.name: 4 * math.prod(one.dims) for one in model.initializer if one.data_type == TensorProto.FLOAT}
    tables = {name: size[name] for name in looked_up - others if name in size}
    if sum(tables.values()) < LARGE_SHARE * result.ByteSize():
        return []
    most = max(tables, key=tables.get)
    operators = ", ".join(map(repr, sorted({*op_types, "Gather"}, reverse=True)))
    return [
        f"{most!r}, an embedding of {figures(tables[most] / 1e6)} MB, stays in float: op_types=({operators}) makes it "
        f"{figures(tables[most] / 4e6)} MB"
    ]


def _conv_weights(card):
    """ConvInteger multiplies weights x activations, so its sign pair reads the other way round."""
    speeds = {"uint8": card.speed["u8u8"] or 0, "int8": card.speed["s8u8"] or 0}
    return max(speeds, key=speeds.get)


def _how(product, op_types=("MatMul",)):
    is_taken = product.core in op_types and product.rank and not product.is_stack
    return DYNAMIC if is_taken and product.op_type not in NO_INTEGER_KERNEL else ""


RECIPE = Recipe(
    name="dynamic",
    make=dynamic,
    how=_how,
    ways=frozenset({DYNAMIC}),
    fits=frozenset({PRODUCT}),
    needs_reader=False,
    activations=("uint8",),
    options=lambda operators: {"op_types": ("MatMul", "LSTM")} if "LSTM" in operators else {},
    calibrated="hybrid",
)
