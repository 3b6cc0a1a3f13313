"""What the doctor tells to mend a model with, it has tried."""

from dataclasses import replace

import pytest

from qlab.measure import Finding
from qlab.recipes import RECIPES
from tests.builders import blocks
from tests.doctor.conftest import words

NODES = ("q", "out")


def loss(recipe="dynamic", exclude=NODES, code="output-loss", cost_ms=None):
    remedy = f"recipes.{recipe}('fp32.onnx', 'out.onnx', exclude={exclude!r}): leaves the weakest layers in float"
    return Finding(code, "9 dB", "since", cost_ms, remedy, recipe=recipe, options={"exclude": exclude})


@pytest.fixture
def feeds(feeds_file):
    return feeds_file([blocks.conformer_feed(seed=seed) for seed in range(5)])


def test_a_mend_that_takes_more_than_a_recipe_is_tried_and_has_its_row(doctor, fp32, int8, feeds, measured):
    rows = {"int8": (2, 9, "faster"), "dynamic without 2 nodes": (1.8, 40, "faster"), "hybrid": (1.5, 12, "faster")}
    sittings = measured({"int8": [loss()]}, **rows | dict.fromkeys(("static", "dynamic"), (1.7, 9, "faster")))
    code, out, _ = doctor(fp32, int8, "--calibration", feeds)
    assert code == 1
    assert sittings == [["fp32", "int8", "dynamic", "static", "hybrid", "dynamic without 2 nodes"]]
    assert "recipes.dynamic without 2 nodes makes a more accurate one: 1.80 times as fast" in words(out)
    assert f"exclude={NODES!r}" in words(out).partition("Recommendation")[2]
    assert "mend: recipes.dynamic('fp32.onnx', 'out.onnx', exclude=" in words(out)


@pytest.mark.parametrize(
    ("int8_row", "mend", "instead"),
    [
        (
            (2, 9, "faster"),
            (1.8, 8.5, "faster"),
            "stay with fp32: recipes.dynamic without 2 nodes was tried, and loses",
        ),
        (
            (2, 16, "faster"),
            (1.8, 15.5, "faster"),
            "keep this model as it is: recipes.dynamic without 2 nodes was tried",
        ),
    ],
)
def test_a_mend_that_was_measured_to_be_worse_is_not_recommended(
    doctor, fp32, int8, feeds, measured, int8_row, mend, instead
):
    lost = dict.fromkeys(("static", "dynamic", "hybrid"), (1.0, 9, "cannot tell"))
    measured({"int8": [loss()]}, **lost | {"int8": int8_row, "dynamic without 2 nodes": mend})
    _, out, _ = doctor(fp32, int8, "--calibration", feeds)
    assert f"mend: {instead}" in words(out)
    assert "exclude=" not in out


def test_a_mend_for_lost_time_that_is_slower_makes_the_finding_a_limit(doctor, fp32, int8, measured):
    measured(
        {"int8": [loss(code="boundary-overhead", cost_ms=1.0)]}, **{"dynamic without 2 nodes": (1.9, 40, "faster")}
    )
    code, out, _ = doctor(fp32, int8)
    assert code == 0
    assert "But recipes.dynamic without 2 nodes was tried and takes 5.26 ms, this model 5 ms" in words(out)
    assert "exclude=" not in out


def test_a_mend_that_fails_is_not_recommended(doctor, fp32, int8, feeds, measured):
    measured({"int8": [loss(exclude=("no such node",))]}, int8=(2, 16, "faster"))
    _, out, _ = doctor(fp32, int8, "--calibration", feeds)
    assert "- dynamic without 1 node: failed: exclude names 'no such node'" in words(out)
    assert "mend: keep this model as it is: recipes.dynamic without 1 node was tried, and failed: " in words(out)


def test_without_recipes_a_mend_is_a_thing_to_try(doctor, fp32, int8, feeds, measured):
    sittings = measured({"int8": [loss()]})
    _, out, _ = doctor(fp32, int8, "--calibration", feeds, "--no-recipes")
    assert sittings == [["fp32", "int8"]]
    assert "to try: recipes.dynamic('fp32.onnx', 'out.onnx', exclude=" in words(out)


def test_the_mends_of_the_recommended_model_are_tried_beside_it(doctor, fp32, feeds, measured, tmp_path):
    rows = {"static": (3, 31, "faster"), "static without 2 nodes": (3.5, 40, "faster")}
    sittings = measured({"static": [loss("static")]}, **rows)
    code, out, _ = doctor(fp32, "--calibration", feeds, "--save", tmp_path / "best.onnx")
    assert sittings[1:] == [["fp32", "static", "static without 2 nodes"]]
    assert code == 0
    assert "recipes.static without 2 nodes makes a model that is 3.50 times as fast" in words(out)
    assert "timed later, beside fp32 and static (static without 2 nodes)" in words(out).replace("Timed", "timed")
    assert (tmp_path / "best.onnx").is_file()


def test_the_recommended_model_stays_where_its_mends_are_no_better(doctor, fp32, feeds, measured):
    measured({"static": [loss("static")]}, static=(3, 31, "faster"), **{"static without 2 nodes": (2.5, 30, "faster")})
    code, out, _ = doctor(fp32, "--calibration", feeds)
    assert code == 1
    assert "recipes.static makes a model that is 3.00 times as fast" in words(out)
    assert "mend: keep this model as it is: recipes.static without 2 nodes was tried and keeps 30.0 dB, this" in words(
        out
    )
    assert "exclude=" not in out


def test_a_mend_that_is_slower_than_fp32_says_so(doctor, fp32, int8, measured):
    slow = Finding("conv-integer", "9 of them", "since", 2.0, "recipes.hybrid(...): static", recipe="hybrid")
    rows = dict.fromkeys(("static", "dynamic"), (0.5, 40, "slower"))
    measured({"int8": [slow]}, int8=(0.4, 40, "slower"), hybrid=(0.9, 40, "slower"), **rows)
    _, out, _ = doctor(fp32, int8)
    assert "It was tried: 0.90 times as fast as fp32, so that for speed fp32 is to stay" in words(out)


def test_recipes_that_failed_are_told_from_those_that_find_nothing(doctor, tmp_path, monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("no kernel")

    model = blocks.linear(tmp_path)
    monkeypatch.setitem(RECIPES, "static", replace(RECIPES["static"], make=fail))
    monkeypatch.setitem(RECIPES, "dynamic", replace(RECIPES["dynamic"], make=fail))
    code, out, _ = doctor(model)
    assert code == 1
    expected = "No recipe makes a model of linear.onnx: recipes.dynamic and recipes.static failed, and the others find"
    assert expected in words(out)
    assert "Stay with fp32: no recipe made a model of it." in words(out)


def test_a_recipe_that_joins_the_table_is_tried_told_of_and_called(doctor, fp32, feeds, measured, monkeypatch):
    monkeypatch.setitem(RECIPES, "mine", replace(RECIPES["static"], name="mine"))
    sittings = measured(mine=(4, 40, "faster"))
    code, out, _ = doctor(fp32, "--calibration", feeds)
    assert code == 0
    assert "mine" in sittings[0]
    assert "recipes.mine makes a model that is 4.00 times as fast" in words(out)
    assert "\n    recipes.mine(" in out
