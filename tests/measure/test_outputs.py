"""SQNR over all feeds and outputs, and what is said where there is none."""

import numpy as np
import pytest

from qlab import graph, measure
from qlab.doctor.advice import too_inexact
from qlab.measure.outputs import check_outputs, counted_by, has_random_weights, output_quality
from qlab.runtime import open_session
from tests.builders.blocks import FLOAT, INT64, node, noise, save, value
from tests.builders.linear import linear, weights

SIGNAL = np.array([3.0, 4.0, 12.0], np.float32)


def quality(reference, answers):
    return output_quality([{"y": value} for value in reference], [{"y": value} for value in answers])[:2]


def test_sqnr_pools_the_energy_of_all_feeds():
    by_output, remarks = quality([SIGNAL, SIGNAL], [SIGNAL, SIGNAL * np.float32(0.9)])
    assert by_output["y"] == pytest.approx(20 * np.log10(np.sqrt(2) / 0.1), abs=1e-3)
    assert remarks == []


def test_feeds_of_different_lengths_pool_too():
    by_output, _ = quality([SIGNAL, SIGNAL[None, :2]], [SIGNAL, SIGNAL[None, :2]])
    assert by_output["y"] == np.inf


def test_a_float16_answer_is_compared_with_a_float32_reference():
    check_outputs([{"y": SIGNAL}], [{"y": SIGNAL.astype(np.float16)}], "fp32", "fp16")
    assert quality([SIGNAL], [SIGNAL.astype(np.float16)])[0]["y"] == np.inf


def test_masked_positions_that_are_infinite_in_both_are_left_out():
    masked = np.append(SIGNAL, -np.inf)
    by_output, remarks = quality([masked], [np.append(SIGNAL * 0.99, -np.inf)])
    assert by_output["y"] == pytest.approx(40.0, abs=1e-3)
    assert remarks == []


@pytest.mark.parametrize(
    ("reference", "answer"), [(SIGNAL, [3, np.nan, 12]), ([3, np.nan, 12], SIGNAL), ([np.inf, 1, 1], [-np.inf, 1, 1])]
)
def test_nan_or_infinity_on_one_side_only_gives_no_sqnr_and_a_remark(reference, answer):
    by_output, remarks = quality([np.array(reference, np.float32)], [np.array(answer, np.float32)])
    assert np.isnan(by_output["y"])
    assert remarks == ["y has NaN or infinity where the reference has not, or the reverse"]


def test_an_integer_output_has_no_sqnr_but_a_difference_is_remarked():
    lengths = np.array([5, 7])
    assert quality([lengths], [lengths]) == ({}, [])
    assert quality([lengths], [lengths + 1]) == ({}, ["y differs"])


def test_outputs_that_are_empty_or_no_tensors_have_no_sqnr():
    assert quality([np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.float32)]) == ({}, [])
    assert quality([[SIGNAL]], [[SIGNAL]]) == ({}, [])
    check_outputs([{"y": [SIGNAL]}], [{"y": [SIGNAL]}], "a", "b")


def test_another_number_of_detections_is_a_remark_that_says_what_decides_it():
    boxes, more = np.ones((78, 4), np.float32), np.ones((79, 4), np.float32)
    counted = {"y": "NonMaxSuppression"}
    check_outputs([{"y": boxes}], [{"y": more}], "fp32", "int8", counted)
    by_output, remarks, _ = output_quality([{"y": boxes}], [{"y": more}], counted)
    assert np.isnan(by_output["y"])
    assert remarks == ["y: other number of detections, [79, 4] instead of [78, 4]; NonMaxSuppression decides it"]
    ids = output_quality([{"y": np.arange(3)}], [{"y": np.arange(4)}], {"y": "NonZero"})[:2]
    assert ids == ({}, ["y: other number of results, [4] instead of [3]; NonZero decides it"])


@pytest.mark.parametrize("other", [np.ones((79, 4, 1), np.float32), np.ones((79, 4), np.int64)], ids=["rank", "kind"])
def test_another_rank_or_kind_is_refused_whatever_decides_the_number(other):
    with pytest.raises(ValueError, match="a comparison needs the same from both"):
        check_outputs([{"y": np.ones((78, 4), np.float32)}], [{"y": other}], "a", "b", {"y": "NonMaxSuppression"})


def test_other_sizes_that_no_operator_counts_are_refused():
    with pytest.raises(ValueError, match="a comparison needs the same from both"):
        check_outputs([{"y": SIGNAL}], [{"y": SIGNAL[:2]}], "a", "b")


def test_what_counts_is_found_before_the_output_that_it_counts(tmp_path):
    nodes = [
        node("Relu", ["x"], ["r"], "relu"),
        node("NonZero", ["r"], ["places"], "places"),
        node("Transpose", ["places"], ["y"], "turned"),
    ]
    outputs = [value("r", FLOAT, None), value("y", INT64, None)]
    model = save(tmp_path / "m.onnx", nodes, [value("x", FLOAT, [4, 4])], outputs, {})
    assert counted_by(graph.opened(model).network) == {"y": "NonZero"}


def detector(folder, name, threshold):
    """Boxes that pass a threshold, through NonMaxSuppression, and their scores as they are."""
    w = {"boxes": np.mgrid[0:8.0, 0:8.0].reshape(2, 64).T[None].repeat(2, 2).astype(np.float32), "most": np.array([99]),
         "overlap": np.float32(0.5), "threshold": np.float32(threshold)}  # fmt: skip
    w["boxes"][..., 2:] += 1
    nodes = [
        node("Sigmoid", ["x"], ["scores"], "scores"),
        node("NonMaxSuppression", ["boxes", "scores", "most", "overlap", "threshold"], ["chosen"], "nms"),
        node("Cast", ["chosen"], ["y"], "cast", to=FLOAT),
    ]
    outputs = [value("y", FLOAT, ["n", 3]), value("scores", FLOAT, [1, 1, 64])]
    return save(folder / name, nodes, [value("x", FLOAT, [1, 1, 64])], outputs, w)


def test_models_that_find_other_numbers_of_boxes_are_compared(tmp_path):
    models = {"fp32": detector(tmp_path, "a.onnx", 0.5), "int8": detector(tmp_path, "b.onnx", 0.6)}
    comparison = measure.compare(models, {"x": noise(1, 1, 64)}, rounds=3)
    reference, row = comparison.rows
    assert reference.note == ""
    assert "other number of detections" in row.note
    assert row.note.endswith("NonMaxSuppression decides it")
    assert row.speedup > 0
    assert np.isnan(row.sqnr_db)
    assert comparison.sqnr_by_output["int8"]["scores"] == np.inf
    assert too_inexact(row).startswith("SQNR cannot judge it: y: other number of detections")


def test_only_a_model_marked_so_has_random_weights(tmp_path):
    for metadata, expected in (({}, False), ({"qlab.weights": "trained"}, False), ({"qlab.weights": "random"}, True)):
        path = linear(tmp_path / "model.onnx", weights(), metadata=metadata)
        assert has_random_weights(open_session(path)) is expected
