"""The cost model: what it counts follows from the card, whatever this machine's speed."""

import platform
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from qlab import graph, machine, measure, recipes
from qlab.measure.predict import Yardstick, integer_speed, on_integers
from qlab.recipes.choice import choose
from tests.builders import blocks, faults

ON_X86 = platform.machine().lower() in ("x86_64", "amd64")


@pytest.fixture(scope="module")
def card():
    """Another machine than this one: its times follow from its card alone."""
    return machine.card("x86-avx512-vnni")


def parts(prediction):
    return {line.family: (line.fp32_ms, line.quantized_ms) for line in prediction.ledger.lines}


def test_another_machines_times_follow_from_its_card(tmp_path, card):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    prediction = measure.predict(model, feed, "static", card=card)
    before, after = parts(prediction)["matrix product"]
    operations = 2 * 3 * faults.ROWS * faults.WIDTH**2
    assert before == pytest.approx(operations / card.float32_gflops / 1e6)
    assert after == pytest.approx(before / card.speed["u8s8"])
    assert not prediction.measured
    assert f"static on {card.name}, from its card alone" in repr(prediction)


def test_a_product_is_never_faster_than_its_bytes_can_be_moved(tmp_path, card):
    feed, model = faults.layers_feed(), faults.layers(tmp_path)
    wide = replace(card, speed=card.speed | {"u8s8": 1e9})
    _, after = parts(measure.predict(model, feed, "static", card=wide))["matrix product"]
    moved = 3 * (2 * faults.ROWS * faults.WIDTH + faults.WIDTH**2)  # one byte a number
    assert after == pytest.approx(moved / (card.copy_gb_per_s * 1e6))


def test_quantizing_while_the_model_runs_costs_a_copy_of_the_activations(tmp_path, card):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    dynamic, static = (parts(measure.predict(model, feed, recipe, card=card)) for recipe in ("dynamic", "static"))
    copied = 3 * 2 * 4 * faults.ROWS * faults.WIDTH
    assert dynamic["boundary"][1] == pytest.approx(copied / (card.copy_gb_per_s * 1e6))
    assert "boundary" not in static
    assert dynamic["matrix product"] == static["matrix product"]


WIDE = ["batch", "rows", faults.WIDTH]  # left open: else the runtime makes one Gemm of a product and its bias in fp32


def biased(folder, second="b", shape=(faults.WIDTH,), order=slice(None), readers=()):
    """x @ w, and an Add of it and `second`: a constant of the shape, an input, or itself; and the feed."""
    nodes = [
        blocks.node("MatMul", ["x", "w"], ["m"], "product"),
        blocks.node("Add", ["m", second][order], ["y"], "bias"),
        *(blocks.node(op_type, ["m"], [f"r{k}"]) for k, op_type in enumerate(readers)),
    ]
    w = {"w": blocks.weights(faults.WIDTH, faults.WIDTH)} | ({"b": blocks.noise(*shape)} if second == "b" else {})
    ends = ["x", *("z" for name in second if name == "z")], ["y", *(f"r{k}" for k in range(len(readers)))]
    ends = ([blocks.value(name, blocks.FLOAT, WIDE) for name in names] for names in ends)
    feed = {name: blocks.noise(1, faults.ROWS, faults.WIDTH) for name in ("x", "z")[: 1 + (second == "z")]}
    return blocks.save(folder / "biased.onnx", nodes, *ends, w), feed


@pytest.mark.parametrize(
    ("built", "fused"),
    [
        ({}, True),
        ({"order": slice(None, None, -1)}, True),
        ({"shape": (1, faults.WIDTH)}, True),
        ({"shape": (1,)}, False),
        ({"shape": (1, faults.ROWS, faults.WIDTH)}, False),
        ({"readers": ("Relu",)}, False),
        ({"second": "z"}, False),
        ({"second": "m"}, False),
    ],
)
def test_a_bias_is_part_of_a_product_that_finds_its_ranges_while_it_runs_where_the_runtime_fuses_it(
    tmp_path, card, built, fused
):
    model, feed = biased(tmp_path, **built)
    made = recipes.dynamic(model, tmp_path / "dynamic.onnx")
    assert all(node.op_type != "Add" for node in graph.optimized(made.path).graph.node) == fused
    dynamic, static = (measure.predict(model, feed, recipe, card=card) for recipe in ("dynamic", "static"))
    before, after = parts(dynamic)["the rest"]
    assert (after < before) == fused
    assert parts(static)["the rest"] == (before, before)


def test_what_takes_no_time_for_its_bytes_tells_no_rate(tmp_path, monkeypatch, card):
    own = replace(card, name="this machine")
    (tmp_path / "own.json").write_text(own.to_json())
    monkeypatch.setenv("QLAB_CARD", str(tmp_path / "own.json"))
    nodes = [
        blocks.node("Reshape", ["x", "shape"], ["r"], "reshape"),
        blocks.node("MatMul", ["r", "w"], ["y"], "product"),
    ]
    w = {"w": blocks.weights(faults.WIDTH, faults.WIDTH), "shape": np.array([-1, faults.WIDTH])}
    ends = [blocks.value("x", blocks.FLOAT, WIDE)], [blocks.value("y", blocks.FLOAT, ["all", faults.WIDTH])]
    model, feed = blocks.save(tmp_path / "moved.onnx", nodes, *ends, w), {"x": blocks.noise(2, 512, faults.WIDTH)}
    _, quantizing = parts(measure.predict(model, feed, "dynamic"))["boundary"]
    assert quantizing == pytest.approx(2 * 4 * feed["x"].size / (card.copy_gb_per_s * 1e6))


def test_this_machines_times_are_measured_and_the_ratio_is_the_cards(tmp_path, monkeypatch, card):
    own = replace(card, name="this machine")  # whose own card a busy minute may have spoiled
    (tmp_path / "own.json").write_text(own.to_json())
    monkeypatch.setenv("QLAB_CARD", str(tmp_path / "own.json"))
    prediction = measure.predict(faults.layers(tmp_path), faults.layers_feed(), "dynamic")
    before, after = parts(prediction)["matrix product"]
    pair = choose(own, "uint8").pair
    assert after == pytest.approx(before / own.speed[pair])
    assert prediction.measured
    assert 1 < prediction.speedup < prediction.limit


@pytest.mark.parametrize(
    ("recipe", "convolutions"), [("dynamic", 0), ("static", 3), ("hybrid", 2)]
)  # the hybrid leaves the depthwise one over time in float
def test_it_quantizes_what_the_recipe_quantizes(tmp_path, card, recipe, convolutions):
    model, feed = blocks.conformer_block(tmp_path), blocks.conformer_feed()
    profile = measure.profile(model, feed, rounds=1)
    predicted = {node.name for node, _ in on_integers(profile, recipes.RECIPES[recipe])}
    reader = () if recipe == "dynamic" else (feed,)
    made = getattr(recipes, recipe)(model, tmp_path / "int8.onnx", *reader, card=card)
    assert len(predicted) == sum(fate.how != "float" for fate in made.products)
    assert sum("wise" in name for name in predicted) == convolutions


def test_only_dynamic_recipes_enter_the_bodies(tmp_path, card):
    model, feed = blocks.branches(tmp_path), blocks.branches_feed()
    before, static = parts(measure.predict(model, feed, "static", card=card))["matrix product"]
    _, dynamic = parts(measure.predict(model, feed, "dynamic", card=card))["matrix product"]
    assert dynamic < static < before


def test_a_transposed_convolution_gains_nothing(tmp_path, card):
    feed = faults.image_feed(faults.CHANNELS)
    prediction = measure.predict(faults.upsampler(tmp_path), feed, "static", card=card)
    before, after = parts(prediction)["convolution"]
    assert after > 0.9 * before


def test_another_recipe_is_refused(tmp_path):
    with pytest.raises(ValueError, match="recipe is 'magic'; expected one of dynamic, static, hybrid"):
        measure.predict(faults.layers(tmp_path), faults.layers_feed(), "magic")


def test_the_yardstick_measures_by_like_products_and_else_by_the_mean_rate(tmp_path):
    profile = measure.profile(faults.mixed(tmp_path), faults.image_feed(2 * faults.CHANNELS))
    yardstick = Yardstick(profile, speed=4.0)
    convolution = next(node for node in profile.nodes if node.family == "convolution")
    assert yardstick.healthy_ms(convolution) == pytest.approx(yardstick.float_ms(convolution) / 4)
    products = [node for node in profile.nodes if node.macs]
    rate = sum(node.ms for node in products) / sum(node.macs for node in products)
    unlike = replace(convolution, macs=1000)
    assert yardstick.float_ms(unlike) == pytest.approx(1000 * rate)
    assert yardstick.float_ms(replace(unlike, depthwise=True)) is None
    assert Yardstick(profile, speed=0.5).healthy_ms(convolution) == yardstick.float_ms(convolution)  # never slower
    assert graph.census(profile.path).float.total() == len(profile.nodes)


def test_the_range_holds_the_prediction(tmp_path, card):
    prediction = measure.predict(faults.layers(tmp_path), faults.layers_feed(), "dynamic", card=card)
    assert prediction.low < prediction.speedup < prediction.high
    assert f"{prediction.speedup:.2f} times as fast as fp32, {prediction.low:.2f} to" in repr(prediction)


def test_hybrid_quantizes_at_the_float_operators_beside_its_convolutions(tmp_path, card):
    model, feed = faults.islands(tmp_path), faults.image_feed(faults.CHANNELS, 2 * faults.SIDE)
    _, quantizing = parts(measure.predict(model, feed, "hybrid", card=card))["boundary"]
    numbers = faults.CHANNELS * (2 * faults.SIDE) ** 2
    assert quantizing == pytest.approx(3 * 2 * 4 * numbers / (card.copy_gb_per_s * 1e6))


@pytest.mark.skipif(not ON_X86, reason="only x86 has float convolutions with an activation like this inside")
def test_an_activation_that_only_the_float_convolution_has_inside_becomes_operators(tmp_path, card):
    feed, numbers = faults.image_feed(faults.CHANNELS, 2 * faults.SIDE), faults.CHANNELS * (2 * faults.SIDE) ** 2
    model = faults.islands(tmp_path, "HardSwish")  # the last of three stays by itself, since it is an output
    static, hybrid, dynamic = (
        parts(measure.predict(model, feed, recipe, card=card)) for recipe in ("static", "hybrid", "dynamic")
    )
    a_byte = 1 / (card.copy_gb_per_s * 1e6)
    assert static["boundary"][1] == pytest.approx(3 * 8 * numbers * a_byte)
    assert added(static) == pytest.approx(2 * (8 + 2 + 1) * numbers * a_byte)  # HardSigmoid of floats, product of codes
    assert added(hybrid) == pytest.approx(2 * (8 + 8 + 4) * numbers * a_byte)
    assert "boundary" not in dynamic
    table = parts(measure.predict(faults.islands(tmp_path, "Sigmoid"), feed, "static", card=card))
    assert added(table) == pytest.approx(3 * 2 * numbers * a_byte)
    assert "boundary" not in table


def added(parts):
    before, after = parts["the rest"]
    return after - before


def test_depthwise_convolutions_gain_nothing_and_short_sums_less():
    assert integer_speed(product("convolution", (32, 1, 3, 3), depthwise=True), 3.0) == 1.0
    assert integer_speed(product("convolution", (32, 32, 1, 1)), 3.0) == 2.0
    assert integer_speed(product("convolution", (32, 32, 3, 3)), 3.0) == 3.0
    assert integer_speed(product("matrix product", (16, 500)), 3.0) == 1.5
    assert integer_speed(product("matrix product", ()), 3.0) == 3.0
    assert integer_speed(product("matrix product", (16, 500)), 0.3) == 0.3


def product(family, weights, *, depthwise=False):
    return SimpleNamespace(family=family, weights=weights, depthwise=depthwise, op_type="")


@pytest.mark.parametrize("recipe", ["dynamic", "static", "hybrid"])
def test_a_recipe_that_quantizes_no_product_changes_nothing(tmp_path, card, recipe):
    operators = zip(("Erf", "Cos", "Erf"), "xab", "aby", strict=True)
    nodes = [blocks.node(operator, [x], [y], y) for operator, x, y in operators]
    ends = [[blocks.value(name, blocks.FLOAT, [64, 128])] for name in "xy"]
    model = blocks.save(tmp_path / "m.onnx", nodes, *ends, {})
    prediction = measure.predict(model, {"x": blocks.noise(64, 128)}, recipe, card=card)
    assert prediction.low == prediction.speedup == prediction.high == 1


def test_beside_a_convolution_that_hybrid_leaves_in_float_nothing_is_quantized(tmp_path, card):
    w = {"w": blocks.weights(16, 1, 5)}
    nodes = [
        blocks.node("Erf", ["x"], ["a"], "before"),
        blocks.node("Conv", ["a", "w"], ["y"], "depthwise", group=16),
    ]
    ends = [blocks.value("x", blocks.FLOAT, [1, 16, 200])], [blocks.value("y", blocks.FLOAT, None)]
    model = blocks.save(tmp_path / "m.onnx", nodes, *ends, w)
    prediction = measure.predict(model, {"x": blocks.noise(1, 16, 200)}, "hybrid", card=card)
    assert prediction.speedup == 1


def test_hybrid_takes_an_lstm_and_dynamic_called_plainly_does_not(tmp_path, card):
    model, feed = blocks.recurrent(tmp_path, "LSTM"), blocks.recurrent_feed()
    for recipe, gains in (("dynamic", False), ("hybrid", True)):
        before, after = parts(measure.predict(model, feed, recipe, card=card))["other product"]
        assert (after < before) == gains
