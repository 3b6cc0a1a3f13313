"""Models timed against each other in one run: interleaved rounds, and what a difference between them is worth."""

import os
import time

import numpy as np

from qlab.runtime import MINIMUM_ROUNDS, interleave, repeats_of

MARGIN = 1.02  # a difference below is no verdict
FAST_ROUNDS, MOST_ROUNDS = 7, 100_000
SAMPLE_S, FAST_SAMPLE_S = 10e-3, 1e-3  # a model faster than this runs several times a round; under QLAB_FAST=1


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


def time_models(sessions, feeds, rounds, *, clock=time.perf_counter):
    """Seconds a feed, for every model and round: {name: float64 [rounds]}."""
    actions = {name: one_pass(session, feeds) for name, session in sessions.items()}
    repeats = {name: repeats_here(action, clock=clock) for name, action in actions.items()}
    description = "comparing " + ", ".join(sessions)
    timed = interleave(actions, rounds, repeats=repeats, description=description, clock=clock)
    return {name: seconds / len(feeds) for name, seconds in timed.items()}


def one_pass(session, feeds):
    """A callable that runs the session on each feed."""

    def run_all():
        for feed in feeds:
            session.run(None, feed)

    return run_all


def repeats_here(action, fast_s=FAST_SAMPLE_S, *, clock=time.perf_counter):
    """How often an action is to run in a round, so that what interrupts the machine is seen to be an interruption.

    fast_s  seconds of a sample under QLAB_FAST=1
    """
    return repeats_of(action, fast_s if _is_fast() else SAMPLE_S, clock=clock)


def rounds_here(rounds):
    """`rounds`, but at most FAST_ROUNDS under QLAB_FAST=1. Raises ValueError unless it is such a number."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds is {rounds!r}; expected a whole number from 1 up, such as 30, up to {MOST_ROUNDS:,}")
    return min(rounds, FAST_ROUNDS) if _is_fast() else rounds


def _is_fast():
    return os.environ.get("QLAB_FAST") == "1"
