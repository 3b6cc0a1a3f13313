"""What is true of a model, but needs no mending: nothing that was tried mends it, or it does no harm."""

import math
from dataclasses import dataclass, replace

from qlab.measure import remedies
from qlab.measure.doctor.recommending import (
    AS_ACCURATE_DB,
    AS_FAST,
    GOOD_SAME,
    accuracy,
    by_answers,
    by_metric,
    most_accurate,
    most_same,
    same,
    too_inexact,
)
from qlab.measure.doctor.trying import attempt_of
from qlab.measure.finding import Finding, Findings
from qlab.text import decibels, ms, ratio

ON_VALUES = (
    "range-clips",
    "range-wastes",
    "unlike-parts",
    "layer-loss",
    "output-loss",
)  # findings that noise cannot give
OF_ACCURACY = (
    *ON_VALUES,
    "range-moves-with-batch",
    "random-numbers",
    "quantized-at-load",
    "saturation-risk",
    "saturation-here",
)
WITHOUT_RECIPE = ("float-no-kernel", "float-between", "norm-not-behind-conv")


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
            call = remedies.call(diagnosis.examination, recipe, **options)
            remedy, why_not = f"{call}: it is free of this ({spoilt})", ""
            finding = replace(finding, remedy=remedy, recipe=recipe, options=options, is_tried=True)
        elif spoilt and not why_not:
            remedy = f"{finding.otherwise or tried.instead}: {spoilt}"
            finding = replace(finding, remedy=remedy, recipe="", options={})
        elif tried.row is not None and finding.recipe:
            known = finding.remedy.partition(remedies.STILL_SLOWER)[0]
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
    if finding.code in ("output-loss", "layer-loss") and is_real:
        return _unharmed(tried.mine)
    if finding.code in OF_ACCURACY or finding.code == "too-small":
        return ""
    if finding.code in WITHOUT_RECIPE:
        return "no recipe can mend it"
    if finding.remedy.startswith(remedies.NOTHING) and tried.mine.verdict == "faster":
        return remedies.NOTHING
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
        self._finding, self._comparison, self._advised = finding, comparison, advised
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
        if self._finding.code not in OF_ACCURACY:
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
        db = row.sqnr_db if part is None or self._finding.code != "unlike-parts" else part.sqnr_db
        return accuracy(row) if math.isnan(db) else db
