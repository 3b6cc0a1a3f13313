"""One visit: all that is measured, in its order."""

import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

from qlab.measure.compare import compare
from qlab.measure.comparison import Comparison
from qlab.measure.diagnosing import findings_of
from qlab.measure.doctor.recommending import Recommendation, recommend, too_inexact
from qlab.measure.doctor.request import Request, opened
from qlab.measure.doctor.stages import stage
from qlab.measure.doctor.trying import Attempt, try_recipes
from qlab.measure.examining import Examination, examine
from qlab.measure.finding import Findings
from qlab.measure.ledger import Ledger, ledger
from qlab.recipes.files import publish

ON_VALUES = ("range-clips", "range-wastes", "layer-loss")  # findings that noise cannot give
LEAST_MS = 0.005  # what is shown as 0.00
FP32, INT8 = "fp32", "int8"  # what the two given models are called in tables


@dataclass(frozen=True)
class Diagnosis:
    """What was found about one quantized model, called `name` in the comparison."""

    name: str
    examination: Examination
    findings: Findings
    ledger: Ledger


@dataclass(frozen=True)
class Visit:
    """All that was measured.

    given           the Diagnosis of the model that was given, or None
    attempts        one for each recipe, () if none was tried
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
        """Whether the given model loses too much. Noise cannot tell, except where the answers are no numbers."""
        judged = self.request.feeds.source is not None or math.isnan(self.row.sqnr_db)
        return judged and bool(too_inexact(self.row))

    def row_of(self, name):
        """The comparison's Row called `name`."""
        return next(row for row in self.comparison.rows if row.name == name)

    @property
    def is_healthy(self):
        """The given model is neither slower nor too inexact, and has no findings; or a recipe's is recommended so."""
        if self.given is not None:
            return not self.given.findings and self.row.verdict != "slower" and not self.is_inexact
        if self.tried is None or self.recommendation.name == FP32:
            return False
        return not self.tried.findings


def visit(request):
    """Diagnose what was given, try the recipes if there is a reason, compare all, diagnose the recommended one."""
    given = _diagnosed(INT8, request.int8, request) if request.int8 is not None else None
    with _folder(request) as folder:
        attempts = _attempts(request, given, folder)
        made = {attempt.recipe: attempt.quantized.path for attempt in attempts if attempt.quantized is not None}
        models = {FP32: request.fp32} | ({} if given is None else {INT8: request.int8}) | made
        comparison = _compared(models, request)
        recommendation = recommend(comparison.rows) if made else None
        tried, problem = _best_diagnosed(recommendation, comparison, made, request)
        saved = None
        if request.save is not None and recommendation is not None and recommendation.name in made:
            saved = publish(made[recommendation.name], request.save)
    return Visit(request, given, attempts, comparison, recommendation, tried, problem, saved)


def _folder(request):
    """Where the recipes work: beside --save, so that the chosen model is moved by renaming."""
    if request.save is None:
        return tempfile.TemporaryDirectory(prefix="qlab-doctor-")
    return tempfile.TemporaryDirectory(prefix=f".{request.save.name}-", dir=request.save.parent)


def _attempts(request, given, folder):
    if not request.tries_recipes or (given is not None and not _is_reason(given)):
        return ()
    name = f"{request.fp32.stem}.int8.onnx" if request.save is None else request.save.name
    return tuple(try_recipes(request, opened, folder, name))


def _is_reason(given):
    """Whether something is wrong with the given model: a finding, or no gain in time."""
    return bool(given.findings) or given.examination.quantized.total_ms >= given.examination.fp32.total_ms


def _compared(models, request):
    if len(models) < 2:
        return None
    return compare(models, request.feeds.measured, threads=request.threads, rounds=request.rounds)


def _best_diagnosed(recommendation, comparison, made, request):
    """(Diagnosis, problem) of the recommended recipe's model; of the fastest one where fp32 is recommended."""
    if recommendation is None or recommendation.name == INT8:
        return None, ""
    name = recommendation.name
    if name == FP32:
        name = max((row for row in comparison.rows if row.name in made), key=lambda row: row.speedup).name
    try:
        return _diagnosed(name, made[name], request), ""
    except ValueError as error:  # minutes of measuring are worth a report without this part
        return None, str(error)


def _diagnosed(name, path, request):
    with stage(f"examining {name}"):
        examination = examine(request.fp32, path, request.feeds.measured, card=request.card, rounds=request.rounds)
        return Diagnosis(name, examination, _findings(examination, request), _ledger(examination))


def _findings(examination, request):
    """The Findings; on invented feeds without those that rest on values, since real ranges never fit noise."""
    found = findings_of(examination)
    invented = request.feeds.source is None
    return Findings(one for one in found if not (invented and one.code in ON_VALUES))


def _ledger(examination):
    """The Ledger without the lines that are 0 but for rounding."""
    lines = ledger(examination.fp32, examination.quantized).lines
    return Ledger(tuple(line for line in lines if max(line.fp32_ms, line.quantized_ms) >= LEAST_MS))
