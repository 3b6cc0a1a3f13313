"""Clipping: giving up a few large values so that all others get a finer scale."""

import numpy as np

from qlab.numerics.affine import PER_TENSOR, fake_quantize, qparams_from_range, value_range
from qlab.numerics.dtypes import finite_float32


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
