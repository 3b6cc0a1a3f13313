"""What a recipe makes is run before it is published."""

import numpy as np
import onnx
import pytest

from tests.builders import blocks
from tests.builders.blocks import BOOL, FLOAT, INT64, node, noise, save, value, weights
from tests.builders.making import RECIPES, fates, made, padded


def test_a_result_that_does_not_run_is_refused_and_not_written(tmp_path, card, monkeypatch):
    broken = padded(tmp_path, [2, 3])
    monkeypatch.setattr("qlab.recipes.quantizers._pad", lambda node, weights: [node])
    with pytest.raises(ValueError, match=r"opens but does not run, so it was not written: .*indices element out"):
        made("static", broken, [{"x": noise(1, 3, 16, 16)}], card)
    assert not broken.with_name("int8.onnx").exists()


def test_a_result_that_is_of_no_use_says_so(tmp_path, card):
    w = {"w": weights(16, 16), "far": np.float32(1e5)}
    nodes = [
        node("Add", ["x", "far"], ["a"], "up"),
        node("Sub", ["a", "far"], ["s"], "down"),
        node("MatMul", ["s", "w"], ["y"], "product"),
    ]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, ["n", 16])], [value("y", FLOAT, ["n", 16])], w)
    quantized = made("static", model, [blocks.narrow_feed()], card)
    assert any(note.startswith("of little use on the first feed: y ") for note in quantized.notes)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_model_in_which_nothing_can_be_quantized_is_published_as_it_was(recipe, tmp_path, card):
    nodes = [node("Erf", ["x"], ["a"], "erf"), node("Cos", ["a"], ["y"], "cos")]
    ends = [[value(name, FLOAT, [4, 8])] for name in "xy"]
    model = save(tmp_path / "m.onnx", nodes, *ends, {}, metadata={"author": "somebody"})
    quantized = made(recipe, model, [{"x": noise(4, 8)}], card)
    assert quantized.path.read_bytes() == model.read_bytes()
    assert quantized.notes == ("nothing was quantized: the file holds the model as it was",)


@pytest.mark.parametrize("ends", ["never", "on its own feed"])
def test_a_model_that_never_ends_is_quantized_untried_or_refused_after_the_time_limit(
    ends, tmp_path, card, monkeypatch
):
    """A Loop as long as its input says, or longer than anybody waits; the product behind it is quantized."""
    monkeypatch.setenv("QLAB_TIME_LIMIT", "0.3")
    model = endless(tmp_path)
    if ends == "never":
        quantized = made("dynamic", model, [], card)
        assert fates(quantized) == {"product": "dynamic"}
        assert any("whether the result runs was not tried" in note for note in quantized.notes)
    else:
        with pytest.raises(ValueError, match=r"not answered after 0\.3 s"):
            made("static", model, [{"x": noise(2, 16)}], card)


def endless(folder):
    state = value("state", FLOAT, [2, 16])
    body = onnx.helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("Neg", ["state"], ["next"])],
        "body",
        [value("turn", INT64, []), value("go", BOOL, []), state],
        [value("go_on", BOOL, []), value("next", FLOAT, [2, 16])],
    )
    nodes = [
        node("Loop", ["", "true", "x"], ["h"], "loop", body=body),
        node("MatMul", ["h", "w"], ["y"], "product"),
    ]
    ends = [[value(name, FLOAT, [2, 16])] for name in "xy"]
    return save(folder / "endless.onnx", nodes, *ends, {"true": np.array(True), "w": weights(16, 16)})
