"""The rule that picks a model, on made-up rows; what no recipe mends is told apart from what is to be mended."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlab.doctor import advice as limiting
from qlab.doctor.advice import AS_FAST, GOOD_DB, LEAST_DB, accuracy, recommend, too_inexact
from qlab.doctor.visit import Diagnosis
from qlab.measure import Finding, Findings
from qlab.measure.answers import Answers, Kept
from tests.doctor.conftest import REFERENCE, row, words

DECIBELS = st.one_of(st.floats(-20, 80), st.just(math.inf), st.just(math.nan))
VERDICTS = st.sampled_from(["faster", "slower", "cannot tell"])
NOTES = st.sampled_from(["", "y differs", "y has NaN or infinity where the reference has not, or the reverse"])
MEASURED = st.lists(
    st.builds(
        lambda speedup, db, verdict, note: row("?", speedup, db, verdict, note=note),
        st.floats(0.1, 10), DECIBELS, VERDICTS, NOTES,
    ),
    max_size=4,
).map(lambda rows: [REFERENCE, *(replace(one, name=f"recipe{place}") for place, one in enumerate(rows))])  # fmt: skip


@given(MEASURED)
def test_what_is_recommended_is_faster_beyond_doubt_and_accurate_enough_or_it_is_fp32(rows):
    result = recommend(rows)
    chosen = next(one for one in rows if one.name == result.name)
    assert chosen.is_reference or (chosen.verdict == "faster" and accuracy(chosen) >= LEAST_DB)


@given(MEASURED)
def test_every_other_model_is_rejected_for_a_reason(rows):
    result = recommend(rows)
    assert set(result.rejected) == {one.name for one in rows} - {result.name, "fp32"}
    assert result.why
    assert all(result.rejected.values())


@given(MEASURED)
def test_nothing_good_enough_is_faster_by_more_than_the_margin(rows):
    result = recommend(rows)
    speedup = next(one.speedup for one in rows if one.name == result.name)
    for one in rows:
        if one.verdict == "faster" and accuracy(one) >= GOOD_DB:
            assert result.name != "fp32"
            assert speedup >= AS_FAST * one.speedup


@given(MEASURED, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    one, other = (next(r for r in rows if r.name == recommend(order).name) for order in (rows, shuffled))
    assert (one.is_reference, one.speedup, accuracy(one)) == (other.is_reference, other.speedup, accuracy(other))


@given(MEASURED)
def test_a_model_that_is_slower_changes_nothing_by_being_there(rows):
    without = [one for one in rows if one.verdict == "faster" or one.is_reference]
    assert recommend(without).name == recommend(rows).name


@given(MEASURED)
def test_a_winner_that_gets_faster_still_wins(rows):
    result = recommend(rows)
    better = [replace(one, speedup=2 * one.speedup) if one.name == result.name else one for one in rows]
    assert recommend(better).name == result.name


@pytest.mark.parametrize(
    ("rows", "name", "why"),
    [
        ([row("a", 2.0), row("b", 3.0)], "b", "the fastest that is accurate enough"),
        ([row("a", 2.95, db=50), row("b", 3.0, db=35)], "a", "within 5 % of the fastest, and more accurate"),
        ([row("a", 2.5, db=57), row("b", 3.0, db=47)], "b", "the fastest that is accurate enough"),
        ([row("a", 2.0, db=40), row("b", 3.0, db=24)], "a", "the only one that is faster and accurate enough"),
        ([row("a", 2.0, db=24), row("b", 3.0, db=20)], "b", "the fastest that is accurate enough"),
        ([row("a", 0.5, verdict="slower")], "fp32", "no quantized version is faster on this machine"),
        (
            [row("a", 0.5, verdict="slower"), row("b", 2.8, verdict="cannot tell")],
            "fp32",
            "no quantized version is faster beyond doubt; more rounds may tell",
        ),
        ([row("a", 3.0, db=9)], "fp32", "what is faster loses too much accuracy"),
        ([], "fp32", "no quantized version is faster on this machine"),
    ],
)
def test_cases_of_the_rule(rows, name, why):
    result = recommend([REFERENCE, *rows])
    assert (result.name, result.why) == (name, why)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (row("a", db=40), ""),
        (row("a", db=9.04), "9.0 dB are too little to use"),
        (row("a", db=-math.inf), "-inf dB are too little to use"),
        (row("a", db=math.nan), ""),  # no float outputs, and the integers agree
        (row("a", db=math.nan, note="label differs"), "its answers are wrong: label differs"),
        (row("a", db=math.nan, note="y has NaN or infinity"), "its answers are wrong: y has NaN or infinity"),
        (row("a", db=40, note="random weights: latency only"), ""),
    ],
)
def test_a_row_is_too_inexact_for_a_reason(one, reason):
    assert too_inexact(one) == reason


@pytest.mark.parametrize(("best", "had"), [(40.0, "40.0"), (math.inf, "exact answers")])
def test_what_others_keep_makes_a_model_too_inexact(best, had):
    assert too_inexact(row("a", db=24.2), best) == f"24.2 dB, where {had} can be had"
    assert too_inexact(row("a", db=35.0), best) == ""


def test_what_is_in_use_stays_where_nothing_beats_it_by_more_than_luck():
    rows = [REFERENCE, row("int8", 2.0, 40), row("static", 2.05, 40.5)]
    assert recommend(rows, "int8").name == "int8"
    assert recommend(rows, "int8").rejected["static"] == "hardly faster than int8"
    assert recommend(rows).name == "static"
    assert recommend([REFERENCE, row("int8", 2.0, 40), row("static", 2.2, 40)], "int8").name == "static"
    assert recommend([REFERENCE, row("int8", 2.0, 40), row("static", 2.0, 42)], "int8").name == "static"


def answering(name, changed, total=1000, db=40.0, *, speedup=2.0, others=500, rest_db=None):
    """A Row of which so many answers changed, and, with `rest_db`, an output without answers."""
    kept = {"scores": Kept(db, Answers(changed, total, others))}
    kept |= {} if rest_db is None else {"boxes": Kept(rest_db)}
    return row(name, speedup, min(db, rest_db or db), kept=kept)


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (answering("a", 0, db=9.0), ""),
        (answering("a", 49), ""),
        (answering("a", 51), "51 of 1,000 answers differ, too many to use"),
        (answering("a", 0, db=9.0, rest_db=12.0), "12.0 dB of boxes, as it is read, are too little to use"),
        (answering("a", 0, db=12.0, rest_db=9.0), "9.0 dB are too little to use"),
        (answering("a", 0, 59, db=9.0), "9.0 dB are too little to use"),  # too few answers
        (answering("a", 0, db=9.0, others=3), "9.0 dB are too little to use"),  # nearly all of one kind
        (answering("a", 3, 8), "3 of 8 answers differ, too many to use"),
        (answering("a", 2, 8), ""),  # may be luck
        (row("a", db=60, agreement=0.9), "agreement 0.900 is too little to use"),
        (row("a", db=3, agreement=0.96), ""),
        (row("a", db=math.nan, note="y: other number of results", agreement=0.96), ""),
    ],
)
def test_answers_and_a_metric_judge_before_sqnr(one, reason):
    assert too_inexact(one) == reason


@pytest.mark.parametrize(
    ("rows", "name"),
    [
        ([answering("a", 17, db=47.8, speedup=3), answering("b", 0, db=30)], "b"),
        ([answering("a", 4, speedup=3), answering("b", 0)], "a"),  # four of a thousand are not worth waiting for
        ([answering("a", 4, speedup=2.02), answering("b", 0)], "b"),
        ([answering("a", 0, db=10, speedup=3), answering("b", 0, db=40)], "a"),
        ([answering("a", 0, rest_db=24, speedup=3), answering("b", 0, rest_db=40)], "b"),
        ([answering("a", 100, db=60), answering("b", 90, db=60)], "fp32"),
        ([row("a", 3, 60, agreement=0.97), row("b", 2, 10, agreement=0.99)], "b"),
    ],
)
def test_cases_of_the_rule_where_answers_or_a_metric_judge(rows, name):
    assert recommend([REFERENCE, *rows]).name == name


def test_numbers_judged_without_an_offset_are_told_from_those_of_the_table():
    one = row("a", db=33.0, kept={"log_probs": Kept(11.0)})
    assert too_inexact(one) == "11.0 dB of log_probs, as it is read, are too little to use"


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


def test_where_the_recommended_recipe_is_free_of_a_finding_that_is_the_remedy():
    examination = SimpleNamespace(call=lambda recipe: f"recipes.{recipe.name}(...)")
    comparison = SimpleNamespace(rows=[REFERENCE, row("int8", 1.2, 31.0), row("static", 1.4, 10.0), row("hybrid", 1.4)])
    given = Diagnosis("int8", examination, Findings([finding("conv-integer")]), None)
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
