"""onnxruntime's two quantizers, called without a file between them, and exact rewrites of what they take wrongly.

A Sum of one keeps onnxruntime from what it does to Q, DQ and weights of its own accord when it opens a model:
it changes no number, costs one pass over them, and no optimizer removes it.
"""

import logging
import re
from contextlib import contextmanager

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType
from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
from onnxruntime.quantization.quant_utils import QuantizationMode, add_infer_metadata, update_opset_version

from qlab import graph
from qlab.calibration.fitting import fitted_scales
from qlab.files import writing
from qlab.graph.editing import Weights, unshare
from qlab.graph.model import OLDEST_OPSET, opset_of
from qlab.graph.network import Links, without_weights
from qlab.graph.operators import CLIPS, FOLDED_AT_LOAD, PASSED_AT_LOAD, ROUNDED_AT_LOAD
from qlab.graph.placing import Placing

TYPED_OPSET = 21  # QuantizeLinear may name the type of its codes since then
TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8, "int4": QuantType.QInt4}
PLAIN = {"alpha": 1.0, "beta": 1.0, "transA": 0}  # of a Gemm
FOLDED_AHEAD = {"Pad"}
NORMALIZING = {"LayerNormalization", "ReduceMean"}  # ReduceMean: a norm that is written out
SUMS_BROADCAST = 8  # the opset since which
SEVEN_BITS = (
    "weights of LSTMs and attention, and those of a model with If, Loop or Scan, have 7 bits: no scale is fitted"
)
SILENT, USUAL = 4, 2  # onnxruntime's levels: fatal errors only, and warnings, its default (which it does not tell)


@contextmanager
def captured_logs():
    """A list that fills with the log records of the block, from warnings up, instead of the screen."""
    records = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append
    root = logging.getLogger()
    handlers = root.handlers[:]
    root.handlers[:] = [handler]
    onnxruntime.set_default_logger_severity(SILENT)
    try:
        yield records
    finally:
        onnxruntime.set_default_logger_severity(USUAL)
        root.handlers[:] = handlers


def rewrite(model, folder):
    """Apply, in place, to the pre-processed ModelProto `model`, whose weights may lie outside it in `folder`:

    1. Gemm: alpha is multiplied into the weights, beta into the bias, the left factor transposed ahead, and a constant
       bias broadcast to a number a column; one that differs from row to row, or is computed, is added behind.
       The static quantizer drops beta and wants one dimension, the dynamic one leaves all this in float.
    2. x / constant is x * (1 / constant), for which there is an integer kernel.
    3. Pad with axes pads all axes: onnxruntime takes the others for it when it moves the channels to the end.
    """
    weights = Weights(model, folder)
    nodes = []
    for node in model.graph.node:
        rewriting = {"Gemm": _gemm, "Div": _division, "Pad": _pad}.get(node.op_type)
        nodes += rewriting(node, weights) if rewriting and node.domain in ("", "ai.onnx") else [node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _gemm(node, weights):
    values = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    alpha, beta, moved = (values.get(name, default) for name, default in PLAIN.items())
    right, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""
    constant = right in weights
    if constant and alpha != 1:
        node.input[1] = weights.add(f"{right}/{node.name}", _times(weights[right], alpha))
    if moved:
        left, node.input[0] = node.input[0], weights.free(f"{node.output[0]}/left")
        yield helper.make_node("Transpose", [left], [node.input[0]], f"{node.name}/transpose", perm=[1, 0])
    kept = [one for one in node.attribute if one.name not in PLAIN or (one.name == "alpha" and not constant)]
    del node.attribute[:], node.input[2:]
    node.attribute.extend(kept)
    if not bias or beta == 0:
        yield node
    elif bias not in weights:
        yield from _with_sum(node, bias, beta, weights)
    elif constant and (len(weights.shape(bias)) < 2 or weights.shape(bias)[0] == 1):
        columns = weights.shape(right)[0 if values.get("transB") else 1]
        same = beta == 1 and weights.shape(bias) == (columns,)
        spread = np.ascontiguousarray(np.broadcast_to(_times(weights[bias], beta).reshape(-1), columns))
        node.input.append(bias if same else weights.add(f"{bias}/{node.name}", spread))
        yield node
    else:
        scaled = bias if beta == 1 else weights.add(f"{bias}/{node.name}", _times(weights[bias], beta))
        yield from _with_sum(node, scaled, 1, weights)


def _times(array, factor):
    return (array.astype(np.float64) * factor).astype(np.float32)


def _with_sum(node, bias, beta, weights):
    """`node`, a Gemm, and the nodes that add `beta` times `bias` to what it computes, under its result's name."""
    yield node
    result, node.output[0] = node.output[0], weights.free(f"{node.output[0]}/product")
    if beta != 1:
        factor = weights.add(f"{node.name}/beta", np.float32(beta))
        times, bias = bias, weights.free(f"{result}/bias")
        yield helper.make_node("Mul", [times, factor], [bias], f"{node.name}/beta")
    yield helper.make_node("Add", [node.output[0], bias], [result], f"{node.name}/add")


def _division(node, weights):
    divisor = node.input[1]
    if divisor in weights and weights.kind(divisor) == TensorProto.FLOAT:
        with np.errstate(all="ignore"):
            reciprocal = (1 / weights[divisor].astype(np.float64)).astype(np.float32)
        if np.isfinite(reciprocal).all() and (np.abs(reciprocal) >= np.finfo(np.float32).tiny).all():
            node.op_type = "Mul"
            node.input[1] = weights.add(f"{divisor}/reciprocal", reciprocal)
    return [node]


def _pad(node, weights):
    axes = node.input[3] if len(node.input) > 3 else ""
    rank, pads = weights.rank(node.input[0]), node.input[1]
    if axes in weights and rank is not None:
        places = np.concatenate([weights[axes] % rank, weights[axes] % rank + rank])
        everywhere = np.zeros(2 * rank, np.int64)
        if pads in weights:
            everywhere[places] = weights[pads]
            node.input[1] = weights.add(f"{pads}/all", everywhere)
        else:
            inputs = [weights.add(f"{node.name}/zeros", everywhere), weights.add(f"{node.name}/places", places), pads]
            node.input[1] = weights.free(f"{node.output[0]}/pads")
            yield helper.make_node("ScatterElements", inputs, [node.input[1]], f"{node.name}/pads")
        del node.input[3:]
    yield node


def keep_float(model):
    """Put a Sum ahead of each product of floats that stands between a DQ and Qs, in place.

    onnxruntime would round such a product's weights to int8, with one scale for all channels and at 8 bits even where
    those saturate. Between them may stand what it drops, folds into the product, or moves a Q or DQ past.
    """
    main = model.graph
    links, stored = _links(main), {tensor.name for tensor in main.initializer}
    from_codes, to_codes = _behind_codes(main.node), _ahead_of_codes(links)
    _put_sums(main, [node for node in main.node if node.op_type in ROUNDED_AT_LOAD and node.input[1] in stored
                     and node.input[0] in from_codes and node.output[0] in to_codes])  # fmt: skip


def keep_signed(model):
    """Put a Sum beside each mover of int8 numbers that has codes on one side only, in place.

    onnxruntime moves the Q or DQ past it, from opset 21 on with int8 in an attribute. Then, on x86, it shifts the codes
    to uint8, forgets the attribute, and cannot open the model.
    """
    main = model.graph
    given = {name for node in main.node if node.op_type == "DequantizeLinear" for name in node.output}
    taken = _read_only_by(_links(main), lambda node, _: node.op_type == "QuantizeLinear")
    movers = [node for node in main.node if node.op_type in PASSED_AT_LOAD]
    ahead = [node for node in movers if node.input[0] in given and node.output[0] not in taken]
    behind = [node for node in movers if node.input[0] not in given and node.output[0] in taken]
    _put_sums(main, ahead, behind)


def keep_norms(model):
    """Make a Sum of each Add of floats whose result is normalized over its last axis, in place.

    onnxruntime would fuse both into one SkipLayerNormalization, whose CPU kernel takes several times as long as the
    two apart; the numbers are those of an Add either way. Before opset 8 a Sum does not broadcast.
    """
    if opset_of(model) < SUMS_BROADCAST:
        return
    links, stored = _links(model.graph), {tensor.name for tensor in model.graph.initializer}
    for node in (one for one in model.graph.node if one.op_type == "Add"):
        is_normalized = any(one.op_type in NORMALIZING for one in links.readers.get(node.output[0], ()))
        makers = {links.producers[name].op_type for name in node.input if name in links.producers}
        if is_normalized and "DequantizeLinear" not in makers and not stored.intersection(node.input):
            node.op_type = "Sum"


def _put_sums(main, ahead, behind=()):
    """Put a Sum ahead of some nodes, one for all that read the same, and behind others."""
    ahead, behind = ({node.output[0] for node in nodes} for nodes in (ahead, behind))
    nodes, summed = [], {}
    for node in main.node:
        name, result = node.input[0] if node.input else "", node.output[0] if node.output else ""
        if result in ahead:
            if name not in summed:
                summed[name] = f"{name}/float"
                nodes.append(helper.make_node("Sum", [name], [summed[name]], f"{node.name}/float"))
            node.input[0] = summed[name]
        nodes.append(node)
        if result in behind:
            node.output[0] = f"{result}/float"
            nodes.append(helper.make_node("Sum", [node.output[0]], [result], f"{node.name}/float"))
    del main.node[:]
    main.node.extend(nodes)


def _behind_codes(nodes):
    """The tensors that a DQ gives, or that its DQ may reach."""
    found = set()
    for node in nodes:
        if node.op_type == "DequantizeLinear" or (
            node.op_type in PASSED_AT_LOAD | FOLDED_AHEAD and node.input[0] in found
        ):
            found.update(node.output)
    return found


def _ahead_of_codes(links):
    """The tensors that only Qs read, or what their Qs may reach."""

    def takes_to_codes(node, ahead):
        carries = node.op_type in PASSED_AT_LOAD | FOLDED_AT_LOAD and node.output[0] in ahead
        return node.op_type == "QuantizeLinear" or carries

    return _read_only_by(links, takes_to_codes)


def _read_only_by(links, test):
    """The tensors whose readers all pass `test(node, tensors found behind it)`; nobody outside reads them."""
    found = set()
    for node in reversed(links.items):
        for name in node.output:
            readers = links.readers.get(name, ())
            if readers and name not in links.ends and all(test(one, found) for one in readers):
                found.add(name)
    return found


def _links(main):
    return Links(main.node, ends=[output.name for output in main.output])


def quantized_dynamically(work, model, choice, *, op_types, per_channel, exclude=(), conv_dtype=None, inputs=None):
    """The ModelProto that quantize_dynamic makes of `model`, which changes; convolutions may have other weights.

    inputs  what products read, if it was seen: `calibration.observers.Inputs`
    """
    exclude = set(exclude) | (without_channels(model) if per_channel else set())
    as_products = {f"{name}_MatMul" for name in exclude}  # what a Gemm is called once it is a MatMul
    inside = len(list(graph.graphs(model))) > 1
    # What stands behind an operator of onnxruntime's own in a body has no type that ONNX could infer.
    options = {"EnableSubgraph": inside, "WeightSymmetric": True, "DefaultTensorType": onnx.TensorProto.FLOAT}
    options["MatMulConstBOnly"] = True
    overrides = options["TensorQuantOverrides"] = {}
    # The quantizer looks for what is overridden in every body as well, and fails: there all weights have one dtype.
    if "Conv" in op_types and conv_dtype not in (None, choice.weight_dtype) and not inside:
        weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
        known = {tensor.name for tensor in model.graph.initializer}
        overrides |= {name: [{"quant_type": TYPES[conv_dtype], "symmetric": True}] for name in sorted(weights & known)}
    if choice.fits_pairs and "MatMul" in op_types and not inside:
        fitting = {"op_types": op_types - {"Conv"} | {"Gemm"}, "exclude": exclude, "per_channel": per_channel}
        overrides |= _overrides(fitted_scales(model, inputs, **fitting, known=work.codes))
    if choice.fits_pairs and (inside or {"LSTM", "Attention"} & set(op_types) & set(work.prepared.operators)):
        work.notes.append(SEVEN_BITS)
    weight_type = TYPES[choice.weight_dtype]
    with _quantizer(work):
        quantizer = ONNXQuantizer(
            update_opset_version(_ready(model), weight_type),
            per_channel,
            choice.reduce_range,
            QuantizationMode.IntegerOps,
            False,  # not static
            weight_type,
            QuantType.QUInt8,
            None,  # no ranges
            [],  # all nodes
            sorted(exclude | as_products),
            sorted(op_types),
            options,
        )
        return _quantized_by(quantizer)


def _overrides(scales):
    """What onnxruntime's quantizers are to take instead of scales of their own, int8 codes in mind."""
    return {
        name: [
            {"scale": one, "zero_point": 0} | ({} if axis is None else {"axis": axis}) for one in np.atleast_1d(scale)
        ]
        for name, (axis, scale) in scales.items()
    }


def quantized_statically(work, model, choice, ranges, *, op_types, per_channel, exclude):
    """The ModelProto, in QDQ format, that quantize_static makes of `model`, which changes, with the Ranges `ranges`."""
    if per_channel and opset_of(model) < OLDEST_OPSET:
        raise ValueError(
            f"{work.model.path} has opset {opset_of(model)}, too old for a scale per channel: export it with opset "
            f"{OLDEST_OPSET} or later, or use recipes.static with per_channel=False"
        )
    exclude = set(exclude) | (without_channels(model) if per_channel else set()) | clips_seen_unclipped(model)
    unshare(model, op_types, exclude)
    activation_type, weight_type = TYPES[choice.activation_dtype], TYPES[choice.weight_dtype]
    # Unsigned weights too: per channel, onnxruntime's convolution wants the same zero point in every channel.
    options = {"ActivationSymmetric": choice.symmetric, "WeightSymmetric": True}
    if choice.fits_pairs:
        fitting = {"op_types": op_types, "exclude": exclude, "per_channel": per_channel}
        options["TensorQuantOverrides"] = _overrides(fitted_scales(model, ranges.inputs, **fitting, known=work.codes))
    with _quantizer(work):
        quantizer = Placing(
            {} if work.codes is None else work.codes,
            update_opset_version(_ready(model), weight_type, activation_type),
            per_channel,
            choice.reduce_range,
            weight_type,
            activation_type,
            ranges.as_tensors_data(),
            [],  # all nodes
            sorted(exclude),
            sorted(op_types),
            options,
        )
        result = _quantized_by(quantizer)
    keep_float(result)
    if choice.activation_dtype == "int8" and opset_of(result) >= TYPED_OPSET:
        keep_signed(result)
    return result


def _ready(model):
    """`model` as onnxruntime's quantizers want it: the types and shapes of its tensors inferred, and marked so."""
    infer(model)
    add_infer_metadata(model)
    return model


def _quantized_by(quantizer):
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    keep_norms(quantizer.model.model)
    return quantizer.model.model


def infer(model):
    """Declare the types and shapes of all tensors of the ModelProto `model` that ONNX can infer, in place.

    Its large weights, of which the shapes say enough, are not copied.
    """
    inferred = onnx.shape_inference.infer_shapes(without_weights(model)).graph
    for kept, new in ((model.graph.node, inferred.node), (model.graph.output, inferred.output),
                      (model.graph.value_info, inferred.value_info)):  # fmt: skip
        del kept[:]
        kept.extend(new)


def without_channels(model):
    """Names of the MatMul nodes whose constant right factor is no matrix, but a vector or a stack of matrices.

    Per channel, onnxruntime scales a stack along the wrong axis, and its dynamic product fails when it runs.
    """
    ranks = {tensor.name: len(tensor.dims) for one in graph.graphs(model) for tensor in one.initializer}
    return {node.name for node in graph.nodes(model) if node.op_type == "MatMul" and ranks.get(node.input[1], 2) != 2}


def clips_seen_unclipped(model):
    """Names of the Relu and Clip nodes without which somebody would see what they should have cut off.

    onnxruntime's static quantizer lets the codes do their work: it gives what they read the range of what they give,
    and leaves them out. An output of the model that a Relu reads would come out clipped; the body of an If, Loop or
    Scan would go on reading what the Relu was given, unclipped, under the name of its result. And where the bounds of a
    Clip are computed, the codes' range does not move with them.
    """
    inner = {name for one in model.graph.node for body in graph.bodies(one) for each in body.node
             for name in graph.reads(each)}  # fmt: skip
    unclipped = inner | {value.name for value in model.graph.output}
    clips = [one for one in model.graph.node if one.op_type in CLIPS]
    made = {name for one in model.graph.node if one.op_type != "Constant" for name in one.output}
    fed = made | {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}
    return {
        one.name
        for one in clips
        if one.input[0] in unclipped or inner.intersection(one.output) or fed.intersection(one.input[1:])
    }


@contextmanager
def _quantizer(work):
    with captured_logs(), writing(work.output):
        try:
            yield
        except (OSError, MemoryError):
            raise
        except Exception as error:  # its checks and asserts, and onnx's about a file that a full disk cut short
            if lacking := re.search(r"not specified for param (.+?)\.( |$)", str(error)):
                raise ValueError(
                    f"the ranges lack the tensor {lacking[1]!r} of {work.model.path}: collect them on what "
                    "recipes.prepare makes of this very model, or give a reader instead"
                ) from error
            raise ValueError(f"onnxruntime's quantizer fails on {work.model.path}: {error}") from error
