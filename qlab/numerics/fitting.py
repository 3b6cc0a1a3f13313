"""Scales of weights for kernels that add two products in int16: all 8 bits, and no sum that saturates.

Seven bits (`reduce_range`) halve every code so that the two largest could stand beside each other. They seldom do: here
a row's scale grows only as far as its own pairs ask for it. What is left to choose is chosen by what the weights meet.
"""

import numpy as np
import numpy.typing as npt

from qlab.numerics.affine import qparams_from_range
from qlab.numerics.dtypes import finite_float32, plain_array
from qlab.numerics.granularity import PerAxis

MOST = 128  # 255 * 128 fits in int16, 255 * 129 does not
SPARE = 0.99  # of the largest sum: with a smaller one no pair is the first to be too large, however codes are rounded
STEPS, STEP = 8, 0.005  # of scales that are tried: the coarsest costs 0.3 dB
AT_ONCE = 1 << 20  # weights


def pair_limited_scale(rows: npt.ArrayLike, *, pairs: bool = True):
    """For each row of `rows` (N, K): the least scale with which no uint8 input makes `vpmaddubsw` saturate; float32.

    >>> (pair_limited_scale([[1.0, 0.25], [1.0, 1.0], [1.0, -1.0]]) * 127).round(3)
    array([1.239, 1.969, 1.   ], dtype=float32)

    Codes are round(row / scale), int8. Pairs are columns 0 and 1, 2 and 3, and so on; only weights of one sign can
    saturate together. Never less than largest / 127, the usual scale, nor more where pairs allow that; any larger scale
    is safe as well. `pairs=False`, for kernels that add no pairs, gives the usual one.
    Raises ValueError unless rows is two-dimensional, finite and not empty.
    """
    rows = finite_float32(rows, "rows")
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"rows has shape {rows.shape}; expected (N, K), a row for each output, and none empty")
    largest = np.abs(rows).max(axis=1)
    usual = qparams_from_range(-largest, largest, symmetric=True, granularity=PerAxis(0)).scale.astype(np.float32)
    if not pairs or rows.shape[1] == 1:
        return usual
    left, right = (rows[:, start : rows.shape[1] - rows.shape[1] % 2 : 2] for start in (0, 1))
    sums = np.where((left < 0) == (right < 0), np.add(np.abs(left), np.abs(right), dtype=np.float64), 0)
    most = sums.max(axis=1)
    row, pair = np.nonzero(sums >= np.maximum(SPARE * most, MOST * SPARE * usual)[:, None])  # others fit as they are
    left, right = np.abs(left[row, pair]), np.abs(right[row, pair])

    def fits(scale):
        beyond = np.rint(left / scale[row]) + np.rint(right / scale[row]) > MOST
        return np.bincount(row, beyond, len(rows)) == 0

    return _bisected(usual, np.maximum(usual, most / ((MOST - 1) * SPARE)), fits)


def _bisected(low, high, fits):
    """The least float32 from `low` to `high`, which are positive, that fits; elementwise. `high` fits."""
    low, high = (np.asarray(end, np.float32).view(np.int32).astype(np.int64) for end in (low, high))  # in this order
    high = np.where(fits(_float(low)), low, high)
    while np.any(high - low > 1):
        middle = (low + high) // 2
        good = fits(_float(middle))
        low, high = np.where(good, low, middle), np.where(good, middle, high)
    return _float(high)


def _float(bits):
    return bits.astype(np.int32).view(np.float32)


def least_error_scale(rows, least, mean, variance, *, shared=False):
    """Of a few scales from `least` (N,) up, those with which a product of the weights `rows` (N, K) errs least.

    mean, variance  of what each column is multiplied by, (K,) or (N, K); other moments are not looked at
    shared          one scale for all rows, from the largest of `least`

    An output errs by (sum of error * mean)^2 + sum of error^2 * variance. The first is most of it where the inputs are
    positive, as behind a ReLU: errors then add up to a shift, which a scale some percent larger can have cancel out.
    Raises ValueError for shapes that do not fit, and for moments that are no numbers.
    """
    rows, least = finite_float32(rows, "rows"), np.asarray(least, np.float32)
    mean, variance = (plain_array(one, name) for one, name in ((mean, "mean"), (variance, "variance")))
    for name, one in (("mean", mean), ("variance", variance)):
        if rows.ndim != 2 or least.shape != rows.shape[:1] or one.shape not in (rows.shape, rows.shape[1:]):
            raise ValueError(
                f"rows has shape {rows.shape}, least {least.shape}, {name} {one.shape}; expected (N, K), (N,) and (K,) "
                "or (N, K)"
            )
        if not np.isfinite(one).all():
            raise ValueError(f"{name} holds NaN or infinity; look for it in the feeds that it was collected on")
    mean, variance = (np.broadcast_to(one, rows.shape) for one in (mean, variance))
    tried = (np.full_like(least, least.max()) if shared else least) * (1 + STEP * np.arange(STEPS)[:, None])
    tried = tried.astype(np.float32)
    size = max(1, AT_ONCE // rows.shape[1])
    costs = np.concatenate([
        _costs(*(one[first : first + size] for one in (rows, mean, variance)), tried[:, first : first + size])
        for first in range(0, len(rows), size)
    ], axis=1)  # fmt: skip
    if shared:
        return tried[costs.sum(axis=1).argmin(), 0]
    return tried[costs.argmin(axis=0), np.arange(len(rows))]


def _costs(rows, mean, variance, scales):
    """[scales, rows]: what each row's output errs by, squared."""
    found = []
    for scale in scales:
        error = np.rint(rows / scale[:, None]) * scale[:, None]
        error = (error - rows).astype(np.float64)
        found.append(np.einsum("nk,nk->n", error, mean) ** 2 + np.einsum("nk,nk,nk->n", error, error, variance))
    return np.array(found)
