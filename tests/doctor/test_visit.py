"""Times of the diagnosis are taken again where they are far from the comparison's; what still disagrees is said."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from qlab.doctor import visit as visiting
from qlab.doctor.report import disagreements
from qlab.doctor.visit import Diagnosis, disagreement
from qlab.measure import Findings
from tests.doctor.conftest import REFERENCE, row

REQUEST = SimpleNamespace(rounds=3, threads=1)
COMPARISON = SimpleNamespace(rows=[REFERENCE, row("int8", 2.0)])  # 10 ms and 5 ms


@dataclass(frozen=True)
class Examined:
    fp32: object
    quantized: object


def examined(fp32_ms, quantized_ms):
    return Examined(SimpleNamespace(total_ms=fp32_ms), SimpleNamespace(total_ms=quantized_ms))


@pytest.fixture
def runs(monkeypatch):
    """runs([(fp32 ms, int8 ms), ...]): what the next profiles will say; returns the list of those not taken yet."""

    def arrange(times):
        left = list(times)
        monkeypatch.setattr(
            visiting, "profiled_again", lambda examination, **_: replace(examination, **vars(examined(*left.pop(0))))
        )
        monkeypatch.setattr(visiting, "ledger", lambda fp32, quantized: None)
        monkeypatch.setattr(visiting, "_findings", lambda examination, request: Findings())
        return left

    return arrange


def settled(fp32_ms, quantized_ms):
    diagnosis = Diagnosis("int8", examined(fp32_ms, quantized_ms), Findings(), None)
    return visiting._settled(diagnosis, COMPARISON, REQUEST).examination


def test_disagreement_is_that_of_the_worse_of_both_models():
    assert disagreement(Diagnosis("int8", examined(11, 5), Findings(), None), COMPARISON) == pytest.approx(0.1)
    assert disagreement(Diagnosis("int8", examined(11, 4), Findings(), None), COMPARISON) == pytest.approx(0.2)


def test_what_agrees_is_not_measured_again(runs):
    left = runs([(10, 5)])
    assert settled(10.5, 5.2).fp32.total_ms == 10.5
    assert len(left) == 1


def test_the_first_profile_that_agrees_is_taken(runs):
    left = runs([(9.5, 5), (10, 5)])
    assert settled(20, 5).fp32.total_ms == 9.5
    assert len(left) == 1


def test_of_three_that_disagree_the_nearest_is_taken(runs):
    left = runs([(13, 5), (15, 5)])
    assert settled(20, 5).fp32.total_ms == 13
    assert left == []


def said(fp32_ms, quantized_ms, *, verdict="faster", speedup=2.0, db=40.0, by_node=40.0, note=""):
    """What is said of a model of 5 ms beside fp32 of 10 ms whose profiles take so long; `by_node` dB by its layers."""
    rows = [REFERENCE, row("int8", speedup, db, verdict, note=note)]
    visit = SimpleNamespace(
        comparison=SimpleNamespace(rows=rows, sqnr_by_output={"int8": {"y": db}}),
        row_of=lambda name: next(one for one in rows if one.name == name),
    )
    layers = SimpleNamespace(rows=[SimpleNamespace(name="y", accumulated_db=by_node)])
    diagnosis = SimpleNamespace(name="int8", findings=[])
    diagnosis.examination = SimpleNamespace(**vars(examined(fp32_ms, quantized_ms)), layers=layers)
    return disagreements(visit, diagnosis)


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
