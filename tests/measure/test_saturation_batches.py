"""Dynamic ranges move with the batch: measured on rows alone and stacked, and said only where that is what is lost."""

import numpy as np
import pytest

from qlab import measure, recipes
from qlab.measure.diagnosis.diagnose import CAUSES
from qlab.measure.diagnosis.finding import ACCURACY
from tests.builders import blocks, faults
from tests.builders.blocks import FLOAT, INT64, node, save, value, weights

CODE = "range-moves-with-batch"
WIDTH = 32


def rows(*loudness, seed=0):
    x = np.random.default_rng(seed).standard_normal((len(loudness), WIDTH)).astype(np.float32)
    return {"x": x * np.float32(loudness)[:, None]}


def found(fp32, quantized, feed):
    """The Finding, or None."""
    return next((one for one in measure.diagnose(fp32, quantized, feed) if one.code == CODE), None)


@pytest.fixture
def products(tmp_path):
    """Three matrix products, each row by itself, and the same dynamic."""
    model = faults.narrow(tmp_path)
    return model, recipes.dynamic(model, tmp_path / "dynamic.onnx").path


def test_a_quiet_row_beside_a_loud_one_is_found_with_what_it_keeps_alone(products):
    finding = found(*products, rows(1, 50))
    assert finding.evidence.startswith("row 0 keeps ")
    assert "beside 1 other in one batch" in finding.evidence
    assert (finding.cost_ms, finding.recipe, finding.is_harmless) == (None, "", False)
    assert CODE in measure.CODES
    assert CAUSES.kind(CODE).costs == ACCURACY


def test_separate_feeds_are_stacked_to_see(products):
    finding = found(*products, [rows(50), rows(1), rows(2, seed=1)])
    assert finding.evidence.startswith("feed 1 keeps ")
    assert "beside 2 others in one batch" in finding.evidence


def test_rows_that_are_alike_or_one_row_alone_give_no_finding(products):
    assert found(*products, rows(*[1] * 64)) is None
    assert found(*products, [rows(1), rows(1, seed=1)]) is None
    assert found(*products, rows(50)) is None


def test_a_static_model_does_not_move_with_the_batch(products, tmp_path):
    static = recipes.static(products[0], tmp_path / "static.onnx", rows(1, 50))
    assert found(products[0], static, rows(1, 50)) is None


def test_a_row_that_keeps_enough_all_the_same_is_a_risk_only(products, monkeypatch):
    monkeypatch.setattr("qlab.measure.diagnosis.saturation.GOOD_DB", 5.0)
    assert found(*products, rows(1, 50)).is_harmless


def test_an_axis_along_which_fp32_answers_differently_is_no_batch(tmp_path):
    nodes = [
        node("MatMul", ["x", "w"], ["h"], "product"),
        node("ReduceSum", ["h", "axis"], ["s"], "sum", keepdims=1),
        node("Add", ["h", "s"], ["y"], "add"),
    ]
    ends = [value("x", FLOAT, ["time", WIDTH])], [value("y", FLOAT, ["time", WIDTH])]
    model = save(tmp_path / "time.onnx", nodes, *ends, {"w": weights(WIDTH, WIDTH), "axis": np.array([0])})
    dynamic = recipes.dynamic(model, tmp_path / "dynamic.onnx").path
    assert found(model, dynamic, rows(1, 50)) is None


@pytest.mark.parametrize("loud", [0, 7])
def test_padding_that_becomes_large_numbers_is_found_as_a_loud_word_is(tmp_path, loud):
    """Feeds of 10 and 12 words; word 0 is what pads, word 7 stands in the longer feed."""
    w = {"table": weights(32, WIDTH), "w": weights(WIDTH, WIDTH, seed=1)}
    w["table"][loud] *= 60
    nodes = [node("Gather", ["table", "ids"], ["e"], "lookup"), node("MatMul", ["e", "w"], ["y"], "product")]
    ends = [value("ids", INT64, ["batch", "words"])], [value("y", FLOAT, ["batch", "words", WIDTH])]
    model = save(tmp_path / "words.onnx", nodes, *ends, w)
    dynamic = recipes.dynamic(model, tmp_path / "dynamic.onnx").path
    long = [7, *range(9, 20)] if loud == 7 else range(8, 20)
    finding = found(model, dynamic, [{"ids": np.array([ids])} for ids in (range(20, 30), long)])
    assert finding.evidence.startswith("feed ")


def test_a_batch_that_is_not_the_first_axis_is_found_by_its_name(tmp_path):
    model = blocks.recurrent(tmp_path, "LSTM")
    dynamic = recipes.dynamic(model, tmp_path / "dynamic.onnx", op_types=("MatMul", "LSTM")).path
    feed = blocks.recurrent_feed()
    feed["x"][:, 0] *= 1000
    assert found(model, dynamic, feed).evidence.startswith("row 1 keeps ")
