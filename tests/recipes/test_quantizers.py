"""Operators and neighbours that onnxruntime quantizers stumble over."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static

from qlab import calibration, recipes
from qlab.recipes.static import DEFAULT_OP_TYPES
from tests.builders import blocks
from tests.builders.blocks import FLOAT, INT64, node, noise, save, value, weights
from tests.builders.making import RECIPES, fates, made


@pytest.mark.parametrize("reader", ["output", "body"])
def test_what_a_relu_reads_is_seen_unclipped_by_others(reader, tmp_path, card, quality):
    branch = onnx.helper.make_graph(
        [node("Identity", ["h"], ["i"], "same")], "branch", [], [value("i", FLOAT, ["n", 16])]
    )
    nodes = [node("MatMul", ["x", "w"], ["h"], "product"), node("Relu", ["h"], ["y"], "relu")]
    inputs, outputs = [value("x", FLOAT, ["n", 24])], [value("y", FLOAT, ["n", 16])]
    if reader == "output":
        outputs.append(value("h", FLOAT, ["n", 16]))
    else:
        nodes.append(node("If", ["flag"], ["z"], "choice", then_branch=branch, else_branch=branch))
        inputs.append(value("flag", TensorProto.BOOL, []))
        outputs.append(value("z", FLOAT, ["n", 16]))
    model = save(tmp_path / "m.onnx", nodes, inputs, outputs, {"w": weights(24, 16)})
    feeds = [{"x": noise(32, 24, seed=seed)} | ({"flag": np.array(True)} if reader == "body" else {})
             for seed in range(16)]  # fmt: skip
    assert quality(model, made("static", model, feeds, card).path, feeds[0]) > 29


def transformer(folder):
    """As onnxruntime's transformer optimizer writes it: operators of com.microsoft between the products."""
    ms = "com.microsoft"
    w = {"g": np.ones(32, np.float32), "qkv": weights(32, 96), "qb": noise(96), "o": weights(32, 32, seed=1),
         "f": weights(32, 64, seed=2), "fb": noise(64, seed=3), "d": weights(64, 32, seed=4)}  # fmt: skip
    nodes = [
        node("Attention", ["x", "qkv", "qb"], ["a"], "attention", domain=ms, num_heads=4),
        node("MatMul", ["a", "o"], ["om"], "out"),
        node("SkipLayerNormalization", ["om", "x", "g"], ["s"], "skip1", domain=ms),
        node("MatMul", ["s", "f"], ["fm"], "up"),
        node("BiasGelu", ["fm", "fb"], ["ge"], "gelu", domain=ms),
        node("MatMul", ["ge", "d"], ["dm"], "down"),
        node("SkipLayerNormalization", ["dm", "s", "g"], ["y"], "skip2", domain=ms),
    ]
    ends = [[value(name, FLOAT, ["batch", "time", 32])] for name in "xy"]
    model = save(folder / "fused.onnx", nodes, *ends, w)
    proto = onnx.load(model)
    proto.opset_import.append(onnx.helper.make_opsetid(ms, 1))
    onnx.save(proto, model)
    return model, [{"x": noise(2, 12, 32, seed=seed)} for seed in range(16)]


@pytest.mark.parametrize("recipe", RECIPES)
def test_products_between_onnxruntimes_own_operators_are_quantized(recipe, tmp_path, card, quality):
    model, feeds = transformer(tmp_path)
    quantized = made(recipe, model, feeds, card)
    how = "static" if recipe == "static" else "dynamic"
    assert fates(quantized) == {"attention": "float", "out": how, "up": how, "down": how}
    assert quality(model, quantized.path, feeds[0]) > 29


def test_attention_is_quantized_where_asked(tmp_path, card, quality):
    model, feeds = transformer(tmp_path)
    quantized = made("dynamic", model, feeds, card, op_types=("MatMul", "Attention"))
    assert quantized.census.integer["com.microsoft", "QAttention"] == 1
    assert quality(model, quantized.path, feeds[0]) > 25


def conv_beside_if(folder):
    """A convolution, then an If whose branches multiply."""

    def branch(name, seed):
        stored = [numpy_helper.from_array(weights(8, 6, seed=seed), f"{name}_w")]
        nodes = [node("MatMul", ["c", f"{name}_w"], [f"{name}_y"], f"{name}_product")]
        return onnx.helper.make_graph(nodes, name, [], [value(f"{name}_y", FLOAT, [1, 4, 6])], stored)

    nodes = [
        node("Conv", ["x", "kernel"], ["c"], "conv"),
        node("If", ["flag"], ["y"], "choice", then_branch=branch("yes", 1), else_branch=branch("no", 2)),
    ]
    inputs = [value("x", FLOAT, [1, 3, 10]), value("flag", TensorProto.BOOL, [])]
    return save(folder / "m.onnx", nodes, inputs, [value("y", FLOAT, [1, 4, 6])], {"kernel": weights(4, 3, 3)})


@pytest.mark.parametrize("operators", [("MatMul",), ("MatMul", "Conv")], ids=str)
def test_dynamic_takes_a_convolution_beside_an_if(operators, tmp_path, card, quality):
    quantized = made("dynamic", conv_beside_if(tmp_path), [], card, op_types=operators)
    how = "dynamic" if "Conv" in operators else "float"
    assert fates(quantized) == {"conv": how, "yes_product": "dynamic", "no_product": "dynamic"}
    feed = {"x": noise(1, 3, 10), "flag": np.array(True)}
    assert quality(tmp_path / "m.onnx", quantized.path, feed) > 25


def test_dynamic_leaves_in_float_what_is_excluded(tmp_path, card):
    model = blocks.linear(tmp_path)
    quantized = made("dynamic", model, [], card, exclude=("first",))
    assert fates(quantized) == {"first": "float", "second": "dynamic"}
    assert quantized.stayed_float == {("Gemm", "excluded by name"): ["first"]}


def test_a_convolution_of_one_input_channel_is_not_depthwise(tmp_path, card, quality):
    w = {"stft": weights(34, 1, 64), "k": weights(16, 34, 3, seed=1), "deep": weights(16, 1, 5, seed=2)}
    nodes = [
        node("Conv", ["x", "stft"], ["a"], "stft", strides=[16]),
        node("Relu", ["a"], ["b"], "relu"),
        node("Conv", ["b", "k"], ["c"], "mixing"),
        node("Conv", ["c", "deep"], ["y"], "depthwise", group=16),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 1, 1600])], [value("y", FLOAT, None)], w)
    feeds = [{"x": noise(1, 1, 1600, seed=seed)} for seed in range(16)]
    quantized = made("hybrid", model, feeds, card)
    assert fates(quantized) == {"stft": "static", "mixing": "static", "depthwise": "float"}
    assert quality(model, quantized.path, feeds[0]) > 25


def test_a_convolution_of_two_channels_with_many_filters_each_is_not_depthwise(tmp_path, card, quality):
    """The STFT of a stereo recording."""
    w = {"stft": weights(64, 1, 64), "k": weights(16, 64, 3, seed=1)}
    nodes = [
        node("Conv", ["x", "stft"], ["a"], "stft", strides=[16], group=2),
        node("Relu", ["a"], ["b"], "relu"),
        node("Conv", ["b", "k"], ["y"], "mixing"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 2, 1600])], [value("y", FLOAT, None)], w)
    feeds = [{"x": noise(1, 2, 1600, seed=seed)} for seed in range(16)]
    quantized = made("hybrid", model, feeds, card)
    assert fates(quantized) == {"stft": "static", "mixing": "static"}
    assert quality(model, quantized.path, feeds[0]) > 25


def test_hybrid_quantizes_lstms_dynamically_with_signed_weights(tmp_path, card, quality):
    model, feed = blocks.recurrent(tmp_path, "LSTM"), blocks.recurrent_feed()
    for recipe_card in (card, "x86-avx2"):
        quantized = made("hybrid", model, [blocks.recurrent_feed(seed=seed) for seed in range(16)], recipe_card)
        assert fates(quantized) == {"layer": "dynamic", "head": "dynamic"}
        assert quality(model, quantized.path, feed) > 29


def test_dynamic_says_what_a_large_embedding_would_gain(tmp_path, card):
    w = {"table": noise(5000, 16), "w": weights(16, 16)}
    nodes = [node("Gather", ["table", "ids"], ["e"], "embedding"), node("MatMul", ["e", "w"], ["y"], "product")]
    model = save(tmp_path / "m.onnx", nodes, [value("ids", INT64, ["n"])], [value("y", FLOAT, ["n", 16])], w)
    (note,) = made("dynamic", model, [], card).notes
    assert note.startswith("'table', an embedding of 0.32 MB, stays in float: op_types=('MatMul', 'Gather')")
    assert made("dynamic", model, [], card, op_types=("MatMul", "Gather")).notes == ()


def parts(path):
    """{name of a tensor: its numbers} and what the nodes are, of a model file."""
    model = onnx.load(path).graph
    stored = {tensor.name: numpy_helper.to_array(tensor).tolist() for tensor in model.initializer}
    return stored, sorted((one.op_type, tuple(one.input), tuple(one.output)) for one in model.node)


def test_the_codes_of_dynamic_are_those_of_quantize_dynamic(tmp_path, card):
    """Its quantizer is called without its files, which nobody promises: a new onnxruntime may call it otherwise."""
    prepared = recipes.prepare(blocks.conformer_block(tmp_path), tmp_path / "prepared.onnx")
    settings = {"weight_dtype": "int8", "reduce_range": False, "card": card}
    ours = recipes.dynamic(tmp_path / "conformer.onnx", tmp_path / "ours.onnx", **settings)
    quantize_dynamic(
        prepared,
        tmp_path / "theirs.onnx",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        extra_options={"WeightSymmetric": True},
    )
    assert parts(ours) == parts(tmp_path / "theirs.onnx")


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_the_codes_of_static_are_those_of_quantize_static(dtype, tmp_path, card):
    prepared = recipes.prepare(blocks.residual_cnn(tmp_path), tmp_path / "prepared.onnx")
    ranges = calibration.collect(prepared, [blocks.cnn_feed()])
    ours = recipes.static(
        tmp_path / "cnn.onnx", tmp_path / "ours.onnx", ranges=ranges, activation_dtype=dtype, weight_dtype="int8",
        reduce_range=False, card=card,
    )  # fmt: skip
    quantize_static(
        prepared,
        tmp_path / "theirs.onnx",
        None,
        calibration_cache_path=ranges.save(tmp_path / "ranges"),
        per_channel=True,
        op_types_to_quantize=sorted(DEFAULT_OP_TYPES),
        activation_type=QuantType.QUInt8 if dtype == "uint8" else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": dtype == "int8", "WeightSymmetric": True},
    )
    assert parts(ours) == parts(tmp_path / "theirs.onnx")
