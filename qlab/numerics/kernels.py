"""ONNX's operators on codes, under their own names: QuantizeLinear, MatMulInteger, QLinearConv and their kin.

An integer product is exact here, and BLAS still does it: float64 adds integers without rounding while every partial
sum stays within 2**53. For 8-bit codes each term is at most 255 * 255 = 65,025, so that holds up to K = 138,519,019,680
terms, more than fit in memory. (float32 BLAS is exact only to 2**24: 258 such terms. NumPy's own integer matmul is
exact, but has no BLAS.) A convolution is one such product per group.
"""

from math import prod

import ml_dtypes
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from qlab.numerics.affine import round_and_saturate
from qlab.numerics.dtypes import (
    as_dtype,
    code_range,
    finite_float32,
    is_integer,
    plain_array,
    positive_scale,
    whole_number,
)
from qlab.numerics.granularity import PerAxis, PerBlock

INTEGER_CODES = ("int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16")
FLOAT8_CODES = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
FLOAT_CODES = (*FLOAT8_CODES, "float4_e2m1fn")
REALS = ("float32", "float16", "bfloat16")
BYTES = ("uint8", "int8")


def quantize_linear(x, y_scale, y_zero_point=None, *, axis=1, block_size=0, output_dtype=None, saturate=True):
    """ONNX QuantizeLinear: y = saturate(round(x / y_scale) + y_zero_point).

    >>> quantize_linear(np.float32([-1, 0.5, 1.5, 300]), np.float32(1), np.uint8(3))
    array([  2,   3,   5, 255], dtype=uint8)

    x: float32, float16 or bfloat16. y_scale: one number, one per index of `axis` (1-D), or with `block_size` one
    per block along `axis` (x's rank). y_zero_point: y_scale's shape; its type is y's, else `output_dtype`, else uint8.
    The quotient is computed, as the standard says, in y_scale's type: float16 for a float16 scale, which moves codes.
    `saturate=False` (float8 only) lets a number beyond the type become NaN or infinity.
    Raises ValueError for types and shapes that ONNX does not define, a scale that is not positive, NaN into codes
    without NaN.
    """
    x = tensor(x, "x", REALS)
    y_scale = positive_scale(tensor(y_scale, "y_scale", REALS), "y_scale")
    dtype = _code_dtype(y_zero_point, output_dtype)
    zero_point = np.zeros((), dtype) if y_zero_point is None else plain_array(y_zero_point, "y_zero_point")
    scale = spread(y_scale, x.shape, axis, block_size, "y_scale")
    zero_point = spread(zero_point, x.shape, axis, block_size, "y_zero_point").astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity saturates; NaN is looked for below
        quotient = np.asarray(x.astype(scale.dtype, copy=False) / scale).astype(np.float32, copy=False)
    if dtype.name not in FLOAT8_CODES and np.isnan(quotient).any():
        raise ValueError(f"x / y_scale is NaN in places, which no {dtype.name} code can tell; remove NaN from x first")
    if is_integer(dtype):
        return round_and_saturate(quotient, zero_point, *code_range(dtype)).astype(dtype)
    return _cast_float(quotient + zero_point, dtype, saturate)


def _code_dtype(zero_point, output_dtype):
    """Type of the codes: the zero point's, else output_dtype, else uint8; the two must agree."""
    stated = np.dtype(np.uint8) if not output_dtype else as_dtype(output_dtype)
    dtype = stated if zero_point is None else plain_array(zero_point, "y_zero_point").dtype
    if dtype.name not in INTEGER_CODES + FLOAT_CODES:
        what = "output_dtype" if zero_point is None else "y_zero_point"
        raise ValueError(f"{what} is {dtype}, the type of y; expected one of {INTEGER_CODES + FLOAT_CODES}")
    if output_dtype and dtype != stated:
        raise ValueError(f"y_zero_point is {dtype} but output_dtype is {stated}; give one of them, or make them agree")
    return dtype


def _cast_float(real, dtype, saturate):
    """float4 or float8 of `real`, half to even. float4, without infinity, always saturates."""
    if saturate or dtype.name not in FLOAT8_CODES:
        largest = float(ml_dtypes.finfo(dtype).max)
        real = np.clip(real, -largest, largest)
    return real.astype(dtype)


def dequantize_linear(x, x_scale, x_zero_point=None, *, axis=1, block_size=0, output_dtype=None):
    """ONNX DequantizeLinear: y = (x - x_zero_point) * x_scale.

    >>> dequantize_linear(np.uint8([0, 128, 255]), np.float32(0.5), np.uint8(128))
    array([-64. ,   0. ,  63.5], dtype=float32)

    x: any of the codes above, or int32. Shapes of x_scale and x_zero_point: as in `quantize_linear`.
    y has `output_dtype`, else x_scale's type; it is computed in float32 and rounded once, as onnxruntime does.
    """
    x = tensor(x, "x", (*INTEGER_CODES, "int32", *FLOAT_CODES))
    x_scale = positive_scale(tensor(x_scale, "x_scale", REALS), "x_scale")
    zero_point = (
        np.zeros((), x.dtype) if x_zero_point is None else tensor(x_zero_point, "x_zero_point", (x.dtype.name,))
    )
    dtype = as_dtype(output_dtype) if output_dtype else x_scale.dtype
    if dtype.name not in REALS:
        raise ValueError(f"y would be {dtype}; with such a scale, set output_dtype to one of {REALS}")
    wide = np.float64 if x.dtype == np.int32 else np.float32  # each holds x - x_zero_point exactly
    zero_point = spread(zero_point, x.shape, axis, block_size, "x_zero_point").astype(wide)
    scale = spread(x_scale, x.shape, axis, block_size, "x_scale").astype(np.float32)
    with np.errstate(over="ignore"):  # ONNX lets a product beyond the output's type be infinite
        return np.asarray((x.astype(wide) - zero_point).astype(np.float32) * scale).astype(dtype)


def dynamic_quantize_linear(x):
    """ONNX DynamicQuantizeLinear: (y uint8, y_scale float32, y_zero_point uint8) for the range of x and 0.

    >>> y, y_scale, y_zero_point = dynamic_quantize_linear(np.float32([-1, 0, 3]))
    >>> y, float(y_scale), int(y_zero_point)
    (array([  0,  64, 255], dtype=uint8), 0.01568627543747425, 64)

    Where the standard's formula fails, onnxruntime returns a scale of 0 or infinity; here all zeros, and a range too
    small for any float32 scale, get scale 1 (onnxruntime does so for zeros), and a range beyond float32's largest
    number its true scale.
    Raises ValueError if x is empty, not float32, or holds NaN or infinity.
    """
    x = finite_float32(tensor(x, "x", ("float32",)))
    low, high = np.minimum(x.min(), np.float32(0)), np.maximum(x.max(), np.float32(0))
    with np.errstate(over="ignore"):
        scale = (high - low) / np.float32(255)
    if not np.isfinite(scale):
        scale = high / np.float32(255) - low / np.float32(255)
    scale = scale if scale > 0 else np.float32(1)
    zero_point = np.clip(np.rint(-low / scale), 0, 255)
    y = round_and_saturate(np.asarray(x / scale), zero_point, 0, 255).astype(np.uint8)
    return y, np.array(scale), np.array(zero_point, np.uint8)


def tensor(value, name, allowed):
    """`value` as an array of one of the `allowed` types (a Python number becomes float32); ValueError for others."""
    array = np.float32(value) if isinstance(value, (int, float)) else plain_array(value, name)
    array = np.asarray(array)
    if array.dtype.name not in allowed:
        raise ValueError(f"{name} is {array.dtype}; expected {' or '.join(allowed)}: convert it with .astype")
    return array


def spread(value, shape, axis, block_size, name):
    """A scale or zero point, broadcasting against x: one number, one per index of axis, or one per block along axis."""
    value = plain_array(value, name)
    if value.size == 1:
        return value.reshape(())
    granularity = PerBlock(axis, block_size) if block_size else PerAxis(axis)
    return granularity.spread(value, shape, name)


def matmul_integer(A, B, a_zero_point=None, b_zero_point=None):
    """ONNX MatMulInteger: (A - a_zero_point) @ (B - b_zero_point), int32.

    >>> matmul_integer(np.uint8([[11, 7, 3]]), np.int8([[1], [2], [3]]), np.uint8(12))
    array([[-38]], dtype=int32)

    A (..., M, K), B (..., K, N), each uint8 or int8, stacked and broadcast like np.matmul. a_zero_point: one number,
    one per row (M,), or (..., M, 1); b_zero_point: one number, one per column (N,), or (..., 1, N). A sum beyond int32
    wraps around, as ONNX allows and most processors do (`saturation` shows the others).
    """
    return wrap_int32(exact_product(A, B, a_zero_point, b_zero_point, BYTES))


def qlinear_matmul(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point):
    """ONNX QLinearMatMul: codes of the real product.

    y = saturate(round(a @ b * a_scale * b_scale / y_scale) + y_zero_point)

    >>> a, b = np.uint8([[3, 4]]), np.int8([[5], [6]])
    >>> qlinear_matmul(a, np.float32(0.1), np.uint8(0), b, np.float32(0.2), np.int8(0), np.float32(0.5), np.uint8(10))
    array([[12]], dtype=uint8)

    Codes: uint8 or int8. Shapes of a's and b's scales: as for the zero points of `matmul_integer`.
    """
    product = exact_product(a, b, a_zero_point, b_zero_point, BYTES)
    a_scale, b_scale, y_scale = (
        positive_scale(tensor(scale, name, REALS), name).astype(np.float32)
        for scale, name in ((a_scale, "a_scale"), (b_scale, "b_scale"), (y_scale, "y_scale"))
    )
    a, b = np.asarray(a), np.asarray(b)
    multiplier = output_multiplier(per_row(a_scale, a, "a_scale"), per_column(b_scale, b, "b_scale"), y_scale)
    if multiplier.ndim and product.ndim < max(a.ndim, b.ndim):
        raise ValueError(f"a {a.shape} @ b {b.shape}: scales per row or column need matrices on both sides")
    y_zero_point = scalar(tensor(y_zero_point, "y_zero_point", BYTES), "y_zero_point")
    return requantize(wrap_int32(product), multiplier, y_zero_point)


def output_multiplier(a_scale, b_scale, y_scale):
    """a_scale * b_scale / y_scale, float32, in this order like onnxruntime."""
    with np.errstate(over="ignore"):
        multiplier = np.asarray(a_scale * b_scale / scalar(y_scale, "y_scale"))
    if not np.isfinite(multiplier).all():
        raise ValueError(
            f"scales {np.max(a_scale)} * {np.max(b_scale)} / {y_scale} are beyond float32; use scales nearer to 1"
        )
    return multiplier


def requantize(accumulator, multiplier, y_zero_point):
    """Codes of int32 sums: saturate(round(accumulator * multiplier) + y_zero_point), of y_zero_point's type.

    >>> requantize(np.int32([-900, 0, 25, 900]), np.float32(0.1), np.uint8(100))
    array([ 10, 100, 102, 190], dtype=uint8)

    multiplier: float32 a_scale * b_scale / y_scale. All in float32 like onnxruntime; the sum itself is rounded beyond
    2**24. Computed otherwise (another order of the scales, fixed point), a code can differ by one, but only where the
    real value lies within 4 float32 roundings, |value| * 2**-22, of a tie between two codes.
    """
    y_zero_point = plain_array(y_zero_point, "y_zero_point")
    accumulator, multiplier = plain_array(accumulator, "accumulator"), plain_array(multiplier, "multiplier")
    with np.errstate(over="ignore"):  # an infinite product saturates
        real = np.asarray(np.asarray(accumulator, np.float32) * np.asarray(multiplier, np.float32))
    codes = round_and_saturate(real, y_zero_point.astype(np.float32), *code_range(y_zero_point.dtype))
    return codes.astype(y_zero_point.dtype)


def exact_product(A, B, a_zero_point, b_zero_point, allowed):
    """(A - a_zero_point) @ (B - b_zero_point) in float64, exact for 8-bit integers."""
    A, B = tensor(A, "A", allowed), tensor(B, "B", allowed)
    if A.ndim == 0 or B.ndim == 0 or A.shape[-1] != B.shape[-2 if B.ndim > 1 else 0]:
        raise ValueError(f"A {A.shape} @ B {B.shape}: expected (..., M, K) @ (..., K, N) with equal K")
    return centered(A, a_zero_point, per_row, "a_zero_point") @ centered(B, b_zero_point, per_column, "b_zero_point")


def centered(codes, zero_point, lay, name):
    """codes - zero_point in float64. `lay` puts the zero points along the rows, columns or channels of the codes."""
    if zero_point is None:
        return codes.astype(np.float64)
    zero_point = tensor(zero_point, name, (codes.dtype.name,)).astype(np.float64)
    return codes.astype(np.float64) - lay(zero_point, codes, name)


def per_row(value, matrix, name):
    """`value` laid along the rows of matrix (..., M, K): one number, (M,) -> (M, 1), or (..., M, 1) as it is."""
    return _laid(value, name, (-1, 1), (*matrix.shape[:-1], 1) if matrix.ndim > 1 else ())


def per_column(value, matrix, name):
    """`value` laid along the columns of matrix (..., K, N): one number, (N,) -> (1, N), or (..., 1, N) as it is."""
    return _laid(value, name, (1, -1), (*matrix.shape[:-2], 1, matrix.shape[-1]) if matrix.ndim > 1 else ())


def per_channel(value, weight, name):
    """`value` laid along the output channels of weight (M, C, k1, ...): one number, or (M,) -> (M, 1, 1, ...)."""
    ones = (1,) * (weight.ndim - 1)
    return _laid(value, name, (-1, *ones), (weight.shape[0], *ones))


def _laid(value, name, shape_of_vector, full_shape):
    if value.size == 1:
        return value.reshape(())
    laid = value.reshape(shape_of_vector) if value.ndim == 1 else value
    aligned = (1,) * (len(full_shape) - laid.ndim) + laid.shape
    if len(aligned) > len(full_shape) or any(n not in (1, m) for n, m in zip(aligned, full_shape, strict=True)):
        raise ValueError(f"{name} has shape {value.shape}; expected one number, or as many as fit {full_shape}")
    return laid


def scalar(value, name):
    """The one number in `value`, as a 0-d array."""
    value = plain_array(value, name)
    if value.size != 1:
        raise ValueError(f"{name} has shape {value.shape}; expected a single number")
    return value.reshape(())


def wrap_int32(total):
    """Whole numbers in float64 as int32, modulo 2**32. (Through int64: a cast straight to int32 is undefined.)"""
    return np.asarray(total).astype(np.int64).astype(np.int32)


def conv_integer(
    x, w, x_zero_point=None, w_zero_point=None, *,
    dilations=None, group=1, kernel_shape=None, pads=None, strides=None,
):  # fmt: skip
    """ONNX ConvInteger: the convolution of x - x_zero_point with w - w_zero_point, int32.

    >>> x, w = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2), np.int8)
    >>> conv_integer(x, w, np.uint8(1))
    array([[[[ 4,  8],
             [16, 20]]]], dtype=int32)

    x (N, C, d1, d2, ...), w (M, C/group, k1, k2, ...), each uint8 or int8; y (N, M, o1, o2, ...). x_zero_point: one
    number; w_zero_point: one number, or one per output channel (M,). pads: all beginnings, then all ends. Padding
    stands for the real number 0, so it holds x_zero_point. A sum beyond int32 wraps around.
    """
    window = _window(x, w, dilations, kernel_shape, pads, strides)
    return wrap_int32(_exact_convolution(x, w, x_zero_point, w_zero_point, group, *window))


def qlinear_conv(
    x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B=None, *,
    dilations=None, group=1, kernel_shape=None, pads=None, strides=None,
):  # fmt: skip
    """ONNX QLinearConv: codes of the real convolution, with bias.

    y = saturate(round((x * w + B) * x_scale * w_scale / y_scale) + y_zero_point)

    >>> x, w = np.arange(9, dtype=np.uint8).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2), np.int8)
    >>> one, zero = np.float32(1), np.uint8(0)
    >>> qlinear_conv(x, one, np.uint8(1), w, one, np.int8(0), np.float32(8), zero, np.int32([4]))
    array([[[[1, 2],
             [2, 3]]]], dtype=uint8)

    As `conv_integer`; w_scale: one number, or one per output channel (M,). B: int32 (M,), in units of x_scale *
    w_scale, no zero point. Rounding: as in `requantize`.
    """
    window = _window(x, w, dilations, kernel_shape, pads, strides)
    total = _exact_convolution(x, w, x_zero_point, w_zero_point, group, *window)
    if B is not None:
        total += _over_output(tensor(B, "B", ("int32",)), w, "B")
    x_scale, w_scale, y_scale = (
        positive_scale(tensor(scale, name, ("float32",)), name)
        for scale, name in ((x_scale, "x_scale"), (w_scale, "w_scale"), (y_scale, "y_scale"))
    )
    multiplier = output_multiplier(scalar(x_scale, "x_scale"), _over_output(w_scale, w, "w_scale"), y_scale)
    return requantize(
        wrap_int32(total), multiplier, scalar(tensor(y_zero_point, "y_zero_point", BYTES), "y_zero_point")
    )


def _over_output(value, w, name):
    """`value` against y (N, M, o1, ...): one number, or (M,) -> (M, 1, ...)."""
    laid = per_channel(value, plain_array(w, "w"), name)
    return laid[..., 0] if laid.ndim else laid


def _window(x, w, dilations, kernel_shape, pads, strides):
    """(pads begin, pads end, strides, dilations) along the spatial axes, once the attributes are found consistent."""
    x_shape, kernel = np.shape(x)[2:], np.shape(w)[2:]
    n = len(kernel)
    if n == 0 or len(x_shape) != n or tuple(_whole_numbers(kernel_shape or kernel, "kernel_shape")) != kernel:
        raise ValueError(
            f"x {np.shape(x)}, w {np.shape(w)}, kernel_shape {kernel_shape}: expected x (N, C, d1, ...), "
            "w (M, C/group, k1, ...) with equally many spatial axes, and kernel_shape as w has it"
        )
    given = {"strides": strides or [1] * n, "dilations": dilations or [1] * n, "pads": pads or [0] * 2 * n}
    strides, dilations, pads = (_whole_numbers(numbers, name) for name, numbers in given.items())
    if len(strides) != n or len(dilations) != n or min(*strides, *dilations) < 1 or len(pads) != 2 * n or min(pads) < 0:
        raise ValueError(
            f"strides {strides}, dilations {dilations}, pads {pads} for {n} spatial axes: expected {n} strides and "
            f"dilations, at least 1, and {2 * n} pads, at least 0"
        )
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begin, end = pads[:n], pads[n:]
    if any(b + d + e < size for b, d, e, size in zip(begin, x_shape, end, extent, strict=True)):
        raise ValueError(f"kernel spans {extent}, more than x's {x_shape} with pads {list(pads)}")
    return begin, end, strides, dilations


def _whole_numbers(numbers, name):
    """`numbers` as a list of ints."""
    if isinstance(numbers, str) or not np.iterable(numbers):
        raise ValueError(f"{name} is {numbers!r}; expected whole numbers in a list")
    return [whole_number(number, name) for number in numbers]


def _exact_convolution(x, w, x_zero_point, w_zero_point, group, begin, end, strides, dilations):
    """The sums in float64, exact: every window of x becomes a row, and is multiplied by w."""
    x, w, group = tensor(x, "x", BYTES), tensor(w, "w", BYTES), whole_number(group, "group")
    if group < 1 or x.shape[1] != w.shape[1] * group or w.shape[0] % group:
        raise ValueError(
            f"x {x.shape}, w {w.shape}, group={group}: expected w (M, C/group, ...), M a multiple of group"
        )
    x = centered(x, x_zero_point, lambda value, _, name: scalar(value, name), "x_zero_point")
    w = centered(w, w_zero_point, per_channel, "w_zero_point")
    view, n = windows(x, w.shape[2:], begin, end, strides, dilations), w.ndim - 2
    out = view.shape[2 : 2 + n]
    view = view.reshape(x.shape[0], group, -1, *view.shape[2:])
    rows = np.moveaxis(view, 2, 2 + n).swapaxes(0, 1)  # (group, N, out..., C/group, kernel...)
    rows = rows.reshape(group, x.shape[0] * prod(out), prod(w.shape[1:]))
    y = rows @ w.reshape(group, -1, prod(w.shape[1:])).swapaxes(1, 2)  # (group, N * out, M/group)
    y = np.moveaxis(y.reshape(group, x.shape[0], *out, -1), -1, 1)  # (group, M/group, N, out...)
    return np.moveaxis(y.reshape(-1, x.shape[0], *out), 1, 0)


def windows(x, kernel, begin, end, strides, dilations):
    """A view of all windows of x (N, C, d1, ...), padded with 0, under a kernel: (N, C, o1, ..., k1, ...)."""
    x = np.pad(x, [(0, 0), (0, 0), *zip(begin, end, strict=True)])
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    view = sliding_window_view(x, extent, axis=tuple(range(2, x.ndim)))
    return view[(..., *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))]
