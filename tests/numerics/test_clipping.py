"""qlab.numerics.affine.mse_range: the range of least mean squared error."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, fake_quantize, sqnr_db
from qlab.numerics.affine import mse_range, qparams_from_range


@settings(deadline=None, max_examples=30)
@given(
    hnp.arrays(np.float32, (3, 20), elements=st.floats(-1e6, 1e6, width=32)),
    st.sampled_from(["int2", "uint4", "int8"]),
    st.booleans(),
    st.sampled_from([PerTensor(), PerAxis(0), PerBlock(1, 8)]),
)
def test_the_range_found_is_never_worse_than_min_max_in_any_group(x, dtype, symmetric, granularity):
    def errors(qparams):
        return granularity.reduce((x.astype(np.float64) - fake_quantize(x, qparams)) ** 2, np.add)

    low, high = mse_range(x, dtype, symmetric=symmetric, granularity=granularity, steps=20)
    assert low.shape == high.shape == granularity.scale_shape(x.shape)
    found = qparams_from_range(low, high, dtype, symmetric=symmetric, granularity=granularity)
    min_max = choose_qparams(x, dtype, symmetric=symmetric, granularity=granularity)
    assert (errors(found) <= errors(min_max) * (1 + 1e-6)).all()


def test_for_a_heavy_tail_at_four_bits_it_clips_and_gains_decibels():
    x = np.random.default_rng(0).standard_t(3, 20_000).astype(np.float32)
    low, high = mse_range(x, "int4", symmetric=True)
    assert high < x.max() / 2
    found, min_max = qparams_from_range(low, high, "int4", symmetric=True), choose_qparams(x, "int4", symmetric=True)
    assert sqnr_db(x, fake_quantize(x, found)) > sqnr_db(x, fake_quantize(x, min_max)) + 6


def test_it_finds_a_brute_force_optimum_to_one_step_of_its_grid():
    x = np.random.default_rng(1).laplace(size=5_000).astype(np.float32)
    largest = np.abs(x).max()
    errors = {}
    for clip in np.linspace(0.02, 1, 400) * largest:
        errors[clip] = np.square(x - fake_quantize(x, qparams_from_range(-clip, clip, "int4", symmetric=True))).sum()
    low, high = mse_range(x, "int4", symmetric=True)
    assert max(-low, high) == pytest.approx(min(errors, key=errors.get), abs=0.02 * float(largest))


def test_a_one_sided_tensor_keeps_its_side():
    low, high = mse_range(np.abs(np.random.default_rng(0).normal(size=1000)), "uint4")
    assert low == 0
    assert high > 0


def test_what_has_no_range_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        mse_range([np.nan])
    with pytest.raises(ValueError, match="0-d"):
        mse_range(1.0)
