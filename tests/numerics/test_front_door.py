"""`import qlab`: the public face."""

import doctest
import inspect

import qlab

FUNCTIONS = ["choose_qparams", "quantize", "dequantize", "fake_quantize"]


def test_the_front_door_shows_exactly_the_names_of_the_contract():
    assert sorted(qlab.__all__) == sorted(
        ["PerAxis", "PerBlock", "PerTensor", "PerToken", "QParams", "sqnr_db", *FUNCTIONS]
    )
    assert all(hasattr(qlab, name) and inspect.getdoc(getattr(qlab, name)) for name in qlab.__all__)


def test_the_front_doors_examples_are_true():
    result = doctest.testmod(qlab, raise_on_error=False)
    assert result.attempted > 5
    assert result.failed == 0
