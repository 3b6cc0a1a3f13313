"""Timing several things against each other without fooling oneself."""

import math
import random
import time

import numpy as np

from qlab.machine.bars import bar

MINIMUM_ROUNDS = 6  # below this no distribution-free 95 % interval of a paired median exists: 2 * 0.5**5 > 0.05
TRIES, MOST_REPEATS = 3, 10_000  # of an action, to see how long it takes; in one sample


def interleave(actions, rounds, *, repeats=None, seed=0, budget_s=math.inf, description=None, clock=time.perf_counter):
    """Seconds that every action took in every round: {name: float64 [rounds]}.

    `actions` maps names to callables; each runs once untimed, then once a round, in an order drawn anew for every
    round. A machine that slows down meanwhile then slows all of them, and round i of one action pairs with round i of
    another. After `budget_s` seconds it stops early, but not before MINIMUM_ROUNDS.
    `repeats`, {name: times}, has an action run several times in a round, which counts with the mean of their middle
    half: a pause of the machine, which stretches few runs a hundredfold, stays outside; and where runs have two speeds,
    it lies between them, where a median would be now the one, now the other.
    A bar named by `description` shows after 3 s.
    """
    order, repeats = random.Random(seed), repeats or {}
    names = list(actions)
    for action in actions.values():
        action()
    seconds = {name: [] for name in actions}
    started = clock()
    with bar(range(rounds), description) as counted:
        for done, _ in enumerate(counted):
            if done >= MINIMUM_ROUNDS and clock() - started > budget_s:
                break
            order.shuffle(names)
            for name in names:
                runs = [_timed(actions[name], clock) for _ in range(repeats.get(name, 1))]
                seconds[name].append(_middle(runs))
    return {name: np.array(values) for name, values in seconds.items()}


def repeats_of(action, sample_s, *, clock=time.perf_counter):
    """How often `action` runs in `sample_s` seconds, once at the least; it is run a few times to find out."""
    seconds = [_timed(action, clock)]
    while len(seconds) < MOST_REPEATS and sum(seconds) < (10 if len(seconds) < TRIES else 1) * sample_s:
        seconds.append(_timed(action, clock))
    typical = max(float(np.median(seconds)), sample_s / MOST_REPEATS)
    return max(1, math.ceil(sample_s / typical)) if sample_s else 1


def _timed(action, clock):
    before = clock()
    action()
    return clock() - before


def _middle(seconds):
    """The mean of the middle half."""
    outside = (len(seconds) + 1) // 4
    return float(np.mean(sorted(seconds)[outside : len(seconds) - outside]))
