"""Models made to have exactly one fault, and a healthy one of each kind, large enough for products to matter."""

import logging
from contextlib import contextmanager

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

from qlab import calibration, recipes
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights

WIDTH, ROWS = 384, 192
CHANNELS, SIDE = 32, 40
TYPES = {"uint8": QuantType.QUInt8, "int8": QuantType.QInt8, "uint16": QuantType.QUInt16}


def layers(folder, name="layers.onnx", w=None):
    """Three linear layers with ReLU between: x [rows, 384] -> y [rows, 384]."""
    w = w or {f"w{k}": weights(WIDTH, WIDTH, seed=k) for k in range(3)}
    nodes, x = [], "x"
    for k in range(3):
        y = "y" if k == 2 else f"r{k}"
        nodes += [node("MatMul", [x, f"w{k}"], [f"m{k}"], f"layer{k}"), node("Relu", [f"m{k}"], [y], f"relu{k}")]
        x = y
    ends = [value("x", FLOAT, ["rows", WIDTH])], [value("y", FLOAT, ["rows", WIDTH])]
    return save(folder / name, nodes, *ends, w)


def layers_feed(seed=5, scale=1.0):
    return {"x": noise(ROWS, WIDTH, seed=seed) * np.float32(scale)}


def residual(folder):
    """Convolutions with residual connections, as in a MobileNet: each Add is read by two."""
    w = {"stem": weights(CHANNELS, 3, 3, 3)}
    w |= {f"w{k}": weights(CHANNELS, CHANNELS, 3, 3, seed=k + 1) for k in range(4)}
    w |= {f"b{k}": noise(CHANNELS, seed=k + 11) for k in range(4)}
    nodes = [node("Conv", ["x", "stem"], ["a0"], "stem", pads=[1, 1, 1, 1])]
    for k in range(4):
        y = "y" if k == 3 else f"a{k + 1}"
        nodes += [
            node("Conv", [f"a{k}", f"w{k}", f"b{k}"], [f"c{k}"], f"conv{k}", pads=[1, 1, 1, 1]),
            node("Add", [f"a{k}", f"c{k}"], [y], f"add{k}"),
        ]
    shape = [1, CHANNELS, SIDE, SIDE]
    return save(folder / "residual.onnx", nodes, [value("x", FLOAT, [1, 3, SIDE, SIDE])], [value("y", FLOAT, shape)], w)


def image_feed(channels=3, side=SIDE, seed=5):
    return {"x": noise(1, channels, side, side, seed=seed)}


def upsampler(folder):
    """Two transposed convolutions, of a kind that has no integer kernel, and a light convolution."""
    w = {"w0": weights(CHANNELS, CHANNELS, 4, 4), "w1": weights(CHANNELS, 3, 4, 4, seed=1), "w2": weights(3, 3, 1, 1)}
    nodes = [
        node("ConvTranspose", ["x", "w0"], ["u"], "up0", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("ConvTranspose", ["u", "w1"], ["v"], "up1", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["v", "w2"], ["y"], "last"),
    ]
    ends = [value("x", FLOAT, [1, CHANNELS, SIDE, SIDE])], [value("y", FLOAT, [1, 3, 4 * SIDE, 4 * SIDE])]
    return save(folder / "up.onnx", nodes, *ends, w)


def attention_scores():
    """(nodes, weights) that make of x the values v and the scores s of every frame for every other."""
    w = {"wq": weights(64, 64), "wv": weights(64, 64, seed=1)}
    return [
        node("MatMul", ["x", "wq"], ["q"], "query"),
        node("MatMul", ["x", "wv"], ["v"], "values"),
        node("Transpose", ["q"], ["k"], "turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "k"], ["s"], "scores"),
    ], w


def attention(folder):
    """Long self-attention: most of the work is in the two products in which both factors move."""
    nodes, w = attention_scores()
    nodes += [
        node("Relu", ["s"], ["p"], "weights"),
        node("MatMul", ["p", "v"], ["y"], "context"),
    ]
    ends = [value("x", FLOAT, [1, "time", 64])], [value("y", FLOAT, [1, "time", 64])]
    return save(folder / "attention.onnx", nodes, *ends, w)


def attention_feed():
    return {"x": noise(1, 700, 64, seed=5)}


def mixed(folder):
    """Two heavy convolutions and a heavy matrix product."""
    wide = 2 * CHANNELS
    w = {f"k{k}": weights(wide, wide, 3, 3, seed=k) for k in range(2)} | {"w": weights(SIDE * SIDE, 512, seed=2)}
    nodes = [
        node("Conv", ["x", "k0"], ["c"], "conv0", pads=[1, 1, 1, 1]),
        node("Conv", ["c", "k1"], ["d"], "conv1", pads=[1, 1, 1, 1]),
        node("Reshape", ["d", "flat"], ["f"], "flatten"),
        node("MatMul", ["f", "w"], ["y"], "head"),
    ]
    w["flat"] = np.array([1, wide, SIDE * SIDE])
    ends = [value("x", FLOAT, [1, wide, SIDE, SIDE])], [value("y", FLOAT, [1, wide, 512])]
    return save(folder / "mixed.onnx", nodes, *ends, w)


def islands(folder, operator="Abs"):
    """Convolutions between float operators that have no integer kernel."""
    w = {f"w{k}": weights(CHANNELS, CHANNELS, 3, 3, seed=k) for k in range(3)}
    nodes, x = [], "x"
    for k in range(3):
        y = "y" if k == 2 else f"e{k}"
        nodes += [
            node("Conv", [x, f"w{k}"], [f"c{k}"], f"conv{k}", auto_pad="SAME_UPPER"),
            node(operator, [f"c{k}"], [y], f"{operator.lower()}{k}"),
        ]
        x = y
    shape = [1, CHANNELS, 2 * SIDE, 2 * SIDE]
    return save(folder / "islands.onnx", nodes, [value("x", FLOAT, shape)], [value("y", FLOAT, shape)], w)


def between(folder, operator):
    """Two convolutions, with an operator between them."""
    w = {f"w{k}": weights(CHANNELS, CHANNELS, 3, 3, seed=k) for k in range(2)}
    normal = {"slope": np.ones(CHANNELS, np.float32), "shift": np.zeros(CHANNELS, np.float32)}
    if operator == "LayerNormalization":
        normal = {name: np.full(2 * SIDE, array[0]) for name, array in normal.items()}
    extra = normal if operator.endswith("Normalization") else {}
    nodes = [
        node("Conv", ["x", "w0"], ["c"], "conv0", auto_pad="SAME_UPPER"),
        node(operator, ["c", *extra], ["e"], "between"),
        node("Conv", ["e", "w1"], ["y"], "conv1", auto_pad="SAME_UPPER"),
    ]
    shape = [1, CHANNELS, 2 * SIDE, 2 * SIDE]
    return save(folder / "between.onnx", nodes, [value("x", FLOAT, shape)], [value("y", FLOAT, shape)], w | extra)


def narrow(folder, last=32):
    """Light matrix products between float operators: there is more to quantize than to multiply."""
    w, nodes, x = {f"w{k}": weights(32, last if k == 2 else 32, seed=k) for k in range(3)}, [], "x"
    for k in range(3):
        y = "y" if k == 2 else f"e{k}"
        nodes += [node("MatMul", [x, f"w{k}"], [f"c{k}"], f"product{k}"), node("Abs", [f"c{k}"], [y], f"abs{k}")]
        x = y
    ends = [value("x", FLOAT, ["rows", 32])], [value("y", FLOAT, ["rows", last])]
    return save(folder / "narrow.onnx", nodes, *ends, w)


def normalized(folder):
    """Convolutions, each with a batch normalization behind it."""
    w, nodes, x = {}, [], "x"
    for k in range(3):
        y = "y" if k == 2 else f"r{k}"
        w |= {f"w{k}": weights(CHANNELS, CHANNELS, 3, 3, seed=k), f"variance{k}": np.full(CHANNELS, 0.9, np.float32)}
        w |= {f"{what}{k}": noise(CHANNELS, seed=k) for what in ("mean", "shift")}
        w[f"slope{k}"] = np.ones(CHANNELS, np.float32)
        normal = [f"c{k}", f"slope{k}", f"shift{k}", f"mean{k}", f"variance{k}"]
        nodes += [
            node("Conv", [x, f"w{k}"], [f"c{k}"], f"conv{k}", pads=[1, 1, 1, 1]),
            node("BatchNormalization", normal, [f"n{k}"], f"norm{k}"),
            node("Relu", [f"n{k}"], [y], f"relu{k}"),
        ]
        x = y
    shape = [1, CHANNELS, SIDE, SIDE]
    return save(folder / "normalized.onnx", nodes, [value("x", FLOAT, shape)], [value("y", FLOAT, shape)], w)


def normalized_late(folder):
    """Convolutions with a Relu between each and its batch normalization."""
    path, proto = folder / "late.onnx", onnx.load(normalized(folder))
    for k in range(3):
        convolution, norm, relu = proto.graph.node[3 * k : 3 * k + 3]
        result = relu.output[0]
        norm.input[0], relu.input[0] = "", convolution.output[0]
        relu.output[0] = norm.input[0] = f"late{k}"
        norm.output[0] = result
    nodes = [proto.graph.node[at] for k in range(3) for at in (3 * k, 3 * k + 2, 3 * k + 1)]
    proto.graph.node.extend(nodes)
    del proto.graph.node[:9]
    onnx.save(proto, path)
    return path


def branching(folder):
    """Convolutions in the branches of an If."""
    w = {f"w{k}": weights(CHANNELS, CHANNELS, 3, 3, seed=k) for k in range(2)}
    branches = [
        onnx.helper.make_graph(
            [node("Conv", ["x", f"w{k}"], [f"c{k}"], f"conv{k}", pads=[1] * 4), node("Relu", [f"c{k}"], [f"r{k}"])],
            f"branch{k}",
            [],
            [value(f"r{k}", FLOAT, None)],
        )
        for k in range(2)
    ]
    nodes = [node("If", ["first"], ["y"], "choice", then_branch=branches[0], else_branch=branches[1])]
    ends = [value("x", FLOAT, [1, CHANNELS, SIDE, SIDE]), value("first", blocks.BOOL, [])], [value("y", FLOAT, None)]
    return save(folder / "branching.onnx", nodes, *ends, w)


def unprepared(model, folder, feeds):
    """quantize_static on the model as it is, without pre-processing."""
    cache, path = folder / "ranges.json", folder / "unprepared.onnx"
    calibration.collect(model, feeds).save(cache)
    with quiet():  # "consider pre-processing"
        quantize_static(
            model, path, None, calibration_cache_path=cache, quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, op_types_to_quantize=["Conv"],
        )  # fmt: skip
    return path


def cancelling(folder):
    """Two products that are nearly the same, and their difference: each is good, the difference is all error."""
    first = weights(WIDTH, WIDTH)
    w = {"w0": first, "w1": first + np.float32(0.002) * weights(WIDTH, WIDTH, seed=1)}
    nodes = [
        node("MatMul", ["x", "w0"], ["a"], "left"),
        node("MatMul", ["x", "w1"], ["b"], "right"),
        node("Sub", ["a", "b"], ["y"], "difference"),
    ]
    ends = [value("x", FLOAT, ["rows", WIDTH])], [value("y", FLOAT, ["rows", WIDTH])]
    return save(folder / "cancelling.onnx", nodes, *ends, w)


def rounded(model, folder):
    """Q and DQ behind every Abs, which has no integer kernel, and nothing else quantized."""
    proto, path = onnx.load(model), folder / "rounded.onnx"
    proto.graph.initializer.extend([
        numpy_helper.from_array(np.float32(0.05), "scale"), numpy_helper.from_array(np.uint8(0), "zero_point"),
    ])  # fmt: skip
    nodes = []
    for one in proto.graph.node:
        if one.op_type == "Abs":
            given, one.output[0] = one.output[0], f"{one.output[0]}_float"
            nodes += [
                one,
                node("QuantizeLinear", [one.output[0], "scale", "zero_point"], [f"{given}_codes"], f"{given}_q"),
                node("DequantizeLinear", [f"{given}_codes", "scale", "zero_point"], [given], f"{given}_dq"),
            ]
        else:
            nodes.append(one)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(proto, path)
    return path


def small(folder):
    """A product of nothing much among operators that have none."""
    nodes, x = [node("MatMul", ["x", "w"], ["m0"], "product")], "m0"
    for k in range(12):
        y = "y" if k == 11 else f"m{k + 1}"
        nodes.append(node("Erf", [x], [y], f"erf{k}"))
        x = y
    ends = [value("x", FLOAT, ["rows", 16])], [value("y", FLOAT, ["rows", 16])]
    return save(folder / "small.onnx", nodes, *ends, {"w": weights(16, 16)})


@contextmanager
def quiet():
    """onnxruntime's quantizers log advice."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def by_hand(model, folder, dtype, *, operators=None, per_channel=False, inside=False):
    """quantize_dynamic as an article would call it; `inside` bodies too, if asked."""
    path = folder / f"dynamic-{dtype}.onnx"
    with quiet():  # "consider pre-processing"
        quantize_dynamic(
            model, path, weight_type=TYPES[dtype], op_types_to_quantize=operators, per_channel=per_channel,
            extra_options={"EnableSubgraph": True} if inside else None,
        )  # fmt: skip
    return path


def static_by_hand(model, folder, feeds, activations, weights_dtype, *, operators=None, exclude=()):
    """quantize_static in QDQ format, on the pre-processed model, with these dtypes."""
    prepared, cache = recipes.prepare(model, folder / "prepared.onnx"), folder / "ranges.json"
    calibration.collect(prepared, feeds).save(cache)
    path = folder / f"static-{activations}-{weights_dtype}.onnx"
    with quiet():  # codes of 16 bits raise the opset, and say so
        quantize_static(
            prepared, path, None, calibration_cache_path=cache, quant_format=QuantFormat.QDQ, per_channel=True,
            activation_type=TYPES[activations], weight_type=TYPES[weights_dtype], op_types_to_quantize=operators,
            nodes_to_exclude=list(exclude),
        )  # fmt: skip
    return path


def capped(folder):
    """Attention whose weights are sigmoids; scores are capped at -10000 where nothing is to be seen."""
    nodes, w = attention_scores()
    nodes += [
        node("Min", ["s", "cap"], ["m"], "mask"),
        node("Sigmoid", ["m"], ["p"], "sigmoid"),
        node("MatMul", ["p", "v"], ["y"], "context"),
    ]
    ends = [value("x", FLOAT, [1, "time", 64]), value("cap", FLOAT, [1, 1, "time"])]
    return save(folder / "capped.onnx", nodes, ends, [value("y", FLOAT, [1, "time", 64])], w)


def capped_feed(time=200):
    cap = np.where(np.arange(time) < time - 20, 1e9, -10000).astype(np.float32).reshape(1, 1, time)
    return {"x": noise(1, time, 64, seed=5) / np.float32(3), "cap": cap}


def embedding(folder):
    """A large table, of which few rows are looked up, and a product behind it."""
    w = {"table": weights(20_000, 64), "w": weights(64, 64, seed=1)}
    nodes = [node("Gather", ["table", "ids"], ["x"], "lookup"), node("MatMul", ["x", "w"], ["y"], "product")]
    ends = [value("ids", blocks.INT64, ["words"])], [value("y", FLOAT, ["words", 64])]
    return save(folder / "embedding.onnx", nodes, *ends, w)


def weight_only(model, folder, *, operators=("Conv", "MatMul"), place=1):
    """The weights of these operators as int8 codes with a DequantizeLinear behind them; activations in float."""
    proto, path = onnx.load(model), folder / "weight_only.onnx"
    stored, nodes = {tensor.name: tensor for tensor in proto.graph.initializer}, []
    for one in proto.graph.node:
        name = one.input[place] if one.op_type in operators else None
        if name in stored:
            array = numpy_helper.to_array(stored[name])
            scale = np.float32(np.abs(array).max() / 127)
            proto.graph.initializer.remove(stored[name])
            proto.graph.initializer.extend([
                numpy_helper.from_array(np.round(array / scale).astype(np.int8), f"{name}_codes"),
                numpy_helper.from_array(scale, f"{name}_scale"),
            ])  # fmt: skip
            nodes.append(node("DequantizeLinear", [f"{name}_codes", f"{name}_scale"], [name], f"{name}_dequantize"))
        nodes.append(one)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    onnx.save(proto, path)
    return path


def without_result_quantizer(model, folder, feeds):
    """`model` in Q/DQ format, but with nothing quantized behind its convolutions."""
    proto = onnx.load(static_by_hand(model, folder, feeds, "uint8", "int8", operators=["Conv"]))
    convolutions = {name for one in proto.graph.node if one.op_type == "Conv" for name in one.output}
    skipped = {one.output[0]: one.input[0] for one in proto.graph.node
               if one.op_type == "QuantizeLinear" and one.input[0] in convolutions}  # fmt: skip
    renamed = {one.output[0]: skipped[one.input[0]] for one in proto.graph.node if one.input[0] in skipped}
    kept = [one for one in proto.graph.node if one.output[0] not in skipped | renamed]
    for one in kept:
        for place, name in enumerate(one.input):
            one.input[place] = renamed.get(name, name)
    del proto.graph.node[:]
    proto.graph.node.extend(kept)
    path = folder / "without.onnx"
    onnx.save(proto, path)
    return path
