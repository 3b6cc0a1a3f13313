"""What is true of a model, but needs no mending: nothing that was tried mends it, or it does no harm."""

from dataclasses import dataclass, replace

from qlab.measure import remedies
from qlab.measure.doctor.recommending import (
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
from qlab.measure.finding import Finding, Findings
from qlab.text import ms

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


@dataclass(frozen=True)
class Limit:
    """A Finding that is true, and why it needs no mending here, or its remedy does not help."""

    finding: Finding
    why_not: str


def limited(diagnosis, comparison, recommended=None, *, is_real=True):
    """The Diagnosis; of its findings, those that the measurements say need no mending become limits.

    is_real      whether the feeds are real ones
    recommended  the Diagnosis of the recommended recipe's model: if it is free of a finding, that is the remedy
    """
    if diagnosis is None:
        return None
    left, limits = Findings(), []
    advised = "" if recommended is None else recommended.name
    for finding in diagnosis.findings:
        why_not = _why_not(finding, diagnosis.name, comparison, advised, is_real)
        spoilt = why_not or _spoilt(finding, diagnosis.name, comparison, advised)
        is_free = recommended is not None and _is_free_of(finding, recommended, diagnosis, comparison)
        if spoilt and is_free and not finding.is_harmless:
            call = remedies.call(diagnosis.examination, recommended.name)
            finding, why_not = replace(finding, remedy=f"{call}: it is free of this ({spoilt})"), ""
        elif spoilt and not why_not:
            finding = replace(finding, remedy=f"{finding.remedy}. But {spoilt}")
        if why_not:
            limits.append(Limit(finding, why_not))
        else:
            left.append(finding)
    return replace(diagnosis, findings=left, limits=tuple(limits))


def _is_free_of(finding, recommended, diagnosis, comparison):
    """Whether the recommended model is faster than the diagnosed one, and does not have the finding."""
    medians = {row.name: row.median_ms for row in comparison.rows}
    seen = {one.code for one in (*recommended.findings, *(limit.finding for limit in recommended.limits))}
    return finding.code not in seen and medians[recommended.name] <= AS_FAST * medians[diagnosis.name]


def _why_not(finding, name, comparison, advised, is_real):
    """Why a finding about the model `name` needs no mending or its remedy does not help, in words; empty where it may.

    advised  the recommended recipe
    is_real  whether the feeds are, so that they can tell what is harmless
    """
    if finding.is_harmless and is_real:
        return "it is a risk for other inputs only"
    if finding.code in ("output-loss", "layer-loss") and is_real:
        return _unharmed(next(row for row in comparison.rows if row.name == name))
    if finding.code in OF_ACCURACY or finding.code == "too-small":
        return ""
    if finding.code == "float-no-kernel":
        return "no recipe can mend it"
    rows = {row.name: row for row in comparison.rows}
    mine, other = rows[name], rows.get(finding.recipe)
    if other is None or other is mine:
        return ""
    if other.median_ms > AS_FAST * mine.median_ms:
        return f"recipes.{other.name} was tried and takes {ms(other.median_ms)}, this model {ms(mine.median_ms)}"
    return _spoilt(finding, name, comparison, advised)


def _unharmed(row):
    """That what is read from the outputs stays as it was, where it was counted or a metric says so; or empty."""
    if not (by_answers(row) or by_metric(row)) or same(row) < GOOD_SAME or too_inexact(row):
        return ""
    said = f"by the metric the agreement is {row.agreement:.3f}" if by_metric(row) else f"of the answers {row.answers}"
    return f"it does no harm on these feeds: {said}"


def _spoilt(finding, name, comparison, advised):
    """That the recipe of the remedy was tried and loses too much, in words; empty where it does not, or was not.

    What the recommended recipe loses is said where it is recommended.
    """
    rows = {row.name: row for row in comparison.rows}
    other = rows.get(finding.recipe)
    if other is None or other is rows[name] or other.name == advised:
        return ""
    best_db = max(accuracy(rows[name]), most_accurate(comparison.rows))
    inexact = too_inexact(other, best_db, max(same(rows[name]), most_same(comparison.rows)))
    return f"recipes.{other.name} was tried, and loses too much: {inexact}" if inexact else ""
