"""QParams: what one needs to know to quantize a tensor and to read its codes."""

from dataclasses import dataclass

import numpy as np

from qlab.numerics.dtypes import check_flags, code_range, integer_name, plain_array, positive_scale, storage_dtype
from qlab.numerics.granularity import Granularity, PerAxis, PerTensor, check_granularity

PER_TENSOR = PerTensor()


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
