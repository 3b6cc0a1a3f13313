"""What a visit measures: times taken again where they disagree, and what it costs, counted in runs and files."""

from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from qlab import calibration
from qlab.calibration.collect import WatchedModel
from qlab.doctor import visit as visiting
from qlab.doctor.verdict import disagreements
from qlab.doctor.visit import Diagnosis, disagreement
from qlab.measure import Findings
from qlab.recipes import job
from tests.builders import blocks
from tests.doctor.conftest import REFERENCE, row, words

COMPARISON = SimpleNamespace(rows=[REFERENCE, row("int8", 2.0)])  # 10 ms and 5 ms


@dataclass(frozen=True)
class Examined:
    fp32: object
    quantized: object


def examined(fp32_ms, quantized_ms):
    return Examined(SimpleNamespace(total_ms=fp32_ms), SimpleNamespace(total_ms=quantized_ms))


def diagnosis(fp32_ms, quantized_ms):
    return Diagnosis("int8", examined(fp32_ms, quantized_ms), Findings(), None)


def settled(first, *others):
    """(time of fp32 that is settled on, how many of the other profiles were not taken), the profiles as pairs of ms."""
    left = [diagnosis(*times) for times in others]
    found = visiting.settled(diagnosis(*first), COMPARISON, lambda: left.pop(0))
    return found.examination.fp32.total_ms, len(left)


def test_disagreement_is_that_of_the_worse_of_both_models():
    assert disagreement(diagnosis(11, 5), COMPARISON) == pytest.approx(0.1)
    assert disagreement(diagnosis(11, 4), COMPARISON) == pytest.approx(0.2)


def test_what_agrees_is_not_measured_again():
    assert settled((10.5, 5.2), (10, 5)) == (10.5, 1)


def test_the_first_profile_that_agrees_is_taken():
    assert settled((20, 5), (9.5, 5), (10, 5)) == (9.5, 1)


def test_of_three_that_disagree_the_nearest_is_taken():
    assert settled((20, 5), (13, 5), (15, 5)) == (13, 0)


def said(fp32_ms, quantized_ms, *, verdict="faster", speedup=2.0, db=40.0, by_node=40.0, note=""):
    """What is said of a model of 5 ms beside fp32 of 10 ms whose profiles take so long; `by_node` dB by its layers."""
    rows = [REFERENCE, row("int8", speedup, db, verdict, note=note)]
    visit = SimpleNamespace(
        comparison=SimpleNamespace(rows=rows, sqnr_by_output={"int8": {"y": db}}),
        row_of=lambda name: next(one for one in rows if one.name == name),
    )
    layers = SimpleNamespace(rows=[SimpleNamespace(name="y", accumulated_db=by_node)])
    one = SimpleNamespace(name="int8", findings=[])
    one.examination = SimpleNamespace(**vars(examined(fp32_ms, quantized_ms)), layers=layers)
    return disagreements(visit, one)


def test_two_times_that_stay_apart_are_said_without_any_finding():
    (text,) = said(10, 6.5)
    assert "are 30 % apart: fp32 10 ms here, 10 ms there and int8 6.5 ms here, 5 ms there. Repeat this" in text
    assert said(10.5, 5.2) == []


def test_two_measurements_of_which_each_calls_another_model_the_faster_one_are_said_however_near():
    assert len(said(9.8, 9.9, speedup=1.05)) == 1
    assert len(said(10, 9.9, speedup=0.95, verdict="slower")) == 1
    assert said(9.8, 9.9, speedup=1.01, verdict="cannot tell") == []


def test_an_output_that_keeps_less_as_it_runs_than_node_by_node_is_said_but_not_of_a_stream():
    (text,) = said(10, 5, db=7.7, by_node=38.6)
    assert "output 'y' disagree: it keeps 7.7 dB as onnxruntime runs the model, and 38.6 where it runs node by" in text
    assert said(10, 5, db=35.0, by_node=45.0) == []
    assert said(10, 5, db=17.0, by_node=19.0) == []
    assert said(10, 5, db=7.7, by_node=38.6, note="a stream of 32 steps with its own state fed back") == []


@pytest.fixture
def calls(monkeypatch):
    """calls(owner, name): a list that grows with each call of it."""

    def count(owner, name):
        made, original = [], getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *arguments, **named: made.append(1) or original(*arguments, **named))
        return made

    return count


@pytest.fixture
def real(feeds_file):
    """A file of many feeds: 2 of them measure, 8 calibrate."""
    return feeds_file([blocks.conformer_feed(seed=seed) for seed in range(10)])


def test_three_recipes_prepare_the_model_once_and_calibrate_it_once(doctor, fp32, real, calls, measured):
    measured()
    prepared, calibrated = calls(job, "prepared_in"), calls(calibration, "collect")
    doctor(fp32, "--calibration", real)
    assert (len(prepared), len(calibrated)) == (1, 1)


def test_times_taken_again_let_the_fp32_model_be_watched_no_more_often(doctor, fp32, int8, real, calls, monkeypatch):
    watched = calls(WatchedModel, "run")
    doctor(fp32, int8, "--calibration", real, "--no-recipes", "--rounds", 2)
    once = len(watched)
    monkeypatch.setattr(visiting, "disagreement", lambda *_: 1.0)  # a busy machine: no profile fits the comparison
    again = calls(visiting, "profiled_again")
    doctor(fp32, int8, "--calibration", real, "--no-recipes", "--rounds", 2)
    assert len(again) == visiting.AGAIN
    assert len(watched) == 2 * once


def test_quick_makes_one_model_calibrates_on_few_and_says_what_it_left_out(doctor, fp32, real, calls, measured):
    measured()
    examined, fed = calls(visiting, "examine"), calls(WatchedModel, "run")
    code, out, _ = doctor(fp32, "--calibration", real, "--quick")
    assert (code, examined, len(fed)) == (0, [], 4)
    assert "left out: --quick: one feed measures" in words(out)
    assert "recipes.hybrid makes a model" in out
    assert "it was not diagnosed" in out
    assert "- static" not in out
    assert "6 rounds" in out
    assert "--quick" in out.rsplit("python -m qlab doctor", 1)[1]


def test_quick_tells_the_causes_of_a_given_model_without_its_layers(doctor, fp32, int8, real, calls):
    tried = calls(visiting, "try_recipes")
    _, out, _ = doctor(fp32, int8, "--calibration", real, "--quick")
    assert tried == []
    assert "int8: findings" in out
    assert "no recipe was tried" in words(out)
    assert "Not looked for with --quick." in out
    assert "local dB" not in out


def test_rounds_fit_the_speed_of_the_model_unless_they_are_asked_for(doctor, fp32, int8, measured, monkeypatch):
    measured()
    monkeypatch.setattr("qlab.doctor.request.TIMING_S", 0.0)
    assert "timing: 6 rounds" in words(doctor(fp32, int8, "--no-recipes")[1])
    assert "timing: 7 rounds" in words(doctor(fp32, int8, "--no-recipes", "--rounds", 7)[1])
    monkeypatch.setattr("qlab.doctor.request.TIMING_S", 1e6)
    assert "timing: 20 rounds" in words(doctor(fp32, int8, "--no-recipes")[1])
