"""Times of the diagnosis are taken again where they are far from the comparison's."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from qlab.measure import Findings
from qlab.measure.doctor import visit as visiting
from qlab.measure.doctor.visit import Diagnosis, disagreement
from tests.measure.doctor.conftest import REFERENCE, row

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
