"""What is known of a cause stands in its own file and in one table: adding one touches nothing else."""

import ast
from dataclasses import replace
from pathlib import Path

import pytest

import qlab
from qlab import machine, measure, recipes
from qlab.measure.diagnosis.diagnose import CAUSES
from qlab.measure.diagnosis.finding import ACCURACY, TIME, Cause, Finding, Kind
from tests.builders import faults

MINE = Kind(
    "my-fault",
    "what only this test looks for",
    why="it was asked for",
    mend="mends it",
    mended_by=(recipes.choice.STATIC,),
    costs=ACCURACY,
    needs_values=True,
)


def look(examination, bill):
    found = bool(bill.found)
    recipe = recipes.RECIPES.of_ways(*MINE.mended_by)
    yield Finding.of(MINE, examination, f"seen, {'and more' if found else 'alone'}", nodes=["w0"], recipe=recipe)


@pytest.fixture
def examined(tmp_path):
    model = faults.layers(tmp_path)
    quantized = recipes.dynamic(model, tmp_path / "int8.onnx")
    return measure.examine(model, quantized, faults.layers_feed())


def test_a_cause_that_is_added_is_looked_for_named_and_mended(examined, monkeypatch):
    assert MINE.code not in measure.CODES
    assert CAUSES.kind(MINE.code).means == "see measure.CODES"
    monkeypatch.setitem(CAUSES, MINE.code, Cause((MINE,), look))
    assert measure.CODES[MINE.code] == MINE.means
    assert CAUSES.kind(MINE.code) is MINE
    finding = next(one for one in measure.findings_of(examined) if one.code == MINE.code)
    assert (finding.why, finding.cost_ms, finding.nodes) == (MINE.why, None, ("w0",))
    assert finding.recipe == "static"
    assert finding.remedy.startswith(f"recipes.static({str(examined.original.path)!r}, ")
    assert finding.remedy.endswith(": mends it")


def test_a_cause_that_cannot_be_told_is_not_looked_for(examined, monkeypatch):
    monkeypatch.setitem(CAUSES, MINE.code, Cause((MINE,), look, when=lambda examination: False))
    assert MINE.code not in [one.code for one in measure.findings_of(examined)]


def test_a_recipe_that_is_added_is_predicted_and_mends_what_static_made(tmp_path, monkeypatch):
    mine = replace(recipes.RECIPES["static"], name="mine")
    monkeypatch.setitem(recipes.RECIPES, "mine", mine)
    model, feed = faults.residual(tmp_path), faults.image_feed()
    card = machine.card("x86-avx512-vnni")
    ours, theirs = (measure.predict(model, feed, name, card=card, rounds=1) for name in ("mine", "static"))
    assert (ours.recipe, ours.speedup) == ("mine", theirs.speedup)
    examined = measure.examine(model, recipes.static(model, tmp_path / "int8.onnx", feed), feed, layers=False)
    products = [node for node in examined.quantized.nodes if node.macs]
    assert examined.mending(products, recipes.RECIPES["static"]) is mine
    assert examined.call(mine).startswith(
        f"recipes.mine({str(model)!r}, {str(tmp_path / 'residual.mine.onnx')!r}, reader"
    )


def test_every_code_has_one_kind_and_a_meaning():
    kinds = [kind for cause in CAUSES.values() for kind in cause.kinds]
    assert len({kind.code for kind in kinds}) == len(kinds) == len(measure.CODES) == 25
    assert all(kind.means for kind in kinds)
    assert not any(kind.needs_values and kind.costs == TIME for kind in kinds)
    assert not any(kind.is_beyond_recipes and not kind.mend for kind in kinds)


def test_no_code_is_compared_by_name_outside_its_file():
    """Nor listed: a set of codes is a property that the Kinds lack."""
    for path in Path(qlab.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare | ast.Set | ast.List | ast.Tuple):
                named = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} & {*measure.CODES}
                assert not named, (path, node.lineno, named)
