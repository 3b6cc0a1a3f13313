"""A model that draws random numbers differs from itself: that is said, and no layer is blamed for it."""

import math

import numpy as np
import pytest

from qlab import measure, recipes
from tests.builders.blocks import FLOAT, node, save, value, weights

WIDTH = 32


def feed(seed=5):
    return {"x": np.random.default_rng(seed).standard_normal((4, WIDTH), np.float32)}


def drawing(folder, *, used=True, **attributes):
    """A layer, noise as large as its result, and another layer; without `used` the noise is multiplied by 0."""
    nodes = [
        node("MatMul", ["x", "w0"], ["h"], "first"),
        node("RandomNormalLike", ["h"], ["noise"], "noise", **attributes),
        node("Mul", ["noise", "scale"], ["scaled"], "scaling"),
        node("Add", ["h", "scaled"], ["noisy"], "adding"),
        node("MatMul", ["noisy", "w1"], ["y"], "second"),
    ]
    held = {"w0": weights(WIDTH, WIDTH), "w1": weights(WIDTH, WIDTH, seed=1), "scale": np.float32(used)}
    ends = [[value(name, FLOAT, ["rows", WIDTH])] for name in "xy"]
    return save(folder / "drawing.onnx", nodes, *ends, held)


def test_a_draw_without_a_seed_is_named_by_all_three_and_nothing_else_is_blamed(tmp_path):
    model = drawing(tmp_path)
    quantized = recipes.static(model, tmp_path / "int8.onnx", [feed(seed) for seed in range(32)])
    said = "noise (RandomNormalLike) draws other numbers in each run: SQNR means nothing here"
    comparison = measure.compare({"fp32": model, "int8": quantized}, feed(), rounds=2)
    assert said in repr(comparison)
    assert all(math.isnan(row.sqnr_db) for row in comparison.rows)
    assert said in repr(measure.layer_errors(model, quantized, feed()))
    first, *others = measure.diagnose(model, quantized, feed())
    assert (first.code, first.cost_ms) == ("random-numbers", None)
    assert said in first.evidence
    assert not {"layer-loss", "output-loss", "range-clips", "range-wastes", "unlike-parts"} & {
        one.code for one in others
    }


@pytest.mark.parametrize("harmless", [{"seed": 1.0}, {"used": False}])
def test_a_draw_with_a_seed_or_one_that_counts_for_nothing_does_no_harm(tmp_path, harmless):
    model = drawing(tmp_path, **harmless)
    quantized = recipes.static(model, tmp_path / "int8.onnx", [feed(seed) for seed in range(32)])
    comparison = measure.compare({"fp32": model, "int8": quantized}, feed(), rounds=2)
    assert "RandomNormalLike" not in repr(comparison)
    assert comparison.rows[1].sqnr_db > 25
    assert measure.layer_errors(model, quantized, feed()).draws == ""
