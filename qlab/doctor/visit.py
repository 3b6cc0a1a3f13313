"""One visit: all that is measured, in its order."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

from qlab.doctor.advice import Limit, Recommendation, by_metric, limited, recommend, too_inexact
from qlab.doctor.request import Request, stage
from qlab.doctor.trying import Attempt, made, try_mends, try_recipes
from qlab.files import scratch
from qlab.measure.compare import Comparison, compare
from qlab.measure.diagnosis.diagnose import CAUSES, findings_of
from qlab.measure.diagnosis.examination import Examination, examine, profiled_again
from qlab.measure.diagnosis.finding import Findings
from qlab.measure.profile import Ledger, ledger
from qlab.recipes.job import publish, sharing
from qlab.runtime import MINIMUM_ROUNDS

NEAR, AGAIN = 0.1, 2  # profile and comparison: how near they should be, and how often the profile is taken again
FP32, INT8 = "fp32", "int8"  # what the two given models are called in tables


@dataclass(frozen=True)
class Diagnosis:
    """What was found about one quantized model, called `name` in the comparison.

    findings  what is to be mended
    limits    Limits: findings of time that nothing mends, as far as was tried
    """

    name: str
    examination: Examination
    findings: Findings
    ledger: Ledger
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Visit:
    """All that was measured.

    given           the Diagnosis of the model that was given, or None
    attempts        one for each recipe and for each mend that takes more than a recipe, () if none was tried
    comparison      of all models, None if there is nothing to compare
    recommendation  None if no recipe was tried, or none gave anything
    tried           the Diagnosis of the recommended recipe's model, or of the fastest one if fp32 is recommended
    problem         why that one could not be diagnosed, or empty
    saved           where the recommended model was kept, or None
    """

    request: Request
    given: Diagnosis | None
    attempts: tuple[Attempt, ...]
    comparison: Comparison | None
    recommendation: Recommendation | None
    tried: Diagnosis | None
    problem: str
    saved: Path | None

    @property
    def row(self):
        """The comparison's Row of the model that was given, or None."""
        return None if self.given is None else self.row_of(self.given.name)

    @property
    def is_inexact(self):
        """Whether the given model loses too much. Noise cannot tell, except by a metric or where answers are NaN."""
        judged = self.request.feeds.source is not None or math.isnan(self.row.sqnr_db) or by_metric(self.row)
        return judged and bool(too_inexact(self.row))

    def row_of(self, name):
        """The comparison's Row called `name`."""
        return next(row for row in self.comparison.rows if row.name == name)

    @property
    def is_healthy(self):
        """The given model is neither slower nor too inexact, and has no findings; or a recipe's is recommended so."""
        if self.given is not None:
            return not self.given.findings and self.row.verdict != "slower" and not self.is_inexact
        if self.recommendation is None or self.recommendation.is_reference:
            return False
        return self.request.asked.quick or (self.tried is not None and not self.tried.findings)


def visit(request):
    """Diagnose what was given, try the recipes if there is a reason, compare all, diagnose the recommended one."""
    given = _diagnosed(INT8, request.quantized, request) if request.int8 is not None else None
    save = request.asked.save
    with scratch(save and save.parent) as folder, sharing(folder):  # beside it, so that it is moved by renaming
        attempts = _attempts(request, given, folder)
        models = {FP32: request.model} | ({} if given is None else {INT8: request.quantized})
        comparison = _compared(models | made(attempts), request)
        given = given if request.asked.quick else _settled(given, comparison, request)
        recommendation = recommend(comparison.rows, INT8) if made(attempts) else None
        tried, problem = _best_diagnosed(recommendation, comparison, attempts, request)
        if tried is not None and (more := try_mends(tried.findings, attempts, request, folder)):
            attempts += more
            comparison = _with(more, comparison, tried, request)
            before, recommendation = recommendation, _again(recommendation, comparison, more)
            if recommendation.name != before.name:
                tried, problem = _best_diagnosed(recommendation, comparison, attempts, request)
        saved = None
        if save is not None and recommendation is not None and recommendation.name in made(attempts):
            saved = publish(made(attempts)[recommendation.name], save)
    is_real = request.feeds.source is not None
    tried = limited(tried, comparison, attempts=attempts, is_real=is_real)
    recommended = None if tried is None or recommendation.is_reference else tried
    given = limited(given, comparison, recommended, attempts=attempts, is_real=is_real)
    return Visit(request, given, attempts, comparison, recommendation, tried, problem, saved)


def _attempts(request, given, folder):
    if not request.tries_recipes or (given is not None and not _is_reason(given)):
        return ()
    attempts = try_recipes(request, folder)
    return attempts if given is None else attempts + try_mends(given.findings, attempts, request, folder)


def _is_reason(given):
    """Whether something is wrong with the given model: a finding, or no gain in time."""
    return bool(given.findings) or given.examination.quantized.total_ms >= given.examination.fp32.total_ms


def _compared(models, request):
    if len(models) < 2:
        return None
    options = {"agree": request.metric} if request.metric is not None else {}
    found = compare(models, request.feeds.measured, threads=request.asked.threads, rounds=request.rounds, **options)
    if request.feeds.source is not None:
        return found
    rows = [row if math.isnan(row.sqnr_db) else replace(row, kept={}) for row in found.rows]
    return replace(found, rows=rows)  # what is read from noise means little, where there are numbers besides


def _with(more, comparison, tried, request):
    """The Comparison, with what was made `more`: timed in turns with fp32 and the model that `tried` is about."""
    if not made(more):
        return comparison
    known = {FP32: request.model, tried.name: tried.examination.file}
    return comparison.joined(_compared(known | made(more), request))


def _again(recommendation, comparison, more):
    """The Recommendation, now that its own mends were tried: one of them, if it is better by more than luck."""
    kept = None if recommendation.is_reference else recommendation.name
    better = recommend(comparison.rows, kept)
    if better.name in made(more):
        return better
    return replace(recommendation, rejected=better.rejected | recommendation.rejected)


def _best_diagnosed(recommendation, comparison, attempts, request):
    """(Diagnosis, problem) of the recommended recipe's model; of the fastest one where fp32 is recommended."""
    if recommendation is None or recommendation.is_present or request.asked.quick:
        return None, ""
    name, paths = recommendation.name, made(attempts)
    if recommendation.is_reference:
        name = max((row for row in comparison.rows if row.name in paths), key=lambda row: row.speedup).name
    try:
        return _settled(_diagnosed(name, paths[name], request), comparison, request), ""
    except ValueError as error:  # minutes of measuring are worth a report without this part
        return None, str(error)


def _diagnosed(name, path, request):
    with stage(f"examining {name}"):
        settings = {"card": request.card, "layers": not request.asked.quick, **_profiling(request)}
        examination = examine(request.model, path, request.feeds.measured, **settings)
        return _diagnosis(name, examination, request)


def _profiling(request):
    """Half of the rounds, since each runs a model with and without the profiler; but enough for a median."""
    rounds = max(request.rounds // 2, min(request.rounds, MINIMUM_ROUNDS))
    return {"rounds": rounds, "threads": request.asked.threads}


def _diagnosis(name, examination, request):
    lines = ledger(examination.fp32, examination.quantized)
    return Diagnosis(name, examination, _findings(examination, request), lines)


def _settled(diagnosis, comparison, request):
    """The Diagnosis, with times that fit the comparison as well as can be had."""
    if diagnosis is None or comparison is None:
        return diagnosis

    def again():
        with stage(f"timing {diagnosis.name} again: something else kept the machine busy"):
            examination = profiled_again(diagnosis.examination, **_profiling(request))
        return _diagnosis(diagnosis.name, examination, request)

    return settled(diagnosis, comparison, again)


def settled(diagnosis, comparison, again):
    """The Diagnosis, or what `again()` gives, which takes its times once more: what is nearest to the comparison.

    It is called AGAIN times at most, and only while the times are further than NEAR from what the comparison measured.
    """
    for _ in range(AGAIN):
        if disagreement(diagnosis, comparison) <= NEAR:
            break
        diagnosis = min(diagnosis, again(), key=lambda one: disagreement(one, comparison))
    return diagnosis


def disagreement(diagnosis, comparison):
    """How far the profiles' whole runs are from the comparison's, the worse of the two models: 0.1 is a tenth."""
    measured = {row.name: row.median_ms for row in comparison.rows}
    runs = {FP32: diagnosis.examination.fp32.total_ms, diagnosis.name: diagnosis.examination.quantized.total_ms}
    return max(abs(run / measured[name] - 1) for name, run in runs.items())


def _findings(examination, request):
    """The Findings; on invented feeds without those that rest on values, since real ranges never fit noise."""
    found = findings_of(examination)
    invented = request.feeds.source is None
    if request.asked.is_alone:  # the float model is gone after the visit: a call names it without its folder
        folder = repr(str(request.fp32.with_name("-")))[1:-2]
        found = [replace(one, remedy=one.remedy.replace(folder, "")) for one in found]
    return Findings(one for one in found if not (invented and CAUSES.kind(one.code).needs_values))
