"""From the histogram of a tensor to the range (low, high) that its codes shall cover: three ways to clip.

percentile_range        keep a given share of the numbers
least_error_range       least mean squared error of the codes (MSE)
least_divergence_range  least Kullback-Leibler divergence between the numbers and their codes (entropy)

A symmetric range mirrors at 0, except for unsigned codes of numbers that are never negative: it begins at 0. All three
see the numbers to within a bin's width.
"""

import numpy as np

from qlab.numerics.affine import qparams_from_range
from qlab.numerics.dtypes import code_range
from qlab.numerics.granularity import PerAxis

STEPS = 100  # ranges that one pass of the MSE search tries
WINDOWS_AT_ONCE = 64  # windows of the KL search whose tables are made together: small, however many bins there are


def symmetric_range(reach, low, dtype):
    """(-reach, reach), or (0, reach) for unsigned codes of numbers of which the lowest, `low`, is not negative.

    >>> symmetric_range(3.0, -1.0, "uint8"), symmetric_range(3.0, 0.0, "int8"), symmetric_range(3.0, 0.0, "uint8")
    ((-3.0, 3.0), (-3.0, 3.0), (0.0, 3.0))
    """
    return (0.0 if low >= 0 and code_range(dtype)[0] == 0 else -reach), reach


def percentile_range(histogram, percentile=99.99, dtype="uint8", *, symmetric=False):
    """(low, high) that keeps `percentile` percent of the numbers, and clips half of the rest at either end.

    Symmetric: keeps `percentile` percent of the magnitudes. Inside a bin the numbers count as evenly spread.
    """
    if symmetric:
        reach = _quantile(_magnitudes(histogram), 0, histogram.width, percentile / 100)
        return symmetric_range(min(reach, _reach(histogram)), histogram.low, dtype)
    cut = (1 - percentile / 100) / 2
    ends = (_quantile(histogram.counts, histogram.first, histogram.width, share) for share in (cut, 1 - cut))
    low, high = (min(max(end, histogram.low), histogram.high) for end in ends)
    return low, high


def least_error_range(histogram, dtype="uint8", *, symmetric=False):
    """(low, high) whose codes give the least mean squared error, rounding and clipping together.

    The same search as `numerics.affine.mse_range`: both ends shrink together in 100 steps, then, unless symmetric,
    each end alone. The whole range is the first to be tried.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if low == high:
        return low, high
    keep = 1 - np.arange(STEPS) / STEPS
    for low_moves, high_moves in [(1, 1)] if symmetric else [(1, 1), (1, 0), (0, 1)]:
        lows, highs = low * keep**low_moves, high * keep**high_moves
        qparams = qparams_from_range(lows, highs, dtype, symmetric=symmetric, granularity=PerAxis(0))
        best = np.argmin(squared_errors(histogram.counts, histogram.edges, qparams))
        low, high = float(lows[best]), float(highs[best])
    return symmetric_range(max(-low, high), low, dtype) if symmetric else (low, high)


def squared_errors(counts, edges, qparams):
    """Sum of (x - fake_quantize(x))**2 over a histogram, for each scale of `qparams` (n,): float64 (n,).

    Exact for numbers that are evenly spread inside each bin. With t = x / scale, and q the code of t counted from the
    zero point, the integral of (t - q)**2 is q / 12 + (t - q)**3 / 3: continuous from code to code, and where t is
    clipped.
    """
    scale, zero_point = qparams.scale[:, None].astype(np.float64), qparams.zero_point[:, None].astype(np.float64)
    position = edges / scale
    code = np.clip(np.rint(position), qparams.quant_min - zero_point, qparams.quant_max - zero_point)
    offset = position - code
    integral = scale**3 * (code / 12 + offset * offset * offset / 3)  # NumPy's ** 3 is several times as slow
    return np.diff(integral, axis=1) @ counts / (edges[1] - edges[0])


def least_divergence_range(histogram, dtype="uint8", *, symmetric=False):
    """(low, high), cut from the outside in, where the distribution of the codes is closest to that of the numbers.

    Tried is every range of whole bins that reaches equally far to either side of 0, as far as there are numbers, and
    that has a bin for each code; the widest of the best wins. Symmetric: the same with the magnitudes.
    Source: Migacz, 8-bit Inference with TensorRT, GTC 2017.
    """
    width, low, high = histogram.width, histogram.low, histogram.high
    if symmetric:
        _, stop = _best_window(_magnitudes(histogram), 0, _codes_from_zero(low, dtype))
        return symmetric_range(min(stop * width, _reach(histogram)), low, dtype)
    quant_min, quant_max = code_range(dtype)
    start, stop = _best_window(histogram.counts, histogram.first, quant_max - quant_min + 1)
    return max(start * width, low), min(stop * width, high)


def _best_window(counts, first, codes):
    """(start, stop), in bins counted from 0.0, of the window with the least divergence; `first` is that of `counts`."""
    if counts.size < codes:
        return first, first + counts.size
    zero = -first
    # 0.0 is exact in any range. The many zeros of a ReLU would else be a spike that wide codes seem to smear.
    counts = counts.copy()
    counts[zero] = counts[zero : zero + 2].min()
    reach = np.arange(1, max(zero, counts.size - zero) + 1)
    start, stop = np.maximum(zero - reach, 0), np.minimum(zero + reach, counts.size)
    start, stop = start[stop - start >= codes], stop[stop - start >= codes]
    best = start.size - 1 - np.argmin(divergences(counts, start, stop, codes)[::-1])
    return int(start[best]) + first, int(stop[best]) + first


def divergences(counts, start, stop, codes):
    """KL(P || Q) in nats for windows counts[start:stop], `start` and `stop` (n,) of bins: float64 (n,).

    P are the numbers, those outside the window clipped into its end bins. Q is what `codes` equal codes know of the
    window: each spreads what fell to it evenly over those of its bins that P uses. Infinite where Q has nothing in a
    bin that P uses. From sums over the bins before each bin, a code's share is one subtraction.
    """
    mass, used, information = (_before(row) for row in (counts, counts > 0, _x_log_x(counts)))
    divergence = np.empty(len(start))
    for at in range(0, len(start), WINDOWS_AT_ONCE):
        some = slice(at, at + WINDOWS_AT_ONCE)
        ends = start[some], stop[some]
        left, right, kept = mass[ends[0]], mass[-1] - mass[ends[1]], mass[ends[1]] - mass[ends[0]]
        first, last = counts[ends[0]], counts[ends[1] - 1]
        # Bin j of n falls to code floor(j * codes / n), so code l begins at bin ceil(l * n / codes).
        borders = ends[0][:, None] - (-np.arange(codes + 1) * (ends[1] - ends[0])[:, None]) // codes
        q, spread = np.diff(mass[borders]), np.diff(used[borders])
        p = q.copy()
        p[:, 0] += left
        p[:, -1] += right
        spread[:, 0] += (first == 0) & (left > 0)  # numbers clipped into an empty end bin make P use it
        spread[:, -1] += (last == 0) & (right > 0)
        with np.errstate(divide="ignore", invalid="ignore"):  # log(0), where Q has nothing: settled below
            log_q = np.log(q) - np.log(np.maximum(spread, 1)) - np.log(kept)[:, None]
            cross = np.where(p > 0, p * log_q, 0).sum(axis=1)
        own = information[ends[1]] - information[ends[0]] - _x_log_x(first) - _x_log_x(last)
        own += _x_log_x(first + left) + _x_log_x(last + right)
        divergence[some] = np.where(kept > 0, (own - cross) / mass[-1] - np.log(mass[-1]), np.inf)
    return divergence


def _magnitudes(histogram):
    """Counts of |x|, in bins from 0 on: bin -1 holds -width <= x < 0 and joins bin 0."""
    negative, positive = np.split(histogram.counts, [-histogram.first])
    counts = np.zeros(max(negative.size, positive.size), np.int64)
    counts[: positive.size] += positive
    counts[: negative.size] += negative[::-1]
    return counts


def _reach(histogram):
    return max(-histogram.low, histogram.high)


def _quantile(counts, first, width, share):
    """The number that `share` of the counted numbers do not exceed."""
    rank, up_to = share * counts.sum(), np.cumsum(counts)
    found = int(np.searchsorted(up_to, rank))
    within = (rank - (up_to[found] - counts[found])) / max(counts[found], 1)
    return float((first + found + within) * width)


def _codes_from_zero(low, dtype):
    """How many codes symmetric quantization has for magnitudes: 128 of int8, 256 of uint8 if nothing is negative."""
    quant_min, quant_max = code_range(dtype)
    return quant_max - ((quant_max + 1) // 2 if quant_min == 0 and low < 0 else 0) + 1


def _before(values):
    """Sums of all values before each place, and of all at the end: one longer than `values`."""
    return np.concatenate([[0], np.cumsum(values)])


def _x_log_x(counts):
    return counts * np.log(np.maximum(counts, 1))
