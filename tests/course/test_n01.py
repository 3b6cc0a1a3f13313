"""Notebook 01's checks: what they promise in the text, and who stands in `mine` until an exercise is passed."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlab.course import check
from qlab.course.lessons import find, n01
from qlab.numerics.affine import fake_quantize, qparams_from_range
from qlab.runtime import run_operator

SCALES = st.floats(2**-10, 10, width=32).map(np.float32)
CODES = st.integers(0, 255).map(np.uint8)


@given(SCALES, CODES, st.lists(st.floats(-1e4, 1e4, width=32), min_size=1))
def test_until_an_exercise_is_passed_mine_gives_the_codes_and_numbers_of_onnxruntime(scale, zero_point, x):
    x = np.float32(x)
    codes = n01.quantize(x, scale, zero_point)
    assert np.array_equal(codes, run_operator("QuantizeLinear", x, scale, zero_point))
    back = n01.dequantize(codes, scale, zero_point)
    assert np.array_equal(back, run_operator("DequantizeLinear", codes, scale, zero_point))
    assert (np.abs(np.float64(x) - back) <= n01.error_bound(x, scale, zero_point) * (1 + 1e-5) + 1e-6 * np.abs(x)).all()


@given(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.sampled_from([(0, 255), (-128, 127), (0, 15), (-8, 7)]))
def test_until_an_exercise_is_passed_mine_has_a_scale_and_a_code_for_every_range(low, length, codes):
    scale, zero_point = n01.choose_qparams(low, low + length, *codes)
    assert scale > 0
    assert codes[0] <= zero_point <= codes[1]


def test_the_places_of_the_lesson_are_those_that_later_notebooks_call():
    places = [name for number in range(1, 6) for name in find(f"01.{number}").places]
    assert places == ["choose_qparams", "quantize", "dequantize", "error_bound", "qdq_model", "run_model"]


@pytest.mark.parametrize("scale", n01.AWKWARD_SCALES)
def test_where_every_quotient_is_a_tie_division_is_exact_in_float32_and_in_float64(scale):
    x = np.float32(scale) * np.arange(-100.5, 154, dtype=np.float32)
    ties = np.arange(-100.5, 154)
    assert np.array_equal(x / np.float32(scale), ties)
    assert np.array_equal(x.astype(np.float64) / scale, ties)


def test_products_with_one_over_an_awkward_scale_miss_ties():
    missed = []
    for scale in n01.AWKWARD_SCALES:
        x = np.float32(scale) * np.arange(-100.5, 154, dtype=np.float32)
        right = np.rint(x / np.float32(scale))
        single = np.rint(x * (1 / np.float32(scale)))
        double = np.rint(x.astype(np.float64) * (1 / scale))
        missed.append((bool((single != right).any()), bool((double != right).any())))
    assert missed == [(True, False), (False, True)]


@pytest.mark.slow
def test_a_mirrored_search_stays_within_the_tolerance_that_the_text_states():
    def mirrored(x):
        def error(a):
            return np.square(x - fake_quantize(x, qparams_from_range(-a, a, "uint4"))).mean()

        a = min(np.linspace(0.02, 1, 60) * np.abs(x).max(), key=error)
        return -a, a

    lost = {name: n01.decibels_lost(name, mirrored(n01.with_target(name)[0])) for name in n01.SAMPLES}
    assert max(lost.values()) < n01.TOLERANCE_DB
    assert n01.TOLERANCE_DB == 0.5  # as the notebook says


def test_the_qdq_pair_of_the_check_is_valid_onnx_and_gives_what_both_operators_give():
    model = n01.qdq_model(0.02, 120)
    onnx.checker.check_model(model, full_check=True)
    codes = run_operator("QuantizeLinear", n01.EXAMPLE, np.float32(0.02), np.uint8(120))
    expected = run_operator("DequantizeLinear", codes, np.float32(0.02), np.uint8(120))
    assert np.array_equal(n01.run_model(model, n01.EXAMPLE), expected)


@pytest.mark.parametrize(
    ("name", "answer", "says"),
    [
        ("01.3", n01.dequantize, "expected two functions, (to_real, error_bound)"),
        ("01.5", n01.qdq_model, "expected two functions, (qdq_model, run_model)"),
        ("01.1", lambda *_: {"scale": 1, "zero_point": 0}, "expected (scale, zero_point)"),
        ("01.5", (lambda *_: "nowhere.onnx", n01.run_model), "expected an onnx model"),
        ("01.5", (n01.qdq_model, lambda *_: np.zeros(3)), "expected shape"),
    ],
)
def test_an_answer_of_another_form_is_told_what_was_expected(name, answer, says):
    verdict = check(name, answer)
    assert (verdict.status, says in verdict.message) == ("almost", True), verdict.message


def test_the_schematics_say_what_they_show():
    drawn = [n01.draw_grid(), n01.draw_bits(0.1, 183, (11, 9)), n01.draw_pair()]
    assert all(len(figure.alt) > 80 for figure in drawn)
    assert all(figure.png().startswith(b"\x89PNG") for figure in drawn)
