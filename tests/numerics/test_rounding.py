"""Adaptive rounding: never worse than nearest for what the layer gives, and one of a weight's two neighbours."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab.numerics.affine import QParams, choose_qparams, dequantize, quantize
from qlab.numerics.granularity import PerAxis, PerBlock, PerTensor
from qlab.numerics.rounding import adaptive, output_error, rescaled, second_moments

GRANULARITIES = st.sampled_from([PerTensor(), PerAxis(0), PerBlock(1, 3)])


def alike(rows, size, seed):
    """Inputs that move together, as what a layer reads does, all positive behind a ReLU."""
    draw = np.random.default_rng(seed)
    mixed = draw.standard_normal((rows, 3)) @ draw.standard_normal((3, size))
    return np.maximum(mixed + 0.3 * draw.standard_normal((rows, size)), 0).astype(np.float32)


def weights_of(out, size, seed):
    return np.random.default_rng(seed).standard_normal((out, size), np.float32)


def error_of(codes, weights, qparams, moments):
    return output_error(dequantize(codes, qparams).astype(np.float64) - weights, moments)


@given(
    st.integers(1, 4), st.integers(1, 9), st.sampled_from(["int4", "uint4", "int8", "int3"]), GRANULARITIES,
    st.booleans(), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_no_output_errs_more_than_with_the_nearest_codes_and_each_code_is_a_neighbour(
    out, size, dtype, granularity, symmetric, seed
):
    weights, x = weights_of(out, size, seed), alike(20, size, seed)
    qparams = choose_qparams(weights, dtype, symmetric=symmetric, granularity=granularity)
    moments, nearest = second_moments(x), quantize(weights, qparams)
    codes = adaptive(weights, qparams, moments)
    assert codes.dtype == nearest.dtype
    found, least = (error_of(one, weights, qparams, moments) for one in (codes, nearest))
    assert (found <= least * (1 + 1e-9) + 1e-12).all()
    scale, zero_point = qparams.spread(weights.shape)
    quotient = weights / scale + zero_point
    assert (np.abs(codes.astype(float) - np.clip(quotient, qparams.quant_min, qparams.quant_max)) < 1 + 1e-4).all()


@given(st.integers(1, 5), st.integers(1, 12), GRANULARITIES, st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_where_no_two_inputs_move_together_nearest_is_best(out, size, granularity, seed):
    weights = np.rint(8 * weights_of(out, size, seed)) / np.float32(8)  # with ties between two codes, and clipped ones
    scale = np.full_like(choose_qparams(weights, granularity=granularity).scale, 0.25)
    qparams = QParams(scale, 0, "int4", granularity)
    for moments in (np.eye(size), np.diag(np.random.default_rng(seed).uniform(0, 2, size)), np.zeros((size, size))):
        np.testing.assert_array_equal(adaptive(weights, qparams, moments), quantize(weights, qparams))


def test_of_all_roundings_of_a_small_layer_one_of_the_best_is_found():
    lost = []
    for seed in range(8):
        weights, moments = weights_of(1, 8, seed), second_moments(alike(50, 8, seed))
        qparams = choose_qparams(weights, "int4", symmetric=True)
        floor = np.floor(weights / qparams.scale)
        all_codes = (floor + np.array(list(product((0, 1), repeat=8)))).clip(-8, 7)
        errors = output_error(all_codes * np.float64(qparams.scale) - weights, moments)
        found, nearest = (
            error_of(one(weights), weights, qparams, moments)[0]
            for one in (lambda w, q=qparams, m=moments: adaptive(w, q, m), lambda w, q=qparams: quantize(w, q))
        )
        lost.append((found - errors.min()) / errors.min())
        assert found <= nearest + 1e-9
    assert np.median(lost) < 0.1


def test_the_error_is_the_mean_square_of_what_the_outputs_are_off():
    x, error = alike(40, 6, 1), weights_of(3, 6, 2)
    np.testing.assert_allclose(output_error(error, second_moments(x)), ((x @ error.T) ** 2).mean(axis=0), rtol=1e-4)


def test_groups_are_rounded_as_if_each_were_alone():
    x, weights = alike(60, 12, 3), weights_of(6, 4, 4)
    qparams = choose_qparams(weights, "int4", symmetric=True, granularity=PerAxis(0))
    moments = second_moments(x.reshape(60, 3, 4).swapaxes(0, 1))
    codes = adaptive(weights, qparams, moments)
    for group in range(3):
        rows = slice(2 * group, 2 * group + 2)
        alone = replace(qparams, scale=qparams.scale[rows], zero_point=qparams.zero_point[rows])
        np.testing.assert_array_equal(codes[rows], adaptive(weights[rows], alone, moments[group]))


@pytest.mark.parametrize("granularity", [PerTensor(), PerAxis(0)])
def test_rescaled_never_makes_the_nearest_codes_worse(granularity):
    weights = np.random.default_rng(0).laplace(size=(6, 30)).astype(np.float32)
    moments = second_moments(alike(100, 30, 1))
    before = choose_qparams(weights, "int4", symmetric=True, granularity=granularity)
    after = rescaled(weights, before, moments)
    least, found = (error_of(quantize(weights, one), weights, one, moments) for one in (before, after))
    assert found.sum() < 0.9 * least.sum()
    assert (after.scale <= before.scale).all()
    if after.scale.ndim:
        assert (found <= least * (1 + 1e-9)).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": np.ones(4)}, r"shape \(4,\).*expected \(out, K\)"),
        ({"weights": [[1.0, np.nan, 0, 0]]}, "weights holds 1 of 4 values that are NaN"),
        ({"moments": np.eye(3)}, r"moments \(3, 3\); expected"),
        ({"moments": np.triu(np.ones((4, 4)))}, "not symmetric"),
        ({"moments": np.full((4, 4), np.inf)}, "moments hold NaN or infinity"),
        ({"moments": np.ones((3, 4, 4))}, "2 outputs in 3 groups"),
        ({"qparams": 0.5}, "qparams is a float"),
    ],
)
def test_wrong_inputs_are_named(change, message):
    asked = {"weights": np.ones((2, 4)), "qparams": QParams(0.5, 0, "int4"), "moments": np.eye(4)}
    with pytest.raises(ValueError, match=message):
        adaptive(**asked | change)


def test_inputs_and_scales_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"expected \(N, K\)"):
        second_moments(np.ones(4))
    weights = np.ones((2, 4), np.float32)
    blocks = choose_qparams(weights, "int4", granularity=PerBlock(1, 2))
    with pytest.raises(ValueError, match=r"expected PerTensor\(\) or PerAxis\(0\)"):
        rescaled(weights, blocks, np.eye(4))
