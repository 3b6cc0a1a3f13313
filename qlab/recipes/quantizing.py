"""The two quantizers of onnxruntime, with what this package knows about using them."""

import re
from contextlib import contextmanager

import onnx
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static

from qlab import graph
from qlab.recipes.files import LARGE, stored_bytes, write, writing
from qlab.recipes.guarding import keep_float, keep_signed
from qlab.recipes.logs import captured_logs
from qlab.recipes.preparing import OLDEST_OPSET, opset_of
from qlab.recipes.sharing import unshare

TYPED_OPSET = 21  # QuantizeLinear may name the type of its codes since then
TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}


def quantized_dynamically(work, path, choice, *, op_types, per_channel, exclude=(), conv_dtype=None):
    """The ModelProto that quantize_dynamic makes of the file `path`; convolutions may have another weight dtype."""
    model, target = onnx.load(path, load_external_data=False), work.folder / "dynamic.onnx"
    exclude = set(exclude) | (without_channels(model) if per_channel else set())
    as_products = [f"{name}_MatMul" for name in exclude]  # what a Gemm is called once it is a MatMul
    inside = len(list(graph.graphs(model))) > 1
    # What stands behind an operator of onnxruntime's own in a body has no type that ONNX could infer.
    options = {"EnableSubgraph": inside, "WeightSymmetric": True, "DefaultTensorType": onnx.TensorProto.FLOAT}
    # The quantizer looks for what is overridden in every body as well, and fails: there all weights have one dtype.
    if "Conv" in op_types and conv_dtype not in (None, choice.weight_dtype) and not inside:
        weights = {node.input[1] for node in model.graph.node if node.op_type == "Conv"}
        known = {tensor.name for tensor in model.graph.initializer}
        options["TensorQuantOverrides"] = {
            name: [{"quant_type": TYPES[conv_dtype], "symmetric": True}] for name in sorted(weights & known)
        }
    with _quantizer(work):
        quantize_dynamic(
            path,
            target,
            op_types_to_quantize=sorted(op_types),
            nodes_to_exclude=[*exclude, *as_products],
            per_channel=per_channel,
            reduce_range=choice.reduce_range,
            weight_type=TYPES[choice.weight_dtype],
            use_external_data_format=stored_bytes(path, model) > LARGE,
            extra_options=options,
        )
        return onnx.load(target)


def quantized_statically(work, path, choice, ranges, *, op_types, per_channel, exclude):
    """The ModelProto, in QDQ format, that quantize_static makes of the file `path` with the Ranges `ranges`."""
    model, target, cache = onnx.load(path), work.folder / "static.onnx", work.folder / "ranges"
    if per_channel and opset_of(model) < OLDEST_OPSET:
        raise ValueError(
            f"{work.model} has opset {opset_of(model)}, too old for a scale per channel: export it with opset "
            f"{OLDEST_OPSET} or later, or use recipes.static with per_channel=False"
        )
    exclude = set(exclude) | (without_channels(model) if per_channel else set()) | clips_seen_unclipped(model)
    unshare(model, op_types, exclude)
    with writing(work.output):
        path = write(model, work.folder, "unshared.onnx")
        ranges.save(cache)
    with _quantizer(work):
        quantize_static(
            path,
            target,
            None,
            calibration_cache_path=cache,
            calibrate_method=CalibrationMethod.MinMax,  # what the cache is labelled with, whatever made the ranges
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=sorted(op_types),
            nodes_to_exclude=sorted(exclude),
            per_channel=per_channel,
            reduce_range=choice.reduce_range,
            activation_type=TYPES[choice.activation_dtype],
            weight_type=TYPES[choice.weight_dtype],
            use_external_data_format=stored_bytes(path, model) > LARGE,
            # Unsigned weights too: per channel, onnxruntime's convolution wants the same zero point in every channel.
            extra_options={"ActivationSymmetric": choice.symmetric, "WeightSymmetric": True},
        )
        result = onnx.load(target)
    keep_float(result)
    if choice.activation_dtype == "int8" and opset_of(result) >= TYPED_OPSET:
        keep_signed(result)
    return result


def without_channels(model):
    """Names of the MatMul nodes whose constant right factor is no matrix, but a vector or a stack of matrices.

    Per channel, onnxruntime scales a stack along the wrong axis, and its dynamic product fails when it runs.
    """
    ranks = {tensor.name: len(tensor.dims) for one in graph.graphs(model) for tensor in one.initializer}
    return {node.name for node in graph.nodes(model) if node.op_type == "MatMul" and ranks.get(node.input[1], 2) != 2}


def clips_seen_unclipped(model):
    """Names of the Relu and Clip nodes without which somebody would see the wrong one of their two tensors.

    onnxruntime's static quantizer lets the codes do their work: it gives what they read the range of what they give,
    and leaves them out. An output of the model that a Relu reads would come out clipped; the body of an If, Loop or
    Scan would go on reading what the Relu was given, unclipped, under the name of its result.
    """
    inner = {name for one in model.graph.node for body in graph.bodies(one) for each in body.node
             for name in graph.reads(each)}  # fmt: skip
    unclipped = inner | {value.name for value in model.graph.output}
    clips = [one for one in model.graph.node if one.op_type in ("Relu", "Clip")]
    return {one.name for one in clips if one.input[0] in unclipped or inner.intersection(one.output)}


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
                    f"the ranges lack the tensor {lacking[1]!r} of {work.model}: collect them on what recipes.prepare "
                    "makes of this very model, or give a reader instead"
                ) from error
            raise ValueError(f"onnxruntime's quantizer fails on {work.model}: {error}") from error
