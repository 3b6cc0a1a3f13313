"""Each way to choose a range, against a computation on all the data, or in plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab.calibration import Histogram
from qlab.calibration.clipping import (
    divergences,
    least_divergence_range,
    least_error_range,
    percentile_range,
    squared_errors,
    symmetric_range,
)
from qlab.numerics.affine import fake_quantize, mse_range, qparams_from_range
from qlab.numerics.granularity import PerAxis

RNG = np.random.default_rng(5)
GAUSS = RNG.standard_normal(40_000)
TENSORS = {
    "laplace": RNG.laplace(size=40_000),
    "relu": np.maximum(GAUSS, 0),
    "silu": 3 * GAUSS / (1 + np.exp(-3 * GAUSS)),
    "negative": -np.abs(GAUSS),
    "far from 0": GAUSS + 20,
    "one outlier": np.append(GAUSS, 300.0),
    "outliers above": np.append(GAUSS, [15.0] * 5),
    "tiny": GAUSS * 1e-30,
    "huge": GAUSS * 1e36,
}
CODES = [("uint8", False), ("int8", True), ("uint8", True), ("int8", False), ("uint4", False)]


def histogram_of(x, bins=2048):
    histogram = Histogram(bins)
    for part in np.array_split(np.float32(x), 3):
        histogram.add(part)
    return histogram


@pytest.mark.parametrize("x", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize("percentile", [90, 99.9, 99.99, 100])
def test_a_percentile_is_that_of_all_the_data_up_to_a_bins_width(x, percentile):
    x, histogram, slack = np.float32(x), histogram_of(x), (1 + 1e-6)
    cut = (1 - percentile / 100) / 2
    low, high = percentile_range(histogram, percentile)
    assert abs(low - np.quantile(x, cut, method="inverted_cdf")) <= histogram.width * slack
    assert abs(high - np.quantile(x, 1 - cut, method="inverted_cdf")) <= histogram.width * slack
    low, high = percentile_range(histogram, percentile, "int8", symmetric=True)
    assert abs(high - np.quantile(np.abs(x), percentile / 100, method="inverted_cdf")) <= histogram.width * slack
    assert low == -high


def test_the_hundredth_percentile_is_the_exact_range():
    x = np.float32(TENSORS["laplace"])
    assert percentile_range(histogram_of(x), 100) == (x.min(), x.max())
    reach = np.abs(x).max()
    assert percentile_range(histogram_of(x), 100, "int8", symmetric=True) == (-reach, reach)


@pytest.mark.parametrize("x", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize(("dtype", "symmetric"), CODES)
def test_the_mse_range_errs_no_more_than_the_search_over_all_the_data(x, dtype, symmetric):
    x = np.float32(x)
    found = least_error_range(histogram_of(x), dtype, symmetric=symmetric)

    def error(low, high):
        approximation = fake_quantize(x, qparams_from_range(low, high, dtype, symmetric=symmetric))
        return np.mean(np.square(x.astype(np.float64) - approximation))

    assert error(*found) <= 1.02 * error(*mse_range(x, dtype, symmetric=symmetric))


@pytest.mark.parametrize(("dtype", "symmetric"), CODES)
def test_the_squared_error_over_a_histogram_is_that_of_numbers_evenly_spread_in_its_bins(dtype, symmetric):
    edges = np.arange(-20, 41) / 16
    counts = np.random.default_rng(0).integers(0, 9, 60)
    lows, highs = np.float32([-1.25, -0.6, 0, -0.3]), np.float32([2.5, 2.5, 1.3, 0.0])
    qparams = qparams_from_range(lows, highs, dtype, symmetric=symmetric, granularity=PerAxis(0))
    errors = squared_errors(counts, edges, qparams)
    inside = np.float32((edges[:-1, None] + (np.arange(400) + 0.5) / 400 / 16).ravel())
    for low, high, error in zip(lows, highs, errors, strict=True):
        approximation = fake_quantize(inside, qparams_from_range(low, high, dtype, symmetric=symmetric))
        expected = np.square(inside - approximation, dtype=np.float64).reshape(60, 400).mean(axis=1) @ counts
        assert error == pytest.approx(expected, rel=1e-3)


def divergence(counts, start, stop, codes):
    """KL divergence of one window as the TensorRT slides tell it, number by number."""
    p = [float(count) for count in counts[start:stop]]
    n = len(p)
    p[0] += sum(counts[:start])
    p[-1] += sum(counts[stop:])
    q = [0.0] * n
    for code in range(codes):
        bins = [j for j in range(n) if j * codes // n == code]
        used = [j for j in bins if p[j] > 0]
        for j in used:
            q[j] = sum(counts[start + i] for i in bins) / len(used)
    if sum(q) == 0 or any(q[j] == 0 for j in range(n) if p[j] > 0):
        return math.inf
    p_total, q_total = sum(p), sum(q)
    return sum(p[j] / p_total * math.log((p[j] / p_total) / (q[j] / q_total)) for j in range(n) if p[j] > 0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 20), min_size=6, max_size=40), st.integers(2, 6), st.data())
def test_the_divergence_is_that_of_plain_loops_over_every_number(counts, codes, data):
    counts[data.draw(st.integers(0, len(counts) - 1))] += 1
    starts = data.draw(st.lists(st.integers(0, len(counts) - codes), min_size=1, max_size=5))
    stops = [data.draw(st.integers(start + codes, len(counts))) for start in starts]
    expected = [divergence(counts, *window, codes) for window in zip(starts, stops, strict=True)]
    found = divergences(np.array(counts), np.array(starts), np.array(stops), codes)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def straightforward(x, codes, *, symmetric):
    """(start, stop), in bins from 0, of the best window: every reach in turn, over NumPy's counts of all the data."""
    histogram = histogram_of(x)
    numbers, edges = np.float32(x), histogram.edges
    if symmetric:
        numbers, edges = np.abs(numbers), np.arange(np.abs(edges).max() / histogram.width + 1) * histogram.width
    counts, zero = np.histogram(numbers, edges)[0], int(-edges[0] / histogram.width)
    if zero + 1 < counts.size:
        counts[zero] = min(counts[zero], counts[zero + 1])
    best, window = math.inf, None
    for reach in range(1, max(zero, counts.size - zero) + 1):
        start, stop = max(zero - reach, 0), min(zero + reach, counts.size)
        if stop - start >= codes:
            kl = divergences(counts, np.array([start]), np.array([stop]), codes)[0]
            best, window = (kl, (start - zero, stop - zero)) if kl <= best else (best, window)
    return window, histogram.width


@pytest.mark.parametrize("x", TENSORS.values(), ids=TENSORS)
@pytest.mark.parametrize(("dtype", "symmetric", "codes"), [("uint8", False, 256), ("int8", True, 128)])
def test_the_entropy_range_is_the_window_of_least_divergence(x, dtype, symmetric, codes):
    low, high = least_divergence_range(histogram_of(x), dtype, symmetric=symmetric)
    (start, stop), width = straightforward(x, codes, symmetric=symmetric)
    reach = np.abs(np.float32(x)).max()
    if symmetric:
        assert (low, high) == (-min(stop * width, reach), min(stop * width, reach))
    else:
        assert (low, high) == (max(start * width, np.float32(x).min()), min(stop * width, np.float32(x).max()))


def test_entropy_clips_a_lonely_outlier_that_min_max_would_keep():
    _, high = least_divergence_range(histogram_of(np.append(GAUSS, 30.0)))
    assert 3 < high < 10


def test_unsigned_symmetric_codes_of_a_relu_begin_at_zero_and_signed_ones_mirror():
    for choose in (percentile_range, least_error_range, least_divergence_range):
        histogram = histogram_of(TENSORS["relu"])
        low, high = choose(histogram, dtype="uint8", symmetric=True)
        assert low == 0 < high
        low, high = choose(histogram, dtype="int8", symmetric=True)
        assert low == -high < 0
    assert symmetric_range(3.0, -1.0, "uint8") == (-3.0, 3.0)


@pytest.mark.parametrize("x", [[0.0], [3.0], [-3.0], [1e-45], [0.0, 1e-40], [-3e38, 3e38], [7.0] * 9])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("choose", [percentile_range, least_error_range, least_divergence_range])
def test_a_degenerate_tensor_has_a_range_that_holds_it(x, symmetric, choose):
    histogram = histogram_of(np.repeat(np.float32(x), 3))
    low, high = choose(histogram, dtype="int8", symmetric=symmetric)
    assert low <= high
    if len(set(x)) == 1:
        assert min(low, 0) <= x[0] + histogram.width
        assert max(high, 0) >= x[0] - histogram.width
    qparams_from_range(low, high, "int8", symmetric=symmetric)
