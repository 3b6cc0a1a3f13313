"""Exercise 02.3: a scheme for each tensor where zero points are few."""

from functools import cache

import numpy as np

from qlab import choose_qparams, fake_quantize
from qlab.course.brief import brief, kind
from qlab.course.lessons.n02_tensors import eight_tensors
from qlab.course.verdict import Almost

MIRRORED, FITTED = ("int8", True), ("uint8", False)
SCHEMES = {"symmetric int8": MIRRORED, "symmetric uint8": ("uint8", True), "asymmetric uint8": FITTED}


def budgets():
    """[(where, tensors, zero points allowed), ...]"""
    eight, made_up = eight_tensors(), _made_up()
    return [
        *((f"for the eight tensors and {count} zero points", eight, count) for count in (3, 0, 2, 8)),
        *((f"for other tensors and {count} zero point{'s' * (count != 1)}", made_up, count) for count in (1, 2, 3, 7)),
    ]


@cache
def _made_up():
    random = np.random.default_rng(23)
    return {
        "numbers below zero": -random.random((20, 30), np.float32) - 0.1,
        "cosines": np.cos(random.uniform(-0.04, 0.04, (10, 30)) + np.pi * random.integers(0, 2, (10, 30))).astype("f4"),
        "a small dip": random.uniform(-1, 8, (9, 50)).astype(np.float32) * 1e-3,
        "a third below zero": random.uniform(-2, 4, (9, 50)).astype(np.float32) * 50,
        "many small numbers and a few large": _crowded(random, 3e-4, 0.05),
        "nearly all tiny": _crowded(random, 2e-3, 0.1),
        "never negative": random.random((7, 60), np.float32) * 0.02,
    }


def _crowded(random, size, share):
    """Numbers of one small size, and a share of large ones above zero for the most part."""
    large = random.uniform(-0.05, 1, (60, 50)) * (random.random((60, 50)) < share)
    return (np.where(large, large, size * random.choice([-1, 1], (60, 50)))).astype(np.float32)


@cache
def all_measured(names):
    """What `measured` says of each of the names."""
    given = eight_tensors() | _made_up()
    return {name: measured(given[name]) for name in names}


def measured(x):
    """{scheme: (error, zero point, sum of squares)}: an error of 1 for symmetric int8, 1/4 for half its steps."""
    qparams = {name: choose_qparams(x, dtype, symmetric=symmetric) for name, (dtype, symmetric) in SCHEMES.items()}
    energy = {name: np.sum(np.square(x - fake_quantize(x, chosen), dtype=float)) for name, chosen in qparams.items()}
    unit = energy["symmetric int8"]
    return {name: (energy[name] / unit, int(qparams[name].zero_point), energy[name]) for name in SCHEMES}


def least_total(found, allowed):
    """The least sum of errors with at most so many zero points other than 0."""
    free = {name: min(error for error, zero, _ in schemes.values() if not zero) for name, schemes in found.items()}
    best = {name: min(error for error, *_ in schemes.values()) for name, schemes in found.items()}
    gains = sorted((free[name] - best[name] for name in found), reverse=True)
    return sum(free.values()) - sum(gains[:allowed])


def read(chosen, given, where):
    """What the answer returned as {tensor: scheme}; raises Almost if it is not one scheme for each tensor."""
    if not isinstance(chosen, dict):
        raise Almost(f"{where}: expected {{tensor: scheme}}, seen {brief(chosen)} of type `{kind(chosen)}`")
    if set(chosen) != set(given):
        missing = [name for name in given if name not in chosen]
        unknown = [brief(name) for name in chosen if name not in given]
        raise Almost(f"{where}: expected one scheme for each of {len(given)}; missing: {missing}, unknown: {unknown}")
    for name, scheme in chosen.items():
        if not isinstance(scheme, str) or scheme not in SCHEMES:
            raise Almost(f"{name!r}: expected one of {', '.join(map(repr, SCHEMES))}, seen {brief(scheme)}")
    return chosen


def judge(chosen, given, allowed, where):
    """-> total error"""
    found = all_measured(tuple(given))
    errors = {name: found[name][scheme][0] for name, scheme in chosen.items()}
    paid = [name for name, scheme in chosen.items() if found[name][scheme][1]]
    clothes = [name for name in paid if chosen[name] == "symmetric uint8"]
    total, least = sum(errors.values()), least_total(found, allowed)
    if (len(paid) > allowed or total > 1.002 * least) and clothes:
        raise Almost(
            f"{where}: {clothes[0]!r} has negative values, so with symmetric uint8 its zero point is the mid-code 128: "
            "symmetric int8 in other clothes, at the price of a zero point"
        )
    if len(paid) > allowed:
        worst = max(paid, key=errors.get)
        raise Almost(
            f"{where}: {len(paid)} have a zero point other than 0 ({', '.join(paid)}). The least is gained "
            f"on {worst!r}: error {errors[worst]:.2f} instead of 1"
        )
    if total > 1.002 * least:
        raise Almost(
            f"{where}: total error {total:.2f}, possible: {least:.2f}. {_advice(chosen, given, paid, allowed)}"
        )
    return total


def _advice(chosen, given, paid, allowed):
    """What to look at: harm first, then what costs nothing, then where a zero point would do more."""
    found = all_measured(tuple(given))
    errors = {name: found[name][scheme][0] for name, scheme in chosen.items()}
    lost = {name: errors[name] - min(error for error, *_ in found[name].values()) for name in chosen}
    worst = max(errors, key=errors.get)
    if errors[worst] > 1.002:
        return (
            f"On {worst!r} {chosen[worst]} does harm: error {errors[worst]:.2f} instead of 1. A finer step does not "
            "promise less error: measure, and spend a zero point only where it gains"
        )
    free = [name for name in chosen if lost[name] > 0.01 and not found[name]["symmetric uint8"][1]]
    name = max(free or [name for name in chosen if name not in paid] or chosen, key=lost.get)
    said = (
        f"Look at {name!r}: {errors[name]:.2f} with {chosen[name]}, {errors[name] - lost[name]:.2f} would be possible"
    )
    if free:
        return (
            f"{said}. It has no negative value, so half of int8's codes lie idle, and unsigned codes need no zero point"
        )
    if len(paid) == allowed and paid:
        least = max(paid, key=errors.get)
        return (
            f"{said} with a zero point. The one on {least!r} gains less: {errors[least]:.2f} instead of 1"
            f"{_compared(given, found, paid)}"
        )
    return f"{said} with a zero point; you have spent {len(paid)} of {allowed}, since one that comes out as 0 is free"


def _compared(given, found, paid):
    """By which other measure these are the tensors on which a zero point saves most, in a sentence; or nothing."""
    saved, unit = {}, "The unit is the error of symmetric int8"
    for name in (name for name in found if found[name]["symmetric uint8"][1]):
        x = given[name].astype(float)
        both = (choose_qparams(given[name], dtype, symmetric=symmetric) for dtype, symmetric in (MIRRORED, FITTED))
        before, after = (np.abs(x - fake_quantize(given[name], qparams)) for qparams in both)
        squares = np.sum(np.square(before)) - np.sum(np.square(after))
        saved[name] = {
            "Was each error divided by that of symmetric int8?": squares,
            "Was the largest error compared, or the range alone? The error is the sum of all squares": 1
            - after.max() / before.max(),
            "Were the errors squared before they were added up?": 1 - after.sum() / before.sum(),
            f"Was it divided by the signal's energy? {unit}": squares / np.sum(np.square(x)),
            f"Was it divided by the variance, or by a * a? {unit}": squares / np.var(x),
            f"Was it divided by a * a? {unit}": squares / np.square(x).max(),
        }
    for said in next(iter(saved.values())):
        if set(paid) == set(sorted(saved, key=lambda name: saved[name][said])[-len(paid) :]):
            return f". {said}"
    return ""
