"""Weights that are codes behind a Cast are recognized."""

import numpy as np
import pytest

from qlab import measure
from tests.builders import blocks
from tests.builders.blocks import FLOAT, node, noise, save, value, weights
from tests.builders.making import RECIPES, fates, made


@pytest.mark.parametrize("scaled", ["product", "division", "zero point", "bfloat16"])
def test_weights_that_are_codes_behind_a_cast_are_quantized_already(scaled, tmp_path, card):
    rng = np.random.default_rng(0)
    w = {"q": rng.integers(-127, 128, (24, 16), np.int8), "s": np.full((1, 16), 0.01, np.float32), "z": np.float32(3)}
    nodes = [node("Cast", ["q"], ["f"], "cast", to=FLOAT)]
    if scaled == "zero point":
        nodes.append(node("Sub", ["f", "z"], ["g"], "shift"))
    last = nodes[-1].output[0]
    nodes += [
        node("Div" if scaled == "division" else "Mul", [last, "s"], ["w"], "scaling"),
        node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ["n", 24])], [value("y", FLOAT, ["n", 16])], w)
    for recipe in RECIPES:
        with pytest.raises(ValueError, match=r"already quantized: it has MatMul \(weights cast from codes\)"):
            made(recipe, model, [blocks.linear_feed()], card)
    assert not model.with_name("int8.onnx").exists()


def test_a_table_of_bytes_that_nobody_multiplies_is_no_quantized_weight(tmp_path, card):
    w = {"mask": np.tri(16, dtype=np.uint8), "w": weights(16, 16), "one": np.float32(1), "far": np.float32(-1e4)}
    nodes = [
        node("Cast", ["mask"], ["m"], "cast", to=FLOAT),
        node("Sub", ["one", "m"], ["n"], "rest"),
        node("Mul", ["n", "far"], ["hidden"], "hide"),
        node("MatMul", ["x", "w"], ["h"], "product"),
        node("Add", ["h", "hidden"], ["s"], "masking"),
        node("Softmax", ["s"], ["y"], "softmax"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [16, 16])], [value("y", FLOAT, [16, 16])], w)
    assert list(fates(made("dynamic", model, [], card)).values()) == ["dynamic"]


def test_a_diagnosis_of_weights_cast_from_codes_names_weight_only(tmp_path, card):
    rng = np.random.default_rng(0)
    q, s = rng.integers(-127, 128, (384, 384), np.int8), np.float32(0.001)
    ends = [value("x", FLOAT, [64, 384])], [value("y", FLOAT, [64, 384])]
    product = node("MatMul", ["x", "w"], ["y"], "product")
    fp32 = save(tmp_path / "fp32.onnx", [product], *ends, {"w": q * s})
    nodes = [node("Cast", ["q"], ["f"], "cast", to=FLOAT), node("Mul", ["f", "s"], ["w"], "scaling"), product]
    int8 = save(tmp_path / "int8.onnx", nodes, *ends, {"q": q, "s": s})
    findings = measure.diagnose(fp32, int8, {"x": noise(64, 384)})
    assert [finding.code for finding in findings] == ["weight-only"]
    assert "1 product with weights that the file stores as codes behind a Cast" in findings[0].evidence
