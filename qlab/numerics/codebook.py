"""Codebooks: quantizers whose marks lie where we like, not evenly.

One interface for all: `levels` (the marks, ascending), `encode` (real -> code), `decode` (code -> real), and
`fake_quantize` (there and back, each group of a granularity scaled by its own largest magnitude).

    uniform(4)   powers_of_two(4)   normal_float(4)   kmeans(x, 4)   floating_point("float8_e4m3fn")
"""

from dataclasses import dataclass, field
from statistics import NormalDist

import ml_dtypes
import numpy as np

from qlab.numerics.affine import LARGEST, PER_TENSOR, SMALLEST_SCALE
from qlab.numerics.dtypes import as_dtype, bit_width, finite_float32, is_integer, plain_array, whole_number
from qlab.numerics.granularity import check_granularity


@dataclass(frozen=True, eq=False)
class Codebook:
    """A finite set of marks; a number's code is the index of the nearest one.

    >>> book = Codebook("halves", [-1.0, 0.0, 0.5, 1.0])
    >>> book.encode([0.2, 0.3, 7.0]), book.decode([1, 2, 3])
    (array([1, 2, 3], dtype=uint8), array([0. , 0.5, 1. ], dtype=float32))

    levels: float32, ascending. unit: where `fake_quantize` puts a group's largest magnitude; None leaves x unscaled.
    """

    name: str
    levels: np.ndarray
    unit: float | None = 1.0
    _borders: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        levels = np.unique(finite_float32(self.levels, "levels") + 0)  # ascending; -0 becomes 0
        if levels.size < 2:
            raise ValueError(f"codebook {self.name!r} has {levels.size} distinct level; expected at least 2")
        levels.flags.writeable = False
        object.__setattr__(self, "levels", levels)  # the one way to normalize a field of a frozen value
        object.__setattr__(self, "_borders", levels[:-1] / 2 + levels[1:] / 2)

    @property
    def bits(self):
        """Bits that a code needs: 4 for 16 levels, and for 15."""
        return int(self.levels.size - 1).bit_length()

    def encode(self, x):
        """Index of the level nearest to each number (halfway, the lower): uint8, or uint16 above 8 bits."""
        codes = np.searchsorted(self._borders, finite_float32(x))
        return codes.astype(np.uint8 if self.bits <= 8 else np.uint16)

    def decode(self, codes):
        """The level of each code, float32."""
        codes = plain_array(codes, "codes")
        if not is_integer(codes.dtype):
            raise ValueError(f"codes are {codes.dtype}; expected integers, what encode returned")
        if codes.size and not 0 <= codes.min() <= codes.max() < self.levels.size:
            raise ValueError(f"codes run from {codes.min()} to {codes.max()}; expected 0 to {self.levels.size - 1}")
        return self.levels[codes]

    def fake_quantize(self, x, granularity=PER_TENSOR):
        """`x` as its codes and one scale per group tell it, float32: scale * decode(encode(x / scale)).

        >>> from qlab.numerics.granularity import PerBlock
        >>> normal_float(4).fake_quantize([[0.1, 1.0], [0.2, 8.0]], PerBlock(1, 2)).round(2)
        array([[0.08, 1.  ],
               [0.  , 8.  ]], dtype=float32)

        scale = (largest magnitude in the group) / unit, and 1 where that is 0. Groups and errors: see `granularity`.
        """
        check_granularity(granularity)
        x = finite_float32(x)
        scale = granularity.spread(absmax_scale(x, self.unit, granularity), x.shape)
        with np.errstate(over="ignore"):  # the largest magnitude, rounded up, may leave float32
            return np.clip(self.decode(self.encode(x / scale)) * scale, -LARGEST, LARGEST)

    def __repr__(self):
        marks = [format(float(level), ".4g") for level in self.levels]
        shown = ", ".join(marks if len(marks) <= 16 else [*marks[:4], "...", *marks[-4:]])
        return f"Codebook {self.name}, {self.bits} bits, {len(marks)} levels: {shown}"


class FloatingPoint(Codebook):
    """A codebook whose codes are numbers of a small floating-point type, so that encoding is a rounding cast."""

    def encode(self, x):
        """Nearest number of the type, half to even; beyond the outermost level, that level (a cast makes it NaN)."""
        return np.clip(finite_float32(x), self.levels[0], self.levels[-1]).astype(self.name)

    def decode(self, codes):
        """float32 of each code; raw bytes (uint8, for bfloat16 uint16) are taken as the type's bit patterns."""
        codes = plain_array(codes, "codes")
        return (codes if codes.dtype == self.name else _bit_patterns(codes, self.name)).astype(np.float32)


def _bit_patterns(codes, name):
    width = np.uint8 if bit_width(name) <= 8 else np.uint16
    if codes.dtype != width or (codes.size and codes.max() >= 2 ** bit_width(name)):
        raise ValueError(f"codes are {codes.dtype}; expected {name}, or its {bit_width(name)} bits as {width.__name__}")
    return codes.view(name)


def absmax_scale(x, unit=1.0, granularity=PER_TENSOR):
    """Scales, one per group, that bring its largest magnitude to `unit`; 1 where all is 0."""
    if unit is None:
        return np.ones(granularity.scale_shape(x.shape), np.float32)
    largest = np.maximum(granularity.reduce(x, np.maximum), -granularity.reduce(x, np.minimum))
    scale = np.maximum(largest / np.float32(unit), SMALLEST_SCALE)
    return np.where(largest == 0, np.float32(1), scale)


def uniform(bits):
    """Evenly spaced levels from -1 to 1, 0 among them: symmetric integer codes as a codebook.

    >>> uniform(3)
    Codebook uniform, 3 bits, 7 levels: -1, -0.6667, -0.3333, 0, 0.3333, 0.6667, 1
    """
    last = 2 ** (_checked_bits(bits) - 1) - 1
    return Codebook("uniform", np.arange(-last, last + 1) / last)


def powers_of_two(bits):
    """0 and plus or minus 1, 1/2, 1/4 ...: a product by a level is a shift. Dense at 0, coarse far out.

    >>> powers_of_two(3)
    Codebook powers_of_two, 3 bits, 7 levels: -1, -0.5, -0.25, 0, 0.25, 0.5, 1
    """
    magnitudes = 0.5 ** np.arange(2 ** (_checked_bits(bits, 7) - 1) - 1)
    return Codebook("powers_of_two", [*-magnitudes, 0, *magnitudes])


def normal_float(bits=4):
    """NormalFloat: levels that a normal distribution uses about equally often, 0 among them, -1 and 1 at the ends.

    >>> normal_float(4).levels[[0, 1, 7, 8, 15]].round(4)
    array([-1.    , -0.6962,  0.    ,  0.0796,  1.    ], dtype=float32)

    The upper half has one level more than the lower. The outermost quantile is, for 4 bits, halfway between 1 - 1/30
    and 1 - 1/32, half a step of 15 and of 16 equal ones from the end: NF4's published values.
    Source: Dettmers et al. 2023 (arXiv 2305.14314), section 3 and appendix E.
    """
    half = 2 ** (_checked_bits(bits) - 1)
    outermost = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2
    quantile = np.vectorize(NormalDist().inv_cdf)
    upper = quantile(np.linspace(0.5, outermost, half + 1)[1:])
    lower = -quantile(np.linspace(0.5, outermost, half)[1:])
    return Codebook("normal_float", np.array([*lower, 0, *upper]) / upper[-1])


def kmeans(x, bits, granularity=PER_TENSOR):
    """Levels fitted to `x` by k-means, each group first scaled to -1 to 1: the least squared error it can find.

    >>> kmeans([-3.0, -3.0, 0.0, 1.0, 6.0, 6.0], 2)
    Codebook kmeans, 2 bits, 4 levels: -0.5, 0, 0.1667, 1

    Lloyd's steps only lower the error, so the result is at least as good as the codebooks that it starts from
    (`uniform`, `normal_float`, and quantiles of x). An x of at most 2**bits distinct numbers is kept exactly.
    """
    from sklearn.cluster import KMeans  # most of two seconds to import, so only here

    check_granularity(granularity)
    x = finite_float32(x)
    count = 2 ** _checked_bits(bits)
    values = (x / granularity.spread(absmax_scale(x, 1.0, granularity), x.shape)).ravel()
    distinct = np.unique(values)
    if distinct.size <= count:
        return Codebook("kmeans", distinct if distinct.size > 1 else [*distinct, 0.0, 1.0])
    quantiles = np.quantile(distinct, (np.arange(count) + 0.5) / count)
    best, least = None, np.inf
    for start in (uniform(bits).levels, normal_float(bits).levels, quantiles):
        centers = np.append(start, (start[-1] + start[-2]) / 2)[:count, None]  # uniform has one level to spare
        fitted = KMeans(count, init=centers, n_init=1).fit(values[:, None]).cluster_centers_.ravel()
        for levels in (start, fitted):
            book = Codebook("kmeans", levels)
            error = np.square(values - book.decode(book.encode(values)), dtype=np.float64).sum()
            if error < least:
                best, least = book, error
    return best


def floating_point(dtype):
    """The finite numbers of a small float type: "float8_e4m3fn", "float8_e5m2", "float4_e2m1fn", "bfloat16" ...

    >>> floating_point("float4_e2m1fn").levels[7:]
    array([0. , 0.5, 1. , 1.5, 2. , 3. , 4. , 6. ], dtype=float32)
    >>> floating_point("float8_e4m3fn").decode(np.uint8([0b0_0111_100]))  # sign, exponent 7 - 7, 1 + 4/8
    array([1.5], dtype=float32)

    A group's largest magnitude goes to the type's largest number; bfloat16 has float32's range, and is not scaled.
    Source: Micikevicius et al. 2022 (arXiv 2209.05433) for fp8; OCP Microscaling Formats 1.0 for fp4.
    """
    dtype = as_dtype(dtype)
    if is_integer(dtype) or bit_width(dtype) > 16 or dtype.name == "float8_e8m0fnu":
        raise ValueError(f"{dtype.name} is no small signed float type; use 'float8_e4m3fn', 'bfloat16' ...")
    bits = bit_width(dtype)
    numbers = np.arange(2**bits, dtype=np.uint8 if bits <= 8 else np.uint16).view(dtype).astype(np.float32)
    unit = None if dtype.name == "bfloat16" else float(ml_dtypes.finfo(dtype).max)
    return FloatingPoint(dtype.name, numbers[np.isfinite(numbers)], unit)


def _checked_bits(bits, most=16):
    if not 2 <= whole_number(bits, "bits") <= most:
        raise ValueError(f"bits={bits}; expected 2 to {most}")
    return bits
