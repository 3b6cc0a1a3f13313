"""From paired times to a verdict that a second measurement would repeat."""

import numpy as np

from qlab.machine.timing import MINIMUM_ROUNDS

MARGIN = 1.02


def speedup_interval(reference, other, *, resamples=2000, seed=0):
    """Speed-up of `other` over `reference` with its 95 % interval: (speedup, low, high).

    Both are float [rounds], paired by round. The speed-up is the ratio of the two medians; the interval resamples whole
    rounds, so that a slow round counts for both or for neither (percentile bootstrap, Efron & Tibshirani 1993, ch. 13).
    """
    rounds = np.random.default_rng(seed).integers(0, len(reference), (resamples, len(reference)))
    ratios = np.median(reference[rounds], axis=1) / np.median(other[rounds], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(np.median(reference) / np.median(other)), float(low), float(high)


def judge(low, high, *, rounds):
    """The verdict: "faster" or "slower" if the whole interval says so by more than MARGIN, otherwise "cannot tell".

    One and the same model, opened twice, differs from itself by a percent or so, in every round alike: where its memory
    came to lie decides (Mytkowicz et al. 2009). No number of rounds averages that away, hence the margin. With fewer
    rounds than MINIMUM_ROUNDS there is no 95 % interval to speak of.
    """
    if rounds < MINIMUM_ROUNDS:
        return "cannot tell"
    if low > MARGIN:
        return "faster"
    return "slower" if high < 1 / MARGIN else "cannot tell"
