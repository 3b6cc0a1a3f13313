"""qlab.numerics.granularity: shapes of scales, spreading, storage, and which scales leave the sum over K."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qlab import PerAxis, PerBlock, PerTensor, PerToken
from qlab.numerics import kernels
from qlab.numerics.granularity import bits_per_element, factors_out


@pytest.mark.parametrize(
    ("granularity", "shape", "scale_shape"),
    [
        (PerTensor(), (64, 3, 3, 3), ()),
        (PerAxis(0), (64, 3, 3, 3), (64,)),
        (PerAxis(-1), (64, 100), (100,)),
        (PerToken(), (2, 7, 144), (2, 7, 1)),
        (PerToken(), (144,), (1,)),
        (PerBlock(1, 32), (64, 100), (64, 4)),
        (PerBlock(-2, 32), (64, 100), (2, 100)),
        (PerBlock(0, 1000), (64, 100), (1, 100)),
    ],
)
def test_each_granularity_knows_its_scales_shape(granularity, shape, scale_shape):
    assert granularity.scale_shape(shape) == scale_shape
    assert granularity.reduce(np.ones(shape), np.maximum).shape == scale_shape


@given(hnp.arrays(np.int16, hnp.array_shapes(max_dims=4, max_side=7)), st.data())
def test_spreading_the_maximum_of_each_group_covers_every_element_and_is_reached_in_every_group(x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    block = PerBlock(axis, data.draw(st.integers(1, 9)))
    for granularity in (PerTensor(), PerAxis(axis), PerToken(), block):
        largest = granularity.reduce(x, np.maximum)
        covered = granularity.spread(largest, x.shape)
        assert np.broadcast_shapes(covered.shape, x.shape) == x.shape
        assert (x <= covered).all()
        np.testing.assert_array_equal(granularity.reduce(np.broadcast_to(covered, x.shape), np.minimum), largest)
        assert granularity.reduce((x == covered).astype(int), np.maximum).all()


def test_a_short_last_block_has_a_scale_of_its_own():
    x = np.float32([[1, 2, 3, 4, 50]])
    largest = PerBlock(1, 2).reduce(x, np.maximum)
    assert largest.tolist() == [[2, 4, 50]]
    assert PerBlock(1, 2).spread(largest, x.shape).tolist() == [[2, 2, 4, 4, 50]]


@pytest.mark.parametrize("granularity", [PerAxis(0), PerToken(), PerBlock(0, 2)])
def test_a_single_number_has_no_axis_to_scale(granularity):
    with pytest.raises(ValueError, match="0-d"):
        granularity.scale_shape(())


@pytest.mark.parametrize("granularity", [PerTensor(), PerAxis(1), PerToken(), PerBlock(1, 2)])
def test_an_empty_array_has_nothing_to_scale(granularity):
    with pytest.raises(ValueError, match="empty"):
        granularity.groups((0, 3))


@pytest.mark.parametrize("granularity", [PerAxis(2), PerAxis(-3), PerBlock(2, 4)])
def test_an_axis_that_is_not_there_is_named_with_those_that_are(granularity):
    with pytest.raises(ValueError, match=r"axis -?\d is not there; use -2 to 1"):
        granularity.scale_shape((4, 5))


@pytest.mark.parametrize("block_size", [0, -1])
def test_a_block_holds_at_least_one_number(block_size):
    with pytest.raises(ValueError, match="block_size must be at least 1"):
        PerBlock(0, block_size)


def test_scales_of_another_shape_are_refused_with_the_shape_that_fits():
    with pytest.raises(ValueError, match=r"scale has shape \(3,\), but PerAxis\(axis=0\) .* needs \(4,\)"):
        PerAxis(0).spread(np.ones(3), (4, 5))


def test_granularities_are_frozen_values():
    assert PerBlock(1, 32) == PerBlock(1, 32)
    assert len({PerAxis(0), PerAxis(0), PerAxis(1), PerTensor()}) == 3
    with pytest.raises(FrozenInstanceError):
        PerAxis(0).axis = 1


@pytest.mark.parametrize(
    ("arguments", "options", "bits"),
    [
        (((64, 100), "int4", PerTensor()), {}, 4 + 32 / 6400),
        (((64, 100), "int4", PerAxis(0)), {"scale_dtype": "float16"}, 4 + 16 / 100),
        (((64, 100), "uint4", PerBlock(1, 32)), {"zero_point": True}, 4 + 4 * 36 / 100),
        (((64, 128), 4, PerBlock(1, 32)), {"scale_dtype": "float8_e8m0fnu"}, 4.25),
        (((64, 128), "int3", PerToken()), {}, 3.25),
    ],
)
def test_storage_per_element_counts_scales_and_zero_points(arguments, options, bits):
    assert bits_per_element(*arguments, **options) == pytest.approx(bits)


@pytest.mark.parametrize(
    ("granularity", "shape", "axis", "expected"),
    [
        (PerTensor(), (8, 256), -1, True),
        (PerToken(), (8, 256), -1, True),
        (PerAxis(0), (8, 256), -1, True),
        (PerAxis(1), (8, 256), -1, False),
        (PerAxis(1), (256, 64), 0, True),  # a weight (K, N): a scale per output channel
        (PerAxis(0), (256, 64), 0, False),  # and per input channel
        (PerBlock(1, 32), (8, 256), -1, False),
        (PerBlock(1, 256), (8, 256), -1, True),  # one block along K
        (PerAxis(0), (64, 3, 3, 3), (1, 2, 3), True),
        (PerAxis(1), (64, 3, 3, 3), (1, 2, 3), False),
    ],
)
def test_a_scale_leaves_the_sum_if_it_is_the_same_all_along_it(granularity, shape, axis, expected):
    assert factors_out(granularity, shape, axis) is expected


@pytest.mark.parametrize("granularity", [PerTensor(), PerToken(), PerAxis(0), PerAxis(1), PerBlock(1, 3)])
def test_one_integer_product_is_enough_exactly_where_factors_out_says_so(granularity):
    """The course's small theorem: scaling after the sum is right if the scale factors out, and wrong if not."""
    rng = np.random.default_rng(0)
    q, w = rng.integers(-9, 9, (4, 6), np.int8), rng.integers(-9, 9, (6, 5), np.int8)
    scale = granularity.spread(rng.integers(1, 9, granularity.scale_shape(q.shape)).astype(float), q.shape)
    real = (q * scale) @ w
    after = scale[..., :1] * kernels.matmul_integer(q, w) if scale.ndim else scale * kernels.matmul_integer(q, w)
    assert np.array_equal(real, after) is factors_out(granularity, q.shape)
