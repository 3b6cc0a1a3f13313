"""scikit-learn's real handwritten digits, split once and for all."""

import numpy as np

from qlab.types import Array


def digit_split() -> tuple[Array, Array, Array, Array]:
    """(x_train, y_train, x_test, y_test): x float32 [n, 1, 8, 8] in 0..1, y int64 [n]; 1198 digits and 599.

    Every third picture is held out, always the same ones. People wrote the digits in blocks, so that both parts hold
    everybody's hand: the accuracy says nothing about a new writer.
    Source: UCI Optical Recognition of Handwritten Digits, as shipped with scikit-learn.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    x = (digits.images[:, None] / 16).astype(np.float32)
    y = digits.target.astype(np.int64)
    held_out = np.arange(len(x)) % 3 == 2
    return x[~held_out], y[~held_out], x[held_out], y[held_out]
