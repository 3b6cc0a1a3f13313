"""The digits: the fixed split, and the accuracy that the card states."""

import numpy as np
import pytest

from qlab import models
from qlab.runtime import open_session


@pytest.fixture(scope="module")
def split():
    return models.digit_split()


def test_the_split_is_fixed_and_complete(split):
    x_train, y_train, x_test, y_test = split
    assert (x_train.shape, x_test.shape) == ((1198, 1, 8, 8), (599, 1, 8, 8))
    assert x_train.dtype == x_test.dtype == np.float32
    assert 0 <= x_train.min() < x_train.max() <= 1
    assert set(y_train) == set(y_test) == set(range(10))
    assert y_test[:8].tolist() == [2, 5, 8, 1, 4, 7, 0, 3]


def test_no_picture_stands_on_both_sides(split):
    x_train, _, x_test, _ = split
    assert not {x.tobytes() for x in x_train} & {x.tobytes() for x in x_test}


def test_the_model_recognizes_the_held_out_third_as_the_card_says(split):
    _, _, x, y = split
    right = open_session(models.path("digits")).run(None, {"images": x})[0].argmax(1) == y
    assert right.mean() >= 0.985
    assert f"{100 * right.mean():.2f} %" in models.catalog.DATA.joinpath("README.md").read_text(encoding="utf-8")
