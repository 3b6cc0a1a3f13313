"""What preparation rewrites is quantized by every recipe that fits, and computes the same."""

import itertools

import numpy as np
import onnx
import pytest

from qlab import graph, recipes
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights
from tests.builders.making import RECIPES, fates, made, padded


def gemm(folder, bias, *, alpha=1.0, beta=1.0, transposed=(0, 0)):
    """Gemm, ReLU, MatMul; `bias` an array, None, or "moving"."""
    left, right = transposed
    w = {"w": weights(24, 16).T.copy() if right else weights(24, 16), "k": weights(16, 8, seed=1)}
    inputs, names = [value("x", FLOAT, [24, 6] if left else [6, 24])], ["x", "w"]
    if bias is not None:
        names.append("b")
        if isinstance(bias, str):
            inputs.append(value("b", FLOAT, [6, 16]))
        else:
            w["b"] = bias
    options = {"alpha": alpha, "beta": beta, "transA": left, "transB": right}
    nodes = [
        node("Gemm", names, ["h"], "first", **options),
        node("Relu", ["h"], ["r"], "relu"),
        node("MatMul", ["r", "k"], ["y"], "second"),
    ]
    model = save(folder / "gemm.onnx", nodes, inputs, [value("y", FLOAT, None)], w)
    shapes = {one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in inputs}
    return model, [{name: noise(*shape, seed=seed) for name, shape in shapes.items()} for seed in range(16)]


BIASES = [None, (), (1,), (16,), (1, 1), (1, 16), (6, 1), (6, 16), "moving"]


@pytest.mark.parametrize("bias", BIASES, ids=str)
def test_a_gemm_with_any_bias_alpha_beta_and_sides_is_quantized_and_exact(bias, tmp_path, card, quality):
    given = noise(*bias, seed=3) if isinstance(bias, tuple) else bias
    given = np.asarray(given, np.float32) if isinstance(bias, tuple) else given
    for alpha, beta, side in itertools.product((1.0, 0.5), (1.0, 2.0), ((0, 0), (0, 1), (1, 0))):
        model, feeds = gemm(tmp_path, given, alpha=alpha, beta=beta, transposed=side)
        for recipe in RECIPES:
            quantized = made(recipe, model, feeds, card)
            how = "static" if recipe == "static" else "dynamic"
            assert fates(quantized) == {"first": how, "second": how}
            assert quality(model, quantized.path, feeds[0]) > 29


def test_a_product_of_two_that_move_keeps_its_beta(tmp_path, card, quality):
    nodes = [node("Gemm", ["x", "z", "b"], ["y"], "both", beta=2.0)]
    inputs = [value("x", FLOAT, [6, 24]), value("z", FLOAT, [24, 16])]
    model = save(tmp_path / "m.onnx", nodes, inputs, [value("y", FLOAT, [6, 16])], {"b": 4 * noise(16)})
    feeds = [{"x": noise(6, 24, seed=seed), "z": weights(24, 16, seed=seed)} for seed in range(16)]
    assert quality(model, made("static", model, feeds, card).path, feeds[0]) > 29


@pytest.mark.parametrize(("ir_version", "opset"), [(3, 11), (4, 11), (4, 13), (8, 17)])
def test_weights_listed_as_inputs_become_constants_and_batch_norm_folds(ir_version, opset, tmp_path, card, quality):
    model = blocks.residual_cnn(tmp_path, opset=opset)
    listed = onnx.load(model)
    listed.ir_version = ir_version
    for tensor in listed.graph.initializer:
        listed.graph.input.append(value(tensor.name, tensor.data_type, list(tensor.dims)))
    onnx.save(listed, model)
    feeds = [blocks.cnn_feed(seed=seed) for seed in range(10, 26)]
    for recipe in RECIPES:
        quantized = made(recipe, model, feeds, card)
        assert quality(model, quantized.path, feeds[0]) > 29
        assert quantized.census.float["", "BatchNormalization"] == 0
        assert [one.name for one in onnx.load(quantized.path).graph.input] == ["x"]
        assert any("weights listed as inputs became constants" in note for note in quantized.notes)


@pytest.mark.parametrize("axes", [[2, 3], [-1], [3, -2]], ids=str)
@pytest.mark.parametrize("moving", [False, True], ids=["constant", "moving"])
def test_a_pad_with_axes_runs_between_quantized_convolutions(axes, moving, tmp_path, card, quality):
    feeds = [{"x": noise(1, 3, 16, 16, seed=seed)} for seed in range(16)]
    feeds = [feed | {"pads": np.arange(1, 2 * len(axes) + 1)} for feed in feeds] if moving else feeds
    for recipe, mode in itertools.product(("static", "hybrid"), ("constant", "reflect")):
        model = padded(tmp_path, axes, moving=moving, mode=mode)
        quantized = made(recipe, model, feeds, card)
        assert fates(quantized) == {"first": "static", "second": "static"}
        assert quality(model, quantized.path, feeds[0]) > 29


def test_a_division_by_a_constant_is_a_product_of_codes(tmp_path, card, quality):
    w = {"w": weights(8, 3, 3, 3), "six": np.float32(6), "zero": np.float32(0)}
    nodes = [
        node("Conv", ["x", "w"], ["c"], "conv"),
        node("Div", ["c", "six"], ["d"], "sixth"),
        node("Conv", ["d", "v"], ["y"], "behind"),
    ]
    w["v"] = weights(4, 8, 3, 3, seed=1)
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 3, 16, 16])], [value("y", FLOAT, None)], w)
    feeds = [{"x": noise(1, 3, 16, 16, seed=seed)} for seed in range(16)]
    quantized = made("static", model, feeds, card)
    assert quantized.census.integer["com.microsoft", "QLinearMul"] == 1
    assert quality(model, quantized.path, feeds[0]) > 29


@pytest.mark.parametrize("divisor", [0.0, 1e-45, np.inf], ids=str)
def test_a_division_whose_reciprocal_is_no_ordinary_number_stays_one(divisor, tmp_path):
    nodes = [node("MatMul", ["x", "w"], ["h"], "product"), node("Div", ["h", "c"], ["y"], "division")]
    w = {"w": weights(24, 16), "c": np.float32(divisor)}
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ["n", 24])], [value("y", FLOAT, ["n", 16])], w)
    prepared = onnx.load(recipes.prepare(model, tmp_path / "prepared.onnx"))
    assert [one.op_type for one in prepared.graph.node] == ["MatMul", "Div"]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_residual_ahead_of_a_norm_is_not_fused_into_the_slow_kernel(recipe, tmp_path, card, quality):
    w = {"w": weights(16, 16), "v": weights(16, 16, seed=1), "scale": np.ones(16, np.float32), "bias": noise(16)}
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "product"),
        node("Add", ["x", "h"], ["sum"], "residual"),
        node("LayerNormalization", ["sum", "scale", "bias"], ["n"], "norm"),
        node("MatMul", ["n", "v"], ["y"], "behind"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [1, 6, 16])], [value("y", FLOAT, None)], w)
    feeds = [{"x": noise(1, 6, 16, seed=seed)} for seed in range(16)]
    assert graph.census(model).float["com.microsoft", "SkipLayerNormalization"] == 1
    quantized = made(recipe, model, feeds, card)
    assert quantized.census.float["com.microsoft", "SkipLayerNormalization"] == 0
    assert quantized.census.float["", "LayerNormalization"] == 1
    assert quality(model, quantized.path, feeds[0]) > 29
