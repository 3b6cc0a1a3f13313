"""Exercise 04.5: is it the product that was asked for, and was its optimized graph read right?"""

import math

import numpy as np
import onnx
from onnx import numpy_helper

from qlab import sqnr_db
from qlab.course.brief import brief, error_text, kind
from qlab.course.lessons.n04_graphs import BORDER, optimized, reading
from qlab.course.verdict import Almost
from qlab.machine.runtime import run_operator


def as_model(seen):
    try:
        model = seen if isinstance(seen, onnx.ModelProto) else onnx.load_model_from_string(seen)
    except Exception:
        raise Almost(f"build: expected an onnx.ModelProto (helper.make_model), seen {brief(seen)}") from None
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise Almost(f"build: onnx.checker does not accept the model: {str(error).splitlines()[0]}") from None
    return model


def judge_built(model, x, w, said):
    """Is this x @ w with uint8 activations per tensor and int8 weights per output channel, as Q/DQ?"""
    held, makers = _arrays(model.graph), {output: node for node in model.graph.node for output in node.output}
    products = [node for node in model.graph.node if "MatMul" in node.op_type or node.op_type == "Gemm"]
    if len(products) != 1 or products[0].op_type != "MatMul":
        raise Almost(f"{said}: expected one MatMul between Q/DQ, seen {[node.op_type for node in products]}")
    if products[0].output[0] not in {output.name for output in model.graph.output}:
        raise Almost(f"{said}: the result of MatMul is to be the model's output; here something follows it")
    before = [makers.get(name) for name in products[0].input]
    for what, node in zip(("activations reach", "weight reaches"), before, strict=True):
        if node is not None and node.op_type == "Transpose":
            raise Almost(f"{said}: a Transpose stands before MatMul; store the codes as MatMul takes them, (K, N)")
        if node is None or node.op_type != "DequantizeLinear":
            raise Almost(f"{said}: the {what} MatMul in float32, without a DequantizeLinear before it")
    _judge_weight(before[1], held, makers, w, said)
    quantizes, x_scale = makers.get(before[0].input[0]), held.get(before[0].input[1])
    if quantizes is not None and quantizes.op_type == "DynamicQuantizeLinear":
        raise Almost(
            f"{said}: DynamicQuantizeLinear finds a scale for x anew in each run; asked for QuantizeLinear with the "
            "scale and zero point of this x"
        )
    if x_scale is not None and x_scale.size != 1:
        raise Almost(f"{said}: the activations have {x_scale.size} scales, of shape {x_scale.shape}; one is asked for")
    _judge_sizes(model.graph, w, said)
    try:
        y, graph = optimized(model, x, x64quantprecision="1")
    except Exception as error:
        new = max(each.version for each in model.opset_import) > 21
        hint = '; an operator set that it knows: helper.make_opsetid("", 21)' if new else ""
        raise Almost(f"{said}: onnxruntime stops: {error_text(error)}{hint}") from None
    db = sqnr_db(x @ w, y) if np.shape(y) == (len(x), w.shape[1]) else -math.inf
    if db < 30:
        raise Almost(f"{said}: the result has {db:.1f} dB against x @ w{_why_x(quantizes, x_scale, held, x)}")
    if _x_dtype(quantizes, held) != "uint8":
        raise Almost(f"{said}: the activations' codes are int8; asked for uint8")
    _judge_range(quantizes, held, x, said)
    if "MatMul" in [node.op_type for node in graph.node]:
        raise Almost(f"{said}: it runs, but as a float MatMul: {[node.op_type for node in graph.node]}")


def _arrays(graph):
    """The arrays that stand in a graph by name: initializers, and what Constant nodes give."""
    constants = {
        node.output[0]: entry.t
        for node in graph.node
        for entry in node.attribute
        if node.op_type == "Constant" and entry.name == "value"
    }
    held = {tensor.name: tensor for tensor in graph.initializer} | constants
    return {name: numpy_helper.to_array(tensor) for name, tensor in held.items()}


def _judge_sizes(graph, w, said):
    """x [T, K] -> y [T, N], of these K and N and any T, where the model declares it."""
    for end, name, size, letter in ((graph.input, "x", w.shape[0], "K"), (graph.output, "y", w.shape[1], "N")):
        value = next((each for each in end if each.name not in {t.name for t in graph.initializer}), None)
        if value is None or not value.type.tensor_type.HasField("shape"):
            continue
        tokens, *others = value.type.tensor_type.shape.dim
        if others and others[-1].HasField("dim_value") and others[-1].dim_value != size:
            raise Almost(
                f"{said}: {name} is declared with {others[-1].dim_value} channels; w has the shape {w.shape}, so "
                f"{letter} is {size}: take the sizes from w.shape"
            )
        if tokens.HasField("dim_value"):
            raise Almost(
                f'{said}: {name} is declared with {tokens.dim_value} tokens; any number is asked for: write "T" there'
            )


def _judge_range(quantizes, held, x, said):
    """Does the scale of the activations reach from the least to the largest x?"""
    if quantizes is None or quantizes.input[1] not in held:
        return
    scale = float(held[quantizes.input[1]].squeeze())
    zero = int(held[quantizes.input[2]].squeeze()) if len(quantizes.input) > 2 else 0
    low, high = -zero * scale, (255 - zero) * scale
    if low > x.min() + 0.6 * scale or high < x.max() - 0.6 * scale:
        raise Almost(
            f"{said}: the codes of x reach from {low:.2f} to {high:.2f}, and x from {x.min():.2f} to {x.max():.2f}: "
            "what lies beyond is clipped"
        )


def _judge_weight(node, held, makers, w, said):
    """The DequantizeLinear before the weight's side of MatMul: codes int8, a scale for each output channel."""
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    inputs = [held.get(name) for name in node.input]
    if inputs[0] is None and (quantizes := makers.get(node.input[0])) is not None:  # float weight -> Q -> DQ
        how = {entry.name: onnx.helper.get_attribute_value(entry) for entry in quantizes.attribute}
        parts = [held.get(name) for name in quantizes.input]
        inputs[0] = run_operator("QuantizeLinear", *parts, **how) if None not in map(type, parts) else None
    codes, scale = inputs[:2]
    if codes is None or scale is None:
        raise Almost(f"{said}: the weight's codes and scales must stand in the model as initializers")
    if scale.dtype != np.float32:
        raise Almost(f"{said}: the weight's scales are {scale.dtype}; ONNX takes float32 beside a float32 MatMul")
    if codes.dtype != np.int8:
        raise Almost(f"{said}: the weight's codes are {codes.dtype}; asked for int8")
    if codes.shape != w.shape:
        raise Almost(f"{said}: the weight's codes have shape {codes.shape}; MatMul needs (K, N), {w.shape}")
    if scale.size == 1:
        raise Almost(f"{said}: the weight has one scale; asked for one for each output channel, {(w.shape[1],)}")
    if attributes.get("block_size"):
        raise Almost(f"{said}: these are blocks; asked for one scale for each output channel, without block_size")
    axis = attributes.get("axis", 1) % 2
    if scale.shape != (w.shape[axis],):
        raise Almost(f"{said}: scales {scale.shape} do not fit axis={axis} of a weight {w.shape}")
    real = run_operator("DequantizeLinear", *(part for part in inputs if part is not None), axis=axis)
    db = sqnr_db(w, real)
    if axis == 0 and db > 30:
        wide = (
            "stops, or multiplies in float" if w.shape[0] != w.shape[1] else "takes them for output channels, silently"
        )
        raise Almost(
            f"{said}: the scales lie along axis 0, the inputs, which are summed: onnxruntime {wide}. "
            "Output channels of a weight (K, N) are axis 1"
        )
    if db < 30:
        raise Almost(
            f"{said}: the codes and scales of the weight tell {db:.1f} dB of it: {_why_w(codes, scale, real, w, axis)}"
        )
    if len(inputs) > 2 and np.any(inputs[2]):
        raise Almost(
            f"{said}: the weight has zero points, such as {inputs[2][np.flatnonzero(inputs[2])[0]]}; symmetric codes "
            "have 0: choose_qparams(..., symmetric=True)"
        )
    _judge_rounding(codes, scale, w, said)


def _judge_rounding(codes, scale, w, said):
    """Each weight has the code next to it: none was cut off, none was clipped."""
    steps = w / scale
    off = np.abs(steps - codes)
    if off.max() < 0.5 + 1e-3:
        return
    if np.array_equal(codes, np.trunc(steps)):
        raise Almost(f"{said}: the codes of the weight are cut off, by a cast to int8; round first, as quantize does")
    row, column = np.unravel_index(off.argmax(), w.shape)
    raise Almost(
        f"{said}: w[{row}, {column}] / scale is {steps[row, column]:.2f}, and its code {codes[row, column]}; each code "
        "is to be the nearest, and the scale of a column its largest |value| / 127"
    )


def _why_w(codes, scale, real, w, axis):
    spread = np.expand_dims(scale, 1 - axis)
    for told, why in (
        (codes.T * spread if codes.T.shape == w.shape else None, "they are transposed"),
        (codes / spread, "these are 1 / scale; a scale is the step between two codes, largest / 127"),
        (codes * spread / 127, "the scales are the largest |value|; a scale is a 127th of it"),
    ):
        if told is not None and sqnr_db(w, told.astype(np.float32)) > 30:
            return why
    if np.abs(codes.astype(int)).max() <= 8:
        return "the codes have 4 bits; int8 reaches from -127 to 127"
    centred = codes - codes.mean(axis=1 - axis, keepdims=True)
    if sqnr_db(w - w.mean(axis=1 - axis, keepdims=True), (centred * spread).astype(np.float32)) > 30:
        return "the codes have a zero point that DequantizeLinear is not told; symmetric ones need none"
    return f"were the codes made with these scales, along axis={axis}?"


def _x_dtype(quantizes, held):
    zero = held.get(quantizes.input[2]) if quantizes is not None and len(quantizes.input) > 2 else None
    return "uint8" if zero is None else zero.dtype.name


def _why_x(quantizes, scale, held, x):
    """What may be wrong with scale and zero point of the activations."""
    if quantizes is not None and len(quantizes.input) < 3:
        return "; QuantizeLinear without a zero point gives uint8 codes from 0 up: negative activations are lost"
    zero = held.get(quantizes.input[2]) if quantizes is not None else None
    if zero is not None and zero.dtype == np.uint8 and zero == 0 and x.min() < 0:
        return "; the zero point of the activations is 0, so uint8 has no code for negative ones"
    if scale is not None and float(scale) > 10:
        return "; is the scale of the activations 1 / scale?"
    return "; do scale and zero point of the activations hold the whole range of x?"


def judge_reading(seen, model, said):
    expected = reading(model)
    if not isinstance(seen, tuple | list) or len(seen) != 4:
        raise Almost(f"{said}: expected (op_type, dtype of x, dtype of w, shape of w's scales), seen {brief(seen)}")
    op_type, *dtypes, shape = seen
    if not isinstance(op_type, str):
        raise Almost(f"{said}: expected the op_type of the node that multiplies, a str, seen a {kind(op_type)}")
    op_type = op_type.rpartition(".")[2]
    dtypes = [_dtype_name(dtype, said) for dtype in dtypes]
    if op_type in BORDER:
        raise Almost(f"{said}: {op_type} stands at the border; asked for the node that multiplies")
    if op_type == "MatMul" != expected[0]:
        raise Almost(
            f"{said}: MatMul stands in the model as it was written. The one that runs is the *optimized* one: set "
            "options.optimized_model_filepath, make the session, and load that file"
        )
    if op_type != expected[0]:
        raise Almost(f"{said}: the node that multiplies is {expected[0]!r}, seen {brief(op_type)}")
    if dtypes != list(expected[1:3]):
        swapped = ": the activations come first, then the weights" if dtypes[::-1] == list(expected[1:3]) else ""
        floats = ": these are the types before quantization; ask for those of the codes" if "float32" in dtypes else ""
        raise Almost(
            f"{said}: the product takes {expected[1]} × {expected[2]}, seen {' × '.join(dtypes)}"
            f"{swapped or floats or ': read it from this graph, whatever was true of another'}"
        )
    _judge_scale_reading(shape, expected[3], said)


def _judge_scale_reading(shape, expected, said):
    try:
        shape = tuple(int(n) for n in shape)
    except (TypeError, ValueError):
        raise Almost(f"{said}: the shape of the scales is a tuple such as {expected}, seen {brief(shape)}") from None
    if shape != expected:
        why = ": read it from this graph, whatever was true of another"
        if shape == ():
            why = ": that is the activations' scale; the weights' is the next input"
        elif len(shape) == 2:
            why = ": that is the shape of the weight's codes"
        raise Almost(f"{said}: the weights' scales have shape {expected}, seen {shape}{why}")


def _dtype_name(dtype, said):
    """A dtype in any of its spellings: "uint8", np.uint8, an array's dtype, ONNX's number or name."""
    try:
        if isinstance(dtype, int) and not isinstance(dtype, bool):
            return onnx.helper.tensor_dtype_to_np_dtype(dtype).name
        return np.dtype(dtype.lower() if isinstance(dtype, str) else dtype).name
    except (TypeError, KeyError, ValueError):
        raise Almost(f"{said}: expected the name of a dtype, such as 'uint8', seen {brief(dtype)}") from None
