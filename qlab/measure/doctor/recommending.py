"""The rule that picks a model from a comparison: a pure function of its rows."""

import math
from dataclasses import dataclass

from qlab.measure.outputs import OTHER_NUMBER

LEAST_DB = 15.0  # below, more than a sixth of the answer is error
GOOD_DB = 30.0  # above, 3 % at most: more is not worth waiting for
NEAR_DB = 6.0  # one bit of accuracy
AS_ACCURATE_DB = 1.0  # of the most accurate
CLEARLY = 1.1  # times as fast as fp32
AS_FAST = 0.95  # of the fastest: closer than that, a few percent of luck decide

RULE = (
    f"The rule: what is faster than fp32 beyond doubt, and keeps at least {GOOD_DB:.0f} dB or comes within "
    f"{NEAR_DB:.0f} dB of the most accurate of these, never below {LEAST_DB:.0f} dB. Of those the fastest, unless "
    f"one within {100 * (1 - AS_FAST):.0f} % of it keeps {AS_ACCURATE_DB:.0f} dB more."
)


@dataclass(frozen=True)
class Recommendation:
    """The name of the row to use, why, and {name: why not} of the others."""

    name: str
    why: str
    rejected: dict[str, str]


def recommend(rows, present=None):
    """The Recommendation among the Rows of a comparison; its reference where nothing else is worth it.

    present  the name of the row that is in use already, or None: it stays where nothing beats it by more than luck

    1. Only what is faster, its whole interval, counts.
    2. Of that, only what keeps its accuracy: GOOD_DB, or within NEAR_DB of the best, and LEAST_DB at any rate.
    3. The fastest; but of those within AS_FAST of it, one that comes within AS_ACCURATE_DB of the most accurate, and
       `present` before any other of these.
    """
    reference = next(row for row in rows if row.is_reference)
    others = [row for row in rows if not row.is_reference]
    rejected = {row.name: _too_slow(row) for row in others if row.verdict != "faster"}
    faster = [row for row in others if row.verdict == "faster"]
    best_db = most_accurate(rows)
    rejected |= {row.name: too_inexact(row, best_db) for row in faster if too_inexact(row, best_db)}
    kept = [row for row in faster if row.name not in rejected]
    if not kept:
        return Recommendation(reference.name, _why_none(faster, others), rejected)
    fastest = max(row.speedup for row in kept)
    near = [row for row in kept if row.speedup >= AS_FAST * fastest]
    most_db = max(map(accuracy, near))
    as_accurate = [row for row in near if accuracy(row) == most_db or accuracy(row) > most_db - AS_ACCURATE_DB]
    chosen = max(as_accurate, key=lambda row: (row.name == present, row.speedup))
    for row in kept:
        if row is not chosen:
            rejected[row.name] = _behind(row, chosen)
    why = "no other is better by more than luck" if chosen.name == present else _why(chosen, fastest, len(kept))
    return Recommendation(chosen.name, why, rejected)


def accuracy(row):
    """The row's SQNR in dB; infinite where there are no float outputs and nothing differs, -inf where it is broken."""
    if not math.isnan(row.sqnr_db):
        return row.sqnr_db
    return -math.inf if any(words in row.note for words in ("differs", "NaN", OTHER_NUMBER)) else math.inf


def most_accurate(rows):
    """The accuracy of the best of the Rows that are faster than the reference; -inf if none is."""
    return max((accuracy(row) for row in rows if row.verdict == "faster"), default=-math.inf)


def too_inexact(row, best_db=-math.inf):
    """Why the row loses too much to be used, or the empty text. `best_db` is the best that can be had instead."""
    db = accuracy(row)
    if math.isnan(row.sqnr_db) and db == -math.inf:
        cannot_tell = OTHER_NUMBER in row.note and "differs" not in row.note and "NaN" not in row.note
        return f"{'SQNR cannot judge it' if cannot_tell else 'its answers are wrong'}: {row.note}"
    if db < LEAST_DB:
        return f"{db:.1f} dB are too little to use"
    if db < min(GOOD_DB, best_db - NEAR_DB):
        return f"{db:.1f} dB, where {'exact answers' if best_db == math.inf else f'{best_db:.1f}'} can be had"
    return ""


def _too_slow(row):
    return "slower than fp32" if row.verdict == "slower" else "whether it is faster than fp32 cannot be told"


def _why_none(faster, others):
    if faster:
        return "what is faster loses too much accuracy"
    if any(row.verdict == "cannot tell" for row in others):
        return "no quantized version is faster beyond doubt; more rounds may tell"
    return "no quantized version is faster on this machine"


def _why(chosen, fastest, count):
    near = ", though so little faster than fp32 that another run may decide otherwise" * (chosen.speedup < CLEARLY)
    if count == 1:
        return f"the only one that is faster and accurate enough{near}"
    if chosen.speedup >= fastest:
        return f"the fastest that is accurate enough{near}"
    return f"within {100 * (1 - AS_FAST):.0f} % of the fastest, and more accurate"


def _behind(row, chosen):
    if row.speedup > chosen.speedup:
        return f"hardly faster than {chosen.name}" + (", and less accurate" * (accuracy(row) < accuracy(chosen)))
    return f"slower than {chosen.name}" if row.speedup < AS_FAST * chosen.speedup else f"no better than {chosen.name}"
