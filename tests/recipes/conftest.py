"""What every test of recipes uses: a fixed machine, and the comparison of two models' answers."""

from dataclasses import replace

import numpy as np
import pytest

from qlab import machine, sqnr_db
from qlab.machine import probes
from qlab.runtime import open_session


@pytest.fixture(scope="session")
def card():
    """One card, so that a test asks for the same model on every machine; it saturates where the machine does."""
    return replace(machine.card("x86-avx512-vnni"), saturates=probes.saturates())


@pytest.fixture
def quality():
    """quality(model, quantized, feed): SQNR in dB of the worst float output; other outputs must be equal."""

    def compare(model, quantized, feed):
        expected, found = (open_session(path).run(None, feed) for path in (model, quantized))
        worst = np.inf
        for left, right in zip(expected, found, strict=True):
            if left.dtype == np.float32:
                worst = min(worst, float(sqnr_db(left, right)))
            else:
                np.testing.assert_array_equal(left, right)
        return worst

    return compare
