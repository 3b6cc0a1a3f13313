"""Time open models against each other."""

import math
import os
import time

from qlab.machine.timing import interleave

FAST_ROUNDS, MOST_ROUNDS = 7, 100_000
SHORTEST_SAMPLE_S = 1e-3  # a model faster than this runs several times a sample, or the clock would be a part of it


def time_models(sessions, feeds, rounds):
    """Seconds a feed, for every model and round: {name: float64 [rounds]}."""

    def one_pass(session):
        for feed in feeds:
            session.run(None, feed)

    started = time.perf_counter()
    for session in sessions.values():
        one_pass(session)
    mean_s = (time.perf_counter() - started) / len(sessions)
    repeats = max(1, math.ceil(SHORTEST_SAMPLE_S / mean_s))

    def sample(session):
        for _ in range(repeats):
            one_pass(session)

    actions = {name: lambda session=session: sample(session) for name, session in sessions.items()}
    timed = interleave(actions, rounds, description="comparing " + ", ".join(sessions))
    return {name: seconds / (repeats * len(feeds)) for name, seconds in timed.items()}


def rounds_here(rounds):
    """`rounds`, but at most FAST_ROUNDS under QLAB_FAST=1. Raises ValueError unless it is such a number."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 1 <= rounds <= MOST_ROUNDS:
        raise ValueError(f"rounds is {rounds!r}; expected a whole number from 1 up, such as 30, up to {MOST_ROUNDS:,}")
    return min(rounds, FAST_ROUNDS) if os.environ.get("QLAB_FAST") == "1" else rounds
