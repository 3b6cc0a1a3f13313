"""Observers: running statistics that merge, and ranges equal to a computation on all the data."""

import doctest
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from qlab import calibration
from qlab.calibration import (
    EntropyObserver,
    MinMaxObserver,
    MovingAverageObserver,
    MseObserver,
    PercentileObserver,
    histogram,
    observers,
)
from qlab.calibration import clipping as choosing

ALL = [MinMaxObserver, MovingAverageObserver, PercentileObserver, MseObserver, EntropyObserver]
ARRAYS = arrays.arrays(np.float32, st.integers(1, 30), elements=st.floats(-1e6, 1e6, width=32))
PARTS = st.lists(ARRAYS, min_size=1, max_size=6)


def watching(observer, parts):
    for part in parts:
        observer.observe(part)
    return observer


def batches(count=12, seed=3):
    rng = np.random.default_rng(seed)
    return [(rng.laplace(0, 1 + i, (2, 50 + i))).astype(np.float32) for i in range(count)]


def test_the_examples_are_true():
    for module in (calibration, choosing, histogram, observers):
        assert doctest.testmod(module).failed == 0


@settings(deadline=None)
@given(PARTS, PARTS)
def test_merged_shards_give_the_min_max_range_of_one_pass(first, second):
    merged = watching(MinMaxObserver(), first).merge(watching(MinMaxObserver(), second))
    everything = np.concatenate([*first, *second])
    assert merged.range() == (everything.min(), everything.max())


@settings(deadline=None)
@given(PARTS, PARTS)
def test_merged_moving_averages_are_that_of_one_pass_in_the_same_order(first, second):
    merged = watching(MovingAverageObserver(), first).merge(watching(MovingAverageObserver(), second))
    np.testing.assert_allclose(
        merged.range(), watching(MovingAverageObserver(), [*first, *second]).range(), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("kind", [PercentileObserver, MseObserver, EntropyObserver])
@pytest.mark.parametrize("symmetric", [False, True])
def test_merged_shards_give_the_very_range_of_one_pass(kind, symmetric):
    parts = batches()
    shards = [watching(kind(symmetric=symmetric), part) for part in (parts[8:], parts[:3], parts[3:8])]
    assert shards[0].merge(shards[1]).merge(shards[2]).range() == watching(kind(symmetric=symmetric), parts).range()


@pytest.mark.parametrize("constant", [0.01, 0.5])
def test_the_moving_average_weighs_each_feed_by_its_age(constant):
    parts = batches()
    ages = np.arange(len(parts))[::-1]
    expected = [np.average([end(part) for part in parts], weights=(1 - constant) ** ages) for end in (np.min, np.max)]
    assert watching(MovingAverageObserver(constant=constant), parts).range() == pytest.approx(expected, rel=1e-6)


def test_the_moving_average_of_one_feed_is_its_range():
    assert watching(MovingAverageObserver(), [np.float32([-2, 5])]).range() == (-2, 5)


def test_symmetric_ranges_mirror_unless_unsigned_codes_see_nothing_negative():
    for kind in ALL:
        low, high = watching(kind("uint8", symmetric=True), batches()).range()
        assert low == -high < 0
        low, high = watching(kind("uint8", symmetric=True), [np.abs(batch) for batch in batches()]).range()
        assert low == 0 < high
        low, high = watching(kind("int8", symmetric=True), [np.abs(batch) for batch in batches()]).range()
        assert low == -high < 0


@pytest.mark.parametrize("kind", ALL)
def test_an_observer_holds_the_same_bytes_after_10_and_after_100_feeds(kind):
    observer = watching(kind(), batches(10))
    before = held_bytes(observer)
    assert held_bytes(watching(observer, batches(100))) == before < 20_000


def held_bytes(thing):
    """Bytes of every array and number that an object keeps, however deep."""
    if isinstance(thing, np.ndarray):
        return thing.nbytes if thing.base is None else thing.base.nbytes
    if hasattr(thing, "__dict__"):
        return sum(held_bytes(value) for value in vars(thing).values())
    return 8 if isinstance(thing, int | float) else 0


@pytest.mark.parametrize("kind", ALL)
def test_an_observer_does_not_touch_what_it_is_shown_or_merged_with(kind):
    shown = batches(1)[0]
    kept, other = shown.copy(), watching(kind(), batches(3))
    before = other.range()
    watching(kind(), [shown]).merge(other)
    np.testing.assert_array_equal(shown, kept)
    assert other.range() == before


@pytest.mark.parametrize("kind", ALL)
def test_an_observer_can_be_sent_to_another_process(kind):
    observer = watching(kind(), batches(3))
    assert pickle.loads(pickle.dumps(observer)).range() == observer.range()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_and_forgotten(kind, bad):
    observer = watching(kind(), batches(3))
    before = observer.range()
    with pytest.raises(ValueError, match="1 of 2 values that are NaN, infinite"):
        observer.observe(np.float32([1e9, bad]))
    assert observer.range() == before


@pytest.mark.parametrize("kind", ALL)
def test_an_observer_that_saw_nothing_says_so_and_adds_nothing(kind):
    with pytest.raises(ValueError, match="has observed nothing"):
        kind().range()
    observer = watching(kind(), batches(3))
    before = observer.range()
    assert observer.merge(kind()).range() == before
    assert kind().merge(observer).range() == before
    assert kind().merge(kind()).empty


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PercentileObserver(percentile=101), "percentile is 101; expected percent to keep, 50 to 100"),
        (lambda: PercentileObserver(percentile=0.9999), "percentile is 0.9999; expected percent"),
        (lambda: MovingAverageObserver(constant=1), "constant is 1; expected a fraction"),
        (lambda: MinMaxObserver("float32"), "'float32' does not hold quantized codes"),
        (lambda: MseObserver(bins=1.5), "bins is 1.5; expected a whole number"),
        (lambda: EntropyObserver("int16"), "up to 8 bits, not int16: use minmax"),
        (lambda: EntropyObserver(bins=128), "bins is 128: entropy joins bins into the 256 codes .* at least 1024"),
    ],
)
def test_a_wrong_setting_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "other",
    [MinMaxObserver(), PercentileObserver(percentile=99), PercentileObserver(bins=64), PercentileObserver("int8")],
)
def test_observers_that_are_set_up_differently_do_not_merge(other):
    with pytest.raises(ValueError, match=r"PercentileObserver\(dtype='uint8'.*cannot take in"):
        PercentileObserver().merge(other)
