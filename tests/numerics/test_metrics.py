"""qlab.numerics.metrics: errors, and intervals of differences."""

from math import inf

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qlab import sqnr_db
from qlab.numerics.metrics import paired_bootstrap

vectors = hnp.arrays(np.float32, 8, elements=st.floats(-1024, 1024, width=32))


@given(vectors)
def test_an_exact_approximation_is_infinitely_good_and_warns_of_nothing(x):
    assert sqnr_db(x, x) == inf


def test_a_reference_without_signal_has_no_decibels_to_lose():
    assert sqnr_db([0.0, 0.0], [0.0, 1.0]) == -inf


def test_twice_the_error_costs_six_decibels():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=1000), rng.normal(size=1000)
    assert sqnr_db(x, x + noise) - sqnr_db(x, x + 2 * noise) == pytest.approx(20 * np.log10(2))


def test_the_reference_comes_first():
    assert sqnr_db([10.0], [1.0]) == pytest.approx(20 * np.log10(10 / 9))
    assert sqnr_db([1.0], [10.0]) == pytest.approx(20 * np.log10(1 / 9))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_narrow_floats_do_not_overflow_in_the_sums(dtype):
    x = np.full(4096, 30000.0).astype(dtype)
    assert sqnr_db(x, 0 * x) == pytest.approx(0)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (([1.0, 2.0], [1.0]), r"reference has shape \(2,\), approximation \(1,\)"),
        (([], []), "reference is empty"),
        (([1.0], [np.nan]), "approximation holds NaN or infinity"),
        (([np.inf], [1.0]), "reference holds NaN or infinity"),
        ((["a"], [1.0]), "expected real numbers"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(pair, message):
    with pytest.raises(ValueError, match=message):
        sqnr_db(*pair)


def test_the_bootstrap_interval_of_a_rate_is_a_difference_of_ratios_of_sums():
    errors, changed, words = [3, 0, 1], [1, 0, 1], [4, 1, 5]
    interval = paired_bootstrap(errors, changed, words)
    assert interval.difference == pytest.approx(2 / 10 - 4 / 10)
    assert interval.low <= interval.difference <= interval.high


def test_without_counts_it_is_the_difference_of_means():
    interval = paired_bootstrap([True, True, False, True], [True, False, False, False])
    assert interval.difference == -0.5


def test_the_bootstrap_repeats_with_its_seed_and_moves_with_another():
    a, b = np.random.default_rng(0).random((2, 100))
    assert paired_bootstrap(a, b) == paired_bootstrap(a, b)
    assert paired_bootstrap(a, b) != paired_bootstrap(a, b, seed=1)


def test_equal_results_have_an_interval_of_nothing():
    interval = paired_bootstrap([1, 0, 1], [1, 0, 1])
    assert (interval.difference, interval.low, interval.high, interval.excludes_zero) == (0, 0, 0, False)


def test_the_interval_matches_the_normal_approximation_for_many_items():
    rng = np.random.default_rng(0)
    a = rng.random(2000) < 0.2
    b = np.where(rng.random(2000) < 0.05, ~a, a)
    interval = paired_bootstrap(a, b)
    change = b.astype(float) - a
    half = 1.96 * change.std() / np.sqrt(2000)
    assert interval.high - interval.low == pytest.approx(2 * half, rel=0.05)
    assert interval.high + interval.low == pytest.approx(2 * change.mean(), abs=0.1 * half)


def test_pairing_is_narrower_than_two_separate_intervals():
    hard = np.random.default_rng(0).poisson(2, 200)
    changed = hard.copy()
    changed[:3] += 1
    paired = paired_bootstrap(hard, changed, np.full(200, 10))
    alone = paired_bootstrap(np.zeros(200), hard, np.full(200, 10))
    assert paired.high - paired.low < (alone.high - alone.low) / 3


@pytest.mark.slow
def test_a_95_percent_interval_holds_the_truth_about_95_times_in_100():
    rng, held = np.random.default_rng(1), 0
    for _ in range(200):
        a, b = rng.random(150) < 0.3, rng.random(150) < 0.3  # no true difference
        interval = paired_bootstrap(a, b, resamples=400)
        held += interval.low <= 0 <= interval.high
    assert 180 <= held <= 199


def test_utterances_without_words_count_in_the_rate_only_with_their_errors():
    interval = paired_bootstrap([0, 0], [1, 0], counts=[0, 4], resamples=50)
    assert interval.difference == 0.25


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([1, 2], [1]), {}, "expected the same"),
        (([], []), {}, "empty"),
        (([1, 2], [1, 2], [1]), {}, "one number for each item"),
        (([[1]], [[1]]), {}, "one number for each item"),
        (([1], [1], [-1]), {}, "must not be negative"),
        (([1], [1], [0]), {}, "not all 0"),
        (([1], [np.nan]), {}, "NaN"),
        (([1], [1]), {"confidence": 1.0}, "confidence=1.0"),
        (([1], [1]), {"resamples": 0}, "resamples=0"),
    ],
)
def test_a_bootstrap_of_nothing_is_refused_by_name(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        paired_bootstrap(*arguments, **options)
