"""The interval holds what it promises, and the verdict is slow to anger."""

import numpy as np
import pytest

from qlab.measure.compare import judge, speedup_interval


def paired_times(rng, speedup, rounds=30):
    """Times of two models on a machine that drifts and stalls: the slow rounds are slow for both."""
    drift = np.exp(0.3 * np.sin(np.linspace(0, 3, rounds))) * (1 + rng.exponential(0.1, rounds))
    jitter = lambda: 1 + rng.exponential(0.02, rounds)
    return drift * jitter(), drift * jitter() / speedup


def test_the_speedup_is_the_ratio_of_the_medians():
    speedup, low, high = speedup_interval(np.array([2.0, 4.0, 6.0]), np.array([1.0, 2.0, 3.0]))
    assert (speedup, low, high) == (2.0, 2.0, 2.0)


def test_the_interval_holds_the_true_speedup_about_19_times_in_20():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        _, low, high = speedup_interval(*paired_times(rng, 1.3), resamples=400)
        held += low <= 1.3 <= high
    assert 180 <= held <= 200


def test_pairing_keeps_the_machines_drift_out_of_the_interval():
    rng = np.random.default_rng(0)
    reference, other = paired_times(rng, 1.3)
    _, low, high = speedup_interval(reference, other)
    _, unpaired_low, unpaired_high = speedup_interval(reference, rng.permutation(other))
    assert high - low < 0.7 * (unpaired_high - unpaired_low)


def test_the_same_times_give_the_same_interval_twice():
    reference, other = paired_times(np.random.default_rng(0), 1.1)
    assert speedup_interval(reference, other) == speedup_interval(reference, other)


@pytest.mark.parametrize(("speedup", "verdict"), [(1.3, "faster"), (0.7, "slower"), (1.0, "cannot tell")])
def test_a_clear_difference_is_told_from_thirty_rounds_and_none_is_made_up(speedup, verdict):
    rng = np.random.default_rng(0)
    for _ in range(50):
        _, low, high = speedup_interval(*paired_times(rng, speedup), resamples=400)
        assert judge(low, high, rounds=30) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (1.03, 1.5, "faster"),
        (0.5, 0.97, "slower"),
        (1.005, 1.015, "cannot tell"),  # less than opening the same model twice makes
        (0.985, 0.995, "cannot tell"),
        (0.9, 1.5, "cannot tell"),
        (1.0, 1.0, "cannot tell"),
    ],
)
def test_the_whole_interval_must_lie_beyond_the_margin(low, high, verdict):
    assert judge(low, high, rounds=30) == verdict


def test_five_rounds_are_too_few_for_any_verdict():
    assert judge(2.0, 2.1, rounds=5) == "cannot tell"
    assert judge(2.0, 2.1, rounds=6) == "faster"
