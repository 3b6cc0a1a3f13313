"""QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear: between real numbers and codes."""

import ml_dtypes
import numpy as np

from qlab.numerics.affine import round_and_saturate
from qlab.numerics.dtypes import as_dtype, code_range, finite_float32, is_integer, plain_array, positive_scale
from qlab.numerics.granularity import PerAxis, PerBlock

INTEGER_CODES = ("int2", "uint2", "int4", "uint4", "int8", "uint8", "int16", "uint16")
FLOAT8_CODES = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz")
FLOAT_CODES = (*FLOAT8_CODES, "float4_e2m1fn", "float6_e2m3fn", "float6_e3m2fn")
REALS = ("float32", "float16", "bfloat16")


def quantize_linear(
    x, y_scale, y_zero_point=None, *, axis=1, block_size=0, output_dtype=None, saturate=True, precision=None
):
    """ONNX QuantizeLinear: y = saturate(round(x / y_scale) + y_zero_point).

    >>> quantize_linear(np.float32([-1, 0.5, 1.5, 300]), np.float32(1), np.uint8(3))
    array([  2,   3,   5, 255], dtype=uint8)

    x: float32, float16, bfloat16 or int32. y_scale: one number, one per index of `axis` (1-D), or with `block_size` one
    per block along `axis` (x's rank). y_zero_point: y_scale's shape; its type is y's, else `output_dtype`, else uint8.
    The quotient is computed in `precision`; by default, as the standard says, in y_scale's type: float16 for a float16
    scale, which moves codes. `saturate=False` (float8 only) lets a number beyond the type become NaN or infinity.
    Raises ValueError for types and shapes that ONNX does not define, a scale that is not positive, NaN into codes
    without NaN.
    """
    x = tensor(x, "x", (*REALS, "int32"))
    y_scale = positive_scale(tensor(y_scale, "y_scale", (*REALS, "int32", "float8_e8m0fnu")), "y_scale")
    dtype = _code_dtype(y_zero_point, output_dtype)
    zero_point = np.zeros((), dtype) if y_zero_point is None else plain_array(y_zero_point, "y_zero_point")
    division = _division_dtype(x.dtype, y_scale.dtype) if precision in (None, 0) else as_dtype(precision)
    if division.name not in (*REALS, "float64"):
        raise ValueError(f"precision is {precision!r}, the type to divide in; expected None or one of {REALS}")
    scale = spread(y_scale, x.shape, axis, block_size, "y_scale").astype(division)
    zero_point = spread(zero_point, x.shape, axis, block_size, "y_zero_point").astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity saturates; NaN is looked for below
        quotient = np.asarray(x.astype(division, copy=False) / scale)
    quotient = quotient if quotient.dtype == np.float64 else quotient.astype(np.float32, copy=False)
    if dtype.name not in FLOAT8_CODES and np.isnan(quotient).any():
        raise ValueError(f"x / y_scale is NaN in places, which no {dtype.name} code can tell; remove NaN from x first")
    if is_integer(dtype):
        return round_and_saturate(quotient, zero_point, *code_range(dtype)).astype(dtype)
    return cast_float(quotient + zero_point, dtype, saturate)


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


def _division_dtype(x_dtype, scale_dtype):
    """Type in which x / y_scale is computed: the scale's, if it is a type to divide in."""
    if scale_dtype.name in REALS:
        return scale_dtype
    if scale_dtype == np.int32:
        return np.dtype(np.float64)  # holds any two int32 exactly
    # float8_e8m0 holds powers of two, by which division is exact in any type.
    return x_dtype if x_dtype.name in REALS else np.dtype(np.float32)


def cast_float(real, dtype, saturate):
    """float4, float6 or float8 of `real`, half to even. float4 and float6, without infinity, always saturate."""
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
    x_scale = positive_scale(tensor(x_scale, "x_scale", (*REALS, "float8_e8m0fnu")), "x_scale")
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
