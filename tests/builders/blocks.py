"""Small models of every kind that a reader may bring, made in the test's own folder, and feeds for them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
value = helper.make_tensor_value_info
node = helper.make_node


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def weights(*shape, seed=0):
    """Noise that keeps the power of what it multiplies."""
    return noise(*shape, seed=seed) / np.float32(np.sqrt(np.prod(shape[1:]) if len(shape) > 2 else shape[0]))


def save(path, nodes, inputs, outputs, initializers, *, opset=17, metadata=None, functions=(), **storage):
    """Write a model and return its path; `initializers` maps names to arrays."""
    graph = helper.make_graph(
        nodes,
        "test",
        inputs,
        outputs,
        [numpy_helper.from_array(np.asarray(a), name) for name, a in initializers.items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(function.domain, 1) for function in functions)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 19 else 10, functions=functions)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path, **storage)
    return path


def linear(folder, *, gemm=True, opset=17, bias=True, **options):
    """Two layers as PyTorch exports them: Gemm with transposed weights and a bias, ReLU between."""
    w = {"w1": weights(24, 32), "b1": noise(32, seed=1), "w2": weights(32, 16, seed=2), "b2": noise(16, seed=3)}
    if gemm:
        w |= {"w1": w["w1"].T.copy(), "w2": w["w2"].T.copy()}
        nodes = [
            node("Gemm", ["x", "w1", "b1"], ["h"], "first", transB=1),
            node("Relu", ["h"], ["r"], "relu"),
            node("Gemm", ["r", "w2", "b2"], ["y"], "second", transB=1),
        ]
    else:
        nodes = [
            node("MatMul", ["x", "w1"], ["m1"], "first"),
            node("Add", ["m1", "b1"], ["h"], "first_bias"),
            node("Relu", ["h"], ["r"], "relu"),
            node("MatMul", ["r", "w2"], ["m2"], "second"),
            node("Add", ["m2", "b2"], ["y"], "second_bias"),
        ]
    inputs, outputs = [value("x", FLOAT, ["rows", 24])], [value("y", FLOAT, ["rows", 16])]
    return save(folder / "linear.onnx", nodes, inputs, outputs, w, opset=opset, **options)


def linear_feed(rows=64, seed=5):
    return {"x": noise(rows, 24, seed=seed)}


def residual_cnn(folder, *, opset=17):
    """Conv, BatchNorm, ReLU, a depthwise Conv, a residual Add with two readers, pooling and Gemm."""
    w = {
        "w1": weights(8, 3, 3, 3), "scale": np.abs(noise(8, seed=1)) + 0.5, "shift": noise(8, seed=2),
        "mean": noise(8, seed=3), "variance": np.abs(noise(8, seed=4)) + 0.5, "w2": weights(8, 1, 3, 3, seed=5),
        "w3": weights(8, 8, 1, 1, seed=6), "b3": noise(8, seed=7), "w4": weights(8, 10, seed=8),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "w1"], ["c1"], "stem", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c1", "scale", "shift", "mean", "variance"], ["n1"], "norm"),
        node("Relu", ["n1"], ["r1"], "relu1"),
        node("Conv", ["r1", "w2"], ["c2"], "depthwise", pads=[1, 1, 1, 1], group=8),
        node("Conv", ["c2", "w3", "b3"], ["c3"], "pointwise"),
        node("Add", ["r1", "c3"], ["a"], "residual"),
        node("Relu", ["a"], ["r2"], "relu2"),
        node("GlobalAveragePool", ["r2"], ["p"], "pool"),
        node("Flatten", ["p"], ["f"], "flat"),
        node("Gemm", ["f", "w4"], ["y"], "head"),
    ]
    inputs, outputs = [value("x", FLOAT, ["batch", 3, 12, 12])], [value("y", FLOAT, ["batch", 10])]
    return save(folder / "cnn.onnx", nodes, inputs, outputs, w, opset=opset)


def cnn_feed(batch=16, seed=5):
    return {"x": noise(batch, 3, 12, 12, seed=seed)}


def conformer_block(folder):
    """Speech of any length, with its length beside it: attention, then pointwise and depthwise Conv1d."""
    w = {name: weights(32, 32, seed=seed) for seed, name in enumerate(("wq", "wk", "wv", "wo"))}
    w |= {
        "gain": np.ones(32, np.float32), "shift": np.zeros(32, np.float32), "root": np.float32(32**-0.5),
        "w1": weights(64, 32, 1, seed=7), "b1": noise(64, seed=8), "w2": weights(32, 1, 7, seed=9),
        "w3": weights(32, 32, 1, seed=10), "b3": noise(32, seed=11),
    }  # fmt: skip
    nodes = [
        node("LayerNormalization", ["speech", "gain", "shift"], ["n"], "norm"),
        *(node("MatMul", ["n", f"w{k}"], [k], k) for k in "qkv"),
        node("Transpose", ["k"], ["kt"], "turn", perm=[0, 2, 1]),
        node("MatMul", ["q", "kt"], ["s"], "scores"),
        node("Mul", ["s", "root"], ["ss"], "scaled"),
        node("Softmax", ["ss"], ["p"], "softmax"),
        node("MatMul", ["p", "v"], ["c"], "context"),
        node("MatMul", ["c", "wo"], ["o"], "out"),
        node("Add", ["speech", "o"], ["h"], "residual1"),
        node("Transpose", ["h"], ["ht"], "to_channels", perm=[0, 2, 1]),
        node("Conv", ["ht", "w1", "b1"], ["g"], "pointwise1"),
        node("Split", ["g"], ["a", "b"], "split", axis=1),
        node("Sigmoid", ["b"], ["sb"], "gate"),
        node("Mul", ["a", "sb"], ["glu"], "glu"),
        node("Conv", ["glu", "w2"], ["d"], "depthwise", pads=[3, 3], group=32),
        node("Conv", ["d", "w3", "b3"], ["e"], "pointwise2"),
        node("Transpose", ["e"], ["et"], "to_frames", perm=[0, 2, 1]),
        node("Add", ["h", "et"], ["y"], "residual2"),
        node("Identity", ["speech_lengths"], ["lengths"], "lengths"),
    ]
    inputs = [value("speech", FLOAT, ["batch", "frames", 32]), value("speech_lengths", INT64, ["batch"])]
    outputs = [value("y", FLOAT, ["batch", "frames", 32]), value("lengths", INT64, ["batch"])]
    for one in nodes:
        if one.op_type == "Split":
            one.input.append("halves")
    w["halves"] = np.array([32, 32])
    return save(folder / "conformer.onnx", nodes, inputs, outputs, w)


def conformer_feed(frames=40, seed=5):
    return {"speech": noise(1, frames, 32, seed=seed), "speech_lengths": np.array([frames])}


def transposed_conv(folder):
    """A U-Net in small: down by Conv, up by ConvTranspose, a skip over both."""
    w = {"down": weights(8, 4, 3, 3), "up": weights(8, 4, 2, 2, seed=1), "last": weights(4, 8, 3, 3, seed=2)}
    nodes = [
        node("Conv", ["x", "down"], ["d"], "down", strides=[2, 2], pads=[1, 1, 1, 1]),
        node("ConvTranspose", ["d", "up"], ["u"], "up", strides=[2, 2]),
        node("Concat", ["x", "u"], ["c"], "skip", axis=1),
        node("Conv", ["c", "last"], ["y"], "last", pads=[1, 1, 1, 1]),
    ]
    inputs, outputs = [value("x", FLOAT, [1, 4, 16, 16])], [value("y", FLOAT, [1, 4, 16, 16])]
    return save(folder / "up.onnx", nodes, inputs, outputs, w)


def recurrent(folder, op_type):
    """One LSTM or GRU layer as PyTorch exports it, then a linear layer."""
    gates = {"LSTM": 4, "GRU": 3}[op_type]
    w = {
        "w": weights(1, gates * 24, 16), "r": weights(1, gates * 24, 24, seed=1), "head": weights(24, 8, seed=3),
        "b": noise(1, 2 * gates * 24, seed=2), "axes": np.array([1]),
    }  # fmt: skip
    options = {"linear_before_reset": 1} if op_type == "GRU" else {}
    nodes = [
        node(op_type, ["x", "w", "r", "b"], ["states"], "layer", hidden_size=24, **options),
        node("Squeeze", ["states", "axes"], ["s"], "squeeze"),
        node("MatMul", ["s", "head"], ["y"], "head"),
    ]
    inputs, outputs = [value("x", FLOAT, ["time", "batch", 16])], [value("y", FLOAT, ["time", "batch", 8])]
    return save(folder / f"{op_type}.onnx", nodes, inputs, outputs, w)


def recurrent_feed(seed=5):
    return {"x": noise(20, 2, 16, seed=seed)}


def branches(folder):
    """A product before an If, one that both branches share the input of, one in each branch."""
    w = {"w0": weights(16, 16), "w1": weights(16, 16, seed=1)}

    def branch(name, seed):
        own = numpy_helper.from_array(weights(16, 16, seed=seed), f"{name}_w")
        nodes = [node("MatMul", ["h", f"{name}_w"], [f"{name}_y"], f"{name}_product")]
        return helper.make_graph(nodes, name, [], [value(f"{name}_y", FLOAT, ["rows", 16])], [own])

    nodes = [
        node("MatMul", ["x", "w0"], ["h"], "before"),
        node("If", ["flag"], ["i"], "choice", then_branch=branch("yes", 2), else_branch=branch("no", 3)),
        node("MatMul", ["h", "w1"], ["side"], "beside"),
        node("Add", ["i", "side"], ["y"], "sum"),
    ]
    inputs = [value("x", FLOAT, ["rows", 16]), value("flag", BOOL, [])]
    return save(folder / "if.onnx", nodes, inputs, [value("y", FLOAT, ["rows", 16])], w)


def branches_feed(seed=5, flag=True):
    return {"x": noise(32, 16, seed=seed), "flag": np.array(flag)}


def branch_behind_relu(folder):
    """A Relu whose result both branches of an If read, and an Add."""

    def branch(name):
        nodes = [node("MatMul", ["r", f"{name}_w"], [f"{name}_y"], f"{name}_product")]
        stored = [numpy_helper.from_array(weights(16, 16, seed=len(name)), f"{name}_w")]
        return helper.make_graph(nodes, name, [], [value(f"{name}_y", FLOAT, ["rows", 16])], stored)

    nodes = [
        node("MatMul", ["x", "w"], ["h"], "before"),
        node("Relu", ["h"], ["r"], "relu"),
        node("If", ["flag"], ["i"], "choice", then_branch=branch("yes"), else_branch=branch("no")),
        node("Add", ["r", "i"], ["y"], "sum"),
    ]
    inputs = [value("x", FLOAT, ["rows", 16]), value("flag", BOOL, [])]
    return save(folder / "relu_if.onnx", nodes, inputs, [value("y", FLOAT, ["rows", 16])], {"w": weights(16, 16)})


def loop(folder):
    """h <- tanh(h w), as many times as the input says; w is stored outside the loop."""
    body = helper.make_graph(
        [
            node("MatMul", ["h", "w"], ["m"], "step"),
            node("Tanh", ["m"], ["h_next"], "squash"),
            node("Identity", ["go"], ["go_on"], "go_on"),
        ],
        "body",
        [value("i", INT64, []), value("go", BOOL, []), value("h", FLOAT, ["rows", 16])],
        [value("go_on", BOOL, []), value("h_next", FLOAT, ["rows", 16])],
    )
    nodes = [
        node("Loop", ["times", "", "x"], ["z"], "loop", body=body),
        node("MatMul", ["z", "w"], ["y"], "after"),
    ]
    inputs = [value("x", FLOAT, ["rows", 16]), value("times", INT64, [])]
    return save(folder / "loop.onnx", nodes, inputs, [value("y", FLOAT, ["rows", 16])], {"w": weights(16, 16)})


def loop_feed(seed=5):
    return {"x": noise(32, 16, seed=seed), "times": np.array(3)}


def shared_weights(folder):
    """One matrix as an embedding, as the weights of two products and, transposed, of a Gemm."""
    nodes = [
        node("Gather", ["table", "tokens"], ["e"], "embedding"),
        node("MatMul", ["e", "square"], ["h"], "first"),
        node("MatMul", ["h", "square"], ["k"], "second"),
        node("Gemm", ["k", "table"], ["y"], "output", transB=1),
    ]
    w = {"table": noise(50, 16), "square": weights(16, 16, seed=1)}
    return save(folder / "tied.onnx", nodes, [value("tokens", INT64, ["n"])], [value("y", FLOAT, ["n", 50])], w)


def shared_feed(seed=5):
    return {"tokens": np.random.default_rng(seed).integers(0, 50, 40)}


def image_feed(seed=5):
    return {"x": noise(1, 4, 16, 16, seed=seed)}


def constants(folder):
    """As older exporters write: weights in a Constant node, passed on by Identity; no node has a name."""
    stored = numpy_helper.from_array(weights(16, 12))
    nodes = [
        node("Constant", [], ["w"], value=stored),
        node("Identity", ["w"], ["same"]),
        node("MatMul", ["x", "same"], ["h"]),
        node("Relu", ["h"], ["y"]),
    ]
    return save(folder / "constants.onnx", nodes, [value("x", FLOAT, ["n", 16])], [value("y", FLOAT, ["n", 12])], {})


def functions(folder):
    """As newer exporters write: layers are functions of the model's own."""
    body = [node("MatMul", ["a", "b"], ["c"], "product")]
    layer = helper.make_function("local", "Linear", ["a", "b"], ["c"], body, [helper.make_opsetid("", 17)])
    nodes = [
        node("Linear", ["x", "w"], ["h"], "layer1", domain="local"),
        node("Linear", ["h", "v"], ["y"], "layer2", domain="local"),
    ]
    w = {"w": weights(16, 16), "v": weights(16, 12, seed=1)}
    inputs, outputs = [value("x", FLOAT, ["n", 16])], [value("y", FLOAT, ["n", 12])]
    return save(folder / "functions.onnx", nodes, inputs, outputs, w, functions=[layer])


def narrow_feed(seed=5):
    return {"x": noise(32, 16, seed=seed)}


def crossroads(folder):
    """What goes into a convolution, and what comes out, is read by a product and is an output of the model as well."""
    w = {"m": weights(20, 20), "kernel": weights(8, 8, 3, seed=1), "v": weights(20, 5, seed=2)}
    nodes = [
        node("MatMul", ["x", "m"], ["h"], "before"),
        node("Conv", ["h", "kernel"], ["c"], "conv", pads=[1, 1]),
        node("MatMul", ["h", "v"], ["z"], "beside"),
        node("MatMul", ["c", "v"], ["y"], "behind"),
    ]
    outputs = [value(name, FLOAT, [1, 8, size]) for name, size in (("y", 5), ("z", 5), ("h", 20), ("c", 20))]
    return save(folder / "crossroads.onnx", nodes, [value("x", FLOAT, [1, 8, 20])], outputs, w)


def crossroads_feed(seed=5):
    return {"x": noise(1, 8, 20, seed=seed)}


def detector(folder, *, largest=640.0, order=("boxes", "scores")):
    """A head whose boxes, up to about `largest`, and scores, 0 to 1, meet in one Concat, as YOLO exports them."""
    w = {
        "stem_w": weights(16, 3, 3, 3), "boxes_w": weights(4, 16, 1, 1, seed=1) * np.float32(largest / 8),
        "boxes_b": np.full(4, largest / 2, np.float32), "scores_w": weights(2, 16, 1, 1, seed=2) * np.float32(3),
        "shape": np.array([0, 0, -1]),
    }  # fmt: skip
    nodes = [
        node("Conv", ["x", "stem_w"], ["stem"], "stem", pads=[1] * 4),
        node("Relu", ["stem"], ["features"], "relu"),
        node("Conv", ["features", "boxes_w", "boxes_b"], ["box_map"], "box_conv"),
        node("Reshape", ["box_map", "shape"], ["boxes"], "box_shape"),
        node("Conv", ["features", "scores_w"], ["score_map"], "score_conv"),
        node("Sigmoid", ["score_map"], ["score_squashed"], "squash"),
        node("Reshape", ["score_squashed", "shape"], ["scores"], "score_shape"),
        node("Concat", list(order), ["both"], "meet", axis=1),
        node("Transpose", ["both"], ["detections"], "turn", perm=[0, 2, 1]),
    ]
    ends = [value("x", FLOAT, ["n", 3, 8, 8])], [value("detections", FLOAT, ["n", 64, 6])]
    return save(folder / "detector.onnx", nodes, *ends, w)


def detector_feed(seed=5, n=2):
    return {"x": noise(n, 3, 8, 8, seed=seed)}


def loud_channels(folder, *, loud=180.0):
    """A transformer's residual stream, in which three of 96 channels are far larger than the others."""
    stream = np.zeros(96, np.float32)
    stream[[7, 40, 71]] = np.float32([1, -0.8, 0.5]) * np.float32(loud)
    gain = np.ones(96, np.float32)
    gain[[7, 40, 71]] = 0.02
    w = {"embed": weights(48, 96), "loud": stream, "gain": gain, "none": np.zeros(96, np.float32)}
    nodes = [node("MatMul", ["x", "embed"], ["e"], "embed"), node("Add", ["e", "loud"], ["r0"], "place")]
    for k in range(2):
        w |= {f"up{k}": weights(96, 192, seed=k), f"down{k}": weights(192, 96, seed=9 + k)}
        nodes += [
            node("LayerNormalization", [f"r{k}", "gain", "none"], [f"n{k}"], f"norm{k}"),
            node("MatMul", [f"n{k}", f"up{k}"], [f"u{k}"], f"up{k}"),
            node("Relu", [f"u{k}"], [f"a{k}"], f"relu{k}"),
            node("MatMul", [f"a{k}", f"down{k}"], [f"d{k}"], f"down{k}"),
            node("Add", [f"d{k}", f"r{k}"], [f"r{k + 1}"], f"residual{k}"),
        ]
    nodes += [node("LayerNormalization", ["r2", "gain", "none"], ["y"], "norm")]
    ends = [value("x", FLOAT, ["n", "time", 48])], [value("y", FLOAT, ["n", "time", 96])]
    return save(folder / "loud_channels.onnx", nodes, *ends, w)


def stream_feed(seed=5):
    return {"x": noise(1, 40, 48, seed=seed)}
