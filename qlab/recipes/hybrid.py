"""Convolutions static, then matrix products dynamic: static's speed where images or frames are convolved, dynamic's
accuracy where the range of the activations moves with the input."""

from qlab import graph, machine
from qlab.calibration.collect import Method, RangesOf
from qlab.files import ModelPath
from qlab.graph.editing import as_products
from qlab.graph.model import Model
from qlab.graph.network import Links
from qlab.graph.operators import CLIPS, CONVOLUTION, CONVOLUTIONS, NO_INTEGER_KERNEL, PRODUCT, attribute
from qlab.machine.card import Card
from qlab.recipes.choice import (
    DYNAMIC,
    NEEDED,
    STATIC,
    Recipe,
    choose,
    excluded,
    in_float,
    of_small_numbers,
    without_range,
)
from qlab.recipes.job import check_request, job, ranges_for
from qlab.recipes.quantized import Quantized
from qlab.recipes.quantizers import quantized_dynamically, quantized_statically
from qlab.runtime import Names, Reader

# With a convolution go the activations that its codes' range can stand for: [0, max] with zero point 0 is a ReLU.
OF_STATIC, OF_DYNAMIC = {"Conv", *CLIPS}, {"LSTM", "MatMul"}


def hybrid(
    model: ModelPath | Model,
    output: ModelPath,
    reader: Reader | None = None,
    *,
    ranges: RangesOf | None = None,
    method: Method = "minmax",
    exclude: Names = (),
    card: str | Card | None = None,
) -> Quantized:
    """Quantize the convolutions of `model` statically, its matrix products and LSTMs dynamically, per output channel.

    Pointwise convolutions over time (conformers have two in each block) are matrix products, and treated as such.
    Depthwise ones over time stay in float: they multiply so little that quantizing costs more than integers gain. So
    does what needs its small numbers for a Log, a root or a quotient behind it, such as an STFT.
    What is dynamic has one range for the whole batch, as in `dynamic`: a loud row takes codes from those beside it.

    model, output  a path or a `graph.Model`, and a path; `model` is never touched, `output` appears whole or not at all
    reader         representative feeds, {input name: array}, or a CalibrationDataReader; consumed once
    ranges         instead of a reader: what calibration.collect gave, on this model or on `recipes.prepare`'s
    method         how ranges are chosen from a reader: see calibration.collect
    exclude        names of nodes that stay in float
    card           the machine to optimize for; None: this one

    Returns a `Quantized`, which says what became of every product. Raises what `static` raises.
    """
    check_request(reader, ranges)
    card = machine.card(card)
    with job("hybrid", model, output) as work:
        recurrent = "LSTM" in work.model.operators
        choice = choose(card, "uint8", "int8" if recurrent else None)  # onnxruntime's LSTM has int8 weights only
        exclude = excluded(work, exclude)
        ranges = ranges_for(work, choice, reader, ranges, method)
        small = of_small_numbers(work, ranges, OF_STATIC, OF_DYNAMIC)
        work.notes += in_float(NEEDED, small)
        exclude |= without_range(work, ranges, OF_STATIC) | _depthwise(work) | small
        settings = {"per_channel": True, "exclude": exclude}
        rewritten = work.prepared.copy(weights=True)
        as_products(rewritten, exclude)
        half = quantized_statically(work, rewritten, choice, ranges, op_types=OF_STATIC, **settings)
        _rename_scales(half)
        result = quantized_dynamically(work, half, choice, op_types=OF_DYNAMIC, inputs=ranges.inputs, **settings)
        _spare_the_others(result, exclude)
        return work.finish(result, choice, op_types=OF_STATIC | OF_DYNAMIC, **settings)


def _depthwise(work):
    """{name: why} of the 1-D convolutions that make one channel of each, by itself."""
    main = work.prepared.proto.graph
    kernels = {tensor.name: tensor.dims for tensor in main.initializer if len(tensor.dims) == 3}
    return {
        node.name: "depthwise over time: too few products to gain by integers"
        for node in main.node
        if node.op_type == "Conv" and (sizes := kernels.get(node.input[1])) and sizes[1] == 1 < sizes[0]
        and attribute(node, "group", 1) == sizes[0]
    }  # fmt: skip


def _rename_scales(model):
    """Give the constants of Q/DQ names of their own: the dynamic quantizer gives its run-time scales the same."""
    renamed = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            for place in (1, 2):
                renamed[node.input[place]] = node.input[place] = f"{node.input[place]}/static"
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)


def _spare_the_others(model, exclude):
    """Feed quantized values to convolutions only: the quantizer feeds them to every reader of a convolution's input.

    A residual, a LayerNorm or an excluded convolution that reads the same tensor gets the float again. What a quantized
    convolution computed exists as codes only, so that all of its readers keep reading those.
    """
    nodes, floats = list(graph.nodes(model)), {}
    producers = Links(nodes).producers
    for node in nodes:
        if node.op_type != "DequantizeLinear" or node.input[0] not in producers:
            continue
        before = producers[node.input[0]].input[0]
        if before not in producers or producers[before].op_type not in OF_STATIC or producers[before].name in exclude:
            floats[node.output[0]] = before
    for node in nodes:
        if node.op_type not in OF_STATIC or node.name in exclude:
            for place, name in enumerate(node.input):
                node.input[place] = floats.get(name, name)


def _how(product):
    """A pointwise convolution over time, which is made a matrix product, counts as the convolution that it was."""
    if product.op_type in NO_INTEGER_KERNEL or product.is_stack:
        return ""
    if product.core == "Conv":
        over_time = product.rank == 3 and product.depthwise
        return "" if over_time or product.inside else STATIC
    return DYNAMIC if product.core in OF_DYNAMIC and product.rank else ""


def _pointless(operators):
    return "" if CONVOLUTIONS & set(operators) else "the model has no convolutions, so it would be dynamic"


RECIPE = Recipe(
    name="hybrid",
    make=hybrid,
    how=_how,
    ways=frozenset({STATIC, DYNAMIC}),
    fits=frozenset({CONVOLUTION, PRODUCT}),
    activations=("uint8",),
    keeps=CLIPS,
    pointless=_pointless,
)
