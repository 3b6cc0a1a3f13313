"""The histogram widens without forgetting, and does not depend on the order or the split of what it counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qlab.calibration import Histogram

NUMBERS = st.floats(width=32, allow_nan=False, allow_infinity=False)
ARRAYS = arrays.arrays(np.float32, st.integers(1, 40), elements=NUMBERS)
BINS = st.sampled_from([4, 7, 64, 2048])


def filled(parts, bins):
    histogram = Histogram(bins)
    for part in parts:
        histogram.add(part)
    return histogram


def counted(x, histogram):
    """Counts of the numbers in x in the histogram's own bins, one number at a time, in exact arithmetic."""
    counts = np.zeros(histogram.counts.size, np.int64)
    for number in x.ravel():
        counts[int(float(number) // histogram.width) - histogram.first] += 1
    return counts


def assert_same(one, other):
    assert (one.width, one.first, one.low, one.high) == (other.width, other.first, other.low, other.high)
    np.testing.assert_array_equal(one.counts, other.counts)


@settings(deadline=None)
@given(st.lists(ARRAYS, min_size=1, max_size=6), BINS)
def test_a_histogram_that_was_widened_counts_as_if_it_had_seen_all_at_once(parts, bins):
    whole = np.concatenate(parts)
    assert_same(filled(parts, bins), filled([whole], bins))
    assert_same(filled(reversed(parts), bins), filled([whole], bins))


@settings(deadline=None)
@given(st.lists(ARRAYS, min_size=1, max_size=6), BINS)
def test_every_number_lies_in_the_bin_that_counts_it(parts, bins):
    histogram = filled(parts, bins)
    whole = np.concatenate(parts)
    np.testing.assert_array_equal(histogram.counts, counted(whole, histogram))
    assert histogram.count == whole.size
    assert (histogram.low, histogram.high) == (whole.min(), whole.max())


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(ARRAYS, max_size=4), st.lists(ARRAYS, max_size=4), BINS)
def test_merged_shards_are_the_histogram_of_one_pass(first, second, bins):
    merged = filled(first, bins).merge(filled(second, bins))
    assert_same(merged, filled([*first, *second], bins))


@settings(deadline=None)
@given(st.lists(ARRAYS, min_size=1, max_size=4), BINS)
def test_bins_are_no_wider_than_they_must_be(parts, bins):
    histogram = filled(parts, bins)
    low, high = min(histogram.low, 0), max(histogram.high, 0)
    assert histogram.counts.size <= bins
    if histogram.width > 2.0**-149:
        half = histogram.width / 2
        assert high // half - low // half + 1 > bins


def test_the_edges_enclose_all_numbers_and_zero():
    histogram = filled([np.float32([100.0, 101.5])], 64)
    assert histogram.edges[0] == 0
    assert histogram.edges[-1] > 101.5
    assert histogram.edges.size == histogram.counts.size + 1
    np.testing.assert_array_equal(np.diff(histogram.edges), histogram.width)


def test_counts_agree_with_numpys_on_a_large_tensor_of_many_blocks():
    x = np.random.default_rng(0).standard_normal(200_001, np.float32)
    histogram = filled(np.array_split(x, 3), 2048)
    np.testing.assert_array_equal(histogram.counts, np.histogram(x, histogram.edges)[0])


def test_half_precision_lists_and_views_are_counted_like_the_numbers_they_hold():
    x = np.float32([[-1.5, 0.25, 3.0], [0.5, 0.75, 2.0]])
    for same in (x.astype(np.float16), x.tolist(), x.astype(np.float64), np.asfortranarray(x), x[::-1, ::-1]):
        assert_same(filled([same], 64), filled([x], 64))


def test_a_histogram_holds_the_same_bytes_whatever_it_has_seen():
    histogram = filled([np.float32([1.0])], 2048)
    before = histogram._counts.nbytes
    histogram.add(np.float32([-3e38, 3e38]))
    histogram.add(np.ones(100_000, np.float32))
    assert histogram._counts.nbytes == before == 8 * 2048


def test_merging_leaves_the_other_histogram_as_it_is():
    one, other = filled([np.float32([1.0])], 64), filled([np.float32([-50.0])], 64)
    one.merge(other)
    assert_same(other, filled([np.float32([-50.0])], 64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_and_changes_nothing(bad):
    histogram = filled([np.float32([1.0, 2.0])], 64)
    with pytest.raises(ValueError, match="1 of 3 values that are NaN, infinite"):
        histogram.add(np.float32([0.0, bad, 1.0]))
    assert_same(histogram, filled([np.float32([1.0, 2.0])], 64))


def test_an_empty_array_is_refused():
    with pytest.raises(ValueError, match=r"empty, shape \(0, 3\)"):
        Histogram().add(np.zeros((0, 3), np.float32))


@pytest.mark.parametrize("bins", [0, 3, 2.5, True, "many"])
def test_a_wrong_number_of_bins_is_refused(bins):
    with pytest.raises(ValueError, match="expected a whole number from 4 up"):
        Histogram(bins)


def test_histograms_of_different_bins_do_not_merge():
    with pytest.raises(ValueError, match="64 bins cannot take in one of 128"):
        Histogram(64).merge(Histogram(128))
