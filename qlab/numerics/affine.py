"""Affine quantization: evenly spaced codes, real = scale * (q - zero_point).

In the order of the work: `choose_qparams` finds a range and `qparams_from_range` turns it into a scale and a zero
point, `quantize` and `dequantize` use them, `fake_quantize` goes there and back. All arithmetic is in float32, as in
ONNX and onnxruntime.
"""

import numpy as np
import numpy.typing as npt

from qlab.numerics.dtypes import check_flags, code_range, finite_float32, plain_array, storage_dtype
from qlab.numerics.granularity import Granularity, check_granularity
from qlab.numerics.qparams import PER_TENSOR, QParams, check_qparams
from qlab.types import Array, DType, Floats

LARGEST = np.finfo(np.float32).max
SMALLEST_SCALE = np.finfo(np.float32).tiny  # below it float32 loses digits, and a scale would be a coarse guess


def choose_qparams(
    x: npt.ArrayLike,
    dtype: DType = "int8",
    *,
    symmetric: bool = False,
    granularity: Granularity = PER_TENSOR,
    narrow_range: bool = False,
    reduce_range: bool = False,
) -> QParams:
    """Scale and zero point that map the range of `x` onto the codes of `dtype`.

    >>> choose_qparams(np.float32([-1, 0, 3]), "uint8")
    QParams(scale=0.01569, zero_point=64, dtype='uint8', granularity=PerTensor())
    >>> from qlab.numerics.granularity import PerAxis
    >>> choose_qparams(np.ones((64, 3, 3, 3)), "int8", symmetric=True, granularity=PerAxis(0)).scale.shape
    (64,)

    The range is widened to contain 0, so that 0.0 is represented exactly (padding, ReLU). Scale's shape: see
    `granularity`.
    Raises ValueError if x is empty, 0-d, or holds NaN or infinity.
    Source: ONNX DynamicQuantizeLinear; Jacob et al. 2018 (arXiv 1712.05877), section 2.1.
    """
    low, high = value_range(x, granularity)
    return qparams_from_range(
        low,
        high,
        dtype,
        symmetric=symmetric,
        granularity=granularity,
        narrow_range=narrow_range,
        reduce_range=reduce_range,
    )


def value_range(x, granularity=PER_TENSOR):
    """(low, high): the least and the greatest value in each group of `granularity`, 0 always taken in.

    >>> from qlab.numerics.granularity import PerAxis
    >>> [end.tolist() for end in value_range([[1.0, 2.0], [-3.0, 4.0]], PerAxis(0))]
    [[0.0, -3.0], [2.0, 4.0]]
    """
    check_granularity(granularity)
    x = finite_float32(x)
    if x.ndim == 0:
        raise ValueError("x is a single number (0-d), which has no range; pass an array with at least one axis")
    low, high = granularity.reduce(x, np.minimum), granularity.reduce(x, np.maximum)
    return np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))


def qparams_from_range(
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    dtype: DType = "int8",
    *,
    symmetric: bool = False,
    granularity: Granularity = PER_TENSOR,
    narrow_range: bool = False,
    reduce_range: bool = False,
) -> QParams:
    """Scale and zero point for real numbers between `low` and `high`: scalars, or arrays of the scale's shape.

    >>> qparams_from_range(-1.0, 3.0, "int8", symmetric=True)
    QParams(scale=0.02362, zero_point=0, dtype='int8', granularity=PerTensor())

    Asymmetric: scale = (high - low) / (quant_max - quant_min), zero_point = quant_min - low / scale, rounded.
    Symmetric, a = max(-low, high): signed codes have scale = a / quant_max and zero_point 0; so have unsigned codes if
    no value is negative (ReLU), else their zero_point is the mid-code and scale = a / (quant_max - mid-code).

    Degenerate ranges: 0 is always taken in, so a constant c > 0 has the range 0 to c and is the last code. Where all is
    0, scale is 1, as in onnxruntime. A scale under the smallest normal float32, 1.2e-38, becomes that number.
    Raises ValueError if low > high, either is not finite, or the shape does not fit the granularity.
    """
    check_flags(symmetric=symmetric, narrow_range=narrow_range, reduce_range=reduce_range)
    low, high = finite_float32(low, "low"), finite_float32(high, "high")
    if low.shape != high.shape or (low > high).any():
        raise ValueError(f"range from low={low} to high={high}: expected equal shapes, and low <= high everywhere")
    low, high = np.minimum(low, np.float32(0)), np.maximum(high, np.float32(0))
    quant_min, quant_max = code_range(dtype, narrow_range=narrow_range, reduce_range=reduce_range)
    if symmetric:
        mid_code = np.where((low < 0) & (quant_min == 0), (quant_max + 1) // 2, 0)
        scale = np.maximum(-low, high) / (quant_max - mid_code).astype(np.float32)
    else:  # halving is exact, and high/2 - low/2 cannot overflow where high - low would
        scale = (high / 2 - low / 2) / np.float32((quant_max - quant_min) / 2)
    scale = np.where(low == high, np.float32(1), np.maximum(scale, SMALLEST_SCALE))
    zero_point = mid_code if symmetric else np.clip(np.rint(quant_min - low / scale), quant_min, quant_max)
    return QParams(scale, zero_point, dtype, granularity, narrow_range, reduce_range)


def quantize(x: npt.ArrayLike, qparams: QParams) -> Array:
    """Codes of `x`: divide by scale, round half to even, add zero_point, saturate.

    >>> quantize([-1.0, 0.0, 0.5, 1.5, 99.0], QParams(scale=1.0, zero_point=2, dtype="uint4"))
    array([1, 2, 2, 4, 15], dtype=uint4)

    Returns an array of x's shape; int4 and int2 codes are ml_dtypes arrays, one code a byte.
    Raises ValueError if x is empty, holds NaN or infinity, or has a shape that the scales do not fit.
    Source: ONNX QuantizeLinear, whose order (round, then add) some tools reverse.
    """
    check_qparams(qparams)
    x = finite_float32(x)
    scale, zero_point = qparams.spread(x.shape)
    with np.errstate(over="ignore"):  # a quotient beyond float32 is infinite, and saturates like any large one
        quotient = np.divide(x, scale, out=np.empty(x.shape, np.float32))
    codes = round_and_saturate(quotient, zero_point, qparams.quant_min, qparams.quant_max)
    return codes.astype(storage_dtype(qparams.dtype))


def round_and_saturate(quotient, zero_point, quant_min, quant_max):
    """x / scale, a float array that is overwritten: half to even, *then* zero_point, then saturation.

    Adding in float32 is exact wherever it matters: only beyond 2**24 is it not, and that is far outside all codes.
    """
    np.rint(quotient, out=quotient)
    quotient += zero_point
    return np.clip(quotient, quant_min, quant_max, out=quotient)


def dequantize(q: npt.ArrayLike, qparams: QParams) -> Floats:
    """Real numbers of the codes `q`: scale * (q - zero_point), float32.

    >>> dequantize(np.uint8([0, 64, 255]), QParams(scale=0.5, zero_point=64, dtype="uint8"))
    array([-32. ,   0. ,  95.5], dtype=float32)

    Raises ValueError if q is empty, of another type than qparams says, or of a shape that the scales do not fit.
    Source: ONNX DequantizeLinear.
    """
    check_qparams(qparams)
    q = plain_array(q, "codes")
    expected = storage_dtype(qparams.dtype)
    if q.dtype != expected or q.size == 0:
        raise ValueError(
            f"codes are {q.dtype} of shape {q.shape}; expected at least one {expected}: codes.astype('{expected}')"
        )
    real = q.astype(np.float32)  # before the subtraction, which would wrap around in 8 bits
    scale, zero_point = qparams.spread(q.shape)
    real -= zero_point
    with np.errstate(over="ignore"):  # the outermost code may stand for a number just beyond float32's largest
        real *= scale
    return np.clip(real, -LARGEST, LARGEST, out=real)


def fake_quantize(x: npt.ArrayLike, qparams: QParams) -> Floats:
    """`x` as its codes tell it: dequantize(quantize(x)), float32.

    >>> x = np.float32([-1.0, 0.3, 3.0])
    >>> fake_quantize(x, choose_qparams(x, "uint2")).round(2)
    array([-1.33,  0.  ,  2.67], dtype=float32)

    For x inside the range, |x - result| <= scale/2 + (high - low) * 2**-21: half a step, and float32's own rounding.
    """
    return dequantize(quantize(x, qparams), qparams)
