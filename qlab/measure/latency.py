"""Time open models against each other."""

import os
import time

from qlab.machine.timing import interleave, repeats_of

FAST_ROUNDS, MOST_ROUNDS = 7, 100_000
SAMPLE_S, FAST_SAMPLE_S = 10e-3, 1e-3  # a model faster than this runs several times a round; under QLAB_FAST=1


def time_models(sessions, feeds, rounds):
    """Seconds a feed, for every model and round: {name: float64 [rounds]}."""
    actions = {name: one_pass(session, feeds) for name, session in sessions.items()}
    repeats = {name: repeats_here(action) for name, action in actions.items()}
    description = "comparing " + ", ".join(sessions)
    timed = interleave(actions, rounds, repeats=repeats, description=description, clock=time.perf_counter)
    return {name: seconds / len(feeds) for name, seconds in timed.items()}


def one_pass(session, feeds):
    """A callable that runs the session on each feed."""

    def run_all():
        for feed in feeds:
            session.run(None, feed)

    return run_all


def repeats_here(action, fast_s=FAST_SAMPLE_S):
    """How often an action is to run in a round, so that what interrupts the machine is seen to be an interruption.

    fast_s  seconds of a sample under QLAB_FAST=1
    """
    return repeats_of(action, fast_s if _is_fast() else SAMPLE_S, clock=time.perf_counter)


def rounds_here(rounds):
    """`rounds`, but at most FAST_ROUNDS under QLAB_FAST=1. Raises ValueError unless it is such a number."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds is {rounds!r}; expected a whole number from 1 up, such as 30, up to {MOST_ROUNDS:,}")
    return min(rounds, FAST_ROUNDS) if _is_fast() else rounds


def _is_fast():
    return os.environ.get("QLAB_FAST") == "1"
