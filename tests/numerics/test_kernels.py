"""qlab.numerics.kernels: what is refused, and what onnxruntime does not run but ONNX defines."""

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from qlab.numerics import kernels
from qlab.numerics.dtypes import ONNX_DTYPES

x = np.float32([[1, -2, 3], [4, 6, -6]])
one, zero, zero_signed = np.float32(1), np.uint8(0), np.int8(0)
codes, signed = np.uint8([[1, 2], [3, 4]]), np.int8([[1, -2], [3, -4]])
image, kernel = np.ones((1, 2, 4, 4), np.uint8), np.ones((3, 2, 3, 3), np.int8)


# ONNX lets them in; no exporter writes them there, and no test of onnx uses them.
LEFT_OUT = ("int32", "float6", "float8e8m0")


def allowed(operator):
    """(input name, ONNX type) of what the installed onnx lets into the operator, but for what is LEFT_OUT."""
    schema = onnx.defs.get_schema(operator)
    types = {t.type_param_str: t.allowed_type_strs for t in schema.type_constraints}
    named = {i.name: types.get(i.type_str, [i.type_str]) for i in schema.inputs}
    return {name: [one for one in types if not any(left in one for left in LEFT_OUT)] for name, types in named.items()}


def dtype_of(onnx_type):
    number = onnx.TensorProto.DataType.Value(onnx_type[len("tensor(") : -1].upper())
    return np.dtype(ONNX_DTYPES[number])


def test_onnx_numbers_of_types_are_those_of_the_installed_onnx():
    for number, name in ONNX_DTYPES.items():
        assert onnx.helper.tensor_dtype_to_np_dtype(number) == np.dtype(name)


@pytest.mark.parametrize("x_type", allowed("QuantizeLinear")["x"])
@pytest.mark.parametrize("y_type", allowed("QuantizeLinear")["y_zero_point"])
def test_quantize_linear_takes_every_type_that_the_installed_onnx_defines(x_type, y_type):
    for scale_type in allowed("QuantizeLinear")["y_scale"]:
        real, scale = x.astype(dtype_of(x_type)), np.ones((), dtype_of(scale_type))
        y = kernels.quantize_linear(real, scale, np.zeros((), dtype_of(y_type)))
        assert y.dtype == dtype_of(y_type)
        if y_type not in ("tensor(uint2)", "tensor(int2)"):  # the others hold 1, 3, 4 and 6 exactly
            np.testing.assert_array_equal(y.astype(np.float32)[y.astype(np.float32) > 0], [1, 3, 4, 6])


@pytest.mark.parametrize("x_type", allowed("DequantizeLinear")["x"])
def test_dequantize_linear_takes_every_type_that_the_installed_onnx_defines(x_type):
    q = np.array([0, 1, 1, 0]).astype(dtype_of(x_type))
    for scale_type in allowed("DequantizeLinear")["x_scale"]:
        scale = np.full((), 0.5, dtype_of(scale_type))
        for output_dtype in ("float32", "float16", "bfloat16"):
            y = kernels.dequantize_linear(q, scale, np.zeros((), q.dtype), output_dtype=output_dtype)
            assert y.dtype == np.dtype(output_dtype)
            assert y.astype(np.float32).tolist() == [0, 0.5, 0.5, 0]


@pytest.mark.parametrize("dtype", ["int4", "uint16", "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn"])
@pytest.mark.parametrize("saturate", [0, 1])
def test_quantize_linear_equals_onnx_reference(dtype, saturate):
    dtype = np.dtype(dtype)
    real = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32) * 300
    scale = np.float32([0.3, 0.7, 1.9, 5.0])
    attributes = {"axis": 0, "saturate": saturate}
    node = onnx.helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], **attributes)
    feeds = {"x": real, "s": scale, "z": np.zeros(4, dtype)}
    (expected,) = ReferenceEvaluator(node).run(None, feeds)
    actual = kernels.quantize_linear(*feeds.values(), **attributes)
    assert actual.dtype == expected.dtype
    np.testing.assert_array_equal(actual.astype(np.float32), expected.astype(np.float32))


def test_matmul_integer_takes_a_zero_point_per_row_and_stacks_like_matmul():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 3, 4, 5)).astype(np.uint8), rng.integers(-128, 128, (3, 5, 6)).astype(np.int8)
    a_zero, b_zero = rng.integers(0, 256, (2, 3, 4, 1)).astype(np.uint8), rng.integers(-9, 9, (3, 1, 6)).astype(np.int8)
    exact = (a.astype(np.int64) - a_zero) @ (b.astype(np.int64) - b_zero)
    np.testing.assert_array_equal(kernels.matmul_integer(a, b, a_zero, b_zero), exact)
    rows = np.arange(4, dtype=np.uint8)
    np.testing.assert_array_equal(
        kernels.matmul_integer(a, b, rows), (a.astype(np.int64) - rows[:, None].astype(int)) @ b.astype(np.int64)
    )
    np.testing.assert_array_equal(kernels.matmul_integer(a[0, 0, 0], b[0, :, 0]), a[0, 0, 0].astype(int) @ b[0, :, 0])


def test_the_product_is_exact_where_float32_is_not():
    a, b = np.full((8, 2048), 255, np.uint8), np.full((2048, 8), 255, np.uint8)
    a[::2, 1::2], b[1::3] = 254, 253
    exact = a.astype(np.int64) @ b.astype(np.int64)
    assert (a.astype(np.float32) @ b.astype(np.float32) != exact).any()
    np.testing.assert_array_equal(kernels.matmul_integer(a, b), exact)


def test_a_sum_beyond_int32_wraps_around():
    k = 33_026
    y = kernels.matmul_integer(np.full((1, k), 255, np.uint8), np.full((k, 1), 255, np.uint8))
    assert y.item() == k * 255 * 255 - 2**32


def test_a_convolution_takes_a_zero_point_per_channel_and_any_number_of_axes():
    rng = np.random.default_rng(0)
    volume, w = (
        rng.integers(0, 256, (2, 2, 3, 4, 5)).astype(np.uint8),
        rng.integers(-99, 99, (4, 2, 2, 2, 2)).astype(np.int8),
    )
    w_zero = np.int8([1, -2, 3, -4])
    y = kernels.conv_integer(volume, w, np.uint8(7), w_zero, pads=[1, 0, 0, 0, 0, 1])
    padded = np.pad(volume.astype(int) - 7, [(0, 0), (0, 0), (1, 0), (0, 0), (0, 1)])
    window = padded[1, :, 2:4, 1:3, 4:6]
    assert y.shape == (2, 4, 3, 3, 5)
    assert y[1, 2, 2, 1, 4] == (window * (w[2].astype(int) - 3)).sum()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: kernels.quantize_linear(x.astype(np.float64), one), "x is float64; expected float32"),
        (lambda: kernels.quantize_linear(x, np.float32(0)), "y_scale holds 0"),
        (lambda: kernels.quantize_linear(x, np.float32(-1)), "y_scale holds -1"),
        (lambda: kernels.quantize_linear(x, np.float32(np.nan)), "y_scale holds nan"),
        (lambda: kernels.quantize_linear(x, one, np.int32(0)), "y_zero_point is int32"),
        (lambda: kernels.quantize_linear(x, one, zero, output_dtype="int8"), "make them agree"),
        (lambda: kernels.quantize_linear(x, one, output_dtype="float32"), "output_dtype is float32"),
        (lambda: kernels.quantize_linear(x, one, output_dtype=99), "ONNX data type 99"),
        (lambda: kernels.quantize_linear(x * np.nan, one), "NaN in places"),
        (lambda: kernels.quantize_linear(x, np.ones(2, np.float32)), r"needs \(3,\)"),
        (lambda: kernels.quantize_linear(x, np.ones(3, np.float32), axis=2), "axis 2 is not there"),
        (lambda: kernels.quantize_linear(x, np.ones((2, 3), np.float32), block_size=2), r"needs \(2, 2\)"),
        (lambda: kernels.quantize_linear(x, np.ones(3, np.float32), np.zeros(2, np.int8)), "y_zero_point has shape"),
        (lambda: kernels.dequantize_linear(x, one), "x is float32; expected int2"),
        (lambda: kernels.dequantize_linear(codes, one, zero_signed), "x_zero_point is int8; expected uint8"),
        (lambda: kernels.dequantize_linear(codes, np.float32(0)), "x_scale holds 0"),
        (lambda: kernels.dequantize_linear(codes, one, output_dtype="int8"), "set output_dtype"),
        (lambda: kernels.dynamic_quantize_linear(np.float32([])), "empty"),
        (lambda: kernels.dynamic_quantize_linear(np.float32([np.inf])), "infinite"),
        (lambda: kernels.dynamic_quantize_linear(np.float64([1])), "x is float64"),
        (lambda: kernels.matmul_integer(x, signed), "A is float32; expected uint8 or int8"),
        (lambda: kernels.matmul_integer(codes, np.ones((3, 2), np.int8)), r"A \(2, 2\) @ B \(3, 2\)"),
        (lambda: kernels.matmul_integer(codes, np.int8(1)), "expected"),
        (lambda: kernels.matmul_integer(codes, signed, zero_signed), "a_zero_point is int8; expected uint8"),
        (lambda: kernels.matmul_integer(codes, signed, np.zeros(3, np.uint8)), "a_zero_point has shape"),
        (lambda: kernels.matmul_integer(codes, signed, zero, np.zeros((2, 1), np.int8)), "b_zero_point has shape"),
        (lambda: kernels.qlinear_matmul(codes, one, zero, signed, one, zero_signed, one * 0, zero), "y_scale holds 0"),
        (
            lambda: kernels.qlinear_matmul(codes, one, zero, signed, one, zero_signed, one, np.zeros(2, np.uint8)),
            "y_zero_point has shape",
        ),
        (
            lambda: kernels.qlinear_matmul(codes, one * 1e30, zero, signed, one * 1e30, zero_signed, one, zero),
            "beyond float32",
        ),
        (
            lambda: kernels.qlinear_matmul(codes, np.float32([1, 2]), zero, signed[:, 0], one, zero_signed, one, zero),
            "matrices on both sides",
        ),
        (lambda: kernels.conv_integer(image, kernel[:, :1]), "group=1"),
        (lambda: kernels.conv_integer(image, kernel[..., 0]), "equally many spatial axes"),
        (lambda: kernels.conv_integer(image, kernel, kernel_shape=[2, 2]), "kernel_shape as w has it"),
        (lambda: kernels.conv_integer(image, kernel, strides=[0, 1]), "strides, dilations|strides"),
        (lambda: kernels.conv_integer(image, kernel, pads=[1, 1]), "4 pads"),
        (lambda: kernels.conv_integer(image, kernel, dilations=[2, 2]), r"kernel spans \[5, 5\]"),
        (lambda: kernels.conv_integer(image, kernel, np.zeros(2, np.uint8)), "x_zero_point has shape"),
        (lambda: kernels.conv_integer(image, kernel, zero, np.zeros(2, np.int8)), "w_zero_point has shape"),
        (
            lambda: kernels.qlinear_conv(
                image, one, zero, kernel, np.ones(2, np.float32), zero_signed, one, zero, np.zeros(3, np.int32)
            ),
            "w_scale has shape",
        ),
        (
            lambda: kernels.qlinear_conv(image, one, zero, kernel, one, zero_signed, one, zero, np.zeros(3, np.int64)),
            "B is int64",
        ),
        (
            lambda: kernels.qlinear_conv(image, one, zero, kernel, one, zero_signed, one, zero, np.zeros(2, np.int32)),
            "B has shape",
        ),
    ],
)
def test_bad_input_is_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
