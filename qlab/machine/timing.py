"""Timing several things against each other without fooling oneself."""

import random
import time

import numpy as np

from qlab.machine.bars import bar

MINIMUM_ROUNDS = 6  # below this no distribution-free 95 % interval of a paired median exists: 2 * 0.5**5 > 0.05


def interleave(actions, rounds, *, seed=0, budget_s=float("inf"), description=None, clock=time.perf_counter):
    """Seconds that every action took in every round: {name: float64 [rounds]}.

    `actions` maps names to callables; each runs once untimed, then once a round, in an order drawn anew for every
    round. A machine that slows down meanwhile then slows all of them, and round i of one action pairs with round i of
    another. After `budget_s` seconds it stops early, but not before MINIMUM_ROUNDS.
    A bar named by `description` shows after 3 s.
    """
    order = random.Random(seed)
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
                before = clock()
                actions[name]()
                seconds[name].append(clock() - before)
    return {name: np.array(values) for name, values in seconds.items()}
