"""qlab.numerics.saturation: int16 and int32 overflow, each where it happens and where it cannot."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qlab.numerics.kernels import matmul_integer
from qlab.numerics.saturation import accumulate, can_saturate, largest_safe_k, vpmaddubsw_matmul

INT32 = np.iinfo(np.int32)


@st.composite
def operands(draw, low=-128, high=127):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    m, k, n = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 5))
    return rng.integers(0, 256, (m, k), dtype=np.uint8), rng.integers(low, high + 1, (k, n)).astype(np.int8)


def scalar_vpmaddubsw(a_row, b_column):
    """The instruction, one pair at a time, in Python integers."""
    total, pairs = 0, list(zip(a_row.tolist(), b_column.tolist(), strict=True))
    for k in range(0, len(pairs), 2):
        pair = sum(x * y for x, y in pairs[k : k + 2])
        total += max(-32768, min(32767, pair))
    return total


@given(operands())
def test_vpmaddubsw_saturates_each_pair_of_neighbours(ab):
    a, b = ab
    expected = [[scalar_vpmaddubsw(row, column) for column in b.T] for row in a]
    np.testing.assert_array_equal(vpmaddubsw_matmul(a, b), expected)


@given(operands())
def test_a_column_that_cannot_saturate_never_does_and_one_that_can_does_for_the_worst_input(ab):
    a, b = ab
    safe = ~can_saturate(b)
    np.testing.assert_array_equal(vpmaddubsw_matmul(a, b)[:, safe], matmul_integer(a, b)[:, safe])
    for column in b.T[~safe]:
        worst = np.stack([np.where(column > 0, 255, 0), np.where(column < 0, 255, 0)]).astype(np.uint8)
        right, wrong = matmul_integer(worst, column[:, None]), vpmaddubsw_matmul(worst, column[:, None])
        assert (right != wrong).any()


@given(operands(low=-64, high=64))
def test_seven_bit_weights_never_saturate(ab):
    a, b = ab
    assert not can_saturate(b).any()
    np.testing.assert_array_equal(vpmaddubsw_matmul(a, b), matmul_integer(a, b))


def test_the_boundary_is_128_for_the_sum_of_two_weights():
    assert can_saturate(np.int8([[64, 65, -64, -65], [64, 64, -64, -64]])).tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("a_dtype", "b_dtype", "zero_points", "k"),
    [
        ("uint8", "uint8", (None, None), 33_025),
        ("uint8", "int8", (None, None), 33_025),
        ("uint8", "uint8", (0, 0), 33_025),
        ("uint8", "int8", (0, 0), 65_793),
        ("uint8", "int8", (128, 0), 131_071),
        ("int8", "int8", (0, 0), 131_071),
        ("uint4", "int4", (None, 0), 17_895_697),
        ("int16", "int16", (None, None), 0),
        ("int16", "int8", (0, 0), 511),
    ],
)
def test_the_largest_safe_k(a_dtype, b_dtype, zero_points, k):
    assert largest_safe_k(a_dtype, b_dtype, a_zero_point=zero_points[0], b_zero_point=zero_points[1]) == k


@given(st.sampled_from(["uint8", "int8", "uint4", "int2"]), st.sampled_from(["uint8", "int8"]), st.data())
def test_at_the_largest_safe_k_the_worst_sums_fit_and_one_term_more_does_not(a_dtype, b_dtype, data):
    from qlab.numerics.dtypes import code_range

    (a_low, a_high), (b_low, b_high) = code_range(a_dtype), code_range(b_dtype)
    za, zb = data.draw(st.integers(a_low, a_high)), data.draw(st.integers(b_low, b_high))
    products = [(a - za) * (b - zb) for a in (a_low, a_high) for b in (b_low, b_high)]
    k = largest_safe_k(a_dtype, b_dtype, a_zero_point=za, b_zero_point=zb)
    assert all(INT32.min <= k * product <= INT32.max for product in products)
    assert any(not INT32.min <= (k + 1) * product <= INT32.max for product in products)
    assert largest_safe_k(a_dtype, b_dtype) <= k


@settings(deadline=None)
@given(operands())
def test_short_sums_neither_wrap_nor_saturate(ab):
    a, b = ab
    for overflow in ("wrap", "saturate"):
        np.testing.assert_array_equal(accumulate(a, b, overflow), matmul_integer(a, b))


def test_past_int32_one_accumulator_wraps_and_the_other_stays():
    k = largest_safe_k("uint8", "int8", a_zero_point=0, b_zero_point=0) + 1000
    a, b = np.full((1, k), 255, np.uint8), np.full((k, 1), -128, np.int8)
    exact = -255 * 128 * k
    assert exact < INT32.min
    assert accumulate(a, b, "wrap").item() == exact + 2**32 == matmul_integer(a, b).item()
    assert accumulate(a, b, "saturate").item() == INT32.min


def test_wrapping_forgives_an_overflow_on_the_way_and_saturating_does_not():
    half = np.full(70_000, 127, np.int8)
    a, b = np.full((1, 140_000), 255, np.uint8), np.append(half, -half)[:, None]
    assert accumulate(a, b, "wrap").item() == 0
    assert accumulate(a, b, "saturate").item() < 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vpmaddubsw_matmul(np.int8([[1]]), np.int8([[1]])), "a is int8 .* expected uint8"),
        (lambda: vpmaddubsw_matmul(np.uint8([[1]]), np.uint8([[1]])), "b is uint8"),
        (lambda: vpmaddubsw_matmul(np.uint8([[1, 2]]), np.int8([[1]])), r"\(1, 2\)"),
        (lambda: can_saturate(np.int8([1, 2])), r"b is int8 \(2,\)"),
        (lambda: accumulate(np.uint8([[1]]), np.int8([[1]]), "clip"), "expected 'wrap' or 'saturate'"),
        (lambda: largest_safe_k("uint8", "int8", b_zero_point=200), "zero_point 200"),
        (lambda: largest_safe_k("float32"), "does not hold quantized codes"),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
