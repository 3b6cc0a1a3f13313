"""What exercise 04.3 is measured against: the best choice by trying all, and the habits that explain a wrong one."""

from typing import NamedTuple

import numpy as np

from qlab import choose_qparams, fake_quantize, sqnr_db
from qlab.course.brief import brief
from qlab.course.expect import call
from qlab.course.verdict import Almost

SCALE_BITS = 16


class Case(NamedTuple):
    """One question: a tensor, and the effective bits that may be spent on it."""

    name: str
    x: np.ndarray
    budget: float

    def __str__(self):
        return f"{self.name} {self.x.shape}, at most {self.budget} bits"


def quality(x, bits, granularity, *, symmetric=True):
    """SQNR in dB."""
    return sqnr_db(x, fake_quantize(x, choose_qparams(x, f"int{bits}", symmetric=symmetric, granularity=granularity)))


def cost(x, bits, granularity):
    """Effective bits, scales included."""
    return bits + SCALE_BITS * np.prod(granularity.scale_shape(x.shape)) / x.size


# (what went wrong, what was made as large as possible)
HABITS = (
    (": the lowest SQNR was taken; the highest is the best", lambda x, bits, each: -quality(x, bits, each)),
    (": the most expensive that fits is not always the best; measure", cost),
    (": the most code bits are not always the best; a finer granularity may be", lambda x, bits, each: bits),
    (
        ": the choice is that of 8-bit codes throughout; is `bits` missing in shared(x, granularity, bits)?",
        lambda x, bits, each: quality(x, 8, each),
    ),
    (
        ": the choice is that of asymmetric codes; here they are symmetric",
        lambda x, bits, each: quality(x, bits, each, symmetric=False),
    ),
)


def judge_choices(best_within, cases, candidates):
    """Ask `best_within` every case; -> its choice in the last. A wrong one is told by the habit behind them all."""
    seen = [_chosen(best_within, case, candidates) for case in cases]
    for case, chosen in zip(cases, seen, strict=True):
        best = _largest(quality, case, candidates)
        has, could = quality(case.x, *chosen), quality(case.x, *best)
        if has < could:
            why = _why(cases, seen, candidates, cost(case.x, *best) == case.budget and best)
            raise Almost(f"{case}: {chosen} has {has:.1f} dB, but {best} has {could:.1f} dB{why}")
    return seen[-1]


def _chosen(best_within, case, candidates):
    answer = call(best_within, case.x, case.budget, list(candidates), name="best_within")
    if not isinstance(answer, tuple | list) or tuple(answer) not in candidates:
        raise Almost(f"{case}: expected one of the candidates, a pair (bits, granularity), seen {brief(answer)}")
    price = cost(case.x, *answer)
    if price > case.budget:
        raise Almost(f"{case}: {tuple(answer)} costs {price:.3f} bits, its scales included: too many")
    return tuple(answer)


def _largest(wanted, case, candidates):
    """The candidate within the budget of which `wanted` is largest, the first of equals."""
    affordable = [candidate for candidate in candidates if cost(case.x, *candidate) <= case.budget]
    return max(affordable, key=lambda candidate: wanted(case.x, *candidate))


def _why(cases, seen, candidates, costs_the_budget):
    for said, wanted in HABITS:
        if all(_largest(wanted, case, candidates) == chosen for case, chosen in zip(cases, seen, strict=True)):
            return said
    if costs_the_budget:
        return f", and {costs_the_budget} costs exactly the budget, which is allowed"
    return ": the SQNR decides, measured on this tensor"
