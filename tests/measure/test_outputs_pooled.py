"""Errors of several arrays, pooled."""

import math

import numpy as np
import pytest

from qlab.numerics.pooled import PooledError

SIGNAL = np.array([3.0, 4.0, 12.0], np.float32)


def pooled(*pairs, masks=False):
    error = PooledError()
    for reference, approximation in pairs:
        error.add(np.asarray(reference, np.float32), np.asarray(approximation, np.float32), masks=masks)
    return error


def test_parts_have_the_error_of_all_laid_end_to_end():
    error = pooled((SIGNAL, SIGNAL), ([[1, 2]], [[1, 2.5]]))
    assert error.db == pytest.approx(10 * math.log10((13**2 + 5) / 0.25))
    assert (error.size, error.remark) == (5, "")


@pytest.mark.parametrize("numbers", [1, 8_192, 20_001])
@pytest.mark.parametrize("spoilt", [None, np.inf, -10_000])
def test_an_error_without_parts_is_the_same(numbers, spoilt):
    rng = np.random.default_rng(0)
    reference = rng.standard_normal(numbers).astype(np.float32)
    approximation = reference + np.float32(0.01) * rng.standard_normal(numbers).astype(np.float32)
    if spoilt is not None:
        reference[0], approximation[0] = spoilt, spoilt
    whole, alone = PooledError(), PooledError(parts=False)
    for error in (whole, alone):
        error.add(reference, approximation, masks=True)
    assert alone.db == pytest.approx(whole.db, nan_ok=True)
    assert (alone.size, alone.remark) == (whole.size, whole.remark)


def test_zeros_and_nothing():
    assert pooled(([0, 0], [0, 0])).db == math.inf
    assert pooled(([0, 0], [0, 1e-9])).db == -math.inf
    assert pooled(([], [])).size == 0
    assert math.isnan(pooled(([], [])).db)


def test_infinity_in_one_part_only_spoils_the_whole():
    error = pooled((SIGNAL, SIGNAL), ([np.inf], [1]), (SIGNAL, SIGNAL))
    assert math.isnan(error.db)
    assert error.remark.startswith("has NaN or infinity")
    assert pooled(([np.inf, np.nan], [np.inf, np.nan])).remark == "has no finite value"


@pytest.mark.parametrize("got", [-10_000, -100, -np.inf])
def test_a_finite_mask_counts_only_if_asked_to_and_only_where_softmax_would_see_it(got):
    assert pooled(([1, 2, -10_000], [1, 2.5, -10_000])).db > 80
    if got == -np.inf:
        assert math.isfinite(pooled(([1, 2, -10_000], [1, 2.5, got]), masks=True).db)
    assert pooled(([1, 2, -10_000], [1, 2.5, got]), masks=True).db == pytest.approx(10 * math.log10(5 / 0.25))
    assert pooled(([1, 2, -10_000], [1, 2.5, -5]), masks=True).db < 1


def test_large_numbers_throughout_are_no_mask():
    reference = np.array([-20_000, -10_000, 10_000, 5], np.float32)
    assert pooled((reference, reference * 0.9), masks=True).db == pytest.approx(20, abs=0.01)
    assert pooled(([-10_000, -20_000], [-9_000, -18_000]), masks=True).db == pytest.approx(20)
