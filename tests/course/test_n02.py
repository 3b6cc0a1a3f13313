"""Exercise 02.3: its tensors, its target, its advice."""

import itertools

import pytest

from qlab.course import check
from qlab.course.lessons import n02


@pytest.mark.slow
def test_the_target_is_met_by_the_best_of_all_6561_choices_and_by_none_that_differs_in_more_than_name():
    names = itertools.product(n02.SOURCES, n02.SCHEMES)
    zero_point = {pair: n02.zero_point_of(*pair) for pair in names}
    totals = {}
    for choice in itertools.product(n02.SCHEMES, repeat=len(n02.SOURCES)):
        chosen = dict(zip(n02.SOURCES, choice, strict=True))
        zero_points = tuple(zero_point[pair] for pair in chosen.items())
        if sum(map(bool, zero_points)) <= n02.ZERO_POINTS:
            totals[zero_points, choice] = sum(n02.energies()[name][scheme] for name, scheme in chosen.items())
    passing = [key for key, total in totals.items() if total <= n02.target()]
    assert min(totals.values()) <= n02.target()
    assert {zero_points for zero_points, _ in passing} == {passing[0][0]}


@pytest.mark.slow
def test_symmetric_int8_has_the_error_1_on_every_tensor():
    assert all(found["symmetric int8"] == pytest.approx(1) for found in n02.energies().values())


@pytest.mark.parametrize("answer", ["asymmetric uint8", {"ReLU": "symmetric int8"}, dict.fromkeys(n02.SOURCES, 8)])
def test_an_answer_of_another_form_is_refused_with_what_was_expected(answer):
    verdict = check("02.3", answer)
    assert (verdict.status, "expected" in verdict.message) == ("almost", True)
