"""SQNR over all feeds and outputs, and what is said where there is none."""

import numpy as np
import pytest

from qlab.measure.outputs import check_outputs, output_quality

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
