"""The kernels against onnxruntime's: random shapes, axes, blocks, zero points, strides, pads, groups, dilations.

Integer results are equal code for code. Requantized ones (QLinearMatMul, QLinearConv) may differ by one code only in
the tie band that `check_requantized` states, and are equal everywhere else.
"""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qlab.numerics import kernels
from qlab.numerics.dtypes import ONNX_DTYPES, bit_width, code_range, is_integer
from tests.numerics.runtime import run, saturates

SATURATES = saturates()
INTEGERS = ["int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16"]
FLOAT8 = ["float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
BYTES = ["uint8", "int8"]

many = settings(deadline=None, max_examples=150)
generators = st.integers(0, 2**32 - 1).map(np.random.default_rng)
small_shapes = hnp.array_shapes(min_dims=1, max_dims=4, max_side=7)


def codes(rng, dtype, shape, low=None, high=None):
    first, last = code_range(dtype)
    return rng.integers(first if low is None else low, (last if high is None else high) + 1, shape).astype(dtype)


def weights(rng, dtype, shape):
    """Codes of a right operand. Where u8 x s8 saturates, 7 bits (reduce_range) keep onnxruntime's own answer right."""
    return codes(rng, dtype, shape, -64, 64) if SATURATES and dtype == "int8" else codes(rng, dtype, shape)


@st.composite
def scale_layouts(draw):
    """(x's shape, scale's shape, axis, block_size): per tensor, per axis or blocked, the last block often short."""
    shape = draw(small_shapes)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    kind = draw(st.sampled_from(["tensor", "axis", "block"]))
    if kind == "tensor":
        return shape, (), axis, 0
    if kind == "axis":
        return shape, (shape[axis],), axis, 0
    block_size = draw(st.integers(1, shape[axis]))
    scale_shape = list(shape)
    scale_shape[axis] = -(-shape[axis] // block_size)
    assume(scale_shape != [1])  # onnxruntime calls that per tensor, and refuses a block_size
    return shape, tuple(scale_shape), axis, block_size


@many
@given(
    generators,
    scale_layouts(),
    st.sampled_from(INTEGERS + FLOAT8),
    st.sampled_from([("float32", "float32"), ("float16", "float16"), ("float16", "float32")]),
    st.booleans(),
)
def test_quantize_linear_equals_onnxruntime_code_for_code(rng, layout, dtype, types, with_zero_point):
    shape, scale_shape, axis, block_size = layout
    x_type, scale_type = types
    scale = rng.uniform(0.01, 1, scale_shape).astype(scale_type)
    spread = 2.0 ** min(bit_width(dtype), 15 if x_type == "float32" else 9) * scale.mean()
    steps = rng.uniform(-1, 1, shape) * spread
    x = np.where(rng.random(shape) < 0.5, np.rint(steps) + 0.5, steps).astype(x_type)  # every other one near a tie
    zero_point = codes(rng, dtype, scale_shape) if is_integer(dtype) else np.zeros(scale_shape, dtype)
    attributes = {"axis": axis, "block_size": block_size}
    if not with_zero_point:
        zero_point = None
        attributes["output_dtype"] = next(n for n, name in ONNX_DTYPES.items() if name == dtype)
    if not is_integer(dtype):
        attributes["saturate"] = int(rng.integers(2))
    expected = run("QuantizeLinear", x, scale, zero_point, output_dtypes=[dtype], **attributes)
    actual = kernels.quantize_linear(x, scale, zero_point, **attributes)
    assert actual.dtype == expected.dtype
    actual, expected = actual.astype(np.float32), expected.astype(np.float32)  # where float8's NaNs compare equal
    if not attributes.get("saturate", 1):
        # Beyond the type's largest number onnxruntime 1.32 leaves the standard: 480.1 becomes 448 in float8_e4m3fn, and
        # 62000 NaN in float8_e5m2. There test_quantize_linear_equals_onnx_reference holds the kernel to the standard.
        expected = np.where(np.isfinite(actual), expected, actual)
    np.testing.assert_array_equal(actual, expected)


@many
@given(
    generators,
    scale_layouts(),
    st.sampled_from([*INTEGERS, "int32", *FLOAT8]),
    st.sampled_from(["float32", "float16"]),
    st.booleans(),
)
def test_dequantize_linear_equals_onnxruntime_bit_for_bit(rng, layout, dtype, scale_type, with_zero_point):
    shape, scale_shape, axis, block_size = layout
    scale = rng.uniform(0.001, 1, scale_shape).astype(scale_type)
    zero_point = None
    if dtype == "int32":
        x = rng.integers(-(2**31), 2**31, shape).astype(np.int32)
    elif is_integer(dtype):
        x = codes(rng, dtype, shape)
        zero_point = codes(rng, dtype, scale_shape) if with_zero_point else None
    else:
        x = rng.normal(size=shape).astype(dtype)
    attributes = {"axis": axis, "block_size": block_size}
    expected = run("DequantizeLinear", x, scale, zero_point, output_dtypes=[scale_type], **attributes)
    actual = kernels.dequantize_linear(x, scale, zero_point, **attributes)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.slow
@many
@given(hnp.arrays(np.float32, small_shapes, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_dynamic_quantize_linear_equals_onnxruntime_wherever_its_scale_is_usable(x):
    y, scale, zero_point = run("DynamicQuantizeLinear", x, output_dtypes=["uint8", "float32", "uint8"])
    assume(0 < scale < np.inf)
    actual = kernels.dynamic_quantize_linear(x)
    for ours, theirs in zip(actual, (y, scale, zero_point), strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def test_dynamic_quantize_linear_stays_finite_where_onnxruntime_divides_by_zero_or_infinity():
    _, scale, _ = run("DynamicQuantizeLinear", np.float32([1e-45]), output_dtypes=["uint8", "float32", "uint8"])
    assert scale == 0
    y, scale, zero_point = kernels.dynamic_quantize_linear(np.float32([1e-45]))
    assert (y, scale, zero_point) == (0, 1, 0)
    y, scale, zero_point = kernels.dynamic_quantize_linear(np.float32([-3e38, 0, 3e38]))
    assert y.tolist() == [0, 128, 255]
    assert scale == np.float32(6e38 / 255)


@st.composite
def matrix_shapes(draw):
    m, k, n = (draw(st.integers(1, 40)) for _ in range(3))
    batch = draw(hnp.array_shapes(min_dims=0, max_dims=2, max_side=3))
    return (*batch, m, k), draw(st.sampled_from([(k, n), (*batch, k, n)]))


@many
@given(
    generators, matrix_shapes(), st.sampled_from(BYTES), st.sampled_from(BYTES), st.sampled_from(["", "one", "columns"])
)
def test_matmul_integer_equals_onnxruntime_code_for_code(rng, shapes, a_dtype, b_dtype, zero_points):
    a, b = codes(rng, a_dtype, shapes[0]), weights(rng, b_dtype, shapes[1])
    columns = () if zero_points == "one" or b.ndim > 2 else b.shape[-1:]
    a_zero_point = codes(rng, a_dtype, ()) if zero_points else None
    b_zero_point = codes(rng, b_dtype, columns) if zero_points else None
    expected = run("MatMulInteger", a, b, a_zero_point, b_zero_point, output_dtypes=["int32"])
    np.testing.assert_array_equal(kernels.matmul_integer(a, b, a_zero_point, b_zero_point), expected)


@st.composite
def convolutions(draw):
    """(x's shape, w's shape, attributes) of a convolution over 1 or 2 axes that has at least one position."""
    n = draw(st.integers(1, 2))
    group, per_group, out_per_group = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    kernel = [draw(st.integers(1, 3)) for _ in range(n)]
    dilations, strides = [draw(st.integers(1, 2)) for _ in range(n)], [draw(st.integers(1, 3)) for _ in range(n)]
    sides = [(k - 1) * d + 1 + draw(st.integers(0, 6)) for k, d in zip(kernel, dilations, strict=True)]
    attributes = {"group": group, "dilations": dilations, "strides": strides, "kernel_shape": kernel}
    if draw(st.booleans()):
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * n)]
    x_shape = (draw(st.integers(1, 2)), group * per_group, *sides)
    return x_shape, (group * out_per_group, per_group, *kernel), attributes


@many
@given(generators, convolutions(), st.sampled_from(BYTES), st.sampled_from(BYTES), st.booleans())
def test_conv_integer_equals_onnxruntime_code_for_code(rng, convolution, x_dtype, w_dtype, with_zero_points):
    x_shape, w_shape, attributes = convolution
    # ConvInteger hands its weights over as the left operand of a matrix product, so that x is the right one there, and
    # x's zero point with it, which stands for the padding.
    x, w = weights(rng, x_dtype, x_shape), weights(rng, w_dtype, w_shape)
    zero_points = (weights(rng, x_dtype, ()), codes(rng, w_dtype, ())) if with_zero_points else (None, None)
    expected = run("ConvInteger", x, w, *zero_points, output_dtypes=["int32"], **attributes)
    np.testing.assert_array_equal(kernels.conv_integer(x, w, *zero_points, **attributes), expected)


def check_requantized(actual, expected, accumulator, multiplier):
    """Equal, but for one code where the real value is a tie to within the rounding of four float32 operations.

    The value is accumulator * multiplier; float32 rounds the accumulator, the two scale operations and their product by
    at most 2**-24 each, and in which order is the implementation's choice.
    """
    value = accumulator.astype(np.float64) * multiplier
    from_tie = np.abs(np.abs(value - np.floor(value)) - 0.5)
    in_tie_band = from_tie <= np.abs(value) * 2.0**-22
    difference = np.abs(actual.astype(int) - expected.astype(int))
    assert difference[~in_tie_band].sum() == 0
    assert difference.max() <= 1


def output_scale(rng, accumulator, scales, power_of_two):
    """A scale that spreads the outputs over most codes; powers of two make exact ties frequent."""
    scale = np.abs(accumulator).max() * np.max(scales) / rng.uniform(50, 200) + 1e-3
    return np.float32(2.0 ** np.round(np.log2(scale)) if power_of_two else scale)


def scales(rng, shape, power_of_two):
    return np.float32(2.0 ** rng.integers(-8, 0, shape) if power_of_two else rng.uniform(0.001, 0.1, shape))


@many
@given(
    generators,
    matrix_shapes(),
    st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]),
    st.booleans(),
)
def test_qlinear_matmul_equals_onnxruntime_outside_the_tie_band(rng, shapes, dtypes, power_of_two):
    a, b = codes(rng, dtypes[0], shapes[0]), weights(rng, dtypes[1], shapes[1])
    columns = b.shape[-1:] if b.ndim == 2 and rng.integers(2) else ()
    a_scale, b_scale = scales(rng, (), power_of_two), scales(rng, columns, power_of_two)
    a_zero, b_zero, y_zero = codes(rng, dtypes[0], ()), codes(rng, dtypes[1], columns), codes(rng, dtypes[0], ())
    accumulator = (a.astype(np.int64) - a_zero.astype(int)) @ (b.astype(np.int64) - b_zero.astype(int))
    y_scale = output_scale(rng, accumulator, a_scale * b_scale, power_of_two)
    arguments = (a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)
    expected = run("QLinearMatMul", *arguments, output_dtypes=[dtypes[0]])
    multiplier = a_scale.astype(np.float64) * b_scale / y_scale
    check_requantized(kernels.qlinear_matmul(*arguments), expected, accumulator, multiplier)


@many
@given(
    generators,
    convolutions(),
    st.sampled_from([("uint8", "uint8"), ("uint8", "int8"), ("int8", "int8")]),
    st.booleans(),
)
def test_qlinear_conv_equals_onnxruntime_outside_the_tie_band(rng, convolution, dtypes, power_of_two):
    x_shape, w_shape, attributes = convolution
    x, w = codes(rng, dtypes[0], x_shape), weights(rng, dtypes[1], w_shape)
    channels = w_shape[:1] if rng.integers(2) else ()
    x_scale, w_scale = scales(rng, (), power_of_two), scales(rng, channels, power_of_two)
    x_zero, y_zero = codes(rng, dtypes[0], ()), codes(rng, dtypes[0], ())
    w_zero = np.full(channels, codes(rng, dtypes[1], ()), dtypes[1])  # onnxruntime wants one value for all channels
    bias = rng.integers(-5000, 5000, w_shape[0]).astype(np.int32) if rng.integers(2) else None
    accumulator = kernels.conv_integer(x, w, x_zero, w_zero, **attributes).astype(np.int64)
    per_channel = (-1, *(1,) * (x.ndim - 2))
    if bias is not None:
        accumulator += bias.reshape(per_channel)
    y_scale = output_scale(rng, accumulator, x_scale * w_scale, power_of_two)
    arguments = (x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias)
    expected = run("QLinearConv", *arguments, output_dtypes=[dtypes[0]], **attributes)
    multiplier = x_scale.astype(np.float64) * (w_scale.reshape(per_channel) if channels else w_scale) / y_scale
    check_requantized(kernels.qlinear_conv(*arguments, **attributes), expected, accumulator, multiplier)


def test_qlinear_matmul_rounds_before_it_adds_the_zero_point_as_onnxruntime_does():
    """At exact ties the order shows: 0.5 rounds to 0, plus 1 is 1; 0.5 + 1 would round to 2."""
    one, half = np.array(1, np.float32), np.array(2, np.float32)
    a, b, zero, y_zero = np.uint8([[1, 3]]).T, np.int8([[1]]), np.array(0, np.uint8), np.array(1, np.uint8)
    arguments = (a, one, zero, b, one, zero.astype(np.int8), half, y_zero)
    assert kernels.qlinear_matmul(*arguments).ravel().tolist() == [1, 3]
    assert run("QLinearMatMul", *arguments, output_dtypes=["uint8"]).ravel().tolist() == [1, 3]


@pytest.mark.parametrize("x_type", [np.float16, ml_dtypes.bfloat16])
def test_the_division_has_the_scales_type(x_type):
    x = np.arange(-2000, 2000, 7).astype(x_type)
    scale = np.array(0.37, x_type)
    narrow = np.rint((x / scale).astype(np.float32))
    wide = np.rint(x.astype(np.float32) / scale.astype(np.float32))
    assert (narrow != wide).any()
    np.testing.assert_array_equal(kernels.quantize_linear(x, scale, np.int16(0)), narrow)
