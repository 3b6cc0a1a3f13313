"""Exercise 02.3: its tensors, its target, its advice."""

import itertools

import pytest

from qlab.course.exercises import schemes
from qlab.course.verdict import Almost


@pytest.mark.slow
def test_the_target_is_met_by_the_best_of_all_6561_choices_and_by_none_that_differs_in_more_than_name():
    names = itertools.product(schemes.SOURCES, schemes.SCHEMES)
    zero_point = {pair: schemes.zero_point(*pair) for pair in names}
    totals = {}
    for choice in itertools.product(schemes.SCHEMES, repeat=len(schemes.SOURCES)):
        chosen = dict(zip(schemes.SOURCES, choice, strict=True))
        zero_points = tuple(zero_point[pair] for pair in chosen.items())
        if sum(map(bool, zero_points)) <= schemes.ZERO_POINTS:
            totals[zero_points, choice] = sum(schemes.energies()[name][scheme] for name, scheme in chosen.items())
    passing = [key for key, total in totals.items() if total <= schemes.target()]
    assert min(totals.values()) <= schemes.target()
    assert {zero_points for zero_points, _ in passing} == {passing[0][0]}


@pytest.mark.slow
def test_symmetric_int8_has_the_error_1_on_every_tensor():
    assert all(found["symmetric int8"] == pytest.approx(1) for found in schemes.energies().values())


@pytest.mark.parametrize("answer", ["asymmetric uint8", {"ReLU": "symmetric int8"}, dict.fromkeys(schemes.SOURCES, 8)])
def test_an_answer_of_another_form_is_refused_with_what_was_expected(answer):
    with pytest.raises(Almost, match="expected"):
        schemes.read(answer)
