"""Which model to use, a rule on a comparison's rows; and which findings need no mending after all."""

import math
from dataclasses import dataclass, replace

from qlab.doctor.trying import attempt_of
from qlab.measure.diagnosis.diagnose import CAUSES
from qlab.measure.diagnosis.finding import ACCURACY, NOTHING, STILL_SLOWER, TIME, Finding, Findings
from qlab.measure.outputs import OTHER_NUMBER
from qlab.recipes import RECIPES
from qlab.text import decibels, ms, ratio

LEAST_DB = 15.0  # below, more than a sixth of the answer is error
GOOD_DB = 30.0  # above, 3 % at most: more is not worth waiting for
NEAR_DB = 6.0  # one bit of accuracy
AS_ACCURATE_DB = 1.0  # of the most accurate
CLEARLY = 1.1  # times as fast as fp32
AS_FAST = 0.95  # of the fastest: closer than that, a few percent of luck decide
LEAST_SAME = 0.95  # of the answers, or of agreement: below, one in twenty is another
GOOD_SAME = 0.995  # above, more is not worth waiting for
NEAR_SAME, AS_SAME = 0.005, 0.001
FEW = 3  # answers that changed are no luck, where more than one in twenty did
_FASTER = "The rule: what is faster than fp32 beyond doubt, and"
_DECIBELS = (
    f"keeps at least {GOOD_DB:.0f} dB or comes within {NEAR_DB:.0f} dB of the most accurate of these, never below "
    f"{LEAST_DB:.0f} dB."
)
_FASTEST = f"Of those the fastest, unless one within {100 * (1 - AS_FAST):.0f} % of it keeps"


@dataclass(frozen=True)
class Recommendation:
    """The name of the row to use, why, and {name: why not} of the others.

    is_reference  whether that is the fp32 model; is_present, whether it is the one that is in use already
    """

    name: str
    why: str
    rejected: dict[str, str]
    is_reference: bool = False
    is_present: bool = False


def recommend(rows, present=None):
    """The Recommendation among the Rows of a comparison; its reference where nothing else is worth it.

    present  the name of the row that is in use already, or None: it stays where nothing beats it by more than luck

    1. Only what is faster, its whole interval, counts.
    2. Of that, only what keeps its accuracy: GOOD_DB, or within NEAR_DB of the best, and LEAST_DB at any rate. Where
       answers can be counted, GOOD_SAME, NEAR_SAME and LEAST_SAME of them decide instead, and dB of the other outputs;
       where a metric was given, the same shares of its agreement, and no dB.
    3. The fastest; but of those within AS_FAST of it, one that comes within AS_SAME and AS_ACCURATE_DB of the most
       accurate, and `present` before any other of these.
    """
    reference = next(row for row in rows if row.is_reference)
    others = [row for row in rows if not row.is_reference]
    rejected = {row.name: _too_slow(row) for row in others if row.verdict != "faster"}
    faster = [row for row in others if row.verdict == "faster"]
    best = most_accurate(rows), most_same(rows)
    rejected |= {row.name: too_inexact(row, *best) for row in faster if too_inexact(row, *best)}
    kept = [row for row in faster if row.name not in rejected]
    if not kept:
        return Recommendation(reference.name, _why_none(faster, others), rejected, is_reference=True)
    fastest = max(row.speedup for row in kept)
    near = [row for row in kept if row.speedup >= AS_FAST * fastest]
    as_same = [row for row in near if same(row) >= max(map(same, near)) - AS_SAME]
    most_db = max(map(accuracy, as_same))
    as_accurate = [row for row in as_same if accuracy(row) == most_db or accuracy(row) > most_db - AS_ACCURATE_DB]
    chosen = max(as_accurate, key=lambda row: (row.name == present, row.speedup))
    for row in kept:
        if row is not chosen:
            rejected[row.name] = _behind(row, chosen)
    is_present = chosen.name == present
    why = "no other is better by more than luck" if is_present else _why(chosen, fastest, len(kept))
    return Recommendation(chosen.name, why, rejected, is_present=is_present)


def rule(rows):
    """The rule in words, for what these Rows are judged by."""
    if any(map(by_metric, rows)):
        shares = f"agreement of at least {GOOD_SAME} by the given metric, or within {NEAR_SAME} of the best of these"
        return f"{_FASTER} keeps an {shares}, never below {LEAST_SAME}. {_FASTEST} {AS_SAME} more."
    if any(by_answers(row) for row in rows if not row.is_reference):
        shares = f"keeps {100 * GOOD_SAME} % of the answers or comes within {100 * NEAR_SAME} % of the best of these"
        others = f"An output without answers {_DECIBELS}"
        return f"{_FASTER} {shares}, never below {100 * LEAST_SAME:.0f} %. {others} {_FASTEST} {100 * AS_SAME} % more."
    return f"{_FASTER} {_DECIBELS} {_FASTEST} {AS_ACCURATE_DB:.0f} dB more."


def by_metric(row):
    """Whether a metric was given, so that it judges the row."""
    return not math.isnan(row.agreement)


def by_answers(row):
    """Whether the row's answers are enough to judge it by."""
    return not by_metric(row) and row.answers is not None and row.answers.tell


def same(row):
    """The share of the answers that stayed, or the agreement by the given metric; 1 where there is neither."""
    if by_metric(row):
        return row.agreement
    return row.answers.same if by_answers(row) else 1.0


def accuracy(row):
    """SQNR in dB of what answers or a metric do not judge; infinite where that is nothing, -inf where it is broken."""
    if by_metric(row):
        return math.inf
    if math.isnan(row.sqnr_db):
        return -math.inf if any(words in row.note for words in ("differs", "NaN", OTHER_NUMBER)) else math.inf
    return _worst(row)[0]


def _worst(row):
    """(dB, output) of the output that answers do not judge and that keeps least of what is read from it."""
    judged = [(one.judged_db, output) for output, one in row.kept.items() if not (one.answers and one.answers.tell)]
    return min(judged, default=(math.inf if row.kept else row.sqnr_db, ""))


def most_accurate(rows):
    """The accuracy of the best of the Rows that are faster than the reference; -inf if none is."""
    return max((accuracy(row) for row in rows if row.verdict == "faster"), default=-math.inf)


def most_same(rows):
    """The share of the answers that the best of the Rows keeps that are faster than the reference; -inf if none is."""
    return max((same(row) for row in rows if row.verdict == "faster"), default=-math.inf)


def too_inexact(row, best_db=-math.inf, best_same=-math.inf):
    """Why the row loses too much to be used, or the empty text. The best are those that can be had instead."""
    db, kept = accuracy(row), same(row)
    if math.isnan(row.sqnr_db) and db == -math.inf:
        cannot_tell = OTHER_NUMBER in row.note and "differs" not in row.note and "NaN" not in row.note
        return f"{'SQNR cannot judge it' if cannot_tell else 'its answers are wrong'}: {row.note}"
    if kept < LEAST_SAME:
        return f"agreement {kept:.3f} is too little to use" if by_metric(row) else f"{_differ(row)}, too many to use"
    if kept < min(GOOD_SAME, best_same - NEAR_SAME):
        if by_metric(row):
            return f"agreement {kept:.3f}, where {best_same:.3f} can be had"
        return f"{_differ(row)}, where another changes {_needed(row, best_same)}"
    if db < LEAST_DB:
        return f"{_decibels(row, db)} are too little to use"
    if db < min(GOOD_DB, best_db - NEAR_DB):
        return f"{_decibels(row, db)}, where {'exact answers' if best_db == math.inf else f'{best_db:.1f}'} can be had"
    if not by_metric(row) and row.answers and row.answers.changed >= FEW and row.answers.same < LEAST_SAME:
        return f"{_differ(row)}, too many to use"
    return ""


def _differ(row):
    return f"{row.answers.changed:,} of {row.answers.total:,} answers differ"


def _needed(row, best_same):
    return f"{round((1 - best_same) * row.answers.total):,}" if best_same < 1 else "none"


def _decibels(row, db):
    """The number; where it is none of the table's, with the output that it is of."""
    is_told = db == row.sqnr_db or abs(db - row.sqnr_db) < 0.05
    return f"{db:.1f} dB" if is_told else f"{db:.1f} dB of {_worst(row)[1]}, as it is read,"


def is_more_accurate(row, other):
    """Whether a Row keeps more answers than another, or as many and more dB."""
    return (same(row), accuracy(row)) > (same(other), accuracy(other))


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
        return f"hardly faster than {chosen.name}" + (", and less accurate" * is_more_accurate(chosen, row))
    return f"slower than {chosen.name}" if row.speedup < AS_FAST * chosen.speedup else f"no better than {chosen.name}"


@dataclass(frozen=True)
class Limit:
    """A Finding that is true, and why it needs no mending here, or its remedy does not help."""

    finding: Finding
    why_not: str


def limited(diagnosis, comparison, recommended=None, *, attempts=(), is_real=True):
    """The Diagnosis; of its findings, those that the measurements say need no mending become limits.

    attempts     what was tried: the remedies that stay are those that helped, or were not tried
    is_real      whether the feeds are real ones
    recommended  the Diagnosis of the recommended recipe's model: if it is free of a finding, that is the remedy
    """
    if diagnosis is None:
        return None
    left, limits = Findings(), []
    advised = "" if recommended is None else recommended.name
    for finding in diagnosis.findings:
        tried = _Tried(finding, diagnosis.name, comparison, attempts, advised)
        why_not = _why_not(finding, tried, is_real)
        spoilt = why_not or tried.spoilt or (tried.useless if is_real else "")
        is_free = recommended is not None and _is_free_of(finding, recommended, diagnosis, comparison)
        if spoilt and is_free and not finding.is_harmless:
            made = next((one for one in attempts if one.name == advised), None)
            recipe, options = (advised, {}) if made is None else (made.recipe, made.asked)
            made_by = diagnosis.examination.call(RECIPES[recipe], **options)
            remedy, why_not = f"{made_by}: it is free of this ({spoilt})", ""
            finding = replace(finding, remedy=remedy, recipe=recipe, options=options, is_tried=True)
        elif spoilt and not why_not:
            remedy = f"{finding.otherwise or tried.instead}: {spoilt}"
            finding = replace(finding, remedy=remedy, recipe="", options={})
        elif tried.row is not None and finding.recipe:
            known = finding.remedy.partition(STILL_SLOWER)[0]
            finding = replace(finding, remedy=f"{known}{tried.result}", is_tried=True)
        if why_not:
            limits.append(Limit(finding, why_not))
        else:
            left.append(finding)
    return replace(diagnosis, findings=left, limits=tuple(limits))


def _is_free_of(finding, recommended, diagnosis, comparison):
    """Whether the recommended model is faster than the diagnosed one, and does not have the finding."""
    speeds = {row.name: row.speedup for row in comparison.rows}
    seen = {one.code for one in (*recommended.findings, *(limit.finding for limit in recommended.limits))}
    return finding.code not in seen and speeds[diagnosis.name] <= AS_FAST * speeds[recommended.name]


def _why_not(finding, tried, is_real):
    """Why a finding needs no mending or its remedy does not help, in words; empty where it may.

    is_real  whether the feeds are, so that they can tell what is harmless
    """
    if finding.is_harmless and is_real:
        return "it is a risk for other inputs only"
    kind = CAUSES.kind(finding.code)
    if kind.shows_in_answers and is_real:
        return _unharmed(tried.mine)
    if kind.costs != TIME:
        return ""
    if kind.is_beyond_recipes:
        return "no recipe can mend it"
    if finding.remedy.startswith(NOTHING) and tried.mine.verdict == "faster":
        return NOTHING
    return tried.slower or tried.spoilt


def _unharmed(row):
    """That what is read from the outputs stays as it was, where it was counted or a metric says so; or empty."""
    if not (by_answers(row) or by_metric(row)) or same(row) < GOOD_SAME or too_inexact(row):
        return ""
    said = f"by the metric the agreement is {row.agreement:.3f}" if by_metric(row) else f"of the answers {row.answers}"
    return f"it does no harm on these feeds: {said}"


class _Tried:
    """What came of trying the remedy of a finding about the model called `name`.

    row, mine  the Rows of the model that the remedy made, None if there is none, and of the diagnosed one
    """

    def __init__(self, finding, name, comparison, attempts, advised):
        rows = {row.name: row for row in comparison.rows}
        self._kind, self._comparison, self._advised = CAUSES.kind(finding.code), comparison, advised
        self._attempt = attempt_of(finding, attempts)
        called = finding.recipe if self._attempt is None else self._attempt.name
        asked_for_more = bool(finding.options) and self._attempt is None
        self.mine, self.row = rows[name], None if asked_for_more else rows.get(called)
        if self.row is self.mine:
            self.row = None

    @property
    def slower(self):
        """That the remedy makes it no faster, in words; empty where it does, or was not tried."""
        other, mine = self.row, self.mine
        if other is None:
            return self._nothing
        if mine.speedup <= AS_FAST * other.speedup:
            return ""
        return f"recipes.{other.name} was tried and takes {ms(other.median_ms)}, this model {ms(mine.median_ms)}"

    @property
    def spoilt(self):
        """That what the remedy makes loses too much, in words; empty where it does not, or was not tried.

        What the recommended recipe loses is said where it is recommended.
        """
        if self.row is None or self.row.name == self._advised:
            return ""
        rows = self._comparison.rows
        best_db, best_same = max(accuracy(self.mine), most_accurate(rows)), max(same(self.mine), most_same(rows))
        inexact = too_inexact(self.row, best_db, best_same)
        return f"recipes.{self.row.name} was tried, and loses too much: {inexact}" if inexact else ""

    @property
    def useless(self):
        """That a remedy for lost accuracy keeps no more, in words; empty where it does, or was not tried."""
        if self._kind.costs != ACCURACY:
            return ""
        if self.row is None:
            return self._nothing
        kept, before = self._db(self.row), self._db(self.mine)
        if kept >= before + AS_ACCURATE_DB or same(self.row) > same(self.mine):
            return ""
        return f"recipes.{self.row.name} was tried and keeps {decibels(kept)} dB, this model {decibels(before)}"

    @property
    def result(self):
        """What the remedy gives, in words, where it helps but not in all: it is no faster than fp32."""
        if self.row.verdict == "faster":
            return ""
        return f". It was tried: {ratio(self.row.speedup)} times as fast as fp32, so that for speed fp32 is to stay"

    @property
    def instead(self):
        """What to do where the remedy does not help."""
        usable = self.mine.verdict == "faster" and not too_inexact(self.mine)
        return "keep this model as it is" if usable else "stay with fp32"

    @property
    def _nothing(self):
        """That trying the remedy made no model, in words."""
        if self._attempt is None or self._attempt.quantized is not None:
            return ""
        return f"recipes.{self._attempt.name} was tried, and {'failed: ' * self._attempt.failed}{self._attempt.why_not}"

    def _db(self, row):
        """SQNR of the part that the finding is about: that of the worst part, where the whole does not show it."""
        part = getattr(self._comparison, "worst_part", {}).get(row.name)
        db = part.sqnr_db if part is not None and self._kind.is_of_a_part else row.sqnr_db
        return accuracy(row) if math.isnan(db) else db
