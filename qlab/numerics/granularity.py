"""Granularity: how many numbers share one scale.

Each type is a frozen value that knows, for a tensor's shape, the shape of its scales (`scale_shape`), how to fold a
tensor into one number per group (`reduce`), and how to spread one number per group back over the tensor (`spread`).
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from qlab.numerics.dtypes import bit_width, plain_array, whole_number


@dataclass(frozen=True)
class PerTensor:
    """One scale for all: x (64, 3, 3, 3) -> scale ()."""

    def groups(self, shape):
        """Groups along each axis of x: x (64, 3, 3, 3) -> (1, 1, 1, 1)."""
        _refuse_empty(self, shape)
        return (1,) * len(shape)

    def scale_shape(self, shape):
        """Shape of the scales of an x with this shape: always ()."""
        return ()

    def reduce(self, x, ufunc):
        """Fold x with a ufunc such as np.maximum: x (64, 3, 3, 3) -> ()."""
        return ufunc.reduce(x, axis=None)

    def spread(self, values, shape, name="scale"):
        """`values` () as an array that broadcasts against x."""
        return _expect_shape(self, values, shape, name)


@dataclass(frozen=True)
class PerAxis:
    """One scale for each index of `axis`, which is kept: x (64, 3, 3, 3), PerAxis(0) -> scale (64,)."""

    axis: int

    def groups(self, shape):
        """Groups along each axis of x: x (64, 3, 3, 3), PerAxis(0) -> (64, 1, 1, 1)."""
        axis = checked_axis(self, self.axis, shape)
        return tuple(n if i == axis else 1 for i, n in enumerate(shape))

    def scale_shape(self, shape):
        """Shape of the scales: x (64, 3, 3, 3), PerAxis(0) -> (64,)."""
        return (shape[checked_axis(self, self.axis, shape)],)

    def reduce(self, x, ufunc):
        """Fold every axis but one: x (64, 3, 3, 3), PerAxis(0) -> (64,)."""
        axis = checked_axis(self, self.axis, x.shape)
        return ufunc.reduce(x, axis=tuple(i for i in range(x.ndim) if i != axis))

    def spread(self, values, shape, name="scale"):
        """`values` (64,) reshaped to (64, 1, 1, 1), so that it broadcasts against x."""
        return _expect_shape(self, values, shape, name).reshape(self.groups(shape))


@dataclass(frozen=True)
class PerToken:
    """One scale for each vector of the last axis: x (B, T, D) -> scale (B, T, 1)."""

    def groups(self, shape):
        """Groups along each axis of x: (B, T, D) -> (B, T, 1)."""
        checked_axis(self, -1, shape)
        return (*shape[:-1], 1)

    def scale_shape(self, shape):
        """Shape of the scales: x (B, T, D) -> (B, T, 1)."""
        return self.groups(shape)

    def reduce(self, x, ufunc):
        """Fold the last axis: x (B, T, D) -> (B, T, 1)."""
        checked_axis(self, -1, x.shape)
        return ufunc.reduce(x, axis=-1, keepdims=True)

    def spread(self, values, shape, name="scale"):
        """`values` (B, T, 1), which broadcasts against x as it is."""
        return _expect_shape(self, values, shape, name)


@dataclass(frozen=True)
class PerBlock:
    """One scale for `block_size` neighbours along `axis`, which is cut: x (64, 100), PerBlock(1, 32) -> (64, 4).

    The last block may be short: 100 = 32 + 32 + 32 + 4.
    """

    axis: int
    block_size: int

    def __post_init__(self):
        if whole_number(self.block_size, f"{self}: block_size") < 1:
            raise ValueError(f"{self}: block_size must be at least 1, the number of neighbours that share a scale")

    def groups(self, shape):
        """Groups along each axis of x: x (64, 100), PerBlock(1, 32) -> (64, 4)."""
        axis = checked_axis(self, self.axis, shape)
        return tuple(-(-n // self.block_size) if i == axis else n for i, n in enumerate(shape))

    def scale_shape(self, shape):
        """Shape of the scales: x (64, 100), PerBlock(1, 32) -> (64, 4)."""
        return self.groups(shape)

    def reduce(self, x, ufunc):
        """Fold each block: x (64, 100), PerBlock(1, 32) -> (64, 4)."""
        axis = checked_axis(self, self.axis, x.shape)
        return ufunc.reduceat(x, np.arange(0, x.shape[axis], self.block_size), axis=axis)

    def spread(self, values, shape, name="scale"):
        """`values` (64, 4) repeated to (64, 100)."""
        axis = checked_axis(self, self.axis, shape)
        repeated = np.repeat(_expect_shape(self, values, shape, name), self.block_size, axis=axis)
        return repeated[(slice(None),) * axis + (slice(shape[axis]),)]  # cuts the short last block to its length


Granularity = PerTensor | PerAxis | PerToken | PerBlock


def check_granularity(granularity):
    """Raise ValueError for anything else, such as a name or a class."""
    if not isinstance(granularity, Granularity):
        raise ValueError(
            f"granularity is {granularity!r}; expected PerTensor(), PerAxis(axis), PerToken() or PerBlock(axis, size)"
        )


def checked_axis(granularity, axis, shape):
    """`axis` counted from 0; ValueError if an x of this shape has no such axis, or nothing along it."""
    if not shape:
        raise ValueError(
            f"{granularity} needs an array with at least one axis, got 0-d; use PerTensor(), or np.array([x])"
        )
    axis = whole_number(axis, f"{granularity}: axis")
    if not -len(shape) <= axis < len(shape):
        raise ValueError(
            f"{granularity} on shape {shape}: axis {axis} is not there; use {-len(shape)} to {len(shape) - 1}"
        )
    _refuse_empty(granularity, shape)
    return axis % len(shape)


def _refuse_empty(granularity, shape):
    if 0 in shape:
        raise ValueError(f"{granularity} on shape {tuple(shape)}: the array is empty, so there is nothing to scale")


def _expect_shape(granularity, values, shape, name):
    expected = granularity.scale_shape(shape)
    values = plain_array(values, name)
    if values.shape != expected:
        raise ValueError(
            f"{name} has shape {values.shape}, but {granularity} on an array of shape {tuple(shape)} needs {expected}"
        )
    return values


def bits_per_element(shape, dtype, granularity, *, scale_dtype="float32", zero_point=False):
    """Storage per number, its share of the scales (and zero points, if they are stored) included.

    >>> bits_per_element((64, 100), "int4", PerBlock(1, 32))  # 4 + 4 blocks * 32 bits / 100
    5.28
    >>> bits_per_element((64, 128), "int4", PerBlock(1, 32), scale_dtype="float16", zero_point=True)
    4.625

    `dtype` is the codes' type, or their number of bits (a codebook's `bits`). A zero point is stored in the codes' own
    width.
    """
    check_granularity(granularity)
    bits = dtype if isinstance(dtype, int) else bit_width(dtype)
    per_scale = bit_width(scale_dtype) + (bits if zero_point else 0)
    return bits + prod(granularity.groups(shape)) * per_scale / prod(shape)


def factors_out(granularity, shape, axis=-1):
    """Whether the scale leaves the sum over `axis`: sum_k s_k q_k = s * sum_k q_k needs one s for all k.

    Only such a scale lets one integer product do the sum. For activations (tokens, K) that is per tensor and per token:

    >>> [factors_out(g, (8, 256)) for g in (PerTensor(), PerToken(), PerAxis(1), PerBlock(1, 32))]
    [True, True, False, False]

    `axis` may be a tuple: a convolution's weight (out, in, 3, 3) is summed over (1, 2, 3).

    >>> factors_out(PerAxis(0), (64, 3, 3, 3), (1, 2, 3))
    True
    """
    check_granularity(granularity)
    groups = granularity.groups(shape)
    axes = (axis,) if isinstance(axis, int) else axis
    return all(groups[checked_axis(granularity, a, shape)] == 1 for a in axes)
