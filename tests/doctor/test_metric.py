"""--metric, and what the doctor says of answers that were counted."""

import numpy as np
import pytest

from qlab.doctor.visit import FP32
from qlab.measure import Comparison
from qlab.measure.answers import Answers, Kept
from tests.builders import blocks
from tests.doctor.conftest import REFERENCE, row, words
from tests.doctor.test_request import refused

METRIC = """
import numpy as np

def agree(reference, outputs):
    return 1 - min(1, float(np.mean([np.abs(reference[name] - outputs[name]).mean() for name in reference])))

def raises(reference, outputs):
    return reference["nowhere"]

def ends(reference, outputs):
    raise SystemExit(0)

def worse(reference, outputs):
    return 0.0

def one(outputs):
    return 1.0

number = 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch, request):
    """A module of metrics in the working folder, under a name of this test's own; gives the name."""
    name = f"metrics_of_{abs(hash(request.node.name))}"
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / f"{name}.py").write_text(METRIC)
    monkeypatch.chdir(folder)
    return name


@pytest.fixture
def counted(monkeypatch):
    """counted(name=(changed, total, others, dB)): what is counted from now on; who is not named, as the first."""

    def arrange(agreement=None, **told):
        def compare(models, feed, *, threads, rounds, agree=None):
            rows = [REFERENCE]
            for name in models:
                if name != FP32:
                    *answers, db = told.get(name) or next(iter(told.values()))
                    extra = {} if agree is None else {"agreement": agreement.get(name, 0.0)}
                    rows.append(row(name, db=db, kept={"y": Kept(db, Answers(*answers))}, **extra))
            return Comparison(rows, {}, {name: np.ones(rounds) for name in models}, threads, len(feed))

        monkeypatch.setattr("qlab.doctor.visit.compare", compare)

    return arrange


def test_ten_decibels_that_change_no_answer_are_no_reason_against_a_model(doctor, fp32, counted, feeds_file):
    counted(dynamic=(0, 320, 100, 10.0))
    _, out, _ = doctor(fp32, "--calibration", feeds_file([blocks.conformer_feed()]))
    text = words(out)
    assert "SQNR 10.0 dB, of the answers all 320 the same" in text
    assert "too little to use" not in text
    assert "Judged by answers, 320 of them" in text
    assert "keeps 99.5 % of the answers" in text


def test_a_model_that_changes_answers_says_how_many_and_one_that_keeps_all_is_preferred(
    doctor, fp32, counted, feeds_file
):
    counted(static=(4, 232, 100, 47.8), dynamic=(0, 232, 100, 40.0))
    _, out, _ = doctor(fp32, "--calibration", feeds_file([blocks.conformer_feed()]))
    text = words(out)
    assert "recipes.dynamic makes a model" in text
    assert "4 of 232 answers differ, where another changes none" in text


def test_few_answers_leave_the_judgement_to_sqnr_and_the_report_says_what_it_cannot_tell(
    doctor, fp32, counted, feeds_file
):
    counted(dynamic=(0, 4, 3, 10.0), static=(0, 4, 3, 40.0))
    _, out, _ = doctor(fp32, "--calibration", feeds_file([blocks.conformer_feed()]))
    text = words(out)
    assert "10.0 dB are too little to use" in text
    assert "Judged by SQNR: it tells how near the numbers stay to fp32's, not how often" in text
    assert "4 answers are too few to judge by: it takes 60, and 10 of them other than the commonest." in text


def test_many_answers_of_one_kind_are_too_few_as_well(doctor, fp32, counted, feeds_file):
    counted(dynamic=(0, 100, 3, 10.0), static=(0, 100, 3, 40.0))
    _, out, _ = doctor(fp32, "--calibration", feeds_file([blocks.conformer_feed()]))
    assert "100 answers, 3 of them other than the commonest, are too few to judge by: it takes 60, and 10" in words(out)


def test_what_is_read_from_noise_is_not_counted(doctor, fp32, counted):
    counted(dynamic=(200, 232, 100, 40.0))
    _, out, _ = doctor(fp32)
    assert "answers" not in out.partition("Judged by SQNR")[0]
    assert "Judged by SQNR" in out


def test_with_a_metric_it_decides_whatever_sqnr_says(doctor, fp32, counted, feeds_file, mine):
    counted({"dynamic": 0.999, "static": 0.96}, dynamic=(0, 4, 3, 3.0), static=(0, 4, 3, 60.0))
    feeds = feeds_file([blocks.conformer_feed()])
    _, out, _ = doctor(fp32, "--calibration", feeds, "--metric", f"{mine}:agree")
    text = words(out)
    assert "recipes.dynamic makes a model that is 2.00 times as fast" in text
    assert "agreement 0.999, SQNR 3.0 dB" in text
    assert "agreement 0.960, where 0.999 can be had" in text
    assert f"Judged by {mine}:agree: agreement, the mean of 1 feed; 1 is full agreement." in text
    assert f"--metric {mine}:agree" in text.rpartition("python -m qlab doctor")[2]


@pytest.mark.parametrize(("agreement", "code", "said"), [(0.9, 1, True), (0.999, 0, False)])
def test_a_given_model_is_too_inexact_by_the_metric(agreement, code, said, doctor, fp32, int8, measured, counted, mine):
    measured()
    counted({"int8": agreement}, int8=(0, 4, 3, 3.0))
    answer = doctor(fp32, int8, "--no-recipes", "--metric", f"{mine}:agree")
    assert answer[0] == code
    assert ("agreement 0.900 is too little to use" in words(answer[1])) == said


def test_a_metric_measures_for_real(doctor, fp32, int8, feeds_file, mine):
    feeds = feeds_file([blocks.conformer_feed()])
    _, out, _ = doctor(fp32, int8, "--no-recipes", "--calibration", feeds, "--metric", f"{mine}:agree", "--rounds", 2)
    assert "agreement 0.9" in words(out)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("agree", "--metric is '{m}'; expected module:function, such as mine:agree"),
        ("{m}.py:agree", "cannot import '{m}.py'"),
        ("./{m}:agree", "expected module:function"),
        ("{m}:", "expected module:function"),
        ("gone_{m}:agree", "cannot import 'gone_{m}': ModuleNotFoundError"),
        ("{m}:nothing", "'{m}' has no 'nothing'"),
        ("{m}:number", "agree is 3; expected a function agree(reference, outputs)"),
        ("{m}:one", "agree takes (outputs); expected a function agree(reference, outputs)"),
        ("{m}:raises", "agree raised KeyError on feed 0 of 'conformer.onnx': 'nowhere'"),
        ("{m}:ends", "agree raised SystemExit on feed 0"),
        ("{m}:worse", "agree gives 0 for the reference against itself; expected 1 for full agreement"),
    ],
)
def test_a_metric_that_is_none_is_refused_before_anything_slow(spec, message, doctor, fp32, mine, monkeypatch):
    monkeypatch.setattr("qlab.doctor.visit.compare", None)
    spec = spec.format(m=mine)
    refused(doctor(fp32, "--metric", spec), message.format(m=spec if "--metric is" in message else mine))


def test_a_module_that_cannot_be_imported_is_refused(doctor, fp32, mine, tmp_path):
    for name, text in (
        ("broken", "1 +"),
        ("leaving", "raise SystemExit(0)"),
        ("raising", "raise OSError('one\\ntwo')"),
    ):
        (tmp_path / "work" / f"{name}_{mine}.py").write_text(text)
        refused(doctor(fp32, "--metric", f"{name}_{mine}:agree"), f"cannot import '{name}_{mine}'")
