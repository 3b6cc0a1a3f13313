"""qlab.numerics.codebook: levels, encode, decode."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qlab import PerAxis, PerBlock, PerTensor, choose_qparams, fake_quantize, sqnr_db
from qlab.numerics.codebook import Codebook, floating_point, kmeans, normal_float, powers_of_two, uniform

FLOATS = ["float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn", "bfloat16"]
BOOKS = [uniform(4), uniform(2), powers_of_two(4), normal_float(4), normal_float(3), *map(floating_point, FLOATS)]
ids = [f"{book.name}-{book.bits}" for book in BOOKS]


@pytest.mark.parametrize("book", BOOKS, ids=ids)
def test_encoding_finds_a_nearest_level(book):
    x = np.random.default_rng(0).uniform(-1.2, 1.2, 2000).astype(np.float32) * book.levels[-1].clip(max=1e30)
    found = np.abs(x.astype(np.float64) - book.decode(book.encode(x)))
    right = np.searchsorted(book.levels, x).clip(1, book.levels.size - 1)
    nearest = np.minimum(*(np.abs(x - book.levels[i].astype(np.float64)) for i in (right - 1, right)))
    np.testing.assert_allclose(found, nearest, rtol=1e-5)


@pytest.mark.parametrize("book", BOOKS, ids=ids)
def test_every_level_is_its_own_code(book):
    np.testing.assert_array_equal(book.decode(book.encode(book.levels)), book.levels)
    assert (np.diff(book.levels) > 0).all()
    assert book.levels.size <= 2**book.bits
    assert 0 in book.levels


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.float32, (4, 10), elements=st.floats(-(2.0**100), 2.0**100, width=32)), st.sampled_from(BOOKS))
def test_each_groups_largest_magnitude_survives_where_the_book_mirrors_at_0(x, book):
    if book.levels[0] != -book.levels[-1] or book.unit is None:
        return
    for granularity in (PerTensor(), PerAxis(0), PerBlock(1, 4)):
        largest = granularity.reduce(np.abs(x), np.maximum)
        approximation = book.fake_quantize(x, granularity)
        np.testing.assert_allclose(
            granularity.reduce(np.abs(approximation), np.maximum), largest, rtol=1e-5, atol=1e-37
        )


def test_uniform_levels_are_symmetric_integer_codes():
    x = np.random.default_rng(0).normal(size=(8, 64)).astype(np.float32)
    for granularity in (PerTensor(), PerAxis(0), PerBlock(1, 32)):
        codes = choose_qparams(x, "int4", symmetric=True, narrow_range=True, granularity=granularity)
        np.testing.assert_allclose(
            uniform(4).fake_quantize(x, granularity), fake_quantize(x, codes), rtol=1e-6, atol=1e-7
        )


def test_normal_float_gives_nf4s_published_levels():
    published = [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ]  # fmt: skip
    np.testing.assert_allclose(normal_float(4).levels, published, atol=1e-6)


def test_powers_of_two_are_powers_of_two():
    positive = powers_of_two(4).levels[8:]
    np.testing.assert_array_equal(positive, 2.0 ** np.arange(-6, 1))


@pytest.mark.parametrize("name", FLOATS)
def test_floating_point_codes_are_casts_and_saturate(name):
    book = floating_point(name)
    inside = np.random.default_rng(0).normal(size=500).astype(np.float32)
    assert book.encode(inside).dtype == np.dtype(name)
    np.testing.assert_array_equal(book.encode(inside), inside.astype(name).clip(book.levels[0], book.levels[-1]))
    assert book.levels[-1] == ml_dtypes.finfo(name).max
    assert book.decode(book.encode([3e38, -3e38])).tolist() == [
        min(book.levels[-1], floating_point("bfloat16").decode(np.array([3e38]).astype("bfloat16"))[0]),
        max(book.levels[0], floating_point("bfloat16").decode(np.array([-3e38]).astype("bfloat16"))[0]),
    ]


def test_a_floating_point_book_decodes_raw_bytes():
    e4m3 = floating_point("float8_e4m3fn")
    assert e4m3.decode(np.uint8([0x00, 0x01, 0x38, 0x7E, 0xB8])).tolist() == [0, 2.0**-9, 1, 448, -1]
    assert floating_point("float4_e2m1fn").decode(np.uint8([1, 7, 15])).tolist() == [0.5, 6, -6]
    with pytest.raises(ValueError, match="its 4 bits as uint8"):
        floating_point("float4_e2m1fn").decode(np.uint8([16]))
    with pytest.raises(ValueError, match="codes are int64"):
        e4m3.decode([1, 2])


def test_bfloat16_is_not_scaled_and_fp8_is():
    x = np.float32([1e-6, 2e-6])
    np.testing.assert_array_equal(floating_point("bfloat16").fake_quantize(x), x.astype("bfloat16").astype(np.float32))
    assert sqnr_db(x, floating_point("float8_e4m3fn").fake_quantize(x)) > 25


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000), st.sampled_from([PerTensor(), PerBlock(1, 16)]))
def test_kmeans_is_never_worse_than_uniform_or_normal_float(seed, granularity):
    x = np.random.default_rng(seed).standard_t(3, (8, 32)).astype(np.float32)
    fitted = kmeans(x, 3, granularity)
    scaled = x / granularity.spread(np.maximum(*(granularity.reduce(s * x, np.maximum) for s in (1, -1))), x.shape)
    for book in (uniform(3), normal_float(3)):
        assert (
            sqnr_db(scaled, fitted.decode(fitted.encode(scaled)))
            >= sqnr_db(scaled, book.decode(book.encode(scaled))) - 1e-6
        )


@pytest.mark.parametrize("x", [[0.0, 0.0], [3.0], [-2.0, 5.0, 0.5], [1.0, 2.0, 3.0, 4.0]])
def test_kmeans_keeps_few_distinct_numbers_exactly(x):
    np.testing.assert_allclose(kmeans(x, 2).fake_quantize(x), x, rtol=1e-6)


def test_kmeans_fits_what_is_mostly_zeros():
    x = np.append(np.zeros(5000), np.random.default_rng(0).exponential(size=100)).astype(np.float32)
    book = kmeans(x, 4)
    assert sqnr_db(x, book.fake_quantize(x)) > sqnr_db(x, uniform(4).fake_quantize(x))


@pytest.mark.parametrize("book", BOOKS, ids=ids)
def test_the_largest_and_the_smallest_numbers_of_float32_stay_finite(book):
    for x in ([np.finfo(np.float32).max], [-np.finfo(np.float32).max, 1.0], [1e-45], [0.0, -1e-40]):
        assert np.isfinite(book.fake_quantize(x)).all()


def test_granularity_beats_the_codebook_when_channels_differ_in_size():
    x = np.random.default_rng(0).normal(size=(32, 128)).astype(np.float32) * 2.0 ** np.arange(-8, 8, 0.5)[:, None]
    coarse = max(sqnr_db(x, book.fake_quantize(x)) for book in (uniform(4), normal_float(4)))
    fine = min(sqnr_db(x, book.fake_quantize(x, PerBlock(1, 32))) for book in (uniform(4), normal_float(4)))
    assert fine > coarse


def test_a_codebook_prints_its_levels():
    assert repr(powers_of_two(3)) == "Codebook powers_of_two, 3 bits, 7 levels: -1, -0.5, -0.25, 0, 0.25, 0.5, 1"
    assert "..." in repr(floating_point("float8_e5m2"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(1), "bits=1; expected 2 to 16"),
        (lambda: powers_of_two(8), "bits=8; expected 2 to 7"),
        (lambda: Codebook("one", [1.0]), "1 distinct level"),
        (lambda: Codebook("none", []), "levels is empty"),
        (lambda: floating_point("int8"), "no small signed float"),
        (lambda: floating_point("float32"), "no small signed float"),
        (lambda: floating_point("float8_e8m0fnu"), "no small signed float"),
        (lambda: uniform(4).encode([np.nan]), "NaN"),
        (lambda: uniform(4).encode([]), "empty"),
        (lambda: uniform(4).fake_quantize([np.inf]), "infinite"),
        (lambda: kmeans([np.nan], 4), "NaN"),
        (lambda: uniform(4).decode([15]), "codes run from 15 to 15; expected 0 to 14"),
        (lambda: uniform(4).decode([-1]), "codes run from -1"),
        (lambda: uniform(4).decode([0.5]), "integers"),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
