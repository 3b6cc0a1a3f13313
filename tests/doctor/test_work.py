"""What a visit costs, counted: files prepared, feeds calibrated on, runs of the fp32 model to watch it."""

import pytest

from qlab import calibration
from qlab.calibration.collect import WatchedModel
from qlab.doctor import visit as visiting
from qlab.recipes import job
from tests.builders import blocks
from tests.doctor.conftest import words


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
