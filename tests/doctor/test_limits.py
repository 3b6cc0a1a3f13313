"""What the measurements say no recipe mends is told apart from what is to be mended."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from qlab.doctor import advice as limiting
from qlab.doctor.visit import Diagnosis
from qlab.measure import Finding, Findings
from qlab.measure.answers import Answers, Kept
from tests.doctor.conftest import REFERENCE, row, words


def finding(code="float-both-move", recipe="static", cost_ms=1.0):
    return Finding(code, "2 of 9", "since", cost_ms, f"recipes.{recipe}()", recipe=recipe)


def limited(one, *rows):
    rows = [REFERENCE, row("int8", 2.0, 40.0), *rows]  # 10 ms and 5 ms
    return limiting.limited(Diagnosis("int8", None, Findings([one]), None), SimpleNamespace(rows=rows))


def test_a_remedy_that_was_tried_and_is_not_faster_makes_a_limit():
    found = limited(finding(), row("static", 1.5))
    assert found.findings == []
    (limit,) = found.limits
    assert limit.why_not == "recipes.static was tried and takes 6.67 ms, this model 5 ms"


def test_a_remedy_that_was_tried_and_is_faster_stays_one():
    found = limited(finding(), row("static", 3.0))
    assert len(found.findings) == 1
    assert found.limits == ()


def test_a_faster_remedy_that_loses_too_much_is_none():
    (limit,) = limited(finding(), row("static", 3.0, 10.0)).limits
    assert limit.why_not == "recipes.static was tried, and loses too much: 10.0 dB are too little to use"


@pytest.mark.parametrize("code", ["saturation-risk", "range-clips", "layer-loss", "output-loss", "too-small"])
def test_what_costs_accuracy_is_not_weighed_against_time(code):
    assert limited(finding(code, cost_ms=None), row("static", 1.0)).limits == ()


@pytest.mark.parametrize(("changed", "harmless"), [(0, True), (9, False)])
def test_a_loss_that_changes_no_answer_does_no_harm(changed, harmless):
    kept = {"y": Kept(10.0, Answers(changed, 300, 200))}
    comparison = SimpleNamespace(rows=[REFERENCE, row("int8", 2.0, 10.0, kept=kept)])
    found = limiting.limited(Diagnosis("int8", None, Findings([finding("output-loss", None)]), None), comparison)
    assert bool(found.limits) == harmless
    if harmless:
        assert found.limits[0].why_not == "it does no harm on these feeds: of the answers all 300 the same"


def test_a_remedy_that_was_not_tried_stays_one():
    assert limited(finding(), row("dynamic", 1.0)).limits == ()
    assert limited(finding(recipe="")).limits == ()


def test_an_operator_without_an_integer_kernel_is_a_limit_whatever_was_tried():
    (limit,) = limited(finding("float-no-kernel", recipe="")).limits
    assert limit.why_not == "no recipe can mend it"


def test_a_model_with_limits_only_is_healthy_and_the_report_shows_them(doctor, fp32, int8, measured):
    measured({"int8": [finding()]}, static=(1.0, 40, "cannot tell"))
    code, out, _ = doctor(fp32, int8)
    text = words(out)
    assert code == 0
    assert "None of the recipes does better on these feeds: keep it." in text
    assert "Nothing to mend. True as well, but not worth mending here:" in text
    assert "- float-both-move, about 1 ms a run: 2 of 9. But recipes.static was tried" in text


def test_where_the_recommended_recipe_is_free_of_a_finding_that_is_the_remedy(monkeypatch):
    monkeypatch.setattr("qlab.measure.diagnosis.finding.call", lambda examination, recipe: f"recipes.{recipe}(...)")
    comparison = SimpleNamespace(rows=[REFERENCE, row("int8", 1.2, 31.0), row("static", 1.4, 10.0), row("hybrid", 1.4)])
    given = Diagnosis("int8", None, Findings([finding("conv-integer")]), None)
    free = Diagnosis("hybrid", None, Findings(), None)
    found = limiting.limited(given, comparison, free)
    assert found.limits == ()
    assert found.findings[0].remedy.startswith("recipes.hybrid(...): it is free of this (recipes.static was tried, and")
    like_it = Diagnosis("hybrid", None, Findings([finding("conv-integer")]), None)
    assert len(limiting.limited(given, comparison, like_it).limits) == 1


def test_the_recommended_recipe_is_not_said_to_lose_too_much():
    comparison = SimpleNamespace(rows=[REFERENCE, row("int8", 0.7, 40.0), row("hybrid", 1.7, 26.0)])
    given = Diagnosis("int8", None, Findings([finding("float-left-out", "hybrid")]), None)
    found = limiting.limited(given, comparison, Diagnosis("hybrid", None, Findings(), None))
    assert [one.remedy for one in found.findings] == ["recipes.hybrid()"]
    (limit,) = limiting.limited(given, comparison).limits
    assert limit.why_not.startswith("recipes.hybrid was tried, and loses too much")


def test_a_risk_that_did_no_harm_is_a_limit_where_the_feeds_are_real():
    risk = replace(finding("saturation-risk", cost_ms=None), is_harmless=True)
    (limit,) = limited(risk, row("static", 1.0)).limits
    assert limit.why_not == "it is a risk for other inputs only"
    diagnosis, rows = Diagnosis("int8", None, Findings([risk]), None), [REFERENCE, row("int8", 2.0)]
    assert limiting.limited(diagnosis, SimpleNamespace(rows=rows), is_real=False).limits == ()


def test_a_remedy_of_accuracy_that_was_tried_and_loses_more_says_so():
    (found,) = limited(finding("saturation-risk", cost_ms=None), row("static", 3.0, 10.0)).findings
    tried = "recipes.static was tried, and loses too much: 10.0 dB are too little to use"
    assert found.remedy == f"keep this model as it is: {tried}"
    assert found.recipe == ""
