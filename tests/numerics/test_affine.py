"""qlab.numerics.affine: parameters, codes, and the invariants with their true conditions."""

import tracemalloc
from itertools import pairwise

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qlab import PerAxis, PerBlock, PerTensor, PerToken, QParams, choose_qparams, dequantize, fake_quantize, quantize
from qlab.numerics import kernels
from qlab.numerics.affine import SMALLEST_SCALE, qparams_from_range
from qlab.numerics.dtypes import code_range, storage_dtype
from tests.numerics.runtime import run

DTYPES = ["int2", "uint2", "int3", "int4", "uint4", "uint7", "int8", "uint8", "int16", "uint16"]
GRANULARITIES = [PerTensor(), PerAxis(0), PerAxis(-1), PerToken(), PerBlock(-1, 3), PerBlock(0, 2)]

# Inside +-1e38 nothing on the way leaves float32: a code may stand for a number half a range beyond the largest x.
reals = st.floats(-(2.0**126), 2.0**126, width=32)
tensors = hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, max_side=8), elements=reals)
settings_of = st.fixed_dictionaries({"symmetric": st.booleans(), "granularity": st.sampled_from(GRANULARITIES)})
many = settings(deadline=None, max_examples=150)


@many
@given(tensors, st.sampled_from(DTYPES), settings_of, st.booleans())
def test_inside_the_range_the_error_is_at_most_half_a_scale_and_the_rounding_of_float32(x, dtype, options, narrow):
    """|x - x_hat| <= scale/2 + (high - low) * 2**-21.

    The slack: with u = 2**-24, scale errs by 2u of itself, and so moves the outermost code by 2u of the range; low /
    scale and the subtraction that makes zero_point add 2u, x / scale and scale * (q - zero_point) 2u. Six roundings,
    under eight.
    """
    qparams = choose_qparams(x, dtype, narrow_range=narrow and not dtype.startswith("u"), **options)
    scale, _ = qparams.spread(x.shape)
    group = options["granularity"]
    low, high = (group.reduce(x, ufunc) for ufunc in (np.minimum, np.maximum))
    width = np.maximum(high, 0).astype(np.float64) - np.minimum(low, 0)
    slack = group.spread(np.maximum(width, SMALLEST_SCALE) * 2.0**-21, x.shape)
    error = np.abs(x.astype(np.float64) - fake_quantize(x, qparams))
    assert (error <= scale.astype(np.float64) / 2 + slack).all()


@many
@given(tensors, st.sampled_from(DTYPES), settings_of)
def test_a_second_trip_through_the_codes_changes_nothing(x, dtype, options):
    qparams = choose_qparams(x, dtype, **options)
    once = fake_quantize(x, qparams)
    np.testing.assert_array_equal(fake_quantize(once, qparams), once)
    np.testing.assert_array_equal(quantize(once, qparams), quantize(x, qparams))


@many
@given(
    hnp.arrays(np.float32, 40, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)),
    st.sampled_from(DTYPES),
)
def test_at_fixed_parameters_a_greater_number_never_gets_a_smaller_code(x, dtype):
    q = quantize(np.sort(x), qparams_from_range(-1.0, 2.5, dtype)).astype(np.int64)
    assert (np.diff(q) >= 0).all()


@many
@given(tensors, st.sampled_from([d for d in DTYPES if not d.startswith("u")]), st.sampled_from(GRANULARITIES))
def test_with_zero_point_0_and_a_narrow_range_the_codes_of_minus_x_are_minus_the_codes_of_x(x, dtype, granularity):
    qparams = choose_qparams(x, dtype, symmetric=True, granularity=granularity, narrow_range=True)
    assert not qparams.zero_point.astype(int).any()
    beyond = np.float32(1.7) * x  # outside the range too
    np.testing.assert_array_equal(quantize(-beyond, qparams).astype(int), -quantize(beyond, qparams).astype(int))


def test_without_the_narrow_range_the_mirror_breaks_at_the_lowest_code():
    qparams = QParams(scale=1.0, zero_point=0, dtype="int8")
    assert quantize([-200.0, 200.0], qparams).tolist() == [-128, 127]


@many
@given(hnp.arrays(np.float32, (6, 12), elements=reals), st.sampled_from(DTYPES), st.booleans())
def test_finer_granularity_never_raises_the_bound_on_the_min_max_error(x, dtype, symmetric):
    """The bound, scale/2, not the error itself. A group of zeros is exact whatever its scale, so it is left out."""
    finer = [PerTensor(), PerAxis(0), PerBlock(1, 6), PerBlock(1, 3), PerBlock(1, 1)]
    scales = []
    for granularity in finer:
        scale = choose_qparams(x, dtype, symmetric=symmetric, granularity=granularity).spread(x.shape)[0]
        zeros = granularity.spread(granularity.reduce(np.abs(x), np.maximum) == 0, x.shape)
        scales.append(np.broadcast_to(np.where(zeros, 0, scale), x.shape))
    for coarse, fine in pairwise(scales):
        assert (fine <= coarse).all()


def test_finer_granularity_can_raise_the_error_itself():
    x = np.float32([[127, 1], [2, 1]])
    per_tensor, per_row = (choose_qparams(x, symmetric=True, granularity=g) for g in (PerTensor(), PerAxis(0)))
    np.testing.assert_array_equal(fake_quantize(x, per_tensor), x)
    assert (fake_quantize(x, per_row) != x).any()


@many
@given(tensors, st.sampled_from(DTYPES), settings_of)
def test_zero_is_represented_exactly(x, dtype, options):
    qparams = choose_qparams(x, dtype, **options)
    assert not fake_quantize(np.zeros_like(x), qparams).any()


@many
@given(
    hnp.arrays(
        np.float32, hnp.array_shapes(max_dims=2, max_side=20), elements=st.floats(-(2.0**100), 2.0**100, width=32)
    )
)
def test_asymmetric_uint8_is_onnx_dynamic_quantize_linear(x):
    y, scale, zero_point = kernels.dynamic_quantize_linear(x)
    qparams = choose_qparams(x, "uint8")
    if qparams.scale == SMALLEST_SCALE:
        return  # a subnormal scale in ONNX, whose few digits err by up to half
    assert (qparams.scale, qparams.zero_point) == (scale, zero_point)
    np.testing.assert_array_equal(quantize(x, qparams), y)


@pytest.mark.parametrize("dtype", ["int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("granularity", [PerTensor(), PerAxis(0), PerBlock(1, 5)])
def test_codes_equal_onnxruntimes_quantize_linear(dtype, granularity):
    x = np.random.default_rng(0).normal(size=(4, 12)).astype(np.float32)
    qparams = choose_qparams(x, dtype, granularity=granularity)
    axis = {"axis": getattr(granularity, "axis", 1), "block_size": getattr(granularity, "block_size", 0)}
    theirs = run("QuantizeLinear", x, qparams.scale, qparams.zero_point, output_dtypes=[dtype], **axis)
    ours = quantize(x, qparams)
    np.testing.assert_array_equal(ours, theirs)
    back = run("DequantizeLinear", theirs, qparams.scale, qparams.zero_point, output_dtypes=["float32"], **axis)
    np.testing.assert_array_equal(dequantize(ours, qparams), back)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64])
def test_other_floats_give_the_codes_of_their_float32_value_and_do_not_overflow(dtype):
    x = np.array([-60000.0, -1.0, 0.0, 3e-5, 0.3, 65000.0]).astype(dtype)
    wide = x.astype(np.float32)
    for code_type in ("int8", "uint16"):
        qparams = choose_qparams(x, code_type)
        assert qparams == choose_qparams(wide, code_type)
        np.testing.assert_array_equal(quantize(x, qparams), quantize(wide, qparams))
        assert fake_quantize(x, qparams).dtype == np.float32
    tiny = QParams(scale=1e-6, zero_point=0)  # 65000 / 1e-6 is beyond float16
    assert quantize(x, tiny).tolist() == [-128, -128, 0, 30, 127, 127]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("symmetric", [False, True])
def test_the_whole_range_of_float32_stays_finite(dtype, symmetric):
    largest = np.finfo(np.float32).max
    x = np.float32([-largest, -1e-45, 0, 1e-45, largest])
    for values in (x, x[2:], x[:3]):
        qparams = choose_qparams(values, dtype, symmetric=symmetric)
        assert np.isfinite(fake_quantize(values, qparams)).all()
        assert fake_quantize(values, qparams)[values == 0] == 0


def test_quantize_holds_little_more_than_its_one_float32_buffer():
    x = np.zeros(2**21, np.float32)
    qparams = QParams(1.0, 0, "uint8")
    tracemalloc.start()
    try:
        quantize(x, qparams)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * x.nbytes


@pytest.mark.parametrize("constant", [5.0, -5.0, 1e-30, -1e30])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4"])
def test_a_constant_tensor_comes_back_to_one_rounding(constant, dtype):
    x = np.full((3, 4), constant, np.float32)
    np.testing.assert_allclose(fake_quantize(x, choose_qparams(x, dtype)), x, rtol=2.0**-22)


def test_a_tensor_of_zeros_gets_scale_1_as_in_onnxruntime():
    for dtype in DTYPES:
        for symmetric in (False, True):
            qparams = choose_qparams(np.zeros(4), dtype, symmetric=symmetric)
            assert qparams.scale == 1
            assert not fake_quantize(np.zeros(4), qparams).any()
    _, scale, _ = run("DynamicQuantizeLinear", np.zeros(4, np.float32), output_dtypes=["uint8", "float32", "uint8"])
    assert scale == 1


def test_a_range_too_small_for_a_normal_scale_gets_the_smallest_normal_one():
    for x in ([1e-45], [-1e-40, 0.0], [1e-37]):
        assert choose_qparams(x, "uint8").scale == SMALLEST_SCALE


@pytest.mark.parametrize(
    ("low", "high", "dtype", "options", "scale", "zero_point"),
    [
        (-1, 3, "int8", {"symmetric": True}, 3 / 127, 0),
        (-1, 3, "int8", {"symmetric": True, "narrow_range": True}, 3 / 127, 0),
        (-1, 3, "int8", {"symmetric": True, "reduce_range": True}, 3 / 64, 0),
        (-1, 3, "int8", {}, 4 / 255, -64),
        (-1, 3, "int8", {"narrow_range": True}, 4 / 254, -64),  # -127 + 63.5 = -63.5, a tie: half to even
        (0, 3, "uint8", {"symmetric": True}, 3 / 255, 0),
        (2, 3, "uint8", {"symmetric": True}, 3 / 255, 0),
        (-1, 3, "uint8", {"symmetric": True}, 3 / 127, 128),
        (-3, -1, "uint8", {"symmetric": True}, 3 / 127, 128),
        (-1, 3, "uint8", {"symmetric": True, "reduce_range": True}, 3 / 63, 64),
        (-1, 3, "uint8", {"reduce_range": True}, 4 / 127, 32),
        (2, 3, "uint8", {}, 3 / 255, 0),
        (-1, 3, "int4", {"symmetric": True}, 3 / 7, 0),
        (-1, 3, "uint2", {}, 4 / 3, 1),
        (-1, 3, "int16", {"symmetric": True}, 3 / 32767, 0),
    ],
)
def test_scale_and_zero_point_of_a_range(low, high, dtype, options, scale, zero_point):
    qparams = qparams_from_range(float(low), float(high), dtype, **options)
    assert qparams.scale == np.float32(scale)
    assert int(qparams.zero_point) == zero_point
    assert qparams.zero_point.dtype == storage_dtype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_reduced_codes_stay_within_seven_bits(dtype):
    qparams = qparams_from_range(-1.0, 1.0, dtype, reduce_range=True)
    q = quantize(np.linspace(-9, 9, 1001), qparams)
    assert (
        (int(q.min()), int(q.max())) == code_range(dtype, reduce_range=True) == (qparams.quant_min, qparams.quant_max)
    )


def test_widths_between_the_storage_types_have_their_own_range():
    qparams = choose_qparams(np.linspace(-1, 1, 100), "int5", symmetric=True)
    q = quantize([-9.0, 9.0], qparams)
    assert (q.dtype, q.tolist(), qparams.dtype) == (np.int8, [-16, 15], "int5")


def test_rounding_is_half_to_even_and_comes_before_the_zero_point():
    qparams = QParams(scale=1.0, zero_point=3, dtype="uint8")
    assert quantize([-0.5, 0.5, 1.5, 2.5], qparams).tolist() == [3, 3, 5, 5]  # after it: 2, 4, 4, 6


def test_qparams_are_equal_by_value_frozen_and_printed_in_short():
    qparams = choose_qparams(np.float32([-1, 0, 3]), "uint8")
    assert qparams == choose_qparams(np.float32([3, -1]), np.uint8)
    assert qparams != choose_qparams(np.float32([-1, 0, 3]), "int8")
    with pytest.raises(AttributeError):
        qparams.scale = 3
    with pytest.raises(ValueError, match="read-only"):
        qparams.scale[...] = 3
    per_row = choose_qparams(np.ones((4, 2)), "int4", granularity=PerAxis(0), narrow_range=True)
    assert repr(per_row) == (
        "QParams(scale=<(4,) from 0.07143 to 0.07143>, zero_point=<(4,) from -7 to -7>, dtype='int4', "
        "granularity=PerAxis(axis=0), narrow_range=True)"
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ([], "x is empty, shape \\(0,\\)"),
        (np.zeros((3, 0)), "x is empty, shape \\(3, 0\\)"),
        (np.float32(3), "0-d"),
        ([1.0, np.nan], "1 of 2 values that are NaN"),
        ([np.inf, -np.inf, 1.0], "2 of 3 values"),
        ([1e300], "beyond float32"),
        (["a"], "expected real numbers"),
        ([1j], "expected real numbers"),
    ],
)
def test_a_tensor_without_a_range_is_refused_by_name(bad, message):
    with pytest.raises(ValueError, match=message):
        choose_qparams(bad)


@pytest.mark.parametrize("bad", [[], [np.nan], [np.inf]])
def test_quantize_refuses_what_has_no_code(bad):
    with pytest.raises(ValueError, match=r"x (is empty|holds)"):
        quantize(bad, QParams(1.0, 0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QParams(0.0, 0), "scale holds 0"),
        (lambda: QParams(-0.1, 0), "scale holds -0.1"),
        (lambda: QParams(np.nan, 0), "scale holds nan"),
        (lambda: QParams([], [], granularity=PerAxis(0)), "scale is empty"),
        (lambda: QParams(1e-60, 0), "scale holds 0"),
        (lambda: QParams(1e60, 0), "scale holds inf"),
        (lambda: QParams([1.0, 2.0], 0), "granularity"),
        (lambda: QParams(1.0, 128, "int8"), "zero_point 128 is not one of the codes -128 to 127"),
        (lambda: QParams(1.0, 0.5, "int8"), "zero_point 0.5"),
        (lambda: QParams([1.0, 2.0], [0, 0, 0], "int8", PerAxis(0)), "zero_point has shape"),
        (lambda: QParams(1.0, 0, "float32"), "does not hold quantized codes"),
        (lambda: QParams(1.0, 0, "int1"), "does not hold quantized codes"),
        (lambda: QParams(1.0, 0, "int8x"), "unknown"),
        (lambda: QParams(1.0, 0, "int32"), "does not hold quantized codes"),
        (lambda: qparams_from_range(1.0, -1.0), "low <= high"),
        (lambda: qparams_from_range(np.nan, 1.0), "low holds"),
        (lambda: qparams_from_range([0.0, 0.0], [1.0], granularity=PerAxis(0)), "equal shapes"),
        (lambda: qparams_from_range(-1.0, 1.0, "int4", reduce_range=True), "reduce_range guards 8-bit"),
        (lambda: qparams_from_range(-1.0, 1.0, "uint8", narrow_range=True), "uint8 is unsigned"),
        (lambda: choose_qparams([1.0], granularity=PerAxis(1)), "axis 1 is not there"),
        (lambda: quantize(np.ones((3, 2)), QParams([1.0, 2.0], 0, "int8", PerAxis(0))), r"needs \(3,\)"),
        (lambda: dequantize(np.int8([1]), QParams(1.0, 0, "uint8")), "codes are int8"),
        (lambda: dequantize(np.float32([1]), QParams(1.0, 0, "uint8")), "codes are float32"),
        (lambda: dequantize(np.uint8([]), QParams(1.0, 0, "uint8")), "at least one"),
    ],
)
def test_bad_parameters_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
