"""Affine quantization: evenly spaced codes, real = scale * (q - zero_point).

In the order of the work: `choose_qparams` finds a range and `qparams_from_range` turns it into QParams, a scale and a
zero point; `quantize` and `dequantize` use them, `fake_quantize` goes there and back. `mse_range` clips: it gives up a
few large values so that all others get a finer scale. All arithmetic is in float32, as in ONNX and onnxruntime.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from qlab.numerics.dtypes import (
    Array,
    DType,
    Floats,
    check_flags,
    code_range,
    finite_float32,
    integer_name,
    plain_array,
    positive_scale,
    storage_dtype,
)
from qlab.numerics.granularity import Granularity, PerAxis, PerTensor, check_granularity

PER_TENSOR = PerTensor()
LARGEST = np.finfo(np.float32).max
SMALLEST_SCALE = np.finfo(np.float32).tiny  # below it float32 loses digits, and a scale would be a coarse guess


@dataclass(frozen=True, eq=False, repr=False)
class QParams:
    """Scale and zero point of a tensor, with all that is needed to use them.

    scale: float32, of the shape that `granularity` gives it; zero_point: same shape, in the codes' own type, as ONNX
    wants it.
    dtype: name of the codes, "int8". narrow_range, reduce_range: see `dtypes.code_range`.
    Raises ValueError if a scale is not positive and finite, or a zero point is not one of the codes (0.0 would not be
    exact).
    """

    scale: np.ndarray
    zero_point: np.ndarray
    dtype: str = "int8"
    granularity: Granularity = PER_TENSOR
    narrow_range: bool = False
    reduce_range: bool = False

    def __post_init__(self):
        dtype = integer_name(self.dtype)
        check_granularity(self.granularity)
        check_flags(narrow_range=self.narrow_range, reduce_range=self.reduce_range)
        with np.errstate(over="ignore", under="ignore"):  # a scale that float32 cannot hold is refused by name
            scale = positive_scale(np.array(plain_array(self.scale, "scale"), np.float32))
        ndim = {PerTensor: 0, PerAxis: 1}.get(type(self.granularity), max(scale.ndim, 1))
        if scale.ndim != ndim:
            raise ValueError(
                f"a scale for {self.granularity} has {ndim} axes, got shape {scale.shape}; "
                "`granularity` says how the scales lie on the tensor"
            )
        zero_point = plain_array(self.zero_point, "zero_point").astype(np.float64)
        first, last = code_range(dtype, narrow_range=self.narrow_range, reduce_range=self.reduce_range)
        if not ((zero_point >= first) & (zero_point <= last) & (zero_point == np.rint(zero_point))).all():
            raise ValueError(f"zero_point {self.zero_point} is not one of the codes {first} to {last} of {dtype}")
        if zero_point.shape not in ((), scale.shape):
            raise ValueError(f"zero_point has shape {zero_point.shape}, scale has {scale.shape}; expected the same")
        zero_point = np.array(np.broadcast_to(zero_point, scale.shape), storage_dtype(dtype))
        scale.flags.writeable = zero_point.flags.writeable = False
        for name, value in (("dtype", dtype), ("scale", scale), ("zero_point", zero_point)):
            object.__setattr__(self, name, value)  # the one way to normalize a field of a frozen value

    @property
    def quant_min(self):
        """First code."""
        return code_range(self.dtype, narrow_range=self.narrow_range, reduce_range=self.reduce_range)[0]

    @property
    def quant_max(self):
        """Last code."""
        return code_range(self.dtype, narrow_range=self.narrow_range, reduce_range=self.reduce_range)[1]

    def spread(self, shape):
        """(scale, zero_point), both float32, broadcasting against an array of this shape."""
        zero_point = self.zero_point.astype(np.float32)
        return self.granularity.spread(self.scale, shape), self.granularity.spread(zero_point, shape, "zero_point")

    def _settings(self):
        return self.dtype, self.granularity, self.narrow_range, self.reduce_range

    def __eq__(self, other):
        if not isinstance(other, QParams):
            return NotImplemented
        same_scale = np.array_equal(self.scale, other.scale)
        return (
            same_scale and np.array_equal(self.zero_point, other.zero_point) and self._settings() == other._settings()
        )

    __hash__ = None  # arrays have none

    def __repr__(self):
        flags = "".join(f", {name}=True" for name in ("narrow_range", "reduce_range") if getattr(self, name))
        scale, zero_point = _summary(self.scale, ".4g"), _summary(self.zero_point, ".0f")
        how = f"dtype={self.dtype!r}, granularity={self.granularity}{flags}"
        return f"QParams(scale={scale}, zero_point={zero_point}, {how})"


def check_qparams(qparams):
    """Raise ValueError for anything but QParams."""
    if not isinstance(qparams, QParams):
        raise ValueError(f"qparams is a {type(qparams).__name__}; expected QParams, which choose_qparams gives")


def _summary(values, form):
    values = values.astype(np.float64)  # int4 has neither min nor max
    low, high = format(values.min(), form), format(values.max(), form)
    return low if values.ndim == 0 else f"<{values.shape} from {low} to {high}>"


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


def mse_range(x, dtype="int8", *, granularity=PER_TENSOR, steps=100, **options):
    """(low, high) whose codes give `x` the least mean squared error of the ranges tried, per group of `granularity`.

    >>> x = np.random.default_rng(0).laplace(size=10_000)
    >>> low, high = mse_range(x, "int4", symmetric=True)
    >>> bool(high < np.abs(x).max() / 2)
    True

    `options` are those of `qparams_from_range` (symmetric, narrow_range, reduce_range), to which the answer is then
    given. A grid search: both ends of the min-max range shrink together in `steps` steps, then, unless symmetric, each
    end alone. Min-max itself is the first candidate, so the answer is never worse; where one end needs to shrink much
    more than the other (a lone outlier), another pair of ends may be better still. Raises ValueError as
    `choose_qparams` does.
    """
    x = finite_float32(x)
    low, high = value_range(x, granularity)
    moves = [(1, 1)] if options.get("symmetric") else [(1, 1), (1, 0), (0, 1)]
    for low_moves, high_moves in moves:
        start_low, start_high, least = low, high, np.inf
        for shrink in np.arange(steps, dtype=np.float32) / np.float32(steps):
            new_low, new_high = start_low * (1 - low_moves * shrink), start_high * (1 - high_moves * shrink)
            qparams = qparams_from_range(new_low, new_high, dtype, granularity=granularity, **options)
            error = granularity.reduce(np.square(x - fake_quantize(x, qparams), dtype=np.float64), np.add)
            low, high = np.where(error < least, new_low, low), np.where(error < least, new_high, high)
            least = np.minimum(error, least)
    return low, high
