"""Each recipe is a row of one table, and whoever asks about a recipe asks its row."""

import ast
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

import qlab
from qlab import measure, recipes
from qlab.__main__ import main
from qlab.graph.operators import CONVOLUTION, PRODUCT
from qlab.recipes import RECIPES, Product
from qlab.recipes.choice import DYNAMIC, STATIC, made_by
from tests.builders import blocks, faults, steady

ROWS = list(RECIPES.values())


@pytest.fixture
def fourth(monkeypatch):
    """A recipe of a reader's own: static, under another name."""
    monkeypatch.setitem(RECIPES, "mine", replace(RECIPES["static"], name="mine", fits=frozenset()))
    return RECIPES["mine"]


@pytest.mark.parametrize("recipe", ROWS, ids=lambda one: one.name)
def test_a_recipe_is_its_row(recipe):
    assert recipe.make is getattr(recipes, recipe.name)
    assert RECIPES.of_ways(*recipe.ways) is recipe
    assert not recipe.calibrated or RECIPES[recipe.calibrated].needs_reader


@pytest.mark.parametrize("recipe", ROWS, ids=lambda one: one.name)
def test_a_row_says_which_products_its_recipe_quantizes(recipe, tmp_path):
    model = blocks.conformer_block(tmp_path)
    made = recipe(model, tmp_path / "out.onnx", [blocks.conformer_feed()])
    ranks = {tensor.name: len(tensor.dims) for tensor in onnx.load(model).graph.initializer}
    told = {
        node.name: recipe.how(Product(node.op_type, ranks.get(node.input[1], 0), node.name == "depthwise"))
        for node in onnx.load(model).graph.node
        if node.op_type in ("Conv", "MatMul")
    }
    assert {fate.name: fate.how == "float" for fate in made.products} == {name: not how for name, how in told.items()}


@pytest.mark.parametrize(
    ("families", "name"),
    [({PRODUCT}, "dynamic"), ({CONVOLUTION}, "static"), ({PRODUCT, CONVOLUTION}, "hybrid"), (set(), "dynamic")],
)
def test_the_recipe_for_what_a_model_is_made_of(families, name):
    assert RECIPES.fitting(families).name == name


@pytest.mark.parametrize(
    ("op_types", "name"),
    [
        ({"DynamicQuantizeLinear", "MatMulInteger"}, "dynamic"),
        ({"QLinearConv"}, "static"),
        ({"QuantizeLinear"}, "static"),
        ({"QuantizeLinear", "DynamicQuantizeMatMul"}, "hybrid"),
    ],
)
def test_the_recipe_that_quantizes_as_a_model_is_quantized(op_types, name):
    assert RECIPES.like(op_types).name == name


def test_no_recipe_is_like_a_float_model():
    assert RECIPES.like({"Conv", "MatMul"}) is None


def test_only_an_lstm_asks_dynamic_for_more_than_a_plain_call():
    recipe = RECIPES["dynamic"]
    options = recipe.options({"LSTM", "Add"})
    assert options == {"op_types": ("MatMul", "LSTM")}
    assert recipe.options({"MatMul"}) == {}
    lstm = Product("LSTM", 3)
    assert (recipe.how(lstm), recipe.how(lstm, **options)) == ("", DYNAMIC)


def test_hybrid_is_pointless_without_convolutions():
    recipe = RECIPES["hybrid"]
    assert recipe.pointless({"MatMul"}) == "the model has no convolutions, so it would be dynamic"
    assert recipe.pointless({"MatMul", "Conv"}) == ""


def test_the_text_of_a_call_runs_it():
    assert RECIPES["dynamic"].call("a.onnx") == "recipes.dynamic('a.onnx', 'a.dynamic.onnx')"
    called = RECIPES["static"].call("a.onnx", "b.onnx", reader="feeds", card="arm", exclude=("conv0",))
    assert called == "recipes.static('a.onnx', 'b.onnx', feeds, exclude=('conv0',), card=machine.card('arm'))"


def test_a_fourth_recipe_is_asked_like_the_others(fourth, tmp_path):
    model, feeds = blocks.conformer_block(tmp_path), [blocks.conformer_feed()]
    made = fourth(model, tmp_path / "out.onnx", feeds)
    assert made.census.integer
    assert fourth.call("a.onnx") == "recipes.mine('a.onnx', 'a.mine.onnx', reader)"
    assert RECIPES.of_ways(STATIC).name == "static"  # the first of a kind


def test_a_file_names_the_recipe_that_made_it(tmp_path):
    model = blocks.conformer_block(tmp_path)
    made = recipes.dynamic(model, tmp_path / "out.onnx")
    assert (made_by(onnx.load(made)), made_by(onnx.load(model))) == ("dynamic", "")


def test_predict_knows_a_recipe_of_the_table(fourth, tmp_path, card):
    told = measure.predict(faults.layers(tmp_path), faults.layers_feed(), "mine", card=card)
    assert told.recipe == "mine"
    assert repr(told).startswith("mine on ")
    with pytest.raises(ValueError, match="'yours'; expected one of dynamic, static, hybrid, mine"):
        measure.predict(tmp_path / "layers.onnx", faults.layers_feed(), "yours")


def test_the_doctor_tries_a_recipe_of_the_table(fourth, tmp_path, capsys):
    assert main(["doctor", str(blocks.conformer_block(tmp_path)), "--card", "x86-avx512-vnni", "--rounds", "2"]) < 2
    said = capsys.readouterr().out
    assert all(f"{name}: " in said for name in ("dynamic", "static", "hybrid", "mine"))


def test_diagnose_names_a_recipe_of_the_table(fourth, tmp_path, card, monkeypatch):
    model, feed = faults.layers(tmp_path), faults.layers_feed()
    slow = faults.static_by_hand(model, tmp_path, [feed], "uint8", "uint8")
    examined = measure.examine(model, slow, feed, card=card, profiler=steady.profiler(card))
    findings = {one.code: one for one in measure.findings_of(examined)}
    assert findings["slow-sign-pair"].recipe == "static"
    monkeypatch.delitem(RECIPES, "static")
    findings = {one.code: one for one in measure.findings_of(replace(examined))}
    assert findings["slow-sign-pair"].recipe == "mine"
    assert findings["slow-sign-pair"].remedy.startswith(f"recipes.mine({str(model)!r}, ")


def test_no_recipe_is_compared_by_name_outside_the_table():
    """Lessons ask for a product's way, which has the same words."""
    for path in Path(qlab.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare | ast.Set) and "lessons" not in path.parts:
                named = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} & {*RECIPES}
                assert not named, (path, node.lineno, named)
