"""qlab.numerics.fitting: no sum of two products saturates, and no scale is larger than that asks for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qlab.numerics.fitting import STEP, STEPS, least_error_scale, pair_limited_scale
from qlab.numerics.kernels import matmul_integer
from qlab.numerics.saturation import can_saturate, vpmaddubsw_matmul


@st.composite
def weights(draw):
    """(N, K), normal or of few different numbers, very small to very large."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    rows = rng.standard_normal(shape) if draw(st.booleans()) else rng.integers(-3, 4, shape)
    return (rows * 10.0 ** draw(st.integers(-30, 30))).astype(np.float32)


def codes(rows, scale):
    return np.clip(np.rint(rows / scale[:, None]), -127, 127).astype(np.int8)


def usual(rows):
    return np.abs(rows).max(axis=1) / np.float32(127)


@given(weights(), st.floats(1, 3))
def test_with_a_fitted_scale_or_a_larger_one_no_pair_can_saturate(rows, larger):
    for scale in (pair_limited_scale(rows), (pair_limited_scale(rows) * larger).astype(np.float32)):
        found = codes(rows, scale)
        assert not can_saturate(found.T).any()
        x = np.random.default_rng(0).choice(np.uint8([0, 128, 255]), (8, rows.shape[1]))
        np.testing.assert_array_equal(vpmaddubsw_matmul(x, found.T), matmul_integer(x, found.T))


@given(weights())
def test_the_fitted_scale_is_the_smallest_such_from_the_usual_one_up(rows):
    scale = pair_limited_scale(rows)
    assert scale.dtype == np.float32
    there = np.abs(rows).max(axis=1) > 0
    np.testing.assert_array_equal(scale[~there], 1)
    rows, scale = rows[there], scale[there]
    assert np.all(scale >= usual(rows))
    for row, one in zip(rows[scale > usual(rows)], scale[scale > usual(rows)], strict=True):
        assert can_saturate(codes(row[None], np.nextafter(one, np.float32(0))[None]).T).all()


@given(weights())
def test_codes_reach_as_far_as_8_bits_where_no_neighbours_share_a_sign(rows):
    rows = np.abs(rows) * np.where(np.arange(rows.shape[1]) % 2, -1, 1)
    scale = pair_limited_scale(rows)
    np.testing.assert_array_equal(scale, pair_limited_scale(rows, pairs=False))
    assert np.all(np.abs(codes(rows, scale)).max(axis=1)[np.abs(rows).max(axis=1) > 0] == 127)


def test_the_boundary_is_where_two_codes_add_up_to_128():
    rows = np.float32([[64, 64], [127, 1], [127, 1.6], [100, 100]])
    np.testing.assert_allclose(pair_limited_scale(rows), [64 / 64.5, 1, 127 / 126.5, 100 / 64.5], rtol=1e-2)
    assert codes(rows, pair_limited_scale(rows)).astype(int).sum(axis=1).max() == 128


def error(rows, scale, x):
    """Of what the product gives: the mean of squares, for each row."""
    return np.square(x @ (np.rint(rows / scale[:, None]) * scale[:, None] - rows).T).mean(axis=0)


@pytest.mark.parametrize("per_group", [False, True])
def test_the_scale_of_least_error_is_one_of_those_that_fit_and_loses_less(per_group):
    rng = np.random.default_rng(0)
    rows, x = rng.standard_normal((40, 16)).astype(np.float32), np.maximum(rng.standard_normal((4000, 16)) + 1, 0)
    least, moments = pair_limited_scale(rows), [x.mean(axis=0), x.var(axis=0)]
    moments = [np.tile(one, (40, 1)) for one in moments] if per_group else moments
    scale = least_error_scale(rows, least, *moments)
    assert np.all(scale >= least)
    assert np.all(scale <= least * (1 + STEP * STEPS))
    assert not can_saturate(codes(rows, scale).T).any()
    assert error(rows, scale, x).mean() < 0.75 * error(rows, least, x).mean()
    shared = least_error_scale(rows, least, *moments, shared=True)
    assert shared.shape == ()
    assert shared >= least.max()


def test_inputs_that_are_all_zero_leave_the_scale_as_it_is():
    rows = np.float32([[1, 2], [3, -1]])
    least = pair_limited_scale(rows)
    np.testing.assert_array_equal(least_error_scale(rows, least, np.zeros(2), np.zeros(2)), least)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_limited_scale(np.ones(3)), r"rows has shape \(3,\); expected \(N, K\)"),
        (lambda: pair_limited_scale(np.ones((0, 3))), "empty"),
        (lambda: pair_limited_scale([[np.nan, 1]]), "NaN"),
        (lambda: least_error_scale(np.ones((2, 3)), np.ones(3), np.ones(3), np.ones(3)), r"least \(3,\)"),
        (lambda: least_error_scale(np.ones((2, 3)), np.ones(2), np.ones(2), np.ones(3)), r"mean \(2,\)"),
        (lambda: least_error_scale(np.ones((2, 3)), np.ones(2), np.ones(3), [1, np.inf, 1]), "variance holds NaN"),
    ],
)
def test_wrong_input_is_refused_with_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
