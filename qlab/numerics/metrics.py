"""How far an approximation is from its reference, and how sure one may be of a difference.

The reference always comes first. All sums are in float64. An exact approximation has infinite SQNR: no warning, no NaN.
"""

from dataclasses import dataclass
from math import inf, log10

import numpy as np
import numpy.typing as npt

from qlab.numerics.dtypes import plain_array

_ITEMS_AT_ONCE = 2**16  # drawn by the bootstrap: 512 kB, which a cache holds


def sqnr_db(reference: npt.ArrayLike, approximation: npt.ArrayLike) -> float:
    """Signal to quantization noise: 20 log10(|reference| / |reference - approximation|), in dB.

    >>> sqnr_db([3.0, 4.0], [3.0, 4.5])
    20.0
    >>> sqnr_db([1.0, 2.0], [1.0, 2.0])
    inf

    Twice the error is 6.02 dB less. A reference of all zeros has no signal: -inf, unless the approximation is exact
    too.
    Raises ValueError if the shapes differ, or either is empty or holds NaN or infinity (so do all functions here).
    """
    reference, approximation = _pair(reference, approximation)
    signal, noise = (float(np.linalg.norm(x.ravel())) for x in (reference, reference - approximation))
    if noise == 0:
        return inf
    return 20 * log10(signal / noise) if signal > 0 else -inf


def _pair(reference, approximation):
    reference, approximation = (
        _finite_float64(x, name) for x, name in ((reference, "reference"), (approximation, "approximation"))
    )
    if reference.shape != approximation.shape:
        raise ValueError(
            f"reference has shape {reference.shape}, approximation {approximation.shape}; expected the same"
        )
    return reference, approximation


def _finite_float64(x, name):
    try:
        x = plain_array(x, name).astype(np.float64, casting="same_kind")
    except TypeError:
        raise ValueError(f"{name} has dtype {np.asarray(x).dtype}; expected real numbers") from None
    if x.size == 0:
        raise ValueError(f"{name} is empty, shape {x.shape}; pass at least one number")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinity, which no error measure can weigh; find where they come from")
    return x


@dataclass(frozen=True)
class Interval:
    """A difference with its confidence interval, as fractions: 0.004 is 0.4 points of word error rate or accuracy."""

    difference: float
    low: float
    high: float
    confidence: float

    @property
    def excludes_zero(self):
        """Whether the data tell the two apart at all."""
        return self.low > 0 or self.high < 0

    def __repr__(self):
        return f"{self.difference:+.4f} ({self.confidence:.0%} interval {self.low:+.4f} to {self.high:+.4f})"


def paired_bootstrap(reference, changed, counts=None, *, confidence=0.95, resamples=10_000, seed=0):
    """Interval of sum(changed)/sum(counts) - sum(reference)/sum(counts), by drawing items with replacement.

    Word error rate: word errors of each utterance under two models, and its words. Two models, the same utterances:

    >>> paired_bootstrap([1, 0, 2, 0] * 50, [1, 0, 2, 1] * 50, counts=[8, 10, 9, 5] * 50)
    +0.0312 (95% interval +0.0231 to +0.0401)

    Accuracy: right (1) or wrong (0) for each item, without counts.

    >>> paired_bootstrap([True] * 90 + [False] * 10, [True] * 91 + [False] * 9).excludes_zero
    False

    Pairing removes what both models share, the difficulty of each item, so it is far narrower than two separate
    intervals. The interval runs between percentiles of the resampled differences; `seed` makes it repeat.
    Raises ValueError if the lengths differ, there are no items, or a count is negative or all are 0.
    Source: Bisani and Ney 2004, "Bootstrap estimates for confidence intervals in ASR performance evaluation".
    """
    reference, changed = _pair(reference, changed)
    counts = np.ones(reference.shape) if counts is None else _finite_float64(counts, "counts")
    if reference.ndim != 1 or counts.shape != reference.shape:
        raise ValueError(
            f"reference has shape {reference.shape}, counts {counts.shape}; expected one number for each item"
        )
    if (counts < 0).any() or not counts.any():
        raise ValueError("counts must not be negative, and not all 0: there is nothing to divide by")
    if not 0 < confidence < 1 or resamples < 1:
        raise ValueError(f"confidence={confidence}, resamples={resamples}; expected between 0 and 1, and at least 1")
    change, rng, drawn = changed - reference, np.random.default_rng(seed), []
    while len(drawn) < resamples:
        at_once = min(1 + _ITEMS_AT_ONCE // counts.size, resamples - len(drawn))
        items = rng.integers(counts.size, size=(at_once, counts.size))
        words = counts[items].sum(axis=1)
        some = words > 0  # a draw of empty items only has no rate, and is drawn again
        drawn.extend(change[items].sum(axis=1)[some] / words[some])
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(float(change.sum() / counts.sum()), float(low), float(high), confidence)
