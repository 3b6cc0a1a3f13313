"""Up or down: each weight to one of its two neighbouring codes, so that what the layer computes errs least.

The nearest code is best for the weight. For the layer it is not: errors of weights whose inputs move together add up or
cancel. On inputs x with second moments G = E[x x^T], errors e of the weights of one output cost E[(e . x)^2] = e^T G e,
which sees the pairs; the weights' own squared error, e^T e, does not.
Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization" (arXiv 2004.10568), eq. 13,
whose relaxation and gradient descent are replaced by two sweeps over the columns: one that hands each error on to the
weights not yet rounded (Frantar et al. 2023, GPTQ, arXiv 2210.17323), and one that turns single weights around.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from qlab.numerics.affine import SMALLEST_SCALE, QParams, check_qparams, fake_quantize, quantize
from qlab.numerics.dtypes import Array, finite_float32, plain_array, storage_dtype
from qlab.numerics.granularity import PerAxis, PerTensor

SHRINKING = 26  # factors that a scale is tried with
SWEEPS = 20  # of turning single weights: a sweep in which none turns comes earlier
DAMPING = 0.01  # of the mean second moment: keeps what no input excites from being made up
GAIN = 1e-9  # of the error: less than this is rounding noise, and no reason to leave the nearest code


def second_moments(x: npt.ArrayLike) -> Array:
    """E[x x^T] of a layer's inputs, the rows of `x`, float64: what `adaptive` and `output_error` go by.

    >>> second_moments([[1.0, 2.0], [3.0, 0.0]])
    array([[5., 1.],
           [1., 2.]])

    x (N, K) -> (K, K); (groups, N, K), the patches that a grouped convolution reads, -> (groups, K, K).
    """
    x = finite_float32(x)
    if x.ndim not in (2, 3):
        raise ValueError(f"x has shape {x.shape}; expected (N, K), a row for each input, or (groups, N, K)")
    x = x.astype(np.float64)
    return x.swapaxes(-1, -2) @ x / x.shape[-2]


def output_error(error: npt.ArrayLike, moments: npt.ArrayLike) -> Array:
    """Mean squared error of each output of a layer whose weights are off by `error`: e^T G e, float64 (out,).

    >>> output_error([[1.0, -1.0], [1.0, 1.0]], [[1.0, 1.0], [1.0, 1.0]])
    array([0., 4.])

    error (out, K); moments as `second_moments` gives them: (K, K), or (groups, K, K), the outputs of a group together.
    """
    error, moments = _laid_out(error, moments, "error")
    return np.maximum(_cost(error, error @ moments), 0).reshape(-1)


def adaptive(weights: npt.ArrayLike, qparams: QParams, moments: npt.ArrayLike) -> Array:
    """Codes of `weights`, each rounded up or down such that the layer's outputs err least; never worse than nearest.

    >>> from qlab.numerics.affine import QParams
    >>> weights, alike = [[0.4, 0.4, 0.4]], np.ones((3, 3))  # three inputs that always are the same number
    >>> adaptive(weights, QParams(scale=1.0, zero_point=0, dtype="int4"), alike)
    array([[1, 0, 0]], dtype=int4)

    weights (out, K): a row for each output, as Conv's are once they are reshaped; MatMul's are transposed.
    qparams   their scales: PerTensor(), PerAxis(0), or PerBlock(1, size).
    moments   `second_moments` of what the layer reads, (K, K), or (groups, K, K) where the outputs come in groups that
              read other inputs. Where a bias takes up the mean afterwards, the covariance.
    Returns codes as `quantize` does, of the same shape. Each row is the best of nearest and the two sweeps (above).
    Raises ValueError for shapes that do not fit, NaN and infinity, and moments that are not symmetric.
    """
    check_qparams(qparams)
    weights = finite_float32(weights, "weights")
    real, moments = _laid_out(weights, moments, "weights")
    scale, zero_point = (np.broadcast_to(one, weights.shape).reshape(real.shape).astype(np.float64)
                         for one in qparams.spread(weights.shape))  # fmt: skip
    first, last = qparams.quant_min, qparams.quant_max
    floor = np.clip(np.floor(real / scale) + zero_point, first, last)
    ceiling = np.clip(np.ceil(real / scale) + zero_point, first, last)
    nearest = quantize(weights, qparams).astype(np.float64).reshape(real.shape)
    # A quotient next to a whole number may be rounded to either side of it in float32, which nearest goes by.
    floor, ceiling = np.minimum(floor, nearest), np.maximum(ceiling, nearest)

    def errors(codes):
        return (codes - zero_point) * scale - real

    best, least = nearest, _cost(errors(nearest), errors(nearest) @ moments)
    grid = np.stack([real, scale, zero_point, floor, ceiling])
    strongest_first = np.argsort(-np.diagonal(moments, axis1=1, axis2=2).sum(axis=0), kind="stable")
    in_file = np.arange(real.shape[-1])
    orders = in_file, strongest_first
    for start in (nearest, *(_handed_on(grid, moments, order) for order in orders)):
        codes = _turned(start, floor, ceiling, scale, errors(start), moments)
        cost = _cost(errors(codes), errors(codes) @ moments)
        better = cost < least * (1 - GAIN)
        best, least = np.where(better[..., None], codes, best), np.where(better, cost, least)
    return best.reshape(weights.shape).astype(storage_dtype(qparams.dtype))


def rescaled(weights: npt.ArrayLike, qparams: QParams, moments: npt.ArrayLike) -> QParams:
    """`qparams` with finer scales where that serves the layer: each cut to the factor at which its outputs err least.

    >>> from qlab.numerics.affine import QParams
    >>> weights = [[1.0, 1.0, 1.0, 7.0]]  # the last of which reads next to nothing
    >>> float(rescaled(weights, QParams(scale=1.25, zero_point=0, dtype="int4"), np.diag([1, 1, 1, 1e-6])).scale)
    1.0

    Weights beyond the last code are clipped then. Tried are SHRINKING steps down to half, on nearest codes; the scale
    as it was is among them. Scales per tensor or per output, PerAxis(0); the rest as in `adaptive`.
    """
    check_qparams(qparams)
    if not isinstance(qparams.granularity, PerTensor | PerAxis):
        raise ValueError(f"scales are {qparams.granularity}; expected PerTensor() or PerAxis(0)")
    weights = finite_float32(weights, "weights")
    best, least = qparams.scale, None
    for factor in np.linspace(1, 0.5, SHRINKING, dtype=np.float32):
        tried = replace(qparams, scale=np.maximum(qparams.scale * factor, SMALLEST_SCALE))
        error = output_error(fake_quantize(weights, tried).astype(np.float64) - weights, moments)
        error = error if qparams.scale.ndim else error.sum()
        better = error < (error + 1 if least is None else least * (1 - GAIN))
        best = np.where(better, tried.scale, best)
        least = error if least is None else np.where(better, error, least)
    return replace(qparams, scale=best)


def _laid_out(rows, moments, name):
    """(rows (groups, out per group, K), moments (groups, K, K)), both float64, once they fit."""
    rows = finite_float32(rows, name).astype(np.float64)
    moments = plain_array(moments, "moments")
    if rows.ndim != 2 or moments.ndim not in (2, 3) or moments.shape[-2:] != (rows.shape[1],) * 2:
        raise ValueError(
            f"{name} has shape {rows.shape}, moments {moments.shape}; expected (out, K) and (K, K), or (groups, K, K)"
        )
    moments = moments.reshape(-1, *moments.shape[-2:]).astype(np.float64)
    if len(rows) % len(moments):
        raise ValueError(f"{len(rows)} outputs in {len(moments)} groups: expected as many outputs in each")
    if not np.isfinite(moments).all():
        raise ValueError("moments hold NaN or infinity; look for it in the inputs that they are computed from")
    if not np.allclose(moments, moments.swapaxes(1, 2), rtol=1e-4, atol=1e-6 * np.abs(moments).max()):
        raise ValueError("moments are not symmetric; expected E[x x^T], which second_moments gives")
    return rows.reshape(len(moments), -1, rows.shape[1]), moments


def _cost(error, slope):
    """e^T G e of each row, where `slope` is e^T G."""
    return np.einsum("gmk,gmk->gm", error, slope)


def _handed_on(grid, moments, order):
    """Codes of one sweep: column by column to the nearer code, the error handed on to the columns still to come.

    The columns still to come make up for it as well as real numbers can: that is what a row of the Cholesky factor of
    the inverse of G says (GPTQ, section 3.3). They have two codes each, so less is made up than that.
    grid  real weights, scale, zero point, floor and ceiling, each (groups, out per group, K);   order  of the columns
    """
    wanted, scale, zero_point, floor, ceiling = grid[..., order]
    moments, size = moments[:, order][:, :, order], len(order)
    level = np.trace(moments, axis1=1, axis2=2)[:, None, None] / size
    damped = moments + np.where(level > 0, DAMPING * level, 1) * np.eye(size)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).swapaxes(1, 2)  # upper triangular
    codes = np.empty_like(wanted)
    for k in range(size):
        nearer = np.rint(wanted[..., k] / scale[..., k]) + zero_point[..., k]
        codes[..., k] = np.clip(nearer, floor[..., k], ceiling[..., k])
        missed = wanted[..., k] - (codes[..., k] - zero_point[..., k]) * scale[..., k]
        wanted[..., k + 1 :] -= (missed / factor[:, None, k, k])[..., None] * factor[:, None, k, k + 1 :]
    return codes[..., np.argsort(order)]


def _turned(codes, floor, ceiling, scale, error, moments):
    """`codes` after sweeps that turn every single weight to its other code where the row's error falls by that."""
    codes, slope = codes.copy(), error @ moments
    own = np.diagonal(moments, axis1=1, axis2=2)[:, None]
    noise = GAIN * np.maximum(_cost(error, slope), 0)
    for _ in range(SWEEPS):
        turned = 0
        for k in range(codes.shape[-1]):
            other = floor[..., k] + ceiling[..., k] - codes[..., k]
            step = (other - codes[..., k]) * scale[..., k]
            falls = step * (2 * slope[..., k] + step * own[..., k]) < -noise
            group, row = np.nonzero(falls)
            if len(row):
                codes[group, row, k] = other[group, row]
                slope[group, row] += step[group, row, None] * moments[group, k]
                turned += len(row)
        if not turned:
            break
    return codes
