"""Names are only names: no tensor of the model takes one that a quantizer gives."""

import pytest

from tests.builders.blocks import FLOAT, node, noise, save, value, weights
from tests.builders.making import RECIPES, fates, made


def heads(folder, feature):
    """Two convolutions that share weights and bias "b"; what they read is called `feature` 0 and 1."""
    w = {"w": weights(8, 8, 3, 3), "b": noise(8), "stem": weights(8, 3, 3, 3, seed=1)}
    nodes = [
        node("Conv", ["x", "stem"], [f"{feature}0"], "stem", pads=[1] * 4),
        node("MaxPool", [f"{feature}0"], [f"{feature}1"], "down", kernel_shape=[2, 2], strides=[2, 2]),
        *(node("Conv", [f"{feature}{k}", "w", "b"], [f"y{k}"], f"head{k}", pads=[1] * 4) for k in (0, 1)),
    ]
    outputs = [value(f"y{k}", FLOAT, None) for k in (0, 1)]
    return save(folder / f"{feature}.onnx", nodes, [value("x", FLOAT, [1, 3, 16, 16])], outputs, w)


@pytest.mark.parametrize("recipe", ["static", "hybrid"])
def test_a_bias_that_convolutions_share_takes_no_other_tensors_name(recipe, tmp_path, card, quality):
    feeds = [{"x": noise(1, 3, 16, 16, seed=seed)} for seed in range(16)]
    for feature in ("feature", "b"):
        model = heads(tmp_path, feature)
        quantized = made(recipe, model, feeds, card)
        assert set(fates(quantized).values()) == {"static"}
        assert quality(model, quantized.path, feeds[0]) > 29


APPENDED = [
    "_scale",
    "_zero_point",
    "_quantized",
    "_QuantizeLinear_Output",
    "_DequantizeLinear_Output",
    "_quantized_scale",
]
# Ends of the model, its weights and what it computes, each with each.
PAIRS = [("x", "u"), ("x", "h"), ("w", "b"), ("h", "y"), ("w", "x"), ("y", "k"), ("h", "w"), ("b", "r")]


@pytest.mark.parametrize("suffix", APPENDED)
@pytest.mark.parametrize(("stem", "other"), PAIRS, ids="-".join)
def test_a_tensor_may_be_called_what_a_quantizer_calls_its_own(stem, other, suffix, tmp_path, card, quality):
    names = {name: name for name in "xuwbhrky"} | {other: stem + suffix}
    nodes = [
        node("Gemm", [names["x"], names["w"], names["b"]], [names["h"]], "first"),
        node("Relu", [names["h"]], [names["r"]], "relu"),
        node("MatMul", [names["r"], names["k"]], ["z"], "second"),
        node("Add", ["z", names["u"]], [names["y"]], "sum"),
    ]
    w = {"w": weights(24, 16), "b": noise(16), "k": weights(16, 8)}
    inputs = [value(names["x"], FLOAT, ["n", 24]), value(names["u"], FLOAT, ["n", 8])]
    outputs = [value(names["y"], FLOAT, ["n", 8]), value(names["h"], FLOAT, ["n", 16])]
    model = save(tmp_path / "m.onnx", nodes, inputs, outputs, {names[name]: array for name, array in w.items()})
    feeds = [{names["x"]: noise(8, 24, seed=s), names["u"]: noise(8, 8, seed=s + 50)} for s in range(16)]
    for recipe in RECIPES:
        quantized = made(recipe, model, feeds, card)
        assert "float" not in fates(quantized).values()
        assert quality(model, quantized.path, feeds[0]) > 29
