"""MatMulInteger and QLinearMatMul: products of codes.

An integer product is exact here, and BLAS still does it: float64 adds integers without rounding while every partial
sum stays within 2**53. For 8-bit codes each term is at most 255 * 255 = 65,025, so that holds up to K = 138,519,019,680
terms, more than fit in memory. (float32 BLAS is exact only to 2**24: 258 such terms. NumPy's own integer matmul is
exact, but has no BLAS.)
"""

import numpy as np

from qlab.numerics.affine import round_and_saturate
from qlab.numerics.dtypes import code_range, is_integer, plain_array, positive_scale
from qlab.numerics.kernels.linear import FLOAT8_CODES, REALS, cast_float, tensor

BYTES = ("uint8", "int8")


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

    Codes: uint8, int8, or float8 (summed in float64). Shapes of a's and b's scales: as for the zero points of
    `matmul_integer`.
    """
    product = exact_product(a, b, a_zero_point, b_zero_point, BYTES + FLOAT8_CODES)
    a_scale, b_scale, y_scale = (
        positive_scale(tensor(scale, name, REALS), name).astype(np.float32)
        for scale, name in ((a_scale, "a_scale"), (b_scale, "b_scale"), (y_scale, "y_scale"))
    )
    a, b = np.asarray(a), np.asarray(b)
    multiplier = output_multiplier(per_row(a_scale, a, "a_scale"), per_column(b_scale, b, "b_scale"), y_scale)
    if multiplier.ndim and product.ndim < max(a.ndim, b.ndim):
        raise ValueError(f"a {a.shape} @ b {b.shape}: scales per row or column need matrices on both sides")
    y_zero_point = scalar(tensor(y_zero_point, "y_zero_point", BYTES + FLOAT8_CODES), "y_zero_point")
    if is_integer(y_zero_point.dtype):
        return requantize(wrap_int32(product), multiplier, y_zero_point)
    real = product.astype(np.float32) * multiplier + y_zero_point.astype(np.float32)
    return cast_float(real, y_zero_point.dtype, saturate=True)


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
